//! Counts which operations ran, and how many of them carried tangents.
//!
//! Meant for tests and for finding out why a pass is slower than expected: perturbing only the
//! last layer must not do tangent work in earlier layers, and a count says so where a clock only
//! hints at it. A composite operation counts itself and, where it is composed, the operations it is
//! made of; a fused kernel is the operation alone. Counting is per thread and off unless
//! [`record_ops`] is running.

use std::cell::RefCell;
use std::collections::BTreeMap;

thread_local! {
    static ACTIVE: RefCell<Option<OpCounts>> = const { RefCell::new(None) };
}

/// How often each operation ran.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpCounts {
    /// Operation name → number of times its value was computed.
    pub primal: BTreeMap<&'static str, usize>,
    /// Operation name → number of tangents pushed through it, summed over calls: a call that
    /// carries `K` directions counts `K`. Operations that only saw symbolic zeros are absent.
    pub tangent: BTreeMap<&'static str, usize>,
}

impl OpCounts {
    /// Number of values computed, over all operations.
    pub fn total_primal(&self) -> usize {
        self.primal.values().sum()
    }

    /// Number of tangents pushed, over all operations.
    pub fn total_tangent(&self) -> usize {
        self.tangent.values().sum()
    }
}

/// Runs `work` on this thread and returns its result with the operations it performed.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use spry_dual::{Dual, trace};
///
/// let x = Tensor::<1>::from_floats([1.0], &Device::default());
/// let (_, counts) = trace::record_ops(|| {
///     let constant = Dual::constant(x.clone()).exp();
///     constant.mul(Dual::new(x.clone(), vec![x.clone(), x.clone()]))
/// });
/// assert_eq!(counts.primal["exp"], 1);
/// assert!(!counts.tangent.contains_key("exp"));
/// assert_eq!(counts.tangent["mul"], 2);
/// ```
pub fn record_ops<T>(work: impl FnOnce() -> T) -> (T, OpCounts) {
    /// Restores the outer recording even if `work` panics.
    struct Restore(Option<OpCounts>);
    impl Drop for Restore {
        fn drop(&mut self) {
            ACTIVE.with(|active| *active.borrow_mut() = self.0.take());
        }
    }
    let outer = ACTIVE.with(|active| active.borrow_mut().replace(OpCounts::default()));
    let restore = Restore(outer);
    let result = work();
    let counts = ACTIVE.with(|active| active.borrow_mut().take()).unwrap_or_default();
    drop(restore);
    (result, counts)
}

/// Notes that `op` ran with `k` directions.
pub(crate) fn record(op: &'static str, k: usize) {
    ACTIVE.with(|active| {
        if let Some(counts) = active.borrow_mut().as_mut() {
            *counts.primal.entry(op).or_default() += 1;
            if k > 0 {
                *counts.tangent.entry(op).or_default() += k;
            }
        }
    });
}
