//! Configurations by name: the paper's settings, and one that runs in seconds.

use serde_json::{Value, json};
use spry_data::spec::{ALL, MULTIRC, SQUAD_V2};
use spry_data::{DatasetSpec, Partitioner};
use spry_strategies::METHODS;

use crate::nearest::suggestion;
use crate::{Error, Result, RunConfig, bundled};

/// A named configuration.
#[derive(Clone, Debug)]
pub struct Preset {
    /// Its name, as users write it.
    pub name: String,
    /// What it is, in one line.
    pub summary: String,
    /// What it changes of the defaults.
    options: Value,
}

/// The model that the paper finetunes on a dataset (Table 1). Datasets that are not in the paper get
/// that of the other classification tasks.
fn model_of(dataset: &DatasetSpec) -> &'static str {
    match dataset.name {
        name if name == MULTIRC.name => "meta-llama/Llama-2-7b-hf",
        name if name == SQUAD_V2.name => "facebook/opt-6.7b",
        _ => "FacebookAI/roberta-large",
    }
}

/// How the paper's code deals by class, with the α of its main results.
const PUBLISHED: Partitioner = Partitioner::DirichletPaper { alpha: 1.0 };

/// How the paper's code deals a dataset.
fn as_published(dataset: &DatasetSpec) -> Partitioner {
    match dataset.partitioner {
        Partitioner::Dirichlet { .. } => PUBLISHED,
        other => other,
    }
}

/// All presets: `smoke`, then one for each dataset and method, with the settings of the paper's
/// section 5 and its published scripts: the dataset's model, 1500 rounds of 10 clients, batches of
/// 8, LoRA with r = 1 and α = 1, the dataset's clients and length, and the method's K, σ, ε and
/// thresholds. Examples are dealt as by the paper's published loader
/// ([`Partitioner::DirichletPaper`]), so that published numbers can be repeated; a configuration
/// without a preset deals with [`Partitioner::Dirichlet`].
pub fn all() -> Vec<Preset> {
    let smoke = Preset {
        name: "smoke".to_string(),
        summary: "Spry on bundled stand-ins: a tiny BERT, generated news; offline, in seconds"
            .to_string(),
        options: json!({
            "num_server_rounds": 10,
            "evaluate_every": 1,
            "checkpoint_every": 1,
            "model": {"name_or_path": bundled::MODEL},
            "dataset": {"name": bundled::DATASET, "partitioner": PUBLISHED},
            "method": {"name": "spry", "estimator": {"k": 8}},
            "learning_rate": 1e-2,
        }),
    };
    let of_paper = ALL.iter().flat_map(|dataset| {
        METHODS.iter().map(|method| Preset {
            name: format!("{}-{}", dataset.name, method.name),
            summary: method.summary.to_string(),
            options: json!({
                "model": {"name_or_path": model_of(dataset)},
                "dataset": {"name": dataset.name, "partitioner": as_published(dataset)},
                "method": {"name": method.name},
            }),
        })
    });
    std::iter::once(smoke).chain(of_paper).collect()
}

/// The preset of a name.
///
/// ```
/// let config = spry_runner::presets::find("sst2-baffle+")?.config()?;
/// assert_eq!((config.num_server_rounds, config.dataset.num_clients), (1500, 100));
/// # Ok::<(), spry_runner::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::Input`] with the nearest match if there is none.
pub fn find(name: &str) -> Result<Preset> {
    let presets = all();
    let hint = suggestion(name, presets.iter().map(|preset| preset.name.as_str()));
    presets.into_iter().find(|preset| preset.name == name).ok_or_else(|| {
        Error::Input(format!("there is no preset `{name}`; `spry presets` lists them{hint}"))
    })
}

impl Preset {
    /// The whole configuration.
    ///
    /// # Errors
    ///
    /// None in practice: a test makes each of them.
    pub fn config(&self) -> Result<RunConfig> {
        RunConfig::default().with_options(self.options.clone())
    }
}
