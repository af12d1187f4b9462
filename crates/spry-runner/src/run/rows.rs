//! Rows on disk, in files that only grow.
//!
//! A file begins with eight bytes that say what it is. Each entry after them is the length of its
//! body in four bytes (little-endian), the body in postcard's format, and a BLAKE3 hash of the hash
//! before it, the length and the body. A [`Position`] is a number of bytes with the hash there, so
//! it stands for everything before it: whoever has a position notices any change of the rows up to
//! it, and does not see what was appended later.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use blake3::{Hash, Hasher};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use spry_data::guard;

use super::folder::is_same;
use crate::{Error, Result};

/// What the file is, with the version of its format.
const MAGIC: &[u8; 8] = b"SPRYRW01";

/// How far a file of rows is meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Number of bytes from the beginning.
    pub bytes: u64,
    /// The last hash before there.
    #[serde(with = "hex")]
    pub hash: Hash,
}

impl Default for Position {
    /// Before the first entry, where there may be no file yet.
    fn default() -> Self {
        Self { bytes: 0, hash: blake3::hash(MAGIC) }
    }
}

/// Hashes in hexadecimal digits, which JSON can show.
mod hex {
    use blake3::Hash;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(hash: &Hash, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(hash)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Hash, D::Error> {
        Hash::from_hex(String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// The hash after an entry.
fn next_hash(before: &Hash, length: [u8; 4], body: &[u8]) -> Hash {
    Hasher::new().update(before.as_bytes()).update(&length).update(body).finalize()
}

/// A file of rows that is being written. The file is made, or cut off at its position, when the
/// first entry is appended.
#[derive(Debug)]
pub struct RowFile {
    path: PathBuf,
    end: Position,
    file: Option<File>,
    /// Whether the last write was not whole.
    is_torn: bool,
}

impl RowFile {
    /// A file that is meant up to a position; nothing is read or written yet.
    pub fn at(path: PathBuf, end: Position) -> Self {
        Self { path, end, file: None, is_torn: false }
    }

    /// The position after the last entry.
    pub fn end(&self) -> &Position {
        &self.end
    }

    /// Appends an entry.
    ///
    /// # Errors
    ///
    /// If it cannot be written; the file is then meant up to where it was before.
    pub fn append(&mut self, entry: &impl Serialize) -> Result<()> {
        let body = postcard::to_allocvec(entry).map_err(spry_core::Error::from)?;
        let Ok(length) = u32::try_from(body.len()) else {
            return Err(Error::Failed(format!(
                "{}: the rows of one round have {} bytes; at most 4 GiB can be written",
                self.path.display(),
                body.len()
            )));
        };
        let length = length.to_le_bytes();
        let hash = next_hash(&self.end.hash, length, &body);
        let mut bytes = if self.end.bytes == 0 { MAGIC.to_vec() } else { Vec::new() };
        bytes.extend_from_slice(&length);
        bytes.extend_from_slice(&body);
        bytes.extend_from_slice(hash.as_bytes());
        self.write(&bytes).map_err(Error::io(&self.path))?;
        self.end = Position { bytes: self.end.bytes + bytes.len() as u64, hash };
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let end = self.end.bytes;
        let is_new = self.file.is_none();
        let mut file = match self.file.take() {
            Some(file) => file,
            None => {
                if let Some(folder) = self.path.parent() {
                    std::fs::create_dir_all(folder)?;
                }
                OpenOptions::new().create(true).write(true).truncate(false).open(&self.path)?
            }
        };
        if is_new || self.is_torn {
            if file.metadata()?.len() < end {
                let reason = "rows that were written before are not there any more";
                return Err(std::io::Error::new(ErrorKind::UnexpectedEof, reason));
            }
            file.set_len(end)?;
            file.seek(SeekFrom::Start(end))?;
        }
        self.is_torn = true;
        let written = file.write_all(bytes);
        self.file = Some(file);
        written?;
        self.is_torn = false;
        Ok(())
    }

    /// Waits until the system has all entries on its disk.
    ///
    /// # Errors
    ///
    /// If it reports that it cannot, or the file is not at its path any more.
    pub fn sync(&self) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        // A file that was removed takes rows without a word, and a checkpoint would name them.
        let own = file.metadata().map_err(Error::io(&self.path))?;
        if !std::fs::metadata(&self.path).is_ok_and(|at_path| is_same(&at_path, &own)) {
            return Err(Error::Failed(format!(
                "{} was removed or replaced while the run went on",
                self.path.display()
            )));
        }
        let sync = || -> std::io::Result<()> {
            file.sync_all()?;
            // The name of a new file, too.
            #[cfg(unix)]
            if let Some(folder) = self.path.parent() {
                File::open(folder)?.sync_all()?;
            }
            Ok(())
        };
        sync().map_err(Error::io(&self.path))
    }
}

/// Gives each entry of a file up to a position to `each`, in order. One entry at a time is in
/// memory.
///
/// # Errors
///
/// [`Error::Damaged`] if the file is not, up to the position, what was written; whatever `each`
/// returns.
pub fn read<T: DeserializeOwned>(
    path: &Path,
    end: &Position,
    mut each: impl FnMut(T) -> Result<()>,
) -> Result<()> {
    read_bodies(path, end, |at, body| {
        let entry = guard::catch_panics(|| postcard::from_bytes(body));
        let entry = entry.and_then(|entry| entry.map_err(|error| error.to_string()));
        each(entry.map_err(|reason| damaged(path, format!("the entry at byte {at}: {reason}")))?)
    })
}

/// Fails unless a file is, up to a position, what was written.
///
/// # Errors
///
/// [`Error::Damaged`], or what the system reports.
pub fn verify(path: &Path, end: &Position) -> Result<()> {
    read_bodies(path, end, |_, _| Ok(()))
}

fn read_bodies(
    path: &Path,
    end: &Position,
    mut each: impl FnMut(u64, &[u8]) -> Result<()>,
) -> Result<()> {
    let mut here = Position::default();
    if *end == here {
        return Ok(());
    }
    let file = match guard::open(path) {
        Err(spry_data::Error::Io { reason, .. }) if reason.kind() == ErrorKind::NotFound => {
            return Err(damaged(path, "it is missing"));
        }
        file => file?,
    };
    let length = file.metadata().map_err(Error::io(path))?.len();
    if length < end.bytes {
        return Err(damaged(path, format!("it has {length} bytes of {}", end.bytes)));
    }
    let mut file = BufReader::new(file);
    let mut take = |buffer: &mut [u8]| file.read_exact(buffer).map_err(Error::io(path));
    let mut magic = [0; MAGIC.len()];
    take(&mut magic)?;
    if &magic != MAGIC {
        return Err(damaged(path, "it has no rows of this version of spry"));
    }
    here.bytes = MAGIC.len() as u64;
    let mut body = Vec::new();
    while here.bytes < end.bytes {
        let not_so =
            || damaged(path, format!("the checksum at byte {} does not match", here.bytes));
        let (mut size, mut hash) = ([0; 4], [0; 32]);
        take(&mut size)?;
        // Both are within the file, so a wrong length cannot ask for more memory than it has bytes.
        let whole = 4 + u64::from(u32::from_le_bytes(size)) + 32;
        if whole > end.bytes - here.bytes {
            return Err(not_so());
        }
        body.resize(u32::from_le_bytes(size) as usize, 0);
        take(&mut body)?;
        take(&mut hash)?;
        let next = next_hash(&here.hash, size, &body);
        if next != Hash::from_bytes(hash) {
            return Err(not_so());
        }
        each(here.bytes, &body)?;
        here = Position { bytes: here.bytes + whole, hash: next };
    }
    // Whole entries, but those of another run, or of the same one at another time.
    if here == *end { Ok(()) } else { Err(damaged(path, "it does not belong to this run")) }
}

fn damaged(path: &Path, reason: impl Into<String>) -> Error {
    Error::Damaged { path: path.to_path_buf(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(path: &Path, end: &Position) -> Result<Vec<(u64, String)>> {
        let mut entries = Vec::new();
        read(path, end, |entry| {
            entries.push(entry);
            Ok(())
        })?;
        Ok(entries)
    }

    fn entry(number: u64) -> (u64, String) {
        (number, format!("row {number}"))
    }

    #[test]
    fn what_comes_after_a_position_is_not_seen_and_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows/a.rows");
        let mut file = RowFile::at(path.clone(), Position::default());
        assert!(entries(&path, file.end()).unwrap().is_empty());
        file.append(&entry(1)).unwrap();
        file.append(&entry(2)).unwrap();
        file.sync().unwrap();
        let middle = file.end().clone();
        file.append(&entry(3)).unwrap();
        assert_eq!(entries(&path, &middle).unwrap(), [entry(1), entry(2)]);
        assert_eq!(entries(&path, file.end()).unwrap(), [entry(1), entry(2), entry(3)]);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), file.end().bytes);

        // As after a kill in the middle of a write.
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.truncate(middle.bytes as usize + 7);
        std::fs::write(&path, bytes).unwrap();
        let mut file = RowFile::at(path.clone(), middle.clone());
        file.append(&entry(4)).unwrap();
        assert_eq!(entries(&path, file.end()).unwrap(), [entry(1), entry(2), entry(4)]);
        // Another history of the same length is noticed.
        let mut other = RowFile::at(folder.path().join("b"), Position::default());
        other.append(&entry(1)).unwrap();
        other.append(&entry(5)).unwrap();
        assert_eq!(other.end().bytes, middle.bytes);
        let error = entries(&path, other.end()).unwrap_err().to_string();
        assert!(error.contains("does not belong to this run"), "{error}");
    }

    #[test]
    fn every_flipped_bit_and_every_missing_byte_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.rows");
        let mut file = RowFile::at(path.clone(), Position::default());
        (0..3).for_each(|number| file.append(&entry(number)).unwrap());
        let intact = std::fs::read(&path).unwrap();
        for bit in 0..8 * intact.len() {
            let mut bytes = intact.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, bytes).unwrap();
            let result = entries(&path, file.end());
            assert!(matches!(result, Err(Error::Damaged { .. })), "bit {bit}: {result:?}");
        }
        for length in 0..intact.len() {
            std::fs::write(&path, &intact[..length]).unwrap();
            assert!(verify(&path, file.end()).is_err(), "{length} bytes");
            // Nor is it appended to.
            let mut cut = RowFile::at(path.clone(), file.end().clone());
            assert!(cut.append(&entry(9)).is_err(), "{length} bytes");
        }
        std::fs::remove_file(&path).unwrap();
        let error = verify(&path, file.end()).unwrap_err().to_string();
        assert!(error.ends_with("it is missing"), "{error}");
    }
}
