//! An architecture with its weights.

use std::path::Path;

use burn::tensor::{DType, Device, TensorData};
use spry_core::{GroupId, Param, ParamRole, ParamSet, Seed};
use spry_data::Task;

use crate::architecture::{Architecture, ModelSpec, SPAN_LABELS, TensorKind, TensorSpec};
use crate::checkpoint::{self, Checkpoint, flat};
use crate::config::num_labels;
use crate::{Error, Result};

/// How a model is loaded.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Where the weights go.
    pub device: Device,
    /// Their data type: f32 or f64.
    pub dtype: DType,
    /// What the head is for.
    pub task: Task,
    /// Number of classes of a sequence classification head; by default the configuration's.
    pub num_labels: Option<usize>,
    /// Makes the head afresh even if the checkpoint has one.
    pub fresh_head: bool,
    /// Seed of fresh weights.
    pub seed: u64,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            device: Device::default(),
            dtype: DType::F32,
            task: Task::default(),
            num_labels: None,
            fresh_head: false,
            seed: 0,
        }
    }
}

/// A language model: an architecture and its (frozen) weights.
///
/// Weights are grouped by depth, one group per tensor, in the order of the architecture's list.
#[derive(Debug)]
pub struct Model {
    spec: &'static ModelSpec,
    architecture: Box<dyn Architecture>,
    task: Task,
    num_labels: usize,
    tensors: Vec<TensorSpec>,
    weights: ParamSet,
    fresh: Vec<String>,
    replaced: Vec<String>,
    device: Device,
    dtype: DType,
}

impl Model {
    /// Loads a Hugging Face directory: `config.json`, and `model.safetensors` or the shards that
    /// `model.safetensors.index.json` lists. Files are read one tensor at a time, straight into
    /// the weights, so that loading peaks at these.
    ///
    /// Tensors that a pretraining checkpoint may lack (head, pooler) are made afresh from the
    /// seed; see [`fresh`](Self::fresh).
    ///
    /// # Errors
    ///
    /// If a file is missing or damaged, the configuration is not supported, or tensors are
    /// missing, unknown, or of the wrong shape.
    pub fn load(folder: &Path, options: &LoadOptions) -> Result<Self> {
        let config_path = folder.join("config.json");
        let config = std::fs::read_to_string(&config_path).map_err(Error::io(&config_path))?;
        let Parsed { spec, architecture, num_labels } =
            Parsed::new(&config, &config_path.display().to_string(), options)?;
        let checkpoint = Checkpoint::of_model(folder)?;
        let tensors = architecture.tensors(options.task, num_labels);
        let found = find_tensors(&checkpoint, spec, &tensors, &*architecture)?;

        let mut weights = ParamSet::new();
        let mut fresh = Vec::new();
        for (depth, (tensor, name)) in tensors.iter().zip(found).enumerate() {
            let is_fresh_head = options.fresh_head && tensor.role == ParamRole::Head;
            let values = match name.filter(|_| !is_fresh_head) {
                Some(name) => {
                    let got = checkpoint.shape(&name).unwrap_or_default().to_vec();
                    if got != tensor.shape {
                        let hint = match tensor.role {
                            ParamRole::Head => {
                                "; ask for a fresh head to use another number of labels"
                            }
                            ParamRole::Adapter => "",
                        };
                        let expected = tensor.shape.clone();
                        return Err(Error::Misshapen { name, got, expected, hint });
                    }
                    checkpoint.read(&name)?
                }
                None => {
                    fresh.push(tensor.path.clone());
                    fresh_values(tensor, &*architecture, options.seed)
                }
            };
            weights.insert(&tensor.path, to_param(values, tensor, depth, options));
        }
        Ok(Self {
            spec,
            architecture,
            task: options.task,
            num_labels,
            tensors,
            weights,
            fresh,
            replaced: Vec::new(),
            device: options.device.clone(),
            dtype: options.dtype,
        })
    }

    /// A model with random weights, from the text of a `config.json`: for tests and benchmarks.
    ///
    /// # Errors
    ///
    /// If the configuration is not supported.
    pub fn random(config: &str, options: &LoadOptions) -> Result<Self> {
        let Parsed { spec, architecture, num_labels } =
            Parsed::new(config, "the configuration", options)?;
        let tensors = architecture.tensors(options.task, num_labels);
        let weights = tensors
            .iter()
            .enumerate()
            .map(|(depth, tensor)| {
                let values = fresh_values(tensor, &*architecture, options.seed);
                (tensor.path.clone(), to_param(values, tensor, depth, options))
            })
            .collect();
        Ok(Self {
            spec,
            architecture,
            task: options.task,
            num_labels,
            fresh: tensors.iter().map(|tensor| tensor.path.clone()).collect(),
            tensors,
            weights,
            replaced: Vec::new(),
            device: options.device.clone(),
            dtype: options.dtype,
        })
    }

    /// The same model with some weights replaced.
    ///
    /// # Errors
    ///
    /// If a path or shape is not one of this model's.
    pub fn with_weights(mut self, weights: &ParamSet) -> spry_core::Result<Self> {
        self.weights.assign(weights)?;
        self.fresh.retain(|path| !weights.contains(path));
        self.replaced.extend(weights.paths().map(str::to_owned));
        Ok(self)
    }

    /// Writes the weights, with those in `trained` in the place of their own, as
    /// `model.safetensors` into a folder. With the model's `config.json` and tokenizer beside it,
    /// Hugging Face's `from_pretrained` loads it.
    ///
    /// # Errors
    ///
    /// If a path or shape in `trained` is not one of this model's, or the file cannot be written.
    pub fn save(&self, folder: &Path, trained: &ParamSet) -> spry_core::Result<()> {
        let mut weights = self.weights.clone();
        weights.assign(trained)?;
        Ok(checkpoint::write(&folder.join("model.safetensors"), &weights)?)
    }

    /// The family.
    pub fn spec(&self) -> &'static ModelSpec {
        self.spec
    }

    /// What the head is for.
    pub fn task(&self) -> Task {
        self.task
    }

    /// Number of classes of the sequence classification head; 2 for spans.
    pub fn num_labels(&self) -> usize {
        self.num_labels
    }

    /// The architecture.
    pub fn architecture(&self) -> &dyn Architecture {
        &*self.architecture
    }

    /// All tensors, in order of depth.
    pub fn tensors(&self) -> &[TensorSpec] {
        &self.tensors
    }

    /// All weights.
    pub fn weights(&self) -> &ParamSet {
        &self.weights
    }

    /// Paths of the tensors that the checkpoint did not have and that were made afresh.
    pub fn fresh(&self) -> &[String] {
        &self.fresh
    }

    /// Paths of the tensors whose values are not those of the checkpoint: made afresh, or
    /// [replaced](Self::with_weights).
    pub fn not_of_checkpoint(&self) -> impl Iterator<Item = &str> {
        self.fresh.iter().chain(&self.replaced).map(String::as_str)
    }

    /// Where the weights are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Data type of the weights.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Size of the weights in bytes.
    pub fn weight_bytes(&self) -> u64 {
        (self.weights.num_elements() * self.dtype.size()) as u64
    }
}

/// What a model is exported with.
#[derive(Clone, Debug)]
pub struct ExportedConfig<'a> {
    /// What the head is for.
    pub task: Task,
    /// Names of a classifier's classes.
    pub classes: &'a [String],
    /// The padding token, for a model that names none: without it Hugging Face's decoders take no
    /// batches.
    pub pad_token_id: u32,
    /// Whether the weights beside it are f32, as [`Model::save`] writes them; otherwise they are
    /// the checkpoint's own.
    pub is_f32: bool,
}

impl ExportedConfig<'_> {
    /// The text of a `config.json` for the same model with the head of a task, as `from_pretrained`
    /// of the class for it reads it.
    ///
    /// # Errors
    ///
    /// If the configuration is not supported.
    pub fn of(&self, config: &str) -> Result<String> {
        let unusable =
            |reason: String| Error::Config { location: "the configuration".to_string(), reason };
        let mut json: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(config).map_err(|error| unusable(error.to_string()))?;
        let model_type = json.get("model_type").and_then(|value| value.as_str());
        let spec = ModelSpec::find(model_type.unwrap_or_default())?;
        // The number is that of the names; a second one could contradict it. The type of problem
        // would choose another loss.
        for key in ["num_labels", "id2label", "label2id", "problem_type"] {
            json.remove(key);
        }
        if self.task == Task::SequenceClassification {
            let classes = || self.classes.iter().enumerate();
            let by_number = classes().map(|(id, name)| (id.to_string(), name.as_str()));
            let by_name = classes().map(|(id, name)| (name.clone(), id));
            json.insert("id2label".to_string(), by_number.collect());
            json.insert("label2id".to_string(), by_name.collect());
        }
        if json.get("pad_token_id").is_none_or(|id| id.is_null()) {
            json.insert("pad_token_id".to_string(), self.pad_token_id.into());
        }
        if self.is_f32 {
            for key in ["dtype", "torch_dtype"] {
                if let Some(dtype) = json.get_mut(key) {
                    *dtype = "float32".into();
                }
            }
        }
        json.insert("architectures".to_string(), vec![spec.class(self.task)?].into());
        let text =
            serde_json::to_string_pretty(&json).map_err(|error| unusable(error.to_string()))?;
        Ok(text + "\n")
    }
}

/// What a `config.json` says.
struct Parsed {
    spec: &'static ModelSpec,
    architecture: Box<dyn Architecture>,
    num_labels: usize,
}

impl Parsed {
    fn new(config: &str, location: &str, options: &LoadOptions) -> Result<Self> {
        let unusable = |reason: String| Error::Config { location: location.to_string(), reason };
        let json: serde_json::Value =
            serde_json::from_str(config).map_err(|error| unusable(error.to_string()))?;
        let model_type = json["model_type"]
            .as_str()
            .ok_or_else(|| unusable("it has no `model_type`".to_string()))?;
        let spec = ModelSpec::find(model_type)?;
        if options.num_labels == Some(0) {
            return Err(Error::InvalidOption {
                option: "num_labels",
                got: "0".to_string(),
                expected: "at least 1".to_string(),
            });
        }
        if ![DType::F32, DType::F64].contains(&options.dtype) {
            return Err(Error::InvalidOption {
                option: "dtype",
                got: format!("{:?}", options.dtype),
                expected: "F32 or F64".to_string(),
            });
        }
        spec.class(options.task)?;
        let architecture = (spec.parse)(config).map_err(unusable)?;
        let num_labels = match (options.task, options.num_labels) {
            (Task::QuestionAnswering, _) => SPAN_LABELS,
            (Task::SequenceClassification, Some(count)) => count,
            (Task::SequenceClassification, None) => num_labels(config).map_err(unusable)?,
        };
        Ok(Self { spec, architecture, num_labels })
    }
}

/// For each tensor its name in the checkpoint, or `None` if it is to be made afresh.
fn find_tensors(
    checkpoint: &Checkpoint,
    spec: &ModelSpec,
    tensors: &[TensorSpec],
    architecture: &dyn Architecture,
) -> Result<Vec<Option<String>>> {
    let find = |tensor: &TensorSpec| {
        names_of(&tensor.path, spec.body_prefix).into_iter().find(|name| checkpoint.contains(name))
    };
    let found: Vec<Option<String>> = tensors.iter().map(find).collect();
    let missing: Vec<&str> = tensors
        .iter()
        .zip(&found)
        .filter(|(tensor, name)| name.is_none() && !tensor.is_optional)
        .map(|(tensor, _)| tensor.path.as_str())
        .collect();
    if !missing.is_empty() {
        return Err(Error::MissingTensors {
            path: checkpoint.path().to_path_buf(),
            count: missing.len(),
            names: first_names(&missing),
        });
    }
    // A checkpoint that was finetuned for one task can be finetuned for another.
    let other_heads: Vec<TensorSpec> = [Task::SequenceClassification, Task::QuestionAnswering]
        .into_iter()
        .flat_map(|task| architecture.tensors(task, SPAN_LABELS))
        .filter(|tensor| tensor.role == ParamRole::Head)
        .collect();
    let is_of_other_head = |name: &str| other_heads.iter().any(|tensor| tensor.path == name);
    let mut names: Vec<String> = checkpoint.names().map(str::to_owned).collect();
    names.sort_unstable();
    let extra: Vec<&str> = names
        .iter()
        .filter(|name| !found.iter().flatten().any(|used| used == *name))
        .filter(|name| !(spec.is_ignorable)(name) && !is_of_other_head(name))
        .map(String::as_str)
        .collect();
    if !extra.is_empty() {
        return Err(Error::ExtraTensors {
            path: checkpoint.path().to_path_buf(),
            count: extra.len(),
            names: first_names(&extra),
        });
    }
    Ok(found)
}

/// Names a tensor may have in a checkpoint: its own, without the body's prefix, and with the names
/// that old checkpoints converted from TensorFlow give to layer norms.
fn names_of(path: &str, body_prefix: &str) -> Vec<String> {
    let mut names = vec![path.to_string()];
    if let Some(bare) = path.strip_prefix(body_prefix) {
        names.push(bare.to_string());
    }
    let old = |name: &String| {
        let module = name.strip_suffix(".LayerNorm.weight").map(|m| format!("{m}.LayerNorm.gamma"));
        module
            .or_else(|| name.strip_suffix(".LayerNorm.bias").map(|m| format!("{m}.LayerNorm.beta")))
    };
    let old: Vec<String> = names.iter().filter_map(old).collect();
    names.extend(old);
    names
}

/// The first few of a list of names, for a message.
pub(crate) fn first_names(names: &[&str]) -> String {
    const SHOWN: usize = 3;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    if names.len() > SHOWN { format!("{shown}, …") } else { shown }
}

/// Hugging Face's initialisation: normal weights, zero biases, unit norms.
fn fresh_values(tensor: &TensorSpec, architecture: &dyn Architecture, seed: u64) -> TensorData {
    let length = tensor.shape.iter().product();
    let values = match tensor.kind {
        TensorKind::Embedding | TensorKind::LinearWeight => {
            let deviation = architecture.initializer_range() as f32;
            let normals = Seed::new(seed).child("fresh weights", 0).child(&tensor.path, 0);
            normals.normals(0, length).into_iter().map(|x| deviation * x).collect()
        }
        TensorKind::NormWeight => vec![1.0; length],
        TensorKind::Bias => vec![0.0; length],
    };
    TensorData::new(values, tensor.shape.clone())
}

fn to_param(values: TensorData, tensor: &TensorSpec, depth: usize, options: &LoadOptions) -> Param {
    let values = flat(values, (&options.device, options.dtype));
    Param::from_flat(values, tensor.shape.clone(), tensor.role, GroupId(depth as u32))
}
