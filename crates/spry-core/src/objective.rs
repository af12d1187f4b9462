//! [`Objective`]: what a method may ask of a client's model on a batch.

use burn::tensor::{Int, Tensor};
use serde::{Deserialize, Serialize};
use spry_dual::ops::cross_entropy;
use spry_dual::{Dual, Tangents};

use crate::{DualParams, Error, ParamSet, Result};

/// The loss of a client's model on one batch of its data, as a function of the trainable
/// parameters.
///
/// An implementor writes [`forward`](Self::forward) once, over dual numbers, and
/// [`evaluate`](Self::evaluate); plain values, directional derivatives and gradients follow.
pub trait Objective {
    /// The mean loss of the batch, shape `[1]`.
    ///
    /// # Errors
    ///
    /// [`Error::Objective`] if the model or the data cannot be used.
    fn forward(&self, params: &DualParams) -> Result<Dual<1>>;

    /// Loss and correct predictions, without dropout.
    ///
    /// # Errors
    ///
    /// [`Error::Objective`] if the model or the data cannot be used.
    fn evaluate(&self, params: &ParamSet) -> Result<Evaluation>;

    /// The loss.
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward).
    fn loss(&self, params: &ParamSet) -> Result<f64> {
        self.loss_at(&DualParams::constant(params))
    }

    /// The loss at parameters that may be [displaced](DualParams::displaced).
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward).
    fn loss_at(&self, params: &DualParams) -> Result<f64> {
        Ok(scalar(self.forward(params)?.into_primal()))
    }

    /// The loss and its derivative along each direction, by one forward-mode pass.
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward), and as [`DualParams::perturbed`] for directions that do not
    /// fit the parameters.
    fn jvp(&self, params: &ParamSet, directions: &[ParamSet]) -> Result<Jvp> {
        let output = self.forward(&DualParams::perturbed(params, directions)?)?;
        let (loss, tangents) = output.into_parts();
        let derivatives = match tangents {
            Tangents::Zero => vec![0.0; directions.len()],
            Tangents::Dense(list) => list.into_iter().map(scalar).collect(),
        };
        Ok(Jvp { loss: scalar(loss), derivatives })
    }

    /// The loss and its gradient with respect to the parameters at the paths in `trains`, by
    /// Burn's reverse mode.
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward), and [`Error::UnknownParameter`] for an unknown path.
    fn gradient(&self, params: &ParamSet, trains: &[String]) -> Result<(f64, ParamSet)> {
        let tracked = DualParams::tracked(params, trains)?;
        let loss = self.forward(&tracked)?.into_primal();
        if !loss.is_tracked() {
            return Err(Error::InvalidOption {
                option: "trains",
                got: format!("{trains:?}"),
                expected: "parameters that the loss depends on".to_string(),
            });
        }
        let gradients = loss.backward();
        Ok((scalar(loss.without_autodiff()), tracked.gradient(&gradients)))
    }

    /// The objective as a body and a head, if it is made of these; see [`HeadedObjective`].
    fn headed(&self) -> Option<&dyn HeadedObjective> {
        None
    }
}

/// An objective whose parameters in the role of [head](crate::ParamRole::Head) act on the features
/// that the rest of the model computes: `loss = head(features(params), params)`.
///
/// It lets the head's gradient come from another estimator than the adapters', at the cost of the
/// head alone; see [`ByRole`](crate::estimators::ByRole).
pub trait HeadedObjective: Objective {
    /// What the body hands to the head, `[batch, features]`; does not depend on the head's
    /// parameters.
    ///
    /// # Errors
    ///
    /// As [`forward`](Objective::forward).
    fn features(&self, params: &DualParams) -> Result<Dual<2>>;

    /// The mean loss of the batch, shape `[1]`, from the features on; depends on the head's
    /// parameters only.
    ///
    /// # Errors
    ///
    /// As [`forward`](Objective::forward).
    fn head(&self, params: &DualParams, features: Dual<2>) -> Result<Dual<1>>;
}

/// A loss and its derivatives along `K` directions.
#[derive(Clone, Debug, PartialEq)]
pub struct Jvp {
    /// The mean loss of the batch.
    pub loss: f64,
    /// `⟨∇loss, direction k⟩` for each direction.
    pub derivatives: Vec<f64>,
}

/// Sums over evaluated examples; adds up over batches and clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Sum of the examples' losses.
    pub loss_sum: f64,
    /// Number of correctly predicted examples.
    pub correct: usize,
    /// Sum of the examples' F1, for tasks whose predictions can be correct in part, such as
    /// answers that overlap with the right one.
    pub f1_sum: Option<f64>,
    /// Number of examples.
    pub examples: usize,
}

impl Evaluation {
    /// Cross entropy and correct predictions of a classifier: `logits` is `[examples, classes]`,
    /// `targets` is `[examples]`.
    pub fn of_logits(logits: Tensor<2>, targets: Tensor<1, Int>) -> Self {
        let [examples, _] = logits.dims();
        let predicted = logits.clone().argmax(1).reshape([examples]);
        let correct = predicted.equal(targets.clone()).int().sum().into_scalar::<i64>();
        let loss = scalar(cross_entropy(Dual::constant(logits), targets).into_primal());
        Self { loss_sum: loss * examples as f64, correct: correct as usize, f1_sum: None, examples }
    }

    /// Mean loss; NaN without examples.
    pub fn loss(&self) -> f64 {
        self.loss_sum / self.examples as f64
    }

    /// Share of correct predictions, in `[0, 1]`; NaN without examples.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.examples as f64
    }

    /// Mean F1, in `[0, 1]`, for tasks that have it; NaN without examples.
    pub fn f1(&self) -> Option<f64> {
        self.f1_sum.map(|sum| sum / self.examples as f64)
    }
}

impl std::iter::Sum for Evaluation {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |a, b| Self {
            loss_sum: a.loss_sum + b.loss_sum,
            correct: a.correct + b.correct,
            f1_sum: match (a.f1_sum, b.f1_sum) {
                (Some(a), Some(b)) => Some(a + b),
                (a, b) => a.or(b),
            },
            examples: a.examples + b.examples,
        })
    }
}

fn scalar(tensor: Tensor<1>) -> f64 {
    tensor.into_scalar::<f64>()
}
