//! DistilBERT's tensors and forward pass.

use spry_core::ParamRole;
use spry_data::Task;
use spry_dual::Dual;

use super::DistilBertConfig;
use crate::architecture::{Architecture, Limits, TensorList, TensorSpec};
use crate::budget::Budget;
use crate::layers::{EncoderLayer, EncoderNames, bert_embeddings, first_token};
use crate::{ForwardContext, Result, TokenInput};

/// Added to the variance in layer norms; not an option of this family.
const EPSILON: f64 = 1e-12;

const EMBEDDINGS: &str = "distilbert.embeddings";

const NAMES: EncoderNames = EncoderNames {
    projections: ["attention.q_lin", "attention.k_lin", "attention.v_lin"],
    attention: ["attention.out_lin", "sa_layer_norm"],
    feed_forward: ["ffn.lin1", "ffn.lin2", "output_layer_norm"],
};

fn layer_path(index: usize) -> String {
    format!("distilbert.transformer.layer.{index}")
}

/// The encoder with its heads.
#[derive(Clone, Debug)]
pub struct DistilBert {
    config: DistilBertConfig,
}

impl DistilBert {
    /// A DistilBERT of the given sizes.
    pub fn new(config: DistilBertConfig) -> Self {
        Self { config }
    }
}

impl Architecture for DistilBert {
    fn tensors(&self, task: Task, num_labels: usize, budget: Budget) -> Result<Vec<TensorSpec>> {
        let DistilBertConfig { dim, hidden_dim, .. } = self.config;
        let mut list = TensorList::new(budget);
        list.bert_embeddings(EMBEDDINGS, self.limits(), dim);
        list.layers(self.config.n_layers, |list, index| {
            list.encoder_layer(&NAMES, &layer_path(index), dim, hidden_dim);
        });
        match task {
            Task::SequenceClassification => list.optional(ParamRole::Head, |list| {
                list.linear("pre_classifier", dim, dim);
                list.linear("classifier", num_labels, dim);
            }),
            Task::QuestionAnswering => list.span_head(dim),
        }
        list.finish()
    }

    fn limits(&self) -> Limits {
        Limits {
            max_length: self.config.max_position_embeddings,
            vocab_size: self.config.vocab_size,
            type_vocab_size: None,
        }
    }

    fn initializer_range(&self) -> f64 {
        self.config.initializer_range
    }

    fn num_layers(&self) -> usize {
        self.config.n_layers
    }

    fn layer_path(&self, index: usize) -> String {
        layer_path(index)
    }

    fn embed(&self, context: &ForwardContext, input: &TokenInput) -> Result<Dual<3>> {
        bert_embeddings(context, input, EMBEDDINGS, false, EPSILON, self.config.dropout)
    }

    fn layer(
        &self,
        context: &ForwardContext,
        input: &TokenInput,
        index: usize,
        x: Dual<3>,
    ) -> Result<Dual<3>> {
        let layer = EncoderLayer {
            names: &NAMES,
            heads: self.config.n_heads,
            activation: self.config.activation,
            epsilon: EPSILON,
            probability_dropout: self.config.attention_dropout,
            // This family has no dropout after attention.
            dropouts: [0.0, self.config.dropout],
        };
        layer.forward(context, input, &layer_path(index), x)
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
        let x = context.linear("pre_classifier", pooled)?.relu();
        context.linear("classifier", context.dropout(x, self.config.seq_classif_dropout))
    }

    fn span_dropout(&self) -> f64 {
        self.config.qa_dropout
    }
}
