//! What a run reports while it goes on.

use std::time::Duration;

use crate::{ClientId, ClientInfo, Error, Evaluation, RoundReport};

/// Something that happened. Rounds are counted from 0.
///
/// [`Event::ClientFinished`] and [`Event::ClientFailed`] come as clients end, in an order that
/// depends on the machine; everything else, and the contents of every event but its times, is
/// deterministic.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A round began with this cohort.
    RoundStarted {
        /// The round.
        server_round: u64,
        /// Its clients.
        cohort: &'a [ClientInfo],
    },
    /// A client delivered a usable update.
    ClientFinished {
        /// The round.
        server_round: u64,
        /// What was measured.
        report: &'a ClientReport,
    },
    /// A client failed, or its update cannot be used; the round goes on without it.
    ClientFailed {
        /// The round.
        server_round: u64,
        /// The client.
        client: ClientId,
        /// Why.
        error: &'a Error,
    },
    /// The round changed nothing: no usable update, or none that could be combined.
    RoundSkipped {
        /// The round.
        server_round: u64,
        /// Why.
        error: &'a Error,
    },
    /// A round ended.
    RoundFinished(&'a RoundSummary),
    /// The global parameters were evaluated on all clients' test parts.
    Evaluated {
        /// Number of rounds that had ended.
        rounds: u64,
        /// The result.
        generalized: Evaluation,
        /// Time spent.
        wall: Duration,
    },
    /// The run stopped on request.
    Stopped {
        /// Number of rounds that had ended.
        rounds: u64,
    },
}

/// What was measured of one client in one round.
#[derive(Clone, Debug)]
pub struct ClientReport {
    /// The client.
    pub client: ClientId,
    /// Number of training examples.
    pub num_examples: usize,
    /// Mean training loss over the local steps.
    pub train_loss: f64,
    /// Number of local steps.
    pub steps: u64,
    /// The locally trained parameters on the client's own test part, before they are sent.
    pub personalized: Option<Evaluation>,
    /// Size of the update as serialised.
    pub bytes_up: u64,
    /// Size of the task as serialised.
    pub bytes_down: u64,
    /// Peak bytes allocated during the work, if a meter was given.
    pub peak_bytes: Option<u64>,
    /// Time the local work took.
    pub wall: Duration,
}

/// What was measured of a round.
#[derive(Clone, Debug)]
pub struct RoundSummary {
    /// The round.
    pub server_round: u64,
    /// What aggregation reports; `None` if the round was skipped.
    pub report: Option<RoundReport>,
    /// Reports of the clients with usable updates, in cohort order.
    pub clients: Vec<ClientReport>,
    /// Time from the start of the round to its end, without the global evaluation.
    pub wall: Duration,
}

impl RoundSummary {
    /// The clients' locally trained parameters on their own test parts, summed.
    pub fn personalized(&self) -> Evaluation {
        self.clients.iter().filter_map(|client| client.personalized).sum()
    }
}
