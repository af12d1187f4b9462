//! Llama's configuration, as in `config.json`.

use serde::Deserialize;

use super::Rope;
use crate::config::keys::{Key, Keys};
use crate::config::{
    Activation, Object, check_dropouts, check_layers, check_multiple, check_not_negative,
    check_sizes, null_as_default, read, two_hundredths,
};

/// Sizes and options of a Llama; names as in Hugging Face's `LlamaConfig`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct LlamaConfig {
    /// Number of tokens.
    pub vocab_size: usize,
    /// Width of the hidden states.
    pub hidden_size: usize,
    /// Width of the feed-forward layers.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Number of query heads.
    pub num_attention_heads: usize,
    /// Number of key and value heads; divides that of the query; by default the same.
    #[serde(default)]
    pub num_key_value_heads: Option<usize>,
    /// Size of a head; by default the width divided by the number of query heads.
    #[serde(default)]
    pub head_dim: Option<usize>,
    /// Longest input, in tokens.
    pub max_position_embeddings: usize,
    /// Activation of the feed-forward gate.
    #[serde(default = "silu")]
    pub hidden_act: Activation,
    /// Added to the mean square in norms.
    #[serde(default = "rms_norm_eps")]
    pub rms_norm_eps: f64,
    /// Whether the layers of attention have biases.
    #[serde(default)]
    pub attention_bias: bool,
    /// Whether the feed-forward layers have biases.
    #[serde(default)]
    pub mlp_bias: bool,
    /// Dropout of attention probabilities.
    #[serde(default, deserialize_with = "null_as_default")]
    pub attention_dropout: f64,
    /// Standard deviation of fresh weights.
    #[serde(default = "two_hundredths")]
    pub initializer_range: f64,
    /// Base of the rotary frequencies, in older files.
    #[serde(default)]
    pub rope_theta: Option<f64>,
    /// Rotary embedding, in older files.
    #[serde(default)]
    pub rope_scaling: Option<Rope>,
    /// Rotary embedding.
    #[serde(default)]
    pub rope_parameters: Option<Rope>,
    /// The token that batches are padded with: a text's last token is the last other one.
    #[serde(default)]
    pub pad_token_id: Option<i64>,
}

/// The widest head whose angles are computed.
const MAX_HEAD_DIM: usize = 1 << 16;

/// What the keys of its `config.json` do.
pub(super) const KEYS: Keys = &[
    ("attention_bias", Key::Read),
    ("attention_dropout", Key::Read),
    ("head_dim", Key::Read),
    ("hidden_act", Key::Read),
    ("hidden_size", Key::Read),
    ("initializer_range", Key::Read),
    ("intermediate_size", Key::Read),
    ("max_position_embeddings", Key::Read),
    ("mlp_bias", Key::Read),
    ("num_attention_heads", Key::Read),
    ("num_hidden_layers", Key::Read),
    ("num_key_value_heads", Key::Read),
    ("partial_rotary_factor", Key::Only(&["1"])),
    ("rms_norm_eps", Key::Read),
    ("rope_parameters", Key::Read),
    ("rope_scaling", Key::Read),
    ("rope_theta", Key::Read),
    // Belongs into the table of the rotary embedding, where it is read.
    ("original_max_position_embeddings", Key::Off),
    // It is always a decoder.
    ("is_decoder", Key::Ignored),
    ("max_sequence_length", Key::Ignored),
    // In how many parts a product is computed.
    ("pretraining_tp", Key::Ignored),
];

/// Base of the rotary frequencies of the first Llamas.
const ROPE_THETA: f64 = 1e4;

fn silu() -> Activation {
    Activation::Silu
}

fn rms_norm_eps() -> f64 {
    1e-6
}

impl LlamaConfig {
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
            ("intermediate_size", config.intermediate_size),
            ("num_attention_heads", config.num_attention_heads),
            ("num_key_value_heads", config.key_value_heads()),
            ("head_dim", config.head_dim.unwrap_or(1)),
            ("max_position_embeddings", config.max_position_embeddings),
        ])?;
        check_layers("num_hidden_layers", Some(config.num_hidden_layers))?;
        let heads = ("num_attention_heads", config.num_attention_heads);
        check_multiple(heads, ("num_key_value_heads", config.key_value_heads()))?;
        if config.head_dim.is_none() {
            check_multiple(("hidden_size", config.hidden_size), heads)?;
        }
        if config.head_dim() > MAX_HEAD_DIM {
            let head_dim = config.head_dim();
            return Err(format!("`head_dim` is {head_dim}, but must be at most {MAX_HEAD_DIM}"));
        }
        if !config.head_dim().is_multiple_of(2) {
            return Err(format!("`head_dim` is {}, but must be even", config.head_dim()));
        }
        check_not_negative(&[
            ("rms_norm_eps", config.rms_norm_eps),
            ("initializer_range", config.initializer_range),
        ])?;
        check_dropouts(&[("attention_dropout", config.attention_dropout)])?;
        config.frequencies()?;
        Ok(config)
    }

    /// Number of key and value heads.
    pub fn key_value_heads(&self) -> usize {
        self.num_key_value_heads.unwrap_or(self.num_attention_heads)
    }

    /// Size of a head.
    pub fn head_dim(&self) -> usize {
        self.head_dim.unwrap_or(self.hidden_size / self.num_attention_heads)
    }

    /// Angles of the rotary embedding in radians per position.
    ///
    /// # Errors
    ///
    /// Says what is missing or not supported.
    pub fn frequencies(&self) -> Result<Vec<f64>, String> {
        // An empty table is as none, as in Python.
        let is_given = |rope: &&Rope| **rope != Rope::default();
        let rope = self.rope_scaling.as_ref().filter(is_given).or(self.rope_parameters.as_ref());
        let theta = self.rope_theta.unwrap_or(ROPE_THETA);
        let mut rope = rope.cloned().unwrap_or_default();
        rope.original_max_position_embeddings.get_or_insert(self.max_position_embeddings);
        rope.frequencies(self.head_dim(), theta)
    }
}
