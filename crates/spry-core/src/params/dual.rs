//! How a model sees a parameter set during one pass.

use std::collections::BTreeMap;

use burn::tensor::{Gradients, Tensor};
use spry_dual::Dual;

use super::{Param, ParamSet};
use crate::perturbation::Direction;
use crate::{Error, Result};

/// Parameters as dual numbers: constants for plain evaluation, moved along a direction for finite
/// differences, with tangents in forward mode, tracked by Burn's autodiff in reverse mode. A model
/// is written once against this type.
#[derive(Clone, Debug)]
pub struct DualParams {
    entries: BTreeMap<String, (Dual<1>, Param)>,
    displacement: Option<(Direction, f64)>,
    forward_passes: u64,
}

impl DualParams {
    /// All parameters constant: inference.
    pub fn constant(params: &ParamSet) -> Self {
        Self::build(params, 1, |_, param| Ok(Dual::constant(param.values().clone())))
            .unwrap_or_else(|_| unreachable!("building constants does not fail"))
    }

    /// All parameters constant and moved by `scale · direction`: one end of a finite difference.
    ///
    /// The moved values are made when the model asks for them and dropped with the model's own
    /// use of them, so no moved copy of all parameters exists, and the parameters themselves are
    /// never touched.
    ///
    /// # Errors
    ///
    /// If a stored direction names an unknown path, or a shape does not match its parameter.
    pub fn displaced(params: &ParamSet, direction: &Direction, scale: f64) -> Result<Self> {
        direction.check_fits(params)?;
        let displacement = Some((direction.clone(), scale));
        Ok(Self { displacement, ..Self::constant(params) })
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
            Direction::stored(direction.clone()).check_fits(params)?;
            let mut paths = direction.paths().chain(first.paths());
            let is_shared = |path: &&str| direction.contains(path) && first.contains(path);
            if let Some(path) = paths.find(|path| !is_shared(path)) {
                return Err(Error::PathMismatch { path: path.to_string() });
            }
        }
        let forward_passes = 1 + directions.len() as u64;
        Self::build(params, forward_passes, |path, param| {
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
        Self::build(params, 3, |path, param| {
            let values = param.values().clone();
            let is_trained = trains.iter().any(|trained| trained == path);
            Ok(Dual::constant(if is_trained { values.autodiff().require_grad() } else { values }))
        })
    }

    fn build(
        params: &ParamSet,
        forward_passes: u64,
        mut dual: impl FnMut(&str, &Param) -> Result<Dual<1>>,
    ) -> Result<Self> {
        let mut entries = BTreeMap::new();
        for (path, param) in params.iter() {
            entries.insert(path.to_string(), (dual(path, param)?, param.clone()));
        }
        Ok(Self { entries, displacement: None, forward_passes })
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
        let displaced = self.displacement.as_ref().and_then(|(direction, scale)| {
            let step = direction.values(path, param)?.mul_scalar(*scale);
            Some(Dual::constant(param.values().clone().add(step)))
        });
        Some(displaced.unwrap_or_else(|| dual.clone()).reshape(shape))
    }

    /// Whether any parameter is tracked by Burn's reverse mode.
    pub fn is_tracked(&self) -> bool {
        self.entries.values().any(|(dual, _)| dual.primal().is_autodiff())
    }

    /// Whether only parameters at these paths are perturbed or displaced.
    pub fn moves_only(&self, paths: &[String]) -> bool {
        let displaced = self.displacement.as_ref();
        let moves = |path: &str, dual: &Dual<1>| {
            dual.is_perturbed() || displaced.is_some_and(|(direction, _)| direction.reaches(path))
        };
        self.entries.iter().all(|(path, (dual, _))| !moves(path, dual) || paths.contains(path))
    }

    /// Whether the primal values are the parameters' own, rather than displaced ones.
    pub(crate) fn is_undisplaced(&self) -> bool {
        self.displacement.is_none()
    }

    /// What a pass with these parameters costs, in forward passes: 1 for plain values, `1 + K`
    /// with `K` tangents, and 3 if a backward pass will follow, which is counted as two.
    ///
    /// These are the usual conventions, and upper bounds: tangents are computed only from the
    /// first perturbed layer on, and a backward pass over frozen weights skips their gradients.
    pub fn forward_passes(&self) -> u64 {
        self.forward_passes
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
