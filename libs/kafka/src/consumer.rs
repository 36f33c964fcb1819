//! [`Consumer`]: committed records in batches, from where it is told.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    config::FromClientConfigAndContext as _,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
    message::{BorrowedMessage, Headers as _},
};
use tokio::sync::mpsc;

use crate::{
    Config, Error, TopicInfo,
    admin::{self, METADATA_TIMEOUT, blocking},
    context::Context,
};

/// Offset that stands for the first record of a partition, in [`Consumer::assign`].
pub const EARLIEST: i64 = -2;
/// Offset that stands for the end of a partition, in [`Consumer::assign`].
pub const LATEST: i64 = -1;

/// A chunk ends at this many messages or bytes, whichever comes first.
const CHUNK_MESSAGES: usize = 2_000;
const CHUNK_BYTES: usize = 1 << 20;
/// Chunks between the thread that polls and the task that takes: 4 MiB and a message each.
const CHUNKS: usize = 4;
/// How long the thread waits for a first message; also how long an assignment may wait for it.
const POLL: Duration = Duration::from_millis(50);

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Topic; messages of one topic share the text.
    pub topic: Arc<str>,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Milliseconds since 1970-01-01T00:00Z.
    pub timestamp_ms: Option<i64>,
    /// Key.
    pub key: Option<Vec<u8>>,
    /// Value; none is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Headers, in order; one without a value has an empty one.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Message {
    /// Bytes that it holds, roughly.
    #[must_use]
    pub fn size(&self) -> usize {
        std::mem::size_of::<Self>()
            + self.key.as_ref().map_or(0, Vec::len)
            + self.value.as_ref().map_or(0, Vec::len)
            + self.headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
    }
}

/// The ends of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// First offset that is still there.
    pub low: i64,
    /// Offset after the last committed record; markers of transactions count.
    pub high: i64,
}

/// Reads committed records of the partitions it is given, in batches.
///
/// A thread of its own polls librdkafka and hands chunks through a bounded channel; when nobody
/// takes them, it stops fetching. It ends when the consumer is dropped.
pub struct Consumer {
    shared: Arc<Shared>,
    chunks: mpsc::Receiver<Chunk>,
}

struct Shared {
    consumer: BaseConsumer<Context>,
    /// Held while a chunk is polled, so that a chunk is of one assignment.
    assignment: Mutex<Assignment>,
    /// Calls that want the lock: the thread lets them go first.
    waiting: AtomicUsize,
    stopped: AtomicBool,
    /// Messages in the channel.
    queued: AtomicU64,
    generation: AtomicU64,
}

#[derive(Default)]
struct Assignment {
    generation: u64,
    partitions: Vec<(String, i32, i64)>,
}

struct Chunk {
    generation: u64,
    messages: Result<Vec<Message>, Error>,
}

impl Consumer {
    /// Makes a consumer without partitions; no connection is waited for. `group` is where
    /// [`Consumer::commit_group`] writes.
    ///
    /// # Errors
    /// [`Error::Config`] when librdkafka refuses a property.
    pub async fn open(config: &Config, group: &str) -> Result<Self, Error> {
        config.validate()?;
        let client_config = config.consumer(group);
        blocking("make a consumer", move || {
            let consumer = BaseConsumer::from_config_and_context(&client_config, Context::new())
                .map_err(|source| Error::client("make a consumer".to_owned(), "", source, None))?;
            let shared = Arc::new(Shared {
                consumer,
                assignment: Mutex::default(),
                waiting: AtomicUsize::new(0),
                stopped: AtomicBool::new(false),
                queued: AtomicU64::new(0),
                generation: AtomicU64::new(0),
            });
            let (sender, chunks) = mpsc::channel(CHUNKS);
            let polled = Arc::clone(&shared);
            std::thread::Builder::new()
                .name("kafka-consumer".to_owned())
                .spawn(move || polled.run(&sender))
                .map_err(|_| Error::Closed { doing: "start the thread of a consumer" })?;
            Ok(Self { shared, chunks })
        })
        .await
    }

    /// Reads these partitions from these offsets and no others. What was fetched before is dropped.
    ///
    /// # Errors
    /// [`Error::Client`] when librdkafka refuses the list.
    pub async fn assign<T: AsRef<str>>(&self, partitions: &[(T, i32, i64)]) -> Result<(), Error> {
        let partitions = owned(partitions);
        let shared = Arc::clone(&self.shared);
        blocking("assign partitions", move || {
            let list = offsets(&partitions)?;
            let mut assignment = shared.lock();
            let assigned = shared.consumer.assign(&list);
            assigned.map_err(|source| shared.error("assign partitions".to_owned(), "", source))?;
            assignment.generation += 1;
            shared.generation.store(assignment.generation, Ordering::Release);
            shared.consumer.client().context().forget_behind();
            assignment.partitions = partitions;
            Ok(())
        })
        .await
    }

    /// Reads these partitions too. What was fetched of the others stays.
    ///
    /// # Errors
    /// [`Error::Client`] when librdkafka refuses the list, for one because a partition is assigned
    /// already.
    pub async fn add<T: AsRef<str>>(&self, partitions: &[(T, i32, i64)]) -> Result<(), Error> {
        let partitions = owned(partitions);
        let shared = Arc::clone(&self.shared);
        blocking("add partitions", move || {
            let list = offsets(&partitions)?;
            let mut assignment = shared.lock();
            let added = if assignment.partitions.is_empty() {
                shared.consumer.assign(&list)
            } else {
                shared.consumer.incremental_assign(&list)
            };
            added.map_err(|source| shared.error("add partitions".to_owned(), "", source))?;
            shared.consumer.client().context().forget_behind();
            assignment.partitions.extend(partitions);
            Ok(())
        })
        .await
    }

    /// Reads these partitions no more. What was fetched of them before may still come.
    ///
    /// # Errors
    /// [`Error::Client`] when librdkafka refuses the list, for one because a partition is not assigned.
    pub async fn remove<T: AsRef<str>>(&self, partitions: &[(T, i32)]) -> Result<(), Error> {
        let gone: Vec<(String, i32)> =
            partitions.iter().map(|(t, p)| (t.as_ref().to_owned(), *p)).collect();
        let shared = Arc::clone(&self.shared);
        blocking("remove partitions", move || {
            let mut assignment = shared.lock();
            let removed = shared.consumer.incremental_unassign(&list(&gone));
            removed.map_err(|source| shared.error("remove partitions".to_owned(), "", source))?;
            shared.consumer.client().context().forget_behind();
            assignment.partitions.retain(|(topic, partition, _)| {
                !gone.iter().any(|(t, p)| t == topic && p == partition)
            });
            Ok(())
        })
        .await
    }

    /// The next messages, at least one; waits for them. Messages of one partition come in order.
    /// Cancel safe.
    ///
    /// # Errors
    /// [`Error::Gap`] when the place to read from is gone; [`Error::Rights`], [`Error::Client`] for what
    /// does not pass by itself: lost connections are mended without a word here.
    pub async fn next_batch(&mut self) -> Result<Vec<Message>, Error> {
        loop {
            let chunk = self.chunks.recv().await;
            let chunk = chunk.ok_or(Error::Closed { doing: "read from Kafka" })?;
            if let Some(messages) = self.taken(chunk) {
                return messages;
            }
        }
    }

    /// The next messages if they are here already.
    ///
    /// # Errors
    /// As [`Consumer::next_batch`].
    pub fn try_next_batch(&mut self) -> Result<Option<Vec<Message>>, Error> {
        loop {
            match self.chunks.try_recv() {
                Ok(chunk) => {
                    if let Some(messages) = self.taken(chunk) {
                        return messages.map(Some);
                    }
                }
                Err(mpsc::error::TryRecvError::Empty) => return Ok(None),
                Err(mpsc::error::TryRecvError::Disconnected) => {
                    return Err(Error::Closed { doing: "read from Kafka" });
                }
            }
        }
    }

    /// None for a chunk of an assignment that has been replaced.
    fn taken(&self, chunk: Chunk) -> Option<Result<Vec<Message>, Error>> {
        if let Ok(messages) = &chunk.messages {
            self.shared.queued.fetch_sub(count(messages), Ordering::Relaxed);
        }
        let current = self.shared.generation.load(Ordering::Acquire);
        (chunk.generation == current).then_some(chunk.messages)
    }

    /// Stops fetching these partitions. What was fetched before still comes.
    ///
    /// # Errors
    /// [`Error::Client`] when one of them is not assigned.
    pub fn pause<T: AsRef<str>>(&self, partitions: &[(T, i32)]) -> Result<(), Error> {
        let paused = self.shared.consumer.pause(&list(partitions));
        paused.map_err(|source| self.shared.error("pause partitions".to_owned(), "", source))
    }

    /// Fetches these partitions again.
    ///
    /// # Errors
    /// [`Error::Client`] when one of them is not assigned.
    pub fn resume<T: AsRef<str>>(&self, partitions: &[(T, i32)]) -> Result<(), Error> {
        let resumed = self.shared.consumer.resume(&list(partitions));
        resumed.map_err(|source| self.shared.error("resume partitions".to_owned(), "", source))
    }

    /// The ends of a partition, asked of its leader.
    ///
    /// # Errors
    /// [`Error::Client`]; transient when the leader does not answer.
    pub async fn watermarks(&self, topic: &str, partition: i32) -> Result<Watermarks, Error> {
        let shared = Arc::clone(&self.shared);
        let topic = topic.to_owned();
        blocking("read the ends of a partition", move || shared.watermarks(&topic, partition)).await
    }

    /// Records of the assigned partitions that have not been handed out, as of the last second; none
    /// before that is known. Zero when everything committed has been handed out.
    #[must_use]
    pub fn lag(&self) -> Option<u64> {
        let behind = self.shared.consumer.client().context().behind()?;
        Some(behind + self.shared.queued.load(Ordering::Relaxed))
    }

    /// Every topic whose name begins with `prefix`, by name, with its number of partitions.
    ///
    /// # Errors
    /// [`Error::Client`], transient, when no broker answers.
    pub async fn topics(&self, prefix: &str) -> Result<Vec<TopicInfo>, Error> {
        let shared = Arc::clone(&self.shared);
        let prefix = prefix.to_owned();
        blocking("list topics", move || admin::list(shared.consumer.client(), &prefix)).await
    }

    /// Tells the group how far it has come, for tools that show it; nothing here reads it back. The
    /// offsets are those of the next records. Does not wait.
    ///
    /// # Errors
    /// [`Error::Client`] when librdkafka refuses the list.
    pub fn commit_group<T: AsRef<str>>(&self, next: &[(T, i32, i64)]) -> Result<(), Error> {
        let list = offsets(&owned(next))?;
        let committed = self.shared.consumer.commit(&list, CommitMode::Async);
        committed.map_err(|source| self.shared.error("commit group offsets".to_owned(), "", source))
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // The thread notices within a poll; it must not be waited for in async code.
        self.shared.stopped.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Assignment> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let guard = self.assignment.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_sub(1, Ordering::AcqRel);
        guard
    }

    fn error(&self, doing: String, resource: &str, source: KafkaError) -> Error {
        Error::client(doing, resource, source, self.consumer.client().context().hint())
    }

    fn watermarks(&self, topic: &str, partition: i32) -> Result<Watermarks, Error> {
        let (low, high) = self
            .consumer
            .fetch_watermarks(topic, partition, METADATA_TIMEOUT)
            .map_err(|source| {
                self.error(format!("read the ends of {topic}[{partition}]"), topic, source)
            })?;
        Ok(Watermarks { low, high })
    }

    /// The thread.
    fn run(&self, sender: &mpsc::Sender<Chunk>) {
        let mut topic: Arc<str> = Arc::from("");
        while !self.stopped.load(Ordering::Relaxed) {
            if self.waiting.load(Ordering::Acquire) > 0 {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            let chunk = {
                let assignment = self.assignment.lock().unwrap_or_else(PoisonError::into_inner);
                let (messages, error) = self.poll(&mut topic);
                let error = error.map(|error| self.explained(error, &assignment));
                (assignment.generation, messages, error)
            };
            let (generation, messages, error) = chunk;
            if !messages.is_empty() {
                self.queued.fetch_add(count(&messages), Ordering::Relaxed);
                if sender.blocking_send(Chunk { generation, messages: Ok(messages) }).is_err() {
                    return;
                }
            }
            if let Some(error) = error
                && sender.blocking_send(Chunk { generation, messages: Err(error) }).is_err()
            {
                return;
            }
        }
    }

    /// As many messages as are there, up to a chunk; and the error that ended it.
    fn poll(&self, topic: &mut Arc<str>) -> (Vec<Message>, Option<KafkaError>) {
        let mut messages = Vec::new();
        let mut bytes = 0;
        let mut wait = POLL;
        while messages.len() < CHUNK_MESSAGES && bytes < CHUNK_BYTES {
            match self.consumer.poll(wait) {
                Some(Ok(message)) => {
                    let message = copied(&message, topic);
                    bytes += message.size();
                    messages.push(message);
                }
                Some(Err(error)) => {
                    if passes(&error) {
                        tracing::debug!(%error, "Kafka is not reachable; the client tries again");
                    } else {
                        return (messages, Some(error));
                    }
                }
                None => break,
            }
            wait = Duration::ZERO;
        }
        (messages, None)
    }

    /// Finds the partition that an error without a name is about.
    fn explained(&self, error: KafkaError, assignment: &Assignment) -> Error {
        let no_offset = [RDKafkaErrorCode::AutoOffsetReset, RDKafkaErrorCode::OffsetOutOfRange];
        if error.rdkafka_error_code().is_some_and(|code| no_offset.contains(&code)) {
            let positions = self.consumer.position().ok();
            for (topic, partition, start) in &assignment.partitions {
                let reached = positions
                    .as_ref()
                    .and_then(|list| list.find_partition(topic, *partition))
                    .and_then(|element| element.offset().to_raw())
                    .filter(|offset| *offset >= 0);
                let wanted = reached.unwrap_or(*start);
                let Ok(Watermarks { low, high }) = self.watermarks(topic, *partition) else {
                    continue;
                };
                if wanted >= 0 && !(low..=high).contains(&wanted) {
                    return Error::Gap {
                        topic: topic.clone(),
                        partition: *partition,
                        wanted,
                        low,
                        high,
                    };
                }
            }
        }
        self.error("read from Kafka".to_owned(), "that is read", error)
    }
}

/// Whether librdkafka mends it by itself.
fn passes(error: &KafkaError) -> bool {
    Error::client(String::new(), "", error.clone(), None).is_transient()
}

fn count(messages: &[Message]) -> u64 {
    u64::try_from(messages.len()).unwrap_or(u64::MAX)
}

fn copied(message: &BorrowedMessage<'_>, topic: &mut Arc<str>) -> Message {
    if **topic != *message.topic() {
        *topic = Arc::from(message.topic());
    }
    Message {
        topic: Arc::clone(topic),
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: message.headers().map_or_else(Vec::new, |headers| {
            headers
                .iter()
                .map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec()))
                .collect()
        }),
    }
}

fn owned<T: AsRef<str>>(partitions: &[(T, i32, i64)]) -> Vec<(String, i32, i64)> {
    partitions.iter().map(|(t, p, offset)| (t.as_ref().to_owned(), *p, *offset)).collect()
}

fn list<T: AsRef<str>>(partitions: &[(T, i32)]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for (topic, partition) in partitions {
        list.add_partition(topic.as_ref(), *partition);
    }
    list
}

fn offsets(partitions: &[(String, i32, i64)]) -> Result<TopicPartitionList, Error> {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for (topic, partition, offset) in partitions {
        list.add_partition_offset(topic, *partition, Offset::from_raw(*offset)).map_err(
            |source| {
                Error::client(
                    format!("set the offset of {topic}[{partition}]"),
                    topic,
                    source,
                    None,
                )
            },
        )?;
    }
    Ok(list)
}
