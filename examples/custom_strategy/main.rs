//! A method of one's own: forward gradients on the clients, momentum on the server.

use std::sync::Arc;

use spry_core::optim::{LocalOptimizerConfig, SgdConfig};
use spry_core::*;
use spry_data::{Partition, Partitioner, TextTokenizer, synthetic};
use spry_models::{LoadOptions, LoraConfig, Model, Peft, PeftModel, TextClient};

struct ForwardMomentum {
    training: LocalTraining,
    momentum: f64,
}

impl Strategy for ForwardMomentum {
    fn name(&self) -> &str {
        "forward-momentum"
    }

    fn configure_round(
        &self,
        state: &ServerState,
        cohort: &[ClientInfo],
        seed: &Seed,
    ) -> Result<Vec<ClientTask>> {
        Ok(ClientTask::train_everything(state, cohort, seed))
    }

    fn local_update(&self, task: &ClientTask, client: &mut ClientContext) -> Result<ClientUpdate> {
        client.train(task, &self.training)
    }

    fn aggregate(
        &self,
        mut state: ServerState,
        completed: Vec<CompletedTask>,
    ) -> Result<(ServerState, RoundReport)> {
        let mut velocity = aggregate::mean_weights(&completed)?.add_scaled(-1.0, &state.params)?;
        if !state.optimizer.momentum.is_empty() {
            velocity = velocity.add_scaled(self.momentum, &state.optimizer.momentum)?;
        }
        state.params = state.params.add_scaled(1.0, &velocity)?;
        state.optimizer.momentum = velocity;
        Ok((state, RoundReport::of(&completed)))
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    run().map(drop)
}

/// Finetunes, and returns the accuracy at the end.
pub fn run() -> std::result::Result<f64, Box<dyn std::error::Error>> {
    let folder = spry_runner::bundled::model()?;
    let news = synthetic::news(2000, 2);
    let options = LoadOptions { num_labels: Some(news.classes.len()), ..Default::default() };
    let model = Arc::new(Model::load(folder.path(), &options)?);
    let model = PeftModel::new(model, Peft::Lora(LoraConfig::default()))?;
    let tokenizer = TextTokenizer::load(folder.path(), 64)?;
    let texts = Arc::new(tokenizer.encode(&news.examples)?);
    let (params, pad_id) = (model.trainable(&Seed::new(0))?, tokenizer.pad_id());
    let dealt =
        Partitioner::Dirichlet { alpha: 1.0 }.deal(&news.labels(), &[], 20, &Seed::new(0))?;
    let shares = Partition::from_shares(dealt, Partition::TRAIN_SHARE)?.clients.into_iter();
    let client = |share| TextClient::new(model.clone(), texts.clone(), share, pad_id, false);
    let clients = shares.map(|share| Box::new(client(share)) as Box<dyn ClientData>).collect();

    let estimator = Arc::new(ForwardGradient { k: 8, ..Default::default() });
    let sgd = SgdConfig { learning_rate: 0.02, ..Default::default() };
    let optimizer = LocalOptimizerConfig::Sgd(sgd);
    let training = LocalTraining { estimator, optimizer, ..LocalTraining::backprop() };
    let config = SimulationConfig { num_server_rounds: 15, cohort_size: 5, ..Default::default() };
    let strategy = ForwardMomentum { training, momentum: 0.5 };
    let outcome = Simulation::new(strategy, clients, params, config)?.run(|event| {
        if let Event::Evaluated { rounds, generalized, .. } = event {
            println!("after {rounds:2} rounds: accuracy {:.1} %", 100.0 * generalized.accuracy());
        }
    })?;
    Ok(outcome.generalized.ok_or("never evaluated")?.accuracy())
}
