//! What the tests share: numbers, and formulas written out in f64 with loops.

#![allow(dead_code)] // not every test uses everything

use std::cell::Cell;

use spry_kernels::{DualRef, DualVec, for_each_instruction_set};

/// A small linear congruential generator.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> f32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    }

    pub fn vec(&mut self, length: usize) -> Vec<f32> {
        (0..length).map(|_| self.next()).collect()
    }

    /// A value with `k` tangents.
    pub fn dual(&mut self, length: usize, k: usize) -> Owned {
        Owned { primal: self.vec(length), tangents: (0..k).map(|_| self.vec(length)).collect() }
    }
}

/// A value and its tangents.
#[derive(Clone, Debug)]
pub struct Owned {
    pub primal: Vec<f32>,
    pub tangents: Vec<Vec<f32>>,
}

impl Owned {
    pub fn view(&self) -> DualRef<'_> {
        DualRef::new(&self.primal, self.tangents.iter().map(|tangent| &tangent[..]))
    }

    /// The value in f64, moved by `step` along direction `k` if that is carried.
    pub fn moved(&self, k: usize, step: f64) -> Vec<f64> {
        let tangent = self.tangents.get(k);
        let at = |i: usize| tangent.map_or(0.0, |tangent| f64::from(tangent[i]));
        self.primal.iter().enumerate().map(|(i, &x)| f64::from(x) + step * at(i)).collect()
    }
}

/// Compares a kernel with a function in f64: values, and tangents by central differences.
pub fn check(
    name: &str,
    got: &DualVec,
    k: usize,
    f: impl Fn(&dyn Fn(&Owned) -> Vec<f64>) -> Vec<f64>,
) {
    let exact = f(&|x| x.moved(0, 0.0));
    close(name, &got.primal, &exact);
    assert_eq!(got.tangents.len(), k, "{name}");
    const STEP: f64 = 1e-5;
    for (direction, tangent) in got.tangents.iter().enumerate() {
        let high = f(&|x| x.moved(direction, STEP));
        let low = f(&|x| x.moved(direction, -STEP));
        let exact: Vec<f64> =
            high.iter().zip(&low).map(|(high, low)| (high - low) / (2.0 * STEP)).collect();
        close(&format!("{name}, direction {direction}"), tangent, &exact);
    }
}

pub fn close(name: &str, got: &[f32], exact: &[f64]) {
    assert_eq!(got.len(), exact.len(), "{name}");
    let size = exact.iter().fold(1.0, |size: f64, x| size.max(x.abs()));
    for (i, (&got, &exact)) in got.iter().zip(exact).enumerate() {
        let error = (f64::from(got) - exact).abs();
        assert!(error <= 2e-6 * size, "{name}: value {i} is {got}, should be {exact}");
    }
}

/// `x·Wᵀ + b`.
pub fn linear(x: &[f64], weight: &[f64], bias: Option<&[f64]>, input: usize) -> Vec<f64> {
    let output = weight.len() / input;
    let mut y = Vec::new();
    for row in x.chunks(input) {
        for j in 0..output {
            let dot: f64 = row.iter().zip(&weight[j * input..]).map(|(x, w)| x * w).sum();
            y.push(dot + bias.map_or(0.0, |bias| bias[j]));
        }
    }
    y
}

thread_local! {
    static INSTRUCTIONS: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// Runs a test on each set of instructions of this machine, and says which one fails.
pub fn on_each_instruction_set(test: impl Fn()) {
    for_each_instruction_set(|name| {
        println!("instructions: {name}");
        INSTRUCTIONS.set(Some(name));
        test();
        INSTRUCTIONS.set(None);
    });
}

/// Runs `work` in a pool of so many threads, with the same instructions.
pub fn with_threads<R: Send>(threads: usize, work: impl Fn() -> R + Sync) -> R {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let Some(chosen) = INSTRUCTIONS.get() else { return pool.install(&work) };
    pool.install(|| {
        let mut result = None;
        for_each_instruction_set(|name| {
            if name == chosen {
                result = Some(work());
            }
        });
        result.unwrap()
    })
}

pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}
