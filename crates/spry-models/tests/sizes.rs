//! Sizes that files claim are checked before anything is allocated for them.

mod folders;

use std::time::Instant;

use folders::{config_with, fixture, model_with};
use serde_json::{Value, json};
use spry_models::checkpoint::Checkpoint;
use spry_models::peft::adapter;
use spry_models::{LoadOptions, Model};

const HUGE: u64 = 1_000_000_000_000_000_000;

/// The largest number that the sizes themselves may be.
const LARGEST: u64 = 1 << 24;

#[test]
fn a_configuration_claims_no_more_than_there_is() {
    let cases: [(&str, Value, &str); 14] = [
        ("bert-head", json!({"num_hidden_layers": LARGEST}), "`num_hidden_layers` is 16777216"),
        ("bert-head", json!({"num_hidden_layers": 4096}), "for this checkpoint"),
        ("bert-head", json!({"num_hidden_layers": HUGE}), "`num_hidden_layers` is 1000000000000"),
        ("distilbert-head", json!({"n_layers": LARGEST}), "`n_layers` is 16777216"),
        ("opt-head", json!({"num_hidden_layers": LARGEST}), "`num_hidden_layers` is 16777216"),
        ("llama-head", json!({"num_hidden_layers": 4096}), "for this checkpoint"),
        (
            "albert-head",
            json!({"num_hidden_layers": 4096, "num_hidden_groups": 4096, "inner_group_num": LARGEST}),
            "`num_hidden_layers` × `inner_group_num` is 68719476736, but must be at most 4096",
        ),
        (
            "albert-head",
            json!({"num_hidden_layers": 4096, "num_hidden_groups": 4096}),
            "for this checkpoint",
        ),
        ("bert-head", json!({"vocab_size": LARGEST}), "has shape [120, 32], but the configuration"),
        (
            "bert-head",
            json!({"hidden_size": LARGEST}),
            "has shape [120, 32], but the configuration",
        ),
        ("llama-head", json!({"head_dim": LARGEST}), "`head_dim` is 16777216, but must be at most"),
        ("roberta-head", json!({"pad_token_id": u64::MAX}), "no position after `pad_token_id`"),
        ("bert-head", json!({"num_labels": HUGE, "id2label": null}), "`num_labels` is 10000000000"),
        ("bert-head", json!({"num_labels": 1e18, "id2label": null}), "`num_labels` is 1e+18"),
    ];
    let start = Instant::now();
    for (case, keys, expected) in cases {
        let folder = model_with(case, keys.clone());
        let error = Model::load(folder.path(), &LoadOptions::default()).unwrap_err().to_string();
        assert!(error.contains(expected), "{case}, {keys}: {error}");
    }
    // A head that the checkpoint lacks is made as large as it is asked for, within reason.
    let options = |labels| LoadOptions {
        num_labels: Some(labels),
        fresh_head: true,
        ..LoadOptions::default()
    };
    assert!(Model::load(&fixture("bert-head"), &options(1000)).is_ok());
    for labels in [1 << 40, usize::MAX] {
        let error = Model::load(&fixture("bert-head"), &options(labels)).unwrap_err().to_string();
        assert!(error.contains("`classifier.weight` of shape"), "{error}");
    }
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}

#[test]
fn random_weights_have_a_budget() {
    for keys in [
        json!({"vocab_size": LARGEST, "hidden_size": 512}),
        json!({"hidden_size": LARGEST, "intermediate_size": LARGEST}),
        json!({"num_hidden_layers": 4096, "hidden_size": 1 << 16}),
        json!({"num_labels": 1 << 20, "id2label": null, "hidden_size": 1 << 16}),
    ] {
        let config = config_with("bert-head", keys);
        let error = Model::random(&config, &LoadOptions::default()).unwrap_err().to_string();
        assert!(error.contains("too large for a model with random weights"), "{error}");
    }
}

/// A safetensors file with such a header, and no data.
fn with_header(header: &[u8]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let bytes = [&(header.len() as u64).to_le_bytes(), header].concat();
    std::fs::write(file.path(), bytes).unwrap();
    file
}

#[test]
fn headers_list_no_more_than_a_file_may_have() {
    let empty =
        |index: usize| format!(r#""{index}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#);
    let tensors = |count: usize| (0..count).map(empty).collect::<Vec<_>>().join(",");
    let open = |header: String| {
        let file = with_header(header.as_bytes());
        Checkpoint::open(file.path()).map(|file| file.names().count()).map_err(|e| e.to_string())
    };
    assert_eq!(open(format!("{{{}}}", tensors(1000))), Ok(1000));
    assert!(
        open(format!("{{{}}}", tensors(140_000))).unwrap_err().contains("lists 140001 tensors")
    );
    let spaces = format!("{{{}}}", " ".repeat(20_000_000));
    assert!(open(spaces).unwrap_err().contains("more than the 16777216 that are read"));
    for (header, expected) in [
        (
            r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}"#,
            "cannot be",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551615]}}"#,
            "cannot be",
        ),
        (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, "its header says 6"),
        ("[1]", "cannot be read"),
    ] {
        let error = open(header.to_string()).unwrap_err();
        assert!(error.contains(expected), "{header}: {error}");
    }
    // A name of any length is not repeated at its length.
    let long = "x".repeat(1 << 20);
    let header = format!(r#"{{"{long}":{{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}}}"#);
    assert!(open(header).unwrap_err().len() < 600);
}

#[test]
fn json_has_a_largest_depth_and_length() {
    let folder = model_with("bert-head", json!({}));
    let path = folder.path().join("config.json");
    std::fs::write(&path, "[".repeat(1_000_000)).unwrap();
    let error = Model::load(folder.path(), &LoadOptions::default()).unwrap_err().to_string();
    assert!(error.contains("recursion limit exceeded"), "{error}");
    std::fs::write(&path, " ".repeat(20 << 20)).unwrap();
    let error = Model::load(folder.path(), &LoadOptions::default()).unwrap_err().to_string();
    assert!(error.contains("at most 16777216 are read"), "{error}");
}

#[test]
fn an_adapter_has_no_rank_that_its_model_has_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = fixture("bert-lora").join("adapter_config.json");
    let mut json: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let model = Model::load(&fixture("bert-lora"), &LoadOptions::default()).unwrap();
    let mut read = |rank: Value| {
        json["r"] = rank;
        std::fs::write(folder.path().join("adapter_config.json"), json.to_string()).unwrap();
        let peft = adapter::read_config(folder.path())?;
        std::fs::copy(
            fixture("bert-lora").join("adapter_model.safetensors"),
            folder.path().join("adapter_model.safetensors"),
        )
        .unwrap();
        adapter::read(folder.path(), &peft, &model)
    };
    for (rank, expected) in [
        (json!(HUGE), "`r` = 1000000000000000000"),
        (json!(1e300), "`r` = 1"),
        (json!(-1), "`r` = -1"),
        (json!(1.5), "`r` = 1.5"),
        (json!(4_000_000_000_u64), "at most 32, the smaller side"),
    ] {
        let error = read(rank).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
