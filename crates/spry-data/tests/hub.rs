//! Downloading from a hub: a small HTTP server on this machine stands in for it.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use spry_data::hub::RepoKind;
use spry_data::{Hub, Source};

/// Serves files by path, with the headers that the hub sends, and records the requests.
struct Server {
    address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(files: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let files: HashMap<String, String> =
            files.iter().map(|(path, body)| (path.to_string(), body.to_string())).collect();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = requests.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A connection that only checks whether anybody is there sends nothing.
                let _ = answer(stream, &files, &log);
            }
        });
        Self { address, requests }
    }

    fn hub(&self, cache: &Path, token: Option<&str>) -> Hub {
        let variables = HashMap::from([
            ("HF_ENDPOINT", Some(self.address.clone())),
            ("HF_HUB_CACHE", Some(cache.display().to_string())),
            ("HF_TOKEN", token.map(str::to_string)),
        ]);
        Hub::from_variables(|name| variables.get(name).cloned().flatten())
    }
}

fn answer(
    stream: TcpStream,
    files: &HashMap<String, String>,
    log: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request = String::new();
    while reader.read_line(&mut request)? > 2 && !request.ends_with("\r\n\r\n") {}
    let mut stream = stream;
    let Some(path) = request.split(' ').nth(1) else { return Ok(()) };
    log.lock().unwrap().push(request.clone());
    let Some(body) = files.get(path) else {
        return write!(
            stream,
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    };
    let range = request.lines().find_map(|line| {
        let line = line.to_ascii_lowercase();
        let (start, end) = line.strip_prefix("range: bytes=")?.split_once('-')?;
        Some((start.parse::<usize>().ok()?, end.trim().parse::<usize>().ok()))
    });
    let (start, end) = range.unwrap_or((0, None));
    let end = end.unwrap_or(body.len() - 1).min(body.len() - 1);
    let status = if range.is_some() { "206 Partial Content" } else { "200 OK" };
    let part = &body[start..=end];
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Range: bytes {start}-{end}/{}\r\n\
         ETag: \"{}\"\r\nx-repo-commit: abc\r\nConnection: close\r\n\r\n{part}",
        part.len(),
        body.len(),
        path.replace('/', "-"),
    )
}

#[test]
fn files_are_downloaded_once_and_then_found_in_the_cache() {
    let server = Server::start(&[("/org/model/resolve/main/config.json", r#"{"a": 1}"#)]);
    let cache = tempfile::tempdir().unwrap();
    let source = Source::parse("org/model").unwrap();
    let hub = server.hub(cache.path(), Some("secret"));
    let path = hub.file(&source, RepoKind::Model, "config.json").unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), r#"{"a": 1}"#);
    let requests = server.requests.lock().unwrap().len();
    assert!(requests > 0);
    for request in server.requests.lock().unwrap().iter() {
        let has_token = request.to_ascii_lowercase().contains("authorization: bearer secret");
        assert!(has_token, "HF_TOKEN is not sent: {request}");
    }

    let again = hub.file(&source, RepoKind::Model, "config.json").unwrap();
    assert_eq!(again, path);
    let offline = server.hub(cache.path(), None).with_offline(true);
    assert_eq!(offline.file(&source, RepoKind::Model, "config.json").unwrap(), path);
    assert_eq!(server.requests.lock().unwrap().len(), requests, "the cache was not used");
}

#[test]
fn all_shards_of_a_split_are_downloaded() {
    let shard = |index: usize| {
        format!("/datasets/org/data/resolve/main/data/train-0000{index}-of-00002.parquet")
    };
    let list = r#"{"sha": "abc", "siblings": [{"rfilename": "README.md"},
        {"rfilename": "data/train-00001-of-00002.parquet"},
        {"rfilename": "data/train-00000-of-00002.parquet"}]}"#;
    let (first, second) = (shard(0), shard(1));
    let server = Server::start(&[
        ("/api/datasets/org/data/revision/main", list),
        (&first, "one"),
        (&second, "two"),
    ]);
    let cache = tempfile::tempdir().unwrap();
    let source = Source::parse("org/data").unwrap();
    let hub = server.hub(cache.path(), None);
    let files = hub.parquet_files(&source, None, "train").unwrap();
    let contents: Vec<String> =
        files.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    assert_eq!(contents, ["one", "two"]);

    // A download that broke off between two shards is completed, not taken for the whole.
    std::fs::remove_file(&files[1]).unwrap();
    let offline = hub.clone().with_offline(true);
    assert!(offline.parquet_files(&source, None, "train").unwrap_err().is_offline());
    assert_eq!(hub.parquet_files(&source, None, "train").unwrap(), files);
    assert_eq!(offline.parquet_files(&source, None, "train").unwrap(), files);

    let missing = hub.parquet_files(&source, None, "validation").unwrap_err().to_string();
    assert!(missing.contains("split `validation`"), "{missing}");
}

#[test]
fn a_file_that_the_hub_lacks_is_an_error_with_a_hint() {
    let server = Server::start(&[]);
    let cache = tempfile::tempdir().unwrap();
    let source = Source::parse("org/typo").unwrap();
    let error = server.hub(cache.path(), None).file(&source, RepoKind::Model, "config.json");
    let error = error.unwrap_err();
    assert!(!error.is_offline(), "a wrong id must not be hidden behind a stand-in");
    let message = error.to_string();
    assert!(message.contains("org/typo") && message.contains("spelling"), "{message}");
}
