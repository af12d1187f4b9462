//! Operations that move values without computing: linear, so the tangent goes through unchanged.

use burn::tensor::{Int, Tensor};

use crate::dual::check_same_k;
use crate::{Dual, Tangents, trace};

impl<const D: usize> Dual<D> {
    /// Applies the same linear map to the value and to every tangent.
    pub(crate) fn linear_map<const E: usize>(
        self,
        op: &'static str,
        mut map: impl FnMut(Tensor<D>) -> Tensor<E>,
    ) -> Dual<E> {
        trace::record(op, self.tangents().len());
        let (x, dx) = self.into_parts();
        Dual::from_parts(map(x), dx.map(map))
    }

    /// The same elements in another shape, row-major order kept.
    pub fn reshape<const E: usize>(self, shape: [usize; E]) -> Dual<E> {
        self.linear_map("reshape", |t| t.reshape(shape))
    }

    /// Swaps two axes.
    pub fn swap_dims(self, first: usize, second: usize) -> Self {
        self.linear_map("swap_dims", |t| t.swap_dims(first, second))
    }

    /// `length` entries of axis `dim`, from `start` on.
    pub fn narrow(self, dim: usize, start: usize, length: usize) -> Self {
        self.linear_map("narrow", |t| t.narrow(dim, start, length))
    }

    /// Rows of axis `dim` by index; an index may repeat.
    pub fn select(self, dim: usize, indices: Tensor<1, Int>) -> Self {
        self.linear_map("select", |t| t.select(dim, indices.clone()))
    }

    /// Repeats axes of size 1 up to `shape`.
    pub fn expand(self, shape: [usize; D]) -> Self {
        self.linear_map("expand", |t| t.expand(shape))
    }

    /// Joins values along axis `dim`. Constant parts contribute zeros to the tangent if any other
    /// part is perturbed.
    ///
    /// # Panics
    ///
    /// If `parts` is empty or perturbed parts carry different numbers of directions.
    pub fn cat(parts: Vec<Self>, dim: usize) -> Self {
        assert!(!parts.is_empty(), "spry-dual: `cat` needs at least one part");
        let k = parts.iter().map(|part| part.tangents().len()).max().unwrap_or(0);
        trace::record("cat", k);
        for part in parts.iter().filter(|part| part.is_perturbed()) {
            check_same_k("cat", k, part.tangents().len());
        }
        let directions: Vec<Tensor<D>> = (0..k)
            .map(|index| {
                let columns =
                    parts.iter().map(|part| part.tangents().direction(index, part.primal()));
                Tensor::cat(columns.collect(), dim)
            })
            .collect();
        let primal = Tensor::cat(parts.into_iter().map(Dual::into_primal).collect(), dim);
        let tangents = if k == 0 { Tangents::Zero } else { Tangents::Dense(directions) };
        Self::from_parts(primal, tangents)
    }
}

/// Looks up rows of an embedding table.
///
/// `table` is `[vocabulary, hidden]`, `ids` is `[batch, seq]` with values below `vocabulary`; the
/// result is `[batch, seq, hidden]`. Linear in the table: `dy = d·table[ids]`.
pub fn embedding(table: Dual<2>, ids: Tensor<2, Int>) -> Dual<3> {
    let [batch, seq] = ids.dims();
    let [_, hidden] = table.dims();
    let ids: Tensor<1, Int> = ids.reshape([batch * seq]);
    table.linear_map("embedding", |t| t.select(0, ids.clone()).reshape([batch, seq, hidden]))
}
