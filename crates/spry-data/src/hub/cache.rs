//! The hub's cache on disk, in the layout of Python's `huggingface_hub`:
//!
//! ```text
//! models--organisation--name/refs/main            the commit that main was last seen at
//! models--organisation--name/snapshots/COMMIT/…   the files of a commit, links to blobs
//! models--organisation--name/blobs/ETAG           contents
//! .locks/models--organisation--name/ETAG.lock     who downloads them
//! ```

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::local::list_files;
use super::source::{Repository, is_hash_like};
use crate::files::write_atomically;
use crate::{Error, Result, guard};

/// A repository's folder in the cache.
pub(super) struct Folder {
    cache: PathBuf,
    name: String,
    has_symlinks: bool,
}

impl Folder {
    pub(super) fn new(cache: &Path, repo: &Repository, has_symlinks: bool) -> Self {
        Self { cache: cache.to_path_buf(), name: repo.folder(), has_symlinks }
    }

    fn path(&self) -> PathBuf {
        self.cache.join(&self.name)
    }

    /// The commit that a revision was last seen at.
    pub(super) fn commit(&self, repo: &Repository) -> Option<String> {
        if repo.is_at_commit() {
            return Some(repo.revision().to_string());
        }
        let commit = guard::read_text(&self.reference(repo), 256).ok()?;
        Some(commit.trim().to_string()).filter(|commit| is_hash_like(commit))
    }

    fn reference(&self, repo: &Repository) -> PathBuf {
        self.path().join("refs").join(repo.revision())
    }

    /// Remembers the commit that a revision is at.
    pub(super) fn set_commit(&self, repo: &Repository, commit: &str) -> Result<()> {
        if self.commit(repo).as_deref() == Some(commit) {
            return Ok(());
        }
        write_atomically(&self.reference(repo), commit.as_bytes())
    }

    /// Where a file of a commit is, if it is there.
    pub(super) fn file(&self, commit: &str, name: &str) -> Option<PathBuf> {
        Some(self.path().join("snapshots").join(commit).join(name)).filter(|path| path.is_file())
    }

    /// Names of the files of a commit that are there.
    pub(super) fn names(&self, commit: &str) -> Vec<String> {
        let mut names = Vec::new();
        let snapshot = self.path().join("snapshots").join(commit);
        match list_files(&snapshot, String::new(), 2, &mut names) {
            Ok(()) => {
                names.retain(|name| self.file(commit, name).is_some());
                names
            }
            Err(_) => Vec::new(),
        }
    }

    /// Whether a commit is known to have no such file.
    pub(super) fn is_absent(&self, commit: &str, name: &str) -> bool {
        self.absence(commit, name).is_file()
    }

    /// Remembers that a commit has no such file.
    pub(super) fn set_absent(&self, commit: &str, name: &str) {
        // Failing to remember costs a request the next time, nothing else.
        let _ = write_atomically(&self.absence(commit, name), b"");
    }

    fn absence(&self, commit: &str, name: &str) -> PathBuf {
        self.path().join(".no_exist").join(commit).join(name)
    }

    /// Where contents are.
    pub(super) fn blob(&self, name: &str) -> PathBuf {
        self.path().join("blobs").join(name)
    }

    /// Makes the names of blobs survive a loss of power.
    pub(super) fn sync_blobs(&self) {
        #[cfg(unix)]
        if let Ok(folder) = File::open(self.blob("")) {
            // Not every file system can; the contents themselves are written.
            let _ = folder.sync_all();
        }
    }

    /// Waits until no other process downloads these contents. The lock ends with the value.
    pub(super) fn lock(&self, blob: &str) -> Result<Option<File>> {
        let blobs = self.path().join("blobs");
        std::fs::create_dir_all(&blobs).map_err(Error::io(&blobs))?;
        let folder = self.cache.join(".locks").join(&self.name);
        std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        let path = folder.join(format!("{blob}.lock"));
        let mut options = File::options();
        let file = options.write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(Error::io(&path))?;
        match file.lock() {
            Ok(()) => Ok(Some(file)),
            // Not every file system has locks. Downloads are right without, only slower.
            Err(error) if error.kind() == ErrorKind::Unsupported => Ok(None),
            Err(error) => Err(Error::io(&path)(error)),
        }
    }

    /// Gives a blob its name in a commit: by a link, or a copy where there are none.
    pub(super) fn link(&self, commit: &str, name: &str, blob: &str) -> Result<PathBuf> {
        let path = self.path().join("snapshots").join(commit).join(name);
        let contents = self.blob(blob);
        if let (Ok(there), Ok(contents)) = (path.canonicalize(), contents.canonicalize())
            && there == contents
        {
            return Ok(path);
        }
        let folder = path.parent().unwrap_or(&self.cache);
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let unique = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let temporary = self.blob(&format!("{blob}.{}-{}.link", unique.0, unique.1));
        let ups = "../".repeat(name.split('/').count() + 1);
        let target = format!("{ups}blobs/{blob}");
        let made = match self.has_symlinks.then(|| symlink(&target, &temporary)) {
            Some(Ok(())) => Ok(()),
            _ => std::fs::copy(&contents, &temporary).map(drop),
        };
        let result = made.and_then(|()| std::fs::rename(&temporary, &path));
        if result.is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
        result.map_err(Error::io(&path))?;
        Ok(path)
    }
}

#[cfg(unix)]
fn symlink(target: &str, path: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, path)
}

#[cfg(windows)]
fn symlink(target: &str, path: &Path) -> std::io::Result<()> {
    std::os::windows::fs::symlink_file(target.replace('/', "\\"), path)
}

#[cfg(not(any(unix, windows)))]
fn symlink(_: &str, _: &Path) -> std::io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}
