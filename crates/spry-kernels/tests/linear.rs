//! The linear layer and LoRA's branch against loops in f64.

mod common;

use common::{Numbers, Owned, bits, check, linear as naive, on_each_instruction_set, with_threads};
use spry_kernels::{Activation, DualMut, DualRef, DualVec, activate, linear, lora};

/// Rows, inputs and outputs around the sizes of tiles, panels and tasks.
const SHAPES: [[usize; 3]; 12] = [
    [1, 1, 1],
    [2, 3, 5],
    [5, 7, 31],
    [11, 8, 32],
    [12, 9, 33],
    [13, 64, 4],
    [17, 33, 65],
    [49, 16, 200],
    [50, 40, 384],
    [97, 5, 63],
    [7, 1500, 70],
    [0, 4, 4],
];

#[test]
fn linear_is_the_product_and_its_derivative() {
    on_each_instruction_set(|| {
        let mut numbers = Numbers(1);
        for [rows, input, output] in SHAPES {
            for (kx, kw, kb) in [(0, 0, 0), (2, 0, 0), (0, 2, 0), (0, 0, 1), (3, 3, 3), (1, 1, 0)] {
                let k = kx.max(kw).max(kb);
                let x = numbers.dual(rows * input, kx);
                let weight = numbers.dual(output * input, kw);
                let bias = numbers.dual(output, kb);
                let name = format!("{rows}×{input} to {output}, {kx} {kw} {kb} directions");
                let got = linear(&x.view(), &weight.view(), Some(&bias.view()), input, None);
                check(&name, &got, k, |at| naive(&at(&x), &at(&weight), Some(&at(&bias)), input));
                if kb == 0 {
                    let got = linear(&x.view(), &weight.view(), None, input, None);
                    check(&name, &got, k, |at| naive(&at(&x), &at(&weight), None, input));
                }
            }
        }
    });
}

#[test]
fn an_activation_in_the_layer_is_the_one_after_it() {
    on_each_instruction_set(|| {
        let mut numbers = Numbers(2);
        for activation in
            [Activation::Gelu, Activation::GeluTanh, Activation::Silu, Activation::Relu]
        {
            for [rows, input, output] in [[3, 5, 7], [60, 20, 230]] {
                let x = numbers.dual(rows * input, 2);
                let weight = numbers.dual(output * input, 0);
                let bias = numbers.dual(output, 0);
                let fused =
                    linear(&x.view(), &weight.view(), Some(&bias.view()), input, Some(activation));
                let mut apart = linear(&x.view(), &weight.view(), Some(&bias.view()), input, None);
                let tangents = apart.tangents.iter_mut().map(|tangent| &mut tangent[..]);
                activate(activation, &mut DualMut::new(&mut apart.primal, tangents));
                assert_eq!(fused, apart, "{activation:?}");
            }
        }
    });
}

/// What keeping activations for another batch rests on.
#[test]
fn a_row_does_not_depend_on_other_rows_or_on_threads() {
    on_each_instruction_set(|| {
        let mut numbers = Numbers(3);
        for (input, output) in [(37, 45), (384, 384), (600, 1536)] {
            let rows = 61;
            let x = numbers.dual(rows * input, 1);
            let weight = numbers.dual(output * input, 1);
            let layer = |rows: std::ops::Range<usize>| {
                let part = |values: &[f32]| values[rows.start * input..rows.end * input].to_vec();
                let x = Owned {
                    primal: part(&x.primal),
                    tangents: x.tangents.iter().map(|tangent| part(tangent)).collect(),
                };
                linear(&x.view(), &weight.view(), None, input, Some(Activation::Gelu))
            };
            let all = with_threads(1, || layer(0..rows));
            assert_eq!(all, with_threads(3, || layer(0..rows)));
            for part in [0..1, 5..17, 12..13, 48..61, 3..60] {
                let values = part.start * output..part.end * output;
                let got = layer(part.clone());
                assert_eq!(bits(&got.primal), bits(&all.primal[values.clone()]), "{part:?}");
                assert_eq!(bits(&got.tangents[0]), bits(&all.tangents[0][values]), "{part:?}");
            }
        }
    });
}

#[test]
fn nan_and_infinities_stay_in_their_row() {
    on_each_instruction_set(|| {
        let mut numbers = Numbers(4);
        let (rows, input, output) = (14, 10, 40);
        let clean = numbers.vec(rows * input);
        let weight = numbers.vec(output * input);
        let run = |x: &[f32]| {
            linear(&DualRef::constant(x), &DualRef::constant(&weight), None, input, None).primal
        };
        let expected = run(&clean);
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = clean.clone();
            x[3 * input + 4] = value;
            let got = run(&x);
            assert!(got[3 * output..4 * output].iter().all(|y| !y.is_finite()));
            assert_eq!(got[..3 * output], expected[..3 * output]);
            assert_eq!(got[4 * output..], expected[4 * output..]);
        }
    });
}

#[test]
fn lora_is_added_with_its_derivative() {
    on_each_instruction_set(|| {
        let mut numbers = Numbers(5);
        for (rows, input, output, rank) in
            [(1, 1, 1, 1), (5, 7, 9, 2), (70, 40, 33, 1), (33, 19, 70, 4)]
        {
            for (kx, ka, kb) in [(0, 0, 0), (0, 1, 1), (2, 0, 0), (2, 2, 2), (0, 0, 3)] {
                let k = kx.max(ka).max(kb);
                let x = numbers.dual(rows * input, kx);
                let a = numbers.dual(rank * input, ka);
                let b = numbers.dual(output * rank, kb);
                let y = numbers.dual(rows * output, k);
                let mut out = y.clone();
                let tangents = out.tangents.iter_mut().map(|tangent| &mut tangent[..]);
                let mut target = DualMut::new(&mut out.primal, tangents);
                lora(&mut target, &x.view(), &a.view(), &b.view(), rank, 0.5);
                let got = DualVec { primal: out.primal, tangents: out.tangents };
                check(&format!("{rows} {input} {output} {rank}"), &got, k, |at| {
                    let low = naive(&at(&x), &at(&a), None, input);
                    let branch = naive(&low, &at(&b), None, rank);
                    at(&y).iter().zip(branch).map(|(y, branch)| y + 0.5 * branch).collect()
                });
            }
        }
    });
}

#[test]
#[should_panic(expected = "each must have the same number or none")]
fn different_numbers_of_directions_are_refused() {
    let mut numbers = Numbers(6);
    let (x, weight) = (numbers.dual(4, 2), numbers.dual(4, 1));
    linear(&x.view(), &weight.view(), None, 2, None);
}

#[test]
#[should_panic(expected = "a bias of 3 values for 2 outputs")]
fn a_bias_of_the_wrong_length_is_refused() {
    let (x, bias) = ([1.0, 2.0], [0.0; 3]);
    let weight = [1.0; 4];
    let bias = DualRef::constant(&bias);
    linear(&DualRef::constant(&x), &DualRef::constant(&weight), Some(&bias), 2, None);
}
