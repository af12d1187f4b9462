//! Products `A·Bᵀ` of row-major matrices, the work that everything else waits for.
//!
//! `B` is packed into panels of a few vectors' width, in the order in which the innermost loop
//! reads it; `A` is read where it lies. That loop keeps a tile of the result in registers over the
//! whole depth, so each value is one chain of fused multiply-adds, in order of depth, whatever tile
//! it falls into: a row's result does not depend on the rows beside it.

use std::cell::Cell;

use pulp::Simd;

/// Rows of the widest tile, and vectors of it, by the number of the machine's registers.
pub(crate) const TILE_32: usize = 12;
const TILE_16: usize = 6;
/// Vectors across a panel.
const VECTORS: usize = 2;

/// Lanes of the widest vector.
const WIDEST: usize = 16;

/// Columns of a panel.
pub(crate) const fn panel_width<S: Simd>() -> usize {
    VECTORS * S::F32_LANES
}

/// A matrix in rows that may lie apart.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    values: &'a [f32],
    /// From the start of a row to that of the next.
    stride: usize,
    rows: usize,
    width: usize,
}

impl<'a> Rows<'a> {
    /// # Panics
    ///
    /// If the values do not reach to the end of the last row.
    pub(crate) fn new(values: &'a [f32], rows: usize, width: usize, stride: usize) -> Self {
        let end = match rows.checked_sub(1) {
            None => Some(0),
            Some(last) => last.checked_mul(stride).and_then(|start| start.checked_add(width)),
        };
        let fits = end.is_some_and(|end| end <= values.len());
        assert!(fits, "{rows} rows of {width}, {stride} apart, in {} values", values.len());
        Self { values, stride, rows, width }
    }

    pub(crate) fn row(&self, index: usize) -> &'a [f32] {
        &self.values[index * self.stride..][..self.width]
    }

    /// The rows from `first` on, at most `count`.
    pub(crate) fn part(&self, first: usize, count: usize) -> Self {
        let rows = count.min(self.rows - first);
        Self::new(&self.values[first * self.stride..], rows, self.width, self.stride)
    }
}

/// Values at the alignment of the widest vectors.
#[derive(Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// Memory for intermediate values, which its thread keeps for the next kernel.
pub(crate) struct Scratch(Vec<Line>);

thread_local! {
    static KEPT: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
}

impl Scratch {
    /// What this thread has kept; nothing while another kernel on it has that.
    pub(crate) fn of_thread() -> Self {
        Self(KEPT.take())
    }

    /// `length` values, aligned; what they are is left open.
    pub(crate) fn take(&mut self, length: usize) -> &mut [f32] {
        let lines = length.div_ceil(16);
        if self.0.len() < lines {
            self.0 = Vec::new();
            self.0.resize(lines, Line([0.0; 16]));
        }
        &mut bytemuck::cast_slice_mut(&mut self.0)[..length]
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let lines = std::mem::take(&mut self.0);
        // A thread at its end keeps nothing.
        let _ = KEPT.try_with(|kept| kept.set(lines));
    }
}

/// Values of a packed matrix of `columns` times `depth`.
pub(crate) fn packed_len<S: Simd>(columns: usize, depth: usize) -> usize {
    columns.next_multiple_of(panel_width::<S>()) * depth
}

/// Packs the panel that starts at a column of `Bᵀ`, that is at a row of `B`. Columns beyond the
/// last are zero.
#[inline(always)]
pub(crate) fn pack_rows<S: Simd>(b: Rows, column: usize, panel: &mut [f32]) {
    let width = panel_width::<S>();
    let depth = b.width;
    let panel = &mut panel[..width * depth];
    let columns = width.min(b.rows - column);
    if columns < width {
        panel.fill(0.0);
    }
    const BLOCK: usize = 8;
    let mut first = 0;
    while first + BLOCK <= columns {
        let rows: [&[f32]; BLOCK] = std::array::from_fn(|i| b.row(column + first + i));
        let blocks: [_; BLOCK] = rows.map(|row| row.as_chunks::<BLOCK>());
        for i in 0..depth / BLOCK {
            let block: [[f32; BLOCK]; BLOCK] = std::array::from_fn(|row| blocks[row].0[i]);
            let start = i * BLOCK * width + first;
            for (k, to) in panel[start..].chunks_mut(width).take(BLOCK).enumerate() {
                let column: [f32; BLOCK] = std::array::from_fn(|row| block[row][k]);
                to[..BLOCK].copy_from_slice(&column);
            }
        }
        for k in depth / BLOCK * BLOCK..depth {
            for (i, row) in rows.iter().enumerate() {
                panel[k * width + first + i] = row[k];
            }
        }
        first += BLOCK;
    }
    for i in first..columns {
        for (k, &value) in b.row(column + i).iter().enumerate() {
            panel[k * width + i] = value;
        }
    }
}

/// Packs the panel that starts at a column of a matrix which is given as the right factor itself:
/// a row per step of depth.
#[inline(always)]
pub(crate) fn pack_columns<S: Simd>(b: Rows, column: usize, panel: &mut [f32]) {
    let width = panel_width::<S>();
    let columns = width.min(b.width - column);
    for (k, to) in panel[..width * b.rows].chunks_exact_mut(width).enumerate() {
        to[..columns].copy_from_slice(&b.row(k)[column..][..columns]);
        to[columns..].fill(0.0);
    }
}

/// A place for a tile's result.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    /// The first value of the first row.
    pub(crate) start: *mut f32,
    /// From the start of a row to that of the next.
    pub(crate) stride: usize,
    /// Columns to be written, at most a panel's width.
    pub(crate) columns: usize,
}

/// Computes `rows` rows of `scale · Σ A·panel + bias` over pairs of a left factor and a panel: a
/// panel's width of columns. Without any pair the sum is 0.
///
/// # Safety
///
/// `target` must be valid for writing `rows` rows, and nobody else may use these values meanwhile.
/// They may be uninitialised.
///
/// # Panics
///
/// If a left factor has other rows, or a panel is too short.
#[inline(always)]
pub(crate) unsafe fn multiply<S: Simd>(
    simd: S,
    terms: &[(Rows, &[f32])],
    rows: usize,
    bias: Option<&[f32]>,
    scale: f32,
    target: Target,
) {
    for (a, panel) in terms {
        assert!(
            a.rows == rows && panel.len() >= panel_width::<S>() * a.width,
            "factors do not fit"
        );
    }
    assert!(target.columns <= panel_width::<S>());
    let bias = bias.map(|bias| &bias[..target.columns]);
    let mut row = 0;
    macro_rules! tiles {
        ($height:expr) => {
            while rows - row >= $height {
                // SAFETY: rows `row..row + height` exist in each factor, panels are long enough,
                // and the caller vouches for the target.
                unsafe {
                    tile::<S, { $height }>(simd, terms, row, bias, scale, target);
                }
                row += $height;
            }
        };
    }
    if S::REGISTER_COUNT >= 32 {
        tiles!(TILE_32);
    }
    tiles!(TILE_16);
    tiles!(3);
    tiles!(1);
}

/// One tile of [`multiply`]: `HEIGHT` rows from `row` on.
///
/// # Safety
///
/// Each left factor must have the rows, each panel a panel's width of values per step of depth, and
/// the target must be as in [`multiply`].
// Loops over indices, which the compiler turns into registers; it does not so with iterators.
#[allow(clippy::needless_range_loop)]
#[inline(always)]
unsafe fn tile<S: Simd, const HEIGHT: usize>(
    simd: S,
    terms: &[(Rows, &[f32])],
    row: usize,
    bias: Option<&[f32]>,
    scale: f32,
    target: Target,
) {
    let lanes = S::F32_LANES;
    let mut sums = [[simd.splat_f32s(0.0); VECTORS]; HEIGHT];
    for (a, panel) in terms {
        // SAFETY: row `row` exists.
        let left = unsafe { a.values.as_ptr().add(row * a.stride) };
        let panel = panel.as_ptr();
        for k in 0..a.width {
            let mut right = [simd.splat_f32s(0.0); VECTORS];
            for v in 0..VECTORS {
                // SAFETY: the panel has `width · depth` values, and any bits are a vector of
                // floats; the read does not assume an alignment.
                right[v] = unsafe {
                    panel.add((k * VECTORS + v) * lanes).cast::<S::f32s>().read_unaligned()
                };
            }
            for i in 0..HEIGHT {
                // SAFETY: row `row + i` exists and has `width` values.
                let left = simd.splat_f32s(unsafe { *left.add(i * a.stride + k) });
                for v in 0..VECTORS {
                    sums[i][v] = simd.mul_add_e_f32s(left, right[v], sums[i][v]);
                }
            }
        }
    }
    let scale = simd.splat_f32s(scale);
    for i in 0..HEIGHT {
        for v in 0..VECTORS {
            let first = v * lanes;
            if first >= target.columns {
                break;
            }
            let mut value = simd.mul_f32s(sums[i][v], scale);
            let columns = lanes.min(target.columns - first);
            if let Some(bias) = bias {
                let bias = simd.partial_load_f32s(&bias[first..first + columns]);
                value = simd.add_f32s(value, bias);
            }
            // SAFETY: the caller vouches for row `row + i` of the target and its columns.
            unsafe {
                let to = target.start.add((row + i) * target.stride + first);
                if columns == lanes {
                    to.cast::<S::f32s>().write_unaligned(value);
                } else {
                    let mut buffer = [0.0f32; WIDEST];
                    simd.partial_store_f32s(&mut buffer[..lanes], value);
                    to.copy_from_nonoverlapping(buffer.as_ptr(), columns);
                }
            }
        }
    }
}
