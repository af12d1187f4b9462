//! ALBERT's tensors and forward pass.

use spry_data::Task;
use spry_dual::Dual;

use super::AlbertConfig;
use crate::architecture::{Architecture, Limits, TensorList, TensorSpec};
use crate::budget::Budget;
use crate::layers::{EncoderLayer, EncoderNames, bert_embeddings, first_token};
use crate::{ForwardContext, Result, TokenInput};

const POOLER: &str = "albert.pooler";

/// The encoder with pooler and heads.
#[derive(Clone, Debug)]
pub struct Albert {
    config: AlbertConfig,
}

const EMBEDDINGS: &str = "albert.embeddings";

const NAMES: EncoderNames = EncoderNames {
    projections: ["attention.query", "attention.key", "attention.value"],
    attention: ["attention.dense", "attention.LayerNorm"],
    feed_forward: ["ffn", "ffn_output", "full_layer_layer_norm"],
};

/// The module between embeddings and layers.
const MAPPING: &str = "albert.encoder.embedding_hidden_mapping_in";

impl Albert {
    /// An ALBERT of the given sizes.
    pub fn new(config: AlbertConfig) -> Self {
        Self { config }
    }
}

fn layer_path(group: usize, inner: usize) -> String {
    format!("albert.encoder.albert_layer_groups.{group}.albert_layers.{inner}")
}

impl Architecture for Albert {
    fn tensors(&self, task: Task, num_labels: usize, budget: Budget) -> Result<Vec<TensorSpec>> {
        let AlbertConfig { hidden_size: hidden, embedding_size, intermediate_size, .. } =
            self.config;
        let mut list = TensorList::new(budget);
        list.bert_embeddings(EMBEDDINGS, self.limits(), embedding_size);
        list.linear(MAPPING, hidden, embedding_size);
        list.layers(self.config.num_hidden_groups, |list, group| {
            list.layers(self.config.inner_group_num, |list, inner| {
                list.encoder_layer(&NAMES, &layer_path(group, inner), hidden, intermediate_size);
            });
        });
        match task {
            Task::SequenceClassification => list.pooled_classifier(POOLER, num_labels, hidden),
            Task::QuestionAnswering => list.span_head(hidden),
        }
        list.finish()
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

    fn num_layers(&self) -> usize {
        self.config.num_hidden_layers * self.config.inner_group_num
    }

    fn layer_path(&self, index: usize) -> String {
        let AlbertConfig { num_hidden_groups, num_hidden_layers, inner_group_num, .. } =
            self.config;
        let group = index / inner_group_num * num_hidden_groups / num_hidden_layers;
        layer_path(group, index % inner_group_num)
    }

    fn embed(&self, context: &ForwardContext, input: &TokenInput) -> Result<Dual<3>> {
        let AlbertConfig { layer_norm_eps: epsilon, hidden_dropout_prob: dropout, .. } =
            self.config;
        let x = bert_embeddings(context, input, EMBEDDINGS, true, epsilon, dropout)?;
        context.linear(MAPPING, x)
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
            heads: self.config.num_attention_heads,
            activation: self.config.hidden_act,
            epsilon: self.config.layer_norm_eps,
            probability_dropout: self.config.attention_probs_dropout_prob,
            // Hugging Face's implementation has none after the feed-forward part.
            dropouts: [self.config.hidden_dropout_prob, 0.0],
        };
        layer.forward(context, input, &self.layer_path(index), x)
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
        let pooled = context.dropout(pooled, self.config.classifier_dropout_prob);
        context.linear("classifier", pooled)
    }
}
