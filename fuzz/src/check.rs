//! What must hold for any input: the parser returns, does not panic, and allocates little.

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use crate::Target;

/// Bytes that a parser may hold at a time beyond the size of its input.
pub const MOST_BYTES: u64 = 1_000_000_000;

/// What an input did that none may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The parser panicked.
    Panic {
        /// The message, with its place in the source.
        message: String,
    },
    /// The parser held more than [`MOST_BYTES`] beyond the input's size.
    Memory {
        /// The most that it held.
        bytes: u64,
    },
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Panic { message } => write!(f, "panic: {message}"),
            Self::Memory { bytes } => {
                write!(f, "memory: {} MB, at most {} allowed", bytes / MB, MOST_BYTES / MB)
            }
        }
    }
}

const MB: u64 = 1_000_000;

/// Has a target parse an input. `Ok(Err(reason))` is a refusal, which is as good as success.
///
/// Memory is counted on this thread. Parsers that hand work to rayon's pool are counted whole when
/// called [in a pool of one thread](alone); those with threads of their own are bounded by the
/// address space of the child that runs them.
///
/// # Errors
///
/// What the parser did that it must not do.
pub fn check(target: &Target, input: &[u8]) -> Result<Result<(), String>, Failure> {
    install_hook();
    IS_CHECKING.set(true);
    let mut result = Ok(Ok(()));
    let info = allocation_counter::measure(|| {
        result = panic::catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    });
    IS_CHECKING.set(false);
    match result {
        Err(payload) => {
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("");
            let place = PLACE.take().unwrap_or_default();
            Err(Failure::Panic { message: format!("{text}{place}") })
        }
        Ok(_) if info.bytes_max > MOST_BYTES + input.len() as u64 => {
            Err(Failure::Memory { bytes: info.bytes_max })
        }
        Ok(answer) => Ok(answer),
    }
}

/// Runs `work` on a pool of one thread, so that whatever a parser does in parallel is done, and
/// counted, by the thread that calls it.
///
/// # Panics
///
/// If no thread can be started.
pub fn alone<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    pool.unwrap_or_else(|error| panic!("cannot start a thread: {error}")).install(work)
}

thread_local! {
    /// Whether this thread is inside of a parser.
    static IS_CHECKING: Cell<bool> = const { Cell::new(false) };
    /// Where this thread last panicked.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Panics of parsers are noted instead of printed: there may be thousands.
fn install_hook() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if IS_CHECKING.get() {
                PLACE.set(info.location().map(|place| format!(" (at {place})")));
            } else {
                print(info);
            }
        }));
    });
}
