//! What a federated finetuning method is, and the simulation that runs it.
//!
//! This crate knows no model, no dataset and no file format. It defines what a method may ask of
//! a client ([`Objective`]), how a gradient is estimated ([`GradientEstimator`]), how client and
//! server turn gradients into weights ([`optim`]), and what a method decides ([`Strategy`]).
//! [`Simulation`] does the rest: it samples cohorts, runs clients in parallel, leaves failed ones
//! out, evaluates, and reports what happened as a stream of [`Event`]s.
//!
//! Reading order:
//!
//! 1. [`params`]: [`ParamSet`], trainable weights keyed by path; every update travels in one.
//! 2. [`seed`]: [`Seed`], from which every random number of a run is derived.
//! 3. [`perturbation`]: random directions, replayed from a seed wherever they are needed.
//! 4. [`objective`]: [`Objective`], a loss on one batch, and what can be asked of it.
//! 5. [`estimators`]: from an objective to a gradient, with and without backpropagation;
//!    [`gradient`]: the form in which one travels.
//! 6. [`optim`]: local optimizers (SGD, Adam, AdamW) and server optimizers (plain, SGD, Yogi, Adam,
//!    Adagrad).
//! 7. [`strategy`]: the trait a method implements, and the messages between server and client.
//! 8. [`client`]: a client's data and its local training loop.
//! 9. [`simulation`]: many clients on one machine.
//! 10. [`testing`]: closed-form problems (quadratic, logistic regression) and faults to try a method on.
//!
//! **Determinism.** On one kind of machine and device, the result of a run is a pure function of its
//! configuration and seed. It does not depend on how many clients run in parallel: each client
//! computes on one thread of its own, and the server combines updates in client order. (Random
//! numbers are the same everywhere; the rounding of matrix products depends on the processor.)

pub mod aggregate;
pub mod client;
pub mod device;
pub mod error;
pub mod estimators;
pub mod gradient;
pub mod memory;
pub mod objective;
pub mod optim;
pub mod params;
pub mod perturbation;
pub mod seed;
pub mod simulation;
pub mod strategy;
pub mod testing;

pub use client::{ClientContext, ClientData, LocalTraining, PrefixCache, Split, StopSignal};
pub use error::{Error, Result};
pub use estimators::{Backprop, ForwardGradient, GradientEstimate, GradientEstimator, Step};
pub use gradient::Gradient;
pub use memory::MemoryMeter;
pub use objective::{Evaluation, HeadedObjective, Jvp, Objective};
pub use params::{DualParams, GroupId, Param, ParamRole, ParamSet};
pub use seed::Seed;
pub use simulation::{Event, Outcome, Simulation, SimulationConfig};
pub use spry_dual;
pub use strategy::{
    ClientId, ClientInfo, ClientTask, ClientUpdate, CompletedTask, LeftOut, RoundReport,
    ServerState, Strategy, UpdatePayload,
};
