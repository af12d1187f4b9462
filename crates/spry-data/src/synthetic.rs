//! A news corpus from a generator: a stand-in where no real data can be reached.
//!
//! Short reports in four topics, put together from sentence patterns whose gaps are filled with
//! words of the report's topic, or, for a part of them, of a random one. The task is thereby
//! learnable but not trivial: no single word decides, and topics share all function words.

use spry_core::Seed;

use crate::{TextDataset, TextExample, spec};

/// Share of gaps that are filled from a topic drawn at random, which may be the report's own.
const NOISE: f64 = 0.4;

/// Words of one topic.
struct Topic {
    actors: &'static [&'static str],
    actions: &'static [&'static str],
    things: &'static [&'static str],
    places: &'static [&'static str],
}

/// Topics in the order of AG News's classes.
const TOPICS: [Topic; 4] = [
    Topic {
        actors: &[
            "ministers",
            "rebels",
            "diplomats",
            "troops",
            "voters",
            "president",
            "parliament",
            "refugees",
            "envoys",
            "protesters",
            "senators",
            "monarch",
        ],
        actions: &[
            "condemned",
            "negotiated",
            "invaded",
            "elected",
            "besieged",
            "ratified",
            "deported",
            "mediated",
            "boycotted",
            "occupied",
        ],
        things: &[
            "treaty",
            "ceasefire",
            "embassy",
            "border",
            "election",
            "sanctions",
            "constitution",
            "referendum",
            "militia",
            "hostages",
            "summit",
            "regime",
        ],
        places: &[
            "capital",
            "province",
            "region",
            "frontier",
            "republic",
            "territory",
            "peninsula",
            "continent",
        ],
    },
    Topic {
        actors: &[
            "striker",
            "goalkeeper",
            "champions",
            "coach",
            "sprinters",
            "referee",
            "rookie",
            "quarterback",
            "swimmers",
            "captain",
            "fans",
            "athletes",
        ],
        actions: &[
            "scored",
            "tackled",
            "defeated",
            "sprinted",
            "qualified",
            "trained",
            "wrestled",
            "dribbled",
            "outplayed",
            "relegated",
        ],
        things: &[
            "goal",
            "medal",
            "trophy",
            "league",
            "penalty",
            "season",
            "playoff",
            "marathon",
            "record",
            "tournament",
            "innings",
            "jersey",
        ],
        places: &["stadium", "pitch", "arena", "court", "track", "locker", "podium", "ballpark"],
    },
    Topic {
        actors: &[
            "investors",
            "shareholders",
            "bankers",
            "retailers",
            "traders",
            "executives",
            "analysts",
            "lenders",
            "brokers",
            "auditors",
            "exporters",
            "employers",
        ],
        actions: &[
            "invested",
            "merged",
            "borrowed",
            "profited",
            "bought",
            "sold",
            "hired",
            "downgraded",
            "refinanced",
            "outsourced",
        ],
        things: &[
            "shares",
            "profits",
            "dividend",
            "inflation",
            "merger",
            "bonds",
            "earnings",
            "tariffs",
            "loans",
            "revenue",
            "stocks",
            "budget",
        ],
        places: &[
            "market",
            "exchange",
            "bank",
            "factory",
            "warehouse",
            "mall",
            "boardroom",
            "port",
        ],
    },
    Topic {
        actors: &[
            "scientists",
            "engineers",
            "programmers",
            "astronauts",
            "researchers",
            "hackers",
            "biologists",
            "physicists",
            "developers",
            "inventors",
            "chemists",
            "robots",
        ],
        actions: &[
            "discovered",
            "programmed",
            "launched",
            "encrypted",
            "measured",
            "simulated",
            "patented",
            "orbited",
            "sequenced",
            "debugged",
        ],
        things: &[
            "software",
            "satellite",
            "telescope",
            "genome",
            "processor",
            "browser",
            "vaccine",
            "algorithm",
            "rocket",
            "laser",
            "network",
            "particles",
        ],
        places: &[
            "laboratory",
            "orbit",
            "observatory",
            "website",
            "datacenter",
            "reactor",
            "clinic",
            "spacecraft",
        ],
    },
];

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

/// Tokens that BERT's tokenizer needs, in the order of their ids.
const SPECIAL: &[&str] = &["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

/// Every word that the generator can write, after the special tokens: the vocabulary of a
/// tokenizer for this corpus.
pub fn vocabulary() -> Vec<String> {
    let topic_words =
        TOPICS.iter().flat_map(|t| [t.actors, t.actions, t.things, t.places]).flatten().copied();
    let pattern_words = PATTERNS
        .iter()
        .flat_map(|p| p.split(' '))
        .filter(|w| w.len() > 1 || *w == "a" || *w == ",");
    let mut words: Vec<&str> =
        topic_words.chain(pattern_words).chain(DAYS.iter().copied()).chain(["."]).collect();
    words.sort_unstable();
    words.dedup();
    SPECIAL.iter().copied().chain(words).map(str::to_string).collect()
}

/// `examples` reports with topics drawn uniformly, as a function of the seed.
///
/// ```
/// use spry_data::synthetic;
///
/// let news = synthetic::news(100, 0);
/// assert_eq!(news.examples.len(), 100);
/// assert_eq!(news.examples, synthetic::news(100, 0).examples);
/// ```
pub fn news(examples: usize, seed: u64) -> TextDataset {
    let seed = Seed::new(seed).child("synthetic news", 0);
    let report = |index: u64| {
        let mut dice = Dice(seed.child("report", index).uniforms(128).into_iter());
        let label = dice.below(TOPICS.len());
        let sentences = 2 + dice.below(2);
        let text: Vec<String> = (0..sentences).map(|_| sentence(label, &mut dice)).collect();
        TextExample { text: text.join(" "), label }
    };
    TextDataset {
        name: "synthetic_news".to_string(),
        classes: spec::AG_NEWS.classes.iter().map(|class| class.to_string()).collect(),
        examples: (0..examples as u64).map(report).collect(),
    }
}

/// The random numbers of one report; there are more than a report can use.
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

fn sentence(label: usize, dice: &mut Dice) -> String {
    let pattern = dice.pick(PATTERNS);
    let mut words = Vec::new();
    for word in pattern.split(' ') {
        let mut topic = || {
            let is_noise = dice.uniform() < NOISE;
            let topic = if is_noise { dice.below(TOPICS.len()) } else { label };
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
    fn the_vocabulary_covers_every_word() {
        let vocabulary = vocabulary();
        for example in news(500, 3).examples {
            for word in example.text.split(' ') {
                assert!(vocabulary.iter().any(|known| known == word), "{word}");
            }
        }
    }

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
