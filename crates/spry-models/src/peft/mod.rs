//! Parameter-efficient finetuning: which paths are trainable, and how they enter a linear layer.
//!
//! A method is a value of [`Peft`]; it does not change the model. [`Peft::trainable`] says which
//! parameters there are, in groups by depth (what Spry assigns as one piece), and
//! [`ForwardContext::linear`](crate::ForwardContext::linear) applies them. [`adapter`] reads and
//! writes the trained values in Hugging Face peft's format.

pub mod adapter;
mod ia3;
mod lora;

pub use ia3::{Ia3Config, Ia3Side};
pub use lora::LoraConfig;
use serde::{Deserialize, Serialize};
use spry_core::{GroupId, Param, ParamRole, ParamSet, Seed};

use crate::architecture::{TensorKind, TensorSpec};
use crate::{Error, Model, Result};

/// A finetuning method. The task head is trainable with each of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase", deny_unknown_fields)]
pub enum Peft {
    /// Low-rank updates of linear layers; a group is a pair of matrices.
    Lora(LoraConfig),
    /// Learned scales; a group is a vector.
    Ia3(Ia3Config),
    /// All biases (Ben Zaken et al. 2022, arXiv 2106.10199); a group is a bias vector.
    BitFit,
    /// Only the task head.
    Head,
    /// All weights; a group is a tensor.
    Full,
}

impl Peft {
    /// Checks the options that do not depend on the model.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] for an option out of its range.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::Lora(lora) => lora.validate(),
            Self::Ia3(ia3) => ia3.validate(),
            Self::BitFit | Self::Head | Self::Full => Ok(()),
        }
    }

    /// Whether a module of the model, such as `bert.pooler.dense`, gets parameters of its own.
    pub fn targets(&self, module: &str) -> bool {
        match self {
            Self::Lora(lora) => lora.targets(module),
            Self::Ia3(ia3) => ia3.side(module).is_some(),
            Self::BitFit | Self::Head | Self::Full => false,
        }
    }

    /// The trainable parameters of a model before training; fresh ones are drawn from the seed.
    ///
    /// Groups are numbered by depth; the head is the last group.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownTarget`] or [`Error::InvalidOption`] if the options do not fit the model.
    pub fn trainable(&self, model: &Model, seed: &Seed) -> Result<ParamSet> {
        self.validate()?;
        let mut trainable = ParamSet::new();
        let mut group = GroupId(0);
        let body = model.tensors().iter().filter(|tensor| tensor.role == ParamRole::Adapter);
        match self {
            Self::Lora(lora) => {
                check_targets(model, &lora.target_modules)?;
                for (module, tensor) in linear_modules(body) {
                    if lora.targets(module) {
                        lora.check_rank(module, tensor)?;
                        lora.insert(&mut trainable, model, module, tensor, group, seed);
                        group.0 += 1;
                    }
                }
            }
            Self::Ia3(ia3) => {
                check_targets(model, &ia3.target_modules)?;
                for (module, tensor) in linear_modules(body) {
                    if let Some(side) = ia3.side(module) {
                        ia3::insert(&mut trainable, model, module, tensor, side, group);
                        group.0 += 1;
                    }
                }
            }
            Self::BitFit | Self::Full => {
                for tensor in body {
                    if *self == Self::Full || tensor.kind == TensorKind::Bias {
                        insert_weight(&mut trainable, model, tensor, group)?;
                        group.0 += 1;
                    }
                }
            }
            Self::Head => {}
        }
        for tensor in model.tensors().iter().filter(|tensor| tensor.role == ParamRole::Head) {
            insert_weight(&mut trainable, model, tensor, group)?;
        }
        Ok(trainable)
    }
}

/// Makes one of the model's own weights trainable.
fn insert_weight(
    trainable: &mut ParamSet,
    model: &Model,
    tensor: &TensorSpec,
    group: GroupId,
) -> Result<()> {
    let unknown = |_| Error::UnknownWeight { path: tensor.path.clone() };
    let weight = model.weights().get(&tensor.path).map_err(unknown)?;
    let (values, shape) = (weight.values().clone(), tensor.shape.clone());
    let param = Param::from_flat(values, shape, tensor.role, group);
    trainable.insert(&tensor.path, param);
    Ok(())
}

/// Modules that are linear layers, with their weight, in order of depth.
fn linear_modules<'a>(
    tensors: impl Iterator<Item = &'a TensorSpec>,
) -> impl Iterator<Item = (&'a str, &'a TensorSpec)> {
    tensors
        .filter(|tensor| tensor.kind == TensorKind::LinearWeight)
        .filter_map(|tensor| Some((tensor.path.strip_suffix(".weight")?, tensor)))
}

/// Whether a target names a module: the whole path, or its end from a dot on, as in peft.
fn is_named(module: &str, target: &str) -> bool {
    module.strip_suffix(target).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Fails unless each target names at least one linear layer of the body.
fn check_targets(model: &Model, targets: &[String]) -> Result<()> {
    let body = || model.tensors().iter().filter(|tensor| tensor.role == ParamRole::Adapter);
    if targets.is_empty() {
        return Err(Error::InvalidOption {
            option: "target_modules",
            got: "empty".to_string(),
            expected: "at least one module".to_string(),
        });
    }
    for target in targets {
        if !linear_modules(body()).any(|(module, _)| is_named(module, target)) {
            let last =
                |(module, _): (&str, _)| module.rsplit('.').next().unwrap_or(module).to_string();
            let mut available: Vec<String> = linear_modules(body()).map(last).collect();
            available.sort_unstable();
            available.dedup();
            return Err(Error::UnknownTarget {
                target: target.clone(),
                available: available.join(", "),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_match_whole_names_from_the_end() {
        let module = "bert.encoder.layer.0.attention.output.dense";
        for (target, expected) in [
            ("dense", true),
            ("output.dense", true),
            ("attention.output.dense", true),
            (module, true),
            ("put.dense", false),
            ("attention", false),
            ("query", false),
        ] {
            assert_eq!(is_named(module, target), expected, "{target}");
        }
    }
}
