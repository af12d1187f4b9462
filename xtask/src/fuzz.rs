//! `cargo xtask fuzz`: builds `spry-fuzz` and hands the work on to it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

/// What to fuzz.
#[derive(Args)]
pub struct FuzzArguments {
    /// One target only; `--list` says which there are.
    #[arg(long)]
    target: Option<String>,
    /// Mutations of each target.
    #[arg(long, default_value_t = 20_000)]
    mutations: u64,
    /// Another seed gives other mutations.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Parse this input instead, and say what comes of it.
    #[arg(long, requires = "target", conflicts_with_all = ["mutations", "seed"])]
    replay: Option<PathBuf>,
    /// Write the targets' own seeds into their corpora instead: for formats that have changed.
    #[arg(long, conflicts_with_all = ["replay", "mutations", "seed"])]
    write_corpus: bool,
    /// List the targets instead.
    #[arg(long, conflicts_with_all = ["target", "replay", "write_corpus", "mutations", "seed"])]
    list: bool,
}

/// Builds and runs.
pub fn run(root: &Path, arguments: &FuzzArguments) -> Result<()> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_string());
    let mut command = Command::new(cargo);
    command.current_dir(root).args(["run", "--quiet", "--bin", "spry-fuzz", "--"]);
    if arguments.list {
        command.arg("list");
    } else if arguments.write_corpus {
        command.arg("write-corpus");
    } else if let Some(input) = &arguments.replay {
        // The path is meant from where the command was given.
        let input = std::path::absolute(input).context("cannot find the input")?;
        command.arg("replay").arg(input);
    } else {
        let (mutations, seed) = (arguments.mutations.to_string(), arguments.seed.to_string());
        command.args(["run", "--mutations", &mutations, "--seed", &seed]);
    }
    if let Some(target) = &arguments.target {
        command.args(["--target", target]);
    }
    let status = command.status().context("cannot start cargo")?;
    match status.success() {
        true => Ok(()),
        false => bail!("spry-fuzz ended with {status}"),
    }
}
