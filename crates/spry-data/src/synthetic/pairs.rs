//! A report and a claim about it.

use spry_core::Seed;

use super::words::TOPICS;
use super::{Dice, Fact};
use crate::{TextDataset, TextExample};

/// Relations between report and claim: it follows, it is open, it is denied.
pub(super) const RELATIONS: usize = 3;

/// `examples` pairs in the given two or three classes, drawn uniformly, as a function of the seed:
/// the claim follows from the report, is open, or contradicts it. With two classes the second has
/// both open and contradicting claims.
///
/// A claim is a fact of the report in other words, another fact of the same actors, or a denial.
///
/// # Panics
///
/// For more than three classes.
///
/// ```
/// use spry_data::synthetic;
///
/// let classes = ["entailment", "neutral", "contradiction"].map(str::to_string);
/// let pairs = synthetic::pairs(classes.to_vec(), 100, 0);
/// let denied = pairs.examples.iter().find(|example| example.label == 2).unwrap();
/// assert!(denied.pair.as_ref().unwrap().starts_with("no "));
/// ```
pub fn pairs(classes: Vec<String>, examples: usize, seed: u64) -> TextDataset {
    assert!(
        classes.len() <= RELATIONS,
        "spry-data: there are pairs in at most {RELATIONS} classes"
    );
    let seed = Seed::new(seed).child("synthetic pairs", 0);
    let pair = |index: u64| {
        let mut dice = Dice(seed.child("pair", index).uniforms(32).into_iter());
        let label = dice.below(classes.len());
        let relation = match classes.len() {
            2 if label == 1 => 1 + dice.below(2),
            _ => label,
        };
        let topic = dice.below(TOPICS.len());
        let [told, other] = [0; 2].map(|_| Fact::draw(&mut dice, topic));
        let sentence = |fact: &Fact| {
            let Fact { actor, action, thing, place } = fact;
            format!("{actor} {action} the {thing} in the {place} .")
        };
        let Fact { actor, action, thing, .. } = told;
        let claim = match relation {
            0 => format!("the {thing} was {action} by {actor} ."),
            1 => sentence(&Fact { actor, ..other }),
            _ => format!("no {actor} {action} the {thing} ."),
        };
        TextExample { text: sentence(&told), pair: Some(claim), label }
    };
    let examples = (0..examples as u64).map(pair).collect();
    TextDataset { name: "synthetic_pairs".to_string(), classes, examples, keys: Vec::new() }
}
