//! Memory is bounded by bytes, not by rows: a large table, and one transaction over all of it.

use std::time::{Duration, Instant};

use causeway_tests::{
    env, process,
    sql::Inserts,
    sqlserver::{self, exec},
};

use crate::{STOP, Servers};

/// What each binary may use at most, in MB.
const LIMIT_MB: f64 = 200.0;

/// Rows, unless `CAUSEWAY_MEMORY_ROWS` says otherwise: the conformance run takes a million.
const ROWS: u64 = 200_000;

#[tokio::test]
async fn a_large_snapshot_and_a_large_transaction_take_little_memory() {
    let rows: u64 = env::var("CAUSEWAY_MEMORY_ROWS")
        .map_or(ROWS, |rows| rows.parse().expect("CAUSEWAY_MEMORY_ROWS is a number"));
    let limit = Duration::from_secs(120 + rows / 2000);
    let servers = Servers::get().await;
    let pipeline = servers.pipeline("memory").await;
    let mut client = servers.sqlserver.client(&pipeline.name).await.unwrap();
    exec(
        &mut client,
        "CREATE TABLE dbo.many (id int NOT NULL PRIMARY KEY, amount decimal(18,2) NOT NULL,
         placed_at datetime2(3) NOT NULL, name nvarchar(100) NOT NULL, note nvarchar(200) NULL)",
    )
    .await
    .unwrap();
    let mut inserts = Inserts::new(&mut client, "dbo.many", "id, amount, placed_at, name, note");
    for id in 1..=rows {
        let row = format!(
            "{id}, {id}.25, '2026-11-21T12:00:00.123', N'Customer number {id}', \
             N'A note that makes the row as long as rows are, with some text for number {id}'"
        );
        inserts.push(&row).await.unwrap();
    }
    inserts.finish().await.unwrap();
    servers.sqlserver.capture(&pipeline.name, "dbo", "many").await.unwrap();

    let start = Instant::now();
    let mut source = pipeline.source().unwrap();
    let mut sink = pipeline.sink().unwrap();
    let all = i64::try_from(rows).unwrap();
    let count = "SELECT count(*) FROM many";
    pipeline.target_reaches(servers.postgres, count, all, limit).await.unwrap();
    let copied = start.elapsed();
    let copy_mb = (source.peak_mb().unwrap(), sink.peak_mb().unwrap());

    // One transaction over every row.
    let start = Instant::now();
    exec(&mut client, "UPDATE dbo.many SET amount = amount + 1").await.unwrap();
    let count = "SELECT count(*) FROM many WHERE amount = id + 1.25";
    pipeline.target_reaches(servers.postgres, count, all, limit).await.unwrap();
    let streamed = start.elapsed();

    let sql = "SELECT COUNT_BIG(*) FROM dbo.many WHERE amount = id + 1.25";
    let found = sqlserver::rows(&mut client, sql).await.unwrap();
    assert_eq!(found[0].get::<i64, _>(0), Some(all));
    let (source_mb, sink_mb) = (source.peak_mb().unwrap(), sink.peak_mb().unwrap());
    assert_eq!(source.terminate(STOP).await.unwrap(), 0, "{}", source.tail(20));
    assert_eq!(sink.terminate(STOP).await.unwrap(), 0, "{}", sink.tail(20));

    let mut reconcile =
        process::Proc::start("causeway-reconcile", &["run"], pipeline.path()).unwrap();
    let mut reconcile_mb = 0.0_f64;
    let end = Instant::now() + limit;
    while reconcile.ended().unwrap().is_none() && Instant::now() < end {
        reconcile_mb = reconcile.peak_mb().unwrap_or(0.0).max(reconcile_mb);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(reconcile.ended().unwrap(), Some(0), "{}", reconcile.tail(20));
    println!(
        "{rows} rows: copied in {copied:.1?} with source {:.0} MB, sink {:.0} MB at the peak; changed \
         in {streamed:.1?} with source {source_mb:.0} MB, sink {sink_mb:.0} MB; reconcile \
         {reconcile_mb:.0} MB",
        copy_mb.0, copy_mb.1
    );
    for (name, mb) in [("source", source_mb), ("sink", sink_mb), ("reconcile", reconcile_mb)] {
        assert!(mb < LIMIT_MB, "causeway-{name} took {mb:.0} MB for {rows} rows");
    }
}
