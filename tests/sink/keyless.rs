//! Tables without key: a row is found by all its values.

use causeway_change::{ColumnType, Length, Table, Value};
use causeway_tests::shared;

use crate::rig::{LIMIT, Rig, create, delete, read, table, text, update};

fn log() -> Table {
    Table {
        key: Vec::new(),
        ..table(
            "dbo",
            "log",
            &[
                ("a", ColumnType::Int, true),
                ("line", ColumnType::NVarChar(Length::Of(40)), true),
                ("big", ColumnType::NVarChar(Length::Max), true),
                ("doc", ColumnType::Xml, true),
                ("x", ColumnType::Float, true),
            ],
        )
    }
}

fn row(a: Option<i32>, line: &str, big: Value) -> Vec<Value> {
    vec![a.map_or(Value::Null, Value::I32), text(line), big, text("<a/>"), Value::F64(0.5)]
}

const ALL: &str = "SELECT coalesce(string_agg(coalesce(a::text, '-') || line || coalesce(big, '-'), ' ' ORDER BY a, line, big), '') FROM log";

#[tokio::test(flavor = "multi_thread")]
async fn an_update_and_a_delete_take_one_row_that_is_equal_in_all_values() {
    let postgres = shared::postgres().await;
    let rig = Rig::new("matched").await;
    let feed = rig.table(log()).await;
    let mut sink = rig.sink();
    let is = |big: &str| text(big);
    let to = |made: crate::rig::Made| made.to(0);
    let first: Vec<_> = [
        read(row(Some(1), "same", is("b"))),
        read(row(Some(1), "same", is("b"))),
        read(row(Some(1), "same", is("b"))),
        create(row(None, "null", Value::Null)),
        create(row(None, "null", Value::Null)),
        // In one batch with the rows that they are about.
        delete(row(Some(1), "same", is("b"))),
        update(row(None, "null", Value::Null), row(Some(2), "was null", Value::Null)),
        update(row(Some(1), "same", is("b")), row(Some(1), "other", is("c"))),
    ]
    .map(to)
    .into();
    rig.send(&feed, &first).await;
    rig.until(postgres, ALL, "1otherc 1sameb 2was null- -null-".to_owned()).await;
    sink.kill9();
    let mut sink2 = rig.sink();
    // The update leaves a large value alone, and does not know it.
    let second: Vec<_> = [
        update(row(Some(1), "other", Value::Unavailable), row(Some(3), "kept", Value::Unavailable)),
        delete(row(None, "null", Value::Null)),
    ]
    .map(to)
    .into();
    rig.send(&feed, &second).await;
    rig.until(postgres, ALL, "1sameb 2was null- 3keptc".to_owned()).await;
    let letters: i64 =
        rig.ask(postgres, "SELECT count(*) FROM _causeway.dead_letter").await.unwrap();
    assert_eq!(letters, 0);
    assert_eq!(sink2.terminate(LIMIT).await.unwrap(), 0, "{}", sink2.tail(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_not_there_or_not_known_is_a_dead_letter_and_the_rest_goes_on() {
    let postgres = shared::postgres().await;
    let rig = Rig::new("unmatched").await;
    let feed = rig.table(log()).await;
    let changes: Vec<_> = [
        create(row(Some(1), "one", text("b"))),
        create(row(Some(1), "one", text("c"))),
        delete(row(Some(9), "nobody", text("b"))),
        // Two rows would do. (The tombstone of the delete has an offset, too.)
        update(row(Some(1), "one", Value::Unavailable), row(Some(2), "two", Value::Unavailable)),
        create(row(Some(3), "three", Value::Null)),
    ]
    .map(|made| made.to(0))
    .into();
    rig.send(&feed, &changes).await;
    let mut sink = rig.sink();
    rig.until(postgres, ALL, "1oneb 1onec 3three-".to_owned()).await;
    rig.until(
        postgres,
        "SELECT string_agg(partition_offset || reason, '; ') FROM (SELECT \"offset\" AS partition_offset, \
           CASE WHEN reason LIKE '%no row has all the values%' THEN ' none' WHEN reason LIKE '%leaves out a large value%' \
           THEN ' several' ELSE reason END AS reason FROM _causeway.dead_letter ORDER BY \"offset\") AS l",
        "2 none; 4 several".to_owned(),
    )
    .await;
    sink.must_run().unwrap();
    // Its row has come: the letter can be replayed.
    rig.send(&feed, &[create(row(Some(9), "nobody", text("b"))).to(0)]).await;
    rig.until(postgres, "SELECT count(*) FROM log", 4i64).await;
    let config = rig.config();
    let args = ["dlq", "replay", "--reason", "no row has"];
    let replayed =
        causeway_tests::process::run("causeway-sink", &args, &config, LIMIT).await.unwrap();
    assert_eq!(replayed.code, 0, "{}{}", replayed.stdout, replayed.stderr);
    rig.until(postgres, "SELECT count(*) FROM log", 3i64).await;
    assert_eq!(sink.terminate(LIMIT).await.unwrap(), 0, "{}", sink.tail(20));
}
