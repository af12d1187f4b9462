//! Cross entropy.

use crate::rows::DualRef;

/// Mean cross entropy of rows of logits, and its derivative along each direction:
/// `L = −mean log p[target]`, `dL = Σ (p − onehot) ⊙ dlogits / rows`.
///
/// `logits` is `[rows, classes]`, `targets` has a class for each row.
///
/// # Panics
///
/// If lengths do not fit, or a target is not a class.
///
/// ```
/// use spry_kernels::{DualRef, cross_entropy};
///
/// let logits = DualRef::new(&[0.0, 0.0], [&[1.0, 0.0][..]]);
/// let (loss, derivatives) = cross_entropy(&logits, 2, &[0]);
/// assert!((loss - 2f32.ln()).abs() < 1e-6);
/// assert!((derivatives[0] + 0.5).abs() < 1e-6);
/// ```
pub fn cross_entropy(logits: &DualRef, classes: usize, targets: &[usize]) -> (f32, Vec<f32>) {
    let rows = targets.len();
    assert!(
        logits.primal.len() == rows * classes,
        "spry-kernels: {} logits for {rows} rows of {classes} classes",
        logits.primal.len()
    );
    if let Some(target) = targets.iter().find(|&&target| target >= classes) {
        panic!("spry-kernels: the target {target} is none of the {classes} classes");
    }
    let mut loss = 0.0;
    let mut derivatives = vec![0.0; logits.tangents.len()];
    for (row, &target) in targets.iter().enumerate() {
        let range = row * classes..(row + 1) * classes;
        let values = &logits.primal[range.clone()];
        // NaN comes back in through the sum.
        let largest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let exponential = |logit: f32| f64::from(logit - largest).exp();
        let total: f64 = values.iter().copied().map(exponential).sum();
        loss += total.ln() - f64::from(values[target] - largest);
        for (derivative, tangent) in derivatives.iter_mut().zip(&logits.tangents) {
            let tangent = &tangent[range.clone()];
            let mean: f64 =
                values.iter().zip(tangent).map(|(&x, &t)| exponential(x) * f64::from(t)).sum();
            *derivative += mean / total - f64::from(tangent[target]);
        }
    }
    let mean = |sum: f64| (sum / rows as f64) as f32;
    (mean(loss), derivatives.into_iter().map(mean).collect())
}
