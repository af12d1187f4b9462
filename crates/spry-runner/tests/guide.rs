//! The commands of the README and of the guide are run, in their order, as a reader would.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{TEXT_AND_LABEL, case, tiny_bert, write_parquet, write_texts};
use spry_data::TextExample;
use spry_runner::bundled;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The lines of a page's `console` blocks, with those that end in a backslash joined.
fn commands(page: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(page)).unwrap();
    let blocks = text.split("```console\n").skip(1);
    let blocks = blocks.map(|block| block.split("```").next().unwrap().replace("\\\n", " "));
    let commands: Vec<String> = blocks
        .flat_map(|block| block.lines().map(str::to_string).collect::<Vec<_>>())
        .map(|line| line.split("  #").next().unwrap().trim().to_string())
        .filter(|line| !line.is_empty())
        .collect();
    assert!(!commands.is_empty(), "{page}");
    commands
}

/// A dataset in Parquet: some of the bundled news.
fn write_news(path: &Path) {
    let news = bundled::dataset();
    let examples = || news.examples.iter().take(1200);
    let texts: Vec<&str> = examples().map(|example| example.text.as_str()).collect();
    let labels: Vec<f64> = examples().map(|example| example.label as f64).collect();
    write_parquet(path, TEXT_AND_LABEL, &texts, &labels);
}

/// Reviews with two columns of text, and a class that is a word.
fn write_reviews(path: &Path) {
    let news = bundled::dataset();
    let texts: Vec<&str> = news.examples.iter().take(400).map(|e| e.text.as_str()).collect();
    let verdict = |e: &TextExample| if e.label < 2 { "bad" } else { "good" };
    let verdicts: Vec<&str> = news.examples.iter().take(400).map(verdict).collect();
    write_texts(path, &[("title", &texts), ("body", &texts), ("verdict", &verdicts)]);
}

/// Files that a page shows: blocks of TOML whose first line is a comment with their name.
fn write_files(page: &str, folder: &Path) {
    let text = fs::read_to_string(root().join(page)).unwrap();
    for block in text.split("```toml\n# ").skip(1) {
        let (name, contents) = block.split_once('\n').unwrap();
        fs::write(folder.join(name), contents.split("```").next().unwrap()).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

/// What a reader has: data, a model and a case of their own, and a cache with what the hub has
/// under the names that the pages use (here the stand-ins, so that no network is needed).
fn prepare(folder: &Path) -> PathBuf {
    write_news(&folder.join("my-news/train.parquet"));
    copy(&tiny_bert(), &folder.join("my-model"));
    copy(&case("bert-lora"), &folder.join("my-case"));
    write_reviews(&folder.join("my-reviews/train.parquet"));
    let cache = folder.join("cache/hub");
    let snapshot = |repository: &str| {
        let repository = cache.join(repository);
        fs::create_dir_all(repository.join("refs")).unwrap();
        fs::write(repository.join("refs/main"), "0123").unwrap();
        repository.join("snapshots/0123")
    };
    copy(&tiny_bert(), &snapshot("models--sentence-transformers--all-MiniLM-L6-v2"));
    let news = snapshot("datasets--fancyzhx--ag_news");
    for split in ["train", "test"] {
        write_news(&news.join(format!("data/{split}-00000-of-00001.parquet")));
    }
    cache
}

/// Runs a page's `spry` commands one after another; the others must name what exists.
fn follow(page: &str) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let cache = prepare(folder.path());
    write_files(page, folder.path());
    let programs = Path::new(env!("CARGO_BIN_EXE_spry")).parent().unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = [programs.to_path_buf()].into_iter().chain(std::env::split_paths(&path));
    let path = std::env::join_paths(paths).unwrap();
    let mut run = 0;
    for command in commands(page) {
        if !command.starts_with("spry ") {
            check_cargo(&command);
            continue;
        }
        let output = Command::new("sh")
            .args(["-c", &command])
            .current_dir(folder.path())
            .env("PATH", &path)
            .env("HF_HUB_CACHE", &cache)
            .env("HF_HUB_OFFLINE", "1")
            .output()
            .unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{page}: {command}\n{message}");
        assert!(message.is_empty(), "{page}: {command}\n{message}");
        run += 1;
    }
    run
}

/// A `cargo` command is too much to run inside a test, but what it names must be there.
fn check_cargo(command: &str) {
    let words: Vec<&str> = command.split_whitespace().collect();
    let after = |flag: &str| {
        words.iter().position(|word| *word == flag).and_then(|at| words.get(at + 1)).copied()
    };
    let exists = |path: String| assert!(root().join(&path).exists(), "{command}: no {path}");
    match words.as_slice() {
        ["cargo", "install", ..] => exists(format!("{}/Cargo.toml", after("--path").unwrap())),
        ["cargo", "run", ..] => exists(format!("examples/{}/main.rs", after("--example").unwrap())),
        ["cargo", "bench", ..] => {
            exists(format!("benches/benches/{}.rs", after("--bench").unwrap()))
        }
        ["cargo", "xtask", chore, ..] => {
            let chores = fs::read_to_string(root().join("xtask/src/main.rs")).unwrap();
            assert!(chores.contains(&format!("//! - `{chore}`")), "{command}");
        }
        ["cargo", "test", "--workspace", ..] => {}
        _ => panic!("what is this command? {command}"),
    }
}

#[cfg(unix)]
#[test]
fn the_guide_can_be_followed() {
    assert!(follow("docs/guide.md") >= 15);
}

#[cfg(unix)]
#[test]
fn the_page_about_datasets_can_be_followed() {
    assert!(follow("docs/datasets.md") >= 3);
}

#[cfg(unix)]
#[test]
fn the_readme_can_be_followed() {
    assert!(follow("README.md") >= 3);
}

/// Commands in the other pages name what exists, too.
#[test]
fn commands_in_other_pages_exist() {
    for page in ["docs/results.md", "docs/benchmarks.md", "docs/strategies.md"] {
        let text = fs::read_to_string(root().join(page)).unwrap();
        if text.contains("```console") {
            commands(page)
                .iter()
                .filter(|line| line.starts_with("cargo"))
                .for_each(|c| check_cargo(c));
        }
    }
}
