//! Reads tables in chunks of their key, while their changes are streamed.
//!
//! A *copy* of a table, the first one or one that a signal asked for, is divided into key ranges, *parts*,
//! by a walk over the key's index; readers take part after part, of whatever table. For each chunk of a part a
//! reader opens a window, reads and encodes the rows, looks where the log and the capture job are, and hands
//! the chunk to the pump, which publishes it when capture has passed that place ([`crate::window`]). Chunks
//! follow one another without waiting for that; what waits is bounded by bytes.
//!
//! Keys are compared and put in order by the server alone: its order of strings and GUIDs is its own.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use causeway_avro::{Envelope, Snapshot, SourceBlock, Tail};
use causeway_change::{ColumnType, Lsn, Operation, Row, Value};
use causeway_observability::names::source as names;
use causeway_service::retry::Backoff;
use causeway_sqlserver::{Client, KeyRange, Slice, captured, log, queries, rows};
use serde_json::Value as Json;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    SourceError,
    buffers::{Buffer, Buffers},
    heap::{self, Heap},
    keys,
    oversize::{Extent, least_bytes, leave_out_large, reason, record_id},
    scope::Scope,
    shared::{Shared, TableProgress, VERSION, now_ns},
    state::Part,
    tables::Active,
    window::{Mark, Opened},
};

/// Rows that a list of keys is read by.
const KEYS_AT_ONCE: usize = 500;

/// What a reader is to do.
#[derive(Debug)]
pub struct Job {
    /// Which copy it belongs to, by the pump's number.
    pub copy: u64,
    /// The table.
    pub active: Arc<Active>,
    /// What is read of it.
    pub scope: Arc<Scope>,
    /// Where progress is kept; also what ends the copy.
    pub progress: Arc<TableProgress>,
    /// What is to be done.
    pub task: Task,
}

/// What is to be done.
#[derive(Debug)]
pub enum Task {
    /// Find the bounds of so many parts.
    Divide(u64),
    /// Read a part, with its number.
    Read(usize, Part),
    /// Read a table without key.
    Heap,
}

/// What a reader tells the pump.
#[derive(Debug)]
pub enum Message {
    /// A table was divided: the last keys of all parts but the last.
    Divided(u64, Vec<Json>),
    /// A chunk was read.
    Chunk(Box<Chunk>),
    /// A table without key is open.
    Heap(Heap),
    /// A copy cannot go on.
    Failed(u64, SourceError),
}

/// The encoded rows of a key range.
#[derive(Debug)]
pub struct Chunk {
    /// The copy.
    pub copy: u64,
    /// The part.
    pub part: usize,
    /// The table.
    pub active: Arc<Active>,
    /// Its window.
    pub window: Opened,
    /// Where log and capture were after the read.
    pub mark: Mark,
    /// Keys and values, one after the other.
    pub bytes: Buffer,
    /// For each row, where its key and where its value ends.
    pub ends: Vec<(usize, usize)>,
    /// For each row, its place in the snapshot.
    pub places: Vec<Snapshot>,
    /// Rows that Kafka does not take, by their number; their values are without what is large.
    pub refused: BTreeMap<usize, Refused>,
    /// The last key, from which the part goes on.
    pub after: Option<Json>,
    /// Whether the part has no more.
    pub is_last: bool,
    /// The `commit_lsn` of its rows.
    pub lsn: Lsn,
    /// Gives its bytes back to the readers when the chunk is published.
    pub permit: OwnedSemaphorePermit,
}

/// Why a row is for the dead letters.
#[derive(Debug)]
pub struct Refused {
    /// Bytes of its record.
    pub bytes: usize,
    /// In words.
    pub reason: String,
}

impl Chunk {
    /// Key and value of each row.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut start = 0;
        self.ends.iter().filter_map(move |&(key_end, value_end)| {
            let row = (self.bytes.get(start..key_end)?, self.bytes.get(key_end..value_end)?);
            start = value_end;
            Some(row)
        })
    }
}

/// What waits for a reader: at most a few parts of each copy.
#[derive(Debug, Default)]
pub struct Jobs {
    queue: Mutex<VecDeque<Job>>,
    come: Notify,
}

impl Jobs {
    /// Puts a job at the end.
    pub fn push(&self, job: Job) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(job);
        self.come.notify_one();
    }

    fn pop(&self) -> Option<Job> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let job = queue.pop_front();
        if !queue.is_empty() {
            self.come.notify_one();
        }
        job
    }

    async fn next(&self) -> Job {
        loop {
            if let Some(job) = self.pop() {
                return job;
            }
            self.come.notified().await;
        }
    }
}

/// Starts the readers. They end when `stop` is cancelled.
pub fn start(
    shared: &Arc<Shared>,
    jobs: &Arc<Jobs>,
    stop: &CancellationToken,
    tasks: &mut JoinSet<()>,
) -> mpsc::Receiver<Message> {
    // What could be published at once does not heap up in front of the pump; what waits for the capture job
    // does, up to the window.
    let (sender, messages) = mpsc::channel(shared.config.snapshot.readers);
    let kilobytes = shared.config.snapshot.window_bytes >> 10;
    let window = Arc::new(Semaphore::new(kilobytes));
    // One that is filled, one that is on its way and one that is published, for each reader.
    let buffers = Buffers::new(3 * shared.config.snapshot.readers);
    for _ in 0..shared.config.snapshot.readers {
        let reader = TableReader {
            shared: Arc::clone(shared),
            messages: sender.clone(),
            window: Arc::clone(&window),
            kilobytes,
            client: None,
            buffers: Arc::clone(&buffers),
        };
        tasks.spawn(reader.run(Arc::clone(jobs), stop.clone()));
    }
    messages
}

struct TableReader {
    shared: Arc<Shared>,
    messages: mpsc::Sender<Message>,
    window: Arc<Semaphore>,
    kilobytes: usize,
    client: Option<Client>,
    buffers: Arc<Buffers>,
}

/// What reading a range gave.
struct Read {
    mark: Mark,
    bytes: Buffer,
    ends: Vec<(usize, usize)>,
    places: Vec<Snapshot>,
    refused: BTreeMap<usize, Refused>,
    after: Option<Json>,
    is_last: bool,
    lsn: Lsn,
}

/// The types of the columns by which a copy is ordered.
fn order_types(active: &Active, scope: &Scope) -> Vec<ColumnType> {
    let columns = &active.instance.source.table.columns;
    scope.order.iter().filter_map(|&i| columns.get(i)).map(|c| c.ty).collect()
}

/// True when the bounds of a part are still ones of the table's key.
#[must_use]
pub fn fits(active: &Active, scope: &Scope, part: &Part) -> bool {
    if scope.keys.is_some() {
        return part.after.as_ref().is_none_or(Json::is_u64);
    }
    let types = order_types(active, scope);
    [&part.after, &part.upto]
        .into_iter()
        .flatten()
        .all(|json| keys::from_json(json, &types).is_some())
}

impl TableReader {
    async fn run(mut self, jobs: Arc<Jobs>, stop: CancellationToken) {
        loop {
            let job = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                job = jobs.next() => job,
            };
            let copy = job.copy;
            // Nothing is lost when the read is dropped: it begins again at the stored key.
            let done = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                done = Box::pin(self.work(job)) => done,
            };
            if let Err(error) = done {
                // The pump has gone already when this fails.
                drop(self.messages.send(Message::Failed(copy, error)).await);
            }
        }
    }

    async fn work(&mut self, job: Job) -> Result<(), SourceError> {
        let Job { copy, active, scope, progress, task } = job;
        match task {
            Task::Divide(parts) => {
                let mut backoff = Backoff::default();
                loop {
                    match self.divide(&active, &scope, &progress, parts).await {
                        Ok(bounds) => {
                            // As above.
                            drop(self.messages.send(Message::Divided(copy, bounds)).await);
                            return Ok(());
                        }
                        Err(error) => self.wait(&active, error, &mut backoff).await?,
                    }
                }
            }
            Task::Read(number, part) => {
                self.copy(copy, number, &active, &scope, &progress, part).await
            }
            Task::Heap => self.heap(copy, &active, &progress).await,
        }
    }

    /// Waits before another attempt; an error that does not pass is returned.
    async fn wait(
        &mut self,
        active: &Active,
        error: SourceError,
        backoff: &mut Backoff,
    ) -> Result<(), SourceError> {
        if !error.is_transient() {
            return Err(error);
        }
        self.client = None;
        names::ERRORS.add(1, &[("part", error.part())]);
        let wait = backoff.next();
        tracing::warn!(
            table = %active.id(),
            error = causeway_service::exit::chain_line(&error),
            wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            "a chunk of the snapshot could not be read; it is read again"
        );
        tokio::time::sleep(wait).await;
        Ok(())
    }

    /// Copies a table without key.
    async fn heap(
        &mut self,
        copy: u64,
        active: &Arc<Active>,
        progress: &TableProgress,
    ) -> Result<(), SourceError> {
        let shared = Arc::clone(&self.shared);
        let mut backoff = Backoff::default();
        let still = loop {
            shared.may_read_chunks().await;
            if progress.stop.is_cancelled() {
                return Ok(());
            }
            match heap::open(&shared, active).await {
                Ok(still) => break still,
                Err(error) => self.wait(active, error, &mut backoff).await?,
            }
        };
        let (sender, pieces) = heap::channel();
        let heap = Heap { copy, active: Arc::clone(active), lsn: still.at, pieces };
        if self.messages.send(Message::Heap(heap)).await.is_err() {
            return Ok(());
        }
        if let Err(error) = heap::send(&shared, active, progress, still, &sender).await {
            // Who took the first rows cannot take them back: the session begins again.
            drop(sender.send(Err(error)).await);
        }
        Ok(())
    }

    /// Finds keys that divide a table into parts of about as many rows.
    async fn divide(
        &mut self,
        active: &Active,
        scope: &Scope,
        progress: &TableProgress,
        parts: u64,
    ) -> Result<Vec<Json>, SourceError> {
        let mut client = self.client().await?;
        let source = &active.instance.source;
        let step = progress.total.load(Ordering::Relaxed) / parts.max(1);
        let mut bounds = Vec::new();
        let mut range = KeyRange::default();
        for _ in 1..parts {
            if progress.stop.is_cancelled() {
                break;
            }
            // Without the filter: what matters is where the work of reading lies.
            let slice = Slice { order: &scope.order, range: &range, filter: None };
            let Some(key) = rows::boundary(&mut client, source, slice, step).await? else { break };
            bounds.push(keys::to_json(&key));
            range.after = Some(key);
        }
        self.client = Some(client);
        Ok(bounds)
    }

    /// Copies one part.
    async fn copy(
        &mut self,
        copy: u64,
        number: usize,
        active: &Arc<Active>,
        scope: &Scope,
        progress: &TableProgress,
        mut part: Part,
    ) -> Result<(), SourceError> {
        let table = active.id().to_string();
        let mut limit = u64::from(self.shared.config.snapshot.chunk_rows);
        let mut backoff = Backoff::default();
        let mut counted = false;
        loop {
            self.shared.may_read_chunks().await;
            if progress.stop.is_cancelled() {
                return Ok(());
            }
            let window = self.shared.windows().open(active.number);
            let read = match &scope.keys {
                None => self.read(active, scope, progress, &mut counted, &part, limit).await,
                Some(keys) => self.read_keys(active, keys, &part).await,
            };
            let read = match read {
                Ok(read) => read,
                Err(error) => {
                    self.shared.windows().close(window);
                    self.wait(active, error, &mut backoff).await?;
                    continue;
                }
            };
            backoff.reset();
            let count = u64::try_from(read.ends.len()).unwrap_or(u64::MAX);
            progress.rows.fetch_add(count, Ordering::Relaxed);
            names::ROWS_READ.add(count, &[("table", &table), ("phase", "snapshot")]);
            // A chunk that was cut for its size says how many rows fit.
            if !read.is_last && count < limit {
                limit = count.max(1);
            }
            part.after = read.after.or(part.after);
            let is_last = read.is_last;
            let kilobytes = (read.bytes.len() >> 10).clamp(1, self.kilobytes);
            let kilobytes = u32::try_from(kilobytes).unwrap_or(u32::MAX);
            let permit = Arc::clone(&self.window)
                .acquire_many_owned(kilobytes)
                .await
                .map_err(|error| SourceError::Task(error.to_string()))?;
            let chunk = Chunk {
                copy,
                part: number,
                active: Arc::clone(active),
                window,
                mark: read.mark,
                bytes: read.bytes,
                ends: read.ends,
                places: read.places,
                refused: read.refused,
                after: part.after.clone(),
                is_last,
                lsn: read.lsn,
                permit,
            };
            if self.messages.send(Message::Chunk(Box::new(chunk))).await.is_err() || is_last {
                return Ok(());
            }
        }
    }

    async fn client(&mut self) -> Result<Client, SourceError> {
        match self.client.take() {
            Some(client) if !client.is_broken() => Ok(client),
            Some(_) | None => self.connect().await,
        }
    }

    async fn connect(&self) -> Result<Client, SourceError> {
        let mut client = self.shared.pool.get().await?;
        if self.shared.facts.snapshot_isolation {
            // Writers are not held up and do not hold us up.
            client.run(queries::use_snapshot_isolation()).await?;
        }
        Ok(client)
    }

    /// The log position that is written with the rows of a chunk.
    async fn position(&self, client: &mut Client) -> Result<Lsn, SourceError> {
        Ok(match self.shared.sight.log_end_lsn(client).await? {
            Some(lsn) => lsn,
            None => log::tick(client).await?.max_lsn.unwrap_or(Lsn::ZERO),
        })
    }

    /// Where log and capture are after a read; the connection is kept.
    async fn mark(&mut self, mut client: Client) -> Result<Mark, SourceError> {
        if client.is_broken() {
            client = self.connect().await?;
        }
        let sight = self.shared.sight;
        let log_end = sight.log_end_lsn(&mut client).await?;
        let scans = sight.newest_scan(&mut client).await?;
        self.client = Some(client);
        Ok(Mark { seen: captured::Mark { log_end, scans }, at: Instant::now() })
    }

    /// Reads one chunk of a key range. The window is open already.
    async fn read(
        &mut self,
        active: &Active,
        scope: &Scope,
        progress: &TableProgress,
        counted: &mut bool,
        part: &Part,
        limit: u64,
    ) -> Result<Read, SourceError> {
        let mut client = self.client().await?;
        let lsn = self.position(&mut client).await?;
        let shared = Arc::clone(&self.shared);
        let source = &active.instance.source;
        let types = order_types(active, scope);
        let bound = |json: &Option<Json>| json.as_ref().and_then(|j| keys::from_json(j, &types));
        let range = KeyRange { after: bound(&part.after), upto: bound(&part.upto) };
        let is_first_of_table = range.after.is_none();
        let slice = Slice { order: &scope.order, range: &range, filter: scope.filter.as_deref() };
        // Every reader may hold one chunk that the window does not count yet.
        let bytes_max = shared.config.snapshot.window_bytes / (2 * shared.config.snapshot.readers);
        let mut encoder =
            ChunkEncoder::new(&shared, active, lsn, scope.by_signal, self.buffers.take());
        let mut is_last = true;
        let last;
        {
            // One row more than wanted says whether there is more.
            let mut stream =
                rows::stream_slice(&mut client, source, slice, Some(limit + 1)).await?;
            let mut held: Option<Held> = None;
            let mut cut: Option<Held> = None;
            let mut count = 0;
            while let Some(row) = stream.next_row().await? {
                if let Some(held) = &mut held {
                    let first = is_first_of_table && count == 1;
                    encoder.put_held(held, encoder.place(first, false)).await?;
                }
                if count == limit || encoder.bytes.len() > bytes_max {
                    is_last = false;
                    // It is encoded already.
                    cut = held.take();
                    // At the limit this was the answer's last row; else the connection is closed.
                    if count == limit {
                        while stream.next_row().await?.is_some() {}
                    }
                    break;
                }
                count += 1;
                held = Some(encoder.hold(row, &scope.order));
            }
            // The reader that ends the last part has the table's last row.
            let mut ends_table = false;
            if is_last && !*counted {
                *counted = true;
                ends_table = progress.parts_left.fetch_sub(1, Ordering::Relaxed) == 1;
            }
            if let Some(held) = &mut held {
                let first = is_first_of_table && count == 1;
                encoder.put_held(held, encoder.place(first, ends_table)).await?;
            }
            last = held.or(cut);
            if ends_table && !scope.by_signal {
                shared.progress.left.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let mark = self.mark(client).await?;
        let ChunkEncoder { bytes, ends, places, refused, .. } = encoder;
        let after = last.map(|held| {
            keys::to_json(&held.order.unwrap_or_else(|| pick(&held.row, &scope.order)))
        });
        Ok(Read { mark, bytes, ends, places, refused, after, is_last, lsn })
    }

    /// Reads the rows of some keys of a list; a key without a row gives nothing.
    async fn read_keys(
        &mut self,
        active: &Active,
        keys: &[Vec<Value>],
        part: &Part,
    ) -> Result<Read, SourceError> {
        let mut client = self.client().await?;
        let lsn = self.position(&mut client).await?;
        let shared = Arc::clone(&self.shared);
        let done = part.after.as_ref().and_then(Json::as_u64).unwrap_or(0);
        let done = usize::try_from(done).unwrap_or(usize::MAX).min(keys.len());
        let upto = (done + KEYS_AT_ONCE).min(keys.len());
        let wanted = keys.get(done..upto).unwrap_or_default();
        let mut encoder = ChunkEncoder::new(&shared, active, lsn, true, self.buffers.take());
        for row in rows::select_by_keys(&mut client, &active.instance.source, wanted).await? {
            encoder.put(&row, Snapshot::Incremental).await?;
        }
        let mark = self.mark(client).await?;
        let ChunkEncoder { bytes, ends, places, refused, .. } = encoder;
        let after = Some(Json::from(upto));
        let is_last = upto >= keys.len();
        Ok(Read { mark, bytes, ends, places, refused, after, is_last, lsn })
    }
}

/// The last row that was read.
struct Held {
    row: Row,
    /// It is too large, and its large values are gone.
    refused: Option<Refused>,
    /// The values by which the copy is ordered, when they may be gone from the row.
    order: Option<Vec<Value>>,
}

fn pick(row: &Row, columns: &[usize]) -> Vec<Value> {
    columns.iter().filter_map(|&i| row.get(i).cloned()).collect()
}

/// Encodes rows one after the other into one buffer.
pub struct ChunkEncoder<'a> {
    shared: &'a Shared,
    active: &'a Active,
    lsn: Lsn,
    by_signal: bool,
    told: Option<Told>,
    bytes: Buffer,
    ends: Vec<(usize, usize)>,
    places: Vec<Snapshot>,
    refused: BTreeMap<usize, Refused>,
}

impl<'a> ChunkEncoder<'a> {
    /// With no row; they are written to `bytes`, which is empty.
    #[must_use]
    pub fn new(
        shared: &'a Shared,
        active: &'a Active,
        lsn: Lsn,
        by_signal: bool,
        bytes: Buffer,
    ) -> Self {
        Self {
            shared,
            active,
            lsn,
            by_signal,
            told: None,
            bytes,
            ends: Vec::new(),
            places: Vec::new(),
            refused: BTreeMap::new(),
        }
    }

    /// Bytes of the rows.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// What was encoded of a table without key: values, where each ends, and what is refused.
    #[must_use]
    pub fn into_values(self) -> (Buffer, Vec<usize>, BTreeMap<usize, Refused>) {
        (self.bytes, self.ends.into_iter().map(|(_, value)| value).collect(), self.refused)
    }

    /// Debezium's word for a row's place in the snapshot.
    #[must_use]
    pub fn place(&self, first: bool, last: bool) -> Snapshot {
        let progress = &self.shared.progress;
        if self.by_signal {
            Snapshot::Incremental
        } else if first && !progress.begun.swap(true, Ordering::Relaxed) {
            Snapshot::First
        } else if last && progress.left.load(Ordering::Relaxed) == 1 {
            Snapshot::Last
        } else if last {
            Snapshot::LastInDataCollection
        } else if first {
            Snapshot::FirstInDataCollection
        } else {
            Snapshot::True
        }
    }

    /// Holds a row until the next says that it is not the last. What Kafka will not take is let go at once:
    /// two values of a hundred megabytes are never here at the same time.
    fn hold(&self, mut row: Row, order: &[usize]) -> Held {
        let bytes = least_bytes(&row);
        if self.shared.oversize.fits(bytes) {
            return Held { row, refused: None, order: None };
        }
        let order = Some(pick(&row, order));
        let left_out = leave_out_large(&mut row, &self.active.instance.source.table);
        let reason = reason(&self.active.topic, bytes, &left_out);
        Held { row, refused: Some(Refused { bytes, reason }), order }
    }

    async fn put_held(&mut self, held: &mut Held, snapshot: Snapshot) -> Result<(), SourceError> {
        let Some(refused) = held.refused.take() else {
            return self.put(&held.row, snapshot).await;
        };
        let start = self.bytes.len();
        let key_end = self.encode(&held.row, snapshot, start).await?;
        self.refused.insert(self.ends.len(), refused);
        self.ends.push((key_end, self.bytes.len()));
        self.places.push(snapshot);
        Ok(())
    }

    /// Adds a row.
    pub async fn put(&mut self, row: &Row, snapshot: Snapshot) -> Result<(), SourceError> {
        let start = self.bytes.len();
        let key_end = self.encode(row, snapshot, start).await?;
        let size = self.bytes.len() - start;
        let oversize = &self.shared.oversize;
        let id = || {
            let key = self.bytes.get(start..key_end).unwrap_or_default();
            record_id(&self.active.topic, key, None, Extent::Whole)
        };
        if !oversize.fits(size) || oversize.is_refused(id) {
            let mut row = row.clone();
            let left_out = leave_out_large(&mut row, &self.active.instance.source.table);
            let reason = reason(&self.active.topic, size, &left_out);
            self.encode(&row, snapshot, start).await?;
            self.refused.insert(self.ends.len(), Refused { bytes: size, reason });
        }
        self.ends.push((key_end, self.bytes.len()));
        self.places.push(snapshot);
        Ok(())
    }

    async fn encode(
        &mut self,
        row: &Row,
        snapshot: Snapshot,
        start: usize,
    ) -> Result<usize, SourceError> {
        // Rows of one millisecond have it in common: to write it takes as long as to write a row.
        let now = now_ns();
        let ms = now.div_euclid(1_000_000);
        let told = match &mut self.told {
            Some(told) if told.ms == ms && told.snapshot == snapshot => told,
            told => told.insert(Told {
                ms,
                snapshot,
                tail: tail(self.shared, self.active, self.lsn, snapshot, now),
            }),
        };
        encode(self.shared, self.active, self.lsn, row, &told.tail, start, &mut self.bytes).await
    }
}

/// What the last row's envelope said of its origin.
struct Told {
    /// Milliseconds since 1970.
    ms: i64,
    snapshot: Snapshot,
    tail: Tail,
}

/// What the envelope of a row that is read says of its origin, with `now` in nanoseconds since 1970.
#[must_use]
pub fn tail(shared: &Shared, active: &Active, lsn: Lsn, snapshot: Snapshot, now: i64) -> Tail {
    let table = &active.instance.source.table;
    Tail::of(&Envelope {
        before: None,
        after: None,
        operation: Operation::Read,
        source: SourceBlock {
            version: VERSION,
            name: &shared.pipeline,
            db: &table.database,
            schema: &table.id.schema,
            table: &table.id.name,
            ts_ns: now,
            snapshot,
            change_lsn: None,
            commit_lsn: Some(lsn),
            event_serial_no: None,
        },
        ts_ns: now,
    })
}

/// Writes key and value of a row that was read, from `start` on, and gives where the key ends.
pub async fn encode(
    shared: &Shared,
    active: &Active,
    lsn: Lsn,
    row: &Row,
    tail: &Tail,
    start: usize,
    bytes: &mut Vec<u8>,
) -> Result<usize, SourceError> {
    let has_key = !active.instance.source.table.key.is_empty();
    let mut key_end = start;
    active
        .encode(&shared.registry, lsn, |codec| {
            bytes.truncate(start);
            if has_key {
                codec.encoder.encode_key(row, codec.key_id, bytes)?;
            }
            key_end = bytes.len();
            codec.encoder.encode_read(row, tail, codec.value_id, bytes)
        })
        .await?;
    Ok(key_end)
}

/// How long the pump may sleep while chunks wait for the capture job.
pub const POLL_WHILE_WAITING: Duration = Duration::from_millis(100);
