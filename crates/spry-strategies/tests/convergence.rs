//! Every method on every closed-form problem, with the same budget: each must learn.

use std::sync::Arc;

use spry_core::optim::{LocalOptimizerConfig, ServerOptimizer, SgdConfig};
use spry_core::testing::{LogisticRegression, Quadratic};
use spry_core::{ClientData, Event, ForwardGradient, ParamSet, Simulation, SimulationConfig};
use spry_strategies::{METHODS, Method, find};

const CLIENTS: usize = 12;

fn config(rounds: u64) -> SimulationConfig {
    SimulationConfig {
        num_server_rounds: rounds,
        cohort_size: 6,
        evaluate_every: 0,
        ..Default::default()
    }
}

fn run(
    method: Method,
    clients: Vec<Box<dyn ClientData>>,
    params: ParamSet,
    config: SimulationConfig,
) -> Simulation<Method> {
    let mut simulation = Simulation::new(method, clients, params, config).unwrap();
    simulation
        .run(|event| {
            if let Event::ClientFailed { error, .. } = event {
                panic!("no client may fail here: {error}");
            }
        })
        .unwrap();
    simulation
}

/// A method with options that suit small convex problems.
fn tuned(name: &str) -> Method {
    let mut method = find(name).unwrap();
    let sgd = SgdConfig { learning_rate: 0.05, ..Default::default() };
    method.training.optimizer = LocalOptimizerConfig::Sgd(sgd);
    method.training.epochs = 4;
    if name == "spry" {
        method.training.estimator = Arc::new(ForwardGradient { k: 4 });
    }
    if let ServerOptimizer::Adaptive(adaptive) = &mut method.server {
        adaptive.learning_rate = 0.1;
    }
    method
}

#[test]
fn every_method_solves_the_quadratic() {
    for spec in METHODS {
        let problem = Quadratic::new(&[3, 3, 3, 2], 0);
        let start = problem.initial_params();
        let before = problem.excess_loss(&start);
        let simulation = run(tuned(spec.name), problem.clients(CLIENTS), start, config(60));
        let after = problem.excess_loss(&simulation.state().params);
        println!("{}: excess loss {before:.3} -> {after:.4}", spec.name);
        assert!(after < 0.05 * before, "{}: {before} -> {after}", spec.name);
    }
}

#[test]
fn every_method_solves_the_logistic_regression() {
    for spec in METHODS {
        let problem = LogisticRegression::default();
        let simulation =
            run(tuned(spec.name), problem.clients(CLIENTS), problem.initial_params(), config(40));
        let before = simulation.evaluate(&problem.initial_params()).unwrap();
        let after = simulation.evaluate(&simulation.state().params).unwrap();
        println!(
            "{}: loss {:.3} -> {:.3}, accuracy {:.3} -> {:.3}",
            spec.name,
            before.loss(),
            after.loss(),
            before.accuracy(),
            after.accuracy()
        );
        assert!(after.loss() < 0.3 * before.loss(), "{}: {after:?}", spec.name);
        assert!(after.accuracy() > 0.95, "{}: {after:?}", spec.name);
    }
}

fn bits(params: &ParamSet) -> Vec<u64> {
    params.iter().flat_map(|(_, param)| param.to_vec()).map(f64::to_bits).collect()
}

#[test]
fn every_method_gives_the_same_bits_for_any_number_of_jobs() {
    for spec in METHODS {
        let problem = LogisticRegression::default();
        let weights = |jobs| {
            let config = SimulationConfig { jobs, ..config(3) };
            let start = problem.initial_params();
            bits(&run(tuned(spec.name), problem.clients(CLIENTS), start, config).state().params)
        };
        assert_eq!(weights(1), weights(2), "{}", spec.name);
        assert_eq!(weights(1), weights(5), "{}", spec.name);
    }
}

#[test]
fn a_spry_client_sends_only_its_part() {
    let problem = LogisticRegression { blocks: 6, ..Default::default() };
    let bytes_up = |name| {
        let mut bytes = 0;
        let config = config(1);
        let mut simulation =
            Simulation::new(tuned(name), problem.clients(6), problem.initial_params(), config)
                .unwrap();
        simulation
            .run(|event| {
                if let Event::RoundFinished(summary) = event {
                    bytes = summary.clients.iter().map(|client| client.bytes_up).sum();
                }
            })
            .unwrap();
        bytes
    };
    // Six clients, six blocks: one block and the head each, instead of six blocks and the head.
    assert!(bytes_up("spry") * 3 < bytes_up("fedavg"));
}
