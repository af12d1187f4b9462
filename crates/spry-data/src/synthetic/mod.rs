//! Corpora from a generator: stand-ins where no real data can be reached, one per kind of task.
//!
//! - [`news`]: short reports in four topics, for classification.
//! - [`pairs`]: a report and a claim that follows from it, contradicts it, or neither.
//! - [`questions`]: articles with questions about them, some without an answer.
//! - [`stand_in`]: any of them, in the place of a dataset.
//!
//! They share one small [`vocabulary`], so that a tokenizer for one serves all.

mod news;
mod pairs;
mod questions;
mod words;

pub use news::{news, reports};
pub use pairs::pairs;
pub use questions::questions;
use words::TOPICS;

use crate::{Dataset, Error, Layout, Result, Task};

/// Tokens that BERT's tokenizer needs, in the order of their ids.
const SPECIAL: &[&str] = &["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

/// Examples that belong together, where a dataset says which do.
const GROUP: usize = 8;

/// Every word that the generators can write, after the special tokens: the vocabulary of a
/// tokenizer for them.
pub fn vocabulary() -> Vec<String> {
    let topic_words =
        TOPICS.iter().flat_map(|t| [t.actors, t.actions, t.things, t.places]).flatten().copied();
    let mut words: Vec<&str> = topic_words.chain(news::other_words()).chain(["."]).collect();
    words.sort_unstable();
    words.dedup();
    SPECIAL.iter().copied().chain(words).map(str::to_string).collect()
}

/// A generated corpus with the task and the classes of a dataset, as a function of the seed.
///
/// # Errors
///
/// [`Error::InvalidOption`] for more classes than the generators know.
///
/// ```
/// use spry_data::{spec, synthetic};
///
/// let snli = synthetic::stand_in(&spec::SNLI.layout(), 90, 0)?;
/// assert_eq!(snli.classes(), ["entailment", "neutral", "contradiction"]);
/// assert_eq!(snli.len(), 90);
/// # Ok::<(), spry_data::Error>(())
/// ```
pub fn stand_in(layout: &Layout, examples: usize, seed: u64) -> Result<Dataset> {
    let is_pair = !layout.pair_columns.is_empty();
    let most = if is_pair { pairs::RELATIONS } else { news::CLASSES };
    let mut names = layout.labels.clone();
    if names.is_empty() {
        names = (0..most.min(TOPICS.len())).map(|class| class.to_string()).collect();
    }
    if names.len() > most {
        return Err(Error::InvalidOption {
            option: "labels",
            got: format!("of {} classes", names.len()),
            expected: format!("of at most {most} for a generated stand-in"),
        });
    }
    let mut texts = match (layout.task, is_pair) {
        (Task::QuestionAnswering, _) => return Ok(questions(examples, seed).into()),
        (Task::SequenceClassification, true) => pairs(names, examples, seed),
        (Task::SequenceClassification, false) => reports(names, examples, seed),
    };
    if layout.key_column.is_some() {
        texts.keys = (0..examples).map(|index| format!("group {}", index / GROUP)).collect();
    }
    Ok(texts.into())
}

/// Uniform random numbers, one after another.
struct Dice(std::vec::IntoIter<f64>);

impl Dice {
    fn uniform(&mut self) -> f64 {
        self.0.next().unwrap_or(0.0)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.uniform() * bound as f64) as usize
    }

    fn pick(&mut self, words: &[&'static str]) -> &'static str {
        words[self.below(words.len())]
    }
}

/// Something that happened: who did what to what, and where.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Fact {
    actor: &'static str,
    action: &'static str,
    thing: &'static str,
    place: &'static str,
}

impl Fact {
    fn draw(dice: &mut Dice, topic: usize) -> Self {
        let topic = &TOPICS[topic];
        Self {
            actor: dice.pick(topic.actors),
            action: dice.pick(topic.actions),
            thing: dice.pick(topic.things),
            place: dice.pick(topic.places),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::ALL;

    #[test]
    fn the_vocabulary_covers_every_word() {
        let vocabulary = vocabulary();
        let check = |text: &str| {
            for word in text.split(' ') {
                assert!(vocabulary.iter().any(|known| known == word), "{word}");
            }
        };
        for spec in ALL {
            match stand_in(&spec.layout(), 300, 3).unwrap() {
                Dataset::Texts(texts) => texts.examples.iter().for_each(|example| {
                    check(&example.text);
                    example.pair.iter().for_each(|pair| check(pair));
                }),
                Dataset::Questions(questions) => questions.questions.iter().for_each(|question| {
                    check(&question.question);
                    check(&question.context);
                }),
            }
        }
    }

    #[test]
    fn stand_ins_have_the_classes_of_their_dataset_in_equal_shares() {
        for spec in ALL.iter().filter(|spec| spec.task == Task::SequenceClassification) {
            let dataset = stand_in(&spec.layout(), 3000, 0).unwrap();
            let (labels, classes) = (dataset.labels(), dataset.classes());
            assert_eq!(classes, spec.labels, "{}", spec.name);
            for class in 0..classes.len() {
                let share = labels.iter().filter(|&&label| label == class).count() as f64 / 3000.0;
                let expected = 1.0 / classes.len() as f64;
                assert!((share - expected).abs() < 0.03, "{}: {class}: {share}", spec.name);
            }
        }
    }

    #[test]
    fn more_classes_than_can_be_told_apart_are_an_error() {
        let labels = (0..11).map(|class| class.to_string()).collect();
        let layout = Layout { labels, ..crate::spec::AG_NEWS.layout() };
        let error = stand_in(&layout, 10, 0).unwrap_err().to_string();
        assert!(error.contains("at most 10"), "{error}");
    }

    #[test]
    fn no_word_belongs_to_two_topics() {
        let mut seen = std::collections::HashSet::new();
        for topic in &TOPICS {
            for word in [topic.actors, topic.actions, topic.things, topic.places].concat() {
                assert!(seen.insert(word), "{word} is in two topics or groups");
            }
        }
    }
}
