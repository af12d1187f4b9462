//! Vectorised kernels of forward-mode differentiation for CPUs: a value and its derivatives along
//! `K` directions, computed together, so that everything they share is computed once.
//!
//! The kernels work on slices of `f32` and know nothing of tensors; `spry-dual` calls them where
//! its tensors' memory can be reached, and has a composed rule beside each of them for everything
//! else. They run on the widest instructions that the machine has (AVX-512, AVX2 with FMA, or
//! plain scalars; NEON is untried), chosen at run time by [pulp], and on the threads of the current rayon pool.
//!
//! Two promises:
//!
//! - **Threads do not show.** Each value is computed by one task in one order, so results are the
//!   same bits for any number of threads.
//! - **Rows are independent.** A row of a linear layer, LoRA branch, activation or norm is the same
//!   bits whichever rows are beside it, and a sequence of the attention whichever sequences are. So
//!   an example's activations do not depend on its batch, and can be kept for another one. (Cross
//!   entropy is a mean over rows, and dropout goes by a value's index.)
//!
//! Between machines with different instructions the last bits may differ, as sums are taken in
//! another order.
//!
//! Reading order: [`DualRef`], [`DualMut`] and [`DualVec`] are how values and tangents come and go;
//! `matrix` has the product that everything waits for; each kernel has a file of its own.
//!
//! `unsafe` is allowed in this crate and nowhere else; each use says why it is sound. It is there
//! for two reasons: results are written into memory that is not initialised before, by several
//! threads at different places, and the innermost loop of the matrix product reads without checking
//! bounds that were checked before it.

mod activation;
mod attention;
mod dispatch;
mod dropout;
mod linear;
mod loops;
mod lora;
mod loss;
mod math;
mod matrix;
mod norm;
mod output;
mod parallel;
mod rows;

pub use activation::{Activation, activate};
pub use attention::{AttentionShape, Mask, ProbabilityDropout, Sequence, attention};
pub use dispatch::for_each_instruction_set;
pub use dropout::dropout;
pub use linear::linear;
pub use lora::lora;
pub use loss::cross_entropy;
pub use norm::{layer_norm, rms_norm};
pub use rows::{DualMut, DualRef, DualVec};
