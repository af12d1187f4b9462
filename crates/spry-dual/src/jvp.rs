//! The entry points: the value of a function and its derivatives along given directions.

use burn::tensor::Tensor;

use crate::Dual;

/// Value of `function` at `primal` and its derivative along each of the directions.
///
/// One pass computes the value once and `K = directions.len()` tangents next to it. This is
/// `jax.jvp` with `K` directions; the directions need not be unit vectors.
///
/// Returns the value and `K` tensors of its shape: `J(primal) · directions[k]`. If the output does
/// not depend on the input, the derivatives are zeros.
///
/// # Panics
///
/// If `directions` is empty or a direction's shape or dtype differs from the primal's.
pub fn jvp<const D: usize, const E: usize>(
    function: impl FnOnce(Dual<D>) -> Dual<E>,
    primal: Tensor<D>,
    directions: Vec<Tensor<D>>,
) -> (Tensor<E>, Vec<Tensor<E>>) {
    let k = directions.len();
    split(function(Dual::new(primal, directions)), k)
}

/// [`jvp`] of a function of several tensors of one rank.
///
/// `directions[k]` holds one tensor per primal: the `k`-th direction in the joint input space.
///
/// # Panics
///
/// If `directions` is empty, some `directions[k]` does not have one tensor per primal, or shapes
/// or dtypes differ.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use spry_dual::jvp_many;
///
/// let device = Device::default();
/// let scalar = |value: f32| Tensor::<1>::from_floats([value], &device);
/// // d(x·y) = y·dx + x·dy at (3, 4) along (1, 10)
/// let (value, derivatives) = jvp_many(
///     |inputs| inputs[0].clone().mul(inputs[1].clone()),
///     vec![scalar(3.0), scalar(4.0)],
///     vec![vec![scalar(1.0), scalar(10.0)]],
/// );
/// assert_eq!(value.into_scalar::<f32>(), 12.0);
/// assert_eq!(derivatives[0].clone().into_scalar::<f32>(), 34.0);
/// ```
pub fn jvp_many<const D: usize, const E: usize>(
    function: impl FnOnce(&[Dual<D>]) -> Dual<E>,
    primals: Vec<Tensor<D>>,
    directions: Vec<Vec<Tensor<D>>>,
) -> (Tensor<E>, Vec<Tensor<E>>) {
    let k = directions.len();
    for (index, direction) in directions.iter().enumerate() {
        assert!(
            direction.len() == primals.len(),
            "spry-dual: jvp_many got {} primals, but direction {index} has {} tensors; give one \
             tensor per primal (zeros for inputs that stay fixed)",
            primals.len(),
            direction.len()
        );
    }
    let inputs: Vec<Dual<D>> = primals
        .into_iter()
        .enumerate()
        .map(|(i, primal)| Dual::new(primal, directions.iter().map(|d| d[i].clone()).collect()))
        .collect();
    split(function(&inputs), k)
}

fn split<const E: usize>(output: Dual<E>, k: usize) -> (Tensor<E>, Vec<Tensor<E>>) {
    let (value, tangents) = output.into_parts();
    let derivatives = (0..k).map(|index| tangents.direction(index, &value)).collect();
    (value, derivatives)
}
