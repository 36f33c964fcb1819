//! What is there is copied, what changes beside it and afterwards is applied, exactly.

use std::time::{Duration, Instant};

use causeway_tests::{
    all_types,
    random::Random,
    shop::{self, Size},
    sqlserver::exec,
};

use crate::{LIMIT, STOP, Servers};

#[tokio::test]
async fn a_snapshot_and_the_changes_beside_it_arrive_and_the_reconciler_agrees() {
    let servers = Servers::get().await;
    let pipeline = servers.pipeline("shop").await;
    let mut client = servers.sqlserver.client(&pipeline.name).await.unwrap();
    shop::create(&mut client).await.unwrap();
    let mut random = Random::new(42);
    let (mut load, _) = shop::fill(&mut client, Size { orders: 3000 }, &mut random).await.unwrap();
    for table in shop::TABLES {
        servers.sqlserver.capture(&pipeline.name, "dbo", table).await.unwrap();
    }
    // Small chunks, so that many changes fall into the snapshot.
    let mut pipeline = pipeline;
    pipeline.config = pipeline.config.clone().set("source.snapshot.chunk_rows", 500);
    pipeline.write().unwrap();
    let mut source = pipeline.source().unwrap();
    let mut sink = pipeline.sink().unwrap();
    let end = Instant::now() + Duration::from_secs(5);
    while Instant::now() < end {
        exec(&mut client, &load.step().sql).await.unwrap();
    }
    let rows = pipeline
        .equal(
            servers.sqlserver,
            servers.postgres,
            &shop::TABLES,
            &mut [&mut source, &mut sink],
            LIMIT,
        )
        .await
        .unwrap();
    assert!(rows > 8000, "only {rows} rows were compared");

    let (ended, report) = pipeline.reconcile(LIMIT).await.unwrap();
    assert_eq!(ended.code, 0, "{}\n{}", ended.stdout, ended.stderr);
    assert_eq!(report["result"], "equal", "{report}");
    assert_eq!(report["totals"]["differences"], 0, "{report}");
    assert_eq!(report["totals"]["tables"], shop::TABLES.len(), "{report}");

    // And it sees what is wrong: a row changed, one lost, one too many.
    let target = servers.postgres.client(&pipeline.name).await.unwrap();
    target
        .batch_execute(
            "UPDATE customers SET notes = 'tampered' WHERE customer_id = 7;
             DELETE FROM customers WHERE customer_id = 8;
             INSERT INTO customers SELECT 100000001, email, name, city, country, credit_limit, vip,
               created_at, notes FROM customers WHERE customer_id = 9",
        )
        .await
        .unwrap();
    let (ended, report) = pipeline.reconcile(LIMIT).await.unwrap();
    assert_eq!(ended.code, 1, "{}\n{}", ended.stdout, ended.stderr);
    assert_eq!(report["totals"]["differences"], 3, "{report}");

    assert_eq!(source.terminate(STOP).await.unwrap(), 0, "{}", source.tail(20));
    assert_eq!(sink.terminate(STOP).await.unwrap(), 0, "{}", sink.tail(20));
}

#[tokio::test]
async fn every_type_arrives_as_it_is_by_snapshot_and_by_stream() {
    let servers = Servers::get().await;
    let pipeline = servers.pipeline("types").await;
    let mut client = servers.sqlserver.client(&pipeline.name).await.unwrap();
    exec(&mut client, &all_types::create("all_types")).await.unwrap();
    all_types::fill(&mut client, "all_types", 1).await.unwrap();
    servers.sqlserver.capture(&pipeline.name, "dbo", "all_types").await.unwrap();
    let mut source = pipeline.source().unwrap();
    let mut sink = pipeline.sink().unwrap();
    let tables = ["all_types"];
    let (sqlserver, postgres) = (servers.sqlserver, servers.postgres);
    pipeline
        .equal(sqlserver, postgres, &tables, &mut [&mut source, &mut sink], LIMIT)
        .await
        .unwrap();

    // The same rows once more, by the stream, and each column changed alone.
    all_types::fill(&mut client, "all_types", 101).await.unwrap();
    for column in all_types::COLUMNS {
        for (id, value) in [(1, column.most), (102, column.usual), (3, "NULL"), (104, column.least)]
        {
            let sql = format!("UPDATE dbo.all_types SET {} = {value} WHERE id = {id}", column.name);
            exec(&mut client, &sql).await.unwrap();
        }
    }
    exec(&mut client, "UPDATE dbo.all_types SET id = 1000 WHERE id = 4").await.unwrap();
    exec(&mut client, "DELETE FROM dbo.all_types WHERE id = 5").await.unwrap();
    pipeline
        .equal(sqlserver, postgres, &tables, &mut [&mut source, &mut sink], LIMIT)
        .await
        .unwrap();
    let (ended, _) = pipeline.reconcile(LIMIT).await.unwrap();
    assert_eq!(ended.code, 0, "{}\n{}", ended.stdout, ended.stderr);
}
