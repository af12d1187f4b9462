//! IA3: learned scales of keys, values and feed-forward inputs.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use spry_core::{GroupId, Param, ParamRole, ParamSet};

use super::is_named;
use crate::architecture::TensorSpec;
use crate::{Error, Model, Result};

/// IA3 (Liu et al. 2022, arXiv 2205.05638); option names as in peft's `IA3Config`, defaults as in
/// peft for BERT. Scales start at one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ia3Config {
    /// Names of linear layers: whole paths, or their ends.
    pub target_modules: Vec<String>,
    /// Those of them whose input is scaled instead of their output.
    pub feedforward_modules: Vec<String>,
}

impl Default for Ia3Config {
    fn default() -> Self {
        let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
        Self {
            target_modules: names(&["key", "value", "output.dense"]),
            feedforward_modules: names(&["output.dense"]),
        }
    }
}

/// Which side of a linear layer is scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ia3Side {
    /// Its input; the vector is `[1, in]`.
    Input,
    /// Its output; the vector is `[out, 1]`.
    Output,
}

impl Ia3Config {
    /// Which side of a module is scaled, if any.
    pub fn side(&self, module: &str) -> Option<Ia3Side> {
        let names = |targets: &[String]| targets.iter().any(|target| is_named(module, target));
        if !names(&self.target_modules) {
            return None;
        }
        let is_feedforward = names(&self.feedforward_modules);
        Some(if is_feedforward { Ia3Side::Input } else { Ia3Side::Output })
    }

    pub(super) fn validate(&self) -> Result<()> {
        let is_target = |module: &&String| self.target_modules.contains(module);
        match self.feedforward_modules.iter().find(|module| !is_target(module)) {
            None => Ok(()),
            Some(module) => Err(Error::InvalidOption {
                option: "feedforward_modules",
                got: format!("{:?}", self.feedforward_modules),
                expected: format!("among `target_modules`, which lack `{module}`"),
            }),
        }
    }
}

pub(super) fn insert(
    trainable: &mut ParamSet,
    model: &Model,
    module: &str,
    tensor: &TensorSpec,
    side: Ia3Side,
    group: GroupId,
) {
    let shape = match side {
        Ia3Side::Input => [1, tensor.shape[1]],
        Ia3Side::Output => [tensor.shape[0], 1],
    };
    let ones = Tensor::<2>::ones(shape, (model.device(), model.dtype()));
    trainable.insert(format!("{module}.ia3_l"), Param::new(ones, ParamRole::Adapter, group));
}
