//! From what each client wishes to quantities that add up to what there is.
//!
//! 1. *Raking* (iterative proportional fitting): every class gets one factor, by which all clients'
//!    wishes for it are multiplied, until the wishes together are the class totals. Where clients
//!    wish for almost nothing but one class, factors cannot split them evenly; the softest wishes
//!    that still fit are found by cooling.
//! 2. *Eating* (Bogomolnaia & Moulin 2001): all clients take at the same time and the same speed,
//!    in the proportions that they wish. A class that is used up is used up for all at once, and
//!    each goes on with the rest of its wishes. That makes the totals exact.

use super::dirichlet::Table;

/// Share of all examples that may be wished for in the wrong class for wishes to count as raked.
const RAKED: f64 = 1e-3;

/// The same where more steps would not help.
const NEARLY_RAKED: f64 = 1e-2;

/// Steps of raking while cooling, and at the end.
const STEPS: (usize, usize) = (50, 200);

/// How far a class's wishes may be below its total in one step.
const LEAST: f64 = 1e-12;

/// Quantities below this are rounding errors.
pub(super) const NOTHING: f64 = 1e-9;

/// Weights of which the sum is smaller have lost their digits.
const TOO_SMALL: f64 = 1e-100;

/// How much of each class each client gets: rows add up to `size`, columns to `totals`, whose sum
/// is `size` times the number of clients. `wishes` are logarithms of proportions.
pub(super) fn balanced(wishes: Table<f64>, totals: &[usize], size: usize) -> Table<f64> {
    let wishes = raked(wishes, totals);
    eaten(&wishes, totals, size)
}

/// The wishes, still as logarithms, with a factor for each class.
fn raked(wishes: Table<f64>, totals: &[usize]) -> Table<f64> {
    let all: f64 = totals.iter().map(|&total| total as f64).sum();
    let targets: Vec<f64> = totals.iter().map(|&total| total as f64 / all).collect();
    let spread = |row: &[f64]| {
        let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        largest - row.iter().copied().fold(f64::INFINITY, f64::min)
    };
    let mut temperature = wishes.rows().map(spread).fold(1.0, f64::max);
    let mut factors = vec![0.0; wishes.classes];
    let mut found: Option<(Vec<f64>, f64)> = None;
    loop {
        let steps = if temperature > 1.0 { STEPS.0 } else { STEPS.1 };
        let error = rake(&wishes, &targets, &mut factors, temperature, steps);
        // The coldest that fits; that may be one after some that do not.
        let limit = if temperature > 1.0 { RAKED } else { NEARLY_RAKED };
        if error <= limit || found.is_none() {
            found = Some((factors.clone(), temperature));
        }
        if temperature == 1.0 {
            break;
        }
        temperature = (temperature / 2.0).max(1.0);
    }
    let (factors, temperature) = found.unwrap_or((factors, temperature));
    let classes = wishes.classes;
    let factors = factors.iter().cycle();
    let values = wishes.values.iter().zip(factors).map(|(wish, f)| (wish + f) / temperature);
    Table { values: values.collect(), classes }
}

/// Changes the logarithms of the factors until the wishes fit; returns the share that does not.
fn rake(
    wishes: &Table<f64>,
    targets: &[f64],
    factors: &mut [f64],
    temperature: f64,
    steps: usize,
) -> f64 {
    let clients = (wishes.values.len() / wishes.classes) as f64;
    let mut row = vec![0.0; wishes.classes];
    let mut error = f64::INFINITY;
    for step in 0..=steps {
        let mut sums = vec![0.0; wishes.classes];
        for wishes in wishes.rows() {
            let logs = wishes.iter().zip(&*factors).map(|(wish, f)| (wish + f) / temperature);
            softmax(logs, &mut row);
            sums.iter_mut().zip(&row).for_each(|(sum, share)| *sum += share / clients);
        }
        error = sums.iter().zip(targets).map(|(sum, target)| (sum - target).abs()).sum();
        if error <= RAKED || step == steps {
            break;
        }
        for ((factor, sum), target) in factors.iter_mut().zip(sums).zip(targets) {
            *factor += temperature * (target / sum.max(LEAST)).ln();
        }
    }
    error
}

/// Numbers that are to each other as the exponentials of `logs`, and add up to 1.
fn softmax(logs: impl Iterator<Item = f64> + Clone, into: &mut [f64]) {
    let largest = logs.clone().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for (value, log) in into.iter_mut().zip(logs) {
        *value = (log - largest).exp();
        sum += *value;
    }
    into.iter_mut().for_each(|value| *value /= sum);
}

/// What clients get that all take at once, in the proportions of their wishes.
fn eaten(wishes: &Table<f64>, totals: &[usize], size: usize) -> Table<f64> {
    let classes = wishes.classes;
    let mut weights = vec![0.0; wishes.values.len()];
    for (weights, wishes) in weights.chunks_exact_mut(classes).zip(wishes.rows()) {
        softmax(wishes.iter().copied(), weights);
    }
    let mut quantities = vec![0.0; weights.len()];
    let mut left: Vec<f64> = totals.iter().map(|&total| total as f64).collect();
    let mut is_open: Vec<bool> = left.iter().map(|&left| left > NOTHING).collect();
    let mut time = size as f64;
    while time > NOTHING && is_open.contains(&true) {
        let mut rates = vec![0.0; classes];
        for (weights, wishes) in weights.chunks_exact_mut(classes).zip(wishes.rows()) {
            share_among(&is_open, wishes, weights);
            rates.iter_mut().zip(&*weights).for_each(|(rate, weight)| *rate += weight);
        }
        let lasts = |class: usize| match is_open[class] && rates[class] > 0.0 {
            true => left[class] / rates[class],
            false => f64::INFINITY,
        };
        let first = (0..classes).min_by(|&a, &b| lasts(a).total_cmp(&lasts(b))).unwrap_or(0);
        let step = lasts(first).min(time);
        let is_used_up = lasts(first) <= time;
        time -= step;
        quantities.iter_mut().zip(&weights).for_each(|(quantity, w)| *quantity += w * step);
        left.iter_mut().zip(&rates).for_each(|(left, rate)| *left -= rate * step);
        if is_used_up {
            is_open[first] = false;
        }
        is_open.iter_mut().zip(&left).for_each(|(is_open, left)| *is_open &= *left > NOTHING);
    }
    Table { classes, values: quantities }
}

/// Makes the weights of open classes add up to 1, and those of the others 0.
fn share_among(is_open: &[bool], wishes: &[f64], weights: &mut [f64]) {
    let mut sum = 0.0;
    for (weight, &is_open) in weights.iter_mut().zip(is_open) {
        *weight = if is_open { *weight } else { 0.0 };
        sum += *weight;
    }
    if sum > TOO_SMALL {
        weights.iter_mut().for_each(|weight| *weight /= sum);
        return;
    }
    // All that the client wished for is used up: what it wished for next is in the logarithms.
    let log = |(wish, &is_open): (&f64, &bool)| if is_open { *wish } else { f64::NEG_INFINITY };
    softmax(wishes.iter().zip(is_open).map(log), weights);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(table: &Table<f64>) -> (Vec<f64>, Vec<f64>) {
        let rows = table.rows().map(|row| row.iter().sum()).collect();
        let column = |class| table.rows().map(|row| row[class]).sum();
        (rows, (0..table.classes).map(column).collect())
    }

    fn assert_near(got: &[f64], expected: &[f64]) {
        let is_near = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-6;
        assert!(got.iter().zip(expected).all(is_near), "{got:?}, not {expected:?}");
    }

    #[test]
    fn both_sums_are_met_whatever_is_wished() {
        for scale in [0.0, 1.0, 1e3, 1e18] {
            // Everybody would rather have the first class, of which there is least.
            let wish = |i: usize| -scale * ((i % 3) as f64 + (i * i % 7) as f64 / 7.0);
            let wishes = Table { classes: 3, values: (0..30).map(wish).collect() };
            let (rows, columns) = sums(&balanced(wishes, &[4, 10, 26], 4));
            assert_near(&rows, &[4.0; 10]);
            assert_near(&columns, &[4.0, 10.0, 26.0]);
        }
    }

    #[test]
    fn raking_multiplies_each_class_by_one_factor() {
        let wishes = || Table { classes: 2, values: [0.7f64, 0.3, 0.9, 0.1].map(f64::ln).to_vec() };
        let quantities = balanced(wishes(), &[10, 10], 10);
        // Odds keep their ratio: 0.7/0.3 to 0.9/0.1.
        let odds: Vec<f64> = quantities.rows().map(|row| row[0] / row[1]).collect();
        let ratio = odds[1] / odds[0];
        assert!((ratio - 9.0 / (7.0 / 3.0)).abs() < 0.1, "{ratio}");
        assert!((odds[0] * odds[1] - 1.0).abs() < 0.1, "{odds:?}");
    }

    #[test]
    fn a_class_is_used_up_for_all_at_once() {
        // Two clients wish for the first class alone; the third does not need it.
        let one_hot = [0.0, -1e6, 0.0, -1e6, -1e6, 0.0];
        let wishes = Table { classes: 2, values: one_hot.to_vec() };
        let quantities = eaten(&wishes, &[6, 9], 5);
        assert_near(&quantities.values, &[3.0, 2.0, 3.0, 2.0, 0.0, 5.0]);
    }
}
