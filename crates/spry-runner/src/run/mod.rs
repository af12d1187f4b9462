//! A run: from a configuration to a folder with everything that came of it.
//!
//! - [`records`]: what is measured, as rows; [`evaluation`]: what an evaluation says.
//! - [`rows`]: files of rows, which only grow.
//! - [`checkpoint`]: what is needed to go on later.
//! - [`summary`]: the outcome; [`saved`]: what it belongs to.
//! - [`metrics`]: rows in Parquet files.
//! - `adapters`: trained parameters with checksums.
//! - [`folder`]: which file is where.
//! - `notes`: what the log says.

pub(crate) mod adapters;
pub mod checkpoint;
pub mod evaluation;
pub mod folder;
pub mod metrics;
mod notes;
pub mod records;
pub mod rows;
pub mod saved;
pub mod summary;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use checkpoint::{Best, Checkpoint, Positions};
pub use folder::RunFolder;
use records::{ClientEntry, Records};
use rows::RowFile;
pub use saved::SavedSummary;
use serde_json::Value;
use spry_core::estimators::EstimatorConfig;
use spry_core::{Event, MemoryMeter, Simulation, Split, StopSignal};
use spry_data::{Hub, Task};
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
    round_rows: RowFile,
    client_rows: RowFile,
    /// The best parameters so far, and whether `adapter-best` has them.
    best: Option<Best>,
    is_best_written: bool,
    /// Number of rounds that tables and pictures show; none if they were not written yet.
    shown_rounds: Option<u64>,
    is_resumed: bool,
    events: EventFile,
}

impl Run {
    /// Begins a run in a folder that must be empty or not there. Everything that the configuration
    /// names is loaded and checked before the folder is made.
    ///
    /// # Errors
    ///
    /// If the configuration cannot be used, something cannot be loaded, or the folder cannot be
    /// made; [`Error::Busy`] if another process works in it.
    pub fn create(config: RunConfig, folder: &Path, hub: &Hub) -> Result<Self> {
        config.validate()?;
        let config = config.with_absolute_paths()?;
        folder::check_unused(folder)?;
        RunFolder::check_free(folder)?;
        let (inputs, simulation) = prepare(&config, hub)?;
        let claimed = RunFolder::create(folder)?;
        // Another process may have been faster.
        folder::check_unused(folder)?;
        claimed.write_config(&config)?;
        let folder = claimed;
        Self::begin(config, folder, inputs, simulation, Positions::default())
    }

    /// Goes on with the run in a folder, from its newest checkpoint; from the start if there is
    /// none yet. `jobs` replaces the configuration's number, which does not change results.
    ///
    /// # Errors
    ///
    /// If there is no run, its checkpoints are damaged, or model and data are not what they were;
    /// [`Error::Busy`] if another process works on it.
    pub fn resume(folder: &Path, jobs: Option<usize>, hub: &Hub) -> Result<Self> {
        let folder = RunFolder::open(folder)?;
        let mut config = folder.read_config()?;
        config.jobs = jobs.unwrap_or(config.jobs);
        config.validate()?;
        folder.remove_leftovers();
        let checkpoint = Checkpoint::newest(&folder.checkpoints(), |checkpoint| {
            rows::verify(&folder.client_rows(), &checkpoint.rows.clients)?;
            saved::read_records(&folder, &checkpoint.rows)
        })?;
        if let Some((checkpoint, _)) = &checkpoint {
            check_unchanged(&folder, &config, &checkpoint.config)?;
        }
        let (inputs, simulation) = prepare(&config, hub)?;
        let positions = checkpoint.as_ref().map(|(checkpoint, _)| checkpoint.rows.clone());
        let positions = positions.unwrap_or_default();
        let mut run = Self::begin(config, folder, inputs, simulation, positions)?;
        let Some((Checkpoint { fingerprint, snapshot, best, .. }, records)) = checkpoint else {
            // The rows and the summary that are there would be lost.
            if run.folder.summary().exists() {
                return Err(Error::Input(format!(
                    "{}: the run has results but no checkpoint any more, so it cannot be resumed; \
                     begin it anew in another folder",
                    run.folder.path().display()
                )));
            }
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
        let device = run.simulation.state().params.iter().next().map(|(_, p)| p.values().device());
        run.best = best.map(|mut best| {
            // What was read from a file is in the host's memory.
            if let Some(device) = device {
                best.params = best.params.to_device(&device);
            }
            best
        });
        run.records = records;
        run.is_resumed = true;
        Ok(run)
    }

    fn begin(
        config: RunConfig,
        folder: RunFolder,
        inputs: Inputs,
        simulation: Simulation<Method>,
        positions: Positions,
    ) -> Result<Self> {
        let fingerprint = inputs.fingerprint()?;
        Ok(Self {
            events: EventFile::at(&folder.tensorboard()),
            round_rows: RowFile::at(folder.round_rows(), positions.rounds),
            client_rows: RowFile::at(folder.client_rows(), positions.clients),
            records: Records::default(),
            best: None,
            is_best_written: false,
            shown_rounds: None,
            is_resumed: false,
            config,
            folder,
            fingerprint,
            inputs,
            simulation,
        })
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

    /// Runs to the end, with a checkpoint every so many rounds. A run of which nothing came (see
    /// [`Summary::failure`]) is no error here.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`] after the stop signal, with a checkpoint written; what the simulation
    /// reports; [`Error::Failed`] if the folder was deleted, moved or replaced meanwhile; or if a
    /// file cannot be written. Whatever it is, the run can be resumed from its newest checkpoint.
    pub fn execute(&mut self, mut observe: impl FnMut(&Event<'_>)) -> Result<Summary> {
        if self.is_resumed {
            // The summary may be of a later checkpoint, which was damaged; it must not name rows
            // that will be other ones.
            self.write_summary(false)?;
        }
        self.events.rewrite(&self.records)?;
        loop {
            let is_finished = !self.advance(&mut observe)?;
            let is_stopped = self.simulation.outcome().stopped;
            let is_due = self.rounds().is_multiple_of(self.config.checkpoint_every);
            if is_finished || is_due {
                self.save(is_finished, is_finished && !is_stopped)?;
            }
            if is_stopped {
                let folder = self.folder.path().to_path_buf();
                return Err(Error::Interrupted { folder, rounds: self.rounds() });
            }
            if is_finished {
                let (rounds, asked) = (self.rounds(), self.config.num_server_rounds);
                if rounds < asked {
                    info!(
                        "ended after {rounds} of {asked} rounds: `max_wall_secs` or \
                         `max_forward_passes` is reached; with more of it `spry resume` goes on"
                    );
                }
                return Ok(self.summary(true));
            }
        }
    }

    /// Runs a round, and appends its rows; returns whether there is more to do.
    fn advance(&mut self, mut observe: impl FnMut(&Event<'_>)) -> Result<bool> {
        // An evaluation in an advance is of the parameters at its start, or of those at its end.
        let before = (self.rounds(), self.simulation.state().params.clone());
        let (records, events) = (&mut self.records, &mut self.events);
        let (mut additions, mut evaluated) = (Vec::new(), Vec::new());
        let mut failed_to_write = None;
        let advanced = self.simulation.advance(|event| {
            let addition = records.on_event(&event);
            notes::log(&event, addition.as_ref());
            additions.extend(addition);
            if let Event::Evaluated { rounds, .. } = event {
                evaluated.extend(records.rounds.last().map(|row| (rounds, evaluation::score(row))));
            }
            if let Err(error) = events.on_event(&event, records) {
                failed_to_write.get_or_insert(error);
            }
            observe(&event);
        });
        for addition in &additions {
            self.round_rows.append(&addition.round)?;
            if let Some(clients) = &addition.clients {
                self.client_rows.append(clients)?;
            }
        }
        for (rounds, score) in evaluated {
            let is_better = |score: &f64| self.best.as_ref().is_none_or(|best| *score > best.score);
            let Some(score) = score.filter(is_better) else { continue };
            let params = match rounds == before.0 {
                true => before.1.clone(),
                false => self.simulation.state().params.clone(),
            };
            self.best = Some(Best { server_round: rounds, score, params });
            self.is_best_written = false;
        }
        failed_to_write.map_or(Ok(()), Err)?;
        Ok(advanced.inspect_err(|error| debug!("the run failed: {error}"))?)
    }

    /// Writes a checkpoint, then the results up to here.
    fn save(&mut self, is_last: bool, is_finished: bool) -> Result<()> {
        self.folder.check_in_place()?;
        self.round_rows.sync()?;
        self.client_rows.sync()?;
        Checkpoint {
            config: self.config.to_toml()?,
            fingerprint: self.fingerprint,
            rows: self.positions(),
            snapshot: self.simulation.snapshot(),
            best: self.best.clone(),
        }
        .write(&self.folder.checkpoints())?;
        if is_last || self.is_worth_showing() {
            self.write_tables()?;
            plots::run::write(&self.folder.plots(), &self.records)?;
            self.shown_rounds = Some(self.rounds());
        }
        let params = &self.simulation.state().params;
        adapters::write(&self.folder.adapter(), &self.config, &self.inputs, params)?;
        if let Some(best) = self.best.as_ref().filter(|_| !self.is_best_written) {
            let folder = self.folder.best_adapter();
            adapters::write(&folder, &self.config, &self.inputs, &best.params)?;
        }
        self.is_best_written = true;
        // Last: who sees a finished summary finds everything else finished, too.
        self.write_summary(is_finished)?;
        self.folder.check_in_place()
    }

    /// Whether the run is longer by a quarter than tables and pictures show. They are written
    /// whole: at fixed distances that would be quadratic in the number of rounds, so it is at most
    /// five times what the last ones have.
    fn is_worth_showing(&self) -> bool {
        let rounds = self.rounds();
        self.shown_rounds.is_none_or(|shown| rounds >= shown + (shown / 4).max(1))
    }

    /// Writes the Parquet files, those about clients from the rows on disk.
    fn write_tables(&self) -> Result<()> {
        let (path, end) = (self.folder.client_rows(), self.client_rows.end());
        metrics::write(&self.folder.rounds(), &self.records.rounds)?;
        metrics::write_streamed(&self.folder.clients(), |add| {
            rows::read(&path, end, |entry: ClientEntry| add(entry.clients))
        })?;
        metrics::write_streamed(&self.folder.resources(), |add| {
            rows::read(&path, end, |entry: ClientEntry| add(entry.resources))
        })
    }

    fn write_summary(&self, is_finished: bool) -> Result<()> {
        SavedSummary::write(
            &self.folder,
            &self.summary(is_finished),
            &self.config,
            self.positions(),
        )
    }

    fn summary(&self, is_finished: bool) -> Summary {
        let outcome = self.simulation.outcome();
        Summary::new(&self.config, &self.inputs, outcome, &self.records, is_finished)
    }

    fn positions(&self) -> Positions {
        Positions { rounds: self.round_rows.end().clone(), clients: self.client_rows.end().clone() }
    }
}

/// Options that may be changed in the configuration of a run that is resumed.
pub const MAY_CHANGE: [&str; 8] = [
    "num_server_rounds",
    "max_forward_passes",
    "max_wall_secs",
    "evaluate_every",
    "checkpoint_every",
    "jobs",
    "prefix_cache_bytes",
    "experiment",
];

/// Fails if the configuration is not, up to what may change, that of the run's checkpoint. What has
/// changed is noted.
fn check_unchanged(folder: &RunFolder, config: &RunConfig, before: &str) -> Result<()> {
    let path = folder.config().display().to_string();
    let before = RunConfig::default().with_toml(before).map_err(|error| {
        Error::Input(format!("{path}: the run is of another version of spry: {}", error.line()))
    })?;
    let (allowed, changed): (Vec<String>, Vec<String>) = config
        .differing_keys(&before)
        .into_iter()
        .partition(|key| MAY_CHANGE.contains(&key.as_str()));
    let (now, then) = (config.flat(), before.flat());
    let value = |of: &BTreeMap<String, Value>, key: &str| {
        of.get(key).map_or("none".to_string(), Value::to_string)
    };
    for key in allowed {
        info!("{path}: `{key}` is now {}, was {}", value(&now, &key), value(&then, &key));
    }
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
    let clients = inputs.clients()?;
    if clients.iter().all(|client| client.num_examples(Split::Test) == 0) {
        warn!(
            "no client has test data, so nothing can be evaluated; a lower `dataset.train_share`, or \
             fewer clients, leave some"
        );
    }
    if config.evaluation_share < 1.0 {
        let share = 100.0 * config.evaluation_share;
        info!("the global parameters are evaluated on {share} % of the clients with test data");
    }
    let simulation = Simulation::new(
        config.method.clone(),
        clients,
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
