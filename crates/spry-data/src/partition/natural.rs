//! Groups of examples that belong together.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use spry_core::Seed;

use super::check_clients;
use crate::Result;

/// Deals whole groups of examples (same key) to clients: keys are shuffled and go round the
/// clients, so sizes differ as the groups do. With more clients than groups the largest group is
/// halved until there are enough, so that a client still has examples of one group only. Returns,
/// for each client, indices into `keys`.
///
/// # Errors
///
/// [`Error::TooManyClients`](crate::Error::TooManyClients) if there are more clients than examples.
///
/// ```
/// use spry_core::Seed;
/// use spry_data::partition::by_key;
///
/// let titles = ["Paris", "Rome", "Paris", "Oslo"];
/// let shares = by_key(&titles, 3, &Seed::new(0))?;
/// assert!(shares.iter().any(|share| share == &[0, 2]));
/// # Ok::<(), spry_data::Error>(())
/// ```
pub fn by_key<K: AsRef<str>>(keys: &[K], clients: usize, seed: &Seed) -> Result<Vec<Vec<usize>>> {
    let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (example, key) in keys.iter().enumerate() {
        groups.entry(key.as_ref()).or_default().push(example);
    }
    check_clients(clients, keys.len())?;
    let mut groups: Vec<Vec<usize>> = groups.into_values().collect();
    // By size, and among equals the first: the largest is on top.
    let sizes = groups.iter().enumerate().map(|(index, group)| (group.len(), Reverse(index)));
    let mut by_size: BinaryHeap<(usize, Reverse<usize>)> = sizes.collect();
    while groups.len() < clients
        && let Some((size, Reverse(index))) = by_size.pop()
    {
        let half = groups[index].split_off(size.div_ceil(2));
        by_size.push((size - half.len(), Reverse(index)));
        by_size.push((half.len(), Reverse(groups.len())));
        groups.push(half);
    }
    seed.child("keys", 0).shuffle(&mut groups);
    let mut shares = vec![Vec::new(); clients];
    for (position, group) in groups.into_iter().enumerate() {
        shares[position % clients].extend(group);
    }
    Ok(shares)
}
