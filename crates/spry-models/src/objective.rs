//! The loss of a batch as an [`Objective`], for each task.

use std::sync::{Arc, OnceLock};

use burn::tensor::{Int, Tensor, TensorData};
use spry_core::{DualParams, Evaluation, HeadedObjective, Objective, ParamSet, PrefixCache};
use spry_data::{Targets, Task, TokenBatch};
use spry_dual::ops::{DropoutSeed, cross_entropy};
use spry_dual::{Dual, has_kernels};

use crate::architecture::{SPAN_HEAD, SPAN_LABELS};
use crate::prefix::Prefix;
use crate::{Error, ForwardContext, PeftModel, Result, TokenInput};

/// The dropout site whose mask seeds those of the head; no body has as many.
const HEAD_DROPOUT: u64 = u64::MAX;

/// The mean loss of one batch: the cross entropy of the classes, or for spans the mean of that of
/// their first tokens and that of their last tokens.
///
/// For spans a token's logits say how likely it is first, and how likely it is last; the tokens of
/// a row, padding included, compete (as in Hugging Face's models for question answering).
#[derive(Clone, Debug)]
pub struct BatchObjective {
    model: PeftModel,
    batch: TokenBatch,
    /// Made when it is first used.
    padded: OnceLock<TokenInput>,
    /// The same without padding, where that can be used.
    packed: Option<TokenInput>,
    prefix: Option<Prefix>,
    /// The right column of each row of the logits.
    targets: Tensor<1, Int>,
    dropout: Option<DropoutSeed>,
}

impl BatchObjective {
    pub(crate) fn new(
        model: PeftModel,
        batch: &TokenBatch,
        dropout: Option<DropoutSeed>,
    ) -> Result<Self> {
        let (device, dtype) = (model.model().device(), model.model().dtype());
        // Tokens of padding compete for the spans of Hugging Face's models.
        let is_packable =
            model.model().task() == Task::SequenceClassification && has_kernels(device, dtype);
        let packed = match is_packable {
            true => TokenInput::packed(batch, model.model())?,
            false => None,
        };
        let padded = OnceLock::new();
        if packed.is_none() {
            let _ = padded.set(TokenInput::new(batch, model.model())?);
        }
        let targets: Vec<i64> = match &batch.targets {
            Targets::Classes(classes) => classes.clone(),
            Targets::Spans(spans) => {
                let side = |side: usize| spans.iter().map(move |span| span[side]);
                side(0).chain(side(1)).collect()
            }
        };
        let rows = targets.len();
        let targets = Tensor::from_data(TensorData::new(targets, [rows]), device);
        Ok(Self { model, batch: batch.clone(), padded, packed, prefix: None, targets, dropout })
    }

    /// Reuses what a cache knows of the batch's examples, of which each has a number there, and keeps
    /// what it does not know. Results are the same bits, as long as no parameter but those that the
    /// cache names is changed. Passes that move others, reverse mode, dropout, whose masks differ
    /// from step to step, and question answering reuse nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Batch`] unless there is a number for each text of the batch.
    pub fn with_prefix(mut self, cache: &Arc<PrefixCache>, examples: &[usize]) -> Result<Self> {
        let texts = self.batch.batch;
        if examples.len() != texts {
            let reason = format!("it has {texts} texts, but {} are named", examples.len());
            return Err(Error::Batch { reason });
        }
        if self.packed.is_some() && self.dropout.is_none() {
            self.prefix = Prefix::new(self.model.model(), cache.clone(), examples);
        }
        Ok(self)
    }

    fn padded(&self) -> Result<&TokenInput> {
        if let Some(input) = self.padded.get() {
            return Ok(input);
        }
        let input = TokenInput::new(&self.batch, self.model.model())?;
        Ok(self.padded.get_or_init(|| input))
    }

    /// Logits: `[batch, num_labels]` of classes; of spans `[2 · batch, seq]`, those of first tokens
    /// above those of last tokens.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownWeight`] if the parameters are not those of the model.
    pub fn logits(&self, params: &DualParams) -> Result<Dual<2>> {
        self.logits_with(params, self.dropout)
    }

    fn logits_with(&self, params: &DualParams, dropout: Option<DropoutSeed>) -> Result<Dual<2>> {
        let features = self.features_with(params, dropout)?;
        self.head_with(params, features, dropout)
    }

    /// What the head acts on: `[batch, hidden]`, or for spans each token, `[batch · seq, hidden]`.
    fn features_with(&self, params: &DualParams, dropout: Option<DropoutSeed>) -> Result<Dual<2>> {
        let (model, peft) = (self.model.model(), self.model.peft());
        let context = ForwardContext::new(model, params, peft, dropout);
        // Reverse mode has no kernels, and must see the same dropout masks, which are of the padded
        // batch.
        let packed = self.packed.as_ref().filter(|_| !params.is_tracked() && dropout.is_none());
        let input = match packed {
            Some(packed) => packed,
            None => self.padded()?,
        };
        let prefix = self.prefix.as_ref().filter(|prefix| prefix.serves(params));
        let hidden = match prefix.filter(|_| packed.is_some()) {
            Some(prefix) => prefix.encode(&context, input, &self.batch)?,
            None => model.architecture().encode(&context, input)?,
        };
        match model.task() {
            Task::SequenceClassification => model.architecture().pool(&context, input, hidden),
            Task::QuestionAnswering => {
                let [batch, seq, width] = hidden.dims();
                Ok(hidden.reshape([batch * seq, width]))
            }
        }
    }

    fn head_with(
        &self,
        params: &DualParams,
        features: Dual<2>,
        dropout: Option<DropoutSeed>,
    ) -> Result<Dual<2>> {
        let (model, peft) = (self.model.model(), self.model.peft());
        // The head has masks of its own, the same whether or not the body has just run.
        let dropout = dropout.map(|seed| seed.site(HEAD_DROPOUT));
        let context = ForwardContext::new(model, params, peft, dropout);
        match model.task() {
            Task::SequenceClassification => model.architecture().classify(&context, features),
            Task::QuestionAnswering => {
                let [batch, seq] = [self.batch.batch, self.batch.seq];
                let features = context.dropout(features, model.architecture().span_dropout());
                let logits = context.linear(SPAN_HEAD, features)?.swap_dims(0, 1);
                Ok(logits.reshape([SPAN_LABELS * batch, seq]))
            }
        }
    }
}

impl Objective for BatchObjective {
    fn forward(&self, params: &DualParams) -> spry_core::Result<Dual<1>> {
        Ok(cross_entropy(self.logits(params)?, self.targets.clone()))
    }

    /// A span is correct if its first and last token both are.
    fn evaluate(&self, params: &ParamSet) -> spry_core::Result<Evaluation> {
        let logits = self.logits_with(&DualParams::constant(params), None)?.into_primal();
        let rows = Evaluation::of_logits(logits.clone(), self.targets.clone());
        if self.model.model().task() == Task::SequenceClassification {
            return Ok(rows);
        }
        let examples = self.batch.batch;
        let is_right =
            logits.argmax(1).reshape([SPAN_LABELS * examples]).equal(self.targets.clone());
        let both = is_right.int().reshape([SPAN_LABELS, examples]).sum_dim(0);
        let correct = both.equal_elem(SPAN_LABELS as i64).int().sum().into_scalar::<i64>();
        let loss_sum = rows.loss() * examples as f64;
        Ok(Evaluation { loss_sum, correct: correct as usize, examples, ..Evaluation::default() })
    }

    fn headed(&self) -> Option<&dyn HeadedObjective> {
        Some(self)
    }
}

impl HeadedObjective for BatchObjective {
    fn features(&self, params: &DualParams) -> spry_core::Result<Dual<2>> {
        Ok(self.features_with(params, self.dropout)?)
    }

    fn head(&self, params: &DualParams, features: Dual<2>) -> spry_core::Result<Dual<1>> {
        let logits = self.head_with(params, features, self.dropout)?;
        Ok(cross_entropy(logits, self.targets.clone()))
    }
}
