//! BERT's tensors and forward pass.

use spry_data::Task;
use spry_dual::Dual;

use super::{BertConfig, Encoder};
use crate::architecture::{Architecture, Limits, TensorList, TensorSpec};
use crate::budget::Budget;
use crate::layers::first_token;
use crate::{ForwardContext, Result, TokenInput};

const POOLER: &str = "bert.pooler.dense";

/// The encoder with pooler and heads.
#[derive(Clone, Debug)]
pub struct Bert {
    encoder: Encoder,
}

impl Bert {
    /// A BERT of the given sizes.
    pub fn new(config: BertConfig) -> Self {
        Self { encoder: Encoder { config, prefix: "bert" } }
    }
}

impl Architecture for Bert {
    fn tensors(&self, task: Task, num_labels: usize, budget: Budget) -> Result<Vec<TensorSpec>> {
        let hidden = self.encoder.config.hidden_size;
        let mut list = TensorList::new(budget);
        self.encoder.tensors(&mut list);
        match task {
            Task::SequenceClassification => list.pooled_classifier(POOLER, num_labels, hidden),
            Task::QuestionAnswering => list.span_head(hidden),
        }
        list.finish()
    }

    fn limits(&self) -> Limits {
        self.encoder.limits()
    }

    fn initializer_range(&self) -> f64 {
        self.encoder.config.initializer_range
    }

    fn num_layers(&self) -> usize {
        self.encoder.config.num_hidden_layers
    }

    fn layer_path(&self, index: usize) -> String {
        self.encoder.layer_path(index)
    }

    fn embed(&self, context: &ForwardContext, input: &TokenInput) -> Result<Dual<3>> {
        self.encoder.embed(context, input)
    }

    fn layer(
        &self,
        context: &ForwardContext,
        input: &TokenInput,
        index: usize,
        x: Dual<3>,
    ) -> Result<Dual<3>> {
        self.encoder.layer(context, input, index, x)
    }

    fn pool(
        &self,
        context: &ForwardContext,
        input: &TokenInput,
        hidden: Dual<3>,
    ) -> Result<Dual<2>> {
        Ok(context.linear(POOLER, first_token(hidden, input))?.tanh())
    }

    fn classify(&self, context: &ForwardContext, pooled: Dual<2>) -> Result<Dual<2>> {
        let pooled = context.dropout(pooled, self.encoder.config.head_dropout());
        context.linear("classifier", pooled)
    }
}
