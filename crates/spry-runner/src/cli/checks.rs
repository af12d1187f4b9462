//! `partition`, `profile`, `verify`.

use std::path::PathBuf;

use burn::tensor::DType;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};
use spry_core::estimators::EstimatorConfig;
use spry_data::files::write_atomically;
use spry_data::{Hub, Partition, Partitioner};
use spry_models::case::{Case, Deviation};
use spry_runner::config::layers::explained;
use spry_runner::fit::open_device;
use spry_runner::profile::{self, ProfileOptions};
use spry_runner::text::{cell, mebibytes, message};
use spry_runner::{Error, Result, RunConfig, inputs, plots};

use super::Output;
use super::args::{PartitionArgs, Precision, ProfileArgs, VerifyArgs};

/// Clients that the table shows; the picture and the JSON have all.
const SHOWN_CLIENTS: usize = 40;

impl PartitionArgs {
    /// The configuration: the layers, then the flags.
    fn config(&self) -> Result<RunConfig> {
        let layers = &self.layers;
        let is_given = [&layers.preset, &self.dataset].into_iter().any(Option::is_some);
        if !is_given && layers.config.is_none() && layers.options.is_empty() {
            return Err(Error::Input(
                "there is nothing to deal: give a CONFIG.toml, --preset NAME or --dataset NAME"
                    .to_string(),
            ));
        }
        let name = self.dataset.iter().map(|name| format!("dataset.name={name}"));
        let options: Vec<String> = name.chain(layers.options.iter().cloned()).collect();
        let mut config = layers.with_file(layers.start()?)?.with_assignments(&options)?;
        config.dataset.validate()?;
        let dataset = &mut config.dataset;
        dataset.num_clients = self.clients.unwrap_or(dataset.num_clients);
        dataset.max_examples = self.max_examples.or(dataset.max_examples);
        dataset.seed = self.seed.or(dataset.seed);
        dataset.partitioner = match (self.iid, self.alpha) {
            (true, _) => Partitioner::Iid,
            (false, Some(alpha)) => dataset.partitioner.with_alpha(alpha),
            (false, None) => dataset.partitioner,
        };
        if dataset.max_examples == Some(0) {
            return Err(Error::Input("`max_examples` is 0, but must be at least 1".to_string()));
        }
        Ok(config)
    }
}

pub fn partition(args: &PartitionArgs, hub: &Hub) -> Result<Output> {
    let RunConfig { seed, dataset: config, .. } = args.config()?;
    let dataset = inputs::load_dataset(&config, hub, seed)?;
    let (labels, classes) = (dataset.labels(), dataset.classes());
    let partition = Partition { clients: inputs::partition(&config, &dataset, hub, seed)? };
    let left_out = partition.left_out(dataset.len());
    let counts = partition.class_counts(&labels, classes.len());

    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    let names = classes.iter().map(|class| cell(class));
    let (first, last) = ("client".to_string(), "examples".to_string());
    table.set_header([first].into_iter().chain(names).chain([last]));
    let line = |name: String, row: &[usize]| {
        let total: usize = row.iter().sum();
        let numbers = row.iter().copied().chain([total]).map(|number| number.to_string());
        [name].into_iter().chain(numbers).collect::<Vec<_>>()
    };
    for (client, row) in counts.iter().enumerate().take(SHOWN_CLIENTS) {
        table.add_row(line(client.to_string(), row));
    }
    if counts.len() > SHOWN_CLIENTS {
        table.add_row(line("...".to_string(), &[]).into_iter().take(1));
    }
    let total = |class| counts.iter().map(|row| row[class]).sum();
    let totals: Vec<usize> = (0..classes.len()).map(total).collect();
    table.add_row(line(format!("all {}", counts.len()), &totals));
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let mut text = table.to_string();
    text += &match left_out {
        0 => "\nevery example goes to a client".to_string(),
        count => format!("\n{count} of {} examples go to no client", dataset.len()),
    };
    if let Some(path) = &args.plot {
        let how = match config.partitioner {
            Partitioner::Dirichlet { alpha } => format!("Dirichlet, α = {alpha}"),
            Partitioner::DirichletPaper { alpha } => format!("the paper's Dirichlet, α = {alpha}"),
            Partitioner::Iid => "uniformly at random".to_string(),
            Partitioner::Natural => {
                let key = config.layout.key_column.as_deref().unwrap_or("group");
                format!("by {key}")
            }
        };
        let title = format!("{}: {} clients, {how}", dataset.name(), counts.len());
        let svg = plots::bars::stacked(&title, &counts, &classes)?;
        write_atomically(path, svg.as_bytes())?;
        text += &format!("\nwritten to {}", path.display());
    }
    let json = json!({
        "dataset": dataset.name(),
        "partitioner": config.partitioner,
        "seed": config.seed(seed),
        "classes": classes,
        "counts": counts,
        "examples": dataset.len(),
        "left_out": left_out,
    });
    Output::new(text, json)
}

/// Fails for a flag that the estimator would have no use for.
fn check_profile(args: &ProfileArgs) -> Result<()> {
    let name = &args.estimator;
    let is_inference = name == profile::INFERENCE;
    // A name that is none is reported later.
    let estimator = serde_json::from_value::<EstimatorConfig>(json!({"name": name}));
    let has_no_number = estimator.is_ok_and(|estimator| estimator.with_directions(1).is_none());
    if args.k.is_some() && (is_inference || has_no_number) {
        return Err(Error::Input(format!("-k has no effect: {name} has no number of directions")));
    }
    if args.trains.is_some() && is_inference {
        return Err(Error::Input(format!("--trains has no effect: {name} trains nothing")));
    }
    Ok(())
}

pub fn profile(args: &ProfileArgs) -> Result<Output> {
    check_profile(args)?;
    let device = open_device(&args.device).map_err(explained)?;
    let (folder, config) = (args.model.as_deref(), args.random_weights.as_deref());
    let options = ProfileOptions {
        estimator: args.estimator.clone(),
        trains: args.trains.clone().unwrap_or_else(|| "all".to_string()),
        k: args.k.unwrap_or(1),
        batch: args.batch,
        seq: args.seq,
        iterations: args.iterations,
        threads: args.threads,
    };
    let profile = profile::profile(profile::model(folder, config, &device)?, &options)?;
    let json = serde_json::to_value(&profile).map_err(|error| Error::Failed(error.to_string()))?;
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let size = |bytes| format!("{} MiB", mebibytes(bytes));
    for (name, value) in [
        ("estimator", profile.estimator.clone()),
        ("trains", format!("{}: {} values", profile.trains, profile.trained_values)),
        ("directions (k)", profile.k.to_string()),
        ("batch × length", format!("{} × {}", profile.batch, profile.seq)),
        ("threads", profile.threads.to_string()),
        ("median time of a step", format!("{:.1} ms", profile.median_ms)),
        ("shortest", format!("{:.1} ms", profile.min_ms)),
        ("weights", size(profile.weight_bytes)),
        ("peak above the weights", size(profile.peak_bytes_above_weights)),
    ] {
        table.add_row([name.to_string(), value]);
    }
    Output::new(table.trim_fmt(), json)
}

pub fn verify(args: &VerifyArgs) -> Result<Output> {
    if !(args.tolerance.is_finite() && args.tolerance >= 0.0) {
        return Err(Error::Input(format!(
            "`--tolerance` is {}, but must be a number of at least 0",
            args.tolerance
        )));
    }
    let device = open_device(&args.device).map_err(explained)?;
    let dtype = match args.dtype {
        Precision::F32 => DType::F32,
        Precision::F64 => DType::F64,
    };
    let (mut lines, mut rows) = (Vec::new(), Vec::new());
    let (mut worst_code, mut failed) = (None, 0);
    // So that a pattern such as `golden/*` may also match a folder of something else.
    let (cases, others): (Vec<&PathBuf>, Vec<&PathBuf>) =
        args.cases.iter().partition(|folder| !folder.is_dir() || folder.join("case.json").exists());
    if cases.is_empty() {
        return Err(Error::Input(format!(
            "there is no reference case in {}: no `case.json`",
            others.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ")
        )));
    }
    for folder in others {
        let name = folder.display().to_string();
        lines.push(format!("skipped {name}: it has no case.json"));
        rows.push(json!({"case": name, "skipped": true}));
    }
    for &folder in &cases {
        let name = folder.display().to_string();
        let case = Case::load(folder, &device, dtype).map_err(Error::from);
        match case.and_then(|case| Ok(case.deviations()?)) {
            Ok(deviations) => {
                // NaN counts as above everything.
                let is_within = |d: &Deviation| d.relative_error <= args.tolerance;
                let passed = deviations.iter().all(is_within);
                failed += usize::from(!passed);
                let groups = grouped(&deviations);
                let errors: Vec<String> =
                    groups.iter().map(|(name, error)| format!("{name} {error:.1e}")).collect();
                let word = if passed { "ok    " } else { "FAILED" };
                lines.push(format!("{word} {name}: {}", errors.join(", ")));
                let errors: serde_json::Map<String, Value> =
                    groups.into_iter().map(|(name, error)| (name, json!(error))).collect();
                rows.push(json!({"case": name, "passed": passed, "relative_errors": errors}));
            }
            Err(error) => {
                failed += 1;
                worst_code = worst_code.max(Some(error.exit_code()));
                lines.push(format!("FAILED {name}: {}", error.line()));
                rows.push(json!({"case": name, "passed": false, "error": error.line()}));
            }
        }
    }
    // A folder's name may have a line break, which would pass for the line of another case.
    let lines: Vec<String> = lines.iter().map(|line| message(line)).collect();
    let mut output = Output::new(lines.join("\n"), json!({"cases": rows}))?;
    let message = format!("{failed} of {} cases failed", cases.len());
    output.failure = match worst_code {
        _ if failed == 0 => None,
        Some(spry_runner::error::BAD_INPUT) => Some(Error::Input(message)),
        _ => Some(Error::Failed(format!("{message} with tolerance {:e}", args.tolerance))),
    };
    Ok(output)
}

/// The worst relative error of each quantity; the gradients of all tensors are one.
fn grouped(deviations: &[Deviation]) -> Vec<(String, f64)> {
    let mut groups: Vec<(String, f64)> = Vec::new();
    for Deviation { quantity, relative_error } in deviations {
        let name = if quantity.starts_with("gradient of ") { "gradient" } else { quantity };
        match groups.iter_mut().find(|(group, _)| group == name) {
            // `max` ignores NaN, which must show.
            Some((_, worst)) if relative_error.is_nan() => *worst = f64::NAN,
            Some((_, worst)) if !worst.is_nan() => *worst = worst.max(*relative_error),
            Some(_) => {}
            None => groups.push((name.to_string(), *relative_error)),
        }
    }
    groups
}
