//! Llama (Touvron et al. 2023, arXiv 2302.13971), versions 1 to 3: RMS norm, rotary embedding,
//! grouped-query attention, SwiGLU.

mod config;
mod model;
mod rope;

pub use config::LlamaConfig;
pub use model::Llama;
pub use rope::Rope;

use crate::architecture::ModelSpec;

/// Llama's entry in the list of families.
pub const SPEC: ModelSpec = ModelSpec {
    model_type: "llama",
    body_prefix: "model.",
    // The head of the language model, where it is not tied to the embeddings.
    is_ignorable: |name| name == "lm_head.weight",
    keys: config::KEYS,
    parse: |config| Ok(Box::new(Llama::new(LlamaConfig::parse(config)?))),
    sequence_classification_class: "LlamaForSequenceClassification",
    question_answering_class: None,
    classifier: "score",
    pools_last_token: true,
    head_modules: &["score"],
    lora_targets: &["q_proj", "v_proj"],
    ia3_targets: ["k_proj", "v_proj", "down_proj"],
};
