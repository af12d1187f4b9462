//! Command line.

use std::path::PathBuf;

use clap::Parser;
use spry_examples::inputs::{InputArgs, above_0, at_least_1};

/// Finetunes a BERT on news topics, federatedly.
#[derive(Debug, Parser)]
#[command(name = "agnews_bert")]
pub struct Args {
    #[command(flatten)]
    pub inputs: InputArgs,

    /// Method: spry, fedavg, fedyogi, fedsgd, fwdllm+, baffle+, fedmezo, or an ablation.
    #[arg(long, default_value = "spry")]
    pub strategy: String,

    /// Change an option of the method, such as head_estimator=backprop or estimator.k=4; can be
    /// given several times. docs/strategies.md lists them.
    #[arg(long = "set", value_name = "OPTION=VALUE")]
    pub options: Vec<String>,

    /// Server rounds [default: 20; with the stand-ins 30].
    #[arg(long)]
    pub rounds: Option<u64>,

    /// Clients per round [default: 10, or all if there are fewer].
    #[arg(long, value_parser = at_least_1)]
    pub cohort: Option<usize>,

    /// Learning rate on the clients, or on the server if clients send gradients [default: depends
    /// on method and model].
    #[arg(long, value_parser = above_0)]
    pub learning_rate: Option<f64>,

    /// Directions per step (the paper's K) [default: depends on method and model].
    #[arg(long, value_parser = at_least_1)]
    pub k: Option<usize>,

    /// Learning rate of the server optimizer.
    #[arg(long, value_parser = above_0)]
    pub server_learning_rate: Option<f64>,

    /// Passes over a client's data per round.
    #[arg(long, value_parser = at_least_1)]
    pub local_epochs: Option<usize>,

    /// Examples per step.
    #[arg(long, value_parser = at_least_1)]
    pub batch_size: Option<usize>,

    /// Evaluate every so many rounds [default: about 20 times in a run].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub evaluate_every: Option<u64>,

    /// Clients that work at the same time, one per core if 0; does not change the result.
    #[arg(long, default_value_t = 0)]
    pub jobs: usize,

    /// Folder for summary.json and rounds.parquet.
    #[arg(long, default_value = "results/agnews_bert", value_name = "DIR")]
    pub out: PathBuf,
}
