//! The linear layer with its bias and the activation after it, for a value and all its tangents.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use crate::activation::Activation;
use crate::dispatch::arch;
use crate::matrix::{Rows, Scratch, TILE_32, Target, multiply, pack_rows, packed_len, panel_width};
use crate::output::{Output, Writer};
use crate::parallel::for_each;
use crate::rows::{DualRef, DualVec, directions};

/// Most columns of a task: with the rows below they stay in a core's cache.
const TASK_COLUMNS: usize = 192;
/// Rows at a time, in all parts of the result together; whole tiles of each.
const BLOCK_ROWS: usize = 48;
/// Multiplications below which one thread does it all.
const SERIAL: usize = 1 << 17;

/// `y = f(x·Wᵀ + b)` and `dy = f'·(dx·Wᵀ + x·dWᵀ + db)` for each direction.
///
/// `x` is `[rows, input]`, `weight` is `[output, input]`, `bias` is `[output]`; the result is
/// `[rows, output]`. Terms whose operand has no tangents are left out. A row's values do not depend
/// on the other rows, nor on the number of threads.
///
/// # Panics
///
/// If lengths or numbers of directions do not fit.
///
/// ```
/// use spry_kernels::{DualRef, linear};
///
/// let x = DualRef::new(&[1.0, 2.0], [&[0.0, 1.0][..]]);
/// let weight = DualRef::constant(&[1.0, 10.0, 2.0, 20.0, 3.0, 30.0]);
/// let y = linear(&x, &weight, Some(&DualRef::constant(&[0.5, 0.5, 0.5])), 2, None);
/// assert_eq!(y.primal, [21.5, 42.5, 63.5]);
/// assert_eq!(y.tangents, [[10.0, 20.0, 30.0]]);
/// ```
pub fn linear(
    x: &DualRef,
    weight: &DualRef,
    bias: Option<&DualRef>,
    input: usize,
    activation: Option<Activation>,
) -> DualVec {
    assert!(
        input > 0
            && x.primal.len().is_multiple_of(input)
            && weight.primal.len().is_multiple_of(input),
        "spry-kernels: an input of {} values and a weight of {} for {input} inputs per row",
        x.primal.len(),
        weight.primal.len()
    );
    let (rows, output) = (x.primal.len() / input, weight.primal.len() / input);
    if let Some(bias) = bias {
        let length = bias.primal.len();
        assert!(length == output, "spry-kernels: a bias of {length} values for {output} outputs");
    }
    let from_bias = bias.map_or(0, |bias| bias.tangents.len());
    let k = directions(&[x.tangents.len(), weight.tangents.len(), from_bias]);
    let mut result = Output::new(rows, output, k);
    let out = result.writers();
    let layer = Layer { x, weight, bias, activation, rows, input, output, out: &out };
    arch().dispatch(layer);
    // SAFETY: the layer's tasks cover all rows and columns of each part.
    unsafe { result.finish() }
}

#[derive(Clone, Copy)]
struct Layer<'a> {
    x: &'a DualRef<'a>,
    weight: &'a DualRef<'a>,
    bias: Option<&'a DualRef<'a>>,
    activation: Option<Activation>,
    rows: usize,
    input: usize,
    output: usize,
    out: &'a [Writer],
}

impl WithSimd for Layer<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { rows, input, output, .. } = self;
        if rows == 0 || output == 0 {
            return;
        }
        let enough = rows * input * output * self.out.len() >= SERIAL;
        // Several tasks per thread, so that none waits long for another.
        let share = match rayon::current_num_threads() {
            1 => TASK_COLUMNS,
            threads => output.div_ceil(2 * threads).min(TASK_COLUMNS),
        };
        let columns = share.next_multiple_of(panel_width::<S>());
        for_each(output.div_ceil(columns), enough, |task| {
            let first = task * columns;
            let columns = first..output.min(first + columns);
            simd.vectorize(Columns { layer: self, columns });
        });
    }
}

/// Some columns of the result, for all rows, in all its parts: whoever computes them packs the
/// weight for them.
struct Columns<'a> {
    layer: Layer<'a>,
    columns: Range<usize>,
}

impl WithSimd for Columns<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { layer, columns } = self;
        let Layer { weight, rows, input, output, .. } = layer;
        let width = panel_width::<S>();
        let size = packed_len::<S>(columns.len(), input);
        let count = 1 + weight.tangents.len();
        let mut scratch = Scratch::of_thread();
        let packed = scratch.take(size * count);
        for (i, packed) in packed.chunks_exact_mut(size).enumerate() {
            let weight = Rows::new(weight.part(i), output, input, input);
            for (i, panel) in packed.chunks_exact_mut(width * input).enumerate() {
                pack_rows::<S>(weight, columns.start + i * width, panel);
            }
        }
        let at_a_time = (BLOCK_ROWS / layer.out.len()).next_multiple_of(TILE_32).max(TILE_32);
        for first in (0..rows).step_by(at_a_time) {
            let rows = first..rows.min(first + at_a_time);
            Block { layer, packed, size, columns: columns.clone(), rows }.run(simd);
        }
    }
}

/// Some rows and columns of the result, in all its parts.
struct Block<'a> {
    layer: Layer<'a>,
    /// The packed weight for these columns, then its tangents.
    packed: &'a [f32],
    /// Length of each of them.
    size: usize,
    columns: Range<usize>,
    rows: Range<usize>,
}

impl Block<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        let Layer { out, activation, output, .. } = self.layer;
        let width = panel_width::<S>();
        for (panel, from) in self.columns.clone().step_by(width).enumerate() {
            let columns = from..self.columns.end.min(from + width);
            for (i, writer) in out.iter().enumerate() {
                // SAFETY: these rows and columns are within the result, and no other task writes to
                // them.
                let target = unsafe {
                    let start = writer.at(self.rows.start * output + from);
                    Target { start, stride: output, columns: columns.len() }
                };
                self.multiply(simd, panel, i, columns.clone(), target);
            }
        }
        let Some(activation) = activation else { return };
        let mut tangents: Vec<&mut [f32]> = Vec::with_capacity(out.len() - 1);
        for row in self.rows.clone() {
            // SAFETY: this task has just written these columns of the row in each part, and no
            // other task touches them.
            let slice = |writer: &Writer| unsafe {
                let start = writer.at(row * output + self.columns.start);
                std::slice::from_raw_parts_mut(start, self.columns.len())
            };
            tangents.clear();
            tangents.extend(out[1..].iter().map(slice));
            activation.apply(simd, slice(&out[0]), &mut tangents);
        }
    }

    /// The columns of one panel in one part of the result.
    #[inline(always)]
    fn multiply<S: Simd>(
        &self,
        simd: S,
        panel: usize,
        part: usize,
        columns: Range<usize>,
        target: Target,
    ) {
        let Layer { x, weight, bias, rows, input, .. } = self.layer;
        let length = panel_width::<S>() * input;
        let count = self.rows.len();
        let left = |values| Rows::new(values, rows, input, input).part(self.rows.start, count);
        let right = |weight: usize| &self.packed[weight * self.size + panel * length..][..length];
        let mut terms = [(Rows::new(&[], 0, 0, 0), &[][..]); 2];
        let mut number = 0;
        let mut add = |term| {
            terms[number] = term;
            number += 1;
        };
        let bias = match part.checked_sub(1) {
            None => {
                add((left(x.primal), right(0)));
                bias.map(|bias| bias.primal)
            }
            Some(k) => {
                if let Some(dx) = x.tangents.get(k) {
                    add((left(dx), right(0)));
                }
                if !weight.tangents.is_empty() {
                    add((left(x.primal), right(part)));
                }
                bias.and_then(|bias| bias.tangents.get(k).copied())
            }
        };
        let bias = bias.map(|bias| &bias[columns]);
        // SAFETY: the caller's target is that of these rows and columns, and theirs alone.
        unsafe { multiply(simd, &terms[..number], count, bias, 1.0, target) };
    }
}
