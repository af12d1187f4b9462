//! RoBERTa (Liu et al. 2019, arXiv 1907.11692): BERT's encoder, positions that skip padding, and a
//! head of two layers.

mod config;
mod model;

pub use config::RobertaConfig;
pub use model::Roberta;

use crate::architecture::ModelSpec;

/// RoBERTa's entry in the list of families.
pub const SPEC: ModelSpec = ModelSpec {
    model_type: "roberta",
    body_prefix: "roberta.",
    // The pretraining head, a pooler that no head here uses.
    is_ignorable: |name| name.starts_with("lm_head.") || name.contains("pooler.dense."),
    keys: crate::bert::config::KEYS,
    parse: |config| Ok(Box::new(Roberta::new(RobertaConfig::parse(config)?))),
    sequence_classification_class: "RobertaForSequenceClassification",
    question_answering_class: Some("RobertaForQuestionAnswering"),
    classifier: "classifier.out_proj",
    pools_last_token: false,
    head_modules: &["classifier", "qa_outputs"],
    lora_targets: &["query", "value"],
    ia3_targets: ["key", "value", "output.dense"],
};
