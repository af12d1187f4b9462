//! Who trains what over many rounds: no client is kept from a group by its number.

use std::collections::BTreeMap;
use std::sync::Mutex;

use spry_core::testing::Quadratic;
use spry_core::*;
use spry_strategies::Method;

/// Spry's tasks, without any work.
struct Observed {
    method: Method,
    tasks: Mutex<BTreeMap<(ClientId, String), u64>>,
}

impl Strategy for Observed {
    fn name(&self) -> &str {
        self.method.name()
    }

    fn configure_round(
        &self,
        state: &ServerState,
        cohort: &[ClientInfo],
        seed: &Seed,
    ) -> Result<Vec<ClientTask>> {
        let tasks = self.method.configure_round(state, cohort, seed)?;
        let mut counts = self.tasks.lock().unwrap();
        for task in &tasks {
            for path in &task.trains {
                *counts.entry((task.client, path.clone())).or_default() += 1;
            }
        }
        Ok(tasks)
    }

    fn local_update(&self, task: &ClientTask, _: &mut ClientContext) -> Result<ClientUpdate> {
        Err(Error::NoExamples { client: task.client })
    }

    fn aggregate(
        &self,
        _: ServerState,
        _: Vec<CompletedTask>,
    ) -> Result<(ServerState, RoundReport)> {
        unreachable!("nobody delivers anything")
    }
}

#[test]
fn every_client_trains_every_group_at_the_same_rate() {
    const ROUNDS: u64 = 400;
    const CLIENTS: usize = 20;
    // Groups that divide the cohort, that do not, and more groups than clients.
    for (groups, cohort_size) in [(4, 8), (4, 6), (5, 5), (7, 3), (3, 20)] {
        // The last group of the problem is its head, which is split like the others.
        let problem = Quadratic::new(&vec![1; groups], 0);
        let method = spry_strategies::find("spry").unwrap();
        let method = method.with_assignments(&["assignment.head=split".to_string()]).unwrap();
        let observed = Observed { method, tasks: Mutex::default() };
        let config = SimulationConfig {
            num_server_rounds: ROUNDS,
            cohort_size,
            evaluate_every: 0,
            personalized: false,
            ..Default::default()
        };
        let mut simulation =
            Simulation::new(observed, problem.clients(CLIENTS), problem.initial_params(), config)
                .unwrap();
        let mut trained: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        simulation.run(|_| {}).unwrap();
        let observed = simulation.strategy();
        for ((client, path), count) in &*observed.tasks.lock().unwrap() {
            trained.entry(path.clone()).or_insert_with(|| vec![0; CLIENTS])[*client] += count;
        }
        assert_eq!(trained.len(), groups);
        for (path, counts) in trained {
            let total: u64 = counts.iter().sum();
            let expected = total as f64 / CLIENTS as f64;
            // A count is a sum over rounds: its standard deviation is at most √expected.
            let chi_square: f64 =
                counts.iter().map(|&count| (count as f64 - expected).powi(2) / expected).sum();
            let case = format!("{groups} groups, cohorts of {cohort_size}, {path}: {counts:?}");
            // The 99.99th percentile of χ² with 19 degrees of freedom is 52.
            assert!(chi_square < 52.0, "{case}: χ² = {chi_square:.0}");
            assert!(expected >= 20.0, "{case}");
        }
    }
}
