//! The traps of reading SQL Server's change tables, each with its number, its decision and its test.
//!
//! | trap | decision | test |
//! |---|---|---|
//! | 1 the highest captured LSN is behind the log | a chunk is published when capture has passed the end that the log had | `trap_01_..` here, `trap_01_..` in source/src/window.rs |
//! | 2 changes below the low-water mark are gone | a gap, named, by policy a new copy; never clamped in silence | `trap_02_..` in gaps.rs |
//! | 3 cleanup while we read | low-water marks are read again after each read and before its commit | `trap_03_..` here |
//! | 4 rows 3 and 4 of one update | paired by seqval in the order of changes | `trap_04_..` in source/src/fold.rs |
//! | 5 an update logged as 1 and 2 | folded when the key is the same, but in `debezium_strict`; a change of key says so in headers | `trap_05_..` in source/src/fold.rs |
//! | 6 keys that are swapped | deletes before inserts, the last event of a key is its truth | `trap_06_..` in source/src/fold.rs |
//! | 7 seqval does not rise with the command | resume by commit, command, seqval, operation | `trap_07_..` in libs/change/src/position.rs |
//! | 8 an instance without start_lsn | waited for | `trap_08_..` in source/src/choose.rs |
//! | 9 two instances with one start_lsn | the newest | `trap_09_..` in source/src/choose.rs |
//! | 10 has_drop_pending | not used, no failure | `trap_10_..` here |
//! | 11 an idle database loses its LSNs | our position stays; NULL is nothing | `trap_11_..` here |
//! | 12 times in the server's zone | the offset is read at each poll | `trap_12_..` here |
//! | 13 a huge transaction | read as a stream, split over Kafka transactions, resumed inside | `trap_13_..` in restart.rs |
//! | 14 large values left out | the placeholder; a row that is copied meanwhile comes with it | `trap_14_..` in libs/sqlserver/src/mask.rs, large.rs |
//! | 15 computed columns are NULL | left out of the events and their schema | `trap_15_..` here |
//! | 16 another type under the same instance | registered; what the registry refuses stops its table, with advice, until it is taken | `trap_16_..` in halted.rs |
//! | 17 a column is added | the second instance takes over at its start | `trap_17_..` in schema.rs |
//! | 18 an instance made anew under its old name | known by object_id | `trap_18_..` in gaps.rs |
//! | 19 a restore or failover | known by recovery fork and by a log that went back | `trap_19_..` in gaps.rs |
//! | 20 DDL under a snapshot (3961) | the chunk is read again | `trap_20_..` in libs/sqlserver/src/error.rs |
//! | 21 Unicode parameters against varchar keys | parameters of the column's exact type and collation | `trap_21_..` in libs/sqlserver/src/types.rs |
//! | 22 the server's order of GUIDs and strings | keys are ordered by the server alone | `trap_22_..` in parts.rs |
//! | 23 NOLOCK reads | none | `trap_23_..` in libs/sqlserver/src/queries.rs |
//! | 24 one answer at a time on a connection | a connection for each open table, of which there are at most 32 | `trap_24_..` here |
//! | 25 a join with the times for each row | times are read once for a range | `trap_25_..` in libs/sqlserver/src/queries.rs |
//! | 26 long transactions hold the log | reads of the stream open none | `trap_26_..` in libs/sqlserver/src/queries.rs |
//! | 27 a polling interval of 0 (Azure) | the interval is asked for nowhere in deciding | `trap_27_..` here |
//! | 28 `max text repl size` | `check` warns | `trap_28_..` here |
//! | 29 TRUNCATE, SWITCH | TRUNCATE is refused by the server; SWITCH: docs/runbook.md | `trap_29_..` here |
//! | 30 hundreds of idle tables | one look decides that nothing happened; then one question finds the busy ones | `trap_30_..` here |
//! | 31 history tables of temporal tables | left out | `trap_31_..` here, and in libs/sqlserver/src/queries.rs |
//! | 32 sentinels beyond nanoseconds | the column goes over to microseconds | `trap_32_..` in libs/avro/src/schema_tests.rs |
//! | 33 keys that differ in case only | an event carries the key as stored, old and new; so both are noted | `trap_33_..` here |

use std::time::{Duration, Instant};

use causeway_change::{Operation, Value};
use causeway_tests::{
    process::Proc,
    sqlserver::{Options, exec, rows},
    wait,
};
use serde_json::Value as Json;

use crate::{
    LIMIT,
    order::words,
    rig::{Reader, Rig},
};

const COLUMNS: &str = "id int NOT NULL PRIMARY KEY, x int NULL";

fn controlled() -> Options {
    Options {
        arguments: ["--control", "127.0.0.1:0"].map(str::to_owned).to_vec(),
        ..Options::default()
    }
}

/// The base URL of the stand-in's control interface.
fn control(rig: &Rig) -> String {
    let said = rig.sqlserver.tail(50);
    let address = said.split("control on ").nth(1).and_then(|rest| rest.split_whitespace().next());
    format!("http://{}", address.unwrap_or_else(|| panic!("no control interface: {said}")))
}

/// Every text that the server was sent so far.
async fn sent(rig: &Rig) -> Vec<String> {
    let url = format!("{}/sql-log", control(rig));
    reqwest::get(url).await.unwrap().json().await.unwrap()
}

async fn started(rig: &Rig) -> Proc {
    let mut source = rig.start();
    source.ready(LIMIT).await.unwrap();
    source
}

async fn event(reader: &mut Reader, source: &mut Proc, wanted: impl Fn(&Reader) -> bool) {
    let end = Instant::now() + LIMIT;
    while !wanted(reader) {
        source.must_run().unwrap();
        assert!(Instant::now() < end, "{:?}\n{}", reader.events, source.tail(20));
        reader.drain(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_01_a_snapshot_is_right_while_capture_lags() {
    let options = Options { capture_latency_ms: 1_500, ..Options::default() };
    let rig = Rig::alone("lag", options).await;
    rig.table("a", COLUMNS).await;
    let values: Vec<String> = (1..=200).map(|i| format!("({i}, 0)")).collect();
    rig.exec(&format!("INSERT INTO dbo.a VALUES {}", values.join(","))).await;
    let mut source = rig.start();
    // Captured long after the rows were read.
    for i in 1..=40 {
        rig.exec(&format!(
            "UPDATE dbo.a SET x = {i} WHERE id % 5 = {}; DELETE FROM dbo.a WHERE id = {}",
            i % 5,
            i * 5
        ))
        .await;
    }
    let mut reader = rig.reader(&["a"]).await;
    rig.equal(&mut reader, &["a"], &mut source).await;
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_03_cleanup_while_we_read_is_a_gap() {
    let mut rig = Rig::alone("midread", controlled()).await;
    rig.set("source.on_gap", "resnapshot");
    rig.table("a", "id int NOT NULL PRIMARY KEY, x nvarchar(200) NULL").await;
    let mut source = started(&rig).await;
    source.logged("snapshot published", LIMIT).await.unwrap();
    let mut client = rig.client().await;
    // Every 32 kB of an answer take a while.
    exec(&mut client, "EXEC standin.control N'pause_capture'").await.unwrap();
    for from in (0..6_000).step_by(500) {
        let values: Vec<String> =
            (from..from + 500).map(|i| format!("({i}, REPLICATE(N'x', 100))")).collect();
        exec(&mut client, &format!("INSERT INTO dbo.a VALUES {}", values.join(","))).await.unwrap();
    }
    exec(
        &mut client,
        "EXEC standin.control N'reply_delay_ms=100'; EXEC standin.control N'resume_capture'",
    )
    .await
    .unwrap();
    let reads = |text: &String| text.contains("FROM [cdc].[dbo_a_CT]") && text.contains("ORDER BY");
    wait::until("the read of the changes", LIMIT, || async {
        Ok(sent(&rig).await.iter().any(reads).then_some(()))
    })
    .await
    .unwrap();
    exec(&mut client, "EXEC standin.control N'cleanup'").await.unwrap();
    exec(&mut client, "EXEC standin.control N'reply_delay_ms=0'").await.unwrap();
    let mut reader = rig.reader(&["a"]).await;
    rig.equal(&mut reader, &["a"], &mut source).await;
    let gaps = source.metrics().await.unwrap().sum("causeway_source_gaps_total");
    assert_eq!(gaps, Some(1.0), "{}", source.tail(20));
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_10_an_instance_that_is_being_dropped_is_not_used() {
    let rig = Rig::new("dropping").await;
    rig.table("a", COLUMNS).await;
    rig.table("b", COLUMNS).await;
    rig.exec("UPDATE cdc.change_tables SET has_drop_pending = 1 WHERE capture_instance = N'dbo_a'")
        .await;
    rig.exec("INSERT INTO dbo.b VALUES (1, 1)").await;
    let mut source = started(&rig).await;
    let mut reader = rig.reader(&["b"]).await;
    rig.equal(&mut reader, &["b"], &mut source).await;
    let config = causeway_kafka::Config::new(rig.kafka.bootstrap());
    let topics = causeway_kafka::Admin::new(&config).unwrap().list(&rig.name).await.unwrap();
    assert!(topics.iter().all(|t| !t.name.ends_with(".dbo.a")), "{topics:?}");
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_11_an_idle_database_that_forgets_its_lsns_changes_nothing() {
    let rig = Rig::new("forgets").await;
    rig.table("a", COLUMNS).await;
    let mut source = started(&rig).await;
    rig.exec("INSERT INTO dbo.a VALUES (1, 1)").await;
    let mut reader = rig.reader(&["a"]).await;
    event(&mut reader, &mut source, |r| !r.events.is_empty()).await;
    rig.exec("EXEC standin.control N'idle_row_seconds=3600'; EXEC standin.control N'idle_cleanup'")
        .await;
    let mut client = rig.client().await;
    let left = rows(&mut client, "SELECT COUNT(*) FROM cdc.lsn_time_mapping").await.unwrap();
    assert_eq!(left[0].get::<i32, _>(0), Some(0));
    // While it runs and over a restart.
    for id in 2..=3 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        source.must_run().unwrap();
        assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
        source = started(&rig).await;
        rig.exec(&format!("INSERT INTO dbo.a VALUES ({id}, 1)")).await;
        rig.equal(&mut reader, &["a"], &mut source).await;
    }
    assert_eq!(words(&reader, "a"), ["c1", "c2", "c3"]);
    assert_eq!(
        source.metrics().await.unwrap().sum("causeway_source_gaps_total").unwrap_or(0.0),
        0.0
    );
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_12_times_are_utc_in_every_zone_and_when_the_clock_is_put_back() {
    let rig = Rig::alone("zones", controlled()).await;
    rig.table("a", COLUMNS).await;
    let mut source = started(&rig).await;
    let mut reader = rig.reader(&["a"]).await;
    let http = reqwest::Client::new();
    // Sydney in summer and in winter, Kathmandu, Newfoundland, UTC.
    for (id, minutes) in (1..).zip([660, 600, 345, -150, 0]) {
        let url = format!("{}/clock/offset?minutes={minutes}", control(&rig));
        assert!(http.post(url).send().await.unwrap().status().is_success());
        let before = now_ms();
        rig.exec(&format!("INSERT INTO dbo.a VALUES ({id}, 1)")).await;
        let count = usize::try_from(id).unwrap();
        event(&mut reader, &mut source, |r| r.events.len() >= count).await;
        let at = reader.commit_times[count - 1];
        assert!((before - 10..=now_ms() + 10).contains(&at), "{minutes}: {}", at - before);
    }
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_millis()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_15_a_computed_column_is_never_published_as_null() {
    let rig = Rig::new("computed").await;
    rig.table(
        "a",
        "id int NOT NULL PRIMARY KEY, x int NULL, twice AS (x * 2), thrice AS (x * 3) PERSISTED",
    )
    .await;
    rig.exec("INSERT INTO dbo.a (id, x) VALUES (1, 1)").await;
    let mut source = started(&rig).await;
    source.logged("snapshot published", LIMIT).await.unwrap();
    rig.exec("INSERT INTO dbo.a (id, x) VALUES (2, 2); UPDATE dbo.a SET x = 5 WHERE id = 1").await;
    let mut reader = rig.reader(&["a"]).await;
    rig.equal(&mut reader, &["a"], &mut source).await;
    assert!(reader.tables["a"]["000000000001"] == [Value::I32(1), Value::I32(5)]);
    let url = format!(
        "{}/subjects/{}.{}.dbo.a-value/versions/latest",
        rig.registry.url(),
        rig.name,
        rig.name
    );
    let answer: Json = reqwest::get(url).await.unwrap().json().await.unwrap();
    let schema = answer["schema"].as_str().unwrap();
    assert!(!schema.contains("twice") && !schema.contains("thrice"), "{schema}");
    source.logged("computed: change tables hold no value for it", LIMIT).await.unwrap();
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_24_a_transaction_over_more_tables_than_connections_arrives_whole() {
    let mut rig = Rig::new("many").await;
    rig.set("source.snapshot.mode", "no_data");
    let names: Vec<String> = (1..=40).map(|i| format!("t{i}")).collect();
    for name in &names {
        rig.table(name, COLUMNS).await;
    }
    let mut source = started(&rig).await;
    let sql: Vec<String> =
        names.iter().map(|name| format!("INSERT INTO dbo.{name} VALUES (1, 1)")).collect();
    rig.exec(&format!("BEGIN TRAN; {}; COMMIT", sql.join("; "))).await;
    let tables: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut reader = rig.reader(&tables).await;
    rig.equal(&mut reader, &tables, &mut source).await;
    assert_eq!(reader.events.len(), 40);
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_27_a_polling_interval_of_zero_disturbs_nothing() {
    let rig = Rig::new("azure").await;
    rig.table("a", COLUMNS).await;
    rig.exec("EXEC sys.sp_cdc_change_job @job_type = N'capture', @pollinginterval = 0").await;
    let checked = rig.command(&["check"]).await;
    assert_eq!(checked.code, 0, "{}{}", checked.stdout, checked.stderr);
    let mut source = started(&rig).await;
    rig.exec("INSERT INTO dbo.a VALUES (1, 1)").await;
    let mut reader = rig.reader(&["a"]).await;
    rig.equal(&mut reader, &["a"], &mut source).await;
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_28_a_limit_of_large_values_is_warned_of_in_time() {
    let rig = Rig::alone("textsize", Options::default()).await;
    rig.table("a", "id int NOT NULL PRIMARY KEY, note nvarchar(max) NULL").await;
    let checked = rig.command(&["check"]).await;
    let said = checked.stdout + &checked.stderr;
    assert_eq!(checked.code, 0, "{said}");
    assert!(
        said.contains("`max text repl size` is 65536 bytes") && said.contains("dbo.a"),
        "{said}"
    );
    assert!(said.contains("EXEC sp_configure 'max text repl size', -1; RECONFIGURE;"), "{said}");
    rig.exec("EXEC sp_configure 'max text repl size', -1; RECONFIGURE").await;
    let checked = rig.command(&["check"]).await;
    assert!(!(checked.stdout + &checked.stderr).contains("max text repl size"));
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_29_truncate_is_refused_and_bulk_inserts_are_captured() {
    let mut rig = Rig::new("truncate").await;
    rig.set("kafka.partitions", 1);
    rig.set("source.snapshot.mode", "no_data");
    rig.table("a", COLUMNS).await;
    let mut source = started(&rig).await;
    rig.exec("INSERT INTO dbo.a SELECT v.id, v.id FROM (VALUES (1), (2), (3)) AS v(id)").await;
    let mut client = rig.client().await;
    let refused = exec(&mut client, "TRUNCATE TABLE dbo.a").await.unwrap_err();
    assert!(format!("{refused:#}").contains("4711"), "{refused:#}");
    let mut reader = rig.reader(&["a"]).await;
    rig.equal(&mut reader, &["a"], &mut source).await;
    assert_eq!(words(&reader, "a"), ["c1", "c2", "c3"]);
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_30_idle_tables_are_not_read() {
    let mut rig = Rig::alone("idletables", controlled()).await;
    rig.set("source.snapshot.mode", "no_data");
    rig.set("source.poll_interval_ms", 20);
    for i in 1..=50 {
        rig.table(&format!("t{i}"), COLUMNS).await;
    }
    let mut source = started(&rig).await;
    let read = |texts: &[String]| {
        let changes = |text: &&String| text.contains("_CT]") && text.contains("ORDER BY");
        texts.iter().filter(changes).cloned().collect::<Vec<_>>()
    };
    let polls = |m: &causeway_tests::metrics::Metrics| {
        m.sum("causeway_source_poll_seconds_count").unwrap_or(0.0)
    };
    // Many looks, and no change table was touched.
    let begin = polls(&source.metrics().await.unwrap());
    let end = Instant::now() + LIMIT;
    while polls(&source.metrics().await.unwrap()) < begin + 20.0 {
        assert!(Instant::now() < end);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(read(&sent(&rig).await), [""; 0]);
    // One table is busy: one table is read.
    rig.exec("INSERT INTO dbo.t7 VALUES (1, 1)").await;
    let mut reader = rig.reader(&["t7"]).await;
    rig.equal(&mut reader, &["t7"], &mut source).await;
    let texts = read(&sent(&rig).await);
    assert!(
        !texts.is_empty() && texts.iter().all(|t| t.contains("[cdc].[dbo_t7_CT]")),
        "{texts:?}"
    );
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_31_a_temporal_table_is_replicated_without_its_history() {
    let mut rig = Rig::new("temporal").await;
    rig.set("kafka.partitions", 1);
    rig.exec(
        "CREATE TABLE dbo.a (id int NOT NULL PRIMARY KEY, x int NULL, \
         since datetime2(3) GENERATED ALWAYS AS ROW START NOT NULL, till datetime2(3) GENERATED ALWAYS AS ROW END NOT NULL, \
         PERIOD FOR SYSTEM_TIME (since, till)) WITH (SYSTEM_VERSIONING = ON (HISTORY_TABLE = dbo.a_history))",
    )
    .await;
    rig.sqlserver.capture(&rig.name, "dbo", "a").await.unwrap();
    rig.exec("INSERT INTO dbo.a (id, x) VALUES (1, 1), (2, 2)").await;
    let checked = rig.command(&["check"]).await;
    let said = checked.stdout + &checked.stderr;
    assert_eq!(checked.code, 0, "{said}");
    assert!(!said.contains("a_history"), "{said}");
    let mut source = started(&rig).await;
    source.logged("snapshot published", LIMIT).await.unwrap();
    rig.exec("UPDATE dbo.a SET x = 5 WHERE id = 1; DELETE FROM dbo.a WHERE id = 2").await;
    let mut client = rig.client().await;
    let old = rows(&mut client, "SELECT COUNT(*) FROM dbo.a_history").await.unwrap();
    assert_eq!(old[0].get::<i32, _>(0), Some(2));
    let mut reader = rig.reader(&["a"]).await;
    rig.equal(&mut reader, &["a"], &mut source).await;
    assert_eq!(words(&reader, "a")[2..], ["u1", "d2"]);
    let config = causeway_kafka::Config::new(rig.kafka.bootstrap());
    let topics = causeway_kafka::Admin::new(&config).unwrap().list(&rig.name).await.unwrap();
    assert!(topics.iter().all(|t| !t.name.contains("history")), "{topics:?}");
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_33_a_key_that_changes_in_case_only_while_it_is_copied() {
    let mut rig = Rig::new("casekeys").await;
    rig.table("a", "k nvarchar(40) NOT NULL PRIMARY KEY, x int NULL").await;
    let values: Vec<String> = (1..=1000).map(|i| format!("(N'name {i:04}', 0)")).collect();
    rig.exec(&format!("INSERT INTO dbo.a VALUES {}", values.join(","))).await;
    rig.set("source.snapshot.chunk_rows", 50);
    let mut source = rig.start();
    let mut client = rig.client().await;
    for i in (1..=1000).step_by(25) {
        let sql = format!("UPDATE dbo.a SET k = UPPER(k), x = {i} WHERE k = N'Name {i:04}'");
        exec(&mut client, &sql).await.unwrap();
        let sql = format!("DELETE FROM dbo.a WHERE k = N'NAME {:04} '", i + 1);
        exec(&mut client, &sql).await.unwrap();
        let sql = format!("INSERT INTO dbo.a VALUES (N'Name {:04}', -1)", i + 1);
        exec(&mut client, &sql).await.unwrap();
    }
    source.logged("snapshot published", LIMIT).await.unwrap();
    let mut reader = rig.reader(&["a"]).await;
    rig.equal(&mut reader, &["a"], &mut source).await;
    assert!(reader.events.iter().any(|e| e.operation == Operation::Read));
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}
