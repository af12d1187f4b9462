//! Which of transformers' classes reads a folder: most build the tokenizer anew from its vocabulary,
//! and take only some of what `tokenizer.json` says.

use serde_json::Value;

use super::build::WORDS;
use super::files::{Files, OPTIONS};
use crate::guard::quotable;
use crate::{Error, Result};

/// A class of transformers 5, by what it makes of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// WordPiece between `[CLS]` and `[SEP]`, from the vocabulary alone.
    Bert,
    /// The same, but the model is not told segments.
    DistilBert,
    /// Byte-level BPE between `<s>` and `</s>`, from vocabulary and merges.
    Roberta,
    /// Byte-level BPE, from vocabulary and merges.
    Gpt2,
    /// BPE of SentencePiece, from vocabulary and merges.
    Llama,
    /// Unigram between `[CLS]` and `[SEP]`.
    Albert,
    /// Unigram between `<s>` and `</s>`.
    XlmRoberta,
    /// `TokenizersBackend`, once `PreTrainedTokenizerFast`: `tokenizer.json` as it is.
    Backend,
    /// The same where nothing says which class it is, as in a folder without a model.
    Unnamed,
}

/// Names of classes, without `Fast` at the end, as `tokenizer_class` has them.
const NAMES: &[(&str, Class)] = &[
    ("BertTokenizer", Class::Bert),
    ("ConvBertTokenizer", Class::Bert),
    ("DistilBertTokenizer", Class::DistilBert),
    ("ElectraTokenizer", Class::Bert),
    ("LayoutLMTokenizer", Class::Bert),
    ("MobileBertTokenizer", Class::Bert),
    ("SqueezeBertTokenizer", Class::Bert),
    ("RobertaTokenizer", Class::Roberta),
    ("BartTokenizer", Class::Roberta),
    ("LongformerTokenizer", Class::Roberta),
    ("GPT2Tokenizer", Class::Gpt2),
    ("LlamaTokenizer", Class::Llama),
    ("AlbertTokenizer", Class::Albert),
    ("XLMRobertaTokenizer", Class::XlmRoberta),
    ("PreTrainedTokenizer", Class::Backend),
    ("PythonBackend", Class::Backend),
    ("TokenizersBackend", Class::Backend),
];

/// The class that reads a model of a family where the files do not name another.
const OF_FAMILIES: &[(&str, Class)] = &[
    ("albert", Class::Albert),
    ("bert", Class::Bert),
    ("distilbert", Class::Bert),
    ("llama", Class::Backend),
    ("opt", Class::Gpt2),
    ("roberta", Class::Roberta),
];

impl Class {
    /// The class that reads a folder.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`] for a class that is not known here, as what it makes of the files is not
    /// known either.
    pub fn of(files: &Files) -> Result<Self> {
        let named = match files.options.get("tokenizer_class") {
            None | Some(Value::Null) => files.model.get("tokenizer_class"),
            named => named,
        };
        let family = files.model.get("model_type").and_then(Value::as_str);
        let name = match named {
            None | Some(Value::Null) => {
                let of_family = OF_FAMILIES.iter().find(|(name, _)| Some(*name) == family);
                return Ok(match of_family {
                    Some((_, class)) => *class,
                    // A word list is BERT's.
                    None if files.tokenizer.is_none() && files.has(WORDS) => Self::Bert,
                    None => Self::Unnamed,
                });
            }
            Some(Value::String(name)) => name.strip_suffix("Fast").unwrap_or(name),
            Some(_) => return Err(files.error(OPTIONS, "`tokenizer_class` must be a name")),
        };
        let Some((_, class)) = NAMES.iter().find(|(known, _)| *known == name) else {
            return Err(unknown(files, name));
        };
        // Llama 3 was published under the class of Llama 2, which would take its bytes for words.
        if *class == Self::Llama && is_byte_level(files) {
            return Ok(Self::Backend);
        }
        Ok(*class)
    }

    /// Its name in transformers.
    pub fn name(self) -> &'static str {
        let name = NAMES.iter().find(|(_, class)| *class == self);
        name.map_or("a folder without `tokenizer_class`", |(name, _)| name)
    }

    /// Whether a model is told the segment of each token, if `model_input_names` does not say.
    pub fn has_segments(self) -> bool {
        matches!(self, Self::Bert | Self::Unnamed)
    }

    /// The special tokens that it has if the files do not name others: pairs of key and token.
    pub fn defaults(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Bert | Self::DistilBert => &[
                ("unk_token", "[UNK]"),
                ("sep_token", "[SEP]"),
                ("pad_token", "[PAD]"),
                ("cls_token", "[CLS]"),
                ("mask_token", "[MASK]"),
            ],
            Self::Roberta | Self::XlmRoberta => &[
                ("bos_token", "<s>"),
                ("eos_token", "</s>"),
                ("unk_token", "<unk>"),
                ("sep_token", "</s>"),
                ("pad_token", "<pad>"),
                ("cls_token", "<s>"),
                ("mask_token", "<mask>"),
            ],
            Self::Albert => &[
                ("bos_token", "[CLS]"),
                ("eos_token", "[SEP]"),
                ("unk_token", "<unk>"),
                ("sep_token", "[SEP]"),
                ("pad_token", "<pad>"),
                ("cls_token", "[CLS]"),
                ("mask_token", "[MASK]"),
            ],
            Self::Gpt2 => &[
                ("bos_token", "<|endoftext|>"),
                ("eos_token", "<|endoftext|>"),
                ("unk_token", "<|endoftext|>"),
            ],
            Self::Llama => &[("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>")],
            Self::Backend | Self::Unnamed => &[],
        }
    }
}

fn unknown(files: &Files, name: &str) -> Error {
    let known: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
    files.error(
        OPTIONS,
        format!(
            "`tokenizer_class` is `{}`, which is not known here ({} are); if {} is complete by \
             itself, as with most models, make a copy of the folder in which `tokenizer_class` is \
             `PreTrainedTokenizerFast`",
            quotable(name),
            known.join(", "),
            super::files::TOKENIZER
        ),
    )
}

/// Whether a part of `tokenizer.json` is of the type `ByteLevel`.
fn is_byte_level(files: &Files) -> bool {
    fn has(value: &Value) -> bool {
        match value {
            Value::String(text) => text == "ByteLevel",
            Value::Array(values) => values.iter().any(has),
            Value::Object(values) => values.values().any(has),
            _ => false,
        }
    }
    let parts = ["normalizer", "pre_tokenizer", "post_processor", "decoder"];
    let file = files.tokenizer.as_ref();
    file.is_some_and(|file| parts.iter().filter_map(|part| file.get(*part)).any(has))
}
