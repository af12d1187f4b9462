//! [`Perturbation`]: how random directions are distributed; [`Directions`]: those of one step.
//!
//! Directions are never sent: both ends of a connection replay them from the step's seed. All of
//! this is computed on the host, in `f64` where sums are formed, so that client and server agree
//! bit for bit on every machine and device.

use std::collections::BTreeSet;
use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::{Error, Param, ParamSet, Result, Seed};

/// Distribution of random directions `v`. All satisfy `E[v vᵀ] = I`, so that `⟨∇f, v⟩ v` is an
/// unbiased estimate of ∇f.
///
/// With `d` trained values, the mean over `K` directions, `g = (1/K) Σ ⟨∇f, vₖ⟩ vₖ`, has
///
/// | directions | `E‖g‖² / ‖∇f‖²` |
/// |---|---|
/// | Gaussian | `(d + K + 1) / K` |
/// | Rademacher | `(d + K − 1) / K` |
/// | orthonormal | `d / K` |
///
/// *Derivation.* `E‖g‖² = (1/K²)(K·a + K(K−1)‖∇f‖²)`, where `a = E[⟨∇f, v⟩² ‖v‖²]` belongs to a
/// single direction and the cross terms are those of independent unbiased estimates. For signs,
/// `‖v‖² = d` gives `a = d‖∇f‖²`. For a Gaussian, split `v` into its component `z` along ∇f and the
/// rest: `a = ‖∇f‖² E[z²(z² + χ²_{d−1})] = ‖∇f‖²(3 + d − 1)`. For an orthonormal set scaled by
/// `√d`, `g = (d/K) P∇f` with a projection `P` on a random `K`-dimensional subspace, and
/// `E‖P∇f‖² = (K/d)‖∇f‖²`. (For the Gaussian see also Nesterov and Spokoiny 2017, theorem 3, doi
/// 10.1007/s10208-015-9296-2.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Perturbation {
    /// Independent standard normal values, as in the paper.
    #[default]
    Gaussian,
    /// Independent signs, `+1` or `−1` with equal probability.
    Rademacher,
    /// A step's directions are orthogonal to each other and have length `√d`: Gaussian ones,
    /// orthonormalised and scaled. Needs `K ≤ d`, and memory for `K` directions in `f64`.
    Orthonormal,
}

/// The directions of one training step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directions {
    /// How they are distributed.
    pub perturbation: Perturbation,
    /// How many there are.
    pub count: usize,
}

/// A coefficient along one of a step's directions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Term {
    /// Number of the direction, from 0 on.
    pub direction: u32,
    /// Its coefficient.
    pub coefficient: f64,
}

impl Directions {
    /// Gaussian directions, the paper's.
    pub fn gaussian(count: usize) -> Self {
        Self { perturbation: Perturbation::Gaussian, count }
    }

    /// The directions of a step over the parameters in `like`, in order. They are replayed when
    /// their values are needed, except for orthonormal ones, which depend on each other and have to
    /// be stored.
    ///
    /// # Errors
    ///
    /// As [`check_fits`](Self::check_fits).
    pub fn each(&self, seed: &Seed, like: &ParamSet) -> Result<Vec<Direction>> {
        if self.perturbation == Perturbation::Orthonormal {
            let vectors = self.orthonormal(seed, like)?;
            let stored = |flat: &Vec<f64>| Direction::stored(unflatten(flat, like));
            return Ok(vectors.iter().map(stored).collect());
        }
        let paths: Arc<BTreeSet<String>> = Arc::new(like.paths().map(str::to_owned).collect());
        let replayed = |k| {
            let (perturbation, seed, paths) = (self.perturbation, seed.direction(k), paths.clone());
            Direction(Source::Replayed { perturbation, seed, paths })
        };
        Ok((0..self.count).map(replayed).collect())
    }

    /// The directions themselves, in memory.
    ///
    /// ```
    /// use spry_core::perturbation::{Directions, Perturbation};
    /// use spry_core::testing::Quadratic;
    /// use spry_core::Seed;
    ///
    /// let like = Quadratic::new(&[2, 3], 0).initial_params();
    /// let directions = Directions { perturbation: Perturbation::Orthonormal, count: 2 };
    /// let all = directions.all(&Seed::new(0), &like)?;
    /// assert!(all[0].dot(&all[1])?.abs() < 1e-5);
    /// assert!((all[0].dot(&all[0])? - 5.0).abs() < 1e-5);
    /// # Ok::<(), spry_core::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`check_fits`](Self::check_fits).
    pub fn all(&self, seed: &Seed, like: &ParamSet) -> Result<Vec<ParamSet>> {
        Ok(self.each(seed, like)?.iter().map(|direction| direction.to_params(like)).collect())
    }

    /// Fails if there cannot be so many directions over a number of values.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] for more orthonormal directions than values.
    pub fn check_fits(&self, values: usize) -> Result<()> {
        if self.perturbation != Perturbation::Orthonormal || self.count <= values {
            return Ok(());
        }
        Err(Error::InvalidOption {
            option: "number of directions",
            got: self.count.to_string(),
            expected: format!("at most the number of trained values, {values}, if orthonormal"),
        })
    }

    /// `Σ coefficient · direction` over the parameters in `like`, one at a time, so that the whole
    /// need not be in memory: what both ends of a connection make of a projected gradient, bit for
    /// bit.
    pub(crate) fn combine_each(
        &self,
        terms: &[Term],
        seed: &Seed,
        like: &ParamSet,
        receive: &mut dyn FnMut(&str, Param) -> Result<()>,
    ) -> Result<()> {
        for term in terms {
            self.check_index(term.direction as usize)?;
        }
        if self.perturbation == Perturbation::Orthonormal {
            let vectors = self.orthonormal(seed, like)?;
            let mut sum = vec![0.0; like.num_elements()];
            for term in terms {
                add_scaled(&mut sum, term.coefficient, &vectors[term.direction as usize]);
            }
            let combined = unflatten(&sum, like);
            return combined.iter().try_for_each(|(path, param)| receive(path, param.clone()));
        }
        for (path, param) in like.iter() {
            let mut sum = vec![0.0; param.num_elements()];
            for term in terms {
                let stream = seed.direction(term.direction as usize);
                let values = self.perturbation.values(&stream, path, param.num_elements());
                for (sum, value) in sum.iter_mut().zip(values) {
                    *sum += term.coefficient * f64::from(value);
                }
            }
            receive(path, param.with_vec(sum))?;
        }
        Ok(())
    }

    fn check_index(&self, k: usize) -> Result<()> {
        if k < self.count {
            return Ok(());
        }
        Err(Error::InvalidOption {
            option: "direction",
            got: k.to_string(),
            expected: format!("below the number of directions, {}", self.count),
        })
    }

    /// Gaussian directions, orthonormalised in `f64` (modified Gram–Schmidt, twice for accuracy),
    /// scaled to length `√d`; flat, in path order.
    fn orthonormal(&self, seed: &Seed, like: &ParamSet) -> Result<Vec<Vec<f64>>> {
        let d = like.num_elements();
        self.check_fits(d)?;
        let mut vectors: Vec<Vec<f64>> = Vec::with_capacity(self.count);
        for k in 0..self.count {
            let stream = seed.direction(k);
            let mut vector: Vec<f64> = like
                .iter()
                .flat_map(|(path, param)| {
                    Perturbation::Gaussian.values(&stream, path, param.num_elements())
                })
                .map(f64::from)
                .collect();
            for earlier in vectors.iter().chain(&vectors) {
                let projection = dot(earlier, &vector);
                add_scaled(&mut vector, -projection, earlier);
            }
            let length = dot(&vector, &vector).sqrt();
            vector.iter_mut().for_each(|value| *value /= length);
            vectors.push(vector);
        }
        let scale = (d as f64).sqrt();
        vectors.iter_mut().flatten().for_each(|value| *value *= scale);
        Ok(vectors)
    }
}

impl Perturbation {
    /// The values of one direction for the parameter at a path; not for orthonormal ones, which
    /// depend on each other.
    fn values(self, stream: &Seed, path: &str, count: usize) -> Vec<f32> {
        let stream = stream.child(path, 0);
        match self {
            Self::Gaussian | Self::Orthonormal => stream.normals(0, count),
            Self::Rademacher => stream.signs(count),
        }
    }
}

/// One direction over some parameters, stored or replayed from its seed.
#[derive(Clone, Debug)]
pub struct Direction(Source);

#[derive(Clone, Debug)]
enum Source {
    Stored(ParamSet),
    /// Never orthonormal: such a direction is not a function of its own stream.
    Replayed {
        perturbation: Perturbation,
        seed: Seed,
        paths: Arc<BTreeSet<String>>,
    },
}

impl Direction {
    /// A direction that is held in memory.
    pub fn stored(direction: ParamSet) -> Self {
        Self(Source::Stored(direction))
    }

    /// The same direction held in memory, for the parameters in `like` that it covers.
    pub fn to_stored(&self, like: &ParamSet) -> Self {
        Self::stored(self.to_params(like))
    }

    /// The direction's values, for the parameters in `like` that it covers.
    pub fn to_params(&self, like: &ParamSet) -> ParamSet {
        let covered = like.iter().filter_map(|(path, param)| {
            Some((path.to_string(), param.with_values(self.values(path, param)?)))
        });
        covered.collect()
    }

    /// Whether the direction reaches the parameter at a path.
    pub(crate) fn reaches(&self, path: &str) -> bool {
        match &self.0 {
            Source::Stored(direction) => direction.contains(path),
            Source::Replayed { paths, .. } => paths.contains(path),
        }
    }

    /// The direction's values for a parameter, flat; `None` where it does not reach.
    pub(crate) fn values(&self, path: &str, param: &Param) -> Option<Tensor<1>> {
        match &self.0 {
            Source::Stored(direction) => Some(direction.get(path).ok()?.values().clone()),
            Source::Replayed { perturbation, seed, paths } => paths.contains(path).then(|| {
                let count = param.num_elements();
                let data = TensorData::new(perturbation.values(seed, path, count), [count]);
                Tensor::from_data(data, (&param.values().device(), param.dtype()))
            }),
        }
    }

    /// Fails if a stored direction does not fit the parameters.
    pub(crate) fn check_fits(&self, params: &ParamSet) -> Result<()> {
        let Source::Stored(direction) = &self.0 else { return Ok(()) };
        direction
            .iter()
            .try_for_each(|(path, values)| params.get(path)?.check_same_shape(path, values))
    }
}

fn unflatten(flat: &[f64], like: &ParamSet) -> ParamSet {
    let mut rest = flat;
    like.iter()
        .map(|(path, param)| {
            let (own, others) = rest.split_at(param.num_elements());
            rest = others;
            (path.to_string(), param.with_vec(own.to_vec()))
        })
        .collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add_scaled(sum: &mut [f64], factor: f64, values: &[f64]) {
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum += factor * value;
    }
}
