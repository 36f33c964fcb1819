//! Inserts, updates, deletes, key changes, values that were left out, tables without key.

use causeway_change::{ColumnType, Length, Table, Value};
use causeway_tests::shared;

use crate::rig::{LIMIT, Rig, create, delete, read, table, text, update};

fn notes() -> Table {
    table(
        "dbo",
        "Notes",
        &[
            ("id", ColumnType::Int, false),
            ("title", ColumnType::NVarChar(Length::Of(20)), false),
            ("body", ColumnType::NVarChar(Length::Max), true),
        ],
    )
}

fn row(id: i32, title: &str, body: Option<&str>) -> Vec<Value> {
    vec![Value::I32(id), text(title), body.map_or(Value::Null, text)]
}

fn untouched(id: i32, title: &str) -> Vec<Value> {
    vec![Value::I32(id), text(title), Value::Unavailable]
}

const ALL: &str = "SELECT coalesce(string_agg(id || ':' || title || ':' || coalesce(body, '-'), ' ' ORDER BY id), '') \
                   FROM public.\"Notes\"";

#[tokio::test(flavor = "multi_thread")]
async fn the_last_change_of_a_key_wins_in_one_batch_and_over_several() {
    let rig = Rig::new("changes").await;
    let postgres = shared::postgres().await;
    let feed = rig.table(notes()).await;
    // All of it is there before the sink starts: one batch.
    rig.send(
        &feed,
        &[
            read(row(1, "a", Some("one"))),
            read(row(2, "b", Some("two"))),
            read(row(3, "c", None)),
            // Updated twice; the body was left out of the second.
            update(row(1, "a", Some("one")), row(1, "a2", Some("one!"))),
            update(row(1, "a2", Some("one!")), untouched(1, "a3")),
            // Deleted, and made again.
            delete(row(2, "b", Some("two"))),
            create(row(2, "b2", None)),
            // Its key changes: a delete and a create.
            delete(row(3, "c", None)),
            create(row(30, "c", None)),
            // Made and gone.
            create(row(4, "d", None)),
            delete(row(4, "d", None)),
        ],
    )
    .await;
    let mut sink = rig.sink();
    rig.applied(postgres, &feed).await;
    rig.until(postgres, ALL, "1:a3:one! 2:b2:- 30:c:-".to_owned()).await;

    // The same over several batches: what is left out must not be overwritten.
    rig.send(&feed, &[update(row(1, "a3", None), untouched(1, "a4"))]).await;
    rig.until(postgres, ALL, "1:a4:one! 2:b2:- 30:c:-".to_owned()).await;
    rig.send(&feed, &[update(untouched(1, "a4"), row(1, "a5", None))]).await;
    rig.until(postgres, ALL, "1:a5:- 2:b2:- 30:c:-".to_owned()).await;
    rig.send(&feed, &[delete(row(30, "c", None)), delete(row(77, "never", None))]).await;
    rig.until(postgres, ALL, "1:a5:- 2:b2:-".to_owned()).await;
    // An update of a row that is not there, with a value left out, makes none with a wrong value.
    rig.send(&feed, &[update(row(9, "x", None), untouched(9, "y"))]).await;
    rig.applied(postgres, &feed).await;
    rig.until(postgres, ALL, "1:a5:- 2:b2:-".to_owned()).await;

    let refused: i64 =
        rig.ask(postgres, "SELECT count(*) FROM _causeway.dead_letter").await.unwrap();
    assert_eq!(refused, 0);
    assert_eq!(sink.terminate(LIMIT).await.unwrap(), 0, "{}", sink.tail(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_key_gets_each_row_once() {
    let rig = Rig::new("keyless").await;
    let postgres = shared::postgres().await;
    let log = Table {
        key: Vec::new(),
        ..table("dbo", "log", &[("line", ColumnType::VarChar(Length::Max), true)])
    };
    let feed = rig.table(log).await;
    let mut sink = rig.sink();
    for _ in 0..3 {
        rig.send(&feed, &[create(vec![text("same")]), create(vec![Value::Null])]).await;
        rig.applied(postgres, &feed).await;
        sink.kill9();
        sink = rig.sink();
    }
    sink.ready(LIMIT).await.unwrap();
    rig.until(postgres, "SELECT count(*) FROM public.log", 6i64).await;
    assert_eq!(sink.terminate(LIMIT).await.unwrap(), 0, "{}", sink.tail(20));
    rig.until(postgres, "SELECT count(line) FROM public.log", 3i64).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_some_size_arrives_whole() {
    let rig = Rig::new("snapshot").await;
    let postgres = shared::postgres().await;
    let feed = rig.table(notes()).await;
    let rows: Vec<_> = (0..2_000).map(|id| read(row(id, "t", Some("b")))).collect();
    let mut sink = rig.sink();
    // Twice: the second time every row is there already, and COPY alone would fail.
    for _ in 0..2 {
        let sends = rows.chunks(500).map(|rows| rig.send(&feed, rows));
        futures_util::future::join_all(sends).await;
        rig.applied(postgres, &feed).await;
        rig.until(postgres, "SELECT count(*) FROM public.\"Notes\"", 2_000i64).await;
    }
    assert_eq!(sink.terminate(LIMIT).await.unwrap(), 0, "{}", sink.tail(20));
}
