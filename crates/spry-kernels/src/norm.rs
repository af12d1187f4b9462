//! Layer norm and RMS norm, in place.

use pulp::{Simd, WithSimd};

use crate::dispatch::arch;
use crate::loops::{Plain, Term, Update, sum, update};
use crate::math::mul_add;
use crate::parallel::for_each_row;
use crate::rows::{DualMut, DualRef, directions};

/// Layer norm of each row, with the biased variance: with `n = (x − mean) / √(var + ε)`,
/// `x ← γ ⊙ n + β` and `t ← γ ⊙ (t − mean(t) − n ⊙ mean(n ⊙ t)) / √(var + ε) + dγ ⊙ n + dβ`.
///
/// A row is as long as `weight` (γ). If `weight` or `bias` (β) has tangents, `x` must have as many,
/// if need be zeros.
///
/// # Panics
///
/// If `x` is not made of whole rows, lengths or numbers of directions do not fit.
pub fn layer_norm(x: &mut DualMut, weight: &DualRef, bias: &DualRef, epsilon: f32) {
    norm::<true>(x, weight, Some(bias), epsilon);
}

/// RMS norm of each row: with `n = x / √(mean(x²) + ε)`, `x ← γ ⊙ n` and
/// `t ← γ ⊙ (t − n ⊙ mean(n ⊙ t)) / √(mean(x²) + ε) + dγ ⊙ n`.
///
/// A row is as long as `weight` (γ). If `weight` has tangents, `x` must have as many, if need be
/// zeros.
///
/// # Panics
///
/// If `x` is not made of whole rows, lengths or numbers of directions do not fit.
///
/// ```
/// use spry_kernels::{DualMut, DualRef, rms_norm};
///
/// let mut x = vec![3.0, 4.0];
/// rms_norm(&mut DualMut::new(&mut x, []), &DualRef::constant(&[1.0, 2.0]), 0.0);
/// let root_mean_square = 12.5f32.sqrt();
/// assert!((x[0] - 3.0 / root_mean_square).abs() < 1e-6);
/// assert!((x[1] - 8.0 / root_mean_square).abs() < 1e-6);
/// ```
pub fn rms_norm(x: &mut DualMut, weight: &DualRef, epsilon: f32) {
    norm::<false>(x, weight, None, epsilon);
}

fn norm<const CENTERED: bool>(
    x: &mut DualMut,
    weight: &DualRef,
    bias: Option<&DualRef>,
    epsilon: f32,
) {
    let width = weight.primal.len();
    assert!(
        width > 0 && x.primal.len().is_multiple_of(width),
        "spry-kernels: {} values are not rows of {width}",
        x.primal.len()
    );
    if let Some(bias) = bias {
        let length = bias.primal.len();
        assert!(length == width, "spry-kernels: a bias of {length} values for rows of {width}");
    }
    let from_bias = bias.map_or(0, |bias| bias.tangents.len());
    let k = directions(&[x.tangents.len(), weight.tangents.len(), from_bias]);
    assert!(
        x.tangents.len() == k,
        "spry-kernels: the input of a norm needs a tangent for each of the {k} directions of its weights"
    );
    let arch = arch();
    for_each_row(x, width, |_, x, tangents| {
        arch.dispatch(Row::<CENTERED> { x, tangents, weight, bias, epsilon });
    });
}

struct Row<'a, 'b, const CENTERED: bool> {
    x: &'a mut [f32],
    tangents: &'a mut [&'b mut [f32]],
    weight: &'a DualRef<'a>,
    bias: Option<&'a DualRef<'a>>,
    epsilon: f32,
}

impl<const CENTERED: bool> WithSimd for Row<'_, '_, CENTERED> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { x, tangents, weight, bias, epsilon } = self;
        let width = x.len() as f32;
        let mean = if CENTERED { sum(simd, [&*x], Plain) / width } else { 0.0 };
        let variance = sum(simd, [&*x], Square { mean }) / width;
        let inverse = 1.0 / (variance + epsilon).sqrt();
        let normalized = Normalized { mean, inverse };
        for (k, tangent) in tangents.iter_mut().enumerate() {
            let own_mean = if CENTERED { sum(simd, [&**tangent], Plain) / width } else { 0.0 };
            let projection = sum(simd, [&**tangent, &*x], Along(normalized)) / width;
            let project = Project { normalized, own_mean, projection };
            update(simd, tangent, [&*x, weight.primal], project);
            if let Some(dweight) = weight.tangents.get(k) {
                update(simd, tangent, [&*x, dweight], AddScaled(normalized));
            }
            if let Some(dbias) = bias.and_then(|bias| bias.tangents.get(k)) {
                update(simd, tangent, [dbias, dbias], Add);
            }
        }
        match bias {
            Some(bias) => update(simd, x, [weight.primal, bias.primal], Affine(normalized)),
            None => update(simd, x, [weight.primal, weight.primal], Scale(normalized)),
        }
    }
}

#[derive(Clone, Copy)]
struct Normalized {
    mean: f32,
    inverse: f32,
}

impl Normalized {
    #[inline(always)]
    fn of<S: Simd>(&self, simd: S, x: S::f32s) -> S::f32s {
        let centered = simd.sub_f32s(x, simd.splat_f32s(self.mean));
        simd.mul_f32s(centered, simd.splat_f32s(self.inverse))
    }
}

struct Square {
    mean: f32,
}

impl Term<1> for Square {
    #[inline(always)]
    fn term<S: Simd>(&self, simd: S, [x]: [S::f32s; 1]) -> S::f32s {
        let centered = simd.sub_f32s(x, simd.splat_f32s(self.mean));
        simd.mul_f32s(centered, centered)
    }
}

/// `t·n`.
struct Along(Normalized);

impl Term<2> for Along {
    #[inline(always)]
    fn term<S: Simd>(&self, simd: S, [tangent, x]: [S::f32s; 2]) -> S::f32s {
        simd.mul_f32s(tangent, self.0.of(simd, x))
    }
}

/// `γ·(t − mean(t) − n·projection)·inverse`, from the row and γ.
struct Project {
    normalized: Normalized,
    own_mean: f32,
    projection: f32,
}

impl Update for Project {
    #[inline(always)]
    fn update<S: Simd>(&self, simd: S, old: S::f32s, [x, weight]: [S::f32s; 2]) -> S::f32s {
        let n = self.normalized.of(simd, x);
        let centered = simd.sub_f32s(old, simd.splat_f32s(self.own_mean));
        let projected = mul_add(simd, n, simd.splat_f32s(-self.projection), centered);
        let scale = simd.mul_f32s(weight, simd.splat_f32s(self.normalized.inverse));
        simd.mul_f32s(projected, scale)
    }
}

/// `t + n·dγ`.
struct AddScaled(Normalized);

impl Update for AddScaled {
    #[inline(always)]
    fn update<S: Simd>(&self, simd: S, old: S::f32s, [x, dweight]: [S::f32s; 2]) -> S::f32s {
        mul_add(simd, self.0.of(simd, x), dweight, old)
    }
}

/// `t + dβ`.
struct Add;

impl Update for Add {
    #[inline(always)]
    fn update<S: Simd>(&self, simd: S, old: S::f32s, [dbias, _]: [S::f32s; 2]) -> S::f32s {
        simd.add_f32s(old, dbias)
    }
}

/// `γ·n + β`.
struct Affine(Normalized);

impl Update for Affine {
    #[inline(always)]
    fn update<S: Simd>(&self, simd: S, old: S::f32s, [weight, bias]: [S::f32s; 2]) -> S::f32s {
        mul_add(simd, self.0.of(simd, old), weight, bias)
    }
}

/// `γ·n`.
struct Scale(Normalized);

impl Update for Scale {
    #[inline(always)]
    fn update<S: Simd>(&self, simd: S, old: S::f32s, [weight, _]: [S::f32s; 2]) -> S::f32s {
        simd.mul_f32s(self.0.of(simd, old), weight)
    }
}
