//! Every method against its formulas, written out step by step with plain numbers: three rounds,
//! three clients, in f64, to 1e-6.
//!
//! The reference shares only the random numbers with the implementation (their addresses are
//! documented in [`Seed`]); gradients, estimates, optimizers, splitting, means and the filter are
//! written again here.

mod bowl;

use std::collections::BTreeMap;

use bowl::{Bowl, HEAD, PATHS, START};
use spry_core::{Event, Seed, Simulation, SimulationConfig};
use spry_strategies::{METHODS, Method, find};

const ROUNDS: u64 = 3;
const CLIENTS: usize = 3;
const BATCH: usize = 8;

type Weights = BTreeMap<&'static str, Vec<f64>>;

/// What the reference does for a method: the choices of its paper, in words.
#[derive(Clone, Copy)]
struct Recipe {
    splits: bool,
    estimate: Estimate,
    local: Local,
    epochs: usize,
    sends_gradients: bool,
    filters: bool,
    server: Server,
}

#[derive(Clone, Copy, PartialEq)]
enum Estimate {
    Exact,
    /// One directional derivative.
    Forward,
    /// Mean of so many central differences with this half width.
    Central(usize, f64),
    /// The same times a factor: a slip.
    Scaled(usize, f64, f64),
    /// Mean of so many forward differences.
    OneSided(usize, f64),
    /// A central difference along the best of so many candidates.
    Guided(usize, f64),
}

#[derive(Clone, Copy)]
enum Local {
    Sgd(f64),
    AdamW(f64),
    None,
}

#[derive(Clone, Copy)]
enum Server {
    Mean,
    Sgd(f64),
    Yogi,
    Adam,
}

/// Learning rates are those of the methods' defaults.
fn recipe(name: &str) -> Recipe {
    let exact = Recipe {
        splits: false,
        estimate: Estimate::Exact,
        local: Local::AdamW(1e-3),
        epochs: 1,
        sends_gradients: false,
        filters: false,
        server: Server::Mean,
    };
    let splits = true;
    let yogi = Server::Yogi;
    match name {
        "spry" => Recipe { splits, estimate: Estimate::Forward, server: yogi, ..exact },
        "fedavg" => exact,
        "fedyogi" => Recipe { server: yogi, ..exact },
        "fedsgd" => {
            Recipe { sends_gradients: true, local: Local::None, server: Server::Adam, ..exact }
        }
        "fwdllm+" => {
            Recipe { estimate: Estimate::Guided(10, 1e-2), filters: true, server: yogi, ..exact }
        }
        "baffle+" => Recipe { estimate: Estimate::Central(20, 1e-4), server: yogi, ..exact },
        "fedmezo" => Recipe {
            estimate: Estimate::Central(1, 1e-3),
            local: Local::Sgd(1e-3),
            epochs: 3,
            server: yogi,
            ..exact
        },
        "fedfgd" => Recipe { estimate: Estimate::Forward, server: yogi, ..exact },
        "fedavg-split" => Recipe { splits, ..exact },
        "fedyogi-split" => Recipe { splits, server: yogi, ..exact },
        "baffle" => Recipe {
            estimate: Estimate::OneSided(20, 1e-4),
            sends_gradients: true,
            local: Local::None,
            server: Server::Adam,
            ..exact
        },
        "fwdllm" => Recipe {
            estimate: Estimate::Guided(10, 1e-2),
            local: Local::Sgd(1e-3),
            filters: true,
            ..exact
        },
        other => panic!("no reference for `{other}`: add its recipe"),
    }
}

/// Σ ½(w − t)² + ¼(w − t)⁴.
fn loss(weights: &Weights, target: &Weights) -> f64 {
    let terms = PATHS.iter().flat_map(|path| weights[path].iter().zip(&target[path]));
    terms.map(|(w, t)| 0.5 * (w - t).powi(2) + 0.25 * (w - t).powi(4)).sum()
}

/// (w − t) + (w − t)³, for the trained paths.
fn gradient(weights: &Weights, target: &Weights, trains: &[&'static str]) -> Weights {
    let of = |path: &'static str| {
        let pairs = weights[path].iter().zip(&target[path]);
        (path, pairs.map(|(w, t)| (w - t) + (w - t).powi(3)).collect())
    };
    trains.iter().map(|path| of(path)).collect()
}

fn direction(step: &Seed, k: usize, trains: &[&'static str], like: &Weights) -> Weights {
    let values = |path: &'static str| -> Vec<f64> {
        let stream = step.child("direction", k as u64).child(path, 0);
        stream.normals(0, like[path].len()).into_iter().map(f64::from).collect()
    };
    trains.iter().map(|path| (*path, values(path))).collect()
}

fn dot(a: &Weights, b: &Weights) -> f64 {
    a.iter().flat_map(|(path, a)| a.iter().zip(&b[path])).map(|(a, b)| a * b).sum()
}

/// `a + factor · b`, where `b` may lack paths.
fn add(a: &Weights, factor: f64, b: &Weights) -> Weights {
    let mut sum = a.clone();
    for (path, values) in b {
        for (sum, value) in sum.get_mut(path).unwrap().iter_mut().zip(values) {
            *sum += factor * value;
        }
    }
    sum
}

fn scale(a: &Weights, factor: f64) -> Weights {
    a.iter().map(|(path, values)| (*path, values.iter().map(|v| factor * v).collect())).collect()
}

fn estimate(
    kind: Estimate,
    weights: &Weights,
    target: &Weights,
    trains: &[&'static str],
    step: &Seed,
    previous_change: Option<&Weights>,
) -> Weights {
    let along = |k| direction(step, k, trains, weights);
    let central = |v: &Weights, h: f64| {
        (loss(&add(weights, h, v), target) - loss(&add(weights, -h, v), target)) / (2.0 * h)
    };
    let mean = |count: usize, derivative: &dyn Fn(&Weights) -> f64| {
        let zero = scale(&along(0), 0.0);
        (0..count).fold(zero, |sum, k| {
            let v = along(k);
            add(&sum, derivative(&v) / count as f64, &v)
        })
    };
    match kind {
        Estimate::Exact => gradient(weights, target, trains),
        Estimate::Forward => mean(1, &|v| dot(&gradient(weights, target, trains), v)),
        Estimate::Central(count, h) => mean(count, &|v| central(v, h)),
        Estimate::Scaled(count, h, factor) => mean(count, &|v| factor * central(v, h)),
        Estimate::OneSided(count, h) => {
            mean(count, &|v| (loss(&add(weights, h, v), target) - loss(weights, target)) / h)
        }
        Estimate::Guided(candidates, h) => {
            let best = match previous_change {
                None => 0,
                Some(change) => {
                    let cosine = |k: usize| {
                        let v = along(k);
                        dot(&v, change) / (dot(&v, &v) * dot(change, change)).sqrt()
                    };
                    (0..candidates).max_by(|&a, &b| cosine(a).total_cmp(&cosine(b))).unwrap()
                }
            };
            let v = along(best);
            scale(&v, central(&v, h))
        }
    }
}

/// Step t of AdamW with PyTorch's defaults but the learning rate.
fn adamw(w: &mut [f64], m: &mut [f64], v: &mut [f64], g: &[f64], rate: f64, t: i32) {
    for (((w, m), v), g) in w.iter_mut().zip(m).zip(v).zip(g) {
        *w -= rate * 0.01 * *w;
        *m = 0.9 * *m + 0.1 * g;
        *v = 0.999 * *v + 0.001 * g * g;
        let m_hat = *m / (1.0 - 0.9f64.powi(t));
        let v_hat = *v / (1.0 - 0.999f64.powi(t));
        *w -= rate * m_hat / (v_hat.sqrt() + 1e-8);
    }
}

/// The whole run.
fn simulate(recipe: Recipe, limit: f64) -> Weights {
    let bowl = Bowl;
    let mut weights: Weights = PATHS.iter().map(|path| (*path, START.to_vec())).collect();
    let zeros = scale(&weights, 0.0);
    let (mut m, mut v) = (zeros.clone(), zeros);
    let mut previous_change: Option<Weights> = None;
    let adapters: Vec<&str> = PATHS.iter().copied().filter(|path| *path != HEAD).collect();
    for round in 0..ROUNDS {
        let mut sums: BTreeMap<&str, (Vec<f64>, f64)> = BTreeMap::new();
        // The cohort in its random order: who trains what goes by position.
        let cohort = Seed::new(0).server_round(round).child("cohort", 0);
        for (position, client) in cohort.shuffled_sample(CLIENTS, CLIENTS).into_iter().enumerate() {
            let seed = Seed::new(0).server_round(round).client(client);
            let target = bowl.target(client);
            let mut trains: Vec<&'static str> = match recipe.splits {
                // Group i goes to client i mod M; the head to all.
                true => adapters
                    .iter()
                    .copied()
                    .enumerate()
                    .filter(|(i, _)| i % CLIENTS == position)
                    .map(|(_, path)| path)
                    .chain([HEAD])
                    .collect(),
                false => PATHS.to_vec(),
            };
            trains.sort_unstable();
            let (steps, examples) = match recipe.sends_gradients {
                true => (1, BATCH),
                false => (bowl.steps(client) * recipe.epochs, bowl.examples(client)),
            };
            let mut own = weights.clone();
            let mut gradients = Vec::new();
            let empty: Weights =
                trains.iter().map(|path| (*path, vec![0.0; START.len()])).collect();
            let (mut first, mut second) = (empty.clone(), empty);
            for step in 0..steps {
                let step_seed = seed.step(step as u64);
                let guide = previous_change.as_ref();
                let g = estimate(recipe.estimate, &own, &target, &trains, &step_seed, guide);
                match recipe.local {
                    Local::None => {}
                    Local::Sgd(rate) => own = add(&own, -rate, &g),
                    Local::AdamW(rate) => {
                        for path in &trains {
                            adamw(
                                own.get_mut(path).unwrap(),
                                first.get_mut(path).unwrap(),
                                second.get_mut(path).unwrap(),
                                &g[path],
                                rate,
                                step as i32 + 1,
                            );
                        }
                    }
                }
                gradients.push(g);
            }
            if recipe.filters && variance(&gradients).is_some_and(|variance| variance > limit) {
                continue;
            }
            let sent = if recipe.sends_gradients { gradients.remove(0) } else { own };
            for path in &trains {
                let (sum, weight) =
                    sums.entry(path).or_insert_with(|| (vec![0.0; START.len()], 0.0));
                for (sum, value) in sum.iter_mut().zip(&sent[path]) {
                    *sum += examples as f64 * value;
                }
                *weight += examples as f64;
            }
        }
        let before = weights.clone();
        for (path, (sum, weight)) in sums {
            for (i, sum) in sum.into_iter().enumerate() {
                let w = &mut weights.get_mut(path).unwrap()[i];
                let (m, v) = (&mut m.get_mut(path).unwrap()[i], &mut v.get_mut(path).unwrap()[i]);
                let delta = match recipe.sends_gradients {
                    true => -sum / weight,
                    false => sum / weight - *w,
                };
                match recipe.server {
                    Server::Mean => *w += delta,
                    Server::Sgd(rate) => *w += rate * delta,
                    Server::Yogi => {
                        *m = 0.9 * *m + 0.1 * delta;
                        *v -= 0.01 * delta.powi(2) * (*v - delta.powi(2)).signum();
                        *w += 1e-2 * *m / (v.sqrt() + 1e-3);
                    }
                    Server::Adam => {
                        let t = round as i32 + 2; // as Flower counts
                        *m = 0.9 * *m + 0.1 * delta;
                        *v = 0.999 * *v + 0.001 * delta.powi(2);
                        let rate = 1e-3 * (1.0 - 0.999f64.powi(t)).sqrt() / (1.0 - 0.9f64.powi(t));
                        *w += rate * *m / (v.sqrt() + 1e-8);
                    }
                }
            }
        }
        previous_change = Some(add(&weights, -1.0, &before));
    }
    weights
}

/// Mean over all values of (a − b)²/2, with the mean gradients a, b of both halves.
fn variance(gradients: &[Weights]) -> Option<f64> {
    let (first, second) = gradients.split_at(gradients.len() / 2);
    if first.is_empty() {
        return None;
    }
    let mean = |half: &[Weights]| {
        half.iter().fold(scale(&half[0], 0.0), |sum, g| add(&sum, 1.0 / half.len() as f64, g))
    };
    let difference = add(&mean(first), -1.0, &mean(second));
    let count: usize = difference.values().map(Vec::len).sum();
    Some(dot(&difference, &difference) / 2.0 / count as f64)
}

/// What the implementation makes of it, and how many updates were left out.
fn run(method: Method) -> (Weights, usize) {
    let config = SimulationConfig {
        num_server_rounds: ROUNDS,
        cohort_size: CLIENTS,
        evaluate_every: 0,
        ..Default::default()
    };
    let mut simulation =
        Simulation::new(method, Bowl.clients(CLIENTS), Bowl.start(), config).unwrap();
    let mut left_out = 0;
    simulation
        .run(|event| match event {
            Event::ClientLeftOut { .. } => left_out += 1,
            Event::ClientFailed { error, .. } | Event::RoundSkipped { error, .. } => {
                panic!("nobody may fail here: {error}")
            }
            _ => {}
        })
        .unwrap();
    let params = &simulation.state().params;
    let weights = PATHS.iter().map(|path| (*path, params.get(path).unwrap().to_vec())).collect();
    (weights, left_out)
}

/// Largest difference, relative to how far training moved the weights.
fn distance(a: &Weights, b: &Weights) -> f64 {
    let moved = PATHS.iter().flat_map(|path| &a[path]).zip(START.iter().cycle());
    let moved = moved.map(|(w, start)| (w - start).abs()).fold(0.0, f64::max);
    let both = PATHS.iter().flat_map(|path| a[path].iter().zip(&b[path]));
    assert!(moved > 1e-4, "training moved nothing");
    both.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / moved
}

#[test]
fn every_method_follows_its_formulas() {
    for spec in METHODS {
        let expected = simulate(recipe(spec.name), 1e2);
        let (actual, _) = run(find(spec.name).unwrap());
        let distance = distance(&expected, &actual);
        println!("{:14} {distance:.1e}", spec.name);
        assert!(distance < 1e-6, "{}: {expected:?} against {actual:?}", spec.name);
    }
}

#[test]
fn the_variance_filter_leaves_out_whom_the_formula_says() {
    // Between the variances that occur, so that some clients are left out and some are not.
    let limit = 300.0;
    for name in ["fwdllm+", "fwdllm"] {
        let method = find(name).unwrap();
        let method = method.with_assignments(&[format!("max_gradient_variance={limit}")]).unwrap();
        let (actual, left_out) = run(method);
        println!("{name}: {left_out} of {} updates left out", 3 * CLIENTS);
        assert!((1..2 * CLIENTS).contains(&left_out), "{name}: {left_out} left out");
        assert!(distance(&simulate(recipe(name), limit), &actual) < 1e-6, "{name}");
        assert!(distance(&simulate(recipe(name), 1e2), &actual) > 1e-3, "{name}: not filtered");
    }
}

/// With plain descent on both ends a constant factor in an estimate shows, which Adam and Yogi
/// would cancel.
fn blunt(name: &str) -> (Recipe, Method) {
    let mut recipe = recipe(name);
    let options = match recipe.sends_gradients {
        true => vec![r#"server={"name": "sgd", "learning_rate": 1e-3}"#],
        false => vec![
            r#"exchange.optimizer={"name": "sgd", "learning_rate": 1e-3}"#,
            r#"server={"name": "plain"}"#,
        ],
    };
    recipe.server = if recipe.sends_gradients { Server::Sgd(1e-3) } else { Server::Mean };
    recipe.local = if recipe.sends_gradients { Local::None } else { Local::Sgd(1e-3) };
    (recipe, find(name).unwrap().with_assignments(&options).unwrap())
}

#[test]
fn every_estimate_has_the_right_size() {
    for spec in METHODS {
        let (recipe, method) = blunt(spec.name);
        let distance = distance(&simulate(recipe, 1e2), &run(method).0);
        println!("{:14} {distance:.1e}", spec.name);
        assert!(distance < 1e-6, "{}: {distance}", spec.name);
    }
}

/// The published code of one central difference divides by 2 and multiplies by σ; another slip is
/// to forget the 2, and for a one-sided difference to move twice as far. The reference would notice
/// each.
#[test]
fn the_slips_of_the_published_code_would_be_noticed() {
    for (name, estimate) in [
        ("baffle+", Estimate::Scaled(20, 1e-4, 1e-8)),
        ("baffle+", Estimate::Scaled(20, 1e-4, 2.0)),
        ("baffle", Estimate::OneSided(20, 2e-4)),
        ("fedmezo", Estimate::Scaled(1, 1e-3, 1e-6)),
        ("fedmezo", Estimate::Scaled(1, 1e-3, 2.0)),
    ] {
        let (right, method) = blunt(name);
        let wrong = Recipe { estimate, ..right };
        let distance = distance(&run(method).0, &simulate(wrong, 1e2));
        assert!(distance > 1e-5, "{name}: {distance}");
    }
}
