//! What surrounds a run: paths that are not UTF-8, streams that are closed or full, folders that are
//! gone. None of it may end a run that could have gone on, and what cannot work is said at once.
#![cfg(unix)]

mod common;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::{SMALL, TEXT_AND_LABEL, spry, stderr, tiny_bert, write_parquet};
use serde_json::Value;

/// A name in Latin-1.
fn latin1(name: &str) -> OsString {
    let bytes: Vec<u8> = name.chars().map(|c| u8::try_from(c).unwrap()).collect();
    OsStr::from_bytes(&bytes).to_os_string()
}

fn json_of(command: &mut Command) -> Value {
    let output = command.args(["--format", "json"]).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Whatever only has to be found and shown may have any name.
#[test]
fn results_may_go_to_folders_of_any_name() {
    let folder = tempfile::tempdir().unwrap();
    let out = latin1("café");
    let json = json_of(spry(folder.path()).arg("run").args(SMALL).arg("--out").arg(&out));
    assert_eq!(json["folder"], "caf\u{fffd}");
    let json = json_of(spry(folder.path()).arg("resume").arg(&out));
    assert_eq!((&json["folder"], &json["finished"]), (&"caf\u{fffd}".into(), &true.into()));
    let page = latin1("página");
    let json = json_of(spry(folder.path()).arg("compare").arg(&out).arg("--out").arg(&page));
    assert_eq!(json["runs"][0]["folder"], "caf\u{fffd}");
    assert_eq!(json["written"], "p\u{fffd}gina/comparison.html");
    assert!(folder.path().join(&page).join("comparison.html").is_file());
    let two = latin1("deux-é");
    for name in ["a", "b"] {
        let out = folder.path().join(&two).join(name);
        json_of(spry(folder.path()).arg("run").args(SMALL).arg("--out").arg(&out));
    }
    fs::remove_file(folder.path().join(&two).join("b/summary.json")).unwrap();
    let json = json_of(spry(folder.path()).arg("compare").arg(&two).arg("--out").arg(&page));
    assert_eq!(json["left_out"][0]["folder"], "deux-\u{fffd}/b");
    let exported = latin1("exporté");
    let json = json_of(spry(folder.path()).arg("export").arg(&out).arg(&exported));
    assert_eq!(json["written"][0], "export\u{fffd}/adapter_config.json");
    let sweep = latin1("balayé");
    let mut command = spry(folder.path());
    command.arg("sweep").args(SMALL).args(["--seeds", "1"]).arg("--out").arg(&sweep);
    let json = json_of(&mut command);
    assert_eq!(json["written"], "balay\u{fffd}/sweep.json");
    let path = folder.path().join(&sweep).join("sweep.json");
    let cells: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    assert_eq!(cells[0]["runs"][0], "balay\u{fffd}/all/seed-1");
    let plot = latin1("é.svg");
    let mut command = spry(folder.path());
    command.args(["partition", "--dataset", "synthetic_news", "--plot"]).arg(&plot);
    assert!(command.output().unwrap().status.success());

    // The command to go on with is one that a shell reads.
    let output =
        spry(folder.path()).arg("run").args(SMALL).arg("--out").arg(&out).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains(r"spry resume $'caf\xe9'"), "{}", stderr(&output));
}

/// A folder in which the whole path is not UTF-8, though no argument shows it.
#[test]
fn a_working_folder_of_any_name() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join(latin1("travail-é"));
    fs::create_dir(&inner).unwrap();
    let json = json_of(spry(&inner).arg("run").args(SMALL));
    assert_eq!(json["folder"], "results/synthetic_news/spry/default");
    assert!(inner.join("results/synthetic_news/spry/default/summary.json").is_file());
}

/// What `config.toml` would have to name is refused before anything runs, and nothing is written.
#[test]
fn what_a_configuration_cannot_name_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join(latin1("é"));
    let model = inner.join("model");
    fs::create_dir_all(&model).unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        fs::copy(tiny_bert().join(name), model.join(name)).unwrap();
    }
    write_parquet(&inner.join("data/train.parquet"), TEXT_AND_LABEL, &["a", "b"], &[0.0, 1.0]);
    fs::create_dir(inner.join("adapter")).unwrap();
    let check = |what: &str, output: Output| {
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{what}: {message}");
        assert!(message.contains("is not UTF-8"), "{what}: {message}");
        assert!(message.contains("rename the folder"), "{what}: {message}");
        assert!(!inner.join("out").exists(), "{what}");
    };
    for option in ["model.name_or_path=model", "dataset=data", "model.adapter=adapter"] {
        let mut command = spry(&inner);
        command.arg("run").args(SMALL).args(["--out", "out", "--set", option]);
        check(option, command.output().unwrap());
        let mut command = spry(&inner);
        command.arg("sweep").args(SMALL).args(["--out", "out", "--set", option]);
        check(option, command.output().unwrap());
    }
    // As an argument it is no text either, and there is one line, not a panic.
    for format in ["text", "json"] {
        let mut command = spry(folder.path());
        command.args(["--format", format, "run"]).args(SMALL).arg("--set");
        command.arg(latin1("model.name_or_path=é/model"));
        let output = command.output().unwrap();
        let message = stderr(&output) + &String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains("invalid UTF-8 was detected"), "{message}");
        assert!(!message.contains("panicked"), "{message}");
    }
}

/// Runs a small run by a shell's line, in which `spry` stands for it.
fn by_shell(folder: &Path, line: &str) -> Output {
    let run = format!("'{}' --offline run {}", env!("CARGO_BIN_EXE_spry"), SMALL.join(" "));
    let mut command = Command::new("sh");
    command.current_dir(folder).env("HF_HUB_CACHE", folder.join("cache"));
    command.args(["-c", &line.replace("spry", &run)]);
    command.output().unwrap()
}

#[test]
fn a_run_needs_no_stream() {
    let folder = tempfile::tempdir().unwrap();
    let full = Path::new("/dev/full").exists();
    let lines = [
        "spry --out a <&- >&- 2>&-",
        "spry --out b >&-",
        "spry --out c 2>&-",
        // A client fails in each round, of which there are warnings.
        "spry --out d 2>/dev/full --set learning_rate=1e30",
        "spry --out e | true",
        "spry --out f --set learning_rate=1e30 2>&1 >/dev/null | true",
    ];
    for (line, out) in lines.iter().zip(["a", "b", "c", "d", "e", "f"]) {
        if line.contains("/dev/full") && !full {
            continue;
        }
        let output = by_shell(folder.path(), line);
        println!("{line} -> {:?} {}", output.status, stderr(&output));
        assert!(!stderr(&output).contains("panicked"), "{line}: {}", stderr(&output));
        assert!(output.status.code().is_some_and(|code| code != 101), "{line}: {output:?}");
        let summary = fs::read(folder.path().join(out).join("summary.json"));
        let summary: Value = serde_json::from_slice(&summary.expect(line)).unwrap();
        assert_eq!(summary["rounds"], 3, "{line}");
    }
}

#[test]
fn a_run_needs_no_home_and_no_language() {
    let folder = tempfile::tempdir().unwrap();
    for (out, name, value) in [
        ("home", "HOME", None),
        ("empty", "HOME", Some("")),
        ("dumb", "TERM", Some("dumb")),
        ("c", "LC_ALL", Some("C")),
        ("nowhere", "TMPDIR", Some("/nowhere")),
    ] {
        let mut command = spry(folder.path());
        command.arg("run").args(SMALL).args(["--out", out]).env_remove(name);
        command.envs(value.map(|value| (name, value)));
        let output = command.output().unwrap();
        println!("{out}: {:?} {}", output.status, stderr(&output));
        assert!(!stderr(&output).contains("panicked"), "{out}: {}", stderr(&output));
        assert!(matches!(output.status.code(), Some(0..=2)), "{out}: {}", stderr(&output));
        if out != "nowhere" {
            assert!(output.status.success(), "{out}: {}", stderr(&output));
        }
    }
}

#[test]
fn a_folder_that_is_gone_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let output = by_shell(folder.path(), "mkdir gone && cd gone && rmdir ../gone && spry");
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.starts_with("error: ") && message.lines().count() == 1, "{message}");

    // A name that no file can have.
    let long = "x".repeat(300);
    let mut command = spry(folder.path());
    let output = command.arg("run").args(SMALL).args(["--out", &long]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("name too long"), "{}", stderr(&output));
}

/// Lines of the log are lost, which is said once; the run is not.
#[cfg(target_os = "linux")]
#[test]
fn a_log_that_cannot_be_written_does_not_end_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let run = |out: &str| {
        let mut command = spry(folder.path());
        command.arg("run").args(SMALL).args(["--out", out]);
        command
    };
    assert!(run("out").output().unwrap().status.success());
    let log = folder.path().join("out/log.txt");
    fs::remove_file(&log).unwrap();
    std::os::unix::fs::symlink("/dev/full", &log).unwrap();
    let output = spry(folder.path()).args(["resume", "out"]).stdin(Stdio::null()).output().unwrap();
    let message = stderr(&output);
    println!("{message}");
    assert!(output.status.success(), "{message}");
    assert_eq!(message.matches("log.txt").count(), 1, "{message}");
    assert!(message.contains("lines of the log are lost"), "{message}");
}
