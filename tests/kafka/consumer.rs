//! Reading: from where it is told, again from elsewhere, and never across a gap.

use std::{collections::BTreeSet, time::Duration};

use causeway_kafka::{
    Config, Consumer, Error, Transactional,
    consumer::{EARLIEST, LATEST},
};
use causeway_tests::names;
use rdkafka::{
    TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
};

use crate::{config, nothing_more, read, record, topic};

/// Commits `n` records to partition `partition`, in transactions of 10.
async fn fill(config: &Config, topic: &str, partition: i32, n: u32) {
    let producer = Transactional::open(config, &names::unique("fill")).await.unwrap();
    for first in (0..n).step_by(10) {
        producer.begin().unwrap();
        for i in first..(first + 10).min(n) {
            let mut record = record(topic, b"k", b"v");
            let value = i.to_string();
            record.partition = Some(partition);
            record.value = Some(value.as_bytes());
            producer.send(record).unwrap();
        }
        producer.commit().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_starts_at_the_offset_given_and_can_be_moved() {
    let config = config().await;
    let topic = topic(&config, 2, false).await;
    fill(&config, &topic, 0, 100).await;
    fill(&config, &topic, 1, 20).await;
    let mut consumer = Consumer::open(&config, "test").await.unwrap();
    let ends = consumer.watermarks(&topic, 0).await.unwrap();
    // Ten records and a marker each.
    assert_eq!((ends.low, ends.high), (0, 110));

    consumer.assign(&[(&topic, 0, 55)]).await.unwrap();
    let messages = read(&mut consumer, 50).await;
    assert_eq!(messages.first().map(|m| m.offset), Some(55));
    assert_eq!(messages.last().map(|m| m.offset), Some(108));
    nothing_more(&mut consumer).await;

    // What the first assignment fetched does not show up in the second.
    consumer.assign(&[(&topic, 0, 0)]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    consumer.assign(&[(&topic, 1, EARLIEST)]).await.unwrap();
    let messages = read(&mut consumer, 20).await;
    assert!(messages.iter().all(|m| m.partition == 1), "a message of the old assignment came");

    // More partitions beside it; then none of the old ones again.
    consumer.add(&[(&topic, 0, 108)]).await.unwrap();
    let messages = read(&mut consumer, 1).await;
    assert_eq!((messages[0].partition, messages[0].offset), (0, 108));
    nothing_more(&mut consumer).await;

    consumer.assign(&[(&topic, 0, LATEST), (&topic, 1, LATEST)]).await.unwrap();
    nothing_more(&mut consumer).await;
    fill(&config, &topic, 0, 1).await;
    assert_eq!(read(&mut consumer, 1).await[0].offset, 110);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_partition_is_silent_until_it_is_resumed() {
    let config = config().await;
    let topic = topic(&config, 2, false).await;
    let mut consumer = Consumer::open(&config, "test").await.unwrap();
    consumer.assign(&[(&topic, 0, EARLIEST), (&topic, 1, EARLIEST)]).await.unwrap();
    consumer.pause(&[(&topic, 0)]).unwrap();
    fill(&config, &topic, 0, 10).await;
    fill(&config, &topic, 1, 10).await;
    let partitions: BTreeSet<i32> =
        read(&mut consumer, 10).await.iter().map(|m| m.partition).collect();
    assert_eq!(partitions, BTreeSet::from([1]));
    nothing_more(&mut consumer).await;
    consumer.resume(&[(&topic, 0)]).unwrap();
    assert!(read(&mut consumer, 10).await.iter().all(|m| m.partition == 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_gone_are_a_gap_and_not_a_jump() {
    let config = config().await;
    let topic = topic(&config, 1, false).await;
    fill(&config, &topic, 0, 30).await;
    // Retention, at once.
    let admin: AdminClient<DefaultClientContext> =
        causeway_tests::shared::kafka().await.client_config().create().unwrap();
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(&topic, 0, rdkafka::Offset::Offset(20)).unwrap();
    admin.delete_records(&before, &AdminOptions::new()).await.unwrap();

    for (start, low, high) in [(5, 20, 33), (99, 20, 33)] {
        let mut consumer = Consumer::open(&config, "test").await.unwrap();
        consumer.assign(&[(&topic, 0, start)]).await.unwrap();
        let error = tokio::time::timeout(crate::LIMIT, consumer.next_batch()).await.unwrap();
        match error {
            Err(Error::Gap { topic: at, partition: 0, wanted, low: l, high: h }) => {
                assert_eq!((at, wanted, l, h), (topic.clone(), start, low, high));
            }
            other => panic!("wanted a gap, got {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_nobody_reads_stays_small_and_can_be_dropped() {
    let config = config().await;
    let topic = topic(&config, 1, false).await;
    let producer = Transactional::open(&config, &names::unique("much")).await.unwrap();
    let value = vec![1u8; 10_000];
    producer.begin().unwrap();
    for _ in 0..10_000 {
        producer.ready().await.unwrap();
        producer.send(record(&topic, b"k", &value)).unwrap();
    }
    producer.commit().await.unwrap();
    let mut consumer = Consumer::open(&config, "test").await.unwrap();
    consumer.assign(&[(&topic, 0, EARLIEST)]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    // 100 MB wait in the broker; a channel of 8 MiB and the client's queue are here.
    let mut waiting = 0;
    while let Some(batch) = consumer.try_next_batch().unwrap() {
        waiting += batch.iter().map(causeway_kafka::Message::size).sum::<usize>();
        if waiting > (40 << 20) {
            break;
        }
    }
    assert!(waiting > 0);
    drop(consumer);
    // The thread ends by itself: a new consumer of the same topic works.
    let mut consumer = Consumer::open(&config, "test").await.unwrap();
    consumer.assign(&[(&topic, 0, 9_999)]).await.unwrap();
    assert_eq!(read(&mut consumer, 1).await[0].offset, 9_999);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_group_shows_how_far_the_reader_is() {
    let config = config().await;
    let topic = topic(&config, 1, false).await;
    fill(&config, &topic, 0, 10).await;
    let group = names::unique("group");
    let mut consumer = Consumer::open(&config, &group).await.unwrap();
    consumer.assign(&[(&topic, 0, EARLIEST)]).await.unwrap();
    read(&mut consumer, 10).await;
    consumer.commit_group(&[(&topic, 0, 10)]).unwrap();
    causeway_tests::wait::until("the group's offset", crate::LIMIT, || {
        let (topic, group) = (topic.clone(), group.clone());
        async move {
            let mut config = causeway_tests::shared::kafka().await.client_config();
            config.set("group.id", &group);
            let found = tokio::task::spawn_blocking(move || -> anyhow::Result<Option<()>> {
                use rdkafka::consumer::Consumer as _;
                let reader: rdkafka::consumer::BaseConsumer = config.create()?;
                let mut list = TopicPartitionList::new();
                list.add_partition(&topic, 0);
                let committed = reader.committed_offsets(list, Duration::from_secs(5))?;
                let offset = committed.elements().first().map(|e| e.offset());
                Ok((offset == Some(rdkafka::Offset::Offset(10))).then_some(()))
            });
            found.await?
        }
    })
    .await
    .unwrap();
}
