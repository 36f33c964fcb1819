//! What becomes of dead letters: superseded by newer changes, parked behind older ones, replayed when the
//! cause is mended, given up. And values that a rule replaces before they become letters.

use causeway_change::{ColumnType, Length, Operation, Table, Value};
use causeway_tests::{postgres::Postgres, process::Ended, shared};

use crate::rig::{Feed, LIMIT, Made, Rig, create, delete, rule, table, text, update};

fn accounts() -> Table {
    table(
        "dbo",
        "accounts",
        &[
            ("id", ColumnType::Int, false),
            ("owner", ColumnType::NVarChar(Length::Of(20)), true),
            ("amount", ColumnType::Int, true),
            ("notes", ColumnType::NVarChar(Length::Max), true),
        ],
    )
}

const TABLE: &str = "CREATE TABLE accounts (id integer PRIMARY KEY, owner varchar(20), \
                     amount integer CONSTRAINT not_negative CHECK (amount >= 0), notes text)";

const ALL: &str = "SELECT coalesce(string_agg(id || ':' || owner || ':' || amount || ':' || coalesce(notes, '-'), ' ' \
                   ORDER BY id), '') FROM accounts";

const LETTERS: &str = "SELECT coalesce(string_agg(\"offset\" || ' ' || status, ', ' ORDER BY \"offset\"), '') \
                       FROM _causeway.dead_letter";

fn row(id: i32, owner: &str, amount: i32) -> Vec<Value> {
    vec![Value::I32(id), text(owner), Value::I32(amount), text("n")]
}

fn partial(id: i32, owner: &str, amount: i32) -> Vec<Value> {
    vec![Value::I32(id), text(owner), Value::I32(amount), Value::Unavailable]
}

fn changed(row: Vec<Value>) -> Made {
    Made { operation: Operation::Update, ..update(row.clone(), row) }
}

async fn rig(what: &str, on_error: Option<&str>) -> (Rig, &'static Postgres, Feed) {
    let mut rig = Rig::new(what).await;
    if let Some(on_error) = on_error {
        rig.set("sink.tables", vec![rule("dbo.*", &[("on_error", on_error)])]);
    }
    let postgres = shared::postgres().await;
    postgres.client(&rig.database).await.unwrap().batch_execute(TABLE).await.unwrap();
    let feed = rig.table(accounts()).await;
    (rig, postgres, feed)
}

async fn run(rig: &Rig, args: &[&str]) -> Ended {
    causeway_tests::process::run("causeway-sink", args, &rig.config(), LIMIT).await.unwrap()
}

async fn sql(rig: &Rig, postgres: &Postgres, text: &str) {
    postgres.client(&rig.database).await.unwrap().batch_execute(text).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_superseded_by_newer_changes_and_replayed_in_order_of_their_key() {
    let (rig, postgres, feed) = rig("replay", None).await;
    // One batch: they are there before the sink.
    let changes = [
        create(row(1, "bad", -1)),   // 0: superseded by 2, in its own batch
        create(row(2, "bad", -2)),   // 1: stays
        changed(row(1, "good", 10)), // 2
        create(row(3, "bad", -3)),   // 3: superseded by 6
        create(row(4, "bad", -4)),   // 4: superseded by a delete
    ];
    let changes: Vec<_> = changes.into_iter().map(|change| change.to(0)).collect();
    rig.send(&feed, &changes).await;
    let mut sink = rig.sink();
    rig.applied(postgres, &feed).await;
    let kept = "0 superseded, 1 pending, 3 pending, 4 pending";
    rig.until(postgres, LETTERS, kept.to_owned()).await;
    rig.send(
        &feed,
        &[
            changed(partial(2, "part", 5)).to(0), // 5: waits for 1
            changed(row(3, "three", 3)).to(0),
            delete(row(4, "x", 1)).to(0),
        ],
    )
    .await;
    let kept = "0 superseded, 1 pending, 3 superseded, 4 superseded, 5 parked";
    rig.until(postgres, LETTERS, kept.to_owned()).await;

    // Nothing is mended: nothing is applied, and the reason stays.
    let ended = run(&rig, &["dlq", "replay"]).await;
    assert_eq!(ended.code, 1, "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("0 letters applied, 1 cannot be, 1 wait"), "{}", ended.stdout);
    let listed = run(&rig, &["dlq", "list"]).await;
    assert_eq!(listed.code, 0, "{}", listed.stderr);
    for part in ["not_negative", "dbo.accounts", "23514", "parked", "2 letters"] {
        assert!(listed.stdout.contains(part), "{part}: {}", listed.stdout);
    }
    assert!(!listed.stdout.contains("bad"), "a value is listed: {}", listed.stdout);

    // Mended: a dry run changes nothing, a younger letter is not applied over an older one.
    sql(&rig, postgres, "ALTER TABLE accounts DROP CONSTRAINT not_negative").await;
    let ended = run(&rig, &["dlq", "replay", "--dry-run"]).await;
    assert!(ended.stdout.contains("2 letters would be applied"), "{}", ended.stdout);
    let young: i64 = rig
        .ask(postgres, "SELECT id FROM _causeway.dead_letter WHERE \"offset\" = 5")
        .await
        .unwrap();
    let young = young.to_string();
    let ended = run(&rig, &["dlq", "replay", "--id", &young]).await;
    assert!(ended.stdout.contains("0 letters applied, 0 cannot be, 1 wait"), "{}", ended.stdout);
    rig.until(postgres, LETTERS, kept.to_owned()).await;
    let ended = run(&rig, &["dlq", "replay", "--table", "dbo.*", "--since", "yesterday"]).await;
    assert_eq!(ended.code, 0, "{}{}", ended.stdout, ended.stderr);
    rig.until(
        postgres,
        LETTERS,
        "0 superseded, 1 replayed, 3 superseded, 4 superseded, 5 replayed".to_owned(),
    )
    .await;
    // What it would have been without any letter.
    rig.until(postgres, ALL, "1:good:10:n 2:part:5:n 3:three:3:n".to_owned()).await;
    // And the key goes on.
    rig.send(&feed, &[changed(partial(2, "on", 6)).to(0)]).await;
    rig.until(postgres, ALL, "1:good:10:n 2:on:6:n 3:three:3:n".to_owned()).await;

    // Values leave the database only when asked for.
    for (args, seen) in [
        (vec!["dlq", "show", young.as_str()], false),
        (vec!["dlq", "show", young.as_str(), "--with-values"], true),
    ] {
        let shown = run(&rig, &args).await;
        assert_eq!(shown.code, 0, "{}", shown.stderr);
        assert_eq!(shown.stdout.contains("\"part\""), seen, "{}", shown.stdout);
        assert!(shown.stdout.contains("\"status\": \"replayed\""), "{}", shown.stdout);
    }
    assert_eq!(sink.terminate(LIMIT).await.unwrap(), 0, "{}", sink.tail(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_key_waits_and_others_go_on_until_it_is_replayed_or_given_up() {
    let (rig, postgres, feed) = rig("park", Some("park_key")).await;
    let changes = [
        create(row(1, "one", 1)),
        changed(row(1, "bad", -1)),
        changed(row(1, "later", 2)),
        create(row(2, "bad", -1)),
        create(row(3, "three", 3)),
    ];
    let changes: Vec<_> = changes.into_iter().map(|change| change.to(0)).collect();
    // The first half is one batch: folding must not hide the record in the middle.
    rig.send(&feed, &changes).await;
    let mut sink = rig.sink();
    rig.applied(postgres, &feed).await;
    rig.send(&feed, &[delete(row(1, "later", 2)).to(0), changed(row(2, "two", 2)).to(0)]).await;
    rig.applied(postgres, &feed).await;
    let letters: String = rig.ask(postgres, LETTERS).await.unwrap();
    // In one batch the bad update was folded into the later one and never seen: then nothing is lost.
    assert!(letters.contains("3 pending") && letters.contains(" parked"), "{letters}");
    rig.until(postgres, "SELECT count(*) FROM accounts WHERE id = 2", 0i64).await;
    rig.until(postgres, "SELECT owner FROM accounts WHERE id = 3", "three".to_owned()).await;

    sql(&rig, postgres, "ALTER TABLE accounts DROP CONSTRAINT not_negative").await;
    let ended = run(&rig, &["dlq", "replay"]).await;
    assert_eq!(ended.code, 0, "{}{}", ended.stdout, ended.stderr);
    rig.until(postgres, ALL, "2:two:2:n 3:three:3:n".to_owned()).await;
    rig.send(&feed, &[changed(row(2, "two!", 4)).to(0)]).await;
    rig.until(postgres, ALL, "2:two!:4:n 3:three:3:n".to_owned()).await;

    // Given up: the key goes on with its next change.
    sql(&rig, postgres, "ALTER TABLE accounts ADD CHECK (amount < 100)").await;
    rig.send(&feed, &[changed(row(3, "bad", 100)).to(0), create(row(5, "x", 5)).to(0)]).await;
    rig.applied(postgres, &feed).await;
    let refused = run(&rig, &["dlq", "discard"]).await;
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    let ended = run(&rig, &["dlq", "discard", "--sqlstate", "23514"]).await;
    assert!(ended.stdout.contains("1 letters discarded"), "{}", ended.stdout);
    rig.send(&feed, &[changed(row(3, "free", 6)).to(0)]).await;
    rig.until(postgres, ALL, "2:two!:4:n 3:free:6:n 5:x:5:n".to_owned()).await;
    assert_eq!(sink.terminate(LIMIT).await.unwrap(), 0, "{}", sink.tail(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_postgresql_cannot_hold_are_replaced_and_counted_when_a_rule_says_so() {
    let mut rig = Rig::new("replace").await;
    let postgres = shared::postgres().await;
    rig.set("sink.dead_letters", "stop");
    rig.set(
        "sink.tables",
        vec![
            rule("*", &[("nul", "replace"), ("time_range", "replace"), ("text_length", "replace")]),
            rule("dbo.kept", &[("nul", "dlq")]),
        ],
    );
    let columns = [
        ("id", ColumnType::Int, false),
        ("name", ColumnType::NVarChar(Length::Of(3)), true),
        ("d", ColumnType::Date, true),
    ];
    let feed = rig.table(table("dbo", "replaced", &columns)).await;
    let kept = rig.table(table("dbo", "kept", &columns)).await;
    let rows = [
        vec![Value::I32(1), text("a\0b"), Value::Null],
        vec![Value::I32(2), text("abcd"), Value::Date(i32::MIN)],
    ];
    rig.send(&feed, &rows.clone().map(create)).await;
    rig.send(&kept, &rows.map(create)).await;
    let mut sink = rig.sink();
    rig.applied(postgres, &feed).await;
    rig.applied(postgres, &kept).await;
    rig.until(
        postgres,
        "SELECT string_agg(id || ':' || name || ':' || coalesce(d::text, '-'), ' ' ORDER BY id) FROM replaced",
        "1:a\u{fffd}b:- 2:abc:-infinity".to_owned(),
    )
    .await;
    rig.until(
        postgres,
        "SELECT string_agg(sqlstate, ' ') FROM _causeway.dead_letter",
        "22021".to_owned(),
    )
    .await;
    let page = sink.page("/metrics").await.unwrap();
    for reason in ["nul", "time_range", "text_length"] {
        let counted = page.lines().any(|line| {
            line.starts_with("causeway_sink_values_replaced_total")
                && line.contains("dbo.replaced")
                && line.contains(&format!("\"{reason}\""))
                && line.ends_with(" 1")
        });
        assert!(counted, "{reason} is not counted:\n{page}");
    }
    assert_eq!(sink.terminate(LIMIT).await.unwrap(), 0, "{}", sink.tail(20));
}
