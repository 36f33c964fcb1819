//! Big things in bounded memory: a transaction of many rows, values of a hundred megabytes, hundreds of tables.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use causeway_kafka::{Consumer, consumer::EARLIEST, topic};
use causeway_tests::{
    env, names,
    process::Proc,
    sqlserver::{Client, Options, exec, rows},
};

use crate::{LIMIT, rig::Rig};

/// What the source may use at most, in MB.
const LIMIT_MB: f64 = 150.0;

/// Rows of the transaction in every run.
const ROWS: usize = 200_000;
/// Rows of the transaction in the conformance run, unless `CAUSEWAY_BIG_ROWS` says otherwise.
const MANY_ROWS: usize = 10_000_000;

fn assert_small(source: &mut Proc, what: &str) -> f64 {
    let mb = source.peak_mb().unwrap();
    assert!(mb < LIMIT_MB, "causeway-source took {mb:.0} MB for {what}");
    mb
}

/// The `int` that a record's key holds: behind the frame, one number of Avro.
fn id(key: &[u8]) -> usize {
    let mut number = 0_u64;
    for (i, byte) in key[5..].iter().enumerate() {
        number |= u64::from(byte & 0x7f) << (7 * i);
    }
    assert_eq!(number & 1, 0, "a negative key");
    usize::try_from(number >> 1).unwrap()
}

/// Waits until the topic of `dbo.many` has each key from 1 to `rows` once, and nothing else.
async fn each_once(rig: &Rig, rows: usize, limit: Duration, source: &mut Proc) {
    let topic = topic::table(&rig.name, &rig.name, &causeway_change::TableId::new("dbo", "many"));
    let config = causeway_kafka::Config::new(rig.kafka.bootstrap());
    let mut consumer = Consumer::open(&config, &names::unique("big")).await.unwrap();
    let known = consumer.topics(&topic).await.unwrap();
    let partitions = known.iter().find(|known| known.name == topic).unwrap().partitions;
    let all: Vec<_> = (0..partitions).map(|p| (topic.clone(), p, EARLIEST)).collect();
    consumer.assign(&all).await.unwrap();
    let mut seen = vec![false; rows + 1];
    let mut count = 0;
    let end = Instant::now() + limit;
    while count < rows {
        source.must_run().unwrap();
        assert!(Instant::now() < end, "{count} of {rows} came\n{}", source.tail(20));
        let batch = tokio::time::timeout(Duration::from_secs(1), consumer.next_batch()).await;
        for message in batch.map(Result::unwrap).unwrap_or_default() {
            let id = id(message.key.as_deref().unwrap());
            assert!(!std::mem::replace(&mut seen[id], true), "key {id} came twice");
            count += 1;
        }
    }
    let more = tokio::time::timeout(Duration::from_millis(500), consumer.next_batch()).await;
    assert!(more.map_or(0, |batch| batch.unwrap().len()) == 0, "more than {rows} records");
    assert!(seen[1..].iter().all(|seen| *seen));
}

async fn one_transaction(rows: usize, limit: Duration) {
    // Of its own: what it holds is gone with it.
    let mut rig = Rig::alone("bigtx", Options::default()).await;
    rig.set("source.snapshot.mode", "no_data");
    let mut client = rig.client().await;
    exec(
        &mut client,
        "CREATE TABLE dbo.seed (id int NOT NULL PRIMARY KEY); INSERT INTO dbo.seed VALUES (1)",
    )
    .await
    .unwrap();
    let mut have = 1;
    while have < rows {
        let add =
            format!("INSERT INTO dbo.seed SELECT TOP ({}) id + {have} FROM dbo.seed", rows - have);
        exec(&mut client, &add).await.unwrap();
        have = rows.min(2 * have);
    }
    rig.table(
        "many",
        "id int NOT NULL PRIMARY KEY, amount decimal(18,2) NOT NULL, name nvarchar(40) NULL",
    )
    .await;
    let mut source = rig.start();
    source.ready(LIMIT).await.unwrap();
    let idle_mb = source.peak_mb().unwrap();
    let begun = Instant::now();
    let insert = "INSERT INTO dbo.many SELECT s.id, s.id, N'row ' + CAST(s.id AS nvarchar(20)) FROM dbo.seed AS s";
    exec(&mut client, insert).await.unwrap();
    let written = begun.elapsed();
    each_once(&rig, rows, limit, &mut source).await;
    let mb = assert_small(&mut source, &format!("a transaction of {rows} rows"));
    println!(
        "a transaction of {rows} rows: written in {written:.1?}, in Kafka after {:.1?}; source {idle_mb:.0} MB \
         before, {mb:.0} MB at the peak",
        begun.elapsed()
    );
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0, "{}", source.tail(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_of_many_rows_takes_little_memory() {
    one_transaction(ROWS, LIMIT).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes, and gigabytes in the stand-in and in Kafka"]
async fn a_transaction_of_millions_of_rows_takes_little_memory() {
    let rows = env::var("CAUSEWAY_BIG_ROWS")
        .map_or(MANY_ROWS, |rows| rows.parse().expect("CAUSEWAY_BIG_ROWS is a number"));
    one_transaction(rows, Duration::from_secs(900)).await;
}

/// An expression of so many bytes or characters.
fn large(what: &str, megabytes: usize) -> String {
    format!("CAST(REPLICATE(CAST('x' AS varchar(max)), {}) AS {what}(max))", megabytes << 20)
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_a_hundred_megabytes_are_not_even_read() {
    let mut rig = Rig::alone("bigvalue", Options::default()).await;
    rig.set("kafka.partitions", 1);
    rig.exec("EXEC sp_configure 'max text repl size', -1; RECONFIGURE").await;
    rig.table(
        "docs",
        "id int NOT NULL PRIMARY KEY, body varbinary(max) NULL, story nvarchar(max) NULL, n int NULL",
    )
    .await;
    let mut client = rig.client().await;
    let bytes = |megabytes| large("varbinary", megabytes);
    // In the copy: too large by its bytes, and one that fits.
    exec(
        &mut client,
        &format!("INSERT INTO dbo.docs VALUES (1, {}, NULL, 1), (2, 0x01, NULL, 1)", bytes(100)),
    )
    .await
    .unwrap();
    let mut source = rig.start();
    source.logged("snapshot published", LIMIT).await.unwrap();
    let copy_mb = assert_small(&mut source, "the copy of a value of 100 MB");
    // In the stream: too large by its bytes, by its characters, and both images; and what fits beside it.
    for sql in [
        format!("INSERT INTO dbo.docs VALUES (3, {}, NULL, 1)", bytes(64)),
        format!("INSERT INTO dbo.docs VALUES (4, {}, N'fits', 1)", bytes(8)),
        format!("INSERT INTO dbo.docs VALUES (5, 0x05, {}, 1)", large("nvarchar", 24)),
        format!("UPDATE dbo.docs SET body = {} WHERE id = 3", bytes(100)),
        "UPDATE dbo.docs SET body = 0x03, story = N'whole again' WHERE id = 3".to_owned(),
        "DELETE FROM dbo.docs WHERE id = 1".to_owned(),
        "DELETE FROM dbo.docs WHERE id = 5".to_owned(),
        "INSERT INTO dbo.docs VALUES (6, NULL, NULL, NULL)".to_owned(),
    ] {
        exec(&mut client, &sql).await.unwrap();
    }
    let mut reader = rig.reader(&["docs"]).await;
    rig.equal(&mut reader, &["docs"], &mut source).await;
    let mb = assert_small(&mut source, "values of 100 MB");
    println!("values of 100 MB: {copy_mb:.0} MB after the copy, {mb:.0} MB at the peak");
    let letters = rig.records("dead-letters", 4).await;
    let reasons: BTreeSet<String> = letters
        .iter()
        .map(|letter| {
            assert!(letter.value.as_ref().unwrap().len() < 2_000, "without what is large");
            let name = "__connect.errors.exception.message";
            let (_, text) = letter.headers.iter().find(|(header, _)| header == name).unwrap();
            let text = String::from_utf8(text.clone()).unwrap();
            let size = text.split(" bytes").next().unwrap().to_owned();
            let without = text.split("without the values of ").nth(1).unwrap_or("nothing");
            format!("{} {size}, without {without}", id(letter.key.as_deref().unwrap()))
        })
        .collect();
    let wanted = [
        (1, 100_usize << 20, "body"),
        (3, 64 << 20, "body"),
        (3, 100 << 20, "body"),
        (5, 24 << 20, "story"),
    ];
    let wanted: BTreeSet<String> = wanted
        .iter()
        .map(|(id, bytes, without)| format!("{id} the record has {bytes}, without {without}"))
        .collect();
    let short: BTreeSet<String> = reasons.iter().map(|reason| rounded(reason)).collect();
    assert_eq!((letters.len(), short), (4, wanted), "{reasons:?}");
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

/// The reason with its size in whole megabytes: a record has a few bytes beside its large value.
fn rounded(reason: &str) -> String {
    let size = reason.split("has ").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
    let bytes: usize = size.parse().unwrap();
    reason.replacen(size, &(bytes >> 20 << 20).to_string(), 1)
}

/// How many requests the server has had.
async fn requests(client: &mut Client) -> i64 {
    let sql = "SELECT c.cntr_value FROM sys.dm_os_performance_counters AS c WHERE c.counter_name = 'Batch Requests/sec'";
    rows(client, sql).await.unwrap()[0].get::<i64, _>(0).unwrap()
}

const TABLES: usize = 500;
const BUSY: [&str; 5] = ["t1", "t100", "t101", "t333", "t500"];

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_tables_cost_a_poll_a_few_requests() {
    let mut rig = Rig::alone("tables", Options::default()).await;
    rig.set("kafka.partitions", 1);
    let mut client = rig.client().await;
    for i in 1..=TABLES {
        let sql = format!(
            "CREATE TABLE dbo.t{i} (id int NOT NULL PRIMARY KEY, name nvarchar(40) NULL, at datetime2(3) NULL);
             INSERT INTO dbo.t{i} VALUES (1, N'one', '2026-11-27T10:00:00');
             EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N't{i}', @role_name = NULL"
        );
        exec(&mut client, &sql).await.unwrap();
    }
    let begun = Instant::now();
    let mut source = rig.start();
    source
        .status_until("all tables copied", Duration::from_secs(180), |status| {
            status["tables"] == TABLES && status["snapshot_running"] == false
        })
        .await
        .unwrap();
    let started = begun.elapsed();
    let copied_mb = source.peak_mb().unwrap();
    let polls = |metrics: &causeway_tests::metrics::Metrics| {
        metrics.sum("causeway_source_poll_seconds_count").unwrap_or(0.0)
    };
    let before = (requests(&mut client).await, polls(&source.metrics().await.unwrap()));
    let mut own = 1;
    let mut waits = Vec::new();
    let mut reader = rig.reader(&BUSY).await;
    reader.drain(Duration::from_secs(1)).await;
    for round in 0..20 {
        let mut sql = String::from("BEGIN TRANSACTION;");
        for table in BUSY {
            sql.push_str(&format!(
                "INSERT INTO dbo.{table} VALUES ({}, N'new', NULL);",
                10 + round
            ));
        }
        sql.push_str("COMMIT");
        let wanted = reader.events.len() + BUSY.len();
        let written = Instant::now();
        exec(&mut client, &sql).await.unwrap();
        own += 1;
        while reader.events.len() < wanted {
            source.must_run().unwrap();
            assert!(written.elapsed() < LIMIT, "{}", source.tail(20));
            reader.drain(Duration::from_millis(5)).await;
        }
        waits.push(written.elapsed());
    }
    let after = (requests(&mut client).await, polls(&source.metrics().await.unwrap()));
    waits.sort();
    let rounds = after.1 - before.1;
    let asked = f64::from(i32::try_from(after.0 - before.0 - own).unwrap());
    let mb = assert_small(&mut source, "500 tables");
    println!(
        "{TABLES} tables: copied {started:.1?} after the start with {copied_mb:.0} MB; {asked} requests in {rounds} \
         polls; {} changes of {} tables seen after {:.0?} (median), {:.0?} (most); {mb:.0} MB at the peak",
        20 * BUSY.len(),
        BUSY.len(),
        waits[waits.len() / 2],
        waits[waits.len() - 1]
    );
    // The look, the list of transactions, which tables have something (a hundred at a time), each of these, the
    // low-water marks; idle polls only look.
    assert!(asked <= rounds + 20.0 * 30.0, "{asked} requests in {rounds} polls");
    rig.equal(&mut reader, &BUSY, &mut source).await;
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}
