//! Tables that change while they are replicated.

use std::time::Duration;

use causeway_change::Value;

use crate::{LIMIT, rig::Rig};

const COLUMNS: &str = "id int NOT NULL PRIMARY KEY, x int NULL, y nvarchar(20) NULL";

#[tokio::test(flavor = "multi_thread")]
async fn trap_17_a_second_capture_instance_takes_over_with_its_new_column() {
    let rig = Rig::new("second").await;
    rig.table("a", COLUMNS).await;
    rig.exec("INSERT INTO dbo.a VALUES (1, 1, N'one')").await;
    let mut source = rig.start();
    source.logged("snapshot published", LIMIT).await.unwrap();
    rig.exec("ALTER TABLE dbo.a ADD z int NULL").await;
    // Before the second instance: the new column is not captured.
    rig.exec("INSERT INTO dbo.a VALUES (2, 2, N'two', 22)").await;
    rig.exec(
        "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'a', @role_name = NULL, \
         @capture_instance = N'dbo_a_v2', @supports_net_changes = 0",
    )
    .await;
    rig.exec("INSERT INTO dbo.a VALUES (3, 3, N'three', 33)").await;
    source.logged("the next capture instance takes over", LIMIT).await.unwrap();
    // The first may go now.
    rig.exec(
        "EXEC sys.sp_cdc_disable_table @source_schema = N'dbo', @source_name = N'a', @capture_instance = N'dbo_a'",
    )
    .await;
    rig.exec("UPDATE dbo.a SET z = 11, x = 0 WHERE id < 3").await;
    let mut reader = rig.reader(&["a"]).await;
    rig.equal(&mut reader, &["a"], &mut source).await;
    // Streamed once each; the values that the new column was given before were read besides.
    let streamed = reader.events.iter().filter(|e| e.operation != causeway_change::Operation::Read);
    let keys: Vec<&str> = streamed.map(|e| e.key.trim_start_matches('0')).collect();
    assert_eq!(keys.iter().filter(|k| **k == "2").count(), 2, "{keys:?}");
    assert_eq!(keys.iter().filter(|k| **k == "3").count(), 1, "{keys:?}");
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_is_dropped_under_the_instance_is_null_from_then_on() {
    let rig = Rig::new("dropped").await;
    rig.table("a", COLUMNS).await;
    rig.exec("INSERT INTO dbo.a VALUES (1, 1, N'one')").await;
    let mut source = rig.start();
    source.logged("snapshot published", LIMIT).await.unwrap();
    rig.exec("ALTER TABLE dbo.a DROP COLUMN y").await;
    rig.exec("INSERT INTO dbo.a VALUES (2, 2)").await;
    let mut reader = rig.reader(&["a"]).await;
    let row = |reader: &crate::rig::Reader| reader.tables.get("a")?.get("000000000002").cloned();
    while row(&reader).is_none() {
        source.must_run().unwrap();
        reader.drain(Duration::from_millis(200)).await;
    }
    assert!(row(&reader).unwrap() == [Value::I32(2), Value::I32(2), Value::Null]);
    // A snapshot of the table as it is now.
    let done = rig.command(&["signal", "execute-snapshot", "--table", "dbo.a"]).await;
    assert_eq!(done.code, 0, "{}", done.stderr);
    let reads = |reader: &crate::rig::Reader| {
        reader.events.iter().filter(|e| e.operation == causeway_change::Operation::Read).count()
    };
    while reads(&reader) < 3 {
        source.must_run().unwrap();
        reader.drain(Duration::from_millis(200)).await;
    }
    assert!(reader.tables["a"]["000000000001"] == [Value::I32(1), Value::I32(1), Value::Null]);
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wider_type_under_the_same_instance_goes_on() {
    let rig = Rig::new("wider").await;
    rig.table("a", COLUMNS).await;
    rig.exec("INSERT INTO dbo.a VALUES (1, 1, N'one')").await;
    let mut source = rig.start();
    source.logged("snapshot published", LIMIT).await.unwrap();
    rig.exec("ALTER TABLE dbo.a ALTER COLUMN y nvarchar(60) NULL").await;
    rig.exec("INSERT INTO dbo.a VALUES (2, 2, REPLICATE(N'y', 60))").await;
    let mut reader = rig.reader(&["a"]).await;
    rig.equal(&mut reader, &["a"], &mut source).await;
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_table_keeps_its_topic_until_a_restart_and_loses_nothing() {
    let rig = Rig::new("renamed").await;
    rig.table("a", COLUMNS).await;
    rig.exec("INSERT INTO dbo.a VALUES (1, 1, N'one')").await;
    let mut source = rig.start();
    source.logged("snapshot published", LIMIT).await.unwrap();
    rig.exec("EXEC sp_rename 'dbo.a', 'a2'").await;
    rig.exec("INSERT INTO dbo.a2 VALUES (2, 2, N'two')").await;
    let mut before = rig.reader(&["a"]).await;
    while before.tables.get("a").is_none_or(|rows| rows.len() != 2) {
        source.must_run().unwrap();
        before.drain(Duration::from_millis(200)).await;
    }
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
    rig.exec("INSERT INTO dbo.a2 VALUES (3, 3, N'three')").await;
    let mut source = rig.start();
    let mut after = rig.reader(&["a2"]).await;
    rig.equal(&mut after, &["a2"], &mut source).await;
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_column_comes_with_the_instance_that_was_made_for_it() {
    let mut rig = Rig::new("recolumn").await;
    rig.set("source.on_gap", "resnapshot");
    rig.table("a", COLUMNS).await;
    rig.exec("INSERT INTO dbo.a VALUES (1, 1, N'one')").await;
    let mut source = rig.start();
    source.logged("snapshot published", LIMIT).await.unwrap();
    // SQL Server refuses to rename a captured column.
    rig.exec(
        "EXEC sys.sp_cdc_disable_table @source_schema = N'dbo', @source_name = N'a', @capture_instance = N'dbo_a'",
    )
    .await;
    rig.exec("EXEC sp_rename 'dbo.a.y', 'name', 'COLUMN'").await;
    rig.exec("INSERT INTO dbo.a VALUES (2, 2, N'nobody captures it')").await;
    rig.exec(
        "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'a', @role_name = NULL, \
         @capture_instance = N'dbo_a_named', @supports_net_changes = 0",
    )
    .await;
    rig.exec("INSERT INTO dbo.a VALUES (3, 3, N'three')").await;
    let mut reader = rig.reader(&["a"]).await;
    rig.equal(&mut reader, &["a"], &mut source).await;
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}
