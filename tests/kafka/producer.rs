//! Transactions: what is committed is visible, what is aborted is not, a twin is fenced.

use std::time::{Duration, Instant};

use causeway_kafka::{
    Config, Consumer, Producer, Record, Transactional, all_record_ends, consumer::EARLIEST,
    read_compacted,
};
use causeway_tests::names;

use crate::{config, nothing_more, read, record, topic};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_is_visible_and_what_is_aborted_is_not() {
    let config = config().await;
    let topic = topic(&config, 1, false).await;
    let producer = Transactional::open(&config, &names::unique("tx")).await.unwrap();
    let mut consumer = Consumer::open(&config, "test").await.unwrap();
    consumer.assign(&[(&topic, 0, EARLIEST)]).await.unwrap();

    producer.begin().unwrap();
    producer.send(record(&topic, b"a", b"aborted")).unwrap();
    producer.abort().await.unwrap();

    producer.begin().unwrap();
    producer.send(record(&topic, b"a", b"open")).unwrap();
    producer.ready().await.unwrap();
    nothing_more(&mut consumer).await;

    let headers: &[(&str, &[u8])] = &[("one", b"1"), ("two", b"")];
    let with_headers = Record {
        headers,
        timestamp_ms: Some(1_234_567_890_123),
        ..record(&topic, b"b", b"with headers")
    };
    producer.send(with_headers).unwrap();
    let tombstone = Record { topic: &topic, key: Some(b"a"), ..Record::default() };
    producer.send(tombstone).unwrap();
    producer.commit().await.unwrap();

    let messages = read(&mut consumer, 3).await;
    assert_eq!(messages.len(), 3);
    assert_eq!(messages[0].value.as_deref(), Some(&b"open"[..]));
    assert_eq!(messages[1].timestamp_ms, Some(1_234_567_890_123));
    assert_eq!(
        messages[1].headers,
        [("one".to_owned(), b"1".to_vec()), ("two".to_owned(), Vec::new())]
    );
    assert_eq!((messages[2].key.as_deref(), messages[2].value.as_deref()), (Some(&b"a"[..]), None));
    assert_eq!(&*messages[0].topic, topic.as_str());
    nothing_more(&mut consumer).await;
    // The markers behind the last record are not behind the reader.
    let start = Instant::now();
    while consumer.lag() != Some(0) {
        assert!(start.elapsed() < Duration::from_secs(10), "lag is {:?}", consumer.lag());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_twin_fences_the_first_and_its_open_transaction_is_gone() {
    let config = config().await;
    let topic = topic(&config, 1, false).await;
    let id = names::unique("twin");
    let first = Transactional::open(&config, &id).await.unwrap();
    first.begin().unwrap();
    first.send(record(&topic, b"k", b"first")).unwrap();
    // On its way, so that the transaction exists in the broker.
    tokio::time::sleep(Duration::from_millis(300)).await;

    let second = Transactional::open(&config, &id).await.unwrap();
    let error = match first.send(record(&topic, b"k", b"first again")) {
        Ok(()) => first.commit().await.unwrap_err(),
        Err(error) => error,
    };
    // A broker's refusal of the old epoch can also mean that the transaction took too long.
    let error = if error.needs_abort() { first.abort().await.unwrap_err() } else { error };
    assert!(error.is_fenced(), "{error}: {error:?}");
    assert!(!error.is_transient() && !error.needs_abort(), "{error:?}");
    let again = first.begin().and_then(|()| first.send(record(&topic, b"k", b"no"))).unwrap_err();
    assert!(!again.is_transient(), "{again:?}");

    second.begin().unwrap();
    second.send(record(&topic, b"k", b"second")).unwrap();
    second.commit().await.unwrap();
    let mut consumer = Consumer::open(&config, "test").await.unwrap();
    consumer.assign(&[(&topic, 0, EARLIEST)]).await.unwrap();
    let messages = read(&mut consumer, 1).await;
    assert_eq!(messages[0].value.as_deref(), Some(&b"second"[..]));
    nothing_more(&mut consumer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_records_are_one_transaction() {
    const RECORDS: u32 = 100_000;
    let config = config().await;
    let topic = topic(&config, 3, false).await;
    let producer = Transactional::open(&config, &names::unique("large")).await.unwrap();
    let value = [7u8; 400];
    let start = Instant::now();
    producer.begin().unwrap();
    for n in 0..RECORDS {
        // 43 MB are more than may be outstanding: the queue fills on the way.
        if n % 1_000 == 0 {
            producer.ready().await.unwrap();
        }
        producer.send(record(&topic, &n.to_be_bytes(), &value)).unwrap();
    }
    producer.commit().await.unwrap();
    let sent = start.elapsed();

    let mut consumer = Consumer::open(&config, "test").await.unwrap();
    let partitions: Vec<_> = (0..3).map(|p| (topic.as_str(), p, EARLIEST)).collect();
    consumer.assign(&partitions).await.unwrap();
    let start = Instant::now();
    let messages = read(&mut consumer, RECORDS as usize).await;
    println!(
        "100,000 records in one transaction: sent in {} ms, read in {} ms",
        sent.as_millis(),
        start.elapsed().as_millis()
    );
    let mut keys: Vec<u32> = messages
        .iter()
        .map(|m| u32::from_be_bytes(m.key.as_deref().unwrap().try_into().unwrap()))
        .collect();
    keys.sort_unstable();
    assert_eq!(keys, (0..RECORDS).collect::<Vec<_>>());
    for partition in 0..3 {
        let offsets: Vec<i64> =
            messages.iter().filter(|m| m.partition == partition).map(|m| m.offset).collect();
        assert!(offsets.is_sorted() && !offsets.is_empty(), "partition {partition}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn small_commits_do_not_wait_for_librdkafkas_clock() {
    let config = config().await;
    let topic = topic(&config, 3, false).await;
    let producer = Transactional::open(&config, &names::unique("latency")).await.unwrap();
    let mut took = Vec::new();
    for n in 0..100u32 {
        let start = Instant::now();
        producer.begin().unwrap();
        for i in 0..10u32 {
            producer.send(record(&topic, &(n * 10 + i).to_be_bytes(), &[1; 200])).unwrap();
        }
        producer.commit().await.unwrap();
        took.push(start.elapsed());
    }
    took.sort_unstable();
    println!("commit of 10 records: p50 {:?}, p99 {:?}", took[50], took[98]);
    // Without the drain every commit takes 101 ms. Printed and not asserted: machines are noisy.
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_topic_is_the_latest_value_of_each_key() {
    let config = config().await;
    let topic = topic(&config, 3, true).await;
    assert!(read_compacted(&config, &topic).await.unwrap().is_empty());
    let producer = Transactional::open(&config, &names::unique("map")).await.unwrap();
    for round in 0..3u8 {
        producer.begin().unwrap();
        for key in 0..100u8 {
            producer.send(record(&topic, &[key], &[round, key])).unwrap();
        }
        producer.commit().await.unwrap();
    }
    producer.begin().unwrap();
    producer.send(Record { topic: &topic, key: Some(&[0]), ..Record::default() }).unwrap();
    producer.commit().await.unwrap();
    producer.begin().unwrap();
    producer.send(record(&topic, &[1], b"aborted")).unwrap();
    producer.abort().await.unwrap();
    producer.begin().unwrap();
    producer.send(record(&topic, &[2], b"still open")).unwrap();
    producer.ready().await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;

    let map = read_compacted(&config, &topic).await.unwrap();
    assert_eq!(map.len(), 99);
    for (key, value) in &map {
        assert_eq!(value, &[2, key[0]]);
    }
    producer.abort().await.unwrap();
    let missing = read_compacted(&config, &names::unique("none")).await.unwrap_err();
    assert!(missing.to_string().contains("there is no topic"), "{missing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_topic_is_read_to_its_end_while_it_is_written_to_without_a_pause() {
    let config = config().await;
    let topic = topic(&config, 1, true).await;
    let producer = Producer::new(&config).unwrap();
    producer.send(record(&topic, b"a", b"first")).await.unwrap();
    let write = async {
        loop {
            producer.send(record(&topic, b"a", b"next")).await.unwrap();
        }
    };
    let read = async {
        for _ in 0..20 {
            assert_eq!(read_compacted(&config, &topic).await.unwrap().len(), 1);
        }
    };
    // It would go on for as long as somebody writes.
    let limit = Duration::from_secs(120);
    tokio::select! {
        read = tokio::time::timeout(limit, read) => read.expect("the topic has no end"),
        () = write => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_too_large_is_refused_and_the_transaction_can_be_aborted() {
    let config = config().await;
    let topic = topic(&config, 1, false).await;
    let producer = Transactional::open(&config, &names::unique("huge")).await.unwrap();
    let mut consumer = Consumer::open(&config, "test").await.unwrap();
    consumer.assign(&[(&topic, 0, EARLIEST)]).await.unwrap();
    let five = vec![5u8; 5 << 20];
    producer.begin().unwrap();
    // A large text in a row is ordinary.
    producer.send(record(&topic, b"five", &five)).unwrap();
    let error = producer.send(record(&topic, b"twenty", &vec![0; 20 << 20])).unwrap_err();
    assert!(error.to_string().contains(&topic), "{error}");
    assert!(!error.is_transient());
    producer.abort().await.unwrap();
    producer.begin().unwrap();
    producer.send(record(&topic, b"five", &five)).unwrap();
    producer.commit().await.unwrap();
    assert_eq!(read(&mut consumer, 1).await[0].value.as_ref().map(Vec::len), Some(5 << 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_goes_out_by_itself_and_says_where_it_is() {
    let config = config().await;
    let topic = topic(&config, 1, false).await;
    let producer = Producer::new(&config).unwrap();
    assert_eq!(producer.send(record(&topic, b"k", b"v")).await.unwrap(), (0, 0));
    assert_eq!(producer.send(record(&topic, b"k", b"v")).await.unwrap(), (0, 1));
    let mut consumer = Consumer::open(&config, "test").await.unwrap();
    consumer.assign(&[(&topic, 0, 1)]).await.unwrap();
    assert_eq!(read(&mut consumer, 1).await[0].offset, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_broker_is_a_transient_error_that_says_what_was_seen() {
    let nowhere = Config::new("127.0.0.1:1");
    let error = causeway_kafka::Admin::new(&nowhere).unwrap().list("").await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    assert!(error.to_string().contains("refused"), "{error}");
    let mut bad = Config::new("127.0.0.1:1");
    bad.properties.insert("security.protcol".to_owned(), "ssl".to_owned());
    let error = Transactional::open(&bad, "x").await.err().unwrap();
    assert!(error.to_string().contains("security.protcol"), "{error}");
    assert!(!error.is_transient());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_says_where_its_marked_records_are() {
    let config = config().await;
    let (one, two) = (topic(&config, 1, false).await, topic(&config, 1, false).await);
    let producer = Transactional::open(&config, &names::unique("marks")).await.unwrap();
    // Offsets begin after the marker of a transaction that is thrown away, and its marks are forgotten.
    producer.begin().unwrap();
    producer.send_marked(record(&one, b"a", b"thrown away"), 7).unwrap();
    producer.flush().await.unwrap();
    producer.abort().await.unwrap();

    producer.begin().unwrap();
    let mut sent = Vec::new();
    for i in 0..3_000_usize {
        let (topic, mark) = if i % 3 == 2 { (&two, 100 + i / 1_000) } else { (&one, i / 1_000) };
        producer.ready().await.unwrap();
        producer.send_marked(record(topic, b"k", mark.to_string().as_bytes()), mark).unwrap();
        sent.push(mark);
    }
    producer.send(record(&one, b"k", b"unmarked")).unwrap();
    let runs = producer.delivered().await.unwrap();
    producer.commit().await.unwrap();
    assert_eq!(runs.iter().map(|run| run.mark).collect::<Vec<_>>(), [0, 1, 2, 100, 101, 102]);
    let mut consumer = Consumer::open(&config, "test").await.unwrap();
    consumer.assign(&[(&one, 0, EARLIEST), (&two, 0, EARLIEST)]).await.unwrap();
    for message in read(&mut consumer, 3_001).await {
        let named = runs.iter().find(|run| {
            (message.topic == one.as_str().into()) == (run.mark < 100)
                && (run.first..=run.last).contains(&message.offset)
        });
        let told = named.map(|run| run.mark.to_string().into_bytes());
        assert_eq!(told.unwrap_or_else(|| b"unmarked".to_vec()), message.value.unwrap());
    }
    let counted: u64 = runs.iter().map(|run| run.count).sum();
    assert_eq!(counted, 3_000);
    assert!(runs.iter().all(|run| run.last - run.first + 1 == i64::try_from(run.count).unwrap()));
    // Both ends, without the markers behind them.
    let ends =
        all_record_ends(&config, &[one.clone(), two.clone(), "none".to_owned()]).await.unwrap();
    let end = |topic: &str| ends[topic][&0];
    assert_eq!(end(&one), runs[2].last + 2);
    assert_eq!(end(&two), runs[5].last + 1);
    assert_eq!(ends.len(), 2);
}
