//! Memory for results, shared by tasks that each fill a part of it.

use crate::rows::DualVec;

/// A value and its tangents in the making: memory whose content is still open.
pub(crate) struct Output {
    length: usize,
    parts: Vec<Vec<f32>>,
}

/// Where tasks write. Sharing it is safe; writing through its pointers is where care is needed.
#[derive(Clone, Copy)]
pub(crate) struct Writer(*mut f32);

// SAFETY: a pointer on its own does nothing; each write through it says why it is exclusive.
unsafe impl Send for Writer {}
// SAFETY: as above.
unsafe impl Sync for Writer {}

impl Writer {
    /// The address of a value.
    ///
    /// # Safety
    ///
    /// `index` must not be beyond the output's length.
    pub(crate) unsafe fn at(self, index: usize) -> *mut f32 {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(index) }
    }
}

impl Output {
    /// Memory for a value and `k` tangents, each of so many rows of a width.
    ///
    /// # Panics
    ///
    /// If no memory is that large.
    pub(crate) fn new(rows: usize, width: usize, k: usize) -> Self {
        let length = rows.checked_mul(width);
        let length =
            length.unwrap_or_else(|| panic!("spry-kernels: {rows} rows of {width} are too many"));
        Self { length, parts: (0..=k).map(|_| Vec::with_capacity(length)).collect() }
    }

    /// Writers of the value and its tangents, each of `length` values.
    pub(crate) fn writers(&mut self) -> Vec<Writer> {
        self.parts.iter_mut().map(|part| Writer(part.as_mut_ptr())).collect()
    }

    /// The finished value and tangents.
    ///
    /// # Safety
    ///
    /// Every value must have been written.
    pub(crate) unsafe fn finish(mut self) -> DualVec {
        for part in &mut self.parts {
            // SAFETY: the capacity is `length`, and the caller vouches for the values.
            unsafe { part.set_len(self.length) };
        }
        let primal = self.parts.remove(0);
        DualVec { primal, tangents: self.parts }
    }
}
