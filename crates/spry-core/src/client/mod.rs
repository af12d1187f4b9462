//! A client: its data, and the local training loop that strategies share.

mod counted;
mod prefix;
mod variance;

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use counted::Counted;
pub use prefix::PrefixCache;
use spry_dual::ops::DropoutSeed;
use variance::VarianceOfHalves;

use crate::estimators::{Backprop, GradientEstimator, Step};
use crate::optim::{AdamWConfig, LocalOptimizerConfig};
use crate::{
    ClientId, ClientTask, ClientUpdate, Error, Evaluation, Objective, ParamSet, Result, Seed,
    UpdatePayload,
};

/// Which part of a client's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// The part to train on.
    Train,
    /// The part to evaluate on.
    Test,
}

/// A client's model and data.
pub trait ClientData: Send + Sync {
    /// Number of examples in a part of the data.
    fn num_examples(&self, split: Split) -> usize;

    /// The loss on a batch: the given examples (indices within the split, below
    /// [`num_examples`](Self::num_examples)). With a dropout seed the model is in training mode;
    /// without one, and always in [`Objective::evaluate`], it is deterministic.
    ///
    /// # Errors
    ///
    /// If the examples cannot be read.
    fn objective(
        &self,
        split: Split,
        examples: &[usize],
        dropout: Option<DropoutSeed>,
    ) -> Result<Box<dyn Objective + '_>>;

    /// The [objective](Self::objective) of a batch of training examples, with a cache for what does
    /// not depend on the parameters that are trained. The same bits with and without; by default the
    /// cache is ignored.
    ///
    /// # Errors
    ///
    /// As [`objective`](Self::objective).
    fn training_objective(
        &self,
        examples: &[usize],
        dropout: Option<DropoutSeed>,
        _cache: &Arc<PrefixCache>,
    ) -> Result<Box<dyn Objective + '_>> {
        self.objective(Split::Train, examples, dropout)
    }
}

/// A request to stop, shared between whoever asks and whoever works.
#[derive(Clone, Debug, Default)]
pub struct StopSignal(Arc<AtomicBool>);

impl StopSignal {
    /// Asks all holders to stop. They look at the signal between steps, between the passes of a
    /// step, and between the batches of an evaluation.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether a stop was asked for.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// How a client trains: which gradient, which optimizer, for how long.
#[derive(Clone, Debug)]
pub struct LocalTraining {
    /// Where gradients come from.
    pub estimator: Arc<dyn GradientEstimator>,
    /// What steps the weights.
    pub optimizer: LocalOptimizerConfig,
    /// Passes over the client's training examples, at least 1.
    pub epochs: usize,
    /// Examples per step; the last batch of an epoch may be smaller.
    pub batch_size: usize,
    /// Whether to measure [`ClientUpdate::gradient_variance`], which keeps two sums of gradients.
    pub measures_variance: bool,
}

impl LocalTraining {
    /// Backpropagation and AdamW, one epoch of batches of 8: the paper's setting for FedAvg.
    pub fn backprop() -> Self {
        Self {
            estimator: Arc::new(Backprop::default()),
            optimizer: LocalOptimizerConfig::AdamW(AdamWConfig::default()),
            epochs: 1,
            batch_size: 8,
            measures_variance: false,
        }
    }

    /// Checks the options.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] for an option out of its range.
    pub fn validate(&self) -> Result<()> {
        for (option, value) in [("epochs", self.epochs), ("batch_size", self.batch_size)] {
            if value == 0 {
                return Err(Error::InvalidOption {
                    option,
                    got: "0".to_string(),
                    expected: "at least 1".to_string(),
                });
            }
        }
        self.estimator.validate()?;
        self.optimizer.init().map(drop)
    }
}

/// A client at work: access to its data, and the request to stop.
pub struct ClientContext<'a> {
    client: ClientId,
    data: &'a dyn ClientData,
    stop: StopSignal,
    forward_passes: Cell<u64>,
    prefix_cache_bytes: u64,
    prefix_cache: Option<Arc<PrefixCache>>,
}

impl<'a> ClientContext<'a> {
    /// The context of a client.
    pub fn new(client: ClientId, data: &'a dyn ClientData, stop: StopSignal) -> Self {
        Self {
            client,
            data,
            stop,
            forward_passes: Cell::new(0),
            prefix_cache_bytes: 0,
            prefix_cache: None,
        }
    }

    /// Lets the client keep activations of its examples during its local work; see [`PrefixCache`].
    /// With 0 bytes, the default, it keeps none. Results are the same.
    pub fn with_prefix_cache(mut self, bytes: u64) -> Self {
        self.prefix_cache_bytes = bytes;
        self
    }

    /// The client.
    pub fn client(&self) -> ClientId {
        self.client
    }

    /// Its data.
    pub fn data(&self) -> &'a dyn ClientData {
        self.data
    }

    /// Fails if a stop was asked for; call it between steps.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`].
    pub fn check_stop(&self) -> Result<()> {
        if self.stop.is_stopped() { Err(Error::Stopped) } else { Ok(()) }
    }

    /// The loss on a batch of training examples, with the dropout of the step with this seed.
    /// Passes are [counted](Self::forward_passes).
    ///
    /// # Errors
    ///
    /// If the examples cannot be read.
    pub fn training_objective(
        &self,
        examples: &[usize],
        step_seed: &Seed,
    ) -> Result<impl Objective + '_> {
        let dropout = Some(step_seed.dropout());
        let objective = match &self.prefix_cache {
            Some(cache) => self.data.training_objective(examples, dropout, cache)?,
            None => self.data.objective(Split::Train, examples, dropout)?,
        };
        Ok(Counted {
            objective,
            examples: examples.len() as u64,
            passes: &self.forward_passes,
            stop: &self.stop,
        })
    }

    /// Training work so far, in forward passes of one example: what went through
    /// [`training_objective`](Self::training_objective), counted, each pass at the cost that
    /// [`DualParams::forward_passes`](crate::DualParams::forward_passes) gives. Evaluations do not
    /// count.
    pub fn forward_passes(&self) -> u64 {
        self.forward_passes.get()
    }

    /// Runs local work on a task, with a cache that is dropped at its end.
    fn with_cache<R>(
        &mut self,
        task: &ClientTask,
        work: impl FnOnce(&mut Self) -> Result<R>,
    ) -> Result<R> {
        let bytes = self.prefix_cache_bytes;
        self.prefix_cache = (bytes > 0).then(|| Arc::new(PrefixCache::new(&task.trains, bytes)));
        let result = work(self);
        self.prefix_cache = None;
        result
    }

    /// Training examples of an epoch in an order drawn from the task's seed.
    fn epoch(&self, task: &ClientTask, epoch: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.data.num_examples(Split::Train)).collect();
        task.seed.child("epoch", epoch as u64).shuffle(&mut order);
        order
    }

    /// Trains the task's parameters and returns their new weights.
    ///
    /// Each epoch visits the training examples once, in an order drawn from the task's seed. The
    /// optimizer starts afresh, as its moments do not travel.
    ///
    /// # Errors
    ///
    /// [`Error::NonFinite`] when the loss diverges, [`Error::Stopped`] on request, and whatever
    /// the objective reports.
    pub fn train(&mut self, task: &ClientTask, training: &LocalTraining) -> Result<ClientUpdate> {
        training.validate()?;
        let num_examples = self.data.num_examples(Split::Train);
        if num_examples == 0 {
            return Err(Error::NoExamples { client: self.client });
        }
        self.with_cache(task, |context| context.train_task(task, training, num_examples))
    }

    fn train_task(
        &mut self,
        task: &ClientTask,
        training: &LocalTraining,
        num_examples: usize,
    ) -> Result<ClientUpdate> {
        let mut optimizer = training.optimizer.init()?;
        let mut params = task.params.clone();
        let (mut steps, mut loss_sum, mut visited) = (0u64, 0.0, 0);
        let all_steps = training.epochs * num_examples.div_ceil(training.batch_size);
        let mut variance = training.measures_variance.then(|| VarianceOfHalves::new(all_steps));
        for epoch in 0..training.epochs {
            for batch in self.epoch(task, epoch).chunks(training.batch_size) {
                self.check_stop()?;
                let seed = task.seed.step(steps);
                let objective = self.training_objective(batch, &seed)?;
                let step = step(task, &params, &seed);
                let estimate = training.estimator.estimate(&objective, &step)?;
                check_loss(estimate.loss, steps)?;
                let (directions, trained) = (training.estimator.directions(), step.trained()?);
                estimate.gradient.expand_each(
                    directions,
                    &trained,
                    &seed,
                    &mut |path, param| {
                        if let Some(variance) = &mut variance {
                            variance.add(path, &param, steps as usize);
                        }
                        optimizer
                            .step(&mut params, &ParamSet::from_iter([(path.to_string(), param)]))
                    },
                )?;
                // A batch's loss is the mean of its examples'; the last batch may be a short one.
                loss_sum += estimate.loss * batch.len() as f64;
                visited += batch.len();
                steps += 1;
            }
        }
        Ok(ClientUpdate {
            client: self.client,
            num_examples,
            train_loss: loss_sum / visited as f64,
            steps,
            gradient_variance: variance.and_then(|variance| variance.finish()),
            payload: UpdatePayload::Weights(params.subset(&task.trains)?),
        })
    }

    /// Estimates the gradient on one batch, drawn from the task's seed, and returns it as the
    /// estimator gives it: as values, or as coefficients along the directions of the step with the
    /// seed [`ClientTask::step_seed`].
    ///
    /// # Errors
    ///
    /// As [`train`](Self::train).
    pub fn estimate(
        &mut self,
        task: &ClientTask,
        estimator: &dyn GradientEstimator,
        batch_size: usize,
    ) -> Result<ClientUpdate> {
        estimator.validate()?;
        self.check_stop()?;
        let mut batch = self.epoch(task, 0);
        batch.truncate(batch_size);
        if batch.is_empty() {
            return Err(Error::NoExamples { client: self.client });
        }
        let seed = task.step_seed();
        let step = step(task, &task.params, &seed);
        let estimate = self.with_cache(task, |context| {
            let objective = context.training_objective(&batch, &seed)?;
            estimator.estimate(&objective, &step)
        })?;
        check_loss(estimate.loss, 0)?;
        Ok(ClientUpdate {
            client: self.client,
            num_examples: batch.len(),
            train_loss: estimate.loss,
            steps: 1,
            gradient_variance: None,
            payload: UpdatePayload::Gradient(estimate.gradient),
        })
    }

    /// Evaluates parameters on a part of the client's data.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`] if a stop was requested, which is checked before each batch; errors of the
    /// objective.
    pub fn evaluate(
        &self,
        split: Split,
        params: &ParamSet,
        batch_size: usize,
    ) -> Result<Evaluation> {
        let examples: Vec<usize> = (0..self.data.num_examples(split)).collect();
        examples
            .chunks(batch_size.max(1))
            .map(|batch| {
                self.check_stop()?;
                self.data.objective(split, batch, None)?.evaluate(params)
            })
            .sum()
    }
}

/// The task's step at some parameters.
fn step<'a>(task: &'a ClientTask, params: &'a ParamSet, seed: &'a Seed) -> Step<'a> {
    let previous_change = task.previous_change.as_ref();
    Step { params, trains: &task.trains, seed, previous_change }
}

fn check_loss(loss: f64, step: u64) -> Result<()> {
    if loss.is_finite() {
        return Ok(());
    }
    Err(Error::NonFinite { what: format!("the loss of step {step}") })
}
