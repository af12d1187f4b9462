//! Simulated rounds on real text, and the same clients' batches for PyTorch.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use spry_core::simulation::RoundSummary;
use spry_core::spry_dual::ops::DropoutSeed;
use spry_core::{
    ClientData, Event, Objective, ParamRole, ParamSet, PrefixCache, Seed, Simulation,
    SimulationConfig, Split,
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

    /// One round of Spry, with one thread per client and as many clients at a time as cores.
    fn round(
        &self,
        clients: Vec<Box<dyn ClientData>>,
        prefix_cache_bytes: u64,
    ) -> Result<RoundSummary> {
        let config = SimulationConfig {
            num_server_rounds: 1,
            cohort_size: COHORT,
            evaluate_every: 0,
            personalized: false,
            prefix_cache_bytes,
            ..Default::default()
        };
        let method = (spry_strategies::spry::SPEC.method)();
        let mut simulation = Simulation::new(method, clients, self.params.clone(), config)?;
        let mut round = None;
        simulation.run(|event| {
            if let Event::RoundFinished(summary) = event {
                round = Some(summary.clone());
            }
        })?;
        let round = round.context("no round ended")?;
        anyhow::ensure!(round.clients.len() == COHORT, "only {} finished", round.clients.len());
        Ok(round)
    }

    /// Number of client steps of one round of Spry, and its time.
    ///
    /// # Errors
    ///
    /// If a client fails.
    pub fn spry(&self) -> Result<(u64, Duration)> {
        let clients = (0..CLIENTS).map(|client| Box::new(self.client(client)) as _).collect();
        let round = self.round(clients, 0)?;
        Ok((round.steps(), round.wall))
    }

    /// The batches of that round's clients, as PyTorch's process reads them.
    ///
    /// # Errors
    ///
    /// If a client fails.
    pub fn batches(&self) -> Result<Value> {
        let logs: Vec<Log> = (0..CLIENTS).map(|_| Log::default()).collect();
        let recorder = |client: usize| {
            let log = logs[client].clone();
            Box::new(Recorder { client: self.client(client), log }) as _
        };
        // A client is told what it trains if it may keep anything.
        let round = self.round((0..CLIENTS).map(recorder).collect(), 1)?;
        let groups = self.params.groups(ParamRole::Adapter);
        let mut clients = Vec::new();
        for report in &round.clients {
            let log =
                std::mem::take(&mut *logs[report.client].lock().unwrap_or_else(|e| e.into_inner()));
            anyhow::ensure!(log.batches.len() as u64 == report.steps, "a batch was not noted");
            let group = log.trains.iter().find_map(|path| {
                let param = self.params.get(path).ok()?;
                groups
                    .iter()
                    .position(|&group| param.role() == ParamRole::Adapter && group == param.group())
            });
            let share = &self.shares[report.client].train;
            let of = |index: &usize| &self.examples[share[*index]];
            let batch = |batch: &Vec<usize>| {
                let padded = TokenBatch::pad(batch.iter().map(of), self.pad_id);
                let rows = padded.attention_mask.chunks(padded.seq);
                json!({
                    "input_ids": padded.input_ids.chunks(padded.seq).collect::<Vec<_>>(),
                    "attention_mask": rows.collect::<Vec<_>>(),
                    "labels": batch.iter().map(|index| of(index).label).collect::<Vec<_>>(),
                })
            };
            let batches: Vec<Value> = log.batches.iter().map(batch).collect();
            clients.push(json!({"group": group, "batches": batches}));
        }
        Ok(json!({"clients": clients, "learning_rate": 0.01}))
    }

    /// Share of padding among the tokens of the round's batches, each padded to its longest text.
    pub fn padding(batches: &Value) -> f64 {
        let masks = batches["clients"].as_array().into_iter().flatten();
        let masks = masks.flat_map(|client| client["batches"].as_array().into_iter().flatten());
        let rows = masks.flat_map(|batch| batch["attention_mask"].as_array().into_iter().flatten());
        let values: Vec<f64> = rows
            .flat_map(|row| row.as_array().into_iter().flatten())
            .filter_map(Value::as_f64)
            .collect();
        1.0 - values.iter().sum::<f64>() / values.len() as f64
    }
}

/// What a client trained, and on which batches.
#[derive(Default)]
struct Work {
    trains: Vec<String>,
    batches: Vec<Vec<usize>>,
}

type Log = Arc<Mutex<Work>>;

/// A client that notes its work.
struct Recorder {
    client: TextClient,
    log: Log,
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
        self.client.objective(split, examples, dropout)
    }

    fn training_objective(
        &self,
        examples: &[usize],
        dropout: Option<DropoutSeed>,
        cache: &Arc<PrefixCache>,
    ) -> spry_core::Result<Box<dyn Objective + '_>> {
        if let Ok(mut log) = self.log.lock() {
            log.trains = cache.trains().to_vec();
            log.batches.push(examples.to_vec());
        }
        self.client.objective(Split::Train, examples, dropout)
    }
}
