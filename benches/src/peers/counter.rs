//! How many records of some topics can be read.

use std::time::Duration;

use anyhow::{Context as _, Result};
use causeway_tests::kafka::Kafka;
use rdkafka::{
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
};

/// Looks at the ends of topics, as a reader of committed records sees them.
///
/// Markers of transactions have offsets too: a few for each Kafka transaction, of tens of thousands of
/// records.
pub(crate) struct Counter {
    consumer: std::sync::Arc<BaseConsumer>,
    topic: String,
    before: u64,
}

const WAIT: Duration = Duration::from_secs(10);

impl Counter {
    /// For one topic, which need not exist yet.
    pub(crate) fn new(kafka: &Kafka, topic: &str) -> Result<Self> {
        let consumer = kafka
            .client_config()
            .set("group.id", "causeway-benches")
            .set("isolation.level", "read_committed")
            .set("allow.auto.create.topics", "false")
            .create()
            .context("make a consumer")?;
        Ok(Self { consumer: std::sync::Arc::new(consumer), topic: topic.to_owned(), before: 0 })
    }

    /// Counts from here on.
    pub(crate) async fn reset(&mut self) -> Result<()> {
        self.before = 0;
        self.before = self.count().await?;
        Ok(())
    }

    /// The records since then.
    pub(crate) async fn count(&self) -> Result<u64> {
        let (consumer, topic) = (std::sync::Arc::clone(&self.consumer), self.topic.clone());
        let all = tokio::task::spawn_blocking(move || ends(&consumer, &topic))
            .await
            .context("look at the ends of a topic")??;
        Ok(all.saturating_sub(self.before))
    }
}

fn ends(consumer: &BaseConsumer, topic: &str) -> Result<u64> {
    let metadata = consumer.fetch_metadata(Some(topic), WAIT).context("ask for metadata")?;
    let mut all = 0;
    for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
        let (low, high) = match consumer.fetch_watermarks(topic, partition.id(), WAIT) {
            Ok(ends) => ends,
            // It is being made.
            Err(error) if is_new(&error) => continue,
            Err(error) => {
                return Err(error).with_context(|| format!("ask for the end of {topic}"));
            }
        };
        all += u64::try_from(high - low).unwrap_or(0);
    }
    Ok(all)
}

fn is_new(error: &KafkaError) -> bool {
    let code = error.rdkafka_error_code();
    let new = [
        RDKafkaErrorCode::NotLeaderForPartition,
        RDKafkaErrorCode::UnknownTopicOrPartition,
        RDKafkaErrorCode::LeaderNotAvailable,
        RDKafkaErrorCode::UnknownPartition,
        RDKafkaErrorCode::UnknownTopic,
    ];
    code.is_some_and(|code| new.contains(&code))
}
