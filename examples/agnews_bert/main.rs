//! Finetunes a real BERT on real news, federatedly, without backpropagation.
//!
//! `cargo run --example agnews_bert -- --help` lists the options. The steps are those of any
//! simulation: load a model and a dataset, choose a method, run, report. What `spry run` adds to
//! that are checkpoints, plots and the adapter, in a folder.

mod args;

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Parser;
use spry_core::Simulation;
use spry_core::estimators::EstimatorConfig;
use spry_core::optim::ServerOptimizer;
use spry_runner::meter::AllocationMeter;
use spry_runner::run::metrics;
use spry_runner::run::records::Records;
use spry_runner::terminal::{self, Progress};
use spry_runner::{Summary, signals};
use spry_strategies::{Exchange, Method};

use args::Args;

fn main() -> Result<()> {
    let args = Args::parse();
    terminal::init(false);
    signals::handle()?;
    // Mistakes in the options should show before anything is downloaded.
    let method = spry_strategies::find(&args.strategy)?;
    with_options(method.clone(), &args, false)?;
    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot create {}", args.out.display()))?;
    let (mut config, inputs) = args.inputs.load()?;
    let is_tiny_model = config.model.is_bundled();
    config.method = with_options(method, &args, is_tiny_model)?;
    config.num_server_rounds = args.rounds.unwrap_or(if is_tiny_model { 30 } else { 20 });
    config.cohort_size = args.cohort.unwrap_or(config.dataset.num_clients.min(10));
    config.evaluate_every =
        args.evaluate_every.unwrap_or(config.num_server_rounds.div_ceil(20).max(1));
    config.jobs = args.jobs;

    let (params, clients) = (inputs.params.clone(), inputs.clients()?);
    let mut simulation =
        Simulation::new(config.method.clone(), clients, params, config.simulation())?
            .with_memory_meter(Arc::new(AllocationMeter))
            .with_stop_signal(signals::stop_on_interrupt());

    let mut records = Records::default();
    let mut progress = Progress::new("", config.num_server_rounds, 0, false);
    let result = simulation.run(|event| {
        records.on_event(&event);
        progress.on_event(&event);
    });
    drop(progress);
    // Also a run that broke off leaves the numbers so far.
    let outcome = simulation.outcome();
    let is_finished = result.is_ok() && !outcome.stopped;
    let summary = Summary::new(&config, &inputs, outcome, &records, is_finished);
    println!("{}", summary.table());
    summary.write(&args.out.join("summary.json"))?;
    metrics::write(&args.out.join("rounds.parquet"), &records.rounds)?;
    println!("summary.json and rounds.parquet written to {}", args.out.display());
    result?;
    Ok(())
}

/// The method with the command line's options; one that the method does not have is an error.
fn with_options(mut method: Method, args: &Args, is_tiny_model: bool) -> Result<Method> {
    if is_tiny_model && let EstimatorConfig::ForwardGradient(_) = method.estimator {
        // What learns within half a minute.
        method = method.with_assignments(&["estimator.k=8"])?.with_learning_rate(1e-2);
    }
    // Before the flags, which name what to change by its meaning in the resulting method.
    method = method.with_assignments(&args.options)?;
    if let Some(rate) = args.learning_rate {
        method = method.with_learning_rate(rate);
    }
    if let Some(k) = args.k {
        let Some(estimator) = method.estimator.with_directions(k) else {
            bail!("--k has no effect: {} has no number of directions", method.name);
        };
        method.estimator = estimator;
    }
    if let Some(rate) = args.server_learning_rate {
        if method.server == (ServerOptimizer::Plain {}) {
            bail!("--server-learning-rate has no effect: {} has no server optimizer", method.name);
        }
        method.server = method.server.with_learning_rate(rate);
    }
    if let Some(epochs) = args.local_epochs {
        let Exchange::PerEpoch(local) = &mut method.exchange else {
            bail!("--local-epochs has no effect: {} exchanges gradients per batch", method.name);
        };
        local.epochs = epochs;
    }
    if let Some(batch_size) = args.batch_size {
        method.batch_size = batch_size;
    }
    method.validate()?;
    Ok(method)
}
