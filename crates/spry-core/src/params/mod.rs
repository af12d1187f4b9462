//! Trainable parameters, keyed by path.
//!
//! - [`Param`]: one weight, its shape, role and group.
//! - [`ParamSet`]: an ordered map from path to parameter. Weights, gradients and directions are
//!   all parameter sets; updates travel keyed by path, never by position.
//! - [`DualParams`]: how a model sees a parameter set during one pass.

mod dual;
mod param;
mod set;

pub use dual::DualParams;
pub use param::{GroupId, Param, ParamRole};
pub use set::ParamSet;
