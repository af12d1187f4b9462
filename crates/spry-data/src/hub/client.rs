//! Requests to a hub, which may be broken or hostile: everything that it says is bounded and
//! checked before it is believed.

use std::io::Read;
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;
use ureq::http::{Method, Request, Response, StatusCode};
use ureq::{Agent, Body};

use super::address::Address;
use super::answer::{Answer, Facts, Failure, Listing, Metadata, is_hex, text, unusable};
use super::environment::Network;
use super::limits::{Limits, Meter};
use super::source::{Repository, is_file_name, is_hash_like};
use crate::guard;

/// Longest pause before another attempt that a hub may ask for.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Bytes of an answer's headers.
const MAX_HEADERS: usize = 64 << 10;

/// Bytes read at a time.
pub(super) const CHUNK: usize = 64 << 10;

/// Requests to one hub.
pub(super) struct Client<'a> {
    pub(super) agent: &'a Agent,
    pub(super) network: &'a Network,
}

/// The HTTP client underneath. Redirects are followed here instead of there: each of them says
/// something, and may lead to where the token must not go.
pub(super) fn agent(limits: &Limits, proxy: Option<ureq::Proxy>) -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(proxy)
        .user_agent(concat!("spry/", env!("CARGO_PKG_VERSION")))
        .max_response_header_size(MAX_HEADERS)
        .timeout_resolve(Some(limits.answer))
        .timeout_connect(Some(limits.answer))
        .timeout_send_request(Some(limits.answer))
        .timeout_recv_response(Some(limits.answer))
        .timeout_per_read(Some(limits.stall.max(limits.answer)))
        .timeout_per_write(Some(limits.answer))
        .build()
        .into()
}

impl Client<'_> {
    pub(super) fn limits(&self) -> &Limits {
        &self.network.limits
    }

    /// What the hub says of a file at a revision.
    pub(super) fn metadata(
        &self,
        repo: &Repository,
        revision: &str,
        name: &str,
    ) -> Result<Metadata, Failure> {
        let answer = self.patiently(|| {
            let answer = self.send(&Method::HEAD, &repo.path_of(revision, name), 0)?;
            check_status(&answer)?;
            Ok(answer)
        })?;
        let length = match answer.check_is_plain() {
            Ok(()) => answer.length()?,
            Err(_) => None,
        };
        let facts = answer.facts.ok_or_else(|| {
            let reason =
                "the answer has no header X-Repo-Commit, so this is no hub; check HF_ENDPOINT";
            Failure::Refused(reason.to_string())
        })?;
        let missing = |what| Failure::Refused(format!("the hub does not tell the file's {what}"));
        let size = facts.linked_size.or(length).ok_or_else(|| missing("length"))?;
        let limit = self.limits().bytes_of(name);
        if size > limit {
            return Err(Failure::Refused(format!(
                "the hub announces {size} bytes, but at most {limit} are taken of such a file"
            )));
        }
        let sha256 = facts.linked_etag.clone().filter(|etag| is_hex(etag, 64));
        let etag = facts.linked_etag.or(facts.etag).ok_or_else(|| missing("etag"))?;
        // A hash names contents. Any other etag may be that of other files, too.
        let blob = if is_hex(&etag, 40) || is_hex(&etag, 64) {
            etag
        } else {
            blake3::hash(format!("{name}\0{size}\0{etag}").as_bytes()).to_hex().to_string()
        };
        Ok(Metadata { commit: facts.commit, asked: revision.to_string(), blob, size, sha256 })
    }

    /// The files of a repository at a revision.
    pub(super) fn list(&self, repo: &Repository, revision: &str) -> Result<Listing, Failure> {
        #[derive(Deserialize)]
        struct Info {
            sha: String,
            siblings: Option<Vec<Sibling>>,
        }
        #[derive(Deserialize)]
        struct Sibling {
            rfilename: String,
        }
        let body = self.patiently(|| {
            let answer = self.send(&Method::GET, &repo.path_of_list(revision), 0)?;
            check_status(&answer)?;
            answer.check_is_plain()?;
            self.read_list(answer.into_body())
        })?;
        let info: Info = serde_json::from_slice(&body).map_err(|error| {
            Failure::Refused(format!(
                "the hub's list is not understood: {}",
                guard::quotable(&error.to_string())
            ))
        })?;
        if !is_hash_like(&info.sha) {
            return Err(unusable("commit", &info.sha));
        }
        let siblings = info.siblings.unwrap_or_default();
        if siblings.len() > self.limits().list_files {
            let (found, limit) = (siblings.len(), self.limits().list_files);
            return Err(Failure::Refused(format!(
                "it has {found} files, but at most {limit} are taken"
            )));
        }
        let mut names: Vec<String> =
            siblings.into_iter().map(|sibling| sibling.rfilename).collect();
        if let Some(name) = names.iter().find(|name| !is_file_name(name)) {
            return Err(unusable("file", name));
        }
        names.sort();
        names.dedup();
        Ok(Listing { commit: info.sha, names })
    }

    fn read_list(&self, body: Body) -> Result<Vec<u8>, Failure> {
        let limits = self.limits();
        let mut meter = Meter::new(limits, Some(limits.list));
        let mut reader = body.into_reader();
        let (mut contents, mut chunk) = (Vec::new(), vec![0; CHUNK]);
        loop {
            let bytes = read(&mut reader, &mut chunk)?;
            if bytes == 0 {
                return Ok(contents);
            }
            contents.extend_from_slice(&chunk[..bytes]);
            if contents.len() as u64 > limits.list_bytes {
                return Err(Failure::Refused(format!(
                    "the list is longer than {} bytes, more than is taken",
                    limits.list_bytes
                )));
            }
            if !meter.is_in_time_after(bytes) {
                return Err(Failure::Refused("the list comes too slowly".to_string()));
            }
        }
    }

    /// A file's contents, from a position on.
    pub(super) fn open(
        &self,
        repo: &Repository,
        file: &Metadata,
        name: &str,
        from: u64,
    ) -> Result<Answer, Failure> {
        let answer = self.send(&Method::GET, &repo.path_of(&file.asked, name), from)?;
        if answer.status() != StatusCode::RANGE_NOT_SATISFIABLE {
            check_status(&answer)?;
        }
        Ok(answer)
    }

    /// Asks again, after a pause, as long as that may help.
    fn patiently<T>(&self, mut ask: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
        let mut attempt = 1;
        loop {
            match ask() {
                Err(Failure::Passing { wait, .. }) if attempt < self.limits().attempts => {
                    self.pause(attempt, wait);
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    pub(super) fn pause(&self, attempt: usize, wait: Option<Duration>) {
        let doublings = u32::try_from(attempt).unwrap_or(1).clamp(1, 8) - 1;
        let pause = self.limits().pause * 2_u32.pow(doublings);
        thread::sleep(wait.unwrap_or(pause).min(MAX_WAIT));
    }

    /// Sends a request and follows redirects.
    fn send(&self, method: &Method, path: &str, from: u64) -> Result<Answer, Failure> {
        let first = self.network.endpoint.below(path);
        let (mut address, mut facts) = (first.clone(), None);
        // Whoever has led the request away once does not get it back with a token.
        let mut is_at_home = true;
        let begin = Instant::now();
        for _ in 0..=self.limits().redirects {
            let response = self.request(method, &address, is_at_home, from)?;
            if let Some(found) = Facts::of(response.headers())? {
                facts = Some(found);
            }
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(Answer { response, facts });
            }
            let refused = |reason: &str| {
                let (from, status) = (address.origin(), response.status().as_u16());
                Failure::Refused(format!("{from} redirects (status {status}), but {reason}"))
            };
            let location =
                text(response.headers(), "location")?.ok_or_else(|| refused("not where to"))?;
            let next = address
                .join(location)
                .map_err(|reason| refused(&format!("that is not followed: {reason}")))?;
            is_at_home &= next.is_same_origin(&first);
            address = next;
            if begin.elapsed() > self.limits().answer * 4 {
                return Err(Failure::Refused("redirects take too long".to_string()));
            }
        }
        let limit = self.limits().redirects;
        Err(Failure::Refused(format!("the hub redirects more than {limit} times")))
    }

    fn request(
        &self,
        method: &Method,
        address: &Address,
        is_at_home: bool,
        from: u64,
    ) -> Result<Response<Body>, Failure> {
        let token = self.network.token.as_ref().filter(|_| is_at_home);
        // A token goes before a user and password in the address.
        let url = if is_at_home && token.is_none() {
            address.url_with_credentials()
        } else {
            address.url()
        };
        let mut request =
            Request::builder().method(method).uri(url).header("accept-encoding", "identity");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {}", token.reveal()));
        }
        if from > 0 {
            request = request.header("range", format!("bytes={from}-"));
        }
        let request = request.body(()).map_err(|_| {
            Failure::Refused(format!(
                "no request can be made of an address at {}",
                address.origin()
            ))
        })?;
        match guard::catch_panics(|| self.agent.run(request)) {
            Ok(result) => result.map_err(|error| failure(&error, &address.origin())),
            Err(reason) => Err(Failure::Refused(format!(
                "the answer is not understood: {}",
                guard::quotable(&reason)
            ))),
        }
    }
}

fn check_status(answer: &Answer) -> Result<(), Failure> {
    let status = answer.status().as_u16();
    let refused =
        |hint: &str| Err(Failure::Refused(format!("the hub answers with status {status}{hint}")));
    match status {
        200 | 206 => Ok(()),
        404 => Err(Failure::Missing {
            reason: format!(
                "the hub answers with status {status}; check the spelling of the id, and whether \
                 the repository has this file"
            ),
            commit: answer.facts.as_ref().map(|facts| facts.commit.clone()),
        }),
        401 | 403 => refused("; it does not exist, or needs a token in HF_TOKEN"),
        429 | 500 | 502 | 503 | 504 => {
            let wait = text(answer.response.headers(), "retry-after")?;
            let wait = wait.and_then(|wait| wait.parse().ok()).map(Duration::from_secs);
            if let Some(wait) = wait.filter(|wait| *wait > MAX_WAIT) {
                return refused(&format!(", and asks to wait {} seconds", wait.as_secs()));
            }
            let hint =
                if status == 429 { "; try again later, or with a token in HF_TOKEN" } else { "" };
            let reason = format!("the hub answers with status {status}{hint}");
            Err(Failure::Passing { reason, is_unreachable: false, wait })
        }
        _ => refused(""),
    }
}

/// Reads some of a body.
pub(super) fn read(reader: &mut impl Read, chunk: &mut [u8]) -> Result<usize, Failure> {
    let result = guard::catch_panics(|| reader.read(chunk));
    let result = result.map_err(|reason| Failure::Refused(guard::quotable(&reason)))?;
    result.map_err(|error| match ureq::Error::from(error) {
        error @ (ureq::Error::Io(_) | ureq::Error::Timeout(_)) => Failure::broken(format!(
            "the connection broke off ({})",
            guard::quotable(&error.to_string())
        )),
        error => Failure::Refused(format!(
            "the answer is not understood: {}",
            guard::quotable(&error.to_string())
        )),
    })
}

fn failure(error: &ureq::Error, origin: &str) -> Failure {
    use std::io::ErrorKind;
    use ureq::Error as Http;
    let reason = format!("{origin}: {}", guard::quotable(&error.to_string()));
    match error {
        Http::Io(error)
            if matches!(
                error.kind(),
                ErrorKind::UnexpectedEof
                    | ErrorKind::ConnectionReset
                    | ErrorKind::ConnectionAborted
                    | ErrorKind::BrokenPipe
            ) =>
        {
            Failure::broken(reason)
        }
        // An address may have a password.
        Http::BadUri(_) | Http::InvalidProxyUrl => {
            Failure::Refused(format!("the address at {origin} cannot be used"))
        }
        Http::Protocol(_) | Http::LargeResponseHeader(..) | Http::Http(_) => {
            Failure::Refused(format!("the answer of {reason} is not understood"))
        }
        _ => Failure::Unreachable(reason),
    }
}
