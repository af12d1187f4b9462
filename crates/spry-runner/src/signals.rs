//! Signals: Ctrl-C (SIGINT), a request to terminate (SIGTERM), a terminal that goes away (SIGHUP),
//! and a limit of processor time that is reached (SIGXCPU).
//!
//! The first one stops what [`stop_on_interrupt`] was called for after its current steps, which
//! leaves a checkpoint. Later ones change nothing: `timeout` and schedulers send theirs twice, and
//! the second one comes while the checkpoint is being written. But a second Ctrl-C, half a second or
//! more after the first, ends the process at once: a person insists. So does the first signal while
//! there is nothing to save yet. Files appear whole or not at all, so
//! whenever it ends, what was there before stays.
//!
//! A SIGHUP that was ignored when the process started, as after `nohup`, stays ignored. Where that
//! cannot be found out (outside of Linux), SIGHUP is left as it is.

use std::io;
use std::sync::mpsc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use spry_core::StopSignal;

use crate::error::INTERRUPTED;
use crate::{Error, Result, terminal};

/// A second Ctrl-C that comes sooner is the first one once more: a wrapper forwards what its
/// terminal has sent to both.
const DOUBLED: Duration = Duration::from_millis(500);

/// How long a terminal that takes no text may hold up the process.
const PATIENCE: Duration = Duration::from_millis(300);

static STATE: Mutex<State> = Mutex::new(State::NEW);

/// What signals have to know.
struct State {
    /// What a signal stops, if something is going on.
    running: Option<StopSignal>,
    /// Whether that is still loading and has nothing to save.
    is_loading: bool,
    /// Whether a signal has stopped it.
    is_stopping: bool,
    /// When Ctrl-C was pressed first.
    first_interrupt: Option<Instant>,
}

/// What to do about a signal.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    EndAtOnce,
    Stop,
    /// Nothing, but a person should know what another Ctrl-C does.
    Remind,
    Ignore,
}

impl State {
    const NEW: Self =
        Self { running: None, is_loading: false, is_stopping: false, first_interrupt: None };

    /// Takes note of a signal that came at some time; `is_interrupt` for Ctrl-C.
    fn answer(&mut self, is_interrupt: bool, now: Instant) -> Answer {
        let Some(running) = &self.running else { return Answer::EndAtOnce };
        if !self.is_stopping {
            if self.is_loading {
                return Answer::EndAtOnce;
            }
            self.is_stopping = true;
            self.first_interrupt = is_interrupt.then_some(now);
            running.stop();
            return Answer::Stop;
        }
        match (is_interrupt, self.first_interrupt) {
            (false, _) => Answer::Ignore,
            (true, None) => {
                self.first_interrupt = Some(now);
                Answer::Remind
            }
            (true, Some(first)) if now.duration_since(first) >= DOUBLED => Answer::EndAtOnce,
            (true, Some(_)) => Answer::Ignore,
        }
    }
}

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on signals do what this module says.
///
/// # Errors
///
/// [`Error::Failed`] if the system does not allow it.
pub fn handle() -> Result<()> {
    watch(|is_interrupt| {
        let answer = state().answer(is_interrupt, Instant::now());
        match answer {
            Answer::EndAtOnce => end_at_once(),
            Answer::Stop if is_interrupt => {
                say("stopping after the current steps; press Ctrl-C again to stop at once")
            }
            Answer::Stop => say("stopping after the current steps"),
            Answer::Remind => say("stopping already; press Ctrl-C again to stop at once"),
            Answer::Ignore => {}
        }
    })
    .map_err(|error| Error::Failed(format!("signals cannot be handled: {error}")))
}

/// A new stop signal, which the next signal gives.
pub fn stop_on_interrupt() -> StopSignal {
    let stop = StopSignal::default();
    *state() = State { running: Some(stop.clone()), ..State::NEW };
    stop
}

/// Does something that leaves nothing to save: a signal that comes meanwhile, if it is the first,
/// ends the process at once.
pub fn while_loading<R>(load: impl FnOnce() -> R) -> R {
    state().is_loading = true;
    let result = load();
    state().is_loading = false;
    result
}

fn end_at_once() -> ! {
    bounded(|| terminal::print_interrupted(INTERRUPTED));
    std::process::exit(INTERRUPTED.into());
}

fn say(text: &'static str) {
    bounded(move || terminal::note(text));
}

/// Prints something, on a thread of its own: a terminal that is held, or a full pipe, must not keep
/// the next signal from being seen.
fn bounded(print: impl FnOnce() + Send + 'static) {
    let (done, wait) = mpsc::channel();
    let print = move || {
        print();
        // Nobody waits any more if it took long.
        let _ = done.send(());
    };
    if thread::Builder::new().spawn(print).is_ok() {
        let _ = wait.recv_timeout(PATIENCE);
    }
}

/// Calls `on_signal` for each signal, on a thread of its own, with whether it is Ctrl-C.
#[cfg(unix)]
fn watch(on_signal: impl Fn(bool) + Send + 'static) -> io::Result<()> {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXCPU, SIGXFSZ};
    use signal_hook::iterator::Signals;

    // Before any handler is there.
    let takes_hangup = is_ignored(SIGHUP) == Some(false);
    let taken = [SIGINT, SIGTERM, SIGXCPU].into_iter().chain(takes_hangup.then_some(SIGHUP));
    let mut signals = Signals::new(taken)?;
    // With any handler the system reports an error where the file is written.
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
    let watch = move || signals.forever().for_each(|signal| on_signal(signal == SIGINT));
    thread::Builder::new().name("spry-signals".to_string()).spawn(watch).map(drop)
}

#[cfg(not(unix))]
fn watch(on_signal: impl Fn(bool) + Send + 'static) -> io::Result<()> {
    ctrlc::set_handler(move || on_signal(true)).map_err(io::Error::other)
}

/// Whether this process ignores a signal; `None` where the system does not say.
#[cfg(unix)]
fn is_ignored(signal: i32) -> Option<bool> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    ignored_in(&status, signal)
}

/// The same by the text of Linux's `/proc/self/status`, which has a mask of the ignored signals.
#[cfg(unix)]
fn ignored_in(status: &str, signal: i32) -> Option<bool> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    let mask = u128::from_str_radix(mask.trim(), 16).ok()?;
    Some(mask >> u32::try_from(signal - 1).ok()? & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answers to signals at some milliseconds: `i` for Ctrl-C, `t` for others.
    fn answers(state: &mut State, signals: &[(char, u64)]) -> Vec<Answer> {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        signals.iter().map(|(kind, ms)| state.answer(*kind == 'i', at(*ms))).collect()
    }

    fn running() -> (State, StopSignal) {
        let stop = StopSignal::default();
        (State { running: Some(stop.clone()), ..State::NEW }, stop)
    }

    #[test]
    fn doubled_signals_are_one_and_a_person_can_insist() {
        use Answer::*;
        for (signals, expected) in [
            (&[('t', 0), ('t', 0), ('t', 700), ('t', 60_000)][..], &[Stop, Ignore, Ignore, Ignore]),
            (&[('i', 0), ('i', 1), ('i', 499), ('i', 500)], &[Stop, Ignore, Ignore, EndAtOnce]),
            (&[('t', 0), ('i', 900), ('i', 901), ('i', 1500)], &[Stop, Remind, Ignore, EndAtOnce]),
            (&[('i', 0), ('t', 900), ('t', 901), ('i', 950)], &[Stop, Ignore, Ignore, EndAtOnce]),
        ] {
            let (mut state, stop) = running();
            assert_eq!(answers(&mut state, signals), expected, "{signals:?}");
            assert!(stop.is_stopped());
        }
    }

    #[test]
    fn what_has_nothing_to_save_ends_at_once() {
        assert_eq!(answers(&mut { State::NEW }, &[('t', 0)]), [Answer::EndAtOnce]);
        let (mut state, stop) = running();
        state.is_loading = true;
        assert_eq!(answers(&mut state, &[('i', 0)]), [Answer::EndAtOnce]);
        assert!(!stop.is_stopped());
        // A sweep that was stopped before it loads its next run still has to say so.
        let (mut state, stop) = running();
        assert_eq!(answers(&mut state, &[('t', 0)]), [Answer::Stop]);
        state.is_loading = true;
        assert_eq!(answers(&mut state, &[('t', 0)]), [Answer::Ignore]);
        assert!(stop.is_stopped());
    }

    #[cfg(unix)]
    #[test]
    fn the_mask_of_ignored_signals_is_read() {
        let status = "Name:\tspry\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n";
        assert_eq!(ignored_in(status, 1), Some(true));
        assert_eq!(ignored_in(status, 2), Some(false));
        assert_eq!(ignored_in(status, 13), Some(true));
        assert_eq!(ignored_in("Name:\tspry\n", 1), None);
    }
}
