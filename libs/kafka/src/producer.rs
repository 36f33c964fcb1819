//! Producers: [`Transactional`] for the source, [`Producer`] for dead letters.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use rdkafka::{
    config::FromClientConfigAndContext as _,
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, FutureProducer, FutureRecord, Producer as _},
};

use crate::{
    Config, Error, Fault,
    admin::{QUEUED_EVENTS, blocking},
    context::Context,
    delivered::Run,
};

/// One record to send; it is copied when it is sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Record<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Partition; by the key's hash when none.
    pub partition: Option<i32>,
    /// Key.
    pub key: Option<&'a [u8]>,
    /// Value; none is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Headers, in order.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// Milliseconds since 1970-01-01T00:00Z; now when none.
    pub timestamp_ms: Option<i64>,
}

impl Record<'_> {
    fn owned_headers(&self) -> Option<OwnedHeaders> {
        if self.headers.is_empty() {
            return None;
        }
        let headers = OwnedHeaders::new_with_capacity(self.headers.len());
        Some(self.headers.iter().fold(headers, |headers, (key, value)| {
            headers.insert(Header { key, value: Some(*value) })
        }))
    }
}

/// How long one call to librdkafka may wait. Short, so that a stop is noticed between two of them.
const STEP: Duration = Duration::from_secs(5);

/// How long the coordinator may take to load and to finish what a predecessor left.
const OPEN_LIMIT: Duration = Duration::from_secs(60);

/// How long a commit or an abort is tried; by then the broker has given the transaction up.
const END_LIMIT: Duration = Duration::from_secs(120);

/// How long [`Transactional::send`] waits for room.
const SEND_LIMIT: Duration = Duration::from_secs(60);

/// Sent and not yet acknowledged: above it, [`Transactional::ready`] waits.
const OUTSTANDING_BYTES: i64 = 32 << 20;

/// The first and the longest sleep between two looks at what is under way.
///
/// `BaseProducer::poll` waits in whole milliseconds and goes round and round during the rest: a wait of 1 ms
/// takes a whole core from the broker and the readers. So it is asked not to wait, and we sleep.
const NAP: Duration = Duration::from_micros(100);
const NAP_MAX: Duration = Duration::from_millis(1);

/// Sends between two looks at the delivery reports.
const POLL_EVERY: u32 = 256;

/// A producer whose records become visible together, by transaction.
///
/// One task uses it: begin, send, then commit or abort. The calls that wait for the broker run on
/// another thread; dropping their future leaves the transaction where the next call finds it.
pub struct Transactional {
    inner: Arc<Inner>,
    sends: AtomicU32,
}

struct Inner {
    producer: BaseProducer<Context>,
    id: String,
}

impl Transactional {
    /// Connects and takes the transactional id over: whoever had it is fenced, and what it left
    /// uncommitted is aborted.
    ///
    /// # Errors
    /// [`Error::Config`] for a refused property, [`Error::Rights`] without the right to the id, a
    /// transient [`Error::Transaction`] when no coordinator answers within a minute.
    pub async fn open(config: &Config, transactional_id: &str) -> Result<Self, Error> {
        config.validate()?;
        let client_config = config.transactional(transactional_id);
        let id = transactional_id.to_owned();
        let inner = blocking("make a producer", move || {
            let producer = BaseProducer::from_config_and_context(&client_config, Context::new())
                .map_err(|source| Error::client("make a producer".to_owned(), &id, source, None))?;
            Ok(Arc::new(Inner { producer, id }))
        })
        .await?;
        let started = Instant::now();
        let mut pause = Duration::from_millis(50);
        loop {
            let step = Arc::clone(&inner);
            let result = blocking("start", move || {
                step.producer.init_transactions(STEP).map_err(|e| step.failed("start", e))
            })
            .await;
            match result {
                Ok(()) => return Ok(Self { inner, sends: AtomicU32::new(0) }),
                // A fresh broker loads its coordinator for a second or more.
                Err(error) if error.is_transient() && started.elapsed() < OPEN_LIMIT => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(1));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The id it was opened with.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// [`Error::Transaction`]; fenced when a twin has taken over.
    pub fn begin(&self) -> Result<(), Error> {
        drop(self.context().take_failures());
        drop(self.context().take_delivered());
        self.inner.producer.begin_transaction().map_err(|e| self.inner.failed("begin", e))
    }

    /// Puts a record into the open transaction.
    ///
    /// The record is copied into a queue of 64 MiB. When that is full the call waits for room, which
    /// blocks the thread: await [`Transactional::ready`] before sending to keep away from it.
    ///
    /// # Errors
    /// [`Error::Delivery`] when an earlier record failed, [`Error::Timeout`] when there is no room for
    /// a minute, [`Error::Client`] when the record is too large or the topic unknown.
    pub fn send(&self, record: Record<'_>) -> Result<(), Error> {
        self.put(record, 0)
    }

    /// As [`Transactional::send`]; where the record goes is told by [`Transactional::delivered`].
    ///
    /// # Errors
    /// As [`Transactional::send`].
    pub fn send_marked(&self, record: Record<'_>, mark: usize) -> Result<(), Error> {
        self.put(record, mark + 1)
    }

    /// Waits as [`Transactional::flush`] does, and says where the records are that were sent with a mark
    /// since the transaction began or this was called: one run for each mark and partition, in their order.
    ///
    /// # Errors
    /// As [`Transactional::flush`].
    pub async fn delivered(&self) -> Result<Vec<Run>, Error> {
        self.flush().await?;
        Ok(self.context().take_delivered())
    }

    fn put(&self, record: Record<'_>, marked: usize) -> Result<(), Error> {
        if self.sends.fetch_add(1, Ordering::Relaxed) % POLL_EVERY == POLL_EVERY - 1 {
            self.inner.producer.poll(Duration::ZERO);
            self.inner.check_deliveries()?;
        }
        let bytes = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        let base = BaseRecord {
            topic: record.topic,
            partition: record.partition,
            payload: record.value,
            key: record.key,
            timestamp: record.timestamp_ms,
            headers: record.owned_headers(),
            delivery_opaque: marked,
        };
        // Counted first: the report may come before this call returns.
        self.context().sent(bytes);
        match self.inner.producer.send(base) {
            Ok(()) => Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), base)) => {
                waiting_allowed(|| self.inner.send_when_there_is_room(base))
            }
            Err((error, base)) => Err(self.inner.not_sent(base.topic, error)),
        }
        .inspect_err(|_| self.context().unsent(bytes))
    }

    /// Waits until little enough is under way for [`Transactional::send`] to have room. Cancel safe.
    ///
    /// # Errors
    /// [`Error::Delivery`] when a record of this transaction failed.
    pub async fn ready(&self) -> Result<(), Error> {
        while self.context().outstanding_bytes() > OUTSTANDING_BYTES {
            self.inner.producer.poll(Duration::ZERO);
            self.inner.check_deliveries()?;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// Waits until the broker has everything that was sent, so that a record that is sent next is alone.
    ///
    /// # Errors
    /// [`Error::Delivery`] when a record of this transaction failed, [`Error::Timeout`] after a minute.
    pub async fn flush(&self) -> Result<(), Error> {
        let started = Instant::now();
        while self.inner.producer.in_flight_count() > 0 {
            self.inner.producer.poll(Duration::ZERO);
            self.inner.check_deliveries()?;
            if started.elapsed() > SEND_LIMIT {
                return Err(Error::Timeout {
                    doing: format!("deliver the records of a transaction of {}", self.inner.id),
                    after_ms: SEND_LIMIT.as_millis(),
                    hint: self.context().hint(),
                });
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.inner.check_deliveries()
    }

    /// Makes the transaction's records visible. When it returns `Ok`, they are.
    ///
    /// # Errors
    /// [`Error::Delivery`] or [`Error::Transaction`]: [`Error::needs_abort`] and [`Error::is_fenced`]
    /// say how to go on. After a transient error, commit again: the outcome is not known.
    pub async fn commit(&self) -> Result<(), Error> {
        let started = Instant::now();
        loop {
            let step = Arc::clone(&self.inner);
            let result = blocking("commit", move || step.commit_step()).await;
            match result {
                Err(Error::Transaction { fault: Fault::Transient, .. } | Error::Timeout { .. })
                    if started.elapsed() < END_LIMIT => {}
                result => return result,
            }
        }
    }

    /// Throws the transaction's records away; readers of committed records never see them.
    ///
    /// # Errors
    /// [`Error::Transaction`]; the broker aborts by itself when the transaction times out.
    pub async fn abort(&self) -> Result<(), Error> {
        let started = Instant::now();
        loop {
            let step = Arc::clone(&self.inner);
            let result = blocking("abort", move || step.abort_step()).await;
            match result {
                Err(Error::Transaction { fault: Fault::Transient, .. })
                    if started.elapsed() < END_LIMIT => {}
                result => {
                    drop(self.context().take_failures());
                    return result;
                }
            }
        }
    }

    fn context(&self) -> &Context {
        self.inner.producer.client().context()
    }
}

impl Inner {
    fn failed(&self, doing: &'static str, error: KafkaError) -> Error {
        // What the client saw waits in its queue, together with delivery reports.
        for _ in 0..QUEUED_EVENTS {
            self.producer.poll(Duration::ZERO);
        }
        let context = self.producer.client().context();
        context.explain(Error::transaction(doing, &self.id, error, context.hint()))
    }

    fn not_sent(&self, topic: &str, error: KafkaError) -> Error {
        // A producer in a failed state refuses with the reason of the failure.
        let code = error.rdkafka_error_code();
        if matches!(
            code,
            Some(RDKafkaErrorCode::Fatal | RDKafkaErrorCode::Fenced | RDKafkaErrorCode::State)
        ) {
            return self.failed("send", self.fatal().unwrap_or(error));
        }
        Error::client(
            format!("send a record to {topic}"),
            topic,
            error,
            self.producer.client().context().hint(),
        )
    }

    /// The fatal error that the client is in, as the error that it was raised with.
    fn fatal(&self) -> Option<KafkaError> {
        self.producer.client().fatal_error().map(|(code, _)| KafkaError::MessageProduction(code))
    }

    fn send_when_there_is_room(
        &self,
        mut base: BaseRecord<'_, [u8], [u8], usize>,
    ) -> Result<(), Error> {
        let started = Instant::now();
        loop {
            std::thread::sleep(NAP);
            self.producer.poll(Duration::ZERO);
            self.check_deliveries()?;
            match self.producer.send(base) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    if started.elapsed() > SEND_LIMIT {
                        return Err(Error::Timeout {
                            doing: format!("send a record to {}", back.topic),
                            after_ms: SEND_LIMIT.as_millis(),
                            hint: self.producer.client().context().hint(),
                        });
                    }
                    base = back;
                }
                Err((error, back)) => return Err(self.not_sent(back.topic, error)),
            }
        }
    }

    fn check_deliveries(&self) -> Result<(), Error> {
        let failures = self.producer.client().context().take_failures();
        let Some((topic, source)) = failures.first else { return Ok(()) };
        // A fenced producer reports its records as failed by the fatal error that it is in.
        let source = match source.rdkafka_error_code() {
            Some(RDKafkaErrorCode::Fatal) => self.fatal().unwrap_or(source),
            _ => source,
        };
        Err(Error::Delivery {
            topic,
            failed: failures.count,
            transactional: true,
            source: Box::new(source),
        })
    }

    fn commit_step(&self) -> Result<(), Error> {
        // librdkafka's own wait looks every 100 ms only; a commit would take as long. So wait here
        // until everything has been acknowledged, then there is nothing left to wait for.
        let started = Instant::now();
        let mut nap = NAP;
        while self.producer.in_flight_count() > 0 {
            self.producer.poll(Duration::ZERO);
            self.check_deliveries()?;
            if self.producer.in_flight_count() > 0 {
                std::thread::sleep(nap);
                nap = (nap * 2).min(NAP_MAX);
            }
            if started.elapsed() > STEP {
                return Err(Error::Timeout {
                    doing: format!("deliver the records of a transaction of {}", self.id),
                    after_ms: STEP.as_millis(),
                    hint: self.producer.client().context().hint(),
                });
            }
        }
        self.check_deliveries()?;
        self.producer.commit_transaction(STEP).map_err(|e| self.failed("commit", e))
    }

    fn abort_step(&self) -> Result<(), Error> {
        // The abort waits for the reports of what it throws away, and somebody must take them.
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    self.producer.poll(Duration::ZERO);
                    std::thread::sleep(NAP_MAX);
                }
            });
            let result = self.producer.abort_transaction(STEP);
            done.store(true, Ordering::Relaxed);
            result.map_err(|e| self.failed("abort", e))
        })
    }
}

/// Runs a call that may wait, so that a runtime with several threads moves its other tasks away.
fn waiting_allowed<T>(call: impl FnOnce() -> T) -> T {
    let several_threads = tokio::runtime::Handle::try_current().is_ok_and(|runtime| {
        runtime.runtime_flavor() == tokio::runtime::RuntimeFlavor::MultiThread
    });
    if several_threads { tokio::task::block_in_place(call) } else { call() }
}

/// A plain producer, idempotent, for records that belong to no transaction: dead letters.
pub struct Producer {
    producer: FutureProducer<Context>,
}

impl Producer {
    /// Makes a producer; no connection is waited for.
    ///
    /// # Errors
    /// [`Error::Config`] when librdkafka refuses a property.
    pub fn new(config: &Config) -> Result<Self, Error> {
        config.validate()?;
        let producer = FutureProducer::from_config_and_context(&config.producer(), Context::new())
            .map_err(|source| Error::client("make a producer".to_owned(), "", source, None))?;
        Ok(Self { producer })
    }

    /// Sends a record and waits until every replica in sync has it; returns partition and offset.
    ///
    /// A future that is dropped leaves open whether the record arrives.
    ///
    /// # Errors
    /// [`Error::Delivery`], or [`Error::Rights`] without the right to write.
    pub async fn send(&self, record: Record<'_>) -> Result<(i32, i64), Error> {
        let future_record = FutureRecord::<[u8], [u8]> {
            topic: record.topic,
            partition: record.partition,
            payload: record.value,
            key: record.key,
            timestamp: record.timestamp_ms,
            headers: record.owned_headers(),
        };
        match self.producer.send(future_record, SEND_LIMIT).await {
            Ok(delivery) => Ok((delivery.partition, delivery.offset)),
            Err((source, _)) => {
                let doing = format!("send a record to {}", record.topic);
                let error = Error::client(doing, record.topic, source, None);
                Err(if let Error::Client { source, .. } = error {
                    let topic = record.topic.to_owned();
                    Error::Delivery { topic, failed: 1, transactional: false, source }
                } else {
                    error
                })
            }
        }
    }
}
