//! The `config.json` of a model that is written for Python.

use spry_data::Task;

use crate::architecture::ModelSpec;
use crate::{Error, Result, config};

/// What a model is exported with.
#[derive(Clone, Debug)]
pub struct ExportedConfig<'a> {
    /// What the head is for.
    pub task: Task,
    /// Names of a classifier's classes, in the order of the rows of the head that is written
    /// beside it. Without them the configuration keeps its own.
    pub classes: Option<&'a [String]>,
    /// The token that batches were padded with. A family that [classifies a text by its last
    /// token](ModelSpec::pools_last_token) gets it as its padding token, whatever it named before:
    /// with another one, Python would take padding for text, or text for padding. For the other
    /// families it says nothing, or which positions there are, and stays as it is.
    pub pad_token_id: u32,
    /// Whether the weights beside it are f32, as [`Model::save`](crate::Model::save) writes them;
    /// otherwise they are the checkpoint's own.
    pub is_f32: bool,
}

impl ExportedConfig<'_> {
    /// The text of a `config.json` for the same model with the head of a task, as `from_pretrained`
    /// of the class for it reads it.
    ///
    /// # Errors
    ///
    /// If the configuration is not supported.
    pub fn of(&self, config: &str) -> Result<String> {
        let unusable =
            |reason: String| Error::Config { location: "the configuration".to_string(), reason };
        let mut json = config::object(config).map_err(unusable)?;
        let model_type = json.get("model_type").and_then(|value| value.as_str());
        let spec = ModelSpec::find(model_type.unwrap_or_default())?;
        // The type of problem would choose another loss.
        json.remove("problem_type");
        let is_classifier = self.task == Task::SequenceClassification;
        // The number is that of the names; a second one could contradict it.
        let outdated: &[&str] = match is_classifier && self.classes.is_none() {
            true => &[],
            false => &["num_labels", "_num_labels", "id2label", "label2id"],
        };
        outdated.iter().for_each(|key| drop(json.remove(*key)));
        if let Some(classes) = self.classes.filter(|_| is_classifier) {
            let classes = || classes.iter().enumerate();
            let by_number = classes().map(|(id, name)| (id.to_string(), name.as_str()));
            let by_name = classes().map(|(id, name)| (name.clone(), id));
            json.insert("id2label".to_string(), by_number.collect());
            json.insert("label2id".to_string(), by_name.collect());
        }
        if spec.pools_last_token {
            json.insert("pad_token_id".to_string(), self.pad_token_id.into());
        }
        if self.is_f32 {
            for key in ["dtype", "torch_dtype"] {
                if let Some(dtype) = json.get_mut(key) {
                    *dtype = "float32".into();
                }
            }
        }
        json.insert("architectures".to_string(), vec![spec.class(self.task)?].into());
        let text =
            serde_json::to_string_pretty(&json).map_err(|error| unusable(error.to_string()))?;
        Ok(text + "\n")
    }
}
