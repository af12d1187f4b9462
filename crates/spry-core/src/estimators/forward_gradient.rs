//! The forward gradient: directional derivatives along random directions.

use serde::{Deserialize, Serialize};

use super::{GradientEstimate, GradientEstimator};
use crate::{Error, Objective, ParamSet, Result, Seed};

/// `(1/K) Σ ⟨∇f, vₖ⟩ vₖ` with `vₖ ~ N(0, I)`, from one forward-mode pass that carries all `K`
/// directions.
///
/// An unbiased estimate of the gradient (Baydin et al. 2022, arXiv 2202.08587); Spry's estimator
/// (arXiv 2405.15551, section 3.2), with `K = 1` by default. Its variance grows with the number of
/// trained values divided by `K`.
///
/// ```
/// use spry_core::testing::Quadratic;
/// use spry_core::{ForwardGradient, GradientEstimator, Objective, Seed};
///
/// let problem = Quadratic::new(&[2, 3], 0);
/// let (params, objective) = (problem.initial_params(), problem.objective(0));
/// let trains: Vec<String> = params.paths().map(str::to_owned).collect();
/// let (loss, gradient) = objective.gradient(&params, &trains)?;
///
/// let estimate =
///     ForwardGradient { k: 4000 }.estimate(&objective, &params, &trains, &Seed::new(1))?;
/// assert!((estimate.loss - loss).abs() < 1e-5);
/// let cosine = estimate.gradient.dot(&gradient)?
///     / (estimate.gradient.dot(&estimate.gradient)? * gradient.dot(&gradient)?).sqrt();
/// assert!(cosine > 0.98);
/// # Ok::<(), spry_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForwardGradient {
    /// Number of directions per step (the paper's K), at least 1.
    pub k: usize,
}

impl Default for ForwardGradient {
    fn default() -> Self {
        Self { k: 1 }
    }
}

impl GradientEstimator for ForwardGradient {
    fn validate(&self) -> Result<()> {
        if self.k > 0 {
            return Ok(());
        }
        Err(Error::InvalidOption {
            option: "k",
            got: "0".to_string(),
            expected: "at least 1 direction".to_string(),
        })
    }

    fn directions(&self) -> Option<usize> {
        Some(self.k)
    }

    fn estimate(
        &self,
        objective: &dyn Objective,
        params: &ParamSet,
        trains: &[String],
        seed: &Seed,
    ) -> Result<GradientEstimate> {
        self.validate()?;
        let trained = params.subset(trains)?;
        let directions: Vec<ParamSet> = (0..self.k).map(|k| seed.direction(k, &trained)).collect();
        let jvp = objective.jvp(params, &directions)?;
        let mut gradient = trained.map(|values| values.zeros_like());
        for (derivative, direction) in jvp.derivatives.iter().zip(&directions) {
            gradient = gradient.add_scaled(derivative / self.k as f64, direction)?;
        }
        Ok(GradientEstimate { loss: jvp.loss, gradient })
    }
}
