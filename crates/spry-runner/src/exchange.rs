//! Adapters to and from Python: export of what a run trained, and runs that start from an adapter.

use std::path::{Path, PathBuf};

use spry_core::ParamSet;
use spry_data::files::{write_atomically, write_atomically_with};
use spry_data::{Hub, Source, Task, TextTokenizer, guard};
use spry_models::exported::ExportedConfig;
use spry_models::model::head_rows;
use spry_models::peft::adapter;
use spry_models::{LoadOptions, MAX_CONFIG_BYTES, Model, checkpoint};
use spry_strategies::options::shortened;

use crate::inputs::ModelFolder;
use crate::run::{RunFolder, SavedSummary, adapters};
use crate::{Error, Result, RunConfig, bundled};

/// Files of the run's `adapter` folder.
const FILES: [&str; 3] = ["adapter_config.json", "adapter_model.safetensors", checkpoint::MODEL];

/// What of a run is exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportOptions {
    /// The parameters after the best round, instead of those after the last one.
    pub best: bool,
    /// Also the model that the adapter belongs to, in `base/`.
    pub with_base_model: bool,
}

/// Copies what a run has trained, as of its newest checkpoint, into a folder that must be empty or
/// not there: an adapter in peft's format, or for methods that train the model's own weights a
/// whole Hugging Face model. Returns the files' paths.
///
/// # Errors
///
/// If the run has no checkpoint yet, a file of the run is damaged, or a file cannot be read or
/// written.
pub fn export(run: &Path, to: &Path, options: ExportOptions, hub: &Hub) -> Result<Vec<PathBuf>> {
    let with_base_model = options.with_base_model;
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
    // Everything is looked for before anything is written, so that a mistake leaves nothing behind.
    let mut files = Vec::new();
    let trained = if options.best { folder.best_adapter() } else { folder.adapter() };
    for from in folder.look_again(|| adapters::find(&trained))? {
        if let Some(name) = FILES.iter().find(|name| from.ends_with(name)) {
            files.push((to.join(name), Contents::Copy(from)));
        }
    }
    if !folder.summary().is_file() || (files.is_empty() && !options.best) {
        return Err(Error::Input(format!(
            "{} has nothing to export yet; it comes with the first checkpoint",
            run.display()
        )));
    }
    if files.is_empty() {
        return Err(Error::Input(format!(
            "{} has no best round: it was never evaluated on test data",
            run.display()
        )));
    }
    // The configuration that these files came from, whatever was changed in `config.toml` since.
    let saved = SavedSummary::read(&folder)?;
    let config = saved.config()?;
    // A bundled model's folder must be there until its files are copied.
    let (mut with_other_head, mut model_folder) = (None, None);
    let is_whole_model = files.iter().any(|(path, _)| path.ends_with(checkpoint::MODEL));
    if is_whole_model || with_base_model {
        let classes = saved.summary.classes;
        let base = if is_whole_model { to.to_path_buf() } else { to.join("base") };
        let has_own_head = !is_whole_model && config.model.fresh_head;
        let from = ModelFolder::find(&config.model, hub)?;
        let has_weights = !is_whole_model && !has_own_head;
        let of_model = model_files(&config, &classes, from.path(), has_weights)?;
        if has_own_head {
            // The checkpoint's head may be for other classes; Python would refuse to load it.
            let options = LoadOptions {
                task: config.dataset.layout.task,
                num_labels: Some(classes.len().max(1)),
                fresh_head: true,
                seed: config.seed,
                ..Default::default()
            };
            with_other_head = Some((base.clone(), Model::load(from.path(), &options)?));
        }
        files.extend(of_model.into_iter().map(|(name, contents)| (base.join(name), contents)));
        model_folder = Some(from);
    }
    for (path, contents) in &files {
        match contents {
            Contents::Text(text) => write_atomically(path, text.as_bytes())?,
            Contents::Copy(from) => {
                write_atomically_with(path, |temporary| std::fs::copy(from, temporary).map(drop))?
            }
        }
    }
    drop(model_folder);
    let mut paths: Vec<PathBuf> = files.into_iter().map(|(path, _)| path).collect();
    if let Some((base, model)) = with_other_head {
        model.save(&base, &ParamSet::new())?;
        paths.push(base.join(checkpoint::MODEL));
    }
    Ok(paths)
}

/// What goes into a file.
enum Contents {
    Text(String),
    /// The same as in another file, which may be too large to have in memory.
    Copy(PathBuf),
}

/// A model's configuration and tokenizer, and its weights if asked for, each with its name. The
/// configuration is that of a model with the head of the run's task and its classes.
fn model_files(
    config: &RunConfig,
    classes: &[String],
    from: &Path,
    with_weights: bool,
) -> Result<Vec<(String, Contents)>> {
    let path = from.join("config.json");
    let text = guard::read_text(&path, MAX_CONFIG_BYTES)?;
    let task = config.dataset.layout.task;
    let mut names = classes.to_vec();
    // Weights that are copied have the rows of their head as the checkpoint has them, and so has the
    // adapter that goes with them.
    if task == Task::SequenceClassification
        && with_weights
        && let Some(rows) = head_rows(from, classes)?
    {
        rows.iter().zip(classes).for_each(|(&row, class)| names[row].clone_from(class));
    }
    let exported = ExportedConfig {
        task,
        classes: Some(&names),
        pad_token_id: TextTokenizer::load(from, config.dataset.max_length)?.pad_id(),
        is_f32: !with_weights,
    };
    let text = exported.of(&text)?;
    let mut files = vec![("config.json".to_string(), Contents::Text(text))];
    let mut names = spry_data::tokenize::FILES.map(str::to_owned).to_vec();
    if with_weights {
        let index = from.join(checkpoint::MODEL_INDEX);
        names.push(checkpoint::MODEL.to_string());
        // Beside the whole file an index is passed over.
        if index.is_file() && !from.join(checkpoint::MODEL).is_file() {
            names.push(checkpoint::MODEL_INDEX.to_string());
            names.extend(checkpoint::files_of_index(&index)?);
        }
    }
    for name in names {
        let path = from.join(&name);
        if path.is_file() {
            files.push((name, Contents::Copy(path)));
        }
    }
    Ok(files)
}

/// The configuration of a run that starts from an adapter: its method, rank, scale and targets, and
/// its weights.
///
/// # Errors
///
/// If there is no adapter of a supported method in the folder.
pub fn with_adapter(mut config: RunConfig, folder: &Path) -> Result<RunConfig> {
    config.peft = adapter::read_config(folder)?;
    config.model.adapter = Some(folder.to_path_buf());
    Ok(config)
}

/// Most bytes of an `adapter_config.json`.
const LARGEST_CONFIG: u64 = 1 << 20;

/// The model that an adapter says it is for, in `base_model_name_or_path`; none if it says nothing.
///
/// # Errors
///
/// [`Error::Input`] if the model is a path that does not lead to a directory here, or if the
/// adapter's configuration cannot be read.
pub fn base_model(folder: &Path) -> Result<Option<String>> {
    #[derive(serde::Deserialize)]
    struct AdapterConfig {
        base_model_name_or_path: Option<String>,
    }
    let path = folder.join("adapter_config.json");
    let config: AdapterConfig = serde_json::from_str(&guard::read_text(&path, LARGEST_CONFIG)?)
        .map_err(|error| Error::Input(format!("{}: {error}", path.display())))?;
    let Some(name) = config.base_model_name_or_path.filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    if name != bundled::MODEL && Source::parse(&name).is_err() {
        return Err(Error::Input(format!(
            "{} says that the adapter is for the model `{}`, which is neither a directory here nor \
             a hub id; say where the model is with --set model=NAME",
            path.display(),
            shortened(&name, 80)
        )));
    }
    Ok(Some(name))
}
