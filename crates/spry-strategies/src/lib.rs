//! Federated finetuning methods, one file each.
//!
//! Every method is a product of choices, a value of [`Method`]: which parameters each client
//! trains, where gradients come from, what travels how often, and what the server makes of the
//! mean. A new method is one file with such a value and one line in [`METHODS`].
//!
//! - [`method`]: [`Method`] and how it runs.
//! - [`assignment`]: who trains what; Spry's cyclic splitting.
//! - [`options`]: changing a method's options by name.
//! - [`spry`], and the methods it is compared with: [`fedavg`], [`fedyogi`], [`fedsgd`]
//!   (backpropagation), [`fwdllm_plus`], [`baffle_plus`], [`fedmezo`] (finite differences).
//! - Ablations, which change one choice of another method: [`fedfgd`], [`fedavg_split`],
//!   [`fedyogi_split`], [`baffle`], [`fwdllm`].

pub mod assignment;
pub mod baffle;
pub mod baffle_plus;
pub mod fedavg;
pub mod fedavg_split;
pub mod fedfgd;
pub mod fedmezo;
pub mod fedsgd;
pub mod fedyogi;
pub mod fedyogi_split;
pub mod fwdllm;
pub mod fwdllm_plus;
mod lists;
pub mod method;
pub mod options;
pub mod spry;

pub use assignment::{Assignment, HeadAssignment};
pub use method::{Exchange, LocalSteps, Method};

/// A method by name.
pub struct MethodSpec {
    /// The name, as users write it.
    pub name: &'static str,
    /// What it is, in one line.
    pub summary: &'static str,
    /// Whether it only serves to show what one choice of another method is worth.
    pub is_ablation: bool,
    /// The method with the paper's options.
    pub method: fn() -> Method,
}

/// All methods: Spry, its baselines, then the ablations.
pub const METHODS: &[MethodSpec] = &[
    spry::SPEC,
    fedavg::SPEC,
    fedyogi::SPEC,
    fedsgd::SPEC,
    fwdllm_plus::SPEC,
    baffle_plus::SPEC,
    fedmezo::SPEC,
    fedfgd::SPEC,
    fedavg_split::SPEC,
    fedyogi_split::SPEC,
    baffle::SPEC,
    fwdllm::SPEC,
];

/// The method with a name.
///
/// # Errors
///
/// [`spry_core::Error::InvalidOption`], listing the known names.
///
/// ```
/// assert_eq!(spry_strategies::find("spry")?.name, "spry");
/// assert!(spry_strategies::find("sgd").is_err());
/// # Ok::<(), spry_core::Error>(())
/// ```
pub fn find(name: &str) -> spry_core::Result<Method> {
    let spec = METHODS.iter().find(|spec| spec.name == name);
    spec.map(|spec| (spec.method)()).ok_or_else(|| {
        let names: Vec<&str> = METHODS.iter().map(|spec| spec.name).collect();
        spry_core::Error::InvalidOption {
            option: "strategy",
            got: format!("`{name}`"),
            expected: format!("one of {}", names.join(", ")),
        }
    })
}
