//! All families against PyTorch, transformers and peft, on the reference cases in `fixtures/`.
//!
//! Each case has a tiny random model, a batch, and for every trainable tensor its value, one
//! tangent and the true gradient, computed by PyTorch in f64.

use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device};
use spry_core::Seed;
use spry_models::Peft;
use spry_models::architecture::SPECS;
use spry_models::case::Case;

/// Cases in which transformers went down to f32 for softmax, norms or angles.
const IN_PART_F32: [&str; 8] = [
    "llama-head",
    "llama-ia3",
    "llama-lora",
    "opt-bitfit",
    "opt-head",
    "opt-ia3",
    "opt-lora",
    "opt-lora-qa",
];

/// All folders of `fixtures/`, by name.
fn cases() -> Vec<(String, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut cases: Vec<(String, PathBuf)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().join("case.json").is_file())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
        .collect();
    cases.sort();
    assert!(cases.len() >= 47, "{}", cases.len());
    cases
}

fn load(folder: &Path, dtype: DType) -> Case {
    Case::load(folder, &Device::default(), dtype).unwrap()
}

fn check(dtype: DType, tolerance: impl Fn(&str) -> f64) {
    for (name, folder) in cases() {
        let deviations = load(&folder, dtype).deviations().unwrap();
        // Logits, their tangent, jvp, loss twice, and at least one gradient.
        assert!(deviations.len() >= 6, "{name}: {deviations:?}");
        let worst = deviations.iter().max_by(|a, b| a.relative_error.total_cmp(&b.relative_error));
        let worst = worst.unwrap();
        println!("{name} {dtype:?}: {:.1e} in {}", worst.relative_error, worst.quantity);
        assert!(worst.relative_error < tolerance(&name), "{name}: {worst:?}");
    }
}

#[test]
fn matches_pytorch_in_f32() {
    check(DType::F32, |_| 2e-5);
}

#[test]
fn matches_pytorch_in_f64() {
    check(DType::F64, |name| if IN_PART_F32.contains(&name) { 2e-5 } else { 1e-11 });
}

/// The paths our methods train are those of the reference, apart from BitFit, where we train the
/// head's weight too.
#[test]
fn trainable_paths_are_pefts() {
    for (name, folder) in cases() {
        let case = load(&folder, DType::F32);
        let ours = case.model().trainable(&Seed::new(0)).unwrap();
        let is_head = |path: &&str| {
            let heads = case.model().model().spec().head_modules;
            heads.iter().any(|module| path.starts_with(module)) && path.ends_with("weight")
        };
        let is_extra = |path: &&str| !case.params().contains(path);
        let extra: Vec<&str> = ours.paths().filter(is_extra).collect();
        match case.model().peft() {
            Peft::BitFit => assert!(!extra.is_empty() && extra.iter().all(is_head), "{extra:?}"),
            _ => assert_eq!(extra, [""; 0], "{name}"),
        }
        for (path, param) in case.params().iter() {
            assert_eq!(ours.get(path).unwrap().shape(), param.shape(), "{name}: {path}");
        }
    }
}

/// Every family has cases for each task that it has a head for.
#[test]
fn every_family_is_covered() {
    let cases: Vec<Case> = cases().iter().map(|(_, folder)| load(folder, DType::F32)).collect();
    for spec in SPECS {
        for task in [spry_data::Task::SequenceClassification, spry_data::Task::QuestionAnswering] {
            let is_of = |case: &&Case| {
                let model = case.model().model();
                model.spec().model_type == spec.model_type && model.task() == task
            };
            let count = cases.iter().filter(is_of).count();
            assert_eq!(count > 0, spec.class(task).is_ok(), "{} {task}: {count}", spec.model_type);
        }
    }
}
