//! Sequence classification as an objective, and clients that hold a share of a dataset.

use std::sync::Arc;

use burn::tensor::{Int, Tensor, TensorData};
use spry_core::{
    ClientData, DualParams, Evaluation, HeadedObjective, Objective, ParamSet, Seed, Split,
};
use spry_data::{ClientShare, EncodedExample, TokenBatch};
use spry_dual::Dual;
use spry_dual::ops::{DropoutSeed, cross_entropy};

use crate::architecture::TokenInput;
use crate::{Error, ForwardContext, Model, Peft, Result};

/// A model with a finetuning method, for sequence classification.
#[derive(Clone, Debug)]
pub struct Classifier {
    model: Arc<Model>,
    peft: Arc<Peft>,
}

impl Classifier {
    /// A classifier.
    ///
    /// # Errors
    ///
    /// If the method's options do not fit the model.
    pub fn new(model: Arc<Model>, peft: Peft) -> Result<Self> {
        peft.trainable(&model, &Seed::new(0))?;
        Ok(Self { model, peft: Arc::new(peft) })
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The finetuning method.
    pub fn peft(&self) -> &Peft {
        &self.peft
    }

    /// The trainable parameters before training; fresh ones are drawn from the seed.
    ///
    /// # Errors
    ///
    /// As [`Peft::trainable`].
    pub fn trainable(&self, seed: &Seed) -> Result<ParamSet> {
        self.peft.trainable(&self.model, seed)
    }

    /// The mean cross entropy of a batch, in training mode if a dropout seed is given.
    ///
    /// # Errors
    ///
    /// [`Error::Batch`] if the batch does not fit the model.
    pub fn objective(
        &self,
        batch: &TokenBatch,
        dropout: Option<DropoutSeed>,
    ) -> Result<ClassificationObjective> {
        let labels = self.model.architecture().num_labels();
        if let Some(label) =
            batch.labels.iter().find(|&&label| !(0..labels as i64).contains(&label))
        {
            return Err(Error::Batch {
                reason: format!("label {label} is outside of the head's {labels} classes"),
            });
        }
        let (device, dtype) = (self.model.device(), self.model.dtype());
        let input = TokenInput::new(batch, self.model.architecture(), device, dtype)?;
        Ok(ClassificationObjective {
            input,
            labels: Tensor::from_data(TensorData::new(batch.labels.clone(), [batch.batch]), device),
            classifier: self.clone(),
            dropout,
        })
    }
}

/// The dropout site whose mask seeds those of the head; no body has as many.
const HEAD_DROPOUT: u64 = u64::MAX;

/// The mean cross entropy of one batch.
#[derive(Clone, Debug)]
pub struct ClassificationObjective {
    classifier: Classifier,
    input: TokenInput,
    labels: Tensor<1, Int>,
    dropout: Option<DropoutSeed>,
}

impl ClassificationObjective {
    /// Logits, `[batch, num_labels]`.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownWeight`] if the parameters are not those of the classifier.
    pub fn logits(&self, params: &DualParams) -> Result<Dual<2>> {
        self.logits_with(params, self.dropout)
    }

    fn logits_with(&self, params: &DualParams, dropout: Option<DropoutSeed>) -> Result<Dual<2>> {
        let pooled = self.pooled_with(params, dropout)?;
        self.classify_with(params, pooled, dropout)
    }

    fn pooled_with(&self, params: &DualParams, dropout: Option<DropoutSeed>) -> Result<Dual<2>> {
        let Classifier { model, peft } = &self.classifier;
        let context = ForwardContext::new(model, params, peft, dropout);
        Ok(model.architecture().encode(&context, &self.input)?.1)
    }

    fn classify_with(
        &self,
        params: &DualParams,
        pooled: Dual<2>,
        dropout: Option<DropoutSeed>,
    ) -> Result<Dual<2>> {
        let Classifier { model, peft } = &self.classifier;
        // The head has masks of its own, the same whether or not the body has just run.
        let dropout = dropout.map(|seed| seed.site(HEAD_DROPOUT));
        let context = ForwardContext::new(model, params, peft, dropout);
        model.architecture().classify(&context, pooled)
    }
}

impl Objective for ClassificationObjective {
    fn forward(&self, params: &DualParams) -> spry_core::Result<Dual<1>> {
        Ok(cross_entropy(self.logits(params)?, self.labels.clone()))
    }

    fn evaluate(&self, params: &ParamSet) -> spry_core::Result<Evaluation> {
        let logits = self.logits_with(&DualParams::constant(params), None)?;
        Ok(Evaluation::of_logits(logits.into_primal(), self.labels.clone()))
    }

    fn headed(&self) -> Option<&dyn HeadedObjective> {
        Some(self)
    }
}

impl HeadedObjective for ClassificationObjective {
    fn features(&self, params: &DualParams) -> spry_core::Result<Dual<2>> {
        Ok(self.pooled_with(params, self.dropout)?)
    }

    fn head(&self, params: &DualParams, features: Dual<2>) -> spry_core::Result<Dual<1>> {
        let logits = self.classify_with(params, features, self.dropout)?;
        Ok(cross_entropy(logits, self.labels.clone()))
    }
}

/// A client that finetunes a classifier on its share of a dataset.
pub struct TextClient {
    classifier: Classifier,
    dataset: Arc<Vec<EncodedExample>>,
    share: ClientShare,
    pad_id: u32,
    uses_dropout: bool,
}

impl TextClient {
    /// A client with a share of an encoded dataset. `uses_dropout` says whether training applies
    /// the model's and the adapter's dropout, as PyTorch's `model.train()` does.
    pub fn new(
        classifier: Classifier,
        dataset: Arc<Vec<EncodedExample>>,
        share: ClientShare,
        pad_id: u32,
        uses_dropout: bool,
    ) -> Self {
        Self { classifier, dataset, share, pad_id, uses_dropout }
    }

    fn examples(&self, split: Split) -> &[usize] {
        match split {
            Split::Train => &self.share.train,
            Split::Test => &self.share.test,
        }
    }
}

impl ClientData for TextClient {
    fn num_examples(&self, split: Split) -> usize {
        self.examples(split).len()
    }

    fn objective(
        &self,
        split: Split,
        examples: &[usize],
        dropout: Option<DropoutSeed>,
    ) -> spry_core::Result<Box<dyn Objective + '_>> {
        let of_share = self.examples(split);
        let examples: Option<Vec<&EncodedExample>> =
            examples.iter().map(|&index| self.dataset.get(*of_share.get(index)?)).collect();
        let examples = examples.ok_or_else(|| Error::Batch {
            reason: "it names an example that the client does not have".to_string(),
        })?;
        let batch = TokenBatch::pad(examples, self.pad_id);
        let dropout = dropout.filter(|_| self.uses_dropout);
        Ok(Box::new(self.classifier.objective(&batch, dropout)?))
    }
}
