//! LoRA's low-rank branch, added to a layer's output in place.

use pulp::{Simd, WithSimd};

use crate::dispatch::arch;
use crate::loops::{AddMultiple, Product, sum, update};
use crate::parallel::for_each_row;
use crate::rows::{DualMut, DualRef, directions};

/// `y ← y + s·(x·Aᵀ)·Bᵀ` and, for each direction, with `u = x·Aᵀ` and `du = dx·Aᵀ + x·dAᵀ`,
/// `dy ← dy + s·(du·Bᵀ + u·dBᵀ)` (Hu et al. 2021, arXiv 2106.09685).
///
/// `x` is `[rows, input]`, `a` is `[rank, input]`, `b` is `[output, rank]`, `y` is `[rows, output]`.
/// If any of `x`, `a`, `b` has tangents, `y` must have as many, if need be zeros. Neither `A·B` nor
/// `x·Aᵀ` as a whole is ever formed.
///
/// # Panics
///
/// If lengths or numbers of directions do not fit.
///
/// ```
/// use spry_kernels::{DualMut, DualRef, lora};
///
/// let mut y = vec![1.0, 2.0];
/// let (x, a) = (DualRef::constant(&[3.0, 4.0, 5.0]), DualRef::constant(&[1.0, 1.0, 1.0]));
/// let b = DualRef::constant(&[10.0, 20.0]);
/// lora(&mut DualMut::new(&mut y, []), &x, &a, &b, 1, 0.5);
/// assert_eq!(y, [61.0, 122.0]);
/// ```
pub fn lora(y: &mut DualMut, x: &DualRef, a: &DualRef, b: &DualRef, rank: usize, scaling: f32) {
    assert!(
        rank > 0 && a.primal.len().is_multiple_of(rank) && b.primal.len().is_multiple_of(rank),
        "spry-kernels: factors of {} and {} values for rank {rank}",
        a.primal.len(),
        b.primal.len()
    );
    let (input, output) = (a.primal.len() / rank, b.primal.len() / rank);
    if input == 0 || output == 0 {
        return;
    }
    assert!(
        x.primal.len().is_multiple_of(input)
            && y.primal.len().is_multiple_of(output)
            && x.primal.len() / input == y.primal.len() / output,
        "spry-kernels: {} values are not as many rows of {input} as {} are rows of {output}",
        x.primal.len(),
        y.primal.len()
    );
    let k = directions(&[y.tangents.len(), x.tangents.len(), a.tangents.len(), b.tangents.len()]);
    assert!(
        y.tangents.len() == k,
        "spry-kernels: the output of a branch needs a tangent for each of the {k} directions"
    );
    let transposed = |b: &[f32]| -> Vec<f32> {
        (0..rank).flat_map(|j| b.iter().skip(j).step_by(rank).copied()).collect()
    };
    let (b, db) = (transposed(b.primal), b.tangents.iter().map(|b| transposed(b)).collect());
    let factors = Factors { x, a, b, db, rank, scaling };
    let arch = arch();
    for_each_row(y, output, |row, y, tangents| {
        arch.dispatch(Row { factors: &factors, row, y, tangents });
    });
}

struct Factors<'a> {
    x: &'a DualRef<'a>,
    a: &'a DualRef<'a>,
    /// `[rank, output]`.
    b: Vec<f32>,
    db: Vec<Vec<f32>>,
    rank: usize,
    scaling: f32,
}

struct Row<'a, 'b> {
    factors: &'a Factors<'a>,
    row: usize,
    y: &'a mut [f32],
    tangents: &'a mut [&'b mut [f32]],
}

impl WithSimd for Row<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Factors { x, a, b, db, rank, scaling } = self.factors;
        let input = a.primal.len() / rank;
        let own = self.row * input..(self.row + 1) * input;
        let value = &x.primal[own.clone()];
        for j in 0..*rank {
            let line = j * input..(j + 1) * input;
            let along = &a.primal[line.clone()];
            let across = &b[j * self.y.len()..(j + 1) * self.y.len()];
            let u = scaling * sum(simd, [value, along], Product);
            for (k, tangent) in self.tangents.iter_mut().enumerate() {
                let mut du = 0.0;
                if let Some(dx) = x.tangents.get(k) {
                    du += scaling * sum(simd, [&dx[own.clone()], along], Product);
                }
                if let Some(da) = a.tangents.get(k) {
                    du += scaling * sum(simd, [value, &da[line.clone()]], Product);
                }
                update(simd, tangent, [across, across], AddMultiple(du));
                if let Some(db) = db.get(k) {
                    let across = &db[j * self.y.len()..(j + 1) * self.y.len()];
                    update(simd, tangent, [across, across], AddMultiple(u));
                }
            }
            update(simd, self.y, [across, across], AddMultiple(u));
        }
    }
}
