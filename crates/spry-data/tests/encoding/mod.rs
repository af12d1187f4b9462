//! Tokenizers without files, and questions encoded by them.
#![allow(dead_code)] // Not every test uses all of it.

use serde_json::{Map, Value, json};
use spry_data::question_answering::decode::{DecodeConfig, SpanLogits};
use spry_data::{Answer, EncodedQuestion, Question, TextTokenizer, Window, synthetic, tokenize};

pub fn wordpiece(vocabulary: &[String], max_length: usize) -> TextTokenizer {
    let folder = tempfile::tempdir().unwrap();
    tokenize::write_wordpiece(&folder.path().join("tokenizer.json"), vocabulary).unwrap();
    TextTokenizer::load(folder.path(), max_length).unwrap()
}

/// A tokenizer for the generators' words, each of which is one token.
pub fn tokenizer(max_length: usize) -> TextTokenizer {
    wordpiece(&synthetic::vocabulary(), max_length)
}

/// A tokenizer like RoBERTa's, in which each byte is a token: ASCII, the space, and the bytes of 😀.
pub fn byte_level(max_length: usize) -> TextTokenizer {
    byte_level_with(max_length, &[])
}

/// The same with pairs of tokens that are merged, such as `("Ġ", "5")` for a space and a digit.
pub fn byte_level_with(max_length: usize, merges: &[(&str, &str)]) -> TextTokenizer {
    let special = ["<s>", "<pad>", "</s>"];
    let bytes = ('!'..='~').chain("\u{120}\u{f0}\u{141}\u{13a}\u{122}".chars());
    let merged = merges.iter().map(|(left, right)| format!("{left}{right}"));
    let tokens =
        special.map(str::to_string).into_iter().chain(bytes.map(String::from)).chain(merged);
    let vocabulary: Map<String, Value> =
        tokens.zip(0..).map(|(token, id): (String, u32)| (token, id.into())).collect();
    let added = |token: &str| {
        json!({
            "id": vocabulary[token], "content": token, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true,
        })
    };
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": special.map(added),
        "normalizer": null,
        "pre_tokenizer": {
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true,
        },
        "post_processor": {
            "type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0],
            "trim_offsets": true, "add_prefix_space": false,
        },
        "decoder": null,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "vocab": vocabulary,
            "merges": merges.iter().map(|(left, right)| format!("{left} {right}")).collect::<Vec<_>>(),
        },
    });
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    TextTokenizer::load(folder.path(), max_length).unwrap()
}

/// A question with answers, each where it first is in the context.
pub fn asked(question: &str, context: &str, answers: &[&str]) -> Question {
    let answer =
        |text: &&str| Answer { text: text.to_string(), start: context.find(*text).unwrap() };
    Question {
        question: question.to_string(),
        context: context.into(),
        answers: answers.iter().map(answer).collect(),
    }
}

pub fn encode(tokenizer: &TextTokenizer, question: Question, doc_stride: usize) -> EncodedQuestion {
    tokenizer.encode_questions(&[question], doc_stride).unwrap().remove(0)
}

/// Where each word of a text begins and ends.
pub fn words(text: &str) -> Vec<[usize; 2]> {
    let mut next = 0;
    let place = |word: &str| {
        let start = next;
        next += word.len() + 1;
        [start, start + word.len()]
    };
    text.split(' ').map(place).collect()
}

/// Where each context token of a window begins and ends in the context.
pub fn context_tokens(window: &Window) -> Vec<[usize; 2]> {
    (0..window.input_ids.len()).filter_map(|token| window.offsets(token)).collect()
}

/// The part of the context that a window's span is.
pub fn span_text<'a>(encoded: &'a EncodedQuestion, window: &Window) -> &'a str {
    let [start, _] = window.offsets(window.span[0]).unwrap();
    let [_, end] = window.offsets(window.span[1]).unwrap();
    &encoded.context[start..end]
}

/// Logits that are 0 but at some places.
pub fn logits(length: usize, start: &[(usize, f64)], end: &[(usize, f64)]) -> SpanLogits {
    let values = |places: &[(usize, f64)]| {
        let mut values = vec![0.0; length];
        for &(place, value) in places {
            values[place] = value;
        }
        values
    };
    SpanLogits { start: values(start), end: values(end) }
}

/// The logits of a model that is always right and sure of it.
pub fn perfect_logits(encoded: &EncodedQuestion) -> Vec<SpanLogits> {
    let of_window = |window: &Window| {
        let [first, last] = window.span;
        logits(window.input_ids.len(), &[(first, 10.0)], &[(last, 10.0)])
    };
    encoded.windows.iter().map(of_window).collect()
}

/// Answers, if there is a span at all, however likely it is that there is no answer.
pub const ALWAYS: DecodeConfig = DecodeConfig {
    n_best_size: 20,
    max_answer_length: 30,
    null_score_diff_threshold: f64::INFINITY,
};
