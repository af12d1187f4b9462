//! `spry-fuzz`: runs the targets. `cargo xtask fuzz` builds and calls it.

mod supervise;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use spry_fuzz::{TARGETS, Target, check, corpus};

/// Fuzzes everything in Spry that parses what others wrote.
#[derive(Parser)]
#[command(name = "cargo xtask fuzz")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Mutates each target's corpus, in a child process that is watched.
    Run(RunArguments),
    /// Parses one input and says what came of it.
    Replay {
        /// The target.
        #[arg(long)]
        target: String,
        /// The input.
        input: PathBuf,
    },
    /// Lists the targets.
    List,
    /// Writes the seeds of all targets, or of one, into their corpora.
    WriteCorpus {
        /// The target.
        #[arg(long)]
        target: Option<String>,
    },
    /// What `run` starts as a child.
    #[command(hide = true)]
    Worker(worker::WorkerArguments),
}

/// What to run.
#[derive(Args)]
struct RunArguments {
    /// One target only.
    #[arg(long)]
    target: Option<String>,
    /// Mutations of each target.
    #[arg(long, default_value_t = 20_000)]
    mutations: u64,
    /// Another seed gives other mutations.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where inputs go that make a parser fail.
    #[arg(long, default_value = "target/fuzz")]
    out: PathBuf,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(is_clean) => ExitCode::from(u8::from(!is_clean)),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Runs a command; false if a parser failed.
fn run(command: Command) -> Result<bool> {
    match command {
        Command::Run(arguments) => {
            let mut is_clean = true;
            for target in chosen(arguments.target.as_deref())? {
                is_clean &= supervise::run(target, &arguments)?;
            }
            Ok(is_clean)
        }
        Command::Replay { target, input } => {
            let target = find(&target)?;
            let bytes = std::fs::read(&input).with_context(|| input.display().to_string())?;
            let outcome = check::alone(|| check::check(target, &bytes));
            match &outcome {
                Ok(Ok(())) => println!("accepted"),
                Ok(Err(reason)) => println!("refused: {reason}"),
                Err(failure) => println!("{failure}"),
            }
            Ok(outcome.is_ok())
        }
        Command::List => {
            TARGETS.iter().for_each(|target| println!("{}", target.name));
            Ok(true)
        }
        Command::WriteCorpus { target } => {
            for target in chosen(target.as_deref())? {
                println!("{}: {} seeds", target.name, corpus::write(target)?);
            }
            Ok(true)
        }
        Command::Worker(arguments) => worker::run(&arguments).map(|()| true),
    }
}

/// All targets, or the one that was asked for.
fn chosen(name: Option<&str>) -> Result<Vec<&'static Target>> {
    match name {
        Some(name) => Ok(vec![find(name)?]),
        None => Ok(TARGETS.iter().collect()),
    }
}

fn find(name: &str) -> Result<&'static Target> {
    let names = || TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(", ");
    Target::find(name)
        .with_context(|| format!("there is no target `{name}`; there are {}", names()))
}
