//! Crashes, restarts and twins: an audit trigger on the target sees each change once.

use std::time::Duration;

use causeway_change::{ColumnType, Length, Table, Value};
use causeway_tests::{postgres::Postgres, shared};

use crate::rig::{Feed, LIMIT, Rig, create, table, text};

pub(crate) fn things() -> Table {
    table(
        "dbo",
        "things",
        &[("id", ColumnType::Int, false), ("name", ColumnType::VarChar(Length::Of(20)), true)],
    )
}

/// A table that is there before the sink, and writes down all that is done to it.
pub(crate) async fn audited(rig: &Rig, postgres: &Postgres) {
    let client = postgres.client(&rig.database).await.unwrap();
    client
        .batch_execute(
            "CREATE TABLE things (id integer PRIMARY KEY, name varchar(20)); \
             CREATE TABLE audit (at bigserial, op text, id integer); \
             CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
               INSERT INTO audit (op, id) VALUES (TG_OP, coalesce(NEW.id, OLD.id)); RETURN NULL; END $$; \
             CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON things \
               FOR EACH ROW EXECUTE FUNCTION note()",
        )
        .await
        .unwrap();
}

pub(crate) async fn produce(rig: &Rig, feed: &Feed, ids: std::ops::Range<i32>) {
    let rows: Vec<_> = ids.map(|id| create(vec![Value::I32(id), text("x")])).collect();
    futures_util::future::join_all(rows.chunks(50).map(|rows| rig.send(feed, rows))).await;
}

/// Every id was inserted once, and nothing else happened.
pub(crate) async fn once_each(rig: &Rig, postgres: &Postgres, count: i64) {
    rig.until(postgres, "SELECT count(*) FROM things", count).await;
    rig.until(postgres, "SELECT count(*) FROM audit", count).await;
    let twice: i64 = rig
        .ask(
            postgres,
            "SELECT count(*) FROM (SELECT id FROM audit GROUP BY id HAVING count(*) > 1 \
             OR min(op) <> 'INSERT') t",
        )
        .await
        .unwrap();
    assert_eq!(twice, 0, "rows were applied twice");
    let refused: i64 =
        rig.ask(postgres, "SELECT count(*) FROM _causeway.dead_letter").await.unwrap();
    assert_eq!(refused, 0, "good records are in the dead letters");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_time_a_sink_applies_each_change_once() {
    let mut rig = Rig::new("killed").await;
    rig.set("sink.batch_rows", 20);
    let postgres = shared::postgres().await;
    audited(&rig, postgres).await;
    let feed = rig.table(things()).await;
    let mut sink = rig.sink();
    for round in 0..6 {
        produce(&rig, &feed, round * 300..(round + 1) * 300).await;
        // Not all of it is applied yet when it dies, each time at another place.
        let least = i64::from(round * 300 + 20 + round * 40);
        let sql = format!("SELECT count(*) >= {least} FROM things");
        rig.until(postgres, &sql, true).await;
        sink.kill9();
        sink = rig.sink();
    }
    sink.ready(LIMIT).await.unwrap();
    once_each(&rig, postgres, 1_800).await;
    assert_eq!(sink.terminate(LIMIT).await.unwrap(), 0, "{}", sink.tail(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_cannot_commit() {
    let mut rig = Rig::new("zombie").await;
    rig.set("sink.member_timeout_ms", 2_000);
    let postgres = shared::postgres().await;
    audited(&rig, postgres).await;
    let feed = rig.table(things()).await;
    let mut first = rig.sink();
    produce(&rig, &feed, 0..100).await;
    rig.applied(postgres, &feed).await;
    // It is thought dead, and another one takes over.
    first.signal("STOP").unwrap();
    let mut second = rig.sink();
    produce(&rig, &feed, 100..200).await;
    rig.applied(postgres, &feed).await;
    // It was not dead: it has records in its hands that the other one has applied.
    first.signal("CONT").unwrap();
    produce(&rig, &feed, 200..300).await;
    first.logged("joining again", LIMIT).await.unwrap();
    once_each(&rig, postgres, 300).await;
    for sink in [&mut first, &mut second] {
        assert_eq!(sink.terminate(LIMIT).await.unwrap(), 0, "{}", sink.tail(20));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_postgresql_is_waited_for_and_makes_no_dead_letters() {
    let mut postgres = Postgres::start().await.unwrap();
    let mut rig = Rig::on("outage", &postgres).await;
    rig.set("sink.batch_rows", 20);
    audited(&rig, &postgres).await;
    let feed = rig.table(things()).await;
    let mut sink = rig.sink();
    // Its partitions are taken before the first outage.
    produce(&rig, &feed, 1_200..1_201).await;
    rig.applied(&postgres, &feed).await;
    for round in 0..3 {
        produce(&rig, &feed, round * 400..round * 400 + 200).await;
        postgres.kill9().await;
        produce(&rig, &feed, round * 400 + 200..(round + 1) * 400).await;
        sink.logged("waiting", LIMIT).await.unwrap();
        sink.must_run().unwrap();
        postgres.restart().await.unwrap();
        rig.applied(&postgres, &feed).await;
    }
    once_each(&rig, &postgres, 1_201).await;
    let status = sink.status().await.unwrap();
    assert_eq!(status["sink"]["state"], "applying", "{status}");
    sink.ready(Duration::from_secs(30)).await.unwrap();
    assert_eq!(sink.terminate(LIMIT).await.unwrap(), 0, "{}", sink.tail(20));
}
