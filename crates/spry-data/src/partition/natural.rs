//! Groups of examples that belong together.

use std::collections::BTreeMap;

use spry_core::Seed;

use super::check_clients;
use crate::Result;

/// Deals whole groups of examples (same key) to clients: keys are shuffled and go round the
/// clients, so sizes differ as the groups do. Returns, for each client, indices into `keys`.
///
/// # Errors
///
/// [`Error::TooManyClients`](crate::Error::TooManyClients) if there are more clients than distinct
/// keys.
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
    check_clients(clients, groups.len())?;
    let mut groups: Vec<Vec<usize>> = groups.into_values().collect();
    seed.child("keys", 0).shuffle(&mut groups);
    let mut shares = vec![Vec::new(); clients];
    for (position, group) in groups.into_iter().enumerate() {
        shares[position % clients].extend(group);
    }
    Ok(shares)
}
