//! libs/kafka against a real broker and a real schema registry.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking and prints what it measured, also in its helpers"
)]

mod consumer;
mod producer;
mod registry;
mod topics;

use std::time::Duration;

use causeway_kafka::{Admin, Config, Consumer, Message, Record, TopicSpec};
use causeway_tests::{names, shared};

/// How long anything here may take: a broker on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

async fn config() -> Config {
    Config::new(shared::kafka().await.bootstrap())
}

/// A topic of its own.
async fn topic(config: &Config, partitions: i32, compacted: bool) -> String {
    let name = names::unique("kafka.test");
    let spec = TopicSpec { name: name.clone(), partitions, compacted, retention_ms: None };
    let created = Admin::new(config).unwrap().ensure_topics(&[spec]).await.unwrap();
    assert_eq!(created, [name.as_str()]);
    name
}

fn record<'a>(topic: &'a str, key: &'a [u8], value: &'a [u8]) -> Record<'a> {
    Record { topic, key: Some(key), value: Some(value), ..Record::default() }
}

/// Reads until `wanted` messages have come.
async fn read(consumer: &mut Consumer, wanted: usize) -> Vec<Message> {
    let mut messages = Vec::new();
    while messages.len() < wanted {
        let batch = tokio::time::timeout(LIMIT, consumer.next_batch()).await;
        messages.extend(batch.expect("messages come in time").unwrap());
    }
    messages
}

/// Nothing more comes for a while that is long against a fetch.
async fn nothing_more(consumer: &mut Consumer) {
    let more = tokio::time::timeout(Duration::from_millis(700), consumer.next_batch()).await;
    assert!(more.is_err(), "got {:?}", more.unwrap().map(|batch| batch.len()));
}
