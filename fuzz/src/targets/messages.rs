//! What travels between server and client, and what a simulation remembers.

use std::cell::RefCell;

use spry_core::simulation::Snapshot;
use spry_core::testing::Quadratic;
use spry_core::{
    ClientContext, ClientInfo, ClientTask, ClientUpdate, CompletedTask, ParamSet, Seed,
    ServerState, Simulation, SimulationConfig, StopSignal, Strategy,
};
use spry_strategies::Method;

use super::{Seeds, Shape, Target, refused};

/// Paths of the problem's parameters.
const WORDS: &[&str] = &["group.0.weight", "group.1.weight", "group.2.weight"];

/// Sizes of the problem's parameters.
const GROUPS: [usize; 2] = [3, 2];

/// The methods whose messages there are, with options: weights, gradients as values, gradients as
/// coefficients; moments on the server or not.
const METHODS: [(&str, &[&str]); 5] = [
    ("spry", &[]),
    ("fedyogi", &[]),
    ("fedsgd", &[]),
    ("fwdllm+", &[]),
    ("fedfgd", &["exchange=per-iteration", "server=sgd", "estimator.k=3"]),
];

fn problem() -> Quadratic {
    Quadratic::new(&GROUPS, 0)
}

/// A method, the state before its first round, and the first client's task.
fn first_task(
    (name, options): (&str, &[&str]),
) -> Result<(Method, ServerState, ClientTask), String> {
    let method = spry_strategies::find(name).map_err(refused)?;
    let method = method.with_assignments(options).map_err(refused)?;
    let state = method.init(problem().initial_params());
    let cohort = [ClientInfo { client: 0, num_examples: 8 }];
    let seed = Seed::new(0).server_round(0);
    let tasks = method.configure_round(&state, &cohort, &seed).map_err(refused)?;
    let task = tasks.into_iter().next().ok_or("the method gives no task")?;
    Ok((method, state, task))
}

fn first_update(method: (&str, &[&str])) -> Result<ClientUpdate, String> {
    let (method, _, task) = first_task(method)?;
    let clients = problem().clients(1);
    let mut context = ClientContext::new(0, &*clients[0], StopSignal::default());
    method.local_update(&task, &mut context).map_err(refused)
}

/// A message of each method.
fn seeds_of(message: impl Fn((&str, &[&str])) -> Result<Vec<u8>, String>) -> anyhow::Result<Seeds> {
    let seed = |method: (&str, &[&str])| {
        let bytes = message(method).map_err(anyhow::Error::msg)?;
        Ok((format!("valid-{}", method.0.replace('+', "-plus")), bytes))
    };
    METHODS.into_iter().map(seed).collect()
}

pub(super) const TASK: Target = Target {
    name: "client-task",
    shape: Shape::Bytes,
    words: WORDS,
    seeds: || seeds_of(|method| postcard::to_allocvec(&first_task(method)?.2).map_err(refused)),
    run: |input| {
        let task: ClientTask = postcard::from_bytes(input).map_err(refused)?;
        task.serialized_bytes().map_err(refused)?;
        task.params.check_finite().map_err(refused)?;
        let trained = task.params.subset(&task.trains).map_err(refused)?;
        trained.groups(spry_core::ParamRole::Adapter);
        assert!(trained.num_elements() <= input.len(), "values that were not sent");
        if let Some(change) = &task.previous_change {
            change.check_finite().map_err(refused)?;
        }
        // Whatever a client would answer is checked against the task.
        let update = first_update(METHODS[0])?;
        update.check(&task).map_err(refused)
    },
};

pub(super) const UPDATE: Target = Target {
    name: "client-update",
    shape: Shape::Bytes,
    words: WORDS,
    seeds: || seeds_of(|method| postcard::to_allocvec(&first_update(method)?).map_err(refused)),
    run: |input| {
        let update: ClientUpdate = postcard::from_bytes(input).map_err(refused)?;
        update.serialized_bytes().map_err(refused)?;
        let mut outcome = Err(String::new());
        for method in METHODS {
            outcome = outcome.or(take_in(method, &update));
        }
        outcome
    },
};

/// What a server does with an update.
fn take_in(method: (&str, &[&str]), update: &ClientUpdate) -> Result<(), String> {
    let (method, state, task) = first_task(method)?;
    method.check_update(&task, update).map_err(refused)?;
    let completed = CompletedTask { task, update: update.clone() };
    let (next, report) = method.aggregate(state.clone(), vec![completed]).map_err(refused)?;
    assert!(report.updates == 1, "a usable update was not used");
    let paths = |params: &ParamSet| params.paths().map(str::to_string).collect::<Vec<_>>();
    assert_eq!(paths(&next.params), paths(&state.params), "the parameters' names");
    Ok(())
}

/// FedYogi on the problem: its server has moments.
fn simulation() -> Result<Simulation<Method>, String> {
    let method = spry_strategies::find("fedyogi").map_err(refused)?;
    let config = SimulationConfig {
        num_server_rounds: u64::MAX,
        cohort_size: 2,
        jobs: 1,
        ..Default::default()
    };
    Simulation::new(method, problem().clients(3), problem().initial_params(), config)
        .map_err(refused)
}

thread_local! {
    /// The simulation that snapshots are taken up by, one after another.
    static SIMULATION: RefCell<Option<Simulation<Method>>> = const { RefCell::new(None) };
}

/// Takes a snapshot up, and goes on by a round.
pub(super) fn go_on(snapshot: Snapshot) -> Result<(), String> {
    let mut simulation = match SIMULATION.take() {
        Some(simulation) => simulation,
        None => simulation()?,
    };
    let outcome = simulation
        .restore(snapshot)
        .and_then(|()| simulation.advance(|_| {}).map(drop))
        .map_err(refused);
    SIMULATION.set(Some(simulation));
    outcome
}

/// A snapshot after two rounds.
pub(super) fn snapshot() -> Result<Snapshot, String> {
    let mut simulation = simulation()?;
    for _ in 0..2 {
        simulation.advance(|_| {}).map_err(refused)?;
    }
    Ok(simulation.snapshot())
}

pub(super) const SNAPSHOT: Target = Target {
    name: "snapshot",
    shape: Shape::Bytes,
    words: WORDS,
    seeds: || {
        let snapshot = snapshot().map_err(anyhow::Error::msg)?;
        Ok(vec![("valid-fedyogi".to_string(), postcard::to_allocvec(&snapshot)?)])
    },
    run: |input| go_on(postcard::from_bytes(input).map_err(refused)?),
};
