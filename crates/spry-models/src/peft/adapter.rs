//! Adapters in Hugging Face peft's format: `adapter_config.json` and `adapter_model.safetensors`.

use spry_data::guard::sayable;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use spry_core::{Param, ParamRole, ParamSet, Seed};
use spry_data::Task;
use spry_data::files::write_atomically;

use super::{Ia3Config, LoraConfig, Peft, named_ancestor};
use crate::architecture::SPECS;
use crate::checkpoint::{self, Checkpoint};
use crate::loading::first_names;
use crate::read;
use crate::{Error, Model, Result};

/// The files of an adapter.
const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

/// The weights in PyTorch's own format, and how they become what is read.
const PICKLED: &str = "adapter_model.bin";
const CONVERT: &str = "PeftModel.from_pretrained(base_model, folder).save_pretrained(folder)";

/// What peft puts before the paths of the model it wraps.
const PREFIX: &str = "base_model.model.";

/// `adapter_config.json`, as far as it decides what is computed.
#[derive(Debug, Serialize, Deserialize)]
struct AdapterConfig {
    peft_type: String,
    #[serde(default)]
    task_type: Option<String>,
    #[serde(default)]
    base_model_name_or_path: Option<String>,
    #[serde(default)]
    inference_mode: bool,
    #[serde(default)]
    target_modules: Value,
    #[serde(default)]
    modules_to_save: Option<Vec<String>>,
    #[serde(default)]
    fan_in_fan_out: bool,
    #[serde(flatten)]
    kind: serde_json::Map<String, Value>,
}

impl AdapterConfig {
    fn read(path: &Path) -> Result<Self> {
        serde_json::from_str(&read::text(path)?).map_err(unusable(path))
    }
}

/// Options of peft that decide nothing here, or that are read; any other must be absent or off: one
/// that this version does not know may change what is computed.
const HARMLESS: &[&str] = &[
    "r",
    "lora_alpha",
    "lora_dropout",
    "use_rslora",
    "feedforward_modules",
    "auto_mapping",
    "revision",
    "peft_version",
    "megatron_core",
    "qalora_group_size",
    "init_ia3_weights",
    "layers_pattern",
    "loftq_config",
];

/// Values that mean that an option is off.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text == "none",
        Value::Array(list) => list.is_empty(),
        Value::Object(table) => table.values().all(is_off),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

/// Ways to initialise LoRA that leave the base model's weights alone.
fn is_plain_init(value: &Value) -> bool {
    is_off(value) || *value == Value::Bool(true) || value == "gaussian"
}

/// What an adapter was trained on, as far as `adapter_config.json` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Base {
    /// The model's name or path.
    pub name: Option<String>,
    /// Its revision, such as a branch.
    pub revision: Option<String>,
}

/// Reads which model an adapter was trained on.
///
/// # Errors
///
/// As [`read_config`].
pub fn read_base(folder: &Path) -> Result<Base> {
    let config = AdapterConfig::read(&folder.join(CONFIG))?;
    let revision = config.kind.get("revision").and_then(Value::as_str).map(str::to_owned);
    Ok(Base { name: config.base_model_name_or_path, revision })
}

/// Writes trained parameters so that `peft.PeftModel.from_pretrained` loads them.
///
/// `base_model` is what `base_model_name_or_path` says. A head whose classes were [put into the
/// data's order](Model::head_rows) is written in that of the checkpoint: the names of the classes
/// are in the checkpoint's configuration, which in Python goes with the adapter. Weights that are
/// [not those of the checkpoint](Model::not_of_checkpoint), such as a pooler that it lacked, are
/// saved with the adapter: Python would make others.
///
/// # Errors
///
/// [`Error::Unsupported`] for methods that peft has no adapter for (BitFit, head only, full
/// finetuning; write those with [`Model::save`]), and [`Error::Io`] or [`Error::Data`] if a file cannot be written.
pub fn write(
    folder: &Path,
    peft: &Peft,
    model: &Model,
    params: &ParamSet,
    base_model: &str,
) -> Result<()> {
    let peft = &peft.clone().resolved(model.spec());
    let (peft_type, targets, kind) = match peft {
        Peft::Lora(lora) => (
            "LORA",
            &lora.target_modules,
            serde_json::json!({
                "r": lora.r,
                "lora_alpha": lora.lora_alpha,
                "lora_dropout": lora.lora_dropout,
                "bias": "none",
                "use_rslora": lora.use_rslora,
                "use_dora": false,
            }),
        ),
        Peft::Ia3(ia3) => (
            "IA3",
            &ia3.target_modules,
            serde_json::json!({"feedforward_modules": ia3.feedforward_modules}),
        ),
        Peft::BitFit | Peft::Head | Peft::Full => {
            return Err(Error::Unsupported {
                key: "peft",
                got: "a method without an adapter".to_string(),
                supported: "lora, ia3; other methods are exported as whole models".to_string(),
            });
        }
    };
    let mut saved: ParamSet = ParamSet::new();
    for path in model.not_of_checkpoint() {
        let weight = model.weights().get(path).map_err(|_| unknown(path))?;
        saved.insert(format!("{PREFIX}{path}"), weight.clone());
    }
    // Trained values win over fresh ones, as those of a head.
    for (path, param) in params.iter() {
        let param = model.in_checkpoint_order(path, param.clone());
        saved.insert(format!("{PREFIX}{path}"), param);
    }
    let is_own_weight = |path: &&str| model.weights().contains(path);
    let mut modules: Vec<String> = saved
        .paths()
        .filter_map(|path| path.strip_prefix(PREFIX))
        .filter(is_own_weight)
        .filter_map(|path| saved_module(model, peft, path))
        .collect();
    modules.dedup();
    let mut kind = kind.as_object().cloned().unwrap_or_default();
    // Python has a key of its own for what we write after an `@`.
    let source = spry_data::Source::parse(base_model).ok();
    let base_model = match source.as_ref().and_then(|source| source.repository()) {
        Some((id, Some(revision))) => {
            kind.insert("revision".to_string(), revision.into());
            id
        }
        _ => base_model,
    };
    let config = AdapterConfig {
        peft_type: peft_type.to_string(),
        task_type: task_type(model).map(str::to_string),
        base_model_name_or_path: Some(base_model.to_string()),
        inference_mode: true,
        target_modules: targets.clone().into(),
        modules_to_save: Some(modules),
        fan_in_fan_out: false,
        kind,
    };
    checkpoint::write(&folder.join(WEIGHTS), &saved)?;
    let path = folder.join(CONFIG);
    let json = serde_json::to_string_pretty(&config).map_err(unusable(&path))? + "\n";
    Ok(write_atomically(&path, json.as_bytes())?)
}

/// peft's name for a model's task; none where its model for the task would compute something else:
/// that for question answering does not hand segments on.
fn task_type(model: &Model) -> Option<&'static str> {
    let segments = model.architecture().limits().type_vocab_size.unwrap_or(1);
    match model.task() {
        Task::SequenceClassification => Some("SEQ_CLS"),
        Task::QuestionAnswering if segments > 1 => None,
        Task::QuestionAnswering => Some("QUESTION_ANS"),
    }
}

/// The module that peft saves a weight of the model with: the whole head, the module that was asked
/// for, or else the weight's own.
fn saved_module(model: &Model, peft: &Peft, path: &str) -> Option<String> {
    let head = |name: &&str| path.strip_prefix(*name).is_some_and(|rest| rest.starts_with('.'));
    let head = model.spec().head_modules.iter().copied().find(head);
    let own = || path.rsplit_once('.').map(|(module, _)| module);
    head.or_else(|| named_ancestor(path, peft.modules_to_save())).or_else(own).map(str::to_owned)
}

/// Modules of an adapter that are trained whole, without those that are heads in some family: peft
/// lists all that there could be, and here the head is always trained.
fn modules_without_heads(modules: Option<Vec<String>>) -> Vec<String> {
    let is_head =
        |module: &String| SPECS.iter().any(|spec| spec.head_modules.contains(&module.as_str()));
    modules.unwrap_or_default().into_iter().filter(|module| !is_head(module)).collect()
}

/// Reads an adapter's configuration: the finetuning method that it is of.
///
/// # Errors
///
/// [`Error::Io`] if the file cannot be read, [`Error::Config`] if it is no adapter of a supported
/// method.
pub fn read_config(folder: &Path) -> Result<Peft> {
    let path = folder.join(CONFIG);
    let config = AdapterConfig::read(&path)?;
    let invalid = |reason: String| Error::Config { location: path.display().to_string(), reason };
    let unsupported = |reason: String| invalid(format!("{reason} is not supported"));
    if config.fan_in_fan_out {
        return Err(unsupported("`fan_in_fan_out` = true".to_string()));
    }
    if !["LORA", "IA3"].contains(&config.peft_type.as_str()) {
        return Err(unsupported(format!("`peft_type` = {}", sayable(&config.peft_type))));
    }
    let tasks = ["SEQ_CLS", "QUESTION_ANS", "FEATURE_EXTRACTION"];
    if let Some(task) = config.task_type.as_deref().filter(|task| !tasks.contains(task)) {
        return Err(unsupported(format!("`task_type` = {}", sayable(task))));
    }
    let target_modules: Vec<String> = serde_json::from_value(config.target_modules.clone())
        .map_err(|_| {
            unsupported(format!(
                "`target_modules` = {}, which is no list of names,",
                sayable(&config.target_modules.to_string())
            ))
        })?;
    for (name, value) in &config.kind {
        let is_fine = match name.as_str() {
            "init_lora_weights" => is_plain_init(value),
            name => HARMLESS.contains(&name) || is_off(value),
        };
        if !is_fine {
            let (name, value) = (sayable(name), sayable(&value.to_string()));
            return Err(unsupported(format!("`{name}` = {value}")));
        }
    }
    let field = |name: &str| config.kind.get(name).filter(|value| !value.is_null());
    let peft = match config.peft_type.as_str() {
        "LORA" => {
            let number = |name: &str, absent: Option<f64>| {
                let number = field(name).map_or(absent, Value::as_f64);
                number.ok_or_else(|| invalid(format!("`{name}` is missing or no number")))
            };
            let rank = number("r", None)?;
            if rank.fract() != 0.0 || rank < 1.0 || rank > f64::from(u32::MAX) {
                return Err(unsupported(format!("`r` = {rank}")));
            }
            let use_rslora = field("use_rslora").map_or(Some(false), Value::as_bool);
            Peft::Lora(LoraConfig {
                r: rank as usize,
                lora_alpha: number("lora_alpha", None)?,
                lora_dropout: number("lora_dropout", Some(0.0))?,
                target_modules,
                modules_to_save: modules_without_heads(config.modules_to_save),
                use_rslora: use_rslora
                    .ok_or_else(|| invalid("`use_rslora` is neither true nor false".to_string()))?,
            })
        }
        _ => {
            let feedforward = field("feedforward_modules").cloned().unwrap_or(Value::Array(vec![]));
            Peft::Ia3(Ia3Config {
                target_modules,
                feedforward_modules: serde_json::from_value(feedforward)
                    .map_err(unusable(&path))?,
                modules_to_save: modules_without_heads(config.modules_to_save),
            })
        }
    };
    peft.validate()?;
    Ok(peft)
}

/// Reads an adapter's values for a model: all trainable parameters of the method, with the values
/// of the file. The rows of its head are numbered as in the checkpoint, whose configuration names
/// their classes, and are put into the order of the data's. Weights of the model itself that the file has beside these come second: those of
/// modules that the method does not train although they were saved with the adapter.
///
/// A head that the file lacks, or that has another number of classes, is an error.
///
/// # Errors
///
/// [`Error::MissingTensors`], [`Error::ExtraTensors`] or [`Error::Misshapen`] if the adapter is not
/// one of this model with this method, or the file is damaged.
pub fn read(folder: &Path, peft: &Peft, model: &Model) -> Result<(ParamSet, ParamSet)> {
    let weights = folder.join(WEIGHTS);
    let pickled = folder.join(PICKLED);
    if pickled.exists() && !weights.exists() {
        return Err(Error::NotSafetensors { path: pickled, how: CONVERT });
    }
    let file = Checkpoint::open(&weights)?;
    check_task(folder, model)?;
    let mut trainable = peft.trainable(model, &Seed::new(0))?;
    let missing: Vec<&str> =
        trainable.paths().filter(|path| !file.contains(&format!("{PREFIX}{path}"))).collect();
    if !missing.is_empty() {
        return Err(Error::MissingTensors {
            path: file.path().to_path_buf(),
            count: missing.len(),
            names: first_names(&missing),
        });
    }
    let (mut own, mut extra) = (ParamSet::new(), Vec::new());
    let mut names: Vec<&str> = file.names().collect();
    names.sort_unstable();
    for name in names {
        // Without the prefix it would be a second value of a weight that is there with it.
        let Some(path) = name.strip_prefix(PREFIX) else {
            extra.push(name);
            continue;
        };
        let is_trainable = trainable.contains(path);
        let Ok(like) = trainable.get(path).or_else(|_| model.weights().get(path)) else {
            extra.push(name);
            continue;
        };
        let param = model.in_data_order(path, read_like(&file, name, like)?);
        if is_trainable { trainable.insert(path, param) } else { own.insert(path, param) }
    }
    if !extra.is_empty() {
        return Err(Error::ExtraTensors {
            path: file.path().to_path_buf(),
            count: extra.len(),
            names: first_names(&extra),
        });
    }
    Ok((trainable, own))
}

/// Fails for an adapter that was trained for another task than the model's.
fn check_task(folder: &Path, model: &Model) -> Result<()> {
    let path = folder.join(CONFIG);
    // The weights may be there alone.
    if !path.exists() {
        return Ok(());
    }
    let task = match AdapterConfig::read(&path)?.task_type.as_deref() {
        Some("SEQ_CLS") => Task::SequenceClassification,
        Some("QUESTION_ANS") => Task::QuestionAnswering,
        _ => return Ok(()),
    };
    match task == model.task() {
        true => Ok(()),
        false => Err(Error::Config {
            location: path.display().to_string(),
            reason: format!("it was trained for {task}, the model is for {}", model.task()),
        }),
    }
}

/// A tensor of the file as a parameter of the same kind as another.
fn read_like(file: &Checkpoint, name: &str, like: &Param) -> Result<Param> {
    let got = file.shape(name).unwrap_or_default().to_vec();
    if got != like.shape() {
        let hint = match like.role() {
            ParamRole::Head => "; is the number of classes that of the dataset?",
            ParamRole::Adapter => "",
        };
        let expected = like.shape().to_vec();
        return Err(Error::Misshapen { name: sayable(name), got, expected, hint });
    }
    let values = like.values();
    let options = (&values.device(), like.dtype());
    let flat = checkpoint::flat(file.read_weight(name, like.dtype())?, options);
    Ok(Param::from_flat(flat, got, like.role(), like.group()))
}

fn unknown(path: &str) -> Error {
    Error::UnknownWeight { path: path.to_string() }
}

fn unusable(path: &Path) -> impl FnOnce(serde_json::Error) -> Error {
    let location = path.display().to_string();
    move |error| Error::Config { location, reason: sayable(&error.to_string()) }
}
