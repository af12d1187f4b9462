//! From quantities to whole examples.

use spry_core::Seed;

use super::balance::NOTHING;
use super::dirichlet::Table;

/// Rounds quantities so that rows add up to `size` and columns to `totals`.
///
/// Each client gets the whole part of its quantities. The examples that it then lacks are of the
/// classes with the largest rests, where a class's rest carries over what earlier clients got too
/// little of it. Clients are taken in random order. So a number is its quantity rounded up or down
/// unless the last clients find none left of a class, which is then another for one example.
pub(super) fn rounded(
    quantities: &Table<f64>,
    totals: &[usize],
    size: usize,
    seed: &Seed,
) -> Table<usize> {
    let classes = quantities.classes;
    // What is a whole number but for the last digits is one.
    let whole = |quantity: &f64| (quantity + NOTHING).floor() as usize;
    let mut numbers: Vec<usize> = quantities.values.iter().map(whole).collect();
    let mut left = totals.to_vec();
    for row in numbers.chunks_exact(classes) {
        left.iter_mut().zip(row).for_each(|(left, &number)| *left = left.saturating_sub(number));
    }
    let clients = numbers.len() / classes;
    let mut order: Vec<usize> = (0..clients).collect();
    seed.shuffle(&mut order);
    let mut carried = vec![0.0; classes];
    for client in order {
        let row = client * classes..(client + 1) * classes;
        let (quantities, numbers) = (&quantities.values[row.clone()], &mut numbers[row]);
        let mut lacking = size.saturating_sub(numbers.iter().sum());
        let mut by_need = Vec::new();
        for class in 0..classes {
            let rest = quantities[class] - numbers[class] as f64;
            if rest > NOTHING {
                carried[class] += rest;
                by_need.push(class);
            }
        }
        by_need.sort_by(|&a, &b| carried[b].total_cmp(&carried[a]));
        for class in by_need {
            if lacking > 0 && left[class] > 0 {
                numbers[class] += 1;
                left[class] -= 1;
                carried[class] -= 1.0;
                lacking -= 1;
            }
        }
        while lacking > 0 {
            let with_examples = (0..classes).filter(|&class| left[class] > 0);
            let neediest = with_examples.max_by(|&a, &b| carried[a].total_cmp(&carried[b]));
            let Some(class) = neediest else { break };
            numbers[class] += 1;
            left[class] -= 1;
            carried[class] -= 1.0;
            lacking -= 1;
        }
    }
    Table { classes, values: numbers }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(classes: usize, values: &[f64], totals: &[usize], size: usize) -> Vec<usize> {
        let quantities = Table { classes, values: values.to_vec() };
        rounded(&quantities, totals, size, &Seed::new(0)).values
    }

    #[test]
    fn whole_numbers_stay() {
        let almost = [3.0 - 1e-12, 2.0 + 1e-12, 0.0, 5.0];
        assert_eq!(round(2, &almost, &[3, 7], 5), [3, 2, 0, 5]);
    }

    #[test]
    fn a_rest_that_all_have_goes_round() {
        // Ten clients wish for 1.3 and 0.7.
        let numbers = round(2, &[1.3, 0.7].repeat(10), &[13, 7], 2);
        let firsts: Vec<usize> = numbers.iter().step_by(2).copied().collect();
        assert!(firsts.iter().all(|first| [1, 2].contains(first)), "{firsts:?}");
        assert_eq!(firsts.iter().sum::<usize>(), 13);
        assert!(numbers.chunks(2).all(|row| row[0] + row[1] == 2));
    }

    #[test]
    fn nobody_lacks_an_example_where_the_last_of_a_class_is_gone() {
        // All want the same rest, which is there once.
        let numbers = round(3, &[0.5, 0.5, 0.0].repeat(2), &[1, 0, 1], 1);
        assert!(numbers.chunks(3).all(|row| row.iter().sum::<usize>() == 1), "{numbers:?}");
        assert_eq!((0..3).map(|k| numbers[k] + numbers[k + 3]).collect::<Vec<_>>(), [1, 0, 1]);
    }
}
