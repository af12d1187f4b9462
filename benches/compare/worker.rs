//! PyTorch in a process of its own, which is asked to do one thing at a time.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// Longer than OpenMP's threads wait actively for more work.
const SPIN: Duration = Duration::from_millis(20);

/// The process, which ends with this value.
pub struct Worker {
    process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Version of PyTorch.
    pub torch: String,
}

/// The Python with PyTorch: `SPRY_PYTHON`, or what `cargo xtask compare-setup` has made.
fn python() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"));
    let own = target.join("compare/bin/python");
    std::env::var_os("SPRY_PYTHON").map_or(own, PathBuf::from)
}

impl Worker {
    /// Starts the process on a model; see `torch_worker.py` for the fields.
    ///
    /// # Errors
    ///
    /// If there is no Python with PyTorch.
    pub fn start(model: &Value) -> Result<Self> {
        let python = python();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("compare/torch_worker.py");
        let mut process = Command::new(&python)
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| {
                let python = python.display();
                format!("cannot run {python}; `cargo xtask compare-setup` installs PyTorch for it")
            })?;
        let (Some(requests), Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            bail!("the process has no pipes");
        };
        let answers = BufReader::new(answers);
        let mut worker = Self { process, requests, answers, torch: String::new() };
        let ready = worker.ask(model)?;
        worker.torch = ready["torch"].as_str().unwrap_or("?").to_string();
        Ok(worker)
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    ///
    /// What the process says went wrong, or that it has ended.
    pub fn ask(&mut self, request: &Value) -> Result<Value> {
        writeln!(self.requests, "{request}").context("PyTorch's process has ended")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let answer: Value = serde_json::from_str(&line)
            .with_context(|| format!("PyTorch's process answered {line:?} to {request}"))?;
        match answer.get("error") {
            Some(error) => bail!("PyTorch could not do {request}: {error}"),
            None => Ok(answer),
        }
    }

    /// Seconds that a run took.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask).
    pub fn time(&mut self, request: &Value) -> Result<f64> {
        let answer = self.ask(request)?;
        // Its threads spin for a while before they sleep, and would take our cores.
        std::thread::sleep(SPIN);
        answer["seconds"].as_f64().with_context(|| format!("no time in the answer {answer}"))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = writeln!(self.requests, "{}", json!({"run": "exit"}));
        let _ = self.process.wait();
    }
}
