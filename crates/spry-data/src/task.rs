//! What a model is asked to do with a text.

use serde::{Deserialize, Serialize};

/// A task, with Hugging Face's name for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// A class for a text or a pair of texts.
    #[default]
    SequenceClassification,
    /// A span of a context as the answer to a question, or none.
    QuestionAnswering,
}

impl std::fmt::Display for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::SequenceClassification => "sequence-classification",
            Self::QuestionAnswering => "question-answering",
        })
    }
}
