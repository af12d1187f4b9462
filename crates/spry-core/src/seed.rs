//! [`Seed`]: every random number of a run, as a pure function of where it is used.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use spry_dual::ops::DropoutSeed;

/// A node in the tree of random streams of a run.
///
/// There is no generator whose state moves on: a seed is a 256-bit key, [`Seed::child`] derives
/// the key of a named and numbered sub-stream, and each stream is indexable. A perturbation is
/// thereby a pure function of (run seed, round, client, step, direction, parameter path, index),
/// which is what lets a client send `K` scalars instead of weights.
///
/// # Stream layout
///
/// ```text
/// run ─┬─ ("evaluation", 0)                                    which clients evaluate
///      └─ ("round", r) ┬─ ("cohort", 0)                       which clients take part, in order
///                      └─ ("client", c) ─┬─ ("epoch", e)      order of the examples
///                                        └─ ("step", s) ─┬─ ("dropout", 0)
///                                                        └─ ("direction", k) ── ("<path>", 0)
/// ```
///
/// # Definition
///
/// The key of a run is BLAKE3's `derive_key` with the context `"spry 2026-11 run seed"` on the
/// seed's 8 little-endian bytes. The key of a child is BLAKE3's keyed hash, under the parent's
/// key, of the label's bytes followed by the index as 8 little-endian bytes. A stream's words are
/// those of ChaCha8 under the key (nonce 0), so word `i` can be computed on its own. Uniform and
/// normal numbers use only IEEE arithmetic and the portable `libm`, so results are bit-identical
/// on every machine; they are computed on the host and then moved to a device.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Seed([u8; 32]);

impl Seed {
    /// The root of a run's streams.
    pub fn new(run_seed: u64) -> Self {
        Self(blake3::derive_key("spry 2026-11 run seed", &run_seed.to_le_bytes()))
    }

    /// A named, numbered sub-stream.
    pub fn child(&self, label: &str, index: u64) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(label.as_bytes());
        hasher.update(&index.to_le_bytes());
        Self(*hasher.finalize().as_bytes())
    }

    /// The stream of a server round.
    pub fn server_round(&self, server_round: u64) -> Self {
        self.child("round", server_round)
    }

    /// Within a round, the stream of a client.
    pub fn client(&self, client: usize) -> Self {
        self.child("client", client as u64)
    }

    /// Within a client's work, the stream of a training step.
    pub fn step(&self, step: u64) -> Self {
        self.child("step", step)
    }

    /// Within a step, the seed of its dropout masks.
    pub fn dropout(&self) -> DropoutSeed {
        DropoutSeed(self.child("dropout", 0).rng_at(0).next_u64())
    }

    /// Within a step, the stream of direction `k`; its values are drawn per parameter path, so
    /// those of one parameter do not depend on which others are perturbed.
    pub fn direction(&self, k: usize) -> Self {
        self.child("direction", k as u64)
    }

    fn rng_at(&self, word: u128) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::from_seed(self.0);
        rng.set_word_pos(word);
        rng
    }

    /// `count` independent numbers from the standard normal distribution, from `start` on.
    ///
    /// Box–Muller in `f64`: numbers `2i` and `2i + 1` come from the 64-bit words `2i` and `2i + 1`
    /// of the stream, and are rounded to `f32` at the end.
    ///
    /// ```
    /// use spry_core::Seed;
    ///
    /// let seed = Seed::new(0);
    /// let all = seed.normals(0, 100);
    /// assert_eq!(seed.normals(31, 7), all[31..38]);
    /// ```
    pub fn normals(&self, start: usize, count: usize) -> Vec<f32> {
        let first_pair = start / 2;
        let mut rng = self.rng_at(4 * first_pair as u128);
        let mut normals = Vec::with_capacity(count + 2);
        while normals.len() < count + start % 2 {
            // In (0, 1], so that the logarithm is finite.
            let u = 1.0 - unit(rng.next_u64());
            let angle = std::f64::consts::TAU * unit(rng.next_u64());
            let radius = (-2.0 * libm::log(u)).sqrt();
            normals.push((radius * libm::cos(angle)) as f32);
            normals.push((radius * libm::sin(angle)) as f32);
        }
        normals.drain(..start % 2);
        normals.truncate(count);
        normals
    }

    /// `count` independent signs, `+1` or `−1`: sign `i` is bit `i mod 64` of the stream's 64-bit
    /// word `i / 64`.
    ///
    /// ```
    /// use spry_core::Seed;
    ///
    /// let signs = Seed::new(0).signs(1000);
    /// assert!(signs.iter().all(|sign| sign.abs() == 1.0));
    /// assert!(signs.iter().sum::<f32>().abs() < 100.0);
    /// ```
    pub fn signs(&self, count: usize) -> Vec<f32> {
        let mut rng = self.rng_at(0);
        let mut signs = Vec::with_capacity(count.next_multiple_of(64));
        while signs.len() < count {
            let word = rng.next_u64();
            signs.extend((0..64).map(|bit| if word >> bit & 1 == 1 { 1.0 } else { -1.0 }));
        }
        signs.truncate(count);
        signs
    }

    /// `count` independent numbers, uniform in `[0, 1)`.
    pub fn uniforms(&self, count: usize) -> Vec<f64> {
        let mut rng = self.rng_at(0);
        (0..count).map(|_| unit(rng.next_u64())).collect()
    }

    /// The generator of this stream, from its beginning, for use with distributions of other
    /// crates.
    pub fn rng(&self) -> ChaCha8Rng {
        self.rng_at(0)
    }

    /// Shuffles in place (Fisher–Yates).
    pub fn shuffle<T>(&self, items: &mut [T]) {
        self.shuffle_tail(items, items.len());
    }

    /// `count` of the numbers `0..total` without repetition, in increasing order.
    ///
    /// # Panics
    ///
    /// If `count` is larger than `total`.
    pub fn sample(&self, total: usize, count: usize) -> Vec<usize> {
        let mut sampled = self.shuffled_sample(total, count);
        sampled.sort_unstable();
        sampled
    }

    /// The numbers of [`sample`](Self::sample) in a uniform random order: where a number stands
    /// says nothing about how large it is.
    ///
    /// # Panics
    ///
    /// If `count` is larger than `total`.
    ///
    /// ```
    /// use spry_core::Seed;
    ///
    /// let seed = Seed::new(0);
    /// let mut sampled = seed.shuffled_sample(100, 10);
    /// assert!(!sampled.is_sorted());
    /// sampled.sort();
    /// assert_eq!(sampled, seed.sample(100, 10));
    /// ```
    pub fn shuffled_sample(&self, total: usize, count: usize) -> Vec<usize> {
        assert!(count <= total, "cannot sample {count} of {total} without repetition");
        let mut items: Vec<usize> = (0..total).collect();
        self.shuffle_tail(&mut items, count);
        items.split_off(total - count)
    }

    /// The first `count` steps of Fisher–Yates from the end: the last `count` items are a uniform
    /// sample in uniform order.
    fn shuffle_tail<T>(&self, items: &mut [T], count: usize) {
        let mut rng = self.rng_at(0);
        let total = items.len();
        for step in 0..count.min(total.saturating_sub(1)) {
            let last = total - 1 - step;
            items.swap(last, below(&mut rng, last as u64 + 1) as usize);
        }
    }
}

/// 53 random bits as a number in `[0, 1)`.
fn unit(word: u64) -> f64 {
    (word >> 11) as f64 / (1u64 << 53) as f64
}

/// Uniform in `0..bound` without bias (Lemire's method with rejection).
fn below(rng: &mut ChaCha8Rng, bound: u64) -> u64 {
    let threshold = bound.wrapping_neg() % bound;
    loop {
        let product = u128::from(rng.next_u64()) * u128::from(bound);
        if product as u64 >= threshold {
            return (product >> 64) as u64;
        }
    }
}
