//! Texts and labels, read from Parquet files in Hugging Face layout.

use std::path::PathBuf;

use spry_core::Seed;

use crate::hub::{Hub, Source};
use crate::parquet::{integer, read_rows, text};
use crate::{DatasetSpec, Error, Result};

/// Labels of a dataset whose classes are not known must be below this: a larger one is more likely
/// another column than a class.
const MAX_UNKNOWN_CLASSES: usize = 1000;

/// A text and its class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextExample {
    /// The text.
    pub text: String,
    /// The class number, from 0 on.
    pub label: usize,
}

/// Examples of a classification task, in file order.
#[derive(Clone, Debug)]
pub struct TextDataset {
    /// Name for messages and results.
    pub name: String,
    /// Names of the classes, by number.
    pub classes: Vec<String>,
    /// The examples.
    pub examples: Vec<TextExample>,
}

impl TextDataset {
    /// Loads the labelled splits of a dataset from a directory or the hub, one after another.
    ///
    /// All labelled examples together are spread over clients; each client keeps a part of its
    /// share for testing (see [`partition`](crate::partition)). A local directory needs the first
    /// split only.
    ///
    /// # Errors
    ///
    /// If files are missing, unreadable, lack a column, or have labels outside of the known
    /// classes; the message names file, row and column.
    pub fn load(hub: &Hub, source: &Source, spec: &DatasetSpec) -> Result<Self> {
        let mut files = Vec::new();
        for (index, split) in spec.splits.iter().enumerate() {
            match hub.parquet_files(source, spec.configuration, split) {
                Ok(of_split) => files.extend(of_split),
                Err(Error::MissingSplit { .. }) if index > 0 => {}
                Err(error) => return Err(error),
            }
        }
        Self::from_files(&files, spec)
    }

    /// Reads examples from Parquet files.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn from_files(files: &[PathBuf], spec: &DatasetSpec) -> Result<Self> {
        let mut examples = Vec::new();
        for path in files {
            read_rows(path, &[spec.text_column, spec.label_column], |row, fields| {
                let bad = |column: &str, reason: String| Error::BadValue {
                    path: path.clone(),
                    row,
                    column: column.to_string(),
                    reason,
                };
                let mut fields = fields.into_iter();
                let (Some(first), Some(second)) = (fields.next(), fields.next()) else {
                    return Err(bad(spec.text_column, "the row is incomplete".to_string()));
                };
                let text = text(first).map_err(|reason| bad(spec.text_column, reason))?;
                let label = integer(&second).map_err(|reason| bad(spec.label_column, reason))?;
                let classes = match spec.classes.len() {
                    0 => MAX_UNKNOWN_CLASSES,
                    known => known,
                };
                let label = usize::try_from(label).ok().filter(|&label| label < classes);
                let label = label.ok_or_else(|| {
                    let reason = format!("the label is {second}, but must be below {classes}");
                    bad(spec.label_column, reason)
                })?;
                examples.push(TextExample { text, label });
                Ok(())
            })?;
        }
        if examples.is_empty() {
            let first = files.first().map(|path| path.display().to_string());
            return Err(Error::Empty { name: first.unwrap_or_else(|| spec.name.to_string()) });
        }
        let classes = match spec.classes {
            [] => {
                let largest = examples.iter().map(|example| example.label).max().unwrap_or(0);
                (0..=largest).map(|class| class.to_string()).collect()
            }
            known => known.iter().map(|class| class.to_string()).collect(),
        };
        Ok(Self { name: spec.name.to_string(), classes, examples })
    }

    /// Keeps a random sample of at most `count` examples, in file order.
    pub fn sample(&mut self, count: usize, seed: &Seed) {
        if count < self.examples.len() {
            let kept = seed.child("examples", 0).sample(self.examples.len(), count);
            self.examples = kept.into_iter().map(|index| self.examples[index].clone()).collect();
        }
    }

    /// Class numbers of all examples.
    pub fn labels(&self) -> Vec<usize> {
        self.examples.iter().map(|example| example.label).collect()
    }
}
