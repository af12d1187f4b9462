//! What is beside a model, or in the place of its files: pointers, devices, other formats, indices
//! that say something else than the files, numbers that are none.

mod folders;

use std::path::Path;

use folders::{Stored, fixture, model_with, single, tensors, write};
use safetensors::tensor::Dtype;
use serde_json::{Map, Value, json};
use spry_models::peft::adapter;
use spry_models::{Error, LoadOptions, Model};

const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

fn load(folder: &Path) -> Result<Model, Error> {
    Model::load(folder, &LoadOptions::default())
}

fn failure(folder: &Path) -> String {
    load(folder).unwrap_err().to_string()
}

fn with_tensors(change: impl FnOnce(&mut Vec<Stored>)) -> tempfile::TempDir {
    let folder = model_with("bert-head", json!({}));
    let mut all = tensors("bert-head", WEIGHTS);
    change(&mut all);
    write(&folder.path().join(WEIGHTS), &all);
    folder
}

#[test]
fn pointers_of_git_lfs_say_what_to_do() {
    let pointer =
        "version https://git-lfs.github.com/spec/v1\noid sha256:53aa51172d142c89\nsize 9\n";
    for file in [WEIGHTS, "config.json"] {
        let folder = model_with("bert-head", json!({}));
        std::fs::write(folder.path().join(file), pointer).unwrap();
        let error = failure(folder.path());
        assert!(error.contains(file) && error.contains("Git LFS pointer"), "{error}");
        assert!(error.contains("git lfs pull"), "{error}");
    }
    let folder = model_with("bert-head", json!({}));
    std::fs::remove_file(folder.path().join(WEIGHTS)).unwrap();
    std::fs::write(folder.path().join(INDEX), pointer).unwrap();
    assert!(failure(folder.path()).contains("git lfs pull"));
    let adapter = tempfile::tempdir().unwrap();
    std::fs::write(adapter.path().join("adapter_config.json"), pointer).unwrap();
    let error = adapter::read_config(adapter.path()).unwrap_err().to_string();
    assert!(error.contains("git lfs pull"), "{error}");
}

#[cfg(unix)]
#[test]
fn fifos_and_devices_are_not_waited_for() {
    for file in [WEIGHTS, "config.json", INDEX] {
        for device in [false, true] {
            let folder = model_with("bert-head", json!({}));
            let path = folder.path().join(file);
            let _ = std::fs::remove_file(folder.path().join(WEIGHTS));
            let _ = std::fs::remove_file(&path);
            if device {
                std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
            } else {
                assert!(
                    std::process::Command::new("mkfifo").arg(&path).status().unwrap().success()
                );
            }
            let error = failure(folder.path());
            assert!(error.contains(file) && error.contains("not a regular file"), "{error}");
        }
    }
}

#[test]
fn other_formats_say_how_to_convert() {
    for name in ["pytorch_model.bin", "pytorch_model.bin.index.json", "tf_model.h5"] {
        let folder = model_with("bert-head", json!({}));
        std::fs::remove_file(folder.path().join(WEIGHTS)).unwrap();
        std::fs::write(folder.path().join(name), b"PK").unwrap();
        let error = failure(folder.path());
        assert!(error.contains(name) && error.contains("AutoModel.from_pretrained"), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("adapter_model.bin"), b"PK").unwrap();
    let model = load(&fixture("bert-lora")).unwrap();
    let peft = adapter::read_config(&fixture("bert-lora")).unwrap();
    let error = adapter::read(folder.path(), &peft, &model).unwrap_err().to_string();
    assert!(
        error.contains("adapter_model.bin") && error.contains("PeftModel.from_pretrained"),
        "{error}"
    );
}

#[test]
fn weights_that_are_no_numbers_are_named() {
    let spoil = |name: &'static str, index: usize, value: f32| {
        with_tensors(|tensors| {
            let tensor = tensors.iter_mut().find(|tensor| tensor.0 == name).unwrap();
            tensor.3[4 * index..4 * index + 4].copy_from_slice(&value.to_le_bytes());
        })
    };
    let norm = "bert.encoder.layer.0.output.LayerNorm.weight";
    for (name, index, value, expected) in [
        (norm, 5, f32::NAN, "is NaN; the checkpoint is damaged"),
        ("classifier.bias", 0, f32::INFINITY, "is infinite"),
        ("classifier.weight", 33, f32::NEG_INFINITY, "is infinite"),
    ] {
        let folder = spoil(name, index, value);
        let error = failure(folder.path());
        let place = format!("model.safetensors: value {index} of tensor `{name}` {expected}");
        assert!(error.contains(&place), "{error}");
    }
    // Of a head that is not used, nothing is asked.
    let fresh = LoadOptions { fresh_head: true, ..Default::default() };
    let folder = spoil("classifier.bias", 0, f32::NAN);
    assert!(Model::load(folder.path(), &fresh).is_ok());
}

#[test]
fn doubles_that_singles_cannot_hold_are_named() {
    let folder = with_tensors(|tensors| {
        let tensor = tensors.iter_mut().find(|tensor| tensor.0 == "classifier.bias").unwrap();
        let values = [0.5, -1e300, 0.25f64];
        tensor.1 = Dtype::F64;
        tensor.3 = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    });
    let error = failure(folder.path());
    let expected = "value 1 of tensor `classifier.bias` is infinite, or too large for f32";
    assert!(error.contains(expected), "{error}");
    let double = LoadOptions { dtype: burn::tensor::DType::F64, ..Default::default() };
    let model = Model::load(folder.path(), &double).unwrap();
    assert_eq!(model.weights().get("classifier.bias").unwrap().to_vec(), [0.5, -1e300, 0.25]);
}

#[test]
fn integers_are_no_weights() {
    let folder = with_tensors(|tensors| {
        let tensor = tensors.iter_mut().find(|tensor| tensor.0 == "classifier.bias").unwrap();
        tensor.1 = Dtype::I64;
        tensor.3 = [1i64, 2, 3].iter().flat_map(|value| value.to_le_bytes()).collect();
    });
    let error = failure(folder.path());
    assert!(
        error.contains("`classifier.bias` has dtype I64; supported: F32, F16, BF16, F64"),
        "{error}"
    );
}

/// Tensors that versions of Python store, and compute anew when they load.
#[test]
fn buffers_are_passed_over_whatever_they_hold() {
    let folder = with_tensors(|tensors| {
        let positions: Vec<u8> = (0..14i64).flat_map(i64::to_le_bytes).collect();
        for name in ["bert.embeddings.position_ids", "embeddings.token_type_ids"] {
            tensors.push((name.to_string(), Dtype::I64, vec![1, 14], positions.clone()));
        }
        for name in ["bert.x.rotary_emb.inv_freq", "h.0.attn.masked_bias", "h.0.attn.bias"] {
            tensors.push(single(name, &[2], &[f32::NEG_INFINITY, f32::NAN]));
        }
    });
    let model = load(folder.path()).unwrap();
    assert_eq!(
        model.weights().num_elements(),
        load(&fixture("bert-head")).unwrap().weights().num_elements()
    );
}

/// The fixture's tensors in two files, and the index of them.
fn shards() -> (tempfile::TempDir, Map<String, Value>) {
    let folder = model_with("bert-head", json!({}));
    std::fs::remove_file(folder.path().join(WEIGHTS)).unwrap();
    let all = tensors("bert-head", WEIGHTS);
    let mut places = Map::new();
    for (number, part) in all.chunks(all.len().div_ceil(2)).enumerate() {
        let name = shard(number + 1);
        write(&folder.path().join(&name), part);
        places.extend(part.iter().map(|tensor| (tensor.0.clone(), name.clone().into())));
    }
    write_index(folder.path(), &places);
    (folder, places)
}

fn shard(number: usize) -> String {
    format!("model-0000{number}-of-00002.safetensors")
}

fn write_index(folder: &Path, places: &Map<String, Value>) {
    let index = json!({"metadata": {}, "weight_map": places});
    std::fs::write(folder.join(INDEX), index.to_string()).unwrap();
}

/// As in Python, what counts is what the files have, not what the index says of them.
#[test]
fn an_index_may_list_what_nobody_needs_and_lack_what_is_there() {
    let (folder, mut places) = shards();
    let whole = load(&fixture("bert-head")).unwrap();
    places.insert("cls.predictions.decoder.weight".to_string(), shard(1).into());
    places.insert("bert.embeddings.position_ids".to_string(), "gone.safetensors".into());
    // The right file is another one, or not listed for it at all.
    places.insert("classifier.bias".to_string(), shard(1).into());
    places.remove("classifier.weight");
    write_index(folder.path(), &places);
    let model = load(folder.path()).unwrap();
    assert!(model.fresh().is_empty());
    for (path, weight) in whole.weights().iter() {
        assert_eq!(model.weights().get(path).unwrap().to_vec(), weight.to_vec(), "{path}");
    }
}

#[test]
fn files_that_are_needed_and_lack_are_listed() {
    let (folder, _) = shards();
    for number in [1, 2] {
        std::fs::remove_file(folder.path().join(shard(number))).unwrap();
    }
    let error = failure(folder.path());
    let both = format!("{}, {}, which the model needs", shard(1), shard(2));
    assert!(error.contains(&both) && error.contains("No such file"), "{error}");
    // A head that is only listed is not made afresh.
    let (folder, mut places) = shards();
    places.insert("classifier.bias".to_string(), "head.safetensors".into());
    let first = tensors("bert-head", WEIGHTS).into_iter().filter(|t| t.0 != "classifier.bias");
    let first: Vec<Stored> = first.collect();
    std::fs::remove_file(folder.path().join(shard(2))).unwrap();
    write(&folder.path().join(shard(1)), &first);
    places.values_mut().filter(|file| **file == shard(2)).for_each(|file| *file = shard(1).into());
    write_index(folder.path(), &places);
    assert!(failure(folder.path()).contains("lists head.safetensors, which the model needs"));
}

#[test]
fn a_tensor_in_two_files_is_ambiguous() {
    let (folder, _) = shards();
    let all = tensors("bert-head", WEIGHTS);
    write(&folder.path().join(shard(1)), &all);
    let error = failure(folder.path());
    assert!(error.contains("is both in") && error.contains(&shard(2)), "{error}");
}

/// As in Python, the whole file wins.
#[test]
fn beside_the_whole_file_an_index_is_passed_over() {
    let folder = model_with("bert-head", json!({}));
    std::fs::write(folder.path().join(INDEX), "{").unwrap();
    assert!(load(folder.path()).is_ok());
}

#[test]
fn an_adapter_says_which_model_it_was_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(fixture("bert-lora").join("adapter_config.json")).unwrap();
    let mut json: Value = serde_json::from_str(&text).unwrap();
    let mut read = |key: &str, value: Value| {
        json[key] = value;
        std::fs::write(folder.path().join("adapter_config.json"), json.to_string()).unwrap();
        let base = adapter::read_base(folder.path()).unwrap();
        (base, adapter::read_config(folder.path()).map_err(|error| error.to_string()))
    };
    let _ = read("base_model_name_or_path", json!("org/base"));
    let (base, peft) = read("revision", json!("v2"));
    assert_eq!((base.name.as_deref(), base.revision.as_deref()), (Some("org/base"), Some("v2")));
    assert!(peft.is_ok());
    for (key, value, expected) in [
        ("task_type", json!("CAUSAL_LM"), "`task_type` = CAUSAL_LM"),
        ("lora_dropout", json!("0.1"), "`lora_dropout` is missing or no number"),
        ("use_rslora", json!("yes"), "`use_rslora` is neither true nor false"),
        ("runtime_config", json!({"ephemeral_gpu_offload": true}), "`runtime_config` = {"),
        ("layers_to_transform", json!([0]), "`layers_to_transform` = [0]"),
        ("a_key_of_the_future", json!(1), "`a_key_of_the_future` = 1"),
        ("bias", json!("all"), "`bias` = \"all\""),
        ("lora_alpha", json!(null), "`lora_alpha` is missing"),
    ] {
        let error = read(key, value).1.unwrap_err();
        assert!(error.contains(expected), "{error}");
        let _ = read(key, harmless(key));
    }
}

/// A value that a key may have.
fn harmless(key: &str) -> Value {
    match key {
        "task_type" => json!("SEQ_CLS"),
        "lora_alpha" => json!(2),
        "bias" => json!("none"),
        _ => Value::Null,
    }
}

#[test]
fn an_adapter_for_another_task_is_refused() {
    let options = LoadOptions { task: spry_data::Task::QuestionAnswering, ..Default::default() };
    let model = Model::load(&fixture("bert-lora"), &options).unwrap();
    let peft = adapter::read_config(&fixture("bert-lora")).unwrap();
    let error = adapter::read(&fixture("bert-lora"), &peft, &model).unwrap_err().to_string();
    assert!(error.contains("trained for sequence-classification"), "{error}");
}
