//! `apply.consistency = "transaction"`: money moves between two tables, in source transactions, and nobody who
//! looks at the target ever sees some of it missing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use causeway_tests::{
    pipeline::Pipeline, postgres::Postgres, process::Proc, random::Random, sqlserver::SqlServer,
    sqlserver::exec,
};
use tokio::task::JoinSet;

use crate::{LIMIT, STOP, Servers};

const TABLES: [&str; 2] = ["left_side", "right_side"];
/// Rows of each table, with this much in each.
const ROWS: u64 = 4_000;
const EACH: u64 = 100;

/// Both sums in one statement, so of one moment.
const SUM: &str =
    "SELECT ((SELECT sum(amount) FROM left_side) + (SELECT sum(amount) FROM right_side))::bigint";

async fn make(servers: &Servers, pipeline: &Pipeline) {
    let mut client = servers.sqlserver.client(&pipeline.name).await.unwrap();
    for table in TABLES {
        exec(
            &mut client,
            &format!("CREATE TABLE dbo.{table} (id int NOT NULL PRIMARY KEY, amount bigint NOT NULL, note varchar(300) NULL)"),
        )
        .await
        .unwrap();
        for from in (0..ROWS).step_by(500) {
            let rows: Vec<String> = (from..from + 500)
                .map(|id| format!("({id}, {EACH}, '{}')", format!("{id:010}").repeat(25)))
                .collect();
            let sql = format!("INSERT INTO dbo.{table} VALUES {}", rows.join(","));
            exec(&mut client, &sql).await.unwrap();
        }
        servers.sqlserver.capture(&pipeline.name, "dbo", table).await.unwrap();
    }
}

/// Looks at the sum until told to stop, as fast as it can: how often, and what was wrong.
fn watch(postgres: &'static Postgres, database: &str, stop: &Arc<AtomicBool>) -> JoinSet<u64> {
    let stop = Arc::clone(stop);
    let database = database.to_owned();
    let total = i64::try_from(2 * ROWS * EACH).unwrap();
    let mut watching = JoinSet::new();
    watching.spawn(async move {
        let client = postgres.client(&database).await.unwrap();
        let mut looks = 0;
        while !stop.load(Ordering::Relaxed) {
            let sum: i64 = client.query_one(SUM, &[]).await.unwrap().get(0);
            assert_eq!(sum, total, "half of a transaction is seen at look {looks}");
            looks += 1;
        }
        looks
    });
    watching
}

/// Moves money until told to stop; one transaction in a hundred or so moves some in every row.
async fn transfers(
    sqlserver: &SqlServer,
    database: &str,
    seed: u64,
    stop: &AtomicBool,
    large: &AtomicU64,
) -> u64 {
    let mut client = sqlserver.client(database).await.unwrap();
    let mut random = Random::new(seed);
    let mut done = 0;
    while !stop.load(Ordering::Relaxed) {
        let [from, to] = if random.below(2) == 0 { TABLES } else { [TABLES[1], TABLES[0]] };
        let amount = random.between(1, 20);
        let (a, b) = (random.below(ROWS), random.below(ROWS));
        let sql = if large.load(Ordering::Relaxed) > 0 {
            large.fetch_sub(1, Ordering::Relaxed);
            format!(
                "BEGIN TRAN; UPDATE dbo.{from} SET amount = amount - 1; UPDATE dbo.{to} SET amount = amount + 1; COMMIT"
            )
        } else {
            format!(
                "BEGIN TRAN; UPDATE dbo.{from} SET amount = amount - {amount} WHERE id = {a}; \
                 UPDATE dbo.{to} SET amount = amount + {amount} WHERE id = {b}; COMMIT"
            )
        };
        exec(&mut client, &sql).await.unwrap();
        done += 1;
    }
    done
}

fn waits_for(status: &serde_json::Value) -> &str {
    status["sink"]["transactions"]["waits_for"].as_str().unwrap_or_default()
}

async fn is_copied(pipeline: &Pipeline, servers: &Servers, source: &mut Proc, sink: &mut Proc) {
    let processes = &mut [source, sink];
    pipeline.equal(servers.sqlserver, servers.postgres, &TABLES, processes, LIMIT).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_ever_sees_half_of_a_source_transaction() {
    let servers = Servers::get().await;
    let mut pipeline = servers.pipeline("whole").await;
    // A transaction over all rows is larger than a Kafka transaction, and many times a piece.
    pipeline.config = pipeline
        .config
        .clone()
        .set("sink.apply.consistency", "transaction")
        .set("source.transaction_index", true)
        .set("sink.batch_bytes", 200_000)
        .set("sink.discover_seconds", 1)
        .set("source.transaction.max_bytes", 50_000);
    pipeline.write().unwrap();
    make(&servers, &pipeline).await;
    let mut source = pipeline.source().unwrap();
    let mut sink = pipeline.sink().unwrap();
    is_copied(&pipeline, &servers, &mut source, &mut sink).await;
    let (stop, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let large = Arc::new(AtomicU64::new(0));
    let mut watcher = watch(servers.postgres, &pipeline.name, &over);
    let mut load = JoinSet::new();
    {
        let (sqlserver, name) = (servers.sqlserver, pipeline.name.clone());
        let (stop, large) = (Arc::clone(&stop), Arc::clone(&large));
        load.spawn(async move { transfers(sqlserver, &name, 7, &stop, &large).await });
    }
    let mut random = Random::new(11);
    for round in 0..6 {
        if round % 2 == 0 {
            large.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_millis(random.between(500, 2_000))).await;
        // What ended has found something, and says it.
        for ended in [watcher.try_join_next(), load.try_join_next()] {
            assert!(ended.map(Result::unwrap).is_none());
        }
        if round % 3 == 0 {
            source.kill9();
            source = pipeline.source().unwrap();
        } else {
            sink.kill9();
            sink = pipeline.sink().unwrap();
        }
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.store(true, Ordering::Relaxed);
    let done = load.join_next().await.unwrap().unwrap();
    is_copied(&pipeline, &servers, &mut source, &mut sink).await;
    over.store(true, Ordering::Relaxed);
    let looks = watcher.join_next().await.unwrap().unwrap();
    assert!(done > 50 && looks > 50, "{done} transactions, {looks} looks");
    let client = servers.postgres.client(&pipeline.name).await.unwrap();
    let letters = "SELECT count(*) FROM _causeway.dead_letter";
    assert_eq!(client.query_one(letters, &[]).await.unwrap().get::<_, i64>(0), 0);
    let status = sink.status().await.unwrap();
    assert_eq!(status["sink"]["consistency"], "transaction", "{status}");
    assert_eq!(sink.terminate(STOP).await.unwrap(), 0);
    assert_eq!(source.terminate(STOP).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_pipeline_changes_over_to_whole_transactions_and_back() {
    let servers = Servers::get().await;
    let mut pipeline = servers.pipeline("over").await;
    pipeline.config = pipeline
        .config
        .clone()
        .set("sink.discover_seconds", 1)
        .set("source.transaction_index", false);
    pipeline.write().unwrap();
    make(&servers, &pipeline).await;
    let mut source = pipeline.source().unwrap();
    let mut sink = pipeline.sink().unwrap();
    is_copied(&pipeline, &servers, &mut source, &mut sink).await;
    assert_eq!(sink.terminate(STOP).await.unwrap(), 0);
    // These are in the topics, and no index names them.
    servers
        .sqlserver
        .exec(&pipeline.name, "UPDATE dbo.left_side SET amount = amount + 1 WHERE id < 500")
        .await
        .unwrap();
    let begun = Instant::now();
    let published = "causeway_source_rows_published_total";
    while source.metrics().await.unwrap().sum(published) < Some(8_500.0) {
        assert!(begun.elapsed() < LIMIT, "{}", source.tail(20));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(source.terminate(STOP).await.unwrap(), 0);
    pipeline.config = pipeline.config.clone().set("sink.apply.consistency", "transaction");
    pipeline.write().unwrap();
    let mut sink = pipeline.sink().unwrap();
    // Without an index it says so, and is not ready.
    sink.status_until("the index to be missed", LIMIT, |status| {
        waits_for(status).contains("transaction_index") && status["ready"] == false
    })
    .await
    .unwrap();
    pipeline.config = pipeline.config.clone().set("source.transaction_index", true);
    pipeline.write().unwrap();
    let mut source = pipeline.source().unwrap();
    source.ready(LIMIT).await.unwrap();
    let more = "BEGIN TRAN; UPDATE dbo.left_side SET amount = amount - 1 WHERE id < 500; \
                DELETE FROM dbo.right_side WHERE id < 10; COMMIT";
    servers.sqlserver.exec(&pipeline.name, more).await.unwrap();
    is_copied(&pipeline, &servers, &mut source, &mut sink).await;
    sink.status_until("what was applied", LIMIT, |status| {
        let counted = &status["sink"]["transactions"];
        counted["loose_records"] == 500 && counted["applied"] == 1
    })
    .await
    .unwrap();
    assert_eq!(sink.terminate(STOP).await.unwrap(), 0);
    // And back, and over again: what was applied row by row meanwhile is not applied twice.
    for consistency in ["row", "transaction"] {
        pipeline.config = pipeline.config.clone().set("sink.apply.consistency", consistency);
        pipeline.write().unwrap();
        let mut sink = pipeline.sink().unwrap();
        let sql = "BEGIN TRAN; UPDATE dbo.left_side SET amount = amount + 5 WHERE id = 7; \
                   UPDATE dbo.right_side SET amount = amount - 5 WHERE id = 77; COMMIT";
        servers.sqlserver.exec(&pipeline.name, sql).await.unwrap();
        is_copied(&pipeline, &servers, &mut source, &mut sink).await;
        assert_eq!(sink.terminate(STOP).await.unwrap(), 0);
    }
    assert_eq!(source.terminate(STOP).await.unwrap(), 0);
}
