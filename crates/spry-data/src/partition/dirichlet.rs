//! Label skew by a Dirichlet distribution, the same for every client.

use std::collections::BTreeMap;

use rand_distr::{Distribution, Gamma};
use spry_core::Seed;

use super::{balance, rounding};
use crate::{Error, Result};

/// Concentrations outside of these change nothing: all clients have one class, or all are alike.
/// Within them no logarithm overflows.
const USEFUL_ALPHAS: (f64, f64) = (1e-9, 1e15);

/// Numbers with one row per client and one column per class, row after row.
pub(super) struct Table<T> {
    pub classes: usize,
    pub values: Vec<T>,
}

impl<T> Table<T> {
    pub fn rows(&self) -> impl Iterator<Item = &[T]> {
        self.values.chunks_exact(self.classes)
    }
}

/// Client `c` draws class proportions `p_c ~ Dir(α·q)`, where `q` are the shares of the classes in
/// the dataset (Hsu et al. 2019, arXiv 1909.06335), and gets `size` examples in these proportions.
///
/// The clients' wishes together need not be what there is. They are made so by
/// [`balance`]: one factor per class, common to all clients. [`rounding`] makes whole examples of
/// them. Neither knows the order of the clients, so no client is worse off for its number. Examples
/// that are left over when all clients have `size` are drawn uniformly beforehand.
pub(super) fn deal(
    labels: &[usize],
    clients: usize,
    size: usize,
    alpha: f64,
    seed: &Seed,
) -> Result<Vec<Vec<usize>>> {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for &label in labels {
        *counts.entry(label).or_default() += 1;
    }
    // Dealt examples by class, in random order.
    let mut order: Vec<usize> = (0..labels.len()).collect();
    seed.child("examples", 0).shuffle(&mut order);
    order.truncate(clients * size);
    let mut pools: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for example in order {
        pools.entry(labels[example]).or_default().push(example);
    }
    let share = |class: &usize| counts[class] as f64 / labels.len() as f64;
    let prior: Vec<f64> = pools.keys().map(share).collect();
    let mut pools: Vec<Vec<usize>> = pools.into_values().collect();
    let totals: Vec<usize> = pools.iter().map(Vec::len).collect();

    let mut values = Vec::with_capacity(clients * prior.len());
    for client in 0..clients {
        values.extend(log_weights(&prior, alpha, &seed.child("client", client as u64))?);
    }
    let wishes = Table { classes: prior.len(), values };
    let quantities = balance::balanced(wishes, &totals, size);
    let numbers = rounding::rounded(&quantities, &totals, size, &seed.child("rounding", 0));

    let deal = |(client, numbers): (usize, &[usize])| {
        let mut share = Vec::with_capacity(size);
        for (pool, &number) in pools.iter_mut().zip(numbers) {
            share.extend(pool.drain(pool.len() - number.min(pool.len())..));
        }
        // The first part of a share is trained on, and here classes follow each other.
        seed.child("share", client as u64).shuffle(&mut share);
        share
    };
    Ok(numbers.rows().enumerate().map(deal).collect())
}

/// Logarithms of numbers that are to each other as a draw from `Dir(α·q)`.
///
/// Normalised gamma variates, and `Gamma(a) = Gamma(a + 1)·U^(1/a)`: in logarithms nothing
/// underflows for any α, and the order of the classes survives.
fn log_weights(prior: &[f64], alpha: f64, seed: &Seed) -> Result<Vec<f64>> {
    let uniforms = seed.child("uniform", 0).uniforms(prior.len());
    let mut rng = seed.child("gamma", 0).rng();
    let weight = |(share, uniform): (&f64, f64)| {
        let shape = alpha.clamp(USEFUL_ALPHAS.0, USEFUL_ALPHAS.1) * share;
        let gamma = Gamma::new(shape + 1.0, 1.0).map_err(|_| invalid_alpha(alpha))?;
        Ok(gamma.sample(&mut rng).max(f64::MIN_POSITIVE).ln() + (1.0 - uniform).ln() / shape)
    };
    prior.iter().zip(uniforms).map(weight).collect()
}

pub(super) fn invalid_alpha(alpha: f64) -> Error {
    Error::InvalidOption {
        option: "alpha",
        got: alpha.to_string(),
        expected: "a finite number above 0".to_string(),
    }
}
