//! A problem in f64 whose loss anyone can write down, with clients of different sizes.

#![allow(dead_code)] // each test uses its part

use burn::tensor::{DType, Device, Tensor, TensorData};
use spry_core::spry_dual::Dual;
use spry_core::spry_dual::ops::DropoutSeed;
use spry_core::{
    ClientData, DualParams, Evaluation, GroupId, Objective, Param, ParamRole, ParamSet, Result,
    Split,
};

pub const PATHS: [&str; 5] = ["a.weight", "b.weight", "c.weight", "d.weight", "head.weight"];
pub const HEAD: &str = PATHS[4];
pub const START: [f64; 2] = [0.3, -0.2];

/// `Σ ½(w − t)² + ¼(w − t)⁴` with a target `t` per client.
#[derive(Clone, Copy)]
pub struct Bowl;

impl Bowl {
    pub fn start(self) -> ParamSet {
        self.params(|_, i| START[i])
    }

    pub fn target(self, client: usize) -> std::collections::BTreeMap<&'static str, Vec<f64>> {
        let values = |p| (0..START.len()).map(|i| self.value(client, p, i)).collect();
        PATHS.iter().enumerate().map(|(p, path)| (*path, values(p))).collect()
    }

    /// Client c has 8 (c + 2) training examples.
    pub fn examples(self, client: usize) -> usize {
        8 * self.steps(client)
    }

    pub fn steps(self, client: usize) -> usize {
        client + 2
    }

    pub fn clients(self, count: usize) -> Vec<Box<dyn ClientData>> {
        (0..count)
            .map(|client| {
                let target = self.params(|p, i| self.value(client, p, i));
                Box::new(BowlClient { target, examples: self.examples(client) }) as _
            })
            .collect()
    }

    fn value(self, client: usize, path: usize, index: usize) -> f64 {
        1.0 + 0.5 * client as f64 - 0.3 * path as f64 + 0.7 * index as f64
    }

    fn params(self, value: impl Fn(usize, usize) -> f64) -> ParamSet {
        let param = |(p, path): (usize, &&str)| {
            let values: Vec<f64> = (0..START.len()).map(|i| value(p, i)).collect();
            let data = TensorData::new(values, [START.len()]);
            let tensor = Tensor::<1>::from_data(data, (&Device::default(), DType::F64));
            let role = if *path == HEAD { ParamRole::Head } else { ParamRole::Adapter };
            (path.to_string(), Param::new(tensor, role, GroupId(p as u32)))
        };
        PATHS.iter().enumerate().map(param).collect()
    }
}

struct BowlClient {
    target: ParamSet,
    examples: usize,
}

impl ClientData for BowlClient {
    fn num_examples(&self, split: Split) -> usize {
        match split {
            Split::Train => self.examples,
            Split::Test => 0,
        }
    }

    fn objective(
        &self,
        _: Split,
        _: &[usize],
        _: Option<DropoutSeed>,
    ) -> Result<Box<dyn Objective + '_>> {
        Ok(Box::new(BowlObjective(&self.target)))
    }
}

struct BowlObjective<'a>(&'a ParamSet);

impl Objective for BowlObjective<'_> {
    fn forward(&self, params: &DualParams) -> Result<Dual<1>> {
        let term = |(path, target): (&str, &Param)| {
            let weight = params.get::<1>(path).expect("all paths are trainable");
            let square = weight.sub(Dual::constant(target.values().clone())).square();
            square.clone().mul_scalar(0.5).add(square.square().mul_scalar(0.25)).sum()
        };
        Ok(self.0.iter().map(term).reduce(Dual::add).expect("there are paths"))
    }

    fn evaluate(&self, params: &ParamSet) -> Result<Evaluation> {
        Ok(Evaluation { loss_sum: self.loss(params)?, correct: 0, f1_sum: None, examples: 1 })
    }
}
