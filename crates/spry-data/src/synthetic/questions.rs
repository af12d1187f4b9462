//! Articles with questions about them.

use std::sync::Arc;

use spry_core::Seed;

use super::words::TOPICS;
use super::{Dice, Fact};
use crate::{Answer, Question, QuestionDataset};

/// Questions about one article.
const QUESTIONS_PER_ARTICLE: usize = 8;

/// Share of the questions without an answer.
const UNANSWERABLE: f64 = 1.0 / 3.0;

/// `examples` questions, eight to an article, as a function of the seed. An article has three to
/// eight sentences on one topic, each about another thing; a question asks who did something. A
/// third of the questions are about a thing that the article does not mention.
///
/// ```
/// use spry_data::synthetic;
///
/// let questions = synthetic::questions(80, 0).questions;
/// let asked = questions.iter().find(|question| !question.answers.is_empty()).unwrap();
/// let answer = &asked.answers[0];
/// assert!(asked.context[answer.start..].starts_with(&answer.text));
/// ```
pub fn questions(examples: usize, seed: u64) -> QuestionDataset {
    let seed = Seed::new(seed).child("synthetic questions", 0);
    let (mut questions, mut keys) = (Vec::new(), Vec::new());
    for article in 0..examples.div_ceil(QUESTIONS_PER_ARTICLE) {
        let mut dice = Dice(seed.child("article", article as u64).uniforms(256).into_iter());
        let topic = dice.below(TOPICS.len());
        let mut things = TOPICS[topic].things.to_vec();
        seed.child("things", article as u64).shuffle(&mut things);
        let (told, untold) = things.split_at(3 + dice.below(6));
        let mut fact = |thing| Fact { thing, ..Fact::draw(&mut dice, topic) };
        let facts: Vec<Fact> = told.iter().map(|&thing| fact(thing)).collect();
        let (mut context, mut starts) = (String::new(), Vec::new());
        for Fact { actor, action, thing, place } in &facts {
            starts.push(context.len());
            context += &format!("{actor} {action} the {thing} in the {place} . ");
        }
        let context: Arc<str> = context.trim_end().into();
        for _ in 0..QUESTIONS_PER_ARTICLE {
            let is_told = dice.uniform() >= UNANSWERABLE;
            let (asked, answers) = match dice.below(facts.len()) {
                index if is_told => {
                    let answer =
                        Answer { text: facts[index].actor.to_string(), start: starts[index] };
                    (facts[index], vec![answer])
                }
                index => (Fact { thing: dice.pick(untold), ..facts[index] }, Vec::new()),
            };
            let Fact { action, thing, place, .. } = asked;
            questions.push(Question {
                question: format!("who {action} the {thing} in the {place}"),
                context: context.clone(),
                answers,
            });
            keys.push(format!("article {article}"));
        }
    }
    questions.truncate(examples);
    keys.truncate(examples);
    QuestionDataset { name: "synthetic_questions".to_string(), questions, keys }
}
