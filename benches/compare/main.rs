//! Spry against PyTorch: the same step on the same shapes, in turn, in one run.
//!
//! ```text
//! cargo xtask compare-setup                         # once: PyTorch into target/
//! cargo bench --bench compare                       # steps and memory on random weights
//! cargo bench --bench compare -- --model DIR --dataset DIR   # and simulated rounds on real text
//! ```
//!
//! `--repetitions N` (9 by default) and `--shape` (minilm, bert-base, bert-large, none) make it longer
//! or shorter.
//! Both sides have all cores. A *step* is what a client does with a batch: here with directions drawn
//! from its seed, there with given ones. A *jvp* is that alone. What it prints is the table of `docs/performance.md`: medians, their
//! ratios, and what was asked for.

mod rounds;
mod worker;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use clap::Parser;
use rounds::Rounds;
use serde_json::{Value, json};
use spry_bench::{BERT_BASE_8, BERT_LARGE_8, MINILM, Shape, Workbench};
use spry_core::perturbation::Directions;
use spry_core::{Backprop, ForwardGradient, GradientEstimator, Objective, PrefixCache, Seed, Step};
use worker::Worker;

#[derive(Parser)]
struct Args {
    /// How often each side does each thing.
    #[arg(long, default_value_t = 9)]
    repetitions: usize,
    /// Only this shape, and not even that with `none`. Of BERT large there is only the memory.
    #[arg(long, value_parser = ["minilm", "bert-base", "bert-large", "none"])]
    shape: Option<String>,
    /// A MiniLM's folder, for simulated rounds; relative to the workspace.
    #[arg(long, requires = "dataset")]
    model: Option<PathBuf>,
    /// AG News's folder, likewise.
    #[arg(long, requires = "model")]
    dataset: Option<PathBuf>,
    /// Passed by Cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let is_chosen = |shape: &Shape| args.shape.as_ref().is_none_or(|id| id == shape.id);
    for shape in [MINILM, BERT_BASE_8].iter().filter(|shape| is_chosen(shape)) {
        steps(shape, args.repetitions)?;
    }
    for shape in [MINILM, BERT_BASE_8, BERT_LARGE_8].iter().filter(|shape| is_chosen(shape)) {
        memory(shape)?;
    }
    if let (Some(model), Some(dataset)) = (&args.model, &args.dataset) {
        // Cargo runs benchmarks in their package's folder.
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let (model, dataset) = (workspace.join(model), workspace.join(dataset));
        simulated(&Rounds::load(&model, &dataset)?, &model, args.repetitions)?;
    }
    Ok(())
}

/// What is asked of PyTorch's process for a shape.
fn description(shape: &Shape, tuned: bool) -> Result<Value> {
    let mut config: Value = serde_json::from_str(shape.config)?;
    config["type_vocab_size"] = json!(2);
    Ok(json!({
        "config": config, "model_dir": null, "num_labels": 4, "batch": shape.batch,
        "length": shape.seq, "threads": rayon::current_num_threads(),
        "lora": {"r": 1, "alpha": 1.0}, "tuned": tuned,
    }))
}

/// Times of both sides, in turn.
#[derive(Default)]
struct Times {
    ours: Vec<f64>,
    torch: Vec<f64>,
}

impl Times {
    fn medians(&mut self) -> [f64; 2] {
        [median(&mut self.ours), median(&mut self.torch)]
    }
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    match times.len() {
        0 => f64::NAN,
        n if n.is_multiple_of(2) => 0.5 * (times[n / 2 - 1] + times[n / 2]),
        n => times[n / 2],
    }
}

fn seconds(work: impl FnOnce()) -> f64 {
    let started = Instant::now();
    work();
    started.elapsed().as_secs_f64()
}

fn print(what: &str, ratio: f64, limit: f64) {
    let verdict = if ratio <= limit { "met" } else { "missed" };
    println!("| {what} | {ratio:.2} | ≤ {limit} | {verdict} |");
}

fn steps(shape: &Shape, repetitions: usize) -> Result<()> {
    let mut torch = Worker::start(&description(shape, false)?)?;
    let mut tuned = Worker::start(&description(shape, true)?)?;
    let bench = Workbench::new(*shape, None)?;
    let (all, parts) = (bench.all(), bench.spry_parts());
    let one = ForwardGradient::default();
    let directions = Directions::gaussian(8).all(&Seed::new(1), &bench.params)?;
    let jvp_of = |k: usize| seconds(|| drop(bench.objective.jvp(&bench.params, &directions[..k])));
    let caches: Vec<Arc<PrefixCache>> =
        parts.iter().map(|part| Arc::new(PrefixCache::new(part, u64::MAX))).collect();
    let examples: Vec<usize> = (0..shape.batch).collect();
    let later_epoch = |part: usize| {
        let objective = bench.objective.clone().with_prefix(&caches[part], &examples)?;
        let seed = Seed::new(1);
        let step = Step::new(&bench.params, &parts[part], &seed);
        anyhow::Ok(one.estimate(&objective, &step).map(drop)?)
    };
    // The first epoch fills the caches.
    (0..parts.len()).try_for_each(&later_epoch)?;

    let [mut inference, mut backprop, mut jvp, mut many] = [0; 4].map(|_| Times::default());
    let mut tuned_jvp = Vec::new();
    let mut groups: Vec<Times> = parts.iter().map(|_| Times::default()).collect();
    let mut cached: Vec<Vec<f64>> = vec![Vec::new(); parts.len()];
    // The first repetition warms up.
    for repetition in 0..=repetitions {
        let note = |times: &mut Times, torch: f64, ours: f64| {
            if repetition > 0 {
                times.torch.push(torch);
                times.ours.push(ours);
            }
        };
        let step = |estimator: &dyn GradientEstimator, part: &[String]| {
            seconds(|| drop(bench.step(estimator, part)))
        };
        let time = torch.time(&json!({"run": "inference"}))?;
        note(&mut inference, time, seconds(|| drop(bench.objective.loss(&bench.params))));
        let time = torch.time(&json!({"run": "backprop"}))?;
        note(&mut backprop, time, step(&Backprop {}, &all));
        let time = torch.time(&json!({"run": "jvp_all"}))?;
        note(&mut jvp, time, jvp_of(1));
        let time = tuned.time(&json!({"run": "jvp_all"}))?;
        if repetition > 0 {
            tuned_jvp.push(time);
        }
        let time = torch.time(&json!({"run": "jvp_many", "k": 8}))?;
        note(&mut many, time, jvp_of(8));
        for (group, part) in parts.iter().enumerate() {
            let time = torch.time(&json!({"run": "jvp_group", "group": group}))?;
            note(&mut groups[group], time, step(&one, part));
            let again = seconds(|| drop(later_epoch(group)));
            if repetition > 0 {
                cached[group].push(again);
            }
        }
    }
    let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
    let group_medians: Vec<[f64; 2]> = groups.iter_mut().map(Times::medians).collect();
    let split = [0, 1].map(|side| mean(group_medians.iter().map(|times| times[side]).collect()));
    let cached = mean(cached.iter_mut().map(|times| median(times)).collect());
    let (inference, backprop) = (inference.medians(), backprop.medians());
    let (jvp, many, tuned_jvp) = (jvp.medians(), many.medians(), median(&mut tuned_jvp));

    println!(
        "\n## {}: batch {}, length {}, {} threads, PyTorch {}, medians of {repetitions}\n",
        shape.name,
        shape.batch,
        shape.seq,
        rayon::current_num_threads(),
        torch.torch
    );
    println!("| step | Spry | PyTorch | ratio |\n|---|---|---|---|");
    let row = |what: &str, [ours, torch]: [f64; 2]| {
        println!("| {what} | {:.1} ms | {:.1} ms | {:.2} |", 1e3 * ours, 1e3 * torch, ours / torch);
    };
    row("inference", inference);
    row("backpropagation", backprop);
    row("jvp over all LoRA weights", jvp);
    row("the same, PyTorch tuned by hand", [jvp[0], tuned_jvp]);
    row("8 directions over all LoRA weights", many);
    row("split step, mean over the groups", split);
    println!("| split step, second local epoch | {:.1} ms | | |", 1e3 * cached);
    println!("\n| ratio | measured | asked for | |\n|---|---|---|---|");
    print("inference / PyTorch's", inference[0] / inference[1], 0.85);
    print("jvp over all / torch.func.jvp", jvp[0] / jvp[1], 0.55);
    print("jvp over all / own inference", jvp[0] / inference[0], 2.1);
    print("split step / PyTorch's", split[0] / split[1], 0.6);
    print("split step / PyTorch's backpropagation", split[0] / backprop[1], 0.75);
    print("split step, second epoch / PyTorch's backpropagation", cached / backprop[1], 0.5);
    print("8 directions / 1 direction", many[0] / jvp[0], 5.0);
    Ok(())
}

fn memory(shape: &Shape) -> Result<()> {
    let bench = Workbench::new(*shape, None)?;
    let all = bench.all();
    let inference = bench.inference_peak_bytes() as f64;
    let forward = bench.peak_bytes(&ForwardGradient::default(), &all) as f64;
    let backprop = bench.peak_bytes(&Backprop {}, &all) as f64;
    let mebibytes = |bytes: f64| bytes / (1 << 20) as f64;
    println!(
        "\n## {}: peak above the weights, batch {}, length {}\n\ninference {:.1} MiB, forward \
         gradient {:.1} MiB, backpropagation {:.1} MiB\n",
        shape.name,
        shape.batch,
        shape.seq,
        mebibytes(inference),
        mebibytes(forward),
        mebibytes(backprop)
    );
    println!("| ratio | measured | asked for | |\n|---|---|---|---|");
    print("forward gradient / inference", forward / inference, 1.8);
    let verdict = |limit: f64| match backprop / forward >= limit {
        true => "met",
        false => "missed",
    };
    let times = backprop / forward;
    match shape.id {
        "bert-base" => println!(
            "| backpropagation / forward gradient | {times:.1} | ≥ 12 | {} |",
            verdict(12.0)
        ),
        "bert-large" => println!(
            "| backpropagation / forward gradient | {times:.1} | ≥ 20 | {} |",
            verdict(20.0)
        ),
        _ => println!("| backpropagation / forward gradient | {times:.1} | | |"),
    }
    Ok(())
}

fn simulated(rounds: &Rounds, model: &Path, repetitions: usize) -> Result<()> {
    let mut description = description(&MINILM, false)?;
    description["model_dir"] = json!(model);
    description["num_labels"] = json!(rounds.num_labels());
    let mut torch = Worker::start(&description)?;
    description["tuned"] = json!(true);
    let mut tuned = Worker::start(&description)?;
    let file = tempfile::NamedTempFile::new()?;
    let batches = rounds.batches()?;
    serde_json::to_writer(&file, &batches)?;
    let load = json!({"load_clients": file.path()});
    let torch_steps = torch.ask(&load)?["steps"].as_f64().unwrap_or(f64::NAN);
    tuned.ask(&load)?;
    let [mut ours, mut theirs, mut by_hand] = [0; 3].map(|_| Vec::new());
    for repetition in 0..=repetitions.div_ceil(3) {
        let (steps, wall) = rounds.spry()?;
        let run = json!({"run": "clients"});
        let (time, tuned_time) = (torch.time(&run)?, tuned.time(&run)?);
        if repetition > 0 {
            ours.push(steps as f64 / wall.as_secs_f64());
            theirs.push(torch_steps / time);
            by_hand.push(torch_steps / tuned_time);
        }
    }
    let [ours, theirs, by_hand] = [&mut ours, &mut theirs, &mut by_hand].map(|rates| median(rates));
    println!("\n## Simulated rounds: 10 clients, AG News, MiniLM, Spry\n");
    println!(
        "{ours:.1} client steps per second; PyTorch, a loop over the clients on the same cores, \
         {theirs:.1}, tuned by hand {by_hand:.1}; of the tokens of its batches, each padded to its \
         longest text, {:.0} % are padding\n",
        100.0 * Rounds::padding(&batches)
    );
    println!("| ratio | measured | asked for | |\n|---|---|---|---|");
    let verdict = if ours / theirs >= 2.0 { "met" } else { "missed" };
    println!("| client steps per second / PyTorch's | {:.2} | ≥ 2 | {verdict} |", ours / theirs);
    println!("| the same, PyTorch tuned by hand | {:.2} | | |", ours / by_hand);
    Ok(())
}
