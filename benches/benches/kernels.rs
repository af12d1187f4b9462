//! Fused kernels against the rules composed of Burn's operations, on MiniLM's sizes.
//!
//! One thread, as for a client in a simulation; values alone, and with one tangent.

#![allow(missing_docs)] // criterion's macros make undocumented functions

use burn::tensor::{Device, Distribution, Tensor};
use criterion::{Criterion, criterion_group, criterion_main};
use spry_bench::{MINILM, Workbench};
use spry_core::spry_dual::ops::{self, AttentionMask};
use spry_core::spry_dual::{Dual, composed};
use spry_core::{ForwardGradient, Objective};

const HIDDEN: usize = 384;
const WIDE: usize = 1536;

fn dual<const D: usize>(shape: [usize; D], with_tangent: bool) -> Dual<D> {
    let random = || Tensor::random(shape, Distribution::Uniform(-1.0, 1.0), &Device::default());
    match with_tangent {
        true => Dual::new(random(), vec![random()]),
        false => Dual::constant(random()),
    }
}

fn kernels(criterion: &mut Criterion) {
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global().expect("a thread starts");
    let bench = Workbench::new(MINILM, None).expect("the model loads");
    let all = bench.all();
    for with_tangent in [false, true] {
        let kind = if with_tangent { "dual" } else { "value" };
        let mut group = criterion.benchmark_group(format!("kernels/{kind}"));
        group.sample_size(20);
        let mut both = |name: &str, rule: &dyn Fn()| {
            group.bench_function(format!("{name}/fused"), |b| b.iter(rule));
            group.bench_function(format!("{name}/composed"), |b| b.iter(|| composed(rule)));
        };
        let (x, wide) = (dual([8, 64, HIDDEN], with_tangent), dual([8, 64, WIDE], with_tangent));
        let (up, bias) = (dual([WIDE, HIDDEN], false), dual([WIDE], false));
        both("linear 384 to 1536", &|| {
            drop(ops::linear(x.clone(), up.clone(), Some(bias.clone())));
        });
        both("gelu 512 x 1536", &|| drop(wide.clone().gelu()));
        let (weight, shift) = (dual([HIDDEN], false), dual([HIDDEN], false));
        both("layer norm 512 x 384", &|| {
            drop(ops::layer_norm(x.clone(), weight.clone(), shift.clone(), 1e-12));
        });
        let heads = || dual([8, 64, HIDDEN], with_tangent).reshape([8, 64, 12, 32]).swap_dims(1, 2);
        let (query, key, value) = (heads(), heads(), heads());
        let mask = AttentionMask::from_padding(Tensor::ones([8, 64], &Device::default()));
        both("attention, 12 heads", &|| {
            let (query, key, value) = (query.clone(), key.clone(), value.clone());
            drop(ops::attention(query, key, value, Some(&mask), 0.2, None));
        });
        let (a, b) = (dual([1, HIDDEN], with_tangent), dual([HIDDEN, 1], with_tangent));
        let y = dual([8, 64, HIDDEN], with_tangent);
        both("LoRA branch", &|| {
            drop(ops::add_lora_branch(y.clone(), x.clone(), a.clone(), b.clone(), 1.0));
        });
        // The composed model computes a batch of its own, as kernels are chosen when it is made.
        let plain = composed(|| Workbench::new(MINILM, None)).expect("the model loads");
        let pass = |bench: &Workbench| match with_tangent {
            true => drop(bench.step(&ForwardGradient::default(), &all)),
            false => drop(bench.objective.loss(&bench.params)),
        };
        group.bench_function("whole pass/fused", |b| b.iter(|| pass(&bench)));
        group.bench_function("whole pass/composed", |b| b.iter(|| composed(|| pass(&plain))));
        group.finish();
    }
}

criterion_group!(benches, kernels);
criterion_main!(benches);
