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

use crate::architecture::{ModelSpec, TensorKind, TensorSpec};
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

    /// The method with the options that it leaves to the model's family filled in.
    pub fn resolved(mut self, spec: &ModelSpec) -> Self {
        let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
        match &mut self {
            Self::Lora(lora) if lora.target_modules.is_empty() => {
                lora.target_modules = names(spec.lora_targets);
            }
            Self::Ia3(ia3) if ia3.target_modules.is_empty() => {
                ia3.target_modules = names(&spec.ia3_targets);
                ia3.feedforward_modules = names(&spec.ia3_targets[2..]);
            }
            _ => {}
        }
        self
    }

    /// Names of modules that are trained whole besides the head.
    pub fn modules_to_save(&self) -> &[String] {
        match self {
            Self::Lora(lora) => &lora.modules_to_save,
            Self::Ia3(ia3) => &ia3.modules_to_save,
            Self::BitFit | Self::Head | Self::Full => &[],
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
        let resolved = self.clone().resolved(model.spec());
        resolved.validate()?;
        resolved.check_modules(model)?;
        resolved.insert_all(model, seed)
    }

    fn insert_all(&self, model: &Model, seed: &Seed) -> Result<ParamSet> {
        let mut trainable = ParamSet::new();
        let mut group = GroupId(0);
        let mut saved_before = None;
        for tensor in body(model) {
            let saved = named_ancestor(&tensor.path, self.modules_to_save());
            // The tensors of a module that is trained whole are one group.
            if saved_before.is_some() && saved != saved_before {
                group.0 += 1;
            }
            saved_before = saved;
            if saved.is_some() {
                insert_weight(&mut trainable, model, tensor, group)?;
            } else if self.insert(&mut trainable, model, tensor, group, seed)? {
                group.0 += 1;
            }
        }
        if saved_before.is_some() {
            group.0 += 1;
        }
        let is_adapter = |path: &str| !model.weights().contains(path);
        if matches!(self, Self::Lora(_) | Self::Ia3(_)) && !trainable.paths().any(is_adapter) {
            return Err(Error::InvalidOption {
                option: "modules_to_save",
                got: format!("{:?}", self.modules_to_save()),
                expected: "without some of the targets, which would else have no adapter at all; \
                           to train everything there is `full`"
                    .to_string(),
            });
        }
        if *self == Self::BitFit && trainable.is_empty() {
            return Err(Error::InvalidOption {
                option: "peft",
                got: "bitfit".to_string(),
                expected: "another method: this model has no biases".to_string(),
            });
        }
        for tensor in model.tensors().iter().filter(|tensor| tensor.role == ParamRole::Head) {
            insert_weight(&mut trainable, model, tensor, group)?;
        }
        Ok(trainable)
    }

    /// Makes what belongs to one tensor of the body trainable; returns whether there is anything.
    fn insert(
        &self,
        trainable: &mut ParamSet,
        model: &Model,
        tensor: &TensorSpec,
        group: GroupId,
        seed: &Seed,
    ) -> Result<bool> {
        match self {
            Self::Lora(lora) => {
                let module = linear_module(tensor).filter(|module| lora.targets(module));
                let Some(module) = module else { return Ok(false) };
                lora.check_rank(module, tensor)?;
                lora.insert(trainable, model, module, tensor, group, seed);
            }
            Self::Ia3(ia3) => {
                let side = |module| Some((module, ia3.side(module)?));
                let Some((module, side)) = linear_module(tensor).and_then(side) else {
                    return Ok(false);
                };
                ia3::insert(trainable, model, module, tensor, side, group);
            }
            Self::BitFit if tensor.kind != TensorKind::Bias => return Ok(false),
            Self::BitFit | Self::Full => insert_weight(trainable, model, tensor, group)?,
            Self::Head => return Ok(false),
        }
        Ok(true)
    }

    /// Fails for names of modules that the model does not have.
    fn check_modules(&self, model: &Model) -> Result<()> {
        match self {
            Self::Lora(lora) => check_targets(model, &lora.target_modules)?,
            Self::Ia3(ia3) => check_targets(model, &ia3.target_modules)?,
            Self::BitFit | Self::Head | Self::Full => {}
        }
        for name in self.modules_to_save() {
            let is_saved = |tensor: &&TensorSpec| {
                named_ancestor(&tensor.path, std::slice::from_ref(name)).is_some()
            };
            if !model.tensors().iter().any(|tensor| is_saved(&tensor)) {
                return Err(Error::InvalidOption {
                    option: "modules_to_save",
                    got: format!("`{name}`"),
                    expected: "the name of a module of this model".to_string(),
                });
            }
        }
        Ok(())
    }
}

/// The tensors of a model's body, in order of depth.
fn body(model: &Model) -> impl Iterator<Item = &TensorSpec> {
    model.tensors().iter().filter(|tensor| tensor.role == ParamRole::Adapter)
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

/// The linear layer that a tensor is the weight of.
fn linear_module(tensor: &TensorSpec) -> Option<&str> {
    match tensor.kind {
        TensorKind::LinearWeight => tensor.path.strip_suffix(".weight"),
        _ => None,
    }
}

/// Whether a target names a module: the whole path, or its end from a dot on, as in peft.
fn is_named(module: &str, target: &str) -> bool {
    module.strip_suffix(target).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Whether any of the targets names a module.
fn is_any(module: &str, targets: &[String]) -> bool {
    targets.iter().any(|target| is_named(module, target))
}

/// Whether a linear layer has an adapter: as a target that is not trained whole, as in peft.
fn is_adapted(module: &str, targets: &[String], modules_to_save: &[String]) -> bool {
    let is_saved = || named_ancestor(&format!("{module}."), modules_to_save).is_some();
    is_any(module, targets) && !is_saved()
}

/// The module that a tensor is in, itself or one around it, whose path ends in one of the names;
/// as in peft not only from a dot on.
fn named_ancestor<'a>(path: &'a str, names: &[String]) -> Option<&'a str> {
    let dots = path.match_indices('.').map(|(dot, _)| dot);
    let is_saved = |module: &&str| names.iter().any(|name| module.ends_with(name.as_str()));
    dots.map(|dot| &path[..dot]).find(is_saved)
}

/// Fails unless each target names at least one linear layer, and one of them one of the body. (An
/// adapter that peft made for all linear layers names the head's, too, but leaves them alone.)
fn check_targets(model: &Model, targets: &[String]) -> Result<()> {
    let modules = || body(model).filter_map(linear_module);
    if targets.is_empty() {
        return Err(Error::InvalidOption {
            option: "target_modules",
            got: "empty".to_string(),
            expected: "at least one module".to_string(),
        });
    }
    let all = || model.tensors().iter().filter_map(linear_module);
    let is_of_body = |target: &String| modules().any(|module| is_named(module, target));
    let is_some_of_body = targets.iter().any(is_of_body);
    for target in targets {
        if !is_some_of_body || !all().any(|module| is_named(module, target)) {
            let last = |module: &str| module.rsplit('.').next().unwrap_or(module).to_string();
            let mut available: Vec<String> = modules().map(last).collect();
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
