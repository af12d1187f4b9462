//! Tokenizers as transformers' classes make them from a folder's files.
//!
//! Each is put together as the JSON that the tokenizers crate reads, so that it is checked there as
//! a file is.

use serde_json::{Map, Value, json};
use tokenizers::{AddedToken, PostProcessorWrapper, Tokenizer};

use super::class::Class;
use super::files::{Files, OPTIONS, TOKENIZER};
use super::options::Options;
use super::{growth, template};
use crate::guard::{self, sayable};
use crate::{Error, Result};

/// The file of WordPiece's vocabulary, one token a line.
pub(super) const WORDS: &str = "vocab.txt";

/// The files of a byte-level BPE: numbers of tokens, and pairs in the order in which they merge.
pub(super) const PIECES: &str = "vocab.json";
pub(super) const MERGES: &str = "merges.txt";

/// The tokenizer of a folder, and the file that its vocabulary is from.
///
/// # Errors
///
/// [`Error::Tokenizer`] if files are missing or damaged, or do not belong to the class.
pub(super) fn tokenizer(
    files: &Files,
    class: Class,
    options: &Options,
) -> Result<(Tokenizer, String)> {
    let (parts, vocabulary) = match class {
        Class::Bert | Class::DistilBert => bert(files, options)?,
        Class::Roberta | Class::Gpt2 => byte_level(files, class, options)?,
        Class::Llama => llama(files, options)?,
        Class::Albert | Class::XlmRoberta => unigram(files, class, options)?,
        Class::Backend | Class::Unnamed => match &files.tokenizer {
            Some(file) => (file.clone(), TOKENIZER),
            None if class == Class::Unnamed => {
                return Err(files.missing("BERT", "vocab.txt"));
            }
            None => return Err(files.missing(class.name(), "")),
        },
    };
    let failed = |reason: String| files.error(vocabulary, reason);
    check_charsmaps(&parts).map_err(failed)?;
    template::check(&parts).map_err(failed)?;
    growth::check(&parts).map_err(failed)?;
    let text = Value::Object(parts).to_string();
    let mut tokenizer = guarded(|| text.parse::<Tokenizer>()).map_err(failed)?;
    let decoder = tokenizer.get_added_tokens_decoder();
    let present: Vec<AddedToken> = decoder.into_values().collect();
    let adding = options.to_add(&present);
    guarded(|| tokenizer.add_tokens(adding)).map_err(failed)?;
    if let Some(processor) = processor(files, class, options, &tokenizer)? {
        let processor: PostProcessorWrapper = serde_json::from_value(processor)
            .map_err(|error| failed(sayable(&format!("`post_processor`: {error}"))))?;
        tokenizer.with_post_processor(Some(processor));
    }
    tokenizer.set_encode_special_tokens(options.truth("split_special_tokens", false)?);
    Ok((tokenizer, files.location(vocabulary)))
}

/// Runs a part of the tokenizers crate, and says what went wrong.
pub(super) fn guarded<R>(run: impl FnOnce() -> tokenizers::Result<R>) -> Result<R, String> {
    match guard::catch_panics(run) {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(error)) => Err(sayable(&error.to_string())),
        Err(panic) => Err(sayable(&format!("the tokenizers library failed: {panic}"))),
    }
}

/// A tokenizer of these parts, without added tokens.
fn whole(model: Value, normalizer: Value, pre_tokenizer: Value) -> Map<String, Value> {
    let parts = json!({
        "version": "1.0",
        "added_tokens": [],
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "model": model,
    });
    match parts {
        Value::Object(parts) => parts,
        _ => Map::new(),
    }
}

/// The model of `tokenizer.json`, if its type is the one that a class reads.
fn model<'a>(
    files: &'a Files,
    class: Class,
    kinds: &[&str],
) -> Result<Option<&'a Map<String, Value>>> {
    let Some(file) = &files.tokenizer else { return Ok(None) };
    let Some(Value::Object(model)) = file.get("model") else {
        return Err(files.error(TOKENIZER, "it has no `model`"));
    };
    // Older files do not say what it is.
    let kind = match model.get("type").and_then(Value::as_str) {
        Some(kind) => kind,
        None if model.contains_key("merges") => "BPE",
        None if model.contains_key("unk_id") => "Unigram",
        None => "WordPiece",
    };
    if kinds.contains(&kind) {
        return Ok(Some(model));
    }
    let reason = format!(
        "it is of the type {}, but the class {} that {OPTIONS} or the model's family asks for reads \
         {}; the class PreTrainedTokenizerFast takes it as it is",
        guard::quotable(kind),
        class.name(),
        kinds[0]
    );
    Err(files.error(TOKENIZER, reason))
}

/// A vocabulary by token: an object as it is, a list by its order.
fn vocabulary(files: &Files, model: &Map<String, Value>) -> Result<Value> {
    match model.get("vocab") {
        Some(Value::Object(tokens)) => Ok(Value::Object(tokens.clone())),
        Some(Value::Array(tokens)) => {
            let text = |token: &Value| match token {
                Value::Array(token) => token.first().and_then(Value::as_str).map(str::to_string),
                token => token.as_str().map(str::to_string),
            };
            let tokens = tokens.iter().enumerate();
            let tokens: Option<Map<String, Value>> =
                tokens.map(|(id, token)| Some((text(token)?, id.into()))).collect();
            tokens.map(Value::Object).ok_or_else(|| no_vocabulary(files))
        }
        _ => Err(no_vocabulary(files)),
    }
}

fn no_vocabulary(files: &Files) -> Error {
    files.error(TOKENIZER, "its model has no `vocab`")
}

type Parts = (Map<String, Value>, &'static str);

fn bert(files: &Files, options: &Options) -> Result<Parts> {
    let (words, source) = match model(files, Class::Bert, &["WordPiece", "WordLevel"])? {
        Some(model) => (vocabulary(files, model)?, TOKENIZER),
        None if files.has(WORDS) => {
            let text = files.vocabulary(WORDS)?;
            let lines = text.lines().enumerate();
            // Of equal lines the last counts.
            let words = lines.map(|(id, word)| (word.trim_end().to_string(), id.into()));
            (Value::Object(words.collect()), WORDS)
        }
        None => return Err(files.missing(Class::Bert.name(), WORDS)),
    };
    let model = json!({
        "type": "WordPiece",
        "vocab": words,
        "unk_token": options.special("unk_token").unwrap_or("[UNK]"),
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
    });
    let normalizer = json!({
        "type": "BertNormalizer",
        "clean_text": true,
        "handle_chinese_chars": options.truth("tokenize_chinese_chars", true)?,
        "strip_accents": options.truth_or_null("strip_accents")?,
        "lowercase": options.truth("do_lower_case", true)?,
    });
    Ok((whole(model, normalizer, json!({"type": "BertPreTokenizer"})), source))
}

/// Vocabulary and merges of a BPE in `tokenizer.json`.
fn pieces(files: &Files, model: &Map<String, Value>) -> Result<(Value, Value)> {
    let merges = model.get("merges").cloned().unwrap_or_else(|| json!([]));
    Ok((vocabulary(files, model)?, merges))
}

fn byte_level(files: &Files, class: Class, options: &Options) -> Result<Parts> {
    let ((pieces, merges), source) = match model(files, class, &["BPE"])? {
        Some(model) => (pieces(files, model)?, TOKENIZER),
        None if files.has(PIECES) && files.has(MERGES) => {
            let text = files.vocabulary(MERGES)?;
            let lines = text.lines().filter(|line| !line.starts_with("#version"));
            let mut merges = Vec::new();
            for (index, line) in lines.enumerate() {
                let Some((left, right)) = line.split_once(' ').filter(|(_, r)| !r.contains(' '))
                else {
                    let line = guard::quotable(line);
                    let reason = format!("merge {index} is `{line}`, but must be two pieces");
                    return Err(files.error(MERGES, reason));
                };
                merges.push(json!([left, right]));
            }
            let pieces = files.vocabulary_object(PIECES)?;
            ((Value::Object(pieces), Value::Array(merges)), PIECES)
        }
        None => return Err(files.missing(class.name(), "vocab.json with merges.txt")),
    };
    let model = json!({
        "type": "BPE",
        "vocab": pieces,
        "merges": merges,
        "continuing_subword_prefix": "",
        "end_of_word_suffix": "",
        "fuse_unk": false,
        "byte_fallback": false,
    });
    let pre_tokenizer = json!({
        "type": "ByteLevel",
        "add_prefix_space": options.truth("add_prefix_space", false)?,
        "trim_offsets": true,
        "use_regex": true,
    });
    Ok((whole(model, Value::Null, pre_tokenizer), source))
}

fn llama(files: &Files, options: &Options) -> Result<Parts> {
    let Some(model) = model(files, Class::Llama, &["BPE"])? else {
        return Err(files.missing(Class::Llama.name(), ""));
    };
    let (pieces, merges) = pieces(files, model)?;
    let has_prefix = options.truth_or_null("add_prefix_space")?.unwrap_or(true);
    // A null is not the default, but not true either.
    let is_legacy = options.truth_or_null("legacy")?.unwrap_or(false);
    let prepend = match (has_prefix, is_legacy) {
        (false, _) => "never",
        (true, true) => "always",
        (true, false) => "first",
    };
    let model = json!({
        "type": "BPE",
        "vocab": pieces,
        "merges": merges,
        "fuse_unk": true,
        "byte_fallback": true,
    });
    let pre_tokenizer = json!({
        "type": "Metaspace",
        "replacement": "▁",
        "prepend_scheme": prepend,
        "split": false,
    });
    Ok((whole(model, Value::Null, pre_tokenizer), TOKENIZER))
}

fn unigram(files: &Files, class: Class, options: &Options) -> Result<Parts> {
    let Some(model) = model(files, class, &["Unigram"])? else {
        return Err(files.missing(class.name(), ""));
    };
    let pieces = model.get("vocab").cloned().ok_or_else(|| no_vocabulary(files))?;
    let charsmap = charsmap(files);
    let (unknown, normalizer) = match class {
        Class::Albert => {
            let replace = |from: &str| json!({"type": "Replace", "pattern": {"String": from}, "content": "\""});
            let mut steps = vec![replace("``"), replace("''")];
            if !options.truth("keep_accents", false)? {
                steps.push(json!({"type": "NFKD"}));
                steps.push(json!({"type": "StripAccents"}));
            }
            if options.truth("do_lower_case", true)? {
                steps.push(json!({"type": "Lowercase"}));
            }
            steps.extend(charsmap);
            (1, json!({"type": "Sequence", "normalizers": steps}))
        }
        _ => (3, charsmap.unwrap_or(Value::Null)),
    };
    let model =
        json!({"type": "Unigram", "vocab": pieces, "unk_id": unknown, "byte_fallback": false});
    let prepend = if options.truth("add_prefix_space", true)? { "always" } else { "never" };
    let pre_tokenizer = json!({"type": "Sequence", "pretokenizers": [
        {"type": "WhitespaceSplit"},
        {"type": "Metaspace", "replacement": "▁", "prepend_scheme": prepend, "split": true},
    ]});
    Ok((whole(model, normalizer, pre_tokenizer), TOKENIZER))
}

/// The first table of SentencePiece's normalisation in `tokenizer.json`.
fn charsmap(files: &Files) -> Option<Value> {
    let normalizer = files.tokenizer.as_ref()?.get("normalizer")?;
    let steps = match normalizer.get("normalizers") {
        Some(Value::Array(steps)) => steps.as_slice(),
        _ => std::slice::from_ref(normalizer),
    };
    let is_table = |step: &&Value| step.get("type").is_some_and(|kind| kind == "Precompiled");
    steps.iter().find(is_table).cloned()
}

/// What puts special tokens around a text, where it is not that of `tokenizer.json` as it is.
fn processor(
    files: &Files,
    class: Class,
    options: &Options,
    tokenizer: &Tokenizer,
) -> Result<Option<Value>> {
    let pair = |key: &str| -> Result<Value> {
        let token = options.needed(key)?;
        match tokenizer.token_to_id(token) {
            Some(id) => Ok(json!([token, id])),
            None => Err(files.error(OPTIONS, format!("`{key}` is not in the vocabulary"))),
        }
    };
    let of_file = files.tokenizer.as_ref().and_then(|file| file.get("post_processor"));
    let of_file = of_file.filter(|processor| !processor.is_null());
    Ok(match class {
        Class::Bert | Class::DistilBert => Some(json!({
            "type": "BertProcessing", "sep": pair("sep_token")?, "cls": pair("cls_token")?,
        })),
        Class::Roberta => Some(json!({
            "type": "RobertaProcessing", "sep": pair("sep_token")?, "cls": pair("cls_token")?,
            "trim_offsets": options.truth("trim_offsets", true)?,
            "add_prefix_space": options.truth("add_prefix_space", false)?,
        })),
        Class::XlmRoberta => Some(json!({
            "type": "RobertaProcessing", "sep": pair("eos_token")?, "cls": pair("bos_token")?,
            "trim_offsets": false, "add_prefix_space": false,
        })),
        Class::Albert | Class::Gpt2 | Class::Llama if of_file.is_some() => of_file.cloned(),
        Class::Albert => Some(json!({
            "type": "BertProcessing", "sep": pair("sep_token")?, "cls": pair("cls_token")?,
        })),
        Class::Backend if of_file.is_some() => None,
        Class::Gpt2 | Class::Llama | Class::Backend => {
            // Python takes these options where there is no tokenizer.json alone.
            let is_asked = |key: &str| -> Result<bool> {
                Ok(files.tokenizer.is_none() && options.truth_or_null(key)?.unwrap_or(false))
            };
            let mut ends = [None, None];
            for (end, [key, token]) in ends
                .iter_mut()
                .zip([["add_bos_token", "bos_token"], ["add_eos_token", "eos_token"]])
            {
                if is_asked(key)? && options.special(token).is_some() {
                    *end = Some(pair(token)?);
                }
            }
            Some(template(&ends))
        }
        Class::Unnamed => None,
    })
}

/// Texts between tokens for the beginning and the end, if there are any: pairs of token and number.
fn template(ends: &[Option<Value>; 2]) -> Value {
    let special = |end: &Option<Value>, segment: u32| {
        end.iter()
            .map(|token| json!({"SpecialToken": {"id": token[0], "type_id": segment}}))
            .collect::<Vec<_>>()
    };
    let text = |name: &str, segment: u32| {
        let mut parts = special(&ends[0], segment);
        parts.push(json!({"Sequence": {"id": name, "type_id": segment}}));
        parts.extend(special(&ends[1], segment));
        parts
    };
    let tokens: Map<String, Value> = ends
        .iter()
        .flatten()
        .filter_map(|token| {
            let text = token[0].as_str()?.to_string();
            let entry = json!({"id": text, "ids": [token[1]], "tokens": [text]});
            Some((text, entry))
        })
        .collect();
    let single = text("A", 0);
    let pair: Vec<Value> = single.iter().cloned().chain(text("B", 1)).collect();
    json!({
        "type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": tokens,
    })
}

/// Fails if a table of SentencePiece claims to be longer than it is: the library would reserve as
/// much memory as it says, up to 8 GB.
fn check_charsmaps(parts: &Map<String, Value>) -> Result<(), String> {
    fn check(value: &Value) -> Result<(), String> {
        match value {
            Value::Object(object) => object.iter().try_for_each(|(key, value)| match value {
                Value::String(table) if key == "precompiled_charsmap" => check_charsmap(table),
                value => check(value),
            }),
            Value::Array(values) => values.iter().try_for_each(check),
            _ => Ok(()),
        }
    }
    parts.get("normalizer").map_or(Ok(()), check)
}

fn check_charsmap(table: &str) -> Result<(), String> {
    // Base64: the first six characters are 36 bits, of which 32 are the length, lowest byte first.
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let start: Option<Vec<u8>> = table.bytes().take(6).map(digit).collect();
    let bits = start
        .filter(|start| start.len() == 6)
        .map(|start| start.iter().fold(0u64, |bits, digit| bits << 6 | u64::from(*digit)) >> 4);
    let length = bits.map(|bits| u64::from((bits as u32).swap_bytes()));
    match length {
        Some(length) if length <= table.len() as u64 => Ok(()),
        Some(length) => Err(format!("`precompiled_charsmap` claims a table of {length} bytes")),
        None => Err("`precompiled_charsmap` is not base64".to_string()),
    }
}
