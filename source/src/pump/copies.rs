//! Copies of tables: divided, read by the readers, published when the stream has passed them.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use causeway_change::TableId;
use serde_json::{Value as Json, json};

use super::{End, Pump, Waiting};
use crate::{
    SourceError,
    index::Of,
    merging::Merging,
    oversize::{Extent, record_id},
    publish::{Sent, TableRecord},
    scope::Scope,
    shared::TableProgress,
    snapshot::{self, Chunk, Job, Message, Task},
    state::{AdhocTable, Part, SnapshotState},
    tables::{Active, key_hash},
    window::Overtaken,
};

/// A table is not divided into parts of fewer chunks than this.
const CHUNKS_OF_A_PART: u64 = 2;
/// Parts for each reader: so many that they end at about the same time.
const PARTS_OF_A_READER: u64 = 4;
/// Progress is told this often.
const TELL: Duration = Duration::from_secs(5);

/// Who wanted a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The table's first copy, or another one that takes its place.
    First,
    /// A signal.
    Signal(String),
}

impl Origin {
    fn signal(&self) -> Option<&str> {
        match self {
            Self::First => None,
            Self::Signal(id) => Some(id),
        }
    }

    /// Debezium's word for the kind of snapshot.
    pub(super) fn aggregate(&self) -> &'static str {
        match self {
            Self::First => "Initial Snapshot",
            Self::Signal(_) => "Incremental Snapshot",
        }
    }
}

/// One copy of one table.
#[derive(Debug)]
pub(super) struct Copy {
    pub(super) table: usize,
    pub(super) origin: Origin,
    scope: Arc<Scope>,
    /// The parts that are left, by their number.
    parts: BTreeMap<usize, Part>,
    divided: bool,
    /// Rows of chunks that are published.
    pub(super) rows: u64,
    pub(super) progress: Arc<TableProgress>,
    told: Option<Instant>,
}

impl Copy {
    fn state(&self) -> SnapshotState {
        let parts = self.divided.then(|| self.parts.values().cloned().collect());
        SnapshotState::Running { rows: self.rows, parts, after: None }
    }
}

impl Pump {
    /// Begins or goes on with a copy.
    pub(super) fn start_copy(
        &mut self,
        active: &Arc<Active>,
        origin: Origin,
        scope: Scope,
        state: &SnapshotState,
    ) {
        let table = active.number;
        let mut rows = state.rows();
        let mut parts = state.parts();
        if parts.iter().flatten().any(|part| !snapshot::fits(active, &scope, part)) {
            tracing::warn!(table = %active.id(), "the key has changed: the snapshot begins again");
            (rows, parts) = (0, None);
        }
        let total = match &scope.keys {
            Some(keys) => u64::try_from(keys.len()).unwrap_or(u64::MAX),
            None => active.instance.source.approximate_rows.unwrap_or(0),
        };
        let progress = Arc::new(TableProgress::new(rows, total, false));
        let shared = Arc::clone(&self.shared);
        shared.progress.put(origin.signal(), active.id(), Arc::clone(&progress));
        if origin == Origin::First {
            shared.progress.left.fetch_add(1, Ordering::Relaxed);
            if rows > 0 {
                shared.progress.begun.store(true, Ordering::Relaxed);
            }
        }
        let number = self.next_copy;
        self.next_copy += 1;
        tracing::info!(table = %active.id(), rows, signal = origin.signal(), "snapshot begins");
        let mut copy = Copy {
            table,
            origin,
            scope: Arc::new(scope),
            parts: BTreeMap::new(),
            divided: true,
            rows,
            progress,
            told: None,
        };
        let snapshot = &shared.config.snapshot;
        let wanted = (total / (u64::from(snapshot.chunk_rows) * CHUNKS_OF_A_PART))
            .min(u64::try_from(snapshot.readers).unwrap_or(1) * PARTS_OF_A_READER);
        let alone = copy.scope.keys.is_some() || snapshot.readers == 1 || wanted < 2;
        if active.instance.source.table.key.is_empty() {
            if let Some(entry) = self.tables.get_mut(table) {
                entry.is_apart = true;
            }
            copy.rows = 0;
            copy.progress.parts_left.store(1, Ordering::Relaxed);
            self.push(number, &copy, Task::Heap);
            self.copies.insert(number, copy);
            return;
        }
        match parts {
            None if !alone => {
                copy.divided = false;
                self.push(number, &copy, Task::Divide(wanted));
            }
            None => self.push_parts(number, &mut copy, vec![Part::default()]),
            Some(parts) => self.push_parts(number, &mut copy, parts),
        }
        self.copies.insert(number, copy);
    }

    fn push(&self, number: u64, copy: &Copy, task: Task) {
        let Some(entry) = self.tables.get(copy.table) else { return };
        self.jobs.push(Job {
            copy: number,
            active: Arc::clone(&entry.active),
            scope: Arc::clone(&copy.scope),
            progress: Arc::clone(&copy.progress),
            task,
        });
    }

    fn push_parts(&self, number: u64, copy: &mut Copy, parts: Vec<Part>) {
        copy.progress.parts_left.store(parts.len(), Ordering::Relaxed);
        for (i, part) in parts.into_iter().enumerate() {
            self.push(number, copy, Task::Read(i, part.clone()));
            copy.parts.insert(i, part);
        }
    }

    /// Takes what a reader says. Gives the end when there is no going on.
    pub(super) async fn take(&mut self, message: Message) -> Result<Option<End>, SourceError> {
        match message {
            Message::Chunk(chunk) => self.waiting.push_back(Waiting { chunk, passes_at: None }),
            Message::Divided(number, bounds) => self.divided(number, bounds),
            Message::Heap(heap) => return self.take_heap(heap).await,
            Message::Failed(number, error) => self.failed(number, error).await?,
        }
        Ok(None)
    }

    fn divided(&mut self, number: u64, bounds: Vec<Json>) {
        let Some(mut copy) = self.copies.remove(&number) else { return };
        let mut parts = Vec::with_capacity(bounds.len() + 1);
        let mut after = None;
        for bound in bounds {
            parts.push(Part { after: after.take(), upto: Some(bound.clone()) });
            after = Some(bound);
        }
        parts.push(Part { after, upto: None });
        copy.divided = true;
        self.push_parts(number, &mut copy, parts);
        self.save(&copy);
        self.copies.insert(number, copy);
    }

    /// A first copy that cannot be read stops us; one that a signal asked for is given up.
    async fn failed(&mut self, number: u64, error: SourceError) -> Result<(), SourceError> {
        let Some(copy) = self.copies.get(&number) else { return Ok(()) };
        let Origin::Signal(signal) = copy.origin.clone() else { return Err(error) };
        // A column is gone: a new session knows the table as it is. A condition may name what never was.
        if error.is_changed_table() && copy.scope.filter.is_none() {
            return Err(error);
        }
        let line = causeway_service::exit::chain_line(&error);
        let table = self.tables.get(copy.table).map(|t| t.active.id().clone());
        tracing::error!(signal, error = line, "a snapshot that a signal asked for is given up");
        self.drop_copy(number);
        if let Some(table) = table {
            let more =
                json!({ "current_collection_in_progress": self.collection(&table), "error": line });
            self.notify("Incremental Snapshot", "ABORTED", &signal, more).await?;
            self.forget_adhoc(&signal, Some(&table));
        }
        Ok(())
    }

    /// Ends a copy; its chunks that come later are thrown away.
    pub(super) fn drop_copy(&mut self, number: u64) {
        if let Some(copy) = self.copies.remove(&number) {
            copy.progress.stop.cancel();
            if let Some(entry) = self.tables.get_mut(copy.table) {
                entry.is_apart = false;
            }
        }
    }

    /// Begins the copies of a table again from where they are, because it is read by another instance, or
    /// ends them until the table goes on.
    pub(super) fn restart_copies(&mut self, table: usize, goes_on: bool) {
        let numbers: Vec<u64> =
            self.copies.iter().filter(|(_, c)| c.table == table).map(|(n, _)| *n).collect();
        for number in numbers {
            if let Some(copy) = self.copies.get(&number)
                && copy.origin == Origin::First
                && (!copy.divided || copy.progress.parts_left.load(Ordering::Relaxed) > 0)
            {
                self.shared.progress.left.fetch_sub(1, Ordering::Relaxed);
            }
            self.drop_copy(number);
        }
        if goes_on {
            self.start_copies(table);
        }
    }

    /// Starts what is not done of a table's copies.
    fn start_copies(&mut self, table: usize) {
        let Some(entry) = self.tables.get(table) else { return };
        let active = Arc::clone(&entry.active);
        if entry.state.snapshot.is_running() {
            let (scope, state) =
                (Scope::whole(&active.instance.source), entry.state.snapshot.clone());
            self.start_copy(&active, Origin::First, scope, &state);
        }
        let id = active.id();
        let asked: Vec<(String, AdhocTable)> = self
            .adhoc
            .iter()
            .flat_map(|(signal, adhoc)| adhoc.tables.iter().map(|t| (signal.clone(), t.clone())))
            .filter(|(_, t)| t.schema == id.schema && t.name == id.name)
            .collect();
        for (signal, asked) in asked {
            let scope = Scope::asked(
                &active.instance.source,
                asked.filter.as_deref(),
                asked.surrogate_key.as_deref(),
                asked.keys.as_deref(),
            );
            match scope {
                Ok(scope) => {
                    self.start_copy(&active, Origin::Signal(signal), scope, &asked.snapshot);
                }
                // The next start gives it up, with a notification.
                Err(reason) => {
                    tracing::error!(signal, reason, "a table's snapshot cannot go on");
                }
            }
        }
    }

    /// Puts how far a copy is where the next commit stores it.
    fn save(&mut self, copy: &Copy) {
        let Some(entry) = self.tables.get_mut(copy.table) else { return };
        match &copy.origin {
            Origin::First => {
                entry.state.snapshot = copy.state();
                entry.changed = true;
            }
            Origin::Signal(id) => {
                let (schema, name) = (&entry.active.id().schema, &entry.active.id().name);
                let found = self.adhoc.get_mut(id).and_then(|adhoc| {
                    adhoc.tables.iter_mut().find(|t| t.schema == *schema && t.name == *name)
                });
                if let Some(table) = found {
                    table.snapshot = copy.state();
                    self.adhoc_changed.insert(id.clone());
                }
            }
        }
    }

    /// Publishes the chunks that capture has passed and the stream has reached.
    pub(super) async fn publish_chunks(&mut self) -> Result<bool, SourceError> {
        let mut any = false;
        // In the order in which they came: a part's stored key must not jump ahead.
        while let Some(front) = self.waiting.front() {
            let wanted = self.copies.contains_key(&front.chunk.copy);
            if wanted && front.passes_at.is_none_or(|lsn| lsn > self.position.commit_lsn) {
                break;
            }
            let Some(Waiting { chunk, .. }) = self.waiting.pop_front() else { break };
            if wanted && self.shared.windows().is_lost(chunk.window) {
                tracing::info!(
                    table = %chunk.active.id(),
                    "more of a table has changed than is kept in mind while it is copied; what was read of it \
                     and not published is read again"
                );
                self.restart_copies(chunk.active.number, true);
            } else if wanted {
                self.publish_chunk(&chunk).await?;
                any = true;
            }
            self.shared.windows().close(chunk.window);
            if self.publisher.is_full() {
                self.commit(false).await?;
            }
        }
        Ok(any)
    }

    async fn publish_chunk(&mut self, chunk: &Chunk) -> Result<(), SourceError> {
        let active = Arc::clone(&chunk.active);
        let mut merging = Merging::default();
        for (number, (key, value)) in chunk.iter().enumerate() {
            let overtaken = self.shared.windows().overtaken(chunk.window, key_hash(key));
            let (key, value) = match overtaken {
                Overtaken::Not => (key, value),
                Overtaken::Whole => continue,
                Overtaken::Part(row) => {
                    let place = chunk.places.get(number).copied().unwrap_or_default();
                    merging.merge(&self.shared, chunk, row, value, place).await?
                }
            };
            if let Some(refused) = chunk.refused.get(&number) {
                self.refuse_or_stop(&active, chunk.lsn, refused.bytes)?;
                let of = Of::Snapshot { lsn: chunk.lsn, table: active.number };
                self.dead_letter(&active, key, value, of, &refused.reason).await?;
                continue;
            }
            let record = TableRecord {
                active: &active,
                key,
                value: Some(value),
                headers: &[],
                lsn: chunk.lsn,
                is_row: true,
                place: None,
                commit_ns: 0,
                extent: Extent::Whole,
            };
            if let Sent::TooLarge(bytes) = self.publisher.send(record).await? {
                // The reader would have seen it but for a limit learnt since: it reads again.
                self.shared.oversize.refuse(record_id(&active.topic, key, None, Extent::Whole));
                let table = active.id().clone();
                return Err(SourceError::TooLarge { table, lsn: chunk.lsn, bytes });
            }
        }
        self.advance(chunk).await
    }

    /// A chunk is published: its part goes on behind it.
    async fn advance(&mut self, chunk: &Chunk) -> Result<(), SourceError> {
        let Some(mut copy) = self.copies.remove(&chunk.copy) else { return Ok(()) };
        copy.rows += u64::try_from(chunk.ends.len()).unwrap_or(u64::MAX);
        if chunk.is_last {
            copy.parts.remove(&chunk.part);
        } else if let Some(part) = copy.parts.get_mut(&chunk.part) {
            part.after = chunk.after.clone();
        }
        if copy.parts.is_empty() {
            return self.finished(&chunk.active, copy).await;
        }
        self.save(&copy);
        let id = chunk.active.id().clone();
        if copy.told.is_none_or(|told| told.elapsed() >= TELL) {
            copy.told = Some(Instant::now());
            let more = json!({
                "current_collection_in_progress": self.collection(&id),
                "total_rows_scanned": copy.rows.to_string(),
                "rows_about": copy.progress.total.load(Ordering::Relaxed).to_string(),
            });
            let name = self.name_of(&copy.origin);
            self.notify(copy.origin.aggregate(), "IN_PROGRESS", &name, more).await?;
        }
        self.copies.insert(chunk.copy, copy);
        Ok(())
    }

    pub(super) async fn finished(
        &mut self,
        active: &Active,
        copy: Copy,
    ) -> Result<(), SourceError> {
        let id = active.id().clone();
        copy.progress.done.store(true, Ordering::Relaxed);
        tracing::info!(table = %id, rows = copy.rows, signal = copy.origin.signal(), "snapshot published");
        let more = json!({
            "scanned_collection": self.collection(&id),
            "total_rows_scanned": copy.rows.to_string(),
            "status": if copy.rows == 0 { "EMPTY" } else { "SUCCEEDED" },
        });
        let name = self.name_of(&copy.origin);
        self.notify(copy.origin.aggregate(), "TABLE_SCAN_COMPLETED", &name, more).await?;
        match &copy.origin {
            Origin::First => {
                if let Some(entry) = self.tables.get_mut(copy.table) {
                    entry.state.snapshot = SnapshotState::Done { rows: copy.rows };
                    entry.changed = true;
                }
                self.chunk_gauges(&id.to_string(), copy.rows, copy.rows);
                if !self.copies.values().any(|copy| copy.origin == Origin::First) {
                    self.notify(copy.origin.aggregate(), "COMPLETED", &name, json!({})).await?;
                }
            }
            Origin::Signal(signal) => {
                if self.forget_adhoc(signal, Some(&id)) {
                    self.notify(copy.origin.aggregate(), "COMPLETED", &name, json!({})).await?;
                }
            }
        }
        Ok(())
    }

    /// Takes a table, or all, out of a snapshot that a signal asked for; true when nothing is left.
    pub(super) fn forget_adhoc(&mut self, signal: &str, table: Option<&TableId>) -> bool {
        let Some(adhoc) = self.adhoc.get_mut(signal) else { return false };
        adhoc.tables.retain(|t| table.is_some_and(|id| t.schema != id.schema || t.name != id.name));
        self.adhoc_changed.insert(signal.to_owned());
        if adhoc.tables.is_empty() {
            self.adhoc.remove(signal);
            return true;
        }
        false
    }

    /// What a notification of a copy is called.
    fn name_of(&self, origin: &Origin) -> String {
        origin.signal().unwrap_or(&self.shared.pipeline).to_owned()
    }

    /// `database.schema.table`.
    pub(super) fn collection(&self, id: &TableId) -> String {
        format!("{}.{id}", self.shared.facts.name)
    }
}
