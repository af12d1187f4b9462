//! Blocks that the families are made of: embeddings, self-attention, feed-forward, and the layer of
//! an encoder as a whole.

use burn::tensor::{Int, Tensor};
use spry_dual::{Dual, has_kernels, ops};

use crate::architecture::{Limits, TensorList};
use crate::config::Activation;
use crate::{ForwardContext, Result, TokenInput};

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
pub(crate) struct SelfAttention {
    /// Paths of the linear layers for query, key and value.
    pub(crate) projections: [String; 3],
    /// Number of query heads.
    pub(crate) heads: usize,
    /// Number of key and value heads; divides that of the query.
    pub(crate) key_value_heads: usize,
    /// Dropout of the attention probabilities.
    pub(crate) dropout: f64,
}

impl SelfAttention {
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
        let turn = |x: Dual<4>| match &input.rotary {
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
    by_parts(context, &[up, down], x, |x| {
        let x = context.linear_activated(up, x, Some(activation.op()))?;
        context.linear(down, x)
    })
}

/// Tokens that a matrix product computes at a time on most machines.
const TILE: usize = 12;

/// Applies modules that act on each token alone to a part of the tokens at a time, as many parts as
/// there are tangents and a value. So what is wide between the modules takes, with all its tangents,
/// as much memory as its value alone does in inference.
pub(crate) fn by_parts(
    context: &ForwardContext,
    modules: &[&str],
    x: Dual<3>,
    apply: impl Fn(Dual<3>) -> Result<Dual<3>>,
) -> Result<Dual<3>> {
    let [batch, seq, width] = x.dims();
    let tokens = batch * seq;
    let parts = 1 + x.tangents().len();
    // A mask belongs to a whole input.
    let masks = modules.iter().any(|module| context.has_dropout(module));
    // Elsewhere than with kernels, small operations cost more than they save.
    let is_fused = has_kernels(&x.device(), x.primal().dtype());
    if parts == 1 || !is_fused || masks || tokens <= TILE {
        return apply(x);
    }
    let x = x.reshape([1, tokens, width]);
    let length = tokens.div_ceil(parts).next_multiple_of(TILE);
    let part = |start: usize| x.clone().narrow(1, start, length.min(tokens - start));
    let results: Result<Vec<_>> =
        (0..tokens).step_by(length).map(|start| apply(part(start))).collect();
    let y = Dual::cat(results?, 1);
    let [_, _, width] = y.dims();
    Ok(y.reshape([batch, seq, width]))
}

/// What the modules of an encoder's layer are called, below the layer's path.
pub(crate) struct EncoderNames {
    /// Query, key and value.
    pub(crate) projections: [&'static str; 3],
    /// The linear layer after the attention's heads, and the norm after that.
    pub(crate) attention: [&'static str; 2],
    /// The two linear layers of the feed-forward part, and the norm after them.
    pub(crate) feed_forward: [&'static str; 3],
}

/// A layer of an encoder in the manner of BERT: attention and feed-forward part, each followed by
/// dropout, residual and layer norm.
pub(crate) struct EncoderLayer<'a> {
    pub(crate) names: &'a EncoderNames,
    /// Number of attention heads.
    pub(crate) heads: usize,
    /// Activation of the feed-forward part.
    pub(crate) activation: Activation,
    /// Added to the variance in layer norms.
    pub(crate) epsilon: f64,
    /// Dropout of attention probabilities.
    pub(crate) probability_dropout: f64,
    /// Dropout after attention, and after the feed-forward part.
    pub(crate) dropouts: [f64; 2],
}

impl EncoderLayer<'_> {
    /// `[batch, seq, hidden]` to the same, by the layer at a path.
    pub(crate) fn forward(
        &self,
        context: &ForwardContext,
        input: &TokenInput,
        layer: &str,
        x: Dual<3>,
    ) -> Result<Dual<3>> {
        let path = |name: &str| format!("{layer}.{name}");
        let end = |x: Dual<3>, residual: Dual<3>, norm: &str, dropout: f64| {
            let sum = context.dropout(x, dropout).add(residual);
            context.layer_norm(&path(norm), sum, self.epsilon)
        };
        let attention = SelfAttention {
            projections: self.names.projections.map(path),
            heads: self.heads,
            key_value_heads: self.heads,
            dropout: self.probability_dropout,
        };
        let [output, norm] = self.names.attention;
        let attended = attention.forward(context, input, x.clone())?;
        let attended = context.linear(&path(output), attended)?;
        let x = end(attended, x, norm, self.dropouts[0])?;
        let [up, down, norm] = self.names.feed_forward;
        let hidden = feed_forward(context, [&path(up), &path(down)], self.activation, x.clone())?;
        end(hidden, x, norm, self.dropouts[1])
    }
}

impl TensorList {
    /// The layer of an encoder at a path.
    pub(crate) fn encoder_layer(
        &mut self,
        names: &EncoderNames,
        layer: &str,
        hidden: usize,
        intermediate: usize,
    ) {
        let path = |name: &str| format!("{layer}.{name}");
        for name in names.projections {
            self.linear(&path(name), hidden, hidden);
        }
        let [output, norm] = names.attention;
        self.linear(&path(output), hidden, hidden);
        self.layer_norm(&path(norm), hidden);
        let [up, down, norm] = names.feed_forward;
        self.linear(&path(up), intermediate, hidden);
        self.linear(&path(down), hidden, intermediate);
        self.layer_norm(&path(norm), hidden);
    }

    /// The embeddings of a BERT at a path: words, positions, segments, and their norm.
    pub(crate) fn bert_embeddings(&mut self, module: &str, limits: Limits, width: usize) {
        self.embedding(&format!("{module}.word_embeddings"), limits.vocab_size, width);
        self.embedding(&format!("{module}.position_embeddings"), limits.max_length, width);
        if let Some(segments) = limits.type_vocab_size {
            self.embedding(&format!("{module}.token_type_embeddings"), segments, width);
        }
        self.layer_norm(&format!("{module}.LayerNorm"), width);
    }
}

/// Sum of word, position and, where there are any, segment embeddings, normalised, with dropout;
/// `[batch, seq, width]`.
pub(crate) fn bert_embeddings(
    context: &ForwardContext,
    input: &TokenInput,
    module: &str,
    has_segments: bool,
    epsilon: f64,
    dropout: f64,
) -> Result<Dual<3>> {
    let lookup = |name: &str, ids: &Tensor<2, Int>| -> Result<Dual<3>> {
        Ok(ops::embedding(context.weight(&format!("{module}.{name}.weight"))?, ids.clone()))
    };
    let mut x = lookup("word_embeddings", &input.input_ids)?;
    if has_segments {
        x = x.add(lookup("token_type_embeddings", &input.token_type_ids)?);
    }
    let x = x.add(positions(context, input, &format!("{module}.position_embeddings"))?);
    let x = context.layer_norm(&format!("{module}.LayerNorm"), x, epsilon)?;
    Ok(context.dropout(x, dropout))
}

/// The first token of each text: `[batch, seq, hidden]` to `[texts, hidden]`.
pub(crate) fn first_token(x: Dual<3>, input: &TokenInput) -> Dual<2> {
    let [batch, seq, hidden] = x.dims();
    x.reshape([batch * seq, hidden]).select(0, input.first_tokens.clone())
}

/// The last token of each text that is not padding: `[batch, seq, hidden]` to `[texts, hidden]`.
pub(crate) fn last_token(x: Dual<3>, input: &TokenInput) -> Dual<2> {
    let [batch, seq, hidden] = x.dims();
    x.reshape([batch * seq, hidden]).select(0, input.last_tokens.clone())
}
