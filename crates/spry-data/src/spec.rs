//! What is known of each dataset.

use crate::{Error, Result};

/// Everything the loader needs to know of a text classification dataset; a new one is one value.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// Column of the text.
    pub text_column: &'static str,
    /// Column of the class number, from 0 on.
    pub label_column: &'static str,
    /// Names of the classes, by number; empty if they are to be counted in the data.
    pub classes: &'static [&'static str],
    /// Number of clients in the paper (section 5).
    pub clients: usize,
    /// Length that texts are truncated to in the paper, in tokens.
    pub max_length: usize,
}

/// Topics of news articles (Zhang et al. 2015, arXiv 1509.01626).
pub const AG_NEWS: DatasetSpec = DatasetSpec {
    name: "ag_news",
    hub_id: "fancyzhx/ag_news",
    configuration: None,
    splits: &["train", "test"],
    text_column: "text",
    label_column: "label",
    classes: &["World", "Sports", "Business", "Sci/Tech"],
    clients: 1000,
    max_length: 128,
};

/// Sentiment of film reviews (Socher et al. 2013), as in GLUE.
pub const SST2: DatasetSpec = DatasetSpec {
    name: "sst2",
    hub_id: "nyu-mll/glue",
    configuration: Some("sst2"),
    // The labels of GLUE's test splits are hidden.
    splits: &["train", "validation"],
    text_column: "sentence",
    label_column: "label",
    classes: &["negative", "positive"],
    clients: 100,
    max_length: 64,
};

/// A dataset that nothing is known of but that it has the columns `text` and `label`.
pub const TEXT_AND_LABEL: DatasetSpec = DatasetSpec {
    name: "text_and_label",
    hub_id: "",
    configuration: None,
    splits: &["train", "test"],
    text_column: "text",
    label_column: "label",
    classes: &[],
    clients: 100,
    max_length: 128,
};

/// All known datasets.
pub const ALL: &[&DatasetSpec] = &[&AG_NEWS, &SST2];

impl DatasetSpec {
    /// The dataset with a short name or hub id.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownDataset`], listing the known ones.
    ///
    /// ```
    /// use spry_data::DatasetSpec;
    ///
    /// assert_eq!(DatasetSpec::find("fancyzhx/ag_news")?.classes.len(), 4);
    /// assert!(DatasetSpec::find("ag-gnus").is_err());
    /// # Ok::<(), spry_data::Error>(())
    /// ```
    pub fn find(name: &str) -> Result<&'static Self> {
        ALL.iter().find(|spec| spec.name == name || spec.hub_id == name).copied().ok_or_else(|| {
            let known: Vec<&str> = ALL.iter().map(|spec| spec.name).collect();
            Error::UnknownDataset { name: name.to_string(), known: known.join(", ") }
        })
    }
}
