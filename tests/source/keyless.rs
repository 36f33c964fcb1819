//! Tables without key: records without key, a copy at one place of the log, changes behind it.

use std::collections::{BTreeMap, HashMap, hash_map::Entry};

use causeway_avro::{Decoder, frame};
use causeway_change::{Operation, Row, Value};
use causeway_kafka::{Registry, RegistryConfig};
use causeway_tests::{
    process::Proc,
    sqlserver::{Options, exec, rows},
};

use crate::{LIMIT, rig::Rig};

/// How often each row is there.
type Bag = BTreeMap<String, usize>;

fn shown(row: &Row) -> String {
    let value = |value: &Value| match value {
        Value::I32(n) => n.to_string(),
        Value::Text(text) => text.clone(),
        Value::Null => "-".to_owned(),
        Value::Unavailable
        | Value::TooLarge(_)
        | Value::Bool(_)
        | Value::I16(_)
        | Value::I64(_)
        | Value::F32(_)
        | Value::F64(_)
        | Value::Decimal(_)
        | Value::Bytes(_)
        | Value::Guid(_)
        | Value::Date(_)
        | Value::Time(_)
        | Value::DateTime(_)
        | Value::DateTimeOffset { .. } => panic!("a value of {}", value.kind()),
    };
    row.iter().map(value).collect::<Vec<_>>().join(" ")
}

/// What a reader of the topic holds that takes one row for each delete and update; and the operations.
async fn replayed(rig: &Rig, table: &str) -> (Bag, String) {
    let registry = Registry::new(&RegistryConfig::new(rig.registry.url())).unwrap();
    let mut decoders: HashMap<u32, Decoder> = HashMap::new();
    let mut bag = Bag::new();
    let mut operations = String::new();
    for message in rig.records(&format!("{}.dbo.{table}", rig.name), 0).await {
        assert!(message.key.is_none());
        let value = message.value.unwrap();
        let (id, body) = frame::split(&value).unwrap();
        let decoder = match decoders.entry(id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let schema = registry.schema(id).await.unwrap();
                new.insert(Decoder::new(&schema).unwrap())
            }
        };
        let decoded = decoder.decode(body).unwrap();
        operations.push_str(decoded.operation.letter());
        if matches!(decoded.operation, Operation::Update | Operation::Delete) {
            let before = shown(&decoded.before.unwrap());
            let count =
                bag.get_mut(&before).unwrap_or_else(|| panic!("no row {before}: {operations}"));
            *count -= 1;
            if *count == 0 {
                bag.remove(&before);
            }
        }
        if let Some(after) = decoded.after {
            *bag.entry(shown(&after)).or_default() += 1;
        }
    }
    (bag, operations)
}

async fn held(rig: &Rig, table: &str) -> Bag {
    let mut client = rig.client().await;
    let found = rows(&mut client, &format!("SELECT a, b FROM dbo.{table}")).await.unwrap();
    let mut bag = Bag::new();
    for row in found {
        let number = |n| row.get::<i32, _>(n).map_or("-".to_owned(), |n: i32| n.to_string());
        *bag.entry(format!("{} {}", number(0), number(1))).or_default() += 1;
    }
    bag
}

async fn equal(rig: &Rig, table: &str, source: &mut Proc) -> String {
    let wanted = held(rig, table).await;
    let end = std::time::Instant::now() + LIMIT;
    loop {
        let (found, operations) = replayed(rig, table).await;
        if found == wanted {
            return operations;
        }
        source.must_run().unwrap();
        let left: Vec<_> =
            wanted.iter().filter(|(row, n)| found.get(*row) != Some(n)).take(5).collect();
        assert!(std::time::Instant::now() < end, "{left:?}\n{}", source.tail(30));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_key_is_copied_while_it_changes_and_no_row_comes_twice() {
    let rig = Rig::new("heap").await;
    rig.table("a", "a int NULL, b int NULL").await;
    rig.table("other", "id int NOT NULL PRIMARY KEY, x int NULL").await;
    let mut client = rig.client().await;
    for from in (0..3_000).step_by(500) {
        // Every row is there twice.
        let values: Vec<String> = (from..from + 500).map(|i| format!("({}, 0)", i / 2)).collect();
        exec(&mut client, &format!("INSERT INTO dbo.a VALUES {}", values.join(","))).await.unwrap();
    }
    let mut source = rig.start();
    for i in 0..60 {
        let sql = match i % 4 {
            0 => format!("INSERT INTO dbo.a VALUES ({}, NULL), ({}, NULL)", 10_000 + i, 10_000 + i),
            1 => format!("UPDATE dbo.a SET b = {i} WHERE a = {}", i * 7),
            2 => format!("DELETE TOP (1) FROM dbo.a WHERE a = {}", i * 11),
            _ => format!("INSERT INTO dbo.other VALUES ({i}, {i})"),
        };
        exec(&mut client, &sql).await.unwrap();
    }
    source.logged("snapshot published", LIMIT).await.unwrap();
    equal(&rig, "a", &mut source).await;
    // Afterwards, and over a kill.
    exec(
        &mut client,
        "UPDATE dbo.a SET b = NULL WHERE a = 3; DELETE TOP (1) FROM dbo.a WHERE a = 3",
    )
    .await
    .unwrap();
    source.kill9();
    exec(&mut client, "INSERT INTO dbo.a VALUES (NULL, NULL)").await.unwrap();
    let mut source = rig.start();
    let operations = equal(&rig, "a", &mut source).await;
    // One copy, and first of all.
    assert!(operations.trim_start_matches('r').bytes().all(|b| b != b'r'), "{operations}");
    let asked = rig.command(&["signal", "execute-snapshot", "--table", "dbo.a"]).await;
    assert_eq!(asked.code, 0, "{}", asked.stderr);
    source.logged("has no key", LIMIT).await.unwrap();
    let mut reader = rig.reader(&["other"]).await;
    rig.equal(&mut reader, &["other"], &mut source).await;
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_killed_leaves_nothing_and_begins_again() {
    let rig = Rig::alone("heapkill", Options::default()).await;
    rig.table("a", "a int NULL, b int NULL").await;
    let mut client = rig.client().await;
    for _ in 0..40 {
        let values: Vec<String> = (0..500).map(|i| format!("({}, 1)", i % 50)).collect();
        exec(&mut client, &format!("INSERT INTO dbo.a VALUES {}", values.join(","))).await.unwrap();
    }
    // Every 32 kB of an answer take a while.
    exec(&mut client, "EXEC standin.control N'reply_delay_ms=150'").await.unwrap();
    // Told to stop in the midst of it, the source ends as it should.
    let mut source = rig.start();
    source.logged("snapshot begins", LIMIT).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    let ended = source.terminate(LIMIT).await.unwrap();
    assert_eq!(ended, 0, "{}", source.tail(20));
    let mut source = rig.start();
    source.logged("snapshot begins", LIMIT).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    source.kill9();
    exec(&mut client, "EXEC standin.control N'reply_delay_ms=0'").await.unwrap();
    exec(&mut client, "DELETE TOP (7) FROM dbo.a WHERE a = 7").await.unwrap();
    let mut source = rig.start();
    equal(&rig, "a", &mut source).await;
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_gets_the_key_that_the_configuration_names() {
    let mut rig = Rig::new("named").await;
    rig.table("a", "id int NOT NULL, x int NULL").await;
    rig.exec("INSERT INTO dbo.a VALUES (1, 1), (2, 2), (3, 3)").await;
    let mut keys = toml::Table::new();
    keys.insert("dbo.a".to_owned(), toml::Value::Array(vec!["ID".into()]));
    rig.set("source.message_key_columns", toml::Value::Table(keys.clone()));
    let mut source = rig.start();
    source.logged("snapshot published", LIMIT).await.unwrap();
    rig.exec("UPDATE dbo.a SET x = 9 WHERE id = 2; DELETE FROM dbo.a WHERE id = 3").await;
    let mut reader = rig.reader(&["a"]).await;
    // The rig reads the catalogue, which knows no key.
    while reader.tables.get("a").is_none_or(|rows| rows.len() != 2) {
        source.must_run().unwrap();
        reader.drain(std::time::Duration::from_millis(200)).await;
    }
    assert!(reader.tables["a"]["000000000002"] == [Value::I32(2), Value::I32(9)]);
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
    keys.insert("dbo.a".to_owned(), toml::Value::Array(vec!["x".into()]));
    rig.set("source.message_key_columns", toml::Value::Table(keys));
    let checked = rig.command(&["check"]).await;
    assert_eq!(checked.code, 2);
    assert!((checked.stdout + &checked.stderr).contains("the column x may be NULL"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_copy_without_key_needs_is_said_before_anything_is_written() {
    let mut rig = Rig::new("heapneeds").await;
    rig.table("a", "a int NULL").await;
    rig.exec("ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION OFF").await;
    for command in ["check", "run"] {
        let ended = rig.command(&[command]).await;
        let said = ended.stdout + &ended.stderr;
        assert_eq!(ended.code, 2, "{said}");
        assert!(
            said.contains("dbo.a cannot be copied") && said.contains("snapshot isolation"),
            "{said}"
        );
    }
    // Nothing is copied, nothing is needed.
    rig.set("source.snapshot.mode", "no_data");
    let mut source = rig.start();
    source.ready(LIMIT).await.unwrap();
    rig.exec("INSERT INTO dbo.a VALUES (1)").await;
    assert_eq!(rig.records(&format!("{}.dbo.a", rig.name), 1).await.len(), 1);
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}
