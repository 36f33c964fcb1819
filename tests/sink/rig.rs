//! What stands before and behind the sink in these tests: records written by our own encoder to a
//! real Kafka, and a PostgreSQL to look into.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail};
use causeway_avro::{Encoder, Envelope, Options, Snapshot, SourceBlock};
use causeway_change::{Column, ColumnType, Lsn, Operation, Row, Table, TableId, Value};
use causeway_kafka::{
    Admin, Consumer, Message, Producer, Record, Registry, RegistryConfig, TopicSpec,
    consumer::EARLIEST, topic,
};
use causeway_tests::{
    config::Config, kafka::Kafka, names, postgres::Postgres, process::Proc, registry, shared, wait,
};
use tempfile::TempDir;

/// How long a test waits for what should take a second: two cores run many things at once.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// A pipeline of its own on shared servers.
pub(crate) struct Rig {
    pub(crate) prefix: String,
    pub(crate) database: String,
    pub(crate) kafka: causeway_kafka::Config,
    pub(crate) registry: Registry,
    pub(crate) producer: Producer,
    config: Config,
    folder: TempDir,
}

impl Rig {
    /// On the shared PostgreSQL.
    pub(crate) async fn new(what: &str) -> Self {
        Self::on(what, shared::postgres().await).await
    }

    /// On a PostgreSQL of the test's own.
    pub(crate) async fn on(what: &str, postgres: &Postgres) -> Self {
        let (kafka, registry): (&Kafka, &registry::Registry) =
            tokio::join!(shared::kafka(), shared::registry());
        let prefix = names::unique(what);
        let database = names::unique("target");
        postgres.create_database(&database).await.unwrap();
        let config = Config::new(&prefix)
            .kafka(kafka)
            .registry(registry)
            .postgres(postgres, &database)
            .set("sink.discover_seconds", 1);
        let kafka = causeway_kafka::Config::new(kafka.bootstrap());
        let dead_letters = TopicSpec {
            name: topic::dead_letters(&prefix),
            partitions: 1,
            compacted: false,
            retention_ms: Some(-1),
        };
        Admin::new(&kafka).unwrap().ensure_topics(&[dead_letters]).await.unwrap();
        Self {
            producer: Producer::new(&kafka).unwrap(),
            registry: Registry::new(&RegistryConfig::new(registry.url())).unwrap(),
            kafka,
            prefix,
            database,
            config,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// Changes the configuration of the sinks that are started from now on.
    pub(crate) fn set(&mut self, path: &str, value: impl Into<toml::Value>) {
        self.config = self.config.clone().set(path, value);
    }

    /// The path of the configuration file.
    pub(crate) fn config(&self) -> PathBuf {
        self.config.write(self.folder.path()).unwrap()
    }

    /// Starts a sink, which may still have to wait for its servers.
    pub(crate) fn sink(&self) -> Proc {
        Proc::start("causeway-sink", &["run"], &self.config()).unwrap()
    }

    /// A topic for a table, with its schemas registered.
    pub(crate) async fn table(&self, table: Table) -> Feed {
        let name = topic::table(&self.prefix, &table.database, &table.id);
        let spec =
            TopicSpec { name: name.clone(), partitions: 3, compacted: false, retention_ms: None };
        Admin::new(&self.kafka).unwrap().ensure_topics(&[spec]).await.unwrap();
        self.version(table, name).await
    }

    /// A further version of a table on its topic.
    pub(crate) async fn version(&self, table: Table, topic: String) -> Feed {
        // A sentinel such as 9999-12-31 has no place in nanoseconds: the source's rule, B.4.
        let micro = table
            .columns
            .iter()
            .filter(|c| matches!(c.ty, ColumnType::DateTime2 { scale: 7 }))
            .map(|c| c.name.clone())
            .collect();
        let encoder = Encoder::new(&table, &topic, &Options::default(), &micro).unwrap();
        let key_id = match encoder.key_schema() {
            Some(schema) => {
                self.registry.register(&topic::key_subject(&topic), schema).await.unwrap()
            }
            None => 0,
        };
        let value_id = self
            .registry
            .register(&topic::value_subject(&topic), encoder.value_schema())
            .await
            .unwrap();
        Feed { table, topic, encoder, key_id, value_id, prefix: self.prefix.clone() }
    }

    /// Sends the records of changes, in order.
    pub(crate) async fn send(&self, feed: &Feed, changes: &[Made]) {
        for made in changes {
            let partition = made.partition;
            let (key, value) = feed.encode(made).unwrap();
            self.raw(&feed.topic, partition, key.as_deref(), Some(&value)).await;
            if made.operation == Operation::Delete {
                self.raw(&feed.topic, partition, key.as_deref(), None).await;
            }
        }
    }

    /// Sends one record as it is.
    pub(crate) async fn raw(
        &self,
        topic: &str,
        partition: Option<i32>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) {
        let headers: &[(&str, &[u8])] = &[("test", b"\x01\x02")];
        let record = Record { topic, partition, key, value, headers, timestamp_ms: None };
        self.producer.send(record).await.unwrap();
    }

    /// One value of the target database.
    pub(crate) async fn ask<T>(&self, postgres: &Postgres, sql: &str) -> Result<T>
    where
        T: for<'a> tokio_postgres::types::FromSql<'a>,
    {
        let client = postgres.client(&self.database).await?;
        client.query_one(sql, &[]).await.context("ask the target")?.try_get(0).context("read")
    }

    /// Waits until a question to the target has that answer.
    pub(crate) async fn until<T>(&self, postgres: &Postgres, sql: &str, expected: T)
    where
        T: for<'a> tokio_postgres::types::FromSql<'a> + PartialEq + std::fmt::Debug,
    {
        let what = format!("{sql} to be {expected:?}");
        let expected = &expected;
        let check = || async move {
            let found: T = self.ask(postgres, sql).await?;
            if found == *expected { Ok(Some(())) } else { bail!("it is {found:?}") }
        };
        wait::until(&what, LIMIT, check).await.unwrap();
    }

    /// Waits until everything that is in the topic now has been applied or refused.
    pub(crate) async fn applied(&self, postgres: &Postgres, feed: &Feed) {
        let consumer = Consumer::open(&self.kafka, "look").await.unwrap();
        for partition in 0..3 {
            let high = consumer.watermarks(&feed.topic, partition).await.unwrap().high;
            let sql = format!(
                "SELECT coalesce((SELECT next_offset FROM _causeway.progress WHERE topic = '{}' \
                 AND partition = {partition}), 0)",
                feed.topic
            );
            self.until(postgres, &sql, high).await;
        }
    }

    /// The records of the dead-letter topic, once there are so many.
    pub(crate) async fn dead_letters(&self, count: usize) -> Vec<Message> {
        let mut consumer = Consumer::open(&self.kafka, "look").await.unwrap();
        consumer.add(&[(topic::dead_letters(&self.prefix), 0, EARLIEST)]).await.unwrap();
        let mut found = Vec::new();
        let end = tokio::time::Instant::now() + LIMIT;
        while found.len() < count {
            let batch = tokio::time::timeout_at(end, consumer.next_batch()).await;
            found.extend(batch.expect("the dead letters are not in their topic").unwrap());
        }
        found
    }
}

/// What writes one version of one table.
pub(crate) struct Feed {
    pub(crate) table: Table,
    pub(crate) topic: String,
    pub(crate) encoder: Encoder,
    pub(crate) key_id: u32,
    pub(crate) value_id: u32,
    prefix: String,
}

/// One change to be written.
#[derive(Clone)]
pub(crate) struct Made {
    pub(crate) operation: Operation,
    pub(crate) before: Option<Row>,
    pub(crate) after: Option<Row>,
    pub(crate) snapshot: bool,
    pub(crate) partition: Option<i32>,
}

impl Made {
    pub(crate) fn to(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }
}

pub(crate) fn read(row: Row) -> Made {
    Made {
        operation: Operation::Read,
        before: None,
        after: Some(row),
        snapshot: true,
        partition: None,
    }
}

pub(crate) fn create(row: Row) -> Made {
    Made { operation: Operation::Create, snapshot: false, ..read(row) }
}

pub(crate) fn update(before: Row, after: Row) -> Made {
    Made { operation: Operation::Update, before: Some(before), ..create(after) }
}

pub(crate) fn delete(before: Row) -> Made {
    Made { operation: Operation::Delete, before: Some(before), after: None, ..create(Vec::new()) }
}

impl Feed {
    /// Key and value of the record.
    pub(crate) fn encode(&self, made: &Made) -> Result<(Option<Vec<u8>>, Vec<u8>)> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
        let ts_ns = i64::try_from(now)?;
        let lsn = Lsn::from_parts(1, 2, 3);
        let envelope = Envelope {
            before: made.before.as_deref(),
            after: made.after.as_deref(),
            operation: made.operation,
            source: SourceBlock {
                version: "test",
                name: &self.prefix,
                db: &self.table.database,
                schema: &self.table.id.schema,
                table: &self.table.id.name,
                ts_ns,
                snapshot: if made.snapshot { Snapshot::True } else { Snapshot::False },
                change_lsn: (!made.snapshot).then_some(lsn),
                commit_lsn: Some(lsn),
                event_serial_no: (!made.snapshot).then_some(1),
            },
            ts_ns,
        };
        let mut value = Vec::new();
        self.encoder.encode_value(&envelope, self.value_id, &mut value)?;
        let row = made.after.as_ref().or(made.before.as_ref()).context("a change has a row")?;
        let key = if self.table.key.is_empty() {
            None
        } else {
            let mut key = Vec::new();
            self.encoder.encode_key(row, self.key_id, &mut key)?;
            Some(key)
        };
        Ok((key, value))
    }
}

/// A table of the source with its key in its first column.
pub(crate) fn table(schema: &str, name: &str, columns: &[(&str, ColumnType, bool)]) -> Table {
    Table {
        database: "shop".to_owned(),
        id: TableId::new(schema, name),
        columns: columns
            .iter()
            .map(|(name, ty, nullable)| Column {
                name: (*name).to_owned(),
                ty: *ty,
                nullable: *nullable,
                default: None,
            })
            .collect(),
        key: vec![0],
    }
}

/// One `[[sink.tables]]`.
pub(crate) fn rule(tables: &str, keys: &[(&str, &str)]) -> toml::Value {
    let mut rule = toml::Table::new();
    rule.insert("match".to_owned(), tables.into());
    for (key, value) in keys {
        rule.insert((*key).to_owned(), (*value).into());
    }
    rule.into()
}

pub(crate) fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// Waits until the sink has failed more often than that, and says so in its metrics.
pub(crate) async fn failed(sink: &mut Proc, part: &str, times: f64) {
    let end = tokio::time::Instant::now() + LIMIT;
    loop {
        let page = sink.metrics().await.unwrap();
        if page.of("causeway_sink_errors_total", "part", part) > Some(times) {
            return;
        }
        assert!(tokio::time::Instant::now() < end, "it does not try again:\n{}", sink.tail(20));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Runs one command of the sink to its end.
pub(crate) async fn command(name: &str, config: &Path) -> causeway_tests::process::Ended {
    causeway_tests::process::run("causeway-sink", &[name], config, LIMIT).await.unwrap()
}
