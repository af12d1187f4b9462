//! Scaled-dot-product attention: scores, mask, softmax and the weighted mean of the values, a head
//! of a sequence at a time.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

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
            && value.primal.len() == keys * value_width,
        "spry-kernels: {} values of the query, {} of the key and {} of the value are not rows of \
         {query_width}, {key_width} and {value_width}",
        query.primal.len(),
        key.primal.len(),
        value.primal.len()
    );
    check_sequences(shape, rows, keys);
    let k = directions(&[query.tangents.len(), key.tangents.len(), value.tangents.len()]);
    let mut result = Output::new(rows * heads * value_dim, k);
    let out = result.writers();
    let work = Work { query, key, value, shape, dim, value_dim, out: &out };
    let arch = Arch::new();
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
struct Head<'a> {
    work: Work<'a>,
    sequence: usize,
    head: usize,
}

/// The packed panels of one matrix.
struct Panels<'a> {
    values: &'a [f32],
    size: usize,
}

impl Panels<'_> {
    fn get(&self, panel: usize) -> &[f32] {
        &self.values[panel * self.size..][..self.size]
    }
}

impl WithSimd for Head<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Work { query, key, value, shape, dim, value_dim, out } = self.work;
        let AttentionShape { heads, key_heads, scale, .. } = *shape;
        let Sequence { queries, keys } = shape.sequences[self.sequence].clone();
        if queries.is_empty() {
            return;
        }
        let width = panel_width::<S>();
        let shared = self.head / (heads / key_heads);
        let rows_of_key = |values| head_rows(values, &keys, key_heads, shared, dim);
        let rows_of_value = |values| head_rows(values, &keys, key_heads, shared, value_dim);

        let padded = keys.len().next_multiple_of(width).max(width);
        let (key_panel, value_panel) = (width * dim, width * keys.len());
        let key_size = padded / width * key_panel;
        let value_panels = value_dim.div_ceil(width);
        let value_size = value_panels * value_panel;
        let (key_count, value_count) = (1 + key.tangents.len(), 1 + value.tangents.len());
        let scores_size = BLOCK * padded;
        let scores_count = if shape.dropout.is_some() { 3 } else { 2 };
        let lengths = [key_size * key_count, value_size * value_count, scores_size * scores_count];
        Scratch::with(|scratch| {
            let scratch = scratch.take(lengths.iter().sum());
            let (packed_keys, rest) = scratch.split_at_mut(lengths[0]);
            let (packed_values, scores) = rest.split_at_mut(lengths[1]);
            let each_key = std::iter::once(&key.primal).chain(&key.tangents);
            for (values, packed) in each_key.zip(packed_keys.chunks_exact_mut(key_size)) {
                for (panel, packed) in packed.chunks_exact_mut(key_panel).enumerate() {
                    pack_keys::<S>(rows_of_key(values), panel * width, packed);
                }
            }
            if value_size > 0 {
                let each_value = std::iter::once(&value.primal).chain(&value.tangents);
                for (values, packed) in each_value.zip(packed_values.chunks_exact_mut(value_size)) {
                    for (panel, packed) in packed.chunks_exact_mut(value_panel).enumerate() {
                        pack_columns::<S>(rows_of_value(values), panel * width, packed);
                    }
                }
            }
            let keys_of = |i: usize| Panels {
                values: &packed_keys[i * key_size..][..key_size],
                size: key_panel,
            };
            let values_of = |i: usize| Panels {
                values: &packed_values[i * value_size..][..value_size],
                size: value_panel,
            };
            let (p, rest) = scores.split_at_mut(scores_size);
            let (ds, dropped) = rest.split_at_mut(scores_size);

            for first in (0..queries.len()).step_by(BLOCK) {
                let count = BLOCK.min(queries.len() - first);
                let block = queries.start + first..queries.start + first + count;
                let rows_of_query = |values| head_rows(values, &block, heads, self.head, dim);
                let score = |terms: &[(Rows, Panels)], to: &mut [f32]| {
                    for panel in 0..padded / width {
                        let mut pairs = [(terms[0].0, terms[0].1.get(panel)); 2];
                        if let Some((rows, panels)) = terms.get(1) {
                            pairs[1] = (*rows, panels.get(panel));
                        }
                        let start = to[panel * width..].as_mut_ptr();
                        let target = Target { start, stride: padded, columns: width };
                        // SAFETY: `to` has `BLOCK ≥ count` rows of `padded` values, and is ours.
                        unsafe {
                            multiply(simd, &pairs[..terms.len()], count, None, scale, target);
                        }
                    }
                };
                let attend = |terms: &[(&[f32], Panels)], writer: Writer| {
                    for panel in 0..value_panels {
                        let rows = |values| Rows::new(values, count, keys.len(), padded);
                        let mut pairs = [(rows(terms[0].0), terms[0].1.get(panel)); 2];
                        if let Some((values, panels)) = terms.get(1) {
                            pairs[1] = (rows(values), panels.get(panel));
                        }
                        let columns = width.min(value_dim - panel * width);
                        let column = self.head * value_dim + panel * width;
                        // SAFETY: these are columns of this head, at rows of this sequence: nobody
                        // else writes them, and they are within the result.
                        unsafe {
                            let stride = heads * value_dim;
                            let start = writer.at(block.start * stride + column);
                            let target = Target { start, stride, columns };
                            multiply(simd, &pairs[..terms.len()], count, None, 1.0, target);
                        }
                    }
                };

                score(&[(rows_of_query(query.primal), keys_of(0))], p);
                for i in 0..count {
                    let row = &mut p[i * padded..][..padded];
                    self.mask(row, first + i, keys.len());
                    softmax(simd, row);
                }
                let keeps = |i: usize, row: &mut [f32]| self.drop(row, first + i, keys.len());
                if shape.dropout.is_some() {
                    dropped.copy_from_slice(p);
                    for i in 0..count {
                        keeps(i, &mut dropped[i * padded..][..padded]);
                    }
                }
                let weights: &[f32] = if shape.dropout.is_some() { dropped } else { p };
                attend(&[(weights, values_of(0))], out[0]);

                for (k, writer) in out[1..].iter().enumerate() {
                    let from_query =
                        query.tangents.get(k).map(|values| (rows_of_query(values), keys_of(0)));
                    let from_key = (!key.tangents.is_empty())
                        .then(|| (rows_of_query(query.primal), keys_of(k + 1)));
                    let terms: Vec<_> = from_query.into_iter().chain(from_key).collect();
                    let moves = !terms.is_empty();
                    if moves {
                        score(&terms, ds);
                        for i in 0..count {
                            let at = i * padded..(i + 1) * padded;
                            softmax_tangent(simd, &p[at.clone()], &mut ds[at.clone()]);
                            if shape.dropout.is_some() {
                                keeps(i, &mut ds[at]);
                            }
                        }
                    }
                    let from_scores = moves.then(|| (&*ds, values_of(0)));
                    let from_value =
                        (!value.tangents.is_empty()).then(|| (weights, values_of(k + 1)));
                    let terms: Vec<_> = from_scores.into_iter().chain(from_value).collect();
                    attend(&terms, *writer);
                }
            }
        });
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

/// [`pack_rows`], also for panels beyond the last key.
#[inline(always)]
fn pack_keys<S: Simd>(keys: Rows, column: usize, packed: &mut [f32]) {
    if column < keys.count() {
        pack_rows::<S>(keys, column, packed);
    } else {
        packed.fill(0.0);
    }
}

impl Head<'_> {
    /// Adds the mask to the scores of a query; what is beyond the keys gets −∞.
    #[inline(always)]
    fn mask(&self, row: &mut [f32], query: usize, keys: usize) {
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

    /// Applies dropout to probabilities of a query or their tangents.
    #[inline(always)]
    fn drop(&self, row: &mut [f32], query: usize, keys: usize) {
        if let Some(ProbabilityDropout { scale, keeps }) = self.work.shape.dropout {
            for (key, value) in row[..keys].iter_mut().enumerate() {
                let keeps = keeps([self.sequence, self.head, query, key]);
                *value = if keeps { *value * scale } else { 0.0 };
            }
        }
    }
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
