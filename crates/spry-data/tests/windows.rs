//! Questions and contexts as windows of tokens.

mod encoding;

use encoding::*;
use spry_data::question_answering::decode::{self, DecodeConfig};
use spry_data::*;

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

/// Such tokenizers take the space before a word into its token, and trim it from the offsets: once.
#[test]
fn tokens_with_a_space_in_front_have_the_offsets_of_their_word() {
    let merges = [
        ("\u{120}", "5"),
        ("\u{120}", "c"),
        ("\u{120}c", "a"),
        ("\u{120}ca", "t"),
        ("\u{120}cat", "s"),
        ("\u{120}", "a"),
    ];
    let tokenizer = byte_level_with(64, &merges);
    for answer in ["5", "cats", "5 cats", "a"] {
        let question = asked("how many", "we see 5 cats in a room", &[answer]);
        let question = Question {
            // Not the one inside of a word.
            answers: match answer {
                "a" => vec![Answer { text: "a".to_string(), start: 17 }],
                _ => question.answers,
            },
            ..question
        };
        let encoded = encode(&tokenizer, question, 8);
        assert_eq!(span_text(&encoded, &encoded.windows[0]), answer);
    }
}

/// A question whose first character alone has more tokens than a question may have.
#[test]
fn a_question_that_cannot_be_cut_is_left_out() {
    let encoded = encode(&byte_level(12), asked("😀😀 what", "so it is and so it was", &[]), 3);
    assert!(encoded.windows.len() > 1);
    assert!(encoded.windows.iter().all(|window| window.input_ids.len() <= 12));
}
