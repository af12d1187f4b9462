//! The linear layer with its bias and the activation after it, for a value and all its tangents.

use pulp::{Arch, Simd, WithSimd};

use crate::activation::Activation;
use crate::matrix::{Rows, Scratch, Target, multiply, pack_rows, packed_len, panel_width};
use crate::output::{Output, Writer};
use crate::parallel::for_each;
use crate::rows::{DualRef, DualVec, directions};

/// Packed values of the weight at a time: 1 MiB, to stay in a core's cache beside its rows.
const PACKED: usize = 1 << 18;
/// Rows of a task.
const TASK_ROWS: usize = 48;
/// Columns of a task.
const TASK_COLUMNS: usize = 192;
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
    let mut result = Output::new(rows * output, k);
    let out = result.writers();
    let layer = Layer { x, weight, bias, activation, rows, input, output, out: &out };
    Arch::new().dispatch(layer);
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
        let Self { weight, rows, input, output, .. } = self;
        let width = panel_width::<S>();
        let weights: Vec<Rows> = std::iter::once(&weight.primal)
            .chain(&weight.tangents)
            .map(|values| Rows::new(values, output, input, input))
            .collect();
        let panels = (PACKED / (input * weights.len()) / width).max(1);
        let enough = rows * input * output * self.out.len() >= SERIAL;
        let mut scratch = Scratch::of_thread();
        for first in (0..output).step_by(panels * width) {
            let columns = (output - first).min(panels * width);
            let size = packed_len::<S>(columns, input);
            let packed = scratch.take(size * weights.len());
            pack(simd, &weights, first, columns, packed, enough);
            let packed: Vec<&[f32]> = packed.chunks_exact(size).collect();
            let task_columns = TASK_COLUMNS.next_multiple_of(width);
            let (across, down) = (columns.div_ceil(task_columns), rows.div_ceil(TASK_ROWS));
            for_each(across * down, enough, |task| {
                let from = task % across * task_columns;
                let block = Block {
                    layer: self,
                    packed: &packed,
                    first,
                    columns: from..columns.min(from + task_columns),
                    row: task / across * TASK_ROWS,
                };
                simd.vectorize(block);
            });
        }
    }
}

/// Packs columns of `Wᵀ` and of its tangents, one matrix after the other.
#[inline(always)]
fn pack<S: Simd>(
    simd: S,
    weights: &[Rows],
    first: usize,
    columns: usize,
    packed: &mut [f32],
    enough: bool,
) {
    let width = panel_width::<S>();
    let panels = columns.div_ceil(width);
    let depth = packed.len() / (weights.len() * panels);
    let to = std::sync::Mutex::new(packed.chunks_exact_mut(depth).enumerate());
    let workers = if enough { rayon::current_num_threads().min(panels) } else { 1 };
    for_each(workers, enough, |_| {
        loop {
            let next = to.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).next();
            let Some((index, panel)) = next else { break };
            let column = first + index % panels * width;
            simd.vectorize(Pack { weight: weights[index / panels], column, panel });
        }
    });
}

struct Pack<'a> {
    weight: Rows<'a>,
    column: usize,
    panel: &'a mut [f32],
}

impl WithSimd for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        pack_rows::<S>(self.weight, self.column, self.panel);
    }
}

/// Some rows and columns of the result, in all its parts.
struct Block<'a> {
    layer: Layer<'a>,
    /// The weight's packed panels, then those of its tangents.
    packed: &'a [&'a [f32]],
    /// The column at which the packed panels start.
    first: usize,
    /// Columns of this block, from there on; starts at a panel.
    columns: std::ops::Range<usize>,
    row: usize,
}

impl WithSimd for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { layer, packed, first, columns, row } = self;
        let Layer { x, bias, activation, rows, input, output, out, .. } = layer;
        let width = panel_width::<S>();
        let count = TASK_ROWS.min(rows - row);
        let part = |values| Rows::new(values, rows, input, input).part(row, count);
        let mut terms: Vec<(Rows, &[f32])> = Vec::with_capacity(2);
        for column in columns.clone().step_by(width) {
            let panel = |weight: usize| &packed[weight][column * input..][..width * input];
            let target_columns = width.min(columns.end - column);
            for (i, writer) in out.iter().enumerate() {
                terms.clear();
                let bias = if i == 0 {
                    terms.push((part(x.primal), panel(0)));
                    bias.map(|bias| bias.primal)
                } else {
                    if let Some(dx) = x.tangents.get(i - 1) {
                        terms.push((part(dx), panel(0)));
                    }
                    if packed.len() > 1 {
                        terms.push((part(x.primal), panel(i)));
                    }
                    bias.and_then(|bias| bias.tangents.get(i - 1).copied())
                };
                let from = first + column;
                let bias = bias.map(|bias| &bias[from..from + target_columns]);
                // SAFETY: `row` and `from` are within the result, to which no other task writes at
                // these rows and columns.
                unsafe {
                    let start = writer.at(row * output + from);
                    let target = Target { start, stride: output, columns: target_columns };
                    multiply(simd, &terms, count, bias, 1.0, target);
                }
            }
        }
        let Some(activation) = activation else { return };
        let mut tangents: Vec<&mut [f32]> = Vec::with_capacity(out.len() - 1);
        for row in row..row + count {
            // SAFETY: this task has just written these columns of the row in each part, and no
            // other task touches them.
            let slice = |writer: &Writer| unsafe {
                let start = writer.at(row * output + first + columns.start);
                std::slice::from_raw_parts_mut(start, columns.len())
            };
            tangents.clear();
            tangents.extend(out[1..].iter().map(slice));
            activation.apply(simd, slice(&out[0]), &mut tangents);
        }
    }
}
