//! One commit of a repository, and its files.
//!
//! The commit is what the cache last saw the revision at, or else what the hub says. It stays for
//! as long as the program runs. Files that the cache lacks are asked of that commit; only if the
//! hub has them in a newer commit alone does the repository move there, with all of its files.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use ureq::Agent;

use super::answer::{Failure, Listing, Metadata};
use super::cache::Folder;
use super::client::{Client, agent};
use super::local::{missing, unusable};
use super::source::{Repository, is_file_name};
use super::{Hub, download};
use crate::splits::{SplitProblem, of_split};
use crate::{Error, Result, guard};

/// How often a repository may move before that is an error.
pub(super) const MOVES: usize = 3;

/// Missing files that a message names.
const NAMED: usize = 5;

/// What is known of the hub while the program runs.
#[derive(Default)]
pub(super) struct Shared {
    agent: OnceLock<Agent>,
    pins: Mutex<HashMap<Repository, Pin>>,
    listings: Mutex<HashMap<Repository, Listing>>,
    /// Optional files, one of each repository, that the hub could not be asked for. The next ones
    /// are not waited for.
    unasked: Mutex<HashMap<Repository, String>>,
}

/// The commit that a repository is read at.
#[derive(Clone)]
struct Pin {
    commit: String,
    /// Whether the hub said so, and not the cache.
    is_fresh: bool,
    /// Whether somebody has files of it.
    is_used: bool,
}

/// What to do about a file that the commit lacks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// It is a newer commit's then, if that has it.
    Required,
    /// It is not there.
    Optional,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panicking thread left is whole: values are put in at once.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    /// Files of a repository, all of one commit.
    pub(super) fn files_of(&self, repo: &Repository, names: &[&str]) -> Result<Vec<PathBuf>> {
        self.settled(repo, || self.try_files(repo, names, Need::Required))
    }

    /// A file of a repository, if the commit has it.
    pub(super) fn optional_file_of(
        &self,
        repo: &Repository,
        name: &str,
    ) -> Result<Option<PathBuf>> {
        let folder = self.folder(repo)?;
        if let Some(pin) = self.pin(repo, &folder)
            && folder.file(&pin.commit, name).is_none()
        {
            if folder.is_absent(&pin.commit, name) {
                return Ok(None);
            }
            let mut unasked = locked(&self.shared.unasked);
            if !unasked.is_empty() {
                unasked.entry(repo.clone()).or_insert_with(|| name.to_string());
                return Ok(None);
            }
        }
        match self.settled(repo, || self.try_files(repo, &[name], Need::Optional)) {
            Ok(paths) => Ok(paths.into_iter().next()),
            Err(Error::NotInRepository { .. }) => Ok(None),
            Err(error) if error.is_offline() => {
                if !self.is_offline() {
                    locked(&self.shared.unasked)
                        .entry(repo.clone())
                        .or_insert_with(|| name.to_string());
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The Parquet files of a split, all of one commit, and all that it has.
    pub(super) fn split_of(
        &self,
        repo: &Repository,
        configuration: Option<&str>,
        split: &str,
    ) -> Result<Vec<PathBuf>> {
        self.settled(repo, || self.try_split(repo, configuration, split))
    }

    /// Reads again if the repository moved and nobody has files of the commit that it was at.
    fn settled<T>(&self, repo: &Repository, read: impl Fn() -> Result<T>) -> Result<T> {
        let mut attempt = 1;
        loop {
            let was_used = locked(&self.shared.pins).get(repo).is_some_and(|pin| pin.is_used);
            match read() {
                Err(Error::Moved { .. }) if !was_used && attempt < MOVES => attempt += 1,
                Ok(result) => {
                    if let Some(pin) = locked(&self.shared.pins).get_mut(repo) {
                        pin.is_used = true;
                    }
                    return Ok(result);
                }
                error => return error,
            }
        }
    }

    fn try_files(&self, repo: &Repository, names: &[&str], need: Need) -> Result<Vec<PathBuf>> {
        if let Some(name) = names.iter().find(|name| !is_file_name(name)) {
            return Err(Error::Download {
                repo: repo.name(),
                file: guard::quotable(name),
                reason: "this is no name of a file inside a repository".to_string(),
            });
        }
        let folder = self.folder(repo)?;
        let pin = self.pin(repo, &folder);
        let is_fresh = pin.as_ref().is_none_or(|pin| pin.is_fresh);
        let mut commit = pin.map(|pin| pin.commit);
        let is_cached =
            |name: &str| commit.as_ref().is_some_and(|commit| folder.file(commit, name).is_some());
        let missing: Vec<&str> = names.iter().copied().filter(|name| !is_cached(name)).collect();
        if !missing.is_empty() && self.is_offline() {
            return Err(self.not_cached(repo, &missing)?);
        }
        let mut found: Vec<(&str, Metadata)> = Vec::new();
        let client = if missing.is_empty() { None } else { Some(self.client()?) };
        if let Some(client) = &client {
            for name in missing {
                let file = self.locate(client, repo, &folder, commit.as_deref(), name, need)?;
                commit.get_or_insert_with(|| file.commit.clone());
                found.push((name, file));
            }
            // The hub answers, and did not when it was asked for a file that may change the model.
            if let Some(name) = locked(&self.shared.unasked).get(repo) {
                return Err(Error::Download {
                    repo: repo.name(),
                    file: name.clone(),
                    reason: "the hub did not answer when it was asked for it; try again".into(),
                });
            }
            // Names appear when all contents are there: what broke off is not taken for whole.
            for (name, file) in &found {
                download::blob(client, &folder, repo, name, file)?;
            }
        }
        let Some(commit) = commit else { return Ok(Vec::new()) };
        for (name, file) in &found {
            folder.link(&commit, name, &file.blob)?;
        }
        if is_fresh && !repo.is_at_commit() {
            folder.set_commit(repo, &commit)?;
        }
        let pin = Pin { commit: commit.clone(), is_fresh, is_used: false };
        locked(&self.shared.pins).entry(repo.clone()).or_insert(pin);
        let path_of = |name: &&str| {
            let gone = || Error::io(*name)(std::io::ErrorKind::NotFound.into());
            folder.file(&commit, name).ok_or_else(gone)
        };
        names.iter().map(path_of).collect()
    }

    /// What the hub says of a file of a commit, or of the revision's newest one if there is no
    /// commit yet.
    fn locate(
        &self,
        client: &Client,
        repo: &Repository,
        folder: &Folder,
        commit: Option<&str>,
        name: &str,
        need: Need,
    ) -> Result<Metadata> {
        let error = |failure: Failure| failure.into_error(client, repo, name);
        let Some(commit) = commit else {
            return client.metadata(repo, repo.revision(), name).map_err(error);
        };
        let absent = match client.metadata(repo, commit, name) {
            Ok(file) if file.commit == commit => return Ok(file),
            Ok(file) if repo.is_at_commit() => {
                return Err(error(other_commit(commit, &file.commit)));
            }
            Err(absent @ Failure::Missing { .. }) if !repo.is_at_commit() => Some(absent),
            Ok(_) => None,
            Err(failure) => return Err(error(failure)),
        };
        // Some mirrors know branches alone, and the file may be newer than the commit.
        match client.metadata(repo, repo.revision(), name) {
            Ok(file) if file.commit == commit => return Ok(file),
            Ok(file) if need == Need::Required => {
                return Err(self.moved(repo, commit, file.commit));
            }
            Ok(_) | Err(Failure::Missing { .. }) => {}
            Err(failure) => return Err(error(failure)),
        }
        let absent = absent.unwrap_or_else(|| Failure::Missing {
            reason: format!("commit {commit} does not have it"),
            commit: None,
        });
        if let Failure::Missing { commit: Some(of), .. } = &absent
            && of == commit
        {
            folder.set_absent(commit, name);
        }
        Err(error(absent))
    }

    fn try_split(
        &self,
        repo: &Repository,
        configuration: Option<&str>,
        split: &str,
    ) -> Result<Vec<PathBuf>> {
        let folder = self.folder(repo)?;
        let pin = self.pin(repo, &folder);
        let names = pin.as_ref().map_or(Vec::new(), |pin| folder.names(&pin.commit));
        let found = of_split(&names, configuration, split);
        let cached = found.as_deref().unwrap_or_default();
        let is_complete = !cached.is_empty();
        let take = |names: &[String]| {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            self.try_files(repo, &names, Need::Required)
        };
        if is_complete && (self.is_offline() || tell_their_number(cached)) {
            return take(cached);
        }
        if self.is_offline() {
            if let Err(problem @ SplitProblem::Doubled(_)) = &found {
                return Err(unusable(split, &repo.name(), problem));
            }
            let is_own = |name: &&String| {
                of_split(std::slice::from_ref(*name), configuration, split) != Ok(Vec::new())
            };
            let own: Vec<String> = names.iter().filter(is_own).cloned().collect();
            let (missing, pattern) = (missing_shards(&own), format!("{split}-*.parquet"));
            let missing: Vec<&str> = missing.iter().map(String::as_str).collect();
            let missing = if missing.is_empty() { vec![pattern.as_str()] } else { missing };
            return Err(self.not_cached(repo, &missing)?);
        }
        let client = self.client()?;
        let listing = match self.listing(&client, repo, pin.as_ref()) {
            // Nothing says that something is missing, and nobody can be asked.
            Err(error) if is_complete && error.is_offline() => return take(cached),
            listing => listing?,
        };
        let names = of_split(&listing.names, configuration, split);
        let names = names.map_err(|problem| unusable(split, &repo.name(), &problem))?;
        if names.is_empty() {
            if let Some(pin) = pin.filter(|pin| !pin.is_fresh && !repo.is_at_commit()) {
                let newest = client.list(repo, repo.revision());
                let newest = newest.map_err(|failure| failure.into_error(&client, repo, LIST))?;
                let is_newer = newest.commit != pin.commit;
                let has_split = of_split(&newest.names, configuration, split) != Ok(Vec::new());
                if is_newer && has_split {
                    return Err(self.moved(repo, &pin.commit, newest.commit));
                }
            }
            return Err(missing(split, repo.name(), configuration));
        }
        if pin.is_none() {
            let pin = Pin { commit: listing.commit, is_fresh: true, is_used: false };
            locked(&self.shared.pins).insert(repo.clone(), pin);
        }
        take(&names)
    }

    /// The files of a commit, or of the revision's newest one.
    fn listing(&self, client: &Client, repo: &Repository, pin: Option<&Pin>) -> Result<Listing> {
        let error = |failure: Failure| failure.into_error(client, repo, LIST);
        let Some(Pin { commit, .. }) = pin else {
            let listing = client.list(repo, repo.revision()).map_err(error)?;
            locked(&self.shared.listings).insert(repo.clone(), listing.clone());
            return Ok(listing);
        };
        let known = locked(&self.shared.listings).get(repo).cloned();
        if let Some(known) = known.filter(|known| known.commit == *commit) {
            return Ok(known);
        }
        let listing = match client.list(repo, commit) {
            // Some mirrors know branches alone.
            Err(Failure::Missing { .. }) if !repo.is_at_commit() => {
                client.list(repo, repo.revision())
            }
            listing => listing,
        };
        let listing = listing.map_err(error)?;
        if listing.commit != *commit {
            return Err(if repo.is_at_commit() {
                error(other_commit(commit, &listing.commit))
            } else {
                self.moved(repo, commit, listing.commit)
            });
        }
        locked(&self.shared.listings).insert(repo.clone(), listing.clone());
        Ok(listing)
    }

    /// Lets a repository be read at another commit from now on.
    fn moved(&self, repo: &Repository, from: &str, to: String) -> Error {
        let error = Error::Moved { repo: repo.name(), from: from.to_string(), to: to.clone() };
        let pin = Pin { commit: to, is_fresh: true, is_used: false };
        locked(&self.shared.pins).insert(repo.clone(), pin);
        error
    }

    fn pin(&self, repo: &Repository, folder: &Folder) -> Option<Pin> {
        let mut pins = locked(&self.shared.pins);
        if let Some(pin) = pins.get(repo) {
            return Some(pin.clone());
        }
        let pin = Pin { commit: folder.commit(repo)?, is_fresh: false, is_used: false };
        Some(pins.entry(repo.clone()).or_insert(pin).clone())
    }

    fn folder(&self, repo: &Repository) -> Result<Folder> {
        Ok(Folder::new(self.cache()?, repo, self.environment.has_symlinks))
    }

    fn client(&self) -> Result<Client<'_>> {
        let network = self.environment.network.as_ref().map_err(Error::from)?;
        let agent = self.shared.agent.get_or_init(|| agent(&network.limits, self.proxy.clone()));
        Ok(Client { agent, network })
    }

    fn not_cached(&self, repo: &Repository, missing: &[&str]) -> Result<Error> {
        let mut file = missing[..missing.len().min(NAMED)].join("`, `");
        if missing.len() > NAMED {
            file = format!(
                "{file}` and {} more, to `{}",
                missing.len() - NAMED,
                missing[missing.len() - 1]
            );
        }
        Ok(Error::NotCached { repo: repo.name(), file, cache: self.cache()?.to_path_buf() })
    }
}

/// What a list is called in messages.
const LIST: &str = "its list of files";

fn other_commit(asked: &str, answered: &str) -> Failure {
    Failure::Refused(format!("asked for commit {asked}, the hub answers with commit {answered}"))
}

/// Index and number of a shard, from a name such as `train-00000-of-00002.parquet`.
fn shard(name: &str) -> Option<(&str, usize, usize)> {
    let (rest, total) = name.strip_suffix(".parquet")?.rsplit_once("-of-")?;
    let (stem, index) = rest.rsplit_once('-')?;
    Some((stem, index.parse().ok()?, total.parse().ok()?))
}

/// Whether the names say themselves how many there are: one file without a number, or shards.
fn tell_their_number(names: &[String]) -> bool {
    names.iter().all(|name| shard(name).is_some())
        || matches!(names, [name] if !name.rsplit('/').next().unwrap_or(name).contains('-'))
}

/// The shards that are missing beside those that there are.
fn missing_shards(names: &[String]) -> Vec<String> {
    let Some((stem, _, total)) = names.iter().find_map(|name| shard(name)) else {
        return Vec::new();
    };
    // Names may claim any number.
    const MAX: usize = 100_000;
    (0..total.min(MAX))
        .map(|index| format!("{stem}-{index:05}-of-{total:05}.parquet"))
        .filter(|name| !names.contains(name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_shards_are_named() {
        let names = ["data/train-00001-of-00003.parquet".to_string()];
        let missing = ["data/train-00000-of-00003.parquet", "data/train-00002-of-00003.parquet"];
        assert_eq!(missing_shards(&names), missing);
        assert!(missing_shards(&["train.parquet".to_string()]).is_empty());
    }

    #[test]
    fn only_shards_and_single_files_tell_their_number() {
        let tell = |names: &[&str]| {
            tell_their_number(&names.iter().map(|name| name.to_string()).collect::<Vec<_>>())
        };
        assert!(tell(&["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"]));
        assert!(tell(&["my-data/train.parquet"]));
        assert!(!tell(&["train-a.parquet"]) && !tell(&["train.parquet", "train-a.parquet"]));
    }
}
