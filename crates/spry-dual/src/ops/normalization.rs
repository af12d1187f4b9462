//! Softmax, log-softmax, layer norm and RMS norm: rules that are worth a closed form, because their
//! directions share the probabilities or the normalised activations.

use burn::tensor::{Tensor, activation, module};

use crate::dual::check_same_k;
use crate::kernels::Kernels;
use crate::{Dual, Tangents, trace};

/// Softmax along the last axis.
///
/// `p = softmax(x)`, `dp = p ⊙ (dx − Σ p ⊙ dx)`, the sum along the last axis.
pub fn softmax<const D: usize>(x: Dual<D>) -> Dual<D> {
    trace::record("softmax", x.tangents().len());
    let (x, dx) = x.into_parts();
    let p = activation::softmax(x, D - 1);
    let tangents = softmax_tangents(&p, dx);
    Dual::from_parts(p, tangents)
}

/// Tangents of a softmax from its probabilities and the tangents of its scores.
pub(crate) fn softmax_tangents<const D: usize>(p: &Tensor<D>, dx: Tangents<D>) -> Tangents<D> {
    dx.map(|t| {
        let weighted = t.mul(p.clone());
        let total = weighted.clone().sum_dim(D - 1);
        weighted.sub(p.clone().mul(total))
    })
}

/// Logarithm of the softmax along the last axis.
///
/// `y = x − log Σ eˣ`, `dy = dx − Σ softmax(x) ⊙ dx`.
pub fn log_softmax<const D: usize>(x: Dual<D>) -> Dual<D> {
    trace::record("log_softmax", x.tangents().len());
    let (x, dx) = x.into_parts();
    let y = activation::log_softmax(x, D - 1);
    if dx.is_zero() {
        return Dual::constant(y);
    }
    let p = y.clone().exp();
    let tangents = dx.map(|t| {
        let total = t.clone().mul(p.clone()).sum_dim(D - 1);
        t.sub(total)
    });
    Dual::from_parts(y, tangents)
}

/// Layer norm over the last axis (Ba et al. 2016, arXiv 1607.06450), with the biased variance.
///
/// `x` is `[.., hidden]`, `weight` (γ) and `bias` (β) are `[hidden]`, `epsilon` is added to the
/// variance. With `n = (x − mean) / √(var + ε)`: `y = γ ⊙ n + β` and
/// `dy = γ ⊙ (dx − mean(dx) − n ⊙ mean(n ⊙ dx)) / √(var + ε) + dγ ⊙ n + dβ`.
///
/// # Panics
///
/// If `weight` or `bias` is not as long as the last axis, or perturbed operands carry different
/// numbers of directions.
pub fn layer_norm<const D: usize>(
    x: Dual<D>,
    weight: Dual<1>,
    bias: Dual<1>,
    epsilon: f64,
) -> Dual<D> {
    let shape = x.dims();
    let hidden = shape[D - 1];
    assert!(
        weight.dims() == [hidden] && bias.dims() == [hidden],
        "spry-dual: `layer_norm` got an input of shape {shape:?}, a weight of length {} and a bias \
         of length {}; both must have {hidden} entries",
        weight.dims()[0],
        bias.dims()[0]
    );
    let k = x.tangents().len().max(weight.tangents().len()).max(bias.tangents().len());
    trace::record("layer_norm", k);
    for tangents in [x.tangents().len(), weight.tangents().len(), bias.tangents().len()] {
        if tangents > 0 {
            check_same_k("layer_norm", k, tangents);
        }
    }
    if let Some(kernels) = Kernels::for_all(&[&x, &weight, &bias]) {
        return kernels.layer_norm(x, &weight, &bias, epsilon);
    }
    let reverse_mode =
        [x.is_reverse_mode(), weight.is_reverse_mode(), bias.is_reverse_mode()].contains(&true);

    let (x, dx) = x.into_parts();
    let (gamma, dgamma) = weight.into_parts();
    let (beta, dbeta) = bias.into_parts();
    if k == 0 && !reverse_mode {
        return Dual::constant(module::layer_norm(x, gamma, Some(beta), epsilon));
    }

    let mut row = [1; D];
    row[D - 1] = hidden;
    let gamma: Tensor<D> = gamma.reshape(row);
    let beta: Tensor<D> = beta.reshape(row);
    let centered = x.clone().sub(x.mean_dim(D - 1));
    let variance = centered.clone().square().mean_dim(D - 1);
    let inverse_std = variance.add_scalar(epsilon).sqrt().recip();
    let normalized = centered.mul(inverse_std.clone());
    let value = normalized.clone().mul(gamma.clone()).add(beta);

    let from_input = dx.map(|t| {
        let projection = t.clone().mul(normalized.clone()).mean_dim(D - 1);
        let mean = t.clone().mean_dim(D - 1);
        t.sub(mean)
            .sub(normalized.clone().mul(projection))
            .mul(inverse_std.clone())
            .mul(gamma.clone())
    });
    let from_weight = dgamma.map(|t| normalized.clone().mul(t.reshape(row)));
    let from_bias = dbeta.map(|t| t.reshape(row).expand(shape));
    Dual::from_parts(value, from_input.accumulate(from_weight).accumulate(from_bias))
}

/// RMS norm over the last axis (Zhang & Sennrich 2019, arXiv 1910.07467).
///
/// `x` is `[.., hidden]`, `weight` (γ) is `[hidden]`, `epsilon` is added to the mean square. With
/// `n = x / √(mean(x²) + ε)`: `y = γ ⊙ n` and
/// `dy = γ ⊙ (dx − n ⊙ mean(n ⊙ dx)) / √(mean(x²) + ε) + dγ ⊙ n`. That has no term for ε: the
/// derivative of `1/√(mean(x²) + ε)` carries the whole root.
///
/// # Panics
///
/// If `weight` is not as long as the last axis, or perturbed operands carry different numbers of
/// directions.
pub fn rms_norm<const D: usize>(x: Dual<D>, weight: Dual<1>, epsilon: f64) -> Dual<D> {
    let shape = x.dims();
    let hidden = shape[D - 1];
    assert!(
        weight.dims() == [hidden],
        "spry-dual: `rms_norm` got an input of shape {shape:?} and a weight of length {}; it must \
         have {hidden} entries",
        weight.dims()[0]
    );
    trace::record("rms_norm", x.tangents().len().max(weight.tangents().len()));
    if x.is_perturbed() && weight.is_perturbed() {
        check_same_k("rms_norm", x.tangents().len(), weight.tangents().len());
    }
    if let Some(kernels) = Kernels::for_all(&[&x, &weight]) {
        return kernels.rms_norm(x, &weight, epsilon);
    }
    let (x, dx) = x.into_parts();
    let (gamma, dgamma) = weight.into_parts();
    let mut row = [1; D];
    row[D - 1] = hidden;
    let gamma: Tensor<D> = gamma.reshape(row);
    let inverse_root = x.clone().square().mean_dim(D - 1).add_scalar(epsilon).sqrt().recip();
    let normalized = x.mul(inverse_root.clone());
    let value = normalized.clone().mul(gamma.clone());
    let from_input = dx.map(|t| {
        let projection = t.clone().mul(normalized.clone()).mean_dim(D - 1);
        let centered = t.sub(normalized.clone().mul(projection));
        centered.mul(inverse_root.clone()).mul(gamma.clone())
    });
    let from_weight = dgamma.map(|t| normalized.clone().mul(t.reshape(row)));
    Dual::from_parts(value, from_input.accumulate(from_weight))
}
