//! Dropout by a rule that says which values are kept.

use crate::parallel::for_each_row;
use crate::rows::DualMut;

/// Values that one task handles at a time.
const WIDTH: usize = 1 << 10;

/// `x ← scale·x` where `keeps` says so of the value's index, else 0; likewise for each tangent.
///
/// ```
/// use spry_kernels::{DualMut, dropout};
///
/// let (mut x, mut dx) = (vec![1.0, 2.0, 3.0], vec![4.0, 5.0, 6.0]);
/// dropout(&mut DualMut::new(&mut x, [&mut dx[..]]), 2.0, |index| index != 1);
/// assert_eq!((x, dx), (vec![2.0, 0.0, 6.0], vec![8.0, 0.0, 12.0]));
/// ```
pub fn dropout(x: &mut DualMut, scale: f32, keeps: impl Fn(u64) -> bool + Sync + Send) {
    for_each_row(x, WIDTH, |row, x, tangents| {
        for (i, x) in x.iter_mut().enumerate() {
            let factor = if keeps((row * WIDTH + i) as u64) { scale } else { 0.0 };
            *x *= factor;
            for tangent in tangents.iter_mut() {
                tangent[i] *= factor;
            }
        }
    });
}
