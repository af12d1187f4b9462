//! Time and memory of one step of a client.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use burn::tensor::Device;
use serde::Serialize;
use spry_core::estimators::{EstimatorConfig, GradientEstimator, HeadEstimator};
use spry_core::{Objective, ParamRole, ParamSet, Seed, Step};
use spry_data::{Targets, TokenBatch};
use spry_models::{
    BatchObjective, LoadOptions, LoraConfig, MAX_CONFIG_BYTES, Model, Peft, PeftModel,
};

use crate::meter::peak_bytes;
use crate::nearest::suggestion_in;
use crate::{Error, Result};

/// Largest number of examples or tokens of a batch: what does not fit into memory is more likely a
/// slip.
const LARGEST_SIDE: usize = 1 << 16;

/// Largest number of threads.
const MOST_THREADS: usize = 1024;

/// One batch on a model with LoRA (r = 1, on query and value).
pub struct Workbench {
    /// The batch's loss.
    pub objective: BatchObjective,
    /// All trainable parameters.
    pub params: ParamSet,
    /// Size of the model's weights in bytes.
    pub weight_bytes: u64,
}

impl Workbench {
    /// A batch of random tokens, all of the same length, for a model.
    ///
    /// # Errors
    ///
    /// If the batch is empty or longer than the model can take.
    pub fn new(model: Model, batch: usize, seq: usize) -> Result<Self> {
        for (option, value) in [("batch", batch), ("seq", seq)] {
            if !(1..=LARGEST_SIDE).contains(&value) {
                return Err(Error::Input(format!(
                    "`{option}` is {value}, but must be between 1 and {LARGEST_SIDE}"
                )));
            }
        }
        let weight_bytes = model.weight_bytes();
        let (vocabulary, labels) = (model.architecture().limits().vocab_size, model.num_labels());
        let peft = Peft::Lora(LoraConfig::default());
        let model = PeftModel::new(Arc::new(model), peft)?;
        let ids = Seed::new(0).uniforms(batch * seq);
        let batch = TokenBatch {
            batch,
            seq,
            input_ids: ids.into_iter().map(|u| (u * vocabulary as f64) as i64).collect(),
            token_type_ids: vec![0; batch * seq],
            attention_mask: vec![1.0; batch * seq],
            targets: Targets::Classes((0..batch as i64).map(|i| i % labels as i64).collect()),
        };
        Ok(Self {
            objective: model.objective(&batch, None)?,
            params: model.trainable(&Seed::new(0))?,
            weight_bytes,
        })
    }

    /// Paths of all trainable parameters.
    pub fn all(&self) -> Vec<String> {
        self.params.paths().map(str::to_owned).collect()
    }

    /// The paths that a word stands for: `all`, `head`, or `group:N` for one group of adapters,
    /// counted from 0 by depth.
    ///
    /// # Errors
    ///
    /// [`Error::Input`] for anything else.
    pub fn trained(&self, trains: &str) -> Result<Vec<String>> {
        let of = |keep: &dyn Fn(&spry_core::Param) -> bool| {
            let kept = self.params.iter().filter(|(_, param)| keep(param));
            kept.map(|(path, _)| path.to_string()).collect()
        };
        let groups = self.params.groups(ParamRole::Adapter);
        let group = trains.strip_prefix("group:").and_then(|index| index.parse::<usize>().ok());
        match (trains, group.and_then(|index| groups.get(index))) {
            ("all", _) => Ok(self.all()),
            ("head", _) => Ok(of(&|param| param.role() == ParamRole::Head)),
            (_, Some(&group)) => Ok(of(&|param| param.group() == group)),
            _ => Err(Error::Input(format!(
                "`--trains` is `{trains}`, but must be all, head, or group:0 to group:{}",
                groups.len().saturating_sub(1)
            ))),
        }
    }

    /// One estimate of the gradient with the given seed.
    ///
    /// # Errors
    ///
    /// What the estimator reports.
    pub fn step(
        &self,
        estimator: &dyn GradientEstimator,
        trains: &[String],
        seed: u64,
    ) -> spry_core::Result<ParamSet> {
        let seed = Seed::new(seed);
        let step = Step::new(&self.params, trains, &seed);
        Ok(estimator.gradient(&self.objective, &step)?.1)
    }
}

/// What is profiled.
#[derive(Clone, Debug)]
pub struct ProfileOptions {
    /// `inference`, or the name of an [`EstimatorConfig`], such as `forward-gradient`.
    pub estimator: String,
    /// What is trained; see [`Workbench::trained`].
    pub trains: String,
    /// Directions per step.
    pub k: usize,
    /// Examples per batch.
    pub batch: usize,
    /// Tokens per example.
    pub seq: usize,
    /// Steps that are timed, after one that is not.
    pub iterations: usize,
    /// Threads that the kernels may use; 0 for all. Clients of a simulation have one.
    pub threads: usize,
}

/// What one step costs.
#[derive(Clone, Debug, Serialize)]
pub struct Profile {
    /// The estimator.
    pub estimator: String,
    /// What was trained.
    pub trains: String,
    /// Number of values that were trained.
    pub trained_values: usize,
    /// Directions per step; 0 where there are none.
    pub k: usize,
    /// Examples per batch.
    pub batch: usize,
    /// Tokens per example.
    pub seq: usize,
    /// Steps that were timed.
    pub iterations: usize,
    /// Threads that the kernels could use.
    pub threads: usize,
    /// Median time of a step.
    pub median_ms: f64,
    /// Shortest time of a step.
    pub min_ms: f64,
    /// Size of the model's weights.
    pub weight_bytes: u64,
    /// Peak of what a step allocates, above the weights. Counted on one thread.
    pub peak_bytes_above_weights: u64,
}

/// The step that estimates nothing.
pub const INFERENCE: &str = "inference";

/// The estimator of a name, with `k` directions if it has such a number; `None` for inference.
fn estimator(name: &str, k: usize) -> Result<Option<Arc<dyn GradientEstimator>>> {
    if name == INFERENCE {
        return Ok(None);
    }
    let config: EstimatorConfig = serde_json::from_value(serde_json::json!({"name": name}))
        .map_err(|error| {
            let message = error.to_string();
            let hint = suggestion_in(&message);
            Error::Input(format!("`--estimator` cannot be used: {message}, or `{INFERENCE}`{hint}"))
        })?;
    let config = config.with_directions(k).unwrap_or(config);
    config.validate()?;
    Ok(Some(config.init(HeadEstimator::Same)))
}

/// The model to profile: a directory's, or one with random weights from a `config.json`.
///
/// # Errors
///
/// If it cannot be loaded.
pub fn model(folder: Option<&Path>, config: Option<&Path>, device: &Device) -> Result<Model> {
    let options = LoadOptions { device: device.clone(), ..Default::default() };
    match (folder, config) {
        (_, Some(path)) => {
            let text = spry_data::guard::read_text(path, MAX_CONFIG_BYTES)?;
            Ok(Model::random(&text, &options)?)
        }
        (Some(folder), None) => Ok(Model::load(folder, &options)?),
        (None, None) => Err(Error::Input(
            "there is nothing to profile: give --model DIR or --random-weights CONFIG.json"
                .to_string(),
        )),
    }
}

/// Measures time and memory of one step.
///
/// # Errors
///
/// If the options do not fit the model, or a step fails.
pub fn profile(model: Model, options: &ProfileOptions) -> Result<Profile> {
    let estimator = estimator(&options.estimator, options.k)?;
    if options.iterations == 0 {
        return Err(Error::Input("`--iterations` is 0, but must be at least 1".to_string()));
    }
    if options.threads > MOST_THREADS {
        return Err(Error::Input(format!(
            "`--threads` is {}, but must be at most {MOST_THREADS}",
            options.threads
        )));
    }
    let workbench = Workbench::new(model, options.batch, options.seq)?;
    let trained = workbench.trained(&options.trains)?;
    let trained_values = workbench.params.subset(&trained)?.num_elements();
    let step = || -> Result<()> {
        match &estimator {
            Some(estimator) => drop(workbench.step(&**estimator, &trained, 1)?),
            None => drop(workbench.objective.loss(&workbench.params)?),
        }
        Ok(())
    };
    let mut peak = Ok(());
    let peak_bytes_above_weights = peak_bytes(|| peak = step());
    peak?;

    let pool = rayon::ThreadPoolBuilder::new().num_threads(options.threads).build();
    let pool = pool.map_err(|error| Error::Failed(format!("cannot start threads: {error}")))?;
    let times = pool.install(|| {
        step()?;
        let timed = |_| {
            let started = Instant::now();
            step().map(|()| started.elapsed())
        };
        (0..options.iterations).map(timed).collect::<Result<Vec<Duration>>>()
    })?;
    let mut milliseconds: Vec<f64> = times.iter().map(|time| 1e3 * time.as_secs_f64()).collect();
    milliseconds.sort_by(f64::total_cmp);
    let middle = milliseconds.len() / 2;
    let median_ms = match milliseconds.len().is_multiple_of(2) {
        true => 0.5 * (milliseconds[middle - 1] + milliseconds[middle]),
        false => milliseconds[middle],
    };
    Ok(Profile {
        estimator: options.estimator.clone(),
        trains: options.trains.clone(),
        trained_values,
        k: estimator.and_then(|estimator| estimator.directions()).map_or(0, |all| all.count),
        batch: options.batch,
        seq: options.seq,
        iterations: options.iterations,
        threads: pool.current_num_threads(),
        median_ms,
        min_ms: milliseconds[0],
        weight_bytes: workbench.weight_bytes,
        peak_bytes_above_weights,
    })
}
