//! Llama's tensors and forward pass.

use spry_core::ParamRole;
use spry_data::Task;
use spry_dual::Dual;
use spry_dual::ops::embedding;

use super::LlamaConfig;
use crate::architecture::{Architecture, Limits, TensorList, TensorSpec};
use crate::budget::Budget;
use crate::layers::{SelfAttention, by_parts, last_token};
use crate::{ForwardContext, Result, TokenInput};

/// The decoder with its classification head.
#[derive(Clone, Debug)]
pub struct Llama {
    config: LlamaConfig,
    /// Angles of the rotary embedding in radians per position.
    frequencies: Vec<f64>,
}

impl Llama {
    /// A Llama of the given sizes.
    ///
    /// # Panics
    ///
    /// If the configuration's rotary embedding is not supported, which
    /// [`LlamaConfig::parse`] refuses.
    pub fn new(config: LlamaConfig) -> Self {
        let frequencies = match config.frequencies() {
            Ok(frequencies) => frequencies,
            Err(reason) => panic!("spry-models: not a usable Llama configuration: {reason}"),
        };
        Self { config, frequencies }
    }

    /// One decoder layer; `[batch, seq, hidden]` to the same.
    fn decoder_layer(
        &self,
        context: &ForwardContext,
        input: &TokenInput,
        module: &str,
        x: Dual<3>,
    ) -> Result<Dual<3>> {
        let epsilon = self.config.rms_norm_eps;
        let attention = SelfAttention {
            projections: ["q_proj", "k_proj", "v_proj"]
                .map(|name| format!("{module}.self_attn.{name}")),
            heads: self.config.num_attention_heads,
            key_value_heads: self.config.key_value_heads(),
            dropout: self.config.attention_dropout,
        };
        let normed = context.rms_norm(&format!("{module}.input_layernorm"), x.clone(), epsilon)?;
        let attended = attention.forward(context, input, normed)?;
        let attended = context.linear(&format!("{module}.self_attn.o_proj"), attended)?;
        let x = x.add(attended);

        let norm = format!("{module}.post_attention_layernorm");
        let normed = context.rms_norm(&norm, x.clone(), epsilon)?;
        let path = |name: &str| format!("{module}.mlp.{name}");
        let (gate, up, down) = (path("gate_proj"), path("up_proj"), path("down_proj"));
        let activation = Some(self.config.hidden_act.op());
        let down = by_parts(context, &[&gate, &up, &down], normed, |x| {
            let gate = context.linear_activated(&gate, x.clone(), activation)?;
            let up = context.linear(&up, x)?;
            context.linear(&down, gate.mul(up))
        })?;
        Ok(x.add(down))
    }
}

impl Architecture for Llama {
    fn tensors(&self, task: Task, num_labels: usize, budget: Budget) -> Result<Vec<TensorSpec>> {
        let config = &self.config;
        let (hidden, intermediate) = (config.hidden_size, config.intermediate_size);
        // Too large a product is refused as a shape.
        let queries = config.num_attention_heads.saturating_mul(config.head_dim());
        let keys = config.key_value_heads().saturating_mul(config.head_dim());
        let mut list = TensorList::new(budget);
        list.embedding("model.embed_tokens", config.vocab_size, hidden);
        list.layers(config.num_hidden_layers, |list, index| {
            let layer = format!("model.layers.{index}");
            list.rms_norm(&format!("{layer}.input_layernorm"), hidden);
            for (name, out, input) in [
                ("q_proj", queries, hidden),
                ("k_proj", keys, hidden),
                ("v_proj", keys, hidden),
                ("o_proj", hidden, queries),
            ] {
                let module = format!("{layer}.self_attn.{name}");
                list.linear_with(&module, out, input, config.attention_bias);
            }
            list.rms_norm(&format!("{layer}.post_attention_layernorm"), hidden);
            for (name, out, input) in [
                ("gate_proj", intermediate, hidden),
                ("up_proj", intermediate, hidden),
                ("down_proj", hidden, intermediate),
            ] {
                list.linear_with(&format!("{layer}.mlp.{name}"), out, input, config.mlp_bias);
            }
        });
        list.rms_norm("model.norm", hidden);
        match task {
            Task::SequenceClassification => list.optional(ParamRole::Head, |list| {
                list.linear_with("score", num_labels, hidden, false);
            }),
            Task::QuestionAnswering => list.span_head(hidden),
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

    fn pad_token_id(&self) -> Option<i64> {
        self.config.pad_token_id
    }

    fn is_causal(&self) -> bool {
        true
    }

    fn num_layers(&self) -> usize {
        self.config.num_hidden_layers
    }

    fn layer_path(&self, index: usize) -> String {
        format!("model.layers.{index}")
    }

    fn rotary_frequencies(&self) -> Option<&[f64]> {
        Some(&self.frequencies)
    }

    fn embed(&self, context: &ForwardContext, input: &TokenInput) -> Result<Dual<3>> {
        let table = context.weight::<2>("model.embed_tokens.weight")?;
        Ok(embedding(table, input.input_ids.clone()))
    }

    fn layer(
        &self,
        context: &ForwardContext,
        input: &TokenInput,
        index: usize,
        x: Dual<3>,
    ) -> Result<Dual<3>> {
        self.decoder_layer(context, input, &self.layer_path(index), x)
    }

    fn finish(&self, context: &ForwardContext, x: Dual<3>) -> Result<Dual<3>> {
        context.rms_norm("model.norm", x, self.config.rms_norm_eps)
    }

    fn pool(
        &self,
        _context: &ForwardContext,
        input: &TokenInput,
        hidden: Dual<3>,
    ) -> Result<Dual<2>> {
        Ok(last_token(hidden, input))
    }

    fn classify(&self, context: &ForwardContext, pooled: Dual<2>) -> Result<Dual<2>> {
        context.linear("score", pooled)
    }
}
