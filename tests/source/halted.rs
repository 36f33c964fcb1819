//! A schema that the registry refuses: the table waits at the switch, the others go on, and it catches up.

use std::time::Duration;

use causeway_kafka::transactions::Entry;
use causeway_tests::process::Proc;
use serde_json::json;

use crate::{
    LIMIT,
    rig::Rig,
    transactions::{index, messages, table_topics},
};

/// Sets what new versions of the table's schema must be to old ones.
async fn compatibility(rig: &Rig, table: &str, level: &str) {
    let subject = format!("{0}.{0}.dbo.{table}-value", rig.name);
    let url = format!("{}/config/{subject}", rig.registry.url());
    let answer = reqwest::Client::new()
        .put(&url)
        .json(&json!({ "compatibility": level }))
        .send()
        .await
        .unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
}

async fn halted(source: &mut Proc) -> Option<String> {
    let status = source.status().await.unwrap();
    status["halted"].get("dbo.a").and_then(|why| why.as_str()).map(str::to_owned)
}

async fn waits(source: &mut Proc) -> String {
    let end = tokio::time::Instant::now() + LIMIT;
    loop {
        source.must_run().unwrap();
        if let Some(why) = halted(source).await {
            return why;
        }
        assert!(tokio::time::Instant::now() < end, "dbo.a goes on\n{}", source.tail(30));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_whose_schema_is_refused_waits_and_catches_up() {
    let rig = Rig::new("halted").await;
    rig.table("a", "id int NOT NULL PRIMARY KEY, x int NULL").await;
    rig.table("b", "id int NOT NULL PRIMARY KEY, x int NULL").await;
    rig.exec("INSERT INTO dbo.a VALUES (1, 1), (2, 2), (3, 3)").await;
    let mut source = rig.start();
    source.logged("snapshot published", LIMIT).await.unwrap();
    let mut reader = rig.reader(&["a", "b"]).await;
    rig.equal(&mut reader, &["a", "b"], &mut source).await;
    // A column that is never NULL and has no default that a reader could put there.
    compatibility(&rig, "a", "BACKWARD").await;
    rig.exec("ALTER TABLE dbo.a ADD g uniqueidentifier NOT NULL DEFAULT NEWID()").await;
    rig.exec(
        "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'a', @role_name = NULL, \
         @capture_instance = N'dbo_a_v2', @supports_net_changes = 0",
    )
    .await;
    rig.exec("INSERT INTO dbo.a (id, x) VALUES (4, 4)").await;
    let why = waits(&mut source).await;
    let subject = format!("{0}.{0}.dbo.a-value", rig.name);
    assert!(why.contains("dbo.a") && why.contains(&subject) && why.contains("NONE"), "{why}");
    assert_eq!(source.metrics().await.unwrap().sum("causeway_source_halted"), Some(1.0));
    // The other goes on, over a restart too, and of this one nothing comes.
    for round in 0..2 {
        rig.exec(&format!("INSERT INTO dbo.b VALUES ({round}, 0)")).await;
        rig.exec(&format!(
            "INSERT INTO dbo.a (id, x) VALUES ({0}, 5); UPDATE dbo.a SET x = -x WHERE id = 1; \
             DELETE FROM dbo.a WHERE id = {round} + 2",
            10 + round
        ))
        .await;
        rig.equal(&mut reader, &["b"], &mut source).await;
        assert!(!reader.tables["a"].contains_key("000000000004"));
        source.kill9();
        source = rig.start();
        waits(&mut source).await;
    }
    compatibility(&rig, "a", "NONE").await;
    source.logged("the table has caught up", LIMIT).await.unwrap();
    rig.equal(&mut reader, &["a", "b"], &mut source).await;
    assert_eq!(halted(&mut source).await, None);
    assert_eq!(source.metrics().await.unwrap().sum("causeway_source_halted"), Some(0.0));
    rig.exec("UPDATE dbo.a SET x = 100").await;
    rig.equal(&mut reader, &["a", "b"], &mut source).await;
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_16_a_type_that_the_registry_refuses_under_the_same_instance_is_waited_for_too() {
    let rig = Rig::new("retype").await;
    rig.table("a", "id int NOT NULL PRIMARY KEY, x int NULL, y nvarchar(20) NULL").await;
    rig.table("b", "id int NOT NULL PRIMARY KEY, x int NULL").await;
    rig.exec("INSERT INTO dbo.a VALUES (1, 1, N'one')").await;
    let mut source = rig.start();
    source.logged("snapshot published", LIMIT).await.unwrap();
    let mut reader = rig.reader(&["a", "b"]).await;
    rig.equal(&mut reader, &["a", "b"], &mut source).await;
    rig.exec("ALTER TABLE dbo.a ALTER COLUMN x bigint NULL").await;
    rig.exec("INSERT INTO dbo.a VALUES (2, 5000000000, N'two'); INSERT INTO dbo.b VALUES (2, 2)")
        .await;
    let why = waits(&mut source).await;
    assert!(why.contains("incompatible") && why.contains("compatibility"), "{why}");
    rig.equal(&mut reader, &["b"], &mut source).await;
    rig.exec("UPDATE dbo.a SET x = 6000000000 WHERE id = 1").await;
    compatibility(&rig, "a", "NONE").await;
    source.logged("the table has caught up", LIMIT).await.unwrap();
    rig.equal(&mut reader, &["a", "b"], &mut source).await;
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_table_held_back_has_entries_of_its_own_in_the_transaction_index() {
    let mut rig = Rig::new("heldindex").await;
    rig.set("source.transaction_index", true);
    rig.set("source.snapshot.mode", "no_data");
    rig.set("kafka.partitions", 1);
    for table in ["a", "b"] {
        rig.table(table, "id int NOT NULL PRIMARY KEY, x int NULL").await;
    }
    let mut source = rig.start();
    source.ready(LIMIT).await.unwrap();
    let mut reader = rig.reader(&["a", "b"]).await;
    compatibility(&rig, "a", "BACKWARD").await;
    rig.exec("ALTER TABLE dbo.a ADD g uniqueidentifier NOT NULL DEFAULT NEWID()").await;
    rig.exec(
        "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'a', @role_name = NULL, \
         @capture_instance = N'dbo_a_v2', @supports_net_changes = 0",
    )
    .await;
    rig.exec("INSERT INTO dbo.a (id, x) VALUES (2, 2)").await;
    waits(&mut source).await;
    // One transaction over both, and a later one of the table that goes on.
    rig.exec("BEGIN TRAN; INSERT INTO dbo.a (id, x) VALUES (3, 3), (4, 4); INSERT INTO dbo.b VALUES (3, 3); COMMIT").await;
    rig.exec("INSERT INTO dbo.b VALUES (4, 4)").await;
    rig.equal(&mut reader, &["b"], &mut source).await;
    compatibility(&rig, "a", "NONE").await;
    source.logged("the table has caught up", LIMIT).await.unwrap();
    rig.equal(&mut reader, &["a", "b"], &mut source).await;
    let topics = table_topics(&rig, &["a", "b"]);
    let entries = index(&rig).await;
    // What each entry names: its transaction, and the records of either table.
    let mut named = Vec::new();
    for entry in &entries {
        let Entry::Transaction { id, last, events, ranges, .. } = entry else { continue };
        assert!(*last, "{entry:?}");
        let of = |topic: &String| {
            let ranges = ranges.iter().filter(|range| range.topic == *topic);
            ranges.map(|range| range.count).sum::<u64>()
        };
        assert_eq!(of(&topics[0]) + of(&topics[1]), *events, "{entry:?}");
        named.push((id.as_str(), of(&topics[0]), of(&topics[1])));
    }
    let counts: Vec<_> = named.iter().map(|(_, a, b)| (*a, *b)).collect();
    assert_eq!(counts, [(0, 1), (0, 1), (1, 0), (2, 0)], "{named:?}");
    let ids: Vec<&str> = named.iter().map(|(id, ..)| *id).collect();
    assert_eq!(ids[0], ids[3], "the halves of the one transaction");
    assert!(ids[2] < ids[3] && ids[3] < ids[1], "in their order, behind newer ones: {ids:?}");
    // Every record is named once.
    let found = messages(&rig, &topics).await;
    let published: usize = found.values().map(Vec::len).sum();
    assert_eq!(u64::try_from(published).unwrap(), counts.iter().map(|(a, b)| a + b).sum::<u64>());
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}
