//! Matrix products: plain, the linear layer, and LoRA's low-rank branch.

use burn::tensor::Tensor;

use super::Activation;
use crate::dual::check_same_k;
use crate::kernels::Kernels;
use crate::{Dual, Tangents, trace};

/// Tangents of the bilinear product `x·y` (matrix product): `dx·y + x·dy`.
fn product_tangents<const D: usize>(
    op: &str,
    (x, dx): (&Tensor<D>, Tangents<D>),
    (y, dy): (&Tensor<D>, Tangents<D>),
) -> Tangents<D> {
    if let (Tangents::Dense(a), Tangents::Dense(b)) = (&dx, &dy) {
        check_same_k(op, a.len(), b.len());
    }
    let left = dx.map(|t| t.matmul(y.clone()));
    let right = dy.map(|t| x.clone().matmul(t));
    left.accumulate(right)
}

impl<const D: usize> Dual<D> {
    /// Matrix product over the last two axes; leading axes are batch axes.
    ///
    /// `z = x·y`, `dz = dx·y + x·dy`.
    ///
    /// # Panics
    ///
    /// If the inner sizes differ, or the operands carry different numbers of directions.
    pub fn matmul(self, other: Self) -> Self {
        trace::record("matmul", self.tangents().len().max(other.tangents().len()));
        let (left, right) = (self.dims(), other.dims());
        assert!(
            D >= 2 && left[D - 1] == right[D - 2],
            "spry-dual: `matmul` cannot multiply {left:?} by {right:?}: the last axis of the left \
             operand must equal the second to last of the right"
        );
        let (x, dx) = self.into_parts();
        let (y, dy) = other.into_parts();
        let tangents = product_tangents("matmul", (&x, dx), (&y, dy));
        Self::from_parts(x.matmul(y), tangents)
    }
}

/// The linear layer `y = x·Wᵀ + b`, with the weight as Hugging Face and PyTorch store it.
///
/// `x` is `[.., in]`, `weight` is `[out, in]`, `bias` is `[out]`; the result is `[.., out]`.
/// `dy = dx·Wᵀ + x·dWᵀ + db`, each term only where its operand is perturbed.
///
/// # Panics
///
/// If shapes do not fit or perturbed operands carry different numbers of directions.
pub fn linear<const D: usize>(x: Dual<D>, weight: Dual<2>, bias: Option<Dual<1>>) -> Dual<D> {
    linear_activated(x, weight, bias, None)
}

/// [`linear`] with an activation on its result, in one go where a kernel can.
///
/// # Panics
///
/// As [`linear`].
pub fn linear_activated<const D: usize>(
    x: Dual<D>,
    weight: Dual<2>,
    bias: Option<Dual<1>>,
    activation: Option<Activation>,
) -> Dual<D> {
    let shape = x.dims();
    let [out, input] = weight.dims();
    assert!(
        shape[D - 1] == input,
        "spry-dual: `linear` got an input of shape {shape:?} and a weight of shape [{out}, {input}]; \
         the input's last axis must be {input}"
    );
    if let Some(bias) = &bias {
        let [length] = bias.dims();
        assert!(
            length == out,
            "spry-dual: `linear` got a bias of length {length} for a weight of shape [{out}, \
             {input}]; the bias must have {out} entries"
        );
    }
    let bias_k = bias.as_ref().map_or(0, |bias| bias.tangents().len());
    let k = x.tangents().len().max(weight.tangents().len()).max(bias_k);
    trace::record("linear", k);
    for tangents in [x.tangents().len(), weight.tangents().len(), bias_k] {
        if tangents > 0 {
            check_same_k("linear", k, tangents);
        }
    }

    if let Some(kernels) = Kernels::for_all(&[&x, &weight, &bias]) {
        if let Some(activation) = activation {
            trace::record(activation.name(), k);
        }
        return kernels.linear(&x, &weight, bias.as_ref(), activation);
    }
    let y = composed_linear(x, weight, bias);
    match activation {
        Some(activation) => activation.apply(y),
        None => y,
    }
}

fn composed_linear<const D: usize>(x: Dual<D>, weight: Dual<2>, bias: Option<Dual<1>>) -> Dual<D> {
    let shape = x.dims();
    let [out, input] = weight.dims();
    let rows = shape[..D - 1].iter().product();
    let mut out_shape = shape;
    out_shape[D - 1] = out;

    let (x, dx) = x.into_parts();
    let (w, dw) = weight.into_parts();
    let x = x.reshape([rows, input]);
    let w = w.transpose();
    let tangents = product_tangents(
        "linear",
        (&x, dx.map(|t| t.reshape([rows, input]))),
        (&w, dw.map(|t| t.transpose())),
    );
    let (value, tangents) = match bias {
        None => (x.matmul(w), tangents),
        Some(bias) => {
            let (b, db) = bias.into_parts();
            let db = db.map(|t| t.reshape([1, out]));
            let tangents = match (tangents, db) {
                (tangents, Tangents::Zero) => tangents,
                (Tangents::Zero, db) => db.map(|t| t.expand([rows, out])),
                (Tangents::Dense(a), Tangents::Dense(b)) => {
                    Tangents::Dense(a.into_iter().zip(b).map(|(a, b)| a.add(b)).collect())
                }
            };
            (x.matmul(w).add(b.reshape([1, out])), tangents)
        }
    };
    Dual::from_parts(value.reshape(out_shape), tangents.map(|t| t.reshape(out_shape)))
}

/// A layer's output with LoRA's branch added: `y + s·(x·Aᵀ)·Bᵀ` (Hu et al. 2021, arXiv 2106.09685).
///
/// `y` is `[.., out]`, `x` is `[.., in]`, `a` is `[r, in]`, `b` is `[out, r]`; the result is
/// `[.., out]`. With `u = x·Aᵀ`: `du = dx·Aᵀ + x·dAᵀ`, and `s·(du·Bᵀ + u·dBᵀ)` is added to `dy`. The
/// product `A·B` and its tangent are never formed: everything in between has `r` columns.
///
/// # Panics
///
/// If shapes do not fit or perturbed operands carry different numbers of directions.
pub fn add_lora_branch<const D: usize>(
    y: Dual<D>,
    x: Dual<D>,
    a: Dual<2>,
    b: Dual<2>,
    scaling: f64,
) -> Dual<D> {
    let (of_x, of_y) = (x.dims(), y.dims());
    let ([rank, input], [output, b_rank]) = (a.dims(), b.dims());
    assert!(
        rank == b_rank
            && of_x[..D - 1] == of_y[..D - 1]
            && [of_x[D - 1], of_y[D - 1]] == [input, output],
        "spry-dual: `add_lora_branch` got an input of shape {of_x:?}, an output of shape {of_y:?}, \
         and the factors [{rank}, {input}] and [{output}, {b_rank}]; they must be [.., {input}], \
         [.., {output}], and share the rank"
    );
    let counts = [&y, &x].map(|x| x.tangents().len());
    let counts = [counts[0], counts[1], a.tangents().len(), b.tangents().len()];
    let k = counts.into_iter().max().unwrap_or(0);
    for count in counts.into_iter().filter(|count| *count > 0) {
        check_same_k("add_lora_branch", k, count);
    }
    trace::record("add_lora_branch", k);
    if let Some(kernels) = Kernels::for_all(&[&y, &x, &a, &b]) {
        return kernels.add_lora_branch(y, &x, &a, &b, scaling);
    }
    y.add(linear(linear(x, a, None).mul_scalar(scaling), b, None))
}
