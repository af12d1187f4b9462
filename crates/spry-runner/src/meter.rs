//! Peak memory, counted by the global allocator of the `allocation-counter` crate.

use spry_core::MemoryMeter;

/// Counts allocations per thread. On a GPU it sees host memory only.
pub struct AllocationMeter;

impl MemoryMeter for AllocationMeter {
    fn measure_peak_bytes(&self, work: &mut dyn FnMut()) -> u64 {
        allocation_counter::measure(work).bytes_max
    }
}

/// Peak of the bytes that `work` allocates and has not yet freed, counted on a pool of one thread,
/// so that every allocation is made by the thread that counts.
///
/// # Panics
///
/// If no thread can be started.
pub fn peak_bytes(work: impl FnOnce() + Send) -> u64 {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let pool = pool.unwrap_or_else(|error| panic!("cannot start a thread: {error}"));
    pool.install(|| allocation_counter::measure(work).bytes_max)
}
