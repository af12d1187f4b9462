//! The files of a model's folder that say how texts become tokens.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::guard::{self, quotable, sayable};
use crate::{Error, Result};

/// The file that has a whole tokenizer.
pub(super) const TOKENIZER: &str = "tokenizer.json";

/// The options of a tokenizer, some of which say otherwise than `tokenizer.json`.
pub(super) const OPTIONS: &str = "tokenizer_config.json";

pub(super) const SPECIAL_TOKENS: &str = "special_tokens_map.json";
pub(super) const ADDED_TOKENS: &str = "added_tokens.json";

/// Files that change what a vocabulary means.
pub(super) const OPTIONAL: [&str; 3] = [OPTIONS, SPECIAL_TOKENS, ADDED_TOKENS];

/// Longest file of a vocabulary. The largest that are published have some 35 MB.
const LONGEST_VOCABULARY: u64 = 64 << 20;

/// Longest file of options.
const LONGEST_OPTIONS: u64 = 16 << 20;

/// Vocabularies that only Python's libraries read.
const TO_CONVERT: [&str; 6] = [
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tiktoken.model",
    "tekken.json",
    "spm.model",
];

/// What a folder says of its tokenizer. Files that are not there are empty.
pub(super) struct Files {
    folder: PathBuf,
    /// `tokenizer.json`.
    pub tokenizer: Option<Map<String, Value>>,
    /// `tokenizer_config.json`.
    pub options: Map<String, Value>,
    /// `special_tokens_map.json`.
    pub special_tokens: Map<String, Value>,
    /// `added_tokens.json`.
    pub added_tokens: Map<String, Value>,
    /// `config.json`, the model's.
    pub model: Map<String, Value>,
}

impl Files {
    /// Reads the files that there are.
    pub fn read(folder: &Path) -> Result<Self> {
        let read = |name: &str, limit: u64| object(&folder.join(name), limit);
        let options = |name: &str| read(name, LONGEST_OPTIONS).map(Option::unwrap_or_default);
        Ok(Self {
            folder: folder.to_path_buf(),
            tokenizer: read(TOKENIZER, LONGEST_VOCABULARY)?,
            options: options(OPTIONS)?,
            special_tokens: options(SPECIAL_TOKENS)?,
            added_tokens: options(ADDED_TOKENS)?,
            model: options("config.json")?,
        })
    }

    /// An error about a file of the folder.
    pub fn error(&self, file: &str, reason: impl Into<String>) -> Error {
        Error::Tokenizer {
            location: self.folder.join(file).display().to_string(),
            reason: reason.into(),
        }
    }

    /// An error for a folder whose vocabulary is not there: neither `tokenizer.json` nor what else a
    /// class reads, if it does.
    pub fn missing(&self, reader: &str, needed: &str) -> Error {
        let is_there = |name: &&&str| self.folder.join(name).is_file();
        let reason = match TO_CONVERT.iter().find(is_there) {
            Some(name) => format!(
                "there is no {TOKENIZER}, and {name} is read in Python alone; write the former \
                 with `AutoTokenizer.from_pretrained(folder).save_pretrained(folder)`, for which \
                 the packages transformers, sentencepiece and tiktoken are needed"
            ),
            None if needed.is_empty() => format!("there is no {TOKENIZER}, which {reader} needs"),
            None if needed == "vocab.txt" && self.has("vocab.json") => format!(
                "there is neither {TOKENIZER} nor {needed}, which {reader} reads; vocab.json is read \
                 where `tokenizer_class` of {OPTIONS} is RobertaTokenizer or GPT2Tokenizer"
            ),
            None => format!("there is neither {TOKENIZER} nor {needed}, which {reader} reads"),
        };
        Error::Tokenizer { location: self.folder.display().to_string(), reason }
    }

    /// Whether a file is there, and no vocabulary that Python would take in its place.
    pub fn has(&self, name: &str) -> bool {
        let is_there = |name: &str| self.folder.join(name).is_file();
        let goes_first = ["tokenizer.model", "tiktoken.model", "tekken.json"];
        is_there(name) && !goes_first.into_iter().any(is_there)
    }

    /// The text of a vocabulary's file.
    pub fn vocabulary(&self, name: &str) -> Result<String> {
        guard::read_text(&self.folder.join(name), LONGEST_VOCABULARY)
    }

    /// The same, if it is an object of JSON.
    pub fn vocabulary_object(&self, name: &str) -> Result<Map<String, Value>> {
        let object = object(&self.folder.join(name), LONGEST_VOCABULARY)?;
        object.ok_or_else(|| self.error(name, "it is not there"))
    }

    /// The file that a message about the tokenizer as a whole names.
    pub fn location(&self, vocabulary: &str) -> String {
        let name = if self.tokenizer.is_some() { TOKENIZER } else { vocabulary };
        self.folder.join(name).display().to_string()
    }
}

/// A file's object, or `None` if there is no file.
fn object(path: &Path, limit: u64) -> Result<Option<Map<String, Value>>> {
    if !path.exists() {
        return Ok(None);
    }
    let text = guard::read_text(path, limit)?;
    let failed = |reason: String| Error::Tokenizer { location: path.display().to_string(), reason };
    match serde_json::from_str(&text) {
        Ok(Value::Object(object)) => Ok(Some(object)),
        Ok(other) => {
            let found = quotable(&other.to_string());
            Err(failed(format!("expected an object of JSON, found {found}")))
        }
        Err(error) => Err(failed(sayable(&format!("it is not JSON: {error}")))),
    }
}
