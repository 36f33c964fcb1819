//! Faults of what stands around the sink: a fail-over that lost commits, a network that is cut, a disk that
//! is full, a pooler. Afterwards each change was applied once, and none is in the dead letters.

use std::time::Duration;

use causeway_tests::{
    faults::{Mode, Proxy},
    pgbouncer::PgBouncer,
    postgres::Postgres,
    shared,
};

use crate::{
    exactly_once::{audited, once_each, produce, things},
    rig::{LIMIT, Rig, read, text},
};
use causeway_change::Value;

#[tokio::test(flavor = "multi_thread")]
async fn a_fail_over_to_a_standby_that_lost_the_last_commits_is_made_up_for() {
    let mut primary = Postgres::start().await.unwrap();
    let rig = Rig::on("failover", &primary).await;
    audited(&rig, &primary).await;
    let feed = rig.table(things()).await;
    let mut sink = rig.sink();
    produce(&rig, &feed, 0..300).await;
    rig.applied(&primary, &feed).await;
    let mut standby = primary.standby().await.unwrap();
    rig.until(&standby, "SELECT count(*) FROM things", 300i64).await;
    standby.cut_off().await.unwrap();
    produce(&rig, &feed, 300..500).await;
    rig.applied(&primary, &feed).await;
    let kept: i64 = rig.ask(&standby, "SELECT count(*) FROM things").await.unwrap();
    assert_eq!(kept, 300, "the standby was to lose something");
    let port = primary.port();
    primary.kill9().await;
    standby.promote(port).await.unwrap();
    // Nothing new is written: what was lost must come back all the same.
    once_each(&rig, &standby, 500).await;
    produce(&rig, &feed, 500..600).await;
    once_each(&rig, &standby, 600).await;
    assert_eq!(sink.terminate(LIMIT).await.unwrap(), 0, "{}", sink.tail(20));
}

/// Nothing passes for a while, and then every connection is gone.
async fn cut(what: &str, silence: Duration) {
    let postgres = shared::postgres().await;
    let mut rig = Rig::new(what).await;
    let proxy = Proxy::start(&format!("{}:{}", postgres.host(), postgres.port())).await.unwrap();
    rig.set("postgres.port", i64::from(proxy.address().port()));
    rig.set("postgres.host", "127.0.0.1");
    rig.set("sink.batch_rows", 20);
    audited(&rig, postgres).await;
    let feed = rig.table(things()).await;
    let mut sink = rig.sink();
    produce(&rig, &feed, 0..200).await;
    rig.until(postgres, "SELECT count(*) >= 20 FROM things", true).await;
    proxy.set(Mode::HalfOpen);
    produce(&rig, &feed, 200..400).await;
    tokio::time::sleep(silence).await;
    proxy.cut();
    proxy.set(Mode::Refuse);
    sink.logged("waiting", LIMIT).await.unwrap();
    proxy.set(Mode::Pass);
    once_each(&rig, postgres, 400).await;
    sink.ready(LIMIT).await.unwrap();
    assert_eq!(sink.terminate(LIMIT).await.unwrap(), 0, "{}", sink.tail(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_is_cut_for_a_moment_is_waited_for() {
    cut("cut", Duration::from_secs(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a minute of silence: make conformance"]
async fn a_network_that_is_cut_for_a_minute_is_waited_for() {
    cut("minute", Duration::from_secs(60)).await;
}

/// A trigger says what PostgreSQL says when the disk is full; `disk.rs` has a disk that is.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_waited_for_and_nothing_is_lost() {
    let postgres = shared::postgres().await;
    let rig = Rig::new("full").await;
    audited(&rig, postgres).await;
    let client = postgres.client(&rig.database).await.unwrap();
    client
        .batch_execute(
            "CREATE TABLE disk (is_full boolean); INSERT INTO disk VALUES (false);
             CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
               IF (SELECT is_full FROM disk) THEN
                 RAISE EXCEPTION USING ERRCODE = '53100', MESSAGE = 'could not extend file: No space left on device';
               END IF; RETURN NULL; END $$;
             CREATE TRIGGER full_disk AFTER INSERT ON things FOR EACH STATEMENT EXECUTE FUNCTION full_disk()",
        )
        .await
        .unwrap();
    let feed = rig.table(things()).await;
    let mut sink = rig.sink();
    produce(&rig, &feed, 0..100).await;
    rig.applied(postgres, &feed).await;
    client.batch_execute("UPDATE disk SET is_full = true").await.unwrap();
    produce(&rig, &feed, 100..200).await;
    sink.status_until("the full disk to be named", LIMIT, |status| {
        status["sink"]["state"] == "waiting"
            && status["sink"]["error"].as_str().is_some_and(|error| error.contains("53100"))
    })
    .await
    .unwrap();
    client.batch_execute("UPDATE disk SET is_full = false").await.unwrap();
    once_each(&rig, postgres, 200).await;
    assert_eq!(sink.terminate(LIMIT).await.unwrap(), 0, "{}", sink.tail(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sinks_work_through_pgbouncer_in_transaction_mode() {
    let postgres = shared::postgres().await;
    let mut rig = Rig::new("pgbouncer").await;
    let pooler = PgBouncer::start(postgres, 5).await.unwrap();
    rig.set("postgres.host", "127.0.0.1");
    rig.set("postgres.port", i64::from(pooler.port()));
    rig.set("postgres.pooler", "transaction");
    rig.set("sink.member_timeout_ms", 2_000);
    audited(&rig, postgres).await;
    let feed = rig.table(things()).await;
    let (mut first, mut second) = (rig.sink(), rig.sink());
    // As many as a snapshot has: behind a pooler they take the same ways but the temporary table.
    let rows: Vec<_> = (0..1_000).map(|id| read(vec![Value::I32(id), text("x")])).collect();
    futures_util::future::join_all(rows.chunks(50).map(|rows| rig.send(&feed, rows))).await;
    produce(&rig, &feed, 1_000..1_300).await;
    once_each(&rig, postgres, 1_300).await;
    first.kill9();
    produce(&rig, &feed, 1_300..1_500).await;
    once_each(&rig, postgres, 1_500).await;
    assert_eq!(second.terminate(LIMIT).await.unwrap(), 0, "{}", second.tail(20));
}
