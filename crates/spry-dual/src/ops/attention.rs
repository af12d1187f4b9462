//! Scaled-dot-product attention with a mask.

use std::ops::Range;

use burn::tensor::{DType, Device, Tensor};

use super::dropout::{DropoutSeed, dropout};
use super::normalization::softmax_tangents;
use crate::kernels::Kernels;
use crate::{Dual, trace};

/// Which keys a query may look at.
///
/// Either the texts of a batch are padded to one length, and the mask is a bias that is added to the
/// scores: 0 where allowed, `f32`'s lowest finite value where not. Or they are *packed*: one after
/// another along the axis of queries and keys, each of its own length, and a query sees keys of its
/// own text only; then nothing is computed for padding.
#[derive(Clone, Debug)]
pub struct AttentionMask(Kind);

#[derive(Clone, Debug)]
enum Kind {
    /// `[batch or 1, 1 or heads, 1 or queries, keys]`.
    Bias(Box<Tensor<4>>),
    Packed {
        lengths: Vec<usize>,
        is_causal: bool,
    },
}

impl AttentionMask {
    /// From a padding mask: `[batch, keys]`, 1 for a token, 0 for padding; `f32` or `f64`.
    ///
    /// A row without any token attends uniformly instead of producing NaN.
    pub fn from_padding(mask: Tensor<2>) -> Self {
        let [batch, keys] = mask.dims();
        Self::biased(padding_bias(mask).reshape([batch, 1, 1, keys]))
    }

    /// For a decoder, in which a token sees itself and those before it: from a padding mask as in
    /// [`from_padding`](Self::from_padding), where queries are the same tokens as keys.
    pub fn causal(mask: Tensor<2>) -> Self {
        let [batch, keys] = mask.dims();
        let later = causal_bias(keys, (&mask.device(), mask.dtype()));
        let padding = padding_bias(mask).reshape([batch, 1, 1, keys]);
        // Two biases could add up to −∞, and a row of these to NaN.
        Self::biased(padding.add(later).clamp_min(f64::from(f32::MIN)))
    }

    fn biased(bias: Tensor<4>) -> Self {
        Self(Kind::Bias(Box::new(bias)))
    }

    /// For texts of these lengths, packed one after another; with `is_causal` a token sees itself
    /// and those before it, else its whole text.
    ///
    /// # Panics
    ///
    /// If there is no text, or one without tokens.
    pub fn packed(lengths: Vec<usize>, is_causal: bool) -> Self {
        assert!(
            !lengths.is_empty() && !lengths.contains(&0),
            "spry-dual: texts of the lengths {lengths:?} cannot be packed; there must be at least \
             one, and each must have a token"
        );
        Self(Kind::Packed { lengths, is_causal })
    }

    /// The bias, `[batch or 1, 1 or heads, 1 or queries, keys]`; `None` if texts are packed.
    pub fn bias(&self) -> Option<&Tensor<4>> {
        match &self.0 {
            Kind::Bias(bias) => Some(bias),
            Kind::Packed { .. } => None,
        }
    }

    /// Lengths of packed texts.
    pub fn lengths(&self) -> Option<&[usize]> {
        match &self.0 {
            Kind::Bias(_) => None,
            Kind::Packed { lengths, .. } => Some(lengths),
        }
    }

    /// Whether texts are packed and a token sees only itself and those before it.
    pub(crate) fn is_packed_causal(&self) -> bool {
        matches!(self.0, Kind::Packed { is_causal: true, .. })
    }
}

/// 0 for tokens, `f32`'s lowest value for padding. That also serves f64: e^(-3e38) is 0 in both.
fn padding_bias(mask: Tensor<2>) -> Tensor<2> {
    mask.neg().add_scalar(1.0).mul_scalar(f64::from(f32::MIN))
}

/// `[1, 1, tokens, tokens]`: `f32`'s lowest value for later tokens, else 0.
fn causal_bias(tokens: usize, options: (&Device, DType)) -> Tensor<4> {
    let ones = Tensor::<2>::ones([tokens, tokens], options);
    ones.triu(1).mul_scalar(f64::from(f32::MIN)).reshape([1, 1, tokens, tokens])
}

/// The places of packed texts.
pub(crate) fn ranges(lengths: &[usize]) -> impl Iterator<Item = Range<usize>> {
    lengths.iter().scan(0, |end, length| {
        *end += length;
        Some(*end - length..*end)
    })
}

/// `softmax(Q·Kᵀ·scale + mask)·V` (Vaswani et al. 2017, arXiv 1706.03762), with optional dropout
/// on the attention probabilities.
///
/// `query` is `[batch, heads, queries, head_dim]`, `key` `[batch, heads, keys, head_dim]`, `value`
/// `[batch, heads, keys, value_dim]`; the result is `[batch, heads, queries, value_dim]`.
///
/// Key and value may have fewer heads, of which each serves as many consecutive query heads as
/// needed (grouped-query attention, Ainslie et al. 2023, arXiv 2305.13245). The mask must then be
/// the same for all heads. Keys and values are not copied: query heads that share a key are put one
/// after another along the axis of queries.
///
/// With `S = scale·Q·Kᵀ`, `P = softmax(S + mask)`: `dS = scale·(dQ·Kᵀ + Q·dKᵀ)`,
/// `dP = P ⊙ (dS − Σ P ⊙ dS)`, `dO = dP·V + P·dV`. Directions share `P`, and terms whose operand
/// is not perturbed are skipped.
///
/// With a [packed](AttentionMask::packed) mask, `batch` is 1 and the axes of queries and keys hold
/// all texts; dropout draws the mask of each text from a site of its own.
///
/// # Panics
///
/// If shapes do not fit or perturbed operands carry different numbers of directions.
pub fn attention(
    query: Dual<4>,
    key: Dual<4>,
    value: Dual<4>,
    mask: Option<&AttentionMask>,
    scale: f64,
    probability_dropout: Option<(f64, DropoutSeed)>,
) -> Dual<4> {
    let [batch, heads, queries, head_dim] = query.dims();
    let [key_batch, key_heads, keys, key_dim] = key.dims();
    let value_shape = value.dims();
    assert!(
        [batch, head_dim] == [key_batch, key_dim]
            && key_heads > 0
            && heads.is_multiple_of(key_heads)
            && value_shape[..3] == [batch, key_heads, keys],
        "spry-dual: `attention` got query {:?}, key {:?} and value {value_shape:?}; batch must agree, \
         the heads of key and value must agree and divide those of the query, query and key must \
         share head_dim, key and value must share the length",
        query.dims(),
        key.dims()
    );

    let lengths = mask.and_then(AttentionMask::lengths);
    if let Some(lengths) = lengths {
        let tokens: usize = lengths.iter().sum();
        assert!(
            [batch, queries, keys] == [1, tokens, tokens],
            "spry-dual: `attention` got query {:?} and key {:?} for packed texts of {tokens} tokens; \
             they must be one batch of as many queries and keys",
            query.dims(),
            key.dims()
        );
    }
    let k = query.tangents().len().max(key.tangents().len()).max(value.tangents().len());
    trace::record("attention", k);
    let bias = mask.and_then(AttentionMask::bias);
    if let Some([masks, of_heads, of_queries, of_keys]) = bias.map(Tensor::dims) {
        let repeats = |count: usize, all: usize| count == 1 || count == all;
        assert!(
            repeats(masks, batch)
                && repeats(of_heads, heads)
                && repeats(of_queries, queries)
                && of_keys == keys,
            "spry-dual: `attention` got a mask of shape {:?} for query {:?} and {keys} keys; each \
             axis must have the same size, or 1 for all but the keys",
            [masks, of_heads, of_queries, of_keys],
            query.dims()
        );
        assert!(
            of_heads == 1 || heads == key_heads,
            "spry-dual: `attention` got a mask of {of_heads} heads for grouped queries; it must be \
             the same for all"
        );
    }
    let bias = bias.cloned();
    if let Some(kernels) = Kernels::for_all(&[&query, &key, &value, &bias]) {
        if probability_dropout.is_some() {
            trace::record("dropout", k);
        }
        return kernels.attention(query, key, value, mask, scale, probability_dropout);
    }
    let Some(lengths) = lengths else {
        return of_batch([query, key, value], bias, scale, probability_dropout);
    };
    let is_causal = mask.is_some_and(AttentionMask::is_packed_causal);
    let options = (&query.device(), query.primal().dtype());
    let of_text = |(index, range): (usize, Range<usize>)| {
        let part = |x: &Dual<4>| x.clone().narrow(2, range.start, range.len());
        let bias = is_causal.then(|| causal_bias(range.len(), options));
        let dropout = probability_dropout.map(|(p, seed)| (p, seed.site(index as u64)));
        of_batch([part(&query), part(&key), part(&value)], bias, scale, dropout)
    };
    Dual::cat(ranges(lengths).enumerate().map(of_text).collect(), 2)
}

/// [`attention`], composed, for texts of one length.
fn of_batch(
    [query, key, value]: [Dual<4>; 3],
    bias: Option<Tensor<4>>,
    scale: f64,
    probability_dropout: Option<(f64, DropoutSeed)>,
) -> Dual<4> {
    let [batch, heads, queries, head_dim] = query.dims();
    let [_, key_heads, keys, value_dim] = value.dims();
    let shared = heads / key_heads;
    let query = match shared {
        1 => query,
        _ => query.reshape([batch, key_heads, shared * queries, head_dim]),
    };
    // The scale goes onto the query: queries × head_dim values instead of queries × keys.
    let scores = query.mul_scalar(scale).matmul(key.swap_dims(2, 3));
    let (scores, score_tangents) = scores.into_parts();
    let scores = match bias {
        None => scores,
        Some(bias) if shared == 1 => scores.add(bias),
        Some(bias) => {
            // An axis for the heads that share a key, along which the mask is not copied.
            let [masks, _, rows, _] = bias.dims();
            let scores = scores.reshape([batch, key_heads, shared, queries, keys]);
            let bias = bias.reshape([masks, 1, 1, rows, keys]);
            scores.add(bias).reshape([batch, key_heads, shared * queries, keys])
        }
    };
    let p = burn::tensor::activation::softmax(scores, 3);
    let dp = softmax_tangents(&p, score_tangents);
    let probabilities = Dual::from_parts(p, dp);
    let probabilities = match probability_dropout {
        Some((probability, seed)) => dropout(probabilities, probability, seed),
        None => probabilities,
    };
    let attended = probabilities.matmul(value);
    match shared {
        1 => attended,
        _ => attended.reshape([batch, heads, queries, value_dim]),
    }
}
