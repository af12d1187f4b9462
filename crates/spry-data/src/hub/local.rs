//! Files of a local directory.

use std::path::{Path, PathBuf};

use crate::splits::{SplitProblem, of_split};
use crate::{Error, Result};

/// Paths of the Parquet files of a split in a local directory, in order.
pub(super) fn parquet_files(
    folder: &Path,
    configuration: Option<&str>,
    split: &str,
) -> Result<Vec<PathBuf>> {
    let location = folder.display().to_string();
    let mut names = Vec::new();
    list_files(folder, String::new(), 2, &mut names)?;
    let names = of_split(&names, configuration, split);
    let names = names.map_err(|problem| unusable(split, &location, &problem))?;
    if names.is_empty() {
        return Err(missing(split, location, configuration));
    }
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

/// The error for a split that has files, but not one complete set.
pub(super) fn unusable(split: &str, location: &str, problem: &SplitProblem) -> Error {
    Error::SplitFiles {
        split: split.to_string(),
        location: location.to_string(),
        reason: problem.to_string(),
    }
}

/// The error for a split that has no files.
pub(super) fn missing(split: &str, location: String, configuration: Option<&str>) -> Error {
    let folder = configuration.unwrap_or("data").to_string();
    Error::MissingSplit { split: split.to_string(), location, folder }
}

/// Names of the files below a folder, relative to it, with `/` between folders.
pub(super) fn list_files(
    folder: &Path,
    prefix: String,
    depth: usize,
    names: &mut Vec<String>,
) -> Result<()> {
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let name = format!("{prefix}{name}");
        if path.is_dir() {
            if depth > 0 {
                list_files(&path, format!("{name}/"), depth - 1, names)?;
            }
        } else {
            names.push(name);
        }
    }
    Ok(())
}
