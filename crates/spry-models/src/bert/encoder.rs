//! Embeddings and layers of BERT, which RoBERTa shares under another prefix.

use spry_dual::Dual;

use super::BertConfig;
use crate::architecture::{TensorList, TokenInput};
use crate::layers::{SelfAttention, add_and_norm, embed, feed_forward};
use crate::{ForwardContext, Result};

/// The encoder without pooler, post-layer-norm as published.
#[derive(Clone, Debug)]
pub(crate) struct Encoder {
    pub(crate) config: BertConfig,
    /// What the paths of its tensors begin with.
    pub(crate) prefix: &'static str,
}

impl Encoder {
    pub(crate) fn tensors(&self, list: &mut TensorList) {
        let BertConfig { hidden_size: hidden, intermediate_size, .. } = self.config;
        let embeddings = format!("{}.embeddings", self.prefix);
        for (name, entries) in [
            ("word_embeddings", self.config.vocab_size),
            ("position_embeddings", self.config.max_position_embeddings),
            ("token_type_embeddings", self.config.type_vocab_size),
        ] {
            list.embedding(&format!("{embeddings}.{name}"), entries, hidden);
        }
        list.layer_norm(&format!("{embeddings}.LayerNorm"), hidden);
        for index in 0..self.config.num_hidden_layers {
            let layer = self.layer_path(index);
            for name in ["query", "key", "value"] {
                list.linear(&format!("{layer}.attention.self.{name}"), hidden, hidden);
            }
            list.linear(&format!("{layer}.attention.output.dense"), hidden, hidden);
            list.layer_norm(&format!("{layer}.attention.output.LayerNorm"), hidden);
            list.linear(&format!("{layer}.intermediate.dense"), intermediate_size, hidden);
            list.linear(&format!("{layer}.output.dense"), hidden, intermediate_size);
            list.layer_norm(&format!("{layer}.output.LayerNorm"), hidden);
        }
    }

    /// Hidden states of the last layer, `[batch, seq, hidden]`.
    pub(crate) fn encode(&self, context: &ForwardContext, input: &TokenInput) -> Result<Dual<3>> {
        let mut x = self.embed(context, input)?;
        for index in 0..self.config.num_hidden_layers {
            x = self.layer(context, input, &self.layer_path(index), x)?;
        }
        Ok(x)
    }

    fn layer_path(&self, index: usize) -> String {
        format!("{}.encoder.layer.{index}", self.prefix)
    }

    /// Sum of word, position and segment embeddings, normalised; `[batch, seq, hidden]`.
    fn embed(&self, context: &ForwardContext, input: &TokenInput) -> Result<Dual<3>> {
        let module = format!("{}.embeddings", self.prefix);
        let x = embed(
            context,
            input,
            &format!("{module}.word_embeddings"),
            &format!("{module}.position_embeddings"),
            Some(&format!("{module}.token_type_embeddings")),
        )?;
        let x =
            context.layer_norm(&format!("{module}.LayerNorm"), x, self.config.layer_norm_eps)?;
        Ok(context.dropout(x, self.config.hidden_dropout_prob))
    }

    /// One encoder layer; `[batch, seq, hidden]` to the same.
    fn layer(
        &self,
        context: &ForwardContext,
        input: &TokenInput,
        module: &str,
        x: Dual<3>,
    ) -> Result<Dual<3>> {
        let BertConfig { layer_norm_eps: epsilon, hidden_dropout_prob: dropout, .. } = self.config;
        let attention = SelfAttention {
            projections: ["query", "key", "value"]
                .map(|name| format!("{module}.attention.self.{name}")),
            heads: self.config.num_attention_heads,
            key_value_heads: self.config.num_attention_heads,
            dropout: self.config.attention_probs_dropout_prob,
            rotary: None,
        };
        let attended = attention.forward(context, input, x.clone())?;
        let attended = context.linear(&format!("{module}.attention.output.dense"), attended)?;
        let norm = format!("{module}.attention.output.LayerNorm");
        let x = add_and_norm(context, (&norm, epsilon), attended, x, dropout)?;

        let names = ["intermediate.dense", "output.dense"].map(|name| format!("{module}.{name}"));
        let hidden =
            feed_forward(context, [&names[0], &names[1]], self.config.hidden_act, x.clone())?;
        let norm = format!("{module}.output.LayerNorm");
        add_and_norm(context, (&norm, epsilon), hidden, x, dropout)
    }
}
