//! One source with its database, and a reader of its topics that knows what a sink would know.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use causeway_avro::{Decoded, Decoder, frame};
use causeway_change::{Operation, Row, TableId, Value};
use causeway_kafka::{Consumer, Message, Registry, RegistryConfig, consumer::EARLIEST, topic};
use causeway_sqlserver::{Client, KeyRange, Patterns, Selection, catalog, rows::stream_table};
use causeway_tests::{
    config::Config,
    kafka::Kafka,
    names,
    process::{self, Ended, Proc},
    registry, shared,
    sqlserver::{self, SqlServer},
    wait,
};
use tempfile::TempDir;

use crate::LIMIT;

/// A database, a configuration, and the servers.
pub(crate) struct Rig {
    pub(crate) name: String,
    pub(crate) config: Config,
    pub(crate) sqlserver: &'static SqlServer,
    pub(crate) kafka: &'static Kafka,
    pub(crate) registry: &'static registry::Registry,
    folder: TempDir,
}

impl Rig {
    pub(crate) async fn new(what: &str) -> Self {
        Self::on(what, shared::sqlserver().await).await
    }

    /// On a server of the test's own, which it may make misbehave; it lives as long as the process.
    pub(crate) async fn alone(what: &str, options: sqlserver::Options) -> Self {
        let server = SqlServer::start(options).await.unwrap();
        Self::on(what, Box::leak(Box::new(server))).await
    }

    async fn on(what: &str, sqlserver: &'static SqlServer) -> Self {
        let (kafka, registry) = tokio::join!(shared::kafka(), shared::registry());
        let name = names::unique(what);
        sqlserver.create_captured_database(&name).await.unwrap();
        let config = Config::new(&name).sqlserver(sqlserver, &name).kafka(kafka).registry(registry);
        Self { name, config, sqlserver, kafka, registry, folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn set(&mut self, path: &str, value: impl Into<toml::Value>) {
        self.config = self.config.clone().set(path, value);
    }

    pub(crate) fn write(&self) -> PathBuf {
        self.config.write(self.folder.path()).unwrap()
    }

    pub(crate) fn start(&self) -> Proc {
        Proc::start("causeway-source", &["run"], &self.write()).unwrap()
    }

    /// Runs another command of the source to its end.
    pub(crate) async fn command(&self, args: &[&str]) -> Ended {
        process::run("causeway-source", args, &self.write(), LIMIT).await.unwrap()
    }

    /// Every committed record of a topic of the pipeline, by its short name.
    pub(crate) async fn records(&self, topic: &str, at_least: usize) -> Vec<Message> {
        let topic = format!("{}.{topic}", self.name);
        let config = causeway_kafka::Config::new(self.kafka.bootstrap());
        let mut consumer = Consumer::open(&config, &names::unique("records")).await.unwrap();
        wait::until("the topic", LIMIT, || async {
            let known = consumer.topics(&topic).await?;
            Ok(known.into_iter().find(|t| t.name == topic && t.partitions > 0))
        })
        .await
        .unwrap();
        consumer.assign(&[(topic, 0, EARLIEST)]).await.unwrap();
        let mut records = Vec::new();
        let begun = Instant::now();
        let end = begun + LIMIT;
        loop {
            let batch = consumer.next_batch();
            match tokio::time::timeout(Duration::from_millis(500), batch).await {
                Ok(batch) => records.extend(batch.unwrap()),
                Err(_) if records.len() >= at_least => break,
                Err(_) => {}
            }
            // A topic that is never quiet has been read for long enough.
            if records.len() >= at_least && begun.elapsed() > Duration::from_secs(5) {
                break;
            }
            assert!(Instant::now() < end, "{} of {at_least} records came", records.len());
        }
        records
    }

    /// The notifications so far, in few words; at least some.
    pub(crate) async fn notifications(&self, at_least: usize) -> Vec<String> {
        let records = self.records("notifications", at_least).await;
        let words = |message: &Message| {
            let json: serde_json::Value =
                serde_json::from_slice(message.value.as_ref().unwrap()).unwrap();
            let text = |field: &str| json[field].as_str().unwrap().to_owned();
            format!("{} {}", text("aggregate_type"), text("type"))
        };
        records.iter().map(words).collect()
    }

    pub(crate) async fn client(&self) -> sqlserver::Client {
        self.sqlserver.client(&self.name).await.unwrap()
    }

    pub(crate) async fn exec(&self, sql: &str) {
        self.sqlserver.exec(&self.name, sql).await.unwrap();
    }

    /// A table with an integer key, and CDC on it.
    pub(crate) async fn table(&self, name: &str, columns: &str) {
        self.exec(&format!("CREATE TABLE dbo.[{name}] ({columns})")).await;
        self.sqlserver.capture(&self.name, "dbo", name).await.unwrap();
    }

    /// The product's own client.
    pub(crate) async fn own_client(&self) -> Client {
        let config = causeway_sqlserver::Config {
            host: self.sqlserver.host().to_owned(),
            port: self.sqlserver.port(),
            database: self.name.clone(),
            user: "sa".to_owned(),
            password: self.sqlserver.sa_password().to_owned(),
            encrypt: causeway_sqlserver::Encrypt::Required,
            trust_certificate: true,
            ca_file: None,
            application_intent: causeway_sqlserver::ApplicationIntent::ReadWrite,
            application_name: "causeway-tests".to_owned(),
            connect_timeout_ms: 30_000,
            command_timeout_ms: 30_000,
            lock_timeout_ms: 10_000,
        };
        Box::pin(Client::connect(&config)).await.unwrap()
    }

    /// The rows of a table by their key.
    pub(crate) async fn rows(&self, table: &str) -> BTreeMap<String, Row> {
        let mut client = self.own_client().await;
        let selection = Selection {
            include: Patterns::new([format!("dbo.{table}")]),
            exclude: Patterns::default(),
            exclude_columns: Patterns::default(),
            largest_value: None,
        };
        let (tables, _) = catalog::tables(&mut client, &selection).await.unwrap();
        let source = &tables[0];
        let mut stream =
            stream_table(&mut client, source, &KeyRange::default(), None).await.unwrap();
        let mut rows = BTreeMap::new();
        while let Some(row) = stream.next_row().await.unwrap() {
            rows.insert(key_text(&source.table.key, &row), row);
        }
        rows
    }

    pub(crate) async fn reader(&self, tables: &[&str]) -> Reader {
        let config = causeway_kafka::Config::new(self.kafka.bootstrap());
        let consumer = Consumer::open(&config, &names::unique("reader")).await.unwrap();
        let mut partitions = Vec::new();
        let mut by_topic = HashMap::new();
        for table in tables {
            let topic = topic::table(&self.name, &self.name, &TableId::new("dbo", *table));
            by_topic.insert(topic.clone(), (*table).to_owned());
            // A table that is captured later gets its topic later.
            let known = wait::until("the topic", Duration::from_secs(60), || async {
                let known = consumer.topics(&topic).await?;
                Ok(known.into_iter().find(|t| t.name == topic))
            })
            .await
            .unwrap();
            for partition in 0..known.partitions {
                partitions.push((topic.clone(), partition, EARLIEST));
            }
        }
        consumer.assign(&partitions).await.unwrap();
        let registry = Registry::new(&RegistryConfig::new(self.registry.url())).unwrap();
        Reader {
            consumer,
            registry,
            by_topic,
            decoders: HashMap::new(),
            keys: HashMap::new(),
            tables: BTreeMap::new(),
            seen: BTreeSet::new(),
            events: Vec::new(),
            commit_times: Vec::new(),
            rows_after: Vec::new(),
        }
    }

    /// Reads the topics until they say what the tables hold.
    pub(crate) async fn equal(&self, reader: &mut Reader, tables: &[&str], source: &mut Proc) {
        let end = Instant::now() + LIMIT;
        loop {
            reader.drain(Duration::from_millis(300)).await;
            let mut wrong = None;
            for table in tables {
                let wanted = self.rows(table).await;
                let mut found = reader.tables.get(*table).cloned().unwrap_or_default();
                // As in a target: a column that came later is NULL in rows that nobody sent since.
                let width = wanted.values().map(Vec::len).max().unwrap_or(0);
                for row in found.values_mut().filter(|row| row.len() < width) {
                    row.resize(width, Value::Null);
                }
                if found != wanted {
                    let missing: Vec<_> = wanted
                        .iter()
                        .filter(|(key, row)| found.get(*key) != Some(row))
                        .map(|(key, _)| key.clone())
                        .take(5)
                        .collect();
                    let extra: Vec<_> =
                        found.keys().filter(|key| !wanted.contains_key(*key)).take(5).collect();
                    wrong = Some(format!(
                        "{table}: {} rows in the table, {} in the topic; missing or different {missing:?}, extra {extra:?}",
                        wanted.len(),
                        found.len()
                    ));
                }
            }
            let Some(wrong) = wrong else { return };
            source.must_run().unwrap();
            assert!(Instant::now() < end, "{wrong}\n{}", source.tail(30));
        }
    }
}

/// One event, in few words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) table: String,
    pub(crate) operation: Operation,
    pub(crate) key: String,
    pub(crate) headers: Vec<String>,
    pub(crate) serial: Option<i64>,
}

/// Reads topics and keeps what a sink would hold.
pub(crate) struct Reader {
    consumer: Consumer,
    registry: Registry,
    by_topic: HashMap<String, String>,
    decoders: HashMap<u32, Arc<Decoder>>,
    /// Key columns of tables whose key is not the first.
    pub(crate) keys: HashMap<String, Vec<usize>>,
    pub(crate) tables: BTreeMap<String, BTreeMap<String, Row>>,
    /// Position of every streamed event: none may come twice.
    seen: BTreeSet<String>,
    pub(crate) events: Vec<Event>,
    /// `source.ts_ms` of each of `events`.
    pub(crate) commit_times: Vec<i64>,
    /// The row after each of `events`, as it was sent.
    pub(crate) rows_after: Vec<Option<Row>>,
}

impl Reader {
    /// Reads until nothing more comes for a while.
    pub(crate) async fn drain(&mut self, quiet: Duration) {
        while let Ok(batch) = tokio::time::timeout(quiet, self.consumer.next_batch()).await {
            for message in batch.unwrap() {
                let table = self.by_topic[&*message.topic].clone();
                let Some(value) = message.value else { continue };
                let (id, body) = frame::split(&value).unwrap();
                if !self.decoders.contains_key(&id) {
                    let schema = self.registry.schema(id).await.unwrap();
                    self.decoders.insert(id, Arc::new(Decoder::new(&schema).unwrap()));
                }
                let decoder = Arc::clone(&self.decoders[&id]);
                let decoded = decoder.decode(body).unwrap();
                let headers = message.headers.iter().map(|(name, _)| name.clone()).collect();
                self.apply(&table, decoded, headers);
            }
        }
    }

    fn apply(&mut self, table: &str, decoded: Decoded, headers: Vec<String>) {
        let row = decoded.after.as_ref().or(decoded.before.as_ref()).unwrap();
        // Most tables of the tests have their key first.
        let key = key_text(self.keys.get(table).map_or(&[0][..], Vec::as_slice), row);
        if !decoded.source.snapshot {
            let at = format!(
                "{table} {key} {:?} {:?} {:?}",
                decoded.source.commit_lsn, decoded.source.change_lsn, decoded.operation
            );
            assert!(self.seen.insert(at.clone()), "twice: {at}");
        }
        self.commit_times.push(decoded.source.ts_ms);
        self.rows_after.push(decoded.after.clone());
        self.events.push(Event {
            table: table.to_owned(),
            operation: decoded.operation,
            key: key.clone(),
            headers,
            serial: decoded.source.event_serial_no,
        });
        let rows = self.tables.entry(table.to_owned()).or_default();
        match decoded.operation {
            Operation::Delete => {
                rows.remove(&key);
            }
            Operation::Read | Operation::Create | Operation::Update => {
                let mut after = decoded.after.unwrap();
                if let Some(old) = rows.get(&key) {
                    for (value, old) in after.iter_mut().zip(old) {
                        if value.is_unavailable() {
                            *value = old.clone();
                        }
                    }
                }
                rows.insert(key, after);
            }
        }
    }
}

fn key_text(key: &[usize], row: &Row) -> String {
    let part = |value: &Value| match value {
        Value::I32(n) => format!("{n:012}"),
        Value::Text(text) => text.clone(),
        Value::Guid(bytes) => bytes.iter().map(|b| format!("{b:02x}")).collect(),
        Value::Null
        | Value::Unavailable
        | Value::TooLarge(_)
        | Value::Bool(_)
        | Value::I16(_)
        | Value::I64(_)
        | Value::F32(_)
        | Value::F64(_)
        | Value::Decimal(_)
        | Value::Bytes(_)
        | Value::Date(_)
        | Value::Time(_)
        | Value::DateTime(_)
        | Value::DateTimeOffset { .. } => panic!("a key of {}", value.kind()),
    };
    key.iter().map(|&i| part(&row[i])).collect::<Vec<_>>().join("/")
}
