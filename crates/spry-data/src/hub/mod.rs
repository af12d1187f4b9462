//! Where files come from: a local directory, or the Hugging Face hub and its cache.
//!
//! The cache has the layout that Python's `huggingface_hub` uses, so both share downloads, and the
//! environment's variables mean what they mean there: `HF_HOME`, `HF_HUB_CACHE`, `HF_ENDPOINT`,
//! `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HUB_OFFLINE`, `HF_HUB_ETAG_TIMEOUT`,
//! `HF_HUB_DOWNLOAD_TIMEOUT`, `HF_HUB_DISABLE_IMPLICIT_TOKEN`, `HF_HUB_DISABLE_SYMLINKS`,
//! `XDG_CACHE_HOME`, and the older `HUGGINGFACE_HUB_CACHE`, `HUGGING_FACE_HUB_TOKEN` and
//! `TRANSFORMERS_OFFLINE`. `~` and `$NAME` are replaced in folders.
//!
//! A hub is not trusted: what it says becomes part of a path only if it is a plain part of one,
//! the token goes to nobody else, and time and space are [bounded](Limits). All files of a
//! repository are taken from one commit.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::environment::Environment;
pub use self::limits::Limits;
use self::snapshot::Shared;
use self::source::Repository;
pub use self::source::{RepoKind, Source};
use crate::{Error, Result};

mod address;
mod answer;
mod cache;
mod client;
mod download;
mod environment;
mod limits;
mod local;
mod snapshot;
mod source;

/// Access to the hub: its cache, its address, and whether going online is allowed.
///
/// Clones share what they know of the hub: which commit a repository is read at.
#[derive(Clone)]
pub struct Hub {
    environment: Environment,
    proxy: Option<ureq::Proxy>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Proxies may have passwords.
        f.debug_struct("Hub").field("environment", &self.environment).finish_non_exhaustive()
    }
}

impl Hub {
    /// From the environment, with its proxies (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, and
    /// `NO_PROXY`).
    pub fn from_env() -> Self {
        let variable = |name: &str| match std::env::var_os(name) {
            // Whoever has no variable may have an entry among the system's users.
            None if name == "HOME" => std::env::home_dir().map(OsString::from),
            value => value,
        };
        Self { proxy: ureq::Proxy::try_from_env(), ..Self::new(Environment::read(variable)) }
    }

    /// From variables looked up by name, as [`from_env`](Self::from_env) does in the environment,
    /// but without proxies.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        Self::new(Environment::read(|name| variable(name).map(OsString::from)))
    }

    fn new(environment: Environment) -> Self {
        Self { environment, proxy: None, shared: Arc::default() }
    }

    /// The same, but never online if `offline` is set.
    pub fn with_offline(mut self, offline: bool) -> Self {
        self.environment.is_offline |= offline;
        self
    }

    /// The same with other limits of what is taken from the hub.
    pub fn with_limits(mut self, limits: Limits) -> Self {
        if let Ok(network) = &mut self.environment.network {
            network.limits = limits;
        }
        self.shared = Arc::default();
        self
    }

    /// Whether going online is not allowed.
    pub fn is_offline(&self) -> bool {
        self.environment.is_offline
    }

    /// The folder of the hub's cache.
    ///
    /// # Errors
    ///
    /// [`Error::Environment`] if the variables name none, as where neither `HF_HOME` nor `HOME` is
    /// set.
    pub fn cache(&self) -> Result<&Path> {
        self.environment.cache.as_deref().map_err(Error::from)
    }

    /// Paths of files of a source, downloading those that are not in the cache. Those of a
    /// repository are all of one commit, also in several calls.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] for a file missing in a local directory. For the hub [`Error::NotCached`],
    /// [`Error::Unreachable`], [`Error::NotInRepository`], [`Error::Download`] or
    /// [`Error::Environment`]; and [`Error::Moved`] if files of an earlier call are of a commit
    /// that these cannot be had of: see [`at_one_commit`](Self::at_one_commit).
    pub fn files(&self, source: &Source, kind: RepoKind, names: &[&str]) -> Result<Vec<PathBuf>> {
        match source {
            Source::Directory(folder) => {
                let path_of = |name: &&str| {
                    let path = folder.join(name);
                    std::fs::metadata(&path).map_err(Error::io(&path))?;
                    Ok(path)
                };
                names.iter().map(path_of).collect()
            }
            Source::Hub(id) => self.files_of(&Repository::new(id, kind)?, names),
        }
    }

    /// Path of one file of a source.
    ///
    /// # Errors
    ///
    /// As [`files`](Self::files).
    pub fn file(&self, source: &Source, kind: RepoKind, name: &str) -> Result<PathBuf> {
        Ok(self.files(source, kind, &[name])?.remove(0))
    }

    /// Path of one file of a source, or none if it has no such file; also if that cannot be asked
    /// because the hub is out of reach. Never moves a repository to another commit.
    ///
    /// # Errors
    ///
    /// As [`files`](Self::files), other than for a file that is missing.
    pub fn optional_file(
        &self,
        source: &Source,
        kind: RepoKind,
        name: &str,
    ) -> Result<Option<PathBuf>> {
        match source {
            Source::Directory(folder) => match std::fs::metadata(folder.join(name)) {
                Ok(_) => Ok(Some(folder.join(name))),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(Error::io(folder.join(name))(error)),
            },
            Source::Hub(id) => self.optional_file_of(&Repository::new(id, kind)?, name),
        }
    }

    /// Paths of a dataset's Parquet files for a split, in order, within an optional configuration
    /// folder (such as `sst2` in `nyu-mll/glue`).
    ///
    /// # Errors
    ///
    /// [`Error::MissingSplit`] if there are none, and as [`files`](Self::files).
    pub fn parquet_files(
        &self,
        source: &Source,
        configuration: Option<&str>,
        split: &str,
    ) -> Result<Vec<PathBuf>> {
        match source {
            Source::Directory(folder) => local::parquet_files(folder, configuration, split),
            Source::Hub(id) => {
                let repo = Repository::new(id, RepoKind::Dataset)?;
                self.split_of(&repo, configuration, split)
            }
        }
    }

    /// Calls a function that asks for files of a repository several times, and calls it again if
    /// the repository moved to another commit meanwhile: in the end all are of one.
    ///
    /// # Errors
    ///
    /// What the function returns; [`Error::Moved`] only if that does not come to an end.
    pub fn at_one_commit<T>(&self, read: impl Fn() -> Result<T>) -> Result<T> {
        for _ in 1..snapshot::MOVES {
            match read() {
                Err(Error::Moved { .. }) => {}
                result => return result,
            }
        }
        read()
    }
}
