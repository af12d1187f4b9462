//! Sums, products and quotients of two values, with broadcasting; products with scalars.

use burn::tensor::Tensor;

use crate::dual::check_same_k;
use crate::{Dual, Tangents, trace};

/// Broadcast shape of two operands.
///
/// # Panics
///
/// If an axis differs and neither side is 1.
fn broadcast_shape<const D: usize>(op: &str, left: [usize; D], right: [usize; D]) -> [usize; D] {
    std::array::from_fn(|axis| match (left[axis], right[axis]) {
        (a, b) if a == b => a,
        (1, b) => b,
        (a, 1) => a,
        (a, b) => panic!(
            "spry-dual: `{op}` cannot broadcast {left:?} with {right:?}: axis {axis} has {a} and {b}; \
             they must be equal, or one of them 1"
        ),
    })
}

/// Combines the contributions of two operands, each already in or broadcastable to `shape`.
fn combine<const D: usize>(
    op: &str,
    shape: [usize; D],
    left: Tangents<D>,
    right: Tangents<D>,
) -> Tangents<D> {
    let expand = |t: Tensor<D>| if t.dims() == shape { t } else { t.expand(shape) };
    match (left, right) {
        (Tangents::Zero, Tangents::Zero) => Tangents::Zero,
        (tangents, Tangents::Zero) | (Tangents::Zero, tangents) => tangents.map(expand),
        (Tangents::Dense(a), Tangents::Dense(b)) => {
            check_same_k(op, a.len(), b.len());
            Tangents::Dense(a.into_iter().zip(b).map(|(a, b)| expand(a.add(b))).collect())
        }
    }
}

/// Notes a two-operand rule with the larger of the two numbers of directions.
fn record<const D: usize>(op: &'static str, left: &Dual<D>, right: &Dual<D>) {
    trace::record(op, left.tangents().len().max(right.tangents().len()));
}

#[allow(clippy::should_implement_trait)] // Burn's tensors name these methods the same way
impl<const D: usize> Dual<D> {
    /// `x + y`, broadcasting; `dx + dy`.
    pub fn add(self, other: Self) -> Self {
        record("add", &self, &other);
        let shape = broadcast_shape("add", self.dims(), other.dims());
        let (x, dx) = self.into_parts();
        let (y, dy) = other.into_parts();
        Self::from_parts(x.add(y), combine("add", shape, dx, dy))
    }

    /// `x − y`, broadcasting; `dx − dy`.
    pub fn sub(self, other: Self) -> Self {
        record("sub", &self, &other);
        let shape = broadcast_shape("sub", self.dims(), other.dims());
        let (x, dx) = self.into_parts();
        let (y, dy) = other.into_parts();
        Self::from_parts(x.sub(y), combine("sub", shape, dx, dy.map(|t| t.neg())))
    }

    /// `x ⊙ y`, broadcasting; `dx ⊙ y + x ⊙ dy`.
    pub fn mul(self, other: Self) -> Self {
        record("mul", &self, &other);
        let shape = broadcast_shape("mul", self.dims(), other.dims());
        let (x, dx) = self.into_parts();
        let (y, dy) = other.into_parts();
        let left = dx.map(|t| t.mul(y.clone()));
        let right = dy.map(|t| t.mul(x.clone()));
        Self::from_parts(x.mul(y), combine("mul", shape, left, right))
    }

    /// `z = x / y`, broadcasting; `dz = (dx − z ⊙ dy) / y`.
    pub fn div(self, other: Self) -> Self {
        record("div", &self, &other);
        let shape = broadcast_shape("div", self.dims(), other.dims());
        let (x, dx) = self.into_parts();
        let (y, dy) = other.into_parts();
        let z = x.div(y.clone());
        let left = dx.map(|t| t.div(y.clone()));
        let right = dy.map(|t| z.clone().mul(t).div(y.clone()).neg());
        Self::from_parts(z, combine("div", shape, left, right))
    }

    /// `−x`; `−dx`.
    pub fn neg(self) -> Self {
        self.linear_map("neg", |t| t.neg())
    }

    /// `x + c`; `dx`.
    pub fn add_scalar(self, scalar: f64) -> Self {
        trace::record("add_scalar", self.tangents().len());
        let (x, dx) = self.into_parts();
        Self::from_parts(x.add_scalar(scalar), dx)
    }

    /// `c·x`; `c·dx`.
    pub fn mul_scalar(self, scalar: f64) -> Self {
        self.linear_map("mul_scalar", |t| t.mul_scalar(scalar))
    }
}
