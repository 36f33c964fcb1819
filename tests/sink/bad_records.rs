//! Seven bad records of seven kinds in a batch of fifty thousand: seven dead letters, and little more work
//! than for a good batch.

use causeway_change::{ColumnType, Length, Table, Value};
use causeway_tests::{postgres::Postgres, shared};

use crate::rig::{Feed, LIMIT, Made, Rig, create, table, text};

const ROWS: i32 = 50_000;

fn things() -> Table {
    table(
        "dbo",
        "things",
        &[
            ("id", ColumnType::Int, false),
            ("name", ColumnType::VarChar(Length::Of(20)), true),
            ("kind", ColumnType::Int, false),
        ],
    )
}

fn row(id: i32) -> Vec<Value> {
    vec![Value::I32(id), text("a name"), Value::I32(1)]
}

/// A target that refuses more than the source does, and counts statements, also those that fail.
async fn target(rig: &Rig, postgres: &Postgres) {
    let client = postgres.client(&rig.database).await.unwrap();
    client
        .batch_execute(
            "CREATE TABLE kinds (kind integer PRIMARY KEY); INSERT INTO kinds VALUES (1), (2), (4);
             CREATE TABLE things (id integer PRIMARY KEY, name varchar(20), \
               kind integer NOT NULL REFERENCES kinds CHECK (kind <> 4));
             CREATE SEQUENCE statements;
             CREATE FUNCTION counted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
               PERFORM nextval('statements'); RETURN NULL; END $$;
             CREATE TRIGGER counted BEFORE INSERT ON things FOR EACH STATEMENT EXECUTE FUNCTION counted();
             CREATE FUNCTION judged() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
               IF NEW.kind = 2 THEN RAISE EXCEPTION 'not this one'; END IF; RETURN NEW; END $$;
             CREATE TRIGGER judged BEFORE INSERT ON things FOR EACH ROW EXECUTE FUNCTION judged()",
        )
        .await
        .unwrap();
}

async fn produce(rig: &Rig, feed: &Feed, rows: &[Made]) {
    futures_util::future::join_all(rows.chunks(500).map(|rows| rig.send(feed, rows))).await;
}

async fn statements(rig: &Rig, postgres: &Postgres) -> i64 {
    rig.ask(postgres, "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM statements")
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn seven_bad_records_of_fifty_thousand_are_seven_dead_letters_for_few_statements() {
    let mut rig = Rig::new("seven").await;
    let postgres = shared::postgres().await;
    target(&rig, postgres).await;
    rig.set("sink.batch_rows", i64::from(ROWS));
    rig.set("sink.batch_bytes", 1i64 << 30);
    rig.set("sink.batch_age_ms", 30_000i64);
    rig.set("sink.lanes", 1);
    let feed = rig.table(things()).await;
    // Schema and first statements are done with before anything is counted.
    let good: Vec<Made> = (0..ROWS).map(|id| create(row(id))).collect();
    produce(&rig, &feed, &good).await;
    let mut sink = rig.sink();
    rig.applied(postgres, &feed).await;
    let clean = statements(&rig, postgres).await;

    let mut rows: Vec<Made> = (ROWS..2 * ROWS - 7).map(|id| create(row(id))).collect();
    let with = |id: i32, column: usize, value: Value| {
        let mut row = row(id);
        row[column] = value;
        create(row)
    };
    let first = 2 * ROWS - 7;
    // Refused by the encoder: U+0000, a text that is too long.
    rows.insert(100, with(first, 1, text("a\0b")));
    rows.insert(9_000, with(first + 1, 1, text("a text that is longer than twenty")));
    // Refused by PostgreSQL: a foreign key, a CHECK, a trigger.
    rows.insert(20_000, with(first + 2, 2, Value::I32(3)));
    rows.insert(30_000, with(first + 3, 2, Value::I32(4)));
    rows.insert(40_000, with(first + 4, 2, Value::I32(2)));
    // Cannot be read: no Avro at all, a record that is cut off.
    let (key, value) = feed.encode(&create(row(first + 5))).unwrap();
    rig.raw(&feed.topic, None, key.as_deref(), Some(b"{}")).await;
    let (cut_key, _) = feed.encode(&create(row(first + 6))).unwrap();
    rig.raw(&feed.topic, None, cut_key.as_deref(), value.get(..value.len() / 2)).await;
    produce(&rig, &feed, &rows).await;
    rig.applied(postgres, &feed).await;

    rig.until(postgres, "SELECT count(*) FROM things", i64::from(2 * ROWS - 7)).await;
    let sql = "SELECT string_agg(coalesce(sqlstate, stage), ' ' ORDER BY coalesce(sqlstate, stage)) \
               FROM _causeway.dead_letter";
    let reasons: String = rig.ask(postgres, sql).await.unwrap();
    assert_eq!(reasons, "22001 22021 23503 23514 P0001 VALUE_CONVERTER VALUE_CONVERTER");
    // Five parts, and for each of three bad ones the ten pieces of its part and ten halvings of a piece, both
    // halves each.
    let dirty = statements(&rig, postgres).await - clean;
    assert!(
        dirty <= clean + 5 + 3 * (10 + 2 * 11),
        "{dirty} statements, {clean} for a clean batch"
    );
    assert_eq!(sink.terminate(LIMIT).await.unwrap(), 0, "{}", sink.tail(20));
}
