//! BERT (Devlin et al. 2019, arXiv 1810.04805): base, large, MiniLM and other sizes.

mod config;
mod model;

pub use config::{Activation, BertConfig};
pub use model::Bert;

use crate::architecture::ModelSpec;

/// BERT's entry in the list of families.
pub const SPEC: ModelSpec = ModelSpec {
    model_type: "bert",
    body_prefix: "bert.",
    // Pretraining heads, and a buffer that old checkpoints store.
    is_ignorable: |name| name.starts_with("cls.") || name.ends_with("embeddings.position_ids"),
    parse: |config, num_labels| {
        let config = BertConfig::parse(config, num_labels)?;
        Ok(Box::new(Bert::new(config)))
    },
    classifier_class: "BertForSequenceClassification",
};
