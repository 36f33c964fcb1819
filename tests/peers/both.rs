//! Debezium's connector and our source on one database, and what their topics tell.

use anyhow::{Context as _, Result};
use causeway_tests::{
    config::Config,
    connect::{self, Connect},
    kafka::Kafka,
    names,
    process::Proc,
    registry::Registry,
    shared,
    sqlserver::{self, SqlServer, exec},
    wait,
};
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tokio::sync::{Mutex, OnceCell};

use crate::{
    LIMIT,
    known::{self, Known},
    records::{self, Record, Schemas},
};

/// The table whose last row says that all before it has been read.
const MARKER: &str = "marker";

/// The worker that all peers' tests share: it takes ten seconds to start.
pub(crate) async fn connect() -> &'static Mutex<Connect> {
    static WORKER: OnceCell<Mutex<Connect>> = OnceCell::const_new();
    let started = WORKER
        .get_or_try_init(|| async {
            let (kafka, registry) = (shared::kafka().await, shared::registry().await);
            anyhow::Ok(Mutex::new(Connect::start(kafka, registry, 512).await?))
        })
        .await;
    started.unwrap_or_else(|error| panic!("Connect does not start: {error:#}"))
}

/// One database with two readers.
pub(crate) struct Both {
    pub(crate) database: String,
    pub(crate) ours: String,
    pub(crate) theirs: String,
    pub(crate) kafka: &'static Kafka,
    pub(crate) sqlserver: &'static SqlServer,
    registry: &'static Registry,
    client: sqlserver::Client,
    markers: i32,
    source: Option<Proc>,
    folder: TempDir,
}

impl Both {
    /// Makes a database with CDC on.
    pub(crate) async fn new(what: &str) -> Result<Self> {
        let (sqlserver, kafka) = (shared::sqlserver().await, shared::kafka().await);
        let registry = shared::registry().await;
        let database = names::unique(what);
        sqlserver.create_captured_database(&database).await?;
        let client = sqlserver.client(&database).await?;
        let mut both = Self {
            ours: format!("ours_{database}"),
            theirs: format!("theirs_{database}"),
            database,
            kafka,
            sqlserver,
            registry,
            client,
            markers: 0,
            source: None,
            folder: tempfile::tempdir()?,
        };
        both.exec("CREATE TABLE dbo.marker (id int NOT NULL PRIMARY KEY)").await?;
        both.sqlserver.capture(&both.database, "dbo", MARKER).await?;
        Ok(both)
    }

    pub(crate) async fn exec(&mut self, sql: &str) -> Result<()> {
        exec(&mut self.client, sql).await
    }

    /// Starts both, and waits until both stream.
    pub(crate) async fn start(
        &mut self,
        ours: impl FnOnce(Config) -> Config,
        theirs: &Json,
    ) -> Result<()> {
        let config = Config::new(&self.ours)
            .sqlserver(self.sqlserver, &self.database)
            .kafka(self.kafka)
            .registry(self.registry)
            .set("kafka.partitions", 1)
            .set("source.debezium_strict", true)
            .set("source.snapshot.readers", 1)
            .set("observability.sample_ratio", 0.0);
        let config = ours(config).write(self.folder.path())?;
        let mut source = Proc::start("causeway-source", &["run"], &config)?;
        let mut all =
            connect::debezium_source(&self.theirs, self.sqlserver, &self.database, self.kafka);
        if let (Json::Object(all), Json::Object(more)) = (&mut all, theirs) {
            all.extend(more.clone());
        }
        let mut worker = connect().await.lock().await;
        worker.create(&self.theirs, all).await?;
        drop(worker);
        source.ready(LIMIT).await?;
        self.source = Some(source);
        self.level().await
    }

    /// Waits until both have published everything that was written up to now.
    pub(crate) async fn level(&mut self) -> Result<()> {
        self.markers += 1;
        let marker = self.markers;
        self.exec(&format!("INSERT INTO dbo.marker VALUES ({marker})")).await?;
        for prefix in [&self.ours, &self.theirs] {
            let topic = format!("{prefix}.{}.dbo.{MARKER}", self.database);
            let read = wait::until(&format!("marker {marker} of {topic}"), LIMIT, || async {
                connect().await.lock().await.states(&self.theirs).await?;
                let mut schemas = Schemas::new(self.registry);
                let found = records::all(self.kafka, &mut schemas, &topic).await?;
                Ok(found.iter().any(|r| r.key["id"] == marker).then_some(()))
            })
            .await;
            if let Err(error) = read {
                let log = connect().await.lock().await.tail(40);
                let ours = self.source.as_ref().map(|s| s.tail(20)).unwrap_or_default();
                return Err(error.context(format!("{log}\n{ours}")));
            }
        }
        Ok(())
    }

    /// Our source's process.
    pub(crate) fn source(&mut self) -> Result<&mut Proc> {
        self.source.as_mut().context("not started")
    }

    /// The records of a table by one of the two, as they are.
    pub(crate) async fn records(&self, prefix: &str, table: &str) -> Result<Vec<Record>> {
        self.topic_records(&self.topic(prefix, table)).await
    }

    /// The records of a topic.
    pub(crate) async fn topic_records(&self, topic: &str) -> Result<Vec<Record>> {
        let mut schemas = Schemas::new(self.registry);
        records::all(self.kafka, &mut schemas, topic).await.with_context(|| topic.to_owned())
    }

    fn topic(&self, prefix: &str, table: &str) -> String {
        let legal = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
        format!("{prefix}.{}.{table}", self.database).chars().map(legal).collect()
    }

    /// What differs between the topics of a table and their schemas, but for what is known to.
    pub(crate) async fn differences(&self, table: &str, known: &[&[Known]]) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        let mut our = self.records(&self.ours, table).await?;
        let mut their = self.records(&self.theirs, table).await?;
        our.iter_mut().for_each(same);
        their.iter_mut().for_each(same);
        known::records(known, table, &our, &mut their);
        if our.len() != their.len() {
            let (mine, other) = (short(&our), short(&their));
            wrong.push(format!("{table}: the events are\n  ours   {mine}\n  theirs {other}"));
        }
        for (number, (our, their)) in our.iter().zip(&their).enumerate() {
            if our != their {
                let parts = apart(&json(our), &json(their));
                wrong.push(format!("{table}, record {number} ({}): {parts}", our.text("/op")));
            }
        }
        wrong.extend(
            self.schema_differences(table, &|prefix| self.topic(prefix, table), known).await?,
        );
        Ok(wrong)
    }

    /// What differs between the schemas of a topic, but for what is known to.
    pub(crate) async fn schema_differences(
        &self,
        table: &str,
        topic: &dyn Fn(&str) -> String,
        known: &[&[Known]],
    ) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        let schemas = Schemas::new(self.registry);
        for kind in ["key", "value"] {
            let versions = async |prefix: &str| -> Result<Vec<Json>> {
                let subject = format!("{}-{kind}", topic(prefix));
                let all = schemas.versions(&subject).await?;
                let text = serde_json::to_string(&all)?.replace(prefix, "prefix");
                Ok(serde_json::from_str(&text)?)
            };
            let our = versions(&self.ours).await?;
            let mut their = versions(&self.theirs).await?;
            known::schemas(known, table, &our, &mut their);
            // As texts: the order of properties and fields is part of what a registry compares.
            for (version, (our, their)) in our.iter().zip(&their).enumerate() {
                let texts = [our.to_string(), their.to_string()];
                if texts[0] != texts[1] {
                    let parts = apart(our, their);
                    let parts = if parts.is_empty() {
                        format!(" other order\n  ours   {our}\n  theirs {their}")
                    } else {
                        parts
                    };
                    wrong.push(format!("{table}-{kind}, version {}:{parts}", version + 1));
                }
            }
            if our.len() != their.len() {
                wrong.push(format!(
                    "{table}-{kind}: {} versions of ours, {} of theirs",
                    our.len(),
                    their.len()
                ));
            }
        }
        Ok(wrong)
    }

    /// Stops both.
    pub(crate) async fn stop(mut self) -> Result<()> {
        connect().await.lock().await.delete(&self.theirs).await?;
        assert_eq!(self.source()?.terminate(LIMIT).await?, 0);
        Ok(())
    }
}

/// Takes out what is each program's own: when it worked, its name and version, and how it says that a row was read by
/// a snapshot.
fn same(record: &mut Record) {
    // The tasks of a connector and its name.
    record.headers.retain(|(name, _)| !name.starts_with("__debezium.context."));
    let Some(value) = record.value.as_object_mut() else { return };
    for name in ["ts_ms", "ts_us", "ts_ns"] {
        value.remove(name);
    }
    let read = value.get("op").is_some_and(|op| op == "r");
    let Some(source) = value.get_mut("source").and_then(Json::as_object_mut) else { return };
    // Debezium takes the time at which a transaction began for that of its end.
    for name in ["version", "name", "ts_ms", "ts_us", "ts_ns"] {
        source.remove(name);
    }
    if read {
        // Of a row of a snapshot on request Debezium says what the stream said last.
        for name in ["commit_lsn", "change_lsn", "snapshot", "event_serial_no"] {
            source.remove(name);
        }
    }
}

fn json(record: &Record) -> Json {
    json!({"key": record.key, "value": record.value, "headers": record.headers})
}

/// `r1 c2 u2 d2 -2`: operation and key of each record; `-` is a tombstone.
fn short(records: &[Record]) -> String {
    let word = |record: &Record| {
        let op = if record.value.is_null() { "-" } else { record.text("/op") };
        let key = record
            .key
            .as_object()
            .map(|key| key.values().map(ToString::to_string).collect::<Vec<_>>().join("/"));
        format!("{op}{}", key.unwrap_or_default())
    };
    records.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// The places where two JSON values differ.
fn apart(ours: &Json, theirs: &Json) -> String {
    let mut out = String::new();
    walk("", ours, theirs, &mut out);
    out
}

fn walk(path: &str, ours: &Json, theirs: &Json, out: &mut String) {
    match (ours, theirs) {
        (Json::Object(a), Json::Object(b)) => {
            for (name, value) in a {
                let other = b.get(name).unwrap_or(&Json::Null);
                walk(&format!("{path}/{name}"), value, other, out);
            }
            for (name, value) in b.iter().filter(|(name, _)| !a.contains_key(*name)) {
                *out += &format!("\n  {path}/{name}: only theirs {value}");
            }
        }
        (Json::Array(a), Json::Array(b)) if a.len() == b.len() => {
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                // Fields of a record by their names.
                let name =
                    a.get("name").and_then(Json::as_str).map_or(i.to_string(), str::to_owned);
                walk(&format!("{path}/{name}"), a, b, out);
            }
        }
        (a, b) if a != b => {
            let cut = |v: &Json| v.to_string().chars().take(300).collect::<String>();
            *out += &format!("\n  {path}: ours {} theirs {}", cut(a), cut(b));
        }
        _ => {}
    }
}
