//! Reads tables in chunks of their key, while their changes are streamed.
//!
//! A reader copies one table after the other. For each chunk it opens a window, reads and encodes the rows,
//! looks where the log and the capture job are, and hands the chunk to the pump, which publishes it when
//! capture has passed that place ([`crate::window`]). Chunks follow one another without waiting for that;
//! what waits is bounded by bytes.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use causeway_avro::{Envelope, Snapshot, SourceBlock};
use causeway_change::{Lsn, Operation, Row, Value};
use causeway_observability::names::source as names;
use causeway_service::retry::Backoff;
use causeway_sqlserver::{Client, KeyRange, log, queries, rows};
use serde_json::Value as Json;
use tokio::{
    sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    SourceError, keys,
    oversize::{Extent, leave_out_large, reason, record_id},
    shared::{Shared, VERSION, now_ns},
    tables::Active,
    window::{Mark, Opened},
};

/// One table to copy, from a key on.
#[derive(Debug)]
pub struct Job {
    /// The table.
    pub active: Arc<Active>,
    /// The last key that is published; none before the first.
    pub after: Option<Vec<Value>>,
    /// Rows read before a restart.
    pub rows: u64,
}

/// What a reader tells the pump.
#[derive(Debug)]
pub enum Message {
    /// A chunk was read.
    Chunk(Chunk),
    /// A table cannot be read.
    Failed(SourceError),
}

/// The encoded rows of a key range.
#[derive(Debug)]
pub struct Chunk {
    /// The table.
    pub active: Arc<Active>,
    /// Its window.
    pub window: Opened,
    /// Where log and capture were after the read.
    pub mark: Mark,
    /// Keys and values, one after the other.
    pub bytes: Vec<u8>,
    /// For each row, where its key and where its value ends.
    pub ends: Vec<(usize, usize)>,
    /// Rows that Kafka does not take, by their number; their values are without what is large.
    pub refused: BTreeMap<usize, Refused>,
    /// The last key.
    pub last_key: Option<Json>,
    /// Rows of the table read so far.
    pub rows: u64,
    /// Whether the table has no more.
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

/// Starts the readers. They end when `stop` is cancelled or the channel of jobs closes.
pub fn start(
    shared: &Arc<Shared>,
    jobs: mpsc::Receiver<Job>,
    stop: &CancellationToken,
    tasks: &mut JoinSet<()>,
) -> mpsc::Receiver<Message> {
    let (sender, messages) = mpsc::channel(64);
    let jobs = Arc::new(Mutex::new(jobs));
    let kilobytes = shared.config.snapshot.window_bytes >> 10;
    let window = Arc::new(Semaphore::new(kilobytes));
    for _ in 0..shared.config.snapshot.readers {
        let reader = TableReader {
            shared: Arc::clone(shared),
            messages: sender.clone(),
            stop: stop.clone(),
            window: Arc::clone(&window),
            kilobytes,
            client: None,
        };
        tasks.spawn(reader.run(Arc::clone(&jobs)));
    }
    messages
}

struct TableReader {
    shared: Arc<Shared>,
    messages: mpsc::Sender<Message>,
    stop: CancellationToken,
    window: Arc<Semaphore>,
    kilobytes: usize,
    client: Option<Client>,
}

/// What reading a range gave.
struct Read {
    mark: Mark,
    bytes: Vec<u8>,
    ends: Vec<(usize, usize)>,
    refused: BTreeMap<usize, Refused>,
    last_key: Option<Vec<Value>>,
    is_last: bool,
    lsn: Lsn,
}

impl TableReader {
    async fn run(mut self, jobs: Arc<Mutex<mpsc::Receiver<Job>>>) {
        let stop = self.stop.clone();
        loop {
            let next = async { jobs.lock().await.recv().await };
            let job = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                job = next => job,
            };
            let Some(job) = job else { return };
            // Nothing is lost when the read is dropped: it begins again at the stored key.
            let copied = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                copied = self.copy(job) => copied,
            };
            if let Err(error) = copied {
                // The pump has gone already when this fails.
                drop(self.messages.send(Message::Failed(error)).await);
                return;
            }
        }
    }

    /// Copies one table.
    async fn copy(&mut self, job: Job) -> Result<(), SourceError> {
        let Job { active, mut after, mut rows } = job;
        let table = active.id().to_string();
        let progress = self.shared.progress.table(active.id());
        progress.rows.store(rows, Ordering::Relaxed);
        tracing::info!(table, rows, "snapshot begins");
        let started = Instant::now();
        let mut limit = u64::from(self.shared.config.snapshot.chunk_rows);
        let mut backoff = Backoff::default();
        loop {
            let window = self.shared.windows().open(active.number);
            let read = match self.read(&active, after.clone(), limit).await {
                Ok(read) => read,
                Err(error) => {
                    self.shared.windows().close(window);
                    if !error.is_transient() {
                        return Err(error);
                    }
                    self.client = None;
                    names::ERRORS.add(1, &[("part", error.part())]);
                    let wait = backoff.next();
                    tracing::warn!(
                        table,
                        error = causeway_service::exit::chain_line(&error),
                        wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
                        "a chunk of the snapshot could not be read; it is read again"
                    );
                    tokio::time::sleep(wait).await;
                    continue;
                }
            };
            backoff.reset();
            let count = u64::try_from(read.ends.len()).unwrap_or(u64::MAX);
            rows += count;
            progress.rows.store(rows, Ordering::Relaxed);
            names::ROWS_READ.add(count, &[("table", &table), ("phase", "snapshot")]);
            // A chunk that was cut for its size says how many rows fit.
            if !read.is_last && count < limit {
                limit = count.max(1);
            }
            after = read.last_key.or(after);
            let is_last = read.is_last;
            let kilobytes = (read.bytes.len() >> 10).clamp(1, self.kilobytes);
            let kilobytes = u32::try_from(kilobytes).unwrap_or(u32::MAX);
            let permit = Arc::clone(&self.window)
                .acquire_many_owned(kilobytes)
                .await
                .map_err(|error| SourceError::Task(error.to_string()))?;
            let chunk = Chunk {
                active: Arc::clone(&active),
                window,
                mark: read.mark,
                bytes: read.bytes,
                ends: read.ends,
                refused: read.refused,
                last_key: after.as_deref().map(keys::to_json),
                rows,
                is_last,
                lsn: read.lsn,
                permit,
            };
            if self.messages.send(Message::Chunk(chunk)).await.is_err() {
                return Ok(());
            }
            if is_last {
                self.shared.progress.left.fetch_sub(1, Ordering::Relaxed);
                let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
                tracing::info!(table, rows, ms, "snapshot read");
                return Ok(());
            }
        }
    }

    /// Reads one chunk. The window is open already.
    async fn read(
        &mut self,
        active: &Active,
        after: Option<Vec<Value>>,
        limit: u64,
    ) -> Result<Read, SourceError> {
        let mut client = match self.client.take() {
            Some(client) if !client.is_broken() => client,
            Some(_) | None => self.connect().await?,
        };
        let shared = &self.shared;
        let sight = shared.sight;
        let lsn = match sight.log_end_lsn(&mut client).await? {
            Some(lsn) => lsn,
            None => log::tick(&mut client).await?.max_lsn.unwrap_or(Lsn::ZERO),
        };
        let source = &active.instance.source;
        let is_first_of_table = after.is_none();
        let range = KeyRange { after, upto: None };
        // Every reader may hold one chunk that the window does not count yet.
        let bytes_max = shared.config.snapshot.window_bytes / (2 * shared.config.snapshot.readers);
        let mut encoder = ChunkEncoder::new(shared, active, lsn);
        let mut is_last = true;
        let mut last_key = None;
        {
            // One row more than wanted says whether there is more.
            let mut stream =
                rows::stream_table(&mut client, source, &range, Some(limit + 1)).await?;
            let mut held: Option<Row> = None;
            let mut count = 0;
            while let Some(row) = stream.next_row().await? {
                if let Some(row) = held.take() {
                    let first = is_first_of_table && count == 1;
                    encoder.put(&row, encoder.place(first, false)).await?;
                }
                if count == limit || encoder.bytes.len() > bytes_max {
                    is_last = false;
                    // At the limit this was the answer's last row; else the connection is closed.
                    if count == limit {
                        while stream.next_row().await?.is_some() {}
                    }
                    break;
                }
                count += 1;
                last_key =
                    Some(source.table.key.iter().filter_map(|&i| row.get(i).cloned()).collect());
                held = Some(row);
            }
            if let Some(row) = held {
                let first = is_first_of_table && count == 1;
                encoder.put(&row, encoder.place(first, is_last)).await?;
            }
        }
        if client.is_broken() {
            client = self.connect().await?;
        }
        let log_end = sight.log_end_lsn(&mut client).await?;
        let scans = sight.newest_scan(&mut client).await?;
        let mark = Mark { log_end, scans, at: Instant::now() };
        self.client = Some(client);
        let ChunkEncoder { mut bytes, ends, refused, .. } = encoder;
        bytes.shrink_to_fit();
        Ok(Read { mark, bytes, ends, refused, last_key, is_last, lsn })
    }

    async fn connect(&self) -> Result<Client, SourceError> {
        let mut client = self.shared.pool.get().await?;
        if self.shared.facts.snapshot_isolation {
            // Writers are not held up and do not hold us up.
            client.run(queries::use_snapshot_isolation()).await?;
        }
        Ok(client)
    }
}

/// Encodes rows one after the other into one buffer.
struct ChunkEncoder<'a> {
    shared: &'a Shared,
    active: &'a Active,
    lsn: Lsn,
    bytes: Vec<u8>,
    ends: Vec<(usize, usize)>,
    refused: BTreeMap<usize, Refused>,
}

impl<'a> ChunkEncoder<'a> {
    fn new(shared: &'a Shared, active: &'a Active, lsn: Lsn) -> Self {
        Self { shared, active, lsn, bytes: Vec::new(), ends: Vec::new(), refused: BTreeMap::new() }
    }

    /// Debezium's word for a row's place in the snapshot.
    fn place(&self, first: bool, last: bool) -> Snapshot {
        let progress = &self.shared.progress;
        if first && !progress.begun.swap(true, Ordering::Relaxed) {
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

    async fn put(&mut self, row: &Row, snapshot: Snapshot) -> Result<(), SourceError> {
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
        Ok(())
    }

    /// Writes key and value from `start` on, and gives where the key ends.
    async fn encode(
        &mut self,
        row: &Row,
        snapshot: Snapshot,
        start: usize,
    ) -> Result<usize, SourceError> {
        let Self { shared, active, lsn, bytes, .. } = self;
        let now = now_ns();
        let table = &active.instance.source.table;
        let envelope = Envelope {
            before: None,
            after: Some(row),
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
                commit_lsn: Some(*lsn),
                event_serial_no: None,
            },
            ts_ns: now,
        };
        let mut key_end = start;
        active
            .encode(&shared.registry, *lsn, |codec| {
                bytes.truncate(start);
                if !table.key.is_empty() {
                    codec.encoder.encode_key(row, codec.key_id, bytes)?;
                }
                key_end = bytes.len();
                codec.encoder.encode_value(&envelope, codec.value_id, bytes)
            })
            .await?;
        Ok(key_end)
    }
}

/// How long the pump may sleep while chunks wait for the capture job.
pub const POLL_WHILE_WAITING: Duration = Duration::from_millis(100);
