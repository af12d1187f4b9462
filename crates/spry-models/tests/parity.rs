//! BERT against PyTorch, transformers and peft, on the reference cases in `fixtures/`.
//!
//! Each case has a tiny random model, a batch, and for every trainable tensor its value, one
//! tangent and the true gradient, computed by PyTorch in f64.

use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device};
use spry_core::Seed;
use spry_models::case::Case;

const CASES: [&str; 5] = ["bert-lora", "bert-ia3", "bert-bitfit", "bert-head", "bert-full"];

fn fixture(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(case)
}

fn load(name: &str, dtype: DType) -> Case {
    Case::load(&fixture(name), &Device::default(), dtype).unwrap()
}

fn check(dtype: DType, tolerance: f64) {
    for name in CASES {
        let deviations = load(name, dtype).deviations().unwrap();
        // Logits, their tangent, jvp, loss twice, and at least one gradient.
        assert!(deviations.len() >= 6, "{name}: {deviations:?}");
        let worst = deviations.iter().max_by(|a, b| a.relative_error.total_cmp(&b.relative_error));
        println!("{name} {dtype:?}: {worst:?}");
        for deviation in &deviations {
            assert!(deviation.relative_error < tolerance, "{name}: {deviation:?}");
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
        let ours = case.classifier().trainable(&Seed::new(0)).unwrap();
        let extra: Vec<&str> = ours.paths().filter(|path| !case.params().contains(path)).collect();
        let expected: &[&str] = if name == "bert-bitfit" { &["classifier.weight"] } else { &[] };
        assert_eq!(extra, expected, "{name}");
        for (path, param) in case.params().iter() {
            assert_eq!(ours.get(path).unwrap().shape(), param.shape(), "{name}: {path}");
        }
    }
}
