//! Problems that methods are tried on, and how they are run.

#![allow(dead_code)] // each test uses its part

use std::path::PathBuf;
use std::sync::Arc;

use spry_core::aggregate::weighted_mean;
use spry_core::testing::{LogisticRegression, Quadratic};
use spry_core::{
    ClientData, Event, Objective, Outcome, ParamSet, Seed, Simulation, SimulationConfig, Strategy,
};
use spry_data::{Partition, Partitioner, TextTokenizer, synthetic};
use spry_models::{LoadOptions, LoraConfig, Model, Peft, PeftModel, TextClient};

/// Starting weights, and clients to train them on.
pub struct Problem {
    pub name: &'static str,
    pub params: ParamSet,
    pub clients: Box<dyn Fn() -> Vec<Box<dyn ClientData>>>,
    pub cohort_size: usize,
}

/// What came of a run: mean loss and accuracy over all clients' test parts, at start and end.
#[derive(Debug)]
pub struct Reached {
    pub loss: [f64; 2],
    pub accuracy: f64,
    pub outcome: Outcome,
}

impl Problem {
    /// Runs a strategy until its clients have spent a budget of forward passes.
    pub fn run(&self, strategy: impl Strategy, budget: u64) -> Reached {
        let config = SimulationConfig {
            num_server_rounds: u64::MAX,
            max_forward_passes: Some(budget),
            cohort_size: self.cohort_size,
            evaluate_every: u64::MAX,
            personalized: false,
            ..Default::default()
        };
        let mut simulation =
            Simulation::new(strategy, (self.clients)(), self.params.clone(), config).unwrap();
        let mut losses = Vec::new();
        let outcome = simulation.run(|event| match event {
            Event::Evaluated { generalized, .. } => losses.push(generalized.loss()),
            Event::ClientFailed { error, .. } | Event::RoundSkipped { error, .. } => {
                panic!("nobody may fail here: {error}")
            }
            _ => {}
        });
        let outcome = outcome.unwrap();
        let accuracy = outcome.generalized.unwrap().accuracy();
        Reached { loss: [losses[0], losses[losses.len() - 1]], accuracy, outcome }
    }
}

/// Twelve least-squares clients, eleven weights in four groups.
pub fn quadratic() -> Problem {
    let problem = Quadratic::new(&[3, 3, 3, 2], 0);
    let params = problem.initial_params();
    let clients = Box::new(move || problem.clients(12));
    Problem { name: "quadratic", params, clients, cohort_size: 6 }
}

/// Mean loss at the mean of the clients' targets, found by descent on the mean gradient.
pub fn lowest_quadratic_loss() -> f64 {
    let problem = Quadratic::new(&[3, 3, 3, 2], 0);
    let mut params = problem.initial_params();
    let trains: Vec<String> = params.paths().map(str::to_owned).collect();
    for _ in 0..2 {
        let gradients: Vec<ParamSet> =
            (0..12).map(|c| problem.objective(c).gradient(&params, &trains).unwrap().1).collect();
        let mean = weighted_mean(gradients.iter().map(|gradient| (gradient, 1.0))).unwrap();
        // The curvature is 1, so one step of length 1 arrives; the second one changes nothing.
        params = params.add_scaled(-1.0, &mean).unwrap();
    }
    problem.mean_loss(&params, 12)
}

/// Twelve clients with three Gaussian classes, 21 weights in four groups.
pub fn logistic() -> Problem {
    let problem = LogisticRegression::default();
    let params = problem.initial_params();
    let clients = Box::new(move || problem.clients(12));
    Problem { name: "logistic", params, clients, cohort_size: 6 }
}

/// The bundled tiny BERT with LoRA on generated news, 20 clients.
pub fn tiny_bert() -> Problem {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../spry-runner/assets/tiny-bert");
    let news = synthetic::news(1600, 2);
    let options = LoadOptions { num_labels: Some(news.classes.len()), ..Default::default() };
    let model = Arc::new(Model::load(&folder, &options).unwrap());
    let model = PeftModel::new(model, Peft::Lora(LoraConfig::default())).unwrap();
    let tokenizer = TextTokenizer::load(&folder, 32).unwrap();
    let examples = Arc::new(tokenizer.encode(&news.examples).unwrap());
    let dealt =
        Partitioner::DirichletPaper { alpha: 1.0 }.deal(&news.labels(), &[], 20, &Seed::new(0));
    let partition = Partition::from_shares(dealt.unwrap(), Partition::TRAIN_SHARE).unwrap();
    let params = model.trainable(&Seed::new(0).child("adapter", 0)).unwrap();
    let clients = Box::new(move || {
        let client = |share: &spry_data::ClientShare| {
            let (model, examples) = (model.clone(), examples.clone());
            let client = TextClient::new(model, examples, share.clone(), tokenizer.pad_id(), false);
            Box::new(client) as Box<dyn ClientData>
        };
        partition.clients.iter().map(client).collect()
    });
    Problem { name: "tiny BERT", params, clients, cohort_size: 5 }
}
