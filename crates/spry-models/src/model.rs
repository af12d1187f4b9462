//! An architecture with its weights.

use std::path::Path;

use burn::tensor::{DType, Device};
use spry_core::{Param, ParamSet};
use spry_data::Task;

use crate::Note;
use crate::architecture::{Architecture, ModelSpec, TensorSpec};
use crate::checkpoint;
pub use crate::loading::head_rows;

/// How a model is loaded.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Where the weights go; by default the host's memory.
    pub device: Device,
    /// Their data type: f32 or f64.
    pub dtype: DType,
    /// What the head is for.
    pub task: Task,
    /// Number of classes of a sequence classification head; by default the configuration's.
    pub num_labels: Option<usize>,
    /// Names of the data's classes, by number. A checkpoint's head that has them in another order
    /// is put into this one. Empty if they are not known.
    pub classes: Vec<String>,
    /// Makes the head afresh even if the checkpoint has one.
    pub fresh_head: bool,
    /// Seed of fresh weights.
    pub seed: u64,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            device: spry_core::device::host(),
            dtype: DType::F32,
            task: Task::default(),
            num_labels: None,
            classes: Vec::new(),
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
    pub(crate) spec: &'static ModelSpec,
    pub(crate) architecture: Box<dyn Architecture>,
    pub(crate) task: Task,
    pub(crate) num_labels: usize,
    pub(crate) tensors: Vec<TensorSpec>,
    pub(crate) weights: ParamSet,
    pub(crate) fresh: Vec<String>,
    pub(crate) replaced: Vec<String>,
    pub(crate) head_rows: Option<Vec<usize>>,
    pub(crate) padding: Option<i64>,
    pub(crate) notes: Vec<Note>,
    pub(crate) device: Device,
    pub(crate) dtype: DType,
}

impl Model {
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

    /// The same model for batches that are padded with another token than its configuration names. A
    /// family that classifies a text by its last token takes the last one but these, as Python does
    /// with the [exported](crate::exported::ExportedConfig) configuration.
    pub fn with_padding(mut self, pad_token_id: u32) -> Self {
        self.padding = self.spec.pools_last_token.then_some(i64::from(pad_token_id));
        self
    }

    /// The token that is no text's last one, for families that classify a text by that.
    pub fn padding(&self) -> Option<i64> {
        self.padding
    }

    /// For each class the row of the checkpoint's head that it has, where the checkpoint has them
    /// in another order than the data.
    pub fn head_rows(&self) -> Option<&[usize]> {
        self.head_rows.as_deref()
    }

    /// What there is to say about how the checkpoint was read.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// A head's tensor with its rows as the data's classes are numbered, given those of the
    /// checkpoint's head; other tensors as they are.
    pub(crate) fn in_data_order(&self, path: &str, param: Param) -> Param {
        match self.head_rows.as_deref().filter(|_| self.is_of_classifier(path)) {
            Some(rows) => with_rows(&param, rows),
            None => param,
        }
    }

    /// The other way around.
    pub(crate) fn in_checkpoint_order(&self, path: &str, param: Param) -> Param {
        match self.head_rows.as_deref().filter(|_| self.is_of_classifier(path)) {
            Some(rows) => {
                let mut inverse = vec![0; rows.len()];
                rows.iter().enumerate().for_each(|(class, &row)| inverse[row] = class);
                with_rows(&param, &inverse)
            }
            None => param,
        }
    }

    /// Whether a tensor has a row for each class.
    fn is_of_classifier(&self, path: &str) -> bool {
        let rest = path.strip_prefix(self.spec.classifier);
        self.task == Task::SequenceClassification && matches!(rest, Some(".weight" | ".bias"))
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

/// A parameter whose rows are some of another's.
pub(crate) fn with_rows(param: &Param, rows: &[usize]) -> Param {
    let values = param.to_vec();
    let width = values.len() / param.shape().first().copied().unwrap_or(1).max(1);
    let row = |&row: &usize| values[row * width..(row + 1) * width].to_vec();
    param.with_vec(rows.iter().flat_map(row).collect())
}
