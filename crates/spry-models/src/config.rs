//! What the families' configurations have in common, as in Hugging Face's `config.json`.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use spry_dual::ops;

/// An activation function; names as in Hugging Face's `ACT2FN`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Activation {
    /// Exact GELU.
    #[default]
    #[serde(rename = "gelu")]
    Gelu,
    /// GELU's tanh approximation.
    #[serde(rename = "gelu_new", alias = "gelu_pytorch_tanh", alias = "gelu_fast")]
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

/// Reads the keys of one structure.
pub(crate) fn read<T: DeserializeOwned>(json: &str) -> Result<T, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
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

/// Fails for an option with another value than the only one that is supported.
pub(crate) fn check_only(key: &str, got: &str, supported: &str) -> Result<(), String> {
    match got == supported {
        true => Ok(()),
        false => Err(format!("`{key}` = {got} is not supported; supported: {supported}")),
    }
}

/// The number of classes that a configuration names; 2 if it does not say.
pub(crate) fn num_labels(json: &str) -> Result<usize, String> {
    #[derive(Deserialize)]
    struct Labels {
        id2label: Option<std::collections::HashMap<String, String>>,
        num_labels: Option<usize>,
    }
    let labels: Labels = read(json)?;
    let named = labels.id2label.map(|labels| labels.len());
    match labels.num_labels.or(named).unwrap_or(2) {
        0 => Err("it has no labels, but a classifier needs at least one".to_string()),
        count => Ok(count),
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
