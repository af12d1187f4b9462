//! The fast path: fused kernels where a tensor's memory can be reached.
//!
//! A rule asks whether a [`Kernels`] can take its operands, which must be `f32` on Burn's flex
//! backend and outside of reverse mode; if so, `spry-kernels` computes the value and all tangents
//! together, in place where nobody else holds the memory. Otherwise the rule composes Burn's own
//! operations, which stay the reference that the kernels are tested against ([`composed`]).

use std::cell::Cell;

use burn::tensor::{DType, Device, Shape, Tensor};
use burn_flex::{Flex, FlexTensor, Layout};
use spry_kernels::{AttentionShape, DualMut, DualRef, DualVec, Mask, ProbabilityDropout, Sequence};

use crate::ops::attention::ranges;
use crate::ops::dropout::kept_scale;
use crate::ops::{Activation, AttentionMask, DropoutSeed};
use crate::{Dual, Tangents};

thread_local! {
    static DISABLED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` on this thread without fused kernels: each rule composed of Burn's operations.
///
/// For tests and measurements; results differ by rounding only.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use spry_dual::{Dual, composed};
///
/// let x = Tensor::<1>::from_floats([0.5, -1.0], &Device::default());
/// let gelu = || Dual::constant(x.clone()).gelu().into_primal();
/// let difference = gelu().sub(composed(gelu)).abs().max().into_scalar::<f32>();
/// assert!(difference < 1e-6);
/// ```
pub fn composed<R>(work: impl FnOnce() -> R) -> R {
    /// Restores the setting even if `work` panics.
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            DISABLED.set(self.0);
        }
    }
    let _restore = Restore(DISABLED.replace(true));
    work()
}

/// Whether rules for tensors of this kind go through fused kernels, outside of reverse mode.
///
/// Kernels compute each row, such as a token, apart from the others: its result does not depend on
/// the rest of the batch.
pub fn has_kernels(device: &Device, dtype: DType) -> bool {
    !DISABLED.get() && dtype == DType::F32 && *device == Device::flex()
}

/// Shows that the operands it was made for can go through a kernel.
#[derive(Clone, Copy)]
pub(crate) struct Kernels(());

impl Kernels {
    /// If kernels can take all operands.
    pub(crate) fn for_all(operands: &[&dyn Operand]) -> Option<Self> {
        let fits = operands.iter().all(|operand| operand.fits());
        fits.then_some(Self(()))
    }

    /// [`linear`](crate::ops::linear) with the activation after it, over the last axis.
    pub(crate) fn linear<const D: usize>(
        self,
        x: &Dual<D>,
        weight: &Dual<2>,
        bias: Option<&Dual<1>>,
        activation: Option<Activation>,
    ) -> Dual<D> {
        let [output, input] = weight.dims();
        let mut shape = x.dims();
        shape[D - 1] = output;
        let (x, weight) = (self.read(x), self.read(weight));
        let bias = bias.map(|bias| self.read(bias));
        let bias = bias.as_ref().map(Read::view);
        let activation = activation.map(Activation::kernel);
        let y = spry_kernels::linear(&x.view(), &weight.view(), bias.as_ref(), input, activation);
        self.dual(y, shape)
    }

    /// [`add_lora_branch`](crate::ops::add_lora_branch).
    pub(crate) fn add_lora_branch<const D: usize>(
        self,
        y: Dual<D>,
        x: &Dual<D>,
        a: &Dual<2>,
        b: &Dual<2>,
        scaling: f64,
    ) -> Dual<D> {
        let k = [x.tangents().len(), a.tangents().len(), b.tangents().len()];
        let rank = a.dims()[0];
        let (x, a, b) = (self.read(x), self.read(a), self.read(b));
        self.change(y, k.into_iter().max().unwrap_or(0), |y| {
            spry_kernels::lora(y, &x.view(), &a.view(), &b.view(), rank, scaling as f32);
        })
    }

    /// An activation.
    pub(crate) fn activate<const D: usize>(self, activation: Activation, x: Dual<D>) -> Dual<D> {
        self.change(x, 0, |x| spry_kernels::activate(activation.kernel(), x))
    }

    /// [`layer_norm`](crate::ops::layer_norm).
    pub(crate) fn layer_norm<const D: usize>(
        self,
        x: Dual<D>,
        weight: &Dual<1>,
        bias: &Dual<1>,
        epsilon: f64,
    ) -> Dual<D> {
        let k = weight.tangents().len().max(bias.tangents().len());
        let (weight, bias) = (self.read(weight), self.read(bias));
        self.change(x, k, |x| {
            spry_kernels::layer_norm(x, &weight.view(), &bias.view(), epsilon as f32);
        })
    }

    /// [`rms_norm`](crate::ops::rms_norm).
    pub(crate) fn rms_norm<const D: usize>(
        self,
        x: Dual<D>,
        weight: &Dual<1>,
        epsilon: f64,
    ) -> Dual<D> {
        let k = weight.tangents().len();
        let weight = self.read(weight);
        self.change(x, k, |x| spry_kernels::rms_norm(x, &weight.view(), epsilon as f32))
    }

    /// [`dropout`](crate::ops::dropout).
    pub(crate) fn dropout<const D: usize>(
        self,
        x: Dual<D>,
        scale: f32,
        keeps: impl Fn(u64) -> bool + Sync + Send,
    ) -> Dual<D> {
        self.change(x, 0, |x| spry_kernels::dropout(x, scale, keeps))
    }

    /// [`attention`](crate::ops::attention).
    pub(crate) fn attention(
        self,
        query: Dual<4>,
        key: Dual<4>,
        value: Dual<4>,
        mask: Option<&AttentionMask>,
        scale: f64,
        dropout: Option<(f64, DropoutSeed)>,
    ) -> Dual<4> {
        let [batch, heads, queries, head_dim] = query.dims();
        let [_, key_heads, keys, value_dim] = value.dims();
        let rows = |index: usize, length: usize| index * length..(index + 1) * length;
        let lengths = mask.and_then(AttentionMask::lengths);
        let is_packed = lengths.is_some();
        let sequences: Vec<Sequence> = match lengths {
            None => (0..batch)
                .map(|index| Sequence { queries: rows(index, queries), keys: rows(index, keys) })
                .collect(),
            Some(lengths) => ranges(lengths).map(Sequence::new).collect(),
        };
        let bias = mask.and_then(AttentionMask::bias).cloned();
        let bias = bias.map(|bias| {
            let [masks, heads, rows, keys] = bias.dims();
            let stride = |count: usize, size: usize| if count == 1 { 0 } else { size };
            let strides = [
                stride(masks, heads * rows * keys),
                stride(heads, rows * keys),
                stride(rows, keys),
            ];
            (contiguous(primitive(bias)), strides)
        });
        let mask = match (&bias, mask) {
            (Some((bias, strides)), _) => Mask::Bias { values: slice(bias), strides: *strides },
            (None, Some(mask)) if mask.is_packed_causal() => Mask::Causal,
            (None, _) => Mask::None,
        };
        let keeps = dropout.map(|(probability, seed)| {
            // The seed and the place of the first probability of each sequence.
            let masks: Vec<(DropoutSeed, usize, [usize; 2])> = sequences
                .iter()
                .enumerate()
                .map(|(index, sequence)| {
                    let [queries, keys] = [sequence.queries.len(), sequence.keys.len()];
                    match is_packed {
                        true => (seed.site(index as u64), 0, [queries, keys]),
                        false => (seed, index * heads * queries * keys, [queries, keys]),
                    }
                })
                .collect();
            move |[sequence, head, query, key]: [usize; 4]| {
                let (seed, first, [queries, keys]) = masks[sequence];
                let place = first + (head * queries + query) * keys + key;
                seed.keeps(place as u64, probability)
            }
        });
        let dropout = keeps.as_ref().zip(dropout).map(|(keeps, (probability, _))| {
            ProbabilityDropout { scale: kept_scale(probability), keeps }
        });
        let shape = AttentionShape {
            heads,
            key_heads,
            sequences: &sequences,
            scale: scale as f32,
            mask,
            dropout,
        };
        let [query, key, value] =
            [query, key, value].map(|heads| self.read(&heads.swap_dims(1, 2)));
        let widths = [heads * head_dim, key_heads * value_dim];
        let out =
            spry_kernels::attention(&query.view(), &key.view(), &value.view(), widths, &shape);
        self.dual(out, [batch, queries, heads, value_dim]).swap_dims(1, 2)
    }

    /// [`cross_entropy`](crate::ops::cross_entropy).
    pub(crate) fn cross_entropy(self, logits: &Dual<2>, targets: &[usize]) -> Dual<1> {
        let [_, classes] = logits.dims();
        let (loss, tangents) =
            spry_kernels::cross_entropy(&self.read(logits).view(), classes, targets);
        let tangents = tangents.into_iter().map(|tangent| vec![tangent]).collect();
        self.dual(DualVec { primal: vec![loss], tangents }, [1])
    }

    /// The value and its tangents to be read, in row-major order.
    fn read<const D: usize>(self, x: &Dual<D>) -> Read {
        let list = match x.tangents() {
            Tangents::Zero => &[],
            Tangents::Dense(list) => &list[..],
        };
        let parts = std::iter::once(x.primal()).chain(list);
        Read(parts.map(|part| contiguous(primitive(part.clone()))).collect())
    }

    /// Changes a value and its tangents by a kernel, in place where nobody else holds them. If
    /// there are fewer than `k` tangents, there are none, and zeros are made for `k`.
    fn change<const D: usize>(
        self,
        x: Dual<D>,
        k: usize,
        kernel: impl FnOnce(&mut DualMut),
    ) -> Dual<D> {
        let (primal, tangents) = x.into_parts();
        let tangents = match tangents {
            Tangents::Dense(list) => list,
            Tangents::Zero => (0..k).map(|_| primal.zeros_like()).collect(),
        };
        let mut parts: Vec<FlexTensor> =
            std::iter::once(primal).chain(tangents).map(|part| owned(primitive(part))).collect();
        let mut slices = parts.iter_mut().map(|part| part.storage_mut::<f32>());
        if let Some(primal) = slices.next() {
            kernel(&mut DualMut::new(primal, slices));
        }
        let mut tensors = parts.into_iter().map(Tensor::from_primitive::<Flex>);
        let primal = tensors.next().unwrap_or_else(|| unreachable!("there is always a primal"));
        let tangents: Vec<Tensor<D>> = tensors.collect();
        let tangents = if tangents.is_empty() { Tangents::Zero } else { Tangents::Dense(tangents) };
        Dual::from_parts(primal, tangents)
    }

    /// A kernel's result as a tensor of the given shape.
    fn dual<const D: usize>(self, result: DualVec, shape: [usize; D]) -> Dual<D> {
        let tangents: Vec<Tensor<D>> =
            result.tangents.into_iter().map(|tangent| tensor(tangent, shape)).collect();
        let tangents = if tangents.is_empty() { Tangents::Zero } else { Tangents::Dense(tangents) };
        Dual::from_parts(tensor(result.primal, shape), tangents)
    }
}

/// What may be handed to a kernel.
pub(crate) trait Operand {
    /// Whether a kernel can take it.
    fn fits(&self) -> bool;
}

impl<const D: usize> Operand for Tensor<D> {
    fn fits(&self) -> bool {
        !self.is_autodiff() && has_kernels(&self.device(), self.dtype())
    }
}

impl<const D: usize> Operand for Dual<D> {
    fn fits(&self) -> bool {
        // Tangents are where their primal is.
        self.primal().fits()
    }
}

impl<T: Operand> Operand for Option<T> {
    fn fits(&self) -> bool {
        self.as_ref().is_none_or(T::fits)
    }
}

impl Activation {
    fn kernel(self) -> spry_kernels::Activation {
        match self {
            Self::Gelu => spry_kernels::Activation::Gelu,
            Self::GeluTanh => spry_kernels::Activation::GeluTanh,
            Self::Silu => spry_kernels::Activation::Silu,
            Self::Relu => spry_kernels::Activation::Relu,
        }
    }
}

/// A value and its tangents, held while a kernel reads them.
struct Read(Vec<FlexTensor>);

impl Read {
    fn view(&self) -> DualRef<'_> {
        let mut slices = self.0.iter().map(slice);
        let primal = slices.next().unwrap_or_default();
        DualRef::new(primal, slices)
    }
}

/// The memory behind a tensor that [fits](Operand::fits).
fn primitive<const D: usize>(tensor: Tensor<D>) -> FlexTensor {
    match tensor.try_into_primitive::<Flex>() {
        Ok(primitive) => primitive,
        Err(error) => unreachable!("kernels only get tensors of flex: {error:?}"),
    }
}

/// In row-major order without gaps; copied only if need be.
fn contiguous(tensor: FlexTensor) -> FlexTensor {
    if tensor.is_contiguous() { tensor } else { tensor.to_contiguous() }
}

/// As [`contiguous`], as whole memory of its own.
fn owned(tensor: FlexTensor) -> FlexTensor {
    let tensor = contiguous(tensor);
    let values = slice(&tensor);
    if tensor.is_unique() && values.len() == tensor.storage::<f32>().len() {
        return tensor;
    }
    let layout = Layout::contiguous(tensor.layout().shape().clone());
    FlexTensor::new(burn::tensor::Bytes::from_elems(values.to_vec()), layout, DType::F32)
}

fn slice(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().unwrap_or_else(|| unreachable!("kernels read contiguous tensors only"))
}

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
    let (bytes, layout) =
        (burn::tensor::Bytes::from_elems(values), Layout::contiguous(Shape::from(shape)));
    Tensor::from_primitive::<Flex>(FlexTensor::new(bytes, layout, DType::F32))
}
