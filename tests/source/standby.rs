//! Two sources of one pipeline: one works, the other waits and takes over. Neither fences the other in turns.

use std::time::Duration;

use causeway_tests::{process::Proc, sqlserver::exec};
use serde_json::Value as Json;

use crate::{LIMIT, rig::Rig};

const WAITS: &str = "this one waits as its standby";
const TAKES_OVER: &str = "this source takes over";

/// Waits until the status page says so.
async fn is(source: &mut Proc, state: &str) {
    let what = format!("the state {state}");
    let limit = tokio::time::Instant::now() + LIMIT;
    loop {
        source.must_run().unwrap();
        let found = source.status().await.unwrap()["state"].clone();
        if found == state {
            return;
        }
        assert!(tokio::time::Instant::now() < limit, "{what}: {found}\n{}", source.tail(30));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A pair: the first works and the second waits.
async fn pair(rig: &Rig) -> (Proc, Proc) {
    let mut first = rig.start();
    first.ready(LIMIT).await.unwrap();
    let mut second = rig.start();
    second.logged(WAITS, LIMIT).await.unwrap();
    is(&mut second, "standby").await;
    assert!(second.page("/ready").await.is_err(), "a standby is not ready");
    assert_eq!(second.metrics().await.unwrap().sum("causeway_source_active"), Some(0.0));
    is(&mut first, "running").await;
    assert_eq!(first.metrics().await.unwrap().sum("causeway_source_active"), Some(1.0));
    (first, second)
}

fn times(source: &Proc, message: &str) -> usize {
    let is_it = |line: &&Json| line.to_string().contains(message);
    source.log().iter().filter(is_it).count()
}

/// Writes rows of two tables, a transaction at a time, until it has written them all.
fn load(mut writer: causeway_tests::sqlserver::Client, rows: u32) -> tokio::task::JoinSet<()> {
    let mut load = tokio::task::JoinSet::new();
    load.spawn(async move {
        for i in 1..=rows {
            let sql = format!(
                "BEGIN TRAN; INSERT INTO dbo.a VALUES ({i}, 0); INSERT INTO dbo.b VALUES ({i}, 0); \
                 UPDATE dbo.a SET x = x + 1 WHERE id > {i} - 5; DELETE FROM dbo.b WHERE id = {i} - 7; COMMIT"
            );
            exec(&mut writer, &sql).await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    load
}

async fn rig(what: &str) -> Rig {
    let rig = Rig::new(what).await;
    rig.table("a", "id int NOT NULL PRIMARY KEY, x int NULL").await;
    rig.table("b", "id int NOT NULL PRIMARY KEY, x int NULL").await;
    rig
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_takes_over_from_a_source_that_is_killed() {
    let rig = rig("killed").await;
    let (mut first, mut second) = pair(&rig).await;
    let mut load = load(rig.client().await, 600);
    first.logged("snapshot published", LIMIT).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    first.kill9();
    second.ready(LIMIT).await.unwrap();
    assert_eq!(times(&second, TAKES_OVER), 1);
    // What comes back is the standby now.
    let mut third = rig.start();
    third.logged(WAITS, LIMIT).await.unwrap();
    load.join_next().await.unwrap().unwrap();
    let mut reader = rig.reader(&["a", "b"]).await;
    rig.equal(&mut reader, &["a", "b"], &mut second).await;
    is(&mut second, "running").await;
    is(&mut third, "standby").await;
    assert_eq!(second.terminate(LIMIT).await.unwrap(), 0);
    third.ready(LIMIT).await.unwrap();
    rig.exec("UPDATE dbo.a SET x = -1").await;
    rig.equal(&mut reader, &["a", "b"], &mut third).await;
    assert_eq!(third.terminate(LIMIT).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_was_frozen_finds_itself_fenced_and_waits() {
    let rig = rig("frozen").await;
    let (mut first, mut second) = pair(&rig).await;
    let mut load = load(rig.client().await, 900);
    first.logged("snapshot published", LIMIT).await.unwrap();
    first.signal("STOP").unwrap();
    second.ready(LIMIT).await.unwrap();
    first.signal("CONT").unwrap();
    is(&mut first, "standby").await;
    load.join_next().await.unwrap().unwrap();
    let mut reader = rig.reader(&["a", "b"]).await;
    rig.equal(&mut reader, &["a", "b"], &mut second).await;
    // One change of hands, and no more.
    is(&mut first, "standby").await;
    is(&mut second, "running").await;
    assert_eq!((times(&first, TAKES_OVER), times(&second, TAKES_OVER)), (0, 1));
    assert_eq!(times(&second, "fenced"), 0, "{}", second.tail(30));
    // It is as good a standby as any.
    second.kill9();
    first.ready(LIMIT).await.unwrap();
    rig.exec("UPDATE dbo.a SET x = -1").await;
    rig.equal(&mut reader, &["a", "b"], &mut first).await;
    assert_eq!(first.terminate(LIMIT).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_killed_and_started_again_does_not_wait_for_itself() {
    let rig = rig("again").await;
    let mut source = rig.start();
    source.ready(LIMIT).await.unwrap();
    for _ in 0..3 {
        source.kill9();
        source = rig.start();
        source.ready(LIMIT).await.unwrap();
        assert_eq!(times(&source, WAITS), 0, "{}", source.tail(30));
    }
    // The group has said by now that it may.
    source.logged("gives this process the lease", LIMIT).await.unwrap();
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sources_that_start_together_agree() {
    let rig = rig("together").await;
    // One file: they read it at the same moment.
    let config = rig.write();
    let start = || Proc::start("causeway-source", &["run"], &config).unwrap();
    let mut sources = [start(), start(), start()];
    rig.exec("INSERT INTO dbo.a VALUES (1, 1)").await;
    let mut reader = rig.reader(&["a", "b"]).await;
    let [first, ..] = &mut sources;
    rig.equal(&mut reader, &["a", "b"], first).await;
    let mut states = Vec::new();
    let end = tokio::time::Instant::now() + LIMIT;
    while states != ["running", "standby", "standby"] {
        assert!(tokio::time::Instant::now() < end, "{states:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
        states.clear();
        for source in &mut sources {
            source.must_run().unwrap();
            let status = source.status().await.unwrap();
            states.push(status["state"].as_str().unwrap_or("").to_owned());
        }
        states.sort();
    }
    rig.exec("INSERT INTO dbo.b VALUES (2, 2)").await;
    let [first, ..] = &mut sources;
    rig.equal(&mut reader, &["a", "b"], first).await;
}
