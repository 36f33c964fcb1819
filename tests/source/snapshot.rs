//! Copying a table while it changes.

use std::time::Duration;

use causeway_change::Operation;
use causeway_tests::sqlserver::exec;

use crate::{LIMIT, rig::Rig};

/// Rows of a table before the source starts.
async fn fill(rig: &Rig, table: &str, rows: i32) {
    let mut client = rig.client().await;
    let mut from = 1;
    while from <= rows {
        let upto = (from + 499).min(rows);
        let values: Vec<String> = (from..=upto)
            .map(|i| format!("({i}, N'name {i}', {}.25, N'{}')", i % 1000, "long ".repeat(20)))
            .collect();
        exec(&mut client, &format!("INSERT INTO dbo.[{table}] VALUES {}", values.join(",")))
            .await
            .unwrap();
        from = upto + 1;
    }
}

const COLUMNS: &str = "id int NOT NULL PRIMARY KEY, name nvarchar(50) NULL, total decimal(18,2) NOT NULL, note nvarchar(max) NULL";

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_changes_while_it_is_copied_arrives_as_it_is() {
    let mut rig = Rig::new("copy").await;
    rig.table("items", COLUMNS).await;
    rig.table("empty", "id int NOT NULL PRIMARY KEY, x int NULL").await;
    fill(&rig, "items", 4_000).await;
    rig.set("source.snapshot.chunk_rows", 250);
    let mut source = rig.start();
    // Changes of all kinds all over the table, while it is read.
    let mut client = rig.client().await;
    for i in 0..150 {
        let sql = match i % 5 {
            0 => format!("UPDATE dbo.items SET total = total + 1 WHERE id % 97 = {}", i % 97),
            1 => format!("DELETE FROM dbo.items WHERE id = {}", i * 13 + 1),
            2 => format!("INSERT INTO dbo.items VALUES ({}, N'new', 1, NULL)", 100_000 + i),
            3 => format!("UPDATE dbo.items SET id = {} WHERE id = {}", 200_000 + i, i * 17 + 2),
            _ => format!("UPDATE dbo.items SET note = NULL WHERE id = {}", i * 11 + 3),
        };
        exec(&mut client, &sql).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    source.logged("snapshot published", LIMIT).await.unwrap();
    let mut reader = rig.reader(&["items", "empty"]).await;
    rig.equal(&mut reader, &["items", "empty"], &mut source).await;
    assert!(reader.events.iter().any(|e| e.operation == Operation::Read));
    assert!(reader.events.iter().any(|e| e.operation == Operation::Update));
    let status = source.status().await.unwrap();
    assert_eq!(status["snapshot"]["dbo.items"]["state"], "done", "{status}");
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_killed_goes_on_where_it_was() {
    let mut rig = Rig::new("resume").await;
    rig.table("items", COLUMNS).await;
    fill(&rig, "items", 6_000).await;
    rig.set("source.snapshot.chunk_rows", 100);
    for round in 0..4 {
        let mut source = rig.start();
        source.ready(LIMIT).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100 * (round + 1))).await;
        rig.exec(&format!("UPDATE dbo.items SET name = N'round {round}' WHERE id % 50 = {round}"))
            .await;
        source.kill9();
    }
    let mut source = rig.start();
    source.ready(LIMIT).await.unwrap();
    let mut reader = rig.reader(&["items"]).await;
    rig.equal(&mut reader, &["items"], &mut source).await;
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_copy_when_only_the_copy_is_wanted() {
    let mut rig = Rig::new("only").await;
    rig.table("items", COLUMNS).await;
    fill(&rig, "items", 300).await;
    rig.set("source.snapshot.mode", "initial_only");
    let mut source = rig.start();
    assert_eq!(source.wait(LIMIT).await.unwrap(), 0, "{}", source.tail(20));
    let mut reader = rig.reader(&["items"]).await;
    reader.drain(Duration::from_millis(500)).await;
    assert_eq!(reader.tables["items"], rig.rows("items").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_captured_later_joins() {
    let rig = Rig::new("later").await;
    rig.table("first", "id int NOT NULL PRIMARY KEY, x int NULL").await;
    let mut source = rig.start();
    source.ready(LIMIT).await.unwrap();
    rig.exec("CREATE TABLE dbo.second (id int NOT NULL PRIMARY KEY, x int NULL)").await;
    rig.exec("INSERT INTO dbo.second VALUES (1, 1), (2, 2)").await;
    rig.sqlserver.capture(&rig.name, "dbo", "second").await.unwrap();
    rig.exec("INSERT INTO dbo.second VALUES (3, 3)").await;
    rig.exec("INSERT INTO dbo.first VALUES (1, 1)").await;
    source.logged("a newly captured table joins", LIMIT).await.unwrap();
    source.logged("snapshot published", LIMIT).await.unwrap();
    let mut reader = rig.reader(&["first", "second"]).await;
    rig.equal(&mut reader, &["first", "second"], &mut source).await;
}
