//! Label skew: the same for every client, from one class each to all alike.

use proptest::prelude::*;
use spry_core::Seed;
use spry_data::{Partition, Partitioner};

/// Labels with the given number of examples of each class, in random order.
fn labels(counts: &[usize]) -> Vec<usize> {
    let classes = counts.iter().enumerate();
    let mut labels: Vec<usize> = classes.flat_map(|(class, &n)| vec![class; n]).collect();
    Seed::new(99).shuffle(&mut labels);
    labels
}

/// Class counts of each client.
fn dealt(partitioner: Partitioner, labels: &[usize], clients: usize, seed: u64) -> Vec<Vec<usize>> {
    let shares = partitioner.deal(labels, &[], clients, &Seed::new(seed)).unwrap();
    let classes = labels.iter().max().unwrap() + 1;
    Partition::from_shares(shares, 0.8).unwrap().class_counts(labels, classes)
}

fn deal(alpha: f64, labels: &[usize], clients: usize, seed: u64) -> Vec<Vec<usize>> {
    dealt(Partitioner::Dirichlet { alpha }, labels, clients, seed)
}

/// The case: nearly IID, 70/30 labels, 50 clients. The published loader gives the last
/// clients one class; here every client is within one example of the whole.
#[test]
fn a_large_alpha_is_near_iid_for_every_client() {
    let labels = labels(&[2800, 1200]);
    for alpha in [1e5, 1e9] {
        for seed in 0..5 {
            for (client, row) in deal(alpha, &labels, 50, seed).iter().enumerate() {
                assert!(row[0].abs_diff(56) <= 2, "α = {alpha}, client {client}: {row:?}");
            }
        }
    }
    let published = dealt(Partitioner::DirichletPaper { alpha: 1e5 }, &labels, 50, 0);
    let with_one_class = published.iter().rev().take_while(|row| row.contains(&0)).count();
    assert!(with_one_class >= 10, "{with_one_class} of the last clients have one class");
}

/// Many classes and few examples: no cell is off by more than one, and the deal is exact.
#[test]
fn a_large_alpha_is_near_iid_with_many_classes_and_odd_sizes() {
    let counts: Vec<usize> = (0..60).map(|class| 20 + 7 * (class % 5)).collect();
    let labels = labels(&counts);
    for clients in [3, 7, 41] {
        for row in deal(1e9, &labels, clients, 1) {
            for (number, of_class) in row.iter().zip(&counts) {
                let expected = *of_class as f64 / clients as f64;
                assert!((*number as f64 - expected).abs() < 2.0, "{clients}: {row:?}");
            }
        }
    }
}

/// Over many seeds, a client's mean class shares and its skew do not depend on its number.
#[test]
fn no_client_is_worse_off_for_its_number() {
    let labels = labels(&[420, 180]);
    let (clients, runs) = (20, 800);
    for alpha in [0.1, 1.0, 1e3] {
        let mut sums = vec![[0.0; 4]; clients];
        for run in 0..runs {
            for (sums, row) in sums.iter_mut().zip(deal(alpha, &labels, clients, run)) {
                let share = row[0] as f64 / 30.0;
                let skew = share.max(1.0 - share);
                for (sum, value) in sums.iter_mut().zip([share, share * share, skew, skew * skew]) {
                    *sum += value / runs as f64;
                }
            }
        }
        for (first, name) in [(0, "mean share"), (2, "skew")] {
            // χ² over the clients, with their pooled variance: about 20 ± 6.3.
            let mean = sums.iter().map(|sums| sums[first]).sum::<f64>() / clients as f64;
            let variance = |sums: &[f64; 4]| sums[first + 1] - sums[first].powi(2);
            let pooled = sums.iter().map(variance).sum::<f64>() / clients as f64;
            let squares: f64 = sums.iter().map(|sums| (sums[first] - mean).powi(2)).sum();
            let chi_squared = squares * runs as f64 / pooled;
            assert!(chi_squared < 50.0, "α = {alpha}: χ² of the {name} is {chi_squared}");
            if name == "mean share" {
                assert!((mean - 0.7).abs() < 1e-9, "α = {alpha}: {mean}");
            }
        }
    }
}

/// The published deal fails the same test: it is kept for what was measured with it.
#[test]
fn the_published_deal_depends_on_the_number() {
    let labels = labels(&[420, 180]);
    let mean = |client: usize| {
        let shares = (0..200).map(|run| {
            let partitioner = Partitioner::DirichletPaper { alpha: 1e3 };
            dealt(partitioner, &labels, 20, run)[client][0] as f64 / 30.0
        });
        shares.sum::<f64>() / 200.0
    };
    let (first, last) = (mean(0), mean(19));
    assert!((first - 0.5).abs() < 0.03, "{first}");
    assert!(last > 0.95, "{last}");
}

/// Mean number of classes that a client has, and mean share of its most frequent one.
fn spread(alpha: f64, counts: &[usize], clients: usize) -> (f64, f64) {
    let labels = labels(counts);
    let (mut classes, mut largest, mut rows) = (0.0, 0.0, 0.0);
    for seed in 0..6 {
        for row in deal(alpha, &labels, clients, seed) {
            let size: usize = row.iter().sum();
            classes += row.iter().filter(|&&number| number > 0).count() as f64;
            largest += *row.iter().max().unwrap() as f64 / size as f64;
            rows += 1.0;
        }
    }
    (classes / rows, largest / rows)
}

#[test]
fn classes_per_client_grow_with_alpha() {
    for (counts, clients) in [(vec![2000; 4], 40), (vec![100; 30], 60), (vec![2800, 1200], 50)] {
        let alphas = [1e-6, 0.01, 0.1, 1.0, 10.0, 1e3, 1e9];
        let spreads = alphas.map(|alpha| spread(alpha, &counts, clients));
        for (pair, alpha) in spreads.windows(2).zip(&alphas[1..]) {
            assert!(pair[0].0 <= pair[1].0 + 0.1, "α = {alpha}: {spreads:?}");
            assert!(pair[0].1 >= pair[1].1 - 0.01, "α = {alpha}: {spreads:?}");
        }
        // One class per client, and then all.
        assert!(spreads[0].1 > 0.97, "{spreads:?}");
        assert!(spreads[0].0 < 1.2, "{spreads:?}");
        assert!((spreads[6].0 - counts.len() as f64).abs() < 0.01, "{spreads:?}");
    }
}

/// The variance of a class's share over clients is that of `Dir(α·q)`: `q·(1 − q)/(1 + α)`.
#[test]
fn shares_have_the_variance_of_the_distribution() {
    let counts = [30_000, 12_000, 12_000, 6_000];
    let labels = labels(&counts);
    for alpha in [0.5, 2.0, 10.0] {
        let (clients, runs) = (100, 20);
        for (class, &count) in counts.iter().enumerate() {
            let q = count as f64 / labels.len() as f64;
            let mut squares = 0.0;
            for seed in 0..runs {
                let rows = deal(alpha, &labels, clients, seed);
                let square = |row: &Vec<usize>| (row[class] as f64 / 600.0 - q).powi(2);
                squares += rows.iter().map(square).sum::<f64>();
            }
            let ratio = squares / (clients as f64 * runs as f64) * (1.0 + alpha) / (q * (1.0 - q));
            // That the clients' shares add up to what there is takes a few percent of it.
            assert!((0.85..1.1).contains(&ratio), "α = {alpha}, class {class}: {ratio}");
        }
    }
}

/// Classes without examples, and numbers of classes as large as they come, cost nothing.
#[test]
fn classes_without_examples_do_not_matter() {
    let near = [0, 1, 2, 0, 1, 2, 0, 0];
    let far: Vec<usize> = near.iter().map(|class| [3, 1 << 60, usize::MAX][*class]).collect();
    for alpha in [1e-6, 1.0, 1e9] {
        let deal = |labels: &[usize]| {
            Partitioner::Dirichlet { alpha }.deal(labels, &[], 3, &Seed::new(5)).unwrap()
        };
        assert_eq!(deal(&near), deal(&far));
    }
}

/// What is left over is drawn uniformly: no class, and not the end of the file, is left out more.
#[test]
fn what_is_left_over_is_random() {
    let labels = labels(&[30, 29]);
    let mut left_out = vec![0; labels.len()];
    let runs = 3000;
    for run in 0..runs {
        let shares =
            Partitioner::Dirichlet { alpha: 0.5 }.deal(&labels, &[], 10, &Seed::new(run)).unwrap();
        let mut is_dealt = vec![false; labels.len()];
        shares.iter().flatten().for_each(|&example| is_dealt[example] = true);
        for (count, is_dealt) in left_out.iter_mut().zip(is_dealt) {
            *count += usize::from(!is_dealt);
        }
    }
    // 9 of 59 each time: 458 times each, with a standard deviation of 20.
    assert!(left_out.iter().all(|count| (360..560).contains(count)), "{left_out:?}");
}

/// Train and test part are drawn from the same share: classes do not follow each other in it.
#[test]
fn shares_are_in_random_order() {
    let labels = labels(&[500, 500]);
    let shares =
        Partitioner::Dirichlet { alpha: 1e6 }.deal(&labels, &[], 10, &Seed::new(0)).unwrap();
    let partition = Partition::from_shares(shares, 0.8).unwrap();
    let in_test = |class: usize| {
        let tests = partition.clients.iter().flat_map(|share| &share.test);
        tests.filter(|&&example| labels[example] == class).count()
    };
    assert!(in_test(0).abs_diff(100) < 30, "{} of 200", in_test(0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Every example at most once, shares of the same size, the same again for the same seed; and
    /// where nothing is left over, each class is dealt to the last example.
    #[test]
    fn a_deal_is_exact_for_any_input(
        counts in proptest::collection::vec(0usize..60, 1..25),
        client_share in 0.0f64..1.0,
        log_alpha in prop_oneof![-6.0f64..9.0, Just(-320.0), Just(-9.0), Just(15.0), Just(307.0)],
        seed: u64,
    ) {
        let labels = labels(&counts);
        prop_assume!(!labels.is_empty());
        let clients = 1 + (client_share * (labels.len() - 1) as f64) as usize;
        let alpha = 10f64.powf(log_alpha);
        let partitioner = Partitioner::Dirichlet { alpha };
        let shares = partitioner.deal(&labels, &[], clients, &Seed::new(seed)).unwrap();
        prop_assert_eq!(shares.len(), clients);
        let mut seen = vec![false; labels.len()];
        for share in &shares {
            prop_assert_eq!(share.len(), labels.len() / clients);
            for &example in share {
                prop_assert!(!seen[example], "example {} is dealt twice", example);
                seen[example] = true;
            }
        }
        let again = partitioner.deal(&labels, &[], clients, &Seed::new(seed)).unwrap();
        prop_assert_eq!(&shares, &again);
        let left_out = Partition::from_shares(shares, 1.0).unwrap().left_out(labels.len());
        prop_assert_eq!(left_out, labels.len() % clients);
    }
}

/// The published deal gives what it gave when numbers were measured with it.
#[test]
fn the_published_deal_stays_as_it_was() {
    let labels: Vec<usize> = (0..24).map(|i| i % 3).collect();
    let partitioner = Partitioner::DirichletPaper { alpha: 1.0 };
    let shares = partitioner.deal(&labels, &[], 3, &Seed::new(0)).unwrap();
    assert_eq!(shares, PUBLISHED);
}

const PUBLISHED: [[usize; 8]; 3] =
    [[16, 22, 20, 7, 23, 15, 2, 17], [6, 9, 10, 3, 0, 21, 18, 12], [1, 13, 19, 4, 14, 11, 8, 5]];
