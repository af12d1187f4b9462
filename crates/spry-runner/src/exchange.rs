//! Adapters to and from Python: export of what a run trained, and runs that start from an adapter.

use std::path::{Path, PathBuf};

use spry_data::Hub;
use spry_data::files::write_atomically;
use spry_models::peft::adapter;

use crate::run::{RunFolder, Summary, copy_model_files};
use crate::{Error, Result, RunConfig};

/// Files of the run's `adapter` folder.
const FILES: [&str; 3] = ["adapter_config.json", "adapter_model.safetensors", "model.safetensors"];

/// Copies what a run has trained, as of its newest checkpoint, into a folder that must be empty or
/// not there: an adapter in peft's format, or for methods that train the model's own weights a
/// whole Hugging Face model. With `with_base_model` also the model that the adapter belongs to, in
/// `base/`. Returns the files' paths.
///
/// # Errors
///
/// If the run has no checkpoint yet, or a file cannot be read or written.
pub fn export(run: &Path, to: &Path, with_base_model: bool, hub: &Hub) -> Result<Vec<PathBuf>> {
    let folder = RunFolder::look(run)?;
    let mut entries = match std::fs::read_dir(to) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(Error::io(to)(error)),
        Ok(entries) => Some(entries),
    };
    if entries.as_mut().is_some_and(|entries| entries.next().is_some()) {
        return Err(Error::Input(format!(
            "{} is not empty; choose a new folder to export to",
            to.display()
        )));
    }
    let mut written = Vec::new();
    for name in FILES {
        let from = folder.adapter().join(name);
        if from.is_file() {
            let contents = std::fs::read(&from).map_err(Error::io(&from))?;
            let path = to.join(name);
            write_atomically(&path, &contents)?;
            written.push(path);
        }
    }
    if written.is_empty() {
        return Err(Error::Input(format!(
            "{} has nothing to export yet; it comes with the first checkpoint",
            run.display()
        )));
    }
    let config = folder.read_config()?;
    let classes = Summary::read(&folder.summary())?.classes;
    let is_whole_model = written.iter().any(|path| path.ends_with("model.safetensors"));
    if is_whole_model {
        copy_model_files(&config, &classes, hub, to, false)?;
    } else if with_base_model {
        let base = to.join("base");
        copy_model_files(&config, &classes, hub, &base, true)?;
        written.push(base);
    }
    Ok(written)
}

/// The configuration of a run that starts from an adapter: its method, rank, scale and targets, and
/// its weights.
///
/// # Errors
///
/// If there is no adapter of a supported method in the folder.
pub fn with_adapter(config: RunConfig, folder: &Path) -> Result<RunConfig> {
    let mut config = config;
    config.peft = adapter::read_config(folder)?;
    config.model.adapter = Some(folder.to_path_buf());
    Ok(config)
}
