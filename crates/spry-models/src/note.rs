//! What loading has to say to a user; a library does not print.

/// A remark about how something was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    is_warning: bool,
    text: String,
}

impl Note {
    pub(crate) fn info(text: String) -> Self {
        Self { is_warning: false, text }
    }

    pub(crate) fn warning(text: String) -> Self {
        Self { is_warning: true, text }
    }

    /// Whether something may be wrong.
    pub fn is_warning(&self) -> bool {
        self.is_warning
    }

    /// The remark, one sentence without a full stop.
    pub fn text(&self) -> &str {
        &self.text
    }
}
