//! Examples of a task, read from Parquet files in Hugging Face layout.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::record::Field;
use spry_core::Seed;

use crate::guard::quotable;
use crate::hub::{Hub, Source};
use crate::parquet_file::{integer, read_rows, text};
use crate::question_answering::answers::answers;
use crate::{Error, Layout, Question, QuestionDataset, Result, Task};

/// Labels of a dataset whose classes are not known must be below this: a larger one is more likely
/// another column than a class.
const MAX_UNKNOWN_CLASSES: usize = 1000;

/// A text, or a pair of texts, and its class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextExample {
    /// The text.
    pub text: String,
    /// The second text of a pair.
    pub pair: Option<String>,
    /// The class number, from 0 on.
    pub label: usize,
}

/// Examples of a classification task, in file order.
#[derive(Clone, Debug)]
pub struct TextDataset {
    /// Name for messages and results.
    pub name: String,
    /// Names of the classes, by number.
    pub classes: Vec<String>,
    /// The examples.
    pub examples: Vec<TextExample>,
    /// What each example belongs to; empty if that is not known.
    pub keys: Vec<String>,
}

impl TextDataset {
    /// Class numbers of all examples.
    pub fn labels(&self) -> Vec<usize> {
        self.examples.iter().map(|example| example.label).collect()
    }
}

/// Examples of any task.
#[derive(Clone, Debug)]
pub enum Dataset {
    /// Texts with their classes.
    Texts(TextDataset),
    /// Questions with their answers.
    Questions(QuestionDataset),
}

impl From<TextDataset> for Dataset {
    fn from(dataset: TextDataset) -> Self {
        Self::Texts(dataset)
    }
}

impl From<QuestionDataset> for Dataset {
    fn from(dataset: QuestionDataset) -> Self {
        Self::Questions(dataset)
    }
}

impl Dataset {
    /// Loads the labelled splits of a dataset from a directory or the hub, one after another.
    ///
    /// All labelled examples together are spread over clients; each client keeps a part of its
    /// share for testing (see [`partition`](crate::partition)). A local directory needs the first
    /// split only.
    ///
    /// # Errors
    ///
    /// If files are missing, unreadable, lack a column, or have labels outside of the known
    /// classes; the message names file, row and column.
    pub fn load(hub: &Hub, source: &Source, name: &str, layout: &Layout) -> Result<Self> {
        let files: Vec<PathBuf> =
            Self::files(hub, source, layout)?.into_iter().flat_map(|(_, files)| files).collect();
        Self::from_files(&files, name, layout)
    }

    /// The files of each labelled split that there is.
    ///
    /// # Errors
    ///
    /// If there are none. A directory needs the first split only, a repository all of them.
    pub fn files(
        hub: &Hub,
        source: &Source,
        layout: &Layout,
    ) -> Result<Vec<(String, Vec<PathBuf>)>> {
        layout.validate()?;
        hub.at_one_commit(|| {
            let mut files = Vec::new();
            for (index, split) in layout.splits.iter().enumerate() {
                match hub.parquet_files(source, layout.configuration.as_deref(), split) {
                    Ok(of_split) => files.push((split.clone(), of_split)),
                    Err(Error::MissingSplit { .. })
                        if index > 0 && matches!(source, Source::Directory(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(files)
        })
    }

    /// Reads examples from Parquet files.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn from_files(files: &[PathBuf], name: &str, layout: &Layout) -> Result<Self> {
        let mut reader = Reader::new(layout);
        for path in files {
            read_rows(path, &layout.columns(), |row, fields| reader.read(path, row, fields))?;
        }
        let place = files.first().map_or(name.to_string(), |path| path.display().to_string());
        reader.finish(name, place)
    }

    /// Name for messages and results.
    pub fn name(&self) -> &str {
        match self {
            Self::Texts(dataset) => &dataset.name,
            Self::Questions(dataset) => &dataset.name,
        }
    }

    /// Gives it another name.
    pub fn rename(&mut self, name: &str) {
        match self {
            Self::Texts(dataset) => dataset.name = name.to_string(),
            Self::Questions(dataset) => dataset.name = name.to_string(),
        }
    }

    /// What is to be predicted.
    pub fn task(&self) -> Task {
        match self {
            Self::Texts(_) => Task::SequenceClassification,
            Self::Questions(_) => Task::QuestionAnswering,
        }
    }

    /// Number of examples.
    pub fn len(&self) -> usize {
        match self {
            Self::Texts(dataset) => dataset.examples.len(),
            Self::Questions(dataset) => dataset.questions.len(),
        }
    }

    /// Whether there is no example.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Names of what [`labels`](Self::labels) count: of the classes, or `answer` and `no answer`.
    pub fn classes(&self) -> Vec<String> {
        match self {
            Self::Texts(dataset) => dataset.classes.clone(),
            Self::Questions(_) => ["answer", "no answer"].map(str::to_string).to_vec(),
        }
    }

    /// Class numbers of all examples; of questions, 0 if they have an answer and 1 if not.
    pub fn labels(&self) -> Vec<usize> {
        match self {
            Self::Texts(dataset) => dataset.labels(),
            Self::Questions(dataset) => {
                dataset.questions.iter().map(|q| usize::from(q.answers.is_empty())).collect()
            }
        }
    }

    /// What each example belongs to; empty if that is not known.
    pub fn keys(&self) -> &[String] {
        match self {
            Self::Texts(dataset) => &dataset.keys,
            Self::Questions(dataset) => &dataset.keys,
        }
    }

    /// Keeps a random sample of at most `count` examples, in file order.
    pub fn sample(&mut self, count: usize, seed: &Seed) {
        if count >= self.len() {
            return;
        }
        let kept = seed.child("examples", 0).sample(self.len(), count);
        match self {
            Self::Texts(dataset) => keep(&kept, &mut dataset.examples, &mut dataset.keys),
            Self::Questions(dataset) => keep(&kept, &mut dataset.questions, &mut dataset.keys),
        }
    }
}

fn keep<T: Clone>(kept: &[usize], examples: &mut Vec<T>, keys: &mut Vec<String>) {
    *examples = kept.iter().map(|&index| examples[index].clone()).collect();
    if !keys.is_empty() {
        *keys = kept.iter().map(|&index| keys[index].clone()).collect();
    }
}

/// A whole number as programs write it: `3`, `-1`, `3.0`.
fn whole_number(text: &str) -> Option<i64> {
    let digits = text.strip_suffix(".0").unwrap_or(text);
    let is_plain = digits.strip_prefix('-').unwrap_or(digits).bytes().all(|b| b.is_ascii_digit());
    is_plain.then(|| digits.parse().ok()).flatten()
}

/// Rows on their way to a dataset.
struct Reader<'a> {
    layout: &'a Layout,
    texts: Vec<TextExample>,
    questions: Vec<Question>,
    keys: Vec<String>,
    /// Questions share their contexts.
    contexts: HashMap<String, Arc<str>>,
}

impl<'a> Reader<'a> {
    fn new(layout: &'a Layout) -> Self {
        let (texts, questions, keys, contexts) = Default::default();
        Self { layout, texts, questions, keys, contexts }
    }

    fn read(&mut self, path: &Path, row: usize, fields: Vec<Field>) -> Result<()> {
        let layout = self.layout;
        let bad = |column: &str, reason: String| Error::BadValue {
            path: path.to_path_buf(),
            row,
            column: column.to_string(),
            reason,
        };
        let mut fields = fields.into_iter();
        let mut joined = |columns: &[String]| -> Result<String> {
            let mut texts = Vec::new();
            for column in columns {
                match fields.next().unwrap_or(Field::Null) {
                    // Of several, some may be left out, but not all.
                    Field::Null if columns.len() > 1 => {}
                    field => texts.push(text(field).map_err(|reason| bad(column, reason))?),
                }
            }
            match (columns.first(), texts.is_empty()) {
                (Some(first), true) => {
                    Err(bad(first, "all parts of the text are missing".to_string()))
                }
                _ => Ok(texts.join(" ")),
            }
        };
        let text_or_question = joined(&layout.text_columns)?;
        let pair = joined(&layout.pair_columns)?;
        let target = fields.next().unwrap_or(Field::Null);
        match layout.task {
            Task::SequenceClassification => {
                let label =
                    self.label(target).map_err(|reason| bad(&layout.label_column, reason))?;
                let Some(label) = label else { return Ok(()) };
                let pair = (!layout.pair_columns.is_empty()).then_some(pair);
                self.texts.push(TextExample { text: text_or_question, pair, label });
            }
            Task::QuestionAnswering => {
                let answers = answers(&target, &pair);
                let answers = answers.map_err(|reason| bad(&layout.label_column, reason))?;
                let context = match self.contexts.get(&pair) {
                    Some(context) => context.clone(),
                    None => {
                        let context: Arc<str> = pair.as_str().into();
                        self.contexts.insert(pair, context.clone());
                        context
                    }
                };
                self.questions.push(Question { question: text_or_question, context, answers });
            }
        }
        if let Some(column) = &layout.key_column {
            let key = match fields.next().unwrap_or(Field::Null) {
                Field::Null => Err("the key is missing".to_string()),
                field @ (Field::Str(_) | Field::Bytes(_)) => text(field),
                field => integer(&field).map(|key| key.to_string()),
            };
            self.keys.push(key.map_err(|reason| bad(column, reason))?);
        }
        Ok(())
    }

    /// The class number, from a number or a name; `None` for one that is to be left out.
    fn label(&self, field: Field) -> Result<Option<usize>, String> {
        let labels = &self.layout.labels;
        let label = match field {
            Field::Str(_) | Field::Bytes(_) => {
                let name = text(field)?;
                if let Some(number) = labels.iter().position(|label| *label == name) {
                    return Ok(Some(number));
                }
                // Tables that were read from text files have numbers as texts.
                match (whole_number(&name), labels.is_empty()) {
                    (Some(number), _) => number,
                    (None, true) => {
                        let name = quotable(&name);
                        return Err(format!(
                            "the label is the text `{name}`; name the classes in `labels`"
                        ));
                    }
                    (None, false) => {
                        let (name, labels) = (quotable(&name), quotable(&labels.join(", ")));
                        return Err(format!("the label is `{name}`, but must be one of {labels}"));
                    }
                }
            }
            field => integer(&field)?,
        };
        if self.layout.dropped_labels.contains(&label) {
            return Ok(None);
        }
        let classes = if labels.is_empty() { MAX_UNKNOWN_CLASSES } else { labels.len() };
        let number = usize::try_from(label).ok().filter(|&label| label < classes);
        let number = number.ok_or_else(|| {
            format!(
                "the label is {label}, but must be at least 0 and below {classes}; \
                 `dropped_labels` = {label} leaves such rows out"
            )
        })?;
        Ok(Some(number))
    }

    /// The dataset; `place` is where there should have been examples.
    fn finish(self, name: &str, place: String) -> Result<Dataset> {
        let (name, keys) = (name.to_string(), self.keys);
        if self.texts.is_empty() && self.questions.is_empty() {
            return Err(Error::Empty { name: place });
        }
        if self.layout.task == Task::QuestionAnswering {
            return Ok(QuestionDataset { name, questions: self.questions, keys }.into());
        }
        let classes = match self.layout.labels.as_slice() {
            [] => {
                let largest = self.texts.iter().map(|example| example.label).max().unwrap_or(0);
                (0..=largest).map(|class| class.to_string()).collect()
            }
            known => known.to_vec(),
        };
        if let [class] = classes.as_slice() {
            return Err(Error::OneClass { name: place, class: class.clone() });
        }
        Ok(TextDataset { name, classes, examples: self.texts, keys }.into())
    }
}
