//! Federated finetuning methods, one file each.
//!
//! Every method is a product of four choices, a value of [`Method`]: which parameters each client
//! trains, where its gradient comes from, what steps its weights, and what the server makes of
//! the mean. A new method is one file with such a value and one line in [`METHODS`].
//!
//! - [`method`]: [`Method`] and how it runs.
//! - [`assignment`]: who trains what; Spry's cyclic splitting.
//! - [`spry`], [`fedavg`]: the methods.

pub mod assignment;
pub mod fedavg;
pub mod method;
pub mod spry;

pub use assignment::{Assignment, HeadAssignment};
pub use method::Method;

/// A method by name.
pub struct MethodSpec {
    /// The name, as users write it.
    pub name: &'static str,
    /// What it is, in one line.
    pub summary: &'static str,
    /// The method with the paper's options.
    pub method: fn() -> Method,
}

/// All methods.
pub const METHODS: &[MethodSpec] = &[spry::SPEC, fedavg::SPEC];

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
