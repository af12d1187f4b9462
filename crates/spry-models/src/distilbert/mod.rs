//! DistilBERT (Sanh et al. 2019, arXiv 1910.01108): BERT without segments and pooler.

mod config;
mod model;

pub use config::DistilBertConfig;
pub use model::DistilBert;

use crate::architecture::ModelSpec;

/// DistilBERT's entry in the list of families.
pub const SPEC: ModelSpec = ModelSpec {
    model_type: "distilbert",
    body_prefix: "distilbert.",
    // The pretraining head.
    is_ignorable: |name| name.starts_with("vocab_"),
    keys: config::KEYS,
    parse: |config| Ok(Box::new(DistilBert::new(DistilBertConfig::parse(config)?))),
    sequence_classification_class: "DistilBertForSequenceClassification",
    question_answering_class: Some("DistilBertForQuestionAnswering"),
    classifier: "classifier",
    pools_last_token: false,
    head_modules: &["pre_classifier", "classifier", "qa_outputs"],
    lora_targets: &["q_lin", "v_lin"],
    ia3_targets: ["k_lin", "v_lin", "lin2"],
};
