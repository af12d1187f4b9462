//! Loops over a row: sums, and changes in place.

use pulp::{Scalar, Simd};

use crate::math::mul_add;

/// A term of a sum over a row, from `N` values at one place.
pub(crate) trait Term<const N: usize> {
    fn term<S: Simd>(&self, simd: S, values: [S::f32s; N]) -> S::f32s;
}

/// A new value from the old one and two others at the same place.
pub(crate) trait Update {
    fn update<S: Simd>(&self, simd: S, old: S::f32s, others: [S::f32s; 2]) -> S::f32s;
}

/// Sum over rows of one length: vectors in two running sums, then what is left, one by one.
#[inline(always)]
pub(crate) fn sum<S: Simd, const N: usize>(simd: S, rows: [&[f32]; N], term: impl Term<N>) -> f32 {
    let parts = rows.map(|row| S::as_simd_f32s(row));
    let whole = parts[0].0.len();
    let at = |i: usize| parts.map(|(head, _)| head[i]);
    let mut sums = [simd.splat_f32s(0.0); 2];
    for i in 0..whole / 2 {
        sums[0] = simd.add_f32s(sums[0], term.term(simd, at(2 * i)));
        sums[1] = simd.add_f32s(sums[1], term.term(simd, at(2 * i + 1)));
    }
    if whole % 2 == 1 {
        sums[0] = simd.add_f32s(sums[0], term.term(simd, at(whole - 1)));
    }
    let mut total = simd.reduce_sum_f32s(simd.add_f32s(sums[0], sums[1]));
    for i in 0..parts[0].1.len() {
        total += term.term(Scalar::new(), parts.map(|(_, tail)| tail[i]));
    }
    total
}

/// Changes a row in place, given two others of its length.
#[inline(always)]
pub(crate) fn update<S: Simd>(simd: S, row: &mut [f32], others: [&[f32]; 2], rule: impl Update) {
    let (head, tail) = S::as_mut_simd_f32s(row);
    let [(first, first_tail), (second, second_tail)] = others.map(|row| S::as_simd_f32s(row));
    for ((old, &a), &b) in head.iter_mut().zip(first).zip(second) {
        *old = rule.update(simd, *old, [a, b]);
    }
    for ((old, &a), &b) in tail.iter_mut().zip(first_tail).zip(second_tail) {
        *old = rule.update(Scalar::new(), *old, [a, b]);
    }
}

/// The value itself.
pub(crate) struct Plain;

impl Term<1> for Plain {
    #[inline(always)]
    fn term<S: Simd>(&self, _: S, [x]: [S::f32s; 1]) -> S::f32s {
        x
    }
}

/// The product of two values.
pub(crate) struct Product;

impl Term<2> for Product {
    #[inline(always)]
    fn term<S: Simd>(&self, simd: S, [a, b]: [S::f32s; 2]) -> S::f32s {
        simd.mul_f32s(a, b)
    }
}

/// The old value and the first of the others, times a factor.
pub(crate) struct AddMultiple(pub(crate) f32);

impl Update for AddMultiple {
    #[inline(always)]
    fn update<S: Simd>(&self, simd: S, old: S::f32s, [other, _]: [S::f32s; 2]) -> S::f32s {
        mul_add(simd, other, simd.splat_f32s(self.0), old)
    }
}
