//! Weights, adapters and dropout during one pass.

use std::cell::Cell;

use spry_core::{DualParams, ParamRole};
use spry_dual::Dual;
use spry_dual::ops::{self, Activation, DropoutSeed};

use crate::peft::{Ia3Side, Peft};
use crate::{Error, Model, Result};

/// What a model sees during one pass: its frozen weights, the trainable parameters that replace or
/// extend them, and the dropout masks.
pub struct ForwardContext<'a> {
    model: &'a Model,
    params: &'a DualParams,
    peft: &'a Peft,
    dropout: Option<DropoutSeed>,
    dropout_sites: Cell<u64>,
}

impl<'a> ForwardContext<'a> {
    /// A pass with these parameters; without a dropout seed it is deterministic.
    pub fn new(
        model: &'a Model,
        params: &'a DualParams,
        peft: &'a Peft,
        dropout: Option<DropoutSeed>,
    ) -> Self {
        Self { model, params, peft, dropout, dropout_sites: Cell::new(0) }
    }

    /// The model whose weights these are.
    pub fn model(&self) -> &'a Model {
        self.model
    }

    /// A weight: the trainable one if there is one at this path, else the frozen one.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownWeight`] if there is neither.
    pub fn weight<const D: usize>(&self, path: &str) -> Result<Dual<D>> {
        if let Some(trainable) = self.params.get(path) {
            return Ok(trainable);
        }
        let unknown = || Error::UnknownWeight { path: path.to_string() };
        let weight = self.model.weights().get(path).map_err(|_| unknown())?;
        let shape: [usize; D] = weight.shape().try_into().map_err(|_| unknown())?;
        Ok(Dual::constant(weight.values().clone().reshape(shape)))
    }

    /// Whether a module belongs to the head, which is trained as it is, also where a target's name
    /// fits.
    fn is_head(&self, module: &str) -> bool {
        let weight = self.model.weights().get(&format!("{module}.weight"));
        weight.is_ok_and(|weight| weight.role() == ParamRole::Head)
    }

    /// The bias of a module; `None` if it has none.
    fn bias(&self, module: &str) -> Result<Option<Dual<1>>> {
        let path = format!("{module}.bias");
        let is_there = self.model.weights().contains(&path);
        is_there.then(|| self.weight(&path)).transpose()
    }

    /// The linear layer of a module, with its adapters; `[.., in]` to `[.., out]`.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownWeight`] if the module does not exist.
    pub fn linear<const D: usize>(&self, module: &str, x: Dual<D>) -> Result<Dual<D>> {
        self.linear_activated(module, x, None)
    }

    /// [`linear`](Self::linear) with an activation on its result.
    ///
    /// # Errors
    ///
    /// As [`linear`](Self::linear).
    pub fn linear_activated<const D: usize>(
        &self,
        module: &str,
        x: Dual<D>,
        activation: Option<Activation>,
    ) -> Result<Dual<D>> {
        let weight = self.weight(&format!("{module}.weight"))?;
        let bias = self.bias(module)?;
        let activate = |y: Dual<D>| match activation {
            Some(activation) => activation.apply(y),
            None => y,
        };
        match self.peft {
            Peft::Lora(lora) if lora.targets(module) && !self.is_head(module) => {
                let a = self.weight(&format!("{module}.lora_A.weight"))?;
                let b = self.weight(&format!("{module}.lora_B.weight"))?;
                let y = ops::linear(x.clone(), weight, bias);
                let x = self.dropout(x, lora.lora_dropout);
                Ok(activate(ops::add_lora_branch(y, x, a, b, lora.scaling())))
            }
            Peft::Ia3(ia3) => match ia3.side(module).filter(|_| !self.is_head(module)) {
                None => Ok(ops::linear_activated(x, weight, bias, activation)),
                Some(side) => {
                    let scale = self.ia3_scale::<D>(module)?;
                    Ok(match side {
                        Ia3Side::Input => {
                            ops::linear_activated(x.mul(scale), weight, bias, activation)
                        }
                        Ia3Side::Output => activate(ops::linear(x, weight, bias).mul(scale)),
                    })
                }
            },
            _ => Ok(ops::linear_activated(x, weight, bias, activation)),
        }
    }

    /// Whether the linear layer of a module draws a dropout mask.
    pub(crate) fn has_dropout(&self, module: &str) -> bool {
        match self.peft {
            Peft::Lora(lora) => {
                self.dropout.is_some() && lora.lora_dropout > 0.0 && lora.targets(module)
            }
            _ => false,
        }
    }

    /// IA3's vector of a module, as `[1, .., 1, n]`.
    fn ia3_scale<const D: usize>(&self, module: &str) -> Result<Dual<D>> {
        let scale: Dual<2> = self.weight(&format!("{module}.ia3_l"))?;
        let mut row = [1; D];
        row[D - 1] = scale.dims().iter().product();
        Ok(scale.reshape(row))
    }

    /// The layer norm of a module.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownWeight`] if the module does not exist.
    pub fn layer_norm<const D: usize>(
        &self,
        module: &str,
        x: Dual<D>,
        epsilon: f64,
    ) -> Result<Dual<D>> {
        let weight = self.weight(&format!("{module}.weight"))?;
        let bias = self.weight(&format!("{module}.bias"))?;
        Ok(ops::layer_norm(x, weight, bias, epsilon))
    }

    /// The RMS norm of a module.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownWeight`] if the module does not exist.
    pub fn rms_norm<const D: usize>(
        &self,
        module: &str,
        x: Dual<D>,
        epsilon: f64,
    ) -> Result<Dual<D>> {
        Ok(ops::rms_norm(x, self.weight(&format!("{module}.weight"))?, epsilon))
    }

    /// Dropout with a mask of its own at each place in the network; nothing outside of training.
    pub fn dropout<const D: usize>(&self, x: Dual<D>, probability: f64) -> Dual<D> {
        match self.dropout_site(probability) {
            Some((probability, seed)) => ops::dropout(x, probability, seed),
            None => x,
        }
    }

    /// Probability and seed of the next dropout in the network; `None` outside of training.
    pub fn dropout_site(&self, probability: f64) -> Option<(f64, DropoutSeed)> {
        let seed = self.dropout.filter(|_| probability > 0.0)?;
        let site = self.dropout_sites.get();
        self.dropout_sites.set(site + 1);
        Some((probability, seed.site(site)))
    }
}
