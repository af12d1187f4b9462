//! Short reports, put together from sentence patterns whose gaps are filled with words of the
//! report's topic, or, for a part of them, of a random one. The task is thereby learnable but not
//! trivial: no single word decides, and topics share all function words.

use spry_core::Seed;

use super::Dice;
use super::words::TOPICS;
use crate::{TextDataset, TextExample, spec};

/// Share of gaps that are filled from a topic drawn at random, which may be the report's own.
const NOISE: f64 = 0.4;

/// Sentence patterns; `A`, `V`, `T` and `P` are gaps for actors, actions, things and places.
const PATTERNS: &[&str] = &[
    "A V the T in the P on D",
    "the T near the P was V by A",
    "after the T , A and A V the P",
    "A said the T could change the P",
    "on D A V a T as A watched",
    "new T for A at the P",
    "why A V the T and left the P",
    "A wait for the T while A V it",
    "reports from the P say A V the T again",
    "no T for A who V the P",
];

const DAYS: &[&str] =
    &["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// Topics of a class, each with the same share: the four alone, then the six pairs of them.
const TOPICS_OF: [[usize; 2]; 10] =
    [[0, 0], [1, 1], [2, 2], [3, 3], [0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]];

/// Number of classes that can be told apart.
pub(super) const CLASSES: usize = TOPICS_OF.len();

/// Words that are of no topic.
pub(super) fn other_words() -> impl Iterator<Item = &'static str> {
    PATTERNS
        .iter()
        .flat_map(|p| p.split(' '))
        .filter(|w| w.len() > 1 || *w == "a" || *w == ",")
        .chain(DAYS.iter().copied())
}

/// `examples` reports with AG News's topics drawn uniformly, as a function of the seed.
///
/// ```
/// use spry_data::synthetic;
///
/// let news = synthetic::news(100, 0);
/// assert_eq!(news.examples.len(), 100);
/// assert_eq!(news.examples, synthetic::news(100, 0).examples);
/// ```
pub fn news(examples: usize, seed: u64) -> TextDataset {
    let classes = spec::AG_NEWS.labels.iter().map(|class| class.to_string()).collect();
    reports(classes, examples, seed)
}

/// `examples` reports in the given classes, drawn uniformly, as a function of the seed. A class is
/// a topic or, from the fifth on, a pair of topics.
///
/// # Panics
///
/// For more than ten classes.
pub fn reports(classes: Vec<String>, examples: usize, seed: u64) -> TextDataset {
    assert!(classes.len() <= CLASSES, "spry-data: there are reports in at most {CLASSES} classes");
    let seed = Seed::new(seed).child("synthetic news", 0);
    let report = |index: u64| {
        let mut dice = Dice(seed.child("report", index).uniforms(128).into_iter());
        let label = dice.below(classes.len());
        let sentences = 2 + dice.below(2);
        let text: Vec<String> = (0..sentences).map(|_| sentence(label, &mut dice)).collect();
        TextExample { text: text.join(" "), pair: None, label }
    };
    let examples = (0..examples as u64).map(report).collect();
    TextDataset { name: "synthetic_news".to_string(), classes, examples, keys: Vec::new() }
}

fn sentence(label: usize, dice: &mut Dice) -> String {
    let pattern = dice.pick(PATTERNS);
    let mut words = Vec::new();
    for word in pattern.split(' ') {
        let mut topic = || {
            let is_noise = dice.uniform() < NOISE;
            let topic = match (is_noise, TOPICS_OF[label]) {
                (true, _) => dice.below(TOPICS.len()),
                (false, [topic, other]) if topic == other => topic,
                (false, pair) => pair[dice.below(2)],
            };
            &TOPICS[topic]
        };
        words.push(match word {
            "A" => {
                let t = topic().actors;
                dice.pick(t)
            }
            "V" => {
                let t = topic().actions;
                dice.pick(t)
            }
            "T" => {
                let t = topic().things;
                dice.pick(t)
            }
            "P" => {
                let t = topic().places;
                dice.pick(t)
            }
            "D" => dice.pick(DAYS),
            word => word,
        });
    }
    words.join(" ") + " ."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_balanced_and_words_tell_them_apart_only_partly() {
        let news = news(4000, 1);
        let mut counts = [0; 4];
        let mut own = 0.0;
        let mut foreign = 0.0;
        for example in &news.examples {
            counts[example.label] += 1;
            for word in example.text.split(' ') {
                for (topic, words) in TOPICS.iter().enumerate() {
                    let groups = [words.actors, words.actions, words.things, words.places];
                    if groups.iter().any(|group| group.contains(&word)) {
                        if topic == example.label { own += 1.0 } else { foreign += 1.0 }
                    }
                }
            }
        }
        assert!(counts.iter().all(|&count| (900..1100).contains(&count)), "{counts:?}");
        let share: f64 = own / (own + foreign);
        assert!((0.67..0.73).contains(&share), "{share}");
    }
}
