//! Scaled-dot-product attention with a mask.

use burn::tensor::Tensor;

use super::dropout::{DropoutSeed, dropout};
use super::normalization::softmax_tangents;
use crate::{Dual, trace};

/// Which keys a query may look at, as a bias that is added to the scores: 0 where allowed, `f32`'s
/// lowest finite value where not.
///
/// Shape `[batch, 1 or heads, 1 or queries, keys]`.
#[derive(Clone, Debug)]
pub struct AttentionMask {
    bias: Tensor<4>,
}

impl AttentionMask {
    /// From a padding mask: `[batch, keys]`, 1 for a token, 0 for padding; `f32` or `f64`.
    ///
    /// A row without any token attends uniformly instead of producing NaN.
    pub fn from_padding(mask: Tensor<2>) -> Self {
        let [batch, keys] = mask.dims();
        // f32's lowest value also serves f64: e^(-3e38) is 0 in both.
        let bias = mask.neg().add_scalar(1.0).mul_scalar(f64::from(f32::MIN));
        Self { bias: bias.reshape([batch, 1, 1, keys]) }
    }

    /// For a decoder, in which a token sees itself and those before it: from a padding mask as in
    /// [`from_padding`](Self::from_padding), where queries are the same tokens as keys.
    pub fn causal(mask: Tensor<2>) -> Self {
        let [_, keys] = mask.dims();
        let lowest = f64::from(f32::MIN);
        let ones = Tensor::<2>::ones([keys, keys], (&mask.device(), mask.dtype()));
        let later = ones.triu(1).mul_scalar(lowest).reshape([1, 1, keys, keys]);
        // Two biases could add up to −∞, and a row of these to NaN.
        Self { bias: Self::from_padding(mask).bias.add(later).clamp_min(lowest) }
    }

    /// The bias, `[batch, 1 or heads, 1 or queries, keys]`.
    pub fn bias(&self) -> &Tensor<4> {
        &self.bias
    }
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

    let shared = heads / key_heads;
    let k = query.tangents().len().max(key.tangents().len()).max(value.tangents().len());
    trace::record("attention", k);

    let query = match shared {
        1 => query,
        _ => query.reshape([batch, key_heads, shared * queries, head_dim]),
    };
    // The scale goes onto the query: queries × head_dim values instead of queries × keys.
    let scores = query.mul_scalar(scale).matmul(key.swap_dims(2, 3));
    let (scores, score_tangents) = scores.into_parts();
    let scores = match mask {
        None => scores,
        Some(mask) if shared == 1 => scores.add(mask.bias().clone()),
        Some(mask) => {
            let [masks, heads, rows, _] = mask.bias().dims();
            assert!(
                heads == 1,
                "spry-dual: `attention` got a mask of {heads} heads for grouped queries; it must \
                 be the same for all"
            );
            // An axis for the heads that share a key, along which the mask is not copied.
            let scores = scores.reshape([batch, key_heads, shared, queries, keys]);
            let bias = mask.bias().clone().reshape([masks, 1, 1, rows, keys]);
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
        _ => attended.reshape([batch, heads, queries, value_shape[3]]),
    }
}
