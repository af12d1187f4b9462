//! The one table of parsers.
//!
//! A target goes as far as a user's command does: a model is not only read but computes a loss, a
//! message is not only decoded but checked against its task and aggregated. What is found late is
//! found, too.

mod data;
mod messages;
mod models;
mod runs;
mod tables;

use std::cell::RefCell;
use std::error::Error;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// What parses.
#[derive(Debug)]
pub struct Target {
    /// Name of the target and of its corpus.
    pub name: &'static str,
    /// Form of its inputs.
    pub shape: Shape,
    /// Words of its format.
    pub words: &'static [&'static str],
    /// Valid inputs to start from, each with the name of its file.
    pub seeds: fn() -> anyhow::Result<Seeds>,
    /// Parses an input; the error is why it was refused.
    pub run: fn(&[u8]) -> Result<(), String>,
}

/// Inputs by the names of their files.
pub type Seeds = Vec<(String, Vec<u8>)>;

/// The form of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Nothing is known of it.
    Bytes,
    /// Text in lines.
    Text,
    /// A JSON document.
    Json,
    /// A safetensors file.
    Safetensors,
    /// [Several files](crate::bundle).
    Folder,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    models::SAFETENSORS,
    models::INDEX,
    models::CONFIG_BERT,
    models::CONFIG_ROBERTA,
    models::CONFIG_DISTILBERT,
    models::CONFIG_ALBERT,
    models::CONFIG_LLAMA,
    models::CONFIG_OPT,
    models::ADAPTER,
    models::CASE,
    data::TOKENIZER,
    data::TEXTS,
    data::QUESTIONS,
    data::QUESTION_ROWS,
    data::PARTITION,
    runs::CONFIG,
    runs::ASSIGNMENTS,
    runs::CHECKPOINT,
    runs::ROWS,
    runs::ROUNDS,
    runs::FOLDER,
    messages::TASK,
    messages::UPDATE,
    messages::SNAPSHOT,
];

impl Target {
    /// The target of a name.
    ///
    /// ```
    /// assert_eq!(spry_fuzz::Target::find("adapter").map(|target| target.name), Some("adapter"));
    /// assert!(spry_fuzz::Target::find("adaptor").is_none());
    /// ```
    pub fn find(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.name == name)
    }
}

/// An error with all its causes, as one line.
fn refused(error: impl Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    message
}

thread_local! {
    /// A folder that this thread's inputs are written to, one after another.
    static SCRATCH: RefCell<Option<TempDir>> = const { RefCell::new(None) };
}

/// Gives `work` an empty folder.
fn in_folder<R>(work: impl FnOnce(&Path) -> Result<R, String>) -> Result<R, String> {
    SCRATCH.with_borrow_mut(|scratch| {
        if scratch.is_none() {
            *scratch = Some(tempfile::tempdir().map_err(refused)?);
        }
        let Some(folder) = scratch.as_ref().map(TempDir::path) else {
            return Err("there is no folder for temporary files".to_string());
        };
        for entry in std::fs::read_dir(folder).map_err(refused)? {
            let path = entry.map_err(refused)?.path();
            let removed = if path.is_dir() {
                std::fs::remove_dir_all(path)
            } else {
                std::fs::remove_file(path)
            };
            removed.map_err(refused)?;
        }
        work(folder)
    })
}

/// Writes a file of a folder.
fn write(folder: &Path, name: &str, contents: &[u8]) -> Result<PathBuf, String> {
    let path = folder.join(name);
    std::fs::write(&path, contents).map_err(refused)?;
    Ok(path)
}

/// A folder of a reference case of `spry-models`.
fn fixture(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/spry-models/tests/fixtures").join(case)
}

/// Some files of a folder as one input.
fn bundle_of(folder: &Path, names: &[&str]) -> anyhow::Result<Vec<u8>> {
    let read = |name: &&str| Ok((name.to_string(), std::fs::read(folder.join(name))?));
    Ok(crate::bundle::encode(&names.iter().map(read).collect::<anyhow::Result<Vec<_>>>()?))
}
