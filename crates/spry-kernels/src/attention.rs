//! Scaled-dot-product attention: scores, mask, softmax and the weighted mean of the values, a head
//! of a sequence at a time.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use crate::dispatch::arch;
use crate::math::{exp, mul_add};
use crate::matrix::{Rows, Scratch, Target, multiply, pack_columns, pack_rows, panel_width};
use crate::output::{Output, Writer};
use crate::parallel::for_each;
use crate::rows::{DualRef, DualVec, directions};

/// Queries whose scores are held at a time.
const BLOCK: usize = 48;

/// The rows of one sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// Rows of the query.
    pub queries: Range<usize>,
    /// Rows of key and value.
    pub keys: Range<usize>,
}

impl Sequence {
    /// A sequence that attends to itself.
    pub fn new(rows: Range<usize>) -> Self {
        Self { queries: rows.clone(), keys: rows }
    }
}

/// Which keys a query looks at.
#[derive(Clone, Copy, Debug)]
pub enum Mask<'a> {
    /// All of its sequence.
    None,
    /// The `i`-th query of a sequence looks at the first `i + 1` keys.
    Causal,
    /// A bias that is added to the scores.
    Bias {
        /// The bias; keys lie one beside the other.
        values: &'a [f32],
        /// Distance between the biases of consecutive sequences, heads and queries; 0 where they
        /// share one.
        strides: [usize; 3],
    },
}

/// Dropout of the probabilities.
#[derive(Clone, Copy)]
pub struct ProbabilityDropout<'a> {
    /// What kept probabilities are multiplied by.
    pub scale: f32,
    /// Whether a probability is kept, by sequence, head, query and key.
    pub keeps: &'a (dyn Fn([usize; 4]) -> bool + Sync),
}

/// How rows are made of heads and sequences.
#[derive(Clone, Copy)]
pub struct AttentionShape<'a> {
    /// Number of heads of the query.
    pub heads: usize,
    /// Number of heads of key and value; each serves as many consecutive heads of the query.
    pub key_heads: usize,
    /// The sequences: their queries cover the query's rows one after another.
    pub sequences: &'a [Sequence],
    /// What scores are multiplied by.
    pub scale: f32,
    /// Which keys a query looks at.
    pub mask: Mask<'a>,
    /// Dropout of the probabilities.
    pub dropout: Option<ProbabilityDropout<'a>>,
}

/// `softmax(scale·Q·Kᵀ + mask)·V` for each head of each sequence.
///
/// `query` is `[rows, heads · head_dim]`, `key` `[key rows, key_heads · head_dim]`, `value`
/// `[key rows, key_heads · value_dim]`, and `[query_width, value_width]` are the lengths of rows of
/// query and value; the result is `[rows, heads · value_dim]`. With the scores `S` and `P` their
/// softmax, `dS = scale·(dQ·Kᵀ + Q·dKᵀ)`, `dP = P ⊙ (dS − Σ P ⊙ dS)` and `dO = dP·V + P·dV`, terms
/// whose operand has no tangents left out.
///
/// # Panics
///
/// If lengths or numbers of directions do not fit, sequences do not cover the query's rows in order,
/// or a mask is too small.
///
/// ```
/// use spry_kernels::{AttentionShape, DualRef, Mask, Sequence, attention};
///
/// let shape = AttentionShape {
///     heads: 1,
///     key_heads: 1,
///     sequences: &[Sequence::new(0..2)],
///     scale: 1.0,
///     mask: Mask::Causal,
///     dropout: None,
/// };
/// // All scores are 0: the first query takes the first value, the second the mean of both.
/// let zero = DualRef::constant(&[0.0, 0.0]);
/// let value = DualRef::constant(&[1.0, 3.0]);
/// assert_eq!(attention(&zero, &zero, &value, [1, 1], &shape).primal, [1.0, 2.0]);
/// ```
pub fn attention(
    query: &DualRef,
    key: &DualRef,
    value: &DualRef,
    [query_width, value_width]: [usize; 2],
    shape: &AttentionShape,
) -> DualVec {
    let AttentionShape { heads, key_heads, .. } = *shape;
    assert!(
        key_heads > 0
            && heads.is_multiple_of(key_heads)
            && query_width > 0
            && query_width.is_multiple_of(heads)
            && value_width > 0
            && value_width.is_multiple_of(key_heads),
        "spry-kernels: rows of {query_width} and {value_width} values do not consist of {heads} heads \
         of the query and {key_heads} of key and value"
    );
    let (dim, value_dim) = (query_width / heads, value_width / key_heads);
    let key_width = dim * key_heads;
    let (rows, keys) = (query.primal.len() / query_width, key.primal.len() / key_width);
    assert!(
        query.primal.len() == rows * query_width
            && key.primal.len() == keys * key_width
            && Some(value.primal.len()) == keys.checked_mul(value_width),
        "spry-kernels: {} values of the query, {} of the key and {} of the value are not rows of \
         {query_width}, {key_width} and {value_width}",
        query.primal.len(),
        key.primal.len(),
        value.primal.len()
    );
    check_sequences(shape, rows, keys);
    let k = directions(&[query.tangents.len(), key.tangents.len(), value.tangents.len()]);
    let mut result = Output::new(rows, heads.saturating_mul(value_dim), k);
    let out = result.writers();
    let work = Work { query, key, value, shape, dim, value_dim, out: &out };
    let arch = arch();
    for_each(shape.sequences.len() * heads, true, |task| {
        arch.dispatch(Head { work, sequence: task / heads, head: task % heads });
    });
    // SAFETY: the sequences' queries are all rows, and each head writes its columns of them.
    unsafe { result.finish() }
}

fn check_sequences(shape: &AttentionShape, rows: usize, keys: usize) {
    let mut next = 0;
    for (index, sequence) in shape.sequences.iter().enumerate() {
        let Sequence { queries: q, keys: k } = sequence;
        assert!(
            q.start == next && q.end >= q.start && k.end >= k.start && k.end <= keys,
            "spry-kernels: sequence {index} has the queries {q:?} and the keys {k:?}; queries must \
             follow one another, and there are {keys} keys"
        );
        next = q.end;
        if let Mask::Bias { values, strides } = shape.mask
            && !q.is_empty()
        {
            let last = [index, shape.heads - 1, q.len() - 1];
            let start: usize = last.iter().zip(strides).map(|(index, stride)| index * stride).sum();
            assert!(
                start + k.len() <= values.len(),
                "spry-kernels: the mask has {} values, too few for sequence {index}",
                values.len()
            );
        }
    }
    assert!(next == rows, "spry-kernels: the sequences have {next} queries, but there are {rows}");
}

#[derive(Clone, Copy)]
struct Work<'a> {
    query: &'a DualRef<'a>,
    key: &'a DualRef<'a>,
    value: &'a DualRef<'a>,
    shape: &'a AttentionShape<'a>,
    dim: usize,
    value_dim: usize,
    out: &'a [Writer],
}

/// One head of one sequence.
#[derive(Clone, Copy)]
struct Head<'a> {
    work: Work<'a>,
    sequence: usize,
    head: usize,
}

/// A packed matrix and its packed tangents.
#[derive(Clone, Copy)]
struct Packed<'a> {
    values: &'a [f32],
    /// Length of one matrix.
    size: usize,
    /// Length of one panel.
    panel: usize,
}

impl<'a> Packed<'a> {
    /// A panel of the matrix, or of a tangent.
    fn panel(&self, matrix: usize, panel: usize) -> &'a [f32] {
        &self.values[matrix * self.size + panel * self.panel..][..self.panel]
    }
}

impl WithSimd for Head<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Work { key, value, shape, dim, value_dim, .. } = self.work;
        let Sequence { queries, keys } = &shape.sequences[self.sequence];
        let width = panel_width::<S>();
        let padded = keys.len().next_multiple_of(width).max(width);
        let (key_panel, value_panel) = (width * dim, width * keys.len());
        let key_size = padded / width * key_panel;
        let value_size = value_dim.div_ceil(width) * value_panel;
        let scores = BLOCK * padded;
        let buffers = if shape.dropout.is_some() { 3 } else { 2 };
        let key_length = key_size * (1 + key.tangents.len());
        let value_length = value_size * (1 + value.tangents.len());

        let mut scratch = Scratch::of_thread();
        let memory = scratch.take(key_length + value_length + scores * buffers);
        let (packed_keys, rest) = memory.split_at_mut(key_length);
        let (packed_values, rest) = rest.split_at_mut(value_length);
        self.pack_keys(simd, packed_keys, key_size, key_panel);
        self.pack_values(simd, packed_values, value_size, value_panel);
        let keys = Packed { values: packed_keys, size: key_size, panel: key_panel };
        let values = Packed { values: packed_values, size: value_size, panel: value_panel };
        let (p, rest) = rest.split_at_mut(scores);
        let (ds, dropped) = rest.split_at_mut(scores);
        for first in (0..queries.len()).step_by(BLOCK) {
            let count = BLOCK.min(queries.len() - first);
            let block = Block { head: self, first, count, padded, keys, values };
            block.run(simd, p, ds, dropped);
        }
    }
}

impl Head<'_> {
    fn sequence(&self) -> &Sequence {
        &self.work.shape.sequences[self.sequence]
    }

    /// The head of key and value that this one shares.
    fn shared(&self) -> usize {
        self.head / (self.work.shape.heads / self.work.shape.key_heads)
    }

    #[inline(always)]
    fn pack_keys<S: Simd>(&self, _: S, packed: &mut [f32], size: usize, panel: usize) {
        let Work { key, shape, dim, .. } = self.work;
        let keys = &self.sequence().keys;
        for (i, packed) in packed.chunks_exact_mut(size).enumerate() {
            let rows = head_rows(key.part(i), keys, shape.key_heads, self.shared(), dim);
            for (i, packed) in packed.chunks_exact_mut(panel).enumerate() {
                if i * panel_width::<S>() < keys.len() {
                    pack_rows::<S>(rows, i * panel_width::<S>(), packed);
                } else {
                    packed.fill(0.0);
                }
            }
        }
    }

    #[inline(always)]
    fn pack_values<S: Simd>(&self, _: S, packed: &mut [f32], size: usize, panel: usize) {
        let Work { value, shape, value_dim, .. } = self.work;
        let keys = &self.sequence().keys;
        if keys.is_empty() {
            return;
        }
        for (i, packed) in packed.chunks_exact_mut(size).enumerate() {
            let rows = head_rows(value.part(i), keys, shape.key_heads, self.shared(), value_dim);
            for (i, packed) in packed.chunks_exact_mut(panel).enumerate() {
                pack_columns::<S>(rows, i * panel_width::<S>(), packed);
            }
        }
    }

    /// Adds the mask to the scores of a query; what is beyond the keys gets −∞.
    #[inline(always)]
    fn mask(&self, row: &mut [f32], query: usize) {
        let keys = self.sequence().keys.len();
        row[keys..].fill(f32::NEG_INFINITY);
        match self.work.shape.mask {
            Mask::None => {}
            Mask::Causal => {
                row[..keys].iter_mut().skip(query + 1).for_each(|s| *s = f32::NEG_INFINITY)
            }
            Mask::Bias { values, strides } => {
                let [sequence, head, row_stride] = strides;
                let start = self.sequence * sequence + self.head * head + query * row_stride;
                for (score, bias) in row[..keys].iter_mut().zip(&values[start..start + keys]) {
                    *score += bias;
                }
            }
        }
    }

    /// Applies dropout, if any, to the probabilities of a query or their tangents.
    #[inline(always)]
    fn drop(&self, row: &mut [f32], query: usize) {
        if let Some(ProbabilityDropout { scale, keeps }) = self.work.shape.dropout {
            let keys = self.sequence().keys.len();
            for (key, value) in row[..keys].iter_mut().enumerate() {
                let keeps = keeps([self.sequence, self.head, query, key]);
                *value = if keeps { *value * scale } else { 0.0 };
            }
        }
    }
}

/// Some queries of a head.
struct Block<'a> {
    head: Head<'a>,
    /// The first query, counted from the start of the sequence.
    first: usize,
    count: usize,
    /// Length of a row of scores: the keys, filled up to whole panels.
    padded: usize,
    keys: Packed<'a>,
    values: Packed<'a>,
}

impl Block<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S, p: &mut [f32], ds: &mut [f32], dropped: &mut [f32]) {
        let Work { query, key, value, shape, out, .. } = self.head.work;
        let padded = self.padded;
        let row = |i: usize| i * padded..(i + 1) * padded;
        self.score(simd, Some((query.primal, 0)), None, p);
        for i in 0..self.count {
            self.head.mask(&mut p[row(i)], self.first + i);
            softmax(simd, &mut p[row(i)]);
        }
        let mut weights: &[f32] = p;
        if shape.dropout.is_some() {
            dropped.copy_from_slice(p);
            for i in 0..self.count {
                self.head.drop(&mut dropped[row(i)], self.first + i);
            }
            weights = dropped;
        }
        self.attend(simd, Some((weights, 0)), None, out[0]);
        for (k, writer) in out[1..].iter().enumerate() {
            let from_query = query.tangents.get(k).map(|dquery| (*dquery, 0));
            let from_key = (!key.tangents.is_empty()).then_some((query.primal, k + 1));
            let moves = from_query.is_some() || from_key.is_some();
            if moves {
                self.score(simd, from_query, from_key, ds);
                for i in 0..self.count {
                    softmax_tangent(simd, &p[row(i)], &mut ds[row(i)]);
                    self.head.drop(&mut ds[row(i)], self.first + i);
                }
            }
            let from_scores = moves.then_some((&*ds, 0));
            let from_value = (!value.tangents.is_empty()).then_some((weights, k + 1));
            self.attend(simd, from_scores, from_value, *writer);
        }
    }

    /// `scale·Σ Q·Kᵀ`, over pairs of a query and the number of a packed key.
    #[inline(always)]
    fn score<S: Simd>(
        &self,
        simd: S,
        first: Option<(&[f32], usize)>,
        second: Option<(&[f32], usize)>,
        to: &mut [f32],
    ) {
        let Head { work: Work { shape, dim, .. }, head, .. } = self.head;
        let start = self.head.sequence().queries.start + self.first;
        let rows = start..start + self.count;
        let width = panel_width::<S>();
        for panel in 0..self.padded / width {
            let mut pairs = [(Rows::new(&[], 0, 0, 0), &[][..]); 2];
            let mut terms = 0;
            for (query, key) in first.into_iter().chain(second) {
                let query = head_rows(query, &rows, shape.heads, head, dim);
                pairs[terms] = (query, self.keys.panel(key, panel));
                terms += 1;
            }
            let start = to[panel * width..].as_mut_ptr();
            let target = Target { start, stride: self.padded, columns: width };
            // SAFETY: `to` has `BLOCK ≥ count` rows of `padded` values, and is ours.
            unsafe { multiply(simd, &pairs[..terms], self.count, None, shape.scale, target) };
        }
    }

    /// `Σ P·V`, over pairs of weights and the number of a packed value.
    #[inline(always)]
    fn attend<S: Simd>(
        &self,
        simd: S,
        first: Option<(&[f32], usize)>,
        second: Option<(&[f32], usize)>,
        writer: Writer,
    ) {
        let Head { work: Work { shape, value_dim, .. }, head, .. } = self.head;
        let Sequence { queries, keys } = self.head.sequence();
        let (stride, width) = (shape.heads * value_dim, panel_width::<S>());
        for panel in 0..value_dim.div_ceil(width) {
            let mut pairs = [(Rows::new(&[], 0, 0, 0), &[][..]); 2];
            let mut terms = 0;
            for (weights, value) in first.into_iter().chain(second) {
                let weights = Rows::new(weights, self.count, keys.len(), self.padded);
                pairs[terms] = (weights, self.values.panel(value, panel));
                terms += 1;
            }
            let columns = width.min(value_dim - panel * width);
            let row = queries.start + self.first;
            // SAFETY: these are columns of this head, at rows of this sequence: nobody else writes
            // them, and they are within the result.
            unsafe {
                let start = writer.at(row * stride + head * value_dim + panel * width);
                let target = Target { start, stride, columns };
                multiply(simd, &pairs[..terms], self.count, None, 1.0, target);
            }
        }
    }
}

/// The rows of one head.
fn head_rows<'a>(
    values: &'a [f32],
    rows: &Range<usize>,
    heads: usize,
    head: usize,
    dim: usize,
) -> Rows<'a> {
    let stride = heads * dim;
    if rows.is_empty() {
        return Rows::new(&[], 0, dim, stride);
    }
    Rows::new(&values[rows.start * stride + head * dim..], rows.len(), dim, stride)
}

/// Softmax of a row of whole vectors, in place.
#[inline(always)]
fn softmax<S: Simd>(simd: S, row: &mut [f32]) {
    let (row, _) = S::as_mut_simd_f32s(row);
    let lowest = simd.splat_f32s(f32::NEG_INFINITY);
    let largest = row.iter().fold(lowest, |largest, &x| simd.max_f32s(largest, x));
    let largest = simd.splat_f32s(simd.reduce_max_f32s(largest));
    let mut total = simd.splat_f32s(0.0);
    for x in row.iter_mut() {
        *x = exp(simd, simd.sub_f32s(*x, largest));
        total = simd.add_f32s(total, *x);
    }
    let inverse = simd.splat_f32s(1.0 / simd.reduce_sum_f32s(total));
    for x in row {
        *x = simd.mul_f32s(*x, inverse);
    }
}

/// `t ← p ⊙ (t − Σ p ⊙ t)` for a row of whole vectors.
#[inline(always)]
fn softmax_tangent<S: Simd>(simd: S, p: &[f32], tangent: &mut [f32]) {
    let (p, _) = S::as_simd_f32s(p);
    let (tangent, _) = S::as_mut_simd_f32s(tangent);
    let mut total = simd.splat_f32s(0.0);
    for (&p, &t) in p.iter().zip(&*tangent) {
        total = mul_add(simd, p, t, total);
    }
    let total = simd.splat_f32s(simd.reduce_sum_f32s(total));
    for (&p, t) in p.iter().zip(tangent) {
        *t = simd.mul_f32s(p, simd.sub_f32s(*t, total));
    }
}
