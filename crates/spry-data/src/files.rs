//! Files that appear whole or not at all.

use std::path::Path;

use crate::{Error, Result};

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
/// not be in memory at once.
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
        let mut builder = tempfile::Builder::new();
        // The permissions of any new file, instead of those of a private temporary one.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = builder.tempfile_in(folder)?;
        write(file.path())?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        // The new name must survive a loss of power, too.
        #[cfg(unix)]
        std::fs::File::open(folder)?.sync_all()?;
        Ok(())
    };
    write().map_err(Error::io(path))
}
