//! The options of a run.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Options of a simulated run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimulationConfig {
    /// Number of rounds.
    pub num_server_rounds: u64,
    /// Clients per round, sampled without repetition, in random order: a strategy may hand out
    /// work by position without favouring anyone.
    pub cohort_size: usize,
    /// The run's seed.
    pub seed: u64,
    /// Clients that work at the same time, each on one thread; 0 means one per core. Does not
    /// change results.
    pub jobs: usize,
    /// Bytes of activations that a client may keep during its local work; see
    /// [`PrefixCache`](crate::PrefixCache). 0 means none. Does not change results.
    pub prefix_cache_bytes: u64,
    /// Evaluate the global parameters every so many rounds (and after the last); 0 means never.
    pub evaluate_every: u64,
    /// Whether clients evaluate the parameters on their own test part before and after training.
    pub personalized: bool,
    /// End the run after the round in which the clients' [forward
    /// passes](super::ClientReport::forward_passes), over the whole run, reach this number.
    pub max_forward_passes: Option<u64>,
    /// End the run after the round in which the [time spent](super::Outcome::wall), over the whole run,
    /// reaches this many seconds. How many rounds that is depends on the machine.
    pub max_wall_secs: Option<f64>,
    /// Share of the clients on whose test parts the global parameters are evaluated, above 0 and at
    /// most 1; at least one client. It is a random sample of those that have a test part, the same
    /// one in the whole run.
    pub evaluation_share: f64,
    /// Examples per evaluation batch.
    pub eval_batch_size: usize,
}

impl Default for SimulationConfig {
    fn default() -> Self {
        Self {
            num_server_rounds: 10,
            cohort_size: 10,
            seed: 0,
            jobs: 0,
            prefix_cache_bytes: 0,
            evaluate_every: 1,
            personalized: true,
            max_forward_passes: None,
            max_wall_secs: None,
            evaluation_share: 1.0,
            eval_batch_size: 32,
        }
    }
}

impl SimulationConfig {
    /// Checks the options that do not depend on the clients.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] for an option out of its range.
    pub fn validate(&self) -> Result<()> {
        let invalid = |option, got: f64, expected: &str| {
            let (got, expected) = (got.to_string(), expected.to_string());
            Err(Error::InvalidOption { option, got, expected })
        };
        let share = self.evaluation_share;
        if !(share > 0.0 && share <= 1.0) {
            return invalid("evaluation_share", share, "above 0 and at most 1");
        }
        match self.max_wall_secs {
            Some(secs) if !(secs.is_finite() && secs > 0.0) => {
                invalid("max_wall_secs", secs, "a finite number above 0")
            }
            _ => Ok(()),
        }
    }
}
