//! Shares of whole groups of examples.

use std::collections::HashSet;

use proptest::prelude::*;
use spry_core::Seed;
use spry_data::{Error, Partition, PartitionCache, Partitioner};

fn natural(keys: &[String], clients: usize, seed: u64) -> spry_data::Result<Vec<Vec<usize>>> {
    Partitioner::Natural.deal(&vec![0; keys.len()], keys, clients, &Seed::new(seed))
}

/// What clients' shares are made of: the keys of each client, without repetition.
fn keys_of<'a>(shares: &[Vec<usize>], keys: &'a [String]) -> Vec<HashSet<&'a str>> {
    let of_one = |share: &Vec<usize>| share.iter().map(|&index| keys[index].as_str()).collect();
    shares.iter().map(of_one).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn natural_shares_follow_the_keys(
        numbers in proptest::collection::vec(0usize..12, 1..120),
        client_share in 0.0f64..1.0,
        seed: u64,
    ) {
        let keys: Vec<String> = numbers.iter().map(|number| format!("key {number}")).collect();
        let clients = 1 + (client_share * (keys.len() - 1) as f64) as usize;
        let shares = natural(&keys, clients, seed).unwrap();
        prop_assert_eq!(&shares, &natural(&keys, clients, seed).unwrap());

        // Every client has examples, and every example a client.
        prop_assert_eq!(shares.len(), clients);
        prop_assert!(shares.iter().all(|share| !share.is_empty()));
        let mut dealt = shares.concat();
        dealt.sort_unstable();
        prop_assert!(dealt.into_iter().eq(0..keys.len()));

        let groups = keys.iter().collect::<HashSet<_>>().len();
        let owned = keys_of(&shares, &keys);
        if clients <= groups {
            // Whole groups, as many to one client as to another.
            prop_assert_eq!(owned.iter().map(HashSet::len).sum::<usize>(), groups);
            let most = owned.iter().map(HashSet::len).max().unwrap();
            prop_assert!(owned.iter().all(|keys| keys.len() + 1 >= most));
        } else {
            // One group or a part of one; no part is smaller than half of the largest share.
            prop_assert!(owned.iter().all(|keys| keys.len() == 1));
            let largest = shares.iter().map(Vec::len).max().unwrap();
            for share in &shares {
                let key = &keys[share[0]];
                let is_whole = keys.iter().filter(|other| *other == key).count() == share.len();
                prop_assert!(is_whole || share.len() >= largest / 2);
            }
        }
    }
}

#[test]
fn the_largest_group_is_halved_until_there_are_enough() {
    let keys: Vec<String> = ["a"; 8].iter().chain(&["b"; 2]).map(|key| key.to_string()).collect();
    for (clients, expected) in [
        (1, vec![10]),
        (2, vec![2, 8]),
        (3, vec![2, 4, 4]),
        (4, vec![2, 2, 2, 4]),
        (5, vec![2, 2, 2, 2, 2]),
        (10, vec![1; 10]),
    ] {
        let shares = natural(&keys, clients, 0).unwrap();
        let mut sizes: Vec<usize> = shares.iter().map(Vec::len).collect();
        sizes.sort_unstable();
        assert_eq!(sizes, expected, "{clients} clients");
    }
}

#[test]
fn natural_shares_depend_on_the_seed() {
    let keys: Vec<String> = (0..64).map(|index| format!("key {}", index % 16)).collect();
    let shares = natural(&keys, 4, 0).unwrap();
    assert!((1..5).any(|seed| natural(&keys, 4, seed).unwrap() != shares));
}

#[test]
fn natural_shares_need_keys_and_an_example_for_each_client() {
    let deal = |keys: &[String], clients| {
        Partitioner::Natural.deal(&[0, 1, 0], keys, clients, &Seed::new(0)).unwrap_err()
    };
    let error = deal(&[], 2);
    assert!(matches!(error, Error::InvalidOption { option: "partitioner", .. }), "{error}");
    assert!(error.to_string().contains("key_column"), "{error}");
    let keys = ["a", "b", "a"].map(str::to_string);
    assert!(matches!(deal(&keys[..2], 2), Error::InvalidOption { option: "partitioner", .. }));
    assert!(matches!(deal(&keys, 4), Error::TooManyClients { clients: 4, examples: 3 }));
    assert!(matches!(deal(&keys, 0), Error::InvalidOption { option: "clients", .. }));
}

#[test]
fn cached_partitions_tell_keys_apart_where_labels_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let cache = PartitionCache::new(folder.path());
    let partition = |keys: &[String]| {
        cache.partition(&Partitioner::Natural, &[0; 24], keys, 4, 0.5, 0).unwrap()
    };
    let keys = |examples_per_key: usize| -> Vec<String> {
        (0..24).map(|index| (index / examples_per_key).to_string()).collect()
    };
    let few: Partition = partition(&keys(6));
    let many = partition(&keys(2));
    assert_ne!(few, many);
    assert_eq!(partition(&keys(6)), few);
    assert_eq!(partition(&keys(2)), many);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    // Four keys for four clients.
    for client in &few.clients {
        let keys: HashSet<usize> = client.train.iter().chain(&client.test).map(|i| i / 6).collect();
        assert_eq!((client.train.len(), client.test.len(), keys.len()), (3, 3, 1));
    }
}
