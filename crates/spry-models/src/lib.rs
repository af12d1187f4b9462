//! Language models over dual numbers, parameter-efficient finetuning, and Hugging Face weights.
//!
//! A model is a function of weights looked up by their Hugging Face paths. It is written once, in
//! terms of [`Dual`](spry_dual::Dual), and serves inference, forward mode and reverse mode;
//! finetuning methods only decide which paths are trainable.
//!
//! Reading order:
//!
//! 1. [`architecture`]: what a model family declares: its tensors and its forward pass.
//! 2. [`checkpoint`]: safetensors files in and out.
//! 3. [`model`]: a [`Model`]: an architecture with its weights, from a Hugging Face directory.
//! 4. [`forward`]: [`ForwardContext`]: weights, adapters and dropout during one pass.
//! 5. [`config`]: what the families' configurations have in common: what each key does, and what
//!    the classes are called; [`budget`]: what a file may make this crate allocate.
//! 6. The families, one folder each: [`bert`], [`roberta`], [`distilbert`], [`albert`], [`llama`],
//!    [`opt`]; they are made of the blocks in `layers`.
//! 7. [`peft`]: LoRA, IA3, BitFit, head only, full finetuning.
//! 8. [`peft_model`]: [`PeftModel`]: a model with a finetuning method.
//! 9. [`objective`]: the loss of a batch as an [`Objective`](spry_core::Objective).
//! 10. [`text_client`], [`question_client`]: clients that hold a share of a dataset.
//! 11. [`exported`]: the configuration of a model that is written for Python.
//! 12. [`case`]: reference cases from PyTorch, to check a model against.
//!
//! # Example
//!
//! Gradient and directional derivative of a small random BERT agree: `⟨∇f, v⟩ = jvp(v)`.
//!
//! ```
//! use std::sync::Arc;
//! use spry_core::perturbation::Directions;
//! use spry_core::{Objective, Seed};
//! use spry_data::{Targets, TokenBatch};
//! use spry_models::{LoadOptions, LoraConfig, Model, Peft, PeftModel};
//!
//! let config = r#"{"model_type": "bert", "vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 2,
//!     "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 8}"#;
//! let model = Model::random(config, &LoadOptions { num_labels: Some(3), ..Default::default() })?;
//! let model = PeftModel::new(Arc::new(model), Peft::Lora(LoraConfig::default()))?;
//! let params = model.trainable(&Seed::new(0))?;
//! let trains: Vec<String> = params.paths().map(str::to_owned).collect();
//!
//! let batch = TokenBatch {
//!     batch: 1,
//!     seq: 3,
//!     input_ids: vec![2, 7, 3],
//!     token_type_ids: vec![0; 3],
//!     attention_mask: vec![1.0; 3],
//!     targets: Targets::Classes(vec![1]),
//! };
//! let objective = model.objective(&batch, None)?;
//! let direction = Directions::gaussian(1).all(&Seed::new(1), &params)?.remove(0);
//! let (_, gradient) = objective.gradient(&params, &trains)?;
//! let jvp = objective.jvp(&params, std::slice::from_ref(&direction))?;
//! assert!((jvp.derivatives[0] - gradient.dot(&direction)?).abs() < 1e-5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod albert;
pub mod architecture;
pub mod bert;
pub mod budget;
pub mod case;
pub mod checkpoint;
pub mod config;
pub mod distilbert;
pub mod error;
pub mod exported;
pub mod forward;
pub mod input;
mod layers;
pub mod llama;
mod loading;
pub mod model;
pub mod note;
pub mod objective;
pub mod opt;
pub mod peft;
pub mod peft_model;
mod prefix;
pub mod question_client;
mod read;
pub mod roberta;
pub mod text_client;

pub use architecture::{Architecture, ModelSpec};
pub use error::{Error, Result};
pub use forward::ForwardContext;
pub use input::TokenInput;
pub use model::{LoadOptions, Model};
pub use note::Note;
pub use objective::BatchObjective;
pub use peft::{Ia3Config, LoraConfig, Peft};
pub use peft_model::PeftModel;
pub use question_client::QuestionClient;
pub use read::MAX_CONFIG_BYTES;
pub use text_client::TextClient;
