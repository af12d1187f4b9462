//! `run`, `import`, `resume`, `sweep`, `compare`.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use spry_core::StopSignal;
use spry_data::Hub;
use spry_runner::compare::{Comparison, LeftOutRun};
use spry_runner::meter::AllocationMeter;
use spry_runner::sweep::{self, Sweep, SweepRun, Todo};
use spry_runner::terminal::{self, Progress};
use spry_runner::text::path_text;
use spry_runner::{Error, Result, Run, RunConfig, Summary, exchange, presets, signals};

use super::Output;
use super::args::{CompareArgs, ConfigArgs, ImportArgs, LayerArgs, ResumeArgs, RunArgs, SweepArgs};

impl LayerArgs {
    /// Where the layers start: the preset, or the defaults.
    pub fn start(&self) -> Result<RunConfig> {
        match &self.preset {
            Some(name) => presets::find(name)?.config(),
            None => Ok(RunConfig::default()),
        }
    }

    /// The file over a configuration.
    pub fn with_file(&self, config: RunConfig) -> Result<RunConfig> {
        match &self.config {
            Some(path) => config.with_file(path),
            None => Ok(config),
        }
    }
}

impl ConfigArgs {
    /// The configuration: the defaults or a preset, then the file, then options and flags.
    fn config(&self) -> Result<RunConfig> {
        self.base()?.with_assignments(&self.assignments())
    }

    /// The same without the options on the command line.
    fn base(&self) -> Result<RunConfig> {
        self.check_given()?;
        self.layers.with_file(self.layers.start()?)
    }

    fn check_given(&self) -> Result<()> {
        let layers = &self.layers;
        if layers.preset.is_none() && layers.config.is_none() && layers.options.is_empty() {
            return Err(Error::Input(
                "there is nothing to run: give a CONFIG.toml, or --preset NAME (`spry presets` \
                 lists them, `spry run --preset smoke` takes seconds)"
                    .to_string(),
            ));
        }
        Ok(())
    }

    /// All options, those with flags of their own last.
    fn assignments(&self) -> Vec<String> {
        let jobs = self.jobs.map(|jobs| format!("jobs={jobs}"));
        let device = self.device.as_ref().map(|device| format!("device={device}"));
        self.layers.options.iter().cloned().chain(jobs).chain(device).collect()
    }
}

pub fn run(args: &RunArgs, hub: &Hub, is_for_machines: bool) -> Result<Output> {
    begin(args.config.config()?, args, hub, is_for_machines)
}

pub fn import(args: &ImportArgs, hub: &Hub, is_for_machines: bool) -> Result<Output> {
    let options = args.run.config.assignments();
    if let Some(option) = options.iter().find(|option| option.starts_with("peft")) {
        return Err(Error::Input(format!(
            "--set {option}: what is trainable comes from the adapter in {}",
            args.adapter.display()
        )));
    }
    args.run.config.check_given()?;
    let layers = &args.run.config.layers;
    let start = layers.start()?;
    // The adapter knows its model; only what a file or an option says counts more.
    let mut unnamed = start.clone();
    unnamed.model.name_or_path = String::new();
    let mut config = layers.with_file(unnamed)?.with_assignments(&options)?;
    if let Some(other) = &config.model.adapter {
        return Err(Error::Input(format!(
            "`model.adapter` is {}, but the adapter is that in {}; leave it out",
            other.display(),
            args.adapter.display()
        )));
    }
    if config.model.name_or_path.is_empty() {
        config.model.name_or_path = match exchange::base_model(&args.adapter)? {
            Some(model) => {
                tracing::info!("the adapter is for the model {model}");
                model
            }
            None => start.model.name_or_path,
        };
    }
    let of_file = config.peft.clone();
    let config = exchange::with_adapter(config, &args.adapter)?;
    if of_file != start.peft && of_file != config.peft {
        return Err(Error::Input(format!(
            "`peft` is given, but is not that of the adapter in {}; leave it out, it comes from \
             the adapter",
            args.adapter.display()
        )));
    }
    begin(config, &args.run, hub, is_for_machines)
}

fn begin(config: RunConfig, args: &RunArgs, hub: &Hub, is_for_machines: bool) -> Result<Output> {
    let folder = match &args.out {
        Some(folder) => folder.clone(),
        None => config.clone().with_absolute_paths()?.default_folder(),
    };
    let run = Run::create(config, &folder, hub)?;
    let stop = signals::stop_on_interrupt();
    report(&execute(run, "", stop, is_for_machines)?, &folder)
}

pub fn resume(args: &ResumeArgs, hub: &Hub, is_for_machines: bool) -> Result<Output> {
    let run = Run::resume(&args.run, args.jobs, hub)?;
    let stop = signals::stop_on_interrupt();
    report(&execute(run, "", stop, is_for_machines)?, &args.run)
}

/// Runs to the end, or until it is stopped, with progress and log.
fn execute(run: Run, label: &str, stop: StopSignal, is_for_machines: bool) -> Result<Summary> {
    terminal::log_to(&run.folder().log())?;
    let mut run = run.with_memory_meter(Arc::new(AllocationMeter)).with_stop_signal(stop);
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
    json["folder"] = json!(path_text(folder));
    let mut output = Output::new(text, json)?;
    output.failure = nothing_came(summary, folder);
    Ok(output)
}

/// A run that has come to its end without any training is a failure.
fn nothing_came(summary: &Summary, folder: &Path) -> Option<Error> {
    let reason = summary.failure.as_ref()?;
    Some(Error::Failed(format!("{}: {reason}", folder.display())))
}

/// How a run of a sweep ended here.
enum Ended {
    /// It has ended, now or before.
    Done,
    /// Another process works on it; its name, if known.
    Left(Option<String>),
    /// It failed.
    Failed(Error),
}

/// The key of an option such as `seed=1`.
fn key_of(option: &str) -> &str {
    option.split('=').next().unwrap_or_default().trim()
}

pub fn sweep(args: &SweepArgs, hub: &Hub, is_for_machines: bool) -> Result<Output> {
    let (base, options) = (args.config.base()?, args.config.assignments());
    let is_given = |key: &str| options.iter().any(|option| key_of(option) == key);
    if is_given("experiment") {
        return Err(Error::Input(
            "--set experiment has no effect in a sweep: it is the cell's name".to_string(),
        ));
    }
    if is_given("seed") && !args.seeds.is_empty() {
        return Err(Error::Input("--set seed and --seeds exclude each other".to_string()));
    }
    let sweep = Sweep::new(&base, &options, &args.grid, &args.seeds, &args.out)?;
    // Whatever cannot be used is known before the first run begins.
    sweep.runs().try_for_each(|run| run.todo().map(drop))?;
    let count = sweep.runs().count();
    let stop = signals::stop_on_interrupt();
    let mut failures = Vec::new();
    let mut left: Vec<(usize, &SweepRun)> = sweep.runs().enumerate().collect();
    // What another process did not finish is taken up, once it is free.
    let left = loop {
        let (mut still_left, before) = (Vec::new(), left.len());
        for (index, run) in left {
            let label = format!("run {} of {count}", index + 1);
            match work_on(run, &label, args, hub, &stop, is_for_machines)? {
                Ended::Done => {}
                Ended::Left(holder) => still_left.push((index, run, holder)),
                // The others may do better.
                Ended::Failed(error) => {
                    let line = error.line();
                    let folder = run.folder.display().to_string();
                    let line =
                        if line.contains(&folder) { line } else { format!("{folder}: {line}") };
                    tracing::warn!("{line}");
                    failures.push(line);
                    // That is not for the log of the next one.
                    terminal::end_log();
                }
            }
            // After each run: a sweep that is cut off keeps what it has.
            sweep.write()?;
            if stop.is_stopped() {
                return Err(Error::SweepInterrupted);
            }
        }
        if still_left.is_empty() || still_left.len() == before {
            break still_left;
        }
        left = still_left.into_iter().map(|(index, run, _)| (index, run)).collect();
    };
    let (results, path) = sweep.write()?;
    let mut text = format!("{}\nwritten to {}", sweep::table(&results), path.display());
    for (_, run, holder) in &left {
        let holder = holder.as_deref().unwrap_or("another process");
        text += &format!("\n{holder} works on {}", run.folder.display());
    }
    let left: Vec<_> = left
        .iter()
        .map(|(_, run, holder)| json!({"folder": path_text(&run.folder), "holder": holder}))
        .collect();
    let json = json!({
        "cells": results,
        "written": path_text(&path),
        "failures": failures,
        "left_to_others": left,
    });
    let mut output = Output::new(text, json)?;
    let failed = |first: &String| {
        Error::Failed(format!("{} of {count} runs failed, the first one: {first}", failures.len()))
    };
    output.failure = failures.first().map(failed);
    Ok(output)
}

/// Begins a run of a sweep or goes on with it, unless it has ended or another process does. Only
/// an interruption is an error.
fn work_on(
    run: &SweepRun,
    label: &str,
    args: &SweepArgs,
    hub: &Hub,
    stop: &StopSignal,
    is_for_machines: bool,
) -> Result<Ended> {
    loop {
        let todo = match run.todo() {
            Ok(todo) => todo,
            Err(error) => return Ok(Ended::Failed(error)),
        };
        let started = match &todo {
            Todo::Nothing => return Ok(Ended::Done),
            Todo::Leave(holder) => return Ok(Ended::Left(holder.clone())),
            Todo::Resume => {
                signals::while_loading(|| Run::resume(&run.folder, args.config.jobs, hub))
            }
            Todo::Begin => {
                signals::while_loading(|| Run::create(run.config.clone(), &run.folder, hub))
            }
        };
        let started = match started {
            Ok(started) => started,
            Err(Error::Busy { holder, .. }) => return Ok(Ended::Left(holder)),
            // Another process may have been faster, or even done with it.
            Err(_) if run.todo().is_ok_and(|now| now != todo) => continue,
            Err(error) => return Ok(Ended::Failed(error)),
        };
        return match execute(started, label, stop.clone(), is_for_machines) {
            Ok(summary) => Ok(match nothing_came(&summary, &run.folder) {
                Some(error) => Ended::Failed(error),
                None => Ended::Done,
            }),
            Err(Error::Interrupted { .. }) => Err(Error::SweepInterrupted),
            Err(error) => Ok(Ended::Failed(error)),
        };
    }
}

pub fn compare(args: &CompareArgs) -> Result<Output> {
    let comparison = Comparison::read(&args.runs)?;
    for LeftOutRun { folder, reason } in comparison.left_out() {
        tracing::warn!("left out {}: {reason}", folder.display());
    }
    let page = comparison.write(&args.out)?;
    let text = format!("{}\nwritten to {}", comparison.table(), page.display());
    let (rows, left_out) = (comparison.rows(), comparison.left_out());
    let json = json!({"runs": rows, "left_out": left_out, "written": path_text(&page)});
    Output::new(text, json)
}
