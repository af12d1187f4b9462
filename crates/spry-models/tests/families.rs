//! What the reference cases cannot show: where each family drops out, and configurations as they
//! are published.

use std::sync::Arc;

use spry_core::{DualParams, Objective, Seed};
use spry_data::{Targets, Task, TokenBatch};
use spry_dual::ops::DropoutSeed;
use spry_dual::trace;
use spry_models::architecture::ModelSpec;
use spry_models::budget::Budget;
use spry_models::{LoadOptions, Model, Peft, PeftModel};

const BERT: &str = r#""vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 2,
    "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 16"#;
const DISTILBERT: &str = r#""vocab_size": 20, "dim": 8, "n_layers": 2, "n_heads": 2,
    "hidden_dim": 16, "max_position_embeddings": 16"#;
const ALBERT: &str = r#""vocab_size": 20, "embedding_size": 4, "hidden_size": 8,
    "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 16,
    "max_position_embeddings": 16"#;
const OPT: &str = r#""vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 2,
    "num_attention_heads": 2, "ffn_dim": 16, "max_position_embeddings": 16"#;

/// Number of dropouts in a training pass if only one option is above 0, as in the modules of
/// transformers 5.23.
const SITES: [(&str, &str, Task, &str, usize); 16] = [
    // Embeddings, two per layer, and by default the head's one or two.
    ("bert", BERT, CLASSES, "hidden_dropout_prob", 1 + 2 * 2 + 1),
    ("bert", BERT, CLASSES, "attention_probs_dropout_prob", 2),
    ("bert", BERT, CLASSES, "classifier_dropout", 1),
    ("bert", BERT, SPANS, "hidden_dropout_prob", 1 + 2 * 2),
    ("roberta", BERT, CLASSES, "hidden_dropout_prob", 1 + 2 * 2 + 2),
    ("roberta", BERT, CLASSES, "classifier_dropout", 2),
    ("distilbert", DISTILBERT, CLASSES, "dropout", 1 + 2),
    ("distilbert", DISTILBERT, CLASSES, "attention_dropout", 2),
    ("distilbert", DISTILBERT, CLASSES, "seq_classif_dropout", 1),
    ("distilbert", DISTILBERT, SPANS, "qa_dropout", 1),
    // The feed-forward part has none.
    ("albert", ALBERT, CLASSES, "hidden_dropout_prob", 1 + 3),
    ("albert", ALBERT, CLASSES, "attention_probs_dropout_prob", 3),
    ("albert", ALBERT, CLASSES, "classifier_dropout_prob", 1),
    ("llama", BERT, CLASSES, "attention_dropout", 2),
    ("opt", OPT, CLASSES, "dropout", 2 * 2),
    ("opt", OPT, CLASSES, "attention_dropout", 2),
];

const CLASSES: Task = Task::SequenceClassification;
const SPANS: Task = Task::QuestionAnswering;

/// All options of dropout.
const PROBABILITIES: [&str; 7] = [
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "dropout",
    "attention_dropout",
    "seq_classif_dropout",
    "qa_dropout",
    "classifier_dropout_prob",
];

#[test]
fn families_drop_out_where_transformers_does() {
    for (family, sizes, task, option, expected) in SITES {
        let others = PROBABILITIES.iter().filter(|name| **name != option);
        let zeros: Vec<String> = others.map(|name| format!(r#""{name}": 0.0"#)).collect();
        let config = format!(
            r#"{{"model_type": "{family}", {sizes}, {}, "{option}": 0.5}}"#,
            zeros.join(", ")
        );
        let options = LoadOptions { task, ..Default::default() };
        let model = Model::random(&config, &options).unwrap();
        let model = PeftModel::new(Arc::new(model), Peft::Head).unwrap();
        let params = DualParams::constant(&model.trainable(&Seed::new(0)).unwrap());
        let batch = TokenBatch {
            batch: 1,
            seq: 3,
            input_ids: vec![2, 7, 3],
            token_type_ids: vec![0; 3],
            attention_mask: vec![1.0; 3],
            targets: match task {
                Task::SequenceClassification => Targets::Classes(vec![0]),
                Task::QuestionAnswering => Targets::Spans(vec![[1, 2]]),
            },
        };
        let count = |dropout| {
            let objective = model.objective(&batch, dropout).unwrap();
            let (_, counts) = trace::record_ops(|| objective.forward(&params).unwrap());
            counts.primal.get("dropout").copied().unwrap_or(0)
        };
        assert_eq!(count(Some(DropoutSeed(1))), expected, "{family}, {option}");
        assert_eq!(count(None), 0, "{family}, {option}");
    }
}

/// The keys that decide something, of published models.
#[test]
fn published_configurations_are_understood() {
    let albert = r#"{"model_type": "albert", "attention_probs_dropout_prob": 0, "bos_token_id": 2,
        "classifier_dropout_prob": 0.1, "down_scale_factor": 1, "embedding_size": 128,
        "gap_size": 0, "hidden_act": "gelu_new", "hidden_dropout_prob": 0, "hidden_size": 768,
        "initializer_range": 0.02, "inner_group_num": 1, "intermediate_size": 3072,
        "layer_norm_eps": 1e-12, "max_position_embeddings": 512, "net_structure_type": 0,
        "num_attention_heads": 12, "num_hidden_groups": 1, "num_hidden_layers": 12,
        "num_memory_blocks": 0, "pad_token_id": 0, "type_vocab_size": 2, "vocab_size": 30000}"#;
    let distilbert = r#"{"model_type": "distilbert", "activation": "gelu",
        "attention_dropout": 0.1, "dim": 768, "dropout": 0.1, "hidden_dim": 3072,
        "initializer_range": 0.02, "max_position_embeddings": 512, "n_heads": 12, "n_layers": 6,
        "pad_token_id": 0, "qa_dropout": 0.1, "seq_classif_dropout": 0.2,
        "sinusoidal_pos_embds": false, "tie_weights_": true, "vocab_size": 30522}"#;
    let roberta = r#"{"model_type": "roberta", "attention_probs_dropout_prob": 0.1,
        "bos_token_id": 0, "eos_token_id": 2, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
        "hidden_size": 1024, "initializer_range": 0.02, "intermediate_size": 4096,
        "layer_norm_eps": 1e-05, "max_position_embeddings": 514, "num_attention_heads": 16,
        "num_hidden_layers": 24, "pad_token_id": 1, "type_vocab_size": 1, "vocab_size": 50265}"#;
    let llama_2 = r#"{"model_type": "llama", "bos_token_id": 1, "eos_token_id": 2,
        "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02,
        "intermediate_size": 11008, "max_position_embeddings": 4096, "num_attention_heads": 32,
        "num_hidden_layers": 32, "num_key_value_heads": 32, "pretraining_tp": 1,
        "rms_norm_eps": 1e-05, "rope_scaling": null, "tie_word_embeddings": false,
        "torch_dtype": "float16", "use_cache": true, "vocab_size": 32000}"#;
    let llama_3 = r#"{"model_type": "llama", "attention_bias": false, "attention_dropout": 0.0,
        "head_dim": 64, "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02,
        "intermediate_size": 8192, "max_position_embeddings": 131072, "mlp_bias": false,
        "num_attention_heads": 32, "num_hidden_layers": 16, "num_key_value_heads": 8,
        "rms_norm_eps": 1e-05, "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0,
        "low_freq_factor": 1.0, "original_max_position_embeddings": 8192, "rope_type": "llama3"},
        "rope_theta": 500000.0, "tie_word_embeddings": true, "vocab_size": 128256}"#;
    let opt = r#"{"model_type": "opt", "_remove_final_layer_norm": false,
        "activation_dropout": 0.0, "activation_function": "relu", "attention_dropout": 0.0,
        "do_layer_norm_before": false, "dropout": 0.1, "ffn_dim": 4096, "hidden_size": 1024,
        "init_std": 0.02, "layerdrop": 0.0, "max_position_embeddings": 2048,
        "num_attention_heads": 16, "num_hidden_layers": 24, "pad_token_id": 1,
        "prefix": "</s>", "vocab_size": 50272, "word_embed_proj_dim": 512}"#;
    // Weights of the body, as the models' cards count them, in millions.
    for (family, config, millions, max_length) in [
        ("albert", albert, 11, 512),
        ("distilbert", distilbert, 66, 512),
        ("roberta", roberta, 354, 512),
        ("llama", llama_2, 6_607, 4096),
        ("llama", llama_3, 1_235, 131_072),
        ("opt", opt, 331, 2048),
    ] {
        let architecture =
            (ModelSpec::find(family).unwrap().parse)(&serde_json::from_str(config).unwrap())
                .unwrap();
        let tensors =
            architecture.tensors(Task::QuestionAnswering, 2, Budget::OF_RANDOM_MODEL).unwrap();
        let count: usize = tensors.iter().map(|t| t.shape.iter().product::<usize>()).sum();
        assert_eq!(count / 1_000_000, millions, "{family}");
        assert_eq!(architecture.limits().max_length, max_length, "{family}");
    }
}

#[test]
fn what_would_be_computed_otherwise_is_refused() {
    let llama = r#""vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1,
        "intermediate_size": 16, "max_position_embeddings": 16"#;
    for (family, sizes, option, expected) in [
        ("bert", BERT, r#""position_embedding_type": "relative_key""#, "supported: absolute"),
        ("albert", ALBERT, r#""is_decoder": true"#, "`is_decoder` = true is not supported"),
        ("albert", ALBERT, r#""num_hidden_groups": 4"#, "`num_hidden_groups` is 4"),
        ("roberta", BERT, r#""pad_token_id": 15"#, "no position after `pad_token_id`"),
        ("opt", OPT, r#""layerdrop": 0.1"#, "`layerdrop` = 0.1"),
        ("opt", OPT, r#""layer_norm_elementwise_affine": false"#, "elementwise_affine"),
        ("opt", OPT, r#""activation_function": "tanh""#, "unknown variant `tanh`"),
        ("llama", llama, r#""num_attention_heads": 4, "num_key_value_heads": 3"#, "multiple"),
        ("llama", llama, r#""num_attention_heads": 8"#, "`head_dim` is 1, but must be even"),
        ("llama", llama, r#""num_attention_heads": 4, "rope_scaling": {"type": "yarn"}"#, "yarn"),
        ("distilbert", DISTILBERT, r#""dropout": 1.0"#, "must be in [0, 1)"),
    ] {
        let config = format!(r#"{{"model_type": "{family}", {sizes}, {option}}}"#);
        let error = Model::random(&config, &LoadOptions::default()).unwrap_err().to_string();
        assert!(error.contains(expected), "{family}, {option}: {error}");
    }
    let half = LoadOptions { dtype: burn::tensor::DType::F16, ..Default::default() };
    let config = format!(r#"{{"model_type": "bert", {BERT}}}"#);
    assert!(Model::random(&config, &half).unwrap_err().to_string().contains("`dtype` is F16"));
    let spans = LoadOptions { task: Task::QuestionAnswering, ..Default::default() };
    let config = format!(r#"{{"model_type": "llama", {llama}, "num_attention_heads": 4}}"#);
    let error = Model::random(&config, &spans).unwrap_err().to_string();
    assert!(error.contains("llama for question answering"), "{error}");
}
