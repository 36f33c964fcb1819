//! An orderly stop and a new start: nothing is lost, nothing is copied again.

use causeway_tests::{process::Proc, sqlserver::exec};

use crate::{LIMIT, STOP, Servers};

const TABLES: [&str; 1] = ["things"];

#[tokio::test]
async fn what_changes_while_the_source_or_the_sink_is_stopped_arrives_after_its_start() {
    let servers = Servers::get().await;
    let pipeline = servers.pipeline("restart").await;
    let (sqlserver, postgres) = (servers.sqlserver, servers.postgres);
    let mut client = sqlserver.client(&pipeline.name).await.unwrap();
    exec(
        &mut client,
        "CREATE TABLE dbo.things (id int NOT NULL PRIMARY KEY, name nvarchar(50) NULL);
         INSERT INTO dbo.things VALUES (1, N'one'), (2, N'two'), (3, N'three')",
    )
    .await
    .unwrap();
    sqlserver.capture(&pipeline.name, "dbo", "things").await.unwrap();
    let mut source = pipeline.source().unwrap();
    let mut sink = pipeline.sink().unwrap();
    let equal = async |source: &mut Proc, sink: &mut Proc| {
        pipeline.equal(sqlserver, postgres, &TABLES, &mut [source, sink], LIMIT).await.unwrap()
    };
    assert_eq!(equal(&mut source, &mut sink).await, 3);

    assert_eq!(source.terminate(STOP).await.unwrap(), 0, "{}", source.tail(20));
    exec(
        &mut client,
        "UPDATE dbo.things SET name = N'zwei' WHERE id = 2;
         DELETE FROM dbo.things WHERE id = 3; INSERT INTO dbo.things VALUES (4, NULL)",
    )
    .await
    .unwrap();
    let mut source = pipeline.source().unwrap();
    assert_eq!(equal(&mut source, &mut sink).await, 3);

    assert_eq!(sink.terminate(STOP).await.unwrap(), 0, "{}", sink.tail(20));
    exec(
        &mut client,
        "UPDATE dbo.things SET id = 5 WHERE id = 1; INSERT INTO dbo.things VALUES (6, N'six')",
    )
    .await
    .unwrap();
    let mut sink = pipeline.sink().unwrap();
    assert_eq!(equal(&mut source, &mut sink).await, 4);

    // A restart copies nothing again: the topic has three rows read, then only changes.
    let counts = crate::crash::committed(servers.kafka, &pipeline.name, "things").await;
    // Updates 1, deletes 1, inserts 2, and the changed key is a delete and an insert.
    assert_eq!(counts.events, 3 + 1 + 1 + 2 + 2, "{counts:?}");
    assert_eq!(counts.tombstones, 2, "{counts:?}");
}
