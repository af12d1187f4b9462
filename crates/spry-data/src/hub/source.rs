//! What a name stands for: a local directory, or a repository of the hub.

use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The branch that is meant where no revision is named.
const MAIN: &str = "main";

/// Longest name of a file in a repository, in bytes.
const MAX_NAME: usize = 1024;

/// Longest part of a path, in bytes: that of common file systems, less room for suffixes.
const MAX_COMPONENT: usize = 200;

/// A model or dataset: in a local directory, or in a repository of the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A local directory in Hugging Face layout.
    Directory(PathBuf),
    /// A repository's id, such as `fancyzhx/ag_news`, with a branch, tag or commit after an `@` if
    /// it is not the branch `main` that is meant.
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
    /// assert!(matches!(Source::parse("fancyzhx/ag_news@v1.0")?, Source::Hub(_)));
    /// assert!(matches!(Source::parse(".")?, Source::Directory(_)));
    /// assert!(Source::parse("../no/such/directory").is_err());
    /// # Ok::<(), spry_data::Error>(())
    /// ```
    pub fn parse(name: &str) -> Result<Self> {
        if Path::new(name).is_dir() {
            return Ok(Self::Directory(PathBuf::from(name)));
        }
        // The kind makes no difference for what a good name is.
        Repository::new(name, RepoKind::Model).map(|_| Self::Hub(name.to_string()))
    }
}

impl Source {
    /// A repository's id, and the revision that is named with it; none for a directory.
    ///
    /// ```
    /// use spry_data::Source;
    ///
    /// let source = Source::parse("fancyzhx/ag_news@v1.0")?;
    /// assert_eq!(source.repository(), Some(("fancyzhx/ag_news", Some("v1.0"))));
    /// # Ok::<(), spry_data::Error>(())
    /// ```
    pub fn repository(&self) -> Option<(&str, Option<&str>)> {
        match self {
            Self::Directory(_) => None,
            Self::Hub(name) => Some(match name.split_once('@') {
                Some((id, revision)) => (id, Some(revision)),
                None => (name.as_str(), None),
            }),
        }
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RepoKind {
    /// A model.
    Model,
    /// A dataset.
    Dataset,
}

/// A repository of the hub at a revision. Its parts are checked: they may go into paths.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Repository {
    kind: RepoKind,
    id: String,
    revision: String,
}

impl Repository {
    pub(super) fn new(name: &str, kind: RepoKind) -> Result<Self> {
        let (id, revision) = name.split_once('@').unwrap_or((name, MAIN));
        let is_plain = |part: &str| {
            is_component(part)
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        // Two dashes stand for the slash in the cache.
        let is_part = |part: &str| is_plain(part) && !part.contains("--");
        let parts: Vec<&str> = id.split('/').collect();
        let is_good = parts.len() <= 2
            && parts.iter().all(|part| is_part(part))
            && revision.len() <= MAX_COMPONENT
            && revision.split('/').all(is_plain);
        if !is_good {
            return Err(Error::NotASource { name: name.to_string() });
        }
        Ok(Self { kind, id: id.to_string(), revision: revision.to_string() })
    }

    /// The id, with the revision if it is not the usual one.
    pub(super) fn name(&self) -> String {
        match self.revision.as_str() {
            MAIN => self.id.clone(),
            revision => format!("{}@{revision}", self.id),
        }
    }

    pub(super) fn revision(&self) -> &str {
        &self.revision
    }

    /// Whether the revision is a commit: nothing else has this form on the hub.
    pub(super) fn is_at_commit(&self) -> bool {
        self.revision.len() == 40 && self.revision.bytes().all(|byte| byte.is_ascii_hexdigit())
    }

    /// Name of its folder in the cache.
    pub(super) fn folder(&self) -> String {
        let kind = match self.kind {
            RepoKind::Model => "models",
            RepoKind::Dataset => "datasets",
        };
        format!("{kind}--{}", self.id.replace('/', "--"))
    }

    /// The address of a file below the hub's.
    pub(super) fn path_of(&self, revision: &str, name: &str) -> String {
        let prefix = match self.kind {
            RepoKind::Model => "",
            RepoKind::Dataset => "/datasets",
        };
        let name: Vec<String> = name.split('/').map(encode).collect();
        format!("{prefix}/{}/resolve/{}/{}", self.id, encode(revision), name.join("/"))
    }

    /// The address of the list of files below the hub's.
    pub(super) fn path_of_list(&self, revision: &str) -> String {
        let kind = match self.kind {
            RepoKind::Model => "models",
            RepoKind::Dataset => "datasets",
        };
        format!("/api/{kind}/{}/revision/{}", self.id, encode(revision))
    }
}

/// Text as a part of a URL's path.
fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Whether a text is one part of a path that cannot lead elsewhere, on any system.
pub(super) fn is_component(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_COMPONENT
        && !text.starts_with('.')
        && !text.ends_with(['.', ' '])
        && !text.chars().any(|c| c.is_control() || "/\\:*?\"<>|".contains(c))
}

/// Whether a text names a file inside a repository: plain parts with slashes between them.
pub(super) fn is_file_name(name: &str) -> bool {
    let is_part = |part: &str| {
        // Files such as `.gitattributes` are common.
        let rest = part.strip_prefix('.').unwrap_or(part);
        is_component(rest)
    };
    name.len() <= MAX_NAME && name.split('/').all(is_part)
}

/// Whether a text of the hub can name a commit or a blob in the cache.
pub(super) fn is_hash_like(text: &str) -> bool {
    is_component(text)
        && text.len() <= 128
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.+=~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_are_taken() {
        for good in ["a/b", "gpt2", "a/b@main", "a/b@refs/pr/1", "a/b@v1.0", "a.b/c_d-e"] {
            assert!(Repository::new(good, RepoKind::Model).is_ok(), "{good}");
        }
        for bad in [
            "", "/a", "a/", "a/b/c", "../a", "a/..", "a/.b", "a--b/c", "a b", "a/b@", "a/b@../x",
            "a/b@/x", "a/b@x//y", "a/b@x\0", "a\\b", "c:a",
        ] {
            assert!(Repository::new(bad, RepoKind::Model).is_err(), "{bad:?}");
        }
        for good in ["config.json", "data/train 1.parquet", ".gitattributes", "a/.b/ü.txt"] {
            assert!(is_file_name(good), "{good}");
        }
        let long = "x".repeat(300);
        for bad in [
            "",
            "/etc/passwd",
            "a//b",
            "..",
            "a/../b",
            "a/./b",
            "a\\b",
            "c:\\x",
            "a\0",
            "a\n",
            "a/",
            &long,
        ] {
            assert!(!is_file_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn revisions_and_names_are_encoded_in_addresses() {
        let repo = Repository::new("a/b@refs/pr/1", RepoKind::Dataset).unwrap();
        let path = repo.path_of(repo.revision(), "x/a b#?%.txt");
        assert_eq!(path, "/datasets/a/b/resolve/refs%2Fpr%2F1/x/a%20b%23%3F%25.txt");
        assert_eq!(repo.path_of_list("main"), "/api/datasets/a/b/revision/main");
        assert_eq!((repo.folder(), repo.name()), ("datasets--a--b".into(), "a/b@refs/pr/1".into()));
    }
}
