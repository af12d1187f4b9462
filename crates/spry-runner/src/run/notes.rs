//! What the log says of a run.

use spry_core::Event;
use tracing::{debug, info, warn};

use super::evaluation::{in_words, loss};
use super::records::Addition;

/// What the log says of an event. Rounds are counted as in the results, from 1.
pub(super) fn log(event: &Event<'_>, addition: Option<&Addition>) {
    match event {
        Event::RoundFinished(summary) => {
            let failed = || addition.into_iter().flat_map(Addition::failed);
            if let Some(first) = failed().next() {
                let (round, count) = (summary.server_round + 1, failed().count());
                let reason = first.reason.as_deref().unwrap_or_default();
                warn!("round {round}: {count} clients failed; client {}: {reason}", first.client);
            }
            let loss = summary.report.as_ref().map(|report| report.train_loss);
            let loss = loss.map_or(String::new(), |loss| format!(": train loss {loss:.4}"));
            let round = summary.server_round + 1;
            let (secs, rate) = (summary.wall.as_secs_f64(), summary.steps_per_sec());
            debug!("round {round}{loss}, {secs:.2} s, {rate:.1} client steps per second");
        }
        Event::Evaluated { rounds, generalized, .. } => {
            let what = in_words(generalized);
            // That there is no test data was said at the start.
            match loss(generalized).is_none() && generalized.examples > 0 {
                true => warn!("after {rounds} rounds: {what}"),
                false => debug!("after {rounds} rounds: {what}"),
            }
        }
        Event::ClientFailed { server_round, client, error } => {
            debug!("round {}: client {client} failed: {error}", server_round + 1);
        }
        Event::ClientLeftOut { server_round, left_out } => {
            let (client, reason) = (left_out.client, &left_out.reason);
            info!("round {}: client {client} left out: {reason}", server_round + 1);
        }
        Event::RoundSkipped { server_round, error } => {
            warn!("round {} changed nothing: {error}", server_round + 1);
        }
        Event::Stopped { rounds } => info!("stopped on request after {rounds} rounds"),
        _ => {}
    }
}
