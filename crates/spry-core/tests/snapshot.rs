//! A simulation that is taken up from a snapshot is the one that was never interrupted.

use std::sync::Mutex;

use spry_core::optim::{AdaptiveConfig, ServerOptimizer};
use spry_core::simulation::Snapshot;
use spry_core::testing::Quadratic;
use spry_core::*;

/// FedYogi: the server's moments must travel, too.
struct Yogi;

impl Strategy for Yogi {
    fn name(&self) -> &str {
        "yogi"
    }

    fn configure_round(
        &self,
        state: &ServerState,
        cohort: &[ClientInfo],
        seed: &Seed,
    ) -> Result<Vec<ClientTask>> {
        Ok(ClientTask::train_everything(state, cohort, seed))
    }

    fn local_update(&self, task: &ClientTask, client: &mut ClientContext) -> Result<ClientUpdate> {
        client.train(task, &LocalTraining::backprop())
    }

    fn aggregate(
        &self,
        mut state: ServerState,
        completed: Vec<CompletedTask>,
    ) -> Result<(ServerState, RoundReport)> {
        let mean = aggregate::mean_weights(&completed)?;
        let server = ServerOptimizer::Adaptive(AdaptiveConfig::yogi());
        (state.params, state.optimizer) = server.apply(&state.optimizer, &state.params, &mean)?;
        Ok((state, RoundReport::of(&completed)))
    }
}

const ROUNDS: u64 = 6;

fn simulation(sizes: &[usize]) -> Simulation<Yogi> {
    let problem = Quadratic::new(sizes, 0);
    let config = SimulationConfig {
        num_server_rounds: ROUNDS,
        cohort_size: 2,
        evaluate_every: 2,
        ..Default::default()
    };
    Simulation::new(Yogi, problem.clients(5), problem.initial_params(), config).unwrap()
}

/// Everything that an event says, without times.
fn line(event: &Event<'_>) -> Option<String> {
    match event {
        Event::RoundFinished(summary) => {
            let losses = summary.clients.iter().map(|client| client.train_loss.to_bits());
            Some(format!("{} {:?}", summary.server_round, losses.collect::<Vec<_>>()))
        }
        Event::Evaluated { rounds, generalized, .. } => Some(format!("{rounds} {generalized:?}")),
        _ => None,
    }
}

fn bits(simulation: &Simulation<Yogi>) -> Vec<u64> {
    let state = simulation.state();
    let sets = [&state.params, &state.optimizer.momentum, &state.optimizer.velocity];
    let values = sets.into_iter().flat_map(|set| set.iter().flat_map(|(_, param)| param.to_vec()));
    values.map(f64::to_bits).collect()
}

fn through_bytes(snapshot: &Snapshot) -> Snapshot {
    postcard::from_bytes(&postcard::to_allocvec(snapshot).unwrap()).unwrap()
}

#[test]
fn every_round_is_a_place_to_go_on_from() {
    let mut whole = simulation(&[3, 3]);
    let mut expected = Vec::new();
    whole.run(|event| expected.extend(line(&event))).unwrap();
    for interrupted in 0..=ROUNDS {
        let mut lines = Vec::new();
        let mut first = simulation(&[3, 3]);
        for _ in 0..interrupted {
            first.advance(|event| lines.extend(line(&event))).unwrap();
        }
        let mut second = simulation(&[3, 3]);
        second.restore(through_bytes(&first.snapshot())).unwrap();
        second.run(|event| lines.extend(line(&event))).unwrap();
        assert_eq!(lines, expected, "{interrupted}");
        assert_eq!(bits(&second), bits(&whole), "{interrupted}");
        let mut outcome = second.outcome().clone();
        outcome.wall = whole.outcome().wall;
        assert_eq!(outcome, *whole.outcome(), "{interrupted}");
    }
}

/// A stop between a round and its evaluation: the evaluation is made up for, the round is not run
/// again.
#[test]
fn an_evaluation_that_was_cut_off_is_made_up_for() {
    let mut expected = Vec::new();
    simulation(&[3, 3]).run(|event| expected.extend(line(&event))).unwrap();

    let mut first = simulation(&[3, 3]);
    let stop = first.stop_signal();
    let lines = Mutex::new(Vec::new());
    let outcome = first
        .run(|event| {
            lines.lock().unwrap().extend(line(&event));
            // After the second round, before the evaluation that is due then.
            if matches!(&event, Event::RoundFinished(summary) if summary.server_round == 1) {
                stop.stop();
            }
        })
        .unwrap();
    assert!(outcome.stopped);
    assert_eq!((outcome.rounds, outcome.evaluated_after_rounds), (2, 0));
    let mut second = simulation(&[3, 3]);
    second.restore(through_bytes(&first.snapshot())).unwrap();
    second.run(|event| lines.lock().unwrap().extend(line(&event))).unwrap();
    assert_eq!(*lines.lock().unwrap(), expected);
    assert!(!second.outcome().stopped);
}

#[test]
fn a_snapshot_of_something_else_is_refused_and_changes_nothing() {
    let mut other = simulation(&[4, 3]);
    other.run(|_| {}).unwrap();
    let mut own = simulation(&[3, 3]);
    own.advance(|_| {}).unwrap();
    let before = bits(&own);
    let error = own.restore(other.snapshot()).unwrap_err();
    assert!(matches!(error, Error::ShapeMismatch { .. }), "{error}");
    let mut infinite = own.snapshot();
    infinite.state.params = infinite.state.params.map(|w| w.mul_scalar(f64::INFINITY));
    assert!(matches!(own.restore(infinite), Err(Error::NonFinite { .. })));
    let mut missing = own.snapshot();
    missing.state.params = ParamSet::new();
    assert!(matches!(own.restore(missing), Err(Error::PathMismatch { .. })));
    assert_eq!(bits(&own), before);
    assert_eq!(own.outcome().rounds, 1);
}

/// A snapshot comes from a file: sums of what it counts must not overflow in the rounds to come,
/// and a server's moments must be those of its parameters.
#[test]
fn a_snapshot_that_no_run_can_have_made_is_refused() {
    let mut own = simulation(&[3, 3]);
    for _ in 0..2 {
        own.advance(|_| {}).unwrap();
    }
    let changes: [fn(&mut Snapshot); 8] = [
        |snapshot| snapshot.state.server_round = u64::MAX,
        |snapshot| snapshot.state.optimizer.step = u32::MAX,
        |snapshot| snapshot.outcome.rounds = u64::MAX,
        |snapshot| snapshot.outcome.evaluated_after_rounds = u64::MAX,
        |snapshot| snapshot.outcome.forward_passes = u64::MAX - 1,
        |snapshot| snapshot.outcome.bytes_up = u64::MAX,
        |snapshot| snapshot.outcome.bytes_down = u64::MAX,
        |snapshot| snapshot.outcome.wall = std::time::Duration::MAX,
    ];
    let before = bits(&own);
    for (index, change) in changes.into_iter().enumerate() {
        let mut snapshot = own.snapshot();
        change(&mut snapshot);
        let error = own.restore(snapshot).unwrap_err();
        assert!(matches!(error, Error::UnusableSnapshot { .. }), "{index}: {error}");
    }
    let mut misshapen = own.snapshot();
    let other = simulation(&[4, 3]).snapshot().state.params;
    misshapen.state.optimizer.momentum = other.clone();
    assert!(matches!(own.restore(misshapen), Err(Error::ShapeMismatch { .. })));
    let mut unknown = own.snapshot();
    let (_, param) = other.iter().next().map(|(path, param)| (path, param.clone())).unwrap();
    unknown.state.optimizer.velocity.insert("elsewhere", param);
    assert!(matches!(own.restore(unknown), Err(Error::UnknownParameter { .. })));
    assert_eq!(bits(&own), before);
}
