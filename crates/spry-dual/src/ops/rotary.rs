//! Rotary position embedding.

use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::Dual;

/// Cosines and sines of the angles by which [`rotary`] turns: one row per position, each of the
/// length of half a head.
#[derive(Clone, Debug)]
pub struct RotaryTable {
    /// `[1, 1, positions, head_dim / 2]`.
    cos: Tensor<4>,
    sin: Tensor<4>,
}

impl RotaryTable {
    /// The angles `position · frequency`, a row for each position in the order given; frequencies are
    /// in radians per position.
    ///
    /// ```
    /// use burn::tensor::{DType, Device, Tensor};
    /// use spry_dual::Dual;
    /// use spry_dual::ops::{RotaryTable, rotary};
    ///
    /// let device = Device::default();
    /// let table = RotaryTable::new(0..2, &[std::f64::consts::FRAC_PI_2], (&device, DType::F32));
    /// // One head of size 2 at positions 0 and 1: the second is turned by a right angle.
    /// let x = Tensor::<1>::from_floats([1.0, 0.0, 1.0, 0.0], &device).reshape([1, 1, 2, 2]);
    /// let y: Vec<f32> = rotary(Dual::constant(x), &table).into_primal().into_data().try_to_vec()?;
    /// assert_eq!(y[..2], [1.0, 0.0]);
    /// assert!(y[2].abs() < 1e-6 && (y[3] - 1.0).abs() < 1e-6);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(
        positions: impl IntoIterator<Item = usize>,
        frequencies: &[f64],
        options: (&Device, DType),
    ) -> Self {
        let row = |p: usize| frequencies.iter().map(move |f| p as f64 * f);
        let angles: Vec<f64> = positions.into_iter().flat_map(row).collect();
        let positions = angles.len() / frequencies.len().max(1);
        let (sin, cos): (Vec<f64>, Vec<f64>) = angles.into_iter().map(f64::sin_cos).unzip();
        let shape = [1, 1, positions, frequencies.len()];
        let tensor = |values| Tensor::<4>::from_data(TensorData::new(values, shape), options);
        Self { cos: tensor(cos), sin: tensor(sin) }
    }
}

/// Rotary position embedding (Su et al. 2021, arXiv 2104.09864), with the pairs as in Hugging
/// Face's Llama: entry `i` of a head turns with entry `i + head_dim/2`.
///
/// `x` is `[batch, heads, seq, head_dim]`; the table has a row for each of the `seq` positions.
/// With the halves `(a, b)` of a head: `y = (a·cos − b·sin, b·cos + a·sin)`. Linear in `x`: each
/// tangent is turned likewise.
///
/// # Panics
///
/// If the table is not of `seq` positions and `head_dim / 2` frequencies.
pub fn rotary(x: Dual<4>, table: &RotaryTable) -> Dual<4> {
    let [_, _, seq, head_dim] = x.dims();
    let expected = [1, 1, seq, head_dim / 2];
    assert!(
        table.cos.dims() == expected && head_dim.is_multiple_of(2),
        "spry-dual: `rotary` got an input of shape {:?} and a table of shape {:?}; heads must have \
         an even size, and the table must be {expected:?}",
        x.dims(),
        table.cos.dims()
    );
    let half = head_dim / 2;
    x.linear_map("rotary", |t| {
        let (a, b) = (t.clone().narrow(3, 0, half), t.narrow(3, half, half));
        let turned = |x: &Tensor<4>, y: &Tensor<4>| {
            (x.clone().mul(table.cos.clone()), y.clone().mul(table.sin.clone()))
        };
        let ((a_cos, b_sin), (b_cos, a_sin)) = (turned(&a, &b), turned(&b, &a));
        Tensor::cat(vec![a_cos.sub(b_sin), b_cos.add(a_sin)], 3)
    })
}
