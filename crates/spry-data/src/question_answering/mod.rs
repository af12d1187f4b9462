//! Questions about a context, whose answers are spans of it.
//!
//! 1. This module: a [`Question`] with its [`Answer`]s.
//! 2. [`windows`]: to token ids; contexts that are too long become several windows.
//! 3. [`decode`]: from a model's logits back to a text, or to no answer.
//! 4. [`metric`]: how right an answer is.

pub(crate) mod answers;
pub mod decode;
pub mod metric;
pub mod windows;

use std::sync::Arc;

/// A question about a context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The question.
    pub question: String,
    /// The text that it is about; questions share it.
    pub context: Arc<str>,
    /// All answers that count as right; none if the context does not say.
    pub answers: Vec<Answer>,
}

/// A part of a context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The text.
    pub text: String,
    /// Where it begins in the context, in bytes.
    pub start: usize,
}

/// Questions, in file order.
#[derive(Clone, Debug)]
pub struct QuestionDataset {
    /// Name for messages and results.
    pub name: String,
    /// The questions.
    pub questions: Vec<Question>,
    /// What each question belongs to, such as an article; empty if that is not known.
    pub keys: Vec<String>,
}
