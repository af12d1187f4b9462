//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Finetunes language models federatedly, without backpropagation: runs, compares and exports.
#[derive(Debug, Parser)]
#[command(name = "spry", version, arg_required_else_help = true)]
pub struct Cli {
    /// What to print on standard output.
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    pub format: Format,

    /// Never go online: use local directories, the hub's cache, and what is bundled.
    #[arg(long, global = true)]
    pub offline: bool,

    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Whether the output is JSON.
    pub fn is_for_machines(&self) -> bool {
        let asks_itself = matches!(&self.command, Command::Profile(args) if args.json);
        self.format == Format::Json || asks_itself
    }
}

/// What to print on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object, also for an error; no progress.
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Begins a run.
    Run(RunArgs),
    /// Goes on with a run that was interrupted or killed.
    Resume(ResumeArgs),
    /// Lists the presets, or prints one as a configuration file.
    Presets {
        /// The preset to print.
        name: Option<String>,
    },
    /// Puts several runs side by side: a table, plots, and a page that has both.
    Compare(CompareArgs),
    /// Runs a grid of options with several seeds; the same command again goes on with it.
    Sweep(SweepArgs),
    /// Shows how a dataset is dealt to clients.
    Partition(PartitionArgs),
    /// Measures time and memory of one step of a client.
    Profile(ProfileArgs),
    /// Checks a model against numbers from PyTorch.
    Verify(VerifyArgs),
    /// Writes what a run trained in Hugging Face peft's format.
    Export(ExportArgs),
    /// Begins a run that starts from an adapter in Hugging Face peft's format.
    Import(ImportArgs),
}

/// A configuration in layers: a preset, a file over it, single options over both.
#[derive(Debug, Args)]
pub struct LayerArgs {
    /// Configuration file; what it does not mention is as in the preset, or the default.
    #[arg(value_name = "CONFIG.toml")]
    pub config: Option<PathBuf>,

    /// Start from a preset; `spry presets` lists them.
    #[arg(long, value_name = "NAME")]
    pub preset: Option<String>,

    /// Change an option, such as method.estimator.k=4; can be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub options: Vec<String>,
}

/// A configuration, and flags for options that depend on the machine.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(flatten)]
    pub layers: LayerArgs,

    /// Clients that work at the same time; 0 for one per core. Does not change results.
    #[arg(long, value_name = "N")]
    pub jobs: Option<usize>,

    /// Where to compute: a device of this build.
    #[arg(long, value_name = "NAME")]
    pub device: Option<String>,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub config: ConfigArgs,

    /// The run's folder [default: results/DATASET/METHOD/EXPERIMENT].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Folder with adapter_config.json and adapter_model.safetensors.
    #[arg(value_name = "ADAPTER_DIR")]
    pub adapter: PathBuf,

    #[command(flatten)]
    pub run: RunArgs,
}

#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// The run's folder.
    #[arg(value_name = "RUN_DIR")]
    pub run: PathBuf,

    /// Clients that work at the same time; 0 for one per core. Does not change results.
    #[arg(long, value_name = "N")]
    pub jobs: Option<usize>,
}

#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Folders of runs.
    #[arg(value_name = "RUN_DIR", required = true)]
    pub runs: Vec<PathBuf>,

    /// Folder for comparison.html and the plots.
    #[arg(long, value_name = "DIR", default_value = "results/comparison")]
    pub out: PathBuf,
}

#[derive(Debug, Args)]
pub struct SweepArgs {
    #[command(flatten)]
    pub config: ConfigArgs,

    /// Values of an option, such as method.estimator.k=1,4,16; all combinations are run.
    #[arg(long, value_name = "KEY=VALUE,VALUE")]
    pub grid: Vec<String>,

    /// Seeds of each combination [default: the configuration's].
    #[arg(long, value_name = "N,N", value_delimiter = ',')]
    pub seeds: Vec<u64>,

    /// The sweep's folder.
    #[arg(long, value_name = "DIR", default_value = "results/sweep")]
    pub out: PathBuf,
}

#[derive(Debug, Args)]
pub struct PartitionArgs {
    // Flags count more than its options.
    #[command(flatten)]
    pub layers: LayerArgs,

    /// A known dataset, the bundled synthetic_news, or a directory or hub id; the same as --set
    /// dataset=NAME, and like it brings the dataset's own defaults.
    #[arg(long)]
    pub dataset: Option<String>,

    /// Number of clients [default: the configuration's].
    #[arg(long, value_name = "N")]
    pub clients: Option<usize>,

    /// Deal by a Dirichlet distribution of this concentration: small means few classes per client
    /// [default: as the configuration says; without one 1].
    #[arg(long, value_name = "A")]
    pub alpha: Option<f64>,

    /// Deal uniformly at random instead.
    #[arg(long, conflicts_with = "alpha")]
    pub iid: bool,

    /// Use only a random sample of so many examples.
    #[arg(long, value_name = "N")]
    pub max_examples: Option<usize>,

    /// Seed of the deal [default: the configuration's `dataset.seed`, or else its `seed`].
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Write a picture.
    #[arg(long, value_name = "OUT.svg")]
    pub plot: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ProfileArgs {
    /// A model's directory.
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,

    /// Random weights for a model's configuration, instead of a checkpoint.
    #[arg(long, value_name = "CONFIG.json", conflicts_with = "model")]
    pub random_weights: Option<PathBuf>,

    /// inference, backprop, forward-gradient, finite-difference, spsa or guided.
    #[arg(long)]
    pub estimator: String,

    /// Examples per batch.
    #[arg(long, default_value_t = 8)]
    pub batch: usize,

    /// Tokens per example.
    #[arg(long, default_value_t = 64)]
    pub seq: usize,

    /// What is trained: all, group:N (one group of adapters, from 0 by depth), or head [default:
    /// all].
    #[arg(long)]
    pub trains: Option<String>,

    /// Directions per step, for an estimator that has some [default: 1].
    #[arg(short, long)]
    pub k: Option<usize>,

    /// Steps that are timed.
    #[arg(long, default_value_t = 10)]
    pub iterations: usize,

    /// Threads that the kernels may use; 0 for all. A simulation gives each client one.
    #[arg(long, default_value_t = 0)]
    pub threads: usize,

    /// Where to compute: a device of this build.
    #[arg(long, default_value = spry_core::device::names()[0])]
    pub device: String,

    /// The same as --format json.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Folders with a model, case.json and case.safetensors.
    #[arg(value_name = "CASE_DIR", required = true)]
    pub cases: Vec<PathBuf>,

    /// Largest relative error that is accepted.
    #[arg(long, default_value_t = 1e-4)]
    pub tolerance: f64,

    /// Precision to compute in.
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    pub dtype: Precision,

    /// Where to compute: a device of this build.
    #[arg(long, default_value = spry_core::device::names()[0])]
    pub device: String,
}

/// Precision to compute in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    /// 32 bits.
    F32,
    /// 64 bits.
    F64,
}

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The run's folder.
    #[arg(value_name = "RUN_DIR")]
    pub run: PathBuf,

    /// A new folder.
    #[arg(value_name = "OUT_DIR")]
    pub out: PathBuf,

    /// Write what was trained until the best round, instead of the last one.
    #[arg(long)]
    pub best: bool,

    /// Copy the base model's configuration, weights and tokenizer, too, to OUT_DIR/base.
    #[arg(long)]
    pub with_base_model: bool,
}
