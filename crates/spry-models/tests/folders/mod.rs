//! Model folders for tests: those of the reference cases, changed.
#![allow(dead_code)] // Not every test uses all of it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Map, Value};
use spry_models::checkpoint::Checkpoint;

/// A tensor to write: name, type, shape, bytes.
pub type Stored = (String, Dtype, Vec<usize>, Vec<u8>);

/// The folder of a reference case.
pub fn fixture(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(case)
}

/// A tensor of `f32`.
pub fn single(name: &str, shape: &[usize], values: &[f32]) -> Stored {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    (name.to_string(), Dtype::F32, shape.to_vec(), bytes)
}

/// The tensors of a case's model, or of its adapter.
pub fn tensors(case: &str, file: &str) -> Vec<Stored> {
    let file = Checkpoint::open(&fixture(case).join(file)).unwrap();
    let mut names: Vec<String> = file.names().map(str::to_owned).collect();
    names.sort();
    let stored = |name: &String| {
        let data = file.read(name).unwrap();
        single(name, &data.shape().to_vec(), &data.try_to_vec::<f32>().unwrap())
    };
    names.iter().map(stored).collect()
}

/// Writes a safetensors file.
pub fn write(path: &Path, tensors: &[Stored]) {
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        (name.clone(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    let bytes = safetensors::serialize(views, None::<HashMap<String, String>>).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// A copy of a case's model with some keys of its configuration set, or with `null` as they are.
pub fn model_with(case: &str, keys: Value) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("model.safetensors"), &tensors(case, "model.safetensors"));
    std::fs::write(folder.path().join("config.json"), config_with(case, keys)).unwrap();
    folder
}

/// A case's `config.json` with some keys set.
pub fn config_with(case: &str, keys: Value) -> String {
    let text = std::fs::read_to_string(fixture(case).join("config.json")).unwrap();
    let mut json: Map<String, Value> = serde_json::from_str(&text).unwrap();
    json.extend(keys.as_object().cloned().unwrap_or_default());
    serde_json::to_string(&json).unwrap()
}
