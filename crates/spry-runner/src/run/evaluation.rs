//! What an evaluation says: numbers where there are any, and the best round.

use spry_core::Evaluation;

use super::records::RoundRow;

/// The mean loss; none without examples, or if the model diverged.
pub(super) fn loss(evaluation: &Evaluation) -> Option<f64> {
    Some(evaluation.loss()).filter(|loss| loss.is_finite())
}

/// The accuracy; none where there is no [`loss`], as the predictions then mean nothing.
pub(super) fn accuracy(evaluation: &Evaluation) -> Option<f64> {
    loss(evaluation).map(|_| evaluation.accuracy())
}

/// The F1, for tasks that have it; none where there is no [`loss`].
pub(super) fn f1(evaluation: &Evaluation) -> Option<f64> {
    loss(evaluation).and_then(|_| evaluation.f1())
}

/// By what the rounds of a run are ranked: F1 for tasks that have it, else the accuracy.
pub(super) fn score(row: &RoundRow) -> Option<f64> {
    row.generalized_f1.or(row.generalized_accuracy)
}

/// The round after which the global parameters were best, of those that were evaluated: the first
/// one of the highest F1, or for tasks without it of the highest accuracy.
///
/// ```
/// use spry_runner::run::evaluation::best_round;
/// use spry_runner::run::records::RoundRow;
///
/// let row = |round: u64, accuracy| RoundRow {
///     server_round: round,
///     generalized_accuracy: accuracy,
///     ..Default::default()
/// };
/// let rows = [row(0, Some(0.25)), row(1, Some(0.75)), row(2, None), row(3, Some(0.75))];
/// assert_eq!(best_round(&rows).map(|row| row.server_round), Some(1));
/// assert_eq!(best_round(&rows[2..3]), None);
/// ```
pub fn best_round(rows: &[RoundRow]) -> Option<&RoundRow> {
    let scored = rows.iter().filter_map(|row| Some((score(row)?, row)));
    let better = |best: (f64, _), next: (f64, _)| if next.0 > best.0 { next } else { best };
    scored.reduce(better).map(|(_, row)| row)
}

/// An evaluation of the global parameters in words.
///
/// ```
/// use spry_core::Evaluation;
/// use spry_runner::run::evaluation::in_words;
///
/// let mut evaluation = Evaluation { loss_sum: 1.0, correct: 1, f1_sum: None, examples: 2 };
/// assert_eq!(in_words(&evaluation), "test loss 0.5000, accuracy 50.0 %");
/// evaluation.f1_sum = Some(1.5);
/// assert_eq!(in_words(&evaluation), "test loss 0.5000, accuracy 50.0 %, F1 75.0 %");
/// evaluation.loss_sum = f64::NAN;
/// assert_eq!(in_words(&evaluation), "the test loss is not finite: the model diverged");
/// assert_eq!(in_words(&Evaluation::default()), "no client has test data");
/// ```
pub fn in_words(evaluation: &Evaluation) -> String {
    if evaluation.examples == 0 {
        return "no client has test data".to_string();
    }
    let Some(loss) = loss(evaluation) else {
        return "the test loss is not finite: the model diverged".to_string();
    };
    let f1 = f1(evaluation).map_or(String::new(), |f1| format!(", F1 {:.1} %", 100.0 * f1));
    format!("test loss {loss:.4}, accuracy {:.1} %{f1}", 100.0 * evaluation.accuracy())
}
