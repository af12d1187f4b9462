//! BERT's configuration, as in `config.json`.

use serde::Deserialize;

use crate::config::keys::{Key, Keys};
use crate::config::{
    Activation, Object, check_dropouts, check_layers, check_multiple, check_not_negative,
    check_sizes, one_tenth, read, two, two_hundredths,
};

/// Sizes and options of a BERT; names as in Hugging Face's `BertConfig`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct BertConfig {
    /// Number of tokens.
    pub vocab_size: usize,
    /// Width of the hidden states.
    pub hidden_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Number of attention heads; divides the width.
    pub num_attention_heads: usize,
    /// Width of the feed-forward layers.
    pub intermediate_size: usize,
    /// Entries of the position table.
    pub max_position_embeddings: usize,
    /// Number of segments.
    #[serde(default = "two")]
    pub type_vocab_size: usize,
    /// Activation of the feed-forward layers.
    #[serde(default)]
    pub hidden_act: Activation,
    /// Added to the variance in layer norms.
    #[serde(default = "layer_norm_eps")]
    pub layer_norm_eps: f64,
    /// Dropout after embeddings and sublayers.
    #[serde(default = "one_tenth")]
    pub hidden_dropout_prob: f64,
    /// Dropout of attention probabilities.
    #[serde(default = "one_tenth")]
    pub attention_probs_dropout_prob: f64,
    /// Dropout before the classification head; by default that of the hidden states.
    #[serde(default)]
    pub classifier_dropout: Option<f64>,
    /// Standard deviation of fresh weights.
    #[serde(default = "two_hundredths")]
    pub initializer_range: f64,
}

pub(crate) fn layer_norm_eps() -> f64 {
    1e-12
}

/// What the keys of BERT's `config.json` do, and of RoBERTa's.
pub(crate) const KEYS: Keys = &[
    ("attention_probs_dropout_prob", Key::Read),
    ("classifier_dropout", Key::Read),
    ("hidden_act", Key::Read),
    ("hidden_dropout_prob", Key::Read),
    ("hidden_size", Key::Read),
    ("initializer_range", Key::Read),
    ("intermediate_size", Key::Read),
    ("layer_norm_eps", Key::Read),
    ("max_position_embeddings", Key::Read),
    ("num_attention_heads", Key::Read),
    ("num_hidden_layers", Key::Read),
    ("position_embedding_type", Key::Only(&["absolute"])),
    ("type_vocab_size", Key::Read),
    // Of the first, multilingual checkpoints; Python passes them over, too.
    ("directionality", Key::Ignored),
    ("pooler_fc_size", Key::Ignored),
    ("pooler_num_attention_heads", Key::Ignored),
    ("pooler_num_fc_layers", Key::Ignored),
    ("pooler_size_per_head", Key::Ignored),
    ("pooler_type", Key::Ignored),
];

impl BertConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    ///
    /// Says what is missing, of the wrong type, or not supported.
    pub fn parse(json: &Object) -> Result<Self, String> {
        let config: Self = read(json)?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        check_sizes(&[
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
            ("type_vocab_size", self.type_vocab_size),
        ])?;
        check_layers("num_hidden_layers", Some(self.num_hidden_layers))?;
        check_multiple(
            ("hidden_size", self.hidden_size),
            ("num_attention_heads", self.num_attention_heads),
        )?;
        check_not_negative(&[
            ("layer_norm_eps", self.layer_norm_eps),
            ("initializer_range", self.initializer_range),
        ])?;
        check_dropouts(&[
            ("hidden_dropout_prob", self.hidden_dropout_prob),
            ("attention_probs_dropout_prob", self.attention_probs_dropout_prob),
            ("classifier_dropout", self.classifier_dropout.unwrap_or(0.0)),
        ])
    }

    /// Dropout before the classification head.
    pub(crate) fn head_dropout(&self) -> f64 {
        self.classifier_dropout.unwrap_or(self.hidden_dropout_prob)
    }
}
