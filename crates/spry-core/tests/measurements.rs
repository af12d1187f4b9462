//! What a simulation measures and when it ends: means over examples, evaluation on a share of the
//! clients, a limit on time.

use std::time::Duration;

use spry_core::optim::{LocalOptimizerConfig, SgdConfig};
use spry_core::testing::LogisticRegression;
use spry_core::*;

/// Trains everything with a learning rate that leaves the weights where they are.
struct Still(LocalTraining, Duration);

impl Still {
    fn new(batch_size: usize) -> Self {
        let sgd = SgdConfig { learning_rate: 1e-30, ..Default::default() };
        let optimizer = LocalOptimizerConfig::Sgd(sgd);
        Self(LocalTraining { optimizer, batch_size, ..LocalTraining::backprop() }, Duration::ZERO)
    }

    /// Each client works at least that long.
    fn slow(work: Duration) -> Self {
        Self(Self::new(8).0, work)
    }
}

impl Strategy for Still {
    fn name(&self) -> &str {
        "still"
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
        std::thread::sleep(self.1);
        client.train(task, &self.0)
    }

    fn aggregate(
        &self,
        state: ServerState,
        completed: Vec<CompletedTask>,
    ) -> Result<(ServerState, RoundReport)> {
        Ok((state, RoundReport::of(&completed)))
    }
}

/// A model that is wrong in different degrees for different examples.
fn tilted(problem: &LogisticRegression) -> ParamSet {
    let mut params = problem.initial_params();
    let tilt = |(path, param): (&str, &Param)| {
        let values = (0..param.num_elements()).map(|i| (i as f64 * 1.7).sin()).collect();
        (path.to_string(), param.with_vec(values))
    };
    let tilted: ParamSet = params.iter().map(tilt).collect();
    params.assign(&tilted).unwrap();
    params
}

fn simulation<S: Strategy>(
    strategy: S,
    problem: &LogisticRegression,
    clients: usize,
    config: SimulationConfig,
) -> Simulation<S> {
    Simulation::new(strategy, problem.clients(clients), tilted(problem), config).unwrap()
}

#[test]
fn a_clients_loss_is_the_mean_over_its_examples() {
    // Batches of 8, 8 and 1: the mean of the batches' means would count the last example
    // eight-fold.
    let problem = LogisticRegression { train_examples: 17, ..Default::default() };
    let clients = problem.clients(3);
    let params = tilted(&problem);
    let config = SimulationConfig { num_server_rounds: 1, cohort_size: 3, ..Default::default() };
    let mut compared = 0;
    let mut simulation = simulation(Still::new(8), &problem, 3, config);
    simulation
        .run(|event| {
            let Event::ClientFinished { report, .. } = event else { return };
            let data = &*clients[report.client];
            let context = ClientContext::new(report.client, data, StopSignal::default());
            let expected = context.evaluate(Split::Train, &params, 17).unwrap().loss();
            let (got, client) = (report.train_loss, report.client);
            assert!((got - expected).abs() < 1e-6 * expected, "client {client}: {got}, {expected}");
            compared += 1;
        })
        .unwrap();
    assert_eq!(compared, 3);
}

#[test]
fn a_share_of_the_clients_evaluates_always_the_same_ones() {
    let problem = LogisticRegression { test_examples: 10, ..Default::default() };
    let evaluate = |share: f64, seed: u64| {
        let config = SimulationConfig {
            num_server_rounds: 2,
            cohort_size: 2,
            evaluation_share: share,
            seed,
            ..Default::default()
        };
        let mut all = Vec::new();
        let outcome = simulation(Still::new(8), &problem, 20, config).run(|event| match event {
            Event::Evaluated { generalized, .. } => all.push(generalized),
            Event::ClientEvaluated { total, .. } => {
                assert_eq!(total, ((20.0 * share).round() as usize).max(1));
            }
            _ => {}
        });
        outcome.unwrap();
        // The weights stay, so do the clients, and so does the result.
        assert_eq!(all.len(), 3);
        assert!(all.iter().all(|evaluation| *evaluation == all[0]));
        all[0]
    };
    assert_eq!(evaluate(1.0, 0).examples, 200);
    assert_eq!(evaluate(0.25, 0).examples, 50);
    assert_eq!(evaluate(1e-9, 0).examples, 10);
    assert_eq!(evaluate(0.25, 0), evaluate(0.25, 0));
    assert_ne!(evaluate(0.25, 0), evaluate(0.25, 1), "another seed, other clients");
}

#[test]
fn clients_without_a_test_part_do_not_use_up_the_share() {
    let problem = LogisticRegression { test_examples: 0, ..Default::default() };
    let able = LogisticRegression::default();
    let mut clients = problem.clients(9);
    clients.extend(able.clients(10).pop());
    let config = SimulationConfig {
        num_server_rounds: 1,
        cohort_size: 1,
        evaluation_share: 0.1,
        ..Default::default()
    };
    let simulation = Simulation::new(Still::new(8), clients, tilted(&able), config).unwrap();
    let evaluation = simulation.evaluate(&tilted(&able)).unwrap();
    assert_eq!(evaluation.examples, able.test_examples);
}

#[test]
fn a_run_ends_when_its_time_is_up() {
    let problem = LogisticRegression::default();
    let config = SimulationConfig {
        num_server_rounds: 1000,
        cohort_size: 1,
        evaluate_every: 1000,
        max_wall_secs: Some(0.2),
        ..Default::default()
    };
    let mut first = simulation(Still::slow(Duration::from_millis(60)), &problem, 2, config.clone());
    let mut evaluated = Vec::new();
    let outcome = first
        .run(|event| {
            if let Event::Evaluated { rounds, .. } = event {
                evaluated.push(rounds);
            }
        })
        .unwrap();
    assert!((1..=4).contains(&outcome.rounds), "{} rounds", outcome.rounds);
    assert!(outcome.wall >= Duration::from_millis(200));
    // Like any other run, it is evaluated at its end.
    assert_eq!(evaluated, [0, outcome.rounds]);

    // Time counts over the whole run: one that goes on from there is at its end.
    let mut second = simulation(Still::new(8), &problem, 2, config.clone());
    second.restore(first.snapshot()).unwrap();
    assert_eq!(second.run(|_| {}).unwrap().rounds, outcome.rounds);
    // Unless it gets more.
    let rounds = outcome.rounds + 2;
    let more = SimulationConfig { max_wall_secs: None, num_server_rounds: rounds, ..config };
    let mut third = simulation(Still::new(8), &problem, 2, more);
    third.restore(first.snapshot()).unwrap();
    assert_eq!(third.run(|_| {}).unwrap().rounds, rounds);
}

#[test]
fn shares_and_limits_out_of_range_are_refused() {
    let problem = LogisticRegression::default();
    let refused = |config: SimulationConfig| {
        let config = SimulationConfig { cohort_size: 1, ..config };
        let result =
            Simulation::new(Still::new(8), problem.clients(2), problem.initial_params(), config);
        result.err().expect("it must be refused").to_string()
    };
    for evaluation_share in [0.0, -1.0, 1.01, f64::NAN] {
        let message = refused(SimulationConfig { evaluation_share, ..Default::default() });
        assert!(message.contains("`evaluation_share`"), "{message}");
    }
    for secs in [0.0, -1.0, f64::INFINITY, f64::NAN] {
        let message = refused(SimulationConfig { max_wall_secs: Some(secs), ..Default::default() });
        assert!(message.contains("`max_wall_secs`"), "{message}");
    }
}
