//! What the user sees while something goes on: progress, notes, and Ctrl-C.
//!
//! On a terminal there is a progress bar with the time left; elsewhere only warnings are printed.
//! All of it goes to standard error. Notes go through `tracing`, to the terminal and to the log
//! file of the run that is going on.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{HumanDuration, ProgressBar, ProgressState, ProgressStyle};
use spry_core::{Event, StopSignal};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::error::INTERRUPTED;
use crate::{Error, Result};

/// The bar on the terminal, which notes must not tear apart.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// The log of the run that is going on, or what will be in it once there is a folder.
static LOG: Mutex<Log> = Mutex::new(Log::Pending(Vec::new()));

enum Log {
    Pending(Vec<u8>),
    File(File),
}

/// What Ctrl-C stops, if something is going on.
static RUNNING: Mutex<Option<StopSignal>> = Mutex::new(None);

/// Whether the output is JSON.
static IS_FOR_MACHINES: AtomicBool = AtomicBool::new(false);

/// A value that is whole even if a thread panicked while it had it.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends notes to standard error (all on a terminal, else warnings) and to the log file.
/// `is_for_machines` keeps progress and notes away even on a terminal.
pub fn init(is_for_machines: bool) {
    IS_FOR_MACHINES.store(is_for_machines, Ordering::Relaxed);
    let shows_notes = io::stderr().is_terminal() && !is_for_machines;
    let shown = if shows_notes { LevelFilter::INFO } else { LevelFilter::WARN };
    let ours = |level| Targets::new().with_target("spry", level);
    let terminal = tracing_subscriber::fmt::layer()
        .without_time()
        .with_target(false)
        .with_ansi(false)
        .with_writer(|| AboveBar)
        .with_filter(ours(shown));
    let log = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_target(false)
        .with_writer(|| ToLog)
        .with_filter(ours(LevelFilter::DEBUG));
    // A second call, as in tests, changes nothing.
    let _ = tracing_subscriber::registry().with(terminal).with(log).try_init();
}

struct AboveBar;

impl Write for AboveBar {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let print = || io::stderr().write_all(bytes).map(|()| bytes.len());
        match &*locked(&BAR) {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

struct ToLog;

impl Write for ToLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut *locked(&LOG) {
            Log::File(file) => file.write(bytes),
            Log::Pending(pending) => pending.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Appends notes to a file from now on, beginning with those that had no file yet.
///
/// # Errors
///
/// [`Error::Io`] if it cannot be written.
pub fn log_to(path: &Path) -> Result<()> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    let mut file = file.map_err(Error::io(path))?;
    let mut log = locked(&LOG);
    if let Log::Pending(pending) = &*log {
        file.write_all(pending).map_err(Error::io(path))?;
    }
    *log = Log::File(file);
    Ok(())
}

/// Ends what [`log_to`] began: notes from now on wait for the next file. Those that still wait
/// are forgotten.
pub fn end_log() {
    *locked(&LOG) = Log::Pending(Vec::new());
}

/// Makes Ctrl-C, and a request to terminate, stop what [`stop_on_interrupt`] was called for, after its current steps. A second
/// one, or one when there is nothing to stop yet, ends the process at once.
///
/// # Errors
///
/// [`Error::Failed`] if the system does not allow it.
pub fn handle_interrupts() -> Result<()> {
    let handler = || match &*locked(&RUNNING) {
        Some(stop) if !stop.is_stopped() => {
            stop.stop();
            let _ = AboveBar.write_all(
                b"stopping after the current steps; press Ctrl-C again to stop at once\n",
            );
        }
        _ => {
            if IS_FOR_MACHINES.load(Ordering::Relaxed) {
                println!(r#"{{"error":"interrupted","exit_code":{INTERRUPTED}}}"#);
            } else {
                let _ = AboveBar.write_all(b"interrupted\n");
            }
            std::process::exit(INTERRUPTED.into());
        }
    };
    ctrlc::set_handler(handler).map_err(|error| Error::Failed(format!("Ctrl-C: {error}")))
}

/// A new signal that the next Ctrl-C gives.
pub fn stop_on_interrupt() -> StopSignal {
    let stop = StopSignal::default();
    *locked(&RUNNING) = Some(stop.clone());
    stop
}

/// A bar with round, loss, accuracy and the time left, on a terminal; nothing elsewhere.
pub struct Progress {
    bar: ProgressBar,
    /// Clients of the round's cohort: all, and those that are done.
    cohort: (usize, usize),
    train_loss: Option<f64>,
    /// Round, loss and accuracy of the newest evaluation.
    test: Option<(u64, spry_core::Evaluation)>,
}

impl Progress {
    /// Of a run of so many rounds, of which some have ended.
    pub fn new(label: &str, rounds: u64, done: u64, is_hidden: bool) -> Self {
        let bar = if is_hidden { ProgressBar::hidden() } else { ProgressBar::new(rounds) };
        let template =
            "{prefix}{bar:20} round {pos}/{len}, {elapsed} elapsed, {left} left  {wide_msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            let left = move |state: &ProgressState, text: &mut dyn fmt::Write| {
                // Before the first round has ended nothing is known.
                let _ = match state.pos() > done {
                    true => write!(text, "{:#}", HumanDuration(state.eta())),
                    false => write!(text, "?"),
                };
            };
            bar.set_style(style.with_key("left", left));
        }
        if !label.is_empty() {
            bar.set_prefix(format!("{label}: "));
        }
        bar.set_position(done);
        bar.reset_eta();
        bar.enable_steady_tick(Duration::from_millis(500));
        *locked(&BAR) = Some(bar.clone());
        Self { bar, cohort: (0, 0), train_loss: None, test: None }
    }

    /// Shows an event.
    pub fn on_event(&mut self, event: &Event<'_>) {
        let (cohort, done) = self.cohort;
        match event {
            Event::RoundStarted { cohort, .. } => {
                self.cohort = (cohort.len(), 0);
                self.show(&format!("client 0/{}", cohort.len()));
            }
            Event::ClientFinished { .. } | Event::ClientFailed { .. } => {
                self.cohort = (cohort, done + 1);
                self.show(&format!("client {}/{cohort}", done + 1));
            }
            Event::RoundFinished(summary) => {
                self.train_loss = summary.report.as_ref().map(|report| report.train_loss);
                self.bar.inc(1);
                self.show("");
            }
            Event::ClientEvaluated { done, total } => {
                self.show(&format!("evaluating client {done}/{total}"));
            }
            Event::Evaluated { rounds, generalized, .. } => {
                self.test = Some((*rounds, *generalized));
                self.show("");
            }
            _ => {}
        }
    }

    /// The newest loss and accuracy, and what goes on.
    fn show(&self, now: &str) {
        let train = self.train_loss.map(|loss| format!("train loss {loss:.3}"));
        let test = self.test.map(|(round, test)| {
            let (loss, accuracy) = (test.loss(), 100.0 * test.accuracy());
            let f1 = test.f1().map_or(String::new(), |f1| format!(", F1 {:.1} %", 100.0 * f1));
            format!("test loss {loss:.3}, accuracy {accuracy:.1} %{f1} (round {round})")
        });
        let now = (!now.is_empty()).then(|| now.to_string());
        // What goes on first: a narrow terminal shows no more.
        let parts: Vec<String> = [now, train, test].into_iter().flatten().collect();
        self.bar.set_message(parts.join(", "));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        // What it said is in the result, or in the note that the run was interrupted.
        self.bar.finish_and_clear();
        *locked(&BAR) = None;
    }
}
