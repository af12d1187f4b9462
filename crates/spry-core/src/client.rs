//! A client: its data, and the local training loop that strategies share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use spry_dual::ops::DropoutSeed;

use crate::optim::{AdamWConfig, LocalOptimizerConfig};
use crate::{
    Backprop, ClientId, ClientTask, ClientUpdate, Error, Evaluation, GradientEstimator, Objective,
    ParamSet, Result, UpdatePayload,
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
}

/// A request to stop, shared between whoever asks and whoever works.
#[derive(Clone, Debug, Default)]
pub struct StopSignal(Arc<AtomicBool>);

impl StopSignal {
    /// Asks all holders to stop after their current step.
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
}

impl LocalTraining {
    /// Backpropagation and AdamW, one epoch of batches of 8: the paper's setting for FedAvg.
    pub fn backprop() -> Self {
        Self {
            estimator: Arc::new(Backprop),
            optimizer: LocalOptimizerConfig::AdamW(AdamWConfig::default()),
            epochs: 1,
            batch_size: 8,
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
}

impl<'a> ClientContext<'a> {
    /// The context of a client.
    pub fn new(client: ClientId, data: &'a dyn ClientData, stop: StopSignal) -> Self {
        Self { client, data, stop }
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
        let mut optimizer = training.optimizer.init()?;
        let mut params = task.params.clone();
        let (mut steps, mut loss_sum) = (0u64, 0.0);
        for epoch in 0..training.epochs {
            let mut order: Vec<usize> = (0..num_examples).collect();
            task.seed.child("epoch", epoch as u64).shuffle(&mut order);
            for batch in order.chunks(training.batch_size) {
                self.check_stop()?;
                let seed = task.seed.step(steps);
                let objective = self.data.objective(Split::Train, batch, Some(seed.dropout()))?;
                let estimate =
                    training.estimator.estimate(&*objective, &params, &task.trains, &seed)?;
                if !estimate.loss.is_finite() {
                    return Err(Error::NonFinite { what: format!("the loss of step {steps}") });
                }
                optimizer.step(&mut params, &estimate.gradient)?;
                loss_sum += estimate.loss;
                steps += 1;
            }
        }
        Ok(ClientUpdate {
            client: self.client,
            num_examples,
            train_loss: loss_sum / steps as f64,
            steps,
            payload: UpdatePayload::Weights(params.subset(&task.trains)?),
        })
    }

    /// Evaluates parameters on a part of the client's data.
    ///
    /// # Errors
    ///
    /// Whatever the objective reports.
    pub fn evaluate(
        &self,
        split: Split,
        params: &ParamSet,
        batch_size: usize,
    ) -> Result<Evaluation> {
        let examples: Vec<usize> = (0..self.data.num_examples(split)).collect();
        examples
            .chunks(batch_size.max(1))
            .map(|batch| self.data.objective(split, batch, None)?.evaluate(params))
            .sum()
    }
}
