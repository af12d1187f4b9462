//! What the user sees while the run goes on, and what is left of it afterwards.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use spry_core::{Evaluation, Event, Outcome};

/// A progress bar with round, loss, accuracy and time left; plain lines where there is no
/// terminal. Keeps the learning curve.
pub struct Progress {
    bar: ProgressBar,
    is_terminal: bool,
    is_stopped: bool,
    started: Instant,
    curve: Vec<CurvePoint>,
    train_loss: Option<f64>,
    personalized: Evaluation,
}

/// The global parameters after some rounds.
#[derive(Clone, Debug, Serialize)]
pub struct CurvePoint {
    rounds: u64,
    generalized_loss: f64,
    generalized_accuracy: f64,
    train_loss: Option<f64>,
    secs: f64,
}

impl Progress {
    pub fn new(rounds: u64) -> Result<Self> {
        let bar = ProgressBar::new(rounds);
        let template = "{bar:24} round {pos}/{len}  {msg}  {elapsed} elapsed, {eta} left";
        bar.set_style(ProgressStyle::with_template(template)?);
        Ok(Self {
            is_terminal: !bar.is_hidden(),
            is_stopped: false,
            bar,
            started: Instant::now(),
            curve: Vec::new(),
            train_loss: None,
            personalized: Evaluation::default(),
        })
    }

    pub fn on_event(&mut self, event: Event<'_>) {
        match event {
            Event::RoundFinished(summary) => {
                self.train_loss = summary.report.as_ref().map(|report| report.train_loss);
                self.personalized = summary.personalized();
                self.bar.inc(1);
                self.bar.set_message(self.message());
            }
            Event::Evaluated { rounds, generalized, .. } => {
                self.curve.push(CurvePoint {
                    rounds,
                    generalized_loss: generalized.loss(),
                    generalized_accuracy: generalized.accuracy(),
                    train_loss: self.train_loss,
                    secs: self.started.elapsed().as_secs_f64(),
                });
                self.bar.set_message(self.message());
                if !self.is_terminal {
                    eprintln!("after {rounds} rounds: {}", self.message());
                }
            }
            Event::ClientFailed { server_round, client, error } => {
                self.say(&format!("round {server_round}: client {client} left out: {error}"));
            }
            Event::RoundSkipped { server_round, error } => {
                self.say(&format!("round {server_round} changed nothing: {error}"));
            }
            Event::Stopped { rounds } => {
                self.is_stopped = true;
                self.say(&format!("stopped on request after {rounds} rounds"));
            }
            _ => {}
        }
    }

    /// The learning curve so far, and the newest round's personalised evaluation.
    pub fn finish(self) -> (Vec<CurvePoint>, Evaluation) {
        // Not `finish`, which would fill the bar of a run that stopped early.
        if self.is_stopped {
            self.bar.abandon()
        } else {
            self.bar.finish()
        }
        (self.curve, self.personalized)
    }

    fn say(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }

    fn message(&self) -> String {
        let train = self.train_loss.map_or(String::new(), |loss| format!("train loss {loss:.3}, "));
        let test = self.curve.last().map_or(String::new(), |point| {
            let accuracy = 100.0 * point.generalized_accuracy;
            format!("test loss {:.3}, accuracy {accuracy:.1} %", point.generalized_loss)
        });
        train + &test
    }
}

/// The outcome of a run, as written to `summary.json`.
#[derive(Debug, Serialize)]
pub struct Summary {
    pub method: String,
    pub dataset: String,
    pub model: String,
    pub seed: u64,
    pub rounds: u64,
    pub evaluated_after_rounds: u64,
    pub stopped: bool,
    pub generalized_accuracy: Option<f64>,
    pub generalized_loss: Option<f64>,
    pub personalized_accuracy: Option<f64>,
    pub bytes_up: u64,
    pub bytes_down: u64,
    pub peak_client_bytes: Option<u64>,
    pub weight_bytes: u64,
    pub wall_secs: f64,
    pub curve: Vec<CurvePoint>,
}

impl Summary {
    /// Fills in what the run measured.
    pub fn measured(mut self, outcome: &Outcome, personalized: Evaluation) -> Self {
        self.rounds = outcome.rounds;
        self.evaluated_after_rounds = outcome.evaluated_after_rounds;
        self.stopped = outcome.stopped;
        self.generalized_accuracy = outcome.generalized.map(|e| e.accuracy());
        self.generalized_loss = outcome.generalized.map(|e| e.loss());
        self.personalized_accuracy = (personalized.examples > 0).then(|| personalized.accuracy());
        self.bytes_up = outcome.bytes_up;
        self.bytes_down = outcome.bytes_down;
        self.peak_client_bytes = outcome.peak_client_bytes;
        self.wall_secs = outcome.wall.as_secs_f64();
        self
    }

    /// Prints a table.
    pub fn print(&self) {
        let percent =
            |value: Option<f64>| value.map_or("-".into(), |v| format!("{:.1} %", 100.0 * v));
        let mebibytes = |bytes: u64| format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64);
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY);
        let loss = self.generalized_loss.map_or("-".into(), |loss| format!("{loss:.4}"));
        for (name, value) in [
            ("method", self.method.clone()),
            ("model", self.model.clone()),
            ("dataset", self.dataset.clone()),
            ("rounds", self.rounds.to_string()),
            ("evaluated after round", self.evaluated_after_rounds.to_string()),
            (
                "test accuracy at the start",
                percent(self.curve.first().map(|p| p.generalized_accuracy)),
            ),
            ("test accuracy (generalised)", percent(self.generalized_accuracy)),
            ("test loss (generalised)", loss),
            ("accuracy after local training (personalised)", percent(self.personalized_accuracy)),
            ("sent by clients", mebibytes(self.bytes_up)),
            ("sent by the server", mebibytes(self.bytes_down)),
            ("weights of the model", mebibytes(self.weight_bytes)),
            (
                "peak of a client, above the weights",
                self.peak_client_bytes.map_or("-".into(), mebibytes),
            ),
            ("time", format!("{:.1} s", self.wall_secs)),
        ] {
            table.add_row([name.to_string(), value]);
        }
        println!("{table}");
    }

    /// Writes `summary.json` into a folder; the file appears whole or not at all.
    pub fn write(&self, folder: &Path) -> Result<PathBuf> {
        let path = folder.join("summary.json");
        let json = serde_json::to_string_pretty(self)? + "\n";
        spry_data::files::write_atomically(&path, json.as_bytes())?;
        Ok(path)
    }
}
