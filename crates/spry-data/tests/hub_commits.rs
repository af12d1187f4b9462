//! Files of a repository are whole, and of one commit: whatever the cache has of which, whoever
//! downloads beside, and whatever broke off before.

mod fake_hub;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use fake_hub::{FIRST, Repo, SECOND, Server, hash, hub, put, send, text, tree};
use spry_data::hub::RepoKind;
use spry_data::{Dataset, DatasetSpec, Error, Hub, Source};

const MODEL: &str = "models--org--model";
const DATA: &str = "datasets--org--data";

fn model() -> Source {
    Source::Hub("org/model".into())
}

fn files(hub: &Hub, names: &[&str]) -> spry_data::Result<Vec<String>> {
    let paths = hub.files(&model(), RepoKind::Model, names)?;
    Ok(paths.iter().map(|path| text(path)).collect())
}

fn split(hub: &Hub, split: &str) -> spry_data::Result<Vec<String>> {
    let paths = hub.parquet_files(&Source::Hub("org/data".into()), None, split)?;
    Ok(paths.iter().map(|path| text(path)).collect())
}

fn offline(cache: &Path) -> Hub {
    hub(&[("HF_HUB_OFFLINE", "1")], cache)
}

fn reference(cache: &Path, folder: &str) -> String {
    text(&cache.join(folder).join("refs/main"))
}

#[test]
fn the_cache_is_laid_out_as_python_lays_it_out() {
    let repo = Repo::of(&[(FIRST, &[("config.json", "{}"), ("a/b.safetensors", "weights")])]);
    let server = repo.serve();
    let cache = tempfile::tempdir().unwrap();
    assert_eq!(
        files(&server.hub(cache.path()), &["config.json", "a/b.safetensors"]).unwrap(),
        ["{}", "weights"]
    );
    let expected = [
        format!("{MODEL}/blobs/{}", hash(b"{}")),
        format!("{MODEL}/blobs/{}", hash(b"weights")),
        format!("{MODEL}/refs/main"),
        format!("{MODEL}/snapshots/{FIRST}/a/b.safetensors"),
        format!("{MODEL}/snapshots/{FIRST}/config.json"),
    ];
    let mut expected = expected.to_vec();
    expected.sort();
    assert_eq!(tree(cache.path()), expected);
    assert_eq!(reference(cache.path(), MODEL), FIRST);
    assert!(cache.path().join(format!(".locks/{MODEL}/{}.lock", hash(b"{}"))).is_file());
    #[cfg(unix)]
    for (name, ups) in [("config.json", "../.."), ("a/b.safetensors", "../../..")] {
        let link = cache.path().join(format!("{MODEL}/snapshots/{FIRST}/{name}"));
        let target = std::fs::read_link(&link).unwrap();
        assert!(target.starts_with(Path::new(ups).join("blobs")), "{}", target.display());
    }

    // Where links are not wanted, there are copies.
    let copies = tempfile::tempdir().unwrap();
    let hub =
        hub(&[("HF_ENDPOINT", &server.address), ("HF_HUB_DISABLE_SYMLINKS", "1")], copies.path());
    assert_eq!(files(&hub, &["a/b.safetensors"]).unwrap(), ["weights"]);
    let copy = copies.path().join(format!("{MODEL}/snapshots/{FIRST}/a/b.safetensors"));
    assert!(!copy.is_symlink() && copy.is_file());
}

#[test]
fn what_the_cache_lacks_is_taken_of_the_cached_commit() {
    let repo = Repo::of(&[
        (FIRST, &[("config.json", "old"), ("model.safetensors", "old weights")]),
        (SECOND, &[("config.json", "new"), ("model.safetensors", "new weights")]),
    ]);
    let server = repo.serve();
    let cache = tempfile::tempdir().unwrap();
    put(cache.path(), MODEL, FIRST, &[("config.json", "old")]);
    let hub = server.hub(cache.path());
    assert_eq!(files(&hub, &["config.json"]).unwrap(), ["old"]);
    assert_eq!(files(&hub, &["model.safetensors"]).unwrap(), ["old weights"]);
    assert_eq!(reference(cache.path(), MODEL), FIRST);
    assert_eq!(
        files(&offline(cache.path()), &["config.json", "model.safetensors"]).unwrap(),
        ["old", "old weights"]
    );
}

#[test]
fn what_only_a_newer_commit_has_is_taken_with_everything_else_of_it() {
    for only_main in [false, true] {
        let mut repo = Repo::of(&[
            (FIRST, &[("config.json", "old")]),
            (SECOND, &[("config.json", "new"), ("model.safetensors", "new weights")]),
        ]);
        repo.only_main = only_main;
        let server = repo.serve();
        let cache = tempfile::tempdir().unwrap();
        put(cache.path(), MODEL, FIRST, &[("config.json", "old")]);

        // In one call.
        let names = ["config.json", "model.safetensors"];
        assert_eq!(files(&server.hub(cache.path()), &names).unwrap(), ["new", "new weights"]);
        assert_eq!(reference(cache.path(), MODEL), SECOND);
        assert_eq!(files(&offline(cache.path()), &names).unwrap(), ["new", "new weights"]);

        // In several.
        let cache = tempfile::tempdir().unwrap();
        put(cache.path(), MODEL, FIRST, &[("config.json", "old")]);
        let hub = server.hub(cache.path());
        let read = || {
            let config = files(&hub, &["config.json"])?;
            Ok([config, files(&hub, &["model.safetensors"])?].concat())
        };
        let error = read().unwrap_err();
        assert!(
            matches!(&error, Error::Moved { from, to, .. } if from == FIRST && to == SECOND),
            "{error}"
        );
        assert_eq!(hub.at_one_commit(read).unwrap(), ["new", "new weights"]);
        let hub = server.hub(tempfile::tempdir().unwrap().path());
        let read = || {
            let config = files(&hub, &["config.json"])?;
            Ok([config, files(&hub, &["model.safetensors"])?].concat())
        };
        assert_eq!(hub.at_one_commit(read).unwrap(), ["new", "new weights"]);
    }
}

#[test]
fn a_named_commit_or_branch_is_what_is_taken() {
    let repo = Repo::of(&[
        (FIRST, &[("config.json", "old")]),
        (SECOND, &[("config.json", "new"), ("x.json", "x")]),
    ]);
    let server = repo.serve();
    let cache = tempfile::tempdir().unwrap();
    let hub = server.hub(cache.path());
    let get = |hub: &Hub, revision: &str, name: &str| {
        let source = Source::parse(&format!("org/model@{revision}")).unwrap();
        hub.file(&source, RepoKind::Model, name).map(|path| text(&path))
    };
    assert_eq!(get(&hub, "main", "config.json").unwrap(), "new");
    assert_eq!(get(&hub, FIRST, "config.json").unwrap(), "old");
    let error = get(&hub, FIRST, "x.json").unwrap_err();
    assert!(matches!(error, Error::NotInRepository { .. }), "{error}");
    assert_eq!(reference(cache.path(), MODEL), SECOND);
    assert_eq!(get(&offline(cache.path()), FIRST, "config.json").unwrap(), "old");
}

#[test]
fn a_hub_that_answers_with_another_commit_each_time_is_an_error() {
    let count = AtomicUsize::new(0);
    let server = Server::start(move |request, stream| {
        let commit = format!("{:040x}", count.fetch_add(1, Ordering::SeqCst));
        let facts = [("X-Repo-Commit", commit.as_str()), ("ETag", FIRST)];
        send(request, stream, 200, &facts, b"{}")
    });
    let cache = tempfile::tempdir().unwrap();
    let error = files(&server.hub(cache.path()), &["a.json", "b.json"]).unwrap_err();
    assert!(matches!(error, Error::Moved { .. } | Error::Download { .. }), "{error}");
}

#[test]
fn shards_that_the_cache_lacks_are_of_the_same_commit() {
    const A: &str = "data/train-00000-of-00002.parquet";
    const B: &str = "data/train-00001-of-00002.parquet";
    let server = Repo::of(&[
        (FIRST, &[(A, "old a"), (B, "old b")]),
        (SECOND, &[(A, "new a"), (B, "new b")]),
    ])
    .serve();
    let cache = tempfile::tempdir().unwrap();
    put(cache.path(), DATA, FIRST, &[(B, "old b")]);
    let error = split(&offline(cache.path()), "train").unwrap_err();
    assert!(error.is_offline() && error.to_string().contains(A), "{error}");
    assert_eq!(split(&server.hub(cache.path()), "train").unwrap(), ["old a", "old b"]);
    let requests = server.requests.lock().unwrap().len();
    assert_eq!(split(&server.hub(cache.path()), "train").unwrap(), ["old a", "old b"]);
    assert_eq!(server.requests.lock().unwrap().len(), requests, "the cache was not used");

    // The first commit is gone: all of the second, instead of one shard of each.
    let server = Repo::of(&[(SECOND, &[(A, "new a"), (B, "new b")])]).serve();
    let cache = tempfile::tempdir().unwrap();
    put(cache.path(), DATA, FIRST, &[(B, "old b")]);
    assert_eq!(split(&server.hub(cache.path()), "train").unwrap(), ["new a", "new b"]);
    assert_eq!(reference(cache.path(), DATA), SECOND);
}

#[test]
fn shards_without_numbers_are_compared_with_the_list() {
    let server =
        Repo::of(&[(FIRST, &[("train-a.parquet", "a"), ("train-b.parquet", "b")])]).serve();
    let cache = tempfile::tempdir().unwrap();
    put(cache.path(), DATA, FIRST, &[("train-a.parquet", "a")]);
    assert_eq!(split(&server.hub(cache.path()), "train").unwrap(), ["a", "b"]);
    // Without the hub, nothing says that there should be more.
    let gone = hub(&[("HF_ENDPOINT", "http://127.0.0.1:1")], cache.path());
    assert_eq!(split(&gone, "train").unwrap(), ["a", "b"]);
}

#[test]
fn splits_of_a_dataset_are_of_one_commit() {
    let ag_news = Source::Hub("org/data".into());
    let layout = DatasetSpec::find("ag_news").unwrap().layout();
    let contents = |hub: &Hub| {
        let files = Dataset::files(hub, &ag_news, &layout).unwrap();
        let paths = files.into_iter().flat_map(|(_, paths)| paths);
        paths.map(|path: PathBuf| text(&path)).collect::<Vec<String>>()
    };
    let names = ["data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"];
    for (first, expected) in [
        (vec![(names[0], "old"), (names[1], "old test")], ["old", "old test"]),
        (vec![(names[0], "old")], ["new", "new test"]),
    ] {
        let second = [(names[0], "new"), (names[1], "new test")];
        let server = Repo::of(&[(FIRST, &first), (SECOND, &second)]).serve();
        let cache = tempfile::tempdir().unwrap();
        put(cache.path(), DATA, FIRST, &[(names[0], "old")]);
        assert_eq!(contents(&server.hub(cache.path())), expected);
    }
}

#[test]
fn files_that_need_not_be_there_are_asked_for_once_and_move_nothing() {
    let server = Repo::of(&[
        (FIRST, &[("config.json", "old")]),
        (SECOND, &[("config.json", "new"), ("x.json", "x")]),
    ])
    .serve();
    let cache = tempfile::tempdir().unwrap();
    put(cache.path(), MODEL, FIRST, &[("config.json", "old")]);
    let find = |hub: &Hub, name: &str| hub.optional_file(&model(), RepoKind::Model, name).unwrap();
    let hub = server.hub(cache.path());
    assert_eq!(find(&hub, "x.json"), None);
    assert_eq!(reference(cache.path(), MODEL), FIRST);
    let requests = server.requests.lock().unwrap().len();
    assert_eq!(find(&server.hub(cache.path()), "x.json"), None);
    assert_eq!(server.requests.lock().unwrap().len(), requests, "that it is missing was forgotten");
    assert_eq!(find(&offline(cache.path()), "y.json"), None);
    assert_eq!(text(&find(&hub, "config.json").unwrap()), "old");
}

#[test]
fn optional_files_of_a_cached_model_do_not_each_wait_for_a_dead_network() {
    // Takes requests and never answers.
    let server = Server::start(|_, _| Ok(()));
    let asked = || server.requests.lock().unwrap().len();
    let cache = tempfile::tempdir().unwrap();
    put(cache.path(), MODEL, FIRST, &[("config.json", "old")]);
    let hub = server.hub(cache.path());
    let find = |name: &str| hub.optional_file(&model(), RepoKind::Model, name).unwrap();
    assert_eq!(find("a.json"), None);
    let once = asked();
    assert!(once > 0);
    assert_eq!((find("b.json"), find("c.json")), (None, None));
    assert_eq!(asked(), once, "a file was asked for again");
    assert_eq!(text(&find("config.json").unwrap()), "old");
}

#[test]
fn a_model_is_not_read_without_a_file_that_could_not_be_asked_for() {
    let repo = Repo::of(&[(FIRST, &[("config.json", "{}"), ("options.json", "{}")])]);
    let server = Server::start(move |request, stream| {
        // One request gets no answer; the others do.
        if request.path.ends_with("options.json") { Ok(()) } else { repo.answer(request, stream) }
    });
    let cache = tempfile::tempdir().unwrap();
    let hub = server.hub(cache.path());
    assert_eq!(hub.optional_file(&model(), RepoKind::Model, "options.json").unwrap(), None);
    let error = files(&hub, &["config.json"]).unwrap_err().to_string();
    assert!(error.contains("`options.json`") && error.contains("try again"), "{error}");
}

#[test]
fn contents_that_differ_from_their_hash_are_not_kept() {
    let good = Repo::of(&[(FIRST, &[("model.safetensors", "weights")])]);
    let repo = good.clone();
    let server = Server::start(move |request, stream| {
        if request.is_head() {
            return repo.answer(request, stream);
        }
        send(request, stream, 200, &[("X-Repo-Commit", FIRST)], b"Weights")
    });
    let cache = tempfile::tempdir().unwrap();
    let error = files(&server.hub(cache.path()), &["model.safetensors"]).unwrap_err().to_string();
    assert!(error.contains("SHA-256") && error.contains(&hash(b"weights")), "{error}");
    assert!(tree(cache.path()).is_empty(), "{:?}", tree(cache.path()));
    assert_eq!(
        files(&good.serve().hub(cache.path()), &["model.safetensors"]).unwrap(),
        ["weights"]
    );
}

#[test]
fn lengths_that_differ_are_not_kept() {
    let good = Repo::of(&[(FIRST, &[("a.txt", "weights")])]);
    for announced in ["3", "99"] {
        // The answer with the contents says another length than the one before.
        let facts = [("X-Repo-Commit", FIRST), ("ETag", FIRST), ("X-Linked-Size", announced)];
        let server =
            Server::start(move |request, stream| send(request, stream, 200, &facts, b"weights"));
        let cache = tempfile::tempdir().unwrap();
        let error = files(&server.hub(cache.path()), &["a.txt"]).unwrap_err().to_string();
        assert!(error.contains(&format!("announced {announced} bytes, but sends 7")), "{error}");
        assert_eq!(
            files(&good.clone().serve().hub(cache.path()), &["a.txt"]).unwrap(),
            ["weights"]
        );
    }
    // The connection ends before that length.
    let facts = [("X-Repo-Commit", FIRST), ("ETag", FIRST), ("Content-Length", "99")];
    let server =
        Server::start(move |request, stream| send(request, stream, 200, &facts, b"weights"));
    let cache = tempfile::tempdir().unwrap();
    assert!(files(&server.hub(cache.path()), &["a.txt"]).is_err());
    assert_eq!(server.count("GET"), 3);
    assert_eq!(files(&good.serve().hub(cache.path()), &["a.txt"]).unwrap(), ["weights"]);
}

#[test]
fn what_broke_off_is_gone_on_with_if_its_hash_is_known() {
    let weights: String = (0..2000).map(|index| format!("{index} ")).collect();
    let repo = Repo {
        commits: vec![(FIRST, vec![("model.safetensors", weights.clone().into_bytes())])],
        only_main: false,
    };
    let blobs = |cache: &Path| cache.join(MODEL).join("blobs");
    let incomplete = format!("{}.incomplete", hash(weights.as_bytes()));
    for (left, ranges) in [(&weights[..1000], 1), ("damaged", 1), (weights.as_str(), 0)] {
        let server = repo.clone().serve();
        let cache = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(blobs(cache.path())).unwrap();
        std::fs::write(blobs(cache.path()).join(&incomplete), left).unwrap();
        assert_eq!(
            files(&server.hub(cache.path()), &["model.safetensors"]).unwrap(),
            std::slice::from_ref(&weights)
        );
        let requests = server.requests.lock().unwrap();
        let asked = requests.iter().filter_map(|request| request.header("range")).count();
        assert_eq!(asked, ranges, "{requests:?}");
        assert!(!blobs(cache.path()).join(&incomplete).exists());
    }

    // The connection breaks off in the middle, again and again.
    let breaking = repo.clone();
    let count = AtomicUsize::new(0);
    let server = Server::start(move |request, stream| {
        if request.is_head() || count.fetch_add(1, Ordering::SeqCst) >= 2 {
            return breaking.answer(request, stream);
        }
        let body = &breaking.commits[0].1[0].1;
        let from = request.header("range").map_or(0, |range| {
            range.trim_start_matches("bytes=").trim_end_matches('-').parse::<usize>().unwrap()
        });
        let range = format!("bytes {from}-{}/{}", body.len() - 1, body.len());
        let length = (body.len() - from).to_string();
        let status = if from > 0 { 206 } else { 200 };
        let headers = [("Content-Range", range.as_str()), ("Content-Length", length.as_str())];
        send(request, stream, status, &headers, &body[from..from + 500])
    });
    let cache = tempfile::tempdir().unwrap();
    assert_eq!(files(&server.hub(cache.path()), &["model.safetensors"]).unwrap(), [weights]);
    let requests = server.requests.lock().unwrap();
    let ranges: Vec<&str> = requests.iter().filter_map(|request| request.header("range")).collect();
    assert_eq!(ranges, ["bytes=500-", "bytes=1000-"]);
}

#[test]
fn many_at_once_download_once() {
    let weights: Vec<u8> = (0..500_000_u32).map(|index| (index * 7) as u8).collect();
    let repo = Repo {
        commits: vec![(FIRST, vec![("model.safetensors", weights.clone())])],
        only_main: false,
    };
    let server = repo.serve();
    let cache = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            // As separate processes would, each has its own state.
            let hub = server.hub(cache.path());
            scope.spawn(|| {
                let hub = hub;
                let path = hub.file(&model(), RepoKind::Model, "model.safetensors").unwrap();
                assert!(std::fs::read(path).unwrap() == weights);
            });
        }
    });
    assert_eq!(server.count("GET"), 1);
}

#[test]
fn an_etag_that_is_no_hash_is_not_taken_for_contents() {
    let server = Server::start(|request, stream| {
        let name = request.path.rsplit('/').next().unwrap().to_string();
        send(
            request,
            stream,
            200,
            &[("X-Repo-Commit", FIRST), ("ETag", "\"abc123\"")],
            name.as_bytes(),
        )
    });
    let cache = tempfile::tempdir().unwrap();
    let hub = server.hub(cache.path());
    assert_eq!(
        files(&hub, &["a.json", "b.json", "longer.json"]).unwrap(),
        ["a.json", "b.json", "longer.json"]
    );
}

#[test]
fn a_damaged_blob_is_replaced_or_named() {
    let repo = Repo::of(&[(FIRST, &[("model.safetensors", "weights"), ("a.txt", "text")])]);
    let server = repo.serve();
    let cache = tempfile::tempdir().unwrap();
    let blobs = cache.path().join(MODEL).join("blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    for contents in ["weights", "text"] {
        let mut file = std::fs::File::create(blobs.join(hash(contents.as_bytes()))).unwrap();
        file.write_all(b"?").unwrap();
    }
    let hub = server.hub(cache.path());
    assert_eq!(files(&hub, &["model.safetensors"]).unwrap(), ["weights"]);
    let error = files(&hub, &["a.txt"]).unwrap_err().to_string();
    assert!(error.contains("remove it") && error.contains(&hash(b"text")), "{error}");
}
