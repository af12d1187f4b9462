//! What each key of a `config.json` does: it is read, it is without effect here, or only some of its
//! values are supported. The families' tables are beside their configurations; what all of Hugging
//! Face's configurations have is here.

use serde_json::Value;
use spry_data::guard::sayable;

use super::Object;

/// What a key does. A key that is `null` is as one that is absent, whatever it is.
#[derive(Clone, Copy, Debug)]
pub enum Key {
    /// Read, and thus honoured.
    Read,
    /// Changes nothing that is computed here: about generation, about how Python computes or
    /// returns the same numbers, or about where the file comes from.
    Ignored,
    /// Off, which is all that is supported: false, 0, or empty.
    Off,
    /// One of these texts or numbers, as JSON has them.
    Only(&'static [&'static str]),
}

/// What the keys of a family do.
pub type Keys = &'static [(&'static str, Key)];

/// Keys that all families have, unless their own tables say otherwise.
const COMMON: Keys = &[
    ("model_type", Key::Read),
    ("vocab_size", Key::Read),
    ("id2label", Key::Read),
    ("label2id", Key::Read),
    ("num_labels", Key::Read),
    // By the families that compute with it.
    ("pad_token_id", Key::Read),
    // Checked where the head is, which alone it is about.
    ("problem_type", Key::Read),
    // Other computations.
    ("is_decoder", Key::Off),
    ("is_encoder_decoder", Key::Off),
    ("add_cross_attention", Key::Off),
    ("tie_encoder_decoder", Key::Off),
    ("pruned_heads", Key::Off),
    ("quantization_config", Key::Off),
    ("compression_config", Key::Off),
    ("per_layer_config", Key::Off),
    ("sliding_window", Key::Off),
    ("use_sliding_window", Key::Off),
    ("layer_types", Key::Only(&["full_attention"])),
    // Weights compute in f32, whatever they are stored in.
    ("dtype", Key::Ignored),
    ("torch_dtype", Key::Ignored),
    // The output of language models, which no head here is.
    ("tie_word_embeddings", Key::Ignored),
    // Which tokens are special is the tokenizer's business.
    ("bos_token_id", Key::Ignored),
    ("cls_token_id", Key::Ignored),
    ("decoder_start_token_id", Key::Ignored),
    ("eos_token_id", Key::Ignored),
    ("forced_bos_token_id", Key::Ignored),
    ("forced_eos_token_id", Key::Ignored),
    ("mask_token_id", Key::Ignored),
    ("sep_token_id", Key::Ignored),
    ("unk_token_id", Key::Ignored),
    // How the same numbers are computed and returned.
    ("attn_implementation", Key::Ignored),
    ("_attn_implementation", Key::Ignored),
    ("_attn_implementation_autoset", Key::Ignored),
    ("_attn_implementation_internal", Key::Ignored),
    ("_experts_implementation_internal", Key::Ignored),
    ("chunk_size_feed_forward", Key::Ignored),
    ("gradient_checkpointing", Key::Ignored),
    ("max_window_layers", Key::Ignored),
    ("output_attentions", Key::Ignored),
    ("output_hidden_states", Key::Ignored),
    ("output_past", Key::Ignored),
    ("return_dict", Key::Ignored),
    ("tf_legacy_loss", Key::Ignored),
    ("tie_last_hidden_states", Key::Ignored),
    ("torchscript", Key::Ignored),
    ("use_bfloat16", Key::Ignored),
    ("use_cache", Key::Ignored),
    ("use_return_dict", Key::Ignored),
    // Where it comes from, and what else it is for.
    ("_commit_hash", Key::Ignored),
    ("_name_or_path", Key::Ignored),
    ("_num_labels", Key::Ignored),
    ("architectures", Key::Ignored),
    ("auto_map", Key::Ignored),
    ("finetuning_task", Key::Ignored),
    ("language", Key::Ignored),
    ("name_or_path", Key::Ignored),
    ("sentence_transformers", Key::Ignored),
    ("task_specific_params", Key::Ignored),
    ("tokenizer_class", Key::Ignored),
    ("transformers_version", Key::Ignored),
    // Generation.
    ("bad_words_ids", Key::Ignored),
    ("begin_suppress_tokens", Key::Ignored),
    ("cross_attention_hidden_size", Key::Ignored),
    ("diversity_penalty", Key::Ignored),
    ("do_sample", Key::Ignored),
    ("early_stopping", Key::Ignored),
    ("encoder_no_repeat_ngram_size", Key::Ignored),
    ("exponential_decay_length_penalty", Key::Ignored),
    ("length_penalty", Key::Ignored),
    ("max_length", Key::Ignored),
    ("max_new_tokens", Key::Ignored),
    ("min_length", Key::Ignored),
    ("no_repeat_ngram_size", Key::Ignored),
    ("num_beam_groups", Key::Ignored),
    ("num_beams", Key::Ignored),
    ("num_return_sequences", Key::Ignored),
    ("output_scores", Key::Ignored),
    ("penalty_alpha", Key::Ignored),
    ("prefix", Key::Ignored),
    ("remove_invalid_values", Key::Ignored),
    ("repetition_penalty", Key::Ignored),
    ("return_dict_in_generate", Key::Ignored),
    ("suppress_tokens", Key::Ignored),
    ("temperature", Key::Ignored),
    ("top_k", Key::Ignored),
    ("top_p", Key::Ignored),
    ("typical_p", Key::Ignored),
];

/// Fails, by name, for a value that is not supported; otherwise the keys that neither the family's
/// table nor the common one knows, sorted.
pub(crate) fn check(json: &Object, family: Keys) -> Result<Vec<&str>, String> {
    let find = |name: &str| family.iter().chain(COMMON).find(|(key, _)| *key == name);
    let mut unknown = Vec::new();
    for (name, value) in json {
        match find(name) {
            None => unknown.push(name.as_str()),
            Some((_, key)) => check_value(name, *key, value)?,
        }
    }
    unknown.sort_unstable();
    Ok(unknown)
}

fn check_value(name: &str, key: Key, value: &Value) -> Result<(), String> {
    let refuse = |supported: &str| {
        let value = sayable(&value.to_string());
        Err(format!("`{name}` = {value} is not supported; supported: {supported}"))
    };
    match key {
        _ if value.is_null() => Ok(()),
        Key::Read | Key::Ignored => Ok(()),
        Key::Off if is_off(value) => Ok(()),
        Key::Off => refuse("off"),
        Key::Only(supported) if is_one_of(value, supported) => Ok(()),
        Key::Only(supported) => refuse(&supported.join(", ")),
    }
}

/// Whether a value means that an option is off.
pub(crate) fn is_off(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(is_on) => !is_on,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(table) => table.values().all(is_off),
    }
}

/// Whether a value, or each value of a list, is one of those in `supported`.
fn is_one_of(value: &Value, supported: &[&str]) -> bool {
    let is_equal = |supported: &&str| match (value, supported.parse::<f64>()) {
        (Value::String(text), _) => text == supported,
        (Value::Bool(true), _) => *supported == "true",
        (Value::Bool(false), _) => *supported == "false",
        (Value::Number(number), Ok(supported)) => number.as_f64() == Some(supported),
        _ => false,
    };
    match value {
        Value::Array(list) => list.iter().all(|value| is_one_of(value, supported)),
        _ => supported.iter().any(is_equal),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_family_says_otherwise_than_what_all_have() {
        let object = |value: Value| value.as_object().unwrap().clone();
        let family: Keys = &[("is_decoder", Key::Ignored), ("factor", Key::Only(&["1", "2.5"]))];
        let decoder = object(json!({"is_decoder": true, "zeta": 1, "alpha": 2}));
        assert_eq!(check(&decoder, family), Ok(vec!["alpha", "zeta"]));
        let error = check(&decoder, &[]).unwrap_err();
        assert_eq!(error, "`is_decoder` = true is not supported; supported: off");
        assert!(check(&object(json!({"factor": 2.5})), family).is_ok());
        assert!(check(&object(json!({"factor": 1.0})), family).is_ok());
        assert!(check(&object(json!({"factor": null})), family).is_ok());
        let error = check(&object(json!({"factor": 2})), family).unwrap_err();
        assert_eq!(error, "`factor` = 2 is not supported; supported: 1, 2.5");
        let mixed = object(json!({"layer_types": ["full_attention", "sliding_attention"]}));
        assert!(check(&mixed, &[]).unwrap_err().contains("`layer_types`"));
    }

    /// A key that stands in the table twice would have two meanings.
    #[test]
    fn each_key_is_in_the_table_once() {
        let mut names: Vec<&str> = COMMON.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        let before = names.len();
        names.dedup();
        assert_eq!(names.len(), before);
    }
}
