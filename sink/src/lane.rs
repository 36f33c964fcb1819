//! Lanes: several batches are applied at a time, each by a connection of its own.
//!
//! A lane has whole partitions, and every transaction moves the offsets of its own partitions only. So the
//! rows of `_causeway.progress` are one vector for all lanes, and each lane is to its partitions what
//! a sink with one connection is to all (docs/adr/0003-lanes-and-members.md).

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use causeway_observability::{admin::Health, names::sink as names};
use causeway_postgres::{Client, Config as Postgres};
use causeway_service::{exit::chain_line, retry::Backoff};
use serde_json::json;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::{
    SinkError,
    apply::{Applier, Batch},
    member::Me,
    progress::{Place, Span},
};

/// What a lane does next, in order.
#[derive(Debug)]
pub enum Work {
    /// Applies a batch.
    Batch(Batch),
    /// Gives partitions up: all that was read of them has been applied by then.
    Release(Vec<Place>),
}

/// One lane.
pub struct Lane {
    /// Its number.
    pub number: usize,
    /// Applies its batches.
    pub applier: Applier,
    /// Whose partitions it works on.
    pub me: Me,
    /// For what a batch does not do.
    pub postgres: Postgres,
    /// Told when dead letters were made.
    pub refused: Arc<Notify>,
    /// What the status page says.
    pub board: Arc<Board>,
}

impl Lane {
    /// Works until it is stopped or the fetcher ends; the batch in flight is finished first.
    ///
    /// # Errors
    /// What waiting cannot mend.
    pub async fn run(
        mut self,
        mut works: mpsc::Receiver<Work>,
        stop: CancellationToken,
    ) -> Result<(), SinkError> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        while let Some(work) = works.recv().await {
            match work {
                Work::Batch(mut batch) => {
                    names::LANES_BUSY.gauge(&[]).increment(1.0);
                    let applied = self.apply(&mut batch, &mut backoff, &stop).await;
                    names::LANES_BUSY.gauge(&[]).decrement(1.0);
                    // Not applied, and its offsets are not either: the next start reads it again.
                    let Some(refused) = applied? else { return Ok(()) };
                    if refused > 0 {
                        self.refused.notify_one();
                    }
                    self.board.applied(self.number, &batch);
                }
                Work::Release(places) => {
                    if !self.release(&places, &mut backoff, &stop).await? {
                        return Ok(());
                    }
                }
            }
            backoff.reset();
            if stop.is_cancelled() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Applies a batch, waiting for PostgreSQL as long as it takes; none when stopped.
    async fn apply(
        &mut self,
        batch: &mut Batch,
        backoff: &mut Backoff,
        stop: &CancellationToken,
    ) -> Result<Option<usize>, SinkError> {
        loop {
            match self.applier.apply(batch).await {
                Ok(refused) => return Ok(Some(refused)),
                Err(error) if error.is_transient() => {
                    names::ERRORS.add(1, &[("part", error.part())]);
                    if !self.wait(&error, backoff, stop).await {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn release(
        &self,
        places: &[Place],
        backoff: &mut Backoff,
        stop: &CancellationToken,
    ) -> Result<bool, SinkError> {
        loop {
            let released = async {
                let client = Client::connect(&self.postgres).await?;
                self.me.release(&client, places).await
            };
            match released.await.map_err(SinkError::from) {
                Ok(()) => {
                    tracing::info!(partitions = places.len(), "partitions given up");
                    self.board.released(self.number, places);
                    return Ok(true);
                }
                Err(error) if error.is_transient() => {
                    if !self.wait(&error, backoff, stop).await {
                        return Ok(false);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Says what is waited for, and waits; false when stopped.
    async fn wait(
        &self,
        error: &SinkError,
        backoff: &mut Backoff,
        stop: &CancellationToken,
    ) -> bool {
        let text = chain_line(error);
        tracing::warn!(error = %text, lane = self.number, "waiting");
        self.board.waiting(self.number, text);
        tokio::select! {
            () = stop.cancelled() => false,
            () = tokio::time::sleep(backoff.next()) => true,
        }
    }
}

/// What the status page says of all lanes.
pub struct Board {
    health: Health,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    applied: u64,
    committed: HashMap<Place, i64>,
    waiting: BTreeMap<usize, String>,
    members: usize,
}

impl Board {
    /// Nothing is applied yet.
    #[must_use]
    pub fn new(health: Health) -> Self {
        Self { health, state: Mutex::default() }
    }

    /// All is ready, nothing waits, and nothing has been committed by this member.
    pub fn begin(&self) {
        self.change(|state| {
            state.waiting.clear();
            state.committed.clear();
        });
    }

    /// The offsets to be read next, as far as this member has committed.
    #[must_use]
    pub fn committed(&self) -> HashMap<Place, i64> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).committed.clone()
    }

    /// Where the state is shown.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// What is waited for before there are lanes.
    pub fn waiting_to_begin(&self, error: String) {
        self.waiting(usize::MAX, error);
    }

    /// How many sinks share the pipeline.
    pub fn members(&self, count: usize) {
        self.change(|state| state.members = count);
    }

    /// Nothing is ready any more.
    pub fn end(&self) {
        self.health.set_ready(false);
    }

    fn applied(&self, lane: usize, batch: &Batch) {
        self.passed(lane, batch.changes.len(), &batch.spans);
    }

    /// Changes were applied, and offsets moved.
    pub(crate) fn passed(&self, lane: usize, changes: usize, spans: &HashMap<Place, Span>) {
        self.change(|state| {
            state.waiting.remove(&lane);
            state.applied += u64::try_from(changes).unwrap_or(0);
            for (place, span) in spans {
                state.committed.insert(place.clone(), span.next);
            }
        });
    }

    /// Nothing is waited for any more.
    pub(crate) fn goes_on(&self, lane: usize) {
        self.change(|state| {
            state.waiting.remove(&lane);
        });
    }

    fn released(&self, lane: usize, places: &[Place]) {
        self.change(|state| {
            state.waiting.remove(&lane);
            for place in places {
                state.committed.remove(place);
            }
        });
    }

    pub(crate) fn waiting(&self, lane: usize, error: String) {
        self.change(|state| {
            state.waiting.insert(lane, error);
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        let waits = state.waiting.values().next();
        let offsets: BTreeMap<String, i64> = state
            .committed
            .iter()
            .map(|((topic, partition), next)| (format!("{topic}/{partition}"), *next))
            .collect();
        self.health.set_ready(waits.is_none());
        self.health.set_status(json!({"sink": {
            "state": if waits.is_some() { "waiting" } else { "applying" },
            "error": waits,
            "applied": state.applied,
            "next_offsets": offsets,
            "members": state.members,
        }}));
    }
}
