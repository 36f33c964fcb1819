//! What changes become, and in which order.

use causeway_change::{Operation, Value};
use causeway_tests::sqlserver::exec;

use crate::{
    LIMIT,
    rig::{Event, Reader, Rig},
};

/// `c1 u1 d1>` of one table: letter, key, and `>` or `<` for a change of key.
pub(crate) fn words(reader: &Reader, table: &str) -> Vec<String> {
    let word = |e: &Event| {
        let moved = match () {
            () if e.headers.iter().any(|h| h == "__debezium.newkey") => ">",
            () if e.headers.iter().any(|h| h == "__debezium.oldkey") => "<",
            () => "",
        };
        format!("{}{}{moved}", e.operation.letter(), e.key.trim_start_matches('0'))
    };
    reader.events.iter().filter(|e| e.table == table).map(word).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_become_events_in_their_order() {
    let mut rig = Rig::new("order").await;
    // One partition: the order of the topic is the order of the changes.
    rig.set("kafka.partitions", 1);
    rig.set("source.snapshot.mode", "never");
    rig.table("a", "id int NOT NULL PRIMARY KEY, code int NULL UNIQUE, note nvarchar(max) NULL")
        .await;
    rig.table("b", "id int NOT NULL PRIMARY KEY, x int NULL").await;
    let mut source = rig.start();
    source.ready(LIMIT).await.unwrap();
    let mut client = rig.client().await;
    for sql in [
        "INSERT INTO dbo.a VALUES (1, 10, N'one'), (2, 20, N'two'), (3, 30, N'three')",
        "UPDATE dbo.a SET note = N'changed' WHERE id = 1",
        // A column of a unique index: logged as deletes and inserts, published as updates.
        "UPDATE dbo.a SET code = code + 1",
        "UPDATE dbo.a SET id = 100 WHERE id = 1",
        "DELETE FROM dbo.a WHERE id = 2",
        "BEGIN TRAN; INSERT INTO dbo.b VALUES (1, 1); UPDATE dbo.a SET code = 7 WHERE id = 3; \
         UPDATE dbo.b SET x = 2 WHERE id = 1; DELETE FROM dbo.b WHERE id = 1; COMMIT",
        "BEGIN TRAN; INSERT INTO dbo.b VALUES (9, 1); ROLLBACK",
        "INSERT INTO dbo.b VALUES (2, 2)",
    ] {
        exec(&mut client, sql).await.unwrap();
    }
    let mut reader = rig.reader(&["a", "b"]).await;
    rig.equal(&mut reader, &["a", "b"], &mut source).await;
    assert_eq!(
        words(&reader, "a"),
        ["c1", "c2", "c3", "u1", "u1", "u2", "u3", "d1>", "c100<", "d2", "u3"]
    );
    assert_eq!(words(&reader, "b"), ["c1", "u1", "d1", "c2"]);
    let serials: Vec<_> = reader
        .events
        .iter()
        .filter(|e| e.operation == Operation::Update)
        .map(|e| e.serial)
        .collect();
    assert!(serials.iter().all(|serial| *serial == Some(2)), "{serials:?}");
    // The update of the code did not touch the note, and says so.
    assert!(!reader.tables["a"]["000000000003"].contains(&Value::Unavailable));
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cleanup_took_away_is_a_gap_with_a_name() {
    let rig = Rig::new("gap").await;
    rig.table("a", "id int NOT NULL PRIMARY KEY, x int NULL").await;
    let mut source = rig.start();
    source.logged("snapshot published", LIMIT).await.unwrap();
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
    for i in 1..=20 {
        rig.exec(&format!("INSERT INTO dbo.a VALUES ({i}, {i})")).await;
    }
    // The newest captured transaction becomes the low-water mark.
    causeway_tests::wait::until("capture", LIMIT, || async {
        let mut client = rig.sqlserver.client(&rig.name).await?;
        let rows =
            causeway_tests::sqlserver::rows(&mut client, "SELECT COUNT(*) FROM cdc.dbo_a_CT")
                .await?;
        Ok(rows.first().and_then(|row| row.get::<i32, _>(0)).filter(|n| *n == 20))
    })
    .await
    .unwrap();
    rig.exec(
        "DECLARE @low binary(10) = (SELECT MAX(start_lsn) FROM cdc.lsn_time_mapping WHERE tran_id <> 0x00); \
         EXEC sys.sp_cdc_cleanup_change_table @capture_instance = N'dbo_a', @low_water_mark = @low, \
         @threshold = 5000",
    )
    .await;
    let mut source = rig.start();
    assert_eq!(source.wait(LIMIT).await.unwrap(), 1);
    let stderr = source.stderr();
    assert!(stderr.contains("changes of dbo.a are lost"), "{stderr}");
}
