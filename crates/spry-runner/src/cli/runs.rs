//! `run`, `import`, `resume`, `sweep`, `compare`.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use spry_data::Hub;
use spry_runner::compare::Comparison;
use spry_runner::meter::AllocationMeter;
use spry_runner::sweep::{self, Sweep, Todo};
use spry_runner::terminal::{self, Progress};
use spry_runner::{Error, Result, Run, RunConfig, Summary, exchange, presets};

use super::Output;
use super::args::{CompareArgs, ConfigArgs, ImportArgs, ResumeArgs, RunArgs, SweepArgs};

impl ConfigArgs {
    /// The configuration: the defaults or a preset, then the file, then options and flags.
    fn config(&self) -> Result<RunConfig> {
        let mut config = match &self.preset {
            Some(name) => presets::find(name)?.config()?,
            None => RunConfig::default(),
        };
        if let Some(path) = &self.config {
            config = config.with_file(path)?;
        }
        self.with_flags(config)
    }

    fn with_flags(&self, config: RunConfig) -> Result<RunConfig> {
        let mut config = config.with_assignments(&self.options)?;
        config.jobs = self.jobs.unwrap_or(config.jobs);
        config.device = self.device.clone().unwrap_or(config.device);
        Ok(config)
    }

    /// Whether nothing was said at all.
    fn is_empty(&self) -> bool {
        self.preset.is_none() && self.config.is_none() && self.options.is_empty()
    }
}

pub fn run(args: &RunArgs, hub: &Hub, is_for_machines: bool) -> Result<Output> {
    if args.config.is_empty() {
        return Err(Error::Input(
            "there is nothing to run: give a CONFIG.toml, or --preset NAME (`spry presets` lists \
             them, `spry run --preset smoke` takes seconds)"
                .to_string(),
        ));
    }
    begin(args.config.config()?, args, hub, is_for_machines)
}

pub fn import(args: &ImportArgs, hub: &Hub, is_for_machines: bool) -> Result<Output> {
    let config = exchange::with_adapter(args.run.config.config()?, &args.adapter)?;
    begin(config, &args.run, hub, is_for_machines)
}

fn begin(config: RunConfig, args: &RunArgs, hub: &Hub, is_for_machines: bool) -> Result<Output> {
    config.validate()?;
    let folder = args.out.clone().unwrap_or_else(|| config.default_folder());
    let run = Run::create(config, &folder, hub)?;
    report(&execute(run, "", is_for_machines)?, &folder)
}

pub fn resume(args: &ResumeArgs, hub: &Hub, is_for_machines: bool) -> Result<Output> {
    let run = Run::resume(&args.run, args.jobs, hub)?;
    report(&execute(run, "", is_for_machines)?, &args.run)
}

/// Runs to the end, with progress, log and Ctrl-C.
fn execute(run: Run, label: &str, is_for_machines: bool) -> Result<Summary> {
    terminal::log_to(&run.folder().log())?;
    let mut run = run.with_memory_meter(Arc::new(AllocationMeter));
    terminal::stop_on_interrupt(run.stop_signal());
    let rounds = run.config().num_server_rounds;
    tracing::info!("{}: {} of {rounds} rounds done", run.config().method.name, run.rounds());
    let mut progress = Progress::new(label, rounds, run.rounds(), is_for_machines);
    let summary = run.execute(|event| progress.on_event(event));
    terminal::end_log();
    summary
}

fn report(summary: &Summary, folder: &Path) -> Result<Output> {
    let text = format!("{}\nresults in {}", summary.table(), folder.display());
    let mut json = json!(summary);
    json["folder"] = json!(folder);
    Output::new(text, json)
}

pub fn sweep(args: &SweepArgs, hub: &Hub, is_for_machines: bool) -> Result<Output> {
    if args.config.is_empty() {
        return Err(Error::Input(
            "there is nothing to sweep over: give a CONFIG.toml or --preset NAME".to_string(),
        ));
    }
    let sweep = Sweep::new(&args.config.config()?, &args.grid, &args.seeds, &args.out)?;
    let todo = sweep.todo()?;
    let count = todo.len();
    for (index, todo) in todo.into_iter().enumerate() {
        let label = format!("run {} of {count}", index + 1);
        let run = match todo {
            Todo::Nothing(_) => continue,
            Todo::Resume(folder) => Run::resume(&folder, args.config.jobs, hub)?,
            Todo::Begin(config, folder) => Run::create(*config, &folder, hub)?,
        };
        execute(run, &label, is_for_machines)?;
        // After each run: a sweep that is cut off keeps what it has.
        sweep.write(&sweep.results()?)?;
    }
    let results = sweep.results()?;
    let path = sweep.write(&results)?;
    let text = format!("{}\nwritten to {}", sweep::table(&results), path.display());
    Output::new(text, json!({"cells": results, "written": path}))
}

pub fn compare(args: &CompareArgs) -> Result<Output> {
    let comparison = Comparison::read(&args.runs)?;
    let page = comparison.write(&args.out)?;
    let text = format!("{}\nwritten to {}", comparison.table(), page.display());
    Output::new(text, json!({"runs": comparison.rows(), "written": page}))
}
