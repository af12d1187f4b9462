//! LoRA: low-rank updates of linear layers.

use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};
use spry_core::{GroupId, Param, ParamRole, ParamSet, Seed};

use super::is_adapted;
use crate::architecture::TensorSpec;
use crate::{Error, Model, Result};

/// LoRA (Hu et al. 2021, arXiv 2106.09685); option names as in peft's `LoraConfig`.
///
/// The defaults are Spry's: rank 1, α = 1, on query and value, whatever the family calls them. A
/// matrix `A` of shape `[r, in]` starts uniform in ±1/√in, as in peft; `B` of shape `[out, r]`
/// starts at zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoraConfig {
    /// Rank.
    pub r: usize,
    /// Numerator of the branch's scale: `lora_alpha / r`, or `lora_alpha / √r` with rsLoRA.
    pub lora_alpha: f64,
    /// Dropout of the branch's input.
    pub lora_dropout: f64,
    /// Names of linear layers: whole paths, or their ends. Empty for the family's query and value.
    pub target_modules: Vec<String>,
    /// Ends of the paths of further modules that are trained whole; the head always is.
    pub modules_to_save: Vec<String>,
    /// Whether the scale falls with the root of the rank (Kalajdzievski 2023, arXiv 2312.03732).
    pub use_rslora: bool,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self {
            r: 1,
            lora_alpha: 1.0,
            lora_dropout: 0.0,
            target_modules: Vec::new(),
            modules_to_save: Vec::new(),
            use_rslora: false,
        }
    }
}

impl LoraConfig {
    /// Scale of the branch.
    pub fn scaling(&self) -> f64 {
        let rank = self.r as f64;
        self.lora_alpha / if self.use_rslora { rank.sqrt() } else { rank }
    }

    /// Whether a module has a branch.
    pub fn targets(&self, module: &str) -> bool {
        is_adapted(module, &self.target_modules, &self.modules_to_save)
    }

    pub(super) fn validate(&self) -> Result<()> {
        let invalid = |option, got: String, expected: &str| {
            Err(Error::InvalidOption { option, got, expected: expected.to_string() })
        };
        if self.r == 0 {
            return invalid("r", "0".to_string(), "at least 1");
        }
        if !self.lora_alpha.is_finite() {
            return invalid("lora_alpha", self.lora_alpha.to_string(), "a finite number");
        }
        if !(0.0..1.0).contains(&self.lora_dropout) {
            let expected = "at least 0 and below 1";
            return invalid("lora_dropout", self.lora_dropout.to_string(), expected);
        }
        Ok(())
    }

    /// Fails if the rank is larger than that of the weight itself.
    pub(super) fn check_rank(&self, module: &str, tensor: &TensorSpec) -> Result<()> {
        let smaller = tensor.shape[0].min(tensor.shape[1]);
        if self.r <= smaller {
            return Ok(());
        }
        Err(Error::InvalidOption {
            option: "r",
            got: self.r.to_string(),
            expected: format!("at most {smaller}, the smaller side of `{module}`"),
        })
    }

    pub(super) fn insert(
        &self,
        trainable: &mut ParamSet,
        model: &Model,
        module: &str,
        tensor: &TensorSpec,
        group: GroupId,
        seed: &Seed,
    ) {
        let (out, input) = (tensor.shape[0], tensor.shape[1]);
        let options = (model.device(), model.dtype());
        let path = format!("{module}.lora_A.weight");
        let bound = 1.0 / (input as f64).sqrt();
        let uniforms = seed.child("lora_A", 0).child(&path, 0).uniforms(self.r * input);
        let a: Vec<f32> = uniforms.into_iter().map(|u| ((2.0 * u - 1.0) * bound) as f32).collect();
        let a = Tensor::<2>::from_data(TensorData::new(a, [self.r, input]), options);
        trainable.insert(path, Param::new(a, ParamRole::Adapter, group));
        let b = Tensor::<2>::zeros([out, self.r], options);
        let path = format!("{module}.lora_B.weight");
        trainable.insert(path, Param::new(b, ParamRole::Adapter, group));
    }
}
