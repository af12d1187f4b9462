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

/// `examples` questions, eight to an article, as a function of the seed. An article has four to
/// twelve sentences on one topic; a question asks who did something. A third of the questions are
/// about something that the article does not tell.
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
        let sentences = 4 + dice.below(9);
        let facts: Vec<Fact> = (0..sentences).map(|_| Fact::draw(&mut dice, topic)).collect();
        let (mut context, mut starts) = (String::new(), Vec::new());
        for Fact { actor, action, thing, place } in &facts {
            starts.push(context.len());
            context += &format!("{actor} {action} the {thing} in the {place} . ");
        }
        let context: Arc<str> = context.trim_end().into();
        for _ in 0..QUESTIONS_PER_ARTICLE {
            let is_told = dice.uniform() >= UNANSWERABLE;
            let asked = match is_told {
                true => facts[dice.below(facts.len())],
                false => Fact::draw(&mut dice, topic),
            };
            let Fact { action, thing, place, .. } = asked;
            let is_asked = |fact: &&Fact| Fact { actor: asked.actor, ..**fact } == asked;
            // Two actors may have done the same: each is right.
            let told = facts.iter().zip(&starts).filter(|(fact, _)| is_asked(fact));
            let answers = told.map(|(fact, &start)| Answer { text: fact.actor.to_string(), start });
            questions.push(Question {
                question: format!("who {action} the {thing} in the {place}"),
                context: context.clone(),
                answers: answers.collect(),
            });
            keys.push(format!("article {article}"));
        }
    }
    questions.truncate(examples);
    keys.truncate(examples);
    QuestionDataset { name: "synthetic_questions".to_string(), questions, keys }
}
