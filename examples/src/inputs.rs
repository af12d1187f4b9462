//! Model and data: what the user named, the defaults from the hub, or the stand-ins.

use anyhow::{Context, Result, bail};
use spry_data::{Hub, Partitioner};
use spry_models::{LoraConfig, Peft};
use spry_runner::config::{DatasetConfig, ModelConfig};
use spry_runner::inputs::ModelFolder;
use spry_runner::{Error, Inputs, RunConfig, bundled};

/// What to finetune on what: the options that all examples share.
///
/// Without --model and --dataset, a small real BERT and AG News come from the Hugging Face hub or
/// its cache; where neither can be reached, bundled stand-ins take their place.
#[derive(Debug, clap::Args)]
pub struct InputArgs {
    /// Model: a Hugging Face directory or hub id [default: a MiniLM from the hub].
    #[arg(long, value_name = "DIR_OR_HUB_ID")]
    pub model: Option<String>,

    /// Dataset: a directory with Parquet files or a hub id [default: AG News from the hub].
    #[arg(long, value_name = "DIR_OR_HUB_ID")]
    pub dataset: Option<String>,

    /// Clients that the data is spread over [default: 100; with the stand-ins 40].
    #[arg(long, value_parser = at_least_1)]
    pub clients: Option<usize>,

    /// How examples are dealt to clients.
    #[arg(long, value_enum, default_value_t = Dealing::Dirichlet)]
    pub partitioner: Dealing,

    /// Concentration of the Dirichlet partitions: small means few topics per client [default: 1].
    #[arg(long, value_parser = above_0)]
    pub alpha: Option<f64>,

    /// Rank of the LoRA matrices.
    #[arg(long, default_value_t = 1, value_parser = at_least_1)]
    pub lora_r: usize,

    /// LoRA's α: its branch is scaled by α/r.
    #[arg(long, default_value_t = 1.0, value_parser = above_0)]
    pub lora_alpha: f64,

    /// Length that texts are truncated to, in tokens.
    #[arg(long, default_value_t = 64)]
    pub max_length: usize,

    /// Use only a random sample of so many examples; 0 for all.
    #[arg(long, default_value_t = 7600)]
    pub max_examples: usize,

    /// Make the classification head afresh even if the checkpoint has one.
    #[arg(long)]
    pub fresh_head: bool,

    /// Train with the model's dropout, as PyTorch's train() does.
    #[arg(long)]
    pub dropout: bool,

    /// Seed of everything random.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,

    /// Where to compute: a device of this build.
    #[arg(long, default_value = spry_core::device::names()[0])]
    pub device: String,

    /// Never go online: use local directories, the hub's cache, or the stand-ins.
    #[arg(long)]
    pub offline: bool,
}

/// How examples are dealt to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Dealing {
    /// Class proportions from a Dirichlet distribution, the same for all clients.
    Dirichlet,
    /// As the paper's published loader, with which the numbers in docs/results.md were measured.
    DirichletPaper,
    /// Uniformly at random.
    Iid,
}

/// Parses a number of at least 1.
pub fn at_least_1(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&number| number >= 1).ok_or("must be a number of at least 1".into())
}

/// Parses a number above 0.
pub fn above_0(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
    number.ok_or("must be a number above 0".into())
}

/// The real model that examples take if it can: 22 million weights, Apache-2.0.
const DEFAULT_MODEL: &str = "sentence-transformers/all-MiniLM-L6-v2";

impl InputArgs {
    /// The part of a run's configuration that says what is finetuned on what, and the same loaded.
    ///
    /// Where a default cannot be reached, a stand-in takes its place, and that is said loudly.
    ///
    /// # Errors
    ///
    /// If something that was asked for cannot be loaded.
    pub fn load(&self) -> Result<(RunConfig, Inputs)> {
        let hub = Hub::from_env().with_offline(self.offline);
        let mut config = self.config()?;
        if let Err(Error::Data(error)) = ModelFolder::find(&config.model, &hub)
            && self.model.is_none()
            && error.is_offline()
        {
            if self.dataset.is_some() {
                bail!(
                    "the bundled tiny model only knows the words of generated news; give a model \
                     for the dataset with --model ({error})"
                );
            }
            config = self.with_stand_ins(config, &error.to_string());
        }
        let loaded = match Inputs::load(&config, &hub) {
            // Defaults come as a pair: real text means nothing to the tiny model, and the other way
            // round.
            Err(Error::Data(error)) if self.dataset.is_none() && error.is_offline() => {
                config = self.with_stand_ins(config, &error.to_string());
                Inputs::load(&config, &hub)
            }
            loaded => loaded,
        };
        let names = (config.model.short_name(), config.dataset.location());
        let inputs = loaded.with_context(|| format!("cannot load {} and {}", names.0, names.1))?;
        Ok((config, inputs))
    }

    fn config(&self) -> Result<RunConfig> {
        let alpha = self.alpha.unwrap_or(1.0);
        let partitioner = match self.partitioner {
            Dealing::Dirichlet => Partitioner::Dirichlet { alpha },
            Dealing::DirichletPaper => Partitioner::DirichletPaper { alpha },
            Dealing::Iid if self.alpha.is_some() => bail!("--alpha has no effect: iid has none"),
            Dealing::Iid => Partitioner::Iid,
        };
        let dataset = DatasetConfig::new(self.dataset.as_deref().unwrap_or("ag_news"));
        let lora = LoraConfig { r: self.lora_r, lora_alpha: self.lora_alpha, ..Default::default() };
        Ok(RunConfig {
            seed: self.seed,
            device: self.device.clone(),
            model: ModelConfig {
                name_or_path: self.model.as_deref().unwrap_or(DEFAULT_MODEL).to_string(),
                fresh_head: self.fresh_head,
                dropout: self.dropout,
                adapter: None,
            },
            dataset: DatasetConfig {
                max_length: self.max_length,
                max_examples: (self.max_examples > 0).then_some(self.max_examples),
                num_clients: self.clients.unwrap_or(100),
                partitioner,
                ..dataset
            },
            peft: Peft::Lora(lora),
            ..Default::default()
        })
    }

    /// The same with stand-ins for what was not asked for, after saying so.
    fn with_stand_ins(&self, mut config: RunConfig, reason: &str) -> RunConfig {
        let is_model_given = self.model.is_some();
        let line = "=".repeat(78);
        eprintln!("{line}");
        eprintln!("  STAND-INS IN USE: these are not results on real text.");
        if !is_model_given {
            eprintln!("  model: a tiny BERT, pretrained on generated text");
            config.model.name_or_path = bundled::MODEL.to_string();
        }
        eprintln!("  data: generated news reports in four topics, because");
        eprintln!("    {reason}");
        eprintln!("  For the real ones: go online without --offline, or give local copies:");
        eprintln!("    --model DIR    with config.json, model.safetensors and tokenizer.json");
        eprintln!("    --dataset DIR  with data/train-*.parquet (columns text, label)");
        eprintln!("{line}");
        let stand_in = DatasetConfig::new(bundled::DATASET);
        config.dataset.num_clients = self.clients.unwrap_or(stand_in.num_clients);
        config.dataset.name = stand_in.name;
        config
    }
}
