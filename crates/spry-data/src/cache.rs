//! Partitions kept on disk, keyed by everything that shaped them.

use std::path::{Path, PathBuf};

use serde::Serialize;
use spry_core::Seed;

use crate::files::write_atomically;
use crate::{Error, Partition, Partitioner, Result, guard};

/// Raised whenever the way partitions are made changes, so that old entries are not found.
const FORMAT: u32 = 4;

/// Longest entry that is read, in bytes: some hundred million examples.
const LONGEST: u64 = 1 << 30;

/// A folder of partitions.
///
/// The key is a hash of the labels, the keys of the examples, the number of clients, the partitioner with its options, the
/// training share, the seed, and the version of the algorithm: change any of them and another
/// entry is used.
#[derive(Clone, Debug)]
pub struct PartitionCache {
    folder: PathBuf,
}

#[derive(Serialize)]
struct Key<'a> {
    format: u32,
    labels: &'a [usize],
    keys: &'a [String],
    clients: usize,
    partitioner: &'a Partitioner,
    train_share: f64,
    seed: u64,
}

impl PartitionCache {
    /// A cache in a folder, which is made when first needed.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The partition for these inputs: from the cache, or made now and kept.
    ///
    /// An entry that cannot be read, because it is torn or corrupted, or that deals other examples or
    /// to other clients, is made again. A cache that
    /// cannot be written is no error: the partition is simply not kept.
    ///
    /// # Errors
    ///
    /// As [`Partitioner::deal`] and [`Partition::from_shares`].
    pub fn partition(
        &self,
        partitioner: &Partitioner,
        labels: &[usize],
        keys: &[String],
        clients: usize,
        train_share: f64,
        seed: u64,
    ) -> Result<Partition> {
        let key = Key { format: FORMAT, labels, keys, clients, partitioner, train_share, seed };
        let path = self.folder.join(format!("{}.partition", key_hash(&key)?));
        if let Some(partition) = read(&path).filter(|kept| deals(kept, labels.len(), clients)) {
            return Ok(partition);
        }
        let partition = deal(partitioner, labels, keys, clients, train_share, seed)?;
        // Failing to keep it costs time in the next run, nothing else.
        let _ = write(&path, &partition);
        Ok(partition)
    }
}

/// The partition for these inputs, without a cache.
///
/// # Errors
///
/// As [`Partitioner::deal`] and [`Partition::from_shares`].
pub fn deal(
    partitioner: &Partitioner,
    labels: &[usize],
    keys: &[String],
    clients: usize,
    train_share: f64,
    seed: u64,
) -> Result<Partition> {
    let seed = Seed::new(seed).child("partition", 0);
    Partition::from_shares(partitioner.deal(labels, keys, clients, &seed)?, train_share)
}

fn key_hash(key: &Key) -> Result<String> {
    let bytes = postcard::to_allocvec(key).map_err(serialization)?;
    Ok(blake3::hash(&bytes).to_hex().to_string())
}

fn serialization(error: postcard::Error) -> Error {
    Error::InvalidOption {
        option: "partition",
        got: error.to_string(),
        expected: "something that can be serialised".to_string(),
    }
}

/// Reads an entry: a checksum of 32 bytes, then the partition.
fn read(path: &Path) -> Option<Partition> {
    let bytes = guard::read(path, LONGEST).ok()?;
    let (checksum, body) = bytes.split_at_checked(32)?;
    if blake3::hash(body).as_bytes() != checksum {
        return None;
    }
    postcard::from_bytes(body).ok()
}

/// Whether a partition deals examples of which there are so many to so many clients, each at most
/// once: a checksum says that an entry is whole, not that it is one of ours.
fn deals(partition: &Partition, examples: usize, clients: usize) -> bool {
    let mut is_free = vec![true; examples];
    let mut shares =
        partition.clients.iter().flat_map(|share| share.train.iter().chain(&share.test));
    let take = |example: &usize| is_free.get_mut(*example).is_some_and(std::mem::take);
    partition.clients.len() == clients && shares.all(take)
}

fn write(path: &Path, partition: &Partition) -> Result<()> {
    let body = postcard::to_allocvec(partition).map_err(serialization)?;
    write_atomically(path, &[blake3::hash(&body).as_bytes(), body.as_slice()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALPHA: Partitioner = Partitioner::Dirichlet { alpha: 1.0 };

    fn labels() -> Vec<usize> {
        (0..200).map(|i| i % 4).collect()
    }

    #[test]
    fn everything_that_shapes_a_partition_is_in_the_key() {
        let labels = labels();
        let mut others = labels.clone();
        others.swap(0, 1);
        let keys: Vec<String> = labels.iter().map(|label| format!("key {label}")).collect();
        let keyed = |labels, keys, clients, partitioner, train_share, seed| {
            let key = Key { format: FORMAT, labels, keys, clients, partitioner, train_share, seed };
            key_hash(&key).unwrap()
        };
        let key = |labels, clients, partitioner, train_share, seed| {
            keyed(labels, &[], clients, partitioner, train_share, seed)
        };
        let base = key(&labels, 10, &ALPHA, 0.8, 0);
        assert_eq!(base, key(&labels, 10, &ALPHA, 0.8, 0));
        for other in [
            key(&others, 10, &ALPHA, 0.8, 0),
            key(&labels, 11, &ALPHA, 0.8, 0),
            key(&labels, 10, &Partitioner::Dirichlet { alpha: 0.5 }, 0.8, 0),
            key(&labels, 10, &Partitioner::DirichletPaper { alpha: 1.0 }, 0.8, 0),
            key(&labels, 10, &Partitioner::Iid, 0.8, 0),
            key(&labels, 10, &ALPHA, 0.7, 0),
            key(&labels, 10, &ALPHA, 0.8, 1),
            keyed(&labels, &keys, 10, &ALPHA, 0.8, 0),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn entries_are_used_and_damaged_ones_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let cache = PartitionCache::new(folder.path());
        let labels = labels();
        let fresh = cache.partition(&ALPHA, &labels, &[], 10, 0.8, 0).unwrap();
        let entries: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(entries.len(), 1, "one entry and no temporary files");
        let path = entries.into_iter().next().unwrap().unwrap().path();

        // A valid entry is taken as it is: this one says something else on purpose.
        let mut marked = fresh.clone();
        marked.clients.reverse();
        assert_ne!(marked, fresh);
        write(&path, &marked).unwrap();
        assert_eq!(cache.partition(&ALPHA, &labels, &[], 10, 0.8, 0).unwrap(), marked);

        // Whole, but not of these examples and clients.
        let mut twice = fresh.clone();
        twice.clients[1] = twice.clients[0].clone();
        let mut elsewhere = fresh.clone();
        elsewhere.clients[0].train[0] = labels.len();
        let fewer = Partition { clients: fresh.clients[1..].to_vec() };
        for other in [twice, elsewhere, fewer] {
            write(&path, &other).unwrap();
            assert_eq!(cache.partition(&ALPHA, &labels, &[], 10, 0.8, 0).unwrap(), fresh);
        }

        write(&path, &fresh).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for damaged in [&whole[..whole.len() / 2], &[], &[b"x", &whole[1..]].concat()] {
            std::fs::write(&path, damaged).unwrap();
            assert_eq!(cache.partition(&ALPHA, &labels, &[], 10, 0.8, 0).unwrap(), fresh);
        }
    }

    #[test]
    fn a_cache_that_cannot_be_written_is_no_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let cache = PartitionCache::new(file.path().join("below a file"));
        assert!(cache.partition(&ALPHA, &labels(), &[], 10, 0.8, 0).is_ok());
    }
}
