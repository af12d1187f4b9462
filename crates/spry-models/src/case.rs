//! Reference cases: what PyTorch computes for a model, to check a port against.
//!
//! A case is a Hugging Face model directory with, where there is one, a peft adapter, and two more
//! files: `case.json` with the loss, the jvp and the names of the trainable tensors, and
//! `case.safetensors` with the batch (`input.*`), for every trainable tensor its value (`param.*`),
//! one direction (`tangent.*`) and the gradient (`grad.*`), and `expected.logits` and
//! `expected.logits_tangent`. Names are those of peft in memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{DType, Device, Tensor};
use serde::Deserialize;
use spry_core::{DualParams, Objective, Param, ParamSet, Seed};
use spry_data::{Targets, Task, TokenBatch};

use crate::checkpoint::{self, Checkpoint};
use crate::peft::adapter;
use crate::{Error, LoadOptions, Model, Peft, PeftModel, Result};

/// A reference case, loaded.
#[derive(Debug)]
pub struct Case {
    folder: PathBuf,
    model: PeftModel,
    batch: TokenBatch,
    /// The trainable parameters of the case.
    params: ParamSet,
    tangent: ParamSet,
    expected: Expected,
}

#[derive(Debug)]
struct Expected {
    loss: f64,
    jvp: f64,
    logits: Vec<f64>,
    logits_tangent: Vec<f64>,
    gradient: Vec<(String, Vec<f64>)>,
}

/// `case.json`, as far as it is used.
#[derive(Deserialize)]
struct CaseFile {
    #[serde(default)]
    task: CaseTask,
    /// Whether the model was given the segments of the tokens.
    uses_segments: Option<bool>,
    peft: String,
    loss: f64,
    jvp: f64,
    trainable: Vec<String>,
}

/// How far one quantity is off: the largest difference, relative to the largest expected value.
#[derive(Clone, Debug, PartialEq)]
pub struct Deviation {
    /// What was compared.
    pub quantity: String,
    /// The relative error.
    pub relative_error: f64,
}

/// The task of a case.
#[derive(Clone, Copy, Default, Deserialize)]
enum CaseTask {
    #[default]
    #[serde(rename = "seqcls")]
    SequenceClassification,
    #[serde(rename = "qa")]
    QuestionAnswering,
}

impl Case {
    /// Loads a case, with the model's weights in the given data type.
    ///
    /// # Errors
    ///
    /// If a file is missing or damaged, or the model, the finetuning method or the task is not
    /// supported.
    pub fn load(folder: &Path, device: &Device, dtype: DType) -> Result<Self> {
        let path = folder.join("case.json");
        let text = crate::read::text(&path)?;
        let unusable =
            |reason: String| Error::Config { location: path.display().to_string(), reason };
        let case: CaseFile =
            serde_json::from_str(&text).map_err(|error| unusable(error.to_string()))?;
        let peft = match case.peft.as_str() {
            "lora" | "ia3" => adapter::read_config(folder)?,
            "bitfit" => Peft::BitFit,
            "head" => Peft::Head,
            "full" => Peft::Full,
            other => {
                let supported = "supported: lora, ia3, bitfit, head, full";
                return Err(unusable(format!("`peft` = {other} is not supported; {supported}")));
            }
        };
        let task = match case.task {
            CaseTask::SequenceClassification => Task::SequenceClassification,
            CaseTask::QuestionAnswering => Task::QuestionAnswering,
        };
        let options = LoadOptions { device: device.clone(), dtype, task, ..Default::default() };
        let model = Arc::new(Model::load(folder, &options)?);
        let model = PeftModel::new(model, peft)?;
        let trainable = model.trainable(&Seed::new(0))?;

        let file = Checkpoint::open(&folder.join("case.safetensors"))?;
        // peft's model for question answering does not hand segment ids on to the model in it.
        let is_wrapped = case.trainable.iter().any(|name| name.starts_with(WRAPPED));
        let uses_segments = task != Task::QuestionAnswering || !is_wrapped;
        let batch = read_batch(&file, task, case.uses_segments.unwrap_or(uses_segments))?;
        let set = |prefix: &str| -> Result<ParamSet> {
            let read = |name: &String| {
                let path = path_of(name);
                let unknown = |_| Error::UnknownWeight { path: path.clone() };
                let like = trainable.get(&path).map_err(unknown)?;
                let tensor = format!("{prefix}{name}");
                let got = file.shape(&tensor).unwrap_or_default().to_vec();
                if got != like.shape() {
                    let expected = like.shape().to_vec();
                    return Err(Error::Misshapen { name: tensor, got, expected, hint: "" });
                }
                let flat = checkpoint::flat(file.read(&tensor)?, (device, dtype));
                Ok((path, Param::from_flat(flat, got, like.role(), like.group())))
            };
            case.trainable.iter().map(read).collect()
        };
        let (params, tangent) = (set("param.")?, set("tangent.")?);
        let vector = |name: &str| Ok::<_, Error>(checkpoint::to_vec(file.read(name)?));
        let gradient = |name: &String| Ok((path_of(name), vector(&format!("grad.{name}"))?));
        let gradient = case.trainable.iter().map(gradient).collect::<Result<_>>()?;
        let expected = Expected {
            loss: case.loss,
            jvp: case.jvp,
            logits: vector("expected.logits")?,
            logits_tangent: vector("expected.logits_tangent")?,
            gradient,
        };
        Ok(Self { folder: folder.to_path_buf(), model, batch, params, tangent, expected })
    }

    /// The model with its finetuning method.
    pub fn model(&self) -> &PeftModel {
        &self.model
    }

    /// Its batch.
    pub fn batch(&self) -> &TokenBatch {
        &self.batch
    }

    /// The trainable parameters of the case, with its values.
    pub fn params(&self) -> &ParamSet {
        &self.params
    }

    /// Computes logits, loss, jvp, logits tangent and gradient, and how far each is off.
    ///
    /// # Errors
    ///
    /// What the model reports, and [`Error::Batch`] if the file's sizes do not belong together.
    pub fn deviations(&self) -> spry_core::Result<Vec<Deviation>> {
        let objective = self.model.objective(&self.batch, None)?;
        // Trainable parameters that the case does not train stay at the model's values.
        let mut params = self.model.trainable(&Seed::new(0))?;
        params.assign(&self.params)?;
        let trains: Vec<String> = self.params.paths().map(str::to_owned).collect();
        let directions = [self.tangent.clone()];
        let mut deviations = Vec::new();
        let mut compare = |quantity: &str, got: &[f64], expected: &[f64], scale: f64| {
            let relative_error = self.relative_error(quantity, got, expected, scale)?;
            deviations.push(Deviation { quantity: quantity.to_string(), relative_error });
            Ok::<(), Error>(())
        };
        let expected = &self.expected;

        let logits = objective.logits(&DualParams::perturbed(&params, &directions)?)?;
        let vector = |tensor: Tensor<2>| checkpoint::to_vec(tensor.into_data());
        let tangent = vector(logits.tangents().direction(0, logits.primal()));
        compare("logits", &vector(logits.primal().clone()), &expected.logits, 1.0)?;
        compare("logits tangent", &tangent, &expected.logits_tangent, 1.0)?;

        let jvp = objective.jvp(&params, &directions)?;
        compare("jvp", &jvp.derivatives, &[expected.jvp], 1.0)?;
        compare("loss", &[jvp.loss], &[expected.loss], 1.0)?;

        let (loss, gradient) = objective.gradient(&params, &trains)?;
        compare("loss (backprop)", &[loss], &[expected.loss], 1.0)?;
        let scale =
            largest(expected.gradient.iter().flat_map(|(_, values)| values.iter().copied()));
        for (path, values) in &expected.gradient {
            let got = gradient.get(path)?.to_vec();
            compare(&format!("gradient of {path}"), &got, values, scale)?;
        }
        Ok(deviations)
    }

    /// Largest difference, relative to the largest expected value, or to `scale` if that is next to
    /// nothing.
    fn relative_error(
        &self,
        quantity: &str,
        got: &[f64],
        expected: &[f64],
        scale: f64,
    ) -> Result<f64> {
        if got.len() != expected.len() {
            return Err(Error::Config {
                location: self.folder.display().to_string(),
                reason: format!(
                    "{quantity}: the case expects {} values, the model gives {}",
                    expected.len(),
                    got.len()
                ),
            });
        }
        let differences = got.iter().zip(expected).map(|(got, expected)| got - expected);
        let (difference, reference) = (largest(differences), largest(expected.iter().copied()));
        // Some gradients vanish exactly (a key's bias shifts all scores alike); PyTorch gives noise.
        Ok(difference / if reference < NEGLIGIBLE * scale { scale } else { reference })
    }
}

/// Expected values below this share of the scale are noise of single precision.
const NEGLIGIBLE: f64 = 1e-6;

/// The largest magnitude; NaN if there is one, which `f64::max` would ignore.
fn largest(values: impl Iterator<Item = f64>) -> f64 {
    values
        .map(f64::abs)
        .fold(0.0, |a: f64, b| if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) })
}

/// What the names of a model in peft's wrapper begin with.
const WRAPPED: &str = "base_model.model.";

/// Our path for one of peft's in-memory names.
fn path_of(name: &str) -> String {
    name.strip_prefix(WRAPPED)
        .unwrap_or(name)
        .replace(".modules_to_save.default", "")
        .replace(".default", "")
}

fn read_batch(file: &Checkpoint, task: Task, uses_segments: bool) -> Result<TokenBatch> {
    let path = file.path().to_path_buf();
    let shape = file.shape("input.input_ids").unwrap_or_default().to_vec();
    let misfit = |reason: String| Error::Checkpoint { path: path.clone(), reason };
    let [batch, seq] = shape[..] else {
        return Err(misfit(format!("`input.input_ids` has shape {shape:?}, not [batch, seq]")));
    };
    let integers = |name: &str, length: usize| {
        let values = file.read_integers(name)?;
        match values.len() == length {
            true => Ok(values),
            false => Err(misfit(format!("`{name}` has {} values, not {length}", values.len()))),
        }
    };
    let input_ids = integers("input.input_ids", batch * seq)?;
    let attention_mask = integers("input.attention_mask", batch * seq)?;
    let targets = match task {
        Task::SequenceClassification => Targets::Classes(integers("input.labels", batch)?),
        Task::QuestionAnswering => {
            let starts = integers("input.start_positions", batch)?;
            let ends = integers("input.end_positions", batch)?;
            Targets::Spans(starts.into_iter().zip(ends).map(|(start, end)| [start, end]).collect())
        }
    };
    // Models with a single segment have no segment ids.
    let token_type_ids = match file.contains("input.token_type_ids") && uses_segments {
        true => integers("input.token_type_ids", batch * seq)?,
        false => vec![0; batch * seq],
    };
    let attention_mask = attention_mask.into_iter().map(|value| value as f32).collect();
    Ok(TokenBatch { batch, seq, input_ids, token_type_ids, attention_mask, targets })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nan_anywhere_shows() {
        for place in 0..3 {
            let mut values = [1.0, -2.0, 3.0];
            assert_eq!(largest(values.into_iter()), 3.0);
            values[place] = f64::NAN;
            assert!(largest(values.into_iter()).is_nan(), "{place}");
        }
    }
}
