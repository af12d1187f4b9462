//! What a run reports while it goes on.

use std::time::Duration;

use crate::{ClientId, ClientInfo, Error, Evaluation, LeftOut, RoundReport};

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
    /// The method did not use a client's usable update.
    ClientLeftOut {
        /// The round.
        server_round: u64,
        /// Who, and why.
        left_out: &'a LeftOut,
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
    /// One more client's test part was evaluated with the global parameters.
    ClientEvaluated {
        /// Number of clients that are done.
        done: usize,
        /// Number of clients that evaluate.
        total: usize,
    },
    /// The global parameters were evaluated on the clients' test parts.
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
    /// Mean training loss of the examples that the local steps visited, each with the weights of its
    /// step.
    pub train_loss: f64,
    /// Number of local steps.
    pub steps: u64,
    /// Number of forward passes of one example that the training cost; see
    /// [`ClientContext::forward_passes`](crate::ClientContext::forward_passes).
    pub forward_passes: u64,
    /// How noisy the gradient estimates were, if the method measures it.
    pub gradient_variance: Option<f64>,
    /// What local training does to the client's accuracy on its own test part. `None` if there is
    /// none, or if the client sends gradients and so has no local weights.
    pub personalization: Option<Personalization>,
    /// Size of the update as serialised.
    pub bytes_up: u64,
    /// Size of the task as serialised.
    pub bytes_down: u64,
    /// Peak bytes allocated during the work, if a meter was given.
    pub peak_bytes: Option<u64>,
    /// Time the local work took.
    pub wall: Duration,
}

/// A client's own test part, evaluated with two sets of parameters.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Personalization {
    /// With the parameters as received.
    pub before: Evaluation,
    /// With the locally trained parameters, before they are sent.
    pub after: Evaluation,
}

impl std::iter::Sum for Personalization {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |a, b| Self {
            before: [a.before, b.before].into_iter().sum(),
            after: [a.after, b.after].into_iter().sum(),
        })
    }
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
    /// Number of forward passes of one example that all clients made, also those that failed.
    pub forward_passes: u64,
    /// Bytes of the tasks that the server sent to all clients, also those that failed.
    pub bytes_down: u64,
    /// Time from the start of the round to its end, without the global evaluation.
    pub wall: Duration,
}

impl RoundSummary {
    /// Number of local steps of all clients.
    pub fn steps(&self) -> u64 {
        self.clients.iter().map(|client| client.steps).sum()
    }

    /// Local steps of all clients per second of the round: what more cores, or clients at a time,
    /// increase.
    pub fn steps_per_sec(&self) -> f64 {
        self.steps() as f64 / self.wall.as_secs_f64()
    }

    /// The clients' own test parts before and after local training, summed over clients.
    pub fn personalization(&self) -> Personalization {
        self.clients.iter().filter_map(|client| client.personalization).sum()
    }
}
