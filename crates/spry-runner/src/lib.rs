//! The experiment runner of Spry: from a configuration to a folder with everything that came of it.
//!
//! The binary `spry` is a thin layer over this library, which other programs (the examples, the
//! benchmarks) use, too.
//!
//! Reading order:
//!
//! 1. [`config`]: [`RunConfig`], made in layers; [`presets`]: configurations by name;
//!    [`nearest`]: "did you mean …?".
//! 2. [`inputs`]: the model and the clients that a configuration names; [`bundled`]: stand-ins
//!    that need no network.
//! 3. [`run`]: [`Run`], its folder, checkpoints, and what it measures; [`tensorboard`]: the same as
//!    events.
//! 4. [`compare`], [`sweep`]: several runs; [`plots`]: pictures.
//! 5. [`exchange`]: adapters to and from Python.
//! 6. [`profile`]: time and memory of one step of a client; [`meter`] counts the bytes.
//! 7. [`terminal`]: what the user sees meanwhile; [`text`]: numbers as people read them, and what
//!    others wrote made fit to be shown; [`signals`]: Ctrl-C and its like.
//!
//! ```
//! use spry_runner::{Run, presets};
//!
//! let folder = tempfile::tempdir()?;
//! let config = presets::find("smoke")?
//!     .config()?
//!     .with_assignments(&["num_server_rounds=1", "dataset.max_examples=400", "cohort_size=2"])?;
//! let hub = spry_data::Hub::from_env().with_offline(true);
//! let summary = Run::create(config, &folder.path().join("run"), &hub)?.execute(|_| {})?;
//! assert_eq!((summary.rounds, summary.finished), (1, true));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod bundled;
pub mod compare;
pub mod config;
pub mod error;
pub mod exchange;
pub mod fit;
pub mod inputs;
pub mod meter;
pub mod nearest;
pub mod plots;
pub mod presets;
pub mod profile;
pub mod run;
pub mod signals;
pub mod sweep;
pub mod tensorboard;
pub mod terminal;
pub mod text;

pub use config::RunConfig;
pub use error::{Error, Result};
pub use inputs::Inputs;
pub use run::{Run, Summary};

/// The Rust code of the guide, as a test.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide.md")]
struct Guide;
