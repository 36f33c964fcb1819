//! Killed at any point, nothing is lost and nothing comes twice.

use std::time::Duration;

use causeway_tests::sqlserver::exec;

use crate::{LIMIT, rig::Rig};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_over_kills() {
    let mut rig = Rig::new("kill").await;
    rig.set("source.transaction.max_age_ms", 20);
    rig.table("a", "id int NOT NULL PRIMARY KEY, x int NULL").await;
    rig.table("b", "id int NOT NULL PRIMARY KEY, x int NULL").await;
    let mut writer = rig.client().await;
    let mut load = tokio::task::JoinSet::new();
    load.spawn(async move {
        for i in 1..=400 {
            let sql = format!(
                "BEGIN TRAN; INSERT INTO dbo.a VALUES ({i}, 0); INSERT INTO dbo.b VALUES ({i}, 0); \
                 UPDATE dbo.a SET x = x + 1 WHERE id > {i} - 5; DELETE FROM dbo.b WHERE id = {i} - 7; COMMIT"
            );
            exec(&mut writer, &sql).await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    for round in 1..=5 {
        let mut source = rig.start();
        source.ready(LIMIT).await.unwrap();
        tokio::time::sleep(Duration::from_millis(97 * round)).await;
        source.kill9();
    }
    load.join_next().await.unwrap().unwrap();
    let mut source = rig.start();
    source.ready(LIMIT).await.unwrap();
    let mut reader = rig.reader(&["a", "b"]).await;
    rig.equal(&mut reader, &["a", "b"], &mut source).await;
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_13_a_transaction_larger_than_a_kafka_transaction_is_resumed_inside() {
    let mut rig = Rig::new("inside").await;
    rig.set("source.snapshot.mode", "no_data");
    // Eight times this is where a transaction is split.
    rig.set("source.transaction.max_bytes", 4_000);
    rig.table("a", "id int NOT NULL PRIMARY KEY, x nvarchar(200) NULL").await;
    let mut source = rig.start();
    source.ready(LIMIT).await.unwrap();
    let mut client = rig.client().await;
    exec(&mut client, "BEGIN TRAN").await.unwrap();
    for from in (0..10_000).step_by(500) {
        let values: Vec<String> =
            (from..from + 500).map(|i| format!("({i}, N'row {i}')")).collect();
        exec(&mut client, &format!("INSERT INTO dbo.a VALUES {}", values.join(","))).await.unwrap();
    }
    exec(&mut client, "UPDATE dbo.a SET x = N'again' WHERE id % 3 = 0").await.unwrap();
    exec(&mut client, "COMMIT").await.unwrap();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(60)).await;
        source.kill9();
        source = rig.start();
        source.ready(LIMIT).await.unwrap();
    }
    let mut reader = rig.reader(&["a"]).await;
    rig.equal(&mut reader, &["a"], &mut source).await;
    assert_eq!(reader.events.len(), 10_000 + 3_334);
}
