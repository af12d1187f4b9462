//! Each fused kernel against the rule composed of Burn's operations, in f32: values and tangents,
//! for sizes around those of vectors, for views of tensors, and for values that are no numbers.

#![cfg(feature = "flex")]

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use spry_dual::ops::{self, Activation, AttentionMask, DropoutSeed};
use spry_dual::{Dual, Tangents, composed, has_kernels, trace};

/// A small linear congruential generator.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    }

    fn tensor<const D: usize>(&mut self, shape: [usize; D]) -> Tensor<D> {
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| self.next()).collect();
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }

    /// A value with `k` tangents.
    fn dual<const D: usize>(&mut self, shape: [usize; D], k: usize) -> Dual<D> {
        let primal = self.tensor(shape);
        match k {
            0 => Dual::constant(primal),
            k => Dual::new(primal, (0..k).map(|_| self.tensor(shape)).collect()),
        }
    }
}

fn vec<const D: usize>(x: &Tensor<D>) -> Vec<f32> {
    x.clone().into_data().try_to_vec().unwrap()
}

fn lists<const D: usize>(x: &Dual<D>) -> Vec<Vec<f32>> {
    let tangents = match x.tangents() {
        Tangents::Zero => &[],
        Tangents::Dense(list) => &list[..],
    };
    std::iter::once(x.primal()).chain(tangents).map(vec).collect()
}

/// Runs a rule both ways and compares; NaN must be where it is in the composed rule.
fn check<const D: usize>(name: &str, rule: impl Fn() -> Dual<D>) {
    let (fused, plain) = (rule(), composed(&rule));
    assert_eq!(fused.dims(), plain.dims(), "{name}");
    let (fused, plain) = (lists(&fused), lists(&plain));
    assert_eq!(fused.len(), plain.len(), "{name}: number of directions");
    for (part, (fused, plain)) in fused.iter().zip(&plain).enumerate() {
        let finite = plain.iter().copied().filter(|x| x.is_finite());
        let size = finite.fold(1.0, |size: f32, x| size.max(x.abs()));
        for (i, (a, b)) in fused.iter().zip(plain).enumerate() {
            let close = (a - b).abs() <= 4e-6 * size || a == b || (a.is_nan() && b.is_nan());
            assert!(close, "{name}: value {i} of part {part} is {a}, composed {b}");
        }
    }
}

#[test]
fn there_are_kernels_for_f32_on_flex_only() {
    let flex = Device::flex();
    assert!(has_kernels(&flex, DType::F32));
    assert!(!has_kernels(&flex, DType::F64));
    assert!(!composed(|| has_kernels(&flex, DType::F32)));
}

#[test]
fn linear_layers() {
    let mut numbers = Numbers(1);
    for [rows, input, output] in [[1, 1, 1], [3, 5, 33], [13, 40, 70], [61, 31, 12]] {
        for kinds in [[0, 0, 0], [2, 0, 0], [0, 2, 0], [0, 0, 2], [3, 3, 3]] {
            let x = numbers.dual([1, rows, input], kinds[0]);
            let weight = numbers.dual([output, input], kinds[1]);
            let bias = numbers.dual([output], kinds[2]);
            let name = format!("{rows}×{input}×{output}, {kinds:?}");
            check(&name, || ops::linear(x.clone(), weight.clone(), Some(bias.clone())));
            check(&name, || ops::linear(x.clone(), weight.clone(), None));
            for activation in
                [Activation::Gelu, Activation::GeluTanh, Activation::Silu, Activation::Relu]
            {
                check(&format!("{name}, {activation:?}"), || {
                    let (x, weight) = (x.clone(), weight.clone());
                    ops::linear_activated(x, weight, Some(bias.clone()), Some(activation))
                });
            }
            let y = numbers.dual([1, rows, output], kinds[2]);
            let (a, b) = (numbers.dual([2, input], kinds[1]), numbers.dual([output, 2], kinds[1]));
            check(&format!("lora, {name}"), || {
                ops::add_lora_branch(y.clone(), x.clone(), a.clone(), b.clone(), 0.7)
            });
        }
    }
}

/// Views that begin in the middle, skip, or repeat are read like any other tensor.
#[test]
fn views() {
    let mut numbers = Numbers(2);
    let x = numbers.dual([6, 10], 1);
    let weight = numbers.tensor([7, 4]);
    let shared = Dual::constant(numbers.tensor([1, 4]).expand([5, 4]));
    let linear = |x: Dual<2>| ops::linear(x, Dual::constant(weight.clone()), None);
    check("rows in the middle", || linear(x.clone().reshape([15, 4]).narrow(0, 3, 5)));
    check("columns in the middle", || linear(x.clone().narrow(1, 2, 4)));
    check("transposed", || linear(x.clone().swap_dims(0, 1).narrow(1, 1, 4)));
    check("repeated", || linear(shared.clone()));
    check("changed in place", || x.clone().narrow(0, 1, 3).gelu());
    let before = lists(&x);
    let _ = x.clone().gelu();
    assert_eq!(lists(&x), before, "what others hold is not changed");
}

#[test]
fn activations() {
    let mut numbers = Numbers(3);
    for length in [1, 15, 16, 17, 100] {
        for k in [0, 1, 3] {
            let x = numbers.dual([length], k).mul_scalar(4.0);
            check("gelu", || x.clone().gelu());
            check("gelu_tanh", || x.clone().gelu_tanh());
            check("silu", || x.clone().silu());
            check("relu", || x.clone().relu());
        }
    }
}

/// Values only: where a function is flat far out, composed derivatives come to 0·∞.
#[test]
fn activations_of_what_is_no_number() {
    let x = [f32::NEG_INFINITY, -1e20, -30.0, 30.0, 1e20, f32::INFINITY, f32::NAN];
    let x = Dual::constant(Tensor::<1>::from_floats(x, &Device::flex()));
    check("relu", || x.clone().relu());
    for (name, function) in [
        ("gelu", Dual::gelu as fn(Dual<1>) -> Dual<1>),
        ("gelu_tanh", Dual::gelu_tanh),
        ("silu", Dual::silu),
    ] {
        let values = vec(function(x.clone()).primal());
        assert!(values[0].is_nan() || values[0] == 0.0, "{name}: {values:?}");
        assert!(values[1].abs() < 1e-10 && values[2].abs() < 1e-10, "{name}: {values:?}");
        assert_eq!(values[3..6], [30.0, 1e20, f32::INFINITY], "{name}");
        assert!(values[6].is_nan(), "{name}: {values:?}");
    }
}

#[test]
fn norms() {
    let mut numbers = Numbers(4);
    for [rows, width] in [[1, 3], [4, 16], [5, 33]] {
        for kinds in [[0, 0, 0], [2, 0, 0], [0, 2, 0], [0, 0, 2], [1, 1, 1]] {
            let x = numbers.dual([rows, width], kinds[0]);
            let weight = numbers.dual([width], kinds[1]);
            let bias = numbers.dual([width], kinds[2]);
            let name = format!("{rows} rows of {width}, {kinds:?}");
            check(&format!("layer norm, {name}"), || {
                ops::layer_norm(x.clone(), weight.clone(), bias.clone(), 1e-3)
            });
            check(&format!("RMS norm, {name}"), || ops::rms_norm(x.clone(), weight.clone(), 1e-3));
        }
    }
    let mut x = vec![1.0f32; 6];
    x[2] = f32::NAN;
    let x = Dual::constant(Tensor::<1>::from_floats(x.as_slice(), &Device::flex()).reshape([3, 2]));
    let one = Dual::constant(Tensor::<1>::ones([2], &Device::flex()));
    check("NaN", || ops::layer_norm(x.clone(), one.clone(), one.clone(), 1e-5));
}

#[test]
fn attention() {
    let mut numbers = Numbers(5);
    let lengths = vec![4, 1, 6];
    let mask = TensorData::new(vec![1.0f32, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0], [2, 5]);
    let mask = || Tensor::<2>::from_data(mask.clone(), &Device::flex());
    for kinds in [[0, 0, 0], [2, 0, 0], [0, 2, 0], [0, 0, 2], [1, 1, 1]] {
        for (heads, key_heads) in [(2, 2), (4, 2)] {
            for dropout in [None, Some((0.3, DropoutSeed(7)))] {
                let mut heads_of = |batch, heads, length, dim, k| {
                    let x = numbers.dual([batch, length, heads * dim], k);
                    x.reshape([batch, length, heads, dim]).swap_dims(1, 2)
                };
                let name = format!("{heads}/{key_heads} heads, {kinds:?}, dropout {dropout:?}");
                let query = heads_of(2, heads, 5, 3, kinds[0]);
                let key = heads_of(2, key_heads, 5, 3, kinds[1]);
                let value = heads_of(2, key_heads, 5, 7, kinds[2]);
                for mask in [
                    None,
                    Some(AttentionMask::from_padding(mask())),
                    Some(AttentionMask::causal(mask())),
                ] {
                    check(&name, || {
                        let (query, key, value) = (query.clone(), key.clone(), value.clone());
                        ops::attention(query, key, value, mask.as_ref(), 0.5, dropout)
                    });
                }
                let query = heads_of(1, heads, 11, 3, kinds[0]);
                let key = heads_of(1, key_heads, 11, 3, kinds[1]);
                let value = heads_of(1, key_heads, 11, 7, kinds[2]);
                for is_causal in [false, true] {
                    let mask = AttentionMask::packed(lengths.clone(), is_causal);
                    check(&format!("packed, {name}"), || {
                        let (query, key, value) = (query.clone(), key.clone(), value.clone());
                        ops::attention(query, key, value, Some(&mask), 0.5, dropout)
                    });
                }
            }
        }
    }
}

#[test]
fn dropout_and_cross_entropy() {
    let mut numbers = Numbers(6);
    for k in [0, 2] {
        let x = numbers.dual([7, 300], k);
        check("dropout", || ops::dropout(x.clone(), 0.4, DropoutSeed(9)));
        let targets = Tensor::<1, Int>::from_ints([3, 0, 299, 1, 1, 7, 8], &Device::flex());
        check("cross entropy", || ops::cross_entropy(x.clone(), targets.clone()));
    }
}

/// A fused layer and its activation count as the two that they are.
#[test]
fn a_fused_activation_counts() {
    let mut numbers = Numbers(7);
    let (x, weight) = (numbers.dual([2, 3], 2), numbers.dual([4, 3], 0));
    let run = || {
        ops::linear_activated(x.clone(), weight.clone(), None, Some(Activation::Gelu));
    };
    let (_, fused) = trace::record_ops(run);
    let (_, plain) = trace::record_ops(|| composed(run));
    assert_eq!(fused.tangent["linear"], 2);
    assert_eq!(fused.tangent["gelu"], 2);
    assert_eq!(fused.tangent["gelu"], plain.tangent["gelu"]);
}
