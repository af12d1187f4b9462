//! Federated multinomial logistic regression on Gaussian classes.

use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData};
use spry_dual::Dual;
use spry_dual::ops::{DropoutSeed, cross_entropy, linear};

use crate::{
    ClientData, DualParams, Error, Evaluation, GroupId, Objective, Param, ParamRole, ParamSet,
    Result, Seed, Split,
};

/// `classes` Gaussian blobs in `blocks × block_size` dimensions, spread over clients.
///
/// The logits are a sum over blocks of features, `Σ_b x_b·W_bᵀ + bias`: one weight group per block
/// (`block.0.weight`, …, each `[classes, block_size]`) and `head.bias` as the head, which gives
/// Spry something to split.
#[derive(Clone, Debug)]
pub struct LogisticRegression {
    /// Number of classes.
    pub classes: usize,
    /// Number of feature blocks, each a weight group.
    pub blocks: usize,
    /// Features per block.
    pub block_size: usize,
    /// Training examples per client.
    pub train_examples: usize,
    /// Test examples per client.
    pub test_examples: usize,
    /// Where the data comes from.
    pub seed: u64,
}

impl Default for LogisticRegression {
    fn default() -> Self {
        Self {
            classes: 3,
            blocks: 3,
            block_size: 2,
            train_examples: 32,
            test_examples: 16,
            seed: 0,
        }
    }
}

impl LogisticRegression {
    /// Weights to start from: zeros.
    pub fn initial_params(&self) -> ParamSet {
        let device = Device::default();
        let mut params = ParamSet::new();
        for block in 0..self.blocks {
            let weight = Tensor::<2>::zeros([self.classes, self.block_size], &device);
            let group = GroupId(block as u32);
            params.insert(
                format!("block.{block}.weight"),
                Param::new(weight, ParamRole::Adapter, group),
            );
        }
        let bias = Tensor::<1>::zeros([self.classes], &device);
        let group = GroupId(self.blocks as u32);
        params.insert("head.bias", Param::new(bias, ParamRole::Head, group));
        params
    }

    /// A population of clients.
    pub fn clients(&self, count: usize) -> Vec<Box<dyn ClientData>> {
        let problem = Arc::new(self.clone());
        let client = |id| {
            let examples = self.train_examples + self.test_examples;
            Box::new(LogisticClient::new(&problem, id, examples)) as Box<dyn ClientData>
        };
        (0..count as u64).map(client).collect()
    }
}

/// One client's examples: features row by row, and labels.
struct LogisticClient {
    problem: Arc<LogisticRegression>,
    features: Vec<f32>,
    labels: Vec<i64>,
}

impl LogisticClient {
    fn new(problem: &Arc<LogisticRegression>, client: u64, examples: usize) -> Self {
        let seed = Seed::new(problem.seed).child("logistic", 0);
        let dimensions = problem.blocks * problem.block_size;
        let centers = seed.child("centers", 0).normals(0, problem.classes * dimensions);
        let own = seed.child("client", client);
        let labels: Vec<i64> = own
            .child("labels", 0)
            .uniforms(examples)
            .into_iter()
            .map(|u| (u * problem.classes as f64) as i64)
            .collect();
        let noise = own.child("noise", 0).normals(0, examples * dimensions);
        let features = noise
            .chunks(dimensions)
            .zip(&labels)
            .flat_map(|(noise, &label)| {
                let center = &centers[label as usize * dimensions..][..dimensions];
                noise.iter().zip(center).map(|(n, c)| 1.5 * c + 0.5 * n)
            })
            .collect();
        Self { problem: problem.clone(), features, labels }
    }
}

impl ClientData for LogisticClient {
    fn num_examples(&self, split: Split) -> usize {
        match split {
            Split::Train => self.problem.train_examples,
            Split::Test => self.problem.test_examples,
        }
    }

    fn objective(
        &self,
        split: Split,
        examples: &[usize],
        _dropout: Option<DropoutSeed>,
    ) -> Result<Box<dyn Objective + '_>> {
        let offset = match split {
            Split::Train => 0,
            Split::Test => self.problem.train_examples,
        };
        let dimensions = self.problem.blocks * self.problem.block_size;
        let features: Vec<f32> = examples
            .iter()
            .flat_map(|&i| &self.features[(offset + i) * dimensions..][..dimensions])
            .copied()
            .collect();
        let labels: Vec<i64> = examples.iter().map(|&i| self.labels[offset + i]).collect();
        let device = Device::default();
        Ok(Box::new(LogisticObjective {
            problem: self.problem.clone(),
            features: Tensor::from_data(
                TensorData::new(features, [examples.len(), dimensions]),
                &device,
            ),
            labels: Tensor::from_data(TensorData::new(labels, [examples.len()]), &device),
        }))
    }
}

/// The loss of one batch of a [`LogisticRegression`].
pub struct LogisticObjective {
    problem: Arc<LogisticRegression>,
    features: Tensor<2>,
    labels: Tensor<1, Int>,
}

impl LogisticObjective {
    fn logits(&self, params: &DualParams) -> Result<Dual<2>> {
        let missing = |path: String| Error::UnknownParameter { path, known: "others".to_string() };
        let bias = params.get::<1>("head.bias").ok_or_else(|| missing("head.bias".to_string()))?;
        let size = self.problem.block_size;
        let mut logits = bias.reshape([1, self.problem.classes]);
        for block in 0..self.problem.blocks {
            let path = format!("block.{block}.weight");
            let weight = params.get::<2>(&path).ok_or_else(|| missing(path))?;
            let x = Dual::constant(self.features.clone()).narrow(1, block * size, size);
            logits = linear(x, weight, None).add(logits);
        }
        Ok(logits)
    }
}

impl Objective for LogisticObjective {
    fn forward(&self, params: &DualParams) -> Result<Dual<1>> {
        Ok(cross_entropy(self.logits(params)?, self.labels.clone()))
    }

    fn evaluate(&self, params: &ParamSet) -> Result<Evaluation> {
        let logits = self.logits(&DualParams::constant(params))?;
        Ok(Evaluation::of_logits(logits.into_primal(), self.labels.clone()))
    }
}
