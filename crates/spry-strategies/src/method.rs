//! [`Method`]: a strategy as a product of choices.

use spry_core::aggregate::weighted_mean;
use spry_core::optim::ServerOptimizer;
use spry_core::{
    ClientContext, ClientInfo, ClientTask, ClientUpdate, LocalTraining, Result, RoundReport, Seed,
    ServerState, Strategy,
};

use crate::Assignment;

/// Who trains what, how clients train, and what the server makes of the mean of their weights.
#[derive(Clone, Debug)]
pub struct Method {
    /// The method's name.
    pub name: String,
    /// Which parameters each client of a cohort trains.
    pub assignment: Assignment,
    /// Gradient, optimizer and duration of local training.
    pub training: LocalTraining,
    /// From the clients' mean to the next weights.
    pub server: ServerOptimizer,
}

impl Method {
    /// Checks the options.
    ///
    /// # Errors
    ///
    /// [`spry_core::Error::InvalidOption`] for an option out of its range.
    pub fn validate(&self) -> Result<()> {
        self.training.validate()?;
        self.server.validate()
    }
}

impl Strategy for Method {
    fn name(&self) -> &str {
        &self.name
    }

    fn configure_round(
        &self,
        state: &ServerState,
        cohort: &[ClientInfo],
        seed: &Seed,
    ) -> Result<Vec<ClientTask>> {
        self.validate()?;
        let assigned = self.assignment.assign(&state.params, cohort.len());
        let tasks = cohort.iter().zip(assigned);
        Ok(tasks.map(|(client, trains)| ClientTask::new(state, client, trains, seed)).collect())
    }

    fn local_update(&self, task: &ClientTask, client: &mut ClientContext) -> Result<ClientUpdate> {
        client.train(task, &self.training)
    }

    fn aggregate(
        &self,
        mut state: ServerState,
        updates: Vec<ClientUpdate>,
    ) -> Result<(ServerState, RoundReport)> {
        let mean = weighted_mean(updates.iter().map(ClientUpdate::weighted_params))?;
        (state.params, state.optimizer) =
            self.server.apply(&state.optimizer, &state.params, &mean)?;
        Ok((state, RoundReport::of(&updates)))
    }
}
