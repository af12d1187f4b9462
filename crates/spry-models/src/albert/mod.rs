//! ALBERT (Lan et al. 2020, arXiv 1909.11942): layers that share their weights, and a factorised
//! embedding.

mod config;
mod model;

pub use config::AlbertConfig;
pub use model::Albert;

use crate::architecture::ModelSpec;

/// ALBERT's entry in the list of families.
pub const SPEC: ModelSpec = ModelSpec {
    model_type: "albert",
    body_prefix: "albert.",
    // Pretraining heads, a pooler where it is not used.
    is_ignorable: |name| {
        name.starts_with("predictions.")
            || name.starts_with("sop_classifier.")
            || name.contains("pooler.")
    },
    keys: config::KEYS,
    parse: |config| Ok(Box::new(Albert::new(AlbertConfig::parse(config)?))),
    sequence_classification_class: "AlbertForSequenceClassification",
    question_answering_class: Some("AlbertForQuestionAnswering"),
    classifier: "classifier",
    pools_last_token: false,
    head_modules: &["classifier", "qa_outputs"],
    lora_targets: &["query", "value"],
    ia3_targets: ["key", "value", "ffn_output"],
};
