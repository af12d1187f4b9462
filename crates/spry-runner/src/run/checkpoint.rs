//! Checkpoints: everything that `resume` needs, in files that are whole or not there.
//!
//! A checkpoint is the state of the simulation and a position in the files of rows: its size does
//! not depend on how many rounds there were. A file has eight bytes that say what it is, a BLAKE3
//! checksum, and the [`Checkpoint`] in postcard's format. It is written beside its place, synced
//! and renamed. The newest two are kept: should the newest one turn out to be damaged, the one
//! before it serves.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use spry_core::ParamSet;
use spry_core::simulation::Snapshot;
use spry_data::{files, guard};
use tracing::warn;

use super::rows::Position;
use crate::{Error, Result};

/// What the file is, with the version of its format.
const MAGIC: &[u8; 8] = b"SPRYCK03";

/// Number of checkpoints that are kept.
const KEPT: usize = 2;

/// Longest file that is read, in bytes.
const LIMIT: u64 = 64 << 30;

/// A run between two rounds.
#[derive(Serialize, Deserialize)]
pub struct Checkpoint {
    /// The run's configuration, as TOML.
    pub config: String,
    /// Hash of model, data and partition; see [`Inputs::fingerprint`](crate::Inputs::fingerprint).
    pub fingerprint: [u8; 32],
    /// The rows up to here.
    pub rows: Positions,
    /// The simulation.
    pub snapshot: Snapshot,
    /// The best parameters so far, if any were evaluated.
    pub best: Option<Best>,
}

/// How far the files of rows are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Positions {
    /// The file of rounds.
    pub rounds: Position,
    /// The file of clients.
    pub clients: Position,
}

/// The parameters after the best round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Best {
    /// Number of rounds that had ended.
    pub server_round: u64,
    /// What they were ranked by; see [`best_round`](super::evaluation::best_round).
    pub score: f64,
    /// The parameters.
    pub params: ParamSet,
}

impl Checkpoint {
    /// Writes the checkpoint into a folder, and removes all but the newest two.
    ///
    /// # Errors
    ///
    /// If it cannot be written; the ones before it are then still there.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let body = postcard::to_allocvec(self).map_err(spry_core::Error::from)?;
        let checksum = blake3::hash(&body);
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(checksum.as_bytes());
        bytes.extend_from_slice(&body);
        // One copy of the parameters less while the file is written.
        drop(body);
        let round = self.snapshot.state.server_round;
        files::write_atomically(&folder.join(format!("round-{round:08}.ckpt")), &bytes)?;
        for old in paths(folder)?.iter().rev().skip(KEPT) {
            // One that stays is in nobody's way.
            let _ = std::fs::remove_file(old);
        }
        Ok(())
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] if it is torn or corrupted.
    pub fn read(path: &Path) -> Result<Self> {
        let damaged =
            |reason: &str| Error::Damaged { path: path.to_path_buf(), reason: reason.to_string() };
        let bytes = guard::read(path, LIMIT)?;
        let Some(rest) = bytes.strip_prefix(MAGIC) else {
            return Err(damaged("it is no checkpoint of this version of spry"));
        };
        let Some((checksum, body)) = rest.split_at_checked(32) else {
            return Err(damaged("it is cut short"));
        };
        if blake3::hash(body).as_bytes() != checksum {
            return Err(damaged("its checksum does not match"));
        }
        let checkpoint = guard::catch_panics(|| postcard::from_bytes(body));
        let checkpoint = checkpoint.map_err(|panic| damaged(&panic))?;
        checkpoint.map_err(|error| damaged(&error.to_string()))
    }

    /// The newest checkpoint of a folder that can be used, with what `complete` makes of it, such
    /// as its rows. Those before it that cannot are named in a warning and renamed, so that they do
    /// not pass for checkpoints any more. `None` if there is none at all.
    ///
    /// # Errors
    ///
    /// What is wrong with the newest one, if none can be used.
    pub fn newest<T>(
        folder: &Path,
        complete: impl Fn(&Self) -> Result<T>,
    ) -> Result<Option<(Self, T)>> {
        let (mut first_error, mut damaged) = (None, Vec::<PathBuf>::new());
        for path in paths(folder)?.into_iter().rev() {
            let read = Self::read(&path).and_then(|checkpoint| {
                let rest = complete(&checkpoint)?;
                Ok((checkpoint, rest))
            });
            match read {
                Ok(checkpoint) => {
                    for path in damaged {
                        // One that keeps its name is found damaged again, no more.
                        let _ = std::fs::rename(&path, path.with_extension("damaged"));
                    }
                    return Ok(Some(checkpoint));
                }
                // One that cannot be read now may be fine.
                Err(error @ (Error::Io { .. } | Error::Data(spry_data::Error::Io { .. }))) => {
                    return Err(error);
                }
                Err(error) => {
                    warn!("{error}; trying the checkpoint before it");
                    first_error.get_or_insert(error);
                    damaged.push(path);
                }
            }
        }
        first_error.map_or(Ok(None), Err)
    }
}

/// The checkpoints of a folder, oldest first.
fn paths(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let entries = std::fs::read_dir(folder).map_err(Error::io(folder))?;
    let paths = entries.map(|entry| Ok(entry.map_err(Error::io(folder))?.path()));
    let mut paths = paths.collect::<Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "ckpt"));
    paths.sort();
    Ok(paths)
}
