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
    #[arg(long, value_parser = at_least_1)]
    pub clients: Option<usize>,

    /// Clients per round [default: 10, or all if there are fewer].
    #[arg(long, value_parser = at_least_1)]
    pub cohort: Option<usize>,

    /// Concentration of the Dirichlet partition: small means few topics per client.
    #[arg(long, default_value_t = 1.0, value_parser = above_0)]
    pub alpha: f64,

    /// Learning rate on the clients [default: depends on method and model].
    #[arg(long, value_parser = above_0)]
    pub learning_rate: Option<f64>,

    /// Directions per step for spry (the paper's K) [default: 1; with the stand-ins 8].
    #[arg(long, value_parser = at_least_1)]
    pub k: Option<usize>,

    /// Learning rate of spry's server optimizer, Yogi.
    #[arg(long, value_parser = above_0)]
    pub server_learning_rate: Option<f64>,

    /// Passes over a client's data per round.
    #[arg(long, default_value_t = 1, value_parser = at_least_1)]
    pub local_epochs: usize,

    /// Examples per step.
    #[arg(long, default_value_t = 8, value_parser = at_least_1)]
    pub batch_size: usize,

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

    /// Evaluate every so many rounds [default: about 20 times in a run].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub evaluate_every: Option<u64>,

    /// Seed of everything random.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,

    /// Clients that work at the same time, one per core if 0; does not change the result.
    #[arg(long, default_value_t = 0)]
    pub jobs: usize,

    /// Where to compute: a device of this build.
    #[arg(long, default_value = spry_core::device::names()[0])]
    pub device: String,

    /// Never go online: use local directories, the hub's cache, or the stand-ins.
    #[arg(long)]
    pub offline: bool,

    /// Folder for summary.json.
    #[arg(long, default_value = "results/agnews_bert", value_name = "DIR")]
    pub out: PathBuf,
}

fn at_least_1(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&number| number >= 1).ok_or("must be a number of at least 1".into())
}

fn above_0(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
    number.ok_or("must be a number above 0".into())
}
