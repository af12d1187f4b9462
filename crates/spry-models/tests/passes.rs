//! What a pass through BERT does: tangent work, directions, dropout.

use std::sync::Arc;

use spry_core::estimators::{
    Backprop, EstimatorConfig, ForwardGradient, HeadEstimator, Spsa, Step,
};
use spry_core::perturbation::Directions;
use spry_core::spry_dual::ops::DropoutSeed;
use spry_core::spry_dual::trace;
use spry_core::{ClientData, Objective, ParamRole, ParamSet, Seed, Split};
use spry_data::{ClientShare, EncodedExample, Targets, TokenBatch};
use spry_models::{LoadOptions, LoraConfig, Model, Peft, PeftModel, TextClient};

fn model(layers: usize, lora: LoraConfig) -> PeftModel {
    let config = format!(
        r#"{{"model_type": "bert", "vocab_size": 50, "hidden_size": 16, "num_hidden_layers": {layers},
        "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 12}}"#
    );
    let options = LoadOptions { num_labels: Some(3), ..Default::default() };
    let model = Model::random(&config, &options).unwrap();
    PeftModel::new(Arc::new(model), Peft::Lora(lora)).unwrap()
}

fn batch() -> TokenBatch {
    let example = |ids: &[u32], label| EncodedExample {
        input_ids: ids.to_vec(),
        token_type_ids: vec![0; ids.len()],
        label,
    };
    TokenBatch::pad([&example(&[2, 10, 11, 3], 0), &example(&[2, 12, 3], 2)], 0)
}

/// Parameters with a nonzero `B`, so that the adapters matter.
fn params(model: &PeftModel) -> ParamSet {
    let params = model.trainable(&Seed::new(0)).unwrap();
    params.add_scaled(0.1, &direction(&Seed::new(5), 0, &params)).unwrap()
}

/// Gaussian direction `k` of a step.
fn direction(step: &Seed, k: usize, like: &ParamSet) -> ParamSet {
    Directions::gaussian(k + 1).all(step, like).unwrap().remove(k)
}

fn direction_of_layer(params: &ParamSet, layer: usize) -> ParamSet {
    let name = format!("layer.{layer}.");
    let own = params.subset(params.paths().filter(|path| path.contains(&name))).unwrap();
    direction(&Seed::new(1), 0, &own)
}

/// Counts tangent work when only the last layer is perturbed: it must not depend on how many
/// layers come before, and must be a fraction of what perturbing the first layer costs.
#[test]
fn layers_before_the_perturbed_one_do_no_tangent_work() {
    let work = |layers: usize, perturbed: usize| {
        let model = model(layers, LoraConfig::default());
        let params = params(&model);
        let objective = model.objective(&batch(), None).unwrap();
        let direction = direction_of_layer(&params, perturbed);
        let (_, counts) = trace::record_ops(|| objective.jvp(&params, &[direction]).unwrap());
        counts
    };
    let (two, six) = (work(2, 1), work(6, 5));
    assert_eq!(two.tangent, six.tangent, "earlier layers must not add tangent work");
    assert!(six.total_primal() > 2 * two.total_primal(), "they do add primal work");
    assert!(work(6, 0).total_tangent() > 4 * six.total_tangent());
    assert!(!six.tangent.contains_key("embedding"));
    // Two LoRA branches, five other linear layers of the last encoder layer behind or at them
    // (the query and value sums are `add`s), pooler and model.
    assert_eq!(six.tangent["attention"], 1);
    assert_eq!(six.tangent["layer_norm"], 2);
    assert_eq!(six.tangent["cross_entropy"], 1);
}

#[test]
fn k_directions_in_one_pass_equal_k_passes() {
    let model = model(2, LoraConfig::default());
    let params = params(&model);
    let objective = model.objective(&batch(), Some(DropoutSeed(1))).unwrap();
    let directions: Vec<ParamSet> = (0..4).map(|k| direction(&Seed::new(9), k, &params)).collect();
    let together = objective.jvp(&params, &directions).unwrap();
    for (direction, derivative) in directions.iter().zip(&together.derivatives) {
        let alone = objective.jvp(&params, std::slice::from_ref(direction)).unwrap();
        assert_eq!(alone.derivatives[0], *derivative);
        assert_eq!(alone.loss, together.loss);
    }
}

#[test]
fn gradient_and_directional_derivative_agree_under_dropout() {
    let lora = LoraConfig { r: 2, lora_dropout: 0.3, ..Default::default() };
    let model = model(2, lora);
    let params = params(&model);
    let trains: Vec<String> = params.paths().map(str::to_owned).collect();
    let objective = model.objective(&batch(), Some(DropoutSeed(3))).unwrap();
    let (_, gradient) = objective.gradient(&params, &trains).unwrap();
    for k in 0..3 {
        let direction = direction(&Seed::new(2), k, &params);
        let jvp = objective.jvp(&params, std::slice::from_ref(&direction)).unwrap();
        let expected = gradient.dot(&direction).unwrap();
        let error = (jvp.derivatives[0] - expected).abs();
        assert!(error < 1e-5 * (1.0 + expected.abs()), "{error}");
    }
}

/// `head_estimator = "backprop"` on a real model: the head's gradient is that of reverse mode
/// through the whole, also under dropout; the adapters' estimate is what it would be without a
/// head to train; and the encoder runs once.
#[test]
fn the_head_by_backpropagation_is_exact_and_costs_no_second_pass() {
    let lora = LoraConfig { r: 2, lora_dropout: 0.3, ..Default::default() };
    let model = model(2, lora);
    let params = params(&model);
    let objective = model.objective(&batch(), Some(DropoutSeed(3))).unwrap();
    let paths = |role| -> Vec<String> {
        let of_role = params.iter().filter(|(_, param)| param.role() == role);
        of_role.map(|(path, _)| path.to_string()).collect()
    };
    let (adapters, head) = (paths(ParamRole::Adapter), paths(ParamRole::Head));
    let all: Vec<String> = params.paths().map(str::to_owned).collect();
    let (exact_loss, exact) = objective.gradient(&params, &head).unwrap();
    let seed = Seed::new(4);
    let runs = |name, counts: &trace::OpCounts| counts.primal.get(name).copied().unwrap_or(0);
    for (estimator, encoder_passes) in [
        (EstimatorConfig::ForwardGradient(ForwardGradient::default()), 1),
        (EstimatorConfig::Backprop(Backprop {}), 1),
        // Both ends are elsewhere, so the features at the parameters need a pass.
        (EstimatorConfig::Spsa(Spsa::default()), 3),
    ] {
        let by_role = estimator.init(HeadEstimator::Backprop);
        let step = Step::new(&params, &all, &seed);
        let ((loss, gradient), counts) =
            trace::record_ops(|| by_role.gradient(&objective, &step).unwrap());
        assert!((loss - exact_loss).abs() < 1e-3, "{estimator:?}: {loss} against {exact_loss}");
        assert_eq!(gradient.len(), all.len());
        for path in &head {
            let actual = gradient.get(path).unwrap().to_vec();
            for (actual, expected) in actual.iter().zip(exact.get(path).unwrap().to_vec()) {
                assert!((actual - expected).abs() < 1e-6, "{path}: {actual} against {expected}");
            }
        }
        let alone = estimator.init(HeadEstimator::Same);
        let alone = alone.gradient(&objective, &Step { trains: &adapters, ..step }).unwrap().1;
        for (path, expected) in alone.iter() {
            assert_eq!(gradient.get(path).unwrap().to_vec(), expected.to_vec(), "{path}");
        }
        // BERT looks up its word embeddings and segments once per pass.
        assert_eq!(runs("embedding", &counts), 2 * encoder_passes, "{estimator:?}");
    }
}

#[test]
fn dropout_follows_its_seed_and_only_acts_in_training() {
    let model = model(2, LoraConfig { lora_dropout: 0.2, ..Default::default() });
    let params = params(&model);
    let loss = |dropout| model.objective(&batch(), dropout).unwrap().loss(&params).unwrap();
    assert_eq!(loss(Some(DropoutSeed(1))), loss(Some(DropoutSeed(1))));
    assert_ne!(loss(Some(DropoutSeed(1))), loss(Some(DropoutSeed(2))));
    assert_ne!(loss(None), loss(Some(DropoutSeed(1))));
    let evaluate =
        |dropout| model.objective(&batch(), dropout).unwrap().evaluate(&params).unwrap().loss();
    assert_eq!(evaluate(None), evaluate(Some(DropoutSeed(1))));
    assert!((evaluate(None) - loss(None)).abs() < 1e-6);
}

#[test]
fn padding_does_not_change_the_result() {
    let model = model(2, LoraConfig::default());
    let params = params(&model);
    let example = |ids: &[u32]| EncodedExample {
        input_ids: ids.to_vec(),
        token_type_ids: vec![0; ids.len()],
        label: 1,
    };
    let (short, long) = (example(&[2, 10, 3]), example(&[2, 4, 5, 6, 7, 8, 9, 3]));
    let sum = |examples: &[&EncodedExample]| {
        let batch = TokenBatch::pad(examples.iter().copied(), 0);
        model.objective(&batch, None).unwrap().evaluate(&params).unwrap().loss_sum
    };
    assert!((sum(&[&short, &long]) - (sum(&[&short]) + sum(&[&long]))).abs() < 1e-5);
}

#[test]
fn batches_that_do_not_fit_are_errors() {
    let model = model(1, LoraConfig::default());
    let fits = batch();
    type Spoil = fn(&mut TokenBatch);
    let cases: [(Spoil, &str); 4] = [
        (
            |batch| batch.targets = Targets::Classes(vec![3, 2]),
            "label 3 is outside of the head's 3 classes",
        ),
        (|batch| batch.input_ids[1] = 50, "token id 50 is outside of the vocabulary of 50"),
        (|batch| *batch = TokenBatch::pad([], 0), "it is empty"),
        (
            |batch| {
                let ids = EncodedExample {
                    input_ids: vec![1; 13],
                    token_type_ids: vec![0; 13],
                    label: 0,
                };
                *batch = TokenBatch::pad([&ids], 0);
            },
            "a text has 13 tokens, the model takes 12",
        ),
    ];
    for (spoil, expected) in cases {
        let mut batch = fits.clone();
        spoil(&mut batch);
        let error = model.objective(&batch, None).unwrap_err().to_string();
        assert!(error.contains(expected), "{error:?} does not contain {expected:?}");
    }
}

#[test]
fn a_client_that_is_asked_for_an_example_it_lacks_says_so() {
    let model = model(1, LoraConfig::default());
    let example = EncodedExample { input_ids: vec![2, 3], token_type_ids: vec![0, 0], label: 0 };
    let share = ClientShare { train: vec![0], test: vec![] };
    let client = TextClient::new(model, Arc::new(vec![example]), share, 0, false);
    assert!(client.objective(Split::Train, &[0], None).is_ok());
    assert!(client.objective(Split::Train, &[1], None).is_err());
    assert!(client.objective(Split::Test, &[0], None).is_err());
}
