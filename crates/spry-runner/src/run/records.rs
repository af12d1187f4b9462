//! What a run measures, as rows.
//!
//! Times and memory depend on the machine; everything else is a function of configuration and seed.
//! The two are kept apart: [`RoundRow`] and [`ClientRow`] are the same, bit for bit, in every
//! repetition, [`ResourceRow`] is not.
//!
//! An [`Event`] becomes an [`Addition`], which is appended to the run's files of rows. What is
//! needed again during the run, a few numbers per round, stays in memory as [`Records`]; rows of
//! clients do not.

use std::time::{SystemTime, UNIX_EPOCH};

use parquet_derive::ParquetRecordWriter;
use serde::{Deserialize, Serialize};
use spry_core::simulation::{ClientReport, RoundSummary};
use spry_core::{Evaluation, Event, LeftOut};
use spry_strategies::options::shortened;

use super::evaluation::{accuracy, f1, loss};

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
    /// Loss of the global parameters on the test parts of the clients that evaluate, in rounds that
    /// are evaluated.
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
    /// Mean training loss over the examples of all local steps.
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

/// What is appended to the file of rounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RoundEntry {
    /// A round ended.
    Finished(Box<FinishedRound>),
    /// The global parameters were evaluated.
    Evaluated(Evaluated),
}

/// A round that ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FinishedRound {
    /// Its row, yet without the evaluation after it.
    pub row: RoundRow,
    /// What it cost.
    pub cost: ResourceRow,
    /// Number of local steps of its clients.
    pub steps: u64,
    /// Why no update went into the weights, if none did.
    pub came_to_nothing: Option<String>,
}

/// An evaluation of the global parameters, after a round or at the start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evaluated {
    /// Number of rounds that had ended.
    pub server_round: u64,
    /// See [`RoundRow::generalized_loss`].
    pub loss: Option<f64>,
    /// See [`RoundRow::generalized_accuracy`].
    pub accuracy: Option<f64>,
    /// See [`RoundRow::generalized_f1`].
    pub f1: Option<f64>,
    /// When it ended, in seconds since 1970.
    pub finished_at_secs: f64,
}

/// What is appended to the file of clients: the rows of a round.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClientEntry {
    /// One per client of the cohort, failed ones last.
    pub clients: Vec<ClientRow>,
    /// One for the round, then one per client that worked.
    pub resources: Vec<ResourceRow>,
}

/// What an event adds to the rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Addition {
    /// To those of rounds.
    pub round: RoundEntry,
    /// To those of clients.
    pub clients: Option<ClientEntry>,
}

impl Addition {
    /// Clients that failed in the round.
    pub(super) fn failed(&self) -> impl Iterator<Item = &ClientRow> {
        let clients = self.clients.iter().flat_map(|entry| &entry.clients);
        clients.filter(|row| row.status == FAILED)
    }
}

/// [`ClientRow::status`] of a client that failed.
const FAILED: &str = "failed";

/// Longest reason that is kept, in characters; a library's message may be of any length.
const LONGEST_REASON: usize = 500;

/// What is known of all rounds so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Records {
    /// One per round, and one for the start if it was evaluated.
    pub rounds: Vec<RoundRow>,
    /// What each of these cost, in the same order.
    pub costs: Vec<ResourceRow>,
    /// Number of local steps of all clients.
    steps: u64,
    /// Why the first round that came to nothing did.
    pub(super) first_failure: Option<String>,
    /// Clients of the unfinished round that failed.
    failed: Vec<ClientRow>,
    /// Why the unfinished round changes nothing.
    skipped: Option<String>,
}

impl Records {
    /// Local steps of all clients per second of the rounds; `None` before the first one.
    pub fn client_steps_per_sec(&self) -> Option<f64> {
        let seconds: f64 = self.costs.iter().map(|row| row.wall_secs).sum();
        (seconds > 0.0).then(|| self.steps as f64 / seconds)
    }

    /// Takes note of an event; returns what it adds to the rows.
    pub fn on_event(&mut self, event: &Event<'_>) -> Option<Addition> {
        let addition = match event {
            // What a round that was broken off left behind does not count.
            Event::RoundStarted { .. } => {
                (self.failed, self.skipped) = (Vec::new(), None);
                return None;
            }
            Event::ClientFailed { server_round, client, error } => {
                self.failed.push(ClientRow {
                    server_round: server_round + 1,
                    client: *client as u64,
                    status: FAILED.to_string(),
                    reason: Some(shortened(&error.to_string(), LONGEST_REASON).into_owned()),
                    ..Default::default()
                });
                return None;
            }
            Event::RoundSkipped { error, .. } => {
                self.skipped = Some(shortened(&error.to_string(), LONGEST_REASON).into_owned());
                return None;
            }
            Event::RoundFinished(summary) => self.finished(summary),
            Event::Evaluated { rounds, generalized, .. } => self.evaluated(*rounds, generalized),
            _ => return None,
        };
        self.add(addition.round.clone());
        Some(addition)
    }

    /// Takes note of what was appended to the file of rounds.
    pub fn add(&mut self, entry: RoundEntry) {
        match entry {
            RoundEntry::Finished(round) => {
                let FinishedRound { row, cost, steps, came_to_nothing } = *round;
                self.steps = self.steps.saturating_add(steps);
                self.first_failure = self.first_failure.take().or(came_to_nothing);
                self.rounds.push(row);
                self.costs.push(cost);
            }
            RoundEntry::Evaluated(Evaluated { server_round, loss, accuracy, f1, .. })
                if self.has_round(server_round) =>
            {
                if let Some(row) = self.rounds.last_mut() {
                    row.generalized_loss = loss;
                    row.generalized_accuracy = accuracy;
                    row.generalized_f1 = f1;
                }
            }
            RoundEntry::Evaluated(evaluated) => {
                self.costs.push(evaluated.cost());
                self.rounds.push(RoundRow {
                    server_round: evaluated.server_round,
                    generalized_loss: evaluated.loss,
                    generalized_accuracy: evaluated.accuracy,
                    generalized_f1: evaluated.f1,
                    ..Default::default()
                });
            }
        }
    }

    /// Whether the newest row is that of a round.
    fn has_round(&self, server_round: u64) -> bool {
        self.rounds.last().is_some_and(|row| row.server_round == server_round)
    }

    fn finished(&mut self, summary: &RoundSummary) -> Addition {
        let server_round = summary.server_round + 1;
        // They come in the order in which clients end, which depends on the machine.
        let mut failed = std::mem::take(&mut self.failed);
        failed.sort_by_key(|row| row.client);
        let no_one = Vec::new();
        let left_out = summary.report.as_ref().map_or(&no_one, |report| &report.left_out);
        let total = |f: fn(&ClientReport) -> u64| summary.clients.iter().map(f).sum::<u64>();
        let own = summary.personalization();
        let row = RoundRow {
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
        };
        let came_to_nothing =
            (row.updates == 0).then(|| why_nothing(&failed, left_out, self.skipped.take()));

        let finished_at_secs = now();
        let resource = |client, wall: std::time::Duration, peak_bytes| ResourceRow {
            server_round,
            client,
            wall_secs: wall.as_secs_f64(),
            peak_bytes,
            finished_at_secs,
        };
        let peak = summary.clients.iter().filter_map(|client| client.peak_bytes).max();
        let cost = resource(None, summary.wall, peak);
        let of_clients = summary
            .clients
            .iter()
            .map(|report| resource(Some(report.client as u64), report.wall, report.peak_bytes));
        let resources = [cost.clone()].into_iter().chain(of_clients).collect();

        let is_skipped = summary.report.is_none();
        let client = |report| client_row(server_round, report, left_out, is_skipped);
        let clients = summary.clients.iter().map(client).chain(failed).collect();
        let steps = summary.steps();
        let round = Box::new(FinishedRound { row, cost, steps, came_to_nothing });
        let clients = Some(ClientEntry { clients, resources });
        Addition { round: RoundEntry::Finished(round), clients }
    }

    fn evaluated(&self, server_round: u64, generalized: &Evaluation) -> Addition {
        let evaluated = Evaluated {
            server_round,
            loss: loss(generalized),
            accuracy: accuracy(generalized),
            f1: f1(generalized),
            finished_at_secs: now(),
        };
        // The start has no row of its own yet.
        let clients = (!self.has_round(server_round))
            .then(|| ClientEntry { clients: Vec::new(), resources: vec![evaluated.cost()] });
        Addition { round: RoundEntry::Evaluated(evaluated), clients }
    }
}

impl Evaluated {
    /// The row of resources of the start, which costs nothing.
    fn cost(&self) -> ResourceRow {
        ResourceRow {
            server_round: self.server_round,
            finished_at_secs: self.finished_at_secs,
            ..Default::default()
        }
    }
}

/// Why no update of a round went into the weights.
fn why_nothing(failed: &[ClientRow], left_out: &[LeftOut], skipped: Option<String>) -> String {
    let of_client = |client: u64, reason: &str| format!("client {client}: {reason}");
    let failure = failed.first().map(|row| {
        let reason = row.reason.as_deref().unwrap_or_default();
        of_client(row.client, reason)
    });
    let left_out = left_out.first().map(|out| of_client(out.client as u64, &out.reason));
    failure.or(left_out).or(skipped).unwrap_or_else(|| "no client had an update".to_string())
}

/// Points of a curve: the round, and a value of those rounds that have it.
pub fn curve(rows: &[RoundRow], value: impl Fn(&RoundRow) -> Option<f64>) -> Vec<(f64, f64)> {
    rows.iter().filter_map(|row| Some((row.server_round as f64, value(row)?))).collect()
}

/// Points of a curve: the round, and the sum of a value up to it.
pub fn running_total(rows: &[RoundRow], value: impl Fn(&RoundRow) -> u64) -> Vec<(f64, f64)> {
    let add = |sum: &mut u64, row: &RoundRow| {
        // Rows come from files, too.
        *sum = sum.saturating_add(value(row));
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

/// Seconds since 1970.
pub(crate) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
