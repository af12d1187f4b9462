//! Datasets as the hub has them, and those of one's own: columns, labels, missing values.

mod columns;

use columns::*;
use spry_core::Seed;
use spry_data::*;

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
