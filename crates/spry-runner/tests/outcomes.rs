//! What comes of a run or a sweep is what the exit code and the numbers say: failures do not look
//! like successes, and others' troubles do not look like one's own.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{SMALL, small_run, spry, stderr, succeed};
use serde_json::Value;

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The smoke preset made small, without the option that only Spry's estimator has.
const ANY_METHOD: &[&str] = SMALL.split_at(8).0;

/// Steps so large that every client's first ones leave nothing to go on with.
const HOPELESS: [&str; 6] =
    ["--set", "method=fedavg", "--set", "learning_rate=1e37", "--set", "num_server_rounds=2"];

#[test]
fn a_run_in_which_every_update_failed_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let run = |more: &[&str]| {
        let mut command = spry(folder.path());
        command.arg("run").args(ANY_METHOD).args(HOPELESS).args(more).output().unwrap()
    };
    let output = run(&["--out", "run"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let lines = stderr(&output);
    let errors: Vec<&str> = lines.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{lines}");
    assert!(errors[0].contains("no update went into the weights in any round"), "{lines}");
    assert!(errors[0].contains("client "), "it says why: {lines}");
    assert!(stdout(&output).contains("2 (failed)"), "{}", stdout(&output));
    let summary = json(&folder.path().join("run/summary.json"));
    assert_eq!((&summary["finished"], &summary["rounds"]), (&false.into(), &2.into()));
    assert!(summary["failure"].as_str().unwrap().contains("no update"), "{summary}");
    // So it is for machines, and for who tries again.
    let output = run(&["--out", "for-machines", "--format", "json"]);
    let printed: Value = serde_json::from_str(stdout(&output).trim()).unwrap();
    assert_eq!((output.status.code(), &printed["exit_code"]), (Some(1), &1.into()));
    assert_eq!(printed["failed_updates"], 6);
    let resumed = spry(folder.path()).args(["resume", "run"]).output().unwrap();
    assert_eq!(resumed.status.code(), Some(1), "{}", stderr(&resumed));
    let table = succeed(spry(folder.path()).args(["compare", "run", "--out", "page"]));
    assert!(table.contains("2 (failed)"), "{table}");

    // One good run among three: the failed ones are not in the mean, and are counted.
    let sweep = || {
        let mut command = spry(folder.path());
        command.arg("sweep").args(ANY_METHOD).args(&HOPELESS[..2]).args(&HOPELESS[4..]);
        command.args(["--grid", "learning_rate=1e37,1e-2", "--out", "sweep"]);
        command.args(["--format", "json"]).output().unwrap()
    };
    for output in [sweep(), sweep()] {
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        let printed: Value = serde_json::from_str(stdout(&output).trim()).unwrap();
        let [bad, good] = [0, 1].map(|cell| &printed["cells"][cell]);
        assert_eq!((&bad["finished"], &bad["failed"]), (&0.into(), &1.into()), "{printed}");
        assert_eq!(bad["accuracy"], Value::Null);
        assert_eq!((&good["finished"], &good["failed"]), (&1.into(), &0.into()));
        assert!(printed["error"].as_str().unwrap().starts_with("1 of 2 runs failed"), "{printed}");
    }
    let mut command = spry(folder.path());
    command.arg("sweep").args(ANY_METHOD).args(&HOPELESS[..2]).args(&HOPELESS[4..]);
    let output =
        command.args(["--grid", "learning_rate=1e37,1e-2", "--out", "sweep"]).output().unwrap();
    assert!(stdout(&output).contains("0/1 (1 failed)"), "{}", stdout(&output));
}

/// Waits for something that another process does.
fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what}");
        sleep(Duration::from_millis(5));
    }
}

#[cfg(unix)]
#[test]
fn a_run_whose_folder_is_gone_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        let mut command = spry(folder.path());
        command.arg("run").args(SMALL).args(["--set", "num_server_rounds=400", "--out", "run"]);
        command.args(["--set", "checkpoint_every=1", "--set", "evaluate_every=50"]);
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let run = folder.path().join("run");
    let has_results = || run.join("summary.json").is_file();
    // Moved away: where it is now, it can be gone on with.
    let child = start();
    wait_for("no results", has_results);
    fs::rename(&run, folder.path().join("moved")).unwrap();
    let output = child.wait_with_output().unwrap();
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("the run's folder was deleted, moved or replaced"), "{message}");
    let config = folder.path().join("moved/config.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("num_server_rounds = 400", "num_server_rounds = 2")).unwrap();
    succeed(spry(folder.path()).args(["resume", "moved"]));

    // Deleted, as far as it goes while it is written to.
    let _ = fs::remove_dir_all(&run);
    let child = start();
    wait_for("no results", has_results);
    fs::remove_file(run.join("config.toml")).unwrap();
    let _ = fs::remove_dir_all(&run);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
}

#[cfg(target_os = "linux")]
#[test]
fn a_result_that_cannot_be_printed_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        &["presets", "--format", "json"][..],
        &["presets"],
        &["presets", "smoke"],
        &["--help"],
        &["--version"],
    ] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = spry(folder.path()).args(arguments).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let message = stderr(&output);
        assert!(message.contains("cannot be printed: No space left"), "{arguments:?}: {message}");
        // A reader that has enough is none.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = spry(folder.path()).args(arguments).stdout(writer).output().unwrap();
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
    }
    // What failed before keeps its code.
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let arguments = ["resume", "nothing", "--format", "json"];
    let output = spry(folder.path()).args(arguments).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn without_test_data_nothing_looks_like_a_number() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = spry(folder.path());
    command.arg("run").args(SMALL).args(["--set", "dataset.train_share=1", "--out", "run"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("no client has test data"), "{}", stderr(&output));
    let table = stdout(&output);
    let row = |name: &str| table.lines().find(|line| line.contains(name)).unwrap().to_string();
    for name in ["test accuracy (generalised)", "test loss (generalised)", "best test accuracy"] {
        assert!(row(name).contains("no test data"), "{table}");
    }
    let run = folder.path().join("run");
    let log = fs::read_to_string(run.join("log.txt")).unwrap();
    assert!(!log.contains("NaN") && log.contains("after 3 rounds: no client has test data"));
    let summary = json(&run.join("summary.json"));
    for key in ["generalized_accuracy", "generalized_loss", "best_generalized_accuracy"] {
        assert_eq!(summary[key], Value::Null, "{key}");
    }
    assert_eq!((&summary["test_examples"], &summary["best_round"]), (&0.into(), &Value::Null));
    let table = succeed(spry(folder.path()).args(["compare", "run", "--out", "page"]));
    assert!(table.contains("| no test data |") && !table.contains("NaN"), "{table}");
    let page = fs::read_to_string(folder.path().join("page/comparison.html")).unwrap();
    assert!(page.contains("no test data") && !page.contains("NaN"));
    let output = spry(folder.path()).args(["export", "run", "out", "--best"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("has no best round"), "{}", stderr(&output));
}

/// Runs of a folder that have nothing to show are named and left out.
#[test]
fn a_young_or_broken_run_does_not_keep_the_others_from_being_compared() {
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str| small_run(folder.path(), &format!("results/a/spry/{name}"));
    make("default");
    // Two folders deeper than others.
    make("grp/b");
    let young = make("young");
    fs::remove_file(young.join("summary.json")).unwrap();
    let broken = make("broken");
    fs::write(broken.join("summary.json"), "{}").unwrap();
    let compare = |what: &[&str]| {
        let mut command = spry(folder.path());
        command.arg("compare").args(what).args(["--out", "page", "--format", "json"]);
        command.output().unwrap()
    };
    let output = compare(&["results"]);
    let message = stderr(&output);
    assert!(output.status.success(), "{message}");
    for what in ["young: results", "broken/summary.json is damaged"] {
        let name = what.split([':', '/']).next().unwrap();
        let line =
            message.lines().find(|line| line.contains(&format!("left out results/a/spry/{name}")));
        assert!(line.is_some(), "{name}: {message}");
    }
    let printed: Value = serde_json::from_str(stdout(&output).trim()).unwrap();
    assert_eq!(printed["runs"].as_array().unwrap().len(), 2, "{printed}");
    assert_eq!(printed["left_out"].as_array().unwrap().len(), 2, "{printed}");
    assert!(stdout(&output).contains("grp/b"), "{printed}");
    // Who names a run means it; and of nothing there is no comparison.
    for (what, reason) in [
        (vec!["results/a/spry/default", "results/a/spry/young"], "has no results yet"),
        (vec!["results", "results/a/spry/broken"], "is damaged"),
    ] {
        let output = compare(&what);
        assert_eq!(output.status.code(), Some(2), "{what:?}");
        assert!(stdout(&output).contains(reason), "{what:?}: {}", stdout(&output));
    }
    fs::remove_dir_all(folder.path().join("results/a/spry/default")).unwrap();
    fs::remove_dir_all(folder.path().join("results/a/spry/grp")).unwrap();
    assert_eq!(compare(&["results"]).status.code(), Some(2));
}

/// Several workers share a sweep, without a failure and without doing anything twice.
#[test]
fn workers_share_a_sweep() {
    let folder = tempfile::tempdir().unwrap();
    let worker = || {
        let mut command = spry(folder.path());
        command.arg("sweep").args(SMALL).args(["--grid", "method.estimator.k=1,2,3"]);
        command.args(["--seeds", "0,1", "--out", "sweep", "--format", "json"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let workers: Vec<_> = (0..3).map(|_| worker().spawn().unwrap()).collect();
    let outputs: Vec<Output> =
        workers.into_iter().map(|worker| worker.wait_with_output().unwrap()).collect();
    for output in &outputs {
        assert_eq!(output.status.code(), Some(0), "{}{}", stdout(output), stderr(output));
        let printed: Value = serde_json::from_str(stdout(output).trim()).unwrap();
        assert_eq!(printed["failures"], serde_json::json!([]));
    }
    let cells = json(&folder.path().join("sweep/sweep.json"));
    for cell in cells.as_array().unwrap() {
        assert_eq!(cell["finished"], 2, "{cells}");
        for run in cell["runs"].as_array().unwrap() {
            let run = folder.path().join(run.as_str().unwrap());
            let log = fs::read_to_string(run.join("log.txt")).unwrap();
            assert_eq!(log.matches("0 of 3 rounds done").count(), 1, "{log}");
        }
    }
    // A run that somebody else has is left to them; a summary that is damaged is made again.
    let run = folder.path().join("sweep/k=2/seed-1");
    fs::remove_file(run.join("summary.json")).unwrap();
    let other = folder.path().join("sweep/k=1/seed-0/summary.json");
    fs::write(&other, "{").unwrap();
    let lock = fs::File::create(run.join(".lock")).unwrap();
    lock.lock().unwrap();
    fs::write(run.join(".lock"), "process 77 on elsewhere").unwrap();
    let output = worker().output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    let printed: Value = serde_json::from_str(stdout(&output).trim()).unwrap();
    assert_eq!(printed["left_to_others"][0]["holder"], "process 77 on elsewhere", "{printed}");
    assert_eq!(printed["cells"][1]["finished"], 1, "{printed}");
    assert_eq!(printed["cells"][0]["finished"], 2, "{printed}");
    drop(lock);
    let output = worker().output().unwrap();
    let printed: Value = serde_json::from_str(stdout(&output).trim()).unwrap();
    assert_eq!(printed["cells"][1]["finished"], 2, "{printed}");
}

/// A worker takes up what another one left when it was killed.
#[cfg(unix)]
#[test]
fn a_run_of_a_killed_worker_is_taken_up() {
    let folder = tempfile::tempdir().unwrap();
    let worker = || {
        let mut command = spry(folder.path());
        command.arg("sweep").args(SMALL).args(["--set", "num_server_rounds=30"]);
        command.args(["--set", "checkpoint_every=2", "--grid", "method.estimator.k=1,2"]);
        command.args(["--out", "sweep"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let mut first = worker().spawn().unwrap();
    let begun = folder.path().join("sweep/k=1/seed-0/config.toml");
    wait_for("no run begun", || begun.is_file());
    let second = worker().spawn().unwrap();
    wait_for("no second run", || folder.path().join("sweep/k=2/seed-0/config.toml").is_file());
    first.kill().unwrap();
    first.wait().unwrap();
    let output = second.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stdout(&output).matches(" 1/1 |").count(), 2, "{}", stdout(&output));
}

/// Cells of which the names are longer than a file system allows.
#[test]
fn a_long_name_of_a_cell_is_shortened() {
    let folder = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..2).map(|end| format!("{}{end}", "x".repeat(300))).collect();
    let mut command = spry(folder.path());
    command.arg("sweep").args(SMALL).args(["--set", "num_server_rounds=1", "--out", "sweep"]);
    for name in &names {
        let model = folder.path().join("models").join(&name[200..]);
        fs::create_dir_all(&model).unwrap();
        for file in ["config.json", "model.safetensors", "tokenizer.json"] {
            fs::copy(common::tiny_bert().join(file), model.join(file)).unwrap();
        }
    }
    // A path of many folders leads to the models.
    let path = |name: &String| format!("models/{}{}", "./".repeat(130), &name[200..]);
    let grid = names.iter().map(path).collect::<Vec<_>>().join(",");
    command.args(["--grid", &format!("model.name_or_path={grid}"), "--format", "json"]);
    let printed: Value = serde_json::from_str(&succeed(&mut command)).unwrap();
    let runs: Vec<&str> =
        (0..2).map(|cell| printed["cells"][cell]["runs"][0].as_str().unwrap()).collect();
    assert_ne!(runs[0], runs[1]);
    for run in runs {
        assert!(folder.path().join(run).join("summary.json").is_file(), "{run}");
    }
}

/// `adapter-best` is what the best round left, also after a resume, and can be exported.
#[test]
fn the_best_rounds_adapter_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, rounds: u64| {
        let mut command = spry(folder.path());
        let rounds = format!("num_server_rounds={rounds}");
        command.arg("run").args(ANY_METHOD).args(["--set", "method=fedavg", "--out", name]);
        // Large enough that it gets worse again.
        command.args(["--set", "learning_rate=0.3", "--set", &rounds]);
        succeed(command.args(["--set", "evaluate_every=1", "--set", "checkpoint_every=3"]));
        folder.path().join(name)
    };
    let weights = |folder: &Path| fs::read(folder.join("adapter_model.safetensors")).unwrap();
    let long = run("long", 8);
    let rows = spry_runner::run::metrics::read_rounds(&long.join("rounds.parquet")).unwrap();
    let accuracies: Vec<f64> = rows.iter().map(|row| row.generalized_accuracy.unwrap()).collect();
    let highest = accuracies.iter().copied().fold(0.0, f64::max);
    let best = accuracies.iter().position(|accuracy| *accuracy == highest).unwrap() as u64;
    println!("accuracies {accuracies:?}");
    assert!((1..8).contains(&best), "the test needs a best round in the middle: {accuracies:?}");
    let summary = json(&long.join("summary.json"));
    assert_eq!(summary["best_round"], best);
    assert_eq!(summary["best_generalized_accuracy"], highest);
    assert!(weights(&long.join("adapter-best")) != weights(&long.join("adapter")));

    // The run that ends with the best round ends with the same weights.
    let short = run("short", best);
    assert!(weights(&short.join("adapter")) == weights(&long.join("adapter-best")));
    assert!(weights(&short.join("adapter-best")) == weights(&long.join("adapter-best")));
    // And going on with it keeps them, even if their folder is lost.
    fs::remove_dir_all(short.join("adapter-best")).unwrap();
    let config = short.join("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    let rounds = |rounds: u64| format!("num_server_rounds = {rounds}\n");
    fs::write(&config, text.replace(&rounds(best), &rounds(8))).unwrap();
    succeed(spry(folder.path()).args(["resume", "short"]));
    for name in ["adapter", "adapter-best"] {
        assert!(weights(&short.join(name)) == weights(&long.join(name)), "{name}");
    }
    succeed(spry(folder.path()).args(["export", "long", "best", "--best"]));
    succeed(spry(folder.path()).args(["export", "long", "last"]));
    assert!(weights(&folder.path().join("best")) == weights(&long.join("adapter-best")));
    assert!(weights(&folder.path().join("last")) == weights(&long.join("adapter")));
    assert!(!folder.path().join("best/checksums.json").exists());
}

/// Whoever deletes the checkpoints keeps the results; to begin anew over them would lose both.
#[test]
fn a_run_without_its_checkpoints_keeps_its_results() {
    let folder = tempfile::tempdir().unwrap();
    let run = small_run(folder.path(), "run");
    let rows = fs::read(run.join("rows/clients.rows")).unwrap();
    let summary = fs::read(run.join("summary.json")).unwrap();
    fs::remove_dir_all(run.join("checkpoints")).unwrap();
    let output = spry(folder.path()).args(["resume", "run"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("no checkpoint any more"), "{}", stderr(&output));
    assert_eq!(fs::read(run.join("rows/clients.rows")).unwrap(), rows);
    assert_eq!(fs::read(run.join("summary.json")).unwrap(), summary);
    succeed(spry(folder.path()).args(["compare", "run", "--out", "page"]));
}

/// Rows that are appended to a file that was removed would be nowhere, and a checkpoint of them
/// useless.
#[cfg(unix)]
#[test]
fn rows_that_are_removed_meanwhile_end_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = spry(folder.path());
    command.arg("run").args(SMALL).args(["--out", "run", "--set", "num_server_rounds=100000"]);
    command.args(["--set", "checkpoint_every=1"]).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let rows = folder.path().join("run/rows");
    wait_for("rows", || rows.join("index.json").exists());
    // Again, should a file be made anew in between.
    while fs::remove_dir_all(&rows).is_err() {}
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
}
