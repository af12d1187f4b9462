//! Texts to token ids, and batches padded to their longest example.
//!
//! 1. This module: a [`TextTokenizer`] encodes texts.
//! 2. `files`, `class`, `options` with `keys`, `build`: from a model's folder to the tokenizer that
//!    transformers makes of it. The files contradict each other at times, and Python's classes say
//!    which of them counts.
//! 3. `long`: as much of a long text as is needed.
//! 4. `batch`: encoded examples, padded.

mod batch;
mod build;
mod class;
mod files;
mod growth;
mod keys;
mod long;
mod options;
mod template;

use std::path::Path;

use serde_json::json;
use tokenizers::{
    EncodeInput, PaddingParams, PostProcessor, Tokenizer, TruncationDirection, TruncationParams,
    TruncationStrategy,
};

pub use self::batch::{EncodedExample, Targets, TokenBatch};
use self::build::guarded;
use self::class::Class;
use self::files::Files;
use self::options::Options;
use crate::files::write_atomically;
use crate::guard::quotable;
use crate::hub::{Hub, RepoKind, Source};
use crate::{Error, Result, TextExample};

/// Examples that a thread encodes at least.
const PER_THREAD: usize = 64;

/// Tokens that serve as padding where the files name none, the first that there is.
const PADDING_TOKENS: [&str; 6] =
    ["[PAD]", "<pad>", "<|finetune_right_pad_id|>", "<unk>", "<|end_of_text|>", "</s>"];

/// A tokenizer with truncation and without padding: batches are padded when they are formed.
#[derive(Debug)]
pub struct TextTokenizer {
    tokenizer: Tokenizer,
    /// The same without truncation.
    plain: Tokenizer,
    max_length: usize,
    direction: TruncationDirection,
    /// Special tokens that a text or a pair has at most, such as `[CLS] a [SEP] b [SEP]`.
    special_tokens: usize,
    /// Whether the model is told the segment of each token.
    has_segments: bool,
    pad_id: u32,
    location: String,
}

impl TextTokenizer {
    /// Loads the tokenizer of a model's folder as transformers' `AutoTokenizer` does: from
    /// `tokenizer.json`, or else from `vocab.txt` (BERT) or `vocab.json` with `merges.txt` (RoBERTa,
    /// OPT), with what `tokenizer_config.json`, `special_tokens_map.json`, `added_tokens.json` and
    /// `config.json` say of it. Texts are truncated to `max_length` tokens, special tokens included.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`] if there is no vocabulary, if a file is damaged, or if an option is not
    /// known, and [`Error::InvalidOption`] if `max_length` leaves no room for text.
    pub fn load(folder: &Path, max_length: usize) -> Result<Self> {
        let files = Files::read(folder)?;
        let class = Class::of(&files)?;
        let options = Options::read(&files, class)?;
        let (tokenizer, location) = build::tokenizer(&files, class, &options)?;
        let pad_id = pad_id(&tokenizer, &options);
        let direction = match options.cuts_left()? {
            true => TruncationDirection::Left,
            false => TruncationDirection::Right,
        };
        let mut plain = tokenizer;
        plain.with_padding(None::<PaddingParams>);
        // A template may have more of them for one text than for two.
        let special_tokens = plain
            .get_post_processor()
            .map_or(0, |processor| processor.added_tokens(true).max(processor.added_tokens(false)));
        if max_length <= special_tokens {
            return Err(Error::InvalidOption {
                option: "max_length",
                got: max_length.to_string(),
                expected: format!("more than the {special_tokens} special tokens"),
            });
        }
        let failed = |reason| Error::Tokenizer { location: location.clone(), reason };
        guarded(|| plain.with_truncation(None).map(drop)).map_err(failed)?;
        let mut tokenizer = plain.clone();
        let truncation = TruncationParams {
            max_length,
            strategy: TruncationStrategy::LongestFirst,
            stride: 0,
            direction,
        };
        guarded(|| tokenizer.with_truncation(Some(truncation)).map(drop)).map_err(failed)?;
        let has_segments = options.has_segments(class)?;
        Ok(Self {
            tokenizer,
            plain,
            max_length,
            direction,
            special_tokens,
            has_segments,
            pad_id,
            location,
        })
    }

    /// The id of the padding token.
    pub fn pad_id(&self) -> u32 {
        self.pad_id
    }

    /// The id of a token, if the vocabulary has it.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }

    /// The token of an id, if the vocabulary has it.
    pub fn token(&self, id: u32) -> Option<String> {
        self.tokenizer.id_to_token(id)
    }

    /// Number of tokens in the vocabulary.
    pub fn vocabulary_size(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    /// The file that the vocabulary is from.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Length that texts are truncated to, in tokens.
    pub(crate) fn max_length(&self) -> usize {
        self.max_length
    }

    /// Special tokens that a text or a pair has at most.
    pub(crate) fn special_tokens(&self) -> usize {
        self.special_tokens
    }

    /// Whether the model is told the segment of each token; if not, all of them are 0.
    pub(crate) fn has_segments(&self) -> bool {
        self.has_segments
    }

    /// The same tokenizer with another truncation.
    pub(crate) fn with_truncation(&self, params: Option<TruncationParams>) -> Result<Tokenizer> {
        let mut tokenizer = self.plain.clone();
        self.guarded(|| tokenizer.with_truncation(params).map(drop))?;
        Ok(tokenizer)
    }

    /// Runs a part of the tokenizers crate.
    pub(crate) fn guarded<R>(&self, run: impl FnOnce() -> tokenizers::Result<R>) -> Result<R> {
        guarded(run).map_err(|reason| self.failed(reason))
    }

    pub(crate) fn failed(&self, reason: String) -> Error {
        Error::Tokenizer { location: self.location.clone(), reason }
    }

    /// Encodes examples, in order. Of a pair the longer text is truncated first.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`] if a text cannot be encoded, or has no token at all: a model computes
    /// nothing for it.
    pub fn encode(&self, examples: &[TextExample]) -> Result<Vec<EncodedExample>> {
        // Not the library's own threads: those print their panics, and cannot be caught.
        let available = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = available.min(examples.len().div_ceil(PER_THREAD)).max(1);
        let size = examples.len().div_ceil(threads).max(1);
        let encode = |(chunk, examples): (usize, &[TextExample])| {
            let examples = examples.iter().enumerate();
            let one = |(index, example)| self.encode_one(chunk * size + index, example);
            examples.map(one).collect::<Result<Vec<_>>>()
        };
        if threads == 1 {
            return encode((0, examples));
        }
        let chunks: Vec<Result<Vec<EncodedExample>>> = std::thread::scope(|scope| {
            let spawn = |chunk| scope.spawn(move || encode(chunk));
            let running: Vec<_> = examples.chunks(size).enumerate().map(spawn).collect();
            let joined = running.into_iter().map(|thread| thread.join());
            joined
                .map(|done| done.unwrap_or_else(|_| Err(self.failed("it failed".into()))))
                .collect()
        });
        let mut encoded = Vec::with_capacity(examples.len());
        for chunk in chunks {
            encoded.extend(chunk?);
        }
        Ok(encoded)
    }

    fn encode_one(&self, index: usize, example: &TextExample) -> Result<EncodedExample> {
        let encoding = guarded(|| {
            let input: EncodeInput = match &example.pair {
                None => self.shortened(&example.text, true)?.into(),
                Some(pair) => {
                    // Which of two long texts loses a token more is decided by which is longer.
                    let is_even = (self.max_length - self.special_tokens).is_multiple_of(2);
                    let text = self.shortened(&example.text, is_even)?;
                    (text, self.shortened(pair, is_even)?).into()
                }
            };
            self.tokenizer.encode(input, true)
        });
        let failed = |reason: String| {
            let text = quotable(&example.text);
            self.failed(format!("example {index}, `{text}`: {reason}"))
        };
        let encoding = encoding.map_err(failed)?;
        if encoding.is_empty() {
            return Err(failed("it has no token; leave it out".to_string()));
        }
        // A post-processor may add more tokens than it says when the text is cut for it.
        if encoding.len() > self.max_length {
            let (got, most) = (encoding.len(), self.max_length);
            return Err(failed(format!("it has {got} tokens after it was cut to {most}")));
        }
        let segments = encoding.get_type_ids().iter();
        Ok(EncodedExample {
            input_ids: encoding.get_ids().to_vec(),
            token_type_ids: segments.map(|&id| if self.has_segments { id } else { 0 }).collect(),
            label: example.label,
        })
    }

    /// As much of a text as is needed, if it may be shortened.
    fn shortened<'a>(&self, text: &'a str, may: bool) -> tokenizers::Result<&'a str> {
        if may && matches!(self.direction, TruncationDirection::Right) {
            long::beginning(&self.plain, text, self.max_length)
        } else {
            Ok(text)
        }
    }
}

/// The padding token: the files' own, or one that there is. Nothing attends to it, so that any token
/// serves here; Python needs one that no text ends in.
fn pad_id(tokenizer: &Tokenizer, options: &Options) -> u32 {
    let named = options.special("pad_token").and_then(|token| tokenizer.token_to_id(token));
    let configured = tokenizer.get_padding().map(|padding| padding.pad_id);
    // Llama's tokenizers have none.
    let other = || PADDING_TOKENS.iter().find_map(|token| tokenizer.token_to_id(token));
    named.or(configured).or_else(other).unwrap_or(0)
}

/// The files that a tokenizer may be made of, by name: whoever copies a model copies those that there
/// are.
pub const FILES: [&str; 7] = [
    files::TOKENIZER,
    files::OPTIONS,
    files::SPECIAL_TOKENS,
    files::ADDED_TOKENS,
    build::WORDS,
    build::PIECES,
    build::MERGES,
];

/// Finds the files of a model's tokenizer, downloading those that there are.
///
/// # Errors
///
/// As [`Hub::file`] if there is no vocabulary, or a file cannot be fetched.
pub fn find(source: &Source, hub: &Hub) -> Result<()> {
    let has = |name: &str| -> Result<bool> {
        Ok(hub.optional_file(source, RepoKind::Model, name)?.is_some())
    };
    for name in files::OPTIONAL {
        has(name)?;
    }
    if has(files::TOKENIZER)? || has(build::WORDS)? || (has(build::PIECES)? && has(build::MERGES)?)
    {
        return Ok(());
    }
    hub.file(source, RepoKind::Model, files::TOKENIZER).map(drop)
}

/// Writes a BERT tokenizer for a word list: `tokenizer.json`, which Python's `tokenizers` reads too.
///
/// # Errors
///
/// [`Error::Tokenizer`] if the list lacks a special token, or [`Error::Io`] if the file cannot be
/// written.
pub fn write_wordpiece(path: &Path, vocabulary: &[String]) -> Result<()> {
    let failed = |reason: String| Error::Tokenizer { location: path.display().to_string(), reason };
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
    let id = |token: &str| {
        // Of equal words the last counts.
        let found = vocabulary.iter().rposition(|word| word == token);
        found.ok_or_else(|| failed(format!("the vocabulary has no {token}")))
    };
    let added = special.iter().filter_map(|token| {
        let id = id(token).ok()?;
        Some(json!({
            "id": id, "content": token, "special": true, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false,
        }))
    });
    let words: serde_json::Map<String, serde_json::Value> =
        vocabulary.iter().enumerate().map(|(id, word)| (word.clone(), id.into())).collect();
    let parts = json!({
        "version": "1.0",
        "added_tokens": added.collect::<Vec<_>>(),
        "normalizer": {
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "BertProcessing", "sep": ["[SEP]", id("[SEP]")?], "cls": ["[CLS]", id("[CLS]")?],
        },
        "model": {
            "type": "WordPiece", "vocab": words, "unk_token": "[UNK]",
            "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
        },
    });
    let json =
        guarded(|| parts.to_string().parse::<Tokenizer>()?.to_string(true)).map_err(failed)?;
    write_atomically(path, json.as_bytes())
}
