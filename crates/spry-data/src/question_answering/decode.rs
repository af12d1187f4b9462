//! From a model's logits back to a text, or to no answer.

use serde::{Deserialize, Serialize};

use super::windows::{EncodedQuestion, Window};

/// How spans are chosen; names and defaults as in Hugging Face's example for SQuAD.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecodeConfig {
    /// Tokens of a window with the largest logits that are tried as the first, and as the last.
    pub n_best_size: usize,
    /// Longest answer, in tokens.
    pub max_answer_length: usize,
    /// How much larger the score of no answer must be than that of the best span.
    pub null_score_diff_threshold: f64,
}

impl Default for DecodeConfig {
    fn default() -> Self {
        Self { n_best_size: 20, max_answer_length: 30, null_score_diff_threshold: 0.0 }
    }
}

/// A window's logits: how likely each token is the first of the answer, and how likely the last.
#[derive(Clone, Debug)]
pub struct SpanLogits {
    /// Of the first token.
    pub start: Vec<f64>,
    /// Of the last token.
    pub end: Vec<f64>,
}

/// The answer to a question: a part of its context, or the empty text for no answer.
///
/// The score of a span is the sum of its two logits, that of no answer the sum of those of the first
/// token, in the window where that is least. A span of white space alone is no answer. `logits` has an entry for each window;
/// what it has beyond a window's tokens is padding.
///
/// ```
/// # use spry_data::question_answering::decode::{DecodeConfig, SpanLogits, answer};
/// # use spry_data::{TextTokenizer, question_answering::Question, synthetic, tokenize};
/// # let folder = tempfile::tempdir()?;
/// # tokenize::write_wordpiece(&folder.path().join("tokenizer.json"), &synthetic::vocabulary())?;
/// # let tokenizer = TextTokenizer::load(folder.path(), 64)?;
/// let question = Question {
///     question: "who scored ?".to_string(),
///     context: "the striker scored a goal".into(),
///     answers: Vec::new(),
/// };
/// let encoded = &tokenizer.encode_questions(&[question], 8)?[0];
/// let striker = encoded.windows[0].input_ids.len() - 5; // striker scored a goal [SEP]
/// let mut logits = vec![0.0; encoded.windows[0].input_ids.len()];
/// logits[striker] = 1.0;
/// let logits = SpanLogits { start: logits.clone(), end: logits };
/// assert_eq!(answer(encoded, &[logits.clone()], &DecodeConfig::default()), "striker");
/// let careful = DecodeConfig { null_score_diff_threshold: -3.0, ..Default::default() };
/// assert_eq!(answer(encoded, &[logits], &careful), "");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn answer<'a>(
    question: &'a EncodedQuestion,
    logits: &[SpanLogits],
    config: &DecodeConfig,
) -> &'a str {
    let mut no_answer = f64::INFINITY;
    let mut best: Option<(f64, &str)> = None;
    for (window, logits) in question.windows.iter().zip(logits) {
        let (Some(start), Some(end)) = (logits.start.first(), logits.end.first()) else { continue };
        no_answer = no_answer.min(start + end);
        let found = best_span(window, logits, &question.context, config);
        // The first of equals stays.
        if let Some(found) = found
            && best.is_none_or(|(score, _)| found.0 > score)
        {
            best = Some(found);
        }
    }
    match best {
        Some((score, text)) if no_answer - score <= config.null_score_diff_threshold => text,
        _ => "",
    }
}

/// The score and text of a window's best span; `None` if no pair of tokens is one.
fn best_span<'a>(
    window: &Window,
    logits: &SpanLogits,
    context: &'a str,
    config: &DecodeConfig,
) -> Option<(f64, &'a str)> {
    let ends = largest(&logits.end, config.n_best_size);
    let mut best: Option<(f64, &str)> = None;
    for first in largest(&logits.start, config.n_best_size) {
        let Some([start, _]) = window.offsets(first) else { continue };
        for &last in &ends {
            if last < first || last - first >= config.max_answer_length {
                continue;
            }
            let Some([_, end]) = window.offsets(last) else { continue };
            let text = context.get(start..end).unwrap_or_default().trim();
            let score = logits.start[first] + logits.end[last];
            if !text.is_empty() && best.is_none_or(|(other, _)| score > other) {
                best = Some((score, text));
            }
        }
    }
    best
}

/// Places of the `count` largest values, largest first; of equals the first comes first.
fn largest(values: &[f64], count: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..values.len()).collect();
    places.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    places.truncate(count);
    places
}
