//! Whether what a run is made of works and belongs together: device, tokenizer and model, adapter and
//! model. What does not is found here, before the first round.

use std::path::Path;

use burn::tensor::Device;
use spry_data::guard;
use spry_models::Model;
use spry_models::architecture::Limits;
use spry_models::peft::adapter;
use tracing::{info, warn};

use crate::{Error, Result};

/// The device with a name, once it has computed something. A GPU's backend panics where there is no
/// GPU or no driver for it, which becomes an error here.
///
/// # Errors
///
/// If this build has no such device, or it does not work.
pub fn open_device(name: &str) -> spry_core::Result<Device> {
    let device = guard::catch_panics(|| {
        let device = spry_core::device::parse(name)?;
        spry_core::device::probe(&device)?;
        Ok(device)
    });
    device.unwrap_or_else(|reason| {
        Err(spry_core::Error::InvalidOption {
            option: "device",
            got: format!("`{name}`, which does not work here ({reason})"),
            expected: "a device of this machine; `flex` is on all".to_string(),
        })
    })
}

/// The model for batches padded with the tokenizer's token.
pub(crate) fn with_padding(model: Model, pad_id: u32) -> Result<Model> {
    let vocabulary = model.architecture().limits().vocab_size;
    if pad_id as usize >= vocabulary {
        return Err(Error::Input(format!(
            "the tokenizer pads with token {pad_id}, the model knows tokens below {vocabulary}; is \
             this the model's tokenizer?"
        )));
    }
    if let Some(named) = model.padding().filter(|&named| named != i64::from(pad_id)) {
        warn!(
            "config.json names {named} as the padding token, the tokenizer {pad_id}, which counts \
             here and in what is exported"
        );
    }
    Ok(model.with_padding(pad_id))
}

/// Says so if an adapter was trained on a model of another name, or at a revision of its own.
pub(crate) fn warn_of_other_base(adapter: &Path, model: &str) -> Result<()> {
    let base = adapter::read_base(adapter)?;
    let folder = adapter.display();
    if let Some(name) = base.name.as_deref().filter(|name| !is_same_model(name, model)) {
        warn!("the adapter in {folder} was trained on {name}, this run is of {model}");
    }
    if let Some(revision) = base.revision.as_deref().filter(|revision| *revision != "main") {
        warn!(
            "the adapter in {folder} was trained on revision `{revision}` of its model, which \
             this run does not look for"
        );
    }
    Ok(())
}

/// Whether two names or paths are of one model, as far as they tell: a copy keeps the last part.
fn is_same_model(one: &str, other: &str) -> bool {
    let last = |name: &str| {
        let name = name.trim_end_matches(['/', '\\']);
        name.rsplit(['/', '\\']).next().unwrap_or(name).to_lowercase()
    };
    let path = |name: &str| Path::new(name).canonicalize().ok();
    last(one) == last(other) || path(one).is_some_and(|one| Some(one) == path(other))
}

/// Fails for a token or segment of an example that the model has no embedding for.
pub(crate) fn check_tokens(
    what: &str,
    row: usize,
    ids: &[u32],
    types: &[u32],
    limits: Limits,
) -> Result<()> {
    let vocabulary = limits.vocab_size;
    if let Some(id) = ids.iter().find(|&&id| id as usize >= vocabulary) {
        return Err(Error::Input(format!(
            "{what} {row} has token {id}, the model knows tokens below {vocabulary}; is this the \
             model's tokenizer? (Tokens that were added to it need rows of their own in the model.)"
        )));
    }
    let Some(segments) = limits.type_vocab_size else { return Ok(()) };
    match types.iter().find(|&&id| id as usize >= segments) {
        None => Ok(()),
        Some(id) => Err(Error::Input(format!(
            "{what} {row} has segment {id}, the model knows segments below {segments}; is this the \
             model's tokenizer?"
        ))),
    }
}

/// Logs what there is to say about how a model was read.
pub(crate) fn log_notes(model: &Model) {
    for note in model.notes() {
        match note.is_warning() {
            true => warn!("{}", note.text()),
            false => info!("{}", note.text()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_the_same_if_their_last_parts_are() {
        assert!(is_same_model("google-bert/bert-base-uncased", "/models/bert-base-uncased/"));
        assert!(is_same_model("./", "."));
        assert!(!is_same_model("google-bert/bert-base-uncased", "google-bert/bert-base-cased"));
    }

    #[test]
    fn a_device_that_panics_is_an_error() {
        assert!(open_device("flex").is_ok());
        let error = open_device("abacus").unwrap_err().to_string();
        assert!(error.contains("`device` is `abacus`"), "{error}");
    }
}
