//! Many clients on one machine.
//!
//! [`Simulation`] owns the loop that [`Strategy`] leaves out: sample a cohort, let its clients
//! work in parallel, drop what cannot be used, aggregate, evaluate, report.
//!
//! - `config`: the options of a run.
//! - [`event`]: what a run reports while it goes on.
//! - `snapshot`: what is needed to go on later.
//! - `workers`: clients in parallel, each on one thread.

mod config;
pub mod event;
mod snapshot;
mod workers;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use config::SimulationConfig;
pub use event::{ClientReport, Event, Personalization, RoundSummary};
use serde::{Deserialize, Serialize};
pub use snapshot::Snapshot;
use workers::Workers;

use crate::{
    ClientContext, ClientData, ClientId, ClientInfo, ClientTask, ClientUpdate, CompletedTask,
    Error, Evaluation, MemoryMeter, ParamSet, Result, RoundReport, Seed, ServerState, Split,
    StopSignal, Strategy,
};

/// What a run has come to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Number of rounds that ended, over the life of this simulation.
    pub rounds: u64,
    /// Whether a stop was asked for before the last round ended.
    pub stopped: bool,
    /// The newest evaluation of the global parameters on the clients' test parts.
    pub generalized: Option<Evaluation>,
    /// Number of rounds that had ended when it was made.
    pub evaluated_after_rounds: u64,
    /// Number of forward passes of one example that the clients' training cost, also where it came
    /// to nothing.
    pub forward_passes: u64,
    /// Bytes that clients sent.
    pub bytes_up: u64,
    /// Bytes that the server sent.
    pub bytes_down: u64,
    /// Largest peak of one client's work, if a meter was given.
    pub peak_client_bytes: Option<u64>,
    /// Time spent.
    pub wall: Duration,
}

/// A strategy, its clients, and the state between rounds.
pub struct Simulation<S: Strategy> {
    strategy: S,
    clients: Vec<Box<dyn ClientData>>,
    config: SimulationConfig,
    seed: Seed,
    workers: Workers,
    stop: StopSignal,
    meter: Option<Arc<dyn MemoryMeter>>,
    state: ServerState,
    outcome: Outcome,
    rounds_without_work: u32,
    /// Whether the time is up; decided once per round, so that a last evaluation follows it.
    is_out_of_time: bool,
    /// The clients on whose test parts the global parameters are evaluated.
    evaluated_clients: Vec<ClientId>,
}

/// What became of one client's task.
struct Attempt {
    /// Forward passes of one example, also of work that came to nothing.
    forward_passes: u64,
    /// The update and its report, or why there is none.
    result: Result<(ClientUpdate, ClientReport)>,
}

/// The clients that evaluate: a random share of those with a test part, in increasing order.
fn sample_evaluated(clients: &[Box<dyn ClientData>], share: f64, seed: &Seed) -> Vec<ClientId> {
    let has_test = |client: &ClientId| clients[*client].num_examples(Split::Test) > 0;
    let able: Vec<ClientId> = (0..clients.len()).filter(has_test).collect();
    let count = ((able.len() as f64 * share).round() as usize).max(1).min(able.len());
    let sampled = seed.child("evaluation", 0).sample(able.len(), count);
    sampled.into_iter().map(|index| able[index]).collect()
}

/// A run with a budget is given up after so many rounds in a row in which no client worked.
const MAX_ROUNDS_WITHOUT_WORK: u32 = 10;

impl<S: Strategy> Simulation<S> {
    /// A simulation before its first round.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] if the cohort is empty or larger than the population, or an option
    /// is out of its range, or [`Error::System`] if threads cannot be started.
    pub fn new(
        strategy: S,
        clients: Vec<Box<dyn ClientData>>,
        params: ParamSet,
        config: SimulationConfig,
    ) -> Result<Self> {
        if config.cohort_size == 0 || config.cohort_size > clients.len() {
            return Err(Error::InvalidOption {
                option: "cohort_size",
                got: config.cohort_size.to_string(),
                expected: format!("between 1 and the number of clients, {}", clients.len()),
            });
        }
        config.validate()?;
        let state = strategy.init(params);
        let seed = Seed::new(config.seed);
        Ok(Self {
            strategy,
            evaluated_clients: sample_evaluated(&clients, config.evaluation_share, &seed),
            seed,
            workers: Workers::new(config.jobs, clients.len())?,
            clients,
            config,
            stop: StopSignal::default(),
            meter: None,
            outcome: Outcome { rounds: state.server_round, ..Default::default() },
            state,
            rounds_without_work: 0,
            is_out_of_time: false,
        })
    }

    /// Measures the peak memory of each client's work with `meter`.
    pub fn with_memory_meter(mut self, meter: Arc<dyn MemoryMeter>) -> Self {
        self.meter = Some(meter);
        self
    }

    /// Checks, before any client works, that the method fits the parameters and the cohort: that it
    /// can form the tasks of the next round.
    ///
    /// # Errors
    ///
    /// What [`Strategy::configure_round`] reports.
    pub fn check(&self) -> Result<()> {
        let seed = self.seed.server_round(self.state.server_round);
        let cohort = self.sample_cohort(&seed);
        self.strategy.configure_round(&self.state, &cohort, &seed).map(drop)
    }

    /// Stops when this signal says so, instead of one of its own.
    pub fn with_stop_signal(mut self, stop: StopSignal) -> Self {
        self.stop = stop;
        self
    }

    /// The strategy.
    pub fn strategy(&self) -> &S {
        &self.strategy
    }

    /// The state after the last round that ended.
    pub fn state(&self) -> &ServerState {
        &self.state
    }

    /// What was measured so far.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// The signal that stops the run after the current local steps.
    pub fn stop_signal(&self) -> StopSignal {
        self.stop.clone()
    }

    /// Runs the remaining rounds, reporting events as they happen.
    ///
    /// When a stop is asked for, the unfinished round is discarded: the state stays that of the
    /// last round that ended, and calling this again goes on from there.
    ///
    /// # Errors
    ///
    /// What the strategy or an evaluation reports; [`Error::NoProgress`] if there is a budget and
    /// no client works any more. A failing client is an event, not an error.
    pub fn run(&mut self, mut on_event: impl FnMut(Event<'_>)) -> Result<Outcome> {
        while self.advance(&mut on_event)? {}
        Ok(self.outcome.clone())
    }

    /// Runs one round, and the evaluations that are due before and after it; returns whether there
    /// is more to do. [`run`](Self::run) does this until there is not; whoever wants to do
    /// something between rounds, such as to keep a [`snapshot`](Self::snapshot), calls it instead.
    ///
    /// When a stop is asked for, it returns `false`, and [`Outcome::stopped`] is set.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn advance(&mut self, mut on_event: impl FnMut(Event<'_>)) -> Result<bool> {
        let started = Instant::now();
        let result = self.try_advance(&mut on_event);
        self.outcome.wall += started.elapsed();
        self.outcome.stopped = matches!(&result, Err(error) if error.is_stopped());
        if self.outcome.stopped {
            on_event(Event::Stopped { rounds: self.state.server_round });
            return Ok(false);
        }
        result
    }

    fn try_advance(&mut self, on_event: &mut dyn FnMut(Event<'_>)) -> Result<bool> {
        let started = Instant::now();
        self.is_out_of_time = self.has_reached(self.outcome.wall);
        // At the start, or if a stop came between a round and its evaluation.
        self.evaluate_if_due(on_event)?;
        if self.is_finished() {
            return Ok(false);
        }
        let spent = self.outcome.forward_passes;
        self.run_round(on_event)?;
        self.is_out_of_time = self.has_reached(self.outcome.wall + started.elapsed());
        let worked = self.outcome.forward_passes > spent;
        self.rounds_without_work = if worked { 0 } else { self.rounds_without_work + 1 };
        let has_budget = self.config.max_forward_passes.is_some();
        let is_stuck = self.rounds_without_work >= MAX_ROUNDS_WITHOUT_WORK && !self.is_finished();
        if has_budget && is_stuck {
            return Err(Error::NoProgress { rounds: self.rounds_without_work });
        }
        self.evaluate_if_due(on_event)?;
        Ok(!self.is_finished())
    }

    /// Evaluates the global parameters at the start, every so many rounds and at the end, unless
    /// that has been done.
    fn evaluate_if_due(&mut self, on_event: &mut dyn FnMut(Event<'_>)) -> Result<()> {
        let (round, every) = (self.state.server_round, self.config.evaluate_every);
        let is_due = every > 0 && (round.is_multiple_of(every) || self.is_finished());
        let is_done =
            self.outcome.generalized.is_some() && self.outcome.evaluated_after_rounds == round;
        if is_due && !is_done { self.evaluate_global(on_event) } else { Ok(()) }
    }

    /// Whether all rounds have ended, or a budget is spent.
    fn is_finished(&self) -> bool {
        let budget = self.config.max_forward_passes.unwrap_or(u64::MAX);
        self.state.server_round >= self.config.num_server_rounds
            || self.outcome.forward_passes >= budget
            || self.is_out_of_time
    }

    /// Whether so much time is all that there was.
    fn has_reached(&self, wall: Duration) -> bool {
        self.config.max_wall_secs.is_some_and(|limit| wall.as_secs_f64() >= limit)
    }

    fn run_round(&mut self, on_event: &mut dyn FnMut(Event<'_>)) -> Result<()> {
        let started = Instant::now();
        let server_round = self.state.server_round;
        let seed = self.seed.server_round(server_round);
        let cohort = self.sample_cohort(&seed);
        on_event(Event::RoundStarted { server_round, cohort: &cohort });

        let tasks = self.strategy.configure_round(&self.state, &cohort, &seed)?;
        let tasks: Vec<(ClientTask, u64)> = tasks
            .into_iter()
            .map(|task| task.serialized_bytes().map(|bytes| (task, bytes)))
            .collect::<Result<_>>()?;
        let results = self.workers.run(
            &tasks,
            |(task, bytes_down)| Ok(self.attempt(task, *bytes_down)),
            |index, attempt| {
                let result = attempt.as_ref().map(|attempt| attempt.result.as_ref());
                match result.unwrap_or_else(Err) {
                    Ok((_, report)) => on_event(Event::ClientFinished { server_round, report }),
                    Err(error) if error.is_stopped() => {}
                    Err(error) => {
                        let client = tasks[index].0.client;
                        on_event(Event::ClientFailed { server_round, client, error });
                    }
                }
            },
        );
        self.stop_if_asked()?;

        let bytes_down = tasks.iter().map(|(_, bytes)| bytes).sum();
        self.outcome.bytes_down += bytes_down;
        let (mut completed, mut reports) = (Vec::new(), Vec::new());
        let mut forward_passes = 0;
        for ((task, _), result) in tasks.into_iter().zip(results) {
            let Ok(attempt) = result else { continue };
            forward_passes += attempt.forward_passes;
            if let Ok((update, report)) = attempt.result {
                completed.push(CompletedTask { task, update });
                reports.push(report);
            }
        }
        self.outcome.forward_passes += forward_passes;
        let total = |f: fn(&ClientReport) -> u64| reports.iter().map(f).sum::<u64>();
        self.outcome.bytes_up += total(|report| report.bytes_up);
        let peak = reports.iter().filter_map(|report| report.peak_bytes).max();
        self.outcome.peak_client_bytes = self.outcome.peak_client_bytes.max(peak);

        let report = match self.aggregate(completed) {
            Ok((state, report)) => {
                self.state = state;
                for left_out in &report.left_out {
                    on_event(Event::ClientLeftOut { server_round, left_out });
                }
                Some(report)
            }
            Err(error) => {
                on_event(Event::RoundSkipped { server_round, error: &error });
                None
            }
        };
        self.state.server_round = server_round + 1;
        self.outcome.rounds = self.state.server_round;
        let wall = started.elapsed();
        let clients = reports;
        let summary =
            RoundSummary { server_round, report, clients, forward_passes, bytes_down, wall };
        on_event(Event::RoundFinished(&summary));
        Ok(())
    }

    fn sample_cohort(&self, round_seed: &Seed) -> Vec<ClientInfo> {
        let sampled = round_seed.child("cohort", 0);
        let sampled = sampled.shuffled_sample(self.clients.len(), self.config.cohort_size);
        let info = |client: ClientId| ClientInfo {
            client,
            num_examples: self.clients[client].num_examples(Split::Train),
        };
        sampled.into_iter().map(info).collect()
    }

    /// The state after the round, if there is one that can be used.
    fn aggregate(&self, completed: Vec<CompletedTask>) -> Result<(ServerState, RoundReport)> {
        if completed.is_empty() {
            return Err(Error::NoUsableUpdate);
        }
        let aggregate = || self.strategy.aggregate(self.state.clone(), completed);
        let (state, report) = workers::catch_panic(aggregate)?;
        // A moment that overflowed would freeze its weight for good.
        state.check_finite()?;
        Ok((state, report))
    }

    /// One client's work, on a worker's thread.
    fn attempt(&self, task: &ClientTask, bytes_down: u64) -> Attempt {
        let data = match self.client_data(task.client) {
            Ok(data) => data,
            Err(error) => return Attempt { forward_passes: 0, result: Err(error) },
        };
        let mut context = ClientContext::new(task.client, data, self.stop.clone())
            .with_prefix_cache(self.config.prefix_cache_bytes);
        let result = workers::catch_panic(|| self.work(task, bytes_down, &mut context));
        Attempt { forward_passes: context.forward_passes(), result }
    }

    fn work(
        &self,
        task: &ClientTask,
        bytes_down: u64,
        context: &mut ClientContext,
    ) -> Result<(ClientUpdate, ClientReport)> {
        let started = Instant::now();
        let mut result = None;
        // A panic must not unwind through the meter, whose count it would leave open.
        let mut run = || {
            result = Some(workers::catch_panic(|| self.strategy.local_update(task, context)));
        };
        let peak_bytes = match &self.meter {
            // On a thread of its own: the workspace that kernels keep per thread is part of what a
            // client needs, for every client alike.
            Some(meter) => Some(workers::on_new_thread(|| meter.measure_peak_bytes(&mut run))?),
            None => {
                run();
                None
            }
        };
        let update = result.unwrap_or(Err(Error::Stopped))?;
        let wall = started.elapsed();
        self.strategy.check_update(task, &update)?;
        let report = ClientReport {
            client: task.client,
            num_examples: update.num_examples,
            train_loss: update.train_loss,
            steps: update.steps,
            forward_passes: context.forward_passes(),
            gradient_variance: update.gradient_variance,
            personalization: self.personalization(context, task, &update)?,
            bytes_up: update.serialized_bytes()?,
            bytes_down,
            peak_bytes,
            wall,
        };
        Ok((update, report))
    }

    fn personalization(
        &self,
        context: &ClientContext,
        task: &ClientTask,
        update: &ClientUpdate,
    ) -> Result<Option<Personalization>> {
        let weights = update.weights().filter(|_| self.config.personalized);
        let Some(weights) = weights.filter(|_| context.data().num_examples(Split::Test) > 0) else {
            return Ok(None);
        };
        let evaluate = |params| context.evaluate(Split::Test, params, self.config.eval_batch_size);
        let mut trained = task.params.clone();
        trained.assign(weights)?;
        let (before, after) = (evaluate(&task.params)?, evaluate(&trained)?);
        Ok(Some(Personalization { before, after }))
    }

    fn evaluate_global(&mut self, on_event: &mut dyn FnMut(Event<'_>)) -> Result<()> {
        let started = Instant::now();
        let (mut done, total) = (0, self.evaluated_clients.len());
        let evaluation = self.evaluate_with(&self.state.params, |_, _| {
            done += 1;
            on_event(Event::ClientEvaluated { done, total });
        })?;
        self.outcome.generalized = Some(evaluation);
        self.outcome.evaluated_after_rounds = self.state.server_round;
        on_event(Event::Evaluated {
            rounds: self.state.server_round,
            generalized: evaluation,
            wall: started.elapsed(),
        });
        Ok(())
    }

    /// Evaluates parameters on the test parts of the clients, or of the
    /// [share](SimulationConfig::evaluation_share) of them that the configuration says.
    ///
    /// # Errors
    ///
    /// What a client's data or model reports, or [`Error::Stopped`] on request.
    pub fn evaluate(&self, params: &ParamSet) -> Result<Evaluation> {
        self.evaluate_with(params, |_, _| {})
    }

    fn evaluate_with(
        &self,
        params: &ParamSet,
        on_done: impl FnMut(usize, &Result<Evaluation>),
    ) -> Result<Evaluation> {
        let parts = self.workers.run(
            &self.evaluated_clients,
            |&client| {
                let data = self.client_data(client)?;
                let context = ClientContext::new(client, data, self.stop.clone());
                context.check_stop()?;
                context.evaluate(Split::Test, params, self.config.eval_batch_size)
            },
            on_done,
        );
        parts.into_iter().sum()
    }

    fn client_data(&self, client: ClientId) -> Result<&dyn ClientData> {
        match self.clients.get(client) {
            Some(data) => Ok(&**data),
            None => Err(Error::InvalidOption {
                option: "client",
                got: client.to_string(),
                expected: format!("below the number of clients, {}", self.clients.len()),
            }),
        }
    }

    fn stop_if_asked(&self) -> Result<()> {
        if self.stop.is_stopped() { Err(Error::Stopped) } else { Ok(()) }
    }
}
