//! [`PrefixCache`]: activations that stay the same while a client trains.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::Tensor;

/// Activations of a client's examples that do not depend on what the client trains.
///
/// A client that trains one part of a model changes nothing before that part. What the model
/// computes up to there, an example's *frozen prefix*, is the same in every local epoch and at both
/// ends of a finite difference, so it can be kept and reused, within a budget of bytes. A model that
/// cannot make use of it ignores it; one that does must give the same bits with and without.
///
/// It lives as long as the client's local work: new weights from the server would make it wrong.
#[derive(Debug)]
pub struct PrefixCache {
    trains: Vec<String>,
    budget: u64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    bytes: u64,
    activations: BTreeMap<usize, Tensor<2>>,
}

impl PrefixCache {
    /// An empty cache for training the parameters at these paths.
    pub fn new(trains: &[String], budget: u64) -> Self {
        Self { trains: trains.to_vec(), budget, kept: Mutex::default() }
    }

    /// Paths of the parameters that are trained: what is kept must not depend on them.
    pub fn trains(&self) -> &[String] {
        &self.trains
    }

    /// What is kept for an example of the training part: `[tokens, hidden]`, or whatever the model
    /// made of it.
    pub fn get(&self, example: usize) -> Option<Tensor<2>> {
        self.lock().activations.get(&example).cloned()
    }

    /// Keeps activations of some examples, if all of them fit into the budget; says whether they
    /// did. They may be views of one tensor.
    pub fn keep(&self, activations: impl IntoIterator<Item = (usize, Tensor<2>)>) -> bool {
        let new: Vec<_> = activations.into_iter().collect();
        let size = |tensor: &Tensor<2>| {
            tensor.shape().num_elements() as u64 * tensor.dtype().size() as u64
        };
        let mut kept = self.lock();
        if kept.bytes + new.iter().map(|(_, tensor)| size(tensor)).sum::<u64>() > self.budget {
            return false;
        }
        for (example, tensor) in new {
            kept.bytes += size(&tensor);
            let before = kept.activations.insert(example, tensor);
            kept.bytes -= before.as_ref().map_or(0, size);
        }
        true
    }

    /// Bytes of the activations that are kept.
    pub fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // Whatever panicked meanwhile, each entry is complete.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn keeps_what_fits() {
        let cache = PrefixCache::new(&["w".to_string()], 4 * 12);
        let of = |rows: usize| Tensor::<2>::ones([rows, 2], &Device::default());
        assert!(cache.keep([(3, of(1)), (5, of(2))]));
        assert_eq!(cache.bytes(), 4 * 6);
        assert!(!cache.keep([(6, of(2)), (7, of(2))]), "the two do not fit together");
        assert!(cache.get(6).is_none());
        assert!(cache.keep([(7, of(2))]));
        assert_eq!(cache.get(5).map(|kept| kept.dims()), Some([2, 2]));
        assert_eq!(cache.trains(), ["w"]);
        let bytes = cache.bytes();
        assert!(cache.keep([(3, of(1))]));
        assert_eq!(cache.bytes(), bytes, "what is replaced does not count");
    }
}
