//! A hub that is broken or hostile: it neither writes where it likes, nor gets the token for
//! somebody else, nor holds the program up.

mod fake_hub;

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use fake_hub::{FIRST, Request, Server, hub, limits, send, text, tree};
use spry_data::hub::RepoKind;
use spry_data::{Error, Hub, Source};

const ETAG: &str = "cccccccccccccccccccccccccccccccccccccccc";

fn get(hub: &Hub, name: &str) -> spry_data::Result<std::path::PathBuf> {
    hub.file(&Source::Hub("org/model".into()), RepoKind::Model, name)
}

fn list(hub: &Hub) -> spry_data::Result<Vec<std::path::PathBuf>> {
    hub.parquet_files(&Source::Hub("org/data".into()), None, "train")
}

/// What is said when a file is asked of a server; it must not take long, and leave nothing.
fn refusal(server: &Server) -> String {
    let cache = tempfile::tempdir().unwrap();
    let begin = Instant::now();
    let error = get(&server.hub(cache.path()), "config.json").unwrap_err();
    let time = begin.elapsed();
    assert!(time < Duration::from_secs(15), "{error} only after {time:?}");
    let left: Vec<String> = tree(cache.path());
    assert!(left.iter().all(|name| name.ends_with(".incomplete")), "{error}: {left:?}");
    let message = error.to_string();
    assert!(!message.contains("secret-token"), "{message}");
    assert!(message.len() < 600 && !message.contains(char::is_control), "{message:?}");
    message
}

/// Serves one file with the given headers.
fn serving(headers: &[(&str, &str)], body: &[u8]) -> Server {
    let headers: Vec<(String, String)> =
        headers.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    let body = body.to_vec();
    Server::start(move |request, stream| {
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        send(request, stream, 200, &headers, &body)
    })
}

#[test]
fn etags_and_commits_that_are_no_plain_names_are_refused() {
    let outside = tempfile::tempdir().unwrap();
    let absolute = outside.path().join("victim").display().to_string();
    let long = "a".repeat(500);
    let forms = [
        absolute.as_str(),
        "../../victim",
        "..",
        ".",
        "a/b",
        "a\\b",
        "c:a",
        "",
        "a b",
        ".hidden",
        "a\tb",
        "ü",
        long.as_str(),
    ];
    for form in forms {
        let quoted = format!("\"{form}\"");
        for quoted in [quoted.clone(), format!("W/{quoted}"), form.to_string()] {
            let by_etag = serving(&[("X-Repo-Commit", FIRST), ("ETag", &quoted)], b"{}");
            refusal(&by_etag);
            let linked = [("X-Repo-Commit", FIRST), ("ETag", ETAG), ("X-Linked-Etag", &quoted)];
            refusal(&serving(&linked, b"{}"));
        }
        refusal(&serving(&[("X-Repo-Commit", form), ("ETag", ETAG)], b"{}"));
    }
    refusal(&serving(&[("X-Repo-Commit", "a\0b"), ("ETag", ETAG)], b"{}"));
    refusal(&serving(&[("X-Repo-Commit", FIRST), ("ETag", "\"a\0b\"")], b"{}"));
    assert!(tree(outside.path()).is_empty());
}

#[test]
fn names_of_files_cannot_lead_out_of_the_cache() {
    for name in
        ["../x", "/etc/passwd", "a/../../x", "a\\..\\x", "data/./train.parquet", "c:x", "", "a//b"]
    {
        let cache = tempfile::tempdir().unwrap();
        let escaped = name.replace('\\', "\\\\");
        let body = format!(
            r#"{{"sha": "{FIRST}", "siblings": [{{"rfilename": "{escaped}"}}, {{"rfilename": "train.parquet"}}]}}"#
        );
        let server = serving(&[("X-Repo-Commit", FIRST), ("ETag", ETAG)], body.as_bytes());
        let hub = server.hub(cache.path());
        let message = list(&hub).unwrap_err().to_string();
        assert!(message.contains("of a form that is not taken"), "{name}: {message}");
        // An index of shards, which comes from the hub, too, may ask for any name.
        let message = get(&hub, name).unwrap_err().to_string();
        assert!(message.contains("no name of a file"), "{name}: {message}");
        assert!(tree(cache.path()).is_empty());
    }
    let bad = format!(r#"{{"sha": "../{FIRST}", "siblings": []}}"#);
    let cache = tempfile::tempdir().unwrap();
    let message = list(&serving(&[], bad.as_bytes()).hub(cache.path())).unwrap_err().to_string();
    assert!(message.contains("commit"), "{message}");
}

#[test]
fn another_host_gets_no_token() {
    let facts = [("X-Repo-Commit", FIRST), ("ETag", ETAG)];
    let other = Server::start(move |request, stream| match request.path.as_str() {
        // A hub may be led back to, but by then the path is another host's choice.
        path if path.contains("back=") => {
            let home = path.split("back=").nth(1).unwrap();
            send(request, stream, 302, &[("Location", &format!("{home}/end"))], b"")
        }
        _ => send(request, stream, 200, &facts, b"{}"),
    });
    let away = other.address.clone();
    let port = away.rsplit(':').next().unwrap().to_string();
    for location in
        [format!("{away}/x"), format!("//127.0.0.1:{port}/x"), format!("http://localhost:{port}/x")]
    {
        let server = Server::start(move |request, stream| {
            send(request, stream, 302, &[("Location", &location)], b"")
        });
        let cache = tempfile::tempdir().unwrap();
        assert_eq!(text(&get(&server.hub(cache.path()), "config.json").unwrap()), "{}");
        for request in server.requests.lock().unwrap().iter() {
            assert_eq!(request.header("authorization"), Some("Bearer secret-token"));
        }
    }

    let server = Server::start(move |request, stream| {
        let home = format!("http://{}", request.header("host").unwrap());
        match request.path.as_str() {
            "/end" => send(request, stream, 200, &facts, b"{}"),
            _ => send(request, stream, 302, &[("Location", &format!("{away}/?back={home}"))], b""),
        }
    });
    let cache = tempfile::tempdir().unwrap();
    get(&server.hub(cache.path()), "config.json").unwrap();
    let requests = server.requests.lock().unwrap();
    assert!(requests.iter().any(|request| request.path == "/end"));
    for request in requests.iter() {
        assert_eq!(
            request.header("authorization").is_some(),
            request.path != "/end",
            "{request:?}"
        );
    }
    let requests = other.requests.lock().unwrap();
    assert!(requests.len() >= 8, "{}", requests.len());
    for request in requests.iter() {
        assert!(!request.head.contains("secret-token"), "{request:?}");
    }
}

#[test]
fn the_same_host_keeps_the_token_on_a_redirect() {
    let server = Server::start(move |request, stream| match request.path.as_str() {
        "/api/resolve-cache/config.json" => {
            send(request, stream, 200, &[("X-Repo-Commit", FIRST), ("ETag", ETAG)], b"{}")
        }
        _ => send(request, stream, 307, &[("Location", "/api/resolve-cache/config.json")], b""),
    });
    let cache = tempfile::tempdir().unwrap();
    get(&server.hub(cache.path()), "config.json").unwrap();
    for request in server.requests.lock().unwrap().iter() {
        assert_eq!(request.header("authorization"), Some("Bearer secret-token"), "{request:?}");
    }
}

#[test]
fn redirects_end() {
    for (location, reason) in [
        (Some("/org/model/resolve/main/config.json"), "more than 5 times"),
        (Some("other/config.json"), "more than 5 times"),
        (Some(""), "not followed"),
        (Some("file:///etc/passwd"), "not followed"),
        (Some("ftp://127.0.0.1/x"), "not followed"),
        (Some("http://"), "not followed"),
        (Some("http://a b/"), "not followed"),
        (None, "not where to"),
    ] {
        for status in [301, 302, 303, 307, 308] {
            let server = Server::start(move |request, stream| {
                let headers = location.map(|location| ("Location", location));
                send(request, stream, status, headers.as_slice(), b"")
            });
            let message = refusal(&server);
            assert!(message.contains(reason), "{location:?}: {message}");
            assert!(server.requests.lock().unwrap().len() <= 6);
        }
    }
}

#[test]
fn bodies_end() {
    let facts = [("X-Repo-Commit", FIRST), ("ETag", ETAG)];
    // More than was announced, without an end, in pieces.
    let endless = Server::start(move |request, stream| {
        if request.is_head() {
            return send(
                request,
                stream,
                200,
                &[facts[0], facts[1], ("Content-Length", "5000")],
                b"",
            );
        }
        send(request, stream, 200, &[facts[0], facts[1], ("Transfer-Encoding", "chunked")], b"")?;
        loop {
            stream.write_all(format!("400\r\n{}\r\n", "x".repeat(0x400)).as_bytes())?;
        }
    });
    assert!(refusal(&endless).contains("more than the 5000 bytes announced"));

    // A list without an end.
    let endless = Server::start(|request, stream| {
        send(request, stream, 200, &[("Transfer-Encoding", "chunked")], b"")?;
        loop {
            stream.write_all(format!("400\r\n{}\r\n", "[".repeat(0x400)).as_bytes())?;
        }
    });
    let cache = tempfile::tempdir().unwrap();
    let message = list(&endless.hub(cache.path())).unwrap_err().to_string();
    assert!(message.contains("longer than 100000 bytes"), "{message}");

    // Headers without an end.
    let endless = Server::start(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
        for index in 0.. {
            stream.write_all(format!("x-{index}: {}\r\n", "y".repeat(1000)).as_bytes())?;
        }
        Ok(())
    });
    refusal(&endless);
    let endless = Server::start(|_, stream| {
        loop {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
    });
    refusal(&endless);
}

#[test]
fn sizes_are_bounded_before_they_are_believed() {
    let facts = [("X-Repo-Commit", FIRST), ("ETag", ETAG)];
    let huge = serving(&[facts[0], facts[1], ("X-Linked-Size", "9000000000000000000")], b"");
    assert!(refusal(&huge).contains("at most 10000"));
    let odd = serving(&[facts[0], facts[1], ("X-Linked-Size", "99999999999999999999999")], b"");
    assert!(refusal(&odd).contains("length"));
    let negative = serving(&[facts[0], facts[1], ("X-Linked-Size", "-1")], b"");
    assert!(refusal(&negative).contains("length"));
    let silent = serving(&[facts[0], facts[1], ("Transfer-Encoding", "chunked")], b"0\r\n\r\n");
    assert!(refusal(&silent).contains("length"));
}

#[test]
fn what_comes_slowly_is_not_waited_for() {
    let drip = |stream: &mut TcpStream, piece: &[u8]| -> std::io::Result<()> {
        for _ in 0..600 {
            stream.write_all(piece)?;
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    };
    // No answer; a status line that takes its time; a body that does.
    refusal(&Server::start(|_, _| {
        std::thread::sleep(Duration::from_secs(30));
        Ok(())
    }));
    refusal(&Server::start(move |_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nx: ")?;
        drip(stream, b"y")
    }));
    let length = ("Content-Length", "9000");
    let facts = [("X-Repo-Commit", FIRST), ("ETag", ETAG), length];
    let slow = Server::start(move |request, stream| {
        send(request, stream, 200, &facts, b"")?;
        if request.is_head() { Ok(()) } else { drip(stream, b"y") }
    });
    assert!(refusal(&slow).contains("too slowly"));
    let stopped = Server::start(move |request, stream| {
        send(request, stream, 200, &facts, b"y")?;
        std::thread::sleep(Duration::from_secs(if request.is_head() { 0 } else { 30 }));
        Ok(())
    });
    refusal(&stopped);
    let slow = Server::start(move |request, stream| {
        send(request, stream, 200, &[length], b"")?;
        drip(stream, b"[")
    });
    let cache = tempfile::tempdir().unwrap();
    let message = list(&slow.hub(cache.path())).unwrap_err().to_string();
    assert!(message.contains("too slowly"), "{message}");
}

#[test]
fn lists_are_bounded_and_checked() {
    let refused = |body: String| {
        let cache = tempfile::tempdir().unwrap();
        let server = serving(&[], body.as_bytes());
        let error = list(&server.hub(cache.path())).unwrap_err();
        assert!(matches!(error, Error::Download { .. }), "{error}");
        error.to_string()
    };
    let many = vec![r#"{"rfilename": "x"}"#; 51].join(",");
    assert!(refused(format!(r#"{{"sha": "{FIRST}", "siblings": [{many}]}}"#)).contains("51 files"));
    let deep = "[".repeat(40_000);
    refused(deep.clone());
    refused(format!(r#"{{"sha": "{FIRST}", "siblings": {deep}"#));
    for body in [
        "",
        "{}",
        "null",
        "<html>",
        r#"{"sha": 1}"#,
        r#"{"sha": "a", "siblings": [{}]}"#,
        "\u{1b}[2J",
    ] {
        let message = refused(body.to_string());
        assert!(!message.contains(char::is_control), "{message:?}");
    }
}

#[test]
fn compressed_answers_are_refused_instead_of_unpacked() {
    // 1 MB of zeros in 1 kB, as gzip would send it, if it were unpacked.
    let facts = [("X-Repo-Commit", FIRST), ("ETag", ETAG), ("Content-Encoding", "gzip")];
    let server = serving(&[facts[0], facts[1], facts[2], ("X-Linked-Size", "2")], b"\x1f\x8b");
    assert!(refusal(&server).contains("compressed"));
    for request in server.requests.lock().unwrap().iter() {
        assert_eq!(request.header("accept-encoding"), Some("identity"));
    }
    let cache = tempfile::tempdir().unwrap();
    let message = list(&server.hub(cache.path())).unwrap_err().to_string();
    assert!(message.contains("compressed"), "{message}");
}

#[test]
fn every_status_has_its_answer() {
    for (status, attempts, expected) in [
        (401, 1, "HF_TOKEN"),
        (403, 1, "HF_TOKEN"),
        (404, 1, "spelling"),
        (300, 1, "status 300"),
        (400, 1, "status 400"),
        (416, 1, "status 416"),
        (418, 1, "status 418"),
        (204, 1, "status 204"),
        (429, 3, "status 429"),
        (500, 3, "status 500"),
        (502, 3, "status 502"),
        (503, 3, "status 503"),
        (504, 3, "status 504"),
        (505, 1, "status 505"),
    ] {
        let server = Server::start(move |request, stream| send(request, stream, status, &[], b""));
        let message = refusal(&server);
        assert!(message.contains(expected), "{status}: {message}");
        assert_eq!(server.requests.lock().unwrap().len(), attempts, "{status}");
    }
    let wait = serving_busy(Some("3600"));
    assert!(refusal(&wait).contains("asks to wait 3600 seconds"));
    assert_eq!(wait.requests.lock().unwrap().len(), 1);
}

/// Answers that it is busy.
fn serving_busy(retry_after: Option<&'static str>) -> Server {
    Server::start(move |request, stream| {
        let header = retry_after.map(|seconds| ("Retry-After", seconds));
        send(request, stream, 429, header.as_slice(), b"")
    })
}

#[test]
fn what_passes_is_waited_for() {
    let busy = std::sync::atomic::AtomicUsize::new(0);
    let server = Server::start(move |request: &Request, stream: &mut TcpStream| {
        match busy.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => send(request, stream, 503, &[("Retry-After", "0")], b""),
            // Hangs up without a word.
            1 => Ok(()),
            3 => send(request, stream, 500, &[], b""),
            _ => send(request, stream, 200, &[("X-Repo-Commit", FIRST), ("ETag", ETAG)], b"{}"),
        }
    });
    let cache = tempfile::tempdir().unwrap();
    assert_eq!(text(&get(&server.hub(cache.path()), "config.json").unwrap()), "{}");
}

#[test]
fn nonsense_is_an_error() {
    for answer in [
        "",
        "\r\n\r\n",
        "HTTP/9.9 200 OK\r\n\r\n",
        "HTTP/1.1 999999 X\r\n\r\n",
        "SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 302 X\r\nLocation: \u{1}\r\n\r\n",
        "HTTP/1.1 302 X\r\nLocation: http://[::1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-Repo-Commit: é\r\n\r\n",
    ] {
        refusal(&Server::start(move |_, stream| stream.write_all(answer.as_bytes())));
    }
}

#[test]
fn credentials_of_the_address_are_sent_but_never_shown() {
    let other = serving(&[("X-Repo-Commit", FIRST), ("ETag", ETAG)], b"{}");
    let away = other.address.clone();
    let server = Server::start(move |request, stream| match request.path.contains("config.json") {
        true => send(request, stream, 302, &[("Location", &away)], b""),
        false => send(request, stream, 404, &[], b""),
    });
    let endpoint = server.address.replace("http://", "http://user:password@");
    let cache = tempfile::tempdir().unwrap();
    let hub = hub(&[("HF_ENDPOINT", &endpoint)], cache.path());
    get(&hub, "config.json").unwrap();
    let missing = get(&hub, "model.safetensors").unwrap_err().to_string();
    let gone = fake_hub::hub(&[("HF_ENDPOINT", "http://user:password@127.0.0.1:1")], cache.path());
    let gone = hub_error(&gone, cache.path());
    for shown in [missing, gone, format!("{hub:?}")] {
        assert!(!shown.contains("password") && !shown.contains("user"), "{shown}");
    }
    for request in server.requests.lock().unwrap().iter() {
        assert_eq!(request.header("authorization"), Some("Basic dXNlcjpwYXNzd29yZA=="));
    }
    for request in other.requests.lock().unwrap().iter() {
        assert_eq!(request.header("authorization"), None);
    }
}

fn hub_error(hub: &Hub, cache: &Path) -> String {
    let error = get(hub, "tokenizer.json").unwrap_err();
    assert!(error.is_offline(), "{error} in {}", cache.display());
    error.to_string()
}

#[test]
fn a_cache_that_is_no_folder_of_this_user_is_an_error_by_name() {
    let hub = Hub::from_variables(|_| None).with_limits(limits());
    let error = get(&hub, "config.json").unwrap_err();
    assert!(matches!(error, Error::Environment { variable: "HF_HOME", .. }), "{error}");
    assert!(error.to_string().contains("set HF_HOME") && hub.cache().is_err());
    // A local directory needs no cache.
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), "{}").unwrap();
    let source = Source::Directory(folder.path().to_path_buf());
    assert!(hub.file(&source, RepoKind::Model, "config.json").is_ok());
}
