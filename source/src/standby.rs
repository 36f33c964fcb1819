//! Of several sources with one configuration, the one that works; the others wait as standbys.
//!
//! The lease ([`causeway_kafka::Lease`]) says who should work. That nobody else can is the transactional id's
//! part: a session begins by taking it over, and a process that was frozen and has lost the lease finds its
//! producer fenced. So before every session the lease is confirmed, and a source that was fenced becomes a
//! standby: it does not fence the other in its turn.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use causeway_kafka::{Admin, Held, Lease, TopicSpec, topic};
use causeway_observability::{admin::Health, names::source as names};
use causeway_service::exit;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{SourceError, place::Place, run::Settings};

/// After somebody without the lease has fenced us (`offsets reset --force` does): until it is done.
const AFTER_FENCE: Duration = Duration::from_secs(5);
/// So often in so long: more is another source that does not know of leases, and no use fighting.
const FENCES: usize = 3;
const FENCES_IN: Duration = Duration::from_secs(300);

/// This process's place among the sources of its pipeline.
#[derive(Default)]
pub(crate) struct Seat {
    lease: Option<Lease>,
    fences: Fences,
}

/// What came of a turn.
#[derive(Debug)]
pub(crate) enum Turn<T> {
    /// The work has ended by itself.
    Ended(T),
    /// The lease is another's now.
    Lost,
    /// It was told to stop before it had the lease.
    Stopped,
}

/// When this source was fenced while it had the lease.
#[derive(Debug, Default)]
struct Fences(VecDeque<Instant>);

impl Fences {
    /// Counts one; false when there were too many.
    fn again(&mut self, now: Instant) -> bool {
        self.0.push_back(now);
        self.0.retain(|then| now.saturating_duration_since(*then) < FENCES_IN);
        self.0.len() <= FENCES
    }
}

impl Seat {
    /// Waits for the lease and works as long as it is ours. `work` ends when its token is cancelled.
    pub(crate) async fn turn<T>(
        &mut self,
        settings: &Settings,
        health: &Health,
        stop: &CancellationToken,
        work: impl AsyncFnOnce(&CancellationToken) -> Result<T, SourceError>,
    ) -> Result<Turn<T>, SourceError> {
        let waited = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(Turn::Stopped),
            waited = self.wait(settings, health) => waited?,
        };
        let (true, Some(lease)) = (waited, &self.lease) else { return Ok(Turn::Lost) };
        names::ACTIVE.set(1.0, &[]);
        let token = stop.child_token();
        let mut lost = false;
        let result = {
            let mut work = Box::pin(work(&token));
            loop {
                tokio::select! {
                    biased;
                    result = &mut work => break result,
                    () = lease.lost(), if !lost => {
                        lost = true;
                        tracing::warn!("the lease is another source's now; this one stops working");
                        token.cancel();
                    }
                }
            }
        };
        if lost && !stop.is_cancelled() {
            if let Err(error) = result {
                tracing::warn!(error = exit::chain_line(&error), "the last session ended badly");
            }
            return Ok(Turn::Lost);
        }
        let error = match result {
            Err(error) if error.is_fenced() => error,
            Ok(ended) => return Ok(Turn::Ended(ended)),
            Err(error) => return Err(error),
        };
        if lease.held() != Held::Yes || !lease.confirm().await? {
            lease.step_back();
            tracing::warn!("another source has taken over; this one becomes its standby");
            return Ok(Turn::Lost);
        }
        if !self.fences.again(Instant::now()) {
            return Err(error);
        }
        tracing::warn!(
            error = exit::chain_line(&error),
            wait_ms = u64::try_from(AFTER_FENCE.as_millis()).unwrap_or(u64::MAX),
            "fenced by a program without the lease; this source goes on when that has had its time"
        );
        health.set_ready(false);
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(AFTER_FENCE) => {}
        }
        Ok(Turn::Lost)
    }

    /// Waits for the lease, and says so. False when it was lost again at once.
    async fn wait(&mut self, settings: &Settings, health: &Health) -> Result<bool, SourceError> {
        if self.lease.is_none() {
            self.lease = Some(join(settings).await?);
        }
        let Some(lease) = &mut self.lease else { return Ok(false) };
        let mut held = lease.held();
        let mut waited = false;
        while !held.is_ours() {
            if held == Held::Other {
                waited = true;
                names::ACTIVE.set(0.0, &[]);
                health.set_ready(false);
                health.set_status(json!({ "state": "standby", "error": null }));
                tracing::info!(
                    "another source of this pipeline works, or died a moment ago; this one waits as its standby"
                );
            }
            held = lease.changed(held).await?;
        }
        // The process may have been frozen since.
        if !lease.confirm().await? {
            return Ok(false);
        }
        if waited {
            tracing::info!("this source takes over");
        }
        Ok(true)
    }

    /// Hands over.
    pub(crate) async fn leave(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.leave().await;
        }
    }
}

async fn join(settings: &Settings) -> Result<Lease, SourceError> {
    let topic = lease_topic(&settings.pipeline);
    Admin::new(&settings.kafka)?.ensure_topics(std::slice::from_ref(&topic)).await?;
    let me = Place::me();
    let group = topic::lease_group(&settings.pipeline);
    let name = me.to_string();
    let is_gone = move |other: &str| me.sees_ended(other);
    Ok(Lease::join(&settings.kafka, &group, &topic.name, &name, is_gone).await?)
}

pub(crate) fn lease_topic(pipeline: &str) -> TopicSpec {
    TopicSpec { name: topic::lease(pipeline), partitions: 1, compacted: false, retention_ms: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fight_over_the_id_ends() {
        let start = Instant::now();
        let mut fences = Fences::default();
        for (seconds, goes_on) in [
            (0, true),
            (1, true),
            (2, true),
            (3, false),
            (303, true),
            (304, true),
            (305, true),
            (306, false),
        ] {
            assert_eq!(fences.again(start + Duration::from_secs(seconds)), goes_on, "{seconds}");
        }
    }
}
