//! causeway-source beside Debezium's SQL Server connector: the same database, one after the other.
//!
//! Debezium runs twice: with its defaults, and with the settings that its documentation and its users call
//! fast. Each has a Kafka Connect worker of its own, with Kafka's default of 2 GB as the largest heap.

use std::time::Duration;

use anyhow::{Context as _, Result};
use causeway_tests::{
    child,
    config::Config,
    connect::{self, Connect},
    kafka::Kafka,
    names,
    process::Proc,
    registry::Registry,
    shared,
    sqlserver::SqlServer,
};
use serde_json::{Value as Json, json};

use super::{Counter, Goal, Measured, Table, measure};
use crate::{changes, orders};

/// The largest heap of a worker: what Kafka's own scripts give it.
const HEAP_MB: u32 = 2048;
const STOP: Duration = Duration::from_secs(60);

/// Debezium's settings for speed, where they differ from its defaults.
fn best() -> Json {
    json!({
        "max.batch.size": "20480",
        "max.queue.size": "81920",
        "poll.interval.ms": "10",
        "snapshot.max.threads": "2",
        "snapshot.fetch.size": "20000",
        "streaming.fetch.size": "20000",
        "snapshot.isolation.mode": "snapshot",
        "data.query.mode": "direct",
        "producer.override.linger.ms": "5",
        "producer.override.batch.size": "1000000",
        "producer.override.compression.type": "lz4",
    })
}

/// Who is measured.
struct Contender<'a> {
    who: &'static str,
    prefix: String,
    counter: Counter,
    goal: Option<Goal>,
    kind: Kind<'a>,
}

enum Kind<'a> {
    Ours { config: std::path::PathBuf, _folder: tempfile::TempDir },
    Debezium { connect: Option<Box<Connect>>, settings: Json, servers: Servers<'a> },
}

#[derive(Clone, Copy)]
struct Servers<'a> {
    sqlserver: &'a SqlServer,
    kafka: &'a Kafka,
    registry: &'a Registry,
}

/// Measures `source.snapshot` and `source.stream`.
pub(super) async fn run(table: &mut Table, rows: u64) -> Result<()> {
    let (sqlserver, kafka, registry) =
        tokio::join!(shared::sqlserver(), shared::kafka(), shared::registry());
    let servers = Servers { sqlserver, kafka, registry };
    let database = names::unique("bench");
    sqlserver.create_captured_database(&database).await?;
    let mut client = sqlserver.client(&database).await?;
    orders::create(&mut client).await?;
    orders::fill(&mut client, rows).await?;
    sqlserver.capture(&database, "dbo", orders::NAME).await?;
    let mut contenders = vec![
        ours(servers, &database)?,
        debezium("debezium, defaults", json!({}), 5.0, servers, &database)?,
        debezium("debezium, best", best(), 3.0, servers, &database)?,
    ];
    for contender in &mut contenders {
        let measured = contender.work(&database, rows).await?;
        table.add("source.snapshot", contender.who, measured, contender.goal);
    }
    let made = changes::make(sqlserver, &database, &mut client, rows).await?;
    for contender in &mut contenders {
        contender.counter.reset().await?;
        // A delete is two records.
        let measured = contender.work(&database, made.events + made.deletes).await?;
        table.add("source.stream", contender.who, measured, contender.goal);
    }
    Ok(())
}

fn ours<'a>(servers: Servers<'a>, database: &str) -> Result<Contender<'a>> {
    let prefix = names::unique("ours");
    let folder = tempfile::tempdir().context("make a folder for causeway.toml")?;
    let config = Config::new(&prefix)
        .sqlserver(servers.sqlserver, database)
        .kafka(servers.kafka)
        .registry(servers.registry)
        .set("kafka.partitions", 1)
        .write(folder.path())?;
    let counter = Counter::new(servers.kafka, &format!("{prefix}.{database}.dbo.orders"))?;
    let kind = Kind::Ours { config, _folder: folder };
    Ok(Contender { who: "causeway", prefix, counter, goal: None, kind })
}

fn debezium<'a>(
    who: &'static str,
    settings: Json,
    times_as_fast: f64,
    servers: Servers<'a>,
    database: &str,
) -> Result<Contender<'a>> {
    let prefix = names::unique("theirs");
    let counter = Counter::new(servers.kafka, &format!("{prefix}.{database}.dbo.orders"))?;
    Ok(Contender {
        who,
        prefix,
        counter,
        goal: Some(Goal { times_as_fast, part_of_memory: 0.1 }),
        kind: Kind::Debezium { connect: None, settings, servers },
    })
}

impl Contender<'_> {
    /// Works until so many records more can be read, and stops.
    async fn work(&mut self, database: &str, records: u64) -> Result<Measured> {
        let counter = &self.counter;
        match &mut self.kind {
            Kind::Ours { config, .. } => {
                let mut source = Proc::start("causeway-source", &["run"], config)?;
                let pid = source.pid();
                let alive = || {
                    source.must_run()?;
                    Ok((child::memory_mb(pid)?.1, child::cpu_seconds(pid)?))
                };
                let measured = measure(records, async || counter.count().await, alive).await?;
                source.terminate(STOP).await?;
                Ok(measured)
            }
            Kind::Debezium { connect, settings, servers } => {
                let worker = if let Some(worker) = connect {
                    worker.put(&self.prefix, "resume").await?;
                    worker
                } else {
                    let mut worker =
                        Connect::start(servers.kafka, servers.registry, HEAP_MB).await?;
                    let mut all = connect::debezium_source(
                        &self.prefix,
                        servers.sqlserver,
                        database,
                        servers.kafka,
                    );
                    if let (Some(all), Some(more)) = (all.as_object_mut(), settings.as_object()) {
                        all.extend(more.clone());
                    }
                    worker.create(&self.prefix, all).await?;
                    connect.insert(Box::new(worker))
                };
                let pid = worker.pid();
                let alive = || Ok((child::memory_mb(pid)?.1, child::cpu_seconds(pid)?));
                let states = async || {
                    let found = counter.count().await?;
                    if found == 0 {
                        worker.states(&self.prefix).await?;
                    }
                    Ok(found)
                };
                let measured =
                    measure(records, states, alive).await.with_context(|| worker.tail(30))?;
                worker.put(&self.prefix, "stop").await?;
                Ok(measured)
            }
        }
    }
}
