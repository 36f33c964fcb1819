//! Signals: by the command, by Kafka, by a table; done once, over restarts too.

use std::time::Duration;

use causeway_change::Operation;
use causeway_kafka::{Producer, Record};
use causeway_tests::{process::Proc, wait};
use serde_json::json;

use crate::{
    LIMIT,
    rig::{Reader, Rig},
};

const COLUMNS: &str = "id int NOT NULL PRIMARY KEY, x int NULL";

async fn rig(name: &str) -> Rig {
    let mut rig = Rig::new(name).await;
    rig.set("source.snapshot.mode", "no_data");
    rig.set("source.snapshot.chunk_rows", 10);
    for table in ["a", "b"] {
        rig.table(table, COLUMNS).await;
        let rows: Vec<String> = (1..=100).map(|i| format!("({i}, {})", i % 10)).collect();
        rig.exec(&format!("INSERT INTO dbo.{table} VALUES {}", rows.join(","))).await;
    }
    rig
}

/// Starts the source when capture has what was written before, so that no insert is streamed.
async fn start(rig: &Rig) -> Proc {
    wait::until("capture", LIMIT, || async {
        let mut client = rig.sqlserver.client(&rig.name).await?;
        let sql = "SELECT COUNT(*) FROM cdc.dbo_b_CT";
        let rows = causeway_tests::sqlserver::rows(&mut client, sql).await?;
        Ok(rows.first().and_then(|row| row.get::<i32, _>(0)).filter(|n| *n == 100))
    })
    .await
    .unwrap();
    let mut source = rig.start();
    source.ready(LIMIT).await.unwrap();
    source
}

async fn signal(rig: &Rig, args: &[&str]) {
    let done = rig.command(&[&["signal"], args].concat()).await;
    assert_eq!(done.code, 0, "{}", done.stderr);
}

fn reads(reader: &Reader, table: &str) -> Vec<u32> {
    let key = |e: &crate::rig::Event| e.key.parse().unwrap();
    let mut keys: Vec<u32> = reader
        .events
        .iter()
        .filter(|e| e.table == table && e.operation == Operation::Read)
        .map(key)
        .collect();
    keys.sort_unstable();
    keys
}

/// Waits for a notification.
async fn told(rig: &Rig, note: &str) {
    wait::until(note, LIMIT, || async {
        Ok(rig.notifications(1).await.iter().any(|n| n == note).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_copies_what_it_asks_for_and_only_once() {
    let rig = rig("signal").await;
    let mut source = start(&rig).await;
    let mut reader = rig.reader(&["a", "b"]).await;
    signal(
        &rig,
        &["--id", "one", "execute-snapshot", "--table", "dbo.a", "--filter", "x = 3 OR id > 95"],
    )
    .await;
    told(&rig, "Incremental Snapshot COMPLETED").await;
    reader.drain(Duration::from_secs(1)).await;
    let expected: Vec<u32> = (1..=100).filter(|i| i % 10 == 3 || *i > 95).collect();
    assert_eq!(reads(&reader, "a"), expected);
    // Keys: those that do not exist give nothing.
    signal(&rig, &["execute-snapshot", "--table", "dbo.b", "--keys", "[{\"id\": 7}, [8], 12345]"])
        .await;
    // A signal of a known name does nothing, after a restart too.
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
    signal(&rig, &["--id", "one", "execute-snapshot", "--table", "dbo.a"]).await;
    let mut source = rig.start();
    source.logged("a signal that was done before is ignored", LIMIT).await.unwrap();
    reader.drain(Duration::from_secs(2)).await;
    assert_eq!(reads(&reader, "a"), expected);
    assert_eq!(reads(&reader, "b"), [7, 8]);
    // What cannot be done is told and stops nothing.
    signal(&rig, &["execute-snapshot", "--table", "dbo.a", "--filter", "nonsense = 1"]).await;
    told(&rig, "Incremental Snapshot ABORTED").await;
    rig.exec("UPDATE dbo.a SET x = -1 WHERE id = 1").await;
    while reader.events.last().is_none_or(|e| e.operation != Operation::Update) {
        source.must_run().unwrap();
        reader.drain(Duration::from_millis(200)).await;
    }
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn debeziums_json_by_kafka_with_expressions_and_a_surrogate_key() {
    let rig = rig("dbzsignal").await;
    rig.exec("ALTER TABLE dbo.b ADD CONSTRAINT one CHECK (x < 100)").await;
    let mut source = start(&rig).await;
    let mut reader = rig.reader(&["a", "b"]).await;
    let config = causeway_kafka::Config::new(rig.kafka.bootstrap());
    let value = json!({
        "type": "execute-snapshot",
        "data": {
            "data-collections": [format!("{}\\.dbo\\.[ab]", rig.name)],
            "type": "INCREMENTAL",
            "additional-conditions": [{ "data-collection": "dbo.b", "filter": "id <= 20" }],
            "surrogate-key": "id"
        }
    })
    .to_string();
    let topic = format!("{}.signal", rig.name);
    for key in ["another", rig.name.as_str()] {
        let record = Record {
            topic: &topic,
            partition: Some(0),
            key: Some(key.as_bytes()),
            value: Some(value.as_bytes()),
            ..Record::default()
        };
        Producer::new(&config).unwrap().send(record).await.unwrap();
    }
    told(&rig, "Incremental Snapshot COMPLETED").await;
    reader.drain(Duration::from_secs(1)).await;
    assert_eq!(reads(&reader, "a"), (1..=100).collect::<Vec<u32>>());
    assert_eq!(reads(&reader, "b"), (1..=20).collect::<Vec<u32>>());
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_paused_over_a_restart_and_resumed_and_stopped() {
    let rig = rig("pausesnap").await;
    let mut source = start(&rig).await;
    signal(&rig, &["pause-snapshot"]).await;
    signal(&rig, &["--id", "first", "execute-snapshot", "--table", "dbo.a"]).await;
    signal(&rig, &["--id", "second", "execute-snapshot", "--table", "dbo.b"]).await;
    signal(&rig, &["stop-snapshot", "--table", "dbo.b"]).await;
    told(&rig, "Incremental Snapshot ABORTED").await;
    let status = source.status().await.unwrap();
    assert_eq!(status["signals"]["first"]["dbo.a"]["state"], "paused", "{status}");
    source.kill9();
    let mut source = rig.start();
    source.ready(LIMIT).await.unwrap();
    let mut reader = rig.reader(&["a", "b"]).await;
    // The stream goes on meanwhile.
    rig.exec("UPDATE dbo.a SET x = 55 WHERE id = 5").await;
    while reader.events.is_empty() {
        source.must_run().unwrap();
        reader.drain(Duration::from_millis(200)).await;
    }
    assert_eq!(reads(&reader, "a"), [0_u32; 0]);
    let shown = rig.command(&["offsets", "show"]).await.stdout;
    assert!(shown.contains("first: dbo.a at 0 rows"), "{shown}");
    assert!(shown.contains("snapshots are paused"), "{shown}");
    signal(&rig, &["resume-snapshot"]).await;
    told(&rig, "Incremental Snapshot COMPLETED").await;
    reader.drain(Duration::from_secs(1)).await;
    assert_eq!(reads(&reader, "a"), (1..=100).collect::<Vec<u32>>());
    assert_eq!(reads(&reader, "b"), [0_u32; 0]);
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_source_is_paused_over_a_restart_and_resumed() {
    let rig = rig("pause").await;
    let mut source = start(&rig).await;
    signal(&rig, &["pause"]).await;
    told(&rig, "Source PAUSED").await;
    rig.exec("UPDATE dbo.a SET x = 55 WHERE id = 5").await;
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
    let mut source = rig.start();
    source.ready(LIMIT).await.unwrap();
    let mut reader = rig.reader(&["a", "b"]).await;
    reader.drain(Duration::from_secs(2)).await;
    assert!(reader.events.is_empty());
    assert_eq!(source.status().await.unwrap()["state"], "paused");
    signal(&rig, &["resume"]).await;
    while reader.events.is_empty() {
        source.must_run().unwrap();
        reader.drain(Duration::from_millis(200)).await;
    }
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn inserts_into_a_signal_table_are_signals_and_are_not_published() {
    let mut rig = rig("signaltable").await;
    rig.table(
        "debezium_signal",
        "id varchar(42) NOT NULL PRIMARY KEY, type varchar(32) NOT NULL, data varchar(2048) NULL",
    )
    .await;
    rig.set("source.signals.table", "dbo.debezium_signal");
    let mut source = start(&rig).await;
    let mut reader = rig.reader(&["a", "b"]).await;
    rig.exec(
        "INSERT INTO dbo.debezium_signal VALUES ('s1', 'execute-snapshot', \
         '{\"data-collections\": [\"dbo.a\"], \"type\": \"incremental\"}')",
    )
    .await;
    told(&rig, "Incremental Snapshot COMPLETED").await;
    reader.drain(Duration::from_secs(1)).await;
    assert_eq!(reads(&reader, "a").len(), 100);
    let config = causeway_kafka::Config::new(rig.kafka.bootstrap());
    let topics = causeway_kafka::Admin::new(&config).unwrap().list(&rig.name).await.unwrap();
    assert!(topics.iter().all(|t| !t.name.ends_with("debezium_signal")), "{topics:?}");
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}
