//! Questions from their texts to windows of tokens, and from logits back to answers and scores.

use serde_json::{Map, Value, json};
use spry_core::Seed;
use spry_data::question_answering::decode::{self, DecodeConfig, SpanLogits};
use spry_data::question_answering::metric::{self, Score};
use spry_data::{
    Answer, EncodedQuestion, Error, Question, Targets, TextTokenizer, TokenBatch, Window,
    synthetic, tokenize,
};

/// Checks scores against those of the official evaluation, run in Python: for each prediction with
/// its answers, whether it is exact, and F1.
fn check_scores(cases: &[(&str, &[&str], bool, f64)]) {
    for &(prediction, answers, is_exact, f1) in cases {
        let found = metric::score(prediction, answers.iter().copied());
        assert_eq!(found.is_exact, is_exact, "{prediction:?} for {answers:?}");
        assert!((found.f1 - f1).abs() < 1e-12, "{prediction:?} for {answers:?}: {}", found.f1);
    }
}

#[test]
fn scores_are_those_of_the_official_evaluation() {
    check_scores(&[
        // Case, punctuation and articles.
        ("Denver Broncos", &["Denver Broncos"], true, 1.0),
        ("the Denver Broncos", &["Denver Broncos."], true, 1.0),
        ("DENVER broncos", &["Denver Broncos"], true, 1.0),
        ("An apple a day", &["apple day"], true, 1.0),
        ("Anna and the banana", &["anna and banana"], true, 1.0),
        ("rock 'n' roll", &["rock n roll"], true, 1.0),
        ("snake_case_a", &["snakecasea"], true, 1.0),
        // A part of the words, also repeated ones.
        ("Saint Bernadette Soubirous", &["Bernadette"], false, 1.0 / 2.0),
        ("Paris", &["Paris, France"], false, 2.0 / 3.0),
        ("AD 70", &["70 A.D."], false, 1.0),
        ("London", &["Paris"], false, 0.0),
        ("to be or not to be", &["to be"], false, 1.0 / 2.0),
        ("to be", &["to be to be to"], false, 4.0 / 7.0),
        ("very very good", &["very good good"], false, 2.0 / 3.0),
        // The best of several answers.
        ("in August 1914", &["1914", "August 1914", "the 4th of August"], false, 4.0 / 5.0),
        ("1914", &["August 1914", "1914"], true, 1.0),
        // No answer.
        ("", &[], true, 1.0),
        ("Paris", &[], false, 0.0),
        ("The.", &[], true, 1.0),
        ("", &["Paris"], false, 0.0),
        ("a an the", &["Paris"], false, 0.0),
        // An answer without a word does not count.
        ("", &["the"], true, 1.0),
        ("the", &["the"], true, 1.0),
        ("who", &["the"], false, 0.0),
        ("The Who", &["the", "The Who"], true, 1.0),
        ("", &["the", "Paris"], false, 0.0),
        // Numbers.
        ("1,000,000", &["1000000"], true, 1.0),
        ("3.5 million", &["35 million"], true, 1.0),
        ("$5", &["5"], true, 1.0),
        ("5 €", &["5"], false, 2.0 / 3.0),
        ("100 %", &["100"], true, 1.0),
        // Hyphens are punctuation, dashes are not.
        ("well-known", &["well known"], false, 0.0),
        ("well-known", &["wellknown"], true, 1.0),
        ("a-b", &["ab"], true, 1.0),
        ("a–b", &["–b"], true, 1.0),
        ("a–b", &["b"], false, 0.0),
        ("the—end", &["—end"], true, 1.0),
        ("the—end", &["— end"], false, 0.0),
        ("“the answer”", &["“ answer”"], true, 1.0),
        ("“the answer”", &["“answer”"], false, 0.0),
        ("it’s a trap", &["it’s trap"], true, 1.0),
        ("l’a dit", &["l’ dit"], true, 1.0),
        // Other letters.
        ("BEYONCÉ", &["beyoncé"], true, 1.0),
        ("Beyoncé", &["Beyonce"], false, 0.0),
        ("ΟΔΟΣ", &["οδος"], true, 1.0),
        ("İzmir", &["i\u{307}zmir"], true, 1.0),
        ("a\u{301}", &["\u{301}"], true, 1.0),
        ("日本 の", &["日本の"], false, 0.0),
        // Spaces of all kinds; the one without width is none.
        (" New\n York\t City ", &["New York City"], true, 1.0),
        ("New\u{a0}York", &["new york"], true, 1.0),
        ("New\u{2003}York", &["new york"], true, 1.0),
        ("the\u{200b}cat", &["\u{200b}cat"], true, 1.0),
    ]);
}

/// Python splits words at the control characters that separate records.
#[test]
fn separators_are_what_they_are_in_python() {
    check_scores(&[("left\u{1c}right", &["left right"], true, 1.0)]);
}

fn wordpiece(vocabulary: &[String], max_length: usize) -> TextTokenizer {
    let folder = tempfile::tempdir().unwrap();
    tokenize::write_wordpiece(&folder.path().join("tokenizer.json"), vocabulary).unwrap();
    TextTokenizer::load(folder.path(), max_length).unwrap()
}

/// A tokenizer for the generators' words, each of which is one token.
fn tokenizer(max_length: usize) -> TextTokenizer {
    wordpiece(&synthetic::vocabulary(), max_length)
}

/// A tokenizer like RoBERTa's, in which each byte is a token: ASCII, the space, and the bytes of 😀.
fn byte_level(max_length: usize) -> TextTokenizer {
    let special = ["<s>", "<pad>", "</s>"];
    let bytes = ('!'..='~').chain("\u{120}\u{f0}\u{141}\u{13a}\u{122}".chars());
    let tokens = special.map(str::to_string).into_iter().chain(bytes.map(String::from));
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
            "vocab": vocabulary, "merges": [],
        },
    });
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    TextTokenizer::load(folder.path(), max_length).unwrap()
}

/// A question with answers, each where it first is in the context.
fn asked(question: &str, context: &str, answers: &[&str]) -> Question {
    let answer =
        |text: &&str| Answer { text: text.to_string(), start: context.find(*text).unwrap() };
    Question {
        question: question.to_string(),
        context: context.into(),
        answers: answers.iter().map(answer).collect(),
    }
}

fn encode(tokenizer: &TextTokenizer, question: Question, doc_stride: usize) -> EncodedQuestion {
    tokenizer.encode_questions(&[question], doc_stride).unwrap().remove(0)
}

/// Where each word of a text begins and ends.
fn words(text: &str) -> Vec<[usize; 2]> {
    let mut next = 0;
    let place = |word: &str| {
        let start = next;
        next += word.len() + 1;
        [start, start + word.len()]
    };
    text.split(' ').map(place).collect()
}

/// Where each context token of a window begins and ends in the context.
fn context_tokens(window: &Window) -> Vec<[usize; 2]> {
    (0..window.input_ids.len()).filter_map(|token| window.offsets(token)).collect()
}

/// The part of the context that a window's span is.
fn span_text<'a>(encoded: &'a EncodedQuestion, window: &Window) -> &'a str {
    let [start, _] = window.offsets(window.span[0]).unwrap();
    let [_, end] = window.offsets(window.span[1]).unwrap();
    &encoded.context[start..end]
}

#[test]
fn windows_cover_the_context_and_share_as_many_tokens_as_the_stride_says() {
    let tokenizer = tokenizer(32);
    let questions = synthetic::questions(120, 0).questions;
    for doc_stride in [0, 1, 8, 20] {
        for encoded in tokenizer.encode_questions(&questions, doc_stride).unwrap() {
            assert!(encoded.windows.len() > 1);
            let mut covered: Vec<[usize; 2]> = Vec::new();
            for (index, window) in encoded.windows.iter().enumerate() {
                let (length, tokens) = (window.input_ids.len(), context_tokens(window));
                let is_last = index + 1 == encoded.windows.len();
                assert!(length == 32 || (is_last && length < 32), "{length} tokens");
                let shared = if index == 0 { 0 } else { doc_stride };
                assert!(tokens.len() > shared, "a window has nothing new");
                assert_eq!(covered[covered.len() - shared..], tokens[..shared]);
                covered.extend(&tokens[shared..]);
            }
            assert_eq!(covered, words(&encoded.context));
        }
    }
}

#[test]
fn every_window_is_the_question_and_then_a_part_of_the_context() {
    let tokenizer = tokenizer(32);
    let id = |token: &str| tokenizer.token_id(token).unwrap();
    let questions = synthetic::questions(80, 1).questions;
    let encoded = tokenizer.encode_questions(&questions, 8).unwrap();
    assert_eq!(encoded.len(), questions.len());
    for (question, encoded) in questions.iter().zip(&encoded) {
        let mut head: Vec<u32> = question.question.split(' ').map(id).collect();
        head.insert(0, id("[CLS]"));
        head.push(id("[SEP]"));
        for window in &encoded.windows {
            let (ids, last) = (&window.input_ids, window.input_ids.len() - 1);
            assert_eq!(ids[..head.len()], head);
            assert_eq!(ids[last], id("[SEP]"));
            for (token, &found) in ids.iter().enumerate().take(last).skip(head.len()) {
                let [start, end] = window.offsets(token).unwrap();
                assert_eq!(found, id(&encoded.context[start..end]));
            }
            for token in (0..head.len()).chain([last, last + 1, usize::MAX]) {
                assert_eq!(window.offsets(token), None, "token {token}");
            }
            let segment = |token: usize| u32::from(token >= head.len());
            assert_eq!(window.token_type_ids, (0..=last).map(segment).collect::<Vec<_>>());
        }
        assert_eq!(encoded.context, question.context);
        assert!(encoded.answers.iter().eq(question.answers.iter().map(|answer| &answer.text)));
    }
}

/// Questions on generated articles, for every answer of one to five words.
fn questions_with_longer_answers() -> Vec<Question> {
    let articles = synthetic::questions(24, 3).questions;
    let mut questions = Vec::new();
    for article in articles.iter().step_by(8) {
        let words = words(&article.context);
        for count in 1..=5 {
            for part in words.windows(count) {
                let [start, end] = [part[0][0], part[count - 1][1]];
                let text = article.context[start..end].to_string();
                let answers = vec![Answer { text, start }];
                questions.push(Question { answers, ..article.clone() });
            }
        }
    }
    questions
}

#[test]
fn spans_are_the_answers_in_the_windows_that_have_them() {
    let questions = questions_with_longer_answers();
    let encoded = tokenizer(32).encode_questions(&questions, 8).unwrap();
    for (question, encoded) in questions.iter().zip(&encoded) {
        let answer = &question.answers[0];
        let mut found = 0;
        for window in &encoded.windows {
            let tokens = context_tokens(window);
            let [start, end] = [tokens[0][0], tokens[tokens.len() - 1][1]];
            if start <= answer.start && answer.start + answer.text.len() <= end {
                assert_eq!(window.offsets(window.span[0]).unwrap()[0], answer.start);
                assert_eq!(span_text(encoded, window), answer.text);
                found += 1;
            } else {
                assert_eq!(window.span, [0, 0]);
            }
        }
        // Windows share eight tokens, so five in a row are together in one of them.
        assert!(found > 0, "{:?} is in no window", answer.text);
    }
}

#[test]
fn without_a_stride_an_answer_can_fall_between_two_windows() {
    let questions = questions_with_longer_answers();
    let encoded = tokenizer(32).encode_questions(&questions, 0).unwrap();
    let is_lost = |question: &EncodedQuestion| question.windows.iter().all(|w| w.span == [0, 0]);
    let lost: Vec<&EncodedQuestion> = encoded.iter().filter(|question| is_lost(question)).collect();
    assert!(!lost.is_empty());
    assert!(lost.iter().all(|question| question.answers[0].contains(' ')));
}

#[test]
fn the_span_is_that_of_the_first_answer_and_of_none_without_one() {
    let context = "the striker scored a goal in the stadium .";
    let tokenizer = tokenizer(64);
    let question = asked("who scored", context, &["goal in the stadium", "striker", "scored"]);
    let encoded = encode(&tokenizer, question, 8);
    assert_eq!(span_text(&encoded, &encoded.windows[0]), "goal in the stadium");
    assert_eq!(encoded.answers, ["goal in the stadium", "striker", "scored"]);
    let encoded = encode(&tokenizer, asked("who scored", context, &[]), 8);
    assert_eq!((encoded.windows.len(), encoded.windows[0].span), (1, [0, 0]));
    assert!(encoded.answers.is_empty());
}

#[test]
fn an_answer_inside_of_a_token_has_the_whole_token_as_its_span() {
    let tokenizer = tokenizer(64);
    let context = "the goalkeeper tackled the striker";
    for answer in ["keeper", "goal", "lkee"] {
        let encoded = encode(&tokenizer, asked("who", context, &[answer]), 8);
        assert_eq!(span_text(&encoded, &encoded.windows[0]), "goalkeeper");
    }
    let encoded = encode(&tokenizer, asked("who", context, &["keeper tack"]), 8);
    assert_eq!(span_text(&encoded, &encoded.windows[0]), "goalkeeper tackled");
}

#[test]
fn spans_hold_where_characters_have_several_bytes_and_words_several_tokens() {
    let vocabulary = [
        "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "wo", "am", "rhein", "liegt", "koln", "–",
        "spiel", "##ten", "die", ".",
    ];
    let tokenizer = wordpiece(&vocabulary.map(str::to_string), 64);
    // The hyphen is not in the vocabulary.
    let context = "Am Rhein liegt Köln – spielten die Köln-Rhein.";
    for (answer, tokens) in [
        ("Köln", 1),
        ("Am Rhein", 2),
        ("Köln –", 2),
        ("–", 1),
        ("spielten", 2),
        ("Köln – spielten die", 5),
        ("Köln-Rhein", 3),
        ("-Rhein.", 3),
    ] {
        let encoded = encode(&tokenizer, asked("Wo", context, &[answer]), 8);
        let window = &encoded.windows[0];
        assert_eq!(span_text(&encoded, window), answer);
        assert_eq!(window.span[1] - window.span[0] + 1, tokens, "{answer}");
        let found = decode::answer(&encoded, &perfect_logits(&encoded), &DecodeConfig::default());
        assert_eq!(found, answer);
    }
}

#[test]
fn every_byte_of_a_character_can_be_a_token() {
    let tokenizer = byte_level(64);
    let context = "so 😀 it is";
    for answer in ["so 😀", "😀 it", "😀 it is", "so 😀 it", "it"] {
        let encoded = encode(&tokenizer, asked("who", context, &[answer]), 8);
        // <s>who</s></s>, the bytes of the context, and </s>.
        assert_eq!(encoded.windows[0].input_ids.len(), 6 + context.len() + 1);
        assert_eq!(encoded.windows[0].token_type_ids, [0; 20]);
        assert_eq!(span_text(&encoded, &encoded.windows[0]), answer);
        let found = decode::answer(&encoded, &perfect_logits(&encoded), &DecodeConfig::default());
        assert_eq!(found, answer);
    }
}

/// All four bytes of the answer have the same place in the context.
#[test]
fn an_answer_of_one_character_has_a_span_though_it_has_several_tokens() {
    let encoded = encode(&byte_level(64), asked("who", "so 😀 it is", &["😀"]), 8);
    assert_eq!(span_text(&encoded, &encoded.windows[0]), "😀");
}

#[test]
fn long_questions_are_cut_to_a_quarter_of_the_window_or_64_tokens() {
    let question = ["who"; 100].join(" ");
    let context = ["the striker scored a goal in the stadium ."; 60].join(" ");
    for (max_length, kept) in [(32, 8), (100, 25), (256, 64), (400, 64)] {
        let tokenizer = tokenizer(max_length);
        let id = |token: &str| tokenizer.token_id(token).unwrap();
        let encoded = encode(&tokenizer, asked(&question, &context, &["striker"]), 8);
        assert!(encoded.windows.len() > 1);
        for window in &encoded.windows {
            assert!(window.input_ids.len() <= max_length);
            assert_eq!(window.input_ids[1..=kept], vec![id("who"); kept]);
            assert_eq!(window.input_ids[kept + 1], id("[SEP]"));
        }
        assert_eq!(span_text(&encoded, &encoded.windows[0]), "striker");
    }
}

#[test]
fn spaces_before_a_question_cost_nothing() {
    let context = "the striker scored a goal .";
    let tokenizer = tokenizer(64);
    let encoded =
        ["who scored", "  who scored"].map(|q| encode(&tokenizer, asked(q, context, &[]), 8));
    assert_eq!(encoded[0], encoded[1]);
}

#[test]
fn an_empty_context_has_one_window_and_no_answer() {
    let encoded = encode(&tokenizer(32), asked("who scored", "", &[]), 8);
    assert_eq!(encoded.windows.len(), 1);
    assert_eq!(encoded.windows[0].input_ids.len(), 5);
    assert!(context_tokens(&encoded.windows[0]).is_empty());
    let logits = [logits(5, &[(3, 10.0)], &[(3, 10.0)])];
    assert_eq!(decode::answer(&encoded, &logits, &ALWAYS), "");
}

#[test]
fn strides_without_room_are_errors() {
    // 32 tokens less 8 of the question and 3 special ones.
    let question = || asked(&["who"; 100].join(" "), &["goal"; 60].join(" "), &["goal"]);
    for doc_stride in [21, 22, 1000] {
        let error = tokenizer(32).encode_questions(&[question()], doc_stride).unwrap_err();
        assert!(matches!(error, Error::InvalidOption { option: "doc_stride", .. }), "{error}");
        assert!(error.to_string().contains("below 21"), "{error}");
    }
    // The largest one that fits, with as long a question as there can be: one new token a window.
    let encoded = encode(&tokenizer(32), question(), 20);
    assert_eq!(encoded.windows.len(), 1 + 60 - 21);
    assert!(encoded.windows.iter().all(|window| window.input_ids.len() == 32));

    let error = tokenizer(4).encode_questions(&[question()], 0).unwrap_err();
    assert!(matches!(error, Error::InvalidOption { option: "max_length", .. }), "{error}");
}

/// A question is cut to four tokens here, and the fourth is in the midst of a character.
#[test]
fn a_question_cut_within_a_character_leaves_room_for_the_stride() {
    for question in ["a😀bcd", "ab😀cd", "abc😀d", "😀😀"] {
        let question = asked(question, "so it is and so it was", &[]);
        let encoded = encode(&byte_level(16), question, 7);
        assert!(encoded.windows.len() > 1);
        for window in &encoded.windows {
            assert!(window.input_ids.len() <= 16);
            // Eight of 16 tokens are for the context.
            let is_last = std::ptr::eq(window, encoded.windows.last().unwrap());
            assert!(is_last || context_tokens(window).len() >= 8);
        }
    }
}

#[test]
fn batches_of_windows_are_padded_and_have_spans() {
    let questions = [
        asked("who", "a goal", &[]),
        asked("who scored", "the striker scored a goal .", &["striker scored"]),
    ];
    let encoded = tokenizer(32).encode_questions(&questions, 8).unwrap();
    let windows: Vec<&Window> = encoded.iter().flat_map(|question| &question.windows).collect();
    let batch = TokenBatch::of_windows(&windows, 99);
    assert_eq!((batch.batch, batch.seq), (2, 11));

    let row = |values: &[u32], padding: i64| {
        let mut row: Vec<i64> = values.iter().map(|&value| value.into()).collect();
        row.resize(11, padding);
        row
    };
    let ids = [row(&windows[0].input_ids, 99), row(&windows[1].input_ids, 99)].concat();
    assert_eq!(batch.input_ids, ids);
    let types = [row(&windows[0].token_type_ids, 0), row(&windows[1].token_type_ids, 0)].concat();
    assert_eq!(batch.token_type_ids, types);
    assert_eq!(batch.attention_mask, [[1.0_f32; 6].as_slice(), &[0.0; 5], &[1.0; 11]].concat());
    assert_eq!(batch.targets, Targets::Spans(vec![[0, 0], [5, 6]]));
}

/// Logits that are 0 but at some places.
fn logits(length: usize, start: &[(usize, f64)], end: &[(usize, f64)]) -> SpanLogits {
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
fn perfect_logits(encoded: &EncodedQuestion) -> Vec<SpanLogits> {
    let of_window = |window: &Window| {
        let [first, last] = window.span;
        logits(window.input_ids.len(), &[(first, 10.0)], &[(last, 10.0)])
    };
    encoded.windows.iter().map(of_window).collect()
}

/// Answers, if there is a span at all, however likely it is that there is no answer.
const ALWAYS: DecodeConfig = DecodeConfig {
    n_best_size: 20,
    max_answer_length: 30,
    null_score_diff_threshold: f64::INFINITY,
};

/// [CLS] who scored [SEP] the striker scored a goal . [SEP]
fn scene() -> EncodedQuestion {
    let question = asked("who scored", "the striker scored a goal .", &[]);
    let encoded = encode(&tokenizer(64), question, 8);
    assert_eq!((encoded.windows.len(), encoded.windows[0].input_ids.len()), (1, LENGTH));
    encoded
}

const LENGTH: usize = 11;
const WHO: usize = 1;
const THE: usize = 4;
const STRIKER: usize = 5;
const SCORED: usize = 6;
const A: usize = 7;
const GOAL: usize = 8;

/// The answer that is decoded from the scene with logits that are 0 but at some places.
fn decoded(start: &[(usize, f64)], end: &[(usize, f64)], config: &DecodeConfig) -> String {
    decode::answer(&scene(), &[logits(LENGTH, start, end)], config).to_string()
}

/// A question in two windows of 32 and 22 tokens, which share 8. The fifth token is "striker" in
/// the first window, and "scored" in the second.
fn two_windows() -> EncodedQuestion {
    let context = ["the striker scored a goal ."; 6].join(" ");
    let encoded = encode(&tokenizer(32), asked("who scored", &context, &[]), 8);
    let fifth = |window: &Window| {
        let [start, end] = window.offsets(5).unwrap();
        (window.input_ids.len(), &encoded.context[start..end])
    };
    let found: Vec<(usize, &str)> = encoded.windows.iter().map(fifth).collect();
    assert_eq!(found, [(32, "striker"), (22, "scored")]);
    encoded
}

#[test]
fn perfect_logits_give_a_perfect_score() {
    let questions = synthetic::questions(200, 0).questions;
    assert!(questions.iter().any(|question| question.answers.is_empty()));
    let encoded = tokenizer(32).encode_questions(&questions, 8).unwrap();
    for question in &encoded {
        let found = decode::answer(question, &perfect_logits(question), &DecodeConfig::default());
        let score = metric::score(found, question.answers.iter().map(String::as_str));
        assert_eq!(score, Score { is_exact: true, f1: 1.0 }, "{found:?} for {question:?}");
    }
}

#[test]
fn the_best_of_all_spans_is_found() {
    let questions = synthetic::questions(50, 2).questions;
    let encoded = tokenizer(32).encode_questions(&questions, 8).unwrap();
    let config = DecodeConfig { n_best_size: 32, max_answer_length: 5, ..ALWAYS };
    for (index, question) in encoded.iter().enumerate() {
        let random = |label: &str, window: usize| {
            let length = question.windows[window].input_ids.len();
            Seed::new(index as u64).child(label, window as u64).uniforms(length)
        };
        let logits: Vec<SpanLogits> = (0..question.windows.len())
            .map(|window| SpanLogits { start: random("start", window), end: random("end", window) })
            .collect();
        let mut best = (f64::NEG_INFINITY, "");
        for (window, logits) in question.windows.iter().zip(&logits) {
            for first in 0..window.input_ids.len() {
                for last in first..window.input_ids.len().min(first + 5) {
                    let (from, to) = (window.offsets(first), window.offsets(last));
                    let (Some([start, _]), Some([_, end])) = (from, to) else { continue };
                    let score = logits.start[first] + logits.end[last];
                    if score > best.0 {
                        best = (score, &question.context[start..end]);
                    }
                }
            }
        }
        assert_eq!(decode::answer(question, &logits, &config), best.1);
    }
}

#[test]
fn only_the_largest_logits_are_tried() {
    let outside = [(WHO, 5.0), (STRIKER, 4.0)];
    for (n_best_size, expected) in [(0, ""), (1, ""), (2, "striker"), (20, "striker")] {
        let config = DecodeConfig { n_best_size, ..DecodeConfig::default() };
        assert_eq!(decoded(&outside, &[(STRIKER, 4.0)], &config), expected, "{n_best_size}");
        assert_eq!(decoded(&[(STRIKER, 4.0)], &outside, &config), expected, "{n_best_size}");
    }
}

#[test]
fn answers_are_at_most_as_long_as_allowed() {
    let (start, end) = ([(STRIKER, 10.0)], [(GOAL, 10.0), (A, 2.0), (SCORED, 1.0)]);
    for (max_answer_length, expected) in [
        (30, "striker scored a goal"),
        (4, "striker scored a goal"),
        (3, "striker scored a"),
        (2, "striker scored"),
        (0, ""),
    ] {
        let config = DecodeConfig { max_answer_length, ..ALWAYS };
        assert_eq!(decoded(&start, &end, &config), expected, "{max_answer_length}");
    }
}

#[test]
fn no_answer_must_be_better_by_more_than_the_threshold() {
    for (no_answer, span, threshold, expected) in [
        (4.0, 3.0, 0.0, ""),
        (4.0, 3.0, 1.5, ""),
        (4.0, 3.0, 2.0, "goal"),
        (4.0, 3.0, 2.5, "goal"),
        (3.0, 4.0, 0.0, "goal"),
        (3.0, 4.0, -1.5, "goal"),
        (3.0, 4.0, -2.0, "goal"),
        (3.0, 4.0, -2.5, ""),
        (3.0, 3.0, 0.0, "goal"),
    ] {
        let places = [(0, no_answer), (GOAL, span)];
        let config = DecodeConfig { null_score_diff_threshold: threshold, ..Default::default() };
        let found = decoded(&places, &places, &config);
        assert_eq!(found, expected, "{no_answer} against {span}, at most {threshold}");
    }
}

#[test]
fn the_window_that_is_least_sure_of_no_answer_counts() {
    let encoded = two_windows();
    let config = DecodeConfig::default();
    let none = |value: f64, length: usize| logits(length, &[(0, value)], &[(0, value)]);
    let some = |length: usize| logits(length, &[(5, 5.0)], &[(5, 5.0)]);
    for (of_windows, expected) in [
        ([some(32), none(30.0, 22)], "striker"),
        ([none(30.0, 32), some(22)], "scored"),
        ([none(30.0, 32), none(1.0, 22)], ""),
    ] {
        assert_eq!(decode::answer(&encoded, &of_windows, &config), expected);
    }
}

#[test]
fn the_best_window_counts_and_of_equals_the_first() {
    let encoded = two_windows();
    let at = |place: usize, value: f64, length: usize| {
        logits(length, &[(place, value)], &[(place, value)])
    };
    for (first, second, expected) in
        [(2.0, 1.0, "striker"), (1.0, 2.0, "scored"), (2.0, 2.0, "striker")]
    {
        let logits = [at(5, first, 32), at(5, second, 22)];
        assert_eq!(decode::answer(&encoded, &logits, &ALWAYS), expected);
    }
}

#[test]
fn of_equal_spans_the_first_is_the_answer() {
    assert_eq!(decoded(&[], &[], &ALWAYS), "the");
    assert_eq!(decoded(&[], &[], &DecodeConfig::default()), "the");
    assert_eq!(decoded(&[(GOAL, 1.0), (SCORED, 1.0)], &[], &ALWAYS), "scored");
    let encoded = two_windows();
    let logits = [logits(32, &[], &[]), logits(22, &[], &[])];
    assert_eq!(decode::answer(&encoded, &logits, &ALWAYS), "the");
}

#[test]
fn spans_that_end_before_they_start_are_left_out() {
    let (start, end) = ([(GOAL, 10.0), (STRIKER, 3.0)], [(STRIKER, 10.0)]);
    assert_eq!(decoded(&start, &end, &ALWAYS), "striker");
    let (start, end) = ([(GOAL, 10.0)], [(STRIKER, 10.0), (GOAL, 1.0)]);
    assert_eq!(decoded(&start, &end, &ALWAYS), "goal");
}

#[test]
fn tokens_outside_of_the_context_are_never_part_of_an_answer() {
    let encoded = scene();
    // Two more than the window has: padding.
    let length = LENGTH + 2;
    let places = (0..THE).chain(LENGTH - 1..length);
    let outside: Vec<(usize, f64)> = places.map(|place| (place, 100.0)).collect();
    let with = |place: usize| [outside.as_slice(), &[(place, 1.0)]].concat();
    let found = |start: &[(usize, f64)], end: &[(usize, f64)]| {
        decode::answer(&encoded, &[logits(length, start, end)], &ALWAYS)
    };
    assert_eq!(found(&with(GOAL), &with(GOAL)), "goal");
    assert_eq!(found(&with(STRIKER), &with(A)), "striker scored a");
    assert_eq!(found(&outside, &with(SCORED)), "the striker scored");
}

#[test]
fn logits_that_are_no_finite_numbers_do_no_harm() {
    let encoded = scene();
    for value in [f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        for first in 0..LENGTH {
            for last in 0..LENGTH {
                let logits = [logits(LENGTH, &[(first, value)], &[(last, value)])];
                for config in [ALWAYS, DecodeConfig::default()] {
                    let found = decode::answer(&encoded, &logits, &config);
                    assert!(encoded.context.contains(found), "{found:?}");
                }
            }
        }
        let logits = [SpanLogits { start: vec![value; LENGTH], end: vec![value; LENGTH] }];
        assert!(encoded.context.contains(decode::answer(&encoded, &logits, &ALWAYS)));
    }
}

#[test]
fn without_logits_there_is_no_answer() {
    let encoded = scene();
    assert_eq!(decode::answer(&encoded, &[], &ALWAYS), "");
    let empty = SpanLogits { start: Vec::new(), end: Vec::new() };
    assert_eq!(decode::answer(&encoded, &[empty], &ALWAYS), "");
}
