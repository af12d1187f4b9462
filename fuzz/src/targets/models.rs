//! Models: weights, configurations, adapters, reference cases.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use spry_core::{Objective, Seed};
use spry_data::{Targets, Task, TokenBatch};
use spry_models::architecture::TensorSpec;
use spry_models::budget::Budget;
use spry_models::case::Case;
use spry_models::checkpoint::{self, Checkpoint};
use spry_models::exported::ExportedConfig;
use spry_models::peft::adapter;
use spry_models::{LoadOptions, Model, ModelSpec, Peft, PeftModel};

use super::{Seeds, Shape, Target, bundle_of, fixture, in_folder, refused, write};
use crate::bundle;

/// A model of more values than this is not made of random weights: that would take its time.
const MOST_RANDOM_VALUES: usize = 1 << 16;

pub(super) const SAFETENSORS: Target = Target {
    name: "safetensors",
    shape: Shape::Safetensors,
    words: &["dtype", "shape", "data_offsets", "F64", "F16", "BF16", "I64", "U8", "__metadata__"],
    seeds: || {
        let mut seeds = seeds_of(
            &["llama-tied", "roberta-ia3-modules", "albert-qa"],
            "adapter_model.safetensors",
        )?;
        seeds.push(("valid-dtypes.safetensors".to_string(), tensors_of_all_types()));
        Ok(seeds)
    },
    run: |input| {
        in_folder(|folder| {
            let path = write(folder, "model.safetensors", input)?;
            read_all(&Checkpoint::open(&path).map_err(refused)?)
        })
    },
};

pub(super) const INDEX: Target = Target {
    name: "index",
    shape: Shape::Folder,
    words: &["weight_map", "metadata", "total_size", "a.safetensors", "../a.safetensors", "/", "."],
    seeds: || {
        let index = br#"{"metadata": {"total_size": 60}, "weight_map": {
            "a": "one.safetensors", "b": "one.safetensors", "c": "two.safetensors"}}"#;
        let one = safetensors(&[("a", "F32", &[2, 2], 16), ("b", "F16", &[3], 6)]);
        let two = safetensors(&[("c", "BF16", &[1, 2], 4)]);
        let files = [
            (checkpoint::MODEL_INDEX.to_string(), index.to_vec()),
            ("one.safetensors".to_string(), one),
            ("two.safetensors".to_string(), two),
        ];
        Ok(vec![("valid-two-files".to_string(), bundle::encode(&files))])
    },
    run: |input| {
        in_folder(|folder| {
            bundle::unpack(input, folder).map_err(refused)?;
            let names = checkpoint::files_of_index(&folder.join(checkpoint::MODEL_INDEX));
            let names = names.map_err(refused)?;
            let is_beside = |name: &String| folder.join(name).parent() == Some(folder);
            assert!(names.iter().all(is_beside), "a file elsewhere: {names:?}");
            read_all(&Checkpoint::of_model(folder).map_err(refused)?)
        })
    },
};

/// Reads all tensors of a checkpoint. One of another type is refused, which is fine.
fn read_all(checkpoint: &Checkpoint) -> Result<(), String> {
    for name in checkpoint.names() {
        let shape = checkpoint.shape(name).ok_or_else(|| format!("`{name}` has no shape"))?;
        if let Ok(values) = checkpoint.read(name) {
            assert_eq!(values.shape().as_slice(), shape, "the shape of `{name}`");
        }
        let _ = checkpoint.read_integers(name);
    }
    Ok(())
}

/// A safetensors file of zeros: names, types, shapes and sizes in bytes.
fn safetensors(tensors: &[(&str, &str, &[usize], usize)]) -> Vec<u8> {
    let mut table = serde_json::Map::new();
    let mut end = 0;
    for (name, dtype, shape, bytes) in tensors {
        let offsets = [end, end + bytes];
        end += bytes;
        let tensor = serde_json::json!({"dtype": dtype, "shape": shape, "data_offsets": offsets});
        table.insert(name.to_string(), tensor);
    }
    let header = serde_json::Value::from(table).to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; end]].concat()
}

fn tensors_of_all_types() -> Vec<u8> {
    safetensors(&[
        ("a.f64", "F64", &[2], 16),
        ("b.f32", "F32", &[1, 2, 1], 8),
        ("c.f16", "F16", &[2, 2], 8),
        ("d.bf16", "BF16", &[0, 3], 0),
        ("e.i64", "I64", &[3], 24),
        ("f.u8", "U8", &[5], 5),
        ("g.scalar", "F32", &[], 4),
    ])
}

/// A file of each of some reference cases.
fn seeds_of(cases: &[&str], name: &str) -> anyhow::Result<Seeds> {
    let seed = |case: &&str| {
        let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
        let bytes = std::fs::read(fixture(case).join(name))?;
        Ok((format!("valid-{case}-{stem}.{extension}"), bytes))
    };
    cases.iter().map(seed).collect()
}

/// Configurations of a family: that of a case, whose weights are used, and those of others, which
/// these weights need not fit.
fn config_seeds(case: &str, others: &[&str]) -> anyhow::Result<Seeds> {
    let mut seeds = Seeds::new();
    for name in [case].iter().chain(others) {
        let kind = if *name == case { "valid" } else { "other" };
        let bytes = std::fs::read(fixture(name).join("config.json"))?;
        seeds.push((format!("{kind}-{name}.json"), bytes));
    }
    Ok(seeds)
}

/// Keys of `config.json`, of all families.
const CONFIG_WORDS: &[&str] = &[
    "model_type",
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
    "layer_norm_eps",
    "hidden_dropout_prob",
    "initializer_range",
    "id2label",
    "num_labels",
    "pad_token_id",
    "head_dim",
    "rope_scaling",
    "rope_type",
    "rope_theta",
    "llama3",
    "linear",
    "factor",
    "num_hidden_groups",
    "inner_group_num",
    "embedding_size",
    "word_embed_proj_dim",
    "do_layer_norm_before",
    "ffn_dim",
    "dim",
    "n_layers",
    "n_heads",
    "bert",
    "gelu_new",
    "relu",
];

/// The target of a family: a case's weights with the input as their configuration.
macro_rules! config_target {
    ($constant:ident, $name:literal, $case:literal, $others:expr) => {
        pub(super) const $constant: Target = Target {
            name: $name,
            shape: Shape::Json,
            words: CONFIG_WORDS,
            seeds: || config_seeds($case, &$others),
            run: |input| config($case, input),
        };
    };
}

config_target!(CONFIG_BERT, "config-bert", "bert-rslora", ["bert-qa-segments", "bert-lora"]);
config_target!(CONFIG_ROBERTA, "config-roberta", "roberta-ia3-modules", ["roberta-padding"]);
config_target!(CONFIG_DISTILBERT, "config-distilbert", "distilbert-relu", ["distilbert-qa"]);
config_target!(CONFIG_ALBERT, "config-albert", "albert-groups", ["albert-qa"]);
config_target!(
    CONFIG_LLAMA,
    "config-llama",
    "llama-rope-llama3",
    ["llama-tied", "llama-rope-linear", "llama-left-padding"]
);
config_target!(CONFIG_OPT, "config-opt", "opt-post-norm", ["opt-left-padding", "opt-full"]);

fn config(case: &str, input: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(input);
    let exported = ExportedConfig {
        task: Task::SequenceClassification,
        classes: Some(&["no".to_string(), "yes".to_string()]),
        pad_token_id: 0,
        is_f32: true,
    };
    let _ = exported.of(&text);
    let loaded = in_folder(|folder| {
        write(folder, "config.json", input)?;
        let weights = fixture(case).join(checkpoint::MODEL);
        std::fs::copy(weights, folder.join(checkpoint::MODEL)).map_err(refused)?;
        let model = Model::load(folder, &LoadOptions::default()).map_err(refused)?;
        compute(Arc::new(model))?;
        let options = LoadOptions {
            task: Task::QuestionAnswering,
            num_labels: Some(2),
            fresh_head: true,
            ..Default::default()
        };
        // Not every family has this head.
        let _ =
            Model::load(folder, &options).map_err(refused).map(|model| compute(Arc::new(model)));
        Ok(())
    });
    let options = LoadOptions { num_labels: Some(2), ..Default::default() };
    if is_small(&text, 2) {
        let _ = Model::random(&text, &options).map_err(refused).map(|m| compute(Arc::new(m)));
    }
    loaded
}

/// Whether a model with this configuration has few values.
fn is_small(config: &str, num_labels: usize) -> bool {
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(config).unwrap_or_default();
    let model_type = object.get("model_type").and_then(|value| value.as_str());
    let spec = ModelSpec::find(model_type.unwrap_or_default());
    let Ok(Ok(architecture)) = spec.map(|spec| (spec.parse)(&object)) else { return false };
    let mut budget = Budget { values: MOST_RANDOM_VALUES, ..Budget::OF_RANDOM_MODEL };
    let tensors = architecture.tensors(Task::SequenceClassification, num_labels, budget);
    let mut fits = |tensor: &TensorSpec| budget.take_values(&tensor.path, &tensor.shape).is_ok();
    tensors.is_ok_and(|tensors| tensors.iter().all(&mut fits))
}

/// The loss of a batch, and its derivative along the parameters themselves.
fn compute(model: Arc<Model>) -> Result<(), String> {
    let is_answers = model.task() == Task::QuestionAnswering;
    let batch = TokenBatch {
        batch: 2,
        seq: 3,
        input_ids: vec![1, 2, 3, 2, 1, 0],
        token_type_ids: vec![0; 6],
        attention_mask: vec![1.0, 1.0, 1.0, 1.0, 1.0, 0.0],
        targets: match is_answers {
            true => Targets::Spans(vec![[0, 1], [1, 1]]),
            false => Targets::Classes(vec![0, 1]),
        },
    };
    let model = PeftModel::new(model, Peft::Lora(Default::default())).map_err(refused)?;
    let params = model.trainable(&Seed::new(0)).map_err(refused)?;
    let objective = model.objective(&batch, None).map_err(refused)?;
    objective.jvp(&params, std::slice::from_ref(&params)).map_err(refused)?;
    Ok(())
}

thread_local! {
    /// Models of reference cases, each loaded once.
    static MODELS: RefCell<HashMap<&'static str, Arc<Model>>> = RefCell::default();
}

fn model_of(case: &'static str) -> Result<Arc<Model>, String> {
    MODELS.with_borrow_mut(|models| match models.get(case) {
        Some(model) => Ok(model.clone()),
        None => {
            let model = Model::load(&fixture(case), &LoadOptions::default()).map_err(refused)?;
            Ok(models.entry(case).or_insert(Arc::new(model)).clone())
        }
    })
}

/// The cases whose adapters are read, each for its model: the one of whose family it is.
const ADAPTED: [&str; 3] = ["llama-tied", "roberta-ia3-modules", "opt-post-norm"];

const ADAPTER_FILES: [&str; 2] = ["adapter_config.json", "adapter_model.safetensors"];

pub(super) const ADAPTER: Target = Target {
    name: "adapter",
    shape: Shape::Folder,
    words: &[
        "peft_type",
        "LORA",
        "IA3",
        "r",
        "lora_alpha",
        "lora_dropout",
        "target_modules",
        "feedforward_modules",
        "modules_to_save",
        "use_rslora",
        "use_dora",
        "bias",
        "rank_pattern",
        "classifier",
        "query",
        "q_proj",
        "base_model.model.",
        "init_lora_weights",
        "task_type",
    ],
    seeds: || {
        let seed =
            |case: &&str| Ok((format!("valid-{case}"), bundle_of(&fixture(case), &ADAPTER_FILES)?));
        ADAPTED.iter().map(seed).collect()
    },
    run: |input| {
        in_folder(|folder| {
            bundle::unpack(input, folder).map_err(refused)?;
            let peft = adapter::read_config(folder).map_err(refused)?;
            let mut reason = String::new();
            for case in ADAPTED {
                match adapt(folder, &peft, model_of(case)?) {
                    Ok(()) => return Ok(()),
                    Err(error) => reason = error,
                }
            }
            Err(reason)
        })
    },
};

/// An adapter's values for a model, and a loss with them.
fn adapt(folder: &Path, peft: &Peft, model: Arc<Model>) -> Result<(), String> {
    let (trained, own) = adapter::read(folder, peft, &model).map_err(refused)?;
    let batch = TokenBatch {
        batch: 1,
        seq: 2,
        input_ids: vec![1, 2],
        token_type_ids: vec![0; 2],
        attention_mask: vec![1.0; 2],
        targets: Targets::Classes(vec![0]),
    };
    assert!(own.paths().all(|path| model.weights().contains(path)), "a weight of no model");
    let model = PeftModel::new(model, peft.clone()).map_err(refused)?;
    let objective = model.objective(&batch, None).map_err(refused)?;
    objective.loss(&trained).map_err(refused)?;
    Ok(())
}

/// The case whose model and adapter are used as they are.
const CASE_MODEL: &str = "roberta-ia3-modules";

pub(super) const CASE: Target = Target {
    name: "case",
    shape: Shape::Folder,
    words: &[
        "peft",
        "task",
        "seqcls",
        "qa",
        "bitfit",
        "head",
        "full",
        "trainable",
        "uses_segments",
    ],
    seeds: || {
        let files = ["case.json", "case.safetensors"];
        Ok(vec![(format!("valid-{CASE_MODEL}"), bundle_of(&fixture(CASE_MODEL), &files)?)])
    },
    run: |input| {
        in_folder(|folder| {
            bundle::unpack(input, folder).map_err(refused)?;
            for name in ["config.json", checkpoint::MODEL].iter().chain(&ADAPTER_FILES) {
                let from = fixture(CASE_MODEL).join(name);
                std::fs::copy(from, folder.join(name)).map_err(refused)?;
            }
            let case = Case::load(folder, &Default::default(), LoadOptions::default().dtype);
            case.map_err(refused)?.deviations().map_err(refused)?;
            Ok(())
        })
    },
};
