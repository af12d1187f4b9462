//! The child process: parses one input after another, and says which one it is at.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use spry_fuzz::check::{Failure, alone, check};
use spry_fuzz::{Target, corpus, mutate};

/// What a child is to do.
#[derive(Args)]
pub struct WorkerArguments {
    /// The target.
    #[arg(long)]
    pub target: String,
    /// The seed of the mutations.
    #[arg(long)]
    pub seed: u64,
    /// The first mutation.
    #[arg(long)]
    pub from: u64,
    /// The first mutation that is not to be run any more.
    #[arg(long)]
    pub to: u64,
    /// Where the child says how far it is, and keeps what made a parser fail.
    #[arg(long)]
    pub folder: PathBuf,
}

/// Name of the file with the number of the mutation that is parsed now.
pub const PROGRESS: &str = "progress";

/// Name of the file with what was found: lines of a number and a message.
pub const FOUND: &str = "found.txt";

/// Name of the file with the number of mutations that were accepted: a line of each child.
pub const ACCEPTED: &str = "accepted.txt";

/// Runs some mutations of a target.
pub fn run(arguments: &WorkerArguments) -> Result<()> {
    let target = crate::find(&arguments.target)?;
    let corpus = corpus::read(target)?;
    let corpus: Vec<&[u8]> = corpus.iter().map(|input| input.bytes.as_slice()).collect();
    alone(|| run_all(target, &corpus, arguments))
}

fn run_all(target: &Target, corpus: &[&[u8]], arguments: &WorkerArguments) -> Result<()> {
    let (progress, found) = (arguments.folder.join(PROGRESS), arguments.folder.join(FOUND));
    let (mut known, mut accepted) = (HashSet::new(), 0);
    for number in arguments.from..arguments.to {
        std::fs::write(&progress, number.to_string()).context("cannot say how far it is")?;
        let input = mutate::mutated(target, corpus, arguments.seed, number);
        match check(target, &input) {
            Ok(answer) => accepted += u64::from(answer.is_ok()),
            Err(failure) if known.insert(kind(&failure)) => {
                append(&found, &format!("{number}\t{}\n", one_line(&failure.to_string())))?;
            }
            Err(_) => {}
        }
    }
    append(&arguments.folder.join(ACCEPTED), &format!("{accepted}\n"))
}

/// What two failures of one cause have in common: the place of the panic.
fn kind(failure: &Failure) -> String {
    match failure {
        Failure::Panic { message } => {
            message.rsplit_once("(at ").map_or(message.clone(), |(_, place)| place.to_string())
        }
        Failure::Memory { .. } => "memory".to_string(),
    }
}

/// Longest message that is kept.
const LONGEST_MESSAGE: usize = 300;

fn one_line(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    // The end has the place.
    let skipped = text.chars().count().saturating_sub(LONGEST_MESSAGE);
    text.chars().skip(skipped).collect()
}

fn append(path: &Path, line: &str) -> Result<()> {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    Ok(file.write_all(line.as_bytes())?)
}
