//! A run's folder: which file is where.

use std::fs::File;
use std::path::{Path, PathBuf};

use spry_data::files::write_atomically;

use crate::text::shell_word;
use crate::{Error, Result, RunConfig};

/// A run's folder, which one process at a time works in.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// Held as long as this value lives; the system gives it back when the process ends.
    _lock: Option<File>,
}

const CONFIG: &str = "config.toml";
const LOCK: &str = ".lock";

impl RunFolder {
    /// Makes the folder and claims it.
    ///
    /// # Errors
    ///
    /// If it cannot be made, or another process works in it.
    pub fn create(path: &Path) -> Result<Self> {
        std::fs::create_dir_all(path).map_err(Error::io(path))?;
        Self::claim(path)
    }

    /// Claims the folder of a run.
    ///
    /// # Errors
    ///
    /// If there is no run in it, or another process works in it.
    pub fn open(path: &Path) -> Result<Self> {
        check_is_run(path)?;
        Self::claim(path)
    }

    /// Looks at the folder of a run, without claiming it.
    ///
    /// # Errors
    ///
    /// If there is no run in it.
    pub fn look(path: &Path) -> Result<Self> {
        check_is_run(path)?;
        Ok(Self { path: path.to_path_buf(), _lock: None })
    }

    fn claim(path: &Path) -> Result<Self> {
        let lock_path = path.join(LOCK);
        let lock = File::create(&lock_path).map_err(Error::io(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_path_buf(), _lock: Some(lock) }),
            Err(std::fs::TryLockError::WouldBlock) => Err(Error::Input(format!(
                "{}: another process works on this run; wait for it, or stop it first",
                path.display()
            ))),
            // A file system without locks must not keep anyone from working.
            Err(std::fs::TryLockError::Error(_)) => {
                Ok(Self { path: path.to_path_buf(), _lock: None })
            }
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The whole configuration.
    pub fn config(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    /// [`RoundRow`](super::records::RoundRow)s.
    pub fn rounds(&self) -> PathBuf {
        self.path.join("rounds.parquet")
    }

    /// [`ClientRow`](super::records::ClientRow)s.
    pub fn clients(&self) -> PathBuf {
        self.path.join("clients.parquet")
    }

    /// [`ResourceRow`](super::records::ResourceRow)s.
    pub fn resources(&self) -> PathBuf {
        self.path.join("resources.parquet")
    }

    /// The [`Summary`](super::Summary).
    pub fn summary(&self) -> PathBuf {
        self.path.join("summary.json")
    }

    /// What happened, line by line.
    pub fn log(&self) -> PathBuf {
        self.path.join("log.txt")
    }

    /// Pictures.
    pub fn plots(&self) -> PathBuf {
        self.path.join("plots")
    }

    /// Checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// The trained adapter, or model.
    pub fn adapter(&self) -> PathBuf {
        self.path.join("adapter")
    }

    /// Events for TensorBoard.
    pub fn tensorboard(&self) -> PathBuf {
        self.path.join("tensorboard")
    }

    /// Writes the configuration; from then on this is the folder of a run.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn write_config(&self, config: &RunConfig) -> Result<()> {
        Ok(write_atomically(&self.config(), config.to_toml()?.as_bytes())?)
    }

    /// Reads the configuration.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or has options that this version does not know.
    pub fn read_config(&self) -> Result<RunConfig> {
        RunConfig::default().with_file(&self.config())
    }

    /// Removes temporary files that a killed process left behind.
    pub fn remove_leftovers(&self) {
        let folders = [self.plots(), self.checkpoints(), self.adapter(), self.tensorboard()];
        for folder in folders.iter().chain([&self.path]) {
            let Ok(entries) = std::fs::read_dir(folder) else { continue };
            for entry in entries.flatten() {
                if entry.file_name().to_string_lossy().starts_with(".tmp") {
                    // One that stays is in nobody's way.
                    let _ = std::fs::remove_file(entry.path());
                }
            }
        }
    }
}

/// Fails unless a new run can have the folder.
pub(super) fn check_unused(path: &Path) -> Result<()> {
    if path.join(CONFIG).is_file() {
        return Err(Error::Input(format!(
            "{} already has a run; go on with `spry resume {}`, or choose another folder with \
             --out DIR or --set experiment=NAME",
            path.display(),
            shell_word(path)
        )));
    }
    let is_ours = |name: &str| name == LOCK || name.starts_with(".tmp");
    match std::fs::read_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io(path)(error)),
        Ok(entries) => {
            for entry in entries {
                let entry = entry.map_err(Error::io(path))?;
                if !is_ours(&entry.file_name().to_string_lossy()) {
                    return Err(Error::Input(format!(
                        "{} is not empty; a run needs a folder of its own, choose one with \
                         --out DIR",
                        path.display()
                    )));
                }
            }
            Ok(())
        }
    }
}

fn check_is_run(path: &Path) -> Result<()> {
    if path.join(CONFIG).is_file() {
        return Ok(());
    }
    let what = if path.is_dir() { "has no config.toml, so it" } else { "does not exist, so it" };
    Err(Error::Input(format!(
        "{} {what} is no run's folder; `spry run` begins a run",
        path.display()
    )))
}
