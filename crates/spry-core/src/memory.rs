//! How peak memory is measured, without this crate depending on an allocator.

/// Measures the memory that a piece of work allocates.
///
/// Libraries cannot choose the global allocator, so the binary that has a counting one passes it
/// in here; without a meter, peaks are not reported. Each client computes on one thread, so a
/// meter that counts per thread measures clients that run in parallel correctly.
pub trait MemoryMeter: Send + Sync {
    /// Runs `work` on this thread and returns the peak of the bytes it had allocated and not yet
    /// freed, above what was allocated before.
    fn measure_peak_bytes(&self, work: &mut dyn FnMut()) -> u64;
}
