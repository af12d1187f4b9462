//! Exponential, logistic function and normal distribution on vectors of `f32`.
//!
//! Each is a polynomial after a reduction of the range, in plain multiplications and additions, so
//! that all lanes take the same path. NaN stays NaN; infinities give the limits.

use std::f32::consts::LOG2_E;

use pulp::Simd;

/// `a·b + c`, rounded once where the machine can.
#[inline(always)]
pub(crate) fn mul_add<S: Simd>(simd: S, a: S::f32s, b: S::f32s, c: S::f32s) -> S::f32s {
    simd.mul_add_e_f32s(a, b, c)
}

/// Polynomial with coefficients from the highest power down.
#[inline(always)]
fn polynomial<S: Simd>(simd: S, x: S::f32s, coefficients: &[f32]) -> S::f32s {
    let mut value = simd.splat_f32s(coefficients[0]);
    for &coefficient in &coefficients[1..] {
        value = mul_add(simd, value, x, simd.splat_f32s(coefficient));
    }
    value
}

/// `eˣ`, off by at most 2 units in the last place; 0 below −87, where results would be subnormal.
#[inline(always)]
pub(crate) fn exp<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    // x = n·ln 2 + r with |r| ≤ ln 2 / 2, ln 2 in two parts so that n·ln 2 is exact.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    // Adding 3·2²² leaves the nearest whole number in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let number = simd.equal_f32s(x, x);
    let bounded = simd.min_f32s(simd.max_f32s(x, simd.splat_f32s(-87.5)), simd.splat_f32s(89.0));
    let shifted = mul_add(simd, bounded, simd.splat_f32s(LOG2_E), simd.splat_f32s(ROUND));
    let n = simd.sub_f32s(shifted, simd.splat_f32s(ROUND));
    let r = mul_add(simd, n, simd.splat_f32s(-LN_2[0]), bounded);
    let r = mul_add(simd, n, simd.splat_f32s(-LN_2[1]), r);
    // Fitted to the least relative error, 3e-9.
    let tail = polynomial(
        simd,
        r,
        &[0.001_381_459_6, 0.008_368_717, 0.041_668_39, 0.166_665_21, 0.499_999_94],
    );
    let one = simd.splat_f32s(1.0);
    let mantissa = simd.add_f32s(mul_add(simd, simd.mul_f32s(r, r), tail, r), one);
    // 2ⁿ⁻¹ by its exponent's bits, so that n = 128 fits; twice that at the end.
    let exponent = simd.add_u32s(simd.transmute_u32s_f32s(shifted), simd.splat_u32s(126));
    let scale = simd.wrapping_dyn_shl_u32s(exponent, simd.splat_u32s(23));
    let value = simd.mul_f32s(mantissa, simd.transmute_f32s_u32s(scale));
    simd.select_f32s(number, simd.add_f32s(value, value), x)
}

/// Logistic function `1/(1 + e⁻ˣ)`.
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let one = simd.splat_f32s(1.0);
    simd.div_f32s(one, simd.add_f32s(one, exp(simd, simd.neg_f32s(x))))
}

/// Distribution function and density of the standard normal distribution.
///
/// The tail is `e^(−x²/2)·R(|x|)`, with Mills' ratio `R` (up to a factor) as a polynomial in
/// `1/(1 + 0.3·|x|)`: one exponential serves both results, and the lower tail keeps its relative
/// precision.
#[inline(always)]
pub(crate) fn normal<S: Simd>(simd: S, x: S::f32s) -> (S::f32s, S::f32s) {
    const DENSITY_AT_0: f32 = 0.398_942_3;
    let one = simd.splat_f32s(1.0);
    let size = simd.abs_f32s(x);
    let t = simd.div_f32s(one, mul_add(simd, size, simd.splat_f32s(0.3), one));
    // Fitted to the least relative error on [0, 14], 3.5e-9.
    let ratio = polynomial(
        simd,
        t,
        &[
            -0.020_612_946,
            0.112_376_414,
            -0.228_069,
            0.191_583_67,
            -0.079_249_01,
            0.096_058_73,
            0.078_425_266,
            0.110_227_39,
            0.119_572_83,
            0.119_686_63,
            0.0,
        ],
    );
    let half_square = simd.mul_f32s(simd.mul_f32s(x, x), simd.splat_f32s(-0.5));
    let exponential = exp(simd, half_square);
    let tail = simd.mul_f32s(exponential, ratio);
    let negative = simd.less_than_f32s(x, simd.splat_f32s(0.0));
    let distribution = simd.select_f32s(negative, tail, simd.sub_f32s(one, tail));
    (distribution, simd.mul_f32s(exponential, simd.splat_f32s(DENSITY_AT_0)))
}

#[cfg(test)]
mod tests {
    use pulp::{Arch, Simd, WithSimd};

    use super::*;

    struct Map<'a>(&'a [f32], Function);

    #[derive(Clone, Copy)]
    enum Function {
        Exp,
        Sigmoid,
        Distribution,
        Density,
    }

    impl WithSimd for Map<'_> {
        type Output = Vec<f32>;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> Vec<f32> {
            let mut out = vec![0.0; self.0.len()];
            for (x, y) in self.0.chunks(S::F32_LANES).zip(out.chunks_mut(S::F32_LANES)) {
                let x = simd.partial_load_f32s(x);
                let value = match self.1 {
                    Function::Exp => exp(simd, x),
                    Function::Sigmoid => sigmoid(simd, x),
                    Function::Distribution => normal(simd, x).0,
                    Function::Density => normal(simd, x).1,
                };
                simd.partial_store_f32s(y, value);
            }
            out
        }
    }

    /// On the machine's best instructions, and on scalars.
    fn both(x: &[f32], function: Function) -> [Vec<f32>; 2] {
        [Arch::new().dispatch(Map(x, function)), Map(x, function).with_simd(pulp::Scalar::new())]
    }

    fn grid(from: f32, to: f32) -> Vec<f32> {
        (0..40_001).map(|i| from + (to - from) * i as f32 / 40_000.0).collect()
    }

    #[test]
    fn exp_is_within_a_few_units_of_the_exact_one() {
        let x = grid(-86.9, 88.7);
        for values in both(&x, Function::Exp) {
            for (&x, y) in x.iter().zip(values) {
                let exact = f64::from(x).exp();
                assert!((f64::from(y) - exact).abs() <= 2.5e-7 * exact, "e^{x} = {exact}, got {y}");
            }
        }
    }

    #[test]
    fn limits_and_nan() {
        let x = [f32::NEG_INFINITY, f32::MIN, -200.0, 0.0, 200.0, f32::INFINITY, f32::NAN];
        let expect = |function, expected: [f32; 6]| {
            for values in both(&x, function) {
                assert_eq!(values[..6], expected);
                assert!(values[6].is_nan());
            }
        };
        expect(Function::Exp, [0.0, 0.0, 0.0, 1.0, f32::INFINITY, f32::INFINITY]);
        expect(Function::Sigmoid, [0.0, 0.0, 0.0, 0.5, 1.0, 1.0]);
        for values in both(&x, Function::Distribution) {
            assert_eq!(values[..3], [0.0; 3]);
            assert!((values[3] - 0.5).abs() <= f32::EPSILON);
            assert_eq!(values[4..6], [1.0; 2]);
            assert!(values[6].is_nan());
        }
    }

    /// Against the continued fraction and the series of the error function, in f64.
    #[test]
    fn the_normal_distribution_keeps_its_lower_tail() {
        let x = grid(-12.0, 12.0);
        let exact = |x: f64| {
            let density = (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
            let size = x.abs();
            let tail = if size < 3.0 {
                let mut term = size;
                let mut sum = size;
                for i in 1..100 {
                    term *= size * size / (2 * i + 1) as f64;
                    sum += term;
                }
                0.5 - density * sum
            } else {
                density / (1..200).rev().fold(size, |fraction, i| size + i as f64 / fraction)
            };
            (if x < 0.0 { tail } else { 1.0 - tail }, density)
        };
        let [distribution, _] = both(&x, Function::Distribution);
        let [density, _] = both(&x, Function::Density);
        for ((&x, p), d) in x.iter().zip(distribution).zip(density) {
            let (exact_p, exact_d) = exact(f64::from(x));
            // The rounding of x²/2 shows in the exponential.
            let tolerance = 4e-7 + 6e-8 * f64::from(x * x) / 2.0;
            assert!(
                (f64::from(p) - exact_p).abs() <= tolerance * exact_p,
                "Φ({x}) = {exact_p}, got {p}"
            );
            assert!(
                (f64::from(d) - exact_d).abs() <= tolerance * exact_d,
                "φ({x}) = {exact_d}, got {d}"
            );
        }
    }
}
