//! A run's folder: which file is where.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use spry_data::files::write_atomically;
use spry_data::guard;

use crate::text::shell_word;
use crate::{Error, Result, RunConfig};

/// A run's folder, which one process at a time works in.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// Held as long as this value lives; the system gives it back when the process ends.
    lock: Option<File>,
}

/// Longest configuration and lock that are read, in bytes.
const CONFIG_LIMIT: u64 = 1 << 20;
const LOCK_LIMIT: u64 = 1 << 10;

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
        Ok(Self { path: path.to_path_buf(), lock: None })
    }

    fn claim(path: &Path) -> Result<Self> {
        let lock_path = path.join(LOCK);
        // What is in it names who works here, and must outlive a look by others.
        let lock = OpenOptions::new().create(true).write(true).truncate(false).open(&lock_path);
        let mut lock = lock.map_err(Error::io(&lock_path))?;
        match patiently(|| lock.try_lock()) {
            Ok(()) => {
                // A courtesy to who looks; the lock holds without it.
                let _ = lock.set_len(0).and_then(|()| lock.write_all(this_process().as_bytes()));
                Ok(Self { path: path.to_path_buf(), lock: Some(lock) })
            }
            Err(std::fs::TryLockError::WouldBlock) => {
                Err(Error::Busy { folder: path.to_path_buf(), holder: holder(path) })
            }
            // A file system without locks must not keep anyone from working.
            Err(std::fs::TryLockError::Error(_)) => {
                Ok(Self { path: path.to_path_buf(), lock: None })
            }
        }
    }

    /// Fails if another process works in the folder.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`].
    pub fn check_free(path: &Path) -> Result<()> {
        let Ok(lock) = File::open(path.join(LOCK)) else { return Ok(()) };
        match lock.try_lock_shared() {
            Err(std::fs::TryLockError::WouldBlock) => {
                Err(Error::Busy { folder: path.to_path_buf(), holder: holder(path) })
            }
            _ => Ok(()),
        }
    }

    /// What `read` reads of the folder; some more times while another process works in it, which
    /// may just be replacing files that belong together.
    ///
    /// # Errors
    ///
    /// What `read` returns the last time.
    pub(crate) fn look_again<T>(&self, read: impl Fn() -> Result<T>) -> Result<T> {
        const LOOKS: u32 = 5;
        const PAUSE: Duration = Duration::from_millis(100);
        for _ in 1..LOOKS {
            match read() {
                Err(_) if Self::check_free(&self.path).is_err() => sleep(PAUSE),
                read => return read,
            }
        }
        read()
    }

    /// Fails if the folder that was claimed is not there any more, so that what is written would go
    /// into a new one, or nowhere.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] if it was deleted, moved or replaced.
    pub fn check_in_place(&self) -> Result<()> {
        let is_ours = match (&self.lock, std::fs::metadata(self.path.join(LOCK))) {
            (Some(lock), Ok(there)) => lock.metadata().is_ok_and(|ours| is_same(&ours, &there)),
            // Without its lock it is still a folder with a run.
            _ => true,
        };
        if is_ours && self.config().is_file() {
            return Ok(());
        }
        Err(Error::Failed(format!(
            "{}: the run's folder was deleted, moved or replaced while the run went on; if it was \
             moved, `spry resume` goes on with it in its new place",
            self.path.display()
        )))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The whole configuration.
    pub fn config(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    /// The file of rows of rounds, [`RoundEntry`](super::records::RoundEntry)s.
    pub fn round_rows(&self) -> PathBuf {
        self.path.join("rows/rounds.rows")
    }

    /// The file of rows of clients, [`ClientEntry`](super::records::ClientEntry)s.
    pub fn client_rows(&self) -> PathBuf {
        self.path.join("rows/clients.rows")
    }

    /// What the summary belongs to; see [`SavedSummary`](super::SavedSummary).
    pub fn row_index(&self) -> PathBuf {
        self.path.join("rows/index.json")
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

    /// The adapter, or model, as it was after the best round.
    pub fn best_adapter(&self) -> PathBuf {
        self.path.join("adapter-best")
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
        let path = self.config();
        let text = guard::read_text(&path, CONFIG_LIMIT)?;
        RunConfig::default()
            .with_toml(&text)
            .map_err(|error| Error::Input(format!("{}: {}", path.display(), error.line())))
    }

    /// Removes temporary files that a killed process left behind.
    pub fn remove_leftovers(&self) {
        let folders = [
            self.plots(),
            self.checkpoints(),
            self.adapter(),
            self.best_adapter(),
            self.tensorboard(),
            self.path.join("rows"),
        ];
        for folder in folders.iter().chain([&self.path]) {
            let Ok(entries) = std::fs::read_dir(folder) else { continue };
            for entry in entries.flatten() {
                if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
                    let path = entry.path();
                    // One that stays is in nobody's way.
                    let _ = match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                        true => std::fs::remove_dir_all(path),
                        false => std::fs::remove_file(path),
                    };
                }
            }
        }
    }
}

/// Tries to lock until it succeeds, for a moment: who only [looks](RunFolder::check_free) whether
/// there is a lock has one meanwhile.
fn patiently(
    try_lock: impl Fn() -> Result<(), std::fs::TryLockError>,
) -> Result<(), std::fs::TryLockError> {
    const ATTEMPTS: u32 = 5;
    const PAUSE: Duration = Duration::from_millis(20);
    for _ in 1..ATTEMPTS {
        match try_lock() {
            Err(std::fs::TryLockError::WouldBlock) => sleep(PAUSE),
            other => return other,
        }
    }
    try_lock()
}

/// How names of temporary files and folders begin.
pub(super) const TEMPORARY: &str = ".tmp";

/// This process, for who waits for it.
fn this_process() -> String {
    let from_system = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let host = from_system().or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    let process = std::process::id();
    match host.trim() {
        "" => format!("process {process}"),
        host => format!("process {process} on {host}"),
    }
}

/// Who works in a folder, as far as it is known.
fn holder(path: &Path) -> Option<String> {
    let text = guard::read_text(&path.join(LOCK), LOCK_LIMIT).ok()?;
    let is_plain = text.starts_with("process ") && !text.contains(char::is_control);
    is_plain.then_some(text)
}

/// Whether two names lead to one file.
#[cfg(unix)]
pub(super) fn is_same(a: &std::fs::Metadata, b: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

/// Elsewhere a folder whose lock is open cannot be deleted.
#[cfg(not(unix))]
pub(super) fn is_same(_: &std::fs::Metadata, _: &std::fs::Metadata) -> bool {
    true
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
    let is_ours = |name: &str| name == LOCK || name.starts_with(TEMPORARY);
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
