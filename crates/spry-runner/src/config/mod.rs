//! [`RunConfig`]: everything that decides what a run computes.
//!
//! A configuration is made in layers: the defaults, a preset, a file, single options. Each layer
//! names only what it changes; what it names must exist. See [`layers`].
//!
//! - [`dataset`]: the part about data.
//! - [`layers`]: from TOML and `key=value` to a configuration, and back.
//! - `flat`: where two configurations differ.
//! - `nesting`: how deep a file nests.

pub mod dataset;
mod flat;
pub mod layers;
mod nesting;

use std::path::{Path, PathBuf};

pub use dataset::DatasetConfig;
use serde::{Deserialize, Serialize};
use spry_core::SimulationConfig;
use spry_models::Peft;
use spry_strategies::Method;
use spry_strategies::options::shortened;

use crate::{Error, Result, bundled};

/// A run's configuration, as in its `config.toml`. The defaults are the paper's for Spry on AG
/// News.
///
/// ```
/// use spry_runner::RunConfig;
///
/// let config = RunConfig::default().with_assignments(&["method.name=fedavg", "seed=3"])?;
/// assert_eq!((config.method.name.as_str(), config.seed), ("fedavg", 3));
/// let error = RunConfig::default().with_assignments(&["cohort_sise=3"]).unwrap_err();
/// assert!(error.to_string().contains("did you mean `cohort_size`?"));
/// # Ok::<(), spry_runner::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Name that tells runs with the same dataset and method apart.
    pub experiment: String,
    /// Seed of everything random; but for the data that of the dataset counts, if it has one.
    pub seed: u64,
    /// Number of rounds.
    pub num_server_rounds: u64,
    /// Clients per round.
    pub cohort_size: usize,
    /// End the run after the round in which the clients' forward passes reach this number.
    pub max_forward_passes: Option<u64>,
    /// End the run after the round in which its work, over the whole run, has taken this many
    /// seconds.
    pub max_wall_secs: Option<f64>,
    /// Evaluate the global parameters every so many rounds (and after the last); 0 means never.
    pub evaluate_every: u64,
    /// Share of the clients on whose test parts the global parameters are evaluated: a random
    /// sample, the same one in the whole run.
    pub evaluation_share: f64,
    /// Examples per evaluation batch.
    pub eval_batch_size: usize,
    /// Whether clients evaluate the parameters on their own test part before and after training.
    pub personalized: bool,
    /// Write a checkpoint every so many rounds, and after the last.
    pub checkpoint_every: u64,
    /// Clients that work at the same time; 0 means one per core. Does not change results.
    pub jobs: usize,
    /// Bytes of activations that each client at work may keep, to reuse them over local epochs and
    /// at both ends of finite differences; 0 means none. Does not change results. Without effect
    /// with dropout, for question answering, with backpropagation and on other devices than flex.
    pub prefix_cache_bytes: u64,
    /// Where to compute: `flex`, or another device of this build.
    pub device: String,
    /// What is finetuned.
    pub model: ModelConfig,
    /// What it is finetuned on.
    pub dataset: DatasetConfig,
    /// Which parameters are trainable.
    pub peft: Peft,
    /// The federated method.
    pub method: Method,
}

/// The model to finetune.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// A Hugging Face directory or hub id, or the bundled `tiny-bert`.
    pub name_or_path: String,
    /// Make the classification head afresh even if the checkpoint has one.
    pub fresh_head: bool,
    /// Train with the model's dropout, as PyTorch's `train()` does.
    pub dropout: bool,
    /// Start from this adapter: a directory in peft's format.
    pub adapter: Option<PathBuf>,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            name_or_path: "google-bert/bert-base-uncased".to_string(),
            fresh_head: false,
            dropout: false,
            adapter: None,
        }
    }
}

impl ModelConfig {
    /// Whether it comes with this program.
    pub fn is_bundled(&self) -> bool {
        self.name_or_path == bundled::MODEL
    }

    /// Its name without the folders or organisation before it.
    pub fn short_name(&self) -> &str {
        dataset::last_part(&self.name_or_path)
    }
}

impl Default for RunConfig {
    fn default() -> Self {
        let SimulationConfig {
            cohort_size,
            evaluation_share,
            eval_batch_size,
            personalized,
            jobs,
            prefix_cache_bytes,
            ..
        } = SimulationConfig::default();
        Self {
            experiment: "default".to_string(),
            seed: 0,
            num_server_rounds: 1500,
            cohort_size,
            max_forward_passes: None,
            max_wall_secs: None,
            evaluate_every: 10,
            evaluation_share,
            eval_batch_size,
            personalized,
            checkpoint_every: 10,
            jobs,
            prefix_cache_bytes,
            device: spry_core::device::names()[0].to_string(),
            model: ModelConfig::default(),
            dataset: DatasetConfig::new(spry_data::spec::AG_NEWS.name),
            peft: Peft::Lora(Default::default()),
            method: (spry_strategies::spry::SPEC.method)(),
        }
    }
}

impl RunConfig {
    /// The options of the simulation.
    pub fn simulation(&self) -> SimulationConfig {
        SimulationConfig {
            num_server_rounds: self.num_server_rounds,
            cohort_size: self.cohort_size,
            seed: self.seed,
            jobs: self.jobs,
            prefix_cache_bytes: self.prefix_cache_bytes,
            evaluate_every: self.evaluate_every,
            personalized: self.personalized,
            max_forward_passes: self.max_forward_passes,
            max_wall_secs: self.max_wall_secs,
            evaluation_share: self.evaluation_share,
            eval_batch_size: self.eval_batch_size,
        }
    }

    /// Where a run goes unless told otherwise: `results/<dataset>/<method>/<experiment>`.
    pub fn default_folder(&self) -> PathBuf {
        Path::new("results")
            .join(self.dataset.short_name())
            .join(&self.method.name)
            .join(&self.experiment)
    }

    /// Checks what can be checked without data and model.
    ///
    /// # Errors
    ///
    /// [`Error::Input`] for values that are out of their range or contradict each other.
    pub fn validate(&self) -> Result<()> {
        let at_least_1 = [
            ("num_server_rounds", self.num_server_rounds),
            ("cohort_size", self.cohort_size as u64),
            ("checkpoint_every", self.checkpoint_every),
            ("eval_batch_size", self.eval_batch_size as u64),
            ("dataset.num_clients", self.dataset.num_clients as u64),
            ("dataset.max_length", self.dataset.max_length as u64),
            ("dataset.max_examples", self.dataset.max_examples.unwrap_or(1) as u64),
            ("max_forward_passes", self.max_forward_passes.unwrap_or(1)),
        ];
        if let Some((key, _)) = at_least_1.iter().find(|(_, value)| *value == 0) {
            return Err(Error::Input(format!("`{key}` is 0, but must be at least 1")));
        }
        if self.cohort_size > self.dataset.num_clients {
            return Err(Error::Input(format!(
                "`cohort_size` is {}, but must be at most `dataset.num_clients`, which is {}",
                self.cohort_size, self.dataset.num_clients
            )));
        }
        let is_odd = |part: &str| ["", ".", ".."].contains(&part);
        if self.experiment.split(['/', '\\']).any(is_odd) {
            return Err(Error::Input(format!(
                "`experiment` is `{}`, but must be usable as the name of a folder",
                shortened(&self.experiment, layers::QUOTED)
            )));
        }
        self.simulation().validate()?;
        self.dataset.validate()?;
        spry_core::device::parse(&self.device).map_err(layers::explained)?;
        self.peft.validate()?;
        Ok(self.method.validate()?)
    }

    /// What is set and has no effect beside the other options, each with the reason.
    ///
    /// ```
    /// use spry_runner::RunConfig;
    ///
    /// let config = RunConfig::default().with_assignments(&["peft.lora_dropout=0.1"])?;
    /// assert!(config.without_effect()[0].starts_with("`peft.lora_dropout` has no effect"));
    /// assert!(config.with_assignments(&["model.dropout=true"])?.without_effect().is_empty());
    /// # Ok::<(), spry_runner::Error>(())
    /// ```
    pub fn without_effect(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Peft::Lora(lora) = &self.peft
            && lora.lora_dropout > 0.0
            && !self.model.dropout
        {
            notes.push(
                "`peft.lora_dropout` has no effect without `model.dropout`, which is false"
                    .to_string(),
            );
        }
        notes
    }

    /// The configuration with local directories as absolute paths, so that it means the same
    /// wherever it is read.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if a directory cannot be resolved.
    pub fn with_absolute_paths(mut self) -> Result<Self> {
        let absolute = |name: &str| -> Result<Option<String>> {
            if !Path::new(name).is_dir() {
                return Ok(None);
            }
            let path = std::fs::canonicalize(name).map_err(Error::io(name))?;
            Ok(Some(as_text(path)?))
        };
        if !self.model.is_bundled() {
            let path = absolute(&self.model.name_or_path)?;
            self.model.name_or_path = path.unwrap_or(self.model.name_or_path);
        }
        if !self.dataset.is_bundled() && !self.dataset.is_stand_in() {
            let location = self.dataset.location().to_string();
            if let Some(path) = absolute(&location)? {
                if self.dataset.source.is_none() {
                    self.dataset.name = dataset::last_part(&path).to_string();
                }
                self.dataset.source = Some(path);
            } else if self.dataset.name == location {
                // A hub id that nothing is known of must outlive the shortening of the name.
                self.dataset.source = Some(location);
            }
            self.dataset.name = self.dataset.short_name();
        }
        if let Some(adapter) = &self.model.adapter {
            let path = std::fs::canonicalize(adapter).map_err(Error::io(adapter))?;
            self.model.adapter = Some(as_text(path)?.into());
        }
        Ok(self)
    }
}

/// A path as text, as which `config.toml` has to name it.
fn as_text(path: PathBuf) -> Result<String> {
    path.into_os_string().into_string().map_err(|path| {
        Error::Input(format!(
            "{}: this path is not UTF-8, so config.toml cannot name it; rename the folder, or \
             make a link to it that has another name and is elsewhere",
            path.display()
        ))
    })
}
