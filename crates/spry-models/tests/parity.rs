//! BERT against PyTorch, transformers and peft, on the reference cases in `fixtures/`.
//!
//! Each case has a tiny random model, a batch, and for every trainable tensor its value, one
//! tangent and the true gradient, computed by PyTorch in f64.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{DType, Device, Tensor, TensorData};
use serde_json::Value;
use spry_core::{DualParams, GroupId, Objective, Param, ParamRole, ParamSet, Seed};
use spry_data::TokenBatch;
use spry_models::checkpoint::Checkpoint;
use spry_models::{Classifier, Ia3Config, LoadOptions, LoraConfig, Model, Peft};

const CASES: [&str; 5] = ["bert-lora", "bert-ia3", "bert-bitfit", "bert-head", "bert-full"];

struct Case {
    name: &'static str,
    classifier: Classifier,
    batch: TokenBatch,
    params: ParamSet,
    tangent: ParamSet,
    gradient: Vec<(String, Vec<f64>)>,
    logits: Vec<f64>,
    logits_tangent: Vec<f64>,
    loss: f64,
    jvp: f64,
}

fn fixture(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(case)
}

fn read_json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn peft(case: &str) -> Peft {
    let config = || read_json(&fixture(case).join("adapter_config.json"));
    let names = |value: &Value| -> Vec<String> { serde_json::from_value(value.clone()).unwrap() };
    match case.split_once('-').unwrap().1 {
        "lora" => Peft::Lora(LoraConfig {
            r: config()["r"].as_u64().unwrap() as usize,
            lora_alpha: config()["lora_alpha"].as_f64().unwrap(),
            lora_dropout: config()["lora_dropout"].as_f64().unwrap(),
            target_modules: names(&config()["target_modules"]),
        }),
        "ia3" => Peft::Ia3(Ia3Config {
            target_modules: names(&config()["target_modules"]),
            feedforward_modules: names(&config()["feedforward_modules"]),
        }),
        "bitfit" => Peft::BitFit,
        "head" => Peft::Head,
        "full" => Peft::Full,
        other => panic!("unknown method {other}"),
    }
}

/// Our path for one of peft's in-memory names.
fn path_of(name: &str) -> String {
    name.trim_start_matches("base_model.model.")
        .replace(".modules_to_save.default", "")
        .replace(".default", "")
}

fn load(name: &'static str, dtype: DType) -> Case {
    let folder = fixture(name);
    let options = LoadOptions { dtype, ..Default::default() };
    let model = Model::load(&folder, &options).unwrap();
    let classifier = Classifier::new(Arc::new(model), peft(name)).unwrap();
    let mut file = Checkpoint::open(&folder.join("case.safetensors")).unwrap();
    let json = read_json(&folder.join("case.json"));
    let names: Vec<String> = serde_json::from_value(json["trainable"].clone()).unwrap();

    let shape = file.shape("input.input_ids").unwrap().to_vec();
    let mask = file.read_integers("input.attention_mask").unwrap();
    let batch = TokenBatch {
        batch: shape[0],
        seq: shape[1],
        input_ids: file.read_integers("input.input_ids").unwrap(),
        token_type_ids: file.read_integers("input.token_type_ids").unwrap(),
        attention_mask: mask.into_iter().map(|value| value as f32).collect(),
        labels: file.read_integers("input.labels").unwrap(),
    };
    let mut read = |prefix: &str, name: &str| file.read(&format!("{prefix}{name}")).unwrap();
    let vector = |data: TensorData| data.convert::<f64>().try_to_vec::<f64>().unwrap();
    let to_param = |data: TensorData| {
        let options = (&Device::default(), dtype);
        match data.shape().num_dims() {
            1 => Param::new(Tensor::<1>::from_data(data, options), ParamRole::Adapter, GroupId(0)),
            _ => Param::new(Tensor::<2>::from_data(data, options), ParamRole::Adapter, GroupId(0)),
        }
    };
    let params = names.iter().map(|n| (path_of(n), to_param(read("param.", n)))).collect();
    let tangent = names.iter().map(|n| (path_of(n), to_param(read("tangent.", n)))).collect();
    let gradient = names.iter().map(|n| (path_of(n), vector(read("grad.", n)))).collect();
    Case {
        name,
        batch,
        params,
        tangent,
        gradient,
        logits: vector(read("", "expected.logits")),
        logits_tangent: vector(read("", "expected.logits_tangent")),
        loss: json["loss"].as_f64().unwrap(),
        jvp: json["jvp"].as_f64().unwrap(),
        classifier,
    }
}

/// Largest difference, relative to the largest expected value (or to `scale`, if that is 0).
fn relative_error(got: &[f64], expected: &[f64], scale: f64) -> f64 {
    assert_eq!(got.len(), expected.len());
    let largest = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max);
    let difference = largest(&mut got.iter().zip(expected).map(|(g, e)| (g - e).abs()));
    let reference = largest(&mut expected.iter().map(|e| e.abs()));
    // Some gradients vanish exactly (a key's bias shifts all scores alike); PyTorch gives 1e-18.
    difference / if reference < 1e-12 { scale } else { reference }
}

impl Case {
    /// Name and relative error of everything the case pins.
    fn errors(&self) -> Vec<(String, f64)> {
        let objective = self.classifier.objective(&self.batch, None).unwrap();
        // Trainable parameters of ours that the case does not train stay at the model's values.
        let mut params = self.classifier.trainable(&Seed::new(0)).unwrap();
        params.assign(&self.params).unwrap();
        let trains: Vec<String> = self.params.paths().map(str::to_owned).collect();
        let mut errors = Vec::new();

        let directions = [self.tangent.clone()];
        let duals = DualParams::perturbed(&params, &directions).unwrap();
        let logits = objective.logits(&duals).unwrap();
        let vector =
            |tensor: Tensor<2>| tensor.into_data().convert::<f64>().try_to_vec::<f64>().unwrap();
        let tangent = vector(logits.tangents().direction(0, logits.primal()));
        let values = vector(logits.primal().clone());
        errors.push(("logits".to_string(), relative_error(&values, &self.logits, 1.0)));
        let error = relative_error(&tangent, &self.logits_tangent, 1.0);
        errors.push(("logits tangent".to_string(), error));

        let jvp = objective.jvp(&params, &directions).unwrap();
        errors.push(("jvp".to_string(), relative_error(&jvp.derivatives, &[self.jvp], 1.0)));
        errors.push(("loss".to_string(), relative_error(&[jvp.loss], &[self.loss], 1.0)));

        let (loss, gradient) = objective.gradient(&params, &trains).unwrap();
        errors.push(("loss (backprop)".to_string(), relative_error(&[loss], &[self.loss], 1.0)));
        let values = |expected: &[f64]| expected.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
        let scale = self.gradient.iter().map(|(_, expected)| values(expected)).fold(0.0, f64::max);
        for (path, expected) in &self.gradient {
            let got = gradient.get(path).unwrap().to_vec();
            errors.push((format!("gradient of {path}"), relative_error(&got, expected, scale)));
        }
        errors
    }
}

fn check(dtype: DType, tolerance: f64) {
    for name in CASES {
        let case = load(name, dtype);
        let errors = case.errors();
        let (what, worst) = errors.iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
        println!("{} {dtype:?}: worst relative error {worst:.1e} ({what})", case.name);
        for (what, error) in &errors {
            assert!(*error < tolerance, "{}: {what} is off by {error:e}", case.name);
        }
    }
}

#[test]
fn matches_pytorch_in_f32() {
    check(DType::F32, 2e-5);
}

#[test]
fn matches_pytorch_in_f64() {
    check(DType::F64, 1e-12);
}

/// The paths our methods train are those of the reference, apart from BitFit, where we train the
/// head's weight too.
#[test]
fn trainable_paths_are_pefts() {
    for name in CASES {
        let case = load(name, DType::F32);
        let ours = case.classifier.trainable(&Seed::new(0)).unwrap();
        let extra: Vec<&str> = ours.paths().filter(|path| !case.params.contains(path)).collect();
        let expected: &[&str] = if name == "bert-bitfit" { &["classifier.weight"] } else { &[] };
        assert_eq!(extra, expected, "{name}");
        for (path, param) in case.params.iter() {
            assert_eq!(ours.get(path).unwrap().shape(), param.shape(), "{name}: {path}");
        }
    }
}
