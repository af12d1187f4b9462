//! Spry as Algorithm 1 of "Thinking Forward" (arXiv 2405.15551) has it, line by line and without
//! regard for speed, next to the real one with SGD on its clients. Both give the same weights; the
//! test below checks it.

use std::collections::BTreeMap;

use spry_core::testing::LogisticRegression;
use spry_core::{
    ClientData, ParamRole, ParamSet, Result, Seed, Simulation, SimulationConfig, Split,
};

const ROUNDS: u64 = 5;
const BATCH: usize = 8;
const LOCAL_LEARNING_RATE: f64 = 0.05;

/// Yogi's constants: η, β₁, β₂, τ.
const ETA: f64 = 0.1;
const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.99;
const TAU: f64 = 1e-3;

/// What the clients of a round send: for each weight, who trained it, on how many examples, and
/// what became of it.
type Trained = BTreeMap<String, Vec<(usize, Vec<f64>)>>;

/// Algorithm 1.
fn spry(
    clients: &[Box<dyn ClientData>],
    cohort_size: usize,
    mut weights: ParamSet,
) -> Result<ParamSet> {
    let mut momentum = BTreeMap::new();
    let mut velocity = BTreeMap::new();
    for round in 0..ROUNDS {
        let seed = Seed::new(0).server_round(round);
        let cohort = seed.child("cohort", 0).shuffled_sample(clients.len(), cohort_size);
        let assigned = map_layers_to_clients(&weights, cohort.len());
        let mut trained = Trained::new();
        for (&client, layers) in cohort.iter().zip(assigned) {
            // The server sends the weights, which of them to train, and a seed.
            let data = &*clients[client];
            let own = client_train(data, weights.clone(), &layers, &seed.client(client))?;
            for layer in layers {
                let values = own.get(&layer)?.to_vec();
                trained.entry(layer).or_default().push((data.num_examples(Split::Train), values));
            }
        }
        for (layer, values) in build_global_model(trained) {
            let param = weights.get(&layer)?.clone();
            let m = momentum.entry(layer.clone()).or_insert(vec![0.0; values.len()]);
            let v = velocity.entry(layer.clone()).or_insert(vec![0.0; values.len()]);
            weights.insert(layer, param.with_vec(yogi(param.to_vec(), values, m, v)));
        }
    }
    Ok(weights)
}

/// MapLayersToClients: layers go round the clients, or clients round the layers if there are more
/// of them; the head goes to everybody.
fn map_layers_to_clients(weights: &ParamSet, clients: usize) -> Vec<Vec<String>> {
    let mut assigned = vec![Vec::new(); clients];
    let layers_in_all = weights.groups(ParamRole::Adapter).len();
    for (path, param) in weights.iter() {
        let layer = param.group().0 as usize;
        for (client, layers) in assigned.iter_mut().enumerate() {
            let is_own = match clients > layers_in_all {
                true => client % layers_in_all == layer,
                false => layer % clients == client,
            };
            if param.role() == ParamRole::Head || is_own {
                layers.push(path.to_string());
            }
        }
    }
    assigned
}

/// ClientTrain: for each batch, perturb the own layers along a random direction, take the
/// directional derivative by one forward pass, and step along the direction.
fn client_train(
    data: &dyn ClientData,
    mut weights: ParamSet,
    layers: &[String],
    seed: &Seed,
) -> Result<ParamSet> {
    let mut examples: Vec<usize> = (0..data.num_examples(Split::Train)).collect();
    seed.child("epoch", 0).shuffle(&mut examples);
    for (step, batch) in examples.chunks(BATCH).enumerate() {
        let seed = seed.step(step as u64).direction(0);
        let mut direction = ParamSet::new();
        for layer in layers {
            let param = weights.get(layer)?;
            let v = seed.child(layer, 0).normals(0, param.num_elements());
            direction.insert(layer, param.with_vec(v.into_iter().map(f64::from).collect()));
        }
        let loss = data.objective(Split::Train, batch, None)?;
        let jvp = loss.jvp(&weights, &[direction.clone()])?.derivatives[0];
        for (layer, v) in direction.iter() {
            let param = weights.get(layer)?.clone();
            let stepped = param.to_vec().into_iter().zip(v.to_vec());
            let stepped = stepped.map(|(w, v)| w - LOCAL_LEARNING_RATE * jvp * v).collect();
            weights.insert(layer, param.with_vec(stepped));
        }
    }
    Ok(weights)
}

/// BuildGlobalModel: the mean of each layer over the clients that trained it, weighted by examples.
fn build_global_model(trained: Trained) -> BTreeMap<String, Vec<f64>> {
    let mean = |copies: Vec<(usize, Vec<f64>)>| {
        let total: usize = copies.iter().map(|(examples, _)| examples).sum();
        let mut mean = vec![0.0; copies[0].1.len()];
        for (examples, values) in copies {
            for (mean, value) in mean.iter_mut().zip(values) {
                *mean += examples as f64 / total as f64 * value;
            }
        }
        mean
    };
    trained.into_iter().map(|(layer, copies)| (layer, mean(copies))).collect()
}

/// The server's step: Yogi on the difference Δ of the mean to the weights.
fn yogi(w: Vec<f64>, mean: Vec<f64>, m: &mut [f64], v: &mut [f64]) -> Vec<f64> {
    let mut next = Vec::new();
    for (i, (w, mean)) in w.into_iter().zip(mean).enumerate() {
        let delta = mean - w;
        let square = delta * delta;
        m[i] = BETA_1 * m[i] + (1.0 - BETA_1) * delta;
        v[i] -= (1.0 - BETA_2) * square * (v[i] - square).signum();
        next.push(w + ETA * m[i] / (v[i].sqrt() + TAU));
    }
    next
}

/// The method of `spry-strategies`, with the options of the pseudocode.
fn real_spry(problem: &LogisticRegression, clients: usize, cohort_size: usize) -> Result<ParamSet> {
    let method = spry_strategies::find("spry")?.with_assignments(&[
        "exchange.optimizer.name=sgd".to_string(),
        format!("exchange.optimizer.learning_rate={LOCAL_LEARNING_RATE}"),
        format!("server.learning_rate={ETA}"),
    ])?;
    let config = SimulationConfig {
        num_server_rounds: ROUNDS,
        cohort_size,
        evaluate_every: 0,
        ..Default::default()
    };
    let start = problem.initial_params();
    let mut simulation = Simulation::new(method, problem.clients(clients), start, config)?;
    simulation.run(|_| {})?;
    Ok(simulation.state().params.clone())
}

/// The weights by the pseudocode and by the real one, and the largest difference between them.
fn compare(cohort_size: usize) -> Result<(ParamSet, ParamSet, f64)> {
    let problem = LogisticRegression { blocks: 6, ..Default::default() };
    let naive = spry(&problem.clients(10), cohort_size, problem.initial_params())?;
    let real = real_spry(&problem, 10, cohort_size)?;
    let values = |params: &ParamSet| -> Vec<f64> {
        params.iter().flat_map(|(_, param)| param.to_vec()).collect()
    };
    let pairs = values(&naive).into_iter().zip(values(&real));
    let difference = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    Ok((naive, real, difference))
}

fn main() -> Result<()> {
    let (naive, real, difference) = compare(4)?;
    for (path, param) in naive.iter() {
        println!("{path}\n  pseudocode {:8.4?}", param.to_vec());
        println!("  real       {:8.4?}", real.get(path)?.to_vec());
    }
    println!("largest difference after {ROUNDS} rounds: {difference:.1e}");
    Ok(())
}

#[test]
fn the_pseudocode_gives_the_same_weights_as_the_real_method() {
    // Fewer clients than the six layers, and more.
    for cohort_size in [4, 8] {
        let (naive, _, difference) = compare(cohort_size).unwrap();
        let moved = naive.dot(&naive).unwrap().sqrt();
        assert!(moved > 0.5, "training moved the weights only by {moved}");
        assert!(difference < 1e-5 * moved, "{cohort_size} clients: they differ by {difference}");
    }
}
