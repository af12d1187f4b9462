//! One-argument functions: `y = f(x)`, `dy = f'(x)·dx`. The factor `f'(x)` is shared by all
//! directions.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use burn::tensor::{Tensor, activation};

use crate::kernels::Kernels;
use crate::{Dual, Tangents, trace};

/// An activation between linear layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// [`Dual::gelu`].
    Gelu,
    /// [`Dual::gelu_tanh`].
    GeluTanh,
    /// [`Dual::silu`].
    Silu,
    /// [`Dual::relu`].
    Relu,
}

impl Activation {
    /// The function of each element.
    pub fn apply<const D: usize>(self, x: Dual<D>) -> Dual<D> {
        match self {
            Self::Gelu => x.gelu(),
            Self::GeluTanh => x.gelu_tanh(),
            Self::Silu => x.silu(),
            Self::Relu => x.relu(),
        }
    }

    /// The name under which [`trace`] counts it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gelu => "gelu",
            Self::GeluTanh => "gelu_tanh",
            Self::Silu => "silu",
            Self::Relu => "relu",
        }
    }
}

impl<const D: usize> Dual<D> {
    /// Applies `value`, and multiplies each tangent by `derivative(x, y)`.
    pub(crate) fn elementwise(
        self,
        op: &'static str,
        value: impl FnOnce(Tensor<D>) -> Tensor<D>,
        derivative: impl FnOnce(Tensor<D>, Tensor<D>) -> Tensor<D>,
    ) -> Self {
        let (x, tangents) = self.into_parts();
        trace::record(op, tangents.len());
        match tangents {
            Tangents::Zero => Self::constant(value(x)),
            Tangents::Dense(_) => {
                let y = value(x.clone());
                let factor = derivative(x, y.clone());
                Self::from_parts(y, multiply_each(tangents, factor))
            }
        }
    }
}

/// `factor ⊙ t` for each direction.
pub(crate) fn multiply_each<const D: usize>(
    tangents: Tangents<D>,
    factor: Tensor<D>,
) -> Tangents<D> {
    tangents.map(|t| t.mul(factor.clone()))
}

/// Rows: documentation, name, value, derivative from `x` and `y = f(x)`.
macro_rules! elementwise_rules {
    ($($(#[$doc:meta])* $name:ident: |$x:ident| $value:expr, |$dx:pat_param, $y:pat_param| $derivative:expr;)*) => {
        impl<const D: usize> Dual<D> {
            $(
                $(#[$doc])*
                pub fn $name(self) -> Self {
                    self.elementwise(
                        stringify!($name),
                        |$x: Tensor<D>| $value,
                        |$dx: Tensor<D>, $y: Tensor<D>| $derivative,
                    )
                }
            )*
        }
    };
}

elementwise_rules! {
    /// `1/x`; `dy = −y²·dx`.
    recip:     |x| x.recip(),               |_, y| y.clone().mul(y).neg();
    /// `eˣ`; `dy = y·dx`.
    exp:       |x| x.exp(),                 |_, y| y;
    /// Natural logarithm; `dy = dx/x`.
    log:       |x| x.log(),                 |x, _| x.recip();
    /// `√x`; `dy = dx/(2y)`.
    sqrt:      |x| x.sqrt(),                |_, y| y.recip().mul_scalar(0.5);
    /// `x²`; `dy = 2x·dx`.
    square:    |x| x.square(),              |x, _| x.mul_scalar(2.0);
    /// Hyperbolic tangent; `dy = (1 − y²)·dx`.
    tanh:      |x| x.tanh(),                |_, y| y.clone().mul(y).neg().add_scalar(1.0);
    /// Logistic function `1/(1 + e⁻ˣ)`; `dy = y(1 − y)·dx`.
    sigmoid:   |x| activation::sigmoid(x),  |_, y| y.clone().sub(y.clone().mul(y));
    /// Gauss error function; `dy = 2/√π·e^(−x²)·dx`.
    erf:       |x| x.erf(),                 |x, _| x.square().neg().exp().mul_scalar(FRAC_2_SQRT_PI);
}

// Activations: there is a kernel for each, and the two GELUs share an expensive term between value
// and derivative, which the table cannot express.

impl<const D: usize> Dual<D> {
    /// An activation by its kernel where there is one, else by `rule`.
    fn activate(self, activation: Activation, rule: impl FnOnce(Self) -> Self) -> Self {
        match Kernels::for_all(&[&self]) {
            Some(kernels) => {
                trace::record(activation.name(), self.tangents().len());
                kernels.activate(activation, self)
            }
            None => rule(self),
        }
    }

    /// `max(x, 0)`; `dy = dx` where `x > 0`, else 0 (also at 0, as in PyTorch).
    pub fn relu(self) -> Self {
        self.activate(Activation::Relu, |x| {
            x.elementwise("relu", activation::relu, |x, _| activation::relu(x.sign()))
        })
    }

    /// `x·σ(x)`, also called swish; `dy = σ(x)(1 + x(1 − σ(x)))·dx`.
    pub fn silu(self) -> Self {
        self.activate(Activation::Silu, |x| {
            x.elementwise("silu", activation::silu, |x, y| {
                let s = activation::sigmoid(x);
                s.clone().add(y.clone()).sub(s.mul(y))
            })
        })
    }

    /// Exact GELU, `y = x·Φ(x)`; `dy = (Φ(x) + x·φ(x))·dx`, with Φ and φ the standard normal's
    /// distribution and density. `Φ` is computed once for value and derivative.
    ///
    /// In reverse mode the value is composed from `erf`, because a Burn backend may approximate
    /// the derivative of its fused GELU by that of the tanh form.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use spry_dual::Dual;
    ///
    /// let x = Tensor::<1>::from_floats([1.0], &Device::default());
    /// let y = Dual::constant(x).gelu().into_primal().into_scalar::<f32>();
    /// assert!((y - 0.841_344_8).abs() < 1e-6);
    /// ```
    pub fn gelu(self) -> Self {
        self.activate(Activation::Gelu, Self::composed_gelu)
    }

    fn composed_gelu(self) -> Self {
        trace::record("gelu", self.tangents().len());
        let reverse_mode = self.is_reverse_mode();
        let (x, tangents) = self.into_parts();
        let normal_cdf =
            |x: Tensor<D>| x.mul_scalar(FRAC_1_SQRT_2).erf().add_scalar(1.0).mul_scalar(0.5);
        match tangents {
            Tangents::Zero if reverse_mode => Self::constant(x.clone().mul(normal_cdf(x))),
            Tangents::Zero => Self::constant(activation::gelu(x)),
            Tangents::Dense(_) => {
                let cdf = normal_cdf(x.clone());
                let y = x.clone().mul(cdf.clone());
                let density = x
                    .clone()
                    .square()
                    .mul_scalar(-0.5)
                    .exp()
                    .mul_scalar(FRAC_2_SQRT_PI * FRAC_1_SQRT_2 * 0.5);
                let factor = density.mul(x).add(cdf);
                Self::from_parts(y, multiply_each(tangents, factor))
            }
        }
    }

    /// The tanh approximation of GELU, `y = ½x(1 + t)` with `t = tanh(√(2/π)(x + 0.044715x³))`;
    /// `dy = (½(1 + t) + ½x(1 − t²)·√(2/π)(1 + 0.134145x²))·dx`.
    pub fn gelu_tanh(self) -> Self {
        self.activate(Activation::GeluTanh, Self::composed_gelu_tanh)
    }

    fn composed_gelu_tanh(self) -> Self {
        const CUBIC: f64 = 0.044715;
        const SQRT_2_OVER_PI: f64 = FRAC_2_SQRT_PI * FRAC_1_SQRT_2;
        trace::record("gelu_tanh", self.tangents().len());
        let (x, tangents) = self.into_parts();
        let square = x.clone().square();
        let inner = square.clone().mul_scalar(CUBIC).add_scalar(1.0).mul(x.clone());
        let t = inner.mul_scalar(SQRT_2_OVER_PI).tanh();
        let half = t.clone().add_scalar(1.0).mul_scalar(0.5);
        let y = half.clone().mul(x.clone());
        if tangents.is_zero() {
            return Self::constant(y);
        }
        let slope = square.mul_scalar(3.0 * CUBIC).add_scalar(1.0).mul_scalar(SQRT_2_OVER_PI);
        let factor = t.square().neg().add_scalar(1.0).mul(x).mul_scalar(0.5).mul(slope).add(half);
        Self::from_parts(y, multiply_each(tangents, factor))
    }
}
