//! K tangents as a list of tensors, or stacked along the first axis: which is faster?
//!
//! Two operations that make up most of a pass: the linear layer, where stacking gives one larger
//! product, and the multiplication by a factor that all directions share, where stacking has to
//! broadcast. See `docs/adr/0003-tangent-layout.md` for what came out.

#![allow(missing_docs)] // criterion's macros make undocumented functions

use burn::tensor::{Device, Distribution, Tensor};
use criterion::{Criterion, criterion_group, criterion_main};

const ROWS: usize = 8 * 64;
const WIDTH: usize = 384;
const HIDDEN: usize = 1536;

fn tangent_layout(criterion: &mut Criterion) {
    // One thread, as for a client in a simulation.
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global().expect("a thread starts");
    let device = Device::default();
    let random = |shape: [usize; 2]| Tensor::<2>::random(shape, Distribution::Default, &device);
    let weight = random([HIDDEN, WIDTH]);
    let factor = random([ROWS, HIDDEN]);
    let mut group = criterion.benchmark_group("tangent_layout");
    group.sample_size(20);
    for k in [1, 4, 16] {
        let list: Vec<Tensor<2>> = (0..k).map(|_| random([ROWS, WIDTH])).collect();
        let stacked = random([k * ROWS, WIDTH]);
        let linear = |x: &Tensor<2>| x.clone().matmul(weight.clone().transpose());
        group.bench_function(format!("linear/list/K={k}"), |b| {
            b.iter(|| list.iter().map(linear).collect::<Vec<_>>());
        });
        group.bench_function(format!("linear/stacked/K={k}"), |b| b.iter(|| linear(&stacked)));

        let list: Vec<Tensor<2>> = (0..k).map(|_| random([ROWS, HIDDEN])).collect();
        let stacked = random([k * ROWS, HIDDEN]);
        group.bench_function(format!("shared factor/list/K={k}"), |b| {
            b.iter(|| list.iter().map(|t| t.clone().mul(factor.clone())).collect::<Vec<_>>());
        });
        group.bench_function(format!("shared factor/stacked/K={k}"), |b| {
            b.iter(|| {
                let rows = stacked.clone().reshape([k, ROWS * HIDDEN]);
                rows.mul(factor.clone().reshape([1, ROWS * HIDDEN]))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, tangent_layout);
criterion_main!(benches);
