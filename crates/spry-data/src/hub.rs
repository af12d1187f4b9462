//! Where files come from: a local directory, or the Hugging Face hub and its cache.
//!
//! The cache has the layout that Python's `huggingface_hub` uses, so both share downloads. The
//! environment is respected as it is there: `HF_HOME`, `HF_HUB_CACHE`, `HF_TOKEN`, `HF_ENDPOINT`
//! and `HF_HUB_OFFLINE` (which the `hf-hub` crate itself does not read).

use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use hf_hub::{Cache, Repo, RepoType};

use crate::splits::{SplitProblem, of_split};
use crate::{Error, Result};

/// Time to establish a first connection before the hub counts as unreachable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A model or dataset: in a local directory, or in a repository of the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A local directory in Hugging Face layout.
    Directory(PathBuf),
    /// A repository's id, such as `fancyzhx/ag_news`.
    Hub(String),
}

impl Source {
    /// Reads a user's word: an existing directory, or else a hub id.
    ///
    /// # Errors
    ///
    /// [`Error::NotASource`] for what can be neither.
    ///
    /// ```
    /// use spry_data::Source;
    ///
    /// assert_eq!(Source::parse("fancyzhx/ag_news")?, Source::Hub("fancyzhx/ag_news".to_string()));
    /// assert!(matches!(Source::parse(".")?, Source::Directory(_)));
    /// assert!(Source::parse("../no/such/directory").is_err());
    /// # Ok::<(), spry_data::Error>(())
    /// ```
    pub fn parse(name: &str) -> Result<Self> {
        if Path::new(name).is_dir() {
            return Ok(Self::Directory(PathBuf::from(name)));
        }
        let is_part = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        let parts: Vec<&str> = name.split('/').collect();
        if parts.len() <= 2 && parts.iter().all(|part| is_part(part)) {
            return Ok(Self::Hub(name.to_string()));
        }
        Err(Error::NotASource { name: name.to_string() })
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Directory(path) => path.display().fmt(f),
            Self::Hub(id) => id.fmt(f),
        }
    }
}

/// Which kind of repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepoKind {
    /// A model.
    Model,
    /// A dataset.
    Dataset,
}

/// Access to the hub: its cache, its address, and whether going online is allowed.
#[derive(Clone, Debug)]
pub struct Hub {
    cache: PathBuf,
    endpoint: String,
    token: Option<String>,
    offline: bool,
    has_proxy: bool,
}

impl Hub {
    /// From the environment.
    pub fn from_env() -> Self {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// From variables looked up by name, as [`from_env`](Self::from_env) does in the environment.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let home = variable("HF_HOME").map(PathBuf::from).unwrap_or_else(|| {
            let cache = variable("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| {
                variable("HOME")
                    .or_else(|| variable("USERPROFILE"))
                    .map(|home| PathBuf::from(home).join(".cache"))
            });
            cache.unwrap_or_else(std::env::temp_dir).join("huggingface")
        });
        let cache = variable("HF_HUB_CACHE").map_or_else(|| home.join("hub"), PathBuf::from);
        let token = variable("HF_TOKEN")
            .or_else(|| std::fs::read_to_string(home.join("token")).ok())
            .map(|token| token.trim().to_string())
            .filter(|token| !token.is_empty());
        let endpoint =
            variable("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_string());
        let is_on = |value: String| {
            ["1", "true", "yes", "on"].contains(&value.to_ascii_lowercase().as_str())
        };
        let proxies =
            ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
        Self {
            cache,
            endpoint: endpoint.trim_end_matches('/').to_string(),
            token,
            offline: variable("HF_HUB_OFFLINE").is_some_and(is_on),
            has_proxy: proxies.iter().any(|name| variable(name).is_some()),
        }
    }

    /// The same, but never online if `offline` is set.
    pub fn with_offline(mut self, offline: bool) -> Self {
        self.offline |= offline;
        self
    }

    /// Whether going online is not allowed.
    pub fn is_offline(&self) -> bool {
        self.offline
    }

    /// The folder of the hub's cache.
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// Paths of files of a source, downloading those that are not in the cache.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] for a file missing in a local directory; [`Error::NotCached`],
    /// [`Error::Unreachable`] or [`Error::Download`] for the hub.
    pub fn files(&self, source: &Source, kind: RepoKind, names: &[&str]) -> Result<Vec<PathBuf>> {
        names.iter().map(|name| self.file(source, kind, name)).collect()
    }

    /// Path of one file of a source.
    ///
    /// # Errors
    ///
    /// As [`files`](Self::files).
    pub fn file(&self, source: &Source, kind: RepoKind, name: &str) -> Result<PathBuf> {
        match source {
            Source::Directory(folder) => {
                let path = folder.join(name);
                std::fs::metadata(&path).map_err(Error::io(&path))?;
                Ok(path)
            }
            Source::Hub(id) => {
                let repo = repository(id, kind);
                if let Some(path) = self.cached(&repo, name) {
                    return Ok(path);
                }
                if self.offline {
                    return Err(Error::NotCached {
                        repo: id.clone(),
                        file: name.to_string(),
                        cache: self.cache.clone(),
                    });
                }
                let api = self.api(id, name)?;
                api.repo(repo)
                    .get(name)
                    .map_err(|error| download_error(&self.endpoint, id, name, &error))
            }
        }
    }

    /// Path of one file of a source, or none if it has no such file; also if that cannot be asked
    /// because only the cache may be read.
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
            Source::Hub(id) => {
                let repo = repository(id, kind);
                if let Some(path) = self.cached(&repo, name) {
                    return Ok(Some(path));
                }
                if self.offline {
                    return Ok(None);
                }
                match self.api(id, name)?.repo(repo).get(name) {
                    Ok(path) => Ok(Some(path)),
                    Err(ApiError::RequestError(request))
                        if matches!(*request, ureq::Error::StatusCode(404)) =>
                    {
                        Ok(None)
                    }
                    Err(error) => Err(download_error(&self.endpoint, id, name, &error)),
                }
            }
        }
    }

    /// Paths of a dataset's Parquet files for a split, in order, within an optional configuration
    /// folder (such as `sst2` in `nyu-mll/glue`).
    ///
    /// # Errors
    ///
    /// [`Error::MissingSplit`] if there are none, [`Error::SplitFiles`] if some are missing or the
    /// split is there more than once, and as [`files`](Self::files).
    pub fn parquet_files(
        &self,
        source: &Source,
        configuration: Option<&str>,
        split: &str,
    ) -> Result<Vec<PathBuf>> {
        let missing = || Error::MissingSplit {
            split: split.to_string(),
            location: source.to_string(),
            folder: configuration.unwrap_or("data").to_string(),
        };
        let of_split = |names: &[String]| of_split(names, configuration, split);
        let unusable = |problem: SplitProblem| Error::SplitFiles {
            split: split.to_string(),
            location: source.to_string(),
            reason: problem.to_string(),
        };
        match source {
            Source::Directory(folder) => {
                let mut names = Vec::new();
                list_files(folder, String::new(), 2, &mut names)?;
                let names = of_split(&names).map_err(unusable)?;
                if names.is_empty() {
                    return Err(missing());
                }
                Ok(names.into_iter().map(|name| folder.join(name)).collect())
            }
            Source::Hub(id) => {
                let repo = repository(id, RepoKind::Dataset);
                let names = match of_split(&self.cached_names(&repo)) {
                    Ok(names) if !names.is_empty() => names,
                    Err(problem @ SplitProblem::Doubled(_)) if self.offline => {
                        return Err(unusable(problem));
                    }
                    // A download that broke off between two shards goes on if it may.
                    found if self.offline => {
                        let problem = found.err().map(|problem| format!(" ({problem})"));
                        return Err(Error::NotCached {
                            repo: id.clone(),
                            file: format!("{split}-*.parquet{}", problem.unwrap_or_default()),
                            cache: self.cache.clone(),
                        });
                    }
                    _ => {
                        let info = self.api(id, "its list of files")?.repo(repo).info();
                        let info = info.map_err(|error| {
                            download_error(&self.endpoint, id, "its list of files", &error)
                        })?;
                        let names = info.siblings.into_iter().map(|file| file.rfilename);
                        of_split(&names.collect::<Vec<_>>()).map_err(unusable)?
                    }
                };
                if names.is_empty() {
                    return Err(missing());
                }
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                self.files(source, RepoKind::Dataset, &names)
            }
        }
    }

    /// A file in the cache, by the main branch's reference.
    fn cached(&self, repo: &Repo, name: &str) -> Option<PathBuf> {
        let cache = Cache::new(self.cache.clone()).repo(repo.clone());
        cache.get(name)
    }

    /// Names of the files in the cached snapshot.
    fn cached_names(&self, repo: &Repo) -> Vec<String> {
        let folder = self.cache.join(repo.folder_name());
        let Ok(commit) = std::fs::read_to_string(folder.join("refs").join(repo.revision())) else {
            return Vec::new();
        };
        let snapshot = folder.join("snapshots").join(commit.trim());
        let mut names = Vec::new();
        match list_files(&snapshot, String::new(), 2, &mut names) {
            Ok(()) => names,
            Err(_) => Vec::new(),
        }
    }

    fn api(&self, repo: &str, file: &str) -> Result<Api> {
        self.check_reachable()?;
        ApiBuilder::from_cache(Cache::new(self.cache.clone()))
            .with_token(self.token.clone())
            .with_endpoint(self.endpoint.clone())
            .with_progress(false)
            .with_retries(2)
            .build()
            .map_err(|error| download_error(&self.endpoint, repo, file, &error))
    }

    /// Connects once with a time limit, because the download itself has none: without a network
    /// that answers, the user would wait for minutes. Skipped behind a proxy.
    fn check_reachable(&self) -> Result<()> {
        if self.has_proxy {
            return Ok(());
        }
        let unreachable =
            |reason: String| Error::Unreachable { endpoint: self.endpoint.clone(), reason };
        let (scheme, rest) = self
            .endpoint
            .split_once("://")
            .ok_or_else(|| unreachable("HF_ENDPOINT must start with http:// or https://".into()))?;
        let host = rest.split('/').next().unwrap_or_default();
        let port = if scheme == "http" { 80 } else { 443 };
        let address = if host.contains(':') { host.to_string() } else { format!("{host}:{port}") };
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let connected = address.to_socket_addrs().and_then(|mut addresses| {
                let none = || std::io::Error::other("the name has no address");
                let mut connect =
                    || addresses.next().map(|a| TcpStream::connect_timeout(&a, CONNECT_TIMEOUT));
                let mut result = connect().ok_or_else(none)?;
                while result.is_err() {
                    let Some(next) = connect() else { break };
                    result = next;
                }
                result.map(drop)
            });
            // Nobody listens any more if the time was up.
            let _ = sender.send(connected);
        });
        match receiver.recv_timeout(CONNECT_TIMEOUT + CONNECT_TIMEOUT) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(unreachable(error.to_string())),
            Err(_) => Err(unreachable("no answer in time".to_string())),
        }
    }
}

fn repository(id: &str, kind: RepoKind) -> Repo {
    let kind = match kind {
        RepoKind::Model => RepoType::Model,
        RepoKind::Dataset => RepoType::Dataset,
    };
    Repo::new(id.to_string(), kind)
}

fn download_error(endpoint: &str, repo: &str, file: &str, error: &ApiError) -> Error {
    let text = error.to_string();
    let hint = match error {
        ApiError::RequestError(request) => match **request {
            ureq::Error::StatusCode(401 | 403) => {
                "; it does not exist, or needs a token in HF_TOKEN"
            }
            ureq::Error::StatusCode(404) => {
                "; check the spelling of the id, and whether the repository has this file"
            }
            ureq::Error::StatusCode(_) => "",
            // The hub never answered: no network, a proxy that is gone, a broken connection.
            _ => {
                return Error::Unreachable { endpoint: endpoint.to_string(), reason: text };
            }
        },
        _ => "",
    };
    Error::Download {
        repo: repo.to_string(),
        file: file.to_string(),
        reason: format!("{text}{hint}"),
    }
}

/// Names of the files below a folder, relative to it, with `/` between folders.
fn list_files(folder: &Path, prefix: String, depth: usize, names: &mut Vec<String>) -> Result<()> {
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let name = format!("{prefix}{name}");
        if path.is_dir() {
            if depth > 0 {
                list_files(&path, format!("{name}/"), depth - 1, names)?;
            }
        } else {
            names.push(name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_decide_where_files_come_from() {
        let hub = |variables: &'static [(&str, &str)]| {
            Hub::from_variables(|name| {
                let found = variables.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| value.to_string())
            })
        };
        assert_eq!(hub(&[("HOME", "/h")]).cache, Path::new("/h/.cache/huggingface/hub"));
        assert_eq!(hub(&[("HF_HOME", "/x")]).cache, Path::new("/x/hub"));
        assert_eq!(hub(&[("HF_HOME", "/x"), ("HF_HUB_CACHE", "/y")]).cache, Path::new("/y"));
        assert_eq!(hub(&[("HF_ENDPOINT", "http://mirror/")]).endpoint, "http://mirror");
        assert_eq!(hub(&[("HF_TOKEN", "secret")]).token.as_deref(), Some("secret"));
        for (value, offline) in [("1", true), ("TRUE", true), ("on", true), ("0", false)] {
            let hub = Hub::from_variables(|name| (name == "HF_HUB_OFFLINE").then(|| value.into()));
            assert_eq!(hub.offline, offline, "{value}");
        }
    }
}
