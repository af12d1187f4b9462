//! What the program does with models whose files say something else than the run: the order of a
//! head's classes, padding tokens, damaged and missing files, and what it leaves on the disk.

mod common;

use std::fs;
use std::path::Path;

use common::{SMALL, spry, stderr, succeed};
use serde_json::{Value, json};
use spry_core::ParamSet;
use spry_data::{synthetic, tokenize};
use spry_models::checkpoint::{self, Checkpoint};
use spry_models::{LoadOptions, Model};

/// The classes of the bundled data.
fn classes() -> Vec<String> {
    spry_runner::bundled::dataset().classes
}

/// A small random model with a head for the bundled data and its tokenizer, with keys of its
/// configuration set; `rows` are the rows of the head that it has.
fn write_model(folder: &Path, family: &str, rows: &[usize], keys: Value) {
    let vocabulary = synthetic::vocabulary();
    let mut config = json!({
        "model_type": family, "vocab_size": vocabulary.len(), "max_position_embeddings": 80,
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 24, "initializer_range": 0.3,
    });
    let options = LoadOptions { num_labels: Some(rows.len()), ..Default::default() };
    let model = Model::random(&config.to_string(), &options).unwrap();
    let mut changed = ParamSet::new();
    for name in ["weight", "bias"] {
        let path = format!("{}.{name}", model.spec().classifier);
        let Ok(param) = model.weights().get(&path) else { continue };
        // Biases are drawn as zeros, which would all look alike.
        let values = match name {
            "bias" => (0..rows.len()).map(|row| row as f64).collect(),
            _ => param.to_vec(),
        };
        let width = values.len() / rows.len();
        let row = |row: &usize| values[row * width..(row + 1) * width].to_vec();
        changed.insert(path, param.with_vec(rows.iter().flat_map(row).collect()));
    }
    model.save(folder, &changed).unwrap();
    config.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    tokenize::write_wordpiece(&folder.join("tokenizer.json"), &vocabulary).unwrap();
}

/// Runs with a model in `folder/model`; returns the log.
fn run(folder: &Path, model: &str, out: &str, options: &[&str]) -> String {
    let mut command = spry(folder);
    command.arg("run").args(SMALL).args(["--out", out, "--set"]);
    command.arg(format!("model.name_or_path={model}"));
    for option in options {
        command.args(["--set", option]);
    }
    succeed(&mut command);
    fs::read_to_string(folder.join(out).join("log.txt")).unwrap()
}

/// The same run, bit for bit, whatever order the head of the checkpoint has; and what is exported of
/// it goes with the checkpoint's own configuration.
#[test]
fn a_head_in_another_order_is_trained_as_the_data_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let classes = classes();
    let order = [2, 0, 3, 1];
    assert_eq!(classes.len(), order.len());
    write_model(&folder.path().join("own"), "bert", &[0, 1, 2, 3], json!({}));
    let names = order.iter().enumerate().map(|(row, &class)| (row, classes[class].to_uppercase()));
    let names: serde_json::Map<String, Value> =
        names.map(|(row, name)| (row.to_string(), name.into())).collect();
    let labels = json!({"id2label": names});
    write_model(&folder.path().join("other"), "bert", &order, labels);
    let own = run(folder.path(), "own", "run-own", &[]);
    let other = run(folder.path(), "other", "run-other", &[]);
    assert!(!own.contains("another order"), "{own}");
    assert!(other.contains("the checkpoint's head has the data's classes in another order"));
    let rounds = |run: &str| fs::read(folder.path().join(run).join("rounds.parquet")).unwrap();
    assert_eq!(rounds("run-own"), rounds("run-other"));

    // The adapter's head, and the copied base model, have the order of the base's configuration.
    let arguments = ["export", "run-other", "exported", "--with-base-model"];
    succeed(spry(folder.path()).args(arguments));
    let head = |path: &str| {
        let name = "base_model.model.classifier.bias";
        let file = Checkpoint::open(&folder.path().join(path)).unwrap();
        file.read(name).unwrap().try_to_vec::<f32>().unwrap()
    };
    let trained = head("run-own/adapter/adapter_model.safetensors");
    let expected: Vec<f32> = order.iter().map(|&class| trained[class]).collect();
    assert_eq!(head("exported/adapter_model.safetensors"), expected);
    let config = fs::read_to_string(folder.path().join("exported/base/config.json")).unwrap();
    let config: Value = serde_json::from_str(&config).unwrap();
    for (row, class) in order.into_iter().enumerate() {
        assert_eq!(config["id2label"][row.to_string()], classes[class].as_str());
        assert_eq!(config["label2id"][&classes[class]], row);
    }
    // And back: a run from the adapter begins where this one ended.
    let mut import = spry(folder.path());
    import.args(["import", "exported", "--out", "again"]).args(SMALL);
    succeed(import.args(["--set", "model.name_or_path=exported/base"]));
    let accuracy = |run: &str, first: bool| {
        let rows =
            spry_runner::run::metrics::read_rounds(&folder.path().join(run).join("rounds.parquet"));
        let rows = rows.unwrap();
        let row = if first { rows.first() } else { rows.last() };
        row.unwrap().generalized_accuracy
    };
    assert_eq!(accuracy("again", true), accuracy("run-other", false));
}

/// Python takes as a text's last token the last that is not the configuration's padding token.
#[test]
fn a_decoder_is_exported_with_the_token_that_padded_its_batches() {
    let folder = tempfile::tempdir().unwrap();
    for (name, named) in [("llama", json!(9)), ("unnamed", json!(null))] {
        let keys = json!({"pad_token_id": named});
        write_model(&folder.path().join(name), "llama", &[0, 1, 2, 3], keys);
        let out = format!("run-{name}");
        let log = run(folder.path(), name, &out, &["peft=head"]);
        let warning = "config.json names 9 as the padding token, the tokenizer 0";
        assert_eq!(log.contains(warning), name == "llama", "{log}");
        let exported = format!("exported-{name}");
        succeed(spry(folder.path()).args(["export", &out, &exported]));
        let config = fs::read_to_string(folder.path().join(&exported).join("config.json")).unwrap();
        let config: Value = serde_json::from_str(&config).unwrap();
        assert_eq!(config["pad_token_id"], 0);
    }
}

/// What is damaged or does not belong together ends in one line and exit code 2, before a run has a
/// folder.
#[test]
fn what_cannot_be_used_is_said_before_the_first_round() {
    let folder = tempfile::tempdir().unwrap();
    let model = |name: &str, keys: Value| {
        let path = folder.path().join(name);
        write_model(&path, "bert", &[0, 1, 2, 3], keys);
        path
    };
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:53aa\nsize 90868376\n";
    fs::write(model("pointer", json!({})).join("model.safetensors"), pointer).unwrap();
    let path = model("nan", json!({}));
    let file = path.join("model.safetensors");
    let loaded = Model::load(&path, &LoadOptions { num_labels: Some(4), ..Default::default() });
    let mut weights = loaded.unwrap().weights().clone();
    let bias = weights.get("classifier.bias").unwrap().clone();
    weights.insert("classifier.bias", bias.with_vec(vec![0.0, 1.0, f64::NAN, 0.0]));
    checkpoint::write(&file, &weights).unwrap();
    let path = model("tokens", json!({}));
    let vocabulary = synthetic::vocabulary();
    let more: Vec<String> = (0..9).map(|n| format!("extra{n}")).collect();
    // All words come after some that the model has no rows for.
    let special = 5;
    let all: Vec<String> =
        [&vocabulary[..special], &more, &vocabulary[special..]].concat().to_vec();
    tokenize::write_wordpiece(&path.join("tokenizer.json"), &all).unwrap();
    model("quantized", json!({"quantization_config": {"quant_method": "gptq"}}));
    model("deep", json!({"num_hidden_layers": 16_777_216}));
    for (name, expected) in [
        ("pointer", "is a Git LFS pointer, not the file itself; run `git lfs pull`"),
        ("nan", "model.safetensors: value 2 of tensor `classifier.bias` is NaN"),
        ("tokens", "the model knows tokens below"),
        ("quantized", "`quantization_config` = {\"quant_method\":\"gptq\"} is not supported"),
        ("deep", "`num_hidden_layers` is 16777216, but must be at most 4096"),
    ] {
        let mut command = spry(folder.path());
        command.arg("run").args(SMALL).args(["--out", "out", "--set"]);
        let output = command.arg(format!("model.name_or_path={name}")).output().unwrap();
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{name}: {message}");
        assert!(message.contains(expected), "{name}: {message}");
        assert_eq!(message.matches("error: ").count(), 1, "{name}: {message}");
        assert!(!folder.path().join("out").exists(), "{name} left a folder behind");
    }
}

#[test]
fn an_adapter_of_another_model_is_read_with_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), "tiny-bert", "run", &[]);
    succeed(spry(folder.path()).args(["export", "run", "adapter"]));
    let import = |out: &str| {
        let mut command = spry(folder.path());
        command.args(["import", "adapter", "--out", out]).args(SMALL);
        // Named, or the adapter's own base would be taken.
        succeed(command.args(["--set", "model=tiny-bert"]));
        fs::read_to_string(folder.path().join(out).join("log.txt")).unwrap()
    };
    assert!(!import("same").contains("was trained on"));
    let path = folder.path().join("adapter/adapter_config.json");
    let mut json: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    json["base_model_name_or_path"] = "an-org/another-model".into();
    json["revision"] = "v2".into();
    fs::write(&path, json.to_string()).unwrap();
    let log = import("other");
    assert!(log.contains("was trained on an-org/another-model, this run is of tiny-bert"), "{log}");
    assert!(log.contains("was trained on revision `v2`"), "{log}");
}

#[cfg(unix)]
#[test]
fn what_is_written_is_as_any_new_file_and_nothing_is_left_over() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let temporary = folder.path().join("temporary");
    // What a killed run leaves: a folder that nobody has locked.
    let stale = temporary.join("spry-tiny-bert-stale");
    fs::create_dir_all(&stale).unwrap();
    fs::write(stale.join(".lock"), b"").unwrap();
    fs::write(stale.join("model.safetensors"), b"half").unwrap();
    let mut command = spry(folder.path());
    command.env("TMPDIR", &temporary).arg("run").args(SMALL);
    succeed(command.args(["--out", "run", "--set", "peft=lora"]));
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
    let mut command = spry(folder.path());
    command.env("TMPDIR", &temporary).args(["export", "run", "exported", "--with-base-model"]);
    succeed(&mut command);
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);

    fs::write(folder.path().join("like"), b"").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let expected = mode(&folder.path().join("like"));
    for place in ["run", "run/adapter", "run/checkpoints", "exported", "exported/base"] {
        for entry in fs::read_dir(folder.path().join(place)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            assert!(!name.starts_with(".tmp"), "{path:?}");
            // The lock of a run is no result.
            if path.is_file() && !name.starts_with('.') {
                assert_eq!(mode(&path), expected, "{path:?}: {:o}", mode(&path));
            }
        }
    }
}
