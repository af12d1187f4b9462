//! A checkpoint's head has the data's classes in an order of its own (transformers #12822).

mod folders;

use std::path::Path;
use std::sync::Arc;

use folders::{config_with, fixture, model_with};
use serde_json::{Value, json};
use spry_core::{DualParams, Seed};
use spry_data::{Targets, Task, TokenBatch};
use spry_models::checkpoint::Checkpoint;
use spry_models::exported::ExportedConfig;
use spry_models::model::head_rows;
use spry_models::peft::adapter;
use spry_models::{LoadOptions, Model, Peft, PeftModel};

/// What the head calls its three classes.
fn names() -> Value {
    json!({
        "id2label": {"0": "CONTRADICTION", "1": "NEUTRAL", "2": "ENTAILMENT"},
        "label2id": {"CONTRADICTION": 0, "NEUTRAL": 1, "ENTAILMENT": 2},
    })
}

/// The same classes in the data's order, and the row of each.
const CLASSES: [&str; 3] = ["entailment", "neutral", "contradiction"];
const ROWS: [usize; 3] = [2, 1, 0];

fn options(classes: &[&str]) -> LoadOptions {
    LoadOptions {
        num_labels: Some(classes.len()),
        classes: classes.iter().map(|class| class.to_string()).collect(),
        ..Default::default()
    }
}

fn logits(model: Model) -> Vec<Vec<f32>> {
    let model = PeftModel::new(Arc::new(model), Peft::Head).unwrap();
    let batch = TokenBatch {
        batch: 2,
        seq: 4,
        input_ids: vec![2, 7, 9, 3, 2, 8, 3, 0],
        token_type_ids: vec![0; 8],
        attention_mask: vec![1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0],
        targets: Targets::Classes(vec![0, 1]),
    };
    let params = DualParams::constant(&model.trainable(&Seed::new(0)).unwrap());
    let logits = model.objective(&batch, None).unwrap().logits(&params).unwrap().into_primal();
    let values = logits.into_data().try_to_vec::<f32>().unwrap();
    values.chunks(3).map(<[f32]>::to_vec).collect()
}

/// One family with a head of one layer, one of two, one without a bias.
#[test]
fn the_rows_of_a_head_are_put_into_the_order_of_the_data() {
    for case in ["bert-head", "roberta-head", "llama-head"] {
        let folder = model_with(case, names());
        let own = Model::load(folder.path(), &LoadOptions::default()).unwrap();
        assert!(own.notes().is_empty(), "{:?}", own.notes());
        let put = Model::load(folder.path(), &options(&CLASSES)).unwrap();
        assert_eq!(put.head_rows(), Some(&ROWS[..]));
        assert_eq!(head_rows(folder.path(), &put_names()).unwrap(), Some(ROWS.to_vec()));
        let [note] = put.notes() else { panic!("{case}: {:?}", put.notes()) };
        assert!(!note.is_warning() && note.text().contains("CONTRADICTION, NEUTRAL, ENTAILMENT"));
        for (own, put) in logits(own).iter().zip(&logits(put)) {
            let expected: Vec<f32> = ROWS.iter().map(|&row| own[row]).collect();
            for (put, expected) in put.iter().zip(expected) {
                assert!((put - expected).abs() < 1e-6, "{case}: {put} is not {expected}");
            }
        }
    }
}

fn put_names() -> Vec<String> {
    CLASSES.iter().map(|class| class.to_string()).collect()
}

#[test]
fn heads_stay_as_they_are_where_nothing_says_otherwise() {
    let same = ["contradiction", "Neutral", "entailment"];
    for (keys, classes, notes) in [
        (names(), &same, 0),
        // Generic names say nothing.
        (json!({}), &CLASSES, 0),
        // Nor do classes without names.
        (names(), &["0", "1", "2"], 1),
        // Other names are taken to be the same classes, with a warning.
        (names(), &["no", "maybe", "yes"], 1),
    ] {
        let folder = model_with("bert-head", keys);
        let model = Model::load(folder.path(), &options(classes)).unwrap();
        assert_eq!(model.head_rows(), None, "{classes:?}");
        assert_eq!(model.notes().len(), notes, "{classes:?}: {:?}", model.notes());
        let is_warning = model.notes().iter().any(|note| note.is_warning());
        assert_eq!(is_warning, classes[0] == "no", "{classes:?}");
        let own = Model::load(&fixture("bert-head"), &LoadOptions::default()).unwrap();
        assert_eq!(logits(model), logits(own));
    }
    // A head that is made afresh has the data's order from the start.
    let folder = model_with("bert-head", names());
    let fresh = LoadOptions { fresh_head: true, ..options(&CLASSES) };
    assert_eq!(Model::load(folder.path(), &fresh).unwrap().head_rows(), None);
}

#[test]
fn what_cannot_be_told_is_an_error() {
    let contradiction = json!({
        "id2label": {"0": "a", "1": "b", "2": "c"}, "label2id": {"a": 2, "b": 1, "c": 0},
    });
    let gap = json!({"id2label": {"1": "a", "2": "b", "3": "c"}});
    for (keys, expected) in [
        (names(), "some have the same name in another place"),
        (contradiction, "`label2id` says that `a` is class 2, `id2label` that it is class 0"),
        (gap, "`id2label` has 3 classes, but one of them is number 3"),
        (json!({"id2label": {"0": "a", "1": "b"}}), "`id2label` has 2 classes, the checkpoint's"),
        (json!({"problem_type": "multi_label_classification"}), "`problem_type` = \"multi_label"),
        (json!({"problem_type": "regression"}), "`problem_type` = \"regression\""),
    ] {
        let folder = model_with("bert-head", keys);
        let options = options(&["entailment", "other", "contradiction"]);
        let error = Model::load(folder.path(), &options).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("config.json"), "{error}");
        let fresh = LoadOptions { fresh_head: true, ..options };
        assert!(Model::load(folder.path(), &fresh).is_ok(), "a fresh head asks for no names");
    }
}

/// An adapter goes with its base model, whose configuration names the classes: its head is written
/// and read in the order of that.
#[test]
fn adapters_keep_the_order_of_their_base_model() {
    for case in ["bert-lora", "roberta-lora", "llama-lora"] {
        let folder = model_with(case, names());
        let model = Model::load(folder.path(), &options(&CLASSES)).unwrap();
        let peft = adapter::read_config(&fixture(case)).unwrap();
        let (params, _) = adapter::read(&fixture(case), &peft, &model).unwrap();
        let file = |folder: &Path| Checkpoint::open(&folder.join("adapter_model.safetensors"));
        let python = file(&fixture(case)).unwrap();

        let path = format!("{}.weight", model.spec().classifier);
        let python_head = python.read(&format!("base_model.model.{path}")).unwrap();
        let width = python_head.shape()[1];
        let python_head = python_head.try_to_vec::<f32>().unwrap();
        let head = params.get(&path).unwrap().to_vec();
        for (class, row) in ROWS.into_iter().enumerate() {
            let (got, expected) = (&head[class * width..], &python_head[row * width..]);
            assert_eq!(got[0], f64::from(expected[0]), "{case}, class {class}");
        }

        let written = tempfile::tempdir().unwrap();
        adapter::write(written.path(), &peft, &model, &params, "base").unwrap();
        let written = file(written.path()).unwrap();
        for name in python.names() {
            let values = |file: &Checkpoint| file.read(name).unwrap().try_to_vec::<f32>().unwrap();
            assert_eq!(values(&written), values(&python), "{case}: {name}");
        }
    }
}

#[test]
fn exported_configurations_name_the_rows_that_are_written() {
    let exported = |case: &str, keys: Value, classes: Option<&[String]>| -> Value {
        let exported = ExportedConfig {
            task: Task::SequenceClassification,
            classes,
            pad_token_id: 7,
            is_f32: true,
        };
        serde_json::from_str(&exported.of(&config_with(case, keys)).unwrap()).unwrap()
    };
    let classes = put_names();
    let json = exported("bert-head", names(), Some(&classes));
    assert_eq!(json["id2label"], json!({"0": "entailment", "1": "neutral", "2": "contradiction"}));
    assert_eq!(json["label2id"], json!({"entailment": 0, "neutral": 1, "contradiction": 2}));
    // Positions are counted from RoBERTa's padding token on, which says nothing of the run's; a
    // decoder's says which token is a text's last.
    assert_eq!(json["pad_token_id"], 0);
    assert_eq!(exported("roberta-head", json!({}), None)["pad_token_id"], 1);
    for (case, named) in
        [("llama-head", json!(null)), ("llama-head", json!(3)), ("opt-head", json!(1))]
    {
        assert_eq!(exported(case, json!({"pad_token_id": named}), None)["pad_token_id"], 7);
    }
    let kept = exported("bert-head", names(), None);
    assert_eq!(kept["id2label"], names()["id2label"]);
}
