//! Questions with their contexts as token ids, in windows.

use std::sync::Arc;

use tokenizers::{
    Encoding, PostProcessorWrapper, TruncationDirection, TruncationParams, TruncationStrategy,
};

use super::Question;
use crate::tokenize::TextTokenizer;
use crate::{Error, Result, Targets, TokenBatch};

/// Questions are cut to this many tokens, as in BERT's published code, and to a quarter of a window
/// if that is less.
const MAX_QUESTION: usize = 64;

/// A question with a part of its context, unpadded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Token ids: the question, then a part of the context; special tokens included.
    pub input_ids: Vec<u32>,
    /// Segment of each token.
    pub token_type_ids: Vec<u32>,
    /// First and last token of the first answer, if it is in this window as a whole; else twice 0,
    /// the place of the first token, which for most tokenizers is a special one.
    pub span: [usize; 2],
    /// Place of the first token of the context.
    context_start: usize,
    /// Where each token of the context begins and ends in the context, in bytes.
    offsets: Vec<[u32; 2]>,
}

impl Window {
    /// Where a token begins and ends in the context, in bytes; `None` for one that is not of the
    /// context.
    pub fn offsets(&self, token: usize) -> Option<[usize; 2]> {
        let [start, end] = *self.offsets.get(token.checked_sub(self.context_start)?)?;
        Some([start as usize, end as usize])
    }
}

/// A question in all its windows, with what its answers are judged by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedQuestion {
    /// The windows, in the order of the context; at least one.
    pub windows: Vec<Window>,
    /// The context.
    pub context: Arc<str>,
    /// All answers that count as right; none if the context does not say.
    pub answers: Vec<String>,
}

impl TokenBatch {
    /// Pads windows to the longest of them.
    pub fn of_windows(windows: &[&Window], pad_id: u32) -> Self {
        let spans = windows.iter().map(|window| window.span.map(|place| place as i64)).collect();
        let rows: Vec<(&[u32], &[u32])> = windows
            .iter()
            .map(|window| (window.input_ids.as_slice(), window.token_type_ids.as_slice()))
            .collect();
        Self::pad_rows(&rows, pad_id, Targets::Spans(spans))
    }
}

impl TextTokenizer {
    /// Encodes questions, in order. A context that does not fit becomes several windows, of which
    /// consecutive ones share `doc_stride` tokens.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] if windows of this length have no room for so large a stride, and
    /// [`Error::Tokenizer`] if a text cannot be encoded.
    pub fn encode_questions(
        &self,
        questions: &[Question],
        doc_stride: usize,
    ) -> Result<Vec<EncodedQuestion>> {
        let max_length = self.max_length();
        let max_question = MAX_QUESTION.min(max_length / 4);
        let room = max_length.saturating_sub(max_question + self.special_tokens());
        if room == 0 || max_question == 0 {
            return Err(Error::InvalidOption {
                option: "max_length",
                got: max_length.to_string(),
                expected: "large enough for a question and a part of the context".to_string(),
            });
        }
        if doc_stride >= room {
            return Err(Error::InvalidOption {
                option: "doc_stride",
                got: doc_stride.to_string(),
                expected: format!(
                    "below {room}, what windows of {max_length} tokens have left for the context"
                ),
            });
        }
        let truncation = TruncationParams {
            max_length,
            strategy: TruncationStrategy::OnlySecond,
            stride: doc_stride,
            direction: TruncationDirection::Right,
        };
        // Windows cover the whole context, so that the side which is cut does not matter.
        let tokenizer = self.with_truncation(Some(truncation))?;
        // Without truncation, which would stop at the end of the first window, and without the
        // post-processor, which trims offsets and must do so once.
        let mut plain = self.with_truncation(None)?;
        plain.with_post_processor(None::<PostProcessorWrapper>);
        // Questions on one context follow each other.
        let mut last: Option<(Arc<str>, Encoding)> = None;
        let encode = |question: &Question| {
            // Leading spaces would only cost tokens.
            let text = question.question.trim_start();
            let whole = self.guarded(|| plain.encode(text, false))?;
            // A character of several tokens is kept whole, so that a cut may leave a token too many.
            let (mut cut, mut kept) = (whole.clone(), max_question);
            while cut.len() > max_question {
                let end = kept.checked_sub(1).map_or(0, |last| whole.get_offsets()[last].1);
                cut = self.guarded(|| plain.encode(&text[..end], false))?;
                kept = kept.saturating_sub(1);
            }
            let context = match &last {
                Some((context, encoding)) if Arc::ptr_eq(context, &question.context) => {
                    encoding.clone()
                }
                _ => {
                    let mut encoding = self.guarded(|| plain.encode(&*question.context, false))?;
                    encoding.set_type_ids(vec![1; encoding.len()]);
                    last = Some((question.context.clone(), encoding.clone()));
                    encoding
                }
            };
            let has_context = !context.is_empty();
            let encoding = self.guarded(|| tokenizer.post_process(cut, Some(context), true))?;
            let parts = std::iter::once(&encoding).chain(encoding.get_overflowing());
            let windows: Vec<Window> =
                parts.map(|part| window(part, question, self.has_segments())).collect();
            // A tokenizer without a post-processor does not say what is of the question.
            if has_context && windows.iter().any(|window| window.offsets.is_empty()) {
                return Err(self.failed("it has no template for pairs of texts".to_string()));
            }
            Ok(EncodedQuestion {
                windows,
                context: question.context.clone(),
                answers: question.answers.iter().map(|answer| answer.text.clone()).collect(),
            })
        };
        questions.iter().map(encode).collect()
    }
}

fn window(encoding: &Encoding, question: &Question, has_segments: bool) -> Window {
    let sequences = encoding.get_sequence_ids();
    let is_context = |sequence: &Option<usize>| *sequence == Some(1);
    let context_start = sequences.iter().position(is_context).unwrap_or(sequences.len());
    let length = sequences[context_start..].iter().take_while(|s| is_context(s)).count();
    let offsets: Vec<[u32; 2]> = encoding.get_offsets()[context_start..context_start + length]
        .iter()
        .map(|&(start, end)| [start as u32, end as u32])
        .collect();
    let span = question.answers.first().and_then(|answer| {
        let (start, end) = (answer.start as u32, (answer.start + answer.text.len()) as u32);
        let is_inside = offsets.first()?[0] <= start && end <= offsets.last()?[1];
        // The first token that ends after the answer's start, the last that begins before its end.
        let first = offsets.iter().position(|&[_, token_end]| token_end > start)?;
        let last = offsets.iter().rposition(|&[token_start, _]| token_start < end)?;
        (is_inside && first <= last).then_some([context_start + first, context_start + last])
    });
    let segments = encoding.get_type_ids().iter();
    Window {
        input_ids: encoding.get_ids().to_vec(),
        token_type_ids: segments.map(|&id| if has_segments { id } else { 0 }).collect(),
        span: span.unwrap_or([0, 0]),
        context_start,
        offsets,
    }
}
