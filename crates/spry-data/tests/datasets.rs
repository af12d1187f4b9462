//! Datasets as the hub has them: columns, labels and answers of all kinds, and natural partitions.

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::data_type::{BoolType, ByteArray, ByteArrayType, Int32Type, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use proptest::prelude::*;
use spry_core::Seed;
use spry_data::{
    Answer, Dataset, DatasetSpec, Error, Hub, Layout, Partition, PartitionCache, Partitioner,
    QuestionDataset, Source, Task, TextDataset, TextExample, spec, synthetic,
};

/// A column of a file.
struct Column {
    /// Its part of the file's schema.
    schema: String,
    /// What is stored: one leaf, or those of a group in their order.
    leaves: Vec<Leaf>,
}

/// Values with their levels; no levels where a column needs none.
struct Leaf {
    values: Values,
    definitions: Vec<i16>,
    repetitions: Vec<i16>,
}

enum Values {
    Texts(Vec<ByteArray>),
    Truths(Vec<bool>),
    Ints(Vec<i32>),
    Longs(Vec<i64>),
}

impl Column {
    fn flat(schema: String, values: Values, definitions: Vec<i16>) -> Self {
        Self { schema, leaves: vec![Leaf { values, definitions, repetitions: Vec::new() }] }
    }

    /// The same where nulls are not allowed.
    fn required(mut self) -> Self {
        self.schema = self.schema.replacen("OPTIONAL", "REQUIRED", 1);
        self.leaves[0].definitions.clear();
        self
    }
}

fn optional_texts(name: &str, texts: &[Option<&str>]) -> Column {
    let values = texts.iter().flatten().map(|text| ByteArray::from(*text)).collect();
    let definitions = texts.iter().map(|text| i16::from(text.is_some())).collect();
    let schema = format!("OPTIONAL BYTE_ARRAY {name} (UTF8);");
    Column::flat(schema, Values::Texts(values), definitions)
}

fn texts(name: &str, texts: &[&str]) -> Column {
    let texts: Vec<Option<&str>> = texts.iter().map(|text| Some(*text)).collect();
    optional_texts(name, &texts)
}

fn numbers(name: &str, numbers: &[i64]) -> Column {
    let definitions = vec![1; numbers.len()];
    let schema = format!("OPTIONAL INT64 {name};");
    Column::flat(schema, Values::Longs(numbers.to_vec()), definitions)
}

fn truths(name: &str, truths: &[bool]) -> Column {
    let definitions = vec![1; truths.len()];
    let schema = format!("OPTIONAL BOOLEAN {name};");
    Column::flat(schema, Values::Truths(truths.to_vec()), definitions)
}

/// The numbers of the rows.
fn row_numbers(name: &str, rows: usize) -> Column {
    let numbers = Values::Ints((0..rows as i32).collect());
    Column::flat(format!("OPTIONAL INT32 {name};"), numbers, vec![1; rows])
}

/// The numbers of the rows in a group, as MultiRC has them.
fn grouped_row_numbers(name: &str, rows: usize) -> Column {
    let part = |part: &str| row_numbers(part, rows);
    let parts = ["paragraph", "question", "answer"].map(part);
    let schemas: Vec<&str> = parts.iter().map(|part| part.schema.as_str()).collect();
    let schema = format!("OPTIONAL group {name} {{ {} }}", schemas.join(" "));
    let mut leaves: Vec<Leaf> = parts.into_iter().flat_map(|part| part.leaves).collect();
    leaves.iter_mut().for_each(|leaf| leaf.definitions = vec![2; rows]);
    Column { schema, leaves }
}

/// Answers as SQuAD has them, a group of two lists; `None` for a null in the place of the group.
fn answers(rows: &[Option<&[(&str, i32)]>]) -> Column {
    let (mut texts, mut starts) = (Vec::new(), Vec::new());
    let (mut definitions, mut repetitions) = (Vec::new(), Vec::new());
    for row in rows {
        let answers = row.unwrap_or_default();
        for (index, (text, start)) in answers.iter().enumerate() {
            texts.push(ByteArray::from(*text));
            starts.push(*start);
            // The group, the list, its repeated part and the element are there.
            definitions.push(4);
            repetitions.push(i16::from(index > 0));
        }
        if answers.is_empty() {
            definitions.push(if row.is_some() { 2 } else { 0 });
            repetitions.push(0);
        }
    }
    let list = |name: &str, element: &str| {
        format!("OPTIONAL group {name} (LIST) {{ REPEATED group list {{ OPTIONAL {element}; }} }}")
    };
    let (text, start) = (list("text", "BYTE_ARRAY element (UTF8)"), "INT32 element");
    let schema = format!("OPTIONAL group answers {{ {text} {} }}", list("answer_start", start));
    let leaf = |values| Leaf {
        values,
        definitions: definitions.clone(),
        repetitions: repetitions.clone(),
    };
    Column { schema, leaves: vec![leaf(Values::Texts(texts)), leaf(Values::Ints(starts))] }
}

fn write(path: &Path, columns: &[Column]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let schemas: Vec<&str> = columns.iter().map(|column| column.schema.as_str()).collect();
    let schema = parse_message_type(&format!("message schema {{ {} }}", schemas.join(" ")));
    let properties = Arc::new(WriterProperties::builder().build());
    let file = File::create(path).unwrap();
    let mut writer =
        SerializedFileWriter::new(file, Arc::new(schema.unwrap()), properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for leaf in columns.iter().flat_map(|column| &column.leaves) {
        let definitions = Some(leaf.definitions.as_slice()).filter(|levels| !levels.is_empty());
        let repetitions = Some(leaf.repetitions.as_slice()).filter(|levels| !levels.is_empty());
        let mut column = group.next_column().unwrap().unwrap();
        let written = match &leaf.values {
            Values::Texts(texts) => {
                column.typed::<ByteArrayType>().write_batch(texts, definitions, repetitions)
            }
            Values::Truths(truths) => {
                column.typed::<BoolType>().write_batch(truths, definitions, repetitions)
            }
            Values::Ints(ints) => {
                column.typed::<Int32Type>().write_batch(ints, definitions, repetitions)
            }
            Values::Longs(longs) => {
                column.typed::<Int64Type>().write_batch(longs, definitions, repetitions)
            }
        };
        written.unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
}

fn offline() -> Hub {
    Hub::from_variables(|_| None).with_offline(true)
}

fn load(folder: &Path, layout: &Layout) -> spry_data::Result<Dataset> {
    Dataset::load(&offline(), &Source::Directory(folder.to_path_buf()), "test", layout)
}

/// The dataset of one file with these columns.
fn read(layout: &Layout, columns: &[Column]) -> spry_data::Result<Dataset> {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("train.parquet"), columns);
    load(folder.path(), layout)
}

fn read_texts(layout: &Layout, columns: &[Column]) -> TextDataset {
    match read(layout, columns).unwrap() {
        Dataset::Texts(dataset) => dataset,
        Dataset::Questions(_) => panic!("these are texts"),
    }
}

fn read_questions(layout: &Layout, columns: &[Column]) -> QuestionDataset {
    match read(layout, columns).unwrap() {
        Dataset::Questions(dataset) => dataset,
        Dataset::Texts(_) => panic!("these are questions"),
    }
}

/// Checks that reading fails with a message that has all these parts.
fn check_fails(layout: &Layout, columns: &[Column], parts: &[&str]) {
    let message = read(layout, columns).unwrap_err().to_string();
    for part in parts {
        assert!(message.contains(part), "{message:?} does not contain {part:?}");
    }
}

/// A dataset's file on the hub, and what is to be read from it.
struct HubFile {
    name: &'static str,
    /// In the order of the file.
    columns: &'static [&'static str],
    /// The text and the pair of an example; `#` stands for the row.
    text: &'static str,
    pair: Option<&'static str>,
    classes: &'static [&'static str],
}

const HUB_FILES: &[HubFile] = &[
    HubFile {
        name: "ag_news",
        columns: &["text", "label"],
        text: "text #",
        pair: None,
        classes: &["World", "Sports", "Business", "Sci/Tech"],
    },
    HubFile {
        name: "sst2",
        columns: &["sentence", "label", "idx"],
        text: "sentence #",
        pair: None,
        classes: &["negative", "positive"],
    },
    HubFile {
        name: "yelp_polarity",
        columns: &["text", "label"],
        text: "text #",
        pair: None,
        classes: &["negative", "positive"],
    },
    HubFile {
        name: "yahoo_answers",
        columns: &["id", "topic", "question_title", "question_content", "best_answer"],
        text: "question_title # question_content # best_answer #",
        pair: None,
        classes: &[
            "Society & Culture",
            "Science & Mathematics",
            "Health",
            "Education & Reference",
            "Computers & Internet",
            "Sports",
            "Business & Finance",
            "Entertainment & Music",
            "Family & Relationships",
            "Politics & Government",
        ],
    },
    HubFile {
        name: "snli",
        columns: &["premise", "hypothesis", "label"],
        text: "premise #",
        pair: Some("hypothesis #"),
        classes: &["entailment", "neutral", "contradiction"],
    },
    HubFile {
        name: "mnli",
        columns: &["premise", "hypothesis", "label", "idx"],
        text: "premise #",
        pair: Some("hypothesis #"),
        classes: &["entailment", "neutral", "contradiction"],
    },
    HubFile {
        name: "multirc",
        columns: &["paragraph", "question", "answer", "idx", "label"],
        text: "paragraph #",
        pair: Some("question # answer #"),
        classes: &["False", "True"],
    },
    HubFile {
        name: "qqp",
        columns: &["question1", "question2", "label", "idx"],
        text: "question1 #",
        pair: Some("question2 #"),
        classes: &["not_duplicate", "duplicate"],
    },
    HubFile {
        name: "qnli",
        columns: &["question", "sentence", "label", "idx"],
        text: "question #",
        pair: Some("sentence #"),
        classes: &["entailment", "not_entailment"],
    },
    HubFile {
        name: "cola",
        columns: &["sentence", "label", "idx"],
        text: "sentence #",
        pair: None,
        classes: &["unacceptable", "acceptable"],
    },
];

#[test]
fn every_known_dataset_is_read_from_the_columns_of_its_file() {
    for known in spec::ALL.iter().filter(|spec| spec.task == Task::SequenceClassification) {
        assert!(HUB_FILES.iter().any(|file| file.name == known.name), "{}", known.name);
    }
    for HubFile { name, columns, text, pair, classes } in HUB_FILES {
        let spec = DatasetSpec::find(name).unwrap();
        // A row for each class.
        let rows = classes.len();
        let labels: Vec<i64> = (0..rows as i64).collect();
        let column = |column: &&str| match *column {
            "label" | "topic" => numbers(column, &labels),
            "idx" if *name == "multirc" => grouped_row_numbers(column, rows),
            "id" | "idx" => row_numbers(column, rows),
            _ => {
                let values: Vec<String> = (0..rows).map(|row| format!("{column} {row}")).collect();
                let values: Vec<&str> = values.iter().map(String::as_str).collect();
                texts(column, &values)
            }
        };
        let columns: Vec<Column> = columns.iter().map(column).collect();
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join(spec.configuration.unwrap_or("data"));
        write(&place.join("train-00000-of-00001.parquet"), &columns);
        let Dataset::Texts(dataset) = load(folder.path(), &spec.layout()).unwrap() else {
            panic!("{name} has texts");
        };
        let filled = |pattern: &str, row: usize| pattern.replace('#', &row.to_string());
        let expected: Vec<TextExample> = (0..rows)
            .map(|row| TextExample {
                text: filled(text, row),
                pair: pair.map(|pair| filled(pair, row)),
                label: row,
            })
            .collect();
        assert_eq!(dataset.examples, expected, "{name}");
        assert_eq!(dataset.classes, *classes, "{name}");
        assert!(dataset.keys.is_empty(), "{name}");
    }
}

/// On the hub a configuration has a folder of its name, also where it is the only one, unless it is
/// called `default`: then the folder is `data`.
#[test]
fn every_known_dataset_is_found_where_the_hub_has_it() {
    let places = [
        ("ag_news", "data"),
        ("sst2", "sst2"),
        ("yelp_polarity", "plain_text"),
        ("yahoo_answers", "yahoo_answers_topics"),
        ("snli", "plain_text"),
        ("mnli", "mnli"),
        ("multirc", "multirc"),
        ("squad_v2", "squad_v2"),
        ("qqp", "qqp"),
        ("qnli", "qnli"),
        ("cola", "cola"),
    ];
    let mut lost = Vec::new();
    for spec in spec::ALL {
        let (_, place) = places.iter().find(|(name, _)| *name == spec.name).unwrap();
        let repository = tempfile::tempdir().unwrap();
        let source = Source::Directory(repository.path().to_path_buf());
        let file = |folder: &str, split: &str| {
            let folder = repository.path().join(folder);
            std::fs::create_dir_all(&folder).unwrap();
            let path = folder.join(format!("{split}-00000-of-00001.parquet"));
            std::fs::write(&path, "").unwrap();
            path
        };
        for split in spec.splits {
            let path = file(place, split);
            // Another configuration of the same repository.
            file("another", split);
            match offline().parquet_files(&source, spec.configuration, split) {
                Ok(found) => assert_eq!(found, [path], "{}", spec.name),
                Err(_) => lost.push(format!("{split} of {} in {place}/", spec.name)),
            }
        }
    }
    assert!(lost.is_empty(), "not found: {}", lost.join(", "));
}

#[test]
fn columns_that_allow_no_nulls_are_read_alike() {
    let columns = || [texts("text", &["one", "two"]), numbers("label", &[1, 0])];
    let layout = spec::YELP_POLARITY.layout();
    let optional = read_texts(&layout, &columns());
    let required = read_texts(&layout, &columns().map(Column::required));
    assert_eq!(optional.examples, required.examples);
    assert_eq!(required.labels(), [1, 0]);
}

#[test]
fn pairs_without_a_label_are_left_out_together_with_their_keys() {
    let layout = Layout { key_column: Some("image".to_string()), ..spec::SNLI.layout() };
    let columns = [
        texts("premise", &["p0", "p1", "p2", "p3", "p4"]),
        texts("hypothesis", &["h0", "h1", "h2", "h3", "h4"]),
        numbers("label", &[-1, 2, -1, 0, 1]),
        texts("image", &["k0", "k1", "k2", "k3", "k4"]),
    ];
    let dataset = read(&layout, &columns).unwrap();
    assert_eq!(dataset.labels(), [2, 0, 1]);
    assert_eq!(dataset.keys(), ["k1", "k3", "k4"]);
    let shares = Partitioner::Natural.deal(&dataset.labels(), dataset.keys(), 3, &Seed::new(0));
    let mut dealt = shares.unwrap().concat();
    dealt.sort_unstable();
    assert_eq!(dealt, [0, 1, 2]);
    let Dataset::Texts(dataset) = dataset else { panic!("these are texts") };
    for (example, key) in dataset.examples.iter().zip(&dataset.keys) {
        assert_eq!(example.text, key.replace('k', "p"));
        assert_eq!(example.pair, Some(key.replace('k', "h")));
    }
}

#[test]
fn a_dataset_of_which_all_is_left_out_is_empty() {
    let columns = [texts("premise", &["p"]), texts("hypothesis", &["h"]), numbers("label", &[-1])];
    check_fails(&spec::SNLI.layout(), &columns, &["has no examples"]);
}

#[test]
fn a_pair_without_a_label_is_an_error_where_all_should_have_one() {
    let folder = tempfile::tempdir().unwrap();
    let shard = |index: usize, labels: &[i64]| {
        let columns = [
            texts("premise", &vec!["p"; labels.len()]),
            texts("hypothesis", &vec!["h"; labels.len()]),
            numbers("label", labels),
            row_numbers("idx", labels.len()),
        ];
        write(&folder.path().join(format!("mnli/train-0000{index}-of-00002.parquet")), &columns);
    };
    shard(0, &[0, 1, 2]);
    shard(1, &[0, -1]);
    let message = load(folder.path(), &spec::MNLI.layout()).unwrap_err().to_string();
    // Rows count from the beginning of their file.
    for part in ["mnli/train-00001-of-00002.parquet", "row 1", "column `label`", "the label is -1"]
    {
        assert!(message.contains(part), "{message:?} does not contain {part:?}");
    }
}

#[test]
fn of_several_columns_some_may_be_null() {
    let columns = [
        numbers("topic", &[0, 1, 2]),
        optional_texts("question_title", &[Some("title"), None, Some("title")]),
        optional_texts("question_content", &[None, Some("content"), None]),
        optional_texts("best_answer", &[Some("answer"), Some("answer"), None]),
    ];
    let dataset = read_texts(&spec::YAHOO_ANSWERS.layout(), &columns);
    let read: Vec<&str> = dataset.examples.iter().map(|example| example.text.as_str()).collect();
    assert_eq!(read, ["title answer", "content answer", "title"]);

    let columns = [
        texts("paragraph", &["paragraph"]),
        texts("question", &["question"]),
        optional_texts("answer", &[None]),
        numbers("label", &[1]),
    ];
    let dataset = read_texts(&spec::MULTIRC.layout(), &columns);
    assert_eq!(dataset.examples[0].pair.as_deref(), Some("question"));
}

#[test]
fn a_null_in_the_only_column_of_a_text_is_an_error() {
    let columns = [optional_texts("text", &[Some("text"), None]), numbers("label", &[0, 0])];
    let expected = ["row 1", "column `text`", "the text is missing"];
    check_fails(&spec::AG_NEWS.layout(), &columns, &expected);

    let columns = [
        texts("premise", &["premise"]),
        optional_texts("hypothesis", &[None]),
        numbers("label", &[0]),
    ];
    let expected = ["row 0", "column `hypothesis`", "the text is missing"];
    check_fails(&spec::SNLI.layout(), &columns, &expected);
}

#[test]
fn a_text_column_of_numbers_is_an_error() {
    let columns = [numbers("text", &[3]), numbers("label", &[0])];
    let expected = ["row 0", "column `text`", "expected a text", "3"];
    check_fails(&spec::AG_NEWS.layout(), &columns, &expected);
}

#[test]
fn labels_may_be_names_or_truth_values_as_well_as_numbers() {
    let columns = [
        texts("text", &["good", "bad", "fine"]),
        texts("label", &["positive", "negative", "positive"]),
    ];
    let dataset = read_texts(&spec::YELP_POLARITY.layout(), &columns);
    assert_eq!(dataset.labels(), [1, 0, 1]);
    assert_eq!(dataset.classes, ["negative", "positive"]);

    let columns = [
        texts("paragraph", &["p", "p"]),
        texts("question", &["q", "q"]),
        texts("answer", &["a", "b"]),
        truths("label", &[true, false]),
    ];
    assert_eq!(read_texts(&spec::MULTIRC.layout(), &columns).labels(), [1, 0]);
}

#[test]
fn classes_without_names_are_counted() {
    let columns = [texts("text", &["a", "b", "c"]), numbers("label", &[0, 4, 2])];
    let dataset = read_texts(&spec::TEXT_AND_LABEL.layout(), &columns);
    assert_eq!(dataset.classes, ["0", "1", "2", "3", "4"]);
    assert_eq!(dataset.labels(), [0, 4, 2]);
}

#[test]
fn labels_that_are_no_class_are_errors() {
    let (named, unnamed) = (spec::YELP_POLARITY.layout(), spec::TEXT_AND_LABEL.layout());
    let mut with_null = numbers("label", &[0]);
    with_null.leaves[0].definitions = vec![1, 0];
    let cases: [(&Layout, Column, &[&str]); 7] = [
        (&named, texts("label", &["positive", "neutral"]), &["`neutral`", "negative, positive"]),
        (&named, texts("label", &["positive", "Negative"]), &["`Negative`", "negative, positive"]),
        (&unnamed, texts("label", &["neutral", "1"]), &["row 0", "`neutral`", "`labels`"]),
        (&named, numbers("label", &[1, 2]), &["row 1", "the label is 2", "below 2"]),
        (&named, numbers("label", &[1, -1]), &["row 1", "the label is -1", "at least 0"]),
        (&unnamed, numbers("label", &[999, 1000]), &["the label is 1000", "below 1000"]),
        (&named, with_null, &["row 1", "missing"]),
    ];
    for (layout, label, parts) in cases {
        let columns = [texts("text", &["one", "two"]), label];
        check_fails(layout, &columns, &[parts, &["train.parquet", "column `label`"]].concat());
    }
}

#[test]
fn a_missing_column_is_named_with_those_there_are() {
    let columns = [texts("premise", &["p"]), numbers("label", &[0])];
    let expected = ["train.parquet", "no column `hypothesis`", "premise, label"];
    check_fails(&spec::SNLI.layout(), &columns, &expected);

    let columns = [texts("premise", &["p"]), texts("hypothesis", &["h"])];
    let expected = ["no column `label`", "premise, hypothesis"];
    check_fails(&spec::SNLI.layout(), &columns, &expected);

    let columns = [texts("question", &["q"]), texts("context", &["c"]), answers(&[None])];
    let expected = ["no column `title`", "question, context, answers"];
    check_fails(&spec::SQUAD_V2.layout(), &columns, &expected);
}

#[test]
fn layouts_that_make_no_sense_are_errors() {
    let (pairs, questions) = (spec::SNLI.layout(), spec::SQUAD_V2.layout());
    let repeated = ["yes", "no", "yes"].map(str::to_string).to_vec();
    let named = vec!["yes".to_string()];
    let cases = [
        (Layout { splits: Vec::new(), ..pairs.clone() }, ["`splits`", "empty"]),
        (Layout { text_columns: Vec::new(), ..pairs.clone() }, ["`text_columns`", "empty"]),
        (Layout { labels: repeated, ..pairs }, ["`labels`", "`yes` twice"]),
        (Layout { pair_columns: Vec::new(), ..questions.clone() }, ["`pair_columns`", "context"]),
        (Layout { labels: named, ..questions.clone() }, ["`labels`", "question answering"]),
        (
            Layout { dropped_labels: vec![-1], ..questions },
            ["dropped_labels", "question answering"],
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (layout, parts) in cases {
        let message = layout.validate().unwrap_err().to_string();
        for part in parts {
            assert!(message.contains(part), "{message:?} does not contain {part:?}");
        }
        assert_eq!(load(folder.path(), &layout).unwrap_err().to_string(), message);
    }
    for spec in spec::ALL {
        assert!(spec.layout().validate().is_ok(), "{}", spec.name);
    }
}

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

fn natural(keys: &[String], clients: usize, seed: u64) -> spry_data::Result<Vec<Vec<usize>>> {
    Partitioner::Natural.deal(&vec![0; keys.len()], keys, clients, &Seed::new(seed))
}

/// What clients' shares are made of: the keys of each client, without repetition.
fn keys_of<'a>(shares: &[Vec<usize>], keys: &'a [String]) -> Vec<HashSet<&'a str>> {
    let of_one = |share: &Vec<usize>| share.iter().map(|&index| keys[index].as_str()).collect();
    shares.iter().map(of_one).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn natural_shares_follow_the_keys(
        numbers in proptest::collection::vec(0usize..12, 1..120),
        client_share in 0.0f64..1.0,
        seed: u64,
    ) {
        let keys: Vec<String> = numbers.iter().map(|number| format!("key {number}")).collect();
        let clients = 1 + (client_share * (keys.len() - 1) as f64) as usize;
        let shares = natural(&keys, clients, seed).unwrap();
        prop_assert_eq!(&shares, &natural(&keys, clients, seed).unwrap());

        // Every client has examples, and every example a client.
        prop_assert_eq!(shares.len(), clients);
        prop_assert!(shares.iter().all(|share| !share.is_empty()));
        let mut dealt = shares.concat();
        dealt.sort_unstable();
        prop_assert!(dealt.into_iter().eq(0..keys.len()));

        let groups = keys.iter().collect::<HashSet<_>>().len();
        let owned = keys_of(&shares, &keys);
        if clients <= groups {
            // Whole groups, as many to one client as to another.
            prop_assert_eq!(owned.iter().map(HashSet::len).sum::<usize>(), groups);
            let most = owned.iter().map(HashSet::len).max().unwrap();
            prop_assert!(owned.iter().all(|keys| keys.len() + 1 >= most));
        } else {
            // One group or a part of one; no part is smaller than half of the largest share.
            prop_assert!(owned.iter().all(|keys| keys.len() == 1));
            let largest = shares.iter().map(Vec::len).max().unwrap();
            for share in &shares {
                let key = &keys[share[0]];
                let is_whole = keys.iter().filter(|other| *other == key).count() == share.len();
                prop_assert!(is_whole || share.len() >= largest / 2);
            }
        }
    }
}

#[test]
fn the_largest_group_is_halved_until_there_are_enough() {
    let keys: Vec<String> = ["a"; 8].iter().chain(&["b"; 2]).map(|key| key.to_string()).collect();
    for (clients, expected) in [
        (1, vec![10]),
        (2, vec![2, 8]),
        (3, vec![2, 4, 4]),
        (4, vec![2, 2, 2, 4]),
        (5, vec![2, 2, 2, 2, 2]),
        (10, vec![1; 10]),
    ] {
        let shares = natural(&keys, clients, 0).unwrap();
        let mut sizes: Vec<usize> = shares.iter().map(Vec::len).collect();
        sizes.sort_unstable();
        assert_eq!(sizes, expected, "{clients} clients");
    }
}

#[test]
fn natural_shares_depend_on_the_seed() {
    let keys: Vec<String> = (0..64).map(|index| format!("key {}", index % 16)).collect();
    let shares = natural(&keys, 4, 0).unwrap();
    assert!((1..5).any(|seed| natural(&keys, 4, seed).unwrap() != shares));
}

#[test]
fn natural_shares_need_keys_and_an_example_for_each_client() {
    let deal = |keys: &[String], clients| {
        Partitioner::Natural.deal(&[0, 1, 0], keys, clients, &Seed::new(0)).unwrap_err()
    };
    let error = deal(&[], 2);
    assert!(matches!(error, Error::InvalidOption { option: "partitioner", .. }), "{error}");
    assert!(error.to_string().contains("key_column"), "{error}");
    let keys = ["a", "b", "a"].map(str::to_string);
    assert!(matches!(deal(&keys[..2], 2), Error::InvalidOption { option: "partitioner", .. }));
    assert!(matches!(deal(&keys, 4), Error::TooManyClients { clients: 4, examples: 3 }));
    assert!(matches!(deal(&keys, 0), Error::InvalidOption { option: "clients", .. }));
}

#[test]
fn cached_partitions_tell_keys_apart_where_labels_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let cache = PartitionCache::new(folder.path());
    let partition = |keys: &[String]| {
        cache.partition(&Partitioner::Natural, &[0; 24], keys, 4, 0.5, 0).unwrap()
    };
    let keys = |examples_per_key: usize| -> Vec<String> {
        (0..24).map(|index| (index / examples_per_key).to_string()).collect()
    };
    let few: Partition = partition(&keys(6));
    let many = partition(&keys(2));
    assert_ne!(few, many);
    assert_eq!(partition(&keys(6)), few);
    assert_eq!(partition(&keys(2)), many);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    // Four keys for four clients.
    for client in &few.clients {
        let keys: HashSet<usize> = client.train.iter().chain(&client.test).map(|i| i / 6).collect();
        assert_eq!((client.train.len(), client.test.len(), keys.len()), (3, 3, 1));
    }
}
