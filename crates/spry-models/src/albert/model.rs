//! ALBERT's tensors and forward pass.

use spry_core::ParamRole;
use spry_data::Task;
use spry_dual::Dual;

use super::AlbertConfig;
use crate::architecture::{Architecture, Limits, TensorList, TensorSpec, TokenInput};
use crate::layers::{SelfAttention, add_and_norm, embed, feed_forward, first_token};
use crate::{ForwardContext, Result};

/// The encoder with pooler and heads.
#[derive(Clone, Debug)]
pub struct Albert {
    config: AlbertConfig,
}

/// The module between embeddings and layers.
const MAPPING: &str = "albert.encoder.embedding_hidden_mapping_in";

impl Albert {
    /// An ALBERT of the given sizes.
    pub fn new(config: AlbertConfig) -> Self {
        Self { config }
    }

    /// One layer; `[batch, seq, hidden]` to the same.
    fn layer(
        &self,
        context: &ForwardContext,
        input: &TokenInput,
        module: &str,
        x: Dual<3>,
    ) -> Result<Dual<3>> {
        let AlbertConfig { layer_norm_eps: epsilon, .. } = self.config;
        let attention = SelfAttention {
            projections: ["query", "key", "value"].map(|name| format!("{module}.attention.{name}")),
            heads: self.config.num_attention_heads,
            key_value_heads: self.config.num_attention_heads,
            dropout: self.config.attention_probs_dropout_prob,
            rotary: None,
        };
        let attended = attention.forward(context, input, x.clone())?;
        let attended = context.linear(&format!("{module}.attention.dense"), attended)?;
        let norm = format!("{module}.attention.LayerNorm");
        let dropout = self.config.hidden_dropout_prob;
        let x = add_and_norm(context, (&norm, epsilon), attended, x, dropout)?;

        let names = ["ffn", "ffn_output"].map(|name| format!("{module}.{name}"));
        let hidden =
            feed_forward(context, [&names[0], &names[1]], self.config.hidden_act, x.clone())?;
        let norm = format!("{module}.full_layer_layer_norm");
        // Hugging Face's implementation has no dropout here.
        add_and_norm(context, (&norm, epsilon), hidden, x, 0.0)
    }
}

fn layer_path(group: usize, inner: usize) -> String {
    format!("albert.encoder.albert_layer_groups.{group}.albert_layers.{inner}")
}

impl Architecture for Albert {
    fn tensors(&self, task: Task, num_labels: usize) -> Vec<TensorSpec> {
        let AlbertConfig { hidden_size: hidden, embedding_size, intermediate_size, .. } =
            self.config;
        let mut list = TensorList::default();
        for (name, entries) in [
            ("word_embeddings", self.config.vocab_size),
            ("position_embeddings", self.config.max_position_embeddings),
            ("token_type_embeddings", self.config.type_vocab_size),
        ] {
            list.embedding(&format!("albert.embeddings.{name}"), entries, embedding_size);
        }
        list.layer_norm("albert.embeddings.LayerNorm", embedding_size);
        list.linear(MAPPING, hidden, embedding_size);
        for group in 0..self.config.num_hidden_groups {
            for inner in 0..self.config.inner_group_num {
                let layer = layer_path(group, inner);
                for name in ["query", "key", "value", "dense"] {
                    list.linear(&format!("{layer}.attention.{name}"), hidden, hidden);
                }
                list.layer_norm(&format!("{layer}.attention.LayerNorm"), hidden);
                list.linear(&format!("{layer}.ffn"), intermediate_size, hidden);
                list.linear(&format!("{layer}.ffn_output"), hidden, intermediate_size);
                list.layer_norm(&format!("{layer}.full_layer_layer_norm"), hidden);
            }
        }
        match task {
            Task::SequenceClassification => {
                list.optional(ParamRole::Adapter, |list| {
                    list.linear("albert.pooler", hidden, hidden);
                });
                list.optional(ParamRole::Head, |list| {
                    list.linear("classifier", num_labels, hidden);
                });
            }
            Task::QuestionAnswering => list.span_head(hidden),
        }
        list.0
    }

    fn limits(&self) -> Limits {
        Limits {
            max_length: self.config.max_position_embeddings,
            vocab_size: self.config.vocab_size,
            type_vocab_size: Some(self.config.type_vocab_size),
        }
    }

    fn initializer_range(&self) -> f64 {
        self.config.initializer_range
    }

    fn encode(&self, context: &ForwardContext, input: &TokenInput) -> Result<Dual<3>> {
        let module = "albert.embeddings";
        let words = format!("{module}.word_embeddings");
        let positions = format!("{module}.position_embeddings");
        let segments = format!("{module}.token_type_embeddings");
        let x = embed(context, input, &words, &positions, Some(&segments))?;
        let x =
            context.layer_norm(&format!("{module}.LayerNorm"), x, self.config.layer_norm_eps)?;
        let x = context.dropout(x, self.config.hidden_dropout_prob);
        let mut x = context.linear(MAPPING, x)?;
        for index in 0..self.config.num_hidden_layers {
            let group = index * self.config.num_hidden_groups / self.config.num_hidden_layers;
            for inner in 0..self.config.inner_group_num {
                x = self.layer(context, input, &layer_path(group, inner), x)?;
            }
        }
        Ok(x)
    }

    fn pool(
        &self,
        context: &ForwardContext,
        _input: &TokenInput,
        hidden: Dual<3>,
    ) -> Result<Dual<2>> {
        Ok(context.linear("albert.pooler", first_token(hidden))?.tanh())
    }

    fn classify(&self, context: &ForwardContext, pooled: Dual<2>) -> Result<Dual<2>> {
        let pooled = context.dropout(pooled, self.config.classifier_dropout_prob);
        context.linear("classifier", pooled)
    }
}
