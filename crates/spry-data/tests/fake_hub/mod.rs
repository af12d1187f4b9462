//! A hub on this machine that does what a test tells it to.

#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use spry_data::Hub;
use spry_data::hub::Limits;

/// A commit.
pub const FIRST: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
/// A later one.
pub const SECOND: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

/// What a client asked for.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// All lines of the head.
    pub head: String,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    pub fn is_head(&self) -> bool {
        self.method == "HEAD"
    }
}

/// Listens on a port of its own, one thread for each connection.
pub struct Server {
    pub address: String,
    pub requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub fn start(
        answer: impl Fn(&Request, &mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (requests.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, answer) = (log.clone(), answer.clone());
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(stream.try_clone().unwrap());
                    let mut head = String::new();
                    while reader.read_line(&mut head).unwrap_or(0) > 2 {}
                    let mut words = head.split(' ');
                    let (Some(method), Some(path)) = (words.next(), words.next()) else { return };
                    let request =
                        Request { method: method.into(), path: path.into(), head: head.clone() };
                    log.lock().unwrap().push(request.clone());
                    // The client may have had enough.
                    let mut stream = stream;
                    let _ = answer(&request, &mut stream);
                });
            }
        });
        Self { address, requests }
    }

    pub fn count(&self, method: &str) -> usize {
        self.requests.lock().unwrap().iter().filter(|request| request.method == method).count()
    }

    pub fn paths(&self) -> Vec<String> {
        self.requests.lock().unwrap().iter().map(|request| request.path.clone()).collect()
    }

    pub fn hub(&self, cache: &Path) -> Hub {
        hub(&[("HF_ENDPOINT", &self.address), ("HF_TOKEN", "secret-token")], cache)
    }
}

/// A hub with short times and small sizes.
pub fn hub(variables: &[(&str, &str)], cache: &Path) -> Hub {
    let mut variables: HashMap<String, String> =
        variables.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    variables.insert("HF_HUB_CACHE".into(), cache.display().to_string());
    Hub::from_variables(|name| variables.get(name).cloned()).with_limits(limits())
}

pub fn limits() -> Limits {
    Limits {
        answer: Duration::from_millis(600),
        stall: Duration::from_millis(600),
        progress: 1000,
        list: Duration::from_secs(2),
        list_bytes: 100_000,
        list_files: 50,
        data_bytes: 1 << 20,
        file_bytes: 10_000,
        rate: 64 << 10,
        redirects: 5,
        attempts: 3,
        pause: Duration::from_millis(1),
    }
}

/// Sends an answer; its length is that of the body unless the headers say another.
pub fn send(
    request: &Request,
    stream: &mut TcpStream,
    status: u16,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\n");
    for (key, value) in headers {
        head.push_str(&format!("{key}: {value}\r\n"));
    }
    let says = |name: &str| headers.iter().any(|(key, _)| key.eq_ignore_ascii_case(name));
    if !says("content-length") && !says("transfer-encoding") {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    if !request.is_head() {
        stream.write_all(body)?;
    }
    stream.flush()
}

/// A commit and its files, each with its contents.
pub type Commit = (&'static str, Vec<(&'static str, Vec<u8>)>);

/// A repository with commits, as the hub serves it.
#[derive(Clone, Default)]
pub struct Repo {
    /// Files of each commit, the newest last.
    pub commits: Vec<Commit>,
    /// Whether files are only served of the branch, as by simple mirrors.
    pub only_main: bool,
}

impl Repo {
    pub fn of(commits: &[(&'static str, &[(&'static str, &str)])]) -> Self {
        let files = |files: &[(&'static str, &str)]| {
            files.iter().map(|(name, body)| (*name, body.as_bytes().to_vec())).collect()
        };
        let commits = commits.iter().map(|(commit, list)| (*commit, files(list))).collect();
        Self { commits, only_main: false }
    }

    fn at(&self, revision: &str) -> Option<&Commit> {
        match revision {
            "main" => self.commits.last(),
            _ if self.only_main => None,
            commit => self.commits.iter().find(|(of, _)| *of == commit),
        }
    }

    pub fn answer(&self, request: &Request, stream: &mut TcpStream) -> std::io::Result<()> {
        let missing = |stream: &mut TcpStream, commit: &str| {
            let headers = [("X-Repo-Commit", commit)];
            send(request, stream, 404, if commit.is_empty() { &[] } else { &headers }, b"")
        };
        if let Some((_, revision)) = request.path.split_once("/revision/") {
            let Some((commit, files)) = self.at(revision) else { return missing(stream, "") };
            let names: Vec<String> =
                files.iter().map(|(name, _)| format!(r#"{{"rfilename": "{name}"}}"#)).collect();
            let list = format!(r#"{{"sha": "{commit}", "siblings": [{}]}}"#, names.join(","));
            return send(request, stream, 200, &[], list.as_bytes());
        }
        let (_, rest) = request.path.split_once("/resolve/").unwrap_or_default();
        let (revision, name) = rest.split_once('/').unwrap_or_default();
        let Some((commit, files)) = self.at(revision) else { return missing(stream, "") };
        let Some((_, body)) = files.iter().find(|(of, _)| *of == name) else {
            return missing(stream, commit);
        };
        let etag = format!("\"{}\"", hash(body));
        let mut headers = vec![("X-Repo-Commit", *commit), ("ETag", etag.as_str())];
        let length = body.len().to_string();
        if name.ends_with(".safetensors") || name.ends_with(".parquet") {
            headers.extend([("X-Linked-Etag", etag.as_str()), ("X-Linked-Size", length.as_str())]);
        }
        let range = request.header("range").and_then(|range| range.strip_prefix("bytes="));
        let from = range.and_then(|range| range.trim_end_matches('-').parse::<usize>().ok());
        let Some(from) = from else { return send(request, stream, 200, &headers, body) };
        let range = format!("bytes {from}-{}/{length}", body.len() - 1);
        headers.push(("Content-Range", range.as_str()));
        send(request, stream, 206, &headers, &body[from..])
    }

    pub fn serve(self) -> Server {
        Server::start(move |request, stream| self.answer(request, stream))
    }
}

/// SHA-256 in hexadecimal digits.
pub fn hash(contents: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(contents).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Puts files into a cache as Python would.
pub fn put(cache: &Path, folder: &str, commit: &str, files: &[(&str, &str)]) {
    let folder = cache.join(folder);
    for (name, contents) in files {
        let path = folder.join("snapshots").join(commit).join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, contents).unwrap();
    }
    std::fs::create_dir_all(folder.join("refs")).unwrap();
    std::fs::write(folder.join("refs/main"), commit).unwrap();
}

/// All files below a folder, relative to it, in order; locks aside.
pub fn tree(folder: &Path) -> Vec<String> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && !path.is_symlink() { walk(&path, found) } else { found.push(path) }
        }
    }
    let mut found = Vec::new();
    walk(folder, &mut found);
    let relative = |path: &PathBuf| path.strip_prefix(folder).unwrap().display().to_string();
    let mut names: Vec<String> = found.iter().map(relative).collect();
    names.retain(|name| !name.starts_with(".locks"));
    names.sort();
    names
}

pub fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}
