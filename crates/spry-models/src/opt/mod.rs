//! OPT (Zhang et al. 2022, arXiv 2205.01068): a decoder with learned positions; layer norms before
//! the sublayers, or after them as in the model of 350 million weights.

mod config;
mod model;

pub use config::OptConfig;
pub use model::Opt;

use crate::architecture::ModelSpec;

/// OPT's entry in the list of families.
pub const SPEC: ModelSpec = ModelSpec {
    model_type: "opt",
    body_prefix: "model.",
    // The head of the language model, which is tied to the embeddings.
    is_ignorable: |name| name == "lm_head.weight",
    keys: config::KEYS,
    parse: |config| Ok(Box::new(Opt::new(OptConfig::parse(config)?))),
    sequence_classification_class: "OPTForSequenceClassification",
    question_answering_class: Some("OPTForQuestionAnswering"),
    classifier: "score",
    pools_last_token: true,
    head_modules: &["score", "qa_outputs"],
    lora_targets: &["q_proj", "v_proj"],
    ia3_targets: ["k_proj", "v_proj", "fc2"],
};
