//! [`record_ends`]: where the last record of each partition is, behind which only markers may follow;
//! [`all_record_ends`]: of many topics.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    config::FromClientConfigAndContext as _,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
};

use crate::{
    Config, Error,
    admin::{self, METADATA_TIMEOUT, blocking},
    context::Context,
};

/// How long an open transaction, or a broker, is waited for.
const LIMIT: Duration = Duration::from_secs(30);

/// For each partition of a topic the offset after its last record, of all that was written when this was
/// called: transactions that are open then are waited for. A partition without records is not in it.
/// `None` when there is no such topic.
///
/// The end of a partition cannot be compared with what a reader has applied, because markers of transactions
/// have offsets too and no reader sees them.
///
/// # Errors
/// [`Error::Client`] and [`Error::Timeout`], transient, when the brokers do not answer or a transaction stays
/// open.
pub async fn record_ends(
    config: &Config,
    topic: &str,
) -> Result<Option<BTreeMap<i32, i64>>, Error> {
    let topics = [topic.to_owned()];
    Ok(all_record_ends(config, &topics).await?.remove(topic))
}

/// As [`record_ends`], of several topics, one after the other; those that do not exist are not in it.
///
/// # Errors
/// As [`record_ends`].
pub async fn all_record_ends(
    config: &Config,
    topics: &[String],
) -> Result<BTreeMap<String, BTreeMap<i32, i64>>, Error> {
    config.validate()?;
    let mut committed = config.consumer("ends");
    committed
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "earliest")
        .set("fetch.wait.max.ms", "10")
        .set("statistics.interval.ms", "0");
    let mut all = committed.clone();
    all.set("isolation.level", "read_uncommitted");
    let topics: BTreeSet<String> = topics.iter().cloned().collect();
    blocking("find the last records of a topic", move || {
        let fail =
            |source| Error::client("find the last records of topics".to_owned(), "", source, None);
        let client = |config: &rdkafka::ClientConfig| {
            BaseConsumer::<Context>::from_config_and_context(config, Context::new()).map_err(fail)
        };
        let (committed, all) = (client(&committed)?, client(&all)?);
        let mut found = BTreeMap::new();
        for known in admin::list(all.client(), "")? {
            if topics.contains(&known.name) {
                let ends = ends_of(&committed, &all, &known.name, known.partitions)?;
                found.insert(known.name, ends);
            }
        }
        Ok(found)
    })
    .await
}

/// `committed` sees committed records only, `all` all of them.
fn ends_of(
    committed: &BaseConsumer<Context>,
    all: &BaseConsumer<Context>,
    topic: &str,
    partitions: i32,
) -> Result<BTreeMap<i32, i64>, Error> {
    let fail =
        |source| Error::client(format!("find the last records of {topic}"), topic, source, None);
    let mut ends = BTreeMap::new();
    let mut open = Vec::new();
    for partition in 0..partitions {
        let (low, high) = all.fetch_watermarks(topic, partition, METADATA_TIMEOUT).map_err(fail)?;
        if high > low {
            open.push(Tail { partition, low, high, back: 4 });
        }
    }
    let began = Instant::now();
    for tail in &open {
        // The end of what is committed; while a transaction is open it lies before the end of all.
        while committed.fetch_watermarks(topic, tail.partition, METADATA_TIMEOUT).map_err(fail)?.1
            < tail.high
        {
            if began.elapsed() > LIMIT {
                return Err(waited_too_long(topic));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    while !open.is_empty() {
        let read = read_tails(committed, topic, &open, &mut ends).map_err(fail)?;
        if !read {
            return Err(waited_too_long(topic));
        }
        open.retain_mut(|tail| {
            let done = ends.contains_key(&tail.partition) || tail.high - tail.back <= tail.low;
            tail.back = tail.back.saturating_mul(16);
            !done
        });
    }
    Ok(ends)
}

fn waited_too_long(topic: &str) -> Error {
    Error::Timeout {
        doing: format!("find the last records of {topic}"),
        after_ms: LIMIT.as_millis(),
        hint: None,
    }
}

/// The end of a partition that is read backwards, further each time until a record is met.
struct Tail {
    partition: i32,
    low: i64,
    high: i64,
    back: i64,
}

/// False when the brokers did not send all of it in time.
fn read_tails(
    consumer: &BaseConsumer<Context>,
    topic: &str,
    tails: &[Tail],
    ends: &mut BTreeMap<i32, i64>,
) -> Result<bool, KafkaError> {
    let mut list = TopicPartitionList::new();
    let mut unfinished = BTreeSet::new();
    for tail in tails {
        let from = (tail.high - tail.back).max(tail.low);
        list.add_partition_offset(topic, tail.partition, Offset::Offset(from))?;
        unfinished.insert(tail.partition);
    }
    consumer.assign(&list)?;
    let began = Instant::now();
    while !unfinished.is_empty() && began.elapsed() < LIMIT {
        match consumer.poll(Duration::from_millis(50)) {
            Some(Ok(message)) => {
                let end = ends.entry(message.partition()).or_insert(0);
                *end = (*end).max(message.offset() + 1);
                // What comes after the end that was asked for is none of ours.
                let beyond = tails
                    .iter()
                    .any(|t| t.partition == message.partition() && message.offset() + 1 >= t.high);
                if beyond {
                    unfinished.remove(&message.partition());
                }
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                unfinished.remove(&partition);
            }
            Some(Err(error)) if error.rdkafka_error_code().is_none() => return Err(error),
            Some(Err(_)) | None => {}
        }
    }
    consumer.assign(&TopicPartitionList::new())?;
    Ok(unfinished.is_empty())
}
