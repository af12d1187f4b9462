//! Inputs that are kept: `corpus/NAME/`, a folder for each target.
//!
//! A file whose name begins with `valid-` must be accepted: otherwise a parser's format has changed,
//! and its target would see nothing but refusals. `cargo xtask fuzz --write-corpus` writes those of
//! a target's own [seeds](crate::Target::seeds) anew. Whatever once made a parser fail stays, under
//! a name that says what it did.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::Target;

/// What the name of an input begins with that must be accepted.
pub const VALID: &str = "valid-";

/// An input.
#[derive(Clone, Debug)]
pub struct Input {
    /// Its file's name.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Input {
    /// Whether it must be accepted.
    pub fn is_valid(&self) -> bool {
        self.name.starts_with(VALID)
    }
}

/// The folder of all corpora.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// A target's inputs, in the order of their names.
///
/// # Errors
///
/// If there are none, or one cannot be read.
pub fn read(target: &Target) -> Result<Vec<Input>> {
    let folder = folder().join(target.name);
    let entries = std::fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let mut inputs = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
        inputs.push(Input { name, bytes });
    }
    inputs.sort_by(|a, b| a.name.cmp(&b.name));
    if !inputs.iter().any(Input::is_valid) {
        bail!("{} has no input that must be accepted", folder.display());
    }
    Ok(inputs)
}

/// Writes a target's own seeds into its folder; returns how many.
///
/// # Errors
///
/// If they cannot be made or written.
pub fn write(target: &Target) -> Result<usize> {
    let folder = folder().join(target.name);
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let seeds = (target.seeds)().with_context(|| format!("the seeds of {}", target.name))?;
    for (name, bytes) in &seeds {
        let path = folder.join(name);
        std::fs::write(&path, bytes).with_context(|| path.display().to_string())?;
    }
    Ok(seeds.len())
}
