//! Optimizers that run on a client, with PyTorch's formulas and defaults.
//!
//! State is kept per parameter path: a parameter without a gradient in some step keeps its
//! moments and its step count, as in PyTorch.

mod adam;
mod sgd;

pub use adam::{AdamConfig, AdamWConfig};
pub use sgd::SgdConfig;

use serde::{Deserialize, Serialize};

use crate::{ParamSet, Result};

/// Steps weights along gradients.
pub trait LocalOptimizer: Send {
    /// Updates the parameters that `gradient` contains; others stay as they are.
    ///
    /// # Errors
    ///
    /// If the gradient names an unknown path or has another shape than its parameter.
    fn step(&mut self, params: &mut ParamSet, gradient: &ParamSet) -> Result<()>;
}

/// Which local optimizer to use, and its options.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase")]
pub enum LocalOptimizerConfig {
    /// Stochastic gradient descent.
    Sgd(SgdConfig),
    /// Adam.
    Adam(AdamConfig),
    /// Adam with decoupled weight decay.
    AdamW(AdamWConfig),
}

impl LocalOptimizerConfig {
    /// A fresh optimizer.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`](crate::Error::InvalidOption) for an option out of its range.
    ///
    /// ```
    /// use spry_core::optim::{AdamWConfig, LocalOptimizerConfig};
    ///
    /// let config = LocalOptimizerConfig::AdamW(AdamWConfig::default());
    /// assert!(config.init().is_ok());
    /// assert!(config.with_learning_rate(-1.0).init().is_err());
    /// ```
    pub fn init(&self) -> Result<Box<dyn LocalOptimizer>> {
        Ok(match self {
            Self::Sgd(config) => Box::new(config.init()?),
            Self::Adam(config) => Box::new(config.init()?),
            Self::AdamW(config) => Box::new(config.init()?),
        })
    }

    /// The same optimizer with another learning rate.
    pub fn with_learning_rate(&self, rate: f64) -> Self {
        let mut config = self.clone();
        match &mut config {
            Self::Sgd(SgdConfig { learning_rate, .. })
            | Self::Adam(AdamConfig { learning_rate, .. })
            | Self::AdamW(AdamWConfig { learning_rate, .. }) => *learning_rate = rate,
        }
        config
    }
}
