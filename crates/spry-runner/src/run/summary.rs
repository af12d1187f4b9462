//! The outcome of a run.

use std::path::Path;

use comfy_table::{Table, presets};
use serde::{Deserialize, Serialize};
use spry_core::Outcome;
use spry_data::files::write_atomically;

use super::evaluation::{accuracy, best_round, f1, loss};
use super::records::{Records, RoundRow};
use crate::text::{label, mebibytes, percent};
use crate::{Inputs, Result, RunConfig};

/// The outcome of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The method's name.
    pub method: String,
    /// The dataset's name.
    pub dataset: String,
    /// The model's name.
    pub model: String,
    /// The experiment's name.
    pub experiment: String,
    /// The run's seed.
    pub seed: u64,
    /// Whether the run has come to its end, with something to show.
    pub finished: bool,
    /// Why nothing came of the run, if it has come to its end and no update of any client went into
    /// the weights.
    pub failure: Option<String>,
    /// Number of rounds that ended.
    pub rounds: u64,
    /// Number of rounds that had ended at the last evaluation.
    pub evaluated_after_rounds: u64,
    /// Accuracy of the global parameters on the test parts of the clients that evaluate, in
    /// `[0, 1]`.
    pub generalized_accuracy: Option<f64>,
    /// Their F1 there, for question answering, whose accuracy is the share of exact matches.
    pub generalized_f1: Option<f64>,
    /// Their loss there.
    pub generalized_loss: Option<f64>,
    /// Number of examples in these test parts; none if they were never evaluated.
    pub test_examples: Option<u64>,
    /// The highest of the evaluated accuracies.
    pub best_generalized_accuracy: Option<f64>,
    /// The highest of the evaluated F1, for question answering.
    pub best_generalized_f1: Option<f64>,
    /// Number of rounds that had ended when the parameters of `adapter-best` were evaluated; see
    /// [`best_round`].
    pub best_round: Option<u64>,
    /// Accuracy of the last cohort's locally trained parameters on their own test parts.
    pub personalized_accuracy: Option<f64>,
    /// Their F1 there, for question answering.
    pub personalized_f1: Option<f64>,
    /// Accuracy there of the parameters that they received.
    pub received_accuracy: Option<f64>,
    /// Number of updates that failed or could not be used, over all rounds.
    pub failed_updates: u64,
    /// Forward passes of one example that training cost.
    pub forward_passes: u64,
    /// Bytes that clients sent.
    pub bytes_up: u64,
    /// Bytes that the server sent.
    pub bytes_down: u64,
    /// Largest peak of a client, above the weights.
    pub peak_client_bytes: Option<u64>,
    /// Size of the model's weights.
    pub weight_bytes: u64,
    /// Names of the classes, by number.
    pub classes: Vec<String>,
    /// Number of trainable values.
    pub trainable_values: u64,
    /// Duration of the run, evaluations included.
    pub wall_secs: f64,
    /// Local steps of all clients per second of the rounds, global evaluations not counted.
    pub client_steps_per_sec: Option<f64>,
    /// Rounds until the run had converged by the paper's criterion; see [`rounds_to_converge`].
    pub rounds_to_converge: Option<u64>,
}

/// Rows of the table that only question answering has.
const F1: &str = "test F1 (generalised)";
const BEST_F1: &str = "best test F1";
const PERSONALIZED_F1: &str = "... F1";

/// What stands where a number of the test parts would.
pub(crate) const NO_TEST_DATA: &str = "no test data";

impl Summary {
    /// Of a run as far as it has come.
    pub fn new(
        config: &RunConfig,
        inputs: &Inputs,
        outcome: &Outcome,
        records: &Records,
        finished: bool,
    ) -> Self {
        let highest = |value: fn(&RoundRow) -> Option<f64>| {
            records.rounds.iter().filter_map(value).reduce(f64::max)
        };
        let failure = why_failed(records).filter(|_| finished);
        let last = |value: fn(&RoundRow) -> Option<f64>| {
            records.rounds.last().filter(|row| row.server_round > 0).and_then(value)
        };
        Self {
            method: config.method.name.clone(),
            dataset: config.dataset.short_name(),
            model: config.model.short_name().to_string(),
            experiment: config.experiment.clone(),
            seed: config.seed,
            finished: finished && failure.is_none(),
            failure,
            rounds: outcome.rounds,
            evaluated_after_rounds: outcome.evaluated_after_rounds,
            generalized_accuracy: outcome.generalized.as_ref().and_then(accuracy),
            generalized_f1: outcome.generalized.as_ref().and_then(f1),
            generalized_loss: outcome.generalized.as_ref().and_then(loss),
            test_examples: outcome.generalized.map(|evaluation| evaluation.examples as u64),
            best_generalized_accuracy: highest(|row| row.generalized_accuracy),
            best_generalized_f1: highest(|row| row.generalized_f1),
            best_round: best_round(&records.rounds).map(|row| row.server_round),
            personalized_accuracy: last(|row| row.personalized_accuracy),
            personalized_f1: last(|row| row.personalized_f1),
            received_accuracy: last(|row| row.received_accuracy),
            failed_updates: records
                .rounds
                .iter()
                .map(|row| row.failed)
                .fold(0, u64::saturating_add),
            forward_passes: outcome.forward_passes,
            bytes_up: outcome.bytes_up,
            bytes_down: outcome.bytes_down,
            peak_client_bytes: outcome.peak_client_bytes,
            weight_bytes: inputs.model.model().weight_bytes(),
            classes: inputs.classes.clone(),
            trainable_values: inputs.params.num_elements() as u64,
            wall_secs: outcome.wall.as_secs_f64(),
            client_steps_per_sec: records.client_steps_per_sec(),
            rounds_to_converge: rounds_to_converge(&records.rounds),
        }
    }

    /// The outcome as a table for people.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY);
        let size = |bytes: u64| format!("{} MiB", mebibytes(bytes));
        let converged = self.rounds_to_converge.map_or("-".to_string(), |r| r.to_string());
        let rows = [
            ("method", self.method.clone()),
            ("model", label(&self.model)),
            ("dataset", label(&self.dataset)),
            ("rounds", self.rounds_and_state()),
            ("evaluated after round", self.evaluated_after()),
            (
                match self.generalized_f1 {
                    Some(_) => "test exact match (generalised)",
                    None => "test accuracy (generalised)",
                },
                self.tested(percent(self.generalized_accuracy)),
            ),
            (F1, self.tested(percent(self.generalized_f1))),
            (
                "test loss (generalised)",
                self.tested(self.generalized_loss.map_or("-".into(), |loss| format!("{loss:.4}"))),
            ),
            (
                match self.generalized_f1 {
                    Some(_) => "best test exact match",
                    None => "best test accuracy",
                },
                self.tested(percent(self.best_generalized_accuracy)),
            ),
            (BEST_F1, percent(self.best_generalized_f1)),
            (
                "best after round",
                self.best_round.map_or("-".to_string(), |round| round.to_string()),
            ),
            ("last cohort on own test parts, as received", percent(self.received_accuracy)),
            ("... after local training (personalised)", percent(self.personalized_accuracy)),
            (PERSONALIZED_F1, percent(self.personalized_f1)),
            ("converged after round", converged),
            ("updates that failed", self.failed_updates.to_string()),
            ("training work, in forward passes of one example", self.forward_passes.to_string()),
            ("sent by clients", size(self.bytes_up)),
            ("sent by the server", size(self.bytes_down)),
            ("weights of the model", size(self.weight_bytes)),
            (
                "peak of a client, above the weights",
                self.peak_client_bytes.map_or("-".to_string(), size),
            ),
            ("time", format!("{:.1} s", self.wall_secs)),
            (
                "client steps per second of the rounds",
                self.client_steps_per_sec.map_or("-".to_string(), |rate| format!("{rate:.1}")),
            ),
        ];
        for (name, value) in rows {
            // Only some tasks have it.
            if ![F1, BEST_F1, PERSONALIZED_F1].contains(&name) || self.generalized_f1.is_some() {
                table.add_row([name.to_string(), value]);
            }
        }
        table.to_string()
    }

    /// The number of rounds, with what is to be known of them.
    pub fn rounds_and_state(&self) -> String {
        match (&self.failure, self.finished) {
            (Some(_), _) => format!("{} (failed)", self.rounds),
            (None, false) => format!("{} (unfinished)", self.rounds),
            (None, true) => self.rounds.to_string(),
        }
    }

    /// A number of the test parts as text, or that there are none.
    pub fn tested(&self, number: String) -> String {
        if self.test_examples == Some(0) { NO_TEST_DATA.to_string() } else { number }
    }

    fn evaluated_after(&self) -> String {
        match self.test_examples {
            None => "-".to_string(),
            Some(0) => NO_TEST_DATA.to_string(),
            Some(_) => self.evaluated_after_rounds.to_string(),
        }
    }

    /// Writes the summary alone as JSON; a run's own file is written by
    /// [`SavedSummary`](super::SavedSummary).
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        Ok(write_atomically(path, self.to_json()?.as_bytes())?)
    }

    pub(super) fn to_json(&self) -> Result<String> {
        let json = serde_json::to_string_pretty(self).map_err(spry_core::Error::objective)?;
        Ok(json + "\n")
    }
}

/// Why nothing came of a run, if no update went into the weights in any round.
fn why_failed(records: &Records) -> Option<String> {
    let mut rounds = records.rounds.iter().filter(|row| row.server_round > 0).peekable();
    if rounds.peek().is_none() {
        return Some("no round has ended before the limit of the run was reached".to_string());
    }
    let is_in_vain = rounds.all(|row| row.updates == 0);
    let reason = || records.first_failure.as_deref().unwrap_or("no client had an update");
    is_in_vain.then(|| {
        format!("no update went into the weights in any round; in the first one, {}", reason())
    })
}

/// Rounds between two looks at the metric.
pub const CONVERGENCE_WINDOW: u64 = 50;

/// A variance of accuracies counts as unchanged if it moves by at most that of 1 %.
pub const UNCHANGED_VARIANCE: f64 = 1e-4;

/// Rounds until the run had converged by the paper's criterion (section 5): no change in the
/// variance of the metric, looked at every 50 rounds.
///
/// That is the first multiple of [`CONVERGENCE_WINDOW`] at which the variance of the generalised
/// accuracies in the window that ends there differs by at most [`UNCHANGED_VARIANCE`] from that of
/// the window before, with at least two evaluations in each. A run that never learns anything
/// converges, too; read it beside the accuracy.
///
/// ```
/// use spry_runner::run::records::RoundRow;
/// use spry_runner::run::summary::rounds_to_converge;
///
/// let row = |round: u64, accuracy| RoundRow {
///     server_round: round,
///     generalized_accuracy: Some(accuracy),
///     ..Default::default()
/// };
/// // Climbs for 100 rounds, then stays.
/// let rows: Vec<RoundRow> =
///     (0..=25).map(|i| row(10 * i, if i < 10 { 0.09 * i as f64 } else { 0.9 })).collect();
/// assert_eq!(rounds_to_converge(&rows), Some(100));
/// assert_eq!(rounds_to_converge(&rows[..7]), None);
/// ```
pub fn rounds_to_converge(rows: &[RoundRow]) -> Option<u64> {
    let variance = |end: u64| {
        let window = end - CONVERGENCE_WINDOW + 1..=end;
        let in_window = rows.iter().filter(|row| window.contains(&row.server_round));
        let values: Vec<f64> = in_window.filter_map(|row| row.generalized_accuracy).collect();
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        (values.len() >= 2)
            .then(|| values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count)
    };
    let last = rows.last()?.server_round;
    (2..=last / CONVERGENCE_WINDOW).map(|window| window * CONVERGENCE_WINDOW).find(|&end| {
        let (before, now) = (variance(end - CONVERGENCE_WINDOW), variance(end));
        before.zip(now).is_some_and(|(before, now)| (now - before).abs() <= UNCHANGED_VARIANCE)
    })
}
