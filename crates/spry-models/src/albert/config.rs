//! ALBERT's configuration, as in `config.json`.

use serde::Deserialize;

use crate::bert::config::layer_norm_eps;
use crate::config::keys::{Key, Keys};
use crate::config::{
    Activation, Object, check_dropouts, check_layers, check_multiple, check_not_negative,
    check_sizes, one, one_tenth, read, two, two_hundredths,
};

/// Sizes and options of an ALBERT; names as in Hugging Face's `AlbertConfig`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct AlbertConfig {
    /// Number of tokens.
    pub vocab_size: usize,
    /// Width of the embeddings.
    pub embedding_size: usize,
    /// Width of the hidden states.
    pub hidden_size: usize,
    /// Number of times that a group of layers is applied.
    pub num_hidden_layers: usize,
    /// Number of groups; consecutive applications share one.
    #[serde(default = "one")]
    pub num_hidden_groups: usize,
    /// Number of layers in a group, each with its own weights.
    #[serde(default = "one")]
    pub inner_group_num: usize,
    /// Number of attention heads; divides the width.
    pub num_attention_heads: usize,
    /// Width of the feed-forward layers.
    pub intermediate_size: usize,
    /// Longest input, in tokens.
    pub max_position_embeddings: usize,
    /// Number of segments.
    #[serde(default = "two")]
    pub type_vocab_size: usize,
    /// Activation of the feed-forward layers.
    #[serde(default = "gelu_new")]
    pub hidden_act: Activation,
    /// Added to the variance in layer norms.
    #[serde(default = "layer_norm_eps")]
    pub layer_norm_eps: f64,
    /// Dropout after embeddings and attention.
    #[serde(default)]
    pub hidden_dropout_prob: f64,
    /// Dropout of attention probabilities.
    #[serde(default)]
    pub attention_probs_dropout_prob: f64,
    /// Dropout before the classification head.
    #[serde(default = "one_tenth")]
    pub classifier_dropout_prob: f64,
    /// Standard deviation of fresh weights.
    #[serde(default = "two_hundredths")]
    pub initializer_range: f64,
}

fn gelu_new() -> Activation {
    Activation::GeluTanh
}

/// What the keys of its `config.json` do.
pub(super) const KEYS: Keys = &[
    ("attention_probs_dropout_prob", Key::Read),
    ("classifier_dropout_prob", Key::Read),
    ("embedding_size", Key::Read),
    ("hidden_act", Key::Read),
    ("hidden_dropout_prob", Key::Read),
    ("hidden_size", Key::Read),
    ("initializer_range", Key::Read),
    ("inner_group_num", Key::Read),
    ("intermediate_size", Key::Read),
    ("layer_norm_eps", Key::Read),
    ("max_position_embeddings", Key::Read),
    ("num_attention_heads", Key::Read),
    ("num_hidden_groups", Key::Read),
    ("num_hidden_layers", Key::Read),
    ("position_embedding_type", Key::Only(&["absolute"])),
    ("type_vocab_size", Key::Read),
    // Of the published checkpoints; Python passes them over, too.
    ("down_scale_factor", Key::Ignored),
    ("gap_size", Key::Ignored),
    ("net_structure_type", Key::Ignored),
    ("num_memory_blocks", Key::Ignored),
];

impl AlbertConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    ///
    /// Says what is missing, of the wrong type, or not supported.
    pub fn parse(json: &Object) -> Result<Self, String> {
        let config: Self = read(json)?;
        check_sizes(&[
            ("vocab_size", config.vocab_size),
            ("embedding_size", config.embedding_size),
            ("hidden_size", config.hidden_size),
            ("num_hidden_groups", config.num_hidden_groups),
            ("inner_group_num", config.inner_group_num),
            ("num_attention_heads", config.num_attention_heads),
            ("intermediate_size", config.intermediate_size),
            ("max_position_embeddings", config.max_position_embeddings),
            ("type_vocab_size", config.type_vocab_size),
        ])?;
        // Each group is applied with all of its layers, over and over, and they need no weights of
        // their own that a checkpoint would have to have.
        let applied = config.num_hidden_layers.checked_mul(config.inner_group_num);
        check_layers("num_hidden_layers", Some(config.num_hidden_layers))?;
        check_layers("num_hidden_layers` × `inner_group_num", applied)?;
        if config.num_hidden_groups > config.num_hidden_layers {
            return Err(format!(
                "`num_hidden_groups` is {}, but must be at most `num_hidden_layers` = {}",
                config.num_hidden_groups, config.num_hidden_layers
            ));
        }
        check_multiple(
            ("hidden_size", config.hidden_size),
            ("num_attention_heads", config.num_attention_heads),
        )?;
        check_not_negative(&[
            ("layer_norm_eps", config.layer_norm_eps),
            ("initializer_range", config.initializer_range),
        ])?;
        check_dropouts(&[
            ("hidden_dropout_prob", config.hidden_dropout_prob),
            ("attention_probs_dropout_prob", config.attention_probs_dropout_prob),
            ("classifier_dropout_prob", config.classifier_dropout_prob),
        ])?;
        Ok(config)
    }
}
