//! What a run keeps on disk: it grows with the rounds only where it must, and damage to any byte of
//! it is noticed where it would matter.

mod common;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use common::{SMALL, small_run, spry, stderr};
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::Value;
use spry_core::Event;
use spry_data::Hub;
use spry_runner::compare::Comparison;
use spry_runner::exchange::{self, ExportOptions};
use spry_runner::run::checkpoint::Checkpoint;
use spry_runner::{Error, Run, RunConfig, Summary, presets};

fn hub() -> Hub {
    Hub::from_env().with_offline(true)
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).len()
}

/// Number of rows of a Parquet file.
fn rows(path: &Path) -> i64 {
    let file = fs::File::open(path).unwrap();
    SerializedFileReader::new(file).unwrap().metadata().file_metadata().num_rows()
}

/// A checkpoint after round 50 is not larger than one after round 5, rows are written once, and
/// tables and pictures not at every checkpoint.
#[test]
fn what_a_checkpoint_writes_does_not_grow_with_the_rounds() {
    const COHORT: u64 = 50;
    const ROUNDS: u64 = 50;
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let config = presets::find("smoke").unwrap().config().unwrap();
    let config = config
        .with_assignments(&[
            format!("cohort_size={COHORT}"),
            format!("dataset.num_clients={COHORT}"),
            format!("num_server_rounds={ROUNDS}"),
            "dataset.max_examples=200".to_string(),
            "method.estimator.k=1".to_string(),
            "evaluate_every=5".to_string(),
            "checkpoint_every=1".to_string(),
            "personalized=false".to_string(),
        ])
        .unwrap();
    let (mut sizes, mut tables) = (BTreeMap::new(), HashSet::new());
    let mut rows_after_5 = Vec::new();
    let client_rows = run.join("rows/clients.rows");
    let mut look = |round: u64| {
        let rows_of = |name: &str| size(&run.join("rows").join(name));
        let checkpoint = size(&run.join(format!("checkpoints/round-{round:08}.ckpt")));
        let rest = ["summary.json", "rows/index.json", "adapter/adapter_model.safetensors"];
        let rest: u64 = rest.iter().map(|name| size(&run.join(name))).sum();
        sizes.insert(round, (checkpoint, rest, rows_of("rounds.rows"), rows_of("clients.rows")));
        let written = fs::metadata(run.join("clients.parquet")).unwrap().modified().unwrap();
        tables.insert(written);
        if round == 5 {
            rows_after_5 = fs::read(&client_rows).unwrap();
        }
    };
    let mut simulated = Run::create(config, &run, &hub()).unwrap();
    simulated
        .execute(|event| {
            if let Event::RoundStarted { server_round, .. } = event
                && *server_round > 0
            {
                look(*server_round);
            }
        })
        .unwrap();
    look(ROUNDS);
    let (early, late) = (sizes[&5], sizes[&ROUNDS]);
    println!("checkpoint, rest, rows of rounds and of clients: {early:?}, then {late:?}");
    assert!(late.0.abs_diff(early.0) < 64, "checkpoints of {} and {} bytes", early.0, late.0);
    assert!(late.1.abs_diff(early.1) < 128, "{} and {} bytes beside them", early.1, late.1);
    for (name, early, late) in [("rounds", early.2, late.2), ("clients", early.3, late.3)] {
        let growth = late as f64 / early as f64;
        // Ten times the rounds; what the file begins with is there once.
        assert!((8.0..11.0).contains(&growth), "rows of {name} grew {growth}-fold");
    }
    assert!(fs::read(&client_rows).unwrap().starts_with(&rows_after_5), "rows are written once");
    // Each is a quarter longer than the one before it, and the last one whole.
    assert!((5..=20).contains(&tables.len()), "tables were written {} times", tables.len());
    assert_eq!(rows(&run.join("clients.parquet")), (ROUNDS * COHORT) as i64);
    assert_eq!(rows(&run.join("resources.parquet")), (1 + ROUNDS * (1 + COHORT)) as i64);
    assert_eq!(rows(&run.join("rounds.parquet")), 1 + ROUNDS as i64);
}

/// All files below a folder, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, mut all): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    all.extend(folders.iter().flat_map(|folder| files(folder)));
    all.sort();
    all
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let path = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(&file, &path).unwrap();
    }
}

/// Puts a file back after each change.
fn with_flipped(path: &Path, at: usize, bit: u8, check: impl FnOnce()) {
    let intact = fs::read(path).unwrap();
    let mut bytes = intact.clone();
    bytes[at] ^= 1 << bit;
    fs::write(path, bytes).unwrap();
    check();
    fs::write(path, intact).unwrap();
}

/// What `compare` shows of a run, in full precision.
fn compared(run: &Path) -> Result<String, Error> {
    let comparison = Comparison::read(&[run.to_path_buf()])?;
    let plots = comparison.plots()?;
    let rows = serde_json::to_string(&comparison.rows()).unwrap();
    Ok(format!("{}\n{rows}\n{plots:?}", comparison.table()))
}

fn exported(run: &Path, best: bool) -> Result<Vec<Vec<u8>>, Error> {
    let out = tempfile::tempdir().unwrap();
    let options = ExportOptions { best, with_base_model: false };
    let paths = exchange::export(run, out.path(), options, &hub())?;
    Ok(paths.iter().map(|path| fs::read(path).unwrap()).collect())
}

fn is_clear(error: &Error) -> bool {
    let line = error.line();
    [1, 2].contains(&error.exit_code()) && line.len() < 1000 && !line.contains("panicked")
}

/// Every byte of what `compare` reads, and bytes of all regions of what `export` reads, one bit of it
/// each time.
#[test]
fn a_flipped_bit_never_changes_what_is_compared_or_exported() {
    let folder = tempfile::tempdir().unwrap();
    let run = small_run(folder.path(), "run");
    let intact =
        (compared(&run).unwrap(), exported(&run, false).unwrap(), exported(&run, true).unwrap());
    let (mut looked, mut refused) = (0, 0);
    for path in files(&run) {
        let name = path.strip_prefix(&run).unwrap().display().to_string();
        let length = size(&path) as usize;
        // Pictures and TensorBoard's file are not read; weights and tables are long.
        let stride = match name.as_str() {
            name if name.starts_with("plots") || name.starts_with("tensorboard") => 997,
            name if name.ends_with(".ckpt") || name.ends_with(".safetensors") => 397,
            name if name.ends_with(".parquet") => 97,
            _ => 1,
        };
        let is_adapter = name.starts_with("adapter");
        for at in (0..length).step_by(stride) {
            with_flipped(&path, at, (at % 8) as u8, || {
                looked += 1;
                if !is_adapter || at % 7 == 0 {
                    match compared(&run) {
                        Ok(shown) => assert!(shown == intact.0, "{name}, byte {at}: other numbers"),
                        Err(error) => {
                            refused += 1;
                            assert!(is_clear(&error), "{name}, byte {at}: {error}")
                        }
                    }
                }
                // The others are not looked at again for each byte.
                if is_adapter || at % 61 == 0 {
                    for (best, intact) in [(false, &intact.1), (true, &intact.2)] {
                        match exported(&run, best) {
                            Ok(files) => assert!(files == *intact, "{name}, byte {at}: exported"),
                            Err(error) => assert!(is_clear(&error), "{name}, byte {at}: {error}"),
                        }
                    }
                }
            });
        }
    }
    println!("{looked} flips, of which {refused} were refused by compare");
    assert!(looked > 3000 && refused > 2000, "{looked} flips, {refused} refused");
}

/// The outcome without what depends on the machine.
fn outcome(summary: &Summary) -> Value {
    let mut json = serde_json::to_value(summary).unwrap();
    for key in ["wall_secs", "client_steps_per_sec", "peak_client_bytes"] {
        json.as_object_mut().unwrap().remove(key);
    }
    json
}

/// Files that `resume` reads: it comes to the same end, or says what is wrong. The configuration is
/// the user's to change; what may not change is refused.
#[test]
fn a_flipped_bit_never_changes_what_a_resumed_run_comes_to() {
    let folder = tempfile::tempdir().unwrap();
    let run = small_run(folder.path(), "run");
    let again = |run: &Path| -> Result<(Value, RunConfig), Error> {
        let mut run = Run::resume(run, None, &hub())?;
        let config = run.config().clone();
        Ok((outcome(&run.execute(|_| {})?), config))
    };
    let (intact, config) = again(&run).unwrap();
    let weights = fs::read(run.join("adapter/adapter_model.safetensors")).unwrap();
    let table = fs::read(run.join("clients.parquet")).unwrap();
    let may_change = spry_runner::run::MAY_CHANGE;
    let copied = folder.path().join("copy");
    let (mut same, mut refused, mut changed) = (0, 0, 0);
    for path in files(&run) {
        let name = path.strip_prefix(&run).unwrap().display().to_string();
        let length = size(&path) as usize;
        let flips = match name.as_str() {
            "config.toml" => 40,
            name if name.starts_with("checkpoints") || name.ends_with(".rows") => 8,
            name if name.ends_with(".json") => 2,
            _ => 1,
        };
        for flip in 0..flips {
            let at = ((2 * flip + 1) * length / (2 * flips)).min(length.saturating_sub(1));
            copy(&run, &copied);
            let mut bytes = fs::read(copied.join(&name)).unwrap();
            if bytes.is_empty() {
                continue;
            }
            bytes[at] ^= 1 << (flip % 8);
            fs::write(copied.join(&name), bytes).unwrap();
            match again(&copied) {
                Err(error) => {
                    refused += 1;
                    assert!(is_clear(&error), "{name}, byte {at}: {error}");
                }
                Ok((_, now)) if now.differing_keys(&config).iter().any(|key| key != "jobs") => {
                    changed += 1;
                    assert_eq!(name, "config.toml");
                    for key in now.differing_keys(&config) {
                        assert!(may_change.contains(&key.as_str()), "byte {at}: {key}");
                    }
                }
                Ok((now, _)) => {
                    same += 1;
                    assert_eq!(now, intact, "{name}, byte {at}");
                    // Whatever was damaged is whole again.
                    let read = |name: &str| fs::read(copied.join(name)).unwrap();
                    assert!(read("adapter/adapter_model.safetensors") == weights, "{name}");
                    assert!(read("clients.parquet") == table, "{name}, byte {at}");
                    compared(&copied).unwrap_or_else(|error| panic!("{name}, byte {at}: {error}"));
                    exported(&copied, true).unwrap();
                }
            }
            fs::remove_dir_all(&copied).unwrap();
        }
    }
    println!("{same} the same, {refused} refused, {changed} changed by their user");
    assert!(same > 20 && refused > 10, "{same} {refused} {changed}");
}

/// A checkpoint gives nothing at all once any bit of it is another one.
#[test]
fn a_flipped_bit_of_a_checkpoint_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let run = small_run(folder.path(), "run");
    let path = run.join("checkpoints/round-00000003.ckpt");
    assert_eq!(Checkpoint::read(&path).unwrap().snapshot.state.server_round, 3);
    for at in (0..size(&path) as usize).step_by(101).chain(0..64) {
        with_flipped(&path, at, 5, || {
            let read = Checkpoint::read(&path);
            assert!(matches!(read, Err(Error::Damaged { .. })), "byte {at}");
        });
    }
}

/// The program as a whole: no panic (101), and never another outcome.
#[test]
fn the_program_answers_damage_with_an_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let run = small_run(folder.path(), "run");
    let compare = || {
        let arguments = ["compare", "run", "--out", "page", "--format", "json"];
        spry(folder.path()).args(arguments).output().unwrap()
    };
    let intact = compare().stdout;
    for name in [
        "rounds.parquet",
        "resources.parquet",
        "summary.json",
        "config.toml",
        "rows/rounds.rows",
        "rows/clients.rows",
        "rows/index.json",
        "checkpoints/round-00000003.ckpt",
    ] {
        let path = run.join(name);
        let length = size(&path) as usize;
        for at in [4, length / 3, length / 2, length - 9, length - 2] {
            with_flipped(&path, at, 3, || {
                let output = compare();
                match output.status.code() {
                    Some(0) => assert!(output.stdout == intact, "{name}, byte {at}"),
                    code => assert_eq!(code, Some(2), "{name}, byte {at}: {}", stderr(&output)),
                }
            });
        }
    }
}

/// Something else than a file in the place of one is refused, and not waited for.
#[cfg(unix)]
#[test]
fn pipes_and_devices_in_a_run_are_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let run = small_run(folder.path(), "run");
    for (name, arguments) in [
        ("summary.json", vec!["compare", "run", "--out", "page"]),
        ("rows/index.json", vec!["compare", "run", "--out", "page"]),
        ("rows/rounds.rows", vec!["compare", "run", "--out", "page"]),
        ("rows/clients.rows", vec!["resume", "run"]),
        ("config.toml", vec!["resume", "run"]),
        ("adapter/checksums.json", vec!["export", "run", "out"]),
        ("adapter/adapter_model.safetensors", vec!["export", "run", "out"]),
    ] {
        let path = run.join(name);
        let kept = folder.path().join("kept");
        fs::rename(&path, &kept).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        let output = spry(folder.path()).args(&arguments).output().unwrap();
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{name}: {message}");
        fs::remove_file(&path).unwrap();
        fs::rename(&kept, &path).unwrap();
    }
}

/// Rows that were lost, or are of another run, are not taken for a run's own.
#[test]
fn rows_of_another_run_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = small_run(folder.path(), "run");
    let mut command = spry(folder.path());
    let other = command.arg("run").args(SMALL).args(["--set", "seed=1", "--out", "other"]);
    common::succeed(other);
    let kept = fs::read(run.join("rows/rounds.rows")).unwrap();
    for rows in [fs::read(folder.path().join("other/rows/rounds.rows")).ok(), None] {
        match rows {
            Some(rows) => fs::write(run.join("rows/rounds.rows"), rows).unwrap(),
            None => fs::remove_file(run.join("rows/rounds.rows")).unwrap(),
        }
        for arguments in [vec!["compare", "run", "--out", "page"], vec!["resume", "run"]] {
            let output = spry(folder.path()).args(&arguments).output().unwrap();
            assert_eq!(output.status.code(), Some(2), "{arguments:?}");
            assert!(stderr(&output).contains("rounds.rows is damaged"), "{}", stderr(&output));
        }
        // The checkpoints, which have no rows any more, were not thrown away.
        let is_checkpoint = |path: &PathBuf| path.extension().is_some_and(|e| e == "ckpt");
        assert_eq!(files(&run.join("checkpoints")).iter().filter(|p| is_checkpoint(p)).count(), 2);
        fs::write(run.join("rows/rounds.rows"), &kept).unwrap();
        common::succeed(spry(folder.path()).args(["resume", "run"]));
    }
}
