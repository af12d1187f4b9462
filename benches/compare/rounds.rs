//! Simulated rounds on real text, and the same clients' batches for PyTorch.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use spry_core::spry_dual::ops::DropoutSeed;
use spry_core::{
    ClientContext, ClientData, ClientInfo, Event, Objective, ParamRole, ParamSet, PrefixCache,
    Seed, Simulation, SimulationConfig, Split, StopSignal, Strategy,
};
use spry_data::{ClientShare, Dataset, EncodedExample, Hub, TextTokenizer, TokenBatch};
use spry_models::{LoadOptions, LoraConfig, Model, Peft, PeftModel, TextClient};
use spry_runner::config::DatasetConfig;
use spry_runner::inputs;

const CLIENTS: usize = 100;
const COHORT: usize = 10;
const MAX_LENGTH: usize = 64;

/// A model, and clients with text.
pub struct Rounds {
    model: PeftModel,
    params: ParamSet,
    examples: Arc<Vec<EncodedExample>>,
    shares: Vec<ClientShare>,
    pad_id: u32,
}

impl Rounds {
    /// 100 clients with AG News or a dataset with the same columns.
    ///
    /// # Errors
    ///
    /// If model or dataset cannot be loaded.
    pub fn load(model: &Path, dataset: &Path) -> Result<Self> {
        let hub = Hub::from_env().with_offline(true);
        let config = DatasetConfig {
            source: Some(dataset.display().to_string()),
            num_clients: CLIENTS,
            max_length: MAX_LENGTH,
            ..DatasetConfig::new(spry_data::spec::AG_NEWS.name)
        };
        let dataset = inputs::load_dataset(&config, &hub, 0)?;
        let shares = inputs::partition(&config, &dataset, &hub, 0)?;
        let Dataset::Texts(texts) = &dataset else { anyhow::bail!("the dataset has no texts") };
        let tokenizer = TextTokenizer::load(model, MAX_LENGTH)?;
        let examples = Arc::new(tokenizer.encode(&texts.examples)?);
        let labels = Some(dataset.classes().len());
        let model = Model::load(model, &LoadOptions { num_labels: labels, ..Default::default() })?;
        let model = PeftModel::new(Arc::new(model), Peft::Lora(LoraConfig::default()))?;
        let params = model.trainable(&Seed::new(0))?;
        Ok(Self { model, params, examples, shares, pad_id: tokenizer.pad_id() })
    }

    /// Number of classes.
    pub fn num_labels(&self) -> usize {
        self.model.model().num_labels()
    }

    fn client(&self, client: usize) -> TextClient {
        let (model, examples) = (self.model.clone(), self.examples.clone());
        TextClient::new(model, examples, self.shares[client].clone(), self.pad_id, false)
    }

    /// One round of Spry, with one thread per client and as many clients at a time as cores: its
    /// number of client steps and its time.
    ///
    /// # Errors
    ///
    /// If a client fails.
    pub fn spry(&self) -> Result<(u64, Duration)> {
        let clients = (0..CLIENTS).map(|client| Box::new(self.client(client)) as _).collect();
        let config = SimulationConfig {
            num_server_rounds: 1,
            cohort_size: COHORT,
            evaluate_every: 0,
            personalized: false,
            ..Default::default()
        };
        let method = (spry_strategies::spry::SPEC.method)();
        let mut simulation = Simulation::new(method, clients, self.params.clone(), config)?;
        let mut measured = None;
        simulation.run(|event| {
            if let Event::RoundFinished(summary) = event {
                measured = Some((summary.steps(), summary.wall, summary.clients.len()));
            }
        })?;
        let (steps, wall, clients) = measured.context("no round ended")?;
        anyhow::ensure!(clients == COHORT, "only {clients} of {COHORT} clients finished");
        Ok((steps, wall))
    }

    /// The batches of the first round's clients, as PyTorch's process reads them.
    ///
    /// # Errors
    ///
    /// If a client fails.
    pub fn batches(&self) -> Result<Value> {
        let method = (spry_strategies::spry::SPEC.method)();
        let state = method.init(self.params.clone());
        let cohort: Vec<ClientInfo> = (0..COHORT)
            .map(|client| ClientInfo { client, num_examples: self.shares[client].train.len() })
            .collect();
        let groups = self.params.groups(ParamRole::Adapter);
        let mut clients = Vec::new();
        for task in method.configure_round(&state, &cohort, &Seed::new(0))? {
            let group = task.trains.iter().find_map(|path| {
                let param = self.params.get(path).ok()?;
                groups
                    .iter()
                    .position(|&group| param.role() == ParamRole::Adapter && group == param.group())
            });
            let data = Recorder { client: self.client(task.client), batches: Mutex::default() };
            let mut context = ClientContext::new(task.client, &data, StopSignal::default());
            method.local_update(&task, &mut context)?;
            let share = &self.shares[task.client].train;
            let batches = data.batches.into_inner().unwrap_or_default();
            let batches: Vec<Value> = batches
                .iter()
                .map(|batch| {
                    let of = |&index: &usize| &self.examples[share[index]];
                    let padded = TokenBatch::pad(batch.iter().map(of), self.pad_id);
                    json!({
                        "input_ids": padded.input_ids.chunks(padded.seq).collect::<Vec<_>>(),
                        "attention_mask":
                            padded.attention_mask.chunks(padded.seq).collect::<Vec<_>>(),
                        "labels": batch.iter().map(|i| of(i).label).collect::<Vec<_>>(),
                    })
                })
                .collect();
            clients.push(json!({"group": group, "batches": batches}));
        }
        Ok(json!({"clients": clients, "learning_rate": 0.01}))
    }
}

/// A client that notes which examples make its batches.
struct Recorder {
    client: TextClient,
    batches: Mutex<Vec<Vec<usize>>>,
}

impl ClientData for Recorder {
    fn num_examples(&self, split: Split) -> usize {
        self.client.num_examples(split)
    }

    fn objective(
        &self,
        split: Split,
        examples: &[usize],
        dropout: Option<DropoutSeed>,
    ) -> spry_core::Result<Box<dyn Objective + '_>> {
        if let Ok(mut batches) = self.batches.lock() {
            batches.push(examples.to_vec());
        }
        self.client.objective(split, examples, dropout)
    }

    fn training_objective(
        &self,
        examples: &[usize],
        dropout: Option<DropoutSeed>,
        _: &Arc<PrefixCache>,
    ) -> spry_core::Result<Box<dyn Objective + '_>> {
        self.objective(Split::Train, examples, dropout)
    }
}
