//! Finetunes a real BERT on real news, federatedly, without backpropagation.
//!
//! `cargo run --example agnews_bert -- --help` lists the options. The steps are those of any
//! simulation: load a model and a dataset ([`inputs`]), choose a method, run, report ([`report`]).

mod args;
mod inputs;
mod report;

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Parser;
use spry_core::optim::ServerOptimizer;
use spry_core::{ForwardGradient, Seed, Simulation, SimulationConfig};
use spry_examples::AllocationMeter;
use spry_strategies::Method;

use args::Args;
use inputs::Inputs;
use report::{Progress, Summary};

fn main() -> Result<()> {
    let args = Args::parse();
    // Mistakes in the options should show before anything is downloaded.
    let mut method = spry_strategies::find(&args.strategy)?;
    check_options(&method, &args)?;
    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot create {}", args.out.display()))?;
    let inputs = Inputs::load(&args)?;
    set_options(&mut method, &args, inputs.is_tiny_model);
    method.validate()?;

    let rounds = args.rounds.unwrap_or(if inputs.is_tiny_model { 30 } else { 20 });
    let config = SimulationConfig {
        num_server_rounds: rounds,
        cohort_size: args.cohort.unwrap_or(inputs.clients.len().min(10)),
        seed: args.seed,
        jobs: args.jobs,
        evaluate_every: args.evaluate_every.unwrap_or(rounds.div_ceil(20).max(1)),
        ..Default::default()
    };
    let params = inputs.classifier.trainable(&Seed::new(args.seed).child("adapter", 0))?;
    let model = inputs.classifier.model();
    eprintln!(
        "{} on {} with {}: {} clients, {} of {} weights trainable",
        method.name,
        inputs.dataset_name,
        inputs.model_name,
        inputs.clients.len(),
        params.num_elements(),
        model.weights().num_elements(),
    );
    let summary = Summary {
        method: method.name.clone(),
        dataset: inputs.dataset_name.clone(),
        model: inputs.model_name.clone(),
        seed: args.seed,
        weight_bytes: model.weight_bytes(),
        rounds: 0,
        evaluated_after_rounds: 0,
        stopped: false,
        generalized_accuracy: None,
        generalized_loss: None,
        personalized_accuracy: None,
        bytes_up: 0,
        bytes_down: 0,
        peak_client_bytes: None,
        wall_secs: 0.0,
        curve: Vec::new(),
    };

    let mut simulation = Simulation::new(method, inputs.clients, params, config)?
        .with_memory_meter(Arc::new(AllocationMeter));
    let stop = simulation.stop_signal();
    ctrlc::set_handler(move || {
        if stop.is_stopped() {
            // A second Ctrl-C does not wait for the current steps.
            std::process::exit(130);
        }
        eprintln!("\nstopping after the current steps; press Ctrl-C again to stop at once");
        stop.stop();
    })?;

    let mut progress = Progress::new(rounds)?;
    let result = simulation.run(|event| progress.on_event(event));
    let (curve, personalized) = progress.finish();
    // Also a run that broke off leaves the numbers so far.
    let summary = Summary { curve, ..summary }.measured(simulation.outcome(), personalized);
    summary.print();
    println!("written to {}", summary.write(&args.out)?.display());
    result?;
    Ok(())
}

/// Fails for options that the method does not have.
fn check_options(method: &Method, args: &Args) -> Result<()> {
    if args.k.is_some() && method.training.estimator.directions().is_none() {
        bail!("--k has no effect: {} uses no random directions", method.name);
    }
    if args.server_learning_rate.is_some() && method.server == ServerOptimizer::Plain {
        bail!("--server-learning-rate has no effect: {} has no server optimizer", method.name);
    }
    Ok(())
}

/// Applies the command line's options to a method.
fn set_options(method: &mut Method, args: &Args, is_tiny_model: bool) {
    let has_directions = method.training.estimator.directions().is_some();
    let learning_rate = args.learning_rate.unwrap_or(match (has_directions, is_tiny_model) {
        (true, true) => 1e-2,
        _ => 1e-3,
    });
    method.training.optimizer = method.training.optimizer.with_learning_rate(learning_rate);
    method.training.epochs = args.local_epochs;
    method.training.batch_size = args.batch_size;
    if has_directions {
        let k = args.k.unwrap_or(if is_tiny_model { 8 } else { 1 });
        method.training.estimator = Arc::new(ForwardGradient { k });
    }
    if let (ServerOptimizer::Adaptive(adaptive), Some(rate)) =
        (&mut method.server, args.server_learning_rate)
    {
        adaptive.learning_rate = rate;
    }
}
