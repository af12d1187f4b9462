//! How soon a request to stop is noticed: before the next pass, and before the next batch of an
//! evaluation.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use spry_core::estimators::{FiniteDifference, ForwardGradient, Spsa};
use spry_core::testing::Quadratic;
use spry_core::{
    ClientContext, ClientData, ClientInfo, ClientTask, DualParams, Evaluation, LocalTraining,
    Objective, ParamSet, Result, Seed, ServerState, Split, StopSignal,
};
use spry_dual::Dual;
use spry_dual::ops::DropoutSeed;

/// A client that asks to stop during one of its passes, and counts them.
struct StopsAt<'a> {
    inner: &'a dyn ClientData,
    stop: StopSignal,
    at: usize,
    passes: AtomicUsize,
}

struct Pass<'a> {
    inner: Box<dyn Objective + 'a>,
    of: &'a StopsAt<'a>,
}

impl ClientData for StopsAt<'_> {
    fn num_examples(&self, split: Split) -> usize {
        self.inner.num_examples(split)
    }

    fn objective(
        &self,
        split: Split,
        examples: &[usize],
        dropout: Option<DropoutSeed>,
    ) -> Result<Box<dyn Objective + '_>> {
        Ok(Box::new(Pass { inner: self.inner.objective(split, examples, dropout)?, of: self }))
    }
}

impl Pass<'_> {
    fn begins(&self) {
        if self.of.passes.fetch_add(1, Ordering::Relaxed) + 1 == self.of.at {
            self.of.stop.stop();
        }
    }
}

impl Objective for Pass<'_> {
    fn forward(&self, params: &DualParams) -> Result<Dual<1>> {
        self.begins();
        self.inner.forward(params)
    }

    fn evaluate(&self, params: &ParamSet) -> Result<Evaluation> {
        self.begins();
        self.inner.evaluate(params)
    }
}

/// Lets a client work that asks to stop in its pass number `at`; returns the passes that it made.
fn passes_made(
    at: usize,
    work: impl FnOnce(&mut ClientContext, &ClientTask) -> Result<()>,
) -> usize {
    let problem = Quadratic::new(&[3, 2], 0);
    let clients = problem.clients(1);
    let stop = StopSignal::default();
    let client = StopsAt { inner: &*clients[0], stop: stop.clone(), at, passes: 0.into() };
    let state = ServerState::new(problem.initial_params());
    let info = ClientInfo { client: 0, num_examples: client.num_examples(Split::Train) };
    let task = ClientTask::train_everything(&state, &[info], &Seed::new(0)).remove(0);
    let mut context = ClientContext::new(0, &client, stop);
    let error = work(&mut context, &task).unwrap_err();
    assert!(error.is_stopped(), "{error}");
    client.passes.load(Ordering::Relaxed)
}

/// A step with finite differences has many passes, one with SPSA two.
#[test]
fn a_step_ends_between_its_passes() {
    let training = LocalTraining {
        estimator: Arc::new(FiniteDifference { k: 50, ..Default::default() }),
        batch_size: 1_000,
        ..LocalTraining::backprop()
    };
    for at in [1, 7, 30] {
        let made = passes_made(at, |client, task| client.train(task, &training).map(drop));
        assert_eq!(made, at);
    }
    let estimator = Spsa::default();
    let made = passes_made(1, |client, task| client.estimate(task, &estimator, 8).map(drop));
    assert_eq!(made, 1);
    let estimator = ForwardGradient::default();
    let made = passes_made(1, |client, task| {
        // The pass during which it was asked for may end: there is nothing after it.
        client.estimate(task, &estimator, 8).map(drop)?;
        client.estimate(task, &estimator, 8).map(drop)
    });
    assert_eq!(made, 1);
}

#[test]
fn an_evaluation_ends_between_its_batches() {
    let made = passes_made(1, |client, task| {
        assert_eq!(client.data().num_examples(Split::Test), 2);
        client.evaluate(Split::Test, &task.params, 1).map(drop)
    });
    assert_eq!(made, 1);
}
