//! What a run works with: a model with its finetuning method, and clients with their data.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use spry_core::{ClientData, ParamRole, ParamSet, Seed};
use spry_data::files::TemporaryFolder;
use spry_data::hub::RepoKind;
use spry_data::question_answering::decode::DecodeConfig;
use spry_data::{
    ClientShare, Dataset, EncodedExample, EncodedQuestion, Hub, PartitionCache, Partitioner,
    Source, Task, TextTokenizer, cache, tokenize,
};
use spry_models::architecture::Limits;
use spry_models::peft::adapter;
use spry_models::{LoadOptions, Model, PeftModel, QuestionClient, TextClient, checkpoint};
use spry_strategies::options::shortened;
use tracing::{info, warn};

use crate::config::{DatasetConfig, ModelConfig};
use crate::nearest::suggestion;
use crate::{Error, Result, RunConfig, bundled, fit};

/// What is needed of a model on the hub beside its weights and its tokenizer.
const MODEL_FILES: [&str; 1] = ["config.json"];

/// A model's folder; that of the bundled one is removed when the value is dropped.
pub enum ModelFolder {
    /// The user's, or the hub's snapshot.
    Kept(PathBuf),
    /// The bundled model's.
    Temporary(TemporaryFolder),
}

impl ModelFolder {
    /// Finds a model, downloading it if need be.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn find(config: &ModelConfig, hub: &Hub) -> Result<Self> {
        if config.is_bundled() {
            return Ok(Self::Temporary(bundled::model()?));
        }
        let source = Source::parse(&config.name_or_path)?;
        Ok(Self::Kept(match &source {
            Source::Directory(folder) => folder.clone(),
            Source::Hub(_) => {
                let find = || {
                    let paths = hub.files(&source, RepoKind::Model, &MODEL_FILES)?;
                    tokenize::find(&source, hub)?;
                    find_weights(&source, hub)?;
                    Ok(paths)
                };
                let paths = hub.at_one_commit(find).map_err(convertible)?;
                // All files of a snapshot are in one folder.
                paths[0].parent().unwrap_or(Path::new(".")).to_path_buf()
            }
        }))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        match self {
            Self::Kept(folder) => folder,
            Self::Temporary(folder) => folder.path(),
        }
    }
}

/// Share of the examples above which leaving them out is worth a warning.
const MANY_LEFT_OUT: f64 = 0.05;

/// What may help if a repository lacks a file.
fn convertible(error: spry_data::Error) -> Error {
    if !matches!(error, spry_data::Error::NotInRepository { .. }) {
        return error.into();
    }
    Error::Input(format!(
        "{error}; a repository with PyTorch's own files alone is converted in Python: \
         `AutoModel.from_pretrained(id).save_pretrained(folder)`, and the same with AutoTokenizer"
    ))
}

/// Finds a hub model's weights, in one file or several, downloading them if need be.
fn find_weights(source: &Source, hub: &Hub) -> spry_data::Result<()> {
    let whole = match hub.file(source, RepoKind::Model, checkpoint::MODEL) {
        Ok(_) => return Ok(()),
        Err(error @ spry_data::Error::Moved { .. }) => return Err(error),
        Err(error) => error,
    };
    let index = match hub.file(source, RepoKind::Model, checkpoint::MODEL_INDEX) {
        Ok(index) => index,
        Err(error @ spry_data::Error::Moved { .. }) => return Err(error),
        Err(_) => return Err(whole),
    };
    let names = checkpoint::files_of_index(&index).unwrap_or_default();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    hub.files(source, RepoKind::Model, &names)?;
    Ok(())
}

/// Loads a dataset, or the random sample of it that the configuration asks for. `seed` is the run's;
/// the dataset's own counts more.
///
/// # Errors
///
/// If it cannot be found or read.
pub fn load_dataset(config: &DatasetConfig, hub: &Hub, seed: u64) -> Result<Dataset> {
    let mut dataset = match (config.is_bundled(), config.is_stand_in()) {
        (true, _) => bundled::dataset().into(),
        (_, true) => bundled::stand_in(&config.layout)?,
        _ => {
            check_is_somewhere(config.location())?;
            let source = Source::parse(config.location())?;
            let splits = Dataset::files(hub, &source, &config.layout)?;
            let names: Vec<&str> = splits.iter().map(|(split, _)| split.as_str()).collect();
            info!("reading the splits {} of {source}", names.join(", "));
            let files: Vec<PathBuf> = splits.into_iter().flat_map(|(_, files)| files).collect();
            Dataset::from_files(&files, &config.short_name(), &config.layout)?
        }
    };
    warn_of_empty_classes(&dataset);
    dataset.rename(&config.short_name());
    let available = dataset.len();
    if let Some(count) = config.max_examples {
        dataset.sample(count, &Seed::new(config.seed(seed)));
    }
    info!(
        "data: {}, {} of {available} examples: {}",
        dataset.name(),
        dataset.len(),
        dataset.classes().join(", ")
    );
    Ok(dataset)
}

/// Fails for a name that is no directory, no known dataset and no hub id: a slip of the pen.
fn check_is_somewhere(location: &str) -> Result<()> {
    if location.contains('/') || Path::new(location).is_dir() {
        return Ok(());
    }
    let known = spry_data::spec::ALL.iter().map(|spec| spec.name).chain([bundled::DATASET]);
    let known: Vec<&str> = known.collect();
    let hint = suggestion(location, known.iter().copied());
    Err(Error::Input(format!(
        "`dataset` is `{}`, which is no directory, none of {}, and no hub id of the form \
         organisation/name{hint}",
        shortened(location, 80),
        known.join(", ")
    )))
}

/// Classes are counted up to the largest label; one without any example is more likely a slip.
fn warn_of_empty_classes(dataset: &Dataset) {
    let (labels, classes) = (dataset.labels(), dataset.classes());
    let is_empty = |class: &usize| !labels.contains(class);
    let empty: Vec<&str> =
        (0..classes.len()).filter(is_empty).map(|class| classes[class].as_str()).collect();
    if dataset.task() == Task::QuestionAnswering {
        if !labels.contains(&0) {
            warn!("no question has an answer; are they hidden, or in another column?");
        }
    } else if !empty.is_empty() {
        let empty = empty.join(", ");
        warn!("no example is of class {empty}; labels are counted from 0, is that meant?");
    }
}

/// Deals a dataset to clients, or takes the same deal from the cache beside the hub's, if the
/// environment names a folder for that. `seed` is the run's; the dataset's own counts more.
///
/// # Errors
///
/// If there are more clients than examples, or an option is out of its range.
pub fn partition(
    config: &DatasetConfig,
    dataset: &Dataset,
    hub: &Hub,
    seed: u64,
) -> Result<Vec<ClientShare>> {
    // Without a home, nothing is kept: a folder that all users share could hold anybody's deals.
    let (labels, keys, seed) = (dataset.labels(), dataset.keys(), config.seed(seed));
    let (clients, train_share) = (config.num_clients, config.train_share);
    let partition = match hub.cache() {
        Ok(cache) => {
            let parent = cache.parent().unwrap_or(cache);
            let cache = PartitionCache::new(parent.join("spry-partitions"));
            cache.partition(&config.partitioner, &labels, keys, clients, train_share, seed)?
        }
        Err(_) => cache::deal(&config.partitioner, &labels, keys, clients, train_share, seed)?,
    };
    note_left_out(partition.left_out(dataset.len()), dataset.len(), config.num_clients);
    if let Partitioner::DirichletPaper { .. } = config.partitioner {
        info!(
            "examples are dealt as by the paper's published loader: the last clients get the \
             classes that are left, whatever alpha is; `dataset.partitioner` = dirichlet treats all \
             clients alike"
        );
    }
    Ok(partition.clients)
}

/// Shares are equal, so that a rest is left out: a few examples are only worth a note.
fn note_left_out(left_out: usize, examples: usize, clients: usize) {
    if left_out == 0 {
        return;
    }
    let note = format!(
        "{left_out} of {examples} examples go to no client, as {clients} clients get the same number"
    );
    if left_out as f64 > MANY_LEFT_OUT * examples as f64 {
        warn!("{note}; another `dataset.num_clients` leaves out less");
    } else {
        info!("{note}");
    }
}

/// Fails if an adapter would sit on a module that was made afresh: it cannot be exported, as peft
/// saves such a module whole or adapts it, not both.
fn check_targets_are_loaded(config: &RunConfig, model: &Model) -> Result<()> {
    let modules = model.fresh().iter().filter_map(|path| path.strip_suffix(".weight"));
    let is_body = |module: &&str| {
        let path = format!("{module}.weight");
        model.weights().get(&path).is_ok_and(|weight| weight.role() == ParamRole::Adapter)
    };
    let peft = config.peft.clone().resolved(model.spec());
    match modules.filter(is_body).find(|module| peft.targets(module)) {
        None => Ok(()),
        Some(module) => Err(Error::Input(format!(
            "`peft.target_modules` names `{module}`, which the checkpoint lacks; name the others \
             by more of their path, such as `output.dense`"
        ))),
    }
}

/// A model and its clients, ready for a simulation.
pub struct Inputs {
    /// The model with its finetuning method.
    pub model: PeftModel,
    /// The trainable parameters before the first round.
    pub params: ParamSet,
    /// Names of the classes, by number; none for question answering.
    pub classes: Vec<String>,
    shares: Vec<ClientShare>,
    examples: Examples,
    pad_id: u32,
    uses_dropout: bool,
}

/// Encoded examples, with what their task needs.
enum Examples {
    Texts(Arc<Vec<EncodedExample>>),
    Questions(Arc<Vec<EncodedQuestion>>, DecodeConfig),
}

impl Examples {
    fn encode(
        dataset: &Dataset,
        tokenizer: &TextTokenizer,
        config: &DatasetConfig,
    ) -> Result<Self> {
        Ok(match dataset {
            Dataset::Texts(texts) => Self::Texts(Arc::new(tokenizer.encode(&texts.examples)?)),
            Dataset::Questions(questions) => {
                let stride = config.doc_stride();
                let encoded = tokenizer.encode_questions(&questions.questions, stride)?;
                let windows: usize = encoded.iter().map(|question| question.windows.len()).sum();
                info!("{} questions in {windows} windows", encoded.len());
                let decode = config.question_answering.unwrap_or_default().decode;
                Self::Questions(Arc::new(encoded), decode)
            }
        })
    }

    /// Fails for a token or segment that the model has no embedding for.
    fn check_tokens(&self, limits: Limits) -> Result<()> {
        match self {
            Self::Texts(examples) => examples.iter().enumerate().try_for_each(|(row, example)| {
                let (ids, types) = (&example.input_ids, &example.token_type_ids);
                fit::check_tokens("example", row, ids, types, limits)
            }),
            Self::Questions(questions, _) => {
                questions.iter().enumerate().try_for_each(|(row, question)| {
                    question.windows.iter().try_for_each(|window| {
                        let (ids, types) = (&window.input_ids, &window.token_type_ids);
                        fit::check_tokens("question", row, ids, types, limits)
                    })
                })
            }
        }
    }

    fn hash(&self, hasher: &mut blake3::Hasher) {
        let mut text = |ids: &[u32], types: &[u32], target: &[usize]| {
            hasher.update(&(ids.len() as u64).to_le_bytes());
            for id in ids.iter().chain(types) {
                hasher.update(&id.to_le_bytes());
            }
            for value in target {
                hasher.update(&(*value as u64).to_le_bytes());
            }
        };
        match self {
            Self::Texts(examples) => {
                for example in examples.iter() {
                    text(&example.input_ids, &example.token_type_ids, &[example.label]);
                }
            }
            Self::Questions(questions, decode) => {
                for window in questions.iter().flat_map(|question| &question.windows) {
                    text(&window.input_ids, &window.token_type_ids, &window.span);
                }
                for question in questions.iter() {
                    hasher.update(question.context.as_bytes());
                    for answer in &question.answers {
                        hasher.update(answer.as_bytes());
                    }
                }
                hasher.update(format!("{decode:?}").as_bytes());
            }
        }
    }
}

impl Inputs {
    /// Loads what a configuration names.
    ///
    /// # Errors
    ///
    /// If something cannot be found or read, or does not belong together.
    pub fn load(config: &RunConfig, hub: &Hub) -> Result<Self> {
        config.without_effect().iter().for_each(|note| warn!("{note}"));
        let dataset = load_dataset(&config.dataset, hub, config.seed)?;
        let shares = partition(&config.dataset, &dataset, hub, config.seed)?;
        let folder = ModelFolder::find(&config.model, hub)?;
        let options = LoadOptions {
            device: fit::open_device(&config.device)?,
            task: dataset.task(),
            num_labels: Some(dataset.classes().len()),
            classes: match dataset.task() {
                Task::SequenceClassification => dataset.classes(),
                Task::QuestionAnswering => Vec::new(),
            },
            fresh_head: config.model.fresh_head,
            seed: config.seed,
            ..Default::default()
        };
        let model = Model::load(folder.path(), &options)?;
        fit::log_notes(&model);
        // An adapter brings its own.
        if !model.fresh().is_empty() && config.model.adapter.is_none() {
            info!("made afresh, as the checkpoint has none: {}", model.fresh().join(", "));
        }
        check_targets_are_loaded(config, &model)?;
        let longest = model.architecture().limits().max_length;
        let asked = config.dataset.max_length;
        if asked > longest {
            info!(
                "`dataset.max_length` is {asked}, but the model has {longest} positions: texts are \
                 cut to {longest} tokens"
            );
        }
        let dataset_config =
            DatasetConfig { max_length: asked.min(longest), ..config.dataset.clone() };
        let tokenizer = TextTokenizer::load(folder.path(), dataset_config.max_length)?;
        let model = fit::with_padding(model, tokenizer.pad_id())?;
        let examples = Examples::encode(&dataset, &tokenizer, &dataset_config)?;
        examples.check_tokens(model.architecture().limits())?;

        let (model, params) = match &config.model.adapter {
            None => {
                let model = PeftModel::new(Arc::new(model), config.peft.clone())?;
                let params = model.trainable(&Seed::new(config.seed).child("adapter", 0))?;
                (model, params)
            }
            Some(folder) => {
                if adapter::read_config(folder)? != config.peft {
                    return Err(Error::Input(format!(
                        "`peft` is not that of the adapter in {}; `spry import` takes it over",
                        folder.display()
                    )));
                }
                fit::warn_of_other_base(folder, &config.model.name_or_path)?;
                let (params, own) = adapter::read(folder, &config.peft, &model)?;
                let model = Arc::new(model.with_weights(&own)?);
                info!("starting from the adapter in {}", folder.display());
                (PeftModel::new(model, config.peft.clone())?, params)
            }
        };
        info!(
            "model: {}, {} of {} weights trainable",
            config.model.short_name(),
            params.num_elements(),
            model.model().weights().num_elements(),
        );
        Ok(Self {
            model,
            params,
            classes: match dataset.task() {
                Task::SequenceClassification => dataset.classes(),
                Task::QuestionAnswering => Vec::new(),
            },
            shares,
            examples,
            pad_id: tokenizer.pad_id(),
            uses_dropout: config.model.dropout,
        })
    }

    /// The clients, each with its share of the data; they share one model.
    ///
    /// # Errors
    ///
    /// None in practice: only if a share did not belong to the data.
    pub fn clients(&self) -> Result<Vec<Box<dyn ClientData>>> {
        let client = |share: &ClientShare| -> Result<Box<dyn ClientData>> {
            let (model, share) = (self.model.clone(), share.clone());
            let (pad_id, dropout) = (self.pad_id, self.uses_dropout);
            Ok(match &self.examples {
                Examples::Texts(examples) => {
                    Box::new(TextClient::new(model, examples.clone(), share, pad_id, dropout))
                }
                Examples::Questions(questions, decode) => {
                    let questions = questions.clone();
                    Box::new(QuestionClient::new(
                        model, questions, share, pad_id, dropout, *decode,
                    )?)
                }
            })
        };
        self.shares.iter().map(client).collect()
    }

    /// A hash of everything that was loaded: the model's configuration and weights, initial
    /// parameters, encoded examples, shares. A run can only be resumed with the same.
    ///
    /// # Errors
    ///
    /// None in practice: only if something could not be serialised.
    pub fn fingerprint(&self) -> Result<[u8; 32]> {
        let mut hasher = blake3::Hasher::new();
        // Sizes, activation, dropout and the like.
        hasher.update(format!("{:?}", self.model.model().architecture()).as_bytes());
        for set in [self.model.model().weights(), &self.params] {
            for (path, param) in set.iter() {
                hasher.update(path.as_bytes());
                let bytes = postcard::to_allocvec(param).map_err(spry_core::Error::from)?;
                hasher.update(&bytes);
            }
        }
        hasher.update(&self.pad_id.to_le_bytes());
        self.examples.hash(&mut hasher);
        let shares = postcard::to_allocvec(&self.shares).map_err(spry_core::Error::from)?;
        hasher.update(&shares);
        Ok(*hasher.finalize().as_bytes())
    }
}
