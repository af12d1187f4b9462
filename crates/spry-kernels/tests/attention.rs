//! Attention against loops in f64.

mod common;

use common::{Numbers, bits, check, on_each_instruction_set, with_threads};
use spry_kernels::{AttentionShape, DualRef, Mask, ProbabilityDropout, Sequence, attention};

/// Attention by its formula.
fn naive(
    [query, key, value]: [&[f64]; 3],
    [query_width, value_width]: [usize; 2],
    shape: &AttentionShape,
) -> Vec<f64> {
    let (dim, value_dim) = (query_width / shape.heads, value_width / shape.key_heads);
    let key_width = dim * shape.key_heads;
    let mut out = vec![0.0; query.len() / query_width * shape.heads * value_dim];
    for (s, sequence) in shape.sequences.iter().enumerate() {
        for head in 0..shape.heads {
            let shared = head / (shape.heads / shape.key_heads);
            for (i, q) in sequence.queries.clone().enumerate() {
                let score = |(j, k): (usize, usize)| {
                    let dot: f64 = (0..dim)
                        .map(|d| {
                            query[q * query_width + head * dim + d]
                                * key[k * key_width + shared * dim + d]
                        })
                        .sum();
                    let bias = match shape.mask {
                        Mask::None => 0.0,
                        Mask::Causal if j > i => f64::NEG_INFINITY,
                        Mask::Causal => 0.0,
                        Mask::Bias { values, strides } => f64::from(
                            values[s * strides[0] + head * strides[1] + i * strides[2] + j],
                        ),
                    };
                    dot * f64::from(shape.scale) + bias
                };
                let scores: Vec<f64> = sequence.keys.clone().enumerate().map(score).collect();
                let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let total: f64 = scores.iter().map(|score| (score - largest).exp()).sum();
                for (j, k) in sequence.keys.clone().enumerate() {
                    let mut p = (scores[j] - largest).exp() / total;
                    if let Some(ProbabilityDropout { scale, keeps }) = shape.dropout {
                        p *= if keeps([s, head, i, j]) { f64::from(scale) } else { 0.0 };
                    }
                    for d in 0..value_dim {
                        out[(q * shape.heads + head) * value_dim + d] +=
                            p * value[k * value_width + shared * value_dim + d];
                    }
                }
            }
        }
    }
    out
}

fn even(rows: usize, length: usize) -> Vec<Sequence> {
    (0..rows).map(|i| Sequence::new(i * length..(i + 1) * length)).collect()
}

#[test]
fn attention_and_its_derivative() {
    on_each_instruction_set(|| {
        let mut numbers = Numbers(1);
        // Sequences, length, heads, key heads, head size, value size.
        for [batch, length, heads, key_heads, dim, value_dim] in [
            [1, 1, 1, 1, 1, 1],
            [2, 3, 2, 2, 4, 3],
            [2, 7, 4, 2, 5, 33],
            [1, 33, 2, 1, 32, 32],
            [3, 50, 1, 1, 16, 8],
            [1, 100, 2, 2, 8, 40],
        ] {
            for kinds in [[0, 0, 0], [2, 0, 0], [0, 1, 0], [0, 0, 1], [2, 2, 2], [1, 0, 1]] {
                let k = kinds.into_iter().max().unwrap();
                let rows = batch * length;
                let query = numbers.dual(rows * heads * dim, kinds[0]);
                let key = numbers.dual(rows * key_heads * dim, kinds[1]);
                let value = numbers.dual(rows * key_heads * value_dim, kinds[2]);
                let sequences = even(batch, length);
                let per_key = numbers.vec(batch * length);
                let per_query = numbers.vec(heads * length * length);
                let strides = [0, length * length, length];
                let keeps = |at: [usize; 4]| !at.iter().sum::<usize>().is_multiple_of(4);
                let dropout = ProbabilityDropout { scale: 1.25, keeps: &keeps };
                for (mask, dropout) in [
                    (Mask::None, None),
                    (Mask::Causal, None),
                    (Mask::Bias { values: &per_key, strides: [length, 0, 0] }, None),
                    (Mask::Bias { values: &per_query, strides }, Some(dropout)),
                ] {
                    let shape = AttentionShape {
                        heads,
                        key_heads,
                        sequences: &sequences,
                        scale: 0.7,
                        mask,
                        dropout,
                    };
                    let widths = [heads * dim, key_heads * value_dim];
                    let run =
                        || attention(&query.view(), &key.view(), &value.view(), widths, &shape);
                    let got = with_threads(1, run);
                    let name =
                        format!("{batch}×{length}, {heads}/{key_heads} heads of {dim}, {kinds:?}");
                    check(&name, &got, k, |at| {
                        naive([&at(&query), &at(&key), &at(&value)], widths, &shape)
                    });
                    assert_eq!(got, with_threads(3, run));
                }
            }
        }
    });
}

/// Padded sequences under a mask, against the same without padding: the same bits.
#[test]
fn padding_does_not_show() {
    on_each_instruction_set(|| {
        let mut numbers = Numbers(2);
        let (length, heads, dim) = (53, 2, 20);
        let lengths = [53, 17, 1, 40];
        let width = heads * dim;
        let all = numbers.dual(lengths.len() * length * width, 1);
        let lowest = |i: usize| if i % length < lengths[i / length] { 0.0 } else { f32::MIN };
        let bias: Vec<f32> = (0..lengths.len() * length).map(lowest).collect();
        let padded = AttentionShape {
            heads,
            key_heads: heads,
            sequences: &even(lengths.len(), length),
            scale: 0.2,
            mask: Mask::Bias { values: &bias, strides: [length, 0, 0] },
            dropout: None,
        };
        let with_padding =
            attention(&all.view(), &all.view(), &all.view(), [width, width], &padded);
        let without = |values: &[f32]| -> Vec<f32> {
            let text = |(i, &count): (usize, &usize)| {
                values[i * length * width..][..count * width].to_vec()
            };
            lengths.iter().enumerate().flat_map(text).collect()
        };
        let packed = common::Owned {
            primal: without(&all.primal),
            tangents: vec![without(&all.tangents[0])],
        };
        let mut start = 0;
        let sequences = lengths.map(|count| {
            start += count;
            Sequence::new(start - count..start)
        });
        let shape = AttentionShape { sequences: &sequences, mask: Mask::None, ..padded };
        let got = attention(&packed.view(), &packed.view(), &packed.view(), [width, width], &shape);
        assert_eq!(bits(&got.primal), bits(&without(&with_padding.primal)));
        assert_eq!(bits(&got.tangents[0]), bits(&without(&with_padding.tangents[0])));
    });
}

#[test]
fn a_query_that_may_look_nowhere_looks_everywhere() {
    let value = [1.0, 3.0];
    let bias = [f32::MIN; 2];
    let shape = AttentionShape {
        heads: 1,
        key_heads: 1,
        sequences: &[Sequence::new(0..2)],
        scale: 1.0,
        mask: Mask::Bias { values: &bias, strides: [0, 0, 0] },
        dropout: None,
    };
    let zero = DualRef::constant(&[0.0, 0.0]);
    let got = attention(&zero, &zero, &DualRef::constant(&value), [1, 1], &shape);
    assert_eq!(got.primal, [2.0, 2.0]);
}

#[test]
fn nan_stays_in_its_sequence() {
    let mut numbers = Numbers(3);
    let mut query = numbers.vec(12);
    let (key, value) = (numbers.vec(12), numbers.vec(12));
    query[1] = f32::NAN;
    let shape = AttentionShape {
        heads: 1,
        key_heads: 1,
        sequences: &even(2, 3),
        scale: 1.0,
        mask: Mask::None,
        dropout: None,
    };
    let [query, key, value] = [&query, &key, &value].map(|values| DualRef::constant(values));
    let got = attention(&query, &key, &value, [2, 2], &shape).primal;
    assert!(got[..2].iter().all(|x| x.is_nan()), "{got:?}");
    assert!(got[2..].iter().all(|x| x.is_finite()), "{got:?}");
}

#[test]
#[should_panic(expected = "too few for sequence 1")]
fn a_mask_that_is_too_small_is_refused() {
    let x = [0.0; 4];
    let x = DualRef::constant(&x);
    let shape = AttentionShape {
        heads: 1,
        key_heads: 1,
        sequences: &even(2, 2),
        scale: 1.0,
        mask: Mask::Bias { values: &[0.0; 3], strides: [2, 0, 0] },
        dropout: None,
    };
    attention(&x, &x, &x, [1, 1], &shape);
}
