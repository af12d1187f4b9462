//! Adam and AdamW.

use std::collections::HashMap;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::LocalOptimizer;
use crate::error::check_option;
use crate::{ParamSet, Result};

macro_rules! adam_config {
    ($(#[$doc:meta])* $name:ident, decay: $decay:literal, decoupled: $decoupled:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            /// Step size.
            pub learning_rate: f64,
            /// Decay of the gradient's running mean, in `[0, 1)`.
            pub beta_1: f64,
            /// Decay of the squared gradient's running mean, in `[0, 1)`.
            pub beta_2: f64,
            /// Added to the denominator after bias correction.
            pub epsilon: f64,
            /// Weight decay.
            pub weight_decay: f64,
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    learning_rate: 1e-3,
                    beta_1: 0.9,
                    beta_2: 0.999,
                    epsilon: 1e-8,
                    weight_decay: $decay,
                }
            }
        }

        impl $name {
            /// A fresh optimizer.
            pub(super) fn init(&self) -> Result<Adam> {
                let at_least_0 = "a number of at least 0";
                check_option("learning_rate", self.learning_rate, |v| v >= 0.0, at_least_0)?;
                let below_1 = "at least 0 and below 1";
                check_option("beta_1", self.beta_1, |v| (0.0..1.0).contains(&v), below_1)?;
                check_option("beta_2", self.beta_2, |v| (0.0..1.0).contains(&v), below_1)?;
                check_option("epsilon", self.epsilon, |v| v >= 0.0, at_least_0)?;
                check_option("weight_decay", self.weight_decay, |v| v >= 0.0, at_least_0)?;
                Ok(Adam {
                    learning_rate: self.learning_rate,
                    betas: (self.beta_1, self.beta_2),
                    epsilon: self.epsilon,
                    weight_decay: self.weight_decay,
                    decoupled: $decoupled,
                    moments: HashMap::new(),
                })
            }
        }
    };
}

adam_config! {
    /// Adam (Kingma and Ba 2015, arXiv 1412.6980) as in `torch.optim.Adam`.
    ///
    /// `g ← g + weight_decay·w`; `m ← β₁m + (1−β₁)g`; `v ← β₂v + (1−β₂)g²`;
    /// `w ← w − learning_rate·m̂/(√v̂ + ε)` with `m̂ = m/(1−β₁ᵗ)`, `v̂ = v/(1−β₂ᵗ)`.
    AdamConfig, decay: 0.0, decoupled: false
}

adam_config! {
    /// AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) as in `torch.optim.AdamW`.
    ///
    /// As [`AdamConfig`], but the decay acts on the weights instead of the gradient:
    /// `w ← (1 − learning_rate·weight_decay)·w` before the step. The default decay is 0.01.
    AdamWConfig, decay: 0.01, decoupled: true
}

/// The running optimizer, for both kinds of weight decay.
pub(super) struct Adam {
    learning_rate: f64,
    betas: (f64, f64),
    epsilon: f64,
    weight_decay: f64,
    decoupled: bool,
    moments: HashMap<String, Moments>,
}

/// Running means of one parameter's gradient and squared gradient, and how often it was stepped.
struct Moments {
    step: i32,
    first: Tensor<1>,
    second: Tensor<1>,
}

impl LocalOptimizer for Adam {
    fn step(&mut self, params: &mut ParamSet, gradient: &ParamSet) -> Result<()> {
        let (beta_1, beta_2) = self.betas;
        let (rate, decay) = (self.learning_rate, self.weight_decay);
        let updated = params.subset(gradient.paths())?;
        let updated = updated.zip_by_path(gradient, |path, w, g| {
            let (w, g) = match decay != 0.0 {
                true if self.decoupled => (w.mul_scalar(1.0 - rate * decay), g),
                true => (w.clone(), g.add(w.mul_scalar(decay))),
                false => (w, g),
            };
            let past = self.moments.remove(path).unwrap_or_else(|| Moments {
                step: 0,
                first: g.zeros_like(),
                second: g.zeros_like(),
            });
            let step = past.step + 1;
            let first = past.first.mul_scalar(beta_1).add(g.clone().mul_scalar(1.0 - beta_1));
            let second = past.second.mul_scalar(beta_2).add(g.square().mul_scalar(1.0 - beta_2));
            let correction_1 = 1.0 - beta_1.powi(step);
            let correction_2 = 1.0 - beta_2.powi(step);
            let denominator =
                second.clone().sqrt().div_scalar(correction_2.sqrt()).add_scalar(self.epsilon);
            let change = first.clone().mul_scalar(rate / correction_1).div(denominator);
            self.moments.insert(path.to_string(), Moments { step, first, second });
            w.sub(change)
        })?;
        params.assign(&updated)
    }
}
