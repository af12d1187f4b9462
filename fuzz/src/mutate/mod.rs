//! Other inputs from those of a corpus, each a function of a seed and a number.
//!
//! What is known of an input's form is used, so that mutations get past the first check: JSON stays
//! JSON, a safetensors header keeps its length, a file of a folder is changed without the others.
//! (A checksum is for the target itself to recompute.) One mutation in a few ignores all of that.

mod bytes;
mod forms;
mod text;

pub use bytes::Random;

use crate::{Shape, Target};

/// Inputs do not grow beyond this.
pub const LONGEST: usize = 1 << 18;

/// What mutations draw from.
struct Source<'a> {
    /// Words of the format.
    words: &'a [&'a str],
    /// Inputs to take parts of.
    corpus: &'a [&'a [u8]],
}

/// Mutation `number` of a run with a seed.
///
/// ```
/// use spry_fuzz::{TARGETS, mutate};
///
/// let (target, corpus) = (&TARGETS[0], [b"abc".as_slice(), b"defgh"]);
/// let input = mutate::mutated(target, &corpus, 1, 7);
/// assert_eq!(input, mutate::mutated(target, &corpus, 1, 7));
/// let others: Vec<Vec<u8>> = (0..9).map(|i| mutate::mutated(target, &corpus, 1, i)).collect();
/// assert!(others.iter().any(|other| *other != input));
/// ```
pub fn mutated(target: &Target, corpus: &[&[u8]], seed: u64, number: u64) -> Vec<u8> {
    let mut random = Random::new(target.name, seed, number);
    let source = Source { words: target.words, corpus };
    let mut input = random.pick(corpus).map_or_else(Vec::new, |input| input.to_vec());
    for _ in 0..1 + random.below(4) {
        let shape = if random.one_in(12) { Shape::Bytes } else { target.shape };
        input = step(&mut random, shape, input, &source);
        input.truncate(LONGEST);
    }
    input
}

/// One change of an input of a form.
fn step(random: &mut Random, shape: Shape, input: Vec<u8>, source: &Source) -> Vec<u8> {
    match shape {
        Shape::Bytes => bytes::change(random, input, source),
        Shape::Text if random.one_in(5) => bytes::change(random, input, source),
        Shape::Text => text::change(random, input, source),
        Shape::Json if random.one_in(8) => step(random, Shape::Text, input, source),
        Shape::Json => forms::json(random, input, source),
        Shape::Safetensors => forms::safetensors(random, input, source),
        Shape::Folder => forms::folder(random, input, source),
    }
}
