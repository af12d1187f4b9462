//! What a run measures, as rows.
//!
//! Times and memory depend on the machine; everything else is a function of configuration and seed.
//! The two are kept apart: [`RoundRow`] and [`ClientRow`] are the same, bit for bit, in every
//! repetition, [`ResourceRow`] is not.

use std::time::{SystemTime, UNIX_EPOCH};

use parquet_derive::ParquetRecordWriter;
use serde::{Deserialize, Serialize};
use spry_core::simulation::{ClientReport, RoundSummary};
use spry_core::{Evaluation, Event, LeftOut};

/// A round, and the evaluation after it. Round 0 is the start, as in Flower.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ParquetRecordWriter)]
pub struct RoundRow {
    /// Number of rounds that had ended.
    pub server_round: u64,
    /// Number of updates that went into the new weights.
    pub updates: u64,
    /// Number of training examples behind them.
    pub num_examples: u64,
    /// Mean training loss over these clients, weighted by examples; none if the round was skipped.
    pub train_loss: Option<f64>,
    /// Number of clients that failed or whose update could not be used.
    pub failed: u64,
    /// Number of clients whose usable update the method left out.
    pub left_out: u64,
    /// Forward passes of one example that the clients made.
    pub forward_passes: u64,
    /// Bytes of the usable updates that clients sent, as serialised.
    pub bytes_up: u64,
    /// Bytes that the server sent to all clients, as serialised.
    pub bytes_down: u64,
    /// Loss of the cohort's received parameters on their own test parts.
    pub received_loss: Option<f64>,
    /// Accuracy of the same; of answers, the share of exact matches.
    pub received_accuracy: Option<f64>,
    /// F1 of the same, for question answering.
    pub received_f1: Option<f64>,
    /// Loss of the cohort's locally trained parameters on their own test parts.
    pub personalized_loss: Option<f64>,
    /// Accuracy of the same.
    pub personalized_accuracy: Option<f64>,
    /// F1 of the same, for question answering.
    pub personalized_f1: Option<f64>,
    /// Loss of the global parameters on all clients' test parts, in rounds that are evaluated.
    pub generalized_loss: Option<f64>,
    /// Accuracy of the same.
    pub generalized_accuracy: Option<f64>,
    /// F1 of the same, for question answering.
    pub generalized_f1: Option<f64>,
}

/// A client in a round.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ParquetRecordWriter)]
pub struct ClientRow {
    /// The round, as in [`RoundRow`].
    pub server_round: u64,
    /// The client.
    pub client: u64,
    /// `used`, `left-out` or `failed`.
    pub status: String,
    /// Why it was left out or failed.
    pub reason: Option<String>,
    /// Number of training examples.
    pub num_examples: Option<u64>,
    /// Mean training loss over the local steps.
    pub train_loss: Option<f64>,
    /// Number of local steps.
    pub steps: Option<u64>,
    /// Forward passes of one example.
    pub forward_passes: Option<u64>,
    /// How noisy its gradients were, if the method measures it.
    pub gradient_variance: Option<f64>,
    /// Loss of the received parameters on its own test part.
    pub received_loss: Option<f64>,
    /// Accuracy of the same.
    pub received_accuracy: Option<f64>,
    /// F1 of the same, for question answering.
    pub received_f1: Option<f64>,
    /// Loss of the locally trained parameters on its own test part.
    pub personalized_loss: Option<f64>,
    /// Accuracy of the same.
    pub personalized_accuracy: Option<f64>,
    /// F1 of the same, for question answering.
    pub personalized_f1: Option<f64>,
    /// Bytes that it sent.
    pub bytes_up: Option<u64>,
    /// Bytes that it received.
    pub bytes_down: Option<u64>,
}

/// What a round or a client in it cost on this machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ParquetRecordWriter)]
pub struct ResourceRow {
    /// The round, as in [`RoundRow`].
    pub server_round: u64,
    /// The client; none for the round as a whole.
    pub client: Option<u64>,
    /// Duration.
    pub wall_secs: f64,
    /// Peak bytes that a client allocated above the weights; for a round the largest.
    pub peak_bytes: Option<u64>,
    /// When it ended, in seconds since 1970.
    pub finished_at_secs: f64,
}

/// All rows so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Records {
    /// One per round, and one for the start if it was evaluated.
    pub rounds: Vec<RoundRow>,
    /// One per round and client of its cohort, failed ones last.
    pub clients: Vec<ClientRow>,
    /// One per round and client that worked.
    pub resources: Vec<ResourceRow>,
    /// Clients of the unfinished round that failed.
    #[serde(skip)]
    failed: Vec<ClientRow>,
}

impl Records {
    /// Local steps of all clients per second of the rounds; `None` before the first one.
    pub fn client_steps_per_sec(&self) -> Option<f64> {
        let steps: u64 = self.clients.iter().filter_map(|row| row.steps).sum();
        let of_rounds = self.resources.iter().filter(|row| row.client.is_none());
        let seconds: f64 = of_rounds.map(|row| row.wall_secs).sum();
        (seconds > 0.0).then(|| steps as f64 / seconds)
    }

    /// Takes note of an event.
    pub fn on_event(&mut self, event: &Event<'_>) {
        match event {
            // What a round that was broken off left behind does not count.
            Event::RoundStarted { .. } => self.failed.clear(),
            Event::ClientFailed { server_round, client, error } => self.failed.push(ClientRow {
                server_round: server_round + 1,
                client: *client as u64,
                status: "failed".to_string(),
                reason: Some(error.to_string()),
                ..Default::default()
            }),
            Event::RoundFinished(summary) => self.add_round(summary),
            Event::Evaluated { rounds, generalized, .. } => {
                self.add_evaluation(*rounds, generalized)
            }
            _ => {}
        }
    }

    fn add_round(&mut self, summary: &RoundSummary) {
        let server_round = summary.server_round + 1;
        // They come in the order in which clients end, which depends on the machine.
        let mut failed = std::mem::take(&mut self.failed);
        failed.sort_by_key(|row| row.client);
        let no_one = Vec::new();
        let left_out = summary.report.as_ref().map_or(&no_one, |report| &report.left_out);
        let total = |f: fn(&ClientReport) -> u64| summary.clients.iter().map(f).sum::<u64>();
        let own = summary.personalization();
        self.rounds.push(RoundRow {
            server_round,
            updates: summary.report.as_ref().map_or(0, |report| report.updates as u64),
            num_examples: summary.report.as_ref().map_or(0, |report| report.num_examples as u64),
            train_loss: summary.report.as_ref().map(|report| report.train_loss),
            failed: failed.len() as u64,
            left_out: left_out.len() as u64,
            forward_passes: summary.forward_passes,
            bytes_up: total(|client| client.bytes_up),
            bytes_down: summary.bytes_down,
            received_loss: loss(&own.before),
            received_accuracy: accuracy(&own.before),
            personalized_loss: loss(&own.after),
            personalized_accuracy: accuracy(&own.after),
            received_f1: f1(&own.before),
            personalized_f1: f1(&own.after),
            generalized_loss: None,
            generalized_accuracy: None,
            generalized_f1: None,
        });
        let is_skipped = summary.report.is_none();
        let row = |report| client_row(server_round, report, left_out, is_skipped);
        self.clients.extend(summary.clients.iter().map(row));
        self.clients.extend(failed);

        let finished_at_secs = now();
        let resource = |client, wall: std::time::Duration, peak_bytes| ResourceRow {
            server_round,
            client,
            wall_secs: wall.as_secs_f64(),
            peak_bytes,
            finished_at_secs,
        };
        let peak = summary.clients.iter().filter_map(|client| client.peak_bytes).max();
        self.resources.push(resource(None, summary.wall, peak));
        self.resources.extend(
            summary
                .clients
                .iter()
                .map(|report| resource(Some(report.client as u64), report.wall, report.peak_bytes)),
        );
    }

    /// Clients that failed in a round.
    pub(super) fn failed_in(&self, server_round: u64) -> impl Iterator<Item = &ClientRow> {
        let of_round =
            self.clients.iter().rev().take_while(move |r| r.server_round == server_round);
        of_round.filter(|row| row.status == "failed")
    }

    fn add_evaluation(&mut self, server_round: u64, generalized: &Evaluation) {
        if self.rounds.last().is_none_or(|row| row.server_round != server_round) {
            self.rounds.push(RoundRow { server_round, ..Default::default() });
            self.resources.push(ResourceRow {
                server_round,
                finished_at_secs: now(),
                ..Default::default()
            });
        }
        if let Some(row) = self.rounds.last_mut() {
            row.generalized_loss = loss(generalized);
            row.generalized_accuracy = accuracy(generalized);
            row.generalized_f1 = f1(generalized);
        }
    }
}

/// Points of a curve: the round, and a value of those rounds that have it.
pub fn curve(rows: &[RoundRow], value: impl Fn(&RoundRow) -> Option<f64>) -> Vec<(f64, f64)> {
    rows.iter().filter_map(|row| Some((row.server_round as f64, value(row)?))).collect()
}

/// Points of a curve: the round, and the sum of a value up to it.
pub fn running_total(rows: &[RoundRow], value: impl Fn(&RoundRow) -> u64) -> Vec<(f64, f64)> {
    let add = |sum: &mut u64, row: &RoundRow| {
        *sum += value(row);
        Some((row.server_round as f64, *sum as f64))
    };
    rows.iter().scan(0, add).collect()
}

fn client_row(
    server_round: u64,
    report: &ClientReport,
    left_out: &[LeftOut],
    is_skipped: bool,
) -> ClientRow {
    let reason = left_out.iter().find(|out| out.client == report.client);
    let reason = reason.map(|out| out.reason.clone());
    let reason = reason.or_else(|| is_skipped.then(|| "the round changed nothing".to_string()));
    let own = report.personalization.unwrap_or_default();
    ClientRow {
        server_round,
        client: report.client as u64,
        status: if reason.is_some() { "left-out" } else { "used" }.to_string(),
        reason,
        num_examples: Some(report.num_examples as u64),
        train_loss: Some(report.train_loss),
        steps: Some(report.steps),
        forward_passes: Some(report.forward_passes),
        gradient_variance: report.gradient_variance,
        received_loss: loss(&own.before),
        received_accuracy: accuracy(&own.before),
        personalized_loss: loss(&own.after),
        personalized_accuracy: accuracy(&own.after),
        received_f1: f1(&own.before),
        personalized_f1: f1(&own.after),
        bytes_up: Some(report.bytes_up),
        bytes_down: Some(report.bytes_down),
    }
}

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

/// Seconds since 1970.
pub(crate) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
