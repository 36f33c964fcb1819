//! [`read_compacted`]: a whole topic as the map that it is.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    config::FromClientConfigAndContext as _,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
};

use crate::{
    Config, Error, admin,
    admin::{METADATA_TIMEOUT, blocking},
    context::Context,
};

/// How long the topic may stand still before its end.
const STILL: Duration = Duration::from_secs(30);

/// The latest value of every key of a topic, read to the end of what is committed now.
///
/// A transaction that is open at this time, and everything after it, is not seen: a source opens its
/// transactional producer first, which ends the transactions of its predecessor.
///
/// # Errors
/// [`Error::MissingTopic`], [`Error::Rights`], and transient ones when the brokers do not answer.
pub async fn read_compacted(
    config: &Config,
    topic: &str,
) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Error> {
    config.validate()?;
    let mut client_config = config.consumer(topic);
    client_config
        .set("enable.partition.eof", "true")
        // The end is told when a fetch finds nothing, after this time.
        .set("fetch.wait.max.ms", "10")
        .set("auto.offset.reset", "earliest")
        .set("statistics.interval.ms", "0");
    let topic = topic.to_owned();
    blocking("read a compacted topic", move || {
        let fail = |source, hint| {
            Error::client(format!("read the compacted topic {topic}"), &topic, source, hint)
        };
        let consumer: BaseConsumer<Context> =
            BaseConsumer::from_config_and_context(&client_config, Context::new())
                .map_err(|source| fail(source, None))?;
        read(&consumer, &topic, &fail)
    })
    .await
}

fn read(
    consumer: &BaseConsumer<Context>,
    topic: &str,
    fail: &dyn Fn(KafkaError, Option<String>) -> Error,
) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Error> {
    let context = || consumer.client().context().hint();
    let known = admin::list(consumer.client(), topic)?;
    let partitions = known
        .iter()
        .find(|known| known.name == topic)
        .ok_or_else(|| Error::MissingTopic {
            doing: "read a compacted topic",
            topic: topic.to_owned(),
        })?
        .partitions;
    let mut list = TopicPartitionList::new();
    // Where each partition ends now. A topic that is written to without a pause never says that it ends: what comes
    // behind these offsets is not waited for.
    let mut unfinished = BTreeMap::new();
    for partition in 0..partitions {
        let (low, end) = consumer
            .fetch_watermarks(topic, partition, METADATA_TIMEOUT)
            .map_err(|source| fail(source, context()))?;
        if end > low {
            list.add_partition_offset(topic, partition, Offset::Beginning)
                .map_err(|source| fail(source, None))?;
            unfinished.insert(partition, end);
        }
    }
    consumer.assign(&list).map_err(|source| fail(source, context()))?;
    let mut latest = BTreeMap::new();
    let mut moved = Instant::now();
    while !unfinished.is_empty() {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                moved = Instant::now();
                let partition = message.partition();
                if unfinished.get(&partition).is_some_and(|end| message.offset() + 1 >= *end) {
                    unfinished.remove(&partition);
                }
                let Some(key) = message.key() else { continue };
                match message.payload() {
                    Some(value) => latest.insert(key.to_vec(), value.to_vec()),
                    None => latest.remove(key),
                };
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                moved = Instant::now();
                unfinished.remove(&partition);
            }
            Some(Err(error)) => {
                let error = consumer.client().context().explain(fail(error, context()));
                if !error.is_transient() {
                    return Err(error);
                }
            }
            None => {}
        }
        if moved.elapsed() > STILL {
            return Err(Error::Timeout {
                doing: format!("read the compacted topic {topic}"),
                after_ms: STILL.as_millis(),
                hint: context(),
            });
        }
    }
    Ok(latest)
}
