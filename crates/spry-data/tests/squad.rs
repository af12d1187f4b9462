//! Questions with their answers and keys, as SQuAD has them.

use std::sync::Arc;

mod columns;

use columns::*;
use spry_core::Seed;
use spry_data::*;

/// A row of SQuAD's files: the article, the context, the question, and the answers with where they
/// start, in characters.
type Row<'a> = (&'a str, &'a str, &'a str, Option<&'a [(&'a str, i32)]>);

fn squad(rows: &[Row]) -> [Column; 5] {
    let ids: Vec<String> = (0..rows.len()).map(|row| format!("id {row}")).collect();
    [
        texts("id", &ids.iter().map(String::as_str).collect::<Vec<_>>()),
        texts("title", &rows.iter().map(|row| row.0).collect::<Vec<_>>()),
        texts("context", &rows.iter().map(|row| row.1).collect::<Vec<_>>()),
        texts("question", &rows.iter().map(|row| row.2).collect::<Vec<_>>()),
        answers(&rows.iter().map(|row| row.3).collect::<Vec<_>>()),
    ]
}

const COLOGNE: &str = "Köln liegt am Rhein";

#[test]
fn questions_are_read_with_all_their_answers() {
    let paris = "Paris is the capital of France .";
    let columns = squad(&[
        ("Cologne", COLOGNE, "Where is Köln?", Some(&[("am Rhein", 11), ("Rhein", 14)])),
        ("Cologne", COLOGNE, "Who founded it?", Some(&[])),
        ("Paris", paris, "What is the capital?", Some(&[("Paris", 0)])),
        ("Cologne", COLOGNE, "When?", None),
        ("Paris", paris, "Of what?", Some(&[("France", 24), ("of France", 21), ("France", 24)])),
    ]);
    let dataset = read_questions(&spec::SQUAD_V2.layout(), &columns);
    assert_eq!(dataset.keys, ["Cologne", "Cologne", "Paris", "Cologne", "Paris"]);

    let asked: Vec<&str> = dataset.questions.iter().map(|q| q.question.as_str()).collect();
    let expected =
        ["Where is Köln?", "Who founded it?", "What is the capital?", "When?", "Of what?"];
    assert_eq!(asked, expected);

    let answers: Vec<Vec<&str>> = dataset
        .questions
        .iter()
        .map(|question| question.answers.iter().map(|answer| answer.text.as_str()).collect())
        .collect();
    let expected: [&[&str]; 5] =
        [&["am Rhein", "Rhein"], &[], &["Paris"], &[], &["France", "of France", "France"]];
    assert_eq!(answers, expected);

    // Questions about the same context share it.
    let contexts: Vec<&Arc<str>> = dataset.questions.iter().map(|q| &q.context).collect();
    assert_eq!([&**contexts[0], &**contexts[2]], [COLOGNE, paris]);
    assert!(Arc::ptr_eq(contexts[0], contexts[1]) && Arc::ptr_eq(contexts[0], contexts[3]));
    assert!(Arc::ptr_eq(contexts[2], contexts[4]) && !Arc::ptr_eq(contexts[0], contexts[2]));

    let dataset = Dataset::from(dataset);
    assert_eq!(dataset.task(), Task::QuestionAnswering);
    assert_eq!(dataset.labels(), [0, 1, 0, 1, 0]);
    assert_eq!(dataset.classes(), ["answer", "no answer"]);
}

#[test]
fn answers_start_at_a_character_of_the_file_and_at_a_byte_in_memory() {
    let columns = squad(&[("Cologne", COLOGNE, "Where?", Some(&[("Köln", 0), ("Rhein", 14)]))]);
    let dataset = read_questions(&spec::SQUAD_V2.layout(), &columns);
    let expected =
        [("Köln", 0), ("Rhein", 15)].map(|(text, start)| Answer { text: text.to_string(), start });
    assert_eq!(dataset.questions[0].answers, expected);
}

#[test]
fn answers_that_are_not_in_the_context_are_errors() {
    for start in [17, 11, 0, 19, 1000, -1] {
        let columns = squad(&[
            ("Cologne", COLOGNE, "Who?", Some(&[])),
            ("Cologne", COLOGNE, "Where?", Some(&[("am Rhein", 11), ("Rhein", start)])),
        ]);
        let place = format!("`Rhein` is not at character {start}");
        check_fails(&spec::SQUAD_V2.layout(), &columns, &["row 1", "column `answers`", &place]);
    }
}

/// Some of SQuAD's starts are said to be off by a character or two.
#[test]
fn answers_are_found_next_to_where_they_should_be() {
    for start in [12, 13, 15, 16] {
        let columns = squad(&[("Cologne", COLOGNE, "Where?", Some(&[("Rhein", start)]))]);
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("train.parquet"), &columns);
        let Dataset::Questions(dataset) = load(folder.path(), &spec::SQUAD_V2.layout()).unwrap()
        else {
            panic!("these are questions")
        };
        assert_eq!(dataset.questions[0].answers[0].start, 15, "in bytes");
    }
}

#[test]
fn answers_of_another_shape_are_errors() {
    let rows: &[Row] = &[("Cologne", COLOGNE, "Where?", Some(&[("am Rhein", 11), ("Rhein", 14)]))];
    let layout = spec::SQUAD_V2.layout();

    let mut columns = squad(rows);
    let starts = &mut columns[4].leaves[1];
    starts.values = Values::Ints(vec![11]);
    starts.definitions.truncate(1);
    starts.repetitions.truncate(1);
    check_fails(&layout, &columns, &["row 0", "column `answers`", "2 texts, but 1 starts"]);

    let mut columns = squad(rows);
    columns[4].schema = columns[4].schema.replace("answer_start", "start");
    check_fails(&layout, &columns, &["row 0", "column `answers`", "no list `answer_start`"]);

    let mut columns = squad(rows);
    columns[4] = texts("answers", &["Rhein"]);
    check_fails(&layout, &columns, &["row 0", "column `answers`", "`text` and `answer_start`"]);
}

#[test]
fn keys_may_be_numbers_or_the_text_itself() {
    let columns = [
        texts("paragraph", &["first", "second", "first"]),
        texts("question", &["q0", "q1", "q2"]),
        texts("answer", &["a0", "a1", "a2"]),
        row_numbers("number", 3),
        numbers("label", &[0, 1, 1]),
    ];
    let keyed = |column: &str| {
        let layout = Layout { key_column: Some(column.to_string()), ..spec::MULTIRC.layout() };
        read_texts(&layout, &columns)
    };
    assert_eq!(keyed("number").keys, ["0", "1", "2"]);
    let dataset = keyed("paragraph");
    assert_eq!(dataset.keys, ["first", "second", "first"]);
    assert_eq!(dataset.examples[2].text, "first");
    assert_eq!(dataset.examples[2].pair.as_deref(), Some("q2 a2"));
}

#[test]
fn an_example_without_a_key_is_an_error() {
    let mut columns = squad(&[("", COLOGNE, "Where?", None), ("", COLOGNE, "Who?", None)]);
    columns[1] = optional_texts("title", &[Some("Cologne"), None]);
    check_fails(&spec::SQUAD_V2.layout(), &columns, &["row 1", "column `title`", "missing"]);
}

#[test]
fn a_sample_keeps_questions_and_their_keys_together() {
    let whole = synthetic::questions(80, 0);
    let mut sample = Dataset::from(whole.clone());
    sample.sample(30, &Seed::new(1));
    assert_eq!((sample.len(), sample.keys().len()), (30, 30));
    let Dataset::Questions(sample) = sample else { panic!("these are questions") };
    // In the order of the whole.
    let mut rest = whole.questions.iter().zip(&whole.keys);
    for kept in sample.questions.iter().zip(&sample.keys) {
        assert!(rest.any(|other| other == kept), "{kept:?}");
    }
}

#[test]
fn a_sample_keeps_texts_and_their_keys_together() {
    let example =
        |index: usize| TextExample { text: format!("text {index}"), pair: None, label: index % 2 };
    let whole = TextDataset {
        name: "test".to_string(),
        classes: vec!["even".to_string(), "odd".to_string()],
        examples: (0..50).map(example).collect(),
        keys: (0..50).map(|index| format!("key {index}")).collect(),
    };
    let sample = |count: usize, seed: u64, keys: Vec<String>| {
        let mut sample = Dataset::from(TextDataset { keys, ..whole.clone() });
        sample.sample(count, &Seed::new(seed));
        sample
    };
    let sampled = sample(20, 0, whole.keys.clone());
    assert_eq!(sampled.len(), 20);
    assert_eq!(sampled.keys(), sample(20, 0, whole.keys.clone()).keys());
    assert_ne!(sampled.keys(), sample(20, 1, whole.keys.clone()).keys());
    let Dataset::Texts(sampled) = sampled else { panic!("these are texts") };
    assert_eq!(sampled.keys.len(), 20);
    for (example, key) in sampled.examples.iter().zip(&sampled.keys) {
        assert_eq!(example.text, key.replace("key", "text"));
    }
    for count in [50, 51, 1000] {
        assert_eq!(sample(count, 0, whole.keys.clone()).keys(), whole.keys);
    }
    let keyless = sample(20, 0, Vec::new());
    assert_eq!((keyless.len(), keyless.keys().len()), (20, 0));
}
