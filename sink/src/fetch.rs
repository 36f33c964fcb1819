//! Reads records and makes batches of them, while the batch before is being applied.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use causeway_kafka::{Consumer, Message, consumer::EARLIEST, topic};
use causeway_observability::names::sink as names;
use causeway_postgres::{Client, Config as Postgres};
use causeway_service::{exit::chain_line, retry::Backoff};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    Config, SinkError,
    apply::Batch,
    batch::{Close, Limits},
    decode::{Decoded, Records},
    pause,
    progress::{self, Place, Span},
};

/// The task that fetches.
pub struct Fetcher {
    /// Reads Kafka.
    pub consumer: Consumer,
    /// Decodes.
    pub records: Records,
    /// Limits of a batch.
    pub config: Config,
    /// Where offsets of new partitions are claimed.
    pub postgres: Postgres,
    /// The pipeline.
    pub pipeline: String,
    /// Our epoch.
    pub epoch: i64,
    /// The offset to be read next of each partition that is ours.
    pub positions: HashMap<Place, i64>,
    /// Partitions of tables that somebody paused.
    pub paused: HashSet<Place>,
}

impl Fetcher {
    /// Fetches until it is stopped; the queue holds one batch, so two are in memory.
    ///
    /// # Errors
    /// What is not transient: a gap, missing rights, another sink.
    pub async fn run(
        mut self,
        batches: mpsc::Sender<Batch>,
        stop: CancellationToken,
    ) -> Result<(), SinkError> {
        self.discover().await?;
        self.pause().await?;
        let every = Duration::from_secs(self.config.discover_seconds);
        let mut discover = tokio::time::interval(every);
        discover.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        discover.tick().await;
        let mut batch = Batch::default();
        let mut limits = Limits::new(&self.config);
        loop {
            let close = limits.close(Instant::now());
            if close == Close::Now {
                let full = std::mem::take(&mut batch);
                limits = Limits::new(&self.config);
                tokio::select! {
                    sent = batches.send(full) => if sent.is_err() { return Ok(()) },
                    () = stop.cancelled() => return Ok(()),
                }
                continue;
            }
            let due = match close {
                Close::At(due) => due.into(),
                Close::Now | Close::Idle => tokio::time::Instant::now() + Duration::from_secs(3600),
            };
            // What was fetched and not applied is fetched again: the offsets are in PostgreSQL.
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                messages = self.consumer.next_batch() => {
                    for message in messages? {
                        self.take(message, &mut batch, &mut limits, &stop).await?;
                        if stop.is_cancelled() {
                            return Ok(());
                        }
                        if limits.close(Instant::now()) == Close::Now {
                            let full = std::mem::take(&mut batch);
                            limits = Limits::new(&self.config);
                            tokio::select! {
                                sent = batches.send(full) => if sent.is_err() { return Ok(()) },
                                () = stop.cancelled() => return Ok(()),
                            }
                        }
                    }
                }
                () = tokio::time::sleep_until(due) => {}
                _ = discover.tick() => {
                    self.discover().await?;
                    self.pause().await?;
                }
            }
            self.publish();
        }
    }

    async fn take(
        &mut self,
        message: Message,
        batch: &mut Batch,
        limits: &mut Limits,
        stop: &CancellationToken,
    ) -> Result<(), SinkError> {
        let message = Arc::new(message);
        let place = (message.topic.clone(), message.partition);
        let next = message.offset + 1;
        let Some(decoded) = self.decode(&message, stop).await? else { return Ok(()) };
        let position = self.positions.entry(place.clone()).or_insert(message.offset);
        let expected = *position;
        *position = next;
        let span = batch.spans.entry(place).or_insert(Span { expected, next });
        span.next = next;
        match decoded {
            Decoded::Change(change) => {
                limits.add(change.size(), Instant::now());
                names::ROWS_READ.add(1, &[("table", &change.shape.source.to_string())]);
                batch.changes.push(*change);
            }
            Decoded::Moved(pair) => {
                let (old, new) = *pair;
                for change in [old, new] {
                    limits.add(change.size(), Instant::now());
                    batch.changes.push(change);
                }
            }
            Decoded::Refused(refusal) => {
                limits.add(message.size(), Instant::now());
                batch.refusals.push(*refusal);
            }
            // It moves the offsets, so it is a part of the batch all the same.
            Decoded::Nothing => limits.add(64, Instant::now()),
        }
        Ok(())
    }

    /// Decodes, waiting for the registry as long as it takes; none when stopped.
    async fn decode(
        &mut self,
        message: &Arc<Message>,
        stop: &CancellationToken,
    ) -> Result<Option<Decoded>, SinkError> {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        loop {
            match self.records.decode(message.clone()).await {
                Ok(decoded) => return Ok(Some(decoded)),
                Err(error) if error.is_transient() => {
                    names::ERRORS.add(1, &[("part", "registry")]);
                    tracing::warn!(error = %chain_line(&error), "waiting for the schema registry");
                    tokio::select! {
                        () = stop.cancelled() => return Ok(None),
                        () = tokio::time::sleep(backoff.next()) => {}
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Claims partitions that are new, and reads them from where PostgreSQL says.
    async fn discover(&mut self) -> Result<(), SinkError> {
        let topics = match self.consumer.topics(&topic::tables_prefix(&self.pipeline)).await {
            Ok(topics) => topics,
            Err(error) if error.is_transient() => {
                tracing::warn!(error = %chain_line(&error), "Kafka did not list its topics; asking again");
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let mut new = Vec::new();
        for info in topics.iter().filter(|info| topic::is_table(&self.pipeline, &info.name)) {
            let name: Arc<str> = info.name.as_str().into();
            for partition in 0..info.partitions {
                let place = (name.clone(), partition);
                if !self.positions.contains_key(&place) {
                    new.push(place);
                }
            }
        }
        if new.is_empty() {
            return Ok(());
        }
        match self.claim(&new).await {
            // PostgreSQL or Kafka is away: the next look finds the same partitions.
            Err(error) if error.is_transient() => {
                tracing::warn!(error = %chain_line(&error), "new topics must wait");
                Ok(())
            }
            other => other,
        }
    }

    async fn claim(&mut self, new: &[Place]) -> Result<(), SinkError> {
        let mut firsts = Vec::with_capacity(new.len());
        let mut lows = HashMap::new();
        for (topic, partition) in new {
            let marks = self.consumer.watermarks(topic, *partition).await?;
            lows.insert((topic.clone(), *partition), marks.low);
            firsts.push(((topic.clone(), *partition), marks.low));
        }
        let client = Client::connect(&self.postgres).await?;
        let claimed = progress::claim(&client, &self.pipeline, self.epoch, &firsts).await?;
        let mut reads = Vec::with_capacity(claimed.len());
        for ((topic, partition), next) in claimed {
            let low = lows.get(&(topic.clone(), partition)).copied().unwrap_or(0);
            if next < low {
                return Err(SinkError::Gap { topic: topic.to_string(), partition, low, next });
            }
            tracing::info!(topic = %topic, partition, offset = next, "partition taken");
            reads.push((topic.to_string(), partition, if next == 0 { EARLIEST } else { next }));
            self.positions.insert((topic, partition), next);
        }
        self.consumer.add(&reads).await?;
        Ok(())
    }

    /// Stops and begins reading the tables that `causeway-sink pause` and `resume` name.
    async fn pause(&mut self) -> Result<(), SinkError> {
        let patterns = async {
            let client = Client::connect(&self.postgres).await?;
            pause::patterns(&client, &self.pipeline).await
        };
        let patterns = match patterns.await {
            Ok(patterns) => patterns,
            Err(error) if error.is_transient() => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let wanted: HashSet<Place> = self
            .positions
            .keys()
            .filter(|(topic, _)| pause::holds(&patterns, &self.pipeline, topic))
            .cloned()
            .collect();
        let list = |places: std::collections::hash_set::Difference<'_, Place, _>| {
            places.map(|(topic, partition)| (topic.to_string(), *partition)).collect::<Vec<_>>()
        };
        let (stop, begin) =
            (list(wanted.difference(&self.paused)), list(self.paused.difference(&wanted)));
        if !stop.is_empty() {
            tracing::info!(partitions = stop.len(), "paused");
            self.consumer.pause(&stop)?;
        }
        if !begin.is_empty() {
            tracing::info!(partitions = begin.len(), "resumed");
            self.consumer.resume(&begin)?;
        }
        self.paused = wanted;
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "a gauge")]
    fn publish(&self) {
        if let Some(lag) = self.consumer.lag() {
            names::LAG_RECORDS.set(lag as f64, &[]);
            if lag == 0 {
                names::LAG_SECONDS.set(0.0, &[]);
            }
        }
    }
}
