//! What is known of each dataset.

use serde::{Deserialize, Serialize};

use crate::{Error, Partitioner, Result, Task};

/// A dataset of the paper, or another that is well known; a new one is one value in [`ALL`].
#[derive(Clone, Debug, PartialEq)]
pub struct DatasetSpec {
    /// Short name, as users write it.
    pub name: &'static str,
    /// Repository on the hub.
    pub hub_id: &'static str,
    /// Configuration within the repository, if it has several.
    pub configuration: Option<&'static str>,
    /// Splits with labels. All of them together are dealt to clients, each of which keeps a part
    /// of its share for testing.
    pub splits: &'static [&'static str],
    /// What is to be predicted.
    pub task: Task,
    /// Columns of the text, joined by spaces, or of the question.
    pub text_columns: &'static [&'static str],
    /// Columns of the second text of a pair, if there is one, or of the context.
    pub pair_columns: &'static [&'static str],
    /// Column of the class number, from 0 on, or of the answers.
    pub label_column: &'static str,
    /// Names of the classes, by number; empty if they are to be counted in the data.
    pub labels: &'static [&'static str],
    /// Class numbers of examples to leave out, such as those without a label.
    pub dropped_labels: &'static [i64],
    /// Column of what an example belongs to, such as an author or an article.
    pub key_column: Option<&'static str>,
    /// How examples are dealt to clients unless told otherwise: by class, or as in the paper
    /// (section 5) by what belongs together. The paper's own dealing by class is
    /// [`Partitioner::DirichletPaper`].
    pub partitioner: Partitioner,
    /// Number of clients in the paper.
    pub clients: usize,
    /// Length that texts are truncated to in the paper, in tokens.
    pub max_length: usize,
}

/// What most datasets have; also a dataset that nothing is known of but that it has the columns
/// `text` and `label`.
pub const TEXT_AND_LABEL: DatasetSpec = DatasetSpec {
    name: "text_and_label",
    hub_id: "",
    configuration: None,
    splits: &["train", "test"],
    task: Task::SequenceClassification,
    text_columns: &["text"],
    pair_columns: &[],
    label_column: "label",
    labels: &[],
    dropped_labels: &[],
    key_column: None,
    partitioner: Partitioner::Dirichlet { alpha: 1.0 },
    clients: 100,
    max_length: 128,
};

/// A part of GLUE (Wang et al. 2019, arXiv 1804.07461). The labels of its test splits are hidden.
const GLUE: DatasetSpec =
    DatasetSpec { hub_id: "nyu-mll/glue", splits: &["train", "validation"], ..TEXT_AND_LABEL };

/// Topics of news articles (Zhang et al. 2015, arXiv 1509.01626).
pub const AG_NEWS: DatasetSpec = DatasetSpec {
    name: "ag_news",
    hub_id: "fancyzhx/ag_news",
    labels: &["World", "Sports", "Business", "Sci/Tech"],
    clients: 1000,
    ..TEXT_AND_LABEL
};

/// Sentiment of film reviews (Socher et al. 2013), as in GLUE.
pub const SST2: DatasetSpec = DatasetSpec {
    name: "sst2",
    configuration: Some("sst2"),
    text_columns: &["sentence"],
    labels: &["negative", "positive"],
    clients: 100,
    max_length: 64,
    ..GLUE
};

/// Sentiment of reviews of places (Zhang et al. 2015, arXiv 1509.01626).
pub const YELP_POLARITY: DatasetSpec = DatasetSpec {
    name: "yelp_polarity",
    hub_id: "fancyzhx/yelp_polarity",
    configuration: Some("plain_text"),
    labels: &["negative", "positive"],
    clients: 1000,
    ..TEXT_AND_LABEL
};

/// Topics of questions with their best answers (Zhang et al. 2015, arXiv 1509.01626).
pub const YAHOO_ANSWERS: DatasetSpec = DatasetSpec {
    name: "yahoo_answers",
    hub_id: "community-datasets/yahoo_answers_topics",
    configuration: Some("yahoo_answers_topics"),
    text_columns: &["question_title", "question_content", "best_answer"],
    label_column: "topic",
    labels: &[
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
    clients: 1000,
    ..TEXT_AND_LABEL
};

/// Whether one sentence follows from another (Bowman et al. 2015, arXiv 1508.05326). Pairs on which
/// the annotators did not agree have the label −1.
pub const SNLI: DatasetSpec = DatasetSpec {
    name: "snli",
    hub_id: "stanfordnlp/snli",
    configuration: Some("plain_text"),
    splits: &["train", "validation", "test"],
    text_columns: &["premise"],
    pair_columns: &["hypothesis"],
    labels: &["entailment", "neutral", "contradiction"],
    dropped_labels: &[-1],
    clients: 1000,
    max_length: 80,
    ..TEXT_AND_LABEL
};

/// The same for many genres (Williams et al. 2018, arXiv 1704.05426), as in GLUE.
pub const MNLI: DatasetSpec = DatasetSpec {
    name: "mnli",
    configuration: Some("mnli"),
    splits: &["train", "validation_matched", "validation_mismatched"],
    text_columns: &["premise"],
    pair_columns: &["hypothesis"],
    labels: &["entailment", "neutral", "contradiction"],
    clients: 1000,
    max_length: 80,
    ..GLUE
};

/// Whether an answer to a question about a paragraph is right (Khashabi et al. 2018), as in
/// SuperGLUE.
pub const MULTIRC: DatasetSpec = DatasetSpec {
    name: "multirc",
    hub_id: "aps/super_glue",
    configuration: Some("multirc"),
    splits: &["train", "validation"],
    text_columns: &["paragraph"],
    pair_columns: &["question", "answer"],
    labels: &["False", "True"],
    clients: 100,
    max_length: 256,
    ..TEXT_AND_LABEL
};

/// Answers to questions as spans of a paragraph, or none (Rajpurkar et al. 2018, arXiv 1806.03822).
pub const SQUAD_V2: DatasetSpec = DatasetSpec {
    name: "squad_v2",
    hub_id: "rajpurkar/squad_v2",
    configuration: Some("squad_v2"),
    splits: &["train", "validation"],
    task: Task::QuestionAnswering,
    text_columns: &["question"],
    pair_columns: &["context"],
    label_column: "answers",
    key_column: Some("title"),
    partitioner: Partitioner::Natural,
    clients: 500,
    max_length: 384,
    ..TEXT_AND_LABEL
};

/// Whether two questions mean the same, as in GLUE. Not in the paper.
pub const QQP: DatasetSpec = DatasetSpec {
    name: "qqp",
    configuration: Some("qqp"),
    text_columns: &["question1"],
    pair_columns: &["question2"],
    labels: &["not_duplicate", "duplicate"],
    clients: 1000,
    ..GLUE
};

/// Whether a sentence answers a question (after Rajpurkar et al. 2016), as in GLUE. Not in the
/// paper.
pub const QNLI: DatasetSpec = DatasetSpec {
    name: "qnli",
    configuration: Some("qnli"),
    text_columns: &["question"],
    pair_columns: &["sentence"],
    labels: &["entailment", "not_entailment"],
    clients: 1000,
    ..GLUE
};

/// Whether a sentence is grammatical (Warstadt et al. 2019, arXiv 1805.12471), as in GLUE. Not in
/// the paper.
pub const COLA: DatasetSpec = DatasetSpec {
    name: "cola",
    configuration: Some("cola"),
    text_columns: &["sentence"],
    labels: &["unacceptable", "acceptable"],
    max_length: 64,
    ..GLUE
};

/// All known datasets.
pub const ALL: &[&DatasetSpec] = &[
    &AG_NEWS,
    &SST2,
    &YELP_POLARITY,
    &YAHOO_ANSWERS,
    &SNLI,
    &MNLI,
    &MULTIRC,
    &SQUAD_V2,
    &QQP,
    &QNLI,
    &COLA,
];

impl DatasetSpec {
    /// The dataset with a short name, or with a hub id that only one has.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownDataset`], listing the known ones.
    ///
    /// ```
    /// use spry_data::DatasetSpec;
    ///
    /// assert_eq!(DatasetSpec::find("fancyzhx/ag_news")?.labels.len(), 4);
    /// assert!(DatasetSpec::find("ag-gnus").is_err());
    /// # Ok::<(), spry_data::Error>(())
    /// ```
    pub fn find(name: &str) -> Result<&'static Self> {
        let is_only = |spec: &Self| ALL.iter().filter(|s| s.hub_id == spec.hub_id).count() == 1;
        let is_it = |spec: &&&Self| spec.name == name || (spec.hub_id == name && is_only(spec));
        ALL.iter()
            .find(is_it)
            .copied()
            .ok_or_else(|| Error::UnknownDataset { name: name.to_string(), known: Self::names() })
    }

    /// The names of all known datasets, separated by commas.
    pub fn names() -> String {
        ALL.iter().map(|spec| spec.name).collect::<Vec<_>>().join(", ")
    }

    /// Where its examples are, and in which columns.
    pub fn layout(&self) -> Layout {
        let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
        Layout {
            task: self.task,
            configuration: self.configuration.map(str::to_owned),
            splits: names(self.splits),
            text_columns: names(self.text_columns),
            pair_columns: names(self.pair_columns),
            label_column: self.label_column.to_string(),
            labels: names(self.labels),
            dropped_labels: self.dropped_labels.to_vec(),
            key_column: self.key_column.map(str::to_owned),
        }
    }
}

/// Where the examples of a dataset are, and in which columns; fields as in [`DatasetSpec`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// What is to be predicted.
    pub task: Task,
    /// Configuration within the repository, if it has several.
    pub configuration: Option<String>,
    /// Splits with labels. A directory needs the first one only.
    pub splits: Vec<String>,
    /// Columns of the text, joined by spaces, or of the question.
    pub text_columns: Vec<String>,
    /// Columns of the second text of a pair, if there is one, or of the context.
    pub pair_columns: Vec<String>,
    /// Column of the class, as a number from 0 on or as one of the labels, or of the answers.
    pub label_column: String,
    /// Names of the classes, by number; empty if they are to be counted in the data.
    pub labels: Vec<String>,
    /// Class numbers of examples to leave out.
    pub dropped_labels: Vec<i64>,
    /// Column of what an example belongs to.
    pub key_column: Option<String>,
}

impl Layout {
    /// Checks what can be checked without data.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] for columns that a task lacks or does not have.
    pub fn validate(&self) -> Result<()> {
        let invalid = |option, got: String, expected: &str| {
            Err(Error::InvalidOption { option, got, expected: expected.to_string() })
        };
        for (option, list) in [("splits", &self.splits), ("text_columns", &self.text_columns)] {
            if list.is_empty() {
                return invalid(option, "empty".to_string(), "at least one name");
            }
        }
        for (option, list) in [("splits", &self.splits), ("labels", &self.labels)] {
            let is_repeated = |(index, name): &(usize, &String)| list[..*index].contains(name);
            if let Some((_, name)) = list.iter().enumerate().find(is_repeated) {
                return invalid(option, format!("with `{name}` twice"), "of different names");
            }
        }
        let mut texts = self.text_columns.iter().chain(&self.pair_columns);
        if texts.any(|column| *column == self.label_column) {
            let got = format!("`{}`", self.label_column);
            return invalid("label_column", got, "another column than those of the texts");
        }
        if self.task == Task::QuestionAnswering {
            if self.pair_columns.is_empty() {
                let expected = "the column of the context, which question answering needs";
                return invalid("pair_columns", "empty".to_string(), expected);
            }
            let expected = "empty for question answering";
            if !self.labels.is_empty() {
                return invalid("labels", format!("{:?}", self.labels), expected);
            }
            if !self.dropped_labels.is_empty() {
                return invalid("dropped_labels", format!("{:?}", self.dropped_labels), expected);
            }
        }
        Ok(())
    }

    /// All columns, in the order of their fields.
    pub(crate) fn columns(&self) -> Vec<&str> {
        let texts = self.text_columns.iter().chain(&self.pair_columns);
        texts.chain([&self.label_column]).chain(&self.key_column).map(String::as_str).collect()
    }
}
