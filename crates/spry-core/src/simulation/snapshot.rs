//! A simulation between two rounds, as data.

use serde::{Deserialize, Serialize};

use super::{Outcome, Simulation};
use crate::optim::ServerOptimizerState;
use crate::{Error, ParamSet, Result, ServerState, Strategy};

/// Everything that a simulation remembers between rounds. Whoever makes a simulation anew from the
/// same strategy, clients, parameters and configuration and [restores](Simulation::restore) a
/// snapshot gets, bit for bit, what the first simulation would have come to.
///
/// ```
/// use spry_core::testing::Quadratic;
/// use spry_core::*;
/// # struct Still;
/// # impl Strategy for Still {
/// #     fn name(&self) -> &str { "still" }
/// #     fn configure_round(&self, state: &ServerState, cohort: &[ClientInfo], seed: &Seed) -> Result<Vec<ClientTask>> {
/// #         Ok(ClientTask::train_everything(state, cohort, seed))
/// #     }
/// #     fn local_update(&self, task: &ClientTask, client: &mut ClientContext) -> Result<ClientUpdate> {
/// #         client.train(task, &LocalTraining::backprop())
/// #     }
/// #     fn aggregate(&self, mut state: ServerState, completed: Vec<CompletedTask>) -> Result<(ServerState, RoundReport)> {
/// #         state.params.assign(&aggregate::mean_weights(&completed)?)?;
/// #         Ok((state, RoundReport::of(&completed)))
/// #     }
/// # }
///
/// let problem = Quadratic::new(&[3, 3], 0);
/// let config = SimulationConfig { num_server_rounds: 6, cohort_size: 2, ..Default::default() };
/// let simulation =
///     || Simulation::new(Still, problem.clients(4), problem.initial_params(), config.clone());
/// let whole = { let mut whole = simulation()?; whole.run(|_| {})?; whole };
///
/// let mut first = simulation()?;
/// for _ in 0..3 {
///     first.advance(|_| {})?;
/// }
/// let mut second = simulation()?;
/// second.restore(first.snapshot())?;
/// second.run(|_| {})?;
/// let weights = |simulation: &Simulation<Still>| {
///     simulation.state().params.iter().flat_map(|(_, param)| param.to_vec()).collect::<Vec<f64>>()
/// };
/// assert_eq!(weights(&second), weights(&whole));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Snapshot {
    /// The server's state after the last round that ended.
    pub state: ServerState,
    /// What was measured up to there.
    pub outcome: Outcome,
    /// Rounds in a row in which no client worked.
    rounds_without_work: u32,
}

/// Counters beyond this are damage: no run comes near, and the sums of the next rounds must not
/// overflow.
const MOST: u64 = 1 << 48;

fn check_counters(state: &ServerState, outcome: &Outcome, without_work: u32) -> Result<()> {
    let counters = [
        ("round", state.server_round),
        ("number of rounds", outcome.rounds),
        ("round of the last evaluation", outcome.evaluated_after_rounds),
        ("number of forward passes", outcome.forward_passes),
        ("number of bytes up", outcome.bytes_up),
        ("number of bytes down", outcome.bytes_down),
        ("time in seconds", outcome.wall.as_secs()),
        // These have 32 bits, and one of them becomes a signed number.
        ("number of steps of the server", u64::from(state.optimizer.step) << 18),
        ("number of rounds without work", u64::from(without_work) << 18),
    ];
    match counters.into_iter().find(|(_, count)| *count > MOST) {
        Some((name, _)) => {
            Err(Error::UnusableSnapshot { reason: format!("no run comes to its {name}") })
        }
        None => Ok(()),
    }
}

impl<S: Strategy> Simulation<S> {
    /// What is needed to go on later. Cheap: tensors are shared.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            state: self.state.clone(),
            outcome: self.outcome.clone(),
            rounds_without_work: self.rounds_without_work,
        }
    }

    /// Goes on from a snapshot, wherever this simulation was.
    ///
    /// # Errors
    ///
    /// [`Error::PathMismatch`], [`Error::ShapeMismatch`] or [`Error::KindMismatch`] if the
    /// snapshot's parameters are not those of this simulation or its moments not those of its
    /// parameters, [`Error::NonFinite`] if they are unusable, and [`Error::UnusableSnapshot`] for
    /// counters that no run comes to; the simulation is then unchanged.
    pub fn restore(&mut self, snapshot: Snapshot) -> Result<()> {
        let Snapshot { mut state, outcome, rounds_without_work } = snapshot;
        let own = &self.state.params;
        let is_shared = |path: &&str| own.contains(path) && state.params.contains(path);
        if let Some(path) = own.paths().chain(state.params.paths()).find(|path| !is_shared(path)) {
            return Err(Error::PathMismatch { path: path.to_string() });
        }
        own.iter()
            .try_for_each(|(path, param)| param.check_same_kind(path, state.params.get(path)?))?;
        let ServerOptimizerState { momentum, velocity, .. } = &state.optimizer;
        for derived in [momentum, velocity, &state.previous_change] {
            for (path, param) in derived.iter() {
                state.params.get(path)?.check_same_kind(path, param)?;
            }
        }
        state.check_finite()?;
        check_counters(&state, &outcome, rounds_without_work)?;
        // A snapshot that was read from a file is in the host's memory.
        if let Some((_, param)) = own.iter().next() {
            let device = param.values().device();
            let sets = [
                &mut state.params,
                &mut state.optimizer.momentum,
                &mut state.optimizer.velocity,
                &mut state.previous_change,
            ];
            let to_device = |set: &mut ParamSet| *set = set.to_device(&device);
            sets.into_iter().for_each(to_device);
        }
        (self.state, self.outcome) = (state, outcome);
        self.rounds_without_work = rounds_without_work;
        Ok(())
    }
}
