//! How right an answer is: exact match and F1, as in SQuAD's official evaluation (version 2.0,
//! Rajpurkar et al. 2018, arXiv 1806.03822).

use std::collections::HashMap;

/// Words that do not count.
const ARTICLES: [&str; 3] = ["a", "an", "the"];

/// What Python's `str.split` splits at: white space, and four control characters.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// An answer as it is compared: in lower case, without ASCII punctuation and English articles, with
/// single spaces.
///
/// ```
/// use spry_data::question_answering::metric::normalize;
///
/// assert_eq!(normalize("The  U.S. Army's (a)  camp"), "us armys camp");
/// ```
pub fn normalize(answer: &str) -> String {
    let lower = answer.to_lowercase();
    let bare: String = lower.chars().filter(|c| !c.is_ascii_punctuation()).collect();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    // Words begin and end where Python's `\b` matches, also beside a dash or a quotation mark that
    // is not ASCII. (But vowel signs of Indic scripts are letters here, and none there.)
    let mut kept = String::new();
    for piece in bare.split_inclusive(|c| !is_word(c)) {
        let word = piece.trim_end_matches(|c| !is_word(c));
        kept.push_str(if ARTICLES.contains(&word) { " " } else { word });
        kept.push_str(&piece[word.len()..]);
    }
    kept.split(is_space).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Exact match and F1 of one prediction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Whether the prediction is one of the answers, both normalised.
    pub is_exact: bool,
    /// The largest F1 with an answer, in `[0, 1]`: the harmonic mean of the share of the
    /// prediction's words that are in the answer, and of the answer's that are in the prediction.
    pub f1: f64,
}

/// The best score of a prediction against any of the answers. The empty text is the prediction that
/// there is no answer, and no answer is what is right if there are none, or none with a word.
///
/// ```
/// use spry_data::question_answering::metric::score;
///
/// let score = score("the old Eiffel Tower", ["Eiffel Tower", "tower"]);
/// assert!(!score.is_exact && (score.f1 - 0.8).abs() < 1e-12);
/// ```
pub fn score<'a>(prediction: &str, answers: impl IntoIterator<Item = &'a str>) -> Score {
    let prediction = normalize(prediction);
    let mut answers: Vec<String> =
        answers.into_iter().map(normalize).filter(|answer| !answer.is_empty()).collect();
    if answers.is_empty() {
        answers.push(String::new());
    }
    let f1 = answers.iter().map(|answer| f1(&prediction, answer)).fold(0.0, f64::max);
    Score { is_exact: answers.contains(&prediction), f1 }
}

/// F1 of two normalised texts, as bags of words; without words, 1 if both have none, else 0.
fn f1(prediction: &str, answer: &str) -> f64 {
    let predicted: Vec<&str> = prediction.split_whitespace().collect();
    let right: Vec<&str> = answer.split_whitespace().collect();
    if predicted.is_empty() || right.is_empty() {
        return f64::from(predicted.is_empty() && right.is_empty());
    }
    let mut left: HashMap<&str, usize> = HashMap::new();
    for word in &right {
        *left.entry(word).or_default() += 1;
    }
    let mut common = 0;
    for word in &predicted {
        if let Some(count) = left.get_mut(word).filter(|count| **count > 0) {
            *count -= 1;
            common += 1;
        }
    }
    if common == 0 {
        return 0.0;
    }
    let precision = common as f64 / predicted.len() as f64;
    let recall = common as f64 / right.len() as f64;
    2.0 * precision * recall / (precision + recall)
}
