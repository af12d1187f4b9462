//! What a model family declares: its tensors, and its forward pass.

use std::ops::Range;

use spry_core::ParamRole;
use spry_data::{Task, TokenBatch};
use spry_dual::Dual;

use crate::budget::Budget;
use crate::config::Object;
use crate::config::keys::Keys;
use crate::{
    Error, ForwardContext, Result, TokenInput, albert, bert, distilbert, llama, opt, roberta,
};

/// A model family, such as BERT; a new one is one folder and one value of this type in [`SPECS`].
#[derive(Debug)]
pub struct ModelSpec {
    /// `model_type` in `config.json`.
    pub model_type: &'static str,
    /// Prefix of the body's tensors, which checkpoints of the bare body leave out.
    pub body_prefix: &'static str,
    /// Whether a checkpoint's tensor is known to be of no use here, such as a pretraining head.
    pub is_ignorable: fn(&str) -> bool,
    /// What the keys of `config.json` do that not all families have.
    pub keys: Keys,
    /// Reads `config.json`.
    pub parse: ParseConfig,
    /// Hugging Face's class of the model with a sequence classification head.
    pub sequence_classification_class: &'static str,
    /// Hugging Face's class of the model with a span head, if spans are supported.
    pub question_answering_class: Option<&'static str>,
    /// The linear layer whose outputs are the logits of the classes.
    pub classifier: &'static str,
    /// Whether a text is classified by its last token that is not padding.
    pub pools_last_token: bool,
    /// Modules that are the head, for one task or the other; peft lists them as `modules_to_save`.
    pub head_modules: &'static [&'static str],
    /// Linear layers that LoRA adapts unless told otherwise: query and value.
    pub lora_targets: &'static [&'static str],
    /// Linear layers that IA3 scales unless told otherwise; the last is the feed-forward one, whose
    /// input is scaled.
    pub ia3_targets: [&'static str; 3],
}

/// Reads a `config.json`; the error says what is wrong with it.
pub type ParseConfig = fn(&Object) -> Result<Box<dyn Architecture>, String>;

/// All supported families.
pub const SPECS: &[&ModelSpec] =
    &[&bert::SPEC, &roberta::SPEC, &distilbert::SPEC, &albert::SPEC, &llama::SPEC, &opt::SPEC];

impl ModelSpec {
    /// The family with a `model_type`.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`], listing the supported ones.
    pub fn find(model_type: &str) -> Result<&'static Self> {
        SPECS.iter().find(|spec| spec.model_type == model_type).copied().ok_or_else(|| {
            let supported: Vec<&str> = SPECS.iter().map(|spec| spec.model_type).collect();
            Error::Unsupported {
                key: "model_type",
                got: spry_data::guard::sayable(model_type),
                supported: supported.join(", "),
            }
        })
    }

    /// Hugging Face's class of the model with the head of a task.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] if the family has no such head, listing those that have.
    pub fn class(&self, task: Task) -> Result<&'static str> {
        match task {
            Task::SequenceClassification => Ok(self.sequence_classification_class),
            Task::QuestionAnswering => self.question_answering_class.ok_or_else(|| {
                let has = SPECS.iter().filter(|spec| spec.question_answering_class.is_some());
                let supported: Vec<&str> = has.map(|spec| spec.model_type).collect();
                Error::Unsupported {
                    key: "model_type",
                    got: format!("{} for question answering", self.model_type),
                    supported: supported.join(", "),
                }
            }),
        }
    }
}

/// Number of outputs of the span head: start and end.
pub(crate) const SPAN_LABELS: usize = 2;

/// What a model can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest input, in tokens.
    pub max_length: usize,
    /// Number of tokens in the vocabulary.
    pub vocab_size: usize,
    /// Number of segments that token types can name; `None` for a family that ignores them.
    pub type_vocab_size: Option<usize>,
}

/// A model family with its sizes.
pub trait Architecture: std::fmt::Debug + Send + Sync {
    /// All tensors of the body and the head for a task, in order of depth. `num_labels` is the
    /// number of classes, or 2 for spans.
    ///
    /// # Errors
    ///
    /// [`Error::OverBudget`] if there are more of them than the budget has.
    fn tensors(&self, task: Task, num_labels: usize, budget: Budget) -> Result<Vec<TensorSpec>>;

    /// What the model can take.
    fn limits(&self) -> Limits;

    /// Standard deviation for fresh weights.
    fn initializer_range(&self) -> f64;

    /// The position of each token, `[batch · seq]`, where it is not simply 0, 1, 2, … in each row.
    fn position_ids(&self, _batch: &TokenBatch) -> Option<Vec<i64>> {
        None
    }

    /// The padding token as the configuration names it, for families that [classify a text by its
    /// last token](ModelSpec::pools_last_token).
    fn pad_token_id(&self) -> Option<i64> {
        None
    }

    /// Whether a token sees only itself and those before it.
    fn is_causal(&self) -> bool {
        false
    }

    /// Number of layers.
    fn num_layers(&self) -> usize;

    /// Path of a layer's modules; layers that share their weights share it.
    fn layer_path(&self, index: usize) -> String;

    /// Frequencies of the rotary position embedding in radians per position, for families that have
    /// it.
    fn rotary_frequencies(&self) -> Option<&[f64]> {
        None
    }

    /// What the first layer gets, `[batch, seq, hidden]`.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownWeight`] if the weights are not those of this architecture.
    fn embed(&self, context: &ForwardContext, input: &TokenInput) -> Result<Dual<3>>;

    /// One layer; `[batch, seq, hidden]` to the same.
    ///
    /// # Errors
    ///
    /// As [`embed`](Self::embed).
    fn layer(
        &self,
        context: &ForwardContext,
        input: &TokenInput,
        index: usize,
        x: Dual<3>,
    ) -> Result<Dual<3>>;

    /// What comes between the last layer and the head, such as a norm; of each token alone.
    ///
    /// # Errors
    ///
    /// As [`embed`](Self::embed).
    fn finish(&self, _context: &ForwardContext, x: Dual<3>) -> Result<Dual<3>> {
        Ok(x)
    }

    /// Some of the layers, one after the other; `[batch, seq, hidden]` to the same.
    ///
    /// # Errors
    ///
    /// As [`embed`](Self::embed).
    fn layers(
        &self,
        context: &ForwardContext,
        input: &TokenInput,
        indices: Range<usize>,
        x: Dual<3>,
    ) -> Result<Dual<3>> {
        indices.into_iter().try_fold(x, |x, index| self.layer(context, input, index, x))
    }

    /// Hidden states of the last layer, `[batch, seq, hidden]`.
    ///
    /// # Errors
    ///
    /// As [`embed`](Self::embed).
    fn encode(&self, context: &ForwardContext, input: &TokenInput) -> Result<Dual<3>> {
        let x = self.embed(context, input)?;
        let x = self.layers(context, input, 0..self.num_layers(), x)?;
        self.finish(context, x)
    }

    /// The representation of each sequence that the classification head acts on, `[batch, hidden]`.
    ///
    /// # Errors
    ///
    /// As [`embed`](Self::embed).
    fn pool(
        &self,
        context: &ForwardContext,
        input: &TokenInput,
        hidden: Dual<3>,
    ) -> Result<Dual<2>>;

    /// Logits of the sequence classification head, `[batch, num_labels]`, from the pooled
    /// representation.
    ///
    /// # Errors
    ///
    /// As [`embed`](Self::embed).
    fn classify(&self, context: &ForwardContext, pooled: Dual<2>) -> Result<Dual<2>>;

    /// Dropout of the hidden states before the span head.
    fn span_dropout(&self) -> f64 {
        0.0
    }
}

/// Path of the span head, the same in all families.
pub(crate) const SPAN_HEAD: &str = "qa_outputs";

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

/// A list of tensors in the making, which stops growing when its budget is used up.
pub(crate) struct TensorList {
    tensors: Vec<TensorSpec>,
    budget: Result<Budget>,
}

impl TensorList {
    pub(crate) fn new(budget: Budget) -> Self {
        Self { tensors: Vec::new(), budget: Ok(budget) }
    }

    /// The list, if all fits into the budget.
    pub(crate) fn finish(self) -> Result<Vec<TensorSpec>> {
        self.budget.map(|_| self.tensors)
    }

    pub(crate) fn push(&mut self, path: String, shape: Vec<usize>, kind: TensorKind) {
        let Ok(budget) = &mut self.budget else { return };
        // The values come out of the budget where it is known which of them are allocated.
        let mut numbers = Budget { values: usize::MAX, ..*budget };
        let taken = budget.take_name(&path).and_then(|()| numbers.take_values(&path, &shape));
        if let Err(error) = taken {
            self.budget = Err(error);
            return;
        }
        let role = ParamRole::Adapter;
        self.tensors.push(TensorSpec { path, shape, kind, role, is_optional: false });
    }

    /// Adds what belongs to each of so many layers, until the budget is used up.
    pub(crate) fn layers(&mut self, count: usize, mut add: impl FnMut(&mut Self, usize)) {
        for index in 0..count {
            if self.budget.is_err() {
                return;
            }
            add(self, index);
        }
    }

    /// Weight `[out, in]` and bias of a linear layer.
    pub(crate) fn linear(&mut self, module: &str, out: usize, input: usize) {
        self.linear_with(module, out, input, true);
    }

    /// The same for a layer that may have no bias.
    pub(crate) fn linear_with(&mut self, module: &str, out: usize, input: usize, has_bias: bool) {
        self.push(format!("{module}.weight"), vec![out, input], TensorKind::LinearWeight);
        if has_bias {
            self.push(format!("{module}.bias"), vec![out], TensorKind::Bias);
        }
    }

    /// A table of embeddings, `[entries, width]`.
    pub(crate) fn embedding(&mut self, module: &str, entries: usize, width: usize) {
        self.push(format!("{module}.weight"), vec![entries, width], TensorKind::Embedding);
    }

    /// Weight and bias of a layer norm.
    pub(crate) fn layer_norm(&mut self, module: &str, hidden: usize) {
        self.rms_norm(module, hidden);
        self.push(format!("{module}.bias"), vec![hidden], TensorKind::Bias);
    }

    /// Weight of an RMS norm.
    pub(crate) fn rms_norm(&mut self, module: &str, hidden: usize) {
        self.push(format!("{module}.weight"), vec![hidden], TensorKind::NormWeight);
    }

    /// A pooler, which belongs to the body, and the head of one layer after it.
    pub(crate) fn pooled_classifier(&mut self, pooler: &str, num_labels: usize, hidden: usize) {
        self.optional(ParamRole::Adapter, |list| list.linear(pooler, hidden, hidden));
        self.optional(ParamRole::Head, |list| list.linear("classifier", num_labels, hidden));
    }

    /// The head for spans: start and end logits of each token.
    pub(crate) fn span_head(&mut self, hidden: usize) {
        self.optional(ParamRole::Head, |list| list.linear(SPAN_HEAD, SPAN_LABELS, hidden));
    }

    /// Runs `build`, and marks what it adds as optional, in the given role.
    pub(crate) fn optional(&mut self, role: ParamRole, build: impl FnOnce(&mut Self)) {
        let start = self.tensors.len();
        build(self);
        for tensor in &mut self.tensors[start..] {
            tensor.role = role;
            tensor.is_optional = true;
        }
    }
}
