//! Embeddings and layers of BERT, which RoBERTa shares under another prefix.

use spry_dual::Dual;

use super::BertConfig;
use crate::architecture::{Limits, TensorList};
use crate::layers::{EncoderLayer, EncoderNames, bert_embeddings};
use crate::{ForwardContext, Result, TokenInput};

/// The encoder without pooler, post-layer-norm as published.
#[derive(Clone, Debug)]
pub(crate) struct Encoder {
    pub(crate) config: BertConfig,
    /// What the paths of its tensors begin with.
    pub(crate) prefix: &'static str,
}

const NAMES: EncoderNames = EncoderNames {
    projections: ["attention.self.query", "attention.self.key", "attention.self.value"],
    attention: ["attention.output.dense", "attention.output.LayerNorm"],
    feed_forward: ["intermediate.dense", "output.dense", "output.LayerNorm"],
};

impl Encoder {
    /// Sizes of the tables.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            max_length: self.config.max_position_embeddings,
            vocab_size: self.config.vocab_size,
            type_vocab_size: Some(self.config.type_vocab_size),
        }
    }

    pub(crate) fn tensors(&self, list: &mut TensorList) {
        let BertConfig { hidden_size: hidden, intermediate_size, .. } = self.config;
        list.bert_embeddings(&self.embeddings_path(), self.limits(), hidden);
        list.layers(self.config.num_hidden_layers, |list, index| {
            list.encoder_layer(&NAMES, &self.layer_path(index), hidden, intermediate_size);
        });
    }

    /// The embeddings, `[batch, seq, hidden]`.
    pub(crate) fn embed(&self, context: &ForwardContext, input: &TokenInput) -> Result<Dual<3>> {
        let BertConfig { layer_norm_eps: epsilon, hidden_dropout_prob: dropout, .. } = self.config;
        bert_embeddings(context, input, &self.embeddings_path(), true, epsilon, dropout)
    }

    /// One layer, `[batch, seq, hidden]` to the same.
    pub(crate) fn layer(
        &self,
        context: &ForwardContext,
        input: &TokenInput,
        index: usize,
        x: Dual<3>,
    ) -> Result<Dual<3>> {
        let layer = EncoderLayer {
            names: &NAMES,
            heads: self.config.num_attention_heads,
            activation: self.config.hidden_act,
            epsilon: self.config.layer_norm_eps,
            probability_dropout: self.config.attention_probs_dropout_prob,
            dropouts: [self.config.hidden_dropout_prob; 2],
        };
        layer.forward(context, input, &self.layer_path(index), x)
    }

    fn embeddings_path(&self) -> String {
        format!("{}.embeddings", self.prefix)
    }

    pub(crate) fn layer_path(&self, index: usize) -> String {
        format!("{}.encoder.layer.{index}", self.prefix)
    }
}
