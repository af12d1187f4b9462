//! What to train on, and how it is spread over clients.

use serde::{Deserialize, Serialize};
use spry_data::spec::TEXT_AND_LABEL;
use spry_data::{DatasetSpec, Partition, Partitioner};

use crate::bundled;

/// A dataset and its clients. Options that are not given are the paper's for this dataset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "DatasetOptions")]
pub struct DatasetConfig {
    /// A known dataset (`ag_news`, `sst2`), the bundled `synthetic_news`, or a directory or hub id
    /// with Parquet files that have the columns `text` and `label`.
    pub name: String,
    /// Directory or hub id to take it from, if that is not the dataset's own or the name.
    pub source: Option<String>,
    /// Length that texts are truncated to, in tokens.
    pub max_length: usize,
    /// Use only a random sample of so many examples.
    pub max_examples: Option<usize>,
    /// Clients that the examples are dealt to.
    pub num_clients: usize,
    /// How they are dealt.
    pub partitioner: Partitioner,
    /// Share of a client's examples that it trains on; it is tested on the rest.
    pub train_share: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DatasetOptions {
    name: String,
    source: Option<String>,
    max_length: Option<usize>,
    max_examples: Option<usize>,
    num_clients: Option<usize>,
    partitioner: Option<Partitioner>,
    train_share: Option<f64>,
}

impl From<DatasetOptions> for DatasetConfig {
    fn from(options: DatasetOptions) -> Self {
        let defaults = Self::new(&options.name);
        Self {
            source: options.source,
            max_length: options.max_length.unwrap_or(defaults.max_length),
            max_examples: options.max_examples,
            num_clients: options.num_clients.unwrap_or(defaults.num_clients),
            partitioner: options.partitioner.unwrap_or(defaults.partitioner),
            train_share: options.train_share.unwrap_or(defaults.train_share),
            name: options.name,
        }
    }
}

impl DatasetConfig {
    /// A dataset with its defaults: the paper's clients and length, α = 1.
    pub fn new(name: &str) -> Self {
        let (max_length, num_clients) = match name {
            bundled::DATASET => (bundled::MAX_LENGTH, bundled::NUM_CLIENTS),
            _ => {
                let spec = spec_of(name);
                (spec.max_length, spec.clients)
            }
        };
        Self {
            name: name.to_string(),
            source: None,
            max_length,
            max_examples: None,
            num_clients,
            partitioner: Partitioner::default(),
            train_share: Partition::TRAIN_SHARE,
        }
    }

    /// What is known of the dataset.
    pub fn spec(&self) -> &'static DatasetSpec {
        spec_of(&self.name)
    }

    /// Whether it comes with this program.
    pub fn is_bundled(&self) -> bool {
        self.name == bundled::DATASET && self.source.is_none()
    }

    /// The directory or hub id that it is taken from.
    pub fn location(&self) -> &str {
        match &self.source {
            Some(source) => source,
            None if DatasetSpec::find(&self.name).is_ok() => self.spec().hub_id,
            None => &self.name,
        }
    }

    /// Its name without the folders before it.
    pub fn short_name(&self) -> &str {
        last_part(&self.name)
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
