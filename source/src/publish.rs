//! Events into Kafka transactions, together with the position that they lead to.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use causeway_avro::TransactionBlock;
use causeway_change::{Lsn, Position};
use causeway_kafka::{
    Record, Transactional,
    topic::{
        self,
        header::{connect, errors},
    },
};
use causeway_observability::{
    context::{self, Context},
    names::source as names,
};

use crate::{
    SourceError,
    index::{Index, Of},
    keys,
    metadata::Metadata,
    numbers::Counts,
    oversize::{Extent, Oversize, record_id},
    shared::{VERSION, now_ns},
    state::{self, TableState, Written},
    tables::Active,
};

/// A Kafka transaction is committed inside a source transaction when it is this many times larger than
/// `max_bytes`, or this old: the broker ends transactions that are open for a minute.
const INSIDE_TIMES: usize = 8;
const INSIDE_AGE: Duration = Duration::from_secs(10);

/// The only owner of the transactional producer.
pub struct Publisher {
    producer: Transactional,
    pipeline: String,
    offsets_topic: String,
    database: String,
    oversize: Arc<Oversize>,
    /// The transaction index, when one is written.
    index: Option<Index>,
    /// Debezium's transaction metadata, when it is written.
    metadata: Option<Metadata>,
    /// Bytes sent since nothing was under way, on topics that refused a batch.
    together: usize,
    max_bytes: usize,
    max_age: Duration,
    open: Option<Open>,
    committed: Position,
    committed_at: Instant,
    stopping: bool,
}

/// What the open Kafka transaction holds.
struct Open {
    since: Instant,
    bytes: usize,
    rows: HashMap<usize, u64>,
    dead: HashMap<usize, u64>,
    transactions: u64,
    traces: BTreeMap<Lsn, Trace>,
}

/// The trace of one source transaction.
struct Trace {
    commit: Context,
    headers: Vec<(String, String)>,
}

/// One record of a table.
#[derive(Debug)]
pub struct TableRecord<'a> {
    /// Table.
    pub active: &'a Active,
    /// Key; empty for a table without key.
    pub key: &'a [u8],
    /// Envelope; none for a tombstone.
    pub value: Option<&'a [u8]>,
    /// Headers of its own.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// Commit that it belongs to.
    pub lsn: Lsn,
    /// Whether it counts as a row: a tombstone does not.
    pub is_row: bool,
    /// Where the change stands; none for a row of a snapshot.
    pub place: Option<Position>,
    /// When it was committed, in nanoseconds since 1970; of no meaning for a row of a snapshot.
    pub commit_ns: i64,
    /// How much of the change it holds.
    pub extent: Extent,
}

impl TableRecord<'_> {
    /// What the transaction index counts it to.
    fn of(&self) -> Of {
        match self.place {
            Some(_) => Of::Transaction { lsn: self.lsn, commit_ns: self.commit_ns },
            None => Of::Snapshot { lsn: self.lsn, table: self.active.number },
        }
    }

    fn id(&self) -> u128 {
        record_id(&self.active.topic, self.key, self.place, self.extent)
    }
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Sent {
    /// It is in the open transaction.
    Taken,
    /// It is too large, with this many bytes, and nothing has been sent.
    TooLarge(usize),
}

/// What goes to the dead letters in the place of a record.
#[derive(Debug)]
pub struct DeadLetter<'a> {
    /// Table.
    pub active: &'a Active,
    /// Record key.
    pub key: &'a [u8],
    /// The envelope without its large values, when that is small enough.
    pub value: Option<&'a [u8]>,
    /// Commit that it belongs to.
    pub lsn: Lsn,
    /// What the transaction index counts it to.
    pub of: Of,
    /// Why it is there.
    pub reason: &'a str,
}

impl Publisher {
    /// Around an open producer. `committed` is the position that is stored.
    #[must_use]
    pub fn new(
        producer: Transactional,
        pipeline: &str,
        database: &str,
        oversize: Arc<Oversize>,
        max_bytes: usize,
        max_age_ms: u64,
        committed: Position,
    ) -> Self {
        Self {
            producer,
            pipeline: pipeline.to_owned(),
            offsets_topic: topic::offsets(pipeline),
            database: database.to_owned(),
            oversize,
            index: None,
            metadata: None,
            together: 0,
            max_bytes,
            max_age: Duration::from_millis(max_age_ms),
            open: None,
            committed,
            committed_at: Instant::now(),
            stopping: false,
        }
    }

    /// From now on the transaction index is written. `stored` is the position that was stored.
    pub fn with_index(&mut self, stored: Option<Position>) {
        self.index = Some(Index::new(stored));
    }

    /// From now on Debezium's transaction metadata is written.
    pub fn with_metadata(&mut self, metadata: Metadata) {
        self.metadata = Some(metadata);
    }

    /// The place that a table's next event has in its transaction, when that is told.
    #[must_use]
    pub fn block(&self, lsn: Lsn, active: &Active) -> Option<TransactionBlock> {
        self.metadata.as_ref().map(|metadata| metadata.next(lsn, active))
    }

    /// The next commit is the last: it says so, for whoever wants to change the offsets.
    pub fn stopping(&mut self) {
        self.stopping = true;
    }

    /// The position that is stored.
    #[must_use]
    pub fn committed(&self) -> Position {
        self.committed
    }

    /// How long ago it was stored.
    #[must_use]
    pub fn committed_ago(&self) -> Duration {
        self.committed_at.elapsed()
    }

    /// Bytes that are sent and not committed.
    #[must_use]
    pub fn open_bytes(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.bytes)
    }

    fn open(&mut self) -> Result<&mut Open, SourceError> {
        if self.open.is_none() {
            self.producer.begin()?;
        }
        Ok(self.open.get_or_insert_with(|| Open {
            since: Instant::now(),
            bytes: 0,
            rows: HashMap::new(),
            dead: HashMap::new(),
            transactions: 0,
            traces: BTreeMap::new(),
        }))
    }

    /// Counts a source transaction whose events are all sent.
    pub fn transaction_ended(&mut self) {
        if let Some(open) = &mut self.open {
            open.transactions += 1;
        }
    }

    /// Opens the trace of a source transaction; its records carry it from now on.
    pub fn trace(&mut self, lsn: Lsn, committed_ns: i64) -> Result<(), SourceError> {
        let committed = SystemTime::UNIX_EPOCH
            + Duration::from_nanos(u64::try_from(committed_ns).unwrap_or_default());
        let attributes =
            [("db.system", "mssql".to_owned()), ("causeway.commit_lsn", lsn.to_string())];
        let open = self.open()?;
        open.traces.entry(lsn).or_insert_with(|| {
            let commit = context::commit_span("commit", committed, &attributes);
            let headers = context::inject(&commit);
            Trace { commit, headers }
        });
        Ok(())
    }

    /// Sends one record of a table.
    pub async fn send(&mut self, record: TableRecord<'_>) -> Result<Sent, SourceError> {
        let bytes = record.key.len() + record.value.map_or(0, <[u8]>::len);
        if !self.oversize.fits(bytes) || self.oversize.is_refused(|| record.id()) {
            return Ok(Sent::TooLarge(bytes));
        }
        self.producer.ready().await?;
        let limit = self.oversize.batch_limit(&record.active.topic);
        let alone = limit.is_some_and(|limit| bytes > limit / 2);
        if let Some(limit) = limit {
            if alone || self.together + bytes > limit / 2 {
                self.producer.flush().await?;
                self.together = 0;
            }
            self.together += bytes;
        }
        self.open()?;
        let Self { producer, index, metadata, open: Some(open), .. } = self else {
            return Err(SourceError::Task("no Kafka transaction is open".to_owned()));
        };
        let mut headers = record.headers.to_vec();
        if let Some(trace) = open.traces.get(&record.lsn) {
            headers.extend(
                trace.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())),
            );
        }
        let message = Record {
            topic: &record.active.topic,
            // Without a key there is no order but that of one partition.
            partition: record.key.is_empty().then_some(0),
            key: (!record.key.is_empty()).then_some(record.key),
            value: record.value,
            headers: &headers,
            timestamp_ms: None,
        };
        let sent = match index {
            None => producer.send(message),
            Some(index) => {
                let mark = index.mark(record.of(), record.active.number, &record.active.topic);
                producer.send_marked(message, mark)
            }
        };
        match sent {
            Ok(()) => {}
            // Not of an earlier record, whose transaction is then spoilt.
            Err(error) if error.is_too_large() && !error.needs_abort() => {
                return Ok(Sent::TooLarge(bytes));
            }
            Err(error) => return Err(error.into()),
        }
        open.bytes += bytes;
        if record.is_row {
            if record.place.is_some()
                && let Some(metadata) = metadata
            {
                for (key, value) in metadata.count(record.lsn, record.commit_ns, record.active) {
                    producer.send(own(&metadata.topic, &key, Some(&value)))?;
                }
            }
            if let Some(index) = index {
                index.event(record.of());
            }
            *open.rows.entry(record.active.number).or_default() += 1;
        }
        if alone {
            let flushed = self.producer.flush().await;
            self.together = 0;
            if let Err(error) = flushed {
                if error.is_too_large() {
                    self.oversize.refuse(record.id());
                    let table = record.active.id().clone();
                    return Err(SourceError::TooLarge { table, lsn: record.lsn, bytes });
                }
                return Err(error.into());
            }
        }
        Ok(Sent::Taken)
    }

    /// Sets a row aside, in the transaction in which it would have been published.
    pub async fn dead_letter(&mut self, letter: DeadLetter<'_>) -> Result<(), SourceError> {
        self.producer.ready().await?;
        let number = letter.active.number;
        *self.open()?.dead.entry(number).or_default() += 1;
        if let Some(index) = &mut self.index {
            index.set_aside(letter.of);
        }
        let now = keys::timestamp(now_ns() / 100);
        let table = letter.active.id().to_string();
        let lsn = letter.lsn.to_string();
        let headers: [(&str, &str); 12] = [
            (connect::TOPIC, &letter.active.topic),
            (connect::CONNECTOR_NAME, &self.pipeline),
            (connect::TASK_ID, "0"),
            (connect::STAGE, "KAFKA_PRODUCE"),
            (connect::CLASS_NAME, "causeway-source"),
            (connect::EXCEPTION_CLASS_NAME, "RecordTooLarge"),
            (connect::EXCEPTION_MESSAGE, letter.reason),
            (connect::EXCEPTION_STACKTRACE, letter.reason),
            (errors::TABLE, &table),
            (errors::SOURCE_LSN, &lsn),
            (errors::FIRST_SEEN, &now),
            (errors::PIPELINE_VERSION, VERSION),
        ];
        let headers = headers.map(|(name, value)| (name, value.as_bytes()));
        let topic = topic::dead_letters(&self.pipeline);
        self.producer.send(Record {
            topic: &topic,
            partition: None,
            key: (!letter.key.is_empty()).then_some(letter.key),
            value: letter.value,
            headers: &headers,
            timestamp_ms: None,
        })?;
        Ok(())
    }

    /// Sends what is known of a table.
    pub async fn state(&mut self, active: &Active, table: &TableState) -> Result<(), SourceError> {
        let key = state::table_key(&self.database, active.id());
        let value = state::table_value(table);
        self.keep(&key, Some(&value)).await
    }

    /// Sends a record of the offsets topic; without a value it is forgotten.
    pub async fn keep(&mut self, key: &str, value: Option<&str>) -> Result<(), SourceError> {
        let topic = self.offsets_topic.clone();
        self.text(&topic, key, value).await
    }

    /// Sends a text to a topic of the pipeline's own, with one partition.
    pub async fn text(
        &mut self,
        topic: &str,
        key: &str,
        value: Option<&str>,
    ) -> Result<(), SourceError> {
        self.producer.ready().await?;
        self.open()?;
        self.producer.send(own(topic, key.as_bytes(), value.map(str::as_bytes)))?;
        Ok(())
    }

    /// Whether the open transaction should be committed at the end of a source transaction.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.open.as_ref().is_some_and(|open| {
            open.bytes >= self.max_bytes || open.since.elapsed() >= self.max_age
        })
    }

    /// Whether it must be committed inside a source transaction.
    #[must_use]
    pub fn must_split(&self) -> bool {
        self.open.as_ref().is_some_and(|open| {
            open.bytes >= self.max_bytes.saturating_mul(INSIDE_TIMES)
                || open.since.elapsed() >= INSIDE_AGE
        })
    }

    /// Commits what is open, with the position that it leads to. Without anything open nothing is written,
    /// unless `always`.
    pub async fn commit(
        &mut self,
        position: Position,
        tables: impl Fn(usize) -> Option<String>,
        always: bool,
    ) -> Result<bool, SourceError> {
        let indexes = self.index.as_ref().is_some_and(|index| index.has_news(&position));
        let ends = self.metadata.as_ref().is_some_and(|metadata| metadata.has_news(&position));
        if self.open.is_none() && !always && !indexes && !ends {
            return Ok(false);
        }
        let counts = self.end_of_transaction(&position)?;
        if indexes {
            self.tell(&position).await?;
        }
        let key = state::position_key(&self.database);
        let written = Written {
            at_ms: now_ns() / 1_000_000,
            stopped: self.stopping,
            indexed: self.index.is_some(),
            counts,
        };
        let value = state::position_value(&position, &written);
        self.keep(&key, Some(&value)).await?;
        let started = Instant::now();
        self.producer.commit().await?;
        self.together = 0;
        self.committed = position;
        self.committed_at = Instant::now();
        names::COMMIT_SECONDS.record(started.elapsed().as_secs_f64(), &[]);
        if let Some(open) = self.open.take() {
            for (number, rows) in &open.rows {
                if let Some(table) = tables(*number) {
                    names::ROWS_PUBLISHED.add(*rows, &[("table", &table)]);
                }
            }
            for (number, rows) in &open.dead {
                if let Some(table) = tables(*number) {
                    names::DEAD_LETTERS.add(*rows, &[("table", &table)]);
                }
            }
            names::BYTES_PUBLISHED.add(u64::try_from(open.bytes).unwrap_or(u64::MAX), &[]);
            names::TRANSACTIONS.add(open.transactions, &[]);
            for trace in open.traces.values() {
                trace.commit.end();
            }
        }
        Ok(true)
    }

    /// Sends the entries of the transaction index, which must know where the records are.
    async fn tell(&mut self, position: &Position) -> Result<(), SourceError> {
        let runs = self.producer.delivered().await?;
        let Some(index) = &mut self.index else { return Ok(()) };
        let entries = index.entries(position, &runs);
        let topic = topic::transactions(&self.pipeline);
        for entry in entries {
            self.text(&topic, entry.key(), Some(&entry.to_json())).await?;
        }
        Ok(())
    }

    /// Sends Debezium's record of a transaction that ends before `position`; gives what is to be stored of
    /// one that does not.
    fn end_of_transaction(&mut self, position: &Position) -> Result<Option<Counts>, SourceError> {
        let Some(metadata) = &mut self.metadata else { return Ok(None) };
        let (ended, counts) = metadata.commit(position);
        if let Some((key, value)) = ended {
            let topic = metadata.topic.clone();
            self.open()?;
            self.producer.send(own(&topic, &key, Some(&value)))?;
        }
        Ok(counts)
    }

    /// Throws away what is open; used on the way out, when a failure is not Kafka's.
    pub async fn abort(&mut self) {
        if self.open.take().is_some()
            && let Err(error) = self.producer.abort().await
        {
            // The broker ends it when the next producer opens.
            tracing::debug!(error = %error, "the open Kafka transaction could not be aborted");
        }
    }
}

/// A record of a topic of the pipeline's own.
fn own<'a>(topic: &'a str, key: &'a [u8], value: Option<&'a [u8]>) -> Record<'a> {
    Record { topic, partition: Some(0), key: Some(key), value, ..Record::default() }
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").field("committed", &self.committed).finish_non_exhaustive()
    }
}
