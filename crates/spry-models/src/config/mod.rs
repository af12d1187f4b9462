//! What the families' configurations have in common, as in Hugging Face's `config.json`.

pub mod keys;
pub mod labels;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer};
use serde_json::Value;
use spry_data::guard::sayable;
use spry_dual::ops;

use crate::budget::MAX_LAYERS;

/// The keys and values of a `config.json`. Of a key that is there twice the last value counts, as in
/// Python.
pub type Object = serde_json::Map<String, Value>;

/// An activation function; names as in Hugging Face's `ACT2FN`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Activation {
    /// Exact GELU.
    #[default]
    #[serde(rename = "gelu", alias = "gelu_python")]
    Gelu,
    /// GELU's tanh approximation.
    #[serde(
        rename = "gelu_new",
        alias = "gelu_pytorch_tanh",
        alias = "gelu_fast",
        alias = "gelu_python_tanh",
        alias = "gelu_accurate"
    )]
    GeluTanh,
    /// ReLU.
    #[serde(rename = "relu")]
    Relu,
    /// SiLU, also called swish.
    #[serde(rename = "silu", alias = "swish")]
    Silu,
}

impl Activation {
    /// The operation behind the name.
    pub fn op(self) -> ops::Activation {
        match self {
            Self::Gelu => ops::Activation::Gelu,
            Self::GeluTanh => ops::Activation::GeluTanh,
            Self::Relu => ops::Activation::Relu,
            Self::Silu => ops::Activation::Silu,
        }
    }
}

/// Far above any real size; keeps a damaged file from asking for all memory there is.
const LARGEST_SIZE: usize = 1 << 24;

/// Reads the text of a `config.json`.
pub(crate) fn object(json: &str) -> Result<Object, String> {
    match serde_json::from_str(json) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err("it is no table of keys and values".to_string()),
        Err(error) => Err(sayable(&error.to_string())),
    }
}

/// Reads the keys of one structure.
pub(crate) fn read<T: DeserializeOwned>(json: &Object) -> Result<T, String> {
    serde_path_to_error::deserialize(Value::Object(json.clone())).map_err(|error| {
        let path = error.path().to_string();
        let reason = sayable(&error.into_inner().to_string());
        // Of a key that is missing there is no path.
        if path == "." { reason } else { format!("`{}`: {reason}", sayable(&path)) }
    })
}

/// Reads `null` as what is meant where the key is absent.
pub(crate) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Gives keys that stand for others their names; fails if both are there and differ.
pub(crate) fn rename(json: &Object, names: &[(&str, &str)]) -> Result<Object, String> {
    let mut renamed = json.clone();
    for (alias, name) in names {
        let Some(value) = renamed.remove(*alias) else { continue };
        match renamed.get(*name) {
            Some(other) if *other != value => {
                let (value, other) = (sayable(&value.to_string()), sayable(&other.to_string()));
                return Err(format!(
                    "`{alias}` = {value} contradicts `{name}` = {other}; they are one option"
                ));
            }
            _ => renamed.insert(name.to_string(), value),
        };
    }
    Ok(renamed)
}

/// Fails unless there is at least one layer, and no more than are ever stacked.
pub(crate) fn check_layers(key: &str, layers: Option<usize>) -> Result<(), String> {
    match layers {
        Some(1..=MAX_LAYERS) => Ok(()),
        Some(0) => Err(format!("`{key}` is 0, but must be at least 1")),
        Some(layers) => Err(format!("`{key}` is {layers}, but must be at most {MAX_LAYERS}")),
        None => Err(format!("`{key}` must be at most {MAX_LAYERS}")),
    }
}

/// Fails unless all sizes are at least 1 and none is absurd.
pub(crate) fn check_sizes(sizes: &[(&str, usize)]) -> Result<(), String> {
    if let Some((name, _)) = sizes.iter().find(|(_, size)| *size == 0) {
        return Err(format!("`{name}` is 0, but must be at least 1"));
    }
    match sizes.iter().find(|(_, size)| *size > LARGEST_SIZE) {
        Some((name, size)) => {
            Err(format!("`{name}` is {size}, but must be at most {LARGEST_SIZE}"))
        }
        None => Ok(()),
    }
}

/// Fails unless one size is a multiple of another.
pub(crate) fn check_multiple(
    (name, size): (&str, usize),
    (divisor_name, divisor): (&str, usize),
) -> Result<(), String> {
    match size.is_multiple_of(divisor) {
        true => Ok(()),
        false => {
            Err(format!("`{name}` = {size} is not a multiple of `{divisor_name}` = {divisor}"))
        }
    }
}

/// Fails unless all numbers are at least 0.
pub(crate) fn check_not_negative(numbers: &[(&str, f64)]) -> Result<(), String> {
    match numbers.iter().find(|(_, number)| !(*number >= 0.0 && number.is_finite())) {
        Some((name, number)) => Err(format!("`{name}` is {number}, but must be at least 0")),
        None => Ok(()),
    }
}

/// Fails unless all numbers can be probabilities of dropout.
pub(crate) fn check_dropouts(probabilities: &[(&str, f64)]) -> Result<(), String> {
    match probabilities.iter().find(|(_, probability)| !(0.0..1.0).contains(probability)) {
        Some((name, probability)) => {
            Err(format!("`{name}` is {probability}, but must be in [0, 1)"))
        }
        None => Ok(()),
    }
}

pub(crate) fn one() -> usize {
    1
}

pub(crate) fn two() -> usize {
    2
}

pub(crate) fn one_tenth() -> f64 {
    0.1
}

pub(crate) fn two_hundredths() -> f64 {
    0.02
}

pub(crate) fn yes() -> bool {
    true
}
