//! Forward-mode automatic differentiation over [Burn](burn) tensors.
//!
//! A [`Dual`] is a tensor (the *primal*) together with its derivatives along `K` directions (the
//! *tangents*). Every operation on duals computes the value once and pushes each of the `K`
//! tangents through the operation's derivative, so one pass through a function yields the value
//! and `K` directional derivatives: no graph, no stored activations, no second pass.
//!
//! Reading order:
//!
//! 1. [`dual`]: the two types, [`Dual`] and [`Tangents`], and what a symbolic zero is.
//! 2. [`jvp()`]: the entry point, in the spirit of `jax.jvp`.
//! 3. [`ops`]: the derivative rules, one small item per operation.
//! 4. [`trace`]: counts which operations ran and how many of them carried tangents.
//!
//! The same function serves four purposes, because a dual without tangents costs what its primal
//! costs: plain inference (all tangents [`Tangents::Zero`]), zero-order methods (the same),
//! reverse mode (the primal lives on an autodiff device, tangents `Zero`) and forward mode.
//!
//! # Example
//!
//! The derivative of `f(x) = Σ x²` at `(1, 2)` along `(1, 0)` and `(1, 1)`:
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use spry_dual::jvp;
//!
//! let device = Device::default();
//! let x = Tensor::<1>::from_floats([1.0, 2.0], &device);
//! let directions = [[1.0, 0.0], [1.0, 1.0]].map(|v| Tensor::<1>::from_floats(v, &device));
//!
//! let (value, derivatives) = jvp(|x| x.clone().mul(x).sum(), x, directions.to_vec());
//!
//! assert_eq!(value.into_scalar::<f32>(), 5.0);
//! let derivatives: Vec<f32> = derivatives.into_iter().map(|t| t.into_scalar()).collect();
//! assert_eq!(derivatives, [2.0, 6.0]);
//! ```

pub mod dual;
mod jvp;
#[cfg(feature = "flex")]
mod kernels;
#[cfg(not(feature = "flex"))]
#[path = "no_kernels.rs"]
mod kernels;
pub mod ops;
pub mod trace;

pub use burn;
pub use dual::{Dual, MissingRule, Tangents};
pub use jvp::{jvp, jvp_many};
pub use kernels::{composed, has_kernels};
