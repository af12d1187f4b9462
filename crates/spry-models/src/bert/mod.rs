//! BERT (Devlin et al. 2019, arXiv 1810.04805): base, large, MiniLM and other sizes.

pub(crate) mod config;
mod encoder;
mod model;

pub use config::BertConfig;
pub(crate) use encoder::Encoder;
pub use model::Bert;

use crate::architecture::ModelSpec;

/// BERT's entry in the list of families.
pub const SPEC: ModelSpec = ModelSpec {
    model_type: "bert",
    body_prefix: "bert.",
    // Pretraining heads, a pooler where it is not used.
    is_ignorable: |name| name.starts_with("cls.") || name.contains("pooler.dense."),
    keys: config::KEYS,
    parse: |config| Ok(Box::new(Bert::new(BertConfig::parse(config)?))),
    sequence_classification_class: "BertForSequenceClassification",
    question_answering_class: Some("BertForQuestionAnswering"),
    classifier: "classifier",
    pools_last_token: false,
    head_modules: &["classifier", "qa_outputs"],
    lora_targets: &["query", "value"],
    ia3_targets: ["key", "value", "output.dense"],
};
