//! Encoded examples, and batches of them.

/// An encoded text and its class, unpadded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedExample {
    /// Token ids, special tokens included.
    pub input_ids: Vec<u32>,
    /// Segment of each token: 0 for the first text, 1 for the second of a pair.
    pub token_type_ids: Vec<u32>,
    /// The class number.
    pub label: usize,
}

/// Examples padded to the longest of them; row-major `[batch, seq]`.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenBatch {
    /// Number of examples.
    pub batch: usize,
    /// Length of the longest example, in tokens.
    pub seq: usize,
    /// Token ids; padding where the mask is 0.
    pub input_ids: Vec<i64>,
    /// Segment ids; 0 in the padding.
    pub token_type_ids: Vec<i64>,
    /// 1 for a token, 0 for padding.
    pub attention_mask: Vec<f32>,
    /// What is to be predicted.
    pub targets: Targets,
}

/// What is to be predicted for each example of a batch.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// Class numbers.
    Classes(Vec<i64>),
    /// First and last token of the answer, by their places in the row; both are 0, the place of the
    /// first special token, where there is none.
    Spans(Vec<[i64; 2]>),
}

impl TokenBatch {
    /// Pads examples to the longest of them.
    ///
    /// ```
    /// use spry_data::{EncodedExample, TokenBatch};
    ///
    /// let example = |ids: &[u32], label| EncodedExample {
    ///     input_ids: ids.to_vec(),
    ///     token_type_ids: vec![0; ids.len()],
    ///     label,
    /// };
    /// let (short, long) = (example(&[5, 6], 0), example(&[7, 8, 9], 1));
    /// let batch = TokenBatch::pad([&short, &long], 0);
    /// assert_eq!((batch.batch, batch.seq), (2, 3));
    /// assert_eq!(batch.input_ids, [5, 6, 0, 7, 8, 9]);
    /// assert_eq!(batch.attention_mask, [1.0, 1.0, 0.0, 1.0, 1.0, 1.0]);
    /// ```
    pub fn pad<'a>(examples: impl IntoIterator<Item = &'a EncodedExample>, pad_id: u32) -> Self {
        let examples: Vec<&EncodedExample> = examples.into_iter().collect();
        let labels = examples.iter().map(|example| example.label as i64).collect();
        let rows = examples.iter().map(|e| (e.input_ids.as_slice(), e.token_type_ids.as_slice()));
        Self::pad_rows(&rows.collect::<Vec<_>>(), pad_id, Targets::Classes(labels))
    }

    /// The same for rows of token ids and segment ids.
    pub(crate) fn pad_rows(rows: &[(&[u32], &[u32])], pad_id: u32, targets: Targets) -> Self {
        let seq = rows.iter().map(|(ids, _)| ids.len()).max().unwrap_or(0);
        let pad_row = |values: &[u32], padding: i64| -> Vec<i64> {
            let mut row: Vec<i64> = values.iter().map(|&value| value.into()).collect();
            row.resize(seq, padding);
            row
        };
        let mask_row = |length: usize| (0..seq).map(move |i| if i < length { 1.0 } else { 0.0 });
        Self {
            batch: rows.len(),
            seq,
            input_ids: rows.iter().flat_map(|(ids, _)| pad_row(ids, pad_id.into())).collect(),
            token_type_ids: rows.iter().flat_map(|(_, types)| pad_row(types, 0)).collect(),
            attention_mask: rows.iter().flat_map(|(ids, _)| mask_row(ids.len())).collect(),
            targets,
        }
    }
}
