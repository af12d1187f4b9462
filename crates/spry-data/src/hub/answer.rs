//! What a hub answers: facts about a file, a body, or why there is none.

use std::time::Duration;

use ureq::Body;
use ureq::http::{HeaderMap, Response, StatusCode};

use super::client::Client;
use super::source::{Repository, is_hash_like};
use crate::Error;
use crate::guard;

/// Why a request brought nothing.
#[derive(Debug)]
pub(super) enum Failure {
    /// The hub has no such file, revision or repository.
    Missing {
        reason: String,
        /// The commit that lacks the file, where the hub says it.
        commit: Option<String>,
    },
    /// Nobody answered.
    Unreachable(String),
    /// The answer is of no use, and would be none another time.
    Refused(String),
    /// Another attempt may help.
    Passing {
        reason: String,
        /// Whether it is as good as no answer.
        is_unreachable: bool,
        /// The pause that the hub asks for.
        wait: Option<Duration>,
    },
}

impl Failure {
    pub(super) fn broken(reason: impl Into<String>) -> Self {
        Self::Passing { reason: reason.into(), is_unreachable: true, wait: None }
    }

    pub(super) fn into_error(self, client: &Client, repo: &Repository, file: &str) -> Error {
        let (repo, file) = (repo.name(), guard::quotable(file));
        match self {
            Self::Missing { reason, .. } => Error::NotInRepository { repo, file, reason },
            Self::Unreachable(reason) | Self::Passing { reason, is_unreachable: true, .. } => {
                Error::Unreachable { endpoint: client.network.endpoint.url(), reason }
            }
            Self::Refused(reason) | Self::Passing { reason, .. } => {
                Error::Download { repo, file, reason }
            }
        }
    }
}

/// What the hub says of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Metadata {
    /// The commit that it is of.
    pub(super) commit: String,
    /// The revision by which the hub was asked.
    pub(super) asked: String,
    /// Name of its contents in the cache.
    pub(super) blob: String,
    /// Its length in bytes.
    pub(super) size: u64,
    /// The SHA-256 of its contents in hexadecimal digits, where the hub says it.
    pub(super) sha256: Option<String>,
}

/// The files of a commit.
#[derive(Clone, Debug)]
pub(super) struct Listing {
    pub(super) commit: String,
    pub(super) names: Vec<String>,
}

/// What the hub's headers say; those of a store that it redirects to are not asked.
pub(super) struct Facts {
    pub(super) commit: String,
    pub(super) etag: Option<String>,
    pub(super) linked_etag: Option<String>,
    pub(super) linked_size: Option<u64>,
}

impl Facts {
    pub(super) fn of(headers: &HeaderMap) -> Result<Option<Self>, Failure> {
        let Some(commit) = text(headers, "x-repo-commit")? else { return Ok(None) };
        if !is_hash_like(commit) {
            return Err(unusable("commit", commit));
        }
        let linked_size = match text(headers, "x-linked-size")? {
            Some(size) => Some(size.parse().map_err(|_| unusable("length", size))?),
            None => None,
        };
        Ok(Some(Self {
            commit: commit.to_string(),
            etag: etag(headers, "etag")?,
            linked_etag: etag(headers, "x-linked-etag")?,
            linked_size,
        }))
    }
}

pub(super) fn unusable(what: &str, value: &str) -> Failure {
    Failure::Refused(format!(
        "the hub names a {what} of a form that is not taken: `{}`",
        guard::quotable(value)
    ))
}

pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Failure> {
    let value = headers.get(name).map(|value| value.to_str());
    value.transpose().map_err(|_| Failure::Refused(format!("the hub's header `{name}` is no text")))
}

/// An etag without its quotes, good for a part of a path.
fn etag(headers: &HeaderMap, name: &str) -> Result<Option<String>, Failure> {
    let Some(etag) = text(headers, name)? else { return Ok(None) };
    let plain = etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"');
    if is_hash_like(plain) { Ok(Some(plain.to_string())) } else { Err(unusable("etag", etag)) }
}

pub(super) fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// An answer at the end of its redirects.
pub(super) struct Answer {
    pub(super) response: Response<Body>,
    pub(super) facts: Option<Facts>,
}

impl Answer {
    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(super) fn into_body(self) -> Body {
        self.response.into_body()
    }

    pub(super) fn length(&self) -> Result<Option<u64>, Failure> {
        let length = text(self.response.headers(), "content-length")?;
        length.map(|text| text.parse().map_err(|_| unusable("length", text))).transpose()
    }

    /// Fails for contents that would have to be decoded: they were not asked for.
    pub(super) fn check_is_plain(&self) -> Result<(), Failure> {
        match text(self.response.headers(), "content-encoding")? {
            None => Ok(()),
            Some(coding) if coding.eq_ignore_ascii_case("identity") => Ok(()),
            Some(coding) => Err(Failure::Refused(format!(
                "the hub sends it compressed (`{}`), which was not asked for",
                guard::quotable(coding)
            ))),
        }
    }

    /// Fails unless the answer is of this file, and of the length that was announced, less what
    /// is there `from` an earlier attempt.
    pub(super) fn check_is_of(&self, file: &Metadata, from: u64) -> Result<(), Failure> {
        self.check_is_plain()?;
        let changed = "the file changed on the hub while it was downloaded; try again";
        if let Some(facts) = &self.facts
            && (facts.commit != file.commit
                || facts.linked_size.is_some_and(|size| size != file.size))
        {
            return Err(Failure::Refused(changed.to_string()));
        }
        let expected = file.size - from;
        match self.length()? {
            Some(length) if length != expected => Err(Failure::Refused(format!(
                "the hub announced {expected} bytes, but sends {length}"
            ))),
            _ => Ok(()),
        }
    }

    /// Whether the answer is the rest of a file of this length.
    pub(super) fn is_rest_from(&self, from: u64, size: u64) -> bool {
        let range =
            text(self.response.headers(), "content-range").ok().flatten().unwrap_or_default();
        range == format!("bytes {from}-{}/{size}", size.saturating_sub(1))
    }
}
