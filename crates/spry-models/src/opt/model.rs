//! OPT's tensors and forward pass.

use spry_core::ParamRole;
use spry_data::{Task, TokenBatch};
use spry_dual::Dual;
use spry_dual::ops::embedding;

use super::OptConfig;
use crate::architecture::{Architecture, Limits, TensorList, TensorSpec};
use crate::budget::Budget;
use crate::layers::{SelfAttention, feed_forward, last_token, positions};
use crate::{ForwardContext, Result, TokenInput};

/// The decoder with its heads.
#[derive(Clone, Debug)]
pub struct Opt {
    config: OptConfig,
}

/// Entries of the position table before that of the first position.
const POSITION_OFFSET: usize = 2;

/// Added to the variance in layer norms; not an option of this family.
const EPSILON: f64 = 1e-5;

/// What the paths of the body begin with.
const PREFIX: &str = "model.decoder";

impl Opt {
    /// An OPT of the given sizes.
    pub fn new(config: OptConfig) -> Self {
        Self { config }
    }

    /// One decoder layer; `[batch, seq, hidden]` to the same.
    fn decoder_layer(
        &self,
        context: &ForwardContext,
        input: &TokenInput,
        module: &str,
        x: Dual<3>,
    ) -> Result<Dual<3>> {
        let attention = SelfAttention {
            projections: ["q_proj", "k_proj", "v_proj"]
                .map(|name| format!("{module}.self_attn.{name}")),
            heads: self.config.num_attention_heads,
            key_value_heads: self.config.num_attention_heads,
            dropout: self.config.attention_dropout,
        };
        let out = format!("{module}.self_attn.out_proj");
        let x = self.sublayer(context, &format!("{module}.self_attn_layer_norm"), x, |x| {
            context.linear(&out, attention.forward(context, input, x)?)
        })?;
        let names = ["fc1", "fc2"].map(|name| format!("{module}.{name}"));
        let activation = self.config.activation_function;
        self.sublayer(context, &format!("{module}.final_layer_norm"), x, |x| {
            feed_forward(context, [&names[0], &names[1]], activation, x)
        })
    }

    /// A sublayer with dropout, residual, and its norm before or after it.
    fn sublayer(
        &self,
        context: &ForwardContext,
        norm: &str,
        x: Dual<3>,
        compute: impl FnOnce(Dual<3>) -> Result<Dual<3>>,
    ) -> Result<Dual<3>> {
        let normed = |x: Dual<3>, is_here: bool| match is_here {
            true => context.layer_norm(norm, x, EPSILON),
            false => Ok(x),
        };
        let is_before = self.config.do_layer_norm_before;
        let computed = compute(normed(x.clone(), is_before)?)?;
        normed(x.add(context.dropout(computed, self.config.dropout)), !is_before)
    }
}

impl Architecture for Opt {
    fn tensors(&self, task: Task, num_labels: usize, budget: Budget) -> Result<Vec<TensorSpec>> {
        let config = &self.config;
        let (hidden, embedded) = (config.hidden_size, config.embedding_size());
        let mut list = TensorList::new(budget);
        list.embedding(&format!("{PREFIX}.embed_tokens"), config.vocab_size, embedded);
        let positions = config.max_position_embeddings + POSITION_OFFSET;
        list.embedding(&format!("{PREFIX}.embed_positions"), positions, hidden);
        if config.is_projected() {
            list.linear_with(&format!("{PREFIX}.project_in"), hidden, embedded, false);
        }
        list.layers(config.num_hidden_layers, |list, index| {
            let layer = format!("{PREFIX}.layers.{index}");
            for name in ["q_proj", "k_proj", "v_proj", "out_proj"] {
                let module = format!("{layer}.self_attn.{name}");
                list.linear_with(&module, hidden, hidden, config.enable_bias);
            }
            list.layer_norm(&format!("{layer}.self_attn_layer_norm"), hidden);
            list.linear_with(&format!("{layer}.fc1"), config.ffn_dim, hidden, config.enable_bias);
            list.linear_with(&format!("{layer}.fc2"), hidden, config.ffn_dim, config.enable_bias);
            list.layer_norm(&format!("{layer}.final_layer_norm"), hidden);
        });
        if config.has_final_norm() {
            list.layer_norm(&format!("{PREFIX}.final_layer_norm"), hidden);
        }
        if config.is_projected() {
            list.linear_with(&format!("{PREFIX}.project_out"), embedded, hidden, false);
        }
        match task {
            Task::SequenceClassification => list.optional(ParamRole::Head, |list| {
                list.linear_with("score", num_labels, embedded, false);
            }),
            Task::QuestionAnswering => list.span_head(embedded),
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
        self.config.init_std
    }

    /// Tokens count from the offset on, wherever the padding is; padding stays just before.
    fn position_ids(&self, batch: &TokenBatch) -> Option<Vec<i64>> {
        let offset = POSITION_OFFSET as i64;
        let positions = |row: &[f32]| {
            let mut next = offset;
            let position = |&mask: &f32| match mask > 0.0 {
                true => {
                    next += 1;
                    next - 1
                }
                false => offset - 1,
            };
            row.iter().map(position).collect::<Vec<i64>>()
        };
        Some(batch.attention_mask.chunks(batch.seq).flat_map(positions).collect())
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
        format!("{PREFIX}.layers.{index}")
    }

    fn embed(&self, context: &ForwardContext, input: &TokenInput) -> Result<Dual<3>> {
        let table = context.weight::<2>(&format!("{PREFIX}.embed_tokens.weight"))?;
        let mut x = embedding(table, input.input_ids.clone());
        if self.config.is_projected() {
            x = context.linear(&format!("{PREFIX}.project_in"), x)?;
        }
        Ok(x.add(positions(context, input, &format!("{PREFIX}.embed_positions"))?))
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

    fn finish(&self, context: &ForwardContext, mut x: Dual<3>) -> Result<Dual<3>> {
        if self.config.has_final_norm() {
            x = context.layer_norm(&format!("{PREFIX}.final_layer_norm"), x, EPSILON)?;
        }
        match self.config.is_projected() {
            true => context.linear(&format!("{PREFIX}.project_out"), x),
            false => Ok(x),
        }
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
