//! Activations, norms and cross entropy against formulas in f64.

mod common;

use common::{Numbers, Owned, check, on_each_instruction_set, with_threads};
use spry_kernels::{
    Activation, DualMut, DualRef, DualVec, activate, cross_entropy, layer_norm, rms_norm,
};

fn in_place(x: &Owned, kernel: impl Fn(&mut DualMut)) -> DualVec {
    let mut out = x.clone();
    let tangents = out.tangents.iter_mut().map(|tangent| &mut tangent[..]);
    kernel(&mut DualMut::new(&mut out.primal, tangents));
    DualVec { primal: out.primal, tangents: out.tangents }
}

/// The error function by its series, for arguments as small as here.
fn erf(x: f64) -> f64 {
    let mut term = x;
    let mut sum = x;
    for i in 1..200 {
        term *= -x * x / f64::from(i);
        sum += term / f64::from(2 * i + 1);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

fn exact(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Gelu => x * 0.5 * (1.0 + erf(x / 2f64.sqrt())),
        Activation::GeluTanh => {
            let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            0.5 * x * (1.0 + u.tanh())
        }
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Relu => x.max(0.0),
    }
}

const ACTIVATIONS: [Activation; 4] =
    [Activation::Gelu, Activation::GeluTanh, Activation::Silu, Activation::Relu];

#[test]
fn activations_and_their_slopes() {
    on_each_instruction_set(|| {
        let mut numbers = Numbers(1);
        for activation in ACTIVATIONS {
            for (length, k) in [(0, 1), (1, 1), (15, 2), (16, 0), (17, 3), (5000, 1), (70_001, 1)] {
                let mut x = numbers.dual(length, k);
                // Away from 0, where ReLU has no derivative.
                x.primal.iter_mut().for_each(|x| *x = 3.0 * *x + 0.01f32.copysign(*x));
                let got = in_place(&x, |x| activate(activation, x));
                let name = format!("{activation:?} of {length}");
                check(&name, &got, k, |at| {
                    at(&x).into_iter().map(|x| exact(activation, x)).collect()
                });
            }
        }
    });
}

#[test]
fn activations_far_out() {
    on_each_instruction_set(|| {
        let x = [f32::NEG_INFINITY, -1e30, -50.0, 50.0, 1e30, f32::INFINITY, f32::NAN];
        for activation in ACTIVATIONS {
            let mut values = x.to_vec();
            let mut slopes = vec![1.0; x.len()];
            activate(activation, &mut DualMut::new(&mut values, [&mut slopes[..]]));
            // −∞·0: PyTorch's functions give NaN there, too, but for ReLU.
            assert!(values[0].is_nan() || values[0] == 0.0, "{activation:?}: {values:?}");
            assert!(values[1..3].iter().all(|y| y.abs() < 1e-19), "{activation:?}: {values:?}");
            assert_eq!(values[3..6], [50.0, 1e30, f32::INFINITY], "{activation:?}");
            assert!(values[6].is_nan(), "{activation:?}: {values:?}");
            assert!(slopes[2].abs() < 1e-19 && slopes[3] == 1.0, "{activation:?}: {slopes:?}");
        }
    });
}

fn norm(x: &[f64], weight: &[f64], bias: Option<&[f64]>, epsilon: f64) -> Vec<f64> {
    let width = weight.len();
    let mut y = Vec::new();
    for row in x.chunks(width) {
        let mean = if bias.is_some() { row.iter().sum::<f64>() / width as f64 } else { 0.0 };
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
        for (i, x) in row.iter().enumerate() {
            let n = (x - mean) / (variance + epsilon).sqrt();
            y.push(n * weight[i] + bias.map_or(0.0, |bias| bias[i]));
        }
    }
    y
}

#[test]
fn norms_and_their_derivatives() {
    on_each_instruction_set(|| {
        let mut numbers = Numbers(2);
        for (rows, width) in [(1, 2), (3, 15), (2, 16), (5, 17), (4, 47), (90, 384)] {
            for (k, from_weights) in [(0, false), (1, false), (2, true)] {
                let weights = if from_weights { k } else { 0 };
                let x = numbers.dual(rows * width, k);
                let (weight, bias) = (numbers.dual(width, weights), numbers.dual(width, weights));
                let name = format!("{rows} rows of {width}");
                let got = in_place(&x, |x| layer_norm(x, &weight.view(), &bias.view(), 1e-3));
                check(&name, &got, k, |at| norm(&at(&x), &at(&weight), Some(&at(&bias)), 1e-3));
                let got = in_place(&x, |x| rms_norm(x, &weight.view(), 1e-3));
                check(&name, &got, k, |at| norm(&at(&x), &at(&weight), None, 1e-3));
                let layer = |threads| {
                    with_threads(threads, || {
                        in_place(&x, |x| layer_norm(x, &weight.view(), &bias.view(), 1e-3))
                    })
                };
                assert_eq!(layer(1), layer(3));
            }
        }
    });
}

#[test]
fn a_norm_keeps_nan_in_its_row() {
    let mut x = vec![1.0, 2.0, f32::NAN, 4.0, 3.0, 1.0];
    let one = [1.0, 1.0];
    layer_norm(
        &mut DualMut::new(&mut x, []),
        &DualRef::constant(&one),
        &DualRef::constant(&[0.0; 2]),
        1e-5,
    );
    assert!(x[..2].iter().chain(&x[4..]).all(|x| x.is_finite()), "{x:?}");
    assert!(x[2..4].iter().all(|x| x.is_nan()), "{x:?}");
}

#[test]
#[should_panic(expected = "needs a tangent for each of the 1 directions")]
fn a_norm_whose_weights_move_needs_room_for_it() {
    let mut x = vec![1.0, 2.0];
    let weight = DualRef::new(&[1.0, 1.0], [&[1.0, 0.0][..]]);
    rms_norm(&mut DualMut::new(&mut x, []), &weight, 0.0);
}

#[test]
fn cross_entropy_and_its_derivative() {
    let mut numbers = Numbers(3);
    for (rows, classes, k) in [(1, 1, 1), (3, 4, 2), (8, 2, 0), (5, 33, 1)] {
        let logits = numbers.dual(rows * classes, k);
        let targets: Vec<usize> = (0..rows).map(|row| row * 7 % classes).collect();
        let (loss, derivatives) = cross_entropy(&logits.view(), classes, &targets);
        let got = DualVec {
            primal: vec![loss],
            tangents: derivatives.into_iter().map(|derivative| vec![derivative]).collect(),
        };
        check("cross entropy", &got, k, |at| {
            let logits = at(&logits);
            let row = |(row, &target): (usize, &usize)| {
                let values = &logits[row * classes..(row + 1) * classes];
                values.iter().map(|x| x.exp()).sum::<f64>().ln() - values[target]
            };
            vec![targets.iter().enumerate().map(row).sum::<f64>() / rows as f64]
        });
    }
    let (loss, _) = cross_entropy(&DualRef::constant(&[1.0, f32::NAN]), 2, &[0]);
    assert!(loss.is_nan());
    let (loss, _) = cross_entropy(&DualRef::constant(&[1e30, -1e30]), 2, &[0]);
    assert_eq!(loss, 0.0);
}
