//! Whole source transactions, by an index that the tests write themselves.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use causeway_change::{ColumnType, Row, Value};
use causeway_kafka::{
    Admin, Record, TopicSpec, topic,
    transactions::{Entry, Range},
};
use causeway_tests::{postgres::Postgres, shared, wait};
use tokio::task::JoinSet;

use crate::{
    exactly_once::{audited, once_each, things},
    rig::{Feed, LIMIT, Made, Rig, create, delete, failed, table, text, update},
};

/// A rig whose sinks apply whole transactions, with an index.
async fn rig(what: &str) -> Rig {
    let mut rig = Rig::new(what).await;
    rig.set("sink.apply.consistency", "transaction");
    let index = TopicSpec {
        name: topic::transactions(&rig.prefix),
        partitions: 1,
        compacted: false,
        retention_ms: None,
    };
    Admin::new(&rig.kafka).unwrap().ensure_topics(&[index]).await.unwrap();
    rig
}

/// Sends the records of changes to partition 0, and says where they are.
async fn send(rig: &Rig, feed: &Feed, changes: &[Made]) -> Range {
    let mut offsets = Vec::new();
    for made in changes {
        let (key, value) = feed.encode(made).unwrap();
        let record = Record {
            topic: &feed.topic,
            partition: Some(0),
            key: key.as_deref(),
            value: Some(&value),
            ..Record::default()
        };
        offsets.push(rig.producer.send(record).await.unwrap().1);
    }
    let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
    let count = u64::try_from(offsets.len()).unwrap();
    Range { topic: feed.topic.clone(), partition: 0, first, last, count }
}

async fn transaction(rig: &Rig, id: u32, ranges: Vec<Range>) {
    let entry = Entry::Transaction {
        id: format!("00000001:{id:08x}:0001"),
        commit_ns: 1,
        last: true,
        events: 1,
        set_aside: 0,
        ranges,
    };
    let name = topic::transactions(&rig.prefix);
    rig.raw(&name, Some(0), Some(b"key"), Some(entry.to_json().as_bytes())).await;
}

fn waits_for(status: &serde_json::Value) -> &str {
    status["sink"]["transactions"]["waits_for"].as_str().unwrap_or_default()
}

fn row(numbers: &[i32]) -> Row {
    numbers.iter().map(|n| Value::I32(*n)).collect()
}

/// `aa_child` comes before `zz_parent` in every order but that of the foreign key.
async fn feeds(rig: &Rig) -> (Feed, Feed) {
    let int = |name| (name, ColumnType::Int, false);
    let child = rig.table(table("dbo", "aa_child", &[int("id"), int("parent")])).await;
    let parent = rig.table(table("dbo", "zz_parent", &[int("id"), int("code")])).await;
    (child, parent)
}

async fn target(rig: &Rig, postgres: &Postgres, constraint: &str) {
    let client = postgres.client(&rig.database).await.unwrap();
    let sql = format!(
        "CREATE TABLE zz_parent (id integer PRIMARY KEY, code integer NOT NULL UNIQUE); \
         CREATE TABLE aa_child (id integer PRIMARY KEY, parent integer NOT NULL, \
           CONSTRAINT has_parent FOREIGN KEY (parent) REFERENCES zz_parent {constraint})"
    );
    client.batch_execute(&sql).await.unwrap();
}

const PAIRS: &str = "SELECT coalesce(string_agg(c.id || '>' || p.id || '=' || p.code, ' ' ORDER BY c.id), '') \
                     FROM aa_child c JOIN zz_parent p ON p.id = c.parent";

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_waits_for_its_entry_and_for_its_last_record() {
    let postgres = shared::postgres().await;
    let rig = rig("waits").await;
    let (child, parent) = feeds(&rig).await;
    target(&rig, postgres, "").await;
    let mut sink = rig.sink();
    sink.ready(LIMIT).await.unwrap();
    // Records, and no entry for longer than that is normal.
    let children = send(&rig, &child, &[create(row(&[1, 10])), create(row(&[2, 10]))]).await;
    sink.status_until("an entry to be missed", LIMIT, |status| {
        waits_for(status).contains("2 records") && status["ready"] == false
    })
    .await
    .unwrap();
    // The entry names a record that has not come yet.
    let ahead = Range { topic: parent.topic.clone(), partition: 0, first: 0, last: 0, count: 1 };
    transaction(&rig, 1, vec![children, ahead]).await;
    sink.status_until("a record to be missed", LIMIT, |status| {
        waits_for(status).contains("offset 0 of")
    })
    .await
    .unwrap();
    rig.until(postgres, "SELECT count(*) FROM aa_child", 0_i64).await;
    send(&rig, &parent, &[create(row(&[10, 100]))]).await;
    rig.until(postgres, PAIRS, "1>10=100 2>10=100".to_owned()).await;
    sink.ready(LIMIT).await.unwrap();
    sink.status_until("the transaction to be counted", LIMIT, |status| {
        status["sink"]["transactions"]["applied"] == 1
    })
    .await
    .unwrap();
    let counted = sink.metrics().await.unwrap().sum("causeway_sink_transactions_total");
    assert_eq!(counted, Some(1.0));
    assert_eq!(sink.terminate(LIMIT).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_keys_hold_whether_they_can_be_deferred_or_not() {
    let postgres = shared::postgres().await;
    for (what, constraint) in [
        ("strict", ""),
        ("deferrable", "DEFERRABLE INITIALLY IMMEDIATE"),
        ("deferred", "DEFERRABLE INITIALLY DEFERRED"),
    ] {
        let rig = rig(what).await;
        let (child, parent) = feeds(&rig).await;
        target(&rig, postgres, constraint).await;
        let p = |id, code| row(&[id, code]);
        // A new parent with its children; the children move to another and the first is deleted.
        let first = send(&rig, &child, &[create(p(1, 10)), create(p(2, 10))]).await;
        let second = send(&rig, &parent, &[create(p(10, 100))]).await;
        transaction(&rig, 1, vec![first, second]).await;
        let first =
            send(&rig, &child, &[update(p(1, 10), p(1, 11)), update(p(2, 10), p(2, 11))]).await;
        let second = send(&rig, &parent, &[create(p(11, 101)), delete(p(10, 100))]).await;
        transaction(&rig, 2, vec![first, second]).await;
        let mut sink = rig.sink();
        rig.until(postgres, PAIRS, "1>11=101 2>11=101".to_owned()).await;
        // Child and parent go together; a unique value moves to a new row.
        let first = send(&rig, &child, &[delete(p(1, 11)), delete(p(2, 11))]).await;
        let second = send(&rig, &parent, &[delete(p(11, 101)), create(p(12, 101))]).await;
        transaction(&rig, 3, vec![first, second]).await;
        rig.until(
            postgres,
            "SELECT string_agg(id || '=' || code, ' ') FROM zz_parent",
            "12=101".to_owned(),
        )
        .await;
        rig.until(postgres, "SELECT count(*) FROM aa_child", 0_i64).await;
        rig.until(postgres, "SELECT count(*) FROM _causeway.dead_letter", 0_i64).await;
        assert_eq!(sink.terminate(LIMIT).await.unwrap(), 0, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_without_its_parent_is_one_dead_letter() {
    let postgres = shared::postgres().await;
    for (what, constraint, consistency) in [
        ("orphan", "", "transaction"),
        ("orphandeferred", "DEFERRABLE INITIALLY DEFERRED", "transaction"),
        ("orphanrow", "DEFERRABLE INITIALLY DEFERRED", "row"),
    ] {
        let mut rig = rig(what).await;
        rig.set("sink.apply.consistency", consistency);
        let (child, parent) = feeds(&rig).await;
        target(&rig, postgres, constraint).await;
        let client = postgres.client(&rig.database).await.unwrap();
        client.batch_execute("INSERT INTO zz_parent VALUES (1, 1)").await.unwrap();
        let parents = send(&rig, &parent, &[create(row(&[10, 100]))]).await;
        let rows: Vec<Made> =
            (0..20).map(|id| create(row(&[id, if id == 7 { 999 } else { 1 }]))).collect();
        let children = send(&rig, &child, &rows).await;
        transaction(&rig, 1, vec![children, parents]).await;
        let mut sink = rig.sink();
        rig.until(postgres, "SELECT count(*) FROM aa_child", 19_i64).await;
        rig.until(postgres, "SELECT count(*) FROM zz_parent", 2_i64).await;
        let letter = "SELECT coalesce(string_agg(\"offset\" || ' ' || sqlstate || ' ' || \"constraint\", ','), '') \
                      FROM _causeway.dead_letter";
        rig.until(postgres, letter, "7 23503 has_parent".to_owned()).await;
        assert_eq!(sink.terminate(LIMIT).await.unwrap(), 0, "{what}");
    }
}

/// Rows of a transaction that is never in memory as a whole.
const LARGE: i32 = 20_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_large_transaction_that_breaks_a_deferred_constraint_waits_for_a_person() {
    let postgres = shared::postgres().await;
    let mut rig = rig("broken").await;
    rig.set("sink.batch_bytes", 200_000);
    let (child, parent) = feeds(&rig).await;
    target(&rig, postgres, "DEFERRABLE INITIALLY DEFERRED").await;
    let before = send(&rig, &parent, &[create(row(&[1, 1]))]).await;
    transaction(&rig, 1, vec![before]).await;
    // More than the sink reads ahead, so that it never has all of it at once.
    let last = i64::from(LARGE) - 1;
    let count = u64::try_from(LARGE).unwrap();
    let children = Range { topic: child.topic.clone(), partition: 0, first: 0, last, count };
    transaction(&rig, 2, vec![children]).await;
    let rows = (0..LARGE).map(|id| create(row(&[id, if id == 7 { 999 } else { 1 }])));
    let records: Vec<_> = rows.map(|made| child.encode(&made).unwrap()).collect();
    let sends = records.iter().map(|(key, value)| {
        let (topic, key) = (child.topic.as_str(), key.as_deref());
        let value = Some(value.as_slice());
        rig.producer.send(Record { topic, partition: Some(0), key, value, ..Record::default() })
    });
    futures_util::future::try_join_all(sends).await.unwrap();
    let after = send(&rig, &parent, &[create(row(&[2, 2]))]).await;
    transaction(&rig, 3, vec![after]).await;
    let mut sink = rig.sink();
    sink.status_until("the transaction and its constraint to be named", LIMIT, |status| {
        let error = status["sink"]["error"].as_str().unwrap_or_default();
        status["ready"] == false
            && error.contains("00000001:00000002:0001")
            && error.contains("has_parent")
    })
    .await
    .unwrap();
    failed(&mut sink, "constraint", 1.0).await;
    sink.must_run().unwrap();
    // Nothing of it is to be seen, and nothing overtakes it.
    rig.until(postgres, "SELECT count(*) FROM aa_child", 0_i64).await;
    rig.until(postgres, "SELECT count(*) FROM zz_parent", 1_i64).await;
    let client = postgres.client(&rig.database).await.unwrap();
    client.batch_execute("INSERT INTO zz_parent VALUES (999, 999)").await.unwrap();
    rig.until(postgres, "SELECT count(*) FROM aa_child", i64::from(LARGE)).await;
    rig.until(postgres, "SELECT count(*) FROM zz_parent", 3_i64).await;
    rig.until(postgres, "SELECT count(*) FROM _causeway.dead_letter", 0_i64).await;
    sink.ready(LIMIT).await.unwrap();
    assert_eq!(sink.terminate(LIMIT).await.unwrap(), 0, "{}", sink.tail(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circle_of_foreign_keys_is_refused_by_name_unless_one_can_be_deferred() {
    let postgres = shared::postgres().await;
    for deferrable in [false, true] {
        let rig = rig("circle").await;
        let (child, parent) = feeds(&rig).await;
        target(&rig, postgres, "").await;
        let client = postgres.client(&rig.database).await.unwrap();
        let back = format!(
            "ALTER TABLE zz_parent ADD CONSTRAINT has_child FOREIGN KEY (code) REFERENCES aa_child {}",
            if deferrable { "DEFERRABLE" } else { "" }
        );
        client.batch_execute(&back).await.unwrap();
        let first = send(&rig, &child, &[create(row(&[1, 10]))]).await;
        let second = send(&rig, &parent, &[create(row(&[10, 1]))]).await;
        transaction(&rig, 1, vec![first, second]).await;
        let mut sink = rig.sink();
        if deferrable {
            rig.until(postgres, PAIRS, "1>10=1".to_owned()).await;
            assert_eq!(sink.terminate(LIMIT).await.unwrap(), 0);
        } else {
            assert_eq!(sink.wait(LIMIT).await.unwrap(), 1);
            let stderr = sink.stderr();
            assert!(stderr.contains("has_child") && stderr.contains("has_parent"), "{stderr}");
            assert!(stderr.contains("DEFERRABLE"), "{stderr}");
            rig.until(postgres, "SELECT count(*) FROM aa_child", 0_i64).await;
        }
    }
}

/// Sends transactions with rows of two tables each, larger than a piece.
async fn pairs(rig: &Rig, feeds: [&Feed; 2], ids: std::ops::Range<i32>) {
    for from in ids.step_by(20) {
        let rows: Vec<Made> =
            (from..from + 20).map(|id| create(vec![Value::I32(id), text("x")])).collect();
        let first = send(rig, feeds[0], &rows).await;
        let second = send(rig, feeds[1], &rows).await;
        transaction(rig, u32::try_from(from).unwrap(), vec![first, second]).await;
    }
}

/// Waits until one sink has all partitions, and gives its epoch.
async fn one_has_all(rig: &Rig, postgres: &Postgres, but: i64) -> i64 {
    let sql = "SELECT CASE WHEN min(epoch) = max(epoch) THEN min(epoch) ELSE 0 END FROM _causeway.progress";
    let (what, found) = ("one sink to have all", || async {
        let epoch = rig.ask::<Option<i64>>(postgres, sql).await.unwrap_or_default();
        Ok(epoch.filter(|epoch| *epoch > 0 && *epoch != but))
    });
    wait::until(what, LIMIT, found).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_sink_has_all_and_when_it_is_lost_another_goes_on() {
    let postgres = shared::postgres().await;
    let mut rig = rig("standby").await;
    rig.set("sink.batch_bytes", 2_000);
    rig.set("sink.member_timeout_ms", 2_000);
    audited(&rig, postgres).await;
    let client = postgres.client(&rig.database).await.unwrap();
    client
        .batch_execute("CREATE TABLE others (id integer PRIMARY KEY, name varchar(20))")
        .await
        .unwrap();
    let left = rig.table(things()).await;
    let mut others = things();
    others.id.name = "others".to_owned();
    let right = rig.table(others).await;
    let over = Arc::new(AtomicBool::new(false));
    let mut watcher = JoinSet::new();
    watcher.spawn({
        let over = Arc::clone(&over);
        async move {
            let both = "SELECT (SELECT count(*) FROM things) - (SELECT count(*) FROM others)";
            while !over.load(Ordering::Relaxed) {
                let apart: i64 = client.query_one(both, &[]).await.unwrap().get(0);
                assert_eq!(apart, 0, "half of a transaction is seen");
            }
        }
    });
    let mut first = rig.sink();
    let mut epoch = one_has_all(&rig, postgres, 0).await;
    for (round, ids) in [0..400, 400..800, 800..1_200].into_iter().enumerate() {
        let mut second = rig.sink();
        second
            .status_until("the other sink to be named", LIMIT, |status| {
                waits_for(status).contains("another sink") && status["ready"] == true
            })
            .await
            .unwrap();
        let half = ids.start + 200;
        pairs(&rig, [&left, &right], ids.start..half).await;
        match round {
            0 => first.kill9(),
            1 => assert_eq!(first.terminate(LIMIT).await.unwrap(), 0, "{}", first.tail(20)),
            // Stands still until it is thought dead, and wakes again.
            _ => first.signal("STOP").unwrap(),
        }
        epoch = one_has_all(&rig, postgres, epoch).await;
        if round == 2 {
            first.signal("CONT").unwrap();
        }
        pairs(&rig, [&left, &right], half..ids.end).await;
        second
            .status_until("the rest to be applied", LIMIT, |status| {
                status["sink"]["transactions"]["bytes_waiting"] == 0
                    && status["sink"]["transactions"]["entries_waiting"] == 0
                    && status["sink"]["transactions"]["applied"].as_u64() > Some(9)
            })
            .await
            .unwrap();
        once_each(&rig, postgres, i64::from(ids.end)).await;
        rig.until(postgres, "SELECT count(*) FROM others", i64::from(ids.end)).await;
        if round == 2 {
            first
                .status_until("the one that woke to wait", LIMIT, |status| {
                    waits_for(status).contains("another sink")
                })
                .await
                .unwrap();
            assert_eq!(first.terminate(LIMIT).await.unwrap(), 0, "{}", first.tail(20));
        }
        first = second;
    }
    over.store(true, Ordering::Relaxed);
    watcher.join_next().await.unwrap().unwrap();
    assert_eq!(first.terminate(LIMIT).await.unwrap(), 0, "{}", first.tail(20));
}
