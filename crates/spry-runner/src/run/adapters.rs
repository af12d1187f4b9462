//! Trained parameters in formats that Python loads, with checksums of the files.
//!
//! A folder has an adapter's or a model's files, and `checksums.json` with the BLAKE3 hashes of each
//! of them. New files are made beside the folder and then renamed into it. Before the first one is,
//! the checksums of the new files are added to those of the old ones, and after the last one the old
//! ones are dropped: a process may be killed at any moment, and every file has its checksum.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use spry_core::ParamSet;
use spry_data::{files, guard};
use spry_models::Peft;
use spry_models::peft::adapter;

use super::folder::TEMPORARY;
use crate::{Error, Inputs, Result, RunConfig};

/// The file with the checksums.
const CHECKSUMS: &str = "checksums.json";

/// Longest file of checksums that is read, in bytes.
const LIMIT: u64 = 1 << 16;

/// Hashes that a file may have, by its name.
type Checksums = BTreeMap<String, Vec<String>>;

/// Writes trained parameters: an adapter, or for methods that train the model's own weights the
/// whole model.
///
/// # Errors
///
/// If something cannot be written.
pub(super) fn write(
    folder: &Path,
    config: &RunConfig,
    inputs: &Inputs,
    params: &ParamSet,
) -> Result<()> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let made = folder.with_file_name(format!("{TEMPORARY}-{name}"));
    remove(&made)?;
    let model = inputs.model.model();
    match &config.peft {
        peft @ (Peft::Lora(_) | Peft::Ia3(_)) => {
            adapter::write(&made, peft, model, params, &config.model.name_or_path)?;
        }
        Peft::BitFit | Peft::Head | Peft::Full => model.save(&made, params)?,
    }
    replace(&made, folder)?;
    remove(&made)
}

/// Removes a folder, if it is there.
fn remove(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(folder)(error)),
        _ => Ok(()),
    }
}

/// Moves the files of a folder into another one, whose files of the same names they replace.
fn replace(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).map_err(Error::io(to))?;
    let mut new = Checksums::new();
    for entry in std::fs::read_dir(from).map_err(Error::io(from))? {
        let path = entry.map_err(Error::io(from))?.path();
        let sync = File::open(&path).and_then(|file| file.sync_all());
        sync.map_err(Error::io(&path))?;
        new.insert(name_of(&path), vec![hash(&path)?]);
    }
    let mut both = new.clone();
    // Damage to what is replaced does not matter any more.
    for (name, mut hashes) in read(to).unwrap_or_default() {
        let Some(all) = both.get_mut(&name) else { continue };
        if hashes.len() > 1 {
            // A process was killed here; the file is one of both.
            let now = hash(&to.join(&name)).ok();
            hashes.retain(|hash| Some(hash) == now.as_ref());
        }
        all.extend(hashes);
    }
    write_checksums(to, &both)?;
    for name in new.keys() {
        let path = to.join(name);
        std::fs::rename(from.join(name), &path).map_err(Error::io(&path))?;
    }
    // The new names must survive a loss of power, too.
    #[cfg(unix)]
    File::open(to).and_then(|folder| folder.sync_all()).map_err(Error::io(to))?;
    write_checksums(to, &new)
}

fn write_checksums(folder: &Path, checksums: &Checksums) -> Result<()> {
    let json = serde_json::to_string_pretty(checksums).map_err(spry_core::Error::objective)?;
    Ok(files::write_atomically(&folder.join(CHECKSUMS), (json + "\n").as_bytes())?)
}

fn read(folder: &Path) -> Result<Checksums> {
    let path = folder.join(CHECKSUMS);
    let text = guard::read_text(&path, LIMIT)?;
    serde_json::from_str(&text).map_err(|error| Error::Damaged { path, reason: error.to_string() })
}

/// The files of a folder that this program wrote trained parameters to, each of them as it was
/// written. None if there is no such folder.
///
/// # Errors
///
/// [`Error::Damaged`] if a file is not as it was written.
pub(crate) fn find(folder: &Path) -> Result<Vec<PathBuf>> {
    // A process may be killed between making the folder and the first file.
    let is_empty = || std::fs::read_dir(folder).is_ok_and(|mut files| files.next().is_none());
    if !folder.is_dir() || is_empty() {
        return Ok(Vec::new());
    }
    let mut paths = Vec::new();
    for (name, hashes) in read(folder)? {
        let path = folder.join(&name);
        let is_plain = Path::new(&name).components().count() == 1 && name_of(&path) == name;
        if !is_plain {
            let (path, reason) = (folder.join(CHECKSUMS), format!("`{name}` is no file's name"));
            return Err(Error::Damaged { path, reason });
        }
        if !hashes.contains(&hash(&path)?) {
            let reason = "its checksum does not match; `spry resume` with the run writes it anew";
            return Err(Error::Damaged { path, reason: reason.to_string() });
        }
        paths.push(path);
    }
    Ok(paths)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The hash of a file of any length.
fn hash(path: &Path) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    let mut file = guard::open(path)?;
    std::io::copy(&mut file, &mut hasher).map_err(Error::io(path))?;
    Ok(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(root: &Path, texts: [&str; 2]) -> PathBuf {
        let folder = root.join("made");
        std::fs::create_dir_all(&folder).unwrap();
        for (name, text) in ["a.json", "b.bin"].iter().zip(texts) {
            std::fs::write(folder.join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn every_moment_of_a_replacement_has_its_checksums() {
        let root = tempfile::tempdir().unwrap();
        let to = root.path().join("adapter");
        assert_eq!(find(&to).unwrap(), Vec::<PathBuf>::new());
        replace(&made(root.path(), ["1", "one"]), &to).unwrap();
        let paths = [to.join("a.json"), to.join("b.bin")];
        assert_eq!(find(&to).unwrap(), paths);
        // A process that is killed after the checksums of the new files, and after one of them.
        let from = made(root.path(), ["2", "two"]);
        let old = read(&to).unwrap();
        let mut both = old.clone();
        for (name, hashes) in &mut both {
            hashes.push(hash(&from.join(name)).unwrap());
        }
        write_checksums(&to, &both).unwrap();
        assert_eq!(find(&to).unwrap(), paths);
        std::fs::rename(from.join("a.json"), &paths[0]).unwrap();
        assert_eq!(find(&to).unwrap(), paths);
        // The next one goes on from there, and has no hash left but its own.
        replace(&made(root.path(), ["3", "three"]), &to).unwrap();
        assert_eq!(find(&to).unwrap(), paths);
        assert!(read(&to).unwrap().values().all(|hashes| hashes.len() == 1));
        assert_eq!(std::fs::read_to_string(&paths[1]).unwrap(), "three");
    }

    #[test]
    fn a_file_that_was_changed_is_named() {
        let root = tempfile::tempdir().unwrap();
        let to = root.path().join("adapter");
        replace(&made(root.path(), ["1", "one"]), &to).unwrap();
        std::fs::write(to.join("b.bin"), "onf").unwrap();
        let message = find(&to).unwrap_err().to_string();
        assert!(message.contains("b.bin is damaged: its checksum"), "{message}");
        std::fs::write(to.join(CHECKSUMS), r#"{"../x": []}"#).unwrap();
        assert!(find(&to).unwrap_err().to_string().contains("`../x` is no file's name"));
    }
}
