//! From an objective to a gradient, with and without backpropagation.
//!
//! | estimator | estimate | passes |
//! |---|---|---|
//! | [`Backprop`] | ∇f | one forward, one backward |
//! | [`ForwardGradient`] | (1/K) Σ ⟨∇f, vₖ⟩ vₖ with vₖ ~ N(0, I) | one forward-mode pass |
//!
//! A further estimator is one file here, implementing [`GradientEstimator`].

mod backprop;
mod forward_gradient;

pub use backprop::Backprop;
pub use forward_gradient::ForwardGradient;

use crate::{Objective, ParamSet, Result, Seed};

/// How a gradient of the loss is obtained from an [`Objective`].
pub trait GradientEstimator: std::fmt::Debug + Send + Sync {
    /// Checks the options.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`](crate::Error::InvalidOption) for an option out of its range.
    fn validate(&self) -> Result<()> {
        Ok(())
    }

    /// Number of random directions per step, if the estimate uses any.
    fn directions(&self) -> Option<usize> {
        None
    }

    /// Estimates the gradient with respect to the parameters at the paths in `trains`.
    ///
    /// `seed` is the training step's seed; randomised estimators draw their directions from it,
    /// so equal seeds give equal estimates, bit for bit.
    ///
    /// # Errors
    ///
    /// Whatever the objective reports.
    fn estimate(
        &self,
        objective: &dyn Objective,
        params: &ParamSet,
        trains: &[String],
        seed: &Seed,
    ) -> Result<GradientEstimate>;
}

/// A loss and an estimate of its gradient.
#[derive(Clone, Debug)]
pub struct GradientEstimate {
    /// The mean loss of the batch.
    pub loss: f64,
    /// One entry per trained path.
    pub gradient: ParamSet,
}
