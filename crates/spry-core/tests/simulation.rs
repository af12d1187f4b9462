//! The simulation's promises: same bits for any number of jobs, failed clients left out, stops.

use std::sync::Mutex;

use spry_core::optim::{LocalOptimizerConfig, ServerOptimizer, SgdConfig};
use spry_core::testing::{Fault, LogisticRegression, Quadratic, Tampered};
use spry_core::*;

type Tamper = Box<dyn Fn(&ClientTask, ClientUpdate) -> Result<ClientUpdate> + Send + Sync>;

/// Local SGD and a plain mean.
struct LocalSgd(LocalTraining);

impl LocalSgd {
    fn new(learning_rate: f64) -> Self {
        let optimizer =
            LocalOptimizerConfig::Sgd(SgdConfig { learning_rate, ..Default::default() });
        Self(LocalTraining { optimizer, ..LocalTraining::backprop() })
    }

    /// With a hook that can spoil updates.
    fn tampered(
        tamper: impl Fn(&ClientTask, ClientUpdate) -> Result<ClientUpdate> + Send + Sync + 'static,
    ) -> Tampered<Self> {
        Tampered::new(Self::new(0.2), move |strategy, task, client| {
            tamper(task, strategy.local_update(task, client)?)
        })
    }
}

impl Strategy for LocalSgd {
    fn name(&self) -> &str {
        "local-sgd"
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
        client.train(task, &self.0)
    }

    fn aggregate(
        &self,
        mut state: ServerState,
        completed: Vec<CompletedTask>,
    ) -> Result<(ServerState, RoundReport)> {
        let mean = aggregate::mean_weights(&completed)?;
        let (params, optimizer) =
            ServerOptimizer::Plain {}.apply(&state.optimizer, &state.params, &mean)?;
        state.params = params;
        state.optimizer = optimizer;
        Ok((state, RoundReport::of(&completed)))
    }
}

fn bits(params: &ParamSet) -> Vec<u64> {
    params.iter().flat_map(|(_, param)| param.to_vec()).map(f64::to_bits).collect()
}

fn config(rounds: u64) -> SimulationConfig {
    SimulationConfig { num_server_rounds: rounds, cohort_size: 4, ..Default::default() }
}

fn simulate<S: Strategy>(
    strategy: S,
    config: SimulationConfig,
    mut on_event: impl FnMut(Event<'_>),
) -> (ServerState, Outcome) {
    let problem = LogisticRegression::default();
    let mut simulation =
        Simulation::new(strategy, problem.clients(8), problem.initial_params(), config).unwrap();
    let outcome = simulation.run(&mut on_event).unwrap();
    (simulation.state().clone(), outcome)
}

#[test]
fn results_are_bit_identical_for_any_number_of_jobs() {
    let run = |jobs| {
        let mut losses = Vec::new();
        let (state, outcome) = simulate(
            LocalSgd::new(0.2),
            SimulationConfig { jobs, ..config(3) },
            |event| match event {
                Event::Evaluated { generalized, .. } => losses.push(generalized),
                Event::RoundFinished(summary) => losses.push(summary.personalization().after),
                _ => {}
            },
        );
        (bits(&state.params), losses, outcome.bytes_up, outcome.bytes_down)
    };
    let one = run(1);
    for jobs in [2, 3, 8] {
        assert_eq!(run(jobs), one, "{jobs} jobs");
    }
}

#[test]
fn the_seed_decides_the_run() {
    let run = |seed| {
        let (state, _) =
            simulate(LocalSgd::new(0.2), SimulationConfig { seed, ..config(2) }, |_| {});
        bits(&state.params)
    };
    assert_eq!(run(0), run(0));
    assert_ne!(run(0), run(1));
}

/// Runs one round in which client updates are spoiled by `tamper`; returns the weights after it
/// and the reasons given for clients that were left out.
fn spoiled_round(strategy: impl Strategy) -> (Vec<u64>, Vec<String>, bool) {
    let mut reasons = Vec::new();
    let mut skipped = false;
    let (state, _) = simulate(strategy, config(1), |event| match event {
        Event::ClientFailed { error, .. } => reasons.push(error.to_string()),
        Event::RoundSkipped { .. } => skipped = true,
        _ => {}
    });
    (bits(&state.params), reasons, skipped)
}

#[test]
fn unusable_updates_are_reported_and_left_out() {
    // A reference in which the same client simply fails: whatever else goes wrong with it, the
    // weights must be those of this run.
    let victim = Seed::new(0).server_round(0).child("cohort", 0).shuffled_sample(8, 4)[1];
    let (without, reasons, _) = spoiled_round(LocalSgd::tampered(move |task, update| {
        if task.client == victim { Err(Error::NoUsableUpdate) } else { Ok(update) }
    }));
    assert_eq!(reasons.len(), 1);

    let with_params = |update: ClientUpdate, params| ClientUpdate {
        payload: UpdatePayload::Weights(params),
        ..update
    };
    type Fault = (&'static str, Tamper);
    let faults: Vec<Fault> = vec![
        (
            "a value of `block.0.weight` is not finite",
            Box::new(move |_, update| {
                let params = update.weights().unwrap().map(|values| values.mul_scalar(f64::NAN));
                Ok(with_params(update, params))
            }),
        ),
        (
            "`head.bias` is missing",
            Box::new(move |_, update| {
                let params = update.weights().unwrap().subset([
                    "block.0.weight",
                    "block.1.weight",
                    "block.2.weight",
                ])?;
                Ok(with_params(update, params))
            }),
        ),
        (
            "`stranger` was not to be trained",
            Box::new(move |_, update| {
                let mut params = update.weights().unwrap().clone();
                params.insert("stranger", params.get("head.bias")?.clone());
                Ok(with_params(update, params))
            }),
        ),
        (
            "has shape [3]",
            Box::new(move |_, update| {
                let mut params = update.weights().unwrap().clone();
                params.insert("head.bias", params.get("block.0.weight")?.clone());
                Ok(with_params(update, params))
            }),
        ),
        (
            "trained on 0 examples",
            Box::new(|_, update| Ok(ClientUpdate { num_examples: 0, ..update })),
        ),
        (
            "its training loss is NaN",
            Box::new(|_, update| Ok(ClientUpdate { train_loss: f64::NAN, ..update })),
        ),
        (
            "claims to come from client 99",
            Box::new(|_, update| Ok(ClientUpdate { client: 99, ..update })),
        ),
        ("panicked: out of luck", Box::new(|_, _| panic!("out of luck"))),
    ];
    for (expected, fault) in faults {
        let strategy = LocalSgd::tampered(move |task, update| {
            if task.client == victim { fault(task, update) } else { Ok(update) }
        });
        let (weights, reasons, skipped) = spoiled_round(strategy);
        assert_eq!(reasons.len(), 1, "{expected}");
        assert!(reasons[0].contains(expected), "{:?} does not contain {expected:?}", reasons[0]);
        assert_eq!(weights, without, "{expected}: the weights are touched by the faulty client");
        assert!(!skipped);
    }
}

#[test]
fn a_round_without_a_usable_update_keeps_the_weights_and_says_so() {
    let strategy = LocalSgd::tampered(|_, _| Err(Error::NoUsableUpdate));
    let (weights, reasons, skipped) = spoiled_round(strategy);
    assert!(skipped);
    assert_eq!(reasons.len(), 4);
    assert_eq!(weights, bits(&LogisticRegression::default().initial_params()));
}

/// A budget that nobody spends would never end; one that is spent in vain ends like any other.
#[test]
fn a_budget_ends_the_run_also_when_all_fail() {
    let run = |strategy: Box<dyn Strategy>| {
        let problem = LogisticRegression::default();
        let config = SimulationConfig { max_forward_passes: Some(1000), ..config(u64::MAX) };
        let (clients, start) = (problem.clients(8), problem.initial_params());
        let mut simulation = Simulation::new(strategy, clients, start, config).unwrap();
        simulation.run(|_| {})
    };
    // 4 clients, 32 examples, 3 passes each.
    let outcome = run(Box::new(LocalSgd::new(0.2))).unwrap();
    assert_eq!((outcome.rounds, outcome.forward_passes), (3, 3 * 4 * 32 * 3));
    let fails = LocalSgd::tampered(|_, _| Err(Error::NoUsableUpdate));
    let outcome = run(Box::new(fails)).unwrap();
    assert_eq!((outcome.rounds, outcome.forward_passes), (3, 3 * 4 * 32 * 3));
    let idle = Tampered::faulty(LocalSgd::new(0.2), |_, _| Some(Fault::DropOut));
    let error = run(Box::new(idle)).unwrap_err();
    assert!(matches!(error, Error::NoProgress { .. }), "{error}");
    // A run that ends by its number of rounds just ends.
    let problem = LogisticRegression::default();
    let config = SimulationConfig { max_forward_passes: Some(1000), ..config(10) };
    let idle = Tampered::faulty(LocalSgd::new(0.2), |_, _| Some(Fault::DropOut));
    let (clients, start) = (problem.clients(8), problem.initial_params());
    let outcome = Simulation::new(idle, clients, start, config).unwrap().run(|_| {}).unwrap();
    assert_eq!((outcome.rounds, outcome.forward_passes), (10, 0));
}

/// A strategy whose aggregation panics keeps its state, and says why.
#[test]
fn a_panic_in_aggregation_skips_the_round() {
    struct Panics(LocalSgd);

    impl Strategy for Panics {
        fn name(&self) -> &str {
            "panics"
        }

        fn configure_round(
            &self,
            state: &ServerState,
            cohort: &[ClientInfo],
            seed: &Seed,
        ) -> Result<Vec<ClientTask>> {
            self.0.configure_round(state, cohort, seed)
        }

        fn local_update(
            &self,
            task: &ClientTask,
            client: &mut ClientContext,
        ) -> Result<ClientUpdate> {
            self.0.local_update(task, client)
        }

        fn aggregate(
            &self,
            _: ServerState,
            _: Vec<CompletedTask>,
        ) -> Result<(ServerState, RoundReport)> {
            panic!("no sum today")
        }
    }

    let mut reasons = Vec::new();
    let (state, outcome) = simulate(Panics(LocalSgd::new(0.2)), config(1), |event| {
        if let Event::RoundSkipped { error, .. } = event {
            reasons.push(error.to_string());
        }
    });
    assert_eq!(outcome.rounds, 1);
    assert!(reasons[0].contains("no sum today"), "{reasons:?}");
    assert_eq!(bits(&state.params), bits(&LogisticRegression::default().initial_params()));
}

#[test]
fn a_diverging_client_is_left_out() {
    let mut failures = Vec::new();
    let (state, outcome) = simulate(LocalSgd::new(1e38), config(1), |event| {
        if let Event::ClientFailed { error, .. } = event {
            failures.push(error.to_string());
        }
    });
    assert_eq!(failures.len(), 4, "{failures:?}");
    assert!(failures.iter().all(|failure| failure.contains("finite")), "{failures:?}");
    assert!(state.params.check_finite().is_ok());
    assert_eq!(outcome.rounds, 1);
}

#[test]
fn a_stop_discards_the_unfinished_round() {
    let problem = Quadratic::new(&[4, 4], 0);
    let mut simulation = Simulation::new(
        LocalSgd::new(0.1),
        problem.clients(6),
        problem.initial_params(),
        config(10),
    )
    .unwrap();
    let stop = simulation.stop_signal();
    let weights = Mutex::new(Vec::new());
    let outcome = simulation
        .run(|event| match event {
            Event::RoundFinished(summary) => weights.lock().unwrap().push(summary.server_round),
            Event::RoundStarted { server_round: 3, .. } => stop.stop(),
            _ => {}
        })
        .unwrap();
    assert!(outcome.stopped);
    assert_eq!(outcome.rounds, 3);
    assert_eq!(*weights.lock().unwrap(), [0, 1, 2]);
    assert_eq!(simulation.state().server_round, 3);
}

#[test]
fn a_cohort_must_fit_the_population() {
    let problem = Quadratic::new(&[1, 1], 0);
    for cohort_size in [0, 4] {
        let result = Simulation::new(
            LocalSgd::new(0.1),
            problem.clients(3),
            problem.initial_params(),
            SimulationConfig { cohort_size, ..config(1) },
        );
        let error = result.err().expect("the cohort does not fit").to_string();
        assert!(error.contains("between 1 and the number of clients, 3"), "{error}");
    }
}

#[test]
fn tasks_updates_and_state_survive_serialisation() {
    let problem = Quadratic::new(&[3, 2], 0);
    let strategy = LocalSgd::new(0.1);
    let state = strategy.init(problem.initial_params());
    let info = ClientInfo { client: 1, num_examples: 8 };
    let task = strategy.configure_round(&state, &[info], &Seed::new(0)).unwrap().remove(0);
    let task: ClientTask = postcard::from_bytes(&postcard::to_allocvec(&task).unwrap()).unwrap();
    let clients = problem.clients(2);
    let mut context = ClientContext::new(1, &*clients[1], StopSignal::default());
    let update = strategy.local_update(&task, &mut context).unwrap();
    let wire = postcard::to_allocvec(&update).unwrap();
    assert_eq!(wire.len() as u64, update.serialized_bytes().unwrap());
    let received: ClientUpdate = postcard::from_bytes(&wire).unwrap();
    assert_eq!(bits(received.weights().unwrap()), bits(update.weights().unwrap()));
    received.check(&task).unwrap();
    let (state, _) =
        strategy.aggregate(state, vec![CompletedTask { task, update: received }]).unwrap();
    let saved: ServerState = postcard::from_bytes(&postcard::to_allocvec(&state).unwrap()).unwrap();
    assert_eq!(bits(&saved.params), bits(&state.params));
}

#[test]
fn corrupted_messages_are_errors_not_panics() {
    let problem = Quadratic::new(&[3, 2], 0);
    let wire = postcard::to_allocvec(&problem.initial_params()).unwrap();
    for length in 0..wire.len() {
        assert!(postcard::from_bytes::<ParamSet>(&wire[..length]).is_err(), "{length} bytes");
    }
}
