//! DistilBERT's configuration, as in `config.json`.

use serde::Deserialize;

use crate::config::keys::{Key, Keys};
use crate::config::{
    Activation, Object, check_dropouts, check_layers, check_multiple, check_not_negative,
    check_sizes, one_tenth, read, rename, two_hundredths,
};

/// Sizes and options of a DistilBERT; names as in Hugging Face's `DistilBertConfig`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct DistilBertConfig {
    /// Number of tokens.
    pub vocab_size: usize,
    /// Longest input, in tokens.
    pub max_position_embeddings: usize,
    /// Number of layers.
    pub n_layers: usize,
    /// Number of attention heads; divides the width.
    pub n_heads: usize,
    /// Width of the hidden states.
    pub dim: usize,
    /// Width of the feed-forward layers.
    pub hidden_dim: usize,
    /// Activation of the feed-forward layers.
    #[serde(default)]
    pub activation: Activation,
    /// Dropout after embeddings and feed-forward layers.
    #[serde(default = "one_tenth")]
    pub dropout: f64,
    /// Dropout of attention probabilities.
    #[serde(default = "one_tenth")]
    pub attention_dropout: f64,
    /// Dropout before the span head.
    #[serde(default = "one_tenth")]
    pub qa_dropout: f64,
    /// Dropout before the classifier.
    #[serde(default = "one_fifth")]
    pub seq_classif_dropout: f64,
    /// Standard deviation of fresh weights.
    #[serde(default = "two_hundredths")]
    pub initializer_range: f64,
}

fn one_fifth() -> f64 {
    0.2
}

/// Names that Python takes for others.
const ALIASES: &[(&str, &str)] = &[
    ("hidden_size", "dim"),
    ("num_attention_heads", "n_heads"),
    ("num_hidden_layers", "n_layers"),
];

/// What the keys of its `config.json` do.
pub(super) const KEYS: Keys = &[
    ("activation", Key::Read),
    ("attention_dropout", Key::Read),
    ("dim", Key::Read),
    ("dropout", Key::Read),
    ("hidden_dim", Key::Read),
    ("hidden_size", Key::Read),
    ("initializer_range", Key::Read),
    ("max_position_embeddings", Key::Read),
    ("n_heads", Key::Read),
    ("n_layers", Key::Read),
    ("num_attention_heads", Key::Read),
    ("num_hidden_layers", Key::Read),
    ("qa_dropout", Key::Read),
    ("seq_classif_dropout", Key::Read),
    // How a new table of positions would be filled; a checkpoint has its own.
    ("sinusoidal_pos_embds", Key::Ignored),
    ("tie_weights_", Key::Ignored),
];

impl DistilBertConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    ///
    /// Says what is missing, of the wrong type, or not supported.
    pub fn parse(json: &Object) -> Result<Self, String> {
        let config: Self = read(&rename(json, ALIASES)?)?;
        check_sizes(&[
            ("vocab_size", config.vocab_size),
            ("max_position_embeddings", config.max_position_embeddings),
            ("n_heads", config.n_heads),
            ("dim", config.dim),
            ("hidden_dim", config.hidden_dim),
        ])?;
        check_layers("n_layers", Some(config.n_layers))?;
        check_multiple(("dim", config.dim), ("n_heads", config.n_heads))?;
        check_not_negative(&[("initializer_range", config.initializer_range)])?;
        check_dropouts(&[
            ("dropout", config.dropout),
            ("attention_dropout", config.attention_dropout),
            ("qa_dropout", config.qa_dropout),
            ("seq_classif_dropout", config.seq_classif_dropout),
        ])?;
        Ok(config)
    }
}
