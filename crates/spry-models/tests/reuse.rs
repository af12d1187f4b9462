//! What is not computed twice, or at all: frozen prefixes, and padding.

use std::sync::Arc;

use spry_core::estimators::{
    EstimatorConfig, FiniteDifference, ForwardGradient, GradientEstimator, HeadEstimator, Spsa,
};
use spry_core::perturbation::Directions;
use spry_core::spry_dual::{composed, trace};
use spry_core::{
    ClientContext, ClientInfo, ClientTask, ClientUpdate, LocalTraining, Objective, ParamSet,
    PrefixCache, Seed, ServerState, StopSignal, UpdatePayload,
};
use spry_data::{ClientShare, EncodedExample, TokenBatch};
use spry_models::{LoadOptions, LoraConfig, Model, Peft, PeftModel, TextClient};

const BERT: &str = r#"{"model_type": "bert", "vocab_size": 50, "hidden_size": 16,
    "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32,
    "max_position_embeddings": 12}"#;
const ALBERT: &str = r#"{"model_type": "albert", "vocab_size": 50, "embedding_size": 8,
    "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32,
    "max_position_embeddings": 12}"#;
const LLAMA: &str = r#"{"model_type": "llama", "vocab_size": 50, "hidden_size": 16,
    "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 12, "rms_norm_eps": 1e-5}"#;
const OPT: &str = r#"{"model_type": "opt", "vocab_size": 50, "hidden_size": 16, "ffn_dim": 32,
    "num_hidden_layers": 3, "num_attention_heads": 2, "max_position_embeddings": 12,
    "word_embed_proj_dim": 16}"#;

fn model(config: &str) -> PeftModel {
    let options = LoadOptions { num_labels: Some(3), ..Default::default() };
    let model = Model::random(config, &options).unwrap();
    PeftModel::new(Arc::new(model), Peft::Lora(LoraConfig::default())).unwrap()
}

/// Parameters with a nonzero `B`, so that the adapters matter.
fn params(model: &PeftModel) -> ParamSet {
    let params = model.trainable(&Seed::new(0)).unwrap();
    let direction = Directions::gaussian(1).all(&Seed::new(5), &params).unwrap().remove(0);
    params.add_scaled(0.1, &direction).unwrap()
}

/// Texts of many lengths.
fn examples() -> Vec<EncodedExample> {
    let text = |i: usize| {
        let length = 2 + i * 5 % 9;
        let ids: Vec<u32> = (0..length).map(|j| (4 + (i * 7 + j * 3) % 45) as u32).collect();
        EncodedExample { token_type_ids: vec![0; ids.len()], input_ids: ids, label: i % 3 }
    };
    (0..11).map(text).collect()
}

/// Two local epochs over eleven texts in batches of four, whose order differs between epochs.
fn train(
    model: &PeftModel,
    trains: &str,
    estimator: Arc<dyn GradientEstimator>,
    cache_bytes: u64,
) -> (ClientUpdate, trace::OpCounts) {
    let params = params(model);
    let share = ClientShare { train: (0..11).collect(), test: Vec::new() };
    let client = TextClient::new(model.clone(), Arc::new(examples()), share, 0, false);
    let paths = params.paths().filter(|path| path.contains(trains) || path.contains("classifier"));
    let trains: Vec<String> = paths.map(str::to_owned).collect();
    assert!(trains.iter().any(|path| path.contains("lora")));
    let info = ClientInfo { client: 0, num_examples: 11 };
    let task = ClientTask::new(&ServerState::new(params), &info, trains, &Seed::new(3));
    let training =
        LocalTraining { estimator, epochs: 2, batch_size: 4, ..LocalTraining::backprop() };
    let mut context =
        ClientContext::new(0, &client, StopSignal::default()).with_prefix_cache(cache_bytes);
    trace::record_ops(|| context.train(&task, &training).unwrap())
}

fn bits(update: &ClientUpdate) -> Vec<u32> {
    let UpdatePayload::Weights(weights) = &update.payload else { panic!("no weights") };
    let values = weights.iter().flat_map(|(_, param)| param.to_vec());
    values
        .map(|value| (value as f32).to_bits())
        .chain([(update.train_loss as f32).to_bits()])
        .collect()
}

#[test]
fn a_kept_prefix_changes_no_bit_and_saves_its_layers() {
    let all = u64::MAX;
    // Room for some of the batches only.
    let some = 4 * 16 * 40;
    let estimators: [(&str, Arc<dyn GradientEstimator>); 4] = [
        ("forward gradient", Arc::new(ForwardGradient { k: 2, ..Default::default() })),
        ("central difference", Arc::new(FiniteDifference { k: 3, ..Default::default() })),
        ("SPSA", Arc::new(Spsa::default())),
        (
            "head by backpropagation",
            EstimatorConfig::ForwardGradient(ForwardGradient::default())
                .init(HeadEstimator::Backprop),
        ),
    ];
    for (name, estimator) in estimators {
        for (config, part, layer) in [
            (BERT, "layer.0.", 0),
            (BERT, "layer.1.", 1),
            (BERT, "layer.2.", 2),
            (LLAMA, "layers.2.", 2),
            (OPT, "layers.1.", 1),
            // All layers are one: nothing is before it.
            (ALBERT, "albert_layers.0", 0),
        ] {
            let model = model(config);
            let (without, plain) = train(&model, part, estimator.clone(), 0);
            for budget in [all, some] {
                let (with, counts) = train(&model, part, estimator.clone(), budget);
                assert_eq!(bits(&with), bits(&without), "{name}, {part}, {budget} bytes");
                let (with, without) = (counts.primal["attention"], plain.primal["attention"]);
                let saved = without - with;
                if layer == 0 {
                    assert_eq!(saved, 0, "{name}, {part}");
                } else if budget == all {
                    // In the second epoch, and at all points but the first of a difference.
                    assert!(
                        saved * 3 * 2 >= without * layer,
                        "{name}, {part}: {saved} of {without}"
                    );
                } else {
                    assert!(saved > 0 || name == "forward gradient", "{name}, {part}");
                }
            }
        }
    }
}

#[test]
fn only_the_head_is_computed_again_if_only_the_head_is_trained() {
    let model = model(BERT);
    let params = params(&model);
    let trains: Vec<String> =
        params.paths().filter(|path| path.starts_with("classifier")).map(str::to_owned).collect();
    let cache = Arc::new(PrefixCache::new(&trains, u64::MAX));
    let batch = TokenBatch::pad(&examples(), 0);
    let keys: Vec<usize> = (0..11).collect();
    let objective = model.objective(&batch, None).unwrap().with_prefix(&cache, &keys).unwrap();
    let first = objective.loss(&params).unwrap();
    let (second, counts) = trace::record_ops(|| objective.loss(&params).unwrap());
    assert_eq!(first, second);
    assert!(!counts.primal.contains_key("attention"), "{counts:?}");
    let tokens: usize = examples().iter().map(|example| example.input_ids.len()).sum();
    assert_eq!(cache.bytes(), 4 * 16 * tokens as u64);
}

/// What is kept must not hide a derivative or a change before it.
#[test]
fn a_pass_that_moves_what_comes_before_is_computed_in_full() {
    let model = model(BERT);
    let params = params(&model);
    let part =
        |name: &str| params.subset(params.paths().filter(|path| path.contains(name))).unwrap();
    let trains: Vec<String> = part("layer.2.").paths().map(str::to_owned).collect();
    let cache = Arc::new(PrefixCache::new(&trains, u64::MAX));
    let batch = TokenBatch::pad(&examples(), 0);
    let keys: Vec<usize> = (0..11).collect();
    let plain = model.objective(&batch, None).unwrap();
    let cached = plain.clone().with_prefix(&cache, &keys).unwrap();
    cached.loss(&params).unwrap();
    assert!(cache.bytes() > 0);
    let directions = Directions::gaussian(1).all(&Seed::new(1), &part("layer.0.")).unwrap();
    let jvp = cached.jvp(&params, &directions).unwrap();
    assert_eq!(jvp, plain.jvp(&params, &directions).unwrap());
    assert_ne!(jvp.derivatives, [0.0]);
    let moved = spry_core::perturbation::Direction::stored(directions[0].clone());
    let moved = spry_core::DualParams::displaced(&params, &moved, 0.1).unwrap();
    assert_eq!(cached.loss_at(&moved).unwrap(), plain.loss_at(&moved).unwrap());
    let error = plain.with_prefix(&cache, &keys[..3]).unwrap_err().to_string();
    assert!(error.contains("11 texts, but 3 are named"), "{error}");
}

/// The composed rules compute padding, under a mask; the kernels do not.
#[test]
fn texts_without_padding_give_what_padded_ones_give() {
    for config in [BERT, ALBERT, LLAMA, OPT] {
        let model = model(config);
        let params = params(&model);
        let batch = TokenBatch::pad(&examples(), 0);
        let directions = Directions::gaussian(2).all(&Seed::new(1), &params).unwrap();
        let run = || model.objective(&batch, None).unwrap().jvp(&params, &directions).unwrap();
        let (packed, padded) = (run(), composed(run));
        assert!((packed.loss - padded.loss).abs() < 1e-5, "{packed:?}, {padded:?}");
        for (a, b) in packed.derivatives.iter().zip(&padded.derivatives) {
            assert!((a - b).abs() < 1e-4 * (1.0 + b.abs()), "{packed:?}, {padded:?}");
        }
    }
}

/// An example's loss does not depend on the batch that it is in: the same bits.
#[test]
fn an_example_does_not_see_its_batch() {
    let model = model(BERT);
    let params = params(&model);
    let logits = |texts: &[EncodedExample]| -> Vec<f32> {
        let batch = TokenBatch::pad(texts, 0);
        let objective = model.objective(&batch, None).unwrap();
        let constant = spry_core::DualParams::constant(&params);
        let logits = objective.logits(&constant).unwrap().into_primal();
        logits.into_data().try_to_vec().unwrap()
    };
    let all = logits(&examples());
    for (i, example) in examples().iter().enumerate() {
        assert_eq!(logits(std::slice::from_ref(example)), all[3 * i..3 * i + 3], "example {i}");
    }
}
