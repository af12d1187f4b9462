//! Work on several items at a time, each on one thread of its own.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::{Error, Result};

/// A fixed set of single-threaded pools.
///
/// Tensor kernels ask the pool they run in how many threads to use. In a pool of one, a client
/// computes on one core, so two clients use two cores fully instead of fighting over them, and
/// results do not depend on how work would have been split over threads.
pub(super) struct Workers {
    pools: Vec<ThreadPool>,
}

impl Workers {
    /// `jobs` workers, at most `useful`; 0 means one per core.
    pub(super) fn new(jobs: usize, useful: usize) -> Result<Self> {
        let jobs = match jobs {
            0 => thread::available_parallelism().map_or(1, usize::from),
            jobs => jobs,
        };
        let pool = |worker| single_thread(format!("spry-client-{worker}"));
        Ok(Self { pools: (0..jobs.min(useful)).map(pool).collect::<Result<_>>()? })
    }

    /// Runs `work` on every item and returns the results in the items' order. `on_done` runs on
    /// the calling thread as items are done. A panic in `work` becomes [`Error::Panicked`].
    pub(super) fn run<T: Sync, R: Send>(
        &self,
        items: &[T],
        work: impl Fn(&T) -> Result<R> + Sync,
        mut on_done: impl FnMut(usize, &Result<R>),
    ) -> Vec<Result<R>> {
        let next = AtomicUsize::new(0);
        let (sender, receiver) = mpsc::channel();
        let mut results: Vec<Option<Result<R>>> = items.iter().map(|_| None).collect();
        thread::scope(|scope| {
            for pool in self.pools.iter().take(items.len()) {
                let (next, work, sender) = (&next, &work, sender.clone());
                scope.spawn(move || {
                    pool.install(|| {
                        loop {
                            let index = next.fetch_add(1, Ordering::Relaxed);
                            let Some(item) = items.get(index) else { break };
                            let result = catch_panic(|| work(item));
                            if sender.send((index, result)).is_err() {
                                break;
                            }
                        }
                    });
                });
            }
            drop(sender);
            for (index, result) in receiver {
                on_done(index, &result);
                results[index] = Some(result);
            }
        });
        results.into_iter().map(|result| result.unwrap_or(Err(Error::Stopped))).collect()
    }
}

/// Runs `work` on a new thread, in a pool of one.
pub(super) fn on_new_thread<R: Send>(work: impl FnOnce() -> R + Send) -> Result<R> {
    Ok(single_thread("spry-metered".to_string())?.install(work))
}

fn single_thread(name: String) -> Result<ThreadPool> {
    let pool = ThreadPoolBuilder::new().num_threads(1).thread_name(move |_| name.clone()).build();
    pool.map_err(|error| Error::System {
        what: "cannot start worker threads",
        source: Box::new(error),
    })
}

/// Runs `work`; a panic becomes [`Error::Panicked`].
pub(super) fn catch_panic<R>(work: impl FnOnce() -> Result<R>) -> Result<R> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|payload| Err(Error::Panicked { message: message(&*payload) }))
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message").to_string()
}
