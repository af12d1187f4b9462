//! Values of a dataset's columns: more types than the usual ones, and messages that name a place.

mod columns;

use columns::*;
use parquet::data_type::ByteArray;
use spry_data::*;

fn labels(label: Column) -> std::result::Result<Vec<usize>, String> {
    let rows = label.leaves[0].definitions.len();
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("train.parquet"), &[texts("text", &vec!["a"; rows]), label]);
    match load(folder.path(), &spec::TEXT_AND_LABEL.layout()) {
        Ok(dataset) => Ok(dataset.labels()),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn numbers_that_are_floats_or_texts_are_labels_if_they_are_whole() {
    assert_eq!(labels(floats("label", &[0.0, 1.0, 2.0])), Ok(vec![0, 1, 2]));
    assert_eq!(labels(texts("label", &["0", "1", "2.0"])), Ok(vec![0, 1, 2]));
    assert_eq!(labels(truths("label", &[true, false])), Ok(vec![1, 0]));
    for (label, expected) in [
        (floats("label", &[0.0, 1.5]), "row 1, column `label`: expected a whole number, found 1.5"),
        (floats("label", &[0.0, f64::NAN]), "row 1, column `label`: the number is missing (NaN)"),
        (floats("label", &[0.0, f64::INFINITY]), "found inf"),
        (floats("label", &[0.0, 1e300]), "found 1e300"),
        (texts("label", &["0", "-1"]), "the label is -1"),
        (texts("label", &["0", "one"]), "the label is the text `one`"),
        (texts("label", &["0", "99999999999999999999"]), "the label is the text"),
        (texts("label", &["0", ""]), "the label is the text ``"),
    ] {
        let message = labels(label).unwrap_err();
        assert!(message.contains(expected), "{message:?} does not contain {expected:?}");
    }
}

/// The names of the classes come before their numbers.
#[test]
fn a_label_that_is_a_name_and_a_number_is_the_name() {
    let layout =
        Layout { labels: ["1", "0"].map(str::to_string).to_vec(), ..spec::TEXT_AND_LABEL.layout() };
    let columns = [texts("text", &["a", "b"]), texts("label", &["0", "1"])];
    assert_eq!(read_texts(&layout, &columns).labels(), [1, 0]);
}

#[test]
fn a_column_that_is_there_twice_is_an_error() {
    let columns =
        [texts("text", &["a", "b"]), numbers("label", &[0, 1]), numbers("label", &[1, 0])];
    let expected = ["2 columns of the name `label`"];
    check_fails(&spec::TEXT_AND_LABEL.layout(), &columns, &expected);
}

#[test]
fn a_text_that_is_not_utf8_is_named_by_row_and_column_and_not_repeated() {
    let mut long = vec![b'a'; 200_000];
    long.push(0xe9);
    let mut text = texts("text", &["good", "bad"]);
    text.leaves[0].values = Values::Texts(vec![ByteArray::from("good"), ByteArray::from(long)]);
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("train.parquet"), &[text, numbers("label", &[0, 1])]);
    let message = load(folder.path(), &spec::TEXT_AND_LABEL.layout()).unwrap_err().to_string();
    assert!(
        message.contains("train.parquet, row 1, column `text`: the text is not UTF-8"),
        "{message}"
    );
    assert!(message.len() < 300, "{} bytes", message.len());
}

#[test]
fn quoted_values_are_short_and_printable() {
    let name = "\u{1b}[2J\n".to_string() + &"x".repeat(100_000);
    let message = labels(texts("label", &["0", &name])).unwrap_err();
    assert!(message.len() < 400 && !message.contains('\u{1b}'), "{message:?}");
    assert!(message.contains("`\\u{1b}[2J\\nxxx"), "{message}");
}

const CONTEXT: &str = "😀😀😀 the film is very good 👩‍👩‍👧 !";

fn question(answers: Column) -> std::result::Result<Vec<Answer>, String> {
    let folder = tempfile::tempdir().unwrap();
    let columns = [texts("question", &["is it?"]), texts("context", &[CONTEXT]), answers];
    write(&folder.path().join("train.parquet"), &columns);
    let layout = Layout { key_column: None, ..spec::SQUAD_V2.layout() };
    match load(folder.path(), &layout) {
        Ok(Dataset::Questions(dataset)) => Ok(dataset.questions[0].answers.clone()),
        Ok(_) => panic!("these are questions"),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn starts_in_bytes_or_utf16_are_recognised_in_the_message() {
    let characters = CONTEXT.chars().position(|c| c == 'v').unwrap() as i32;
    let bytes = CONTEXT.find("very").unwrap();
    let right = vec![Answer { text: "very good".to_string(), start: bytes }];
    assert_eq!(question(answers(&[Some(&[("very good", characters)])])), Ok(right));
    for (start, expected) in [
        (bytes as i32, "it is at that byte, but starts count characters"),
        (characters + 3, "it is at that UTF-16 unit, but starts count characters"),
        (0, "it is first at 16"),
        (i32::MAX, "it is first at 16"),
        (-7, "it is first at 16"),
    ] {
        let message = question(answers(&[Some(&[("very good", start)])])).unwrap_err();
        assert!(message.contains(expected), "{start}: {message}");
    }
    let message = question(answers(&[Some(&[("a book", 3)])])).unwrap_err();
    assert!(message.contains("the context does not have it"), "{message}");
}

/// As SQuAD's JSON has them: a list of groups; and one answer without lists.
#[test]
fn answers_may_be_a_list_of_groups_or_one_group() {
    let start = CONTEXT.chars().position(|c| c == 'v').unwrap() as i32;
    let right = vec![Answer { text: "very good".into(), start: CONTEXT.find("very").unwrap() }];
    let leaf = |values, definitions, repetitions| Leaf { values, definitions, repetitions };
    let text = || Values::Texts(vec![ByteArray::from("very good")]);
    let listed = Column {
        schema: "OPTIONAL group answers (LIST) { REPEATED group list { OPTIONAL group element { \
                 OPTIONAL BYTE_ARRAY text (UTF8); OPTIONAL INT32 answer_start; } } }"
            .to_string(),
        leaves: vec![
            leaf(text(), vec![4], vec![0]),
            leaf(Values::Ints(vec![start]), vec![4], vec![0]),
        ],
    };
    assert_eq!(question(listed), Ok(right.clone()));
    let single = Column {
        schema: "OPTIONAL group answers { OPTIONAL BYTE_ARRAY text (UTF8); \
                 OPTIONAL DOUBLE answer_start; }"
            .to_string(),
        leaves: vec![
            leaf(text(), vec![2], vec![]),
            leaf(Values::Doubles(vec![f64::from(start)]), vec![2], vec![]),
        ],
    };
    assert_eq!(question(single), Ok(right));
}

#[test]
fn pointers_of_git_lfs_are_named_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:53aa\nsize 90868376\n";
    std::fs::write(folder.path().join("train.parquet"), pointer).unwrap();
    let message = load(folder.path(), &spec::TEXT_AND_LABEL.layout()).unwrap_err().to_string();
    assert!(message.contains("train.parquet is a Git LFS pointer"), "{message}");
    assert!(message.contains("git lfs pull"), "{message}");
}
