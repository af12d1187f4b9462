//! OPT's configuration, as in `config.json`.

use serde::Deserialize;

use crate::config::keys::{Key, Keys};
use crate::config::{
    Activation, Object, check_dropouts, check_layers, check_multiple, check_not_negative,
    check_sizes, one_tenth, read, two_hundredths, yes,
};

/// Sizes and options of an OPT; names as in Hugging Face's `OPTConfig`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct OptConfig {
    /// Number of tokens.
    pub vocab_size: usize,
    /// Width of the hidden states.
    pub hidden_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Number of attention heads; divides the width.
    pub num_attention_heads: usize,
    /// Width of the feed-forward layers.
    pub ffn_dim: usize,
    /// Longest input, in tokens.
    pub max_position_embeddings: usize,
    /// Width of the embeddings and of what comes out; by default that of the hidden states.
    #[serde(default)]
    pub word_embed_proj_dim: Option<usize>,
    /// Whether layer norms come before the sublayers, instead of after them.
    #[serde(default = "yes")]
    pub do_layer_norm_before: bool,
    /// Whether the norm after the last layer is left out, as in models of before its fix.
    #[serde(default, rename = "_remove_final_layer_norm")]
    pub remove_final_layer_norm: bool,
    /// Whether linear layers have biases.
    #[serde(default = "yes")]
    pub enable_bias: bool,
    /// Activation of the feed-forward layers.
    #[serde(default = "relu")]
    pub activation_function: Activation,
    /// Dropout after sublayers.
    #[serde(default = "one_tenth")]
    pub dropout: f64,
    /// Dropout of attention probabilities.
    #[serde(default)]
    pub attention_dropout: f64,
    /// Standard deviation of fresh weights.
    #[serde(default = "two_hundredths")]
    pub init_std: f64,
    /// The token that batches are padded with: a text's last token is the last other one. `null`
    /// says that there is none.
    #[serde(default = "pad_token_id")]
    pub pad_token_id: Option<i64>,
}

fn pad_token_id() -> Option<i64> {
    Some(1)
}

/// What the keys of its `config.json` do.
pub(super) const KEYS: Keys = &[
    ("_remove_final_layer_norm", Key::Read),
    ("activation_function", Key::Read),
    ("attention_dropout", Key::Read),
    ("do_layer_norm_before", Key::Read),
    ("dropout", Key::Read),
    ("enable_bias", Key::Read),
    ("ffn_dim", Key::Read),
    ("hidden_size", Key::Read),
    ("init_std", Key::Read),
    ("layer_norm_elementwise_affine", Key::Only(&["true"])),
    ("layerdrop", Key::Off),
    ("max_position_embeddings", Key::Read),
    ("num_attention_heads", Key::Read),
    ("num_hidden_layers", Key::Read),
    ("word_embed_proj_dim", Key::Read),
    // Of the published checkpoints; Python passes it over, too.
    ("activation_dropout", Key::Ignored),
    // It is always a decoder.
    ("is_decoder", Key::Ignored),
];

fn relu() -> Activation {
    Activation::Relu
}

impl OptConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    ///
    /// Says what is missing, of the wrong type, or not supported.
    pub fn parse(json: &Object) -> Result<Self, String> {
        let config: Self = read(json)?;
        check_sizes(&[
            ("vocab_size", config.vocab_size),
            ("hidden_size", config.hidden_size),
            ("num_attention_heads", config.num_attention_heads),
            ("ffn_dim", config.ffn_dim),
            ("max_position_embeddings", config.max_position_embeddings),
            ("word_embed_proj_dim", config.embedding_size()),
        ])?;
        check_layers("num_hidden_layers", Some(config.num_hidden_layers))?;
        check_multiple(
            ("hidden_size", config.hidden_size),
            ("num_attention_heads", config.num_attention_heads),
        )?;
        check_not_negative(&[("init_std", config.init_std)])?;
        check_dropouts(&[
            ("dropout", config.dropout),
            ("attention_dropout", config.attention_dropout),
        ])?;
        Ok(config)
    }

    /// Width of the embeddings and of what comes out.
    pub fn embedding_size(&self) -> usize {
        self.word_embed_proj_dim.unwrap_or(self.hidden_size)
    }

    /// Whether linear layers stand between embeddings and hidden states.
    pub(super) fn is_projected(&self) -> bool {
        self.embedding_size() != self.hidden_size
    }

    /// Whether there is a norm after the last layer.
    pub(super) fn has_final_norm(&self) -> bool {
        self.do_layer_norm_before && !self.remove_final_layer_norm
    }
}
