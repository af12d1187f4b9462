//! How a model sees a parameter set during one pass.

use std::collections::BTreeMap;

use burn::tensor::{Gradients, Tensor};
use spry_dual::Dual;

use super::{Param, ParamSet};
use crate::{Error, Result};

/// Parameters as dual numbers: constants for plain evaluation, with tangents in forward mode,
/// tracked by Burn's autodiff in reverse mode. A model is written once against this type.
#[derive(Clone, Debug)]
pub struct DualParams {
    entries: BTreeMap<String, (Dual<1>, Param)>,
}

impl DualParams {
    /// All parameters constant: inference.
    pub fn constant(params: &ParamSet) -> Self {
        Self::build(params, |_, param| Ok(Dual::constant(param.values().clone())))
            .unwrap_or_else(|_| unreachable!("building constants does not fail"))
    }

    /// Parameters perturbed along `K` directions at once.
    ///
    /// Each direction is a set with the perturbed paths only; all directions must have the same
    /// paths. Parameters outside of the directions stay constant and cost no tangent work.
    ///
    /// # Errors
    ///
    /// If there is no direction, a direction names an unknown path, directions differ in their
    /// paths, or a shape does not match its parameter.
    pub fn perturbed(params: &ParamSet, directions: &[ParamSet]) -> Result<Self> {
        let Some(first) = directions.first().filter(|first| !first.is_empty()) else {
            return Err(Error::InvalidOption {
                option: "directions",
                got: "empty".to_string(),
                expected: "at least one direction over at least one parameter".to_string(),
            });
        };
        for direction in directions {
            for (path, tangent) in direction.iter() {
                let param = params.get(path)?;
                param.check_same_shape(path, tangent)?;
            }
            let mut paths = direction.paths().chain(first.paths());
            let is_shared = |path: &&str| direction.contains(path) && first.contains(path);
            if let Some(path) = paths.find(|path| !is_shared(path)) {
                return Err(Error::PathMismatch { path: path.to_string() });
            }
        }
        Self::build(params, |path, param| {
            let values = param.values().clone();
            if !first.contains(path) {
                return Ok(Dual::constant(values));
            }
            let tangents: Result<Vec<_>> = directions
                .iter()
                .map(|direction| Ok(direction.get(path)?.values().clone()))
                .collect();
            Ok(Dual::new(values, tangents?))
        })
    }

    /// The parameters at the paths in `trains` tracked by Burn's reverse mode, the others constant.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownParameter`] if a path is not in the set.
    pub fn tracked(params: &ParamSet, trains: &[String]) -> Result<Self> {
        for path in trains {
            params.get(path)?;
        }
        Self::build(params, |path, param| {
            let values = param.values().clone();
            let is_trained = trains.iter().any(|trained| trained == path);
            Ok(Dual::constant(if is_trained { values.autodiff().require_grad() } else { values }))
        })
    }

    fn build(
        params: &ParamSet,
        mut dual: impl FnMut(&str, &Param) -> Result<Dual<1>>,
    ) -> Result<Self> {
        let mut entries = BTreeMap::new();
        for (path, param) in params.iter() {
            entries.insert(path.to_string(), (dual(path, param)?, param.clone()));
        }
        Ok(Self { entries })
    }

    /// The parameter at a path, if it is trainable; models fall back to their frozen weight.
    ///
    /// # Panics
    ///
    /// If the parameter's rank is not `D`.
    pub fn get<const D: usize>(&self, path: &str) -> Option<Dual<D>> {
        let (dual, param) = self.entries.get(path)?;
        let shape: [usize; D] = param.shape().try_into().unwrap_or_else(|_| {
            panic!("parameter `{path}` has shape {:?}, not rank {D}", param.shape())
        });
        Some(dual.clone().reshape(shape))
    }

    /// Gradients of the tracked parameters; zeros where the loss does not depend on one.
    pub(crate) fn gradient(&self, gradients: &Gradients) -> ParamSet {
        self.entries
            .iter()
            .filter(|(_, (dual, _))| dual.primal().is_require_grad())
            .map(|(path, (dual, param))| {
                let gradient: Tensor<1> =
                    dual.primal().grad(gradients).unwrap_or_else(|| param.values().zeros_like());
                (path.clone(), param.with_values(gradient))
            })
            .collect()
    }
}
