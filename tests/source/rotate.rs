//! Capture instances that follow their tables, with `rotate_capture_instances`.

use std::time::Duration;

use causeway_change::Value;
use causeway_tests::{
    process::Proc,
    sqlserver::{exec, rows},
};

use crate::{LIMIT, rig::Rig};

const COLUMNS: &str = "id int NOT NULL PRIMARY KEY, x int NULL";

async fn rig(what: &str) -> Rig {
    let mut rig = Rig::new(what).await;
    rig.set("source.rotate_capture_instances", true);
    rig.table("a", COLUMNS).await;
    rig.table("b", COLUMNS).await;
    rig.exec("INSERT INTO dbo.a VALUES (1, 1), (2, 2), (3, 3)").await;
    rig
}

/// The names of the capture instances of table `a`, oldest first.
async fn instances(rig: &Rig) -> Vec<String> {
    let mut client = rig.client().await;
    let sql = "SELECT ct.capture_instance FROM cdc.change_tables AS ct WHERE ct.capture_instance LIKE N'dbo[_]a%' \
               ORDER BY ct.create_date, ct.object_id";
    let found = rows(&mut client, sql).await.unwrap();
    found.iter().map(|row| row.get::<&str, _>(0).unwrap().to_owned()).collect()
}

/// Waits until these are the capture instances.
async fn has(rig: &Rig, source: &mut Proc, wanted: &[&str]) {
    let end = tokio::time::Instant::now() + LIMIT;
    loop {
        source.must_run().unwrap();
        let found = instances(rig).await;
        if found == wanted {
            return;
        }
        assert!(
            tokio::time::Instant::now() < end,
            "{found:?}, not {wanted:?}\n{}",
            source.tail(30)
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_column_gets_an_instance_and_the_values_it_was_given_meanwhile() {
    let rig = rig("rotate").await;
    let mut source = rig.start();
    source.logged("snapshot published", LIMIT).await.unwrap();
    rig.exec("ALTER TABLE dbo.a ADD z int NULL").await;
    // Of these the old instance knows an insert without the column, and nothing at all.
    rig.exec("INSERT INTO dbo.a VALUES (4, 4, 44)").await;
    rig.exec("UPDATE dbo.a SET z = 11 WHERE id = 1").await;
    has(&rig, &mut source, &["dbo_a_cw2"]).await;
    rig.exec("UPDATE dbo.a SET z = 22 WHERE id = 2; DELETE FROM dbo.a WHERE id = 4").await;
    let mut reader = rig.reader(&["a", "b"]).await;
    rig.equal(&mut reader, &["a", "b"], &mut source).await;
    // Only rows with a value were read again.
    let reads = reader.events.iter().filter(|e| {
        e.operation == causeway_change::Operation::Read && e.key.trim_start_matches('0') == "3"
    });
    assert_eq!(reads.count(), 1, "the first copy");
    // Once more, with a value for every row, and a column that nobody wants in the old one.
    rig.exec("ALTER TABLE dbo.a ADD w int NOT NULL DEFAULT 7, [order no] nvarchar(9) NULL").await;
    has(&rig, &mut source, &["dbo_a_cw3"]).await;
    rig.exec("UPDATE dbo.a SET [order no] = N'x' WHERE id = 1").await;
    // The reader keeps rows as they were sent: all were read again, because all have the value.
    rig.equal(&mut reader, &["a", "b"], &mut source).await;
    assert!(reader.tables["a"]["000000000003"][3] == Value::I32(7));
    let metrics = source.metrics().await.unwrap();
    assert_eq!(metrics.sum("causeway_source_rotations_total"), Some(4.0));
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_goes_on_wherever_the_source_is_killed() {
    let rig = rig("rotate_kill").await;
    let mut source = rig.start();
    source.logged("snapshot published", LIMIT).await.unwrap();
    let mut client = rig.client().await;
    let mut made = 1;
    for (round, moment) in [
        "a capture instance is made",
        "the next capture instance takes over",
        "the values of new columns are read",
        "read no more is dropped",
        "a capture instance is made",
    ]
    .into_iter()
    .enumerate()
    {
        exec(&mut client, &format!("ALTER TABLE dbo.a ADD z{round} int NULL")).await.unwrap();
        exec(&mut client, &format!("UPDATE dbo.a SET z{round} = id + {round}")).await.unwrap();
        made += 1;
        source.logged(moment, LIMIT).await.unwrap();
        source.kill9();
        let sql =
            format!("INSERT INTO dbo.a (id, x, z{round}) VALUES ({}, 0, {round})", 10 + round);
        exec(&mut client, &sql).await.unwrap();
        source = rig.start();
        has(&rig, &mut source, &[&format!("dbo_a_cw{made}")]).await;
    }
    let mut reader = rig.reader(&["a", "b"]).await;
    rig.equal(&mut reader, &["a", "b"], &mut source).await;
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_of_others_in_both_places_are_named_and_nothing_stops() {
    let rig = rig("rotate_full").await;
    rig.exec(
        "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'a', @role_name = NULL, \
         @capture_instance = N'dbo_a_theirs', @supports_net_changes = 0",
    )
    .await;
    let mut source = rig.start();
    source.logged("snapshot published", LIMIT).await.unwrap();
    rig.exec("ALTER TABLE dbo.a ADD z int NULL").await;
    rig.exec("UPDATE dbo.a SET z = 1 WHERE id = 1").await;
    source.logged("both places are taken", LIMIT).await.unwrap();
    // Advice, in the log and on the page; the tables go on.
    let is_there = |status: &serde_json::Value| status["capture_instances"]["dbo.a"].is_string();
    let status = source.status_until("advice on the page", LIMIT, is_there).await.unwrap();
    let said = status["capture_instances"]["dbo.a"].as_str().unwrap().to_owned();
    assert!(said.contains("sp_cdc_disable_table") && said.contains("columns z"), "{said}");
    rig.exec("INSERT INTO dbo.a (id, x) VALUES (9, 9); INSERT INTO dbo.b VALUES (9, 9)").await;
    let mut reader = rig.reader(&["a", "b"]).await;
    rig.equal(&mut reader, &["b"], &mut source).await;
    // An operator frees the place that is not read.
    let other = if said.contains("reads dbo_a_theirs") { "dbo_a" } else { "dbo_a_theirs" };
    rig.exec(&format!(
        "EXEC sys.sp_cdc_disable_table @source_schema = N'dbo', @source_name = N'a', @capture_instance = N'{other}'"
    ))
    .await;
    let kept = if other == "dbo_a" { "dbo_a_theirs" } else { "dbo_a" };
    has(&rig, &mut source, &[&format!("{kept}_cw2")]).await;
    rig.equal(&mut reader, &["a", "b"], &mut source).await;
    source.status_until("the advice to go", LIMIT, |status| !is_there(status)).await.unwrap();
}
