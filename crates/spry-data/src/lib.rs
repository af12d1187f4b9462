//! Datasets, tokenising, batching, and how examples are spread over clients.
//!
//! Reading order:
//!
//! 1. [`hub`]: where files come from: a local directory, or the Hugging Face hub and its cache.
//! 2. [`spec`]: what is known of each dataset: columns, labels, classes.
//! 3. [`dataset`]: texts and labels, read from Parquet files in Hugging Face layout.
//! 4. [`synthetic`]: a news corpus from a generator, for where no data can be reached.
//! 5. [`tokenize`]: texts to token ids, and batches padded to their longest example.
//! 6. [`partition`]: which client gets which examples: Dirichlet, IID, by a natural key.
//! 7. [`cache`]: partitions kept on disk, keyed by everything that shaped them.
//! 8. [`files`]: files that appear whole or not at all.

pub mod cache;
pub mod dataset;
pub mod error;
pub mod files;
pub mod hub;
mod parquet;
pub mod partition;
pub mod spec;
pub mod synthetic;
pub mod task;
pub mod tokenize;

pub use cache::PartitionCache;
pub use dataset::{TextDataset, TextExample};
pub use error::{Error, Result};
pub use hub::{Hub, Source};
pub use partition::{ClientShare, Partition, Partitioner};
pub use spec::DatasetSpec;
pub use task::Task;
pub use tokenize::{EncodedExample, Targets, TextTokenizer, TokenBatch};
