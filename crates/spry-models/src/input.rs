//! A batch of tokens as a model's layers get it: padded to one length, or packed without padding.

use burn::tensor::{Device, Int, Tensor, TensorData};
use spry_data::{Targets, TokenBatch};
use spry_dual::ops::{AttentionMask, RotaryTable};

use crate::architecture::Limits;
use crate::{Error, Model, Result};

/// A batch of tokens on a device.
///
/// Either *padded*, `[batch, seq]`, or *packed*: all texts one after another in one row of as many
/// tokens as they have, `[1, tokens]`. Nothing is computed for padding then, and as the kernels
/// compute each token apart from the others, those of the texts are the same.
#[derive(Clone, Debug)]
pub struct TokenInput {
    /// Token ids, `[batch, seq]`.
    pub input_ids: Tensor<2, Int>,
    /// Segment ids, `[batch, seq]`.
    pub token_type_ids: Tensor<2, Int>,
    /// Positions, `[batch, seq]`, where they are not simply 0, 1, 2, … in each row.
    pub position_ids: Option<Tensor<2, Int>>,
    /// Which tokens may be attended to.
    pub mask: AttentionMask,
    /// The first token of each text, as a row of `[batch · seq, hidden]`.
    pub first_tokens: Tensor<1, Int>,
    /// The last token of each text that is neither masked nor [padding](Model::padding), as a row of
    /// `[batch · seq, hidden]`.
    pub last_tokens: Tensor<1, Int>,
    /// Angles of the rotary position embedding, for families that have it.
    pub rotary: Option<RotaryTable>,
}

impl TokenInput {
    /// Moves a batch to a model's device, padded; the mask gets the dtype of its weights.
    ///
    /// # Errors
    ///
    /// [`Error::Batch`] if it is empty, too long for the model, inconsistent, or has ids outside of
    /// the vocabulary.
    pub fn new(batch: &TokenBatch, model: &Model) -> Result<Self> {
        let (architecture, device, dtype) = (model.architecture(), model.device(), model.dtype());
        check(batch, architecture.limits())?;
        let shape = [batch.batch, batch.seq];
        let ints =
            |values: Vec<i64>| Tensor::<2, Int>::from_data(TensorData::new(values, shape), device);
        let mask = TensorData::new(batch.attention_mask.clone(), shape);
        let mask = Tensor::<2>::from_data(mask, (device, dtype));
        let rows = batch.input_ids.chunks(batch.seq).zip(batch.attention_mask.chunks(batch.seq));
        let last = |(row, (ids, mask))| row * batch.seq + last_token(ids, mask, model.padding());
        let last_tokens = rows.enumerate().map(last);
        let frequencies = architecture.rotary_frequencies();
        Ok(Self {
            input_ids: ints(batch.input_ids.clone()),
            token_type_ids: ints(batch.token_type_ids.clone()),
            position_ids: architecture.position_ids(batch).map(ints),
            mask: match architecture.is_causal() {
                true => AttentionMask::causal(mask),
                false => AttentionMask::from_padding(mask),
            },
            first_tokens: indices((0..batch.batch).map(|row| row * batch.seq), device),
            last_tokens: indices(last_tokens, device),
            // Only distances between positions matter, so that padding on the left does not.
            rotary: frequencies
                .map(|frequencies| RotaryTable::new(0..batch.seq, frequencies, (device, dtype))),
        })
    }

    /// Moves a batch to a model's device, packed; `None` if a text has no token, or padding before its last
    /// one, or a mask that is neither 0 nor 1.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn packed(batch: &TokenBatch, model: &Model) -> Result<Option<Self>> {
        let (architecture, device, dtype) = (model.architecture(), model.device(), model.dtype());
        check(batch, architecture.limits())?;
        let rows = batch.attention_mask.chunks(batch.seq);
        let lengths: Option<Vec<usize>> = rows
            .map(|mask| {
                let length = mask.iter().take_while(|&&mask| mask == 1.0).count();
                let is_packable = length > 0 && mask[length..].iter().all(|&mask| mask == 0.0);
                is_packable.then_some(length)
            })
            .collect();
        let Some(lengths) = lengths else { return Ok(None) };
        let tokens: usize = lengths.iter().sum();
        let ints = |values: &[i64]| {
            let rows = values.chunks(batch.seq).zip(&lengths);
            let kept: Vec<i64> = rows.flat_map(|(row, &length)| row[..length].to_vec()).collect();
            Tensor::<2, Int>::from_data(TensorData::new(kept, [1, tokens]), device)
        };
        let positions = architecture
            .position_ids(batch)
            .unwrap_or_else(|| (0..batch.batch).flat_map(|_| 0..batch.seq as i64).collect());
        let ends: Vec<usize> = lengths
            .iter()
            .scan(0, |end, length| {
                *end += length;
                Some(*end)
            })
            .collect();
        let starts = ends.iter().zip(&lengths).map(|(end, length)| end - length);
        let rows = batch.input_ids.chunks(batch.seq).zip(batch.attention_mask.chunks(batch.seq));
        let last_tokens = starts
            .clone()
            .zip(rows)
            .map(|(start, (ids, mask))| start + last_token(ids, mask, model.padding()));
        let frequencies = architecture.rotary_frequencies();
        let in_text = || lengths.iter().flat_map(|&length| 0..length);
        Ok(Some(Self {
            input_ids: ints(&batch.input_ids),
            token_type_ids: ints(&batch.token_type_ids),
            position_ids: Some(ints(&positions)),
            first_tokens: indices(starts, device),
            last_tokens: indices(last_tokens, device),
            rotary: frequencies
                .map(|frequencies| RotaryTable::new(in_text(), frequencies, (device, dtype))),
            mask: AttentionMask::packed(lengths, architecture.is_causal()),
        }))
    }

    /// Batch size and length; 1 and the number of tokens if packed.
    pub fn dims(&self) -> [usize; 2] {
        self.input_ids.dims()
    }

    /// Lengths of the texts if they are packed.
    pub fn lengths(&self) -> Option<&[usize]> {
        self.mask.lengths()
    }
}

/// The last token of a row that the mask lets through and that is not the padding token, as Python
/// looks for it; the first that the mask lets through if all are padding.
fn last_token(ids: &[i64], mask: &[f32], padding: Option<i64>) -> usize {
    let is_text = |place: &usize| mask[*place] > 0.0;
    let is_word = |place: &usize| is_text(place) && Some(ids[*place]) != padding;
    let (last, first) = ((0..ids.len()).rev().find(is_word), (0..ids.len()).find(is_text));
    last.or(first).unwrap_or(ids.len() - 1)
}

fn indices(rows: impl Iterator<Item = usize>, device: &Device) -> Tensor<1, Int> {
    let rows: Vec<i64> = rows.map(|row| row as i64).collect();
    let count = rows.len();
    Tensor::from_data(TensorData::new(rows, [count]), device)
}

/// Fails for a batch that is inconsistent, or that a model cannot take.
fn check(batch: &TokenBatch, limits: Limits) -> Result<()> {
    let misfit = |reason: String| Err(Error::Batch { reason });
    if batch.batch == 0 || batch.seq == 0 {
        return misfit("it is empty".to_string());
    }
    if batch.seq > limits.max_length {
        let max = limits.max_length;
        return misfit(format!(
            "a text has {} tokens, the model takes {max}; truncate to that length",
            batch.seq
        ));
    }
    let lengths = [batch.input_ids.len(), batch.token_type_ids.len(), batch.attention_mask.len()];
    let targets = match &batch.targets {
        Targets::Classes(classes) => classes.len(),
        Targets::Spans(spans) => spans.len(),
    };
    if lengths.iter().any(|&length| Some(length) != batch.batch.checked_mul(batch.seq))
        || targets != batch.batch
    {
        return misfit(format!("its vectors are not of {} x {}", batch.batch, batch.seq));
    }
    let segments = limits.type_vocab_size.map_or(i64::MAX, |segments| segments as i64);
    if let Some(id) = batch.token_type_ids.iter().find(|id| !(0..segments).contains(*id)) {
        return misfit(format!("token type {id} is outside of the model's {segments}"));
    }
    let vocabulary = limits.vocab_size as i64;
    if let Some(id) = batch.input_ids.iter().find(|id| !(0..vocabulary).contains(*id)) {
        return misfit(format!(
            "token id {id} is outside of the vocabulary of {vocabulary}; is this the model's \
             tokenizer?"
        ));
    }
    Ok(())
}
