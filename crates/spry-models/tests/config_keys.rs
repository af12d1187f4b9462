//! Every key of a `config.json` is read, known to be without effect, or refused by name; what is not
//! known is listed.

mod folders;

use folders::{config_with, fixture, model_with};
use serde_json::{Value, json};
use spry_models::{LoadOptions, Model};

/// A family, a key with a value, and a part of the message that refuses it.
type Refused = (&'static str, &'static str, &'static str, &'static str);

const ENCODERS: [&str; 4] = ["bert-head", "roberta-head", "distilbert-head", "albert-head"];
const ALL: [&str; 6] =
    ["bert-head", "roberta-head", "distilbert-head", "albert-head", "llama-head", "opt-head"];

fn refusal(case: &str, keys: Value) -> String {
    Model::random(&config_with(case, keys), &LoadOptions::default()).unwrap_err().to_string()
}

#[test]
fn what_would_be_computed_otherwise_is_refused_by_name() {
    let of_all = [
        ("is_encoder_decoder", json!(true)),
        ("add_cross_attention", json!(true)),
        ("pruned_heads", json!({"0": [1]})),
        ("quantization_config", json!({"quant_method": "bitsandbytes", "load_in_8bit": true})),
        ("per_layer_config", json!({"0": {"hidden_size": 8}})),
        ("sliding_window", json!(4096)),
        ("layer_types", json!(["full_attention", "sliding_attention", "full_attention"])),
    ];
    for case in ALL {
        for (key, value) in &of_all {
            let error = refusal(case, json!({*key: value}));
            assert!(error.contains(&format!("`{key}` = ")), "{case}: {error}");
            assert!(error.contains("is not supported; supported: "), "{case}: {error}");
        }
    }
    for case in ENCODERS {
        assert!(refusal(case, json!({"is_decoder": true})).contains("`is_decoder` = true"));
    }
    let own: [Refused; 17] = [
        ("bert-head", "position_embedding_type", "\"relative_key\"", "supported: absolute"),
        ("roberta-head", "position_embedding_type", "\"relative_key\"", "supported: absolute"),
        ("albert-head", "position_embedding_type", "\"relative_key\"", "supported: absolute"),
        ("bert-head", "hidden_act", "\"mish\"", "`hidden_act`: unknown variant `mish`"),
        ("distilbert-head", "activation", "\"mish\"", "`activation`: unknown variant `mish`"),
        ("distilbert-head", "hidden_size", "33", "`hidden_size` = 33 contradicts `dim` = 32"),
        ("albert-head", "embedding_size", "\"16\"", "`embedding_size`: invalid type: string"),
        ("bert-head", "layer_norm_eps", "-1.0", "`layer_norm_eps` is -1"),
        ("llama-head", "partial_rotary_factor", "0.5", "`partial_rotary_factor` = 0.5"),
        ("llama-head", "original_max_position_embeddings", "64", "`original_max_position"),
        ("llama-head", "rope_scaling", "{\"type\": \"dynamic\", \"factor\": 2.0}", "dynamic"),
        ("llama-head", "rope_scaling", "{\"full_attention\": {\"rope_theta\": 5.0}}", "full_att"),
        ("llama-head", "rope_scaling", "{\"interleaved\": true}", "`interleaved` = true"),
        ("llama-head", "hidden_act", "\"tanh\"", "unknown variant `tanh`"),
        ("opt-head", "layer_norm_elementwise_affine", "false", "supported: true"),
        ("opt-head", "layerdrop", "0.1", "`layerdrop` = 0.1 is not supported; supported: off"),
        ("opt-head", "do_layer_norm_before", "\"no\"", "`do_layer_norm_before`: invalid type"),
    ];
    for (case, key, value, expected) in own {
        let value: Value = serde_json::from_str(value).unwrap();
        let error = refusal(case, json!({key: value}));
        assert!(error.contains(expected), "{case}: {error}");
    }
}

/// All that the reference cases have, and what older and newer versions of Python write.
#[test]
fn what_has_no_effect_is_passed_over_in_silence() {
    for entry in std::fs::read_dir(fixture("")).unwrap() {
        let folder = entry.unwrap().path();
        let Ok(text) = std::fs::read_to_string(folder.join("config.json")) else { continue };
        let model = Model::random(&text, &LoadOptions::default()).unwrap();
        assert!(model.notes().is_empty(), "{folder:?}: {:?}", model.notes());
    }
    let of_all = json!({
        "_name_or_path": "a/b", "attn_implementation": "eager", "auto_map": {}, "do_sample": false,
        "finetuning_task": "mnli", "gradient_checkpointing": false, "max_length": 20, "num_beams": 1,
        "output_attentions": false, "pruned_heads": {}, "quantization_config": null,
        "problem_type": "single_label_classification", "sliding_window": null, "top_k": 50,
        "tie_word_embeddings": false, "torch_dtype": "float16", "torchscript": false,
    });
    let own = [
        ("bert-head", json!({"directionality": "bidi", "pooler_type": "first_token_transform"})),
        ("albert-head", json!({"gap_size": 0, "net_structure_type": 0, "num_memory_blocks": 0})),
        ("distilbert-head", json!({"tie_weights_": true, "hidden_size": 32, "n_layers": 3})),
        (
            "llama-head",
            json!({"pretraining_tp": 2, "attention_dropout": null, "rope_scaling": null}),
        ),
        ("opt-head", json!({"activation_dropout": 0.0, "prefix": "</s>", "is_decoder": true})),
    ];
    for (case, keys) in own {
        for keys in [keys, of_all.clone()] {
            let config = config_with(case, keys);
            let model = Model::random(&config, &LoadOptions::default()).unwrap();
            assert!(model.notes().is_empty(), "{case}: {:?}", model.notes());
        }
    }
}

#[test]
fn keys_that_are_not_known_are_listed() {
    let folder = model_with("bert-head", json!({"zeta": 1, "attention_kind": "new\u{1b}[2J"}));
    let model = Model::load(folder.path(), &LoadOptions::default()).unwrap();
    let [note] = model.notes() else { panic!("{:?}", model.notes()) };
    assert!(note.is_warning());
    let expected = "2 key(s) that this version does not know and passes over: attention_kind, zeta";
    assert!(note.text().ends_with(expected), "{}", note.text());
}

/// DistilBERT's sizes may go by BERT's names, which Python takes, too.
#[test]
fn names_that_python_takes_for_others_are_read() {
    let text = config_with("distilbert-head", json!({}));
    let mut json: Value = serde_json::from_str(&text).unwrap();
    let object = json.as_object_mut().unwrap();
    for (name, alias) in [
        ("dim", "hidden_size"),
        ("n_heads", "num_attention_heads"),
        ("n_layers", "num_hidden_layers"),
    ] {
        let value = object.remove(name).unwrap();
        object.insert(alias.to_string(), value);
    }
    let load = |text: &str| Model::random(text, &LoadOptions::default()).unwrap();
    let (renamed, own) = (load(&json.to_string()), load(&text));
    assert_eq!(renamed.tensors(), own.tensors());
}

/// An empty table of the rotary embedding is as none: the newer one counts.
#[test]
fn an_empty_table_does_not_hide_the_other() {
    let frequencies = |keys| {
        let config = config_with("llama-head", keys);
        let model = Model::random(&config, &LoadOptions::default()).unwrap();
        model.architecture().rotary_frequencies().unwrap().to_vec()
    };
    let expected = frequencies(json!({"rope_parameters": {"rope_theta": 100.0}}));
    assert!((expected[1] - 100f64.powf(-0.25)).abs() < 1e-12);
    let both = json!({"rope_parameters": {"rope_theta": 100.0}, "rope_scaling": {}});
    assert_eq!(frequencies(both), expected);
}

/// Of `num_labels` and `id2label` the names count, as in Python.
#[test]
fn the_number_of_classes_is_that_of_the_names() {
    let folder = model_with("bert-head", json!({"num_labels": 7}));
    let model = Model::load(folder.path(), &LoadOptions::default()).unwrap();
    assert_eq!(model.num_labels(), 3);
}
