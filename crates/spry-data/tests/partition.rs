//! Properties of partitions, over random inputs.

use proptest::prelude::*;
use spry_core::Seed;
use spry_data::{Error, Partition, Partitioner, partition::by_key};

fn labels(examples: usize, classes: usize, seed: u64) -> Vec<usize> {
    let uniforms = Seed::new(seed).child("labels", 0).uniforms(examples);
    uniforms.into_iter().map(|u| (u * classes as f64) as usize).collect()
}

/// Every example at most once, and all shares of the same size.
fn check(shares: &[Vec<usize>], examples: usize, clients: usize) -> Result<(), TestCaseError> {
    prop_assert_eq!(shares.len(), clients);
    let mut seen = vec![false; examples];
    for share in shares {
        prop_assert_eq!(share.len(), examples / clients);
        for &example in share {
            prop_assert!(!seen[example], "example {} is dealt twice", example);
            seen[example] = true;
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn dirichlet_shares_are_disjoint_and_equal(
        examples in 1usize..400,
        classes in 1usize..12,
        client_share in 0.0f64..1.0,
        log_alpha in prop_oneof![-6.0f64..6.0, Just(-310.0), Just(300.0)],
        seed: u64,
    ) {
        let clients = 1 + (client_share * (examples - 1) as f64) as usize;
        let labels = labels(examples, classes, seed);
        let alpha = 10f64.powf(log_alpha);
        for partitioner in [Partitioner::Dirichlet { alpha }, Partitioner::DirichletPaper { alpha }] {
            let shares = partitioner.deal(&labels, &[], clients, &Seed::new(seed)).unwrap();
            check(&shares, examples, clients)?;
            let again = partitioner.deal(&labels, &[], clients, &Seed::new(seed)).unwrap();
            prop_assert_eq!(shares, again);
        }
    }

    #[test]
    fn iid_shares_are_disjoint_and_equal(examples in 1usize..400, client_share in 0.0f64..1.0, seed: u64) {
        let clients = 1 + (client_share * (examples - 1) as f64) as usize;
        let labels = vec![0; examples];
        let shares = Partitioner::Iid.deal(&labels, &[], clients, &Seed::new(seed)).unwrap();
        check(&shares, examples, clients)?;
    }

    #[test]
    fn more_clients_than_examples_is_an_error(examples in 0usize..50, extra in 1usize..50) {
        let labels = vec![0; examples];
        for partitioner in [Partitioner::Iid, Partitioner::Dirichlet { alpha: 1.0 }] {
            let result = partitioner.deal(&labels, &[], examples + extra, &Seed::new(0));
            let is_expected = matches!(result, Err(Error::TooManyClients { .. }));
            prop_assert!(is_expected);
        }
    }

    #[test]
    fn keys_stay_together(keys in proptest::collection::vec(0usize..20, 1..100), seed: u64) {
        let names: Vec<String> = keys.iter().map(|key| format!("k{key}")).collect();
        let distinct: std::collections::HashSet<_> = names.iter().collect();
        let clients = 1 + seed as usize % distinct.len();
        let shares = by_key(&names, clients, &Seed::new(seed)).unwrap();
        let mut owner = vec![None; keys.len()];
        for (client, share) in shares.iter().enumerate() {
            prop_assert!(!share.is_empty());
            for &example in share {
                prop_assert!(owner[example].replace(client).is_none());
            }
        }
        for i in 0..keys.len() {
            for j in 0..i {
                prop_assert!(keys[i] != keys[j] || owner[i] == owner[j]);
            }
        }
    }

    #[test]
    fn train_and_test_parts_make_up_the_share(examples in 1usize..200, train_share in 0.01f64..=1.0) {
        let share: Vec<usize> = (0..examples).collect();
        let partition = Partition::from_shares(vec![share.clone()], train_share).unwrap();
        let client = &partition.clients[0];
        prop_assert!(!client.train.is_empty());
        prop_assert_eq!([client.train.clone(), client.test.clone()].concat(), share);
    }
}

/// Mean share of a client's most frequent class: 1 when clients have one class, 1/classes when
/// they are all alike.
fn skew(alpha: f64) -> f64 {
    let (examples, classes, clients) = (8000, 4, 40);
    let labels: Vec<usize> = (0..examples).map(|i| i % classes).collect();
    let shares =
        Partitioner::DirichletPaper { alpha }.deal(&labels, &[], clients, &Seed::new(1)).unwrap();
    let partition = Partition::from_shares(shares, 1.0).unwrap();
    let counts = partition.class_counts(&labels, classes);
    let largest = |row: &Vec<usize>| *row.iter().max().unwrap() as f64 / 200.0;
    counts.iter().map(largest).sum::<f64>() / clients as f64
}

#[test]
fn class_counts_of_the_published_deal_follow_alpha() {
    let skews: Vec<f64> = [1e-6, 0.1, 1.0, 10.0, 1e6].map(skew).to_vec();
    assert!(skews.windows(2).all(|pair| pair[0] > pair[1]), "{skews:?}");
    // One class per client while classes last; the last clients take what is left over.
    assert!(skews[0] > 0.9, "{skews:?}");
    // A uniform multinomial of 200 draws has its largest class near 0.28.
    assert!(skews[4] < 0.32, "{skews:?}");
}

/// With the published deal the first client draws from full pools, so its counts are those of its own proportions: over
/// many seeds their variance must be that of a Dirichlet-multinomial distribution.
#[test]
fn the_first_clients_counts_have_the_dirichlet_multinomial_variance() {
    let (classes, size, runs) = (4, 50, 3000);
    let labels: Vec<usize> = (0..classes * 100).map(|i| i % classes).collect();
    for alpha in [0.3, 1.0, 5.0] {
        let counts: Vec<f64> = (0..runs)
            .map(|run| {
                let partitioner = Partitioner::DirichletPaper { alpha };
                let shares =
                    partitioner.deal(&labels, &[], labels.len() / size, &Seed::new(run)).unwrap();
                shares[0].iter().filter(|&&example| labels[example] == 0).count() as f64
            })
            .collect();
        let n = size as f64;
        let p = 1.0 / classes as f64;
        let total = alpha * classes as f64;
        let expected_variance = n * p * (1.0 - p) * (n + total) / (1.0 + total);
        let mean = counts.iter().sum::<f64>() / runs as f64;
        let variance =
            counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / (runs - 1) as f64;
        let mean_error = (expected_variance / runs as f64).sqrt();
        assert!((mean - n * p).abs() < 4.0 * mean_error, "α = {alpha}: mean {mean}");
        let ratio = variance / expected_variance;
        assert!((0.88..1.12).contains(&ratio), "α = {alpha}: variance is off by {ratio}");
    }
}

#[test]
fn concentrations_that_make_no_sense_are_errors() {
    for alpha in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        for partitioner in [Partitioner::Dirichlet { alpha }, Partitioner::DirichletPaper { alpha }]
        {
            let result = partitioner.deal(&[0, 1], &[], 1, &Seed::new(0));
            assert!(matches!(result, Err(Error::InvalidOption { option: "alpha", .. })), "{alpha}");
        }
    }
    assert!(Partitioner::Iid.deal(&[0, 1], &[], 0, &Seed::new(0)).is_err());
}
