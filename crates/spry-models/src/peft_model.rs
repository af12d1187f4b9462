//! A model with a finetuning method.

use std::sync::Arc;

use spry_core::{ParamSet, Seed};
use spry_data::{Targets, Task, TokenBatch};
use spry_dual::ops::DropoutSeed;

use crate::{BatchObjective, Error, Model, Peft, Result};

/// A model with a finetuning method. Cheap to clone: clones share the weights.
#[derive(Clone, Debug)]
pub struct PeftModel {
    model: Arc<Model>,
    peft: Arc<Peft>,
}

impl PeftModel {
    /// A model with a finetuning method; options that it leaves to the family, such as target
    /// modules, are filled in.
    ///
    /// # Errors
    ///
    /// If the method's options do not fit the model.
    pub fn new(model: Arc<Model>, peft: Peft) -> Result<Self> {
        let peft = peft.resolved(model.spec());
        peft.trainable(&model, &Seed::new(0))?;
        Ok(Self { model, peft: Arc::new(peft) })
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The finetuning method, with all options.
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

    /// The mean loss of a batch, in training mode if a dropout seed is given.
    ///
    /// # Errors
    ///
    /// [`Error::Batch`] if the batch does not fit the model or its head.
    pub fn objective(
        &self,
        batch: &TokenBatch,
        dropout: Option<DropoutSeed>,
    ) -> Result<BatchObjective> {
        let misfit = |reason: String| Err(Error::Batch { reason });
        match (self.model.task(), &batch.targets) {
            (Task::SequenceClassification, Targets::Classes(classes)) => {
                let labels = self.model.num_labels();
                let is_label = |label: &i64| (0..labels as i64).contains(label);
                if let Some(label) = classes.iter().find(|label| !is_label(label)) {
                    return misfit(format!(
                        "label {label} is outside of the head's {labels} classes"
                    ));
                }
            }
            (Task::QuestionAnswering, Targets::Spans(spans)) => {
                let is_token = |place: &i64| (0..batch.seq as i64).contains(place);
                if let Some(place) = spans.iter().flatten().find(|place| !is_token(place)) {
                    return misfit(format!(
                        "an answer is at token {place}, outside of the {} tokens",
                        batch.seq
                    ));
                }
            }
            (task, _) => {
                return misfit(format!(
                    "its targets are not those of {task}, which the head is for"
                ));
            }
        }
        BatchObjective::new(self.clone(), batch, dropout)
    }
}
