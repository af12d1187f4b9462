//! Closed-form problems to try methods and estimators on.
//!
//! - [`Quadratic`]: each client pulls the weights towards a point of its own; the optimum is known.
//! - [`LogisticRegression`]: separable classes, several weight groups and a head.

mod logistic;
mod quadratic;

pub use logistic::{LogisticObjective, LogisticRegression};
pub use quadratic::{Quadratic, QuadraticObjective};
