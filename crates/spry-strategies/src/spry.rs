//! Spry, with one exchange per round ("Thinking Forward", arXiv 2405.15551, Algorithm 1).

use std::sync::Arc;

use spry_core::optim::{AdamWConfig, AdaptiveConfig, LocalOptimizerConfig, ServerOptimizer};
use spry_core::{ForwardGradient, LocalTraining};

use crate::{Assignment, HeadAssignment, Method, MethodSpec};

/// Spry's entry in the list of methods.
pub const SPEC: MethodSpec = MethodSpec {
    name: "spry",
    summary: "clients train a part each, by forward gradients; the server merges the parts",
    method: spry,
};

/// Groups are split cyclically over the cohort and the head is shared by all; each client
/// estimates the gradient of its part by one forward-mode pass per batch (K = 1) and steps with
/// AdamW; the server averages each part over the clients that trained it, then applies Yogi.
pub fn spry() -> Method {
    Method {
        name: SPEC.name.to_string(),
        assignment: Assignment::Split { head: HeadAssignment::Shared },
        training: LocalTraining {
            estimator: Arc::new(ForwardGradient::default()),
            optimizer: LocalOptimizerConfig::AdamW(AdamWConfig::default()),
            epochs: 1,
            batch_size: 8,
        },
        server: ServerOptimizer::Adaptive(AdaptiveConfig::yogi()),
    }
}
