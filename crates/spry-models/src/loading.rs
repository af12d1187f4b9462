//! Models from files, and made up from a configuration.

use spry_data::guard::sayable;
use std::collections::HashSet;
use std::path::Path;

use burn::tensor::{DType, TensorData};
use spry_core::{GroupId, Param, ParamRole, ParamSet, Seed};
use spry_data::Task;

use crate::architecture::{Architecture, ModelSpec, SPAN_LABELS, TensorKind, TensorSpec};
use crate::budget::Budget;
use crate::checkpoint::{Checkpoint, flat};
use crate::config::{Object, keys, labels, object};
use crate::model::with_rows;
use crate::read;
use crate::{Error, LoadOptions, Model, Note, Result};

impl Model {
    /// Loads a Hugging Face directory: `config.json`, and `model.safetensors` or the shards that
    /// `model.safetensors.index.json` lists. Files are read one tensor at a time, straight into
    /// the weights, so that loading peaks at these.
    ///
    /// Tensors that a pretraining checkpoint may lack (head, pooler) are made afresh from the
    /// seed; see [`fresh`](Self::fresh). A head that has the data's classes in another order is put
    /// into theirs; see [`head_rows`](Self::head_rows).
    ///
    /// # Errors
    ///
    /// If a file is missing or damaged, the configuration is not supported, or tensors are
    /// missing, unknown, not finite, or of the wrong shape.
    pub fn load(folder: &Path, options: &LoadOptions) -> Result<Self> {
        let path = folder.join("config.json");
        let location = path.display().to_string();
        let parsed = Parsed::new(&read::text(&path)?, &location, options)?;
        let Parsed { spec, architecture, num_labels, .. } = &parsed;
        let checkpoint = Checkpoint::of_model(folder)?;
        let mut budget = Budget::beside_checkpoint(checkpoint.names().count());
        let tensors = architecture.tensors(options.task, *num_labels, budget)?;
        let other_heads = heads(&**architecture, budget)?;
        let mut found = find_tensors(&checkpoint, spec, &tensors, &other_heads)?;

        // All shapes are looked at before anything is read.
        let mut fresh = Vec::new();
        for (tensor, name) in tensors.iter().zip(&mut found) {
            if options.fresh_head && tensor.role == ParamRole::Head {
                *name = None;
            }
            match name {
                Some(name) => check_shape(&checkpoint, name, tensor)?,
                None => {
                    budget.take_values(&tensor.path, &tensor.shape)?;
                    fresh.push(tensor.path.clone());
                }
            }
        }
        let has_head = !fresh.iter().any(|path| path.starts_with(spec.classifier));
        let (head_rows, note) = match options.task {
            Task::SequenceClassification if has_head => parsed.head_rows(&location, options)?,
            _ => (None, None),
        };

        let mut weights = ParamSet::new();
        for (depth, (tensor, name)) in tensors.iter().zip(found).enumerate() {
            let values = match name {
                Some(name) => checkpoint.read_weight(&name, options.dtype)?,
                None => fresh_values(tensor, &**architecture, options.seed),
            };
            weights.insert(&tensor.path, to_param(values, tensor, depth, options));
        }
        let mut model = parsed.into_model(tensors, weights, fresh, options);
        model.notes.extend(note);
        if let Some(rows) = head_rows {
            model.put_head_into_order(rows);
        }
        Ok(model)
    }

    /// A model with random weights, from the text of a `config.json`: for tests and benchmarks.
    ///
    /// # Errors
    ///
    /// If the configuration is not supported, or asks for too much.
    pub fn random(config: &str, options: &LoadOptions) -> Result<Self> {
        let parsed = Parsed::new(config, "the configuration", options)?;
        let mut budget = Budget::OF_RANDOM_MODEL;
        let tensors = parsed.architecture.tensors(options.task, parsed.num_labels, budget)?;
        for tensor in &tensors {
            budget.take_values(&tensor.path, &tensor.shape)?;
        }
        let weights = tensors
            .iter()
            .enumerate()
            .map(|(depth, tensor)| {
                let values = fresh_values(tensor, &*parsed.architecture, options.seed);
                (tensor.path.clone(), to_param(values, tensor, depth, options))
            })
            .collect();
        let fresh = tensors.iter().map(|tensor| tensor.path.clone()).collect();
        Ok(parsed.into_model(tensors, weights, fresh, options))
    }

    /// Puts the rows of the checkpoint's head into the order of the data's classes.
    fn put_head_into_order(&mut self, rows: Vec<usize>) {
        let classifier = self.spec.classifier;
        for name in ["weight", "bias"] {
            let path = format!("{classifier}.{name}");
            if let Ok(param) = self.weights.get(&path) {
                let param = with_rows(param, &rows);
                self.weights.insert(path, param);
            }
        }
        self.head_rows = Some(rows);
    }
}

/// For each class of the data its row in the head of a checkpoint, where a run that
/// [loads](Model::load) it puts the head into another order. Reads no weights.
///
/// # Errors
///
/// As [`Model::load`].
pub fn head_rows(folder: &Path, classes: &[String]) -> Result<Option<Vec<usize>>> {
    let path = folder.join("config.json");
    let location = path.display().to_string();
    let (num_labels, classes) = (Some(classes.len().max(1)), classes.to_vec());
    let options = LoadOptions { num_labels, classes, ..LoadOptions::default() };
    let parsed = Parsed::new(&read::text(&path)?, &location, &options)?;
    let has_head =
        Checkpoint::of_model(folder)?.contains(&format!("{}.weight", parsed.spec.classifier));
    if has_head { Ok(parsed.head_rows(&location, &options)?.0) } else { Ok(None) }
}

/// What a `config.json` says.
struct Parsed {
    spec: &'static ModelSpec,
    architecture: Box<dyn Architecture>,
    num_labels: usize,
    json: Object,
    notes: Vec<Note>,
}

impl Parsed {
    fn new(config: &str, location: &str, options: &LoadOptions) -> Result<Self> {
        let unusable = |reason: String| Error::Config { location: location.to_string(), reason };
        let json = object(config).map_err(unusable)?;
        let model_type = json.get("model_type").and_then(|value| value.as_str());
        let model_type =
            model_type.ok_or_else(|| unusable("it has no `model_type`".to_string()))?;
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
        let unknown = keys::check(&json, spec.keys).map_err(unusable)?;
        let architecture = (spec.parse)(&json).map_err(unusable)?;
        let num_labels = match (options.task, options.num_labels) {
            (Task::QuestionAnswering, _) => SPAN_LABELS,
            (Task::SequenceClassification, Some(count)) => count,
            (Task::SequenceClassification, None) => labels::count(&json).map_err(unusable)?,
        };
        if options.task == Task::SequenceClassification && !options.fresh_head {
            labels::check_problem(&json).map_err(unusable)?;
        }
        let note = (!unknown.is_empty()).then(|| {
            Note::warning(format!(
                "{location} has {} key(s) that this version does not know and passes over: {}",
                unknown.len(),
                names_of_keys(&unknown)
            ))
        });
        Ok(Self { spec, architecture, num_labels, notes: note.into_iter().collect(), json })
    }

    /// For each class of the data its row in the checkpoint's head, where that is another, and what
    /// to say about it.
    fn head_rows(
        &self,
        location: &str,
        options: &LoadOptions,
    ) -> Result<(Option<Vec<usize>>, Option<Note>)> {
        let unusable = |reason: String| Error::Config { location: location.to_string(), reason };
        if options.classes.is_empty() {
            return Ok((None, None));
        }
        let Some(head) = labels::names(&self.json).map_err(unusable)? else {
            return Ok((None, None));
        };
        if head.len() != self.num_labels {
            return Err(unusable(format!(
                "`id2label` has {} classes, the checkpoint's head {}",
                head.len(),
                self.num_labels
            )));
        }
        let order = labels::order(&head, &options.classes).map_err(unusable)?;
        Ok((order.rows, order.note))
    }

    fn into_model(
        self,
        tensors: Vec<TensorSpec>,
        weights: ParamSet,
        fresh: Vec<String>,
        options: &LoadOptions,
    ) -> Model {
        Model {
            spec: self.spec,
            padding: self.architecture.pad_token_id(),
            architecture: self.architecture,
            task: options.task,
            num_labels: self.num_labels,
            tensors,
            weights,
            fresh,
            replaced: Vec::new(),
            head_rows: None,
            notes: self.notes,
            device: options.device.clone(),
            dtype: options.dtype,
        }
    }
}

/// The keys, for a message.
fn names_of_keys(keys: &[&str]) -> String {
    const SHOWN: usize = 12;
    let names: Vec<String> = keys.iter().take(SHOWN).map(|key| sayable(key)).collect();
    let names = names.join(", ");
    if keys.len() > SHOWN { format!("{names}, …") } else { names }
}

/// Paths of the heads for all tasks: a checkpoint that was finetuned for one can be finetuned for
/// another.
fn heads(architecture: &dyn Architecture, budget: Budget) -> Result<HashSet<String>> {
    let mut heads = HashSet::new();
    for task in [Task::SequenceClassification, Task::QuestionAnswering] {
        let tensors = architecture.tensors(task, SPAN_LABELS, budget)?;
        let of_head = tensors.into_iter().filter(|tensor| tensor.role == ParamRole::Head);
        heads.extend(of_head.map(|tensor| tensor.path));
    }
    Ok(heads)
}

/// Fails unless a tensor of the checkpoint has the shape that the configuration says.
fn check_shape(checkpoint: &Checkpoint, name: &str, tensor: &TensorSpec) -> Result<()> {
    let got = checkpoint.shape(name).unwrap_or_default();
    if got == tensor.shape {
        return Ok(());
    }
    let hint = match tensor.role {
        ParamRole::Head => "; ask for a fresh head to use another number of labels",
        ParamRole::Adapter => "",
    };
    let (name, got, expected) = (sayable(name), got.to_vec(), tensor.shape.clone());
    Err(Error::Misshapen { name, got, expected, hint })
}

/// For each tensor its name in the checkpoint, or `None` if it is to be made afresh.
fn find_tensors(
    checkpoint: &Checkpoint,
    spec: &ModelSpec,
    tensors: &[TensorSpec],
    other_heads: &HashSet<String>,
) -> Result<Vec<Option<String>>> {
    let find = |tensor: &TensorSpec| {
        names_of(&tensor.path, spec.body_prefix).into_iter().find(|name| checkpoint.contains(name))
    };
    let found: Vec<Option<String>> = tensors.iter().map(find).collect();
    checkpoint.check_are_readable(found.iter().flatten().map(String::as_str))?;
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
    let used: HashSet<&str> = found.iter().flatten().map(String::as_str).collect();
    let mut extra: Vec<&str> = checkpoint
        .names()
        .filter(|name| !used.contains(name) && !other_heads.contains(*name))
        .filter(|name| !(spec.is_ignorable)(name) && !is_buffer(name))
        .collect();
    extra.sort_unstable();
    if !extra.is_empty() {
        return Err(Error::ExtraTensors {
            path: checkpoint.path().to_path_buf(),
            count: extra.len(),
            names: first_names(&extra),
        });
    }
    Ok(found)
}

/// Whether a tensor is one that versions of Python store and compute anew: positions, masks, angles.
fn is_buffer(name: &str) -> bool {
    const BUFFERS: [&str; 9] = [
        "position_ids",
        "token_type_ids",
        "inv_freq",
        "cos_cached",
        "sin_cached",
        "masked_bias",
        "causal_mask",
        "_float_tensor",
        "version",
    ];
    let last = name.rsplit('.').next().unwrap_or(name);
    // GPT's attention called its mask a bias.
    BUFFERS.contains(&last) || name.ends_with(".attn.bias")
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
    let first: Vec<String> = names.iter().take(SHOWN).map(|name| sayable(name)).collect();
    let first = first.join(", ");
    if names.len() > SHOWN { format!("{first}, …") } else { first }
}

/// Hugging Face's initialisation: normal weights, zero biases, unit norms.
fn fresh_values(tensor: &TensorSpec, architecture: &dyn Architecture, seed: u64) -> TensorData {
    // The budget has been asked for it.
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
