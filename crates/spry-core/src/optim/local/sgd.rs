//! Stochastic gradient descent.

use std::collections::HashMap;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::LocalOptimizer;
use crate::error::check_option;
use crate::{Error, ParamSet, Result};

/// SGD as in `torch.optim.SGD`.
///
/// `g ← g + weight_decay·w`; with momentum μ: `b ← μ·b + (1 − dampening)·g` (the first time
/// `b = g`), then `g ← g + μ·b` if Nesterov, else `g ← b`; `w ← w − learning_rate·g`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SgdConfig {
    /// Step size.
    pub learning_rate: f64,
    /// Momentum factor μ; 0 turns momentum off.
    pub momentum: f64,
    /// Dampening of the momentum.
    pub dampening: f64,
    /// L2 penalty.
    pub weight_decay: f64,
    /// Whether to use Nesterov momentum.
    pub nesterov: bool,
}

impl Default for SgdConfig {
    fn default() -> Self {
        Self {
            learning_rate: 1e-3,
            momentum: 0.0,
            dampening: 0.0,
            weight_decay: 0.0,
            nesterov: false,
        }
    }
}

impl SgdConfig {
    /// A fresh optimizer.
    pub(super) fn init(&self) -> Result<Sgd> {
        check_option("learning_rate", self.learning_rate, |v| v >= 0.0, "a number of at least 0")?;
        check_option("momentum", self.momentum, |v| v >= 0.0, "a number of at least 0")?;
        check_option("weight_decay", self.weight_decay, |v| v >= 0.0, "a number of at least 0")?;
        check_option("dampening", self.dampening, |_| true, "a finite number")?;
        if self.nesterov && (self.momentum == 0.0 || self.dampening != 0.0) {
            return Err(Error::InvalidOption {
                option: "nesterov",
                got: "true".to_string(),
                expected: "false without momentum, or with dampening".to_string(),
            });
        }
        Ok(Sgd { config: self.clone(), buffers: HashMap::new() })
    }
}

/// The running optimizer: one momentum buffer per parameter path.
pub(super) struct Sgd {
    config: SgdConfig,
    buffers: HashMap<String, Tensor<1>>,
}

impl LocalOptimizer for Sgd {
    fn step(&mut self, params: &mut ParamSet, gradient: &ParamSet) -> Result<()> {
        let SgdConfig { learning_rate, momentum, dampening, weight_decay, nesterov } = self.config;
        let updated = params.subset(gradient.paths())?;
        let updated = updated.zip_by_path(gradient, |path, w, mut g| {
            if weight_decay != 0.0 {
                g = g.add(w.clone().mul_scalar(weight_decay));
            }
            if momentum != 0.0 {
                let buffer = match self.buffers.remove(path) {
                    Some(b) => b.mul_scalar(momentum).add(g.clone().mul_scalar(1.0 - dampening)),
                    None => g.clone(),
                };
                self.buffers.insert(path.to_string(), buffer.clone());
                g = if nesterov { g.add(buffer.mul_scalar(momentum)) } else { buffer };
            }
            w.sub(g.mul_scalar(learning_rate))
        })?;
        params.assign(&updated)
    }
}
