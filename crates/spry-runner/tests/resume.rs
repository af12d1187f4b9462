//! A run that was killed or interrupted, and then resumed, equals one that never stopped.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{SMALL, spry, stderr, succeed};
use serde_json::Value;
use spry_core::Seed;

/// How often a process is killed over the whole test.
const KILLS: usize = 24;

/// Everything in a run's folder that must be the same in every repetition: weights, metrics,
/// pictures of metrics, and the summary without times and peaks.
fn contents(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut contents = BTreeMap::new();
    for name in [
        "config.toml",
        "rounds.parquet",
        "clients.parquet",
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "adapter-best/adapter_model.safetensors",
        "plots/loss.svg",
        "plots/accuracy.svg",
        "plots/bytes.svg",
    ] {
        let bytes = fs::read(run.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        contents.insert(name.to_string(), bytes);
    }
    let mut summary: Value =
        serde_json::from_slice(&fs::read(run.join("summary.json")).unwrap()).unwrap();
    for key in ["wall_secs", "client_steps_per_sec", "peak_client_bytes"] {
        assert!(summary.as_object_mut().unwrap().remove(key).is_some(), "{key}");
    }
    contents.insert("summary.json".to_string(), summary.to_string().into_bytes());
    contents
}

fn assert_same(run: &Path, expected: &BTreeMap<String, Vec<u8>>, what: &str) {
    for (name, bytes) in contents(run) {
        assert!(bytes == expected[&name], "{what}: {name} differs");
    }
}

/// Files that a killed process may leave behind, but a finished run must not have.
fn leftovers(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let temporary =
        |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(".tmp");
    let below = folders.iter().flat_map(|folder| leftovers(folder));
    files.into_iter().filter(temporary).chain(below).collect()
}

/// Twelve rounds of a few dozen milliseconds.
fn arguments(out: &str) -> Vec<&str> {
    let mut arguments = vec!["run"];
    arguments.extend(SMALL);
    let options = ["num_server_rounds=12", "dataset.max_examples=160"];
    arguments.extend(options.iter().flat_map(|option| ["--set", option]));
    arguments.extend(["--out", out]);
    arguments
}

fn start(folder: &Path, run: &str) -> Child {
    let is_begun = folder.join(run).join("config.toml").is_file();
    let arguments = if is_begun { vec!["resume", run] } else { arguments(run) };
    // Another number of jobs each time: it must not matter.
    let jobs = if is_begun { "2" } else { "1" };
    spry(folder)
        .args(arguments)
        .args(["--jobs", jobs])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn killed_at_random_moments_and_resumed_a_run_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let started = Instant::now();
    succeed(spry(folder.path()).args(arguments("whole")).args(["--jobs", "1"]));
    let whole_time = started.elapsed();
    // The number of jobs is in the configuration, but not in the results.
    let expected = contents(&folder.path().join("whole"));

    let moments = Seed::new(0).child("kill", 0).uniforms(10 * KILLS);
    let mut moments = moments.into_iter();
    let (mut kills, mut runs) = (0, 0);
    while kills < KILLS {
        let name = format!("killed-{runs}");
        runs += 1;
        loop {
            let mut child = start(folder.path(), &name);
            // From before the folder is there until after the end.
            let moment = moments.next().expect("there are moments enough");
            sleep(whole_time.mul_f64(0.9 * moment));
            if child.try_wait().unwrap().is_none() && kills < KILLS {
                child.kill().unwrap();
                child.wait().unwrap();
                kills += 1;
                continue;
            }
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{name}: {}", stderr(&output));
            break;
        }
        let run = folder.path().join(&name);
        assert_same(&run, &expected, &name);
        assert_eq!(leftovers(&run), Vec::<PathBuf>::new(), "{name}");
    }
    println!("{kills} kills in {runs} runs of {whole_time:?}");
    assert!(kills >= 20);
}

/// One line says how to go on; the exit code is that of an interrupted command.
#[cfg(unix)]
#[test]
fn ctrl_c_writes_a_checkpoint_and_says_how_to_resume() {
    stopped_by("-INT");
}

/// As schedulers do before they kill.
#[cfg(unix)]
#[test]
fn a_request_to_terminate_does_the_same() {
    stopped_by("-TERM");
}

#[cfg(unix)]
fn stopped_by(signal: &str) {
    let folder = tempfile::tempdir().unwrap();
    succeed(spry(folder.path()).args(arguments("whole")).args(["--jobs", "1"]));
    let child = start(folder.path(), "stopped");
    let checkpoints = folder.path().join("stopped/checkpoints");
    let has_checkpoint =
        || fs::read_dir(&checkpoints).is_ok_and(|mut entries| entries.next().is_some());
    let started = Instant::now();
    while !has_checkpoint() {
        assert!(started.elapsed() < Duration::from_secs(60), "no checkpoint");
        sleep(Duration::from_millis(5));
    }
    let process = child.id().to_string();
    let status = std::process::Command::new("kill").args([signal, &process]).status();
    assert!(status.unwrap().success());
    let output = child.wait_with_output().unwrap();
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(130), "{message}");
    assert!(message.contains("go on with: spry resume stopped"), "{message}");

    succeed(spry(folder.path()).args(["resume", "stopped"]));
    let expected = contents(&folder.path().join("whole"));
    assert_same(&folder.path().join("stopped"), &expected, signal);
}

/// Damages the newest checkpoint in several ways: the one before it serves, with a warning.
#[test]
fn a_damaged_checkpoint_gives_way_to_the_one_before_it() {
    let folder = tempfile::tempdir().unwrap();
    succeed(spry(folder.path()).args(arguments("whole")).args(["--jobs", "1"]));
    let run = folder.path().join("whole");
    let expected = contents(&run);
    let newest = run.join("checkpoints/round-00000012.ckpt");
    let intact = fs::read(&newest).unwrap();
    let mut flipped = intact.clone();
    flipped[intact.len() / 2] ^= 1;
    for (what, bytes) in [
        ("cut short", intact[..intact.len() / 2].to_vec()),
        ("empty", Vec::new()),
        ("with a flipped bit", flipped),
        ("of another kind", b"something else".to_vec()),
    ] {
        fs::write(&newest, &bytes).unwrap();
        let output = spry(folder.path()).args(["resume", "whole"]).output().unwrap();
        let message = stderr(&output);
        assert!(output.status.success(), "{what}: {message}");
        assert!(message.contains("round-00000012.ckpt is damaged"), "{what}: {message}");
        assert!(message.contains("trying the checkpoint before it"), "{what}: {message}");
        assert_same(&run, &expected, what);
        assert!(fs::read(&newest).unwrap() != bytes, "{what}: it was not written again");
        // The damaged one is kept under another name, and does not count as one of the two.
        assert_eq!(fs::read(newest.with_extension("damaged")).unwrap(), bytes, "{what}");
    }
}

/// A method with state in the server's optimizer and in the previous change, with dropped rounds.
#[test]
fn methods_with_more_state_resume_too() {
    let folder = tempfile::tempdir().unwrap();
    for (method, options) in [
        ("fwdllm+", vec!["method.max_gradient_variance=6"]),
        ("fedsgd", vec!["model.dropout=true"]),
        ("fedmezo", vec!["max_forward_passes=2400"]),
    ] {
        let run = |name: &str, rounds: &str| {
            let mut command = spry(folder.path());
            // Without the option of Spry's estimator.
            command.arg("run").args(&SMALL[..8]).args(["--out", name]);
            let given = [format!("method={method}"), format!("num_server_rounds={rounds}")];
            let all = given.iter().map(String::as_str).chain(options.iter().copied());
            command.args(all.flat_map(|option| ["--set", option]));
            command
        };
        let (whole, half) = (format!("{method}-whole"), format!("{method}-half"));
        succeed(&mut run(&whole, "6"));
        // A run that was only asked for half of the rounds, and is then given the rest, has a
        // checkpoint in the middle.
        succeed(&mut run(&half, "3"));
        let config = folder.path().join(&half).join("config.toml");
        let text = fs::read_to_string(&config).unwrap();
        fs::write(&config, text.replace("num_server_rounds = 3", "num_server_rounds = 6")).unwrap();
        succeed(spry(folder.path()).args(["resume", &half]));
        let (whole, half) = (folder.path().join(whole), folder.path().join(half));
        let rounds = spry_runner::run::metrics::read_rounds(&whole.join("rounds.parquet")).unwrap();
        let losses: Vec<f64> = rounds.iter().filter_map(|row| row.generalized_loss).collect();
        assert!(losses.len() > 4, "{method}: there is something after the middle: {losses:?}");
        assert!(losses[losses.len() - 1] != losses[3] && losses[3] != losses[0], "{method}");
        println!(
            "{method}: {} of {} updates left out",
            rounds.iter().map(|row| row.left_out).sum::<u64>(),
            3 * (losses.len() - 1)
        );
        assert_same(&half, &contents(&whole), method);
    }
}

#[test]
fn a_run_is_not_resumed_with_other_data_or_by_two_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    fs::create_dir(&model).unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        fs::copy(common::tiny_bert().join(name), model.join(name)).unwrap();
    }
    let with_model = ["--set", "model.name_or_path=model"];
    succeed(spry(folder.path()).args(arguments("run")).args(with_model));
    let weights = model.join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&weights, bytes).unwrap();
    let output = spry(folder.path()).args(["resume", "run"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("is not what it was"), "{}", stderr(&output));

    let lock = fs::File::create(folder.path().join("run/.lock")).unwrap();
    lock.lock().unwrap();
    let output = spry(folder.path()).args(["resume", "run"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("another process"), "{}", stderr(&output));
}

/// Question answering: with F1 in the rows, clients in parallel, and a stop in between.
#[test]
fn question_answering_resumes_too() {
    let folder = tempfile::tempdir().unwrap();
    let run = |out: &str, rounds: &str, jobs: &str| {
        let mut command = spry(folder.path());
        command.args(["run", "--preset", "squad_v2-spry", "--out", out, "--jobs", jobs]);
        let rounds = format!("num_server_rounds={rounds}");
        for option in [
            "dataset.source=synthetic",
            "model=tiny-bert",
            "dataset.max_examples=96",
            "dataset.num_clients=6",
            "dataset.max_length=48",
            "cohort_size=3",
            "evaluate_every=1",
            rounds.as_str(),
        ] {
            command.args(["--set", option]);
        }
        succeed(&mut command);
        folder.path().join(out)
    };
    let (whole, half) = (run("whole", "4", "1"), run("half", "2", "2"));
    let path = half.join("config.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("num_server_rounds = 2", "num_server_rounds = 4")).unwrap();
    succeed(spry(folder.path()).args(["resume", "half"]));
    let mut expected = contents(&whole);
    let config = String::from_utf8(expected["config.toml"].clone()).unwrap();
    expected.insert("config.toml".to_string(), config.replace("jobs = 1", "jobs = 2").into_bytes());
    assert_same(&half, &expected, "question answering");
    let summary: Value =
        serde_json::from_slice(&fs::read(half.join("summary.json")).unwrap()).unwrap();
    assert!(summary["generalized_f1"].is_number(), "{summary}");
    assert_eq!(summary["dataset"], "squad_v2-synthetic");

    // What decides about answers decides about results.
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("max_answer_length = 30", "max_answer_length = 9")).unwrap();
    let output = spry(folder.path()).args(["resume", "half"]).output().unwrap();
    assert!(stderr(&output).contains("max_answer_length"), "{}", stderr(&output));
}
