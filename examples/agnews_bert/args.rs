//! Command line.

use std::path::PathBuf;

use clap::Parser;

/// Finetunes a BERT on news topics, federatedly.
///
/// Without --model and --dataset, a small real BERT and AG News come from the Hugging Face hub or
/// its cache; where neither can be reached, bundled stand-ins take their place.
#[derive(Debug, Parser)]
#[command(name = "agnews_bert")]
pub struct Args {
    /// Model: a Hugging Face directory or hub id [default: a MiniLM from the hub].
    #[arg(long, value_name = "DIR_OR_HUB_ID")]
    pub model: Option<String>,

    /// Dataset: a directory with Parquet files or a hub id [default: AG News from the hub].
    #[arg(long, value_name = "DIR_OR_HUB_ID")]
    pub dataset: Option<String>,

    /// Method: spry or fedavg.
    #[arg(long, default_value = "spry")]
    pub strategy: String,

    /// Server rounds [default: 20; with the stand-ins 30].
    #[arg(long)]
    pub rounds: Option<u64>,

    /// Clients that the data is spread over [default: 100; with the stand-ins 40].
    #[arg(long)]
    pub clients: Option<usize>,

    /// Clients per round.
    #[arg(long, default_value_t = 10)]
    pub cohort: usize,

    /// Concentration of the Dirichlet partition: small means few topics per client.
    #[arg(long, default_value_t = 1.0)]
    pub alpha: f64,

    /// Learning rate on the clients [default: depends on method and model].
    #[arg(long)]
    pub learning_rate: Option<f64>,

    /// Directions per step for spry (the paper's K) [default: 1; with the stand-ins 8].
    #[arg(long)]
    pub k: Option<usize>,

    /// Learning rate of spry's server optimizer, Yogi.
    #[arg(long)]
    pub server_learning_rate: Option<f64>,

    /// Passes over a client's data per round.
    #[arg(long, default_value_t = 1)]
    pub local_epochs: usize,

    /// Examples per step.
    #[arg(long, default_value_t = 8)]
    pub batch_size: usize,

    /// Length that texts are truncated to, in tokens.
    #[arg(long, default_value_t = 64)]
    pub max_length: usize,

    /// Use only so many examples of the dataset; 0 for all.
    #[arg(long, default_value_t = 7600)]
    pub max_examples: usize,

    /// Train with the model's dropout, as PyTorch's train() does.
    #[arg(long)]
    pub dropout: bool,

    /// Evaluate every so many rounds [default: about 20 times in a run].
    #[arg(long)]
    pub evaluate_every: Option<u64>,

    /// Seed of everything random.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,

    /// Clients that work at the same time, one per core if 0; does not change the result.
    #[arg(long, default_value_t = 0)]
    pub jobs: usize,

    /// Where to compute: flex, or what else this build has.
    #[arg(long, default_value = "flex")]
    pub device: String,

    /// Never go online: use local directories, the hub's cache, or the stand-ins.
    #[arg(long)]
    pub offline: bool,

    /// Folder for summary.json.
    #[arg(long, default_value = "results/agnews_bert", value_name = "DIR")]
    pub out: PathBuf,
}
