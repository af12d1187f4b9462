//! Fuzzing of everything that parses what others wrote: files, messages, options.
//!
//! - [`targets`]: the one table of parsers, each a function of bytes, with valid inputs to start
//!   from.
//! - [`corpus`]: the inputs that are kept in `corpus/NAME/`. A normal test replays all of them.
//! - [`mutate`]: other inputs from these, as a function of a seed.
//! - [`check`]: what must hold for any input: no panic, bounded memory.
//! - [`bundle`]: several files as one input.
//!
//! `cargo xtask fuzz` runs the mutator in child processes, which a parent watches: an abort, a
//! stack overflow or a hang is a finding, too. `cargo-fuzz/` has the same table for libFuzzer.
//! [ADR 0026](../../docs/adr/0026-fuzzing.md) says why there are both.

pub mod bundle;
pub mod check;
pub mod corpus;
pub mod mutate;
pub mod targets;

pub use targets::{Shape, TARGETS, Target};
