//! The commands, from the outside: what they print and what they write.

mod common;

use std::fs;

use common::{SMALL, case, small_run, spry, stderr, succeed};
use serde_json::Value;

fn json(text: &str) -> Value {
    let lines = text.lines().count();
    assert_eq!(lines, 1, "one object per command: {text}");
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_run_leaves_everything_in_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("results/synthetic_news/spry/tiny");
    let output = spry(folder.path())
        .args(["run", "--set", "experiment=tiny", "--format", "json"])
        .args(SMALL)
        .output()
        .unwrap();
    // Where there is no terminal, and nothing goes wrong, nothing is said besides the result.
    assert_eq!(stderr(&output), "");
    let printed = json(&String::from_utf8(output.stdout).unwrap());
    let summary: Value =
        serde_json::from_str(&fs::read_to_string(run.join("summary.json")).unwrap()).unwrap();
    for key in [
        "method",
        "dataset",
        "model",
        "seed",
        "rounds",
        "generalized_accuracy",
        "generalized_loss",
        "personalized_accuracy",
        "bytes_up",
        "bytes_down",
        "peak_client_bytes",
        "wall_secs",
        "client_steps_per_sec",
        "rounds_to_converge",
    ] {
        assert!(summary.get(key).is_some(), "{key}: {summary}");
        assert_eq!(summary[key], printed[key], "{key}");
    }
    assert_eq!((&summary["method"], &summary["rounds"]), (&"spry".into(), &3.into()));
    assert!(summary["peak_client_bytes"].as_u64().unwrap() > 10_000);
    for name in [
        "config.toml",
        "log.txt",
        "rounds.parquet",
        "clients.parquet",
        "resources.parquet",
        "plots/loss.svg",
        "plots/accuracy.svg",
        "plots/bytes.svg",
        "plots/memory.svg",
        "plots/time.svg",
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "checkpoints/round-00000003.ckpt",
        "checkpoints/round-00000002.ckpt",
        "tensorboard/events.out.tfevents.spry",
    ] {
        assert!(run.join(name).metadata().is_ok_and(|file| file.len() > 0), "{name}");
    }
    // Two checkpoints are enough.
    assert_eq!(fs::read_dir(run.join("checkpoints")).unwrap().count(), 2);

    let rounds = spry_runner::run::metrics::read_rounds(&run.join("rounds.parquet")).unwrap();
    let numbers: Vec<u64> = rounds.iter().map(|row| row.server_round).collect();
    assert_eq!(numbers, [0, 1, 2, 3]);
    assert!(rounds[0].train_loss.is_none() && rounds[0].generalized_loss.is_some());
    let sent: u64 = rounds.iter().map(|row| row.bytes_up).sum();
    assert_eq!(sent, summary["bytes_up"].as_u64().unwrap());
    let last = rounds.last().unwrap();
    assert_eq!(last.generalized_accuracy, summary["generalized_accuracy"].as_f64());
    assert_eq!(last.updates, 3);
    let resources =
        spry_runner::run::metrics::read_resources(&run.join("resources.parquet")).unwrap();
    assert_eq!(resources.iter().filter(|row| row.client.is_some()).count(), 9);
    assert!(resources.iter().filter(|row| row.client.is_some()).all(|row| row.wall_secs > 0.0));
    let log = fs::read_to_string(run.join("log.txt")).unwrap();
    assert!(log.contains("round 3: train loss") && log.contains("data: synthetic_news"), "{log}");

    // The configuration alone gives the same run again.
    let again = folder.path().join("again");
    let config = run.join("config.toml");
    succeed(spry(folder.path()).arg("run").arg(&config).arg("--out").arg(&again));
    for name in ["adapter/adapter_model.safetensors", "clients.parquet", "config.toml"] {
        let same = fs::read(run.join(name)).unwrap() == fs::read(again.join(name)).unwrap();
        assert!(same, "{name}");
    }
    // A finished run that is resumed has nothing to do.
    let resumed = succeed(spry(folder.path()).args(["resume", "again", "--format", "json"]));
    assert_eq!(json(&resumed)["generalized_loss"], summary["generalized_loss"]);
}

#[test]
fn errors_are_json_if_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let output =
        spry(folder.path()).args(["resume", "nothing", "--format", "json"]).output().unwrap();
    let printed = json(&String::from_utf8(output.stdout).unwrap());
    assert_eq!(printed["exit_code"], 2);
    assert!(printed["error"].as_str().unwrap().contains("does not exist"));
    let misused =
        spry(folder.path()).args(["--format", "json", "run", "--bogus"]).output().unwrap();
    let printed = json(&String::from_utf8(misused.stdout).unwrap());
    assert!(printed["error"].as_str().unwrap().contains("'--bogus'"), "{printed}");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn runs_are_compared_in_text_pictures_and_one_page() {
    let folder = tempfile::tempdir().unwrap();
    small_run(folder.path(), "a");
    let fedavg = ["--set", "method=fedavg", "--set", "experiment=<b>", "--out", "b"];
    succeed(spry(folder.path()).arg("run").args(&SMALL[..8]).args(fedavg));
    let table = succeed(spry(folder.path()).args(["compare", "a", "b", "--out", "page"]));
    let has_row = |name: &str| table.lines().any(|line| line.starts_with(&format!("| {name}")));
    assert!(has_row("spry, default") && has_row("fedavg, <b>"), "{table}");

    let page = folder.path().join("page");
    let html = fs::read_to_string(page.join("comparison.html")).unwrap();
    // It stands alone: no scripts, styles or pictures from elsewhere, and names are escaped.
    for outside in ["<script", "<link", "<img", "src=", "@import", "url("] {
        assert!(!html.contains(outside), "{outside}");
    }
    assert!(html.contains("fedavg, &lt;b&gt;") && !html.contains("<b>"), "a name is not escaped");
    assert_eq!(html.matches("<svg").count(), 6);
    for name in ["rounds", "seconds", "bytes", "bytes-up", "forward-passes"] {
        let svg = fs::read_to_string(page.join(format!("accuracy-{name}.svg"))).unwrap();
        assert!(svg.matches("<polyline").count() >= 2, "{name}: a curve is missing");
    }
    let printed = succeed(spry(folder.path()).args(["compare", "a", "b", "--format", "json"]));
    assert_eq!(json(&printed)["runs"][1]["method"], "fedavg");
    // Runs that differ in their options only are told apart by them; else they are numbered.
    let options = ["--set", "method.estimator.k=3", "--out", "c"];
    succeed(spry(folder.path()).arg("run").args(SMALL).args(options));
    let table = succeed(spry(folder.path()).args(["compare", "a", "c", "--out", "page"]));
    assert!(table.contains("spry, k=2 ") && table.contains("spry, k=3 "), "{table}");
    let table = succeed(spry(folder.path()).args(["compare", "a", "a", "--out", "page"]));
    assert!(table.contains("spry (1)") && table.contains("spry (2)"), "{table}");
}

#[test]
fn a_sweep_goes_on_where_it_was_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let sweep = |grid: &str| {
        let mut command = spry(folder.path());
        command.arg("sweep").args(SMALL).args(["--grid", grid, "--seeds", "0,1"]);
        command.args(["--out", "sweep", "--format", "json"]);
        command
    };
    let first = json(&succeed(&mut sweep("method.estimator.k=1,2")));
    let cells = first["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 2);
    for cell in cells {
        let accuracies: Vec<f64> = cell["runs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|run| {
                let path = folder.path().join(run.as_str().unwrap()).join("summary.json");
                let summary: Value =
                    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
                summary["generalized_accuracy"].as_f64().unwrap()
            })
            .collect();
        let mean = (accuracies[0] + accuracies[1]) / 2.0;
        let deviation = (accuracies[0] - accuracies[1]).abs() / 2f64.sqrt();
        let accuracy = &cell["accuracy"];
        assert!((accuracy["mean"].as_f64().unwrap() - mean).abs() < 1e-12, "{cell}");
        assert!((accuracy["standard_deviation"].as_f64().unwrap() - deviation).abs() < 1e-12);
        assert_eq!(accuracy["seeds"], 2);
    }
    // A sweep's folder stands for its runs.
    let table = succeed(spry(folder.path()).args(["compare", "sweep", "--out", "page"]));
    assert!(
        table.contains("| spry, k=1, seed 0 ") && table.contains("| spry, k=2, seed 1 "),
        "{table}"
    );
    // One run is gone, one is unfinished: the same command makes up for both, and only them.
    let runs = folder.path().join("sweep");
    fs::remove_dir_all(runs.join("k=1/seed-0")).unwrap();
    fs::remove_file(runs.join("k=2/seed-1/summary.json")).unwrap();
    let untouched = runs.join("k=1/seed-1/log.txt");
    let before = fs::read(&untouched).unwrap();
    let again = json(&succeed(&mut sweep("method.estimator.k=1,2")));
    assert_eq!(again["cells"][0]["accuracy"], first["cells"][0]["accuracy"]);
    assert_eq!(again["cells"][1]["loss"], first["cells"][1]["loss"]);
    assert_eq!(fs::read(&untouched).unwrap(), before);
    // A folder with another configuration is not taken for this sweep's.
    let other = sweep("method.estimator.k=1,2").args(["--set", "learning_rate=0.5"]).output();
    let message = json(&String::from_utf8(other.unwrap().stdout).unwrap());
    assert!(message["error"].as_str().unwrap().contains("another configuration"), "{message}");
}

/// Options on the command line hold in every cell, also in one that names another method; a run
/// that fails does not keep the others from running.
#[test]
fn options_of_a_sweep_hold_in_every_cell_and_failures_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let small: Vec<&str> = SMALL.into_iter().filter(|o| *o != "method.estimator.k=2").collect();
    // The pairs of flag and value, without the one that FedAvg does not have.
    let small: Vec<&str> = small
        .windows(2)
        .filter(|pair| pair[0] != "--set" || pair[1] != "--set")
        .map(|pair| pair[0])
        .chain(small.last().copied())
        .collect();
    let mut command = spry(folder.path());
    command.arg("sweep").args(&small).args(["--set", "method.batch_size=3", "--set", "seed=5"]);
    command.args(["--grid", "method=spry,fedavg", "--out", "sweep", "--format", "json"]);
    let cells = json(&succeed(&mut command));
    for cell in cells["cells"].as_array().unwrap() {
        let run = folder.path().join(cell["runs"][0].as_str().unwrap());
        assert!(run.ends_with("seed-5"), "{run:?}");
        let config = fs::read_to_string(run.join("config.toml")).unwrap();
        assert!(config.contains("batch_size = 3"), "{config}");
    }
    let mut command = spry(folder.path());
    command.arg("sweep").args(SMALL).args(["--out", "modules", "--format", "json"]);
    command.args(["--grid", r#"peft.target_modules=["nope"],["query","value"]"#]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let printed = json(&String::from_utf8(output.stdout).unwrap());
    let finished = |cell: usize| printed["cells"][cell]["finished"].as_u64().unwrap();
    assert_eq!((finished(0), finished(1)), (0, 1), "{printed}");
    assert!(printed["error"].as_str().unwrap().contains("1 of 2 runs failed"), "{printed}");
    assert!(printed["failures"][0].as_str().unwrap().contains("`nope`"), "{printed}");
}

/// A model that diverged has no accuracy, and says so; so has a run without test data.
#[test]
fn what_was_not_measured_is_missing_and_not_a_number() {
    let folder = tempfile::tempdir().unwrap();
    for (name, option) in [
        // A single step, after which nothing can be computed any more.
        ("diverged", ["method=fedavg", "method.batch_size=64", "learning_rate=1e37"]),
        ("untested", ["method=fedavg", "method.batch_size=8", "dataset.train_share=1"]),
    ] {
        let mut command = spry(folder.path());
        let options = option.iter().flat_map(|option| ["--set", option]);
        command.args(["run", "--preset", "smoke"]).args(&SMALL[2..8]).args(options);
        command.args(["--set", "num_server_rounds=2", "--out", name, "--format", "json"]);
        let printed = json(&succeed(&mut command));
        assert_eq!(printed["generalized_accuracy"], Value::Null, "{name}: {printed}");
        assert_eq!(printed["generalized_loss"], Value::Null, "{name}: {printed}");
        let rows = spry_runner::run::metrics::read_rounds(
            &folder.path().join(name).join("rounds.parquet"),
        );
        let down: u64 = rows.unwrap().iter().map(|row| row.bytes_down).sum();
        assert_eq!(printed["bytes_down"], down, "{name}");
        succeed(spry(folder.path()).args(["compare", name, "--out", "page"]));
    }
}

#[test]
fn a_partition_is_counted_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["partition", "--dataset", "synthetic_news", "--clients", "5"];
    let rest = ["--alpha", "0.1", "--plot", "plots/out.svg"];
    let table = succeed(spry(folder.path()).args(arguments).args(rest));
    assert!(table.contains("| client | World | Sports |"), "{table}");
    let svg = fs::read_to_string(folder.path().join("plots/out.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("Sci/Tech"), "{svg}");
    let counts = |rest: &[&str]| -> Vec<Vec<u64>> {
        let mut command = spry(folder.path());
        let printed = succeed(command.args(arguments).args(rest).args(["--format", "json"]));
        serde_json::from_value(json(&printed)["counts"].clone()).unwrap()
    };
    let skewed = counts(&["--alpha", "0.01"]);
    assert!(skewed.iter().all(|row| row.iter().sum::<u64>() == 800));
    let largest = |counts: &[Vec<u64>]| counts.iter().map(|row| *row.iter().max().unwrap()).max();
    assert!(largest(&skewed) > Some(700), "{skewed:?}");
    assert!(largest(&counts(&["--iid"])) < Some(300));
}

#[test]
fn a_step_is_profiled() {
    let folder = tempfile::tempdir().unwrap();
    let config = common::tiny_bert().join("config.json");
    let profile = |estimator: &str, rest: &[&str]| {
        let mut command = spry(folder.path());
        command.args(["profile", "--estimator", estimator, "--random-weights"]).arg(&config);
        command.args(["--seq", "16", "--batch", "4", "--iterations", "3", "--json"]).args(rest);
        json(&succeed(&mut command))
    };
    let peak = |profile: &Value| profile["peak_bytes_above_weights"].as_u64().unwrap();
    let inference = profile("inference", &[]);
    for key in ["estimator", "trains", "k", "batch", "seq", "median_ms", "min_ms", "weight_bytes"] {
        assert!(inference.get(key).is_some(), "{key}: {inference}");
    }
    assert!(inference["min_ms"].as_f64() <= inference["median_ms"].as_f64());
    let backprop = profile("backprop", &[]);
    let forward = profile("forward-gradient", &["-k", "4"]);
    assert_eq!(
        (&forward["k"], &forward["batch"], &forward["seq"]),
        (&4.into(), &4.into(), &16.into())
    );
    assert!(peak(&backprop) > peak(&inference) && peak(&forward) > peak(&inference));
    // The last layer's tangents cost less than everybody's.
    let last = profile("forward-gradient", &["-k", "4", "--trains", "group:3"]);
    assert!(peak(&last) < peak(&forward), "{last} {forward}");
    assert_eq!(last["trained_values"], 128);
    let head = profile("forward-gradient", &["--trains", "head"]);
    assert_eq!(head["trained_values"], 2 * 64 + 2);
}

#[test]
fn cases_are_verified() {
    let folder = tempfile::tempdir().unwrap();
    let (lora, ia3) = (case("bert-lora"), case("bert-ia3"));
    let text = succeed(spry(folder.path()).arg("verify").args([&lora, &ia3]));
    assert_eq!(text.lines().filter(|line| line.starts_with("ok ")).count(), 2, "{text}");
    for quantity in ["loss", "logits", "gradient", "jvp", "logits tangent"] {
        assert!(text.contains(quantity), "{quantity}: {text}");
    }
    // In f64 it holds to the last digits; in f32 it does not.
    let strict = |dtype: &str| {
        let mut command = spry(folder.path());
        command.arg("verify").arg(&lora).args(["--tolerance", "1e-11", "--dtype", dtype]);
        command.output().unwrap().status.code()
    };
    assert_eq!((strict("f64"), strict("f32")), (Some(0), Some(1)));
    // One bad case among good ones: the others are still checked. What is no case is skipped.
    let bad = folder.path().join("bad");
    std::fs::create_dir(&bad).unwrap();
    std::fs::write(bad.join("case.json"), "{").unwrap();
    let output = spry(folder.path())
        .arg("verify")
        .args([&lora, &bad, folder.path()])
        .args(["--format", "json"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let printed = json(&String::from_utf8(output.stdout).unwrap());
    let [skipped, good, bad] = [0, 1, 2].map(|index| &printed["cases"][index]);
    assert_eq!(skipped["skipped"], true);
    assert_eq!((&good["passed"], &bad["passed"]), (&true.into(), &false.into()));
}

#[test]
fn what_is_exported_is_where_an_import_starts() {
    let folder = tempfile::tempdir().unwrap();
    small_run(folder.path(), "first");
    succeed(spry(folder.path()).args(["export", "first", "adapter", "--with-base-model"]));
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        assert!(folder.path().join("adapter/base").join(name).is_file(), "{name}");
    }
    let import = ["import", "adapter", "--out", "second", "--format", "json"];
    succeed(spry(folder.path()).args(import).args(SMALL));
    let rounds = |run: &str| {
        let path = folder.path().join(run).join("rounds.parquet");
        spry_runner::run::metrics::read_rounds(&path).unwrap()
    };
    let (first, second) = (rounds("first"), rounds("second"));
    let loss = |row: &spry_runner::run::records::RoundRow| row.generalized_loss.unwrap();
    assert_eq!(loss(&second[0]), loss(first.last().unwrap()));
    assert_ne!(loss(&second[0]), loss(&first[0]));
}

/// Methods that train the model's own weights are exported as whole models.
#[test]
fn bitfit_is_exported_as_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let bitfit = ["--set", "peft=bitfit", "--out", "run"];
    succeed(spry(folder.path()).arg("run").args(SMALL).args(bitfit));
    succeed(spry(folder.path()).args(["export", "run", "model"]));
    // The exported model is as good as the run's last parameters were.
    let summary = fs::read_to_string(folder.path().join("run/summary.json")).unwrap();
    let summary: Value = serde_json::from_str(&summary).unwrap();
    let next = ["--set", "model.name_or_path=model", "--set", "peft=head", "--out", "next"];
    succeed(spry(folder.path()).arg("run").args(SMALL).args(next));
    let path = folder.path().join("next/rounds.parquet");
    let start = spry_runner::run::metrics::read_rounds(&path).unwrap().remove(0);
    assert_eq!(start.generalized_loss, summary["generalized_loss"].as_f64());
}

#[test]
fn presets_are_listed_and_can_be_run_from_their_file() {
    let folder = tempfile::tempdir().unwrap();
    let list = succeed(spry(folder.path()).arg("presets"));
    assert!(list.contains("smoke") && list.contains("sst2-fedmezo"), "{list}");
    let text = succeed(spry(folder.path()).args(["presets", "smoke"]));
    fs::write(folder.path().join("mine.toml"), text).unwrap();
    let options = ["--set", "num_server_rounds=1", "--set", "dataset.max_examples=320"];
    let clients = ["--set", "dataset.num_clients=8", "--set", "cohort_size=1", "--out", "run"];
    succeed(spry(folder.path()).args(["run", "mine.toml"]).args(options).args(clients));
}
