//! The transaction index and Debezium's transaction metadata.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

use apache_avro::{Schema, reader::datum::GenericDatumReader, types::Value as Avro};
use causeway_avro::frame;
use causeway_kafka::{
    Consumer, Message, Registry, RegistryConfig, all_record_ends,
    consumer::EARLIEST,
    transactions::{Entry, Range},
};
use causeway_tests::{names, process::Proc, sqlserver::exec, wait};

use crate::{LIMIT, rig::Rig};

/// Every committed record of these topics, by topic and partition.
pub(crate) async fn messages(
    rig: &Rig,
    topics: &[String],
) -> BTreeMap<(String, i32), Vec<Message>> {
    let config = causeway_kafka::Config::new(rig.kafka.bootstrap());
    let ends = all_record_ends(&config, topics).await.unwrap();
    let mut consumer = Consumer::open(&config, &names::unique("all")).await.unwrap();
    let mut left = BTreeMap::new();
    for (topic, partitions) in ends {
        left.extend(partitions.into_iter().map(|(p, end)| ((topic.clone(), p), end)));
    }
    let places: Vec<_> = left.keys().map(|(topic, p)| (topic.clone(), *p, EARLIEST)).collect();
    consumer.assign(&places).await.unwrap();
    let mut found: BTreeMap<(String, i32), Vec<Message>> = BTreeMap::new();
    while !left.is_empty() {
        let batch = tokio::time::timeout(LIMIT, consumer.next_batch()).await;
        for message in batch.expect("records come in time").unwrap() {
            let place = (message.topic.to_string(), message.partition);
            if left.get(&place).is_some_and(|end| message.offset + 1 >= *end) {
                left.remove(&place);
            }
            found.entry(place).or_default().push(message);
        }
    }
    found
}

pub(crate) fn table_topics(rig: &Rig, tables: &[&str]) -> Vec<String> {
    tables.iter().map(|table| format!("{0}.{0}.dbo.{table}", rig.name)).collect()
}

/// The transaction index.
pub(crate) async fn index(rig: &Rig) -> Vec<Entry> {
    let topic = format!("{}.transactions", rig.name);
    let found = messages(rig, std::slice::from_ref(&topic)).await;
    let entries = found.into_values().flatten();
    entries.map(|message| Entry::parse(message.value.as_ref().unwrap()).unwrap()).collect()
}

/// Reads Avro by the schemas in the registry, with a reader that others wrote.
struct Reader {
    registry: Registry,
    schemas: HashMap<u32, Schema>,
}

impl Reader {
    fn new(rig: &Rig) -> Self {
        let registry = Registry::new(&RegistryConfig::new(rig.registry.url())).unwrap();
        Self { registry, schemas: HashMap::new() }
    }

    async fn read(&mut self, bytes: &[u8]) -> Avro {
        let (id, mut body) = frame::split(bytes).unwrap();
        if !self.schemas.contains_key(&id) {
            let text = self.registry.schema(id).await.unwrap();
            self.schemas.insert(id, Schema::parse_str(&text).unwrap());
        }
        let reader = GenericDatumReader::builder(&self.schemas[&id]).build().unwrap();
        reader.read_value(&mut body).unwrap()
    }
}

fn field<'a>(value: &'a Avro, name: &str) -> &'a Avro {
    let value = if let Avro::Union(_, inner) = value { inner } else { value };
    let Avro::Record(fields) = value else { panic!("no record: {value:?}") };
    let found = &fields.iter().find(|(field, _)| field == name).unwrap().1;
    if let Avro::Union(_, inner) = found { inner } else { found }
}

fn text(value: &Avro) -> String {
    let Avro::String(text) = value else { panic!("no text: {value:?}") };
    text.clone()
}

fn long(value: &Avro) -> i64 {
    let Avro::Long(n) = value else { panic!("no long: {value:?}") };
    *n
}

/// Each record of the tables is named by exactly one entry, by the one of its transaction; transactions come in
/// commit order and have one end. Gives the entries of transactions by their id.
async fn whole(rig: &Rig, tables: &[&str]) -> BTreeMap<String, Vec<Entry>> {
    let found = messages(rig, &table_topics(rig, tables)).await;
    let entries = index(rig).await;
    let mut reader = Reader::new(rig);
    let mut named: BTreeMap<(String, i32), BTreeMap<i64, (String, bool)>> = BTreeMap::new();
    let mut ended = BTreeSet::new();
    let mut transactions: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
    let mut last_id = String::new();
    for entry in &entries {
        let (id, snapshot, ranges): (&String, bool, &[Range]) = match entry {
            Entry::Begin { .. } => continue,
            Entry::Snapshot { id, ranges, .. } => (id, true, ranges),
            Entry::Transaction { id, last, ranges, commit_ns, .. } => {
                assert!(!ended.contains(id), "{id} goes on after its end: {entry:?}");
                assert!(*id >= last_id, "{id} after {last_id}");
                assert!(ranges.is_empty() || *commit_ns > 1_500_000_000_000_000_000, "{entry:?}");
                last_id.clone_from(id);
                if *last {
                    ended.insert(id.clone());
                }
                transactions.entry(id.clone()).or_default().push(entry.clone());
                (id, false, ranges)
            }
        };
        for range in ranges {
            assert!(range.first <= range.last, "{range:?}");
            let of_partition = named.entry((range.topic.clone(), range.partition)).or_default();
            let records = found.get(&(range.topic.clone(), range.partition)).unwrap();
            let inside =
                records.iter().filter(|m| (range.first..=range.last).contains(&m.offset)).count();
            assert_eq!(u64::try_from(inside).unwrap(), range.count, "{range:?}");
            for offset in range.first..=range.last {
                let before = of_partition.insert(offset, (id.clone(), snapshot));
                assert_eq!(before, None, "{range:?} names {offset} again");
            }
        }
    }
    for (place, records) in &found {
        for record in records {
            let entry = named.get(place).and_then(|named| named.get(&record.offset));
            let (id, snapshot) =
                entry.unwrap_or_else(|| panic!("{place:?}/{} is named by nobody", record.offset));
            let Some(value) = &record.value else { continue };
            let value = reader.read(value).await;
            let source = field(&value, "source");
            assert_eq!(&text(field(source, "commit_lsn")), id);
            assert_eq!(text(field(&value, "op")) == "r", *snapshot);
        }
    }
    assert_eq!(ended.len(), transactions.len(), "each transaction has its end");
    transactions
}

const COLUMNS: &str = "id int NOT NULL PRIMARY KEY, x int NULL, body nvarchar(max) NULL";

fn insert(table: &str, from: i32, rows: i32) -> Vec<String> {
    let row = |id: i32| format!("({id}, 0, N'{}')", format!("{id:08}").repeat(60));
    (from..from + rows)
        .step_by(500)
        .map(|first| {
            let until = (first + 500).min(from + rows);
            let rows: Vec<_> = (first..until).map(row).collect();
            format!("INSERT INTO dbo.{table} VALUES {}", rows.join(","))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_is_named_by_the_entry_of_its_transaction() {
    let mut rig = Rig::new("index").await;
    rig.set("source.transaction_index", true);
    rig.table("a", COLUMNS).await;
    rig.table("b", COLUMNS).await;
    rig.table(
        "signals",
        "id varchar(42) NOT NULL PRIMARY KEY, type varchar(32) NOT NULL, data varchar(2048) NULL",
    )
    .await;
    rig.set("source.signals.table", "dbo.signals");
    rig.set("source.snapshot.chunk_rows", 40);
    rig.set(r#"kafka.properties."message.max.bytes""#, "20000");
    for sql in insert("a", 1, 200) {
        rig.exec(&sql).await;
    }
    let mut source = rig.start();
    source.ready(LIMIT).await.unwrap();
    let mut client = rig.client().await;
    let large = "x".repeat(30_000);
    for round in 0..10 {
        let at = 1_000 + round * 10;
        // Two tables, a change of key, a delete, a row too large for Kafka and a row that is a signal.
        let sql = format!(
            "BEGIN TRAN; \
             INSERT INTO dbo.a VALUES ({at}, 1, N'n'), ({at} + 1, 1, N'n'), ({at} + 2, 1, N'{large}'); \
             INSERT INTO dbo.b VALUES ({at}, 1, N'n'); \
             UPDATE dbo.a SET id = id + 5 WHERE id = {at}; \
             DELETE FROM dbo.b WHERE id = {at} - 10; \
             INSERT INTO dbo.signals VALUES ('s{round}', 'log', NULL); COMMIT"
        );
        exec(&mut client, &sql).await.unwrap();
    }
    // Of this transaction nothing is published.
    exec(&mut client, "INSERT INTO dbo.signals VALUES ('alone', 'log', NULL)").await.unwrap();
    exec(&mut client, "INSERT INTO dbo.a VALUES (9999, 1, N'last')").await.unwrap();
    let mut reader = rig.reader(&["a", "b"]).await;
    let begun = Instant::now();
    while source.metrics().await.unwrap().sum("causeway_source_dead_letters_total") != Some(10.0) {
        assert!(begun.elapsed() < LIMIT, "{}", source.tail(30));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    exec(&mut client, "DELETE FROM dbo.a WHERE LEN(body) > 10000").await.unwrap();
    rig.equal(&mut reader, &["a", "b"], &mut source).await;
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
    let transactions = whole(&rig, &["a", "b"]).await;
    let mut in_both = 0;
    for entries in transactions.values() {
        let [Entry::Transaction { last: true, events, set_aside, ranges, .. }] = &entries[..]
        else {
            panic!("{entries:?}")
        };
        let topics: BTreeSet<_> = ranges.iter().map(|range| &range.topic).collect();
        if topics.len() == 2 {
            in_both += 1;
            let records: u64 = ranges.iter().map(|range| range.count).sum();
            let deletes = records - events;
            // Two rows, one of them moved, one in b, and from the second round on one deleted.
            assert!(matches!((*events, deletes, *set_aside), (5, 1, 1) | (6, 2, 1)), "{entries:?}");
        }
    }
    assert_eq!(in_both, 10);
}

/// Kills the source when it has published a part of the transaction and not its end.
async fn kill_inside(rig: &Rig, source: &mut Proc, parts: usize) {
    let begun = Instant::now();
    loop {
        source.must_run().unwrap();
        let entries = index(rig).await.into_iter();
        let open = entries.filter(|entry| matches!(entry, Entry::Transaction { last: false, .. }));
        if open.count() >= parts {
            break;
        }
        assert!(begun.elapsed() < LIMIT, "{}", source.tail(30));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    source.kill9();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_transaction_has_one_end_however_often_the_source_dies_inside_it() {
    let mut rig = Rig::new("parts").await;
    rig.table("a", COLUMNS).await;
    rig.table("b", COLUMNS).await;
    rig.set("source.transaction.max_bytes", 1_000);
    rig.set("source.transaction_index", true);
    rig.set("source.transaction_metadata", true);
    let mut source = rig.start();
    source.ready(LIMIT).await.unwrap();
    let mut statements = vec!["BEGIN TRAN".to_owned()];
    for (a, b) in insert("a", 1, 6_000).into_iter().zip(insert("b", 1, 6_000)) {
        statements.extend([a, b]);
    }
    statements.push("COMMIT".to_owned());
    rig.exec(&statements.join("; ")).await;
    for parts in [1, 3, 5] {
        kill_inside(&rig, &mut source, parts).await;
        source = rig.start();
        source.ready(LIMIT).await.unwrap();
    }
    rig.exec("INSERT INTO dbo.a VALUES (9999, 1, N'last')").await;
    let mut reader = rig.reader(&["a", "b"]).await;
    rig.equal(&mut reader, &["a", "b"], &mut source).await;
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
    let transactions = whole(&rig, &["a", "b"]).await;
    assert_eq!(transactions.len(), 2);
    let parts = transactions.values().next().unwrap();
    assert!(parts.len() > 5, "{}", parts.len());
    let events: u64 = parts
        .iter()
        .map(|entry| match entry {
            Entry::Transaction { events, .. } => *events,
            Entry::Snapshot { .. } | Entry::Begin { .. } => 0,
        })
        .sum();
    assert_eq!(events, 12_000);
    // Debezium's numbers go on over the kills, too.
    let seen = numbers(&rig, &["a", "b"]).await;
    let id = transactions.keys().next().unwrap();
    let mut of_large: Vec<_> = seen.iter().filter(|n| n.id == *id).collect();
    of_large.sort_by_key(|n| n.total);
    let total: Vec<i64> = of_large.iter().map(|n| n.total).collect();
    assert_eq!(total, (1..=12_000).collect::<Vec<_>>());
    for table in ["a", "b"] {
        let of_table = of_large.iter().filter(|n| n.table == table).map(|n| n.of_table);
        assert_eq!(of_table.collect::<Vec<_>>(), (1..=6_000).collect::<Vec<_>>());
    }
    let told = metadata(&rig).await;
    let (a, b) = (format!("{}.dbo.a", rig.name), format!("{}.dbo.b", rig.name));
    let second = transactions.keys().nth(1).unwrap();
    assert_eq!(
        told,
        [
            format!("BEGIN {id}"),
            format!("END {id} 12000 {a}=6000 {b}=6000"),
            format!("BEGIN {second}"),
            format!("END {second} 1 {a}=1"),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_begins_later_says_what_it_does_not_speak_of() {
    let mut rig = Rig::new("later").await;
    rig.table("a", COLUMNS).await;
    rig.table("quiet", COLUMNS).await;
    rig.exec("INSERT INTO dbo.a VALUES (1, 1, N'n'); INSERT INTO dbo.quiet VALUES (1, 1, N'n')")
        .await;
    let mut source = rig.start();
    source.ready(LIMIT).await.unwrap();
    let mut reader = rig.reader(&["a", "quiet"]).await;
    rig.equal(&mut reader, &["a", "quiet"], &mut source).await;
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
    let config = causeway_kafka::Config::new(rig.kafka.bootstrap());
    let topics = table_topics(&rig, &["a", "quiet"]);
    let before = all_record_ends(&config, &topics).await.unwrap();
    assert!(before.values().any(|ends| !ends.is_empty()));
    rig.set("source.transaction_index", true);
    for id in [2, 3] {
        let mut source = rig.start();
        source.ready(LIMIT).await.unwrap();
        rig.exec(&format!("INSERT INTO dbo.a VALUES ({id}, 1, N'n')")).await;
        rig.equal(&mut reader, &["a", "quiet"], &mut source).await;
        assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
    }
    let entries = index(&rig).await;
    let [Entry::Begin { ends }, rest @ ..] = &entries[..] else { panic!("{entries:?}") };
    let mut told: BTreeMap<String, BTreeMap<i32, i64>> = BTreeMap::new();
    for end in ends {
        told.entry(end.topic.clone()).or_default().insert(end.partition, end.next);
    }
    assert_eq!(told, before);
    assert_eq!(rest.len(), 2, "{rest:?}");
    for entry in rest {
        let Entry::Transaction { last: true, events: 1, ranges, .. } = entry else {
            panic!("{entry:?}")
        };
        let [range] = &ranges[..] else { panic!("{ranges:?}") };
        let end = before.get(&range.topic).and_then(|ends| ends.get(&range.partition));
        assert!(end.is_none_or(|end| range.first >= *end), "{range:?} {before:?}");
    }
}

/// Debezium's numbers of one event.
struct Number {
    table: String,
    id: String,
    total: i64,
    of_table: i64,
}

async fn numbers(rig: &Rig, tables: &[&str]) -> Vec<Number> {
    let mut reader = Reader::new(rig);
    let mut numbers = Vec::new();
    for table in tables {
        for (_, messages) in messages(rig, &table_topics(rig, &[table])).await {
            for value in messages.iter().filter_map(|message| message.value.as_ref()) {
                let value = reader.read(value).await;
                let block = field(&value, "transaction");
                if *block == Avro::Null {
                    continue;
                }
                numbers.push(Number {
                    table: (*table).to_owned(),
                    id: text(field(block, "id")),
                    total: long(field(block, "total_order")),
                    of_table: long(field(block, "data_collection_order")),
                });
            }
        }
    }
    numbers
}

/// The records of `<prefix>.transaction`, in words.
async fn metadata(rig: &Rig) -> Vec<String> {
    let topic = format!("{}.transaction", rig.name);
    let found = messages(rig, std::slice::from_ref(&topic)).await;
    let mut reader = Reader::new(rig);
    let mut told = Vec::new();
    for message in found.values().flatten() {
        let key = reader.read(message.key.as_ref().unwrap()).await;
        let value = reader.read(message.value.as_ref().unwrap()).await;
        let id = text(field(&value, "id"));
        assert_eq!(text(field(&key, "id")), id);
        assert!(long(field(&value, "ts_ms")) > 1_500_000_000_000);
        let status = text(field(&value, "status"));
        let mut words = format!("{status} {id}");
        if let Avro::Array(collections) = field(&value, "data_collections") {
            words += &format!(" {}", long(field(&value, "event_count")));
            for one in collections {
                let (name, count) = (field(one, "data_collection"), field(one, "event_count"));
                words += &format!(" {}={}", text(name), long(count));
            }
        } else {
            assert_eq!(status, "BEGIN");
            assert_eq!(field(&value, "event_count"), &Avro::Null);
        }
        told.push(words);
    }
    told
}

/// Debezium's `TransactionMetadataIT.transactionMetadata`: five rows in each of two tables in one transaction,
/// then one more row. Ours has the end of the second transaction, too: it does not wait for a third.
#[tokio::test(flavor = "multi_thread")]
async fn transaction_metadata_it() {
    let mut rig = Rig::new("metadata").await;
    rig.set("source.transaction_metadata", true);
    rig.table("tablea", "id int NOT NULL PRIMARY KEY, cola varchar(30)").await;
    rig.table("tableb", "id int NOT NULL PRIMARY KEY, colb varchar(30)").await;
    // A row of the snapshot is in no transaction.
    rig.exec("INSERT INTO dbo.tablea VALUES (1, 'a')").await;
    let mut source = rig.start();
    source.logged("snapshot published", LIMIT).await.unwrap();
    source.ready(LIMIT).await.unwrap();
    let mut statements = vec!["BEGIN TRAN".to_owned()];
    for i in 10..15 {
        statements.push(format!("INSERT INTO dbo.tablea VALUES ({i}, 'a')"));
        statements.push(format!("INSERT INTO dbo.tableb VALUES ({i}, 'b')"));
    }
    statements.push("COMMIT".to_owned());
    rig.exec(&statements.join("; ")).await;
    rig.exec("INSERT INTO dbo.tableb VALUES (1000, 'b')").await;
    // A change of key is two events and a tombstone, which has no number.
    rig.exec("UPDATE dbo.tableb SET id = 1001 WHERE id = 1000").await;
    let mut reader = rig.reader(&["tablea", "tableb"]).await;
    rig.equal(&mut reader, &["tablea", "tableb"], &mut source).await;
    let told = wait::until("the end of the third transaction", LIMIT, || async {
        let told = metadata(&rig).await;
        Ok((told.len() >= 6).then_some(told))
    })
    .await
    .unwrap();
    let ids: Vec<String> =
        told.iter().step_by(2).map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect();
    let (a, b) = (format!("{}.dbo.tablea", rig.name), format!("{}.dbo.tableb", rig.name));
    let [first, second, third] = &ids[..] else { panic!("{told:?}") };
    assert_eq!(
        told,
        [
            format!("BEGIN {first}"),
            format!("END {first} 10 {a}=5 {b}=5"),
            format!("BEGIN {second}"),
            format!("END {second} 1 {b}=1"),
            format!("BEGIN {third}"),
            format!("END {third} 2 {b}=2"),
        ]
    );
    let mut seen = numbers(&rig, &["tablea", "tableb"]).await;
    seen.sort_by_key(|n| (ids.iter().position(|id| *id == n.id), n.total));
    let words: Vec<String> =
        seen.iter().map(|n| format!("{} {} {}", n.table, n.total, n.of_table)).collect();
    let mut expected: Vec<String> = (1..=10)
        .map(|i| format!("{} {i} {}", if i % 2 == 1 { "tablea" } else { "tableb" }, (i + 1) / 2))
        .collect();
    expected.extend(["tableb 1 1", "tableb 1 1", "tableb 2 2"].map(str::to_owned));
    assert_eq!(words, expected);
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}
