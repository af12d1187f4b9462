//! Label skew as the paper's published loader has it, flaw included.
//!
//! Clients take their examples one client after another. Classes run out, and the last clients get
//! what is left, whatever their proportions and however large α is. It is kept so that published
//! numbers can be repeated; [`dirichlet`](super::dirichlet) does not depend on a client's number.

use rand_distr::{Distribution, Gamma};
use spry_core::Seed;

use super::dirichlet::invalid_alpha;
use crate::Result;

/// Client `c` draws class proportions `p_c ~ Dir(α·1)`; each of its `size` examples draws a class
/// from `p_c`, restricted to classes that still have examples, and takes the next one of that
/// class's shuffled list (paper, section 5; Hsu et al. 2019, arXiv 1909.06335).
///
/// Proportions are kept as logarithms: for small α all but one class underflow to exactly 0, and
/// dividing by the sum of what is left would give NaN as soon as the one class is used up. In
/// logarithms the order of the classes survives, so the next most likely one takes over.
pub(super) fn deal(
    labels: &[usize],
    clients: usize,
    size: usize,
    alpha: f64,
    seed: &Seed,
) -> Result<Vec<Vec<usize>>> {
    // Gamma(α) = Gamma(α + 1)·U^(1/α), in logarithms: no underflow for any α.
    let gamma = Gamma::new(alpha + 1.0, 1.0).map_err(|_| invalid_alpha(alpha))?;

    let classes = labels.iter().max().map_or(0, |&label| label + 1);
    let mut pools: Vec<Vec<usize>> = vec![Vec::new(); classes];
    for (example, &label) in labels.iter().enumerate() {
        pools[label].push(example);
    }
    for (class, pool) in pools.iter_mut().enumerate() {
        seed.child("class", class as u64).shuffle(pool);
    }

    let shares = (0..clients as u64).map(|client| {
        let seed = seed.child("client", client);
        let uniforms = seed.child("uniform", 0).uniforms(classes);
        let mut rng = seed.child("gamma", 0).rng();
        let log_weights: Vec<f64> = uniforms
            .into_iter()
            .map(|u| gamma.sample(&mut rng).ln() + (1.0 - u).ln() / alpha)
            .collect();
        seed.child("draw", 0)
            .uniforms(size)
            .into_iter()
            .filter_map(|u| {
                let class = draw(&log_weights, &pools, u)?;
                pools[class].pop()
            })
            .collect()
    });
    Ok(shares.collect())
}

/// The class at quantile `u` of the proportions, among classes that still have examples.
fn draw(log_weights: &[f64], pools: &[Vec<usize>], u: f64) -> Option<usize> {
    let open = || (0..pools.len()).filter(|&class| !pools[class].is_empty());
    let largest = open().map(|class| log_weights[class]).reduce(f64::max)?;
    // For the tiniest α even logarithms overflow: then any open class is as likely as another.
    let weight = |class: usize| match largest == f64::NEG_INFINITY {
        true => 1.0,
        false => (log_weights[class] - largest).exp(),
    };
    let mut left = u * open().map(weight).sum::<f64>();
    for class in open() {
        left -= weight(class);
        if left < 0.0 {
            return Some(class);
        }
    }
    // Rounding can leave a tiny rest: it belongs to the last class that has any weight.
    open().rfind(|&class| weight(class) > 0.0)
}
