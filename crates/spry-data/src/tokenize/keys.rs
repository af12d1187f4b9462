//! The keys of `tokenizer_config.json`, with what each of them changes.

/// What a key of `tokenizer_config.json` does, in transformers 5 and here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Honoured by the classes whose tokens it changes.
    Honoured,
    /// Changes no token and no segment of a text on its own.
    None,
}

/// Every known key; another one is refused by name. (Whatever ends in `_token` is a special token.)
/// `docs/models.md` has the same table.
#[rustfmt::skip]
pub(super) const KEYS: &[(&str, Effect)] = &[
    // Read to choose the class.
    ("tokenizer_class", Effect::Honoured), ("auto_map", Effect::Honoured),
    ("init_inputs", Effect::Honoured), ("fast_tokenizer_files", Effect::Honoured),
    // How texts are cut into tokens.
    ("do_lower_case", Effect::Honoured), ("strip_accents", Effect::Honoured),
    ("tokenize_chinese_chars", Effect::Honoured), ("keep_accents", Effect::Honoured),
    ("add_prefix_space", Effect::Honoured), ("legacy", Effect::Honoured),
    ("split_special_tokens", Effect::Honoured), ("trim_offsets", Effect::Honoured),
    // What is added to them, and cut off.
    ("add_bos_token", Effect::Honoured), ("add_eos_token", Effect::Honoured),
    ("truncation_side", Effect::Honoured), ("model_input_names", Effect::Honoured),
    ("added_tokens_decoder", Effect::Honoured),
    ("additional_special_tokens", Effect::Honoured),
    ("extra_special_tokens", Effect::Honoured),
    ("model_specific_special_tokens", Effect::Honoured),
    // Lengths: a run's `max_length` stands in the call, where Python takes it before these.
    ("model_max_length", Effect::None), ("max_len", Effect::None), ("max_length", Effect::None),
    ("stride", Effect::None), ("truncation_strategy", Effect::None), ("truncation", Effect::None),
    // Padding: a text is computed as if it were alone.
    ("padding_side", Effect::None), ("padding", Effect::None), ("pad_to_multiple_of", Effect::None),
    ("pad_token_type_id", Effect::None), ("pad_token_type", Effect::None),
    // From tokens to text.
    ("clean_up_tokenization_spaces", Effect::None),
    ("clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output", Effect::None),
    ("errors", Effect::None), ("spaces_between_special_tokens", Effect::None),
    // Options of older classes that these do not read any more.
    ("do_basic_tokenize", Effect::None), ("never_split", Effect::None),
    ("sp_model_kwargs", Effect::None), ("remove_space", Effect::None),
    ("wordpieces_prefix", Effect::None), ("clean_text", Effect::None),
    ("full_tokenizer_file", Effect::None), ("use_fast", Effect::None), ("from_slow", Effect::None),
    ("fix_mistral_regex", Effect::None), ("unk_id", Effect::None),
    // Chats.
    ("chat_template", Effect::None), ("chat_control_tokens", Effect::None),
    ("response_template", Effect::None), ("response_schema", Effect::None),
    ("use_default_system_prompt", Effect::None),
    // Where it comes from. Python takes the files of the folder, whatever these say.
    ("name_or_path", Effect::None), ("vocab_file", Effect::None), ("merges_file", Effect::None),
    ("tokenizer_file", Effect::None), ("special_tokens_map_file", Effect::None),
    ("added_tokens_file", Effect::None), ("tokenizer_config_file", Effect::None),
    ("is_local", Effect::None), ("local_files_only", Effect::None), ("files_loaded", Effect::None),
    ("backend", Effect::None), ("processor_class", Effect::None), ("model_type", Effect::None),
    ("transformers_version", Effect::None), ("device_map", Effect::None), ("verbose", Effect::None),
    ("return_token_type_ids", Effect::None), ("return_attention_mask", Effect::None),
    ("return_tensors", Effect::None), ("_commit_hash", Effect::None), ("language", Effect::None),
    // Numbers of tokens that have keys of their own.
    ("bos_token_id", Effect::None), ("eos_token_id", Effect::None), ("unk_token_id", Effect::None),
    ("sep_token_id", Effect::None), ("pad_token_id", Effect::None), ("cls_token_id", Effect::None),
    ("mask_token_id", Effect::None),
];
