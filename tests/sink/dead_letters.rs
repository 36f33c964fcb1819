//! One bad record is one bad record: the others of its batch are applied, it is kept with its reason.

use std::collections::BTreeMap;

use causeway_change::{ColumnType, Length, Table, Value};
use causeway_tests::shared;

use crate::rig::{LIMIT, Rig, create, table, text};

fn accounts() -> Table {
    table(
        "dbo",
        "accounts",
        &[
            ("id", ColumnType::Int, false),
            ("owner", ColumnType::NVarChar(Length::Of(20)), true),
            ("amount", ColumnType::Int, true),
        ],
    )
}

fn row(id: i32, owner: &str, amount: i32) -> Vec<Value> {
    vec![Value::I32(id), text(owner), Value::I32(amount)]
}

const TABLE: &str = "CREATE TABLE accounts (id integer PRIMARY KEY, owner varchar(20), \
                     amount integer CONSTRAINT not_negative CHECK (amount >= 0))";

#[tokio::test(flavor = "multi_thread")]
async fn bad_records_become_dead_letters_and_the_good_ones_of_their_batch_are_applied() {
    let rig = Rig::new("dead").await;
    let postgres = shared::postgres().await;
    postgres.client(&rig.database).await.unwrap().batch_execute(TABLE).await.unwrap();
    let feed = rig.table(accounts()).await;
    let mut changes: Vec<_> = (0..100).map(|id| create(row(id, "good", id))).collect();
    changes[17] = create(row(17, "with a \0 in it", 1));
    changes[42] = create(row(42, "secret-owner", -4_711));
    changes[43] = create(row(43, "also negative", -1));
    let changes: Vec<_> = changes.into_iter().map(|change| change.to(1)).collect();
    rig.send(&feed, &changes).await;
    // Not Avro at all, and Avro of a schema that nobody registered.
    let (key, value) = feed.encode(&create(row(200, "x", 1))).unwrap();
    let mut unknown = value.clone();
    unknown[1..5].copy_from_slice(&999_999u32.to_be_bytes());
    rig.raw(&feed.topic, Some(1), key.as_deref(), Some(b"not Avro")).await;
    rig.raw(&feed.topic, Some(1), key.as_deref(), Some(&unknown)).await;
    // Avro that ends in the middle of a row.
    rig.raw(&feed.topic, Some(1), key.as_deref(), value.get(..value.len() / 4)).await;

    let mut sink = rig.sink();
    rig.applied(postgres, &feed).await;
    rig.until(postgres, "SELECT count(*) FROM accounts", 97i64).await;
    let client = postgres.client(&rig.database).await.unwrap();
    let rows = client
        .query(
            "SELECT \"offset\", sqlstate, \"column\", \"constraint\", reason, status, source_table, value \
             FROM _causeway.dead_letter ORDER BY \"offset\"",
            &[],
        )
        .await
        .unwrap();
    let found: Vec<(i64, Option<String>, Option<String>)> =
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(3))).collect();
    let check = Some("not_negative".to_owned());
    assert_eq!(
        found,
        [
            (17, Some("22021".to_owned()), None),
            (42, Some("23514".to_owned()), check.clone()),
            (43, Some("23514".to_owned()), check),
            (100, None, None),
            (101, None, None),
            (102, None, None),
        ]
    );
    assert_eq!(rows[0].get::<_, Option<&str>>(2), Some("owner"));
    for row in &rows {
        assert_eq!(row.get::<_, &str>(5), "pending");
        let reason: &str = row.get(4);
        assert!(!reason.is_empty());
        for value in ["secret-owner", "4711", "with a"] {
            assert!(!reason.contains(value), "a value is in the reason: {reason}");
        }
    }
    assert_eq!(rows[1].get::<_, Vec<u8>>(7), feed_value(&feed, &changes[42], rows[1].get(7)));
    assert!(!(sink.stdout() + &sink.stderr()).contains("secret-owner"), "a value is in the log");

    let letters = rig.dead_letters(6).await;
    assert_eq!(letters.len(), 6);
    for letter in &letters {
        let headers: BTreeMap<&str, &[u8]> =
            letter.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
        let text = |name: &str| headers.get(name).map(|v| String::from_utf8(v.to_vec()).unwrap());
        assert_eq!(headers.get("test"), Some(&&b"\x01\x02"[..]), "the record's own header");
        assert_eq!(text("__connect.errors.topic"), Some(feed.topic.clone()));
        assert_eq!(text("__connect.errors.partition").as_deref(), Some("1"));
        for name in [
            "__connect.errors.offset",
            "__connect.errors.connector.name",
            "__connect.errors.task.id",
            "__connect.errors.stage",
            "__connect.errors.class.name",
            "__connect.errors.exception.class.name",
            "__connect.errors.exception.message",
            "__connect.errors.exception.stacktrace",
        ] {
            assert!(text(name).is_some(), "{name} is missing");
        }
    }
    rig.until(
        postgres,
        "SELECT count(*) FROM _causeway.dead_letter WHERE mirrored_at IS NULL",
        0i64,
    )
    .await;

    // They do not come again, and what follows is applied.
    assert_eq!(sink.terminate(LIMIT).await.unwrap(), 0, "{}", sink.tail(20));
    let mut sink = rig.sink();
    rig.send(&feed, &[create(row(42, "mended", 1))]).await;
    rig.until(postgres, "SELECT owner FROM accounts WHERE id = 42", "mended".to_owned()).await;
    rig.until(postgres, "SELECT count(*) FROM _causeway.dead_letter", 6i64).await;
    assert_eq!(sink.terminate(LIMIT).await.unwrap(), 0, "{}", sink.tail(20));
}

/// The value that was sent: its times differ from a new encoding, so all but them is compared.
fn feed_value(feed: &crate::rig::Feed, made: &crate::rig::Made, kept: Vec<u8>) -> Vec<u8> {
    let (_, again) = feed.encode(made).unwrap();
    let name = b"secret-owner";
    assert!(kept.windows(name.len()).any(|w| w == name), "the value is not kept as it was");
    assert_eq!(kept[..5], again[..5]);
    kept
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_policy_stop_nothing_of_the_batch_is_applied() {
    let mut rig = Rig::new("policy").await;
    rig.set("sink.dead_letters", "stop");
    let postgres = shared::postgres().await;
    postgres.client(&rig.database).await.unwrap().batch_execute(TABLE).await.unwrap();
    let feed = rig.table(accounts()).await;
    let changes = [create(row(1, "good", 1)), create(row(2, "bad", -1))].map(|change| change.to(0));
    rig.send(&feed, &changes).await;
    let mut sink = rig.sink();
    assert_eq!(sink.wait(LIMIT).await.unwrap(), 1, "{}", sink.tail(20));
    let complaint = sink.stderr();
    for part in ["/0/1", "dbo.accounts", "not_negative", "stop"] {
        assert!(complaint.contains(part), "{part} is missing: {complaint}");
    }
    let rows: i64 = rig.ask(postgres, "SELECT count(*) FROM accounts").await.unwrap();
    assert_eq!(rows, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn times_that_no_calendar_has_are_dead_letters_and_end_nothing() {
    let rig = Rig::new("times").await;
    let postgres = shared::postgres().await;
    let columns = [
        ("id", ColumnType::Int, false),
        ("d", ColumnType::Date, true),
        ("t", ColumnType::DateTime2 { scale: 6 }, true),
    ];
    let feed = rig.table(table("dbo", "times", &columns)).await;
    let now = Value::DateTime(0);
    let rows = [
        vec![Value::I32(1), Value::Date(i32::MIN), Value::Null],
        vec![Value::I32(2), Value::Null, Value::DateTime(i64::MIN / 10 * 10)],
        vec![Value::I32(3), Value::Date(0), now],
    ];
    let rows: Vec<_> = rows.into_iter().map(|row| create(row).to(0)).collect();
    rig.send(&feed, &rows).await;
    let mut sink = rig.sink();
    rig.applied(postgres, &feed).await;
    rig.until(postgres, "SELECT string_agg(id::text, ' ') FROM public.times", "3".to_owned()).await;
    rig.until(
        postgres,
        "SELECT string_agg(sqlstate || ' ' || \"column\", ', ' ORDER BY \"offset\") \
         FROM _causeway.dead_letter",
        "22008 d, 22008 t".to_owned(),
    )
    .await;
    assert_eq!(sink.terminate(LIMIT).await.unwrap(), 0, "{}", sink.tail(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_wait_for_their_topic_and_hold_up_nothing() {
    // The topic was deleted, or nobody has made it: that must not stop the pipeline.
    let rig = Rig::new("no_topic").await;
    let postgres = shared::postgres().await;
    postgres.client(&rig.database).await.unwrap().batch_execute(TABLE).await.unwrap();
    let feed = rig.table(accounts()).await;
    let admin = shared::kafka().await.client_config();
    let admin: rdkafka::admin::AdminClient<rdkafka::client::DefaultClientContext> =
        admin.create().unwrap();
    let name = causeway_kafka::topic::dead_letters(&rig.prefix);
    admin.delete_topics(&[&name], &rdkafka::admin::AdminOptions::new()).await.unwrap();
    let mut sink = rig.sink();
    rig.send(&feed, &[create(row(1, "bad", -1))]).await;
    rig.applied(postgres, &feed).await;
    let began = std::time::Instant::now();
    rig.send(&feed, &[create(row(2, "good", 1))]).await;
    rig.until(postgres, "SELECT count(*) FROM accounts", 1i64).await;
    assert!(began.elapsed().as_secs() < 20, "the mirror held up the batch: {:?}", began.elapsed());
    assert_eq!(sink.terminate(LIMIT).await.unwrap(), 0, "{}", sink.tail(20));
}
