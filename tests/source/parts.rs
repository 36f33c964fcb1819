//! One table read by several readers at once, by ranges of any kind of key, over kills.

use std::time::Duration;

use causeway_change::Operation;
use causeway_tests::sqlserver::exec;

use crate::{LIMIT, rig::Rig};

/// Three tables whose keys the server alone can put in order.
async fn tables(rig: &Rig, rows: i32) {
    rig.table("words", "k nvarchar(40) NOT NULL PRIMARY KEY, x int NULL").await;
    rig.table("guids", "k uniqueidentifier NOT NULL PRIMARY KEY, x int NULL").await;
    rig.table(
        "pairs",
        "a varchar(10) NOT NULL, b int NOT NULL, x int NULL, CONSTRAINT pk_pairs PRIMARY KEY (a, b)",
    )
    .await;
    let mut client = rig.client().await;
    for from in (0..rows).step_by(500) {
        let values = |one: &dyn Fn(i32) -> String| {
            (from..(from + 500).min(rows)).map(one).collect::<Vec<_>>().join(",")
        };
        // Case and accents sort between one another; a GUID's order is that of its last bytes.
        let word = |i: i32| {
            let letter = ["a", "B", "ä", "c", "-", "Z", "é"][usize::try_from(i).unwrap() % 7];
            format!("(N'{letter}{}', 0)", i * 7919 % 100_003)
        };
        let guid = |i: i32| {
            format!("('{:08x}-0000-4000-8000-{:012x}', 0)", i, i64::from(i) * 7919 % 100_003)
        };
        let pair =
            |i: i32| format!("('{}', {i}, 0)", ["x", "Y", "z"][usize::try_from(i).unwrap() % 3]);
        for (table, one) in
            [("words", &word as &dyn Fn(i32) -> String), ("guids", &guid), ("pairs", &pair)]
        {
            let sql = format!("INSERT INTO dbo.{table} VALUES {}", values(one));
            exec(&mut client, &sql).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_22_one_table_is_read_by_several_readers_in_ranges_of_any_key() {
    let mut rig = Rig::new("parts").await;
    tables(&rig, 3_000).await;
    rig.set("source.snapshot.chunk_rows", 100);
    rig.set("source.snapshot.readers", 3);
    let names = ["words", "guids", "pairs"];
    for round in 0..3_u64 {
        let mut source = rig.start();
        source.ready(LIMIT).await.unwrap();
        rig.exec(&format!(
            "UPDATE dbo.words SET x = {round} WHERE k LIKE N'ä%'; DELETE FROM dbo.guids WHERE k < '00000100-0000-0000-0000-000000000000' AND x = {round}; \
             UPDATE dbo.pairs SET x = x + 1 WHERE b % 17 = {round}"
        ))
        .await;
        tokio::time::sleep(Duration::from_millis(150 * round)).await;
        source.kill9();
    }
    let mut source = rig.start();
    source.ready(LIMIT).await.unwrap();
    let mut reader = rig.reader(&names).await;
    reader.keys.insert("pairs".to_owned(), vec![0, 1]);
    rig.equal(&mut reader, &names, &mut source).await;
    let shown = rig.command(&["offsets", "show"]).await.stdout;
    assert!(shown.contains("dbo.words: snapshot"), "{shown}");
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_parts_of_a_table_are_told_and_each_row_comes_once() {
    let mut rig = Rig::new("once").await;
    tables(&rig, 2_000).await;
    rig.set("source.snapshot.chunk_rows", 50);
    rig.set("source.snapshot.readers", 4);
    rig.set("source.tables", vec!["dbo.words", "dbo.pairs"]);
    let mut source = rig.start();
    let names = ["words", "pairs"];
    let mut reader = rig.reader(&names).await;
    reader.keys.insert("pairs".to_owned(), vec![0, 1]);
    rig.equal(&mut reader, &names, &mut source).await;
    reader.drain(Duration::from_secs(1)).await;
    assert_eq!(reader.events.len(), 4_000);
    assert!(reader.events.iter().all(|e| e.operation == Operation::Read));
    let status = source.status().await.unwrap();
    let words = &status["snapshot"]["dbo.words"];
    assert_eq!(
        (words["state"].as_str(), words["percent"].as_u64()),
        (Some("done"), Some(100)),
        "{status}"
    );
    source.logged("snapshot published", LIMIT).await.unwrap();
    let notes = rig.notifications(4).await;
    assert_eq!(notes.first().unwrap(), "Initial Snapshot STARTED");
    assert_eq!(notes.iter().filter(|n| *n == "Initial Snapshot TABLE_SCAN_COMPLETED").count(), 2);
    assert_eq!(notes.last().unwrap(), "Initial Snapshot COMPLETED");
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn mode_always_copies_at_every_start() {
    let mut rig = Rig::new("always").await;
    rig.table("a", "id int NOT NULL PRIMARY KEY, x int NULL").await;
    rig.exec("INSERT INTO dbo.a VALUES (1, 1), (2, 2)").await;
    rig.set("source.snapshot.mode", "always");
    for _ in 0..2 {
        let mut source = rig.start();
        source.logged("snapshot published", LIMIT).await.unwrap();
        source.ready(LIMIT).await.unwrap();
        assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
    }
    let mut reader = rig.reader(&["a"]).await;
    reader.drain(Duration::from_secs(1)).await;
    assert_eq!(reader.events.len(), 4);
}
