//! What a file may make this program allocate.
//!
//! A configuration of a hundred bytes can ask for any number of layers and for tables of any size,
//! and the header of a file can list any number of tensors. What they ask for is taken out of a
//! [`Budget`] before anything is allocated for it: one for what a file lists, one for what a
//! configuration names beside a checkpoint, bounded by what this really has, and one for what is
//! made up from a configuration alone (ADR 0024).

use crate::{Error, Result};

/// How many tensors there may be, how long their names in all, and how many values to allocate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Number of tensors.
    pub tensors: usize,
    /// Bytes of their names.
    pub name_bytes: usize,
    /// Values that are allocated for them.
    pub values: usize,
    /// Whose budget it is, for messages.
    pub of: &'static str,
}

/// Repeated layers that a configuration may ask for; the deepest published models have some
/// hundreds.
pub const MAX_LAYERS: usize = 4096;

/// Classes that a configuration may ask for.
pub const MAX_LABELS: usize = 1 << 20;

impl Budget {
    /// What one file, or an index of files, may list.
    pub const OF_FILE: Self =
        Self { tensors: 1 << 17, name_bytes: 1 << 24, values: usize::MAX, of: "a file" };

    /// What a model may have whose weights are made up from its configuration: 8 GiB in f32.
    pub const OF_RANDOM_MODEL: Self = Self {
        tensors: 1 << 17,
        name_bytes: 1 << 24,
        values: 1 << 31,
        of: "a model with random weights",
    };

    /// What a configuration may name beside a checkpoint of so many tensors. It may be a few more
    /// than these, which are then missing by name. Values are allocated for what the checkpoint
    /// does not have, such as a new head: 256 MiB in f32.
    pub fn beside_checkpoint(tensors: usize) -> Self {
        Self {
            tensors: tensors.saturating_mul(2).saturating_add(1024),
            values: 1 << 26,
            of: "this checkpoint",
            ..Self::OF_FILE
        }
    }

    /// Takes a name out of the budget.
    ///
    /// # Errors
    ///
    /// [`Error::OverBudget`] if it is used up.
    ///
    /// ```
    /// use spry_models::budget::Budget;
    ///
    /// let mut budget = Budget { tensors: 2, name_bytes: 5, ..Budget::OF_FILE };
    /// assert!(budget.take_name("abc").is_ok());
    /// assert!(budget.take_name("def").is_err());
    /// assert!(budget.take_name("de").is_ok());
    /// assert!(budget.take_name("").is_err());
    /// ```
    pub fn take_name(&mut self, name: &str) -> Result<()> {
        let tensors = self.tensors.checked_sub(1);
        let bytes = self.name_bytes.checked_sub(name.len());
        let (Some(tensors), Some(name_bytes)) = (tensors, bytes) else {
            return Err(self.exceeded(name, "is one too many"));
        };
        (self.tensors, self.name_bytes) = (tensors, name_bytes);
        Ok(())
    }

    /// Takes the values of a tensor out of the budget; returns how many these are.
    ///
    /// # Errors
    ///
    /// [`Error::OverBudget`] if it is used up, or the shape is beyond all numbers.
    ///
    /// ```
    /// use spry_models::budget::Budget;
    ///
    /// let mut budget = Budget { values: 10, ..Budget::OF_FILE };
    /// assert_eq!(budget.take_values("a", &[2, 3])?, 6);
    /// assert!(budget.take_values("b", &[5]).is_err());
    /// assert!(budget.take_values("c", &[1 << 40, 1 << 40]).is_err());
    /// # Ok::<(), spry_models::Error>(())
    /// ```
    pub fn take_values(&mut self, name: &str, shape: &[usize]) -> Result<usize> {
        let count = elements(shape).filter(|&count| count <= self.values);
        let too_many = || self.exceeded(name, &format!("of shape {shape:?} is too large"));
        let count = count.ok_or_else(too_many)?;
        self.values -= count;
        Ok(count)
    }

    fn exceeded(&self, name: &str, reason: &str) -> Error {
        Error::OverBudget { name: name.to_string(), reason: reason.to_string(), budget: self.of }
    }
}

/// The number of values of a shape; `None` if no number is large enough.
///
/// ```
/// use spry_models::budget::elements;
///
/// assert_eq!(elements(&[2, 3]), Some(6));
/// assert_eq!(elements(&[usize::MAX, 2]), None);
/// ```
pub fn elements(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |count, &axis| count.checked_mul(axis))
}
