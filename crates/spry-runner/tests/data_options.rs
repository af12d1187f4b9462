//! Who gets which examples: every command takes all of a configuration, and what contradicts itself
//! or would have no effect is said.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{SMALL, TEXT_AND_LABEL, small_run, spry, stderr, succeed, write_parquet};
use serde_json::Value;
use spry_data::{Hub, Partitioner};
use spry_runner::{RunConfig, inputs};

fn json(command: &mut Command) -> Value {
    serde_json::from_str(&succeed(command.args(["--format", "json"]))).unwrap()
}

/// What `spry partition` prints for some arguments.
fn partition(folder: &Path, arguments: &[&str]) -> Value {
    json(spry(folder).arg("partition").args(arguments))
}

/// The message of a command that must fail as bad input.
fn refused(folder: &Path, arguments: &[&str]) -> String {
    let output = spry(folder).args(arguments).output().unwrap();
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
    assert_eq!(message.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{message}");
    message
}

const NEWS: [&str; 4] = ["--dataset", "synthetic_news", "--clients", "5"];

#[test]
fn the_seed_of_the_configuration_counts() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let text = format!("{text}\n[dataset]\nname = \"synthetic_news\"\nnum_clients = 5\n");
        fs::write(folder.path().join(name), text).unwrap();
    };
    write("none.toml", "");
    write("seed.toml", "seed = 7");
    let counts = |arguments: &[&str]| partition(folder.path(), arguments)["counts"].clone();
    let (zero, seven) = (counts(&["none.toml"]), counts(&["seed.toml"]));
    assert_ne!(zero, seven);
    assert_eq!(counts(&["none.toml", "--set", "seed=7"]), seven);
    assert_eq!(counts(&["none.toml", "--seed", "7"]), seven);
    assert_eq!(counts(&["none.toml", "--set", "dataset.seed=7"]), seven);
    assert_eq!(counts(&[&NEWS[..], &["--set", "seed=7"]].concat()), seven);
    // The data's own seed counts more than the run's, and the flag more than both.
    assert_eq!(counts(&["seed.toml", "--set", "dataset.seed=0"]), zero);
    assert_eq!(counts(&["seed.toml", "--set", "dataset.seed=0", "--seed", "7"]), seven);
    assert_eq!(partition(folder.path(), &["seed.toml"])["seed"], 7);
    // A sample is drawn with it, too: another one has other counts.
    let sample = |seed: &str| counts(&["none.toml", "--max-examples", "100", "--seed", seed]);
    assert_ne!(sample("0"), sample("1"));
}

#[test]
fn presets_and_files_and_options_are_layers_here_too() {
    let folder = tempfile::tempdir().unwrap();
    let smoke = partition(folder.path(), &["--preset", "smoke"]);
    assert_eq!(smoke["counts"].as_array().unwrap().len(), 40);
    assert_eq!(smoke["partitioner"]["name"], "dirichlet-paper");
    fs::write(folder.path().join("few.toml"), "[dataset]\nnum_clients = 4\n").unwrap();
    let layers = ["few.toml", "--preset", "smoke", "--set", "dataset.partitioner=dirichlet"];
    let few = partition(folder.path(), &[&layers[..], &["--alpha", "1e9"]].concat());
    assert_eq!(few["partitioner"], serde_json::json!({"name": "dirichlet", "alpha": 1e9}));
    let counts: Vec<Vec<u64>> = serde_json::from_value(few["counts"].clone()).unwrap();
    let near = |row: &Vec<u64>| row.iter().zip(&counts[0]).all(|(a, b)| a.abs_diff(*b) <= 1);
    assert!(counts.len() == 4 && counts.iter().all(near), "{counts:?}");
    // A concentration changes the kind that was chosen.
    let paper = partition(folder.path(), &["--preset", "smoke", "--alpha", "0.1"]);
    assert_eq!(paper["partitioner"]["name"], "dirichlet-paper");
    assert!(refused(folder.path(), &["partition"]).contains("there is nothing to deal"));
}

/// What `spry partition` shows is what a run has.
#[test]
fn a_run_has_the_clients_that_are_shown() {
    let hub = Hub::from_variables(|_| None).with_offline(true);
    let config = |seed: u64, of_data: &str| {
        let options = ["dataset=synthetic_news", "dataset.num_clients=5"];
        let options = [&options[..], &[of_data]].concat();
        let config = RunConfig::default().with_assignments(&options).unwrap();
        RunConfig { seed, ..config }
    };
    let shares = |config: &RunConfig| {
        let dataset = inputs::load_dataset(&config.dataset, &hub, config.seed).unwrap();
        inputs::partition(&config.dataset, &dataset, &hub, config.seed).unwrap()
    };
    // By default the data follow the run's seed, as they did before they had one.
    let (zero, one) = (config(0, "dataset.seed=none"), config(1, "dataset.seed=none"));
    assert_eq!(zero.dataset.seed, None);
    assert_ne!(shares(&zero), shares(&one));
    // With a seed of their own, runs with other seeds have the same clients.
    let (first, second) = (config(0, "dataset.seed=1"), config(5, "dataset.seed=1"));
    assert_eq!(shares(&first), shares(&one));
    assert_eq!(shares(&second), shares(&one));
    // It survives the file.
    let text = second.to_toml().unwrap();
    assert_eq!(RunConfig::default().with_toml(&text).unwrap(), second);
    let text = zero.to_toml().unwrap();
    assert!(text.contains("seed = \"none\""), "{text}");
    assert_eq!(second.with_toml(&text).unwrap(), zero);
}

#[test]
fn a_configuration_without_a_preset_treats_all_clients_alike() {
    let dirichlet = Partitioner::Dirichlet { alpha: 1.0 };
    assert_eq!(RunConfig::default().dataset.partitioner, dirichlet);
    let mine = RunConfig::default().with_toml("[dataset]\nname = \"some-org/mine\"\n").unwrap();
    assert_eq!(mine.dataset.partitioner, dirichlet);
    let mine = mine.with_assignments(&["dataset.partitioner=dirichlet-paper"]).unwrap();
    assert_eq!(mine.dataset.partitioner, Partitioner::DirichletPaper { alpha: 1.0 });
    assert!(mine.to_toml().unwrap().contains("name = \"dirichlet-paper\""));
}

#[test]
fn examples_that_no_client_gets_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let news = ["--dataset", "synthetic_news", "--iid", "--clients"];
    let deal = |clients: &str| partition(folder.path(), &[&news[..], &[clients]].concat());
    let many = deal("2001");
    assert_eq!((&many["left_out"], &many["examples"]), (&1999.into(), &4000.into()));
    assert_eq!(deal("40")["left_out"], 0);
    let output = |clients: &str| {
        spry(folder.path()).arg("partition").args(news).arg(clients).output().unwrap()
    };
    let many = output("2001");
    let text = String::from_utf8(many.stdout.clone()).unwrap();
    assert!(text.contains("1999 of 4000 examples go to no client"), "{text}");
    assert!(stderr(&many).contains("WARN 1999 of 4000 examples"), "{}", stderr(&many));
    // A few are worth a line, and no warning.
    let few = output("3");
    assert!(String::from_utf8(few.stdout.clone()).unwrap().contains("1 of 4000 examples"));
    assert_eq!(stderr(&few), "");
    // A run notes it in its log.
    let odd = ["--set", "dataset.max_examples=321", "--out", "run"];
    succeed(spry(folder.path()).arg("run").args(SMALL).args(odd));
    let log = fs::read_to_string(folder.path().join("run/log.txt")).unwrap();
    assert!(log.contains("1 of 321 examples go to no client"), "{log}");
    assert!(log.contains("the paper's published loader"), "{log}");
}

#[test]
fn labels_are_dropped_by_a_list_of_numbers_on_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let labels: Vec<f64> = [0.0, 1.0, -1.0, -2.0].repeat(6);
    let path = folder.path().join("data/train.parquet");
    write_parquet(&path, TEXT_AND_LABEL, &["a text"; 24], &labels);
    for (options, examples) in [
        (&["dataset.dropped_labels=-1,-2"][..], 12),
        (&["dataset.dropped_labels=[-1, -2]"], 12),
        (&["dataset.dropped_labels=-2,-1,1,0,7", "dataset.dropped_labels=-1,-2"], 12),
        (&["dataset.dropped_labels=-1,-2", "dataset.splits=train"], 12),
        (&["dataset.dropped_labels=-1,-2", "dataset.labels=0,1"], 12),
    ] {
        let options: Vec<&str> = options.iter().flat_map(|option| ["--set", option]).collect();
        let dataset = ["--dataset", "data", "--clients", "2", "--iid"];
        let printed = partition(folder.path(), &[&dataset[..], &options].concat());
        assert_eq!(printed["examples"], examples, "{options:?}");
        assert_eq!(printed["classes"], serde_json::json!(["0", "1"]), "{options:?}");
    }
    // One number is a list of one.
    let one = ["partition", "--dataset", "data", "--set", "dataset.dropped_labels=-1"];
    assert!(refused(folder.path(), &one).contains("the label is -2"));
    // And so in a file.
    let text = "[dataset]\nname = \"data\"\nsplits = \"train\"\nnum_clients = 2\n";
    let drop = "dropped_labels = \"-1,-2\"\n";
    fs::write(folder.path().join("drop.toml"), format!("{text}{drop}")).unwrap();
    assert_eq!(partition(folder.path(), &["drop.toml"])["examples"], 12);
    fs::write(folder.path().join("one.toml"), format!("{text}dropped_labels = -1\n")).unwrap();
    assert!(refused(folder.path(), &["partition", "one.toml"]).contains("the label is -2"));
}

#[test]
fn what_contradicts_itself_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("my-data")).unwrap();
    for (arguments, expected) in [
        (
            "run --preset squad_v2-spry --set dataset.task=sequence-classification",
            "`squad_v2` is a dataset for question-answering",
        ),
        (
            "run --preset mnli-spry --set dataset.task=question-answering",
            "`mnli` is a dataset for sequence-classification",
        ),
        ("run --preset smoke --set dataset.source=synthetic", "`synthetic_news` is none"),
        (
            "run --preset smoke --set dataset=my-data --set dataset.source=synthetic",
            "`my-data` is none",
        ),
        ("run --preset smoke --set dataset.labels=a,b,c,d", "`dataset.labels` has no effect"),
        (
            "run --preset smoke --set dataset.dropped_labels=1",
            "`dataset.dropped_labels` has no effect",
        ),
        ("partition --dataset synthetic_news --set dataset.splits=x", "`dataset.splits` has no"),
        ("partition --dataset synthetic_news --max-examples 0", "`max_examples` is 0"),
        ("sweep --preset smoke --set experiment=x --out out", "--set experiment has no effect"),
        ("sweep --preset smoke --set seed=3 --seeds 0,1 --out out", "exclude each other"),
        ("profile --estimator backprop --random-weights c.json -k 4", "-k has no effect: backprop"),
        (
            "profile --estimator inference --random-weights c.json --trains head",
            "--trains has no effect: inference",
        ),
        ("profile --estimator inference --random-weights c.json -k 1", "-k has no effect"),
    ] {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        let message = refused(folder.path(), &arguments);
        assert!(message.contains(expected), "{arguments:?}: {message}");
    }
    // Data of one's own may be of another task than a dataset of the same name.
    let own = ["dataset=squad_v2", "dataset.source=my-data"];
    let own = RunConfig::default().with_assignments(&own).unwrap();
    let own = own.with_assignments(&["dataset.task=sequence-classification"]).unwrap();
    own.dataset.validate().unwrap();
}

#[test]
fn an_option_without_effect_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let options = ["--set", "peft.lora_dropout=0.1", "--out", "run"];
    let output = spry(folder.path()).arg("run").args(SMALL).args(options).output().unwrap();
    let message = stderr(&output);
    assert!(output.status.success(), "{message}");
    assert!(message.contains("WARN `peft.lora_dropout` has no effect"), "{message}");
}

#[test]
fn an_import_starts_from_the_adapters_model() {
    let folder = tempfile::tempdir().unwrap();
    small_run(folder.path(), "first");
    succeed(spry(folder.path()).args(["export", "first", "adapter"]));
    let config = folder.path().join("adapter/adapter_config.json");
    let original = fs::read_to_string(&config).unwrap();
    let with_base = |base: Value| {
        let mut adapter: Value = serde_json::from_str(&original).unwrap();
        adapter["base_model_name_or_path"] = base;
        fs::write(&config, adapter.to_string()).unwrap();
    };
    // Its model is the bundled one; the preset's, RoBERTa, is not for it.
    let data = ["dataset=synthetic_news", "dataset.max_examples=320", "dataset.num_clients=8"];
    let rounds = ["num_server_rounds=1", "cohort_size=2"];
    let options: Vec<&str> = data.iter().chain(&rounds).flat_map(|o| ["--set", *o]).collect();
    let import = ["import", "adapter", "--preset", "ag_news-spry"];
    succeed(spry(folder.path()).args(import).args(&options).args(["--out", "second"]));
    let text = fs::read_to_string(folder.path().join("second/config.toml")).unwrap();
    assert!(text.contains("name_or_path = \"tiny-bert\""), "{text}");
    // A model that is not here is said, unless another is named.
    with_base("/no/such/model".into());
    let arguments = [&import[..], &options, &["--out", "third"]].concat();
    let message = refused(folder.path(), &arguments);
    assert!(message.contains("`/no/such/model`, which is neither"), "{message}");
    let named = [&arguments[..], &["--set", "model=tiny-bert"]].concat();
    succeed(spry(folder.path()).args(named));
    // One that says nothing of its model has the configuration's.
    with_base(Value::Null);
    succeed(spry(folder.path()).args(["import", "adapter", "--out", "fourth"]).args(SMALL));
    // So is another adapter to start from.
    let arguments = ["import", "adapter", "--preset", "smoke", "--set", "model.adapter=other"];
    let message = refused(folder.path(), &[&arguments[..], &["--out", "sixth"]].concat());
    assert!(message.contains("`model.adapter` is other"), "{message}");
    // A file that says something else of what is trainable is not silently overruled.
    fs::write(folder.path().join("peft.toml"), "[peft]\nname = \"lora\"\nr = 4\n").unwrap();
    let other = ["import", "adapter", "peft.toml", "--preset", "smoke", "--out", "fifth"];
    let message = refused(folder.path(), &other);
    assert!(message.contains("`peft` is given, but is not that of the adapter"), "{message}");
}

#[test]
fn what_is_nested_too_deep_or_too_long_is_one_short_line() {
    let folder = tempfile::tempdir().unwrap();
    let deep = "a.".repeat(30_000) + "a=1";
    let brackets = format!("dataset.labels={}", "[".repeat(60_000));
    let long = format!("dataset={}", "x".repeat(100_000));
    let set = |option: &str| refused(folder.path(), &["partition", "--set", option]);
    for message in [set(&deep), set(&brackets), set(&long)] {
        assert!(message.len() < 900, "{} bytes: {message}", message.len());
    }
    assert!(refused(folder.path(), &["sweep", "--preset", "smoke", "--grid", &deep]).len() < 900);
    let inner = "a.".repeat(70) + "a = {";
    for (name, text) in [
        ("dotted.toml", deep.clone()),
        ("header.toml", format!("[{}a]\nb = 1\n", "a.".repeat(30_000))),
        ("arrays.toml", format!("seed = {}", "[".repeat(30_000))),
        ("tables.toml", format!("seed = {}{}", "{a=".repeat(30_000), "}".repeat(30_000))),
        // Within the parser's own limits for each, whose product is too deep for it.
        ("both.toml", format!("{}{}", inner.repeat(70), "}".repeat(70))),
        ("long.toml", format!("{} = 1", "k".repeat(100_000))),
        ("value.toml", format!("device = \"{}\"", "v".repeat(100_000))),
        ("large.toml", "# ".repeat(1 << 20)),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
        let message = refused(folder.path(), &["run", name, "--out", "out"]);
        assert!(message.len() < 900, "{name}: {} bytes", message.len());
        let is_value = name == "value.toml";
        assert!(message.contains(if is_value { "`device` is" } else { name }), "{message}");
    }
}
