//! What is lost is copied again when that is wanted; another log is noticed; an idle source lives.

use causeway_kafka::{Record, Transactional};
use causeway_tests::{process::Proc, wait};

use crate::{LIMIT, rig::Rig};

const COLUMNS: &str = "id int NOT NULL PRIMARY KEY, x int NULL";

/// Waits until so many rows are captured, and lets cleanup take all but the newest transaction.
async fn clean_up(rig: &Rig, rows: i32) {
    wait::until("capture", LIMIT, || async {
        let mut client = rig.sqlserver.client(&rig.name).await?;
        let sql = "SELECT COUNT(*) FROM cdc.dbo_a_CT";
        let found = causeway_tests::sqlserver::rows(&mut client, sql).await?;
        Ok(found.first().and_then(|row| row.get::<i32, _>(0)).filter(|n| *n >= rows))
    })
    .await
    .unwrap();
    rig.exec(
        "DECLARE @low binary(10) = (SELECT MAX(start_lsn) FROM cdc.lsn_time_mapping WHERE tran_id <> 0x00); \
         EXEC sys.sp_cdc_cleanup_change_table @capture_instance = N'dbo_a', @low_water_mark = @low, \
         @threshold = 5000",
    )
    .await;
}

/// Changes what the pipeline has stored.
async fn store(rig: &Rig, key: &str, value: &str) {
    let config = causeway_kafka::Config::new(rig.kafka.bootstrap());
    let id = format!("{}.source", rig.name);
    let producer = Transactional::open(&config, &id).await.unwrap();
    producer.begin().unwrap();
    let topic = format!("{}.offsets", rig.name);
    let record = Record {
        topic: &topic,
        partition: Some(0),
        key: Some(key.as_bytes()),
        value: Some(value.as_bytes()),
        ..Record::default()
    };
    producer.send(record).unwrap();
    producer.commit().await.unwrap();
}

async fn stopped(rig: &Rig) -> Proc {
    let mut source = rig.start();
    source.logged("snapshot published", LIMIT).await.unwrap();
    source.ready(LIMIT).await.unwrap();
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
    source
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_02_a_table_with_a_gap_is_copied_again_while_others_go_on() {
    let mut rig = Rig::new("regap").await;
    rig.table("a", COLUMNS).await;
    rig.table("b", COLUMNS).await;
    stopped(&rig).await;
    for i in 1..=20 {
        rig.exec(&format!("INSERT INTO dbo.a VALUES ({i}, {i})")).await;
    }
    rig.exec("INSERT INTO dbo.b VALUES (1, 1)").await;
    rig.exec("INSERT INTO dbo.a VALUES (21, 21)").await;
    clean_up(&rig, 21).await;
    rig.set("source.snapshot.mode", "when_needed");
    let mut source = rig.start();
    let mut reader = rig.reader(&["a", "b"]).await;
    rig.equal(&mut reader, &["a", "b"], &mut source).await;
    let metrics = source.metrics().await.unwrap();
    assert_eq!(metrics.sum("causeway_source_gaps_total"), Some(1.0));
    let line = source.logged("the table is copied again", LIMIT).await.unwrap().to_string();
    assert!(line.contains("dbo.a") && line.contains("Gap"), "{line}");
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_18_a_capture_instance_that_is_made_anew_is_noticed_while_we_run() {
    let mut rig = Rig::new("anew").await;
    rig.table("a", COLUMNS).await;
    rig.exec("INSERT INTO dbo.a VALUES (1, 1)").await;
    rig.set("source.on_gap", "resnapshot");
    let mut source = rig.start();
    source.logged("snapshot published", LIMIT).await.unwrap();
    rig.exec(
        "EXEC sys.sp_cdc_disable_table @source_schema = N'dbo', @source_name = N'a', @capture_instance = N'dbo_a'",
    )
    .await;
    rig.exec("INSERT INTO dbo.a VALUES (2, 2); UPDATE dbo.a SET x = 7 WHERE id = 1").await;
    rig.sqlserver.capture(&rig.name, "dbo", "a").await.unwrap();
    rig.exec("INSERT INTO dbo.a VALUES (3, 3)").await;
    let mut reader = rig.reader(&["a"]).await;
    rig.equal(&mut reader, &["a"], &mut source).await;
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_19_another_log_stops_the_source_or_all_is_copied_again() {
    let mut rig = Rig::new("restored").await;
    rig.table("a", COLUMNS).await;
    rig.exec("INSERT INTO dbo.a VALUES (1, 1)").await;
    stopped(&rig).await;
    let position = format!("[\"position\",\"{}\"]", rig.name);
    let far = r#"{"commit_lsn":"7fffffff:00000000:0001","transaction_end":true,"stopped":true}"#;
    let fork = format!("[\"fork\",\"{}\"]", rig.name);
    for (key, value, said) in [
        (&position, far, "restored or failed over to an older copy"),
        (&fork, "00000000-0000-0000-0000-000000000001", "the database was restored since"),
    ] {
        store(&rig, key, value).await;
        rig.set("source.on_gap", "stop");
        let mut source = rig.start();
        assert_eq!(source.wait(LIMIT).await.unwrap(), 1);
        assert!(source.stderr().contains(said), "{}", source.stderr());
        rig.set("source.on_gap", "resnapshot");
        rig.exec("UPDATE dbo.a SET x = x + 1").await;
        let mut source = rig.start();
        let mut reader = rig.reader(&["a"]).await;
        rig.equal(&mut reader, &["a"], &mut source).await;
        source.logged("snapshot published", LIMIT).await.unwrap();
        assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_source_says_that_it_lives_and_how_far_cleanup_is_behind_it() {
    let mut rig = Rig::new("idle").await;
    rig.table("a", COLUMNS).await;
    rig.set("source.heartbeat_interval_ms", 200);
    let mut source = rig.start();
    source.logged("snapshot published", LIMIT).await.unwrap();
    let beats = rig.records("heartbeat", 3).await;
    let beat: serde_json::Value = serde_json::from_slice(&beats[0].value.clone().unwrap()).unwrap();
    assert!(beat["ts_ms"].as_i64().unwrap() > 0 && beat["commit_lsn"].is_string(), "{beat}");
    for i in 1..=5 {
        rig.exec(&format!("INSERT INTO dbo.a VALUES ({i}, {i})")).await;
    }
    let mut reader = rig.reader(&["a"]).await;
    rig.equal(&mut reader, &["a"], &mut source).await;
    clean_up(&rig, 5).await;
    // What was read may be cleaned up: no gap, and the margin is known.
    let margin = "causeway_source_retention_margin_seconds";
    let end = std::time::Instant::now() + LIMIT;
    while source.metrics().await.unwrap().sum(margin).is_none() {
        assert!(std::time::Instant::now() < end);
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}
