//! OPT's configuration, as in `config.json`.

use serde::Deserialize;

use crate::config::{
    Activation, check_dropouts, check_multiple, check_not_negative, check_sizes, one_tenth, read,
    two_hundredths, yes,
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
}

/// Options that only their usual value is supported for.
#[derive(Deserialize)]
struct Unusual {
    #[serde(default = "yes")]
    layer_norm_elementwise_affine: bool,
    #[serde(default)]
    layerdrop: f64,
}

fn relu() -> Activation {
    Activation::Relu
}

impl OptConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    ///
    /// Says what is missing, of the wrong type, or not supported.
    pub fn parse(json: &str) -> Result<Self, String> {
        let config: Self = read(json)?;
        let unusual: Unusual = read(json)?;
        if !unusual.layer_norm_elementwise_affine {
            return Err("`layer_norm_elementwise_affine` = false is not supported".to_string());
        }
        if unusual.layerdrop != 0.0 {
            return Err(format!(
                "`layerdrop` = {} is not supported; supported: 0",
                unusual.layerdrop
            ));
        }
        check_sizes(&[
            ("vocab_size", config.vocab_size),
            ("hidden_size", config.hidden_size),
            ("num_hidden_layers", config.num_hidden_layers),
            ("num_attention_heads", config.num_attention_heads),
            ("ffn_dim", config.ffn_dim),
            ("max_position_embeddings", config.max_position_embeddings),
            ("word_embed_proj_dim", config.embedding_size()),
        ])?;
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
