//! Stand-ins that come with this program: a tiny BERT and generated news, so that everything can be
//! tried offline, in seconds.

use spry_data::files::TemporaryFolder;
use spry_data::{Dataset, Layout, TextDataset, synthetic};

use crate::{Error, Result};

/// Name of the bundled model: a tiny BERT in Hugging Face layout, pretrained on generated text.
pub const MODEL: &str = "tiny-bert";

/// Name of the bundled dataset: reports in four topics.
pub const DATASET: &str = "synthetic_news";

/// Its defaults.
pub(crate) const MAX_LENGTH: usize = 64;
pub(crate) const NUM_CLIENTS: usize = 40;

/// Size of the corpus.
const EXAMPLES: usize = 4000;

/// Size of a corpus in the place of a dataset: enough for each of the paper's 1000 clients.
const STAND_IN_EXAMPLES: usize = 8000;

/// Seed of the corpus for finetuning.
const SEED: u64 = 2;

/// Seed of the corpus that the tiny BERT was pretrained on: another one than that of [`dataset`],
/// so that no report is seen twice.
pub const PRETRAINING_SEED: u64 = 1;

/// The files of the model; see the README beside them.
const FILES: [(&str, &[u8]); 3] = [
    ("config.json", include_bytes!("../assets/tiny-bert/config.json")),
    ("model.safetensors", include_bytes!("../assets/tiny-bert/model.safetensors")),
    ("tokenizer.json", include_bytes!("../assets/tiny-bert/tokenizer.json")),
];

/// The dataset.
pub fn dataset() -> TextDataset {
    synthetic::news(EXAMPLES, SEED)
}

/// Generated examples in the place of a dataset's own.
///
/// # Errors
///
/// For more classes than can be generated.
pub fn stand_in(layout: &Layout) -> Result<Dataset> {
    Ok(synthetic::stand_in(layout, STAND_IN_EXAMPLES, SEED)?)
}

/// The model in a folder that is removed when the value is dropped, or by the next process that
/// makes one if this one is killed.
///
/// # Errors
///
/// [`Error::Io`] if there is no room for temporary files.
pub fn model() -> Result<TemporaryFolder> {
    let folder = TemporaryFolder::new("spry-tiny-bert-")?;
    for (name, contents) in FILES {
        let path = folder.path().join(name);
        std::fs::write(&path, contents).map_err(Error::io(&path))?;
    }
    Ok(folder)
}
