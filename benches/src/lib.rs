//! What the benchmarks share: one training step of a client, on a model of MiniLM's shape.
//!
//! - `cargo bench --bench estimators`: time, memory and variance of each gradient estimator;
//!   `cargo xtask bench-report` makes a table and a plot of the results.
//! - `cargo bench --bench client_step`: a step of Spry against inference and backpropagation.
//! - `cargo bench --bench compare`: the same against PyTorch.
//! - `cargo bench --bench kernels`: fused kernels against the composed rules.
//! - `cargo bench --bench tangent_layout`: a list of tangents against one stacked tensor.

use std::ops::Deref;
use std::path::{Path, PathBuf};

use anyhow::Result;
use spry_core::spry_dual::ops::DropoutSeed;
use spry_core::{
    ClientContext, ClientData, GradientEstimator, Objective, ParamRole, ParamSet, Seed, Split,
    Step, StopSignal,
};
use spry_models::{LoadOptions, Model};
pub use spry_runner::meter::peak_bytes;
use spry_runner::profile;

/// A model's sizes and those of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Name of a model that has these sizes.
    pub name: &'static str,
    /// The same as part of a file name.
    pub id: &'static str,
    /// The model's configuration.
    pub config: &'static str,
    /// Examples per batch.
    pub batch: usize,
    /// Tokens per example.
    pub seq: usize,
}

/// A BERT with MiniLM's sizes: 6 layers of width 384, 22.7 million weights.
pub const MINILM: Shape = Shape {
    name: "MiniLM",
    id: "minilm",
    config: r#"{
        "model_type": "bert", "vocab_size": 30522, "hidden_size": 384, "num_hidden_layers": 6,
        "num_attention_heads": 12, "intermediate_size": 1536, "max_position_embeddings": 512
    }"#,
    batch: 8,
    seq: 64,
};

/// BERT base: 12 layers of width 768, 109 million weights; a batch of 2, to keep the benchmark
/// short.
pub const BERT_BASE: Shape = Shape {
    name: "BERT base",
    id: "bert-base",
    config: r#"{
        "model_type": "bert", "vocab_size": 30522, "hidden_size": 768, "num_hidden_layers": 12,
        "num_attention_heads": 12, "intermediate_size": 3072, "max_position_embeddings": 512
    }"#,
    batch: 2,
    seq: 64,
};

/// BERT base with the batch of 8 that the paper trains with.
pub const BERT_BASE_8: Shape = Shape { batch: 8, ..BERT_BASE };

/// BERT large: 24 layers of width 1024, 335 million weights; a batch of 8.
pub const BERT_LARGE_8: Shape = Shape {
    name: "BERT large",
    id: "bert-large",
    config: r#"{
        "model_type": "bert", "vocab_size": 30522, "hidden_size": 1024, "num_hidden_layers": 24,
        "num_attention_heads": 16, "intermediate_size": 4096, "max_position_embeddings": 512
    }"#,
    batch: 8,
    seq: 64,
};

/// The runner's workbench for a shape, with what only benchmarks need.
pub struct Workbench(profile::Workbench);

impl Deref for Workbench {
    type Target = profile::Workbench;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Workbench {
    /// On random weights of the given shape, or on the model in `folder`.
    ///
    /// # Errors
    ///
    /// If the model cannot be loaded.
    pub fn new(shape: Shape, folder: Option<&Path>) -> Result<Self> {
        let options = LoadOptions { num_labels: Some(4), ..Default::default() };
        let model = match folder {
            Some(folder) => Model::load(folder, &options)?,
            None => Model::random(shape.config, &options)?,
        };
        Ok(Self(profile::Workbench::new(model, shape.batch, shape.seq)?))
    }

    /// What each client of Spry trains: one adapter group each, and the head.
    pub fn spry_parts(&self) -> Vec<Vec<String>> {
        let part = |group| {
            let is_in = |(_, param): &(&str, &spry_core::Param)| {
                param.group() == group || param.role() == ParamRole::Head
            };
            self.params.iter().filter(is_in).map(|(path, _)| path.to_string()).collect()
        };
        self.params.groups(ParamRole::Adapter).into_iter().map(part).collect()
    }

    /// One estimate of the gradient with the seed 1; panics if it fails, which a benchmark must not hide.
    pub fn step(&self, estimator: &dyn GradientEstimator, trains: &[String]) -> ParamSet {
        self.step_with(estimator, trains, 1)
    }

    /// One estimate of the gradient with the given seed.
    pub fn step_with(
        &self,
        estimator: &dyn GradientEstimator,
        trains: &[String],
        seed: u64,
    ) -> ParamSet {
        let gradient = self.0.step(estimator, trains, seed);
        gradient.unwrap_or_else(|error| panic!("the step failed: {error}"))
    }

    /// What a step costs, in forward passes over the batch.
    pub fn forward_passes(&self, estimator: &dyn GradientEstimator, trains: &[String]) -> u64 {
        let data = OneBatch(self);
        let context = ClientContext::new(0, &data, StopSignal::default());
        let seed = Seed::new(1);
        let objective = context.training_objective(&[0], &seed);
        let step = Step::new(&self.params, trains, &seed);
        let estimate = objective.and_then(|objective| estimator.estimate(&objective, &step));
        estimate.unwrap_or_else(|error| panic!("the step failed: {error}"));
        context.forward_passes()
    }

    /// Peak of the bytes allocated during a step and not yet freed, above what was there before:
    /// the model's weights, the adapter and the batch.
    pub fn peak_bytes(&self, estimator: &dyn GradientEstimator, trains: &[String]) -> u64 {
        peak_bytes(|| drop(self.step(estimator, trains)))
    }

    /// The same for computing the loss alone.
    pub fn inference_peak_bytes(&self) -> u64 {
        peak_bytes(|| drop(self.objective.loss(&self.params)))
    }
}

/// A client whose only batch is the workbench's, counted as one example.
pub struct OneBatch<'a>(pub &'a Workbench);

impl ClientData for OneBatch<'_> {
    fn num_examples(&self, _: Split) -> usize {
        1
    }

    fn objective(
        &self,
        _: Split,
        _: &[usize],
        _: Option<DropoutSeed>,
    ) -> spry_core::Result<Box<dyn Objective + '_>> {
        Ok(Box::new(self.0.objective.clone()))
    }
}

/// Folder for what benchmarks measure: Cargo's target directory, where criterion puts its own.
pub fn results_folder() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"));
    target.join("criterion")
}
