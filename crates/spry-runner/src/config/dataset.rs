//! What to train on, and how it is spread over clients.

use serde::{Deserialize, Deserializer, Serialize};
use spry_data::question_answering::decode::DecodeConfig;
use spry_data::spec::TEXT_AND_LABEL;
use spry_data::{DatasetSpec, Layout, Partition, Partitioner, Task};
use spry_strategies::options::shortened;

use super::layers::QUOTED;
use crate::{Error, Result, bundled};

/// A dataset and its clients. Options that are not given are those of the dataset, where it is
/// known: its columns, and the paper's clients and length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "DatasetOptions")]
pub struct DatasetConfig {
    /// A known dataset such as `ag_news`, the bundled `synthetic_news`, or a directory or hub id
    /// with Parquet files.
    pub name: String,
    /// Directory or hub id to take it from, if that is not the dataset's own or the name;
    /// `synthetic` for generated examples with the same task and classes.
    pub source: Option<String>,
    /// Splits and columns.
    #[serde(flatten)]
    pub layout: Layout,
    /// Length that texts are truncated to, or that contexts are split into, in tokens.
    pub max_length: usize,
    /// Use only a random sample of so many examples.
    pub max_examples: Option<usize>,
    /// Clients that the examples are dealt to.
    pub num_clients: usize,
    /// How they are dealt.
    pub partitioner: Partitioner,
    /// Seed of the random sample and of the deal; if there is none, the run's. With one, runs with
    /// other seeds have the same clients.
    pub seed: Option<u64>,
    /// Share of a client's examples that it trains on; it is tested on the rest.
    pub train_share: f64,
    /// Options of question answering; none for other tasks.
    pub question_answering: Option<QuestionAnsweringConfig>,
}

/// How questions are encoded and answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QuestionAnsweringConfig {
    /// Tokens that consecutive windows of a context share; by default a third of `max_length`.
    pub doc_stride: Option<usize>,
    /// How answers are chosen.
    pub decode: DecodeConfig,
}

/// The options that a table may have. Layers are laid over whole tables, so that only what is not
/// there at all gets the dataset's default.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DatasetOptions {
    name: String,
    source: Option<String>,
    task: Option<Task>,
    #[serde(default, deserialize_with = "given")]
    configuration: Option<Option<String>>,
    splits: Option<Vec<String>>,
    text_columns: Option<Vec<String>>,
    pair_columns: Option<Vec<String>>,
    label_column: Option<String>,
    labels: Option<Vec<String>>,
    dropped_labels: Option<Vec<i64>>,
    #[serde(default, deserialize_with = "given")]
    key_column: Option<Option<String>>,
    max_length: Option<usize>,
    max_examples: Option<usize>,
    num_clients: Option<usize>,
    partitioner: Option<Partitioner>,
    seed: Option<u64>,
    train_share: Option<f64>,
    question_answering: Option<QuestionAnsweringConfig>,
}

/// Tells a value that is given as none from one that is not given.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> std::result::Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl From<DatasetOptions> for DatasetConfig {
    fn from(options: DatasetOptions) -> Self {
        let defaults = Self::new(&options.name);
        let known = defaults.layout;
        let layout = Layout {
            task: options.task.unwrap_or(known.task),
            configuration: options.configuration.unwrap_or(known.configuration),
            splits: options.splits.unwrap_or(known.splits),
            text_columns: options.text_columns.unwrap_or(known.text_columns),
            pair_columns: options.pair_columns.unwrap_or(known.pair_columns),
            label_column: options.label_column.unwrap_or(known.label_column),
            labels: options.labels.unwrap_or(known.labels),
            dropped_labels: options.dropped_labels.unwrap_or(known.dropped_labels),
            key_column: options.key_column.unwrap_or(known.key_column),
        };
        Self {
            source: options.source,
            max_length: options.max_length.unwrap_or(defaults.max_length),
            max_examples: options.max_examples,
            num_clients: options.num_clients.unwrap_or(defaults.num_clients),
            partitioner: options.partitioner.unwrap_or(defaults.partitioner),
            seed: options.seed,
            train_share: options.train_share.unwrap_or(defaults.train_share),
            // What an earlier layer filled in for another task says nothing.
            question_answering: match layout.task {
                Task::QuestionAnswering => Some(options.question_answering.unwrap_or_default()),
                _ => options.question_answering.filter(|o| *o != Default::default()),
            },
            layout,
            name: options.name,
        }
    }
}

/// The defaults for question answering, if that is the task.
fn answering(task: Task) -> Option<QuestionAnsweringConfig> {
    (task == Task::QuestionAnswering).then(QuestionAnsweringConfig::default)
}

/// The source of generated examples.
const SYNTHETIC: &str = "synthetic";

impl DatasetConfig {
    /// A dataset with its defaults: its columns, and the paper's clients and length.
    pub fn new(name: &str) -> Self {
        let spec = spec_of(name);
        let (max_length, num_clients) = match name {
            bundled::DATASET => (bundled::MAX_LENGTH, bundled::NUM_CLIENTS),
            _ => (spec.max_length, spec.clients),
        };
        Self {
            name: name.to_string(),
            source: None,
            layout: spec.layout(),
            max_length,
            max_examples: None,
            num_clients,
            partitioner: spec.partitioner,
            seed: None,
            train_share: Partition::TRAIN_SHARE,
            question_answering: answering(spec.task),
        }
    }

    /// Whether it comes with this program.
    pub fn is_bundled(&self) -> bool {
        self.name == bundled::DATASET && self.source.is_none()
    }

    /// Whether its examples are generated in the place of the dataset's own.
    pub fn is_stand_in(&self) -> bool {
        self.source.as_deref() == Some(SYNTHETIC)
    }

    /// The directory or hub id that it is taken from.
    pub fn location(&self) -> &str {
        match (&self.source, DatasetSpec::find(&self.name)) {
            (Some(source), _) => source,
            (None, Ok(spec)) => spec.hub_id,
            (None, Err(_)) => &self.name,
        }
    }

    /// Its name without the folders before it; that of a stand-in says so.
    pub fn short_name(&self) -> String {
        let name = last_part(&self.name);
        match self.is_stand_in() {
            true => format!("{name}-{SYNTHETIC}"),
            false => name.to_string(),
        }
    }

    /// The seed of sample and deal in a run with the seed `run`.
    pub fn seed(&self, run: u64) -> u64 {
        self.seed.unwrap_or(run)
    }

    /// Tokens that consecutive windows of a context share.
    pub fn doc_stride(&self) -> usize {
        let stride = self.question_answering.and_then(|options| options.doc_stride);
        stride.unwrap_or(self.max_length / 3)
    }

    /// Checks what can be checked without data.
    ///
    /// # Errors
    ///
    /// [`Error::Input`] for values that are out of their range or contradict each other.
    pub fn validate(&self) -> Result<()> {
        // Their messages begin with the option, without the table it is in.
        let of = |table: &str| {
            let prefix = format!("`{table}.");
            move |error: spry_data::Error| Error::Input(error.to_string().replacen('`', &prefix, 1))
        };
        self.check_name()?;
        self.layout.validate().map_err(of("dataset"))?;
        self.check_bundled()?;
        self.partitioner.validate().map_err(of("dataset.partitioner"))?;
        if !(self.train_share > 0.0 && self.train_share <= 1.0) {
            return Err(Error::Input(format!(
                "`dataset.train_share` is {}, but must be above 0 and at most 1",
                self.train_share
            )));
        }
        let is_answering = self.layout.task == Task::QuestionAnswering;
        if let Some(options) = self.question_answering {
            if !is_answering {
                return Err(Error::Input(
                    "`dataset.question_answering` is for datasets with `task` = question-answering"
                        .to_string(),
                ));
            }
            let decode = options.decode;
            let sizes = [
                ("n_best_size", decode.n_best_size),
                ("max_answer_length", decode.max_answer_length),
            ];
            if let Some((key, _)) = sizes.iter().find(|(_, size)| *size == 0) {
                return Err(Error::Input(format!(
                    "`dataset.question_answering.decode.{key}` is 0, but must be at least 1"
                )));
            }
        }
        let has_keys = self.layout.key_column.is_some() || (is_answering && self.is_stand_in());
        if self.partitioner == Partitioner::Natural && !has_keys {
            return Err(Error::Input(
                "`dataset.partitioner` is natural, which needs `dataset.key_column`: the column \
                 that says which examples belong together"
                    .to_string(),
            ));
        }
        Ok(())
    }
}

impl DatasetConfig {
    /// Fails if options contradict what the name stands for, or could not be honoured.
    fn check_name(&self) -> Result<()> {
        let known = DatasetSpec::find(&self.name).ok();
        let name = shortened(&self.name, QUOTED);
        if self.is_stand_in() && known.is_none() {
            return Err(Error::Input(format!(
                "`dataset.source` is {SYNTHETIC}, which takes the place of a known dataset, but \
                 `{name}` is none; `dataset.name` may be one of {}, or leave out the source to \
                 use your own data",
                DatasetSpec::names()
            )));
        }
        // A source of one's own may have another task and other columns.
        let is_own = self.source.is_some() && !self.is_stand_in();
        if let Some(known) = known
            && !is_own
            && known.task != self.layout.task
        {
            return Err(Error::Input(format!(
                "`dataset.task` is {}, but `{name}` is a dataset for {}; leave it out, or name \
                 another dataset",
                self.layout.task, known.task
            )));
        }
        Ok(())
    }

    /// Fails if something is said of the files of a dataset that has none.
    fn check_bundled(&self) -> Result<()> {
        if self.is_bundled() {
            let name = &self.name;
            let table = |layout: &Layout| serde_json::to_value(layout).unwrap_or_default();
            let (own, bundled) = (table(&self.layout), table(&Self::new(&self.name).layout));
            let keys = own.as_object().into_iter().flatten();
            if let Some((key, _)) = keys.into_iter().find(|(key, value)| bundled[*key] != **value) {
                return Err(Error::Input(format!(
                    "`dataset.{key}` has no effect on `{name}`, which is generated and has no \
                     files; leave it out, or say in `dataset.source` where the files are"
                )));
            }
        }
        Ok(())
    }
}

/// The last part of a path or hub id.
pub(super) fn last_part(name: &str) -> &str {
    name.trim_end_matches(['/', '\\']).rsplit(['/', '\\']).next().unwrap_or(name)
}

/// A known dataset by its name, its hub id or the name of its folder; else one with the columns
/// `text` and `label`.
fn spec_of(name: &str) -> &'static DatasetSpec {
    DatasetSpec::find(name)
        .or_else(|_| DatasetSpec::find(last_part(name)))
        .unwrap_or(&TEXT_AND_LABEL)
}
