//! Files that appear whole or not at all, and what is left when a process is killed meanwhile.
//!
//! A temporary file or folder is locked for as long as it is in use. The system gives the lock up
//! when the process ends, however it ends, so that one that can be locked is a leftover; whoever
//! next writes into the same folder removes it.

use std::fs::{File, TryLockError};
use std::path::Path;

use tempfile::{NamedTempFile, TempDir};

use crate::{Error, Result, guard};

/// What the names of temporary files begin and end with.
const TEMPORARY: (&str, &str) = (".tmp", ".spry");

/// The file in a temporary folder that is locked while the folder is in use.
const LOCK: &str = ".lock";

/// How often a temporary file is made anew that was taken for a leftover before it was locked.
const ATTEMPTS: usize = 16;

/// Writes a file by way of a temporary one in the same folder that is synced and then renamed:
/// a reader sees the old contents or the new ones, never a part. Makes missing folders.
///
/// # Errors
///
/// [`Error::Io`]; a file that was there before is then untouched.
///
/// ```
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("a/b.txt");
/// spry_data::files::write_atomically(&path, b"contents")?;
/// assert_eq!(std::fs::read(&path)?, b"contents");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write_atomically(path: &Path, contents: &[u8]) -> Result<()> {
    write_atomically_with(path, |temporary| std::fs::write(temporary, contents))
}

/// The same for a file that `write` puts, whole, at the path it is given: for contents that need
/// not be in memory at once. It may write into the file that is there or put another in its place;
/// the result has the permissions of any new file either way.
///
/// # Errors
///
/// As [`write_atomically`], and what `write` returns.
pub fn write_atomically_with(
    path: &Path,
    write: impl FnOnce(&Path) -> std::io::Result<()>,
) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        std::fs::create_dir_all(folder)?;
        remove_leftovers(folder);
        let temporary = temporary_file(folder)?;
        let permissions = temporary.as_file().metadata()?.permissions();
        write(temporary.path())?;
        // `write` may have renamed another file to this path, or copied another file's mode. So
        // the file that is there now is opened, given the mode for new files, and synced.
        let written = File::open(temporary.path())?;
        written.set_permissions(permissions)?;
        written.sync_all()?;
        temporary.persist(path)?;
        // The new name must survive a loss of power, too.
        #[cfg(unix)]
        File::open(folder)?.sync_all()?;
        Ok(())
    };
    write().map_err(Error::io(path))
}

/// A new, locked file in a folder, with the permissions of any new file.
fn temporary_file(folder: &Path) -> std::io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY.0).suffix(TEMPORARY.1);
    // Instead of those of a private temporary one; the umask takes away from them.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut attempts = 1..=ATTEMPTS;
    loop {
        let file = builder.tempfile_in(folder)?;
        lock(file.as_file());
        // Another process may have locked, and removed, the file between its making and the lock.
        if file.path().exists() || attempts.next().is_none() {
            return Ok(file);
        }
    }
}

/// Waits for a file's lock. Where files cannot be locked, or a lock keeps other handles of the same
/// process out, nothing is ever taken for a leftover.
fn lock(file: &File) {
    if cfg!(unix) {
        let _ = file.lock();
    }
}

/// Removes temporary files of processes that no longer are; quietly, as nothing depends on it.
fn remove_leftovers(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_ours = name.starts_with(TEMPORARY.0) && name.ends_with(TEMPORARY.1);
        if is_ours && let Some(lock) = take_lock(&entry.path()) {
            let _ = std::fs::remove_file(entry.path());
            drop(lock);
        }
    }
}

/// The lock of a file that nobody holds.
fn take_lock(path: &Path) -> Option<File> {
    let file = guard::open(path).ok().filter(|_| cfg!(unix))?;
    match file.try_lock() {
        Ok(()) => Some(file),
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => None,
    }
}

/// A folder among the system's temporary ones, private to the user, that is removed when the value
/// is dropped; if the process is killed before, the next one that makes a folder of the same kind
/// removes it.
#[derive(Debug)]
pub struct TemporaryFolder {
    folder: TempDir,
    /// Its lock says that the folder is in use.
    _lock: File,
}

impl TemporaryFolder {
    /// Makes a folder; `kind` is what its name begins with.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if there is no room for temporary files.
    ///
    /// ```
    /// let folder = spry_data::files::TemporaryFolder::new("spry-example-")?;
    /// let path = folder.path().to_path_buf();
    /// assert!(path.is_dir());
    /// drop(folder);
    /// assert!(!path.exists());
    /// # Ok::<(), spry_data::Error>(())
    /// ```
    pub fn new(kind: &str) -> Result<Self> {
        let place = std::env::temp_dir();
        remove_leftover_folders(&place, kind);
        let make = || -> std::io::Result<Self> {
            let mut attempts = 1..=ATTEMPTS;
            loop {
                let folder = tempfile::Builder::new().prefix(kind).tempdir_in(&place)?;
                let path = folder.path().join(LOCK);
                let lock = File::create(&path)?;
                self::lock(&lock);
                if path.exists() || attempts.next().is_none() {
                    return Ok(Self { folder, _lock: lock });
                }
            }
        };
        make().map_err(Error::io(&place))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes temporary folders of a kind whose processes no longer are.
fn remove_leftover_folders(place: &Path, kind: &str) {
    for entry in std::fs::read_dir(place).into_iter().flatten().flatten() {
        // Links are left alone: this is a folder that others may write into.
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let is_ours = entry.file_name().to_string_lossy().starts_with(kind);
        if is_folder
            && is_ours
            && let Some(lock) = take_lock(&entry.path().join(LOCK))
        {
            let _ = std::fs::remove_dir_all(entry.path());
            drop(lock);
        }
    }
}
