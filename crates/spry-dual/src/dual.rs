//! [`Dual`]: a value and its derivatives; [`Tangents`]: the derivatives along `K` directions.

use burn::tensor::{Device, Tensor};

use crate::trace;

/// The derivatives of one tensor along `K` directions.
///
/// [`Tangents::Zero`] is *symbolic*: it says that the value does not depend on anything that is
/// being perturbed. Rules test for it and do no tangent work, so everything before the first
/// perturbed weight is plain inference.
///
/// The `K` tangents are kept as a list of tensors of the primal's shape; see
/// `docs/adr/0003-tangent-layout.md` for the measurement behind that.
#[derive(Clone, Debug)]
pub enum Tangents<const D: usize> {
    /// All derivatives are zero, for any number of directions.
    Zero,
    /// One tensor per direction, each of the primal's shape. Never empty.
    Dense(Vec<Tensor<D>>),
}

impl<const D: usize> Tangents<D> {
    /// Whether this is the symbolic zero.
    pub fn is_zero(&self) -> bool {
        matches!(self, Self::Zero)
    }

    /// Number of directions carried; 0 for the symbolic zero.
    pub fn len(&self) -> usize {
        match self {
            Self::Zero => 0,
            Self::Dense(list) => list.len(),
        }
    }

    /// Same as [`is_zero`](Self::is_zero): no direction is carried.
    pub fn is_empty(&self) -> bool {
        self.is_zero()
    }

    /// Applies a linear map to each direction.
    pub fn map<const E: usize>(self, linear: impl FnMut(Tensor<D>) -> Tensor<E>) -> Tangents<E> {
        match self {
            Self::Zero => Tangents::Zero,
            Self::Dense(list) => Tangents::Dense(list.into_iter().map(linear).collect()),
        }
    }

    /// Sum of two sets of tangents; zero is the neutral element.
    ///
    /// # Panics
    ///
    /// If both are dense with different numbers of directions.
    pub fn accumulate(self, other: Self) -> Self {
        match (self, other) {
            (Self::Zero, tangents) | (tangents, Self::Zero) => tangents,
            (Self::Dense(left), Self::Dense(right)) => {
                check_same_k("add", left.len(), right.len());
                Self::Dense(left.into_iter().zip(right).map(|(a, b)| a.add(b)).collect())
            }
        }
    }

    /// The `k`-th derivative, or a tensor of zeros like `primal` for the symbolic zero.
    ///
    /// # Panics
    ///
    /// If `k` is not smaller than the number of directions carried.
    pub fn direction(&self, k: usize, primal: &Tensor<D>) -> Tensor<D> {
        match self {
            Self::Zero => primal.zeros_like(),
            Self::Dense(list) => match list.get(k) {
                Some(tangent) => tangent.clone(),
                None => panic!(
                    "spry-dual: direction {k} was asked for, but this dual carries {} direction(s); \
                     directions are counted from 0",
                    list.len()
                ),
            },
        }
    }
}

/// Panics unless two operands carry the same number of directions.
pub(crate) fn check_same_k(op: &str, left: usize, right: usize) {
    assert!(
        left == right,
        "spry-dual: `{op}` got operands with {left} and {right} directions; all perturbed inputs of \
         one pass must carry the same K: give every perturbed tensor one tangent per direction \
         (zeros where a direction does not touch it)"
    );
}

/// A derivative rule that does not exist.
///
/// Returned by [`Dual::without_rule`] when a value that carries tangents reaches an operation
/// whose derivative is not known to the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingRule {
    /// Name of the operation without a derivative rule.
    pub op: &'static str,
}

impl std::fmt::Display for MissingRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "no forward-mode derivative rule for `{op}`: the operand carries tangents, and dropping \
             them would silently give a wrong derivative; express `{op}` with operations from \
             `spry_dual::ops`, or stop the tangents on purpose with `Dual::detach`",
            op = self.op
        )
    }
}

impl std::error::Error for MissingRule {}

/// A tensor of rank `D` and its derivatives along `K` directions.
///
/// Duals are cheap to clone (tensors are reference-counted) and operations take them by value, so
/// that a buffer nobody else holds can be reused in place.
#[derive(Clone, Debug)]
pub struct Dual<const D: usize> {
    primal: Tensor<D>,
    tangents: Tangents<D>,
}

impl<const D: usize> Dual<D> {
    /// A value that does not depend on anything perturbed. Costs what the tensor costs.
    pub fn constant(primal: Tensor<D>) -> Self {
        Self { primal, tangents: Tangents::Zero }
    }

    /// A perturbed value: the primal and one tangent per direction.
    ///
    /// # Panics
    ///
    /// If `directions` is empty (use [`Dual::constant`]), a direction's shape or dtype differs
    /// from the primal's, or the primal is tracked by Burn's reverse mode, which does not mix
    /// with tangents.
    pub fn new(primal: Tensor<D>, directions: Vec<Tensor<D>>) -> Self {
        assert!(
            !directions.is_empty(),
            "spry-dual: a perturbed dual needs at least one direction; use Dual::constant for a \
             value without tangents"
        );
        assert!(
            !primal.is_autodiff(),
            "spry-dual: the primal is on an autodiff device; forward mode and reverse mode do not \
             nest: call `.without_autodiff()` on the primal, or drop the directions"
        );
        for (k, tangent) in directions.iter().enumerate() {
            assert!(
                tangent.dims() == primal.dims() && tangent.dtype() == primal.dtype(),
                "spry-dual: direction {k} has shape {:?} and dtype {:?}, but the primal has {:?} and \
                 {:?}; a tangent must match its primal",
                tangent.dims(),
                tangent.dtype(),
                primal.dims(),
                primal.dtype()
            );
        }
        Self { primal, tangents: Tangents::Dense(directions) }
    }

    /// Puts a primal and tangents computed by a rule together.
    pub(crate) fn from_parts(primal: Tensor<D>, tangents: Tangents<D>) -> Self {
        Self { primal, tangents }
    }

    /// The value.
    pub fn primal(&self) -> &Tensor<D> {
        &self.primal
    }

    /// The value, without its tangents.
    pub fn into_primal(self) -> Tensor<D> {
        self.primal
    }

    /// The derivatives.
    pub fn tangents(&self) -> &Tangents<D> {
        &self.tangents
    }

    /// The value and its derivatives.
    pub fn into_parts(self) -> (Tensor<D>, Tangents<D>) {
        (self.primal, self.tangents)
    }

    /// Shape of the value.
    pub fn dims(&self) -> [usize; D] {
        self.primal.dims()
    }

    /// Device of the value.
    pub fn device(&self) -> Device {
        self.primal.device()
    }

    /// Whether any direction is carried.
    pub fn is_perturbed(&self) -> bool {
        !self.tangents.is_zero()
    }

    /// Drops the tangents on purpose: what follows treats the value as a constant.
    pub fn detach(self) -> Self {
        Self::constant(self.primal)
    }

    /// Whether Burn's reverse mode tracks the value.
    pub(crate) fn is_reverse_mode(&self) -> bool {
        self.primal.is_autodiff()
    }

    /// Applies an operation that has no derivative rule.
    ///
    /// Works for values without tangents, such as in inference and in everything before the first
    /// perturbed weight.
    ///
    /// # Errors
    ///
    /// [`MissingRule`], naming `op`, if the value carries tangents.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use spry_dual::Dual;
    ///
    /// let x = Tensor::<1>::from_floats([3.0, 1.0], &Device::default());
    /// let sort = |x: Dual<1>| x.without_rule("sort", |x| x.sort(0));
    /// assert!(sort(Dual::constant(x.clone())).is_ok());
    /// let error = sort(Dual::new(x.clone(), vec![x])).unwrap_err();
    /// assert_eq!(error.op, "sort");
    /// ```
    pub fn without_rule<const E: usize>(
        self,
        op: &'static str,
        apply: impl FnOnce(Tensor<D>) -> Tensor<E>,
    ) -> Result<Dual<E>, MissingRule> {
        if self.is_perturbed() {
            return Err(MissingRule { op });
        }
        trace::record(op, 0);
        Ok(Dual::constant(apply(self.primal)))
    }
}

impl<const D: usize> From<Tensor<D>> for Dual<D> {
    fn from(primal: Tensor<D>) -> Self {
        Self::constant(primal)
    }
}
