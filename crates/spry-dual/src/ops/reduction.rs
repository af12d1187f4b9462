//! Sums and means. Linear, so the tangent is reduced like the value.

use crate::Dual;

impl<const D: usize> Dual<D> {
    /// Sum of all elements, shape `[1]`.
    pub fn sum(self) -> Dual<1> {
        self.linear_map("sum", |t| t.sum())
    }

    /// Mean of all elements, shape `[1]`.
    pub fn mean(self) -> Dual<1> {
        self.linear_map("mean", |t| t.mean())
    }

    /// Sum along axis `dim`, which stays with size 1.
    pub fn sum_dim(self, dim: usize) -> Self {
        self.linear_map("sum_dim", |t| t.sum_dim(dim))
    }

    /// Mean along axis `dim`, which stays with size 1.
    pub fn mean_dim(self, dim: usize) -> Self {
        self.linear_map("mean_dim", |t| t.mean_dim(dim))
    }
}
