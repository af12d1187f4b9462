//! DistilBERT's tensors and forward pass.

use spry_core::ParamRole;
use spry_data::Task;
use spry_dual::Dual;

use super::DistilBertConfig;
use crate::architecture::{Architecture, Limits, TensorList, TensorSpec, TokenInput};
use crate::layers::{SelfAttention, add_and_norm, embed, feed_forward, first_token};
use crate::{ForwardContext, Result};

/// Added to the variance in layer norms; not an option of this family.
const EPSILON: f64 = 1e-12;

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

    /// One encoder layer; `[batch, seq, dim]` to the same.
    fn layer(
        &self,
        context: &ForwardContext,
        input: &TokenInput,
        module: &str,
        x: Dual<3>,
    ) -> Result<Dual<3>> {
        let attention = SelfAttention {
            projections: ["q_lin", "k_lin", "v_lin"]
                .map(|name| format!("{module}.attention.{name}")),
            heads: self.config.n_heads,
            key_value_heads: self.config.n_heads,
            dropout: self.config.attention_dropout,
            rotary: None,
        };
        let attended = attention.forward(context, input, x.clone())?;
        let attended = context.linear(&format!("{module}.attention.out_lin"), attended)?;
        let norm = format!("{module}.sa_layer_norm");
        // This family has no dropout after attention.
        let x = add_and_norm(context, (&norm, EPSILON), attended, x, 0.0)?;

        let names = ["lin1", "lin2"].map(|name| format!("{module}.ffn.{name}"));
        let hidden =
            feed_forward(context, [&names[0], &names[1]], self.config.activation, x.clone())?;
        let norm = format!("{module}.output_layer_norm");
        add_and_norm(context, (&norm, EPSILON), hidden, x, self.config.dropout)
    }
}

impl Architecture for DistilBert {
    fn tensors(&self, task: Task, num_labels: usize) -> Vec<TensorSpec> {
        let DistilBertConfig { dim, hidden_dim, .. } = self.config;
        let mut list = TensorList::default();
        let embeddings = "distilbert.embeddings";
        list.embedding(&format!("{embeddings}.word_embeddings"), self.config.vocab_size, dim);
        let positions = self.config.max_position_embeddings;
        list.embedding(&format!("{embeddings}.position_embeddings"), positions, dim);
        list.layer_norm(&format!("{embeddings}.LayerNorm"), dim);
        for index in 0..self.config.n_layers {
            let layer = format!("distilbert.transformer.layer.{index}");
            for name in ["q_lin", "k_lin", "v_lin", "out_lin"] {
                list.linear(&format!("{layer}.attention.{name}"), dim, dim);
            }
            list.layer_norm(&format!("{layer}.sa_layer_norm"), dim);
            list.linear(&format!("{layer}.ffn.lin1"), hidden_dim, dim);
            list.linear(&format!("{layer}.ffn.lin2"), dim, hidden_dim);
            list.layer_norm(&format!("{layer}.output_layer_norm"), dim);
        }
        match task {
            Task::SequenceClassification => list.optional(ParamRole::Head, |list| {
                list.linear("pre_classifier", dim, dim);
                list.linear("classifier", num_labels, dim);
            }),
            Task::QuestionAnswering => list.span_head(dim),
        }
        list.0
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

    fn encode(&self, context: &ForwardContext, input: &TokenInput) -> Result<Dual<3>> {
        let module = "distilbert.embeddings";
        let words = format!("{module}.word_embeddings");
        let positions = format!("{module}.position_embeddings");
        let x = embed(context, input, &words, &positions, None)?;
        let x = context.layer_norm(&format!("{module}.LayerNorm"), x, EPSILON)?;
        let mut x = context.dropout(x, self.config.dropout);
        for index in 0..self.config.n_layers {
            let layer = format!("distilbert.transformer.layer.{index}");
            x = self.layer(context, input, &layer, x)?;
        }
        Ok(x)
    }

    fn pool(
        &self,
        _context: &ForwardContext,
        _input: &TokenInput,
        hidden: Dual<3>,
    ) -> Result<Dual<2>> {
        Ok(first_token(hidden))
    }

    fn classify(&self, context: &ForwardContext, pooled: Dual<2>) -> Result<Dual<2>> {
        let x = context.linear("pre_classifier", pooled)?.relu();
        context.linear("classifier", context.dropout(x, self.config.seq_classif_dropout))
    }

    fn span_dropout(&self) -> f64 {
        self.config.qa_dropout
    }
}
