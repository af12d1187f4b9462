//! Texts to token ids, and batches padded to their longest example.

use std::path::Path;

use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::bert::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{
    AddedToken, EncodeInput, Encoding, PaddingParams, PostProcessor, Tokenizer,
    TruncationDirection, TruncationParams, TruncationStrategy,
};

use crate::files::write_atomically;
use crate::{Error, Result, TextExample};

/// Texts that are encoded at a time.
const CHUNK: usize = 2048;

/// Tokens that serve as padding, the first that there is.
const PADDING_TOKENS: [&str; 6] =
    ["[PAD]", "<pad>", "<|finetune_right_pad_id|>", "<unk>", "<|end_of_text|>", "</s>"];

/// A tokenizer with truncation and without padding: batches are padded when they are formed.
#[derive(Debug)]
pub struct TextTokenizer {
    tokenizer: Tokenizer,
    max_length: usize,
    /// Special tokens that a pair has at most, such as `[CLS] a [SEP] b [SEP]`.
    special_tokens: usize,
    pad_id: u32,
    location: String,
}

impl TextTokenizer {
    /// Loads `tokenizer.json`, or a WordPiece `vocab.txt` where there is none, from a model's
    /// folder. Texts are truncated to `max_length` tokens, special tokens included.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`] if neither file can be read, and
    /// [`Error::InvalidOption`] if `max_length` leaves no room for text.
    pub fn load(folder: &Path, max_length: usize) -> Result<Self> {
        let json = folder.join("tokenizer.json");
        let vocabulary = folder.join("vocab.txt");
        let (path, tokenizer) = if json.is_file() {
            let tokenizer = Tokenizer::from_file(&json);
            (json, tokenizer)
        } else {
            let lowercase = reads_lowercase(folder);
            let tokenizer = std::fs::read(&vocabulary)
                .map_err(|error| error.into())
                .and_then(|bytes| WordPiece::read_bytes(&bytes))
                .and_then(|vocabulary| {
                    let model =
                        WordPiece::builder().vocab(vocabulary).unk_token("[UNK]".into()).build()?;
                    wordpiece_tokenizer(model, lowercase)
                });
            (vocabulary, tokenizer)
        };
        let location = path.display().to_string();
        let tokenizer = tokenizer.map_err(|error| Error::Tokenizer {
            location: location.clone(),
            reason: error.to_string(),
        })?;
        Self::new(tokenizer, max_length, location)
    }

    fn new(mut tokenizer: Tokenizer, max_length: usize, location: String) -> Result<Self> {
        let special_tokens =
            tokenizer.get_post_processor().map_or(0, |processor| processor.added_tokens(true));
        if max_length <= special_tokens {
            return Err(Error::InvalidOption {
                option: "max_length",
                got: max_length.to_string(),
                expected: format!("more than the {special_tokens} special tokens"),
            });
        }
        let failed = |reason: String| Error::Tokenizer { location: location.clone(), reason };
        let truncation = TruncationParams {
            max_length,
            strategy: TruncationStrategy::LongestFirst,
            stride: 0,
            direction: TruncationDirection::Right,
        };
        let configured_pad = tokenizer.get_padding().map(|padding| padding.pad_id);
        // Llama's tokenizers have none. Nothing attends to it, so any token serves here; Python
        // needs one that no text ends in.
        let named = PADDING_TOKENS.iter().find_map(|token| tokenizer.token_to_id(token));
        let pad_id = configured_pad.or(named).unwrap_or(0);
        tokenizer.with_truncation(Some(truncation)).map_err(|error| failed(error.to_string()))?;
        tokenizer.with_padding(None::<PaddingParams>);
        Ok(Self { tokenizer, max_length, special_tokens, pad_id, location })
    }

    /// The id of the padding token.
    pub fn pad_id(&self) -> u32 {
        self.pad_id
    }

    /// The id of a token, if the vocabulary has it.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }

    /// Number of tokens in the vocabulary.
    pub fn vocabulary_size(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    /// Length that texts are truncated to, in tokens.
    pub(crate) fn max_length(&self) -> usize {
        self.max_length
    }

    /// Special tokens that a pair has at most.
    pub(crate) fn special_tokens(&self) -> usize {
        self.special_tokens
    }

    /// The same tokenizer with another truncation.
    pub(crate) fn with_truncation(&self, params: Option<TruncationParams>) -> Result<Tokenizer> {
        let mut tokenizer = self.tokenizer.clone();
        tokenizer.with_truncation(params).map_err(|error| self.failed(error))?;
        Ok(tokenizer)
    }

    /// Its file.
    pub(crate) fn location(&self) -> &str {
        &self.location
    }

    pub(crate) fn failed(&self, error: tokenizers::Error) -> Error {
        Error::Tokenizer { location: self.location.clone(), reason: error.to_string() }
    }

    /// Encodes examples, in order. Of a pair the longer text is truncated first.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`] if a text cannot be encoded.
    pub fn encode(&self, examples: &[TextExample]) -> Result<Vec<EncodedExample>> {
        let input = |example: &'_ TextExample| -> EncodeInput<'static> {
            let text = example.text.clone();
            match example.pair.clone() {
                Some(pair) => (text, pair).into(),
                None => text.into(),
            }
        };
        let mut encoded = Vec::with_capacity(examples.len());
        // The tokenizer's own encodings hold far more than the ids.
        for examples in examples.chunks(CHUNK) {
            let encodings = self.tokenizer.encode_batch(examples.iter().map(input).collect(), true);
            let encodings = encodings.map_err(|error| self.failed(error))?;
            let example = |(encoding, example): (&Encoding, &TextExample)| EncodedExample {
                input_ids: encoding.get_ids().to_vec(),
                token_type_ids: encoding.get_type_ids().to_vec(),
                label: example.label,
            };
            encoded.extend(encodings.iter().zip(examples).map(example));
        }
        Ok(encoded)
    }
}

/// Whether a model's `tokenizer_config.json` asks for lower case; yes if it does not say.
fn reads_lowercase(folder: &Path) -> bool {
    let text = std::fs::read_to_string(folder.join("tokenizer_config.json")).unwrap_or_default();
    let config: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    config["do_lower_case"].as_bool().unwrap_or(true)
}

/// BERT's tokenizer around a WordPiece vocabulary.
fn wordpiece_tokenizer(model: WordPiece, lowercase: bool) -> tokenizers::Result<Tokenizer> {
    let mut tokenizer = Tokenizer::new(model);
    let id = |tokenizer: &Tokenizer, token: &str| {
        tokenizer.token_to_id(token).ok_or_else(|| format!("the vocabulary has no {token}"))
    };
    let (cls, sep) = (id(&tokenizer, "[CLS]")?, id(&tokenizer, "[SEP]")?);
    tokenizer.with_normalizer(Some(BertNormalizer::new(true, true, None, lowercase)))?;
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    tokenizer.with_post_processor(Some(BertProcessing::new(
        ("[SEP]".into(), sep),
        ("[CLS]".into(), cls),
    )));
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
    let present: Vec<AddedToken> = special
        .into_iter()
        .filter(|token| tokenizer.token_to_id(token).is_some())
        .map(|token| AddedToken::from(token, true))
        .collect();
    tokenizer.add_special_tokens(present)?;
    Ok(tokenizer)
}

/// Writes a BERT tokenizer for a word list: `tokenizer.json`, which Python's `tokenizers` reads too.
///
/// # Errors
///
/// [`Error::Tokenizer`] if the list lacks a special token, or [`Error::Io`] if the file cannot be
/// written.
pub fn write_wordpiece(path: &Path, vocabulary: &[String]) -> Result<()> {
    let failed = |error: tokenizers::Error| Error::Tokenizer {
        location: path.display().to_string(),
        reason: error.to_string(),
    };
    let lines = vocabulary.join("\n") + "\n";
    let tokenizer = WordPiece::read_bytes(lines.as_bytes())
        .and_then(|vocabulary| {
            WordPiece::builder().vocab(vocabulary).unk_token("[UNK]".into()).build()
        })
        .and_then(|model| wordpiece_tokenizer(model, true))
        .map_err(failed)?;
    let json = tokenizer.to_string(true).map_err(failed)?;
    write_atomically(path, json.as_bytes())
}

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
