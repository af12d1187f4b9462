//! RoBERTa's configuration, as in `config.json`.

use serde::Deserialize;

use crate::bert::BertConfig;
use crate::config::{Object, one, read};

/// Sizes and options of a RoBERTa; names as in Hugging Face's `RobertaConfig`.
#[derive(Clone, Debug, PartialEq)]
pub struct RobertaConfig {
    /// What it shares with BERT.
    pub encoder: BertConfig,
    /// The token whose positions are not counted; positions of all others start after it.
    pub pad_token_id: usize,
}

#[derive(Deserialize)]
struct Padding {
    #[serde(default = "one")]
    pad_token_id: usize,
}

impl RobertaConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    ///
    /// Says what is missing, of the wrong type, or not supported.
    pub fn parse(json: &Object) -> Result<Self, String> {
        let encoder = BertConfig::parse(json)?;
        let Padding { pad_token_id } = read(json)?;
        if pad_token_id >= encoder.max_position_embeddings - 1 {
            return Err(format!(
                "`max_position_embeddings` is {}, which leaves no position after `pad_token_id` = \
                 {pad_token_id}",
                encoder.max_position_embeddings
            ));
        }
        Ok(Self { encoder, pad_token_id })
    }
}
