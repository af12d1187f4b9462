//! A run: from a configuration to a folder with everything that came of it.
//!
//! - [`records`]: what is measured, as rows.
//! - [`metrics`]: rows in Parquet files.
//! - [`checkpoint`]: what is needed to go on later.
//! - [`summary`]: the outcome in one file.
//! - [`folder`]: which file is where.

pub mod checkpoint;
pub mod folder;
pub mod metrics;
pub mod records;
pub mod summary;

use std::path::Path;
use std::sync::Arc;

use checkpoint::Checkpoint;
pub use folder::RunFolder;
use records::Records;
use spry_core::estimators::EstimatorConfig;
use spry_core::{Event, MemoryMeter, Simulation, StopSignal};
use spry_data::{Hub, Task};
use spry_models::Peft;
use spry_models::peft::adapter;
use spry_strategies::Method;
pub use summary::Summary;
use tracing::{debug, info, warn};

use crate::tensorboard::EventFile;
use crate::{Error, Inputs, Result, RunConfig, plots};

/// A run in its folder, at its start or in the middle.
pub struct Run {
    config: RunConfig,
    folder: RunFolder,
    fingerprint: [u8; 32],
    inputs: Inputs,
    simulation: Simulation<Method>,
    records: Records,
    events: EventFile,
}

impl Run {
    /// Begins a run in a folder that must be empty or not there. Everything that the configuration
    /// names is loaded and checked before the folder is made.
    ///
    /// # Errors
    ///
    /// If the configuration cannot be used, something cannot be loaded, or the folder cannot be
    /// made.
    pub fn create(config: RunConfig, folder: &Path, hub: &Hub) -> Result<Self> {
        config.validate()?;
        let config = config.with_absolute_paths()?;
        folder::check_unused(folder)?;
        let (inputs, simulation) = prepare(&config, hub)?;
        let claimed = RunFolder::create(folder)?;
        // Another process may have been faster.
        folder::check_unused(folder)?;
        claimed.write_config(&config)?;
        let folder = claimed;
        Self::begin(config, folder, inputs, simulation)
    }

    /// Goes on with the run in a folder, from its newest checkpoint; from the start if there is
    /// none yet. `jobs` replaces the configuration's number, which does not change results.
    ///
    /// # Errors
    ///
    /// If there is no run, its checkpoints are damaged, or model and data are not what they were.
    pub fn resume(folder: &Path, jobs: Option<usize>, hub: &Hub) -> Result<Self> {
        let folder = RunFolder::open(folder)?;
        let mut config = folder.read_config()?;
        config.jobs = jobs.unwrap_or(config.jobs);
        config.validate()?;
        folder.remove_leftovers();
        let checkpoint = Checkpoint::newest(&folder.checkpoints())?;
        if let Some(checkpoint) = &checkpoint {
            check_unchanged(&folder, &config, &checkpoint.config)?;
        }
        let (inputs, simulation) = prepare(&config, hub)?;
        let mut run = Self::begin(config, folder, inputs, simulation)?;
        let Some(Checkpoint { fingerprint, snapshot, records, .. }) = checkpoint else {
            info!("no checkpoint yet: starting from the beginning");
            return Ok(run);
        };
        if fingerprint != run.fingerprint {
            return Err(Error::Input(format!(
                "{}: the model or the data is not what it was when the run began; it cannot be \
                 resumed, only begun anew in another folder",
                run.folder.path().display()
            )));
        }
        info!("resuming after {} rounds", snapshot.state.server_round);
        run.simulation.restore(snapshot)?;
        run.records = records;
        Ok(run)
    }

    fn begin(
        config: RunConfig,
        folder: RunFolder,
        inputs: Inputs,
        simulation: Simulation<Method>,
    ) -> Result<Self> {
        let fingerprint = inputs.fingerprint()?;
        let events = EventFile::at(&folder.tensorboard());
        let records = Records::default();
        Ok(Self { config, folder, fingerprint, inputs, simulation, records, events })
    }

    /// Measures the peak memory of each client's work with `meter`.
    pub fn with_memory_meter(mut self, meter: Arc<dyn MemoryMeter>) -> Self {
        self.simulation = self.simulation.with_memory_meter(meter);
        self
    }

    /// Is interrupted by this signal, instead of one of its own.
    pub fn with_stop_signal(mut self, stop: StopSignal) -> Self {
        self.simulation = self.simulation.with_stop_signal(stop);
        self
    }

    /// The run's configuration.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    /// The run's folder.
    pub fn folder(&self) -> &RunFolder {
        &self.folder
    }

    /// Number of rounds that have ended.
    pub fn rounds(&self) -> u64 {
        self.simulation.outcome().rounds
    }

    /// Runs to the end, with a checkpoint and all results every so many rounds.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`] after the stop signal, with a checkpoint written; what the simulation
    /// reports; or if a file cannot be written. Whatever it is, the run can be resumed from its
    /// newest checkpoint.
    pub fn execute(&mut self, mut observe: impl FnMut(&Event<'_>)) -> Result<Summary> {
        self.events.rewrite(&self.records)?;
        loop {
            let (records, events) = (&mut self.records, &mut self.events);
            let mut failed_to_write = None;
            let advanced = self.simulation.advance(|event| {
                records.on_event(&event);
                log(&event, records);
                if let Err(error) = events.on_event(&event, records) {
                    failed_to_write.get_or_insert(error);
                }
                observe(&event);
            });
            failed_to_write.map_or(Ok(()), Err)?;
            let is_finished = !advanced.inspect_err(|error| debug!("the run failed: {error}"))?;
            let is_stopped = self.simulation.outcome().stopped;
            let is_due = self.rounds().is_multiple_of(self.config.checkpoint_every);
            if is_finished || is_due {
                self.save(is_finished && !is_stopped)?;
            }
            if is_stopped {
                let folder = self.folder.path().to_path_buf();
                return Err(Error::Interrupted { folder, rounds: self.rounds() });
            }
            if is_finished {
                return Ok(self.summary(true));
            }
        }
    }

    /// Writes a checkpoint, then all results up to here.
    fn save(&self, is_finished: bool) -> Result<()> {
        let snapshot = self.simulation.snapshot();
        let records = self.records.clone();
        let config = self.config.to_toml()?;
        Checkpoint { config, fingerprint: self.fingerprint, snapshot, records }
            .write(&self.folder.checkpoints())?;
        metrics::write(&self.folder.rounds(), &self.records.rounds)?;
        metrics::write(&self.folder.clients(), &self.records.clients)?;
        metrics::write(&self.folder.resources(), &self.records.resources)?;
        plots::run::write(&self.folder.plots(), &self.records)?;
        export(
            &self.folder.adapter(),
            &self.config,
            &self.inputs,
            &self.simulation.state().params,
        )?;
        // Last: who sees a finished summary finds everything else finished, too.
        self.summary(is_finished).write(&self.folder.summary())
    }

    fn summary(&self, is_finished: bool) -> Summary {
        let outcome = self.simulation.outcome();
        Summary::new(&self.config, &self.inputs, outcome, &self.records, is_finished)
    }
}

/// Options that may be changed in the configuration of a run that is resumed.
const MAY_CHANGE: [&str; 8] = [
    "num_server_rounds",
    "max_forward_passes",
    "max_wall_secs",
    "evaluate_every",
    "checkpoint_every",
    "jobs",
    "prefix_cache_bytes",
    "experiment",
];

/// Fails if the configuration is not, up to what may change, that of the run's checkpoint.
fn check_unchanged(folder: &RunFolder, config: &RunConfig, before: &str) -> Result<()> {
    let path = folder.config().display().to_string();
    let before = RunConfig::default().with_toml(before).map_err(|error| {
        Error::Input(format!("{path}: the run is of another version of spry: {}", error.line()))
    })?;
    let mut changed = config.differing_keys(&before);
    changed.retain(|key| !MAY_CHANGE.contains(&key.as_str()));
    if changed.is_empty() {
        return Ok(());
    }
    Err(Error::Input(format!(
        "{path}: `{}` is not what it was when the run began; undo that, or begin a new run with it",
        changed.join("`, `")
    )))
}

/// Loads the inputs and makes the simulation, before its first round.
fn prepare(config: &RunConfig, hub: &Hub) -> Result<(Inputs, Simulation<Method>)> {
    let inputs = Inputs::load(config, hub)?;
    if let Some(reason) = without_prefixes(config, &inputs) {
        warn!("`prefix_cache_bytes` has no effect {reason}");
    }
    let simulation = Simulation::new(
        config.method.clone(),
        inputs.clients()?,
        inputs.params.clone(),
        config.simulation(),
    )?;
    simulation.check()?;
    Ok((inputs, simulation))
}

/// Why a run that asks for kept prefixes will not have any.
fn without_prefixes(config: &RunConfig, inputs: &Inputs) -> Option<&'static str> {
    let is_backprop = matches!(config.method.estimator, EstimatorConfig::Backprop(_));
    let reasons = [
        (config.model.dropout, "with dropout"),
        (inputs.model.model().task() != Task::SequenceClassification, "for question answering"),
        (is_backprop, "with backpropagation"),
        (config.device != "flex", "on other devices than flex"),
    ];
    let reason = reasons.into_iter().find_map(|(holds, reason)| holds.then_some(reason));
    reason.filter(|_| config.prefix_cache_bytes > 0)
}

/// Writes trained parameters in a format that Python loads: an adapter, or for methods that train
/// the model's own weights the whole model.
fn export(
    folder: &Path,
    config: &RunConfig,
    inputs: &Inputs,
    params: &spry_core::ParamSet,
) -> Result<()> {
    let model = inputs.model.model();
    match &config.peft {
        peft @ (Peft::Lora(_) | Peft::Ia3(_)) => {
            adapter::write(folder, peft, model, params, &config.model.name_or_path)?;
        }
        Peft::BitFit | Peft::Head | Peft::Full => model.save(folder, params)?,
    }
    Ok(())
}

/// What the log says of an event. Rounds are counted as in the results, from 1.
fn log(event: &Event<'_>, records: &Records) {
    match event {
        Event::RoundFinished(summary) => {
            let failed = || records.failed_in(summary.server_round + 1);
            if let Some(first) = failed().next() {
                let (round, count) = (summary.server_round + 1, failed().count());
                let reason = first.reason.as_deref().unwrap_or_default();
                warn!("round {round}: {count} clients failed; client {}: {reason}", first.client);
            }
            let loss = summary.report.as_ref().map(|report| report.train_loss);
            let loss = loss.map_or(String::new(), |loss| format!(": train loss {loss:.4}"));
            let round = summary.server_round + 1;
            let (secs, rate) = (summary.wall.as_secs_f64(), summary.steps_per_sec());
            debug!("round {round}{loss}, {secs:.2} s, {rate:.1} client steps per second");
        }
        Event::Evaluated { rounds, generalized, .. } => {
            let (loss, accuracy) = (generalized.loss(), 100.0 * generalized.accuracy());
            let f1 =
                generalized.f1().map_or(String::new(), |f1| format!(", F1 {:.1} %", 100.0 * f1));
            debug!("after {rounds} rounds: test loss {loss:.4}, accuracy {accuracy:.1} %{f1}");
        }
        Event::ClientFailed { server_round, client, error } => {
            debug!("round {}: client {client} failed: {error}", server_round + 1);
        }
        Event::ClientLeftOut { server_round, left_out } => {
            let (client, reason) = (left_out.client, &left_out.reason);
            info!("round {}: client {client} left out: {reason}", server_round + 1);
        }
        Event::RoundSkipped { server_round, error } => {
            warn!("round {} changed nothing: {error}", server_round + 1);
        }
        Event::Stopped { rounds } => info!("stopped on request after {rounds} rounds"),
        _ => {}
    }
}
