//! Chores of the workspace: `cargo xtask <chore>`.
//!
//! - `ci`: everything that must hold before a change is kept, in the order of cost.
//! - `tidy`: conventions that no compiler checks.
//! - `interop`: the tests against Python's peft, transformers and TensorBoard.
//! - `fixtures`: reference cases from PyTorch, as the tests of `spry-models` read them.
//! - `fuzz`: mutated inputs through everything that parses what others wrote.
//! - `bench-report`: a table and a plot of the last `cargo bench --bench estimators`.
//! - `compare-setup`: installs PyTorch for `cargo bench --bench compare`.
//! - `pretrain-tiny`: makes the bundled tiny BERT.
//!
//! This crate does not depend on the others: it runs `cargo` and reads files.

mod bench_report;
mod deny;
mod fuzz;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Parser;
use serde_json::Value;

/// Chores of the workspace.
#[derive(Parser)]
#[command(name = "cargo xtask")]
enum Chore {
    /// Formatting, conventions, dependencies, lints, documentation, tests, and the examples
    /// offline.
    Ci,
    /// Conventions that no compiler checks.
    Tidy,
    /// Tests what is exchanged with Python: peft, transformers, TensorBoard. Needs a Python with
    /// torch, transformers, peft and tensorboard: the one in SPRY_PYTHON, or python3.
    Interop,
    /// Computes the reference cases of `spry-models` that `generate.py` describes, or those named,
    /// anew. Needs a Python with torch, transformers and peft: the one in SPRY_PYTHON, or python3.
    Fixtures {
        /// Names of cases.
        cases: Vec<String>,
    },
    /// Mutates valid files and messages, and has the parsers of the workspace read the results: no
    /// panic, no abort, no hang, no gigabytes. What made one fail is kept under target/fuzz/.
    Fuzz(fuzz::FuzzArguments),
    /// A table and a plot under docs/ of the last `cargo bench --bench estimators`.
    BenchReport,
    /// Installs PyTorch from PyPI into target/compare, for `cargo bench --bench compare`. Takes
    /// several gigabytes; python3 must have venv and pip.
    CompareSetup,
    /// Pretrains the bundled tiny BERT on generated text and puts it in its place.
    PretrainTiny,
}

fn main() -> Result<()> {
    let root = root();
    match Chore::parse() {
        Chore::Ci => ci(&root),
        Chore::Tidy => tidy::check(&root),
        Chore::Interop => cargo(
            &root,
            "test --workspace --test interop -- --nocapture",
            Some(("SPRY_INTEROP", "required")),
        ),
        Chore::Fixtures { cases } => fixtures(&root, &cases),
        Chore::Fuzz(arguments) => fuzz::run(&root, &arguments),
        Chore::BenchReport => bench_report::write(&root),
        Chore::CompareSetup => compare_setup(&root),
        Chore::PretrainTiny => pretrain_tiny(&root),
    }
}

/// The workspace's folder.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_path_buf()
}

/// Makes a Python of its own for the comparison, with what the worker needs.
fn compare_setup(root: &Path) -> Result<()> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let folder = target.unwrap_or_else(|| root.join("target")).join("compare");
    let run = |program: &Path, arguments: &[&std::ffi::OsStr]| -> Result<()> {
        let name = program.display().to_string();
        let status = Command::new(program).args(arguments).status();
        if !status.with_context(|| format!("cannot run {name}"))?.success() {
            bail!("{name} failed");
        }
        Ok(())
    };
    run(Path::new("python3"), &["-m".as_ref(), "venv".as_ref(), folder.as_os_str()])?;
    let requirements = root.join("benches/compare/requirements.txt");
    let install = ["-m", "pip", "install", "--quiet", "--requirement"].map(AsRef::as_ref);
    run(&folder.join("bin/python"), &[&install[..], &[requirements.as_os_str()]].concat())?;
    println!("ready: cargo bench --bench compare");
    Ok(())
}

/// Runs the generator of reference cases beside the cases.
fn fixtures(root: &Path, cases: &[String]) -> Result<()> {
    let python = std::env::var("SPRY_PYTHON").unwrap_or_else(|_| "python3".to_string());
    let folder = root.join("crates/spry-models/tests/fixtures");
    let status = Command::new(&python)
        .arg(folder.join("generate.py"))
        .arg(&folder)
        .args(cases)
        .status()
        .with_context(|| format!("cannot run {python}; set SPRY_PYTHON to a Python"))?;
    if !status.success() {
        bail!("{python} failed; it needs torch, transformers and peft (pip install)");
    }
    Ok(())
}

/// An empty cache: whatever this machine has downloaded before must not matter.
const NO_HUB_CACHE: (&str, &str) = ("HF_HUB_CACHE", "target/ci/no-hub-cache");

fn ci(root: &Path) -> Result<()> {
    step("tidy", || tidy::check(root))?;
    step("dependencies", || deny::check(root))?;
    for (name, arguments, variables) in [
        ("format", "fmt --all --check", None),
        ("lints", "clippy --workspace --all-targets -- -D warnings", None),
        ("documentation", "doc --workspace --no-deps", Some(("RUSTDOCFLAGS", "-D warnings"))),
        ("tests", "test --workspace", None),
        (
            "example compare_methods",
            "run --example compare_methods -- --offline --budget 1600 --out target/ci/compare",
            Some(NO_HUB_CACHE),
        ),
        (
            "example agnews_bert",
            "run --example agnews_bert -- --offline --rounds 15 --out target/ci/agnews_bert",
            Some(NO_HUB_CACHE),
        ),
    ] {
        step(name, || cargo(root, arguments, variables))?;
    }
    check_comparison(&root.join("target/ci/compare/comparison.json"))?;
    check_summary(&root.join("target/ci/agnews_bert/summary.json"))
}

/// Runs one step and says how long it took.
fn step(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("== {name}");
    let started = Instant::now();
    work().with_context(|| format!("{name} failed"))?;
    println!("== {name}: {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}

fn cargo(root: &Path, arguments: &str, variable: Option<(&str, &str)>) -> Result<()> {
    let mut command = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_string()));
    command.current_dir(root).args(arguments.split(' ')).envs(variable);
    let status = command.status().context("cannot start cargo")?;
    if !status.success() {
        bail!("`cargo {arguments}` ended with {status}");
    }
    Ok(())
}

/// The example must have learned something: after 15 rounds far above chance.
fn check_summary(path: &Path) -> Result<()> {
    let accuracy = read_json(path)?["generalized_accuracy"].as_f64();
    let accuracy = accuracy.context("summary.json has no generalized_accuracy")?;
    if accuracy < 0.8 {
        bail!("the example reached {accuracy} after 15 rounds, expected at least 0.8");
    }
    println!("== the example reached {:.1} %", 100.0 * accuracy);
    Ok(())
}

/// All seven methods must have a row, after the one of the start.
fn check_comparison(path: &Path) -> Result<()> {
    let json = read_json(path)?;
    let rows = json.as_array().context("comparison.json is not a list")?;
    let is_complete = |row: &Value| row["accuracy"].is_f64() && row["loss"].is_f64();
    if rows.len() != 8 || !rows.iter().all(is_complete) {
        bail!("the comparison has {} rows, expected 8 with accuracy and loss", rows.len());
    }
    Ok(())
}

fn read_json(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

fn pretrain_tiny(root: &Path) -> Result<()> {
    let folder = "crates/spry-runner/assets/tiny-bert";
    cargo(
        root,
        &format!("run --example pretrain_tiny -- --steps 5000 --learning-rate 4e-3 --out {folder}"),
        None,
    )
}
