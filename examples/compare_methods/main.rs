//! Compares methods under one budget of work: each runs until its clients have spent the same
//! number of forward passes.
//!
//! `cargo run --example compare_methods -- --help` lists the options.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Parser;
use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use spry_core::{Event, Simulation, SimulationConfig};
use spry_examples::inputs::{InputArgs, above_0, at_least_1};
use spry_runner::Inputs;
use spry_runner::meter::AllocationMeter;
use spry_strategies::{METHODS, Method};

/// Compares methods under one budget of forward passes.
#[derive(Debug, Parser)]
#[command(name = "compare_methods")]
struct Args {
    #[command(flatten)]
    inputs: InputArgs,

    /// Methods to compare, separated by commas [default: the paper's seven].
    #[arg(long, value_delimiter = ',')]
    strategies: Vec<String>,

    /// Forward passes of one example that each method may spend on training, over all clients and
    /// rounds; it ends with the round that reaches them. A backward pass counts as two, a tangent
    /// as one.
    #[arg(long, default_value_t = 24_000)]
    budget: u64,

    /// Clients per round.
    #[arg(long, default_value_t = 10, value_parser = at_least_1)]
    cohort: usize,

    /// Learning rate of all methods, on the clients, or on the server if clients send gradients
    /// [default: each method's own].
    #[arg(long, value_parser = above_0)]
    learning_rate: Option<f64>,

    /// Change an option of one method, such as spry:estimator.k=4; can be given several times.
    #[arg(long = "set", value_name = "METHOD:OPTION=VALUE")]
    options: Vec<String>,

    /// Clients that work at the same time, one per core if 0; does not change the result.
    #[arg(long, default_value_t = 0)]
    jobs: usize,

    /// Folder for comparison.json.
    #[arg(long, default_value = "results/compare_methods", value_name = "DIR")]
    out: PathBuf,
}

/// What one method came to.
#[derive(Debug, Default, Serialize)]
struct Row {
    options: Option<Method>,
    method: String,
    rounds: u64,
    forward_passes: u64,
    accuracy: f64,
    loss: f64,
    bytes_up: u64,
    bytes_down: u64,
    peak_client_bytes: Option<u64>,
    secs: f64,
}

fn main() -> Result<()> {
    let args = Args::parse();
    // Mistakes in the options should show before anything is loaded.
    let methods = methods(&args)?;
    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot create {}", args.out.display()))?;
    let (config, inputs) = args.inputs.load()?;
    eprintln!(
        "{} on {}: {} forward passes of one example for each of {} methods",
        config.model.short_name(),
        config.dataset.short_name(),
        args.budget,
        methods.len()
    );

    let (mut rows, mut failed) = (Vec::new(), Vec::new());
    if let Some(method) = methods.first() {
        // In a simulation of its own: every method then starts on fresh threads, whose workspace
        // counts in its peak.
        let simulation = simulation(method, &inputs, &args)?;
        let start = simulation.evaluate(&simulation.state().params)?;
        rows.push(Row {
            method: "start".to_string(),
            accuracy: start.accuracy(),
            loss: start.loss(),
            ..Default::default()
        });
    }
    for method in methods {
        let simulation = simulation(&method, &inputs, &args)?;
        let name = method.name.clone();
        match run(method, simulation, &args) {
            Ok(row) => rows.push(row),
            Err(error) => {
                eprintln!("{name} failed: {error:#}");
                failed.push(name);
            }
        }
        // After each method: a comparison that is cut off keeps what it has.
        let json = serde_json::to_string_pretty(&rows)? + "\n";
        let path = args.out.join("comparison.json");
        spry_data::files::write_atomically(&path, json.as_bytes())?;
    }
    println!("{}", table(&rows));
    println!("written to {}", args.out.join("comparison.json").display());
    if !failed.is_empty() {
        bail!("these methods failed, as said above: {}", failed.join(", "));
    }
    Ok(())
}

/// The chosen methods with their options.
fn methods(args: &Args) -> Result<Vec<Method>> {
    let names: Vec<&str> = match args.strategies.is_empty() {
        true => METHODS.iter().filter(|spec| !spec.is_ablation).map(|spec| spec.name).collect(),
        false => args.strategies.iter().map(String::as_str).collect(),
    };
    for option in &args.options {
        let name = option.split_once(':').map(|(name, _)| name);
        if !name.is_some_and(|name| names.contains(&name)) {
            bail!(
                "--set {option}: must begin with one of the methods {} and a colon",
                names.join(", ")
            );
        }
    }
    let method = |name: &&str| -> Result<Method> {
        let all = args.options.iter().filter_map(|option| option.split_once(':'));
        let own: Vec<&str> = all.filter(|(of, _)| of == name).map(|(_, option)| option).collect();
        let mut method = spry_strategies::find(name)?.with_assignments(&own)?;
        if let Some(rate) = args.learning_rate {
            // The method's own options decide where its rate is, and may give another.
            method = method.with_learning_rate(rate).with_assignments(&own)?;
        }
        Ok(method)
    };
    names.iter().map(method).collect()
}

fn simulation(method: &Method, inputs: &Inputs, args: &Args) -> Result<Simulation<Method>> {
    let config = SimulationConfig {
        num_server_rounds: u64::MAX,
        max_forward_passes: Some(args.budget),
        cohort_size: args.cohort,
        seed: args.inputs.seed,
        jobs: args.jobs,
        evaluate_every: 0,
        personalized: false,
        ..Default::default()
    };
    let simulation =
        Simulation::new(method.clone(), inputs.clients()?, inputs.params.clone(), config)?;
    Ok(simulation.with_memory_meter(Arc::new(AllocationMeter)))
}

fn run(method: Method, mut simulation: Simulation<Method>, args: &Args) -> Result<Row> {
    let bar = ProgressBar::new(args.budget);
    bar.set_style(ProgressStyle::with_template(
        "{prefix:12} {bar:24} {pos}/{len} forward passes  {msg}  {eta} left",
    )?);
    bar.set_prefix(method.name.clone());
    let outcome = simulation.run(|event| match event {
        Event::RoundFinished(summary) => {
            bar.inc(summary.forward_passes);
            if let Some(report) = &summary.report {
                bar.set_message(format!("train loss {:.3}", report.train_loss));
            }
        }
        Event::ClientFailed { server_round, client, error } => {
            let name = &method.name;
            bar.suspend(|| {
                eprintln!("{name}, round {server_round}: client {client} left out: {error}")
            });
        }
        Event::ClientLeftOut { server_round, left_out } => {
            let (name, client, reason) = (&method.name, left_out.client, &left_out.reason);
            bar.suspend(|| {
                eprintln!("{name}, round {server_round}: client {client} left out: {reason}")
            });
        }
        Event::RoundSkipped { server_round, error } => {
            let name = &method.name;
            bar.suspend(|| eprintln!("{name}, round {server_round} changed nothing: {error}"));
        }
        _ => {}
    })?;
    bar.finish_and_clear();
    let evaluation = simulation.evaluate(&simulation.state().params)?;
    let row = Row {
        method: method.name.clone(),
        options: Some(method),
        rounds: outcome.rounds,
        forward_passes: outcome.forward_passes,
        accuracy: evaluation.accuracy(),
        loss: evaluation.loss(),
        bytes_up: outcome.bytes_up,
        bytes_down: outcome.bytes_down,
        peak_client_bytes: outcome.peak_client_bytes,
        secs: outcome.wall.as_secs_f64(),
    };
    let (name, percent) = (&row.method, 100.0 * row.accuracy);
    eprintln!(
        "{name}: accuracy {percent:.1} %, loss {:.4} after {} rounds, {:.0} s",
        row.loss, row.rounds, row.secs
    );
    Ok(row)
}

/// The table, in Markdown.
fn table(rows: &[Row]) -> Table {
    let mebibytes = |bytes: u64| format!("{:.2}", bytes as f64 / (1 << 20) as f64);
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        "method",
        "rounds",
        "forward passes",
        "accuracy",
        "loss",
        "MiB up",
        "MiB down",
        "peak MiB",
        "time",
    ]);
    for row in rows {
        table.add_row([
            row.method.clone(),
            row.rounds.to_string(),
            row.forward_passes.to_string(),
            format!("{:.1} %", 100.0 * row.accuracy),
            format!("{:.4}", row.loss),
            mebibytes(row.bytes_up),
            mebibytes(row.bytes_down),
            row.peak_client_bytes.map_or("-".to_string(), mebibytes),
            format!("{:.0} s", row.secs),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
