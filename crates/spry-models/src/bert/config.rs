//! BERT's configuration, as in `config.json`.

use serde::Deserialize;

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
    /// Longest input, in tokens.
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
    #[serde(default = "initializer_range")]
    pub initializer_range: f64,
    /// Number of classes.
    #[serde(skip)]
    pub num_labels: usize,
}

/// An activation function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Activation {
    /// Exact GELU.
    #[default]
    #[serde(rename = "gelu")]
    Gelu,
    /// GELU's tanh approximation.
    #[serde(rename = "gelu_new", alias = "gelu_pytorch_tanh", alias = "gelu_fast")]
    GeluTanh,
    /// ReLU.
    #[serde(rename = "relu")]
    Relu,
    /// SiLU, also called swish.
    #[serde(rename = "silu", alias = "swish")]
    Silu,
}

/// Far above any real size; keeps a damaged file from asking for all memory there is.
const LARGEST_SIZE: usize = 1 << 24;

fn two() -> usize {
    2
}

fn layer_norm_eps() -> f64 {
    1e-12
}

fn one_tenth() -> f64 {
    0.1
}

fn initializer_range() -> f64 {
    0.02
}

/// Options that change the computation and that only their usual value is supported for.
#[derive(Deserialize)]
struct Unusual {
    #[serde(default)]
    position_embedding_type: Option<String>,
    #[serde(default)]
    is_decoder: bool,
    #[serde(default)]
    add_cross_attention: bool,
    #[serde(default)]
    id2label: Option<std::collections::HashMap<String, String>>,
    #[serde(default)]
    num_labels: Option<usize>,
}

impl BertConfig {
    /// Reads a `config.json`; `num_labels` replaces the configuration's number of classes.
    ///
    /// # Errors
    ///
    /// Says what is missing, of the wrong type, or not supported.
    pub fn parse(json: &str, num_labels: Option<usize>) -> Result<Self, String> {
        let mut config: Self = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let unusual: Unusual = serde_json::from_str(json).map_err(|error| error.to_string())?;
        if let Some(kind) = unusual.position_embedding_type.filter(|kind| kind != "absolute") {
            return Err(format!(
                "`position_embedding_type` = {kind} is not supported; supported: absolute"
            ));
        }
        if unusual.is_decoder || unusual.add_cross_attention {
            return Err("decoders and cross attention are not supported for BERT".to_string());
        }
        let sizes = [
            ("vocab_size", config.vocab_size),
            ("hidden_size", config.hidden_size),
            ("num_hidden_layers", config.num_hidden_layers),
            ("num_attention_heads", config.num_attention_heads),
            ("intermediate_size", config.intermediate_size),
            ("max_position_embeddings", config.max_position_embeddings),
            ("type_vocab_size", config.type_vocab_size),
        ];
        if let Some((name, _)) = sizes.iter().find(|(_, size)| *size == 0) {
            return Err(format!("`{name}` is 0, but must be at least 1"));
        }
        if let Some((name, size)) = sizes.iter().find(|(_, size)| *size > LARGEST_SIZE) {
            return Err(format!("`{name}` is {size}, but must be at most {LARGEST_SIZE}"));
        }
        if !(config.layer_norm_eps >= 0.0 && config.initializer_range >= 0.0) {
            return Err("`layer_norm_eps` and `initializer_range` must be at least 0".to_string());
        }
        if !config.hidden_size.is_multiple_of(config.num_attention_heads) {
            return Err(format!(
                "`hidden_size` = {} is not a multiple of `num_attention_heads` = {}",
                config.hidden_size, config.num_attention_heads
            ));
        }
        for (name, probability) in [
            ("hidden_dropout_prob", config.hidden_dropout_prob),
            ("attention_probs_dropout_prob", config.attention_probs_dropout_prob),
            ("classifier_dropout", config.classifier_dropout.unwrap_or(0.0)),
        ] {
            if !(0.0..1.0).contains(&probability) {
                return Err(format!("`{name}` is {probability}, but must be in [0, 1)"));
            }
        }
        config.num_labels = num_labels
            .or(unusual.num_labels)
            .or(unusual.id2label.map(|labels| labels.len()))
            .unwrap_or(2);
        if config.num_labels == 0 {
            return Err("it has no labels, but a classifier needs at least one".to_string());
        }
        Ok(config)
    }
}
