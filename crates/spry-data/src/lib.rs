//! Datasets, tokenising, batching, and how examples are spread over clients.
//!
//! Reading order:
//!
//! 1. [`hub`]: where files come from: a local directory, or the Hugging Face hub and its cache.
//! 2. [`spec`]: what is known of each dataset: columns, labels, classes.
//! 3. [`dataset`]: examples of a task, read from Parquet files in Hugging Face layout.
//! 4. [`synthetic`]: corpora from a generator, for where no data can be reached.
//! 5. [`tokenize`]: texts to token ids, and batches padded to their longest example.
//! 6. [`question_answering`]: contexts in windows, answers from logits, exact match and F1.
//! 7. [`partition`]: which client gets which examples: Dirichlet, IID, by a natural key.
//! 8. [`cache`]: partitions kept on disk, keyed by everything that shaped them.
//! 9. [`files`]: files that appear whole or not at all; [`guard`] and [`parquet_file`]: files that others
//!    wrote.

pub mod cache;
pub mod dataset;
pub mod error;
pub mod files;
mod footer;
pub mod guard;
pub mod hub;
mod pages;
pub mod parquet_file;
pub mod partition;
pub mod question_answering;
pub mod spec;
mod splits;
pub mod synthetic;
pub mod task;
pub mod tokenize;

pub use cache::PartitionCache;
pub use dataset::{Dataset, TextDataset, TextExample};
pub use error::{Error, Result};
pub use hub::{Hub, Source};
pub use partition::{ClientShare, Partition, Partitioner};
pub use question_answering::windows::{EncodedQuestion, Window};
pub use question_answering::{Answer, Question, QuestionDataset};
pub use spec::{DatasetSpec, Layout};
pub use task::Task;
pub use tokenize::{EncodedExample, Targets, TextTokenizer, TokenBatch};
