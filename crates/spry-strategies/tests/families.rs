//! Every method on every model family, for each task that the family has a head for.

use std::sync::Arc;

use spry_core::{ClientData, Event, Seed, Simulation, SimulationConfig};
use spry_data::question_answering::decode::DecodeConfig;
use spry_data::{ClientShare, Task, TextTokenizer, synthetic, tokenize};
use spry_models::architecture::SPECS;
use spry_models::{LoadOptions, LoraConfig, Model, Peft, PeftModel, QuestionClient, TextClient};
use spry_strategies::METHODS;

/// Tiny sizes of each family, without the vocabulary.
const SIZES: [(&str, &str); 6] = [
    (
        "bert",
        r#""hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 32, "max_position_embeddings": 40"#,
    ),
    (
        "roberta",
        r#""hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 32, "max_position_embeddings": 40, "pad_token_id": 0"#,
    ),
    (
        "distilbert",
        r#""dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32,
        "max_position_embeddings": 40"#,
    ),
    (
        "albert",
        r#""embedding_size": 8, "hidden_size": 16, "num_hidden_layers": 3,
        "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 40"#,
    ),
    (
        "llama",
        r#""hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "intermediate_size": 32, "max_position_embeddings": 40"#,
    ),
    (
        "opt",
        r#""hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 32,
        "max_position_embeddings": 40"#,
    ),
];

const CLIENTS: usize = 4;
const EXAMPLES_PER_CLIENT: usize = 5;

fn model(family: &str, task: Task) -> PeftModel {
    let (_, sizes) = SIZES.iter().find(|(name, _)| *name == family).unwrap();
    let vocabulary = synthetic::vocabulary().len();
    let config = format!(r#"{{"model_type": "{family}", "vocab_size": {vocabulary}, {sizes}}}"#);
    let options = LoadOptions { task, num_labels: Some(4), ..Default::default() };
    let model = Model::random(&config, &options).unwrap();
    PeftModel::new(Arc::new(model), Peft::Lora(LoraConfig::default())).unwrap()
}

fn clients(model: &PeftModel, tokenizer: &TextTokenizer) -> Vec<Box<dyn ClientData>> {
    let count = CLIENTS * EXAMPLES_PER_CLIENT;
    let share = |client: usize| {
        let first = client * EXAMPLES_PER_CLIENT;
        let train: Vec<usize> = (first..first + EXAMPLES_PER_CLIENT - 1).collect();
        ClientShare { train, test: vec![first + EXAMPLES_PER_CLIENT - 1] }
    };
    let pad_id = tokenizer.pad_id();
    match model.model().task() {
        Task::SequenceClassification => {
            let texts = Arc::new(tokenizer.encode(&synthetic::news(count, 0).examples).unwrap());
            let client = |c| TextClient::new(model.clone(), texts.clone(), share(c), pad_id, true);
            (0..CLIENTS).map(|c| Box::new(client(c)) as Box<dyn ClientData>).collect()
        }
        Task::QuestionAnswering => {
            let questions = synthetic::questions(count, 0).questions;
            let questions = Arc::new(tokenizer.encode_questions(&questions, 8).unwrap());
            let client = |c| {
                let (model, questions) = (model.clone(), questions.clone());
                let decode = DecodeConfig::default();
                QuestionClient::new(model, questions, share(c), pad_id, true, decode).unwrap()
            };
            (0..CLIENTS).map(|c| Box::new(client(c)) as Box<dyn ClientData>).collect()
        }
    }
}

/// One round of each method trains what it should, and nobody fails.
#[test]
fn every_method_trains_every_family() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    tokenize::write_wordpiece(&path, &synthetic::vocabulary()).unwrap();
    let tokenizer = TextTokenizer::load(folder.path(), 32).unwrap();
    let tasks = [Task::SequenceClassification, Task::QuestionAnswering];
    for spec in SPECS {
        for task in tasks.into_iter().filter(|task| spec.class(*task).is_ok()) {
            let model = model(spec.model_type, task);
            let start = model.trainable(&Seed::new(0)).unwrap();
            for method in METHODS {
                let name = format!("{} on {} for {task}", method.name, spec.model_type);
                let config = SimulationConfig {
                    num_server_rounds: 1,
                    cohort_size: CLIENTS,
                    ..Default::default()
                };
                let clients = clients(&model, &tokenizer);
                let mut simulation =
                    Simulation::new((method.method)(), clients, start.clone(), config).unwrap();
                let outcome = simulation.run(|event| match event {
                    Event::ClientFailed { error, .. } | Event::RoundSkipped { error, .. } => {
                        panic!("{name}: {error}")
                    }
                    _ => {}
                });
                let outcome = outcome.unwrap();
                let evaluation = outcome.generalized.unwrap();
                assert_eq!(evaluation.examples, CLIENTS, "{name}");
                assert!(evaluation.loss().is_finite(), "{name}");
                assert_eq!(evaluation.f1().is_some(), task == Task::QuestionAnswering, "{name}");
                // At the start B is 0, and with it A's gradient; biases of span heads have none.
                let is_moved =
                    |(path, _): &(&str, _)| path.ends_with("weight") && !path.contains("lora_A");
                for (path, param) in simulation.state().params.iter().filter(is_moved) {
                    let before = start.get(path).unwrap().to_vec();
                    assert_ne!(param.to_vec(), before, "{name}: {path} has not moved");
                }
            }
        }
    }
}
