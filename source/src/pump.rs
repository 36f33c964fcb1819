//! The pump: the one loop that publishes, in the order of changes.
//!
//! A round looks how far capture has come, reads what is new, folds and publishes it, and then publishes the
//! chunks of snapshots that capture has passed. What is stored as the position is published with the data.

mod capture;
mod copies;
mod dead_letters;
mod halted;
mod heaps;
mod instances;
mod report;
mod signals;
mod stream;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use causeway_change::{Lsn, Position, TableId};
use causeway_kafka::Admin;
use causeway_observability::{admin::Health, names::source as names};
use causeway_sqlserver::{CaptureInstance, Client, captured::Scans, log};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    SnapshotMode, SourceError,
    fold::{Folder, Pairing},
    latency::Latency,
    publish::Publisher,
    shared::{Shared, now_ns},
    snapshot::{Chunk, Jobs, Message, POLL_WHILE_WAITING},
    state::{Adhoc, SignalState, TableState},
    tables::Active,
    window::passes_at,
};

pub use halted::HALTS;
pub use heaps::BEHIND;
pub use signals::Intake;

/// Deletes that wait for their insert hold at most this many bytes.
const HELD_BYTES: usize = 8 << 20;
/// An idle source stores how far capture has come this often, so that a restart does not fall behind the
/// cleanup job.
const IDLE_POSITION: Duration = Duration::from_secs(30);

/// One table of the pump.
#[derive(Debug)]
pub struct TableEntry {
    /// What is read and published.
    pub active: Arc<Active>,
    /// What is stored.
    pub state: TableState,
    /// Capture instances that take over later, oldest first.
    pub next: VecDeque<CaptureInstance>,
    /// True when `state` must be written with the next commit.
    pub changed: bool,
    /// True while the table is copied as one without key: its changes are not read.
    pub is_apart: bool,
}

impl TableEntry {
    /// True when its changes are read with those of the others.
    #[must_use]
    pub fn is_going(&self) -> bool {
        self.state.halted.is_none() && !self.is_apart
    }
}

/// Why the pump ended without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was told to stop.
    Stopped,
    /// Mode `initial_only`, and all tables are copied.
    Copied,
}

/// What the pump is made of.
pub struct Pump {
    shared: Arc<Shared>,
    health: Health,
    admin: Arc<Admin>,
    publisher: Publisher,
    sql: Client,
    tables: Vec<TableEntry>,
    folder: Folder,
    position: Position,
    jobs: Arc<Jobs>,
    messages: mpsc::Receiver<Message>,
    waiting: VecDeque<Waiting>,
    copies: BTreeMap<u64, copies::Copy>,
    next_copy: u64,
    intake: Option<Intake>,
    signals: SignalState,
    signals_changed: bool,
    /// Snapshots that signals asked for.
    adhoc: BTreeMap<String, Adhoc>,
    adhoc_changed: BTreeSet<String>,
    /// The table whose rows are signals, by its number.
    signal_table: Option<usize>,
    /// Tables that were replicated and are not captured now.
    left: BTreeSet<TableId>,
    /// Change tables that we have decided about.
    known: HashSet<i32>,
    /// The table that is catching up, by its number, and the position of all others meanwhile.
    catching_up: Option<(usize, Position)>,
    /// When the registry was asked last about tables that wait for it.
    asked_again: Option<Instant>,
    newest_commit_ns: i64,
    health_read: Option<Instant>,
    capture: capture::Watch,
    latency: Latency,
    dead_letters_exist: bool,
}

#[derive(Debug)]
struct Waiting {
    chunk: Box<Chunk>,
    passes_at: Option<Lsn>,
}

/// What the pump starts from.
pub struct Start {
    /// What all tasks see.
    pub shared: Arc<Shared>,
    /// Where the state is shown.
    pub health: Health,
    /// Creates topics.
    pub admin: Arc<Admin>,
    /// The producer.
    pub publisher: Publisher,
    /// A connection of its own.
    pub sql: Client,
    /// The tables.
    pub tables: Vec<TableEntry>,
    /// Where to go on.
    pub position: Position,
    /// To the readers of snapshots.
    pub jobs: Arc<Jobs>,
    /// From the readers of snapshots.
    pub messages: mpsc::Receiver<Message>,
    /// Change tables that the tables' instances stand for, and those that were left out.
    pub known: HashSet<i32>,
    /// Tables that were replicated and are not captured now.
    pub left: BTreeSet<TableId>,
    /// The signals topic, when it is read.
    pub intake: Option<Intake>,
    /// What signals have done.
    pub signals: SignalState,
    /// Snapshots that signals asked for.
    pub adhoc: BTreeMap<String, Adhoc>,
}

/// What a round found.
struct Round {
    /// Something was published.
    any: bool,
    /// More waits to be read.
    more: bool,
}

impl Pump {
    /// Ready to run.
    #[must_use]
    pub fn new(start: Start) -> Self {
        let keys =
            start.tables.iter().map(|t| t.active.instance.source.table.key.clone()).collect();
        let strict = start.shared.config.debezium_strict;
        let pairing = if strict { Pairing::Strict } else { Pairing::Folded };
        let signal_table =
            start.tables.iter().position(|t| start.shared.config.is_signal_table(t.active.id()));
        Self {
            shared: start.shared,
            health: start.health,
            admin: start.admin,
            publisher: start.publisher,
            sql: start.sql,
            tables: start.tables,
            folder: Folder::new(pairing, HELD_BYTES, keys),
            position: start.position,
            jobs: start.jobs,
            messages: start.messages,
            waiting: VecDeque::new(),
            copies: BTreeMap::new(),
            next_copy: 0,
            intake: start.intake,
            signals: start.signals,
            signals_changed: false,
            adhoc: start.adhoc,
            adhoc_changed: BTreeSet::new(),
            signal_table,
            left: start.left,
            known: start.known,
            catching_up: None,
            asked_again: None,
            newest_commit_ns: 0,
            health_read: None,
            capture: capture::Watch::default(),
            latency: Latency::default(),
            dead_letters_exist: false,
        }
    }

    /// Runs until it is told to stop. What is read is then published and committed.
    pub async fn run(mut self, stop: &CancellationToken) -> Result<End, SourceError> {
        let result = self.rounds(stop).await;
        if result.is_err() {
            self.publisher.abort().await;
        }
        result
    }

    async fn rounds(&mut self, stop: &CancellationToken) -> Result<End, SourceError> {
        // The first commit stores the position and the tables before anything else is published.
        self.resume_copies().await?;
        self.commit(true).await?;
        for entry in &self.tables {
            self.shared.rotation.reads(entry.active.id(), entry.state.object_id);
        }
        self.shared.started_over.store(true, Ordering::Relaxed);
        let longest = Duration::from_millis(self.shared.config.poll_interval_ms);
        let mut pause = Duration::ZERO;
        loop {
            if stop.is_cancelled() {
                self.publisher.stopping();
                self.commit(true).await?;
                return Ok(End::Stopped);
            }
            while let Ok(message) = self.messages.try_recv() {
                if let Some(end) = self.take(message).await? {
                    return Ok(end);
                }
            }
            self.take_signals().await?;
            let started = Instant::now();
            let round = self.round(stop).await?;
            names::POLL_SECONDS.record(started.elapsed().as_secs_f64(), &[]);
            if round.more {
                pause = Duration::ZERO;
                self.report(false);
                continue;
            }
            self.commit(false).await?;
            let idle_long = self.publisher.committed() != self.position
                && self.publisher.committed_ago() >= IDLE_POSITION;
            if idle_long {
                self.commit(true).await?;
            }
            self.heartbeat().await?;
            self.report(true);
            if self.is_copied() {
                self.publisher.stopping();
                self.commit(true).await?;
                return Ok(End::Copied);
            }
            // Changes come in bursts: look again soon, then more and more rarely.
            pause = if round.any {
                Duration::from_millis(2)
            } else {
                (pause * 2).max(Duration::from_millis(2)).min(longest)
            };
            let pause = if self.waiting.is_empty() { pause } else { pause.min(POLL_WHILE_WAITING) };
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                message = self.messages.recv() => {
                    match message {
                        Some(message) => {
                            if let Some(end) = self.take(message).await? {
                                return Ok(end);
                            }
                        }
                        // Readers live as long as we hold the sender of jobs.
                        None => return Err(SourceError::Task("all snapshot readers ended".to_owned())),
                    }
                }
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn is_copied(&self) -> bool {
        self.shared.config.snapshot.mode == SnapshotMode::InitialOnly
            && self.waiting.is_empty()
            && self.copies.is_empty()
    }

    async fn round(&mut self, stop: &CancellationToken) -> Result<Round, SourceError> {
        // Evidence first, then how far capture has come: what the evidence covers is streamed below.
        let scans = if self.waiting.is_empty() {
            Scans::Hidden
        } else {
            self.shared.sight.newest_scan(&mut self.sql).await?
        };
        let tick = log::tick(&mut self.sql).await?;
        if let Some(max) = tick.max_lsn {
            self.latency.looked(max, now_ns());
        }
        self.look_at_instances(&tick).await?;
        self.look_at_health(&tick).await?;
        let settle = Duration::from_millis(self.shared.config.snapshot.settle_ms);
        let now = Instant::now();
        for waiting in self.waiting.iter_mut().filter(|w| w.passes_at.is_none()) {
            waiting.passes_at = passes_at(&waiting.chunk.mark, scans, tick.max_lsn, now, settle);
        }
        let mut round = Round { any: false, more: false };
        if self.signals.paused {
            return Ok(round);
        }
        if let Some(max) = tick.max_lsn {
            if max < self.position.commit_lsn {
                return Err(SourceError::WentBack { max, position: self.position.commit_lsn });
            }
            self.stream(&tick, max, stop, &mut round).await?;
            self.resume_heaps(&tick, stop, &mut round).await?;
            self.resume_halted(&tick, stop, &mut round).await?;
        }
        if !stop.is_cancelled() && self.publish_chunks().await? {
            round.any = true;
        }
        Ok(round)
    }

    /// Commits what is open, with the position and the tables' states.
    async fn commit(&mut self, always: bool) -> Result<(), SourceError> {
        let position = self.stored_position();
        let mut changed = Vec::new();
        for entry in &mut self.tables {
            let codec = entry.active.codec();
            if codec.micro_columns != entry.state.micro_columns {
                entry.state.micro_columns = codec.micro_columns.clone();
                entry.changed = true;
            }
            if entry.changed {
                self.publisher.state(&entry.active, &entry.state).await?;
                entry.changed = false;
                changed.push((entry.active.id().clone(), entry.state.object_id));
            }
        }
        self.keep_signals().await?;
        let tables = &self.tables;
        let name = |number: usize| tables.get(number).map(|t| t.active.id().to_string());
        if self.publisher.commit(position, name, always).await? {
            for split in self.latency.published(now_ns()) {
                for (stage, ns) in [("capture", split.capture_ns), ("publish", split.publish_ns)] {
                    names::LATENCY_SECONDS.record(
                        Duration::from_nanos(ns.unsigned_abs()).as_secs_f64(),
                        &[("stage", stage)],
                    );
                }
            }
        }
        for (table, object_id) in changed {
            self.shared.rotation.reads(&table, object_id);
        }
        names::BUFFER_BYTES.set(0.0, &[]);
        Ok(())
    }
}
