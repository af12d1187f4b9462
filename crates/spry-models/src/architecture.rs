//! What a model family declares: its tensors, and its forward pass.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use spry_core::ParamRole;
use spry_data::TokenBatch;
use spry_dual::Dual;
use spry_dual::ops::AttentionMask;

use crate::{Error, ForwardContext, Result, bert};

/// A model family, such as BERT; a new one is one folder and one value of this type in [`SPECS`].
pub struct ModelSpec {
    /// `model_type` in `config.json`.
    pub model_type: &'static str,
    /// Prefix of the body's tensors, which checkpoints of the bare body leave out.
    pub body_prefix: &'static str,
    /// Whether a checkpoint's tensor is known to be of no use here, such as a pretraining head.
    pub is_ignorable: fn(&str) -> bool,
    /// Reads `config.json`; the number of labels, if given, replaces the configuration's.
    pub parse: ParseConfig,
    /// Hugging Face's class of the model with a sequence classification head.
    pub classifier_class: &'static str,
}

/// Reads the text of a `config.json`; the error says what is wrong with it.
pub type ParseConfig = fn(&str, Option<usize>) -> Result<Box<dyn Architecture>, String>;

/// All supported families.
pub const SPECS: &[ModelSpec] = &[bert::SPEC];

impl ModelSpec {
    /// The family with a `model_type`.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`], listing the supported ones.
    pub fn find(model_type: &str) -> Result<&'static Self> {
        SPECS.iter().find(|spec| spec.model_type == model_type).ok_or_else(|| {
            let supported: Vec<&str> = SPECS.iter().map(|spec| spec.model_type).collect();
            Error::Unsupported {
                key: "model_type",
                got: model_type.to_string(),
                supported: supported.join(", "),
            }
        })
    }
}

/// A model family with its sizes.
pub trait Architecture: std::fmt::Debug + Send + Sync {
    /// All tensors, in order of depth.
    fn tensors(&self) -> Vec<TensorSpec>;

    /// Number of classes of the sequence classification head.
    fn num_labels(&self) -> usize;

    /// Longest input, in tokens.
    fn max_length(&self) -> usize;

    /// Number of tokens in the vocabulary.
    fn vocab_size(&self) -> usize;

    /// Number of segments that token types can name.
    fn type_vocab_size(&self) -> usize;

    /// Standard deviation for fresh weights.
    fn initializer_range(&self) -> f64;

    /// Hidden states of the last layer, `[batch, seq, hidden]`, and the pooled representation of
    /// each sequence, `[batch, hidden]`.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownWeight`] if the weights are not those of this architecture.
    fn encode(&self, context: &ForwardContext, input: &TokenInput) -> Result<(Dual<3>, Dual<2>)>;

    /// Logits of the sequence classification head, `[batch, num_labels]`, from the pooled
    /// representation; the only place where tensors in the role of head are used.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    fn classify(&self, context: &ForwardContext, pooled: Dual<2>) -> Result<Dual<2>>;
}

/// One tensor of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Hugging Face's name for it.
    pub path: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// What it is.
    pub kind: TensorKind,
    /// Whether it belongs to the body or to the task head.
    pub role: ParamRole,
    /// Whether it is made afresh when a checkpoint lacks it.
    pub is_optional: bool,
}

/// What a tensor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorKind {
    /// A table of embeddings, `[entries, hidden]`.
    Embedding,
    /// The weight of a linear layer, `[out, in]`.
    LinearWeight,
    /// The scale of a norm.
    NormWeight,
    /// The bias of a linear layer or norm.
    Bias,
}

/// A list of tensors in the making.
#[derive(Default)]
pub(crate) struct TensorList(pub(crate) Vec<TensorSpec>);

impl TensorList {
    pub(crate) fn push(&mut self, path: String, shape: Vec<usize>, kind: TensorKind) {
        let role = ParamRole::Adapter;
        self.0.push(TensorSpec { path, shape, kind, role, is_optional: false });
    }

    /// Weight `[out, in]` and bias of a linear layer.
    pub(crate) fn linear(&mut self, module: &str, out: usize, input: usize) {
        self.push(format!("{module}.weight"), vec![out, input], TensorKind::LinearWeight);
        self.push(format!("{module}.bias"), vec![out], TensorKind::Bias);
    }

    /// Weight and bias of a layer norm.
    pub(crate) fn layer_norm(&mut self, module: &str, hidden: usize) {
        self.push(format!("{module}.weight"), vec![hidden], TensorKind::NormWeight);
        self.push(format!("{module}.bias"), vec![hidden], TensorKind::Bias);
    }

    /// Runs `build`, and marks what it adds as optional, in the given role.
    pub(crate) fn optional(&mut self, role: ParamRole, build: impl FnOnce(&mut Self)) {
        let start = self.0.len();
        build(self);
        for tensor in &mut self.0[start..] {
            tensor.role = role;
            tensor.is_optional = true;
        }
    }
}

/// A batch of tokens on a device.
#[derive(Clone, Debug)]
pub struct TokenInput {
    /// Token ids, `[batch, seq]`.
    pub input_ids: Tensor<2, Int>,
    /// Segment ids, `[batch, seq]`.
    pub token_type_ids: Tensor<2, Int>,
    /// Which tokens may be attended to.
    pub mask: AttentionMask,
}

impl TokenInput {
    /// Moves a batch to a device; the mask gets the dtype of the model's weights.
    ///
    /// # Errors
    ///
    /// [`Error::Batch`] if it is empty, too long for the model, inconsistent, or has ids outside of
    /// the vocabulary.
    pub fn new(
        batch: &TokenBatch,
        architecture: &dyn Architecture,
        device: &Device,
        dtype: DType,
    ) -> Result<Self> {
        let misfit = |reason: String| Err(Error::Batch { reason });
        let shape = [batch.batch, batch.seq];
        if batch.batch == 0 || batch.seq == 0 {
            return misfit("it is empty".to_string());
        }
        if batch.seq > architecture.max_length() {
            let max = architecture.max_length();
            return misfit(format!(
                "a text has {} tokens, the model takes {max}; truncate to that length",
                batch.seq
            ));
        }
        let lengths =
            [batch.input_ids.len(), batch.token_type_ids.len(), batch.attention_mask.len()];
        if lengths.iter().any(|&length| Some(length) != batch.batch.checked_mul(batch.seq))
            || batch.labels.len() != batch.batch
        {
            return misfit(format!("its vectors are not of {} x {}", batch.batch, batch.seq));
        }
        let segments = architecture.type_vocab_size() as i64;
        if let Some(id) = batch.token_type_ids.iter().find(|id| !(0..segments).contains(*id)) {
            return misfit(format!("token type {id} is outside of the model's {segments}"));
        }
        let vocabulary = architecture.vocab_size() as i64;
        if let Some(id) = batch.input_ids.iter().find(|id| !(0..vocabulary).contains(*id)) {
            return misfit(format!(
                "token id {id} is outside of the vocabulary of {vocabulary}; is this the model's \
                 tokenizer?"
            ));
        }
        let ints = |values: &[i64]| {
            Tensor::<2, Int>::from_data(TensorData::new(values.to_vec(), shape), device)
        };
        let mask = TensorData::new(batch.attention_mask.clone(), shape);
        let mask = Tensor::<2>::from_data(mask, (device, dtype));
        Ok(Self {
            input_ids: ints(&batch.input_ids),
            token_type_ids: ints(&batch.token_type_ids),
            mask: AttentionMask::from_padding(mask),
        })
    }

    /// Batch size and length.
    pub fn dims(&self) -> [usize; 2] {
        self.input_ids.dims()
    }
}
