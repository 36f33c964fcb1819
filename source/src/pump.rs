//! The pump: the one loop that publishes, in the order of changes.
//!
//! A round looks how far capture has come, reads what is new, folds and publishes it, and then publishes the
//! chunks of snapshots that capture has passed. What is stored as the position is published with the data.

mod chunks;
mod dead_letters;
mod instances;
mod report;
mod stream;

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use causeway_change::{Lsn, Position};
use causeway_kafka::Admin;
use causeway_observability::{admin::Health, names::source as names};
use causeway_sqlserver::{CaptureInstance, Client, log};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    SnapshotMode, SourceError,
    fold::Folder,
    publish::Publisher,
    shared::Shared,
    snapshot::{Chunk, Job, Message, POLL_WHILE_WAITING},
    state::TableState,
    tables::Active,
    window::{Scans, passes_at},
};

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
    jobs: mpsc::Sender<Job>,
    messages: mpsc::Receiver<Message>,
    waiting: VecDeque<Waiting>,
    /// Change tables that we have decided about.
    known: HashSet<i32>,
    newest_commit_ns: i64,
    latency_read: Option<Instant>,
    dead_letters_exist: bool,
}

#[derive(Debug)]
struct Waiting {
    chunk: Chunk,
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
    pub jobs: mpsc::Sender<Job>,
    /// From the readers of snapshots.
    pub messages: mpsc::Receiver<Message>,
    /// Change tables that the tables' instances stand for, and those that were left out.
    pub known: HashSet<i32>,
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
        Self {
            shared: start.shared,
            health: start.health,
            admin: start.admin,
            publisher: start.publisher,
            sql: start.sql,
            tables: start.tables,
            folder: Folder::new(HELD_BYTES, keys),
            position: start.position,
            jobs: start.jobs,
            messages: start.messages,
            waiting: VecDeque::new(),
            known: start.known,
            newest_commit_ns: 0,
            latency_read: None,
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
        self.commit(true).await?;
        let longest = Duration::from_millis(self.shared.config.poll_interval_ms);
        let mut pause = Duration::ZERO;
        loop {
            if stop.is_cancelled() {
                self.publisher.stopping();
                self.commit(true).await?;
                return Ok(End::Stopped);
            }
            while let Ok(message) = self.messages.try_recv() {
                self.take(message)?;
            }
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
                        Some(message) => self.take(message)?,
                        // Readers live as long as we hold the sender of jobs.
                        None => return Err(SourceError::Task("all snapshot readers ended".to_owned())),
                    }
                }
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn take(&mut self, message: Message) -> Result<(), SourceError> {
        match message {
            Message::Chunk(chunk) => {
                self.waiting.push_back(Waiting { chunk, passes_at: None });
                Ok(())
            }
            Message::Failed(error) => Err(error),
        }
    }

    fn is_copied(&self) -> bool {
        self.shared.config.snapshot.mode == SnapshotMode::InitialOnly
            && self.waiting.is_empty()
            && self.tables.iter().all(|t| !t.state.snapshot.is_running())
    }

    async fn round(&mut self, stop: &CancellationToken) -> Result<Round, SourceError> {
        // Evidence first, then how far capture has come: what the evidence covers is streamed below.
        let scans = if self.waiting.is_empty() {
            Scans::Hidden
        } else {
            self.shared.sight.newest_scan(&mut self.sql).await?
        };
        let tick = log::tick(&mut self.sql).await?;
        self.look_at_instances(&tick).await?;
        let settle = Duration::from_millis(self.shared.config.snapshot.settle_ms);
        let now = Instant::now();
        for waiting in self.waiting.iter_mut().filter(|w| w.passes_at.is_none()) {
            waiting.passes_at = passes_at(&waiting.chunk.mark, scans, tick.max_lsn, now, settle);
        }
        let mut round = Round { any: false, more: false };
        if let Some(max) = tick.max_lsn {
            if max < self.position.commit_lsn {
                return Err(SourceError::WentBack { max, position: self.position.commit_lsn });
            }
            self.stream(&tick, max, stop, &mut round).await?;
        }
        if !stop.is_cancelled() && self.publish_chunks().await? {
            round.any = true;
        }
        self.capture_latency().await?;
        Ok(round)
    }

    /// Commits what is open, with the position and the tables' states.
    async fn commit(&mut self, always: bool) -> Result<(), SourceError> {
        for entry in &mut self.tables {
            let codec = entry.active.codec();
            if codec.micro_columns != entry.state.micro_columns {
                entry.state.micro_columns = codec.micro_columns.clone();
                entry.changed = true;
            }
            if entry.changed {
                self.publisher.state(&entry.active, &entry.state).await?;
                entry.changed = false;
            }
        }
        let tables = &self.tables;
        let name = |number: usize| tables.get(number).map(|t| t.active.id().to_string());
        self.publisher.commit(self.position, name, always).await?;
        names::BUFFER_BYTES.set(0.0, &[]);
        Ok(())
    }
}
