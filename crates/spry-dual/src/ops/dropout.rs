//! Dropout whose mask is a pure function of a seed.

use burn::tensor::{Tensor, TensorData};

use crate::kernels::Kernels;
use crate::{Dual, trace};

/// Identifies one dropout mask: element `i` is kept or dropped by a hash of `(seed, i)`.
///
/// The hash is SplitMix64's output function (Steele et al. 2014, doi 10.1145/2660193.2660195)
/// at position `i` of the sequence that starts at the seed, so any element of any mask can be
/// computed on its own, with the same result on every machine and device. Two passes with equal
/// seeds see equal masks: both ends of a finite difference do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropoutSeed(pub u64);

impl DropoutSeed {
    /// The seed of the `site`-th dropout in a network that was given this seed.
    pub fn site(self, site: u64) -> Self {
        Self(split_mix(self.0, site))
    }

    /// Whether element `index` is kept under the given dropout probability.
    pub fn keeps(self, index: u64, probability: f64) -> bool {
        let uniform = (split_mix(self.0, index) >> 11) as f64 / (1u64 << 53) as f64;
        uniform >= probability
    }
}

/// Output `index` of the SplitMix64 sequence that starts at `state`.
fn split_mix(state: u64, index: u64) -> u64 {
    let mut z = state.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// What kept elements are multiplied by.
pub(crate) fn kept_scale(probability: f64) -> f32 {
    (1.0 / (1.0 - probability)) as f32
}

/// Zeroes each element with the given probability and divides the others by `1 − probability`.
///
/// `y = m ⊙ x / (1 − p)`, `dy = m ⊙ dx / (1 − p)`: all directions share the mask. A probability of
/// 0 returns the input untouched.
///
/// # Panics
///
/// If the probability is not in `[0, 1)`.
pub fn dropout<const D: usize>(x: Dual<D>, probability: f64, seed: DropoutSeed) -> Dual<D> {
    assert!(
        (0.0..1.0).contains(&probability),
        "spry-dual: a dropout probability must be at least 0 and below 1, got {probability}"
    );
    if probability == 0.0 {
        return x;
    }
    if let Some(kernels) = Kernels::for_all(&[&x]) {
        trace::record("dropout", x.tangents().len());
        return kernels.dropout(x, kept_scale(probability), |i| seed.keeps(i, probability));
    }
    let shape = x.dims();
    let kept = kept_scale(probability);
    let count = shape.iter().product::<usize>() as u64;
    let mask: Vec<f32> =
        (0..count).map(|i| if seed.keeps(i, probability) { kept } else { 0.0 }).collect();
    let options = (&x.primal().device().inner(), x.primal().dtype());
    let mask = Tensor::<D>::from_data(TensorData::new(mask, shape), options);
    x.linear_map("dropout", |t| t.mul(mask.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_mix_matches_the_published_sequence() {
        // First outputs of SplitMix64 seeded with 1234567, as listed with the reference code.
        let expected = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
        ];
        for (index, value) in expected.into_iter().enumerate() {
            assert_eq!(split_mix(1_234_567, index as u64), value);
        }
    }

    #[test]
    fn drops_the_asked_share() {
        for probability in [0.1, 0.5, 0.9] {
            let dropped = (0..100_000).filter(|&i| !DropoutSeed(7).keeps(i, probability)).count();
            let share = dropped as f64 / 100_000.0;
            assert!((share - probability).abs() < 0.01, "{probability}: {share}");
        }
    }
}
