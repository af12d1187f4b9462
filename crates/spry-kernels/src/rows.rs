//! How values and their tangents are handed to a kernel.

/// A value and its tangents to be read; each tangent is laid out as the value. Without tangents
/// the value is a constant.
#[derive(Clone, Debug, Default)]
pub struct DualRef<'a> {
    pub(crate) primal: &'a [f32],
    pub(crate) tangents: Vec<&'a [f32]>,
}

impl<'a> DualRef<'a> {
    /// A value with its tangents.
    ///
    /// # Panics
    ///
    /// If a tangent is not as long as the value.
    pub fn new(primal: &'a [f32], tangents: impl IntoIterator<Item = &'a [f32]>) -> Self {
        let tangents: Vec<_> = tangents.into_iter().collect();
        check_lengths(primal, tangents.iter().map(|tangent| tangent.len()));
        Self { primal, tangents }
    }

    /// The value, or for `part` from 1 on a tangent.
    pub(crate) fn part(&self, part: usize) -> &'a [f32] {
        if part == 0 { self.primal } else { self.tangents[part - 1] }
    }

    /// A value without tangents.
    pub fn constant(primal: &'a [f32]) -> Self {
        Self { primal, tangents: Vec::new() }
    }
}

/// A value and its tangents to be changed in place.
#[derive(Debug)]
pub struct DualMut<'a> {
    pub(crate) primal: &'a mut [f32],
    pub(crate) tangents: Vec<&'a mut [f32]>,
}

impl<'a> DualMut<'a> {
    /// A value with its tangents.
    ///
    /// # Panics
    ///
    /// If a tangent is not as long as the value.
    pub fn new(primal: &'a mut [f32], tangents: impl IntoIterator<Item = &'a mut [f32]>) -> Self {
        let tangents: Vec<_> = tangents.into_iter().collect();
        check_lengths(primal, tangents.iter().map(|tangent| tangent.len()));
        Self { primal, tangents }
    }
}

/// A value and its tangents as computed by a kernel; no tangents if no operand had any.
#[derive(Clone, Debug, PartialEq)]
pub struct DualVec {
    /// The value.
    pub primal: Vec<f32>,
    /// One derivative per direction.
    pub tangents: Vec<Vec<f32>>,
}

fn check_lengths(primal: &[f32], tangents: impl Iterator<Item = usize>) {
    for length in tangents {
        assert!(
            length == primal.len(),
            "spry-kernels: a tangent has {length} values, its primal {}",
            primal.len()
        );
    }
}

/// The number of directions of operands, of which each has that many or none.
///
/// # Panics
///
/// If two operands have tangents, but not the same number.
pub(crate) fn directions(operands: &[usize]) -> usize {
    let k = operands.iter().copied().max().unwrap_or(0);
    assert!(
        operands.iter().all(|&count| count == 0 || count == k),
        "spry-kernels: operands have {operands:?} directions; each must have the same number or none"
    );
    k
}
