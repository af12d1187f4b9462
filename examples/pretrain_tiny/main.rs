//! Pretrains the tiny BERT that the examples bundle, by backpropagation on generated text.
//!
//! The objective is BERT's masked language modelling, and next to it the prediction of all words
//! of a text from its pooled state, so that the pooler learns to carry what the text is about.
//! Topics are never seen. `cargo xtask pretrain-tiny` runs this with the settings of the bundled
//! checkpoint; the same settings and machine give the same bits.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use burn::tensor::{Device, Int, Tensor, TensorData};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use spry_core::optim::{AdamWConfig, LocalOptimizerConfig};
use spry_core::spry_dual::Dual;
use spry_core::spry_dual::ops::{cross_entropy, linear};
use spry_core::{DualParams, Evaluation, GroupId, Objective, Param, ParamRole, ParamSet, Seed};
use spry_data::files::write_atomically;
use spry_data::{TextTokenizer, TokenBatch, synthetic, tokenize};
use spry_models::{ForwardContext, LoadOptions, Model, Peft, TokenInput, checkpoint};
use spry_runner::bundled::PRETRAINING_SEED;

const BATCH: usize = 32;
const EXAMPLES: usize = 20_000;
const MAX_LENGTH: usize = 64;
/// Share of tokens that are predicted.
const MASKED: f64 = 0.15;

const CONFIG: &str = r#"{
  "architectures": ["BertModel"],
  "model_type": "bert",
  "vocab_size": VOCAB_SIZE,
  "hidden_size": 64,
  "num_hidden_layers": 2,
  "num_attention_heads": 4,
  "intermediate_size": 128,
  "max_position_embeddings": 64,
  "type_vocab_size": 2,
  "hidden_act": "gelu",
  "hidden_dropout_prob": 0.1,
  "attention_probs_dropout_prob": 0.1,
  "layer_norm_eps": 1e-12,
  "initializer_range": 0.05,
  "pad_token_id": 0
}
"#;

/// Pretrains the tiny BERT.
#[derive(Debug, Parser)]
struct Args {
    /// Folder for config.json, tokenizer.json and model.safetensors.
    #[arg(long)]
    out: PathBuf,
    /// Training steps.
    #[arg(long, default_value_t = 3000)]
    steps: u64,
    /// Peak learning rate.
    #[arg(long, default_value_t = 3e-3)]
    learning_rate: f64,
}

fn main() -> Result<()> {
    let args = Args::parse();
    // One thread: how a sum is split over threads must not change the checkpoint.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    pool.install(|| pretrain(&args))
}

fn pretrain(args: &Args) -> Result<()> {
    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot create {}", args.out.display()))?;
    let vocabulary = synthetic::vocabulary();
    tokenize::write_wordpiece(&args.out.join("tokenizer.json"), &vocabulary)?;
    let config = CONFIG.replace("VOCAB_SIZE", &vocabulary.len().to_string());
    let tokenizer = TextTokenizer::load(&args.out, MAX_LENGTH)?;
    let mask_id = tokenizer.token_id("[MASK]").context("the vocabulary has no [MASK]")?;

    let model = Model::random(&config, &LoadOptions::default())?;
    let mut params = Peft::Full.trainable(&model, &Seed::new(PRETRAINING_SEED))?;
    let device = Device::default();
    for head in ["token", "text"] {
        let bias = Tensor::<1>::zeros([vocabulary.len()], &device);
        let bias = Param::new(bias, ParamRole::Head, GroupId(u32::MAX));
        params.insert(format!("pretraining.{head}.bias"), bias);
    }
    let trains: Vec<String> =
        params.paths().filter(|path| !path.starts_with("classifier")).map(str::to_owned).collect();

    // The labels of the corpus stay unused.
    let corpus = synthetic::news(EXAMPLES, PRETRAINING_SEED);
    let examples = tokenizer.encode(&corpus.examples)?;
    let seed = Seed::new(PRETRAINING_SEED).child("pretraining", 0);
    let bar = ProgressBar::new(args.steps);
    bar.set_style(ProgressStyle::with_template("{bar:24} step {pos}/{len}  {msg}  {eta} left")?);
    let adamw = AdamWConfig { weight_decay: 0.01, ..Default::default() };
    let mut optimizer = Scheduled::new(adamw, args.learning_rate, args.steps)?;
    let mut recent = 0.0;
    for step in 0..args.steps {
        let seed = seed.step(step);
        let chosen = seed.child("examples", 0).uniforms(BATCH);
        let chosen = chosen.into_iter().map(|u| &examples[(u * EXAMPLES as f64) as usize]);
        let batch = TokenBatch::pad(chosen, tokenizer.pad_id());
        let objective = MaskedLanguageModel::new(&model, batch, mask_id, &seed)?;
        let (loss, gradient) = objective.gradient(&params, &trains)?;
        optimizer.step(&mut params, &gradient)?;
        recent = if step == 0 { loss } else { 0.98 * recent + 0.02 * loss };
        bar.set_message(format!("loss {recent:.3}"));
        bar.inc(1);
        if bar.is_hidden() && (step + 1) % 500 == 0 {
            eprintln!("step {}: loss {recent:.3}", step + 1);
        }
    }
    bar.finish();
    save(&args.out, &config, &params, &trains)
}

/// AdamW with a linear warm-up over the first tenth and a linear decay after it.
struct Scheduled {
    inner: Box<dyn spry_core::optim::LocalOptimizer>,
    steps: u64,
    step: u64,
}

impl Scheduled {
    fn new(config: AdamWConfig, learning_rate: f64, steps: u64) -> Result<Self> {
        let config = AdamWConfig { learning_rate, ..config };
        Ok(Self { inner: LocalOptimizerConfig::AdamW(config).init()?, steps, step: 0 })
    }

    /// Adam's step is invariant to the gradient's scale, so the schedule scales the step itself.
    fn step(&mut self, params: &mut ParamSet, gradient: &ParamSet) -> Result<()> {
        let before = params.subset(gradient.paths())?;
        self.inner.step(params, gradient)?;
        let done = self.step as f64 / self.steps as f64;
        let scale = (done / 0.1).min((1.0 - done) / 0.9).max(0.0);
        let after = params.subset(gradient.paths())?;
        let change = after.add_scaled(-1.0, &before)?;
        params.assign(&before.add_scaled(scale, &change)?)?;
        self.step += 1;
        Ok(())
    }
}

fn save(folder: &Path, config: &str, params: &ParamSet, trains: &[String]) -> Result<()> {
    let body = trains.iter().filter(|path| !path.starts_with("pretraining"));
    checkpoint::write(&folder.join("model.safetensors"), &params.subset(body)?)?;
    let path = folder.join("config.json");
    write_atomically(&path, config.as_bytes())?;
    println!("written to {}", folder.display());
    Ok(())
}

/// Predicts masked tokens from their own states, and all words from their text's pooled state.
struct MaskedLanguageModel<'a> {
    model: &'a Model,
    input: TokenInput,
    masked: Targets,
    words: Targets,
    seed: Seed,
}

/// Tokens to predict, and which state each is predicted from.
struct Targets {
    states: Tensor<1, Int>,
    ids: Tensor<1, Int>,
}

impl Targets {
    fn new(pairs: &[(usize, i64)], device: &Device) -> Self {
        let ints =
            |values: Vec<i64>| Tensor::from_data(TensorData::new(values, [pairs.len()]), device);
        Self {
            states: ints(pairs.iter().map(|(state, _)| *state as i64).collect()),
            ids: ints(pairs.iter().map(|(_, id)| *id).collect()),
        }
    }
}

impl<'a> MaskedLanguageModel<'a> {
    fn new(model: &'a Model, mut batch: TokenBatch, mask_id: u32, seed: &Seed) -> Result<Self> {
        let dice = seed.child("mask", 0).uniforms(batch.input_ids.len());
        let (mut masked, mut words) = (Vec::new(), Vec::new());
        for (position, id) in batch.input_ids.iter_mut().enumerate() {
            // Ids up to that of [MASK] are special tokens.
            if *id <= i64::from(mask_id) {
                continue;
            }
            words.push((position / batch.seq, *id));
            if dice[position] < MASKED {
                masked.push((position, *id));
                *id = i64::from(mask_id);
            }
        }
        Ok(Self {
            input: TokenInput::new(&batch, model)?,
            masked: Targets::new(&masked, model.device()),
            words: Targets::new(&words, model.device()),
            model,
            seed: seed.clone(),
        })
    }
}

impl Objective for MaskedLanguageModel<'_> {
    fn forward(&self, params: &DualParams) -> spry_core::Result<Dual<1>> {
        let dropout = Some(self.seed.dropout());
        let context = ForwardContext::new(self.model, params, &Peft::Full, dropout);
        let architecture = self.model.architecture();
        let hidden = architecture.encode(&context, &self.input)?;
        let pooled = architecture.pool(&context, &self.input, hidden.clone())?;
        let [batch, seq, width] = hidden.dims();
        let table = context.weight::<2>("bert.embeddings.word_embeddings.weight")?;
        let loss = |states: Dual<2>, targets: &Targets, head: &str| {
            let bias = context.weight::<1>(&format!("pretraining.{head}.bias"))?;
            let states = states.select(0, targets.states.clone());
            let logits = linear(states, table.clone(), Some(bias));
            Ok(cross_entropy(logits, targets.ids.clone()))
        };
        let tokens: spry_core::Result<_> =
            loss(hidden.reshape([batch * seq, width]), &self.masked, "token");
        let texts: spry_core::Result<_> = loss(pooled, &self.words, "text");
        Ok(tokens?.add(texts?))
    }

    fn evaluate(&self, params: &ParamSet) -> spry_core::Result<Evaluation> {
        let examples = self.masked.ids.dims()[0];
        let loss_sum = self.loss(params)? * examples as f64;
        Ok(Evaluation { loss_sum, correct: 0, f1_sum: None, examples })
    }
}
