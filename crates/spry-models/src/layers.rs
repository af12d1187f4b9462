//! Blocks that all families are made of: self-attention, feed-forward, residual with norm.

use burn::tensor::{Int, Tensor};
use spry_dual::Dual;
use spry_dual::ops::{self, RotaryTable};

use crate::architecture::TokenInput;
use crate::config::Activation;
use crate::{ForwardContext, Result};

/// Sum of word, position and, where there are any, segment embeddings; `[batch, seq, hidden]`.
pub(crate) fn embed(
    context: &ForwardContext,
    input: &TokenInput,
    words: &str,
    position_table: &str,
    token_types: Option<&str>,
) -> Result<Dual<3>> {
    let lookup = |module: &str, ids: &Tensor<2, Int>| -> Result<Dual<3>> {
        Ok(ops::embedding(context.weight(&format!("{module}.weight"))?, ids.clone()))
    };
    let mut x = lookup(words, &input.input_ids)?;
    if let Some(module) = token_types {
        x = x.add(lookup(module, &input.token_type_ids)?);
    }
    Ok(x.add(positions(context, input, position_table)?))
}

/// Position embeddings: `[batch, seq, hidden]`, or `[1, seq, hidden]` if they are the same for all
/// rows.
pub(crate) fn positions(
    context: &ForwardContext,
    input: &TokenInput,
    module: &str,
) -> Result<Dual<3>> {
    let table = context.weight::<2>(&format!("{module}.weight"))?;
    if let Some(ids) = &input.position_ids {
        return Ok(ops::embedding(table, ids.clone()));
    }
    let ([_, seq], [_, hidden]) = (input.dims(), table.dims());
    Ok(table.narrow(0, 0, seq).reshape([1, seq, hidden]))
}

/// Multi-head self-attention up to the concatenated heads; the linear layer after it is the
/// caller's.
pub(crate) struct SelfAttention<'a> {
    /// Paths of the linear layers for query, key and value.
    pub(crate) projections: [String; 3],
    /// Number of query heads.
    pub(crate) heads: usize,
    /// Number of key and value heads; divides that of the query.
    pub(crate) key_value_heads: usize,
    /// Dropout of the attention probabilities.
    pub(crate) dropout: f64,
    /// Turns query and key by position.
    pub(crate) rotary: Option<&'a RotaryTable>,
}

impl SelfAttention<'_> {
    /// `[batch, seq, hidden]` to `[batch, seq, heads · head_dim]`.
    pub(crate) fn forward(
        &self,
        context: &ForwardContext,
        input: &TokenInput,
        x: Dual<3>,
    ) -> Result<Dual<3>> {
        let [batch, seq, _] = x.dims();
        let project = |path: &str, heads: usize| -> Result<Dual<4>> {
            let projected = context.linear(path, x.clone())?;
            let head_dim = projected.dims()[2] / heads;
            Ok(projected.reshape([batch, seq, heads, head_dim]).swap_dims(1, 2))
        };
        let turn = |x: Dual<4>| match self.rotary {
            Some(table) => ops::rotary(x, table),
            None => x,
        };
        let [query, key, value] = &self.projections;
        let query = turn(project(query, self.heads)?);
        let key = turn(project(key, self.key_value_heads)?);
        let value = project(value, self.key_value_heads)?;
        let head_dim = query.dims()[3];
        let scale = 1.0 / (head_dim as f64).sqrt();
        let dropout = context.dropout_site(self.dropout);
        let attended = ops::attention(query, key, value, Some(&input.mask), scale, dropout);
        Ok(attended.swap_dims(1, 2).reshape([batch, seq, self.heads * head_dim]))
    }
}

/// Two linear layers with an activation between them.
pub(crate) fn feed_forward(
    context: &ForwardContext,
    [up, down]: [&str; 2],
    activation: Activation,
    x: Dual<3>,
) -> Result<Dual<3>> {
    context.linear(down, activation.apply(context.linear(up, x)?))
}

/// The end of a post-norm sublayer: dropout, residual, layer norm.
pub(crate) fn add_and_norm(
    context: &ForwardContext,
    norm: (&str, f64),
    x: Dual<3>,
    residual: Dual<3>,
    dropout: f64,
) -> Result<Dual<3>> {
    context.layer_norm(norm.0, context.dropout(x, dropout).add(residual), norm.1)
}

/// The first token of each sequence: `[batch, seq, hidden]` to `[batch, hidden]`.
pub(crate) fn first_token(x: Dual<3>) -> Dual<2> {
    let [batch, _, hidden] = x.dims();
    x.narrow(1, 0, 1).reshape([batch, hidden])
}

/// The last token of each sequence that is not padding: `[batch, seq, hidden]` to
/// `[batch, hidden]`.
pub(crate) fn last_token(x: Dual<3>, input: &TokenInput) -> Dual<2> {
    let [batch, seq, hidden] = x.dims();
    x.reshape([batch * seq, hidden]).select(0, input.last_tokens.clone())
}
