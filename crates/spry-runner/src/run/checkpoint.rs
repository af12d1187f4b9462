//! Checkpoints: everything that `resume` needs, in files that are whole or not there.
//!
//! A file has eight bytes that say what it is, a BLAKE3 checksum, and the [`Checkpoint`] in
//! postcard's format. It is written beside its place, synced and renamed. The newest two are kept: should the
//! newest one turn out to be damaged, the one before it serves.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use spry_core::simulation::Snapshot;
use spry_data::files::write_atomically;
use tracing::warn;

use super::records::Records;
use crate::{Error, Result};

/// What the file is, with the version of its format.
const MAGIC: &[u8; 8] = b"SPRYCK02";

/// Number of checkpoints that are kept.
const KEPT: usize = 2;

/// A run between two rounds.
#[derive(Serialize, Deserialize)]
pub struct Checkpoint {
    /// The run's configuration, as TOML.
    pub config: String,
    /// Hash of model, data and partition; see [`Inputs::fingerprint`](crate::Inputs::fingerprint).
    pub fingerprint: [u8; 32],
    /// The simulation.
    pub snapshot: Snapshot,
    /// Everything that was measured.
    pub records: Records,
}

impl Checkpoint {
    /// Writes the checkpoint into a folder, and removes all but the newest two.
    ///
    /// # Errors
    ///
    /// If it cannot be written; the ones before it are then still there.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let body = postcard::to_allocvec(self).map_err(spry_core::Error::from)?;
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(blake3::hash(&body).as_bytes());
        bytes.extend_from_slice(&body);
        let round = self.snapshot.state.server_round;
        write_atomically(&folder.join(format!("round-{round:08}.ckpt")), &bytes)?;
        let files = files(folder)?;
        for old in files.iter().rev().skip(KEPT) {
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
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        let Some(rest) = bytes.strip_prefix(MAGIC) else {
            return Err(damaged("it is no checkpoint of this version of spry"));
        };
        let Some((checksum, body)) = rest.split_at_checked(32) else {
            return Err(damaged("it is cut short"));
        };
        if blake3::hash(body).as_bytes() != checksum {
            return Err(damaged("its checksum does not match"));
        }
        postcard::from_bytes(body).map_err(|error| damaged(&error.to_string()))
    }

    /// The newest checkpoint of a folder that can be read. Damaged ones before it are named in a
    /// warning and renamed, so that they do not pass for checkpoints any more. `None` if there is
    /// none at all.
    ///
    /// # Errors
    ///
    /// What is wrong with the newest one, if none can be read.
    pub fn newest(folder: &Path) -> Result<Option<Self>> {
        let (mut first_error, mut damaged) = (None, Vec::<PathBuf>::new());
        for path in files(folder)?.into_iter().rev() {
            match Self::read(&path) {
                Ok(checkpoint) => {
                    for path in damaged {
                        // One that keeps its name is found damaged again, no more.
                        let _ = std::fs::rename(&path, path.with_extension("damaged"));
                    }
                    return Ok(Some(checkpoint));
                }
                // One that cannot be read now may be fine.
                Err(error @ Error::Io { .. }) => return Err(error),
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
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
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
