//! Loading checkpoints: what works, and what a user sees when it does not.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::tensor::{Dtype, TensorView};
use spry_core::{ParamRole, Seed};
use spry_models::checkpoint::Checkpoint;
use spry_models::{LoadOptions, LoraConfig, Model, Peft};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bert-head")
}

/// Tensors of the fixture: name, shape, values.
fn tensors() -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let file = Checkpoint::open(&fixture().join("model.safetensors")).unwrap();
    let mut names: Vec<String> = file.names().map(str::to_owned).collect();
    names.sort();
    names
        .into_iter()
        .map(|name| {
            let data = file.read(&name).unwrap();
            (name, data.shape().to_vec(), data.try_to_vec::<f32>().unwrap())
        })
        .collect()
}

/// Writes a model folder with these tensors, each value encoded by `encode`.
fn write_model(
    folder: &Path,
    tensors: &[(String, Vec<usize>, Vec<f32>)],
    dtype: Dtype,
    encode: fn(f32) -> Vec<u8>,
) {
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, _, values)| values.iter().flat_map(|&value| encode(value)).collect())
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        (name.as_str(), TensorView::new(dtype, shape.clone(), bytes).unwrap())
    });
    let file = safetensors::serialize(views, None::<HashMap<String, String>>).unwrap();
    std::fs::write(folder.join("model.safetensors"), file).unwrap();
    std::fs::copy(fixture().join("config.json"), folder.join("config.json")).unwrap();
}

fn write_f32(folder: &Path, tensors: &[(String, Vec<usize>, Vec<f32>)]) {
    write_model(folder, tensors, Dtype::F32, |value| value.to_le_bytes().to_vec());
}

fn load_error(folder: &Path) -> String {
    Model::load(folder, &LoadOptions::default()).unwrap_err().to_string()
}

#[test]
fn half_precision_checkpoints_load() {
    let expected = Model::load(&fixture(), &LoadOptions::default()).unwrap();
    type Case = (Dtype, fn(f32) -> Vec<u8>, f64);
    let cases: [Case; 3] = [
        (Dtype::F16, |v| f16::from_f32(v).to_le_bytes().to_vec(), 1e-3),
        (Dtype::BF16, |v| bf16::from_f32(v).to_le_bytes().to_vec(), 1e-2),
        (Dtype::F64, |v| f64::from(v).to_le_bytes().to_vec(), 0.0),
    ];
    for (dtype, encode, tolerance) in cases {
        let folder = tempfile::tempdir().unwrap();
        write_model(folder.path(), &tensors(), dtype, encode);
        let model = Model::load(folder.path(), &LoadOptions::default()).unwrap();
        for ((path, got), (_, expected)) in model.weights().iter().zip(expected.weights().iter()) {
            for (got, expected) in got.to_vec().into_iter().zip(expected.to_vec()) {
                let error = (got - expected).abs();
                assert!(error <= tolerance * expected.abs() + 1e-7, "{dtype:?} {path}: {error}");
            }
        }
    }
}

#[test]
fn names_of_bare_bodies_and_old_checkpoints_are_understood() {
    let folder = tempfile::tempdir().unwrap();
    let renamed: Vec<_> = tensors()
        .into_iter()
        .filter(|(name, ..)| !name.starts_with("classifier"))
        .map(|(name, shape, values)| {
            let name = name.trim_start_matches("bert.").to_string();
            let name = name.replace("LayerNorm.weight", "LayerNorm.gamma");
            (name.replace("LayerNorm.bias", "LayerNorm.beta"), shape, values)
        })
        .chain([("cls.predictions.bias".to_string(), vec![1], vec![0.0])])
        .collect();
    write_f32(folder.path(), &renamed);
    let options = LoadOptions { num_labels: Some(5), ..Default::default() };
    let model = Model::load(folder.path(), &options).unwrap();
    assert_eq!(model.fresh(), ["classifier.weight", "classifier.bias"]);
    assert_eq!(model.weights().get("classifier.weight").unwrap().shape(), [5, 32]);
    let original = Model::load(&fixture(), &LoadOptions::default()).unwrap();
    for path in original.weights().paths().filter(|path| !path.starts_with("classifier")) {
        let values = |model: &Model| model.weights().get(path).unwrap().to_vec();
        assert_eq!(values(&model), values(&original), "{path}");
    }
}

#[test]
fn a_fresh_head_depends_on_the_seed_alone() {
    let head = |seed, fresh_head| {
        let options = LoadOptions { seed, fresh_head, ..Default::default() };
        let model = Model::load(&fixture(), &options).unwrap();
        model.weights().get("classifier.weight").unwrap().to_vec()
    };
    assert_eq!(head(1, true), head(1, true));
    assert_ne!(head(1, true), head(2, true));
    assert_eq!(head(1, false), head(2, false), "the checkpoint's head is kept unless asked");
}

#[test]
fn unusable_checkpoints_are_errors_that_say_what_is_wrong() {
    type Tensors = Vec<(String, Vec<usize>, Vec<f32>)>;
    type Case = (fn(&Path, Tensors), &'static [&'static str]);
    let cases: &[Case] = &[
        (
            |folder, mut tensors| {
                tensors.retain(|(name, ..)| !name.contains("layer.1.output.dense"));
                write_f32(folder, &tensors);
            },
            &["lacks 2 tensor(s)", "bert.encoder.layer.1.output.dense.weight"],
        ),
        (
            |folder, mut tensors| {
                tensors.push(("bert.encoder.layer.9.extra".to_string(), vec![1], vec![0.0]));
                write_f32(folder, &tensors);
            },
            &["has 1 tensor(s) that the model does not know", "layer.9.extra"],
        ),
        (
            |folder, mut tensors| {
                for (name, shape, values) in &mut tensors {
                    if name.ends_with("pooler.dense.bias") {
                        (*shape, *values) = (vec![2], vec![0.0; 2]);
                    }
                }
                write_f32(folder, &tensors);
            },
            &["`bert.pooler.dense.bias` has shape [2]", "says [32]"],
        ),
        (
            |folder, tensors| {
                write_f32(folder, &tensors);
                let path = folder.join("model.safetensors");
                let bytes = std::fs::read(&path).unwrap();
                std::fs::write(path, &bytes[..bytes.len() - 100]).unwrap();
            },
            &["not a usable safetensors file", "its header says"],
        ),
        (
            |folder, tensors| {
                write_f32(folder, &tensors);
                let path = folder.join("model.safetensors");
                let bytes = std::fs::read(&path).unwrap();
                std::fs::write(path, &bytes[..100]).unwrap();
            },
            &["not a usable safetensors file", "cut short"],
        ),
        (
            |folder, tensors| {
                write_f32(folder, &tensors);
                std::fs::write(folder.join("model.safetensors"), b"PK").unwrap();
            },
            &["it has only 2 bytes"],
        ),
        (
            |folder, tensors| {
                write_model(folder, &tensors, Dtype::I32, |value| {
                    (value as i32).to_le_bytes().to_vec()
                });
            },
            &["has dtype I32", "supported: F32, F16, BF16, F64"],
        ),
        (
            |folder, tensors| {
                write_f32(folder, &tensors);
                std::fs::remove_file(folder.join("config.json")).unwrap();
            },
            &["config.json"],
        ),
    ];
    for (spoil, expected) in cases {
        let folder = tempfile::tempdir().unwrap();
        spoil(folder.path(), tensors());
        let message = load_error(folder.path());
        for part in *expected {
            assert!(message.contains(part), "{message:?} does not contain {part:?}");
        }
    }
}

#[test]
fn unsupported_configurations_are_errors_that_name_the_key() {
    let config = std::fs::read_to_string(fixture().join("config.json")).unwrap();
    for (from, to, expected) in [
        ("\"model_type\": \"bert\"", "\"model_type\": \"mamba\"", "`model_type` = mamba"),
        ("\"hidden_act\": \"gelu\"", "\"hidden_act\": \"mish\"", "mish"),
        ("\"is_decoder\": false", "\"is_decoder\": true", "`is_decoder` = true"),
        ("\"hidden_size\": 32", "\"hidden_size\": 33", "not a multiple of `num_attention_heads`"),
        ("\"vocab_size\": 120", "\"vocab_size\": 0", "`vocab_size` is 0"),
        ("\"vocab_size\": 120", "\"vocab_size\": \"many\"", "invalid type"),
        (
            "\"type_vocab_size\"",
            "\"position_embedding_type\": \"relative_key\", \"type_vocab_size\"",
            "relative_key",
        ),
        (
            "\"hidden_dropout_prob\": 0.1",
            "\"hidden_dropout_prob\": 1.5",
            "`hidden_dropout_prob` is 1.5",
        ),
        ("{", "", "not a usable model configuration"),
    ] {
        let changed = config.replacen(from, to, 1);
        assert_ne!(changed, config, "the fixture no longer has {from}");
        let error = Model::random(&changed, &LoadOptions::default()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error:?} does not contain {expected:?}");
    }
}

#[test]
fn lora_goes_onto_any_linear_layer_in_groups_by_depth() {
    let model = Model::load(&fixture(), &LoadOptions::default()).unwrap();
    let names = |targets: &[&str]| targets.iter().map(|t| t.to_string()).collect();
    let lora = |targets: &[&str]| {
        let config = LoraConfig { r: 3, target_modules: names(targets), ..Default::default() };
        Peft::Lora(config).trainable(&model, &Seed::new(0))
    };
    for (targets, per_layer) in
        [(&["query", "value"][..], 2), (&["dense"], 3), (&["attention.output.dense"], 1)]
    {
        let params = lora(targets).unwrap();
        let groups = params.groups(ParamRole::Adapter);
        let pooler = usize::from(targets == ["dense"]);
        assert_eq!(groups.len(), 3 * per_layer + pooler, "{targets:?}");
        for group in groups {
            let members = params.iter().filter(|(_, param)| param.group() == group).count();
            assert_eq!(members, 2, "a group is a pair of matrices");
        }
    }
    let params = lora(&["query"]).unwrap();
    let depth = |layer| {
        let path = format!("bert.encoder.layer.{layer}.attention.self.query.lora_A.weight");
        params.get(&path).unwrap().group()
    };
    assert!(depth(0) < depth(1) && depth(1) < depth(2));
    let error = lora(&["queery"]).unwrap_err().to_string();
    assert!(error.contains("`queery`") && error.contains("query"), "{error}");
    assert!(lora(&["classifier"]).is_err(), "the head is trained as it is");
    let paths =
        |targets: &[&str]| lora(targets).unwrap().paths().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(paths(&[]), paths(&["query", "value"]), "the family's");
    let rank_0 = Peft::Lora(LoraConfig { r: 0, ..Default::default() });
    assert!(rank_0.trainable(&model, &Seed::new(0)).is_err());
}

/// The fixture's tensors in two files with an index, as Hugging Face writes large models.
fn write_shards(folder: &Path) {
    std::fs::copy(fixture().join("config.json"), folder.join("config.json")).unwrap();
    let all = tensors();
    let mut places = serde_json::Map::new();
    for (number, part) in all.chunks(all.len().div_ceil(2)).enumerate() {
        let name = format!("model-0000{}-of-00002.safetensors", number + 1);
        let bytes: Vec<Vec<u8>> = part
            .iter()
            .map(|(_, _, values)| values.iter().flat_map(|v| v.to_le_bytes()).collect())
            .collect();
        let views = part.iter().zip(&bytes).map(|((tensor, shape, _), bytes)| {
            places.insert(tensor.clone(), name.clone().into());
            let dtype = safetensors::Dtype::F32;
            let view = safetensors::tensor::TensorView::new(dtype, shape.clone(), bytes);
            (tensor.clone(), view.unwrap())
        });
        let views: Vec<_> = views.collect();
        let bytes = safetensors::serialize(views, None).unwrap();
        std::fs::write(folder.join(name), bytes).unwrap();
    }
    let index = serde_json::json!({"metadata": {"total_size": 0}, "weight_map": places});
    std::fs::write(folder.join("model.safetensors.index.json"), index.to_string()).unwrap();
}

#[test]
fn checkpoints_in_several_files_load() {
    let folder = tempfile::tempdir().unwrap();
    write_shards(folder.path());
    let whole = Model::load(&fixture(), &LoadOptions::default()).unwrap();
    let sharded = Model::load(folder.path(), &LoadOptions::default()).unwrap();
    assert!(sharded.fresh().is_empty());
    for (path, weight) in whole.weights().iter() {
        assert_eq!(sharded.weights().get(path).unwrap().to_vec(), weight.to_vec(), "{path}");
    }
}

#[test]
fn unusable_indices_are_errors_that_say_what_is_wrong() {
    type Spoil = fn(&Path, &Path);
    let cases: [(Spoil, &str); 5] = [
        (|_, index| std::fs::write(index, "{").unwrap(), "EOF"),
        (|_, index| std::fs::write(index, r#"{"metadata": {}}"#).unwrap(), "`weight_map`"),
        (
            |folder, _| {
                std::fs::remove_file(folder.join("model-00002-of-00002.safetensors")).unwrap();
            },
            "model-00002-of-00002.safetensors, which the model needs and which cannot be read: No such",
        ),
        (
            |folder, _| {
                let file = |n| folder.join(format!("model-0000{n}-of-00002.safetensors"));
                std::fs::copy(file(1), file(2)).unwrap();
            },
            "is both in",
        ),
        (
            |_, index| {
                let text = std::fs::read_to_string(index).unwrap();
                std::fs::write(index, text.replace("model-00001", "../model-00001")).unwrap();
            },
            "is not the name of a file beside it",
        ),
    ];
    for (spoil, expected) in cases {
        let folder = tempfile::tempdir().unwrap();
        write_shards(folder.path());
        spoil(folder.path(), &folder.path().join("model.safetensors.index.json"));
        let error = Model::load(folder.path(), &LoadOptions::default()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
