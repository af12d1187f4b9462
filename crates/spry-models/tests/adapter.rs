//! Adapters in peft's format: ours read back, and those that peft itself wrote.

use std::path::{Path, PathBuf};

use spry_core::{ParamSet, Seed};
use spry_models::peft::adapter;
use spry_models::{Error, LoadOptions, LoraConfig, Model, Peft};

fn fixture(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(case)
}

fn model(case: &str) -> Model {
    Model::load(&fixture(case), &LoadOptions::default()).unwrap()
}

fn values(params: &ParamSet) -> Vec<(String, Vec<f64>)> {
    params.iter().map(|(path, param)| (path.to_string(), param.to_vec())).collect()
}

#[test]
fn what_is_written_is_read_back() {
    for case in ["bert-lora", "bert-ia3"] {
        let model = model(case);
        let peft = adapter::read_config(&fixture(case)).unwrap();
        let params = peft.trainable(&model, &Seed::new(7)).unwrap().map(|w| w.add_scalar(0.5));
        let folder = tempfile::tempdir().unwrap();
        adapter::write(folder.path(), &peft, &model, &params, "a/model").unwrap();
        assert_eq!(adapter::read_config(folder.path()).unwrap(), peft, "{case}");
        let (read, own) = adapter::read(folder.path(), &peft, &model).unwrap();
        assert_eq!(values(&read), values(&params), "{case}");
        assert!(own.is_empty());
    }
}

/// The adapters of the reference cases were saved by peft; their values are those of the case.
#[test]
fn adapters_of_peft_are_read() {
    for case in ["bert-lora", "bert-ia3"] {
        let peft = adapter::read_config(&fixture(case)).unwrap();
        let (read, _) = adapter::read(&fixture(case), &peft, &model(case)).unwrap();
        let device = Default::default();
        let dtype = burn::tensor::DType::F32;
        let reference = spry_models::case::Case::load(&fixture(case), &device, dtype).unwrap();
        assert_eq!(values(&read), values(reference.params()), "{case}");
    }
}

/// A pooler that the checkpoint lacks is drawn at random; Python would draw another one.
#[test]
fn fresh_weights_of_the_body_travel_with_the_adapter() {
    let config = r#"{"model_type": "bert", "vocab_size": 20, "hidden_size": 8,
        "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
        "max_position_embeddings": 8}"#;
    let random = |seed| Model::random(config, &LoadOptions { seed, ..Default::default() }).unwrap();
    let (trained, other) = (random(1), random(2));
    let peft = Peft::Lora(LoraConfig::default());
    let params = peft.trainable(&trained, &Seed::new(0)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    adapter::write(folder.path(), &peft, &trained, &params, "a/model").unwrap();
    let (_, own) = adapter::read(folder.path(), &peft, &other).unwrap();
    let path = "bert.pooler.dense.weight";
    let expected = trained.weights().get(path).unwrap().to_vec();
    assert_ne!(other.weights().get(path).unwrap().to_vec(), expected);
    let other = other.with_weights(&own).unwrap();
    assert_eq!(other.weights().get(path).unwrap().to_vec(), expected);
    // And once more, from the model that took them over.
    let again = tempfile::tempdir().unwrap();
    adapter::write(again.path(), &peft, &other, &params, "a/model").unwrap();
    let (_, own) = adapter::read(again.path(), &peft, &random(3)).unwrap();
    assert_eq!(own.get(path).unwrap().to_vec(), expected);
    let text = std::fs::read_to_string(folder.path().join("adapter_config.json")).unwrap();
    assert!(text.contains("bert.pooler.dense"), "{text}");
}

#[test]
fn what_is_no_adapter_of_the_model_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let missing = adapter::read_config(folder.path()).unwrap_err();
    assert!(matches!(missing, Error::Io { .. }), "{missing}");

    let write = |text: &str| {
        std::fs::write(folder.path().join("adapter_config.json"), text).unwrap();
        adapter::read_config(folder.path()).unwrap_err().to_string()
    };
    for (text, expected) in [
        (r#"{"peft_type": "LORA", "r": 1, "lora_alpha": 1}"#, "target_modules"),
        (r#"{"peft_type": "VERA", "target_modules": ["query"]}"#, "VERA"),
        (r#"{"peft_type": "LORA", "lora_alpha": 1, "target_modules": ["query"]}"#, "`r`"),
        (
            r#"{"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["query"],
                "use_dora": true}"#,
            "`use_dora` = true",
        ),
        ("{", "EOF"),
    ] {
        let message = write(text);
        assert!(message.contains(expected), "{message}");
    }

    // The weights of LoRA are not those of IA3.
    let ia3 = adapter::read_config(&fixture("bert-ia3")).unwrap();
    let error = adapter::read(&fixture("bert-lora"), &ia3, &model("bert-lora")).unwrap_err();
    assert!(matches!(error, Error::MissingTensors { .. }), "{error}");
    let rank = Peft::Lora(LoraConfig { r: 5, ..Default::default() });
    let error = adapter::read(&fixture("bert-lora"), &rank, &model("bert-lora")).unwrap_err();
    assert!(matches!(error, Error::Misshapen { .. }), "{error}");
    let nothing = adapter::write(
        folder.path(),
        &Peft::BitFit,
        &model("bert-lora"),
        &ParamSet::new(),
        "a/model",
    );
    assert!(matches!(nothing, Err(Error::Unsupported { .. })));
}
