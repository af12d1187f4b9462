//! What `summary.json` belongs to: whoever reads a run's [`Summary`] back finds here whether it is
//! as it was written, of which configuration it is the outcome, and which rows are its.
//!
//! These depend on times and on the machine, as rows of resources do, so they are in a file of
//! their own, `rows/index.json`. It is written before the summary, and has what belongs to the new
//! summary and to the one that is still there, each by the BLAKE3 hash of that file: a process may
//! be killed at any moment, and the summary is found. Its last key is a checksum of all text before
//! it.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use spry_data::{files, guard};

use super::checkpoint::Positions;
use super::records::Records;
use super::{RunFolder, Summary, rows};
use crate::{Error, Result, RunConfig};

/// Longest files that are read, in bytes.
const LIMIT: u64 = 64 << 20;

/// What comes before the checksum's digits, and after them.
const BEFORE: &str = ",\n  \"checksum\": \"";
const AFTER: &str = "\"\n}\n";

/// A run's summary with what it belongs to.
#[derive(Clone, Debug)]
pub struct SavedSummary {
    /// The outcome.
    pub summary: Summary,
    entry: Entry,
}

/// What a summary belongs to.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    /// The hash of the summary's file.
    summary: String,
    /// The configuration that it is the outcome of.
    config: Value,
    /// The rows that it is the outcome of.
    rows: Positions,
}

#[derive(Default, Serialize, Deserialize)]
struct Index {
    summaries: Vec<Entry>,
}

impl SavedSummary {
    /// Writes `summary.json` into a run's folder, with the configuration and the rows that it is
    /// the outcome of. Each file appears whole or not at all.
    ///
    /// # Errors
    ///
    /// If one cannot be written.
    pub fn write(
        folder: &RunFolder,
        summary: &Summary,
        config: &RunConfig,
        rows: Positions,
    ) -> Result<()> {
        let text = summary.to_json()?;
        let config = serde_json::to_value(config).map_err(spry_core::Error::objective)?;
        let mut summaries = vec![Entry { summary: hash(text.as_bytes()), config, rows }];
        if let Ok(there) = guard::read(&folder.summary(), LIMIT) {
            let there = hash(&there);
            // Damage to what is replaced does not matter any more.
            let known = read_index(&folder.row_index()).unwrap_or_default().summaries;
            let is_other = there != summaries[0].summary;
            summaries.extend(known.into_iter().filter(|e| is_other && e.summary == there).take(1));
        }
        write_index(&folder.row_index(), &Index { summaries })?;
        Ok(files::write_atomically(&folder.summary(), text.as_bytes())?)
    }

    /// Reads the summary of a run.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] if it, or what it belongs to, is not what was written; what the system
    /// reports if there is none.
    pub fn read(folder: &RunFolder) -> Result<Self> {
        folder.look_again(|| Self::look(folder))
    }

    fn look(folder: &RunFolder) -> Result<Self> {
        let path = folder.summary();
        let text = guard::read(&path, LIMIT)?;
        let index = read_index(&folder.row_index())?;
        let damaged = |reason: &str| Error::Damaged { path: path.clone(), reason: reason.into() };
        let checksum = hash(&text);
        let entry = index.summaries.into_iter().find(|entry| entry.summary == checksum);
        let entry = entry.ok_or_else(|| {
            damaged("its checksum does not match; `spry resume` with the run writes it anew")
        })?;
        let summary = serde_json::from_slice(&text).map_err(|error| damaged(&error.to_string()))?;
        Ok(Self { summary, entry })
    }

    /// The configuration that it is the outcome of.
    ///
    /// # Errors
    ///
    /// If it has options that this version does not know.
    pub fn config(&self) -> Result<RunConfig> {
        RunConfig::default().with_options(self.entry.config.clone())
    }

    /// The rounds that it is the outcome of, from the run's folder.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] if they are not what was written.
    pub fn records(&self, folder: &RunFolder) -> Result<Records> {
        read_records(folder, &self.entry.rows)
    }
}

fn write_index(path: &Path, index: &Index) -> Result<()> {
    let json = serde_json::to_string_pretty(index).map_err(spry_core::Error::objective)?;
    let text = json.strip_suffix("\n}").unwrap_or(&json);
    let text = format!("{text}{BEFORE}{}{AFTER}", hash(text.as_bytes()));
    Ok(files::write_atomically(path, text.as_bytes())?)
}

fn read_index(path: &Path) -> Result<Index> {
    let damaged =
        |reason: &str| Error::Damaged { path: path.to_path_buf(), reason: reason.to_string() };
    if !path.exists() {
        return Err(damaged("it is missing; `spry resume` with the run writes it anew"));
    }
    let text = guard::read(path, LIMIT)?;
    let text = String::from_utf8(text).map_err(|_| damaged("it is not text"))?;
    let parts = text.strip_suffix(AFTER).and_then(|text| text.rsplit_once(BEFORE));
    let (text, checksum) = parts.ok_or_else(|| damaged("it does not end with its checksum"))?;
    if hash(text.as_bytes()) != checksum {
        return Err(damaged("its checksum does not match"));
    }
    serde_json::from_str(&format!("{text}\n}}")).map_err(|error| damaged(&error.to_string()))
}

fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// What is known of the rounds up to a position.
pub(super) fn read_records(folder: &RunFolder, rows: &Positions) -> Result<Records> {
    let mut records = Records::default();
    rows::read(&folder.round_rows(), &rows.rounds, |entry| {
        records.add(entry);
        Ok(())
    })?;
    Ok(records)
}
