//! RoBERTa's tensors and forward pass.

use spry_core::ParamRole;
use spry_data::{Task, TokenBatch};
use spry_dual::Dual;

use super::RobertaConfig;
use crate::architecture::{Architecture, Limits, TensorList, TensorSpec};
use crate::bert::Encoder;
use crate::budget::Budget;
use crate::layers::first_token;
use crate::{ForwardContext, Result, TokenInput};

/// BERT's encoder with RoBERTa's positions and heads.
#[derive(Clone, Debug)]
pub struct Roberta {
    encoder: Encoder,
    pad_token_id: usize,
}

impl Roberta {
    /// A RoBERTa of the given sizes.
    pub fn new(config: RobertaConfig) -> Self {
        let RobertaConfig { encoder: config, pad_token_id } = config;
        Self { encoder: Encoder { config, prefix: "roberta" }, pad_token_id }
    }
}

impl Architecture for Roberta {
    fn tensors(&self, task: Task, num_labels: usize, budget: Budget) -> Result<Vec<TensorSpec>> {
        let hidden = self.encoder.config.hidden_size;
        let mut list = TensorList::new(budget);
        self.encoder.tensors(&mut list);
        match task {
            Task::SequenceClassification => list.optional(ParamRole::Head, |list| {
                list.linear("classifier.dense", hidden, hidden);
                list.linear("classifier.out_proj", num_labels, hidden);
            }),
            Task::QuestionAnswering => list.span_head(hidden),
        }
        list.finish()
    }

    fn limits(&self) -> Limits {
        let limits = self.encoder.limits();
        Limits { max_length: limits.max_length - self.pad_token_id - 1, ..limits }
    }

    fn initializer_range(&self) -> f64 {
        self.encoder.config.initializer_range
    }

    /// Padding tokens are at the position of their own id, the others count on from there.
    fn position_ids(&self, batch: &TokenBatch) -> Option<Vec<i64>> {
        let padding = self.pad_token_id as i64;
        let positions = |row: &[i64]| {
            let mut last = padding;
            let position = |&id: &i64| match id == padding {
                true => padding,
                false => {
                    last += 1;
                    last
                }
            };
            row.iter().map(position).collect::<Vec<i64>>()
        };
        Some(batch.input_ids.chunks(batch.seq).flat_map(positions).collect())
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
        _context: &ForwardContext,
        input: &TokenInput,
        hidden: Dual<3>,
    ) -> Result<Dual<2>> {
        Ok(first_token(hidden, input))
    }

    fn classify(&self, context: &ForwardContext, pooled: Dual<2>) -> Result<Dual<2>> {
        let dropout = self.encoder.config.head_dropout();
        let x = context.linear("classifier.dense", context.dropout(pooled, dropout))?.tanh();
        context.linear("classifier.out_proj", context.dropout(x, dropout))
    }
}
