//! Other records than our own, and other tables than copies: flattened records, histories, soft deletes,
//! chosen keys and columns.

use apache_avro::{Schema, types::Value as Avro, writer::datum::GenericDatumWriter};
use causeway_change::{ColumnType, Length, Table, Value};
use causeway_kafka::{Admin, TopicSpec, topic};
use causeway_tests::shared;

use crate::rig::{LIMIT, Rig, create, delete, read, rule, table, text, update};

fn people() -> Table {
    table(
        "dbo",
        "people",
        &[
            ("id", ColumnType::Int, false),
            ("name", ColumnType::NVarChar(Length::Of(20)), true),
            ("secret", ColumnType::Int, true),
            ("story", ColumnType::NVarChar(Length::Max), true),
        ],
    )
}

fn row(id: i32, name: &str, story: Option<&str>) -> Vec<Value> {
    let story = story.map_or(Value::Unavailable, text);
    vec![Value::I32(id), text(name), Value::I32(7), story]
}

/// A rule with lists.
fn rule_with(tables: &str, keys: &[(&str, &str)], lists: &[(&str, &[&str])]) -> toml::Value {
    let mut rule = rule(tables, keys);
    let table = rule.as_table_mut().unwrap();
    for (key, list) in lists {
        table.insert((*key).to_owned(), list.to_vec().into());
    }
    rule
}

const KEY: &str =
    r#"{"type":"record","name":"Key","namespace":"flat","fields":[{"name":"id","type":"int"}]}"#;
const FLAT: &str = r#"{"type":"record","name":"Value","namespace":"flat","fields":[
    {"name":"id","type":"int"},{"name":"name","type":["null","string"],"default":null},
    {"name":"__op","type":["null","string"],"default":null},
    {"name":"__deleted","type":["null","string"],"default":null}]}"#;

struct Flattened<'a> {
    rig: &'a Rig,
    topic: String,
    ids: (u32, u32),
}

impl<'a> Flattened<'a> {
    async fn new(rig: &'a Rig) -> Self {
        let topic = format!("{}.shop.dbo.flat", rig.prefix);
        let spec =
            TopicSpec { name: topic.clone(), partitions: 3, compacted: false, retention_ms: None };
        Admin::new(&rig.kafka).unwrap().ensure_topics(&[spec]).await.unwrap();
        let key = rig.registry.register(&topic::key_subject(&topic), KEY).await.unwrap();
        let value = rig.registry.register(&topic::value_subject(&topic), FLAT).await.unwrap();
        Self { rig, topic, ids: (key, value) }
    }

    fn framed(id: u32, schema: &str, fields: Vec<(&str, Avro)>) -> Vec<u8> {
        let schema = Schema::parse_str(schema).unwrap();
        let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let writer = GenericDatumWriter::builder(&schema).build().unwrap();
        let body = writer.write_value_to_vec(Avro::Record(fields)).unwrap();
        [&[0], &id.to_be_bytes()[..], &body].concat()
    }

    /// Without `op` a tombstone.
    async fn send(&self, id: i32, name: &str, op: Option<&str>) {
        let some = |text: &str| Avro::Union(1, Box::new(Avro::String(text.to_owned())));
        let key = Self::framed(self.ids.0, KEY, vec![("id", Avro::Int(id))]);
        let value = op.map(|op| {
            let deleted = if op == "d" { "true" } else { "false" };
            let fields = vec![
                ("id", Avro::Int(id)),
                ("name", some(name)),
                ("__op", some(op)),
                ("__deleted", some(deleted)),
            ];
            Self::framed(self.ids.1, FLAT, fields)
        });
        self.rig.raw(&self.topic, Some(0), Some(&key), value.as_deref()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flattened_records_are_applied_and_their_tombstones_delete() {
    let rig = Rig::new("flat").await;
    let postgres = shared::postgres().await;
    let flat = Flattened::new(&rig).await;
    for (id, name, op) in
        [(1, "one", "r"), (2, "two", "c"), (3, "three", "c"), (1, "uno", "u"), (2, "two", "d")]
    {
        flat.send(id, name, Some(op)).await;
    }
    let mut sink = rig.sink();
    let all = "SELECT string_agg(id || ':' || name, ' ' ORDER BY id) FROM public.flat";
    rig.until(postgres, all, "1:uno 3:three".to_owned()).await;
    flat.send(3, "", None).await;
    rig.until(postgres, all, "1:uno".to_owned()).await;
    assert_eq!(sink.terminate(LIMIT).await.unwrap(), 0, "{}", sink.tail(20));
    // The first thing that it sees after a start is a tombstone.
    flat.send(1, "", None).await;
    flat.send(4, "four", Some("c")).await;
    let mut sink = rig.sink();
    rig.until(postgres, all, "4:four".to_owned()).await;
    let refused: i64 =
        rig.ask(postgres, "SELECT count(*) FROM _causeway.dead_letter").await.unwrap();
    assert_eq!(refused, 0);
    let columns = "SELECT string_agg(attname::text, ' ' ORDER BY attnum) FROM pg_attribute \
                   WHERE attrelid = 'public.flat'::regclass AND attnum > 0";
    rig.until(postgres, columns, "id name".to_owned()).await;
    assert_eq!(sink.terminate(LIMIT).await.unwrap(), 0, "{}", sink.tail(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_rows_stay_marked_under_another_name_with_chosen_columns_and_their_origin() {
    let mut rig = Rig::new("soft").await;
    let postgres = shared::postgres().await;
    rig.set(
        "sink.tables",
        vec![rule_with(
            "dbo.people",
            &[("delete", "soft"), ("target", "mirror.{schema}_{table}")],
            &[
                ("exclude", &["sec*"]),
                ("metadata", &["op", "lsn", "commit_time", "topic", "offset"]),
            ],
        )],
    );
    let feed = rig.table(people()).await;
    let changes = [
        read(row(1, "a", Some("long"))).to(0),
        create(row(2, "b", Some("long"))).to(0),
        delete(row(2, "b", Some("long"))).to(0),
        delete(row(9, "never", None)).to(0),
    ];
    rig.send(&feed, &changes).await;
    let mut sink = rig.sink();
    let all = "SELECT string_agg(concat_ws(':', id, name, story, __deleted, __op, __offset), ' ' ORDER BY id) \
               FROM mirror.public_people";
    rig.until(postgres, all, "1:a:long:f:r:0 2:b:long:t:d:2".to_owned()).await;
    // Deleted by a later batch, and made again.
    rig.send(&feed, &[delete(row(1, "a", Some("long"))).to(0)]).await;
    rig.until(postgres, all, "1:a:long:t:d:6 2:b:long:t:d:2".to_owned()).await;
    rig.send(&feed, &[create(row(1, "new", Some("x"))).to(0)]).await;
    rig.until(postgres, all, "1:new:x:f:c:8 2:b:long:t:d:2".to_owned()).await;
    let columns = "SELECT string_agg(attname::text, ' ' ORDER BY attnum) FROM pg_attribute \
                   WHERE attrelid = 'mirror.public_people'::regclass AND attnum > 0";
    let expected = "id name story __op __lsn __commit_time __topic __offset __deleted";
    rig.until(postgres, columns, expected.to_owned()).await;
    let sane = "SELECT bool_and(length(__lsn) = 10 AND __commit_time > now() - interval '1 hour' AND __topic LIKE '%people') \
                FROM mirror.public_people";
    rig.until(postgres, sane, true).await;
    assert_eq!(sink.terminate(LIMIT).await.unwrap(), 0, "{}", sink.tail(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_has_a_row_for_every_change_once() {
    let mut rig = Rig::new("history").await;
    let postgres = shared::postgres().await;
    rig.set(
        "sink.tables",
        vec![rule("dbo.people", &[("key", "kafka"), ("target", "{table}_history")])],
    );
    let feed = rig.table(people()).await;
    let changes = [
        create(row(1, "a", Some("s"))),
        update(row(1, "a", Some("s")), row(1, "b", None)),
        delete(row(1, "b", Some("s"))),
        create(row(1, "c", Some("t"))),
    ];
    let mut sink = rig.sink();
    for change in changes {
        rig.send(&feed, &[change.to(0)]).await;
        rig.applied(postgres, &feed).await;
        sink.kill9();
        sink = rig.sink();
    }
    rig.until(
        postgres,
        "SELECT string_agg(concat_ws(':', __offset, __op, id, name, coalesce(story, '-')), ' ' ORDER BY __offset) \
         FROM people_history",
        // After the delete comes its tombstone.
        "0:c:1:a:s 1:u:1:b:- 2:d:1:b:s 4:c:1:c:t".to_owned(),
    )
    .await;
    // The last of them may not have got to listening for signals yet.
    sink.ready(LIMIT).await.unwrap();
    assert_eq!(sink.terminate(LIMIT).await.unwrap(), 0, "{}", sink.tail(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_the_value_follows_its_row_and_rows_are_inserted_or_updated_as_asked() {
    let mut rig = Rig::new("keys").await;
    let postgres = shared::postgres().await;
    rig.set(
        "sink.tables",
        vec![
            rule_with("dbo.people", &[("key", "value")], &[("key_fields", &["name"])]),
            rule("dbo.once", &[("write", "insert")]),
            rule("dbo.known", &[("write", "update"), ("delete", "ignore")]),
        ],
    );
    let client = postgres.client(&rig.database).await.unwrap();
    client
        .batch_execute("CREATE TABLE known (id integer PRIMARY KEY, n integer); INSERT INTO known VALUES (1, 0)")
        .await
        .unwrap();
    let columns = [("id", ColumnType::Int, false), ("n", ColumnType::Int, true)];
    let by_name = rig.table(people()).await;
    let once = rig.table(table("dbo", "once", &columns)).await;
    let known = rig.table(table("dbo", "known", &columns)).await;
    let pair = |id, n| vec![Value::I32(id), Value::I32(n)];
    rig.send(
        &by_name,
        &[
            create(row(1, "a", Some("s"))).to(0),
            create(row(2, "b", Some("s"))).to(0),
            update(row(1, "a", Some("s")), row(1, "c", Some("s"))).to(0),
            delete(row(2, "b", Some("s"))).to(0),
        ],
    )
    .await;
    rig.send(&once, &[create(pair(1, 1)).to(0)]).await;
    rig.send(
        &known,
        &[create(pair(1, 1)).to(0), create(pair(2, 2)).to(0), delete(pair(1, 1)).to(0)],
    )
    .await;
    let mut sink = rig.sink();
    rig.until(postgres, "SELECT string_agg(name || ':' || id, ' ') FROM people", "c:1".to_owned())
        .await;
    rig.until(postgres, "SELECT string_agg(id || ':' || n, ' ') FROM known", "1:1".to_owned())
        .await;
    rig.applied(postgres, &once).await;
    rig.send(&once, &[create(pair(1, 2)).to(0), create(pair(2, 2)).to(0)]).await;
    rig.until(
        postgres,
        "SELECT string_agg(id || ':' || n, ' ' ORDER BY id) FROM once",
        "1:1 2:2".to_owned(),
    )
    .await;
    rig.until(
        postgres,
        "SELECT string_agg(sqlstate, ' ') FROM _causeway.dead_letter",
        "23505".to_owned(),
    )
    .await;
    let key = "SELECT string_agg(a.attname::text, ' ') FROM pg_index i JOIN pg_attribute a \
               ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey) \
               WHERE i.indrelid = 'people'::regclass AND i.indisprimary";
    rig.until(postgres, key, "name".to_owned()).await;
    assert_eq!(sink.terminate(LIMIT).await.unwrap(), 0, "{}", sink.tail(20));
}
