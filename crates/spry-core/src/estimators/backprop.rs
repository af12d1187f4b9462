//! The exact gradient, by reverse mode.

use serde::{Deserialize, Serialize};

use super::{GradientEstimate, GradientEstimator};
use crate::{Objective, ParamSet, Result, Seed};

/// ∇f by Burn's reverse mode: the estimator of FedAvg, FedYogi and FedSgd. It stores the
/// activations of a pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Backprop;

impl GradientEstimator for Backprop {
    fn estimate(
        &self,
        objective: &dyn Objective,
        params: &ParamSet,
        trains: &[String],
        _seed: &Seed,
    ) -> Result<GradientEstimate> {
        let (loss, gradient) = objective.gradient(params, trains)?;
        Ok(GradientEstimate { loss, gradient })
    }
}
