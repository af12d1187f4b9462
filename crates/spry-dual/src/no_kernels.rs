//! In place of the fast path where Burn's flex backend is not built in: no operand fits.

use burn::tensor::{DType, Device};

use crate::Dual;
use crate::ops::{Activation, AttentionMask, DropoutSeed};

/// Runs `work`; without the `flex` feature every rule is composed of Burn's operations anyway.
pub fn composed<R>(work: impl FnOnce() -> R) -> R {
    work()
}

/// Whether rules for tensors of this kind go through fused kernels: never without the `flex` feature.
pub fn has_kernels(_: &Device, _: DType) -> bool {
    false
}

/// There are none.
#[derive(Clone, Copy)]
pub(crate) enum Kernels {}

impl Kernels {
    pub(crate) fn for_all(_: &[&dyn Operand]) -> Option<Self> {
        None
    }

    pub(crate) fn linear<const D: usize>(
        self,
        _: &Dual<D>,
        _: &Dual<2>,
        _: Option<&Dual<1>>,
        _: Option<Activation>,
    ) -> Dual<D> {
        match self {}
    }

    pub(crate) fn add_lora_branch<const D: usize>(
        self,
        _: Dual<D>,
        _: &Dual<D>,
        _: &Dual<2>,
        _: &Dual<2>,
        _: f64,
    ) -> Dual<D> {
        match self {}
    }

    pub(crate) fn activate<const D: usize>(self, _: Activation, _: Dual<D>) -> Dual<D> {
        match self {}
    }

    pub(crate) fn layer_norm<const D: usize>(
        self,
        _: Dual<D>,
        _: &Dual<1>,
        _: &Dual<1>,
        _: f64,
    ) -> Dual<D> {
        match self {}
    }

    pub(crate) fn rms_norm<const D: usize>(self, _: Dual<D>, _: &Dual<1>, _: f64) -> Dual<D> {
        match self {}
    }

    pub(crate) fn dropout<const D: usize>(
        self,
        _: Dual<D>,
        _: f32,
        _: impl Fn(u64) -> bool + Sync + Send,
    ) -> Dual<D> {
        match self {}
    }

    pub(crate) fn attention(
        self,
        _: Dual<4>,
        _: Dual<4>,
        _: Dual<4>,
        _: Option<&AttentionMask>,
        _: f64,
        _: Option<(f64, DropoutSeed)>,
    ) -> Dual<4> {
        match self {}
    }

    pub(crate) fn cross_entropy(self, _: &Dual<2>, _: &[usize]) -> Dual<1> {
        match self {}
    }
}

/// What a rule asks about.
pub(crate) trait Operand {}

impl<const D: usize> Operand for burn::tensor::Tensor<D> {}
impl<const D: usize> Operand for Dual<D> {}
impl<T: Operand> Operand for Option<T> {}
