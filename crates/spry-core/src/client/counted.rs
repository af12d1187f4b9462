//! An objective that counts the passes through it, and ends with them on request.

use std::cell::Cell;

use spry_dual::Dual;

use crate::{
    DualParams, Error, Evaluation, HeadedObjective, Jvp, Objective, ParamSet, Result, StopSignal,
};

/// Adds each pass to a count, in forward passes of one example. Every call goes on to the same
/// method of the objective, so one that overrides a provided method keeps its own way.
pub(super) struct Counted<'a> {
    pub(super) objective: Box<dyn Objective + 'a>,
    pub(super) examples: u64,
    pub(super) passes: &'a Cell<u64>,
    /// Looked at before each pass: a step may have many.
    pub(super) stop: &'a StopSignal,
}

impl Counted<'_> {
    fn count(&self, forward_passes: u64) -> Result<()> {
        if self.stop.is_stopped() {
            return Err(Error::Stopped);
        }
        self.passes.set(self.passes.get() + forward_passes * self.examples);
        Ok(())
    }
}

impl Objective for Counted<'_> {
    fn forward(&self, params: &DualParams) -> Result<Dual<1>> {
        self.count(params.forward_passes())?;
        self.objective.forward(params)
    }

    fn evaluate(&self, params: &ParamSet) -> Result<Evaluation> {
        self.count(1)?;
        self.objective.evaluate(params)
    }

    fn loss(&self, params: &ParamSet) -> Result<f64> {
        self.count(1)?;
        self.objective.loss(params)
    }

    fn loss_at(&self, params: &DualParams) -> Result<f64> {
        self.count(params.forward_passes())?;
        self.objective.loss_at(params)
    }

    fn jvp(&self, params: &ParamSet, directions: &[ParamSet]) -> Result<Jvp> {
        self.count(1 + directions.len() as u64)?;
        self.objective.jvp(params, directions)
    }

    fn gradient(&self, params: &ParamSet, trains: &[String]) -> Result<(f64, ParamSet)> {
        self.count(3)?;
        self.objective.gradient(params, trains)
    }

    fn headed(&self) -> Option<&dyn HeadedObjective> {
        self.objective.headed().map(|_| self as &dyn HeadedObjective)
    }
}

/// The body's passes count; those of the head alone cost next to nothing beside them.
impl HeadedObjective for Counted<'_> {
    fn features(&self, params: &DualParams) -> Result<Dual<2>> {
        self.count(params.forward_passes())?;
        self.inner_head()?.features(params)
    }

    fn head(&self, params: &DualParams, features: Dual<2>) -> Result<Dual<1>> {
        self.inner_head()?.head(params, features)
    }
}

impl Counted<'_> {
    fn inner_head(&self) -> Result<&dyn HeadedObjective> {
        self.objective
            .headed()
            .ok_or_else(|| crate::Error::objective("the objective no longer has a head of its own"))
    }
}
