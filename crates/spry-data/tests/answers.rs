//! From logits to answers, and how right they are.

mod encoding;

use encoding::*;
use spry_core::Seed;
use spry_data::question_answering::decode::{self, DecodeConfig, SpanLogits};
use spry_data::question_answering::metric::{self, Score};
use spry_data::*;

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
