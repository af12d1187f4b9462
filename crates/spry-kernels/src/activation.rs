//! Activations and their derivatives, in place.

use pulp::{Simd, WithSimd};

use crate::dispatch::arch;
use crate::math::{mul_add, normal, sigmoid};
use crate::parallel::for_each_row;
use crate::rows::DualMut;

/// An elementwise function between linear layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x·Φ(x)` with the normal distribution's `Φ`; `f' = Φ(x) + x·φ(x)`.
    Gelu,
    /// `x·σ(2u)` with `u = √(2/π)(x + 0.044715x³)`, which is `½x(1 + tanh u)`.
    GeluTanh,
    /// `x·σ(x)`; `f' = σ(1 + x(1 − σ))`.
    Silu,
    /// `max(x, 0)`; `f' = 1` where `x > 0`, else 0.
    Relu,
}

impl Activation {
    /// `f(x)` and `f'(x)`.
    #[inline(always)]
    fn value_and_slope<S: Simd>(self, simd: S, x: S::f32s) -> (S::f32s, S::f32s) {
        let splat = |value| simd.splat_f32s(value);
        let one = splat(1.0);
        match self {
            Self::Gelu => {
                let (distribution, density) = normal(simd, x);
                (simd.mul_f32s(x, distribution), mul_add(simd, x, density, distribution))
            }
            Self::GeluTanh => {
                const CUBIC: f32 = 0.044_715;
                const TWO_ROOT_2_OVER_PI: f32 = 1.595_769;
                let square = simd.mul_f32s(x, x);
                let inner = mul_add(simd, square, splat(CUBIC), one);
                let twice_u = simd.mul_f32s(simd.mul_f32s(x, splat(TWO_ROOT_2_OVER_PI)), inner);
                let s = sigmoid(simd, twice_u);
                let inner = mul_add(simd, square, splat(3.0 * CUBIC), one);
                let growth = simd.mul_f32s(splat(TWO_ROOT_2_OVER_PI), inner);
                let change = simd.mul_f32s(simd.mul_f32s(s, simd.sub_f32s(one, s)), growth);
                (simd.mul_f32s(x, s), mul_add(simd, x, change, s))
            }
            Self::Silu => {
                let s = sigmoid(simd, x);
                let slope = mul_add(simd, x, simd.sub_f32s(one, s), one);
                (simd.mul_f32s(x, s), simd.mul_f32s(s, slope))
            }
            Self::Relu => {
                let zero = splat(0.0);
                let value = simd.select_f32s(simd.less_than_or_equal_f32s(x, zero), zero, x);
                (value, simd.select_f32s(simd.greater_than_f32s(x, zero), one, zero))
            }
        }
    }

    /// `x ← f(x)`, and `t ← f'(x)·t` for each tangent, over slices of one length.
    #[inline(always)]
    pub(crate) fn apply<S: Simd>(self, simd: S, x: &mut [f32], tangents: &mut [&mut [f32]]) {
        Apply { activation: self, x, tangents }.with_simd(simd);
    }
}

struct Apply<'a, 'b> {
    activation: Activation,
    x: &'a mut [f32],
    tangents: &'a mut [&'b mut [f32]],
}

impl WithSimd for Apply<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // One loop per function, so that none decides anything.
        match self.activation {
            Activation::Gelu => self.run(simd, Activation::Gelu),
            Activation::GeluTanh => self.run(simd, Activation::GeluTanh),
            Activation::Silu => self.run(simd, Activation::Silu),
            Activation::Relu => self.run(simd, Activation::Relu),
        }
    }
}

impl Apply<'_, '_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S, activation: Activation) {
        let lanes = S::F32_LANES;
        let (head, tail) = S::as_mut_simd_f32s(self.x);
        let whole = head.len();
        for (i, x) in head.iter_mut().enumerate() {
            let (value, slope) = activation.value_and_slope(simd, *x);
            *x = value;
            for tangent in self.tangents.iter_mut() {
                let tangent = &mut S::as_mut_simd_f32s(tangent).0[i];
                *tangent = simd.mul_f32s(*tangent, slope);
            }
        }
        if !tail.is_empty() {
            let (value, slope) = activation.value_and_slope(simd, simd.partial_load_f32s(tail));
            simd.partial_store_f32s(tail, value);
            for tangent in self.tangents.iter_mut() {
                let tail = &mut tangent[whole * lanes..];
                let product = simd.mul_f32s(simd.partial_load_f32s(tail), slope);
                simd.partial_store_f32s(tail, product);
            }
        }
    }
}

/// `x ← f(x)`, and `t ← f'(x)·t` for each tangent. Value and slope share their exponential.
///
/// # Panics
///
/// If a tangent is not as long as the primal.
///
/// ```
/// use spry_kernels::{Activation, DualMut, activate};
///
/// let (mut x, mut dx) = (vec![1.0, -2.0], vec![3.0, 5.0]);
/// activate(Activation::Relu, &mut DualMut::new(&mut x, [&mut dx[..]]));
/// assert_eq!((x, dx), (vec![1.0, 0.0], vec![3.0, 0.0]));
/// ```
pub fn activate(activation: Activation, x: &mut DualMut) {
    let arch = arch();
    // Elementwise: any length will do for a row.
    for_each_row(x, 1 << 12, |_, x, tangents| arch.dispatch(Apply { activation, x, tangents }));
}
