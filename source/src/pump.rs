//! The pump: the one loop that publishes, in the order of changes.
//!
//! A round looks how far capture has come, reads what is new, folds and publishes it, and then publishes the
//! chunks of snapshots that capture has passed. What is stored as the position is published with the data.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use causeway_avro::{Envelope, Snapshot, SourceBlock};
use causeway_change::{Lsn, Operation, Position, TableId, Value};
use causeway_kafka::{Admin, topic::header};
use causeway_observability::{admin::Health, context, names::source as names};
use causeway_sqlserver::{
    CaptureInstance, Client, catalog,
    changes::Range,
    log::{self, InstanceState, Tick},
};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    SnapshotMode, SourceError,
    fold::{Event, Folder, Item, Moved},
    keys, lob,
    publish::{Publisher, TableRecord},
    reader::Reader,
    run::table_topic,
    shared::{Shared, VERSION, now_ns},
    snapshot::{Chunk, Job, Message, POLL_WHILE_WAITING},
    state::{SnapshotState, TableState},
    tables::{Active, key_hash},
    window::{Scans, passes_at},
};

/// Transactions that one round takes: their times are held in memory, and tables are probed once.
const ROUND_TRANSACTIONS: usize = 5_000;
/// Tables that are read at the same time; a round with more is halved until it has only one transaction.
const TABLES_AT_ONCE: usize = 32;
/// Events are encoded and sent when they hold this many bytes.
const BLOCK_BYTES: usize = 1 << 20;
/// Deletes that wait for their insert hold at most this many bytes.
const HELD_BYTES: usize = 8 << 20;
/// An idle source stores how far capture has come this often, so that a restart does not fall behind the
/// cleanup job.
const IDLE_POSITION: Duration = Duration::from_secs(30);
/// How often the capture job's latency is read.
const CAPTURE_LATENCY: Duration = Duration::from_secs(10);

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
                self.commit(false).await?;
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

    /// Streams what is captured after our position, as much as one round takes.
    async fn stream(
        &mut self,
        tick: &Tick,
        max: Lsn,
        stop: &CancellationToken,
        round: &mut Round,
    ) -> Result<(), SourceError> {
        if !self.position.is_transaction_end() && !self.position.commit_lsn.is_zero() {
            // We stopped inside a transaction: first its rest.
            let commit = self.position.commit_lsn;
            let found = log::transaction(&mut self.sql, commit).await?;
            let times = times(found.into_iter().collect::<Vec<_>>().as_slice(), tick.utc_offset);
            let all: Vec<usize> = (0..self.tables.len()).collect();
            self.read(&all, Range::RestOf(self.position), &times, stop, round).await?;
            if stop.is_cancelled() {
                return Ok(());
            }
            self.low_water(commit).await?;
            self.position = Position::end_of(commit);
        }
        if max <= self.position.commit_lsn {
            return Ok(());
        }
        let after = self.position.commit_lsn;
        self.switch_instances(after).await?;
        // A capture instance that takes over does so at the end of a transaction.
        let switch = self.tables.iter().filter_map(|t| t.next.front()?.start_lsn).min();
        let bound = switch.filter(|lsn| *lsn > after).map_or(max, |lsn| max.min(lsn));
        let mut transactions =
            log::transactions(&mut self.sql, after, bound, ROUND_TRANSACTIONS).await?;
        let mut upto = bound;
        if transactions.len() == ROUND_TRANSACTIONS
            && let Some(last) = transactions.last()
        {
            upto = last.commit_lsn;
        }
        let mut changed = Vec::new();
        if !transactions.is_empty() {
            changed = self.changed(after, upto).await?;
            while changed.len() > TABLES_AT_ONCE && transactions.len() > 1 {
                transactions.truncate(transactions.len() / 2);
                upto = transactions.last().map_or(upto, |last| last.commit_lsn);
                changed = self.changed(after, upto).await?;
            }
        }
        round.more = upto < max;
        if !changed.is_empty() {
            let times = times(&transactions, tick.utc_offset);
            self.read(&changed, Range::Transactions(after, upto), &times, stop, round).await?;
            if stop.is_cancelled() {
                // The position stands inside; what was read is published.
                return Ok(());
            }
        }
        // Cleanup may have removed rows while we read.
        self.low_water(after).await?;
        self.position = Position::end_of(upto);
        if self.publisher.is_full() {
            self.commit(false).await?;
        }
        Ok(())
    }

    /// The numbers of the tables with changes after `after` up to `upto`.
    async fn changed(&mut self, after: Lsn, upto: Lsn) -> Result<Vec<usize>, SourceError> {
        if self.tables.len() <= 1 {
            return Ok((0..self.tables.len()).collect());
        }
        let instances: Vec<&CaptureInstance> =
            self.tables.iter().map(|t| &t.active.instance).collect();
        let found: HashSet<i32> = log::tables_with_changes(&mut self.sql, &instances, after, upto)
            .await?
            .into_iter()
            .collect();
        Ok(self
            .tables
            .iter()
            .filter(|t| found.contains(&t.active.instance.object_id))
            .map(|t| t.active.number)
            .collect())
    }

    /// Reads, folds and publishes. On return everything read is published; `self.position` says up to where.
    async fn read(
        &mut self,
        tables: &[usize],
        range: Range,
        times: &HashMap<Lsn, i64>,
        stop: &CancellationToken,
        round: &mut Round,
    ) -> Result<(), SourceError> {
        let shared = Arc::clone(&self.shared);
        let actives: Vec<Arc<Active>> = tables
            .iter()
            .filter_map(|&number| self.tables.get(number))
            .map(|t| Arc::clone(&t.active))
            .collect();
        let by_number: HashMap<usize, Arc<Active>> =
            actives.iter().map(|a| (a.number, Arc::clone(a))).collect();
        let mut counts: HashMap<usize, u64> = HashMap::new();
        let mut reader =
            Reader::start(&shared.pool, actives.into_iter().map(|active| (active, range))).await?;
        let from = self.position.commit_lsn;
        let mut block = Block::default();
        let mut current: Option<Lsn> = None;
        while let Some((number, row)) = reader.next().await? {
            round.any = true;
            *counts.entry(number).or_default() += 1;
            let commit = row.position.commit_lsn;
            if current != Some(commit) {
                if let Some(ended) = current {
                    self.folder.flush(&mut block.events);
                    if block.is_full() || self.publisher.is_full() {
                        self.emit(&mut block, times).await?;
                    }
                    self.publisher.transaction_ended();
                    self.position = Position::end_of(ended);
                    if self.publisher.is_full() {
                        self.emit(&mut block, times).await?;
                        self.low_water(from).await?;
                        self.commit(false).await?;
                    }
                }
                current = Some(commit);
                let time = times.get(&commit).copied().unwrap_or(0);
                self.newest_commit_ns = self.newest_commit_ns.max(time);
                let hash = xxhash_rust::xxh3::xxh3_64(commit.as_bytes());
                if context::sampled(hash, shared.sample_ratio) {
                    self.publisher.trace(commit, time)?;
                }
            }
            let Some(active) = by_number.get(&number) else { continue };
            let size = row.size();
            let key = active.key(&shared.registry, commit, &row.row).await?;
            let item = Item { table: number, position: row.position, row: row.row, key, size };
            self.folder.push(item, &mut block.events);
            if block.grew() {
                self.emit(&mut block, times).await?;
            }
            if stop.is_cancelled() || self.publisher.must_split() {
                self.folder.flush(&mut block.events);
                self.emit(&mut block, times).await?;
                self.low_water(from).await?;
                self.position = self.folder.done();
                self.commit(false).await?;
                if stop.is_cancelled() {
                    return Ok(());
                }
            }
        }
        self.folder.flush(&mut block.events);
        self.emit(&mut block, times).await?;
        if let Some(ended) = current {
            self.publisher.transaction_ended();
            self.position = Position::end_of(ended);
        }
        for (number, count) in counts {
            if let Some(active) = by_number.get(&number) {
                let table = active.id().to_string();
                names::ROWS_READ.add(count, &[("table", &table), ("phase", "stream")]);
            }
        }
        Ok(())
    }

    /// Encodes and sends a block of events.
    async fn emit(
        &mut self,
        block: &mut Block,
        times: &HashMap<Lsn, i64>,
    ) -> Result<(), SourceError> {
        let mut events = std::mem::take(&mut block.events);
        block.counted = 0;
        block.bytes = 0;
        if events.is_empty() {
            return Ok(());
        }
        self.complete(&mut events).await?;
        self.note(&events);
        let shared = Arc::clone(&self.shared);
        let mut value = Vec::new();
        for event in &events {
            let Some(entry) = self.tables.get(event.table) else { continue };
            let active = Arc::clone(&entry.active);
            let table = &active.instance.source.table;
            let lsn = event.position.commit_lsn;
            let envelope = Envelope {
                before: event.before.as_deref(),
                after: event.after.as_deref(),
                operation: event.operation,
                source: SourceBlock {
                    version: VERSION,
                    name: &shared.pipeline,
                    db: &table.database,
                    schema: &table.id.schema,
                    table: &table.id.name,
                    // The mapping may have been cleaned up since.
                    ts_ns: times.get(&lsn).copied().unwrap_or_else(now_ns),
                    snapshot: Snapshot::False,
                    change_lsn: Some(event.position.seqval),
                    commit_lsn: Some(lsn),
                    event_serial_no: Some(event.serial),
                },
                ts_ns: now_ns(),
            };
            active
                .encode(&shared.registry, lsn, |codec| {
                    value.clear();
                    codec.encoder.encode_value(&envelope, codec.value_id, &mut value)
                })
                .await?;
            let moved = event.moved.as_ref().map(|moved| moved_header(&active, moved));
            let headers: Vec<(&str, &[u8])> =
                moved.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
            let record = |value| TableRecord {
                active: &active,
                key: &event.key,
                value,
                headers: &headers,
                lsn,
                is_row: value.is_some(),
            };
            self.publisher.send(record(Some(&value))).await?;
            let is_delete = event.operation == Operation::Delete;
            if is_delete && shared.config.tombstones && !event.key.is_empty() {
                self.publisher.send(record(None)).await?;
            }
        }
        names::BUFFER_BYTES.set(as_f64(self.publisher.open_bytes()), &[]);
        Ok(())
    }

    /// Reads large values that updates left out, for tables that are being copied.
    async fn complete(&mut self, events: &mut [Event]) -> Result<(), SourceError> {
        let lacks = |event: &Event| {
            event.after.as_ref().is_some_and(|row| row.iter().any(Value::is_unavailable))
        };
        let mut by_table: BTreeMap<usize, Vec<&mut Event>> = BTreeMap::new();
        for event in events.iter_mut().filter(|event| lacks(event)) {
            let copying =
                self.tables.get(event.table).is_some_and(|t| t.state.snapshot.is_running());
            if copying {
                by_table.entry(event.table).or_default().push(event);
            }
        }
        for (number, mut events) in by_table {
            let Some(entry) = self.tables.get(number) else { continue };
            let active = Arc::clone(&entry.active);
            lob::complete(&mut self.sql, &active, &self.shared.registry, &mut events).await?;
        }
        Ok(())
    }

    /// Notes the keys of the events for the windows that are open.
    fn note(&self, events: &[Event]) {
        let mut windows = self.shared.windows();
        for event in events {
            if !windows.is_closed(event.table) {
                windows.note(event.table, key_hash(&event.key));
            }
        }
    }

    /// Publishes the chunks that capture has passed and the stream has reached.
    async fn publish_chunks(&mut self) -> Result<bool, SourceError> {
        let mut any = false;
        // In the order in which they came: a table's stored key must not jump ahead.
        while let Some(front) = self.waiting.front() {
            if front.passes_at.is_none_or(|lsn| lsn > self.position.commit_lsn) {
                break;
            }
            let Some(Waiting { chunk, .. }) = self.waiting.pop_front() else { break };
            let active = Arc::clone(&chunk.active);
            for (key, value) in chunk.iter() {
                let overtaken = self.shared.windows().is_noted(chunk.window, key_hash(key));
                if !overtaken {
                    let record = TableRecord {
                        active: &active,
                        key,
                        value: Some(value),
                        headers: &[],
                        lsn: chunk.lsn,
                        is_row: true,
                    };
                    self.publisher.send(record).await?;
                }
            }
            self.shared.windows().close(chunk.window);
            if let Some(entry) = self.tables.get_mut(active.number) {
                entry.changed = true;
                entry.state.snapshot = if chunk.is_last {
                    SnapshotState::Done { rows: chunk.rows }
                } else {
                    SnapshotState::Running { after: chunk.last_key.clone(), rows: chunk.rows }
                };
                if chunk.is_last {
                    self.shared.progress.table(active.id()).done.store(true, Ordering::Relaxed);
                    self.chunk_gauges(&active.id().to_string(), chunk.rows, chunk.rows);
                    tracing::info!(table = %active.id(), rows = chunk.rows, "snapshot published");
                }
            }
            any = true;
            if self.publisher.is_full() {
                self.commit(false).await?;
            }
        }
        Ok(any)
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

    /// Looks for gaps after a read that went on from `from`, and before anything of it is committed: a
    /// position beyond a gap would hide it.
    async fn low_water(&mut self, from: Lsn) -> Result<(), SourceError> {
        let instances = log::low_water(&mut self.sql).await?;
        self.check_gaps(&instances, from)
    }

    /// A low-water mark above our position means that rows may be gone that we have not read.
    fn check_gaps(
        &mut self,
        instances: &HashMap<i32, InstanceState>,
        from: Lsn,
    ) -> Result<(), SourceError> {
        for entry in &mut self.tables {
            let instance = &entry.active.instance;
            let found = instances.get(&instance.object_id).filter(|found| !found.dropping);
            let Some(found) = found else {
                return Err(SourceError::InstanceReplaced {
                    table: entry.active.id().clone(),
                    instance: instance.name.clone(),
                });
            };
            let Some(low) = found.start_lsn else { continue };
            match entry.state.since_lsn() {
                None => {
                    entry.state.since = Some(low.to_string());
                    entry.changed = true;
                }
                Some(since) => {
                    let from = from.max(since);
                    if low > from {
                        return Err(SourceError::Gap {
                            table: entry.active.id().clone(),
                            from,
                            low,
                        });
                    }
                }
            }
        }
        Ok(())
    }

    /// Gaps, instances that are gone, and instances that have come.
    async fn look_at_instances(&mut self, tick: &Tick) -> Result<(), SourceError> {
        self.check_gaps(&tick.instances, self.position.commit_lsn)?;
        let new = tick.instances.iter().any(|(id, found)| {
            !found.dropping && found.start_lsn.is_some() && !self.known.contains(id)
        });
        if !new {
            return Ok(());
        }
        let selection = self.shared.config.selection();
        let discovery = catalog::discover(&mut self.sql, &selection).await?;
        for refused in discovery.refused {
            tracing::error!(
                table = %refused.table,
                column = refused.column,
                "a newly captured table is not replicated: {}; leave the column out by exclude_columns",
                refused.reason
            );
        }
        for instance in discovery.instances {
            if self.known.contains(&instance.object_id) || instance.start_lsn.is_none() {
                continue;
            }
            self.known.insert(instance.object_id);
            let id = instance.source.id().clone();
            match self.tables.iter_mut().find(|t| *t.active.id() == id) {
                Some(entry) => {
                    tracing::info!(table = %id, instance = instance.name, "a second capture instance takes over later");
                    entry.next.push_back(instance);
                }
                None => self.add_table(id, instance).await?,
            }
        }
        // Tables that are not wanted are decided too; one whose start is not known yet is looked at again.
        for (id, found) in &tick.instances {
            if found.start_lsn.is_some() {
                self.known.insert(*id);
            }
        }
        Ok(())
    }

    async fn add_table(
        &mut self,
        id: TableId,
        instance: CaptureInstance,
    ) -> Result<(), SourceError> {
        if instance.source.table.key.is_empty() {
            tracing::error!(table = %id, "a newly captured table has no key and is not replicated");
            return Ok(());
        }
        tracing::info!(table = %id, "a newly captured table joins");
        let copied = self.shared.config.snapshot.mode != SnapshotMode::NoData;
        let state = TableState {
            instance: instance.name.clone(),
            object_id: instance.object_id,
            since: instance.start_lsn.map(|lsn| lsn.to_string()),
            snapshot: if copied {
                SnapshotState::Running { after: None, rows: 0 }
            } else {
                SnapshotState::Skipped
            },
            micro_columns: Default::default(),
        };
        let number = self.tables.len();
        let shared = &self.shared;
        let total = instance.source.approximate_rows.unwrap_or(0);
        let active = Arc::new(
            Active::new(
                number,
                instance,
                &shared.pipeline,
                &shared.registry,
                shared.options,
                state.micro_columns.clone(),
            )
            .await?,
        );
        self.admin.ensure_topics(&[table_topic(&active.topic, self.shared.partitions)]).await?;
        self.folder.set_key(number, active.instance.source.table.key.clone());
        if copied {
            shared.progress.table(&id).total.store(total, Ordering::Relaxed);
            shared.progress.left.fetch_add(1, Ordering::Relaxed);
            let job = Job { active: Arc::clone(&active), after: None, rows: 0 };
            if self.jobs.try_send(job).is_err() {
                return Err(SourceError::Task("the queue of snapshots is full".to_owned()));
            }
        }
        self.tables.push(TableEntry { active, state, next: VecDeque::new(), changed: true });
        Ok(())
    }

    /// Capture instances whose time has come take over.
    async fn switch_instances(&mut self, position: Lsn) -> Result<(), SourceError> {
        let shared = Arc::clone(&self.shared);
        for entry in &mut self.tables {
            while entry
                .next
                .front()
                .and_then(|next| next.start_lsn)
                .is_some_and(|start| start <= position)
            {
                let Some(instance) = entry.next.pop_front() else { break };
                tracing::info!(
                    table = %entry.active.id(),
                    from = entry.active.instance.name,
                    to = instance.name,
                    at = %position,
                    "the next capture instance takes over"
                );
                entry.state.instance = instance.name.clone();
                entry.state.object_id = instance.object_id;
                entry.state.since = instance.start_lsn.map(|lsn| lsn.to_string());
                entry.changed = true;
                let active = Active::new(
                    entry.active.number,
                    instance,
                    &shared.pipeline,
                    &shared.registry,
                    shared.options,
                    entry.state.micro_columns.clone(),
                )
                .await?;
                let key = active.instance.source.table.key.clone();
                self.folder.set_key(active.number, key);
                entry.active = Arc::new(active);
            }
        }
        Ok(())
    }

    fn chunk_gauges(&self, table: &str, published: u64, expected: u64) {
        let chunks = |rows: u64| {
            u64_as_f64(rows.div_ceil(u64::from(self.shared.config.snapshot.chunk_rows)))
        };
        names::SNAPSHOT_CHUNKS.set(chunks(published), &[("table", table), ("state", "done")]);
        names::SNAPSHOT_CHUNKS.set(chunks(expected), &[("table", table), ("state", "planned")]);
    }

    async fn capture_latency(&mut self) -> Result<(), SourceError> {
        let due = self.latency_read.is_none_or(|read| read.elapsed() >= CAPTURE_LATENCY);
        if due && self.shared.sight.scans {
            self.latency_read = Some(Instant::now());
            if let Scans::Newest(scan) = self.shared.sight.newest_scan(&mut self.sql).await? {
                let seconds = scan.latency_s.and_then(|s| u32::try_from(s).ok()).unwrap_or(0);
                names::CAPTURE_LAG_SECONDS.set(f64::from(seconds), &[]);
            }
        }
        Ok(())
    }

    /// `/status` and the gauges.
    fn report(&self, caught_up: bool) {
        let lag_ms = if caught_up || self.newest_commit_ns == 0 {
            0
        } else {
            ((now_ns() - self.newest_commit_ns) / 1_000_000).max(0)
        };
        names::LAG_SECONDS.set(f64::from(u32::try_from(lag_ms).unwrap_or(u32::MAX)) / 1000.0, &[]);
        for entry in self.tables.iter().filter(|t| t.state.snapshot.is_running()) {
            let table = entry.active.id().to_string();
            let progress = self.shared.progress.table(entry.active.id());
            let (rows, total) =
                (progress.rows.load(Ordering::Relaxed), progress.total.load(Ordering::Relaxed));
            names::SNAPSHOT_ROWS.set(u64_as_f64(rows), &[("table", &table), ("state", "read")]);
            names::SNAPSHOT_ROWS
                .set(u64_as_f64(total.max(rows)), &[("table", &table), ("state", "expected")]);
            let published = match entry.state.snapshot {
                SnapshotState::Running { rows, .. } | SnapshotState::Done { rows } => rows,
                SnapshotState::Skipped => 0,
            };
            self.chunk_gauges(&table, published, total.max(rows));
        }
        self.health.set_ready(true);
        self.health.set_status(json!({
            "state": "running",
            "error": null,
            "position": self.position.commit_lsn.to_string(),
            "committed": self.publisher.committed().commit_lsn.to_string(),
            "caught_up": caught_up,
            "lag_ms": lag_ms,
            "tables": self.tables.len(),
            "snapshot": self.shared.progress.json(),
            "snapshot_running": self.tables.iter().any(|t| t.state.snapshot.is_running()),
            "chunks_waiting": self.waiting.len(),
        }));
    }
}

/// Events that are not encoded yet.
#[derive(Default)]
struct Block {
    events: Vec<Event>,
    /// How many of them are in `bytes`.
    counted: usize,
    bytes: usize,
}

impl Block {
    /// Counts the events that have come since the last time; true when there are enough.
    fn grew(&mut self) -> bool {
        self.bytes += self.events.iter().skip(self.counted).map(|e| e.size).sum::<usize>();
        self.counted = self.events.len();
        self.is_full()
    }

    fn is_full(&self) -> bool {
        self.bytes >= BLOCK_BYTES
    }
}

/// Commit times in nanoseconds since 1970, UTC.
fn times(transactions: &[log::Transaction], utc_offset: i64) -> HashMap<Lsn, i64> {
    transactions
        .iter()
        .map(|t| (t.commit_lsn, (t.end_time - utc_offset).saturating_mul(100)))
        .collect()
}

fn moved_header(active: &Active, moved: &Moved) -> (&'static str, String) {
    let table = &active.instance.source.table;
    let columns = || table.key_columns().map(|c| (c.name.as_str(), &c.ty));
    match moved {
        Moved::To(key) => (header::NEW_KEY, keys::header(columns(), key)),
        Moved::From(key) => (header::OLD_KEY, keys::header(columns(), key)),
    }
}

fn as_f64(n: usize) -> f64 {
    u64_as_f64(u64::try_from(n).unwrap_or(u64::MAX))
}

/// For gauges: exact up to 2^32, and close enough beyond.
fn u64_as_f64(n: u64) -> f64 {
    let (high, low) = (n >> 32, n & 0xffff_ffff);
    let part = |n: u64| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    part(high) * 4_294_967_296.0 + part(low)
}
