//! Server optimizers: from the clients' mean to the next global weights.
//!
//! The plain one takes the mean as it is (FedAvg). The adaptive ones (Reddi et al. 2021, arXiv
//! 2003.00295) treat the difference between mean and current weights as a gradient; constants and
//! start values follow Flower's `FedYogi`, `FedAdam` and `FedAdagrad`.

mod adaptive;

pub use adaptive::{AdaptiveConfig, AdaptiveRule};

use serde::{Deserialize, Serialize};

use crate::{ParamSet, Result};

/// Which server optimizer to use, and its options.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase")]
pub enum ServerOptimizer {
    /// The clients' mean becomes the new weights.
    Plain,
    /// Yogi, Adam or Adagrad on the mean's difference to the current weights.
    Adaptive(AdaptiveConfig),
}

/// Moments of an adaptive server optimizer; empty for the plain one.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ServerOptimizerState {
    /// Number of rounds applied so far.
    pub step: u32,
    /// First moments (m), for the paths trained so far.
    pub momentum: ParamSet,
    /// Second moments (v), for the paths trained so far.
    pub velocity: ParamSet,
}

impl ServerOptimizer {
    /// New values for the paths in `mean`, and the optimizer's state after the round.
    ///
    /// Paths outside of `mean` were trained by nobody: their weights and moments stay.
    ///
    /// # Errors
    ///
    /// If `mean` names an unknown path or has another shape than its parameter.
    pub fn apply(
        &self,
        state: &ServerOptimizerState,
        params: &ParamSet,
        mean: &ParamSet,
    ) -> Result<(ParamSet, ServerOptimizerState)> {
        let mut next = params.clone();
        let mut state = state.clone();
        state.step += 1;
        match self {
            Self::Plain => next.assign(mean)?,
            Self::Adaptive(config) => {
                let current = params.subset(mean.paths())?;
                next.assign(&config.apply(&mut state, &current, mean)?)?;
            }
        }
        Ok((next, state))
    }

    /// Checks the options.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`](crate::Error::InvalidOption) for an option out of its range.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::Plain => Ok(()),
            Self::Adaptive(config) => config.validate(),
        }
    }
}
