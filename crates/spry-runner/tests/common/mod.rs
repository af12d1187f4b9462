//! What the tests of the program share: how it is started, and a run that takes a second.
#![allow(dead_code)] // Not every test uses all of it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The program, offline, in a folder, with an empty cache: what this machine has downloaded before
/// must not matter.
pub fn spry(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spry"));
    command.current_dir(folder).env("HF_HUB_CACHE", folder.join("cache/hub")).arg("--offline");
    command
}

/// Options that make the smoke preset even smaller.
pub const SMALL: [&str; 12] = [
    "--preset",
    "smoke",
    "--set",
    "dataset.max_examples=320",
    "--set",
    "dataset.num_clients=8",
    "--set",
    "cohort_size=3",
    "--set",
    "method.estimator.k=2",
    "--set",
    "num_server_rounds=3",
];

/// Runs a command that must succeed; returns what it prints.
pub fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// What a command printed on standard error.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A run of three small rounds in `folder/name`.
pub fn small_run(folder: &Path, name: &str) -> PathBuf {
    succeed(spry(folder).arg("run").args(SMALL).args(["--out", name]));
    folder.join(name)
}

/// The bundled model's files.
pub fn tiny_bert() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/tiny-bert")
}

/// A reference case of spry-models.
pub fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../spry-models/tests/fixtures").join(name)
}
