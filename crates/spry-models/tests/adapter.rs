//! Adapters in peft's format: ours read back, and those that peft itself wrote.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::DType;
use spry_core::{Objective, ParamRole, ParamSet, Seed};
use spry_data::Task;
use spry_models::case::Case;
use spry_models::checkpoint::Checkpoint;
use spry_models::peft::adapter;
use spry_models::{Error, LoadOptions, LoraConfig, Model, Peft, PeftModel};

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

/// Every adapter that peft wrote for the reference cases, of each family and task: it is read, and
/// what is written of it has the same tensors under the same names.
#[test]
fn every_family_is_read_and_written_as_peft_does() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut count = 0;
    for entry in std::fs::read_dir(fixtures).unwrap() {
        let folder = entry.unwrap().path();
        if !folder.join("adapter_config.json").exists() {
            continue;
        }
        count += 1;
        let is_span = folder.file_name().unwrap().to_str().unwrap().contains("qa");
        let task = if is_span { Task::QuestionAnswering } else { Task::SequenceClassification };
        let options = LoadOptions { task, ..Default::default() };
        let model = Model::load(&folder, &options).unwrap();
        let peft = adapter::read_config(&folder).unwrap();
        let (params, own) = adapter::read(&folder, &peft, &model).unwrap();
        assert!(own.is_empty(), "{folder:?}: {own:?}");

        let written = tempfile::tempdir().unwrap();
        adapter::write(written.path(), &peft, &model, &params, "base").unwrap();
        // Names may have become whole paths; what they stand for is the same.
        let again = adapter::read_config(written.path()).unwrap();
        let paths = |peft: &Peft| -> Vec<String> {
            let trainable = peft.trainable(&model, &Seed::new(0)).unwrap();
            trainable.paths().map(str::to_owned).collect()
        };
        assert_eq!(paths(&again), paths(&peft), "{folder:?}");
        let file =
            |folder: &Path| Checkpoint::open(&folder.join("adapter_model.safetensors")).unwrap();
        let (ours, theirs) = (file(written.path()), file(&folder));
        let names = |file: &Checkpoint| {
            let mut names: Vec<String> = file.names().map(str::to_owned).collect();
            names.sort();
            names
        };
        // Of a language model's checkpoint the head is fresh, and the adapter brings it.
        assert_eq!(names(&ours), names(&theirs), "{folder:?}");
        for name in names(&ours) {
            let values = |file: &Checkpoint| file.read(&name).unwrap().try_to_vec::<f32>().unwrap();
            assert_eq!(values(&ours), values(&theirs), "{folder:?}: {name}");
        }
    }
    assert!(count >= 25, "{count}");
}

/// A Python adapter for all linear layers names those of the head, too, which it does not adapt.
#[test]
fn targets_of_the_head_are_left_alone_beside_others() {
    let model = Model::load(&fixture("roberta-lora"), &LoadOptions::default()).unwrap();
    let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
    let lora = |targets: &[&str]| {
        let config = LoraConfig { target_modules: names(targets), ..Default::default() };
        Peft::Lora(config).trainable(&model, &Seed::new(0))
    };
    let both = lora(&["query", "out_proj"]).unwrap();
    assert_eq!(both.num_elements(), lora(&["query"]).unwrap().num_elements());
    assert!(lora(&["out_proj"]).is_err());

    // `dense` is the name of a layer of the body and of one of the head's two.
    let config = LoraConfig { target_modules: names(&["dense"]), ..Default::default() };
    let case = Case::load(&fixture("roberta-lora"), &Default::default(), DType::F32).unwrap();
    let model = Arc::new(model);
    let dense = PeftModel::new(model.clone(), Peft::Lora(config)).unwrap();
    let params = dense.trainable(&Seed::new(0)).unwrap();
    assert!(!params.paths().any(|path| path.starts_with("classifier.dense.lora")));
    let loss = |model: &PeftModel| {
        let params = model.trainable(&Seed::new(0)).unwrap();
        model.objective(case.batch(), None).unwrap().loss(&params).unwrap()
    };
    // B is 0 at the start: the same as without adapters.
    assert!((loss(&dense) - loss(&PeftModel::new(model, Peft::Head).unwrap())).abs() < 1e-6);
}

#[test]
fn modules_to_save_must_leave_something_to_adapt() {
    let model = Model::load(&fixture("bert-lora"), &LoadOptions::default()).unwrap();
    let config = LoraConfig { modules_to_save: vec!["encoder".to_string()], ..Default::default() };
    let error = Peft::Lora(config).trainable(&model, &Seed::new(0)).unwrap_err().to_string();
    assert!(error.contains("no adapter at all"), "{error}");
}

/// Modules that are trained whole: by the end of their path, each one group, and without adapter.
#[test]
fn modules_to_save_are_groups_of_their_own() {
    let model = Model::load(&fixture("llama-lora"), &LoadOptions::default()).unwrap();
    let config = LoraConfig { modules_to_save: vec!["norm".to_string()], ..Default::default() };
    let params = Peft::Lora(config).trainable(&model, &Seed::new(0)).unwrap();
    // As in peft, "norm" is also the end of "input_layernorm".
    let norms = params.paths().filter(|path| path.ends_with("norm.weight")).count();
    assert_eq!(norms, 7, "two in each of three layers, and the last");
    assert_eq!(params.groups(ParamRole::Adapter).len(), 6 + 7);

    let whole =
        |name: &str| LoraConfig { modules_to_save: vec![name.to_string()], ..Default::default() };
    let layer = Peft::Lora(whole("layers.1.self_attn")).trainable(&model, &Seed::new(0)).unwrap();
    let adapted = |path: &&str| path.contains("layers.1.self_attn") && path.contains("lora");
    assert_eq!(layer.paths().filter(adapted).count(), 0);
    assert_eq!(layer.groups(ParamRole::Adapter).len(), 4 + 1, "one group for the whole module");
    assert!(Peft::Lora(whole("no_such")).trainable(&model, &Seed::new(0)).is_err());
}

/// What peft may write and this does not support is named.
#[test]
fn unsupported_adapters_say_what_is_not_supported() {
    for (change, expected) in [
        (r#""target_modules": ".*query""#, "`target_modules` = \".*query\", which is no list"),
        (r#""peft_type": "PROMPT_TUNING""#, "`peft_type` = PROMPT_TUNING"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let text =
            std::fs::read_to_string(fixture("bert-lora").join("adapter_config.json")).unwrap();
        let mut json: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&text).unwrap();
        let change: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&format!("{{{change}}}")).unwrap();
        json.extend(change);
        let text = serde_json::to_string(&json).unwrap();
        std::fs::write(folder.path().join("adapter_config.json"), text).unwrap();
        let error = adapter::read_config(folder.path()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
