//! Model and data: what the user named, the defaults from the hub, or the stand-ins.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use spry_core::ClientData;
use spry_data::hub::RepoKind;
use spry_data::spec::{AG_NEWS, ALL};
use spry_data::{
    DatasetSpec, Hub, Partition, PartitionCache, Partitioner, Source, TextDataset, TextTokenizer,
    synthetic,
};
use spry_models::{Classifier, LoadOptions, LoraConfig, Model, Peft, TextClient};

use crate::args::Args;

/// The real model that the example takes if it can: 22 million weights, Apache-2.0.
const DEFAULT_MODEL: &str = "sentence-transformers/all-MiniLM-L6-v2";

/// Size of the synthetic corpus, and its seed: not the one of pretraining.
const SYNTHETIC_EXAMPLES: usize = 4000;
const SYNTHETIC_SEED: u64 = 2;

/// What the run works with.
pub struct Inputs {
    pub model_name: String,
    pub dataset: TextDataset,
    pub dataset_name: String,
    pub is_tiny_model: bool,
    pub classifier: Classifier,
    pub clients: Vec<Box<dyn ClientData>>,
}

/// Whether something real was found, or the stand-in is used, and why.
enum Found<T> {
    Real(T),
    StandIn(String),
}

impl Inputs {
    /// Loads everything, and says so; loudly, if stand-ins are used.
    pub fn load(args: &Args) -> Result<Self> {
        let hub = Hub::from_env().with_offline(args.offline);
        let model = model_folder(args, &hub)?;
        let dataset = dataset(args, &hub)?;
        let mut stand_ins = Vec::new();
        let (folder, model_name, is_tiny_model) = match model {
            Found::Real((folder, name)) => (folder, name, false),
            Found::StandIn(reason) => {
                stand_ins.push(("model", reason));
                (spry_examples::tiny_bert(), "tiny-bert (bundled stand-in)".to_string(), true)
            }
        };
        let (mut dataset, dataset_name) = match dataset {
            Found::Real(real) => real,
            Found::StandIn(reason) => {
                stand_ins.push(("data", reason));
                let news = synthetic::news(SYNTHETIC_EXAMPLES, SYNTHETIC_SEED);
                (news, "synthetic news (stand-in)".to_string())
            }
        };
        if !stand_ins.is_empty() {
            announce_stand_ins(&stand_ins);
        }
        if args.max_examples > 0 {
            dataset.examples.truncate(args.max_examples);
        }

        let options = LoadOptions {
            device: spry_core::device::parse(&args.device)?,
            num_labels: Some(dataset.classes.len()),
            seed: args.seed,
            ..Default::default()
        };
        let model = Arc::new(Model::load(&folder, &options)?);
        let max_length = args.max_length.min(model.architecture().max_length());
        let classifier = Classifier::new(model, Peft::Lora(LoraConfig::default()))?;
        let tokenizer = TextTokenizer::load(&folder, max_length)?;
        let encoded = Arc::new(tokenizer.encode(&dataset.examples)?);

        let clients = args.clients.unwrap_or(if is_tiny_model { 40 } else { 100 });
        let partition = PartitionCache::new(args.out.join("cache")).partition(
            &Partitioner::Dirichlet { alpha: args.alpha },
            &dataset.labels(),
            clients,
            Partition::TRAIN_SHARE,
            args.seed,
        )?;
        let client = |share| {
            let data = encoded.clone();
            let pad_id = tokenizer.pad_id();
            let client = TextClient::new(classifier.clone(), data, share, pad_id, args.dropout);
            Box::new(client) as Box<dyn ClientData>
        };
        let clients = partition.clients.into_iter().map(client).collect();
        Ok(Self { model_name, dataset, dataset_name, is_tiny_model, classifier, clients })
    }
}

/// The model's folder and name.
fn model_folder(args: &Args, hub: &Hub) -> Result<Found<(PathBuf, String)>> {
    let name = args.model.as_deref().unwrap_or(DEFAULT_MODEL);
    let source = Source::parse(name)?;
    let files = || -> Result<PathBuf, spry_data::Error> {
        if let Source::Directory(folder) = &source {
            return Ok(folder.clone());
        }
        let needed = ["config.json", "model.safetensors", "tokenizer.json"];
        let paths = hub.files(&source, RepoKind::Model, &needed)?;
        Ok(paths[0].parent().unwrap_or(Path::new(".")).to_path_buf())
    };
    match files() {
        Ok(folder) => Ok(Found::Real((folder, name.to_string()))),
        Err(error) if args.model.is_none() && error.is_offline() => {
            Ok(Found::StandIn(error.to_string()))
        }
        Err(error) => Err(error).with_context(|| format!("cannot load the model {name}")),
    }
}

/// The dataset and its name.
fn dataset(args: &Args, hub: &Hub) -> Result<Found<(TextDataset, String)>> {
    let name = args.dataset.as_deref().unwrap_or(AG_NEWS.hub_id);
    let source = Source::parse(name)?;
    match TextDataset::load(hub, &source, spec_of(&source)) {
        Ok(dataset) => Ok(Found::Real((dataset, name.to_string()))),
        Err(error) if args.dataset.is_none() && error.is_offline() => {
            Ok(Found::StandIn(error.to_string()))
        }
        Err(error) => Err(error).with_context(|| format!("cannot load the dataset {name}")),
    }
}

/// What is known of a dataset: by its hub id, or by the name of its folder; else AG News's layout.
fn spec_of(source: &Source) -> &'static DatasetSpec {
    let name = match source {
        Source::Hub(id) => id.as_str(),
        Source::Directory(folder) => {
            folder.file_name().and_then(|name| name.to_str()).unwrap_or_default()
        }
    };
    let is_it = |spec: &&&DatasetSpec| spec.hub_id == name || spec.name == name;
    ALL.iter().find(is_it).copied().unwrap_or(&AG_NEWS)
}

fn announce_stand_ins(stand_ins: &[(&str, String)]) {
    let line = "=".repeat(78);
    eprintln!("{line}");
    eprintln!("  STAND-INS IN USE: these are not results on real text.");
    for (what, reason) in stand_ins {
        let what_is_used = match *what {
            "model" => "a tiny BERT, pretrained on generated text",
            _ => "generated news reports in four topics",
        };
        eprintln!("  {what}: {what_is_used}, because");
        eprintln!("    {reason}");
    }
    eprintln!("  For the real ones: go online without --offline, or give local copies:");
    eprintln!("    --model DIR    with config.json, model.safetensors and tokenizer.json");
    eprintln!("    --dataset DIR  with data/train-*.parquet (columns text, label)");
    eprintln!("{line}");
}
