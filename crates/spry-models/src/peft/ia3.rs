//! IA3: learned scales of keys, values and feed-forward inputs.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use spry_core::{GroupId, Param, ParamRole, ParamSet};

use super::{is_adapted, is_any};
use crate::architecture::TensorSpec;
use crate::{Error, Model, Result};

/// IA3 (Liu et al. 2022, arXiv 2205.05638); option names as in peft's `IA3Config`. Scales start at
/// one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ia3Config {
    /// Names of linear layers: whole paths, or their ends. Empty for the family's key, value and
    /// second feed-forward layer.
    pub target_modules: Vec<String>,
    /// Those of them whose input is scaled instead of their output; with empty `target_modules`
    /// the family's feed-forward layer.
    pub feedforward_modules: Vec<String>,
    /// Ends of the paths of further modules that are trained whole; the head always is.
    pub modules_to_save: Vec<String>,
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
        if !is_adapted(module, &self.target_modules, &self.modules_to_save) {
            return None;
        }
        let is_feedforward = is_any(module, &self.feedforward_modules);
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
