//! Losses.

use burn::tensor::{Int, Tensor, activation};

use crate::kernels::Kernels;
use crate::{Dual, Tangents, trace};

/// Mean cross entropy between logits and class indices.
///
/// `logits` is `[batch, classes]`, `targets` is `[batch]` with values below `classes`; the result
/// has shape `[1]`. `L = −mean log p[target]`, `dL = Σ (p − onehot) ⊙ dlogits / batch`.
///
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use spry_dual::{Dual, ops::cross_entropy};
///
/// let device = Device::default();
/// let logits = Dual::constant(Tensor::<2>::zeros([3, 4], &device));
/// let targets = Tensor::<1, Int>::from_ints([0, 1, 3], &device);
/// let loss = cross_entropy(logits, targets).into_primal().into_scalar::<f32>();
/// assert!((loss - 4f32.ln()).abs() < 1e-6);
/// ```
///
/// # Panics
///
/// If the batch sizes differ or a target is no class.
pub fn cross_entropy(logits: Dual<2>, targets: Tensor<1, Int>) -> Dual<1> {
    trace::record("cross_entropy", logits.tangents().len());
    let [batch, classes] = logits.dims();
    assert!(
        targets.dims() == [batch],
        "spry-dual: `cross_entropy` got logits for {batch} examples and {} targets; give one target \
         per row of logits",
        targets.dims()[0]
    );
    if let Some(kernels) = Kernels::for_all(&[&logits])
        && let Ok(indices) = targets.to_data().convert::<i64>().try_to_vec::<i64>()
    {
        let indices: Vec<usize> = indices.into_iter().map(|index| index as usize).collect();
        return kernels.cross_entropy(&logits, &indices);
    }
    let (logits, dlogits) = logits.into_parts();
    let log_p = activation::log_softmax(logits, 1);
    let picked = log_p.clone().gather(1, targets.clone().reshape([batch, 1]));
    let loss = picked.mean().neg();
    let tangents = match dlogits {
        Tangents::Zero => Tangents::Zero,
        dense => {
            let onehot: Tensor<2> = targets.one_hot::<2>(classes).float().cast(log_p.dtype());
            let gradient = log_p.exp().sub(onehot).div_scalar(batch as f64);
            dense.map(|t| t.mul(gradient.clone()).sum())
        }
    };
    Dual::from_parts(loss, tangents)
}
