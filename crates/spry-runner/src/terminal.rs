//! What the user sees: progress and notes while something goes on, then results and errors.
//!
//! On a terminal there is a progress bar with the time left; elsewhere only warnings are printed.
//! Both go to standard error. Notes go through `tracing`, to the terminal and to the log file of the
//! run that is going on. Whatever is printed here is [made fit for it](crate::text) first.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{HumanDuration, ProgressBar, ProgressState, ProgressStyle};
use spry_core::Event;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::run::evaluation::in_words;
use crate::text::{self, message, printable};
use crate::{Error, Result};

/// The bar on the terminal, which notes must not tear apart.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// The log of the run that is going on, or what will be in it once there is a folder.
static LOG: Mutex<Log> = Mutex::new(Log::Pending(String::new()));

enum Log {
    Pending(String),
    File(LogFile),
}

struct LogFile {
    path: PathBuf,
    file: File,
    /// Whether lines have been lost, which is said once.
    is_broken: bool,
}

impl LogFile {
    /// Appends lines. A run goes on without those that cannot be written.
    fn append(&mut self, lines: &str) {
        if let Err(error) = self.file.write_all(lines.as_bytes())
            && !std::mem::replace(&mut self.is_broken, true)
        {
            // Not through `tracing`, which would come back here.
            let path = self.path.display();
            note(&format!(" WARN {path}: {error}; lines of the log are lost"));
        }
    }
}

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
        .log_internal_errors(false)
        .with_writer(|| AboveBar)
        .with_filter(ours(shown));
    let log = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_target(false)
        .log_internal_errors(false)
        .with_writer(|| ToLog)
        .with_filter(ours(LevelFilter::DEBUG));
    // A second call, as in tests, changes nothing.
    if tracing_subscriber::registry().with(terminal).with(log).try_init().is_ok() {
        print_panics();
    }
}

/// Has what a panic says printed as one [`message`], too.
fn print_panics() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map_or(String::new(), |place| format!(" at {place}"));
        let what = info.payload_as_str().unwrap_or("no message");
        // Not above the bar, which the thread may hold.
        print_error(&format!("panicked{place}: {what}"));
        let trace = Backtrace::capture();
        if trace.status() == BacktraceStatus::Captured {
            let _ = writeln!(io::stderr(), "{}", printable(&trace.to_string()));
        }
    }));
}

/// The text of a note, as one line: `tracing` writes each in one piece.
fn line_of(bytes: &[u8]) -> String {
    message(String::from_utf8_lossy(bytes).trim_end()) + "\n"
}

struct AboveBar;

impl Write for AboveBar {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        above_bar(&line_of(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn above_bar(line: &str) {
    // Where this cannot be printed, nothing can.
    let print = || drop(io::stderr().write_all(line.as_bytes()));
    match &*locked(&BAR) {
        Some(bar) => bar.suspend(print),
        None => print(),
    }
}

struct ToLog;

impl Write for ToLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = line_of(bytes);
        match &mut *locked(&LOG) {
            Log::Pending(pending) => pending.push_str(&line),
            Log::File(file) => file.append(&line),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Appends notes to a file from now on, beginning with those that had no file yet.
///
/// # Errors
///
/// [`Error::Io`] if it cannot be opened.
pub fn log_to(path: &Path) -> Result<()> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    let file = file.map_err(Error::io(path))?;
    let mut file = LogFile { path: path.to_path_buf(), file, is_broken: false };
    let mut log = locked(&LOG);
    if let Log::Pending(pending) = &*log {
        file.append(pending);
    }
    *log = Log::File(file);
    Ok(())
}

/// Ends what [`log_to`] began: notes from now on wait for the next file. Those that still wait
/// are forgotten.
pub fn end_log() {
    *locked(&LOG) = Log::Pending(String::new());
}

/// Shows a line on the terminal, above the progress bar.
pub fn note(text: &str) {
    above_bar(&(message(text) + "\n"));
}

/// Says that the process ends because it was interrupted, in the form that the output has.
pub fn print_interrupted(exit_code: u8) {
    if IS_FOR_MACHINES.load(Ordering::Relaxed) {
        let json = serde_json::json!({"error": "interrupted", "exit_code": exit_code});
        // Where this cannot be printed, nothing can.
        let _ = print(&text::json(&json));
    } else {
        note("interrupted");
    }
}

/// Prints a result on standard output, with a line break at its end, in [`printable`] characters.
///
/// # Errors
///
/// What the system says, such as that the disk is full, or that the reader has gone away.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", printable(text))?;
    out.flush()
}

/// Prints an error on standard error, as one [`message`].
pub fn print_error(text: &str) {
    // Where this cannot be printed, nothing can.
    let _ = writeln!(io::stderr(), "{}", message(text));
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
            bar.set_prefix(format!("{}: ", text::label(label)));
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
        let test = self.test.map(|(round, test)| format!("{} (round {round})", in_words(&test)));
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
