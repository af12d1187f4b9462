//! The derivative rules.
//!
//! Each operation is one small item that computes the value and, for operands that carry
//! tangents, pushes every direction through the derivative. Factors that all directions share
//! (`f'(x)`, softmax probabilities, normalised activations) are computed once. The formula stands
//! in each doc comment, with `d·` for a tangent; every rule has a row in `tests/rules.rs`, which
//! checks it against central differences and against Burn's reverse mode.
//!
//! - [`elementwise`]: one-argument functions, as a table.
//! - [`arithmetic`]: sums, products, quotients, scalars; with broadcasting.
//! - [`structural`]: reshape, transpose, slice, concatenate, gather rows. Linear in the tangent.
//! - [`reduction`]: sums and means.
//! - [`matmul`]: matrix products, the linear layer, the LoRA branch.
//! - [`normalization`]: softmax, log-softmax, layer norm, RMS norm.
//! - [`mod@rotary`]: rotary position embedding.
//! - [`mod@attention`]: scaled-dot-product attention with a mask and dropout.
//! - [`loss`]: cross entropy.
//! - [`mod@dropout`]: masks from a seed.
//!
//! Misuse (different numbers of directions, shapes that do not fit) panics like Burn's own
//! operations do, with a message that says what to change.

pub mod arithmetic;
pub mod attention;
pub mod dropout;
pub mod elementwise;
pub mod loss;
pub mod matmul;
pub mod normalization;
pub mod reduction;
pub mod rotary;
pub mod structural;

pub use attention::{AttentionMask, attention};
pub use dropout::{DropoutSeed, dropout};
pub use elementwise::Activation;
pub use loss::cross_entropy;
pub use matmul::{add_lora_branch, linear, linear_activated};
pub use normalization::{layer_norm, log_softmax, rms_norm, softmax};
pub use rotary::{RotaryTable, rotary};
pub use structural::embedding;
