//! causeway-sink beside Debezium's JDBC sink: the same topic into the same PostgreSQL, one after the other,
//! each into a database of its own.
//!
//! Debezium runs twice: with its defaults, and with the best settings that were found for each piece of work. Each
//! time it has a Kafka Connect worker of its own, with Kafka's default of 2 GB as the largest heap.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use causeway_avro::Options as Encoding;
use causeway_change::Value;
use causeway_tests::{
    child,
    config::Config,
    connect::{self, Connect},
    kafka::Kafka,
    names,
    postgres::{Client, Postgres},
    process::Proc,
    registry::Registry,
    shared,
};
use serde_json::{Value as Json, json};

use super::{Goal, Measured, Table, measure};
use crate::{
    feed::{Feed, Step, mix, row},
    orders,
};

/// The largest heap of a worker: what Kafka's own scripts give it.
const HEAP_MB: u32 = 2048;
const STOP: Duration = Duration::from_secs(60);

/// A piece of work.
#[derive(Clone, Copy, Debug)]
struct Work {
    name: &'static str,
    /// How many times as fast as Debezium with its defaults, and with its best settings, we want to be.
    times: [f64; 2],
    /// Debezium's best settings: batches, and whether changes of one key are folded.
    batch: u32,
    fold: bool,
}

const INSERTS: Work = Work { name: "sink.inserts", times: [8.0, 4.0], batch: 5_000, fold: false };
const MIX: Work = Work { name: "sink.mix", times: [6.0, 2.5], batch: 10_000, fold: true };

impl Work {
    /// Debezium's settings for speed, where they differ from its defaults.
    fn best(self) -> Json {
        json!({
            "tasks.max": "3",
            "batch.size": self.batch.to_string(),
            "use.reduction.buffer": self.fold.to_string(),
            // A batch is no larger than what the consumer hands over at once.
            "consumer.override.max.poll.records": self.batch.to_string(),
            "consumer.override.fetch.min.bytes": "1000000",
            "consumer.override.fetch.max.bytes": "50000000",
            "consumer.override.max.partition.fetch.bytes": "10000000",
            // It has no use for tombstones, and writes two lines to its log for each.
            "transforms": "dropped",
            "transforms.dropped.type": "org.apache.kafka.connect.transforms.Filter",
            "transforms.dropped.predicate": "tombstone",
            "predicates": "tombstone",
            "predicates.tombstone.type":
                "org.apache.kafka.connect.transforms.predicates.RecordIsTombstone",
        })
    }
}

/// How far a target is when all is done.
#[derive(Clone, Copy, Debug)]
struct End {
    /// The largest key before, and after.
    keys: (i64, i64),
    /// Rows of the table, and the sum of one of their columns: the last updates change only that.
    rows: (i64, i64),
    /// Records that were applied.
    records: u64,
}

/// Measures `sink.inserts` and `sink.mix`.
pub(super) async fn run(table: &mut Table, rows: u64) -> Result<()> {
    let (postgres, kafka, registry) =
        tokio::join!(Postgres::start(), shared::kafka(), shared::registry());
    let servers = Servers { postgres: &postgres?, kafka, registry };
    let prefix = names::unique("peers");
    // Debezium's sink takes SQL Server's names of types for PostgreSQL's where both have one, so they are left out.
    let encoding = Encoding { source_types: false, ..Encoding::default() };
    let feed = Feed::with(&prefix, kafka, registry, &encoding).await?;
    let contenders = [
        Contender::new("causeway", Kind::Ours, servers, &prefix).await?,
        Contender::new("debezium, defaults", Kind::Defaults, servers, &prefix).await?,
        Contender::new("debezium, best", Kind::Best, servers, &prefix).await?,
    ];
    let rows = i64::try_from(rows).context("count")?;
    let steps: Vec<Step> = (1..=rows).map(Step::Read).collect();
    feed.write(&steps).await?;
    let before = steps.iter().try_fold((0, 0), after)?;
    let end = End { keys: (0, rows), rows: before, records: steps.len() as u64 };
    round(table, &contenders, INSERTS, end).await?;

    let steps = mix(rows, 0, rows / 2);
    feed.write(&steps).await?;
    let last = steps.iter().map(|step| step.id()).max().context("no steps")?;
    let after = steps.iter().try_fold(before, after)?;
    let end = End { keys: (rows, last), rows: after, records: steps.len() as u64 };
    round(table, &contenders, MIX, end).await
}

/// Rows, and the sum of their customers, after a step.
fn after((count, sum): (i64, i64), step: &Step) -> Result<(i64, i64)> {
    let customer = |version| match row(step.id(), version).get(1) {
        Some(Value::I32(customer)) => Ok(i64::from(*customer)),
        Some(_) | None => bail!("an order without a customer"),
    };
    Ok(match step {
        Step::Read(_) => (count + 1, sum + customer(0)?),
        Step::Insert(_) => (count + 1, sum + customer(1)?),
        Step::Update(_) => (count, sum - customer(0)? + customer(1)?),
        Step::Delete(_) => (count - 1, sum - customer(0)?),
    })
}

/// One piece of work by all, and all must come to the same.
async fn round(
    table: &mut Table,
    contenders: &[Contender<'_>],
    work: Work,
    end: End,
) -> Result<()> {
    let mut digests = Vec::new();
    for contender in contenders {
        let target = contender.client().await?;
        target.batch_execute("VACUUM ANALYZE public.orders").await.context("analyze")?;
        target.batch_execute("CHECKPOINT").await.context("checkpoint")?;
        let measured = contender.work(&target, work, end).await?;
        table.add(work.name, contender.who, measured, contender.goal(work));
        let digest = target
            .query_one(
                "SELECT md5(string_agg(o::text, ',' ORDER BY order_id)) FROM public.orders o",
                &[],
            )
            .await
            .context("digest the rows")?;
        digests.push(digest.get::<_, Option<String>>(0));
    }
    if digests.windows(2).any(|pair| pair.first() != pair.last()) {
        bail!("{}: not all targets are equal: {digests:?}", work.name);
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Servers<'a> {
    postgres: &'a Postgres,
    kafka: &'a Kafka,
    registry: &'a Registry,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ours,
    Defaults,
    Best,
}

/// Who is measured, with a database of its own.
struct Contender<'a> {
    who: &'static str,
    kind: Kind,
    servers: Servers<'a>,
    prefix: String,
    database: String,
}

impl<'a> Contender<'a> {
    async fn new(
        who: &'static str,
        kind: Kind,
        servers: Servers<'a>,
        prefix: &str,
    ) -> Result<Self> {
        let database = names::unique("peers");
        servers.postgres.create_database(&database).await?;
        // Three tasks of Debezium's would race to make it.
        let client = servers.postgres.client(&database).await?;
        client.batch_execute(orders::IN_POSTGRES).await.context("make the table")?;
        Ok(Self { who, kind, servers, prefix: prefix.to_owned(), database })
    }

    fn goal(&self, work: Work) -> Option<Goal> {
        let [defaults, best] = work.times;
        match self.kind {
            Kind::Ours => None,
            Kind::Defaults => Some(Goal { times_as_fast: defaults, part_of_memory: 0.33 }),
            Kind::Best => Some(Goal { times_as_fast: best, part_of_memory: 0.1 }),
        }
    }

    async fn client(&self) -> Result<Client> {
        self.servers.postgres.client(&self.database).await
    }

    /// Works until the target is at the end, and stops.
    async fn work(&self, target: &Client, work: Work, end: End) -> Result<Measured> {
        let Servers { postgres, kafka, registry } = self.servers;
        let count = async || applied(target, end).await;
        match self.kind {
            Kind::Ours => {
                let folder = tempfile::tempdir().context("make a folder for causeway.toml")?;
                let config = Config::new(&self.prefix)
                    .kafka(kafka)
                    .registry(registry)
                    .postgres(postgres, &self.database)
                    .write(folder.path())?;
                let mut sink = Proc::start("causeway-sink", &["run"], &config)?;
                let pid = sink.pid();
                let alive = || {
                    sink.must_run()?;
                    Ok((child::memory_mb(pid)?.1, child::cpu_seconds(pid)?))
                };
                let measured = measure(end.records, count, alive).await?;
                sink.terminate(STOP).await?;
                Ok(measured)
            }
            Kind::Defaults | Kind::Best => {
                let mut worker = Connect::start(kafka, registry, HEAP_MB).await?;
                let topics = [format!("{}.bench.dbo.{}", self.prefix, orders::NAME)];
                let mut all = connect::debezium_sink(&topics, postgres, &self.database);
                let settings = if self.kind == Kind::Best { work.best() } else { json!({}) };
                if let (Some(all), Some(more)) = (all.as_object_mut(), settings.as_object()) {
                    all.extend(more.clone());
                    if self.kind == Kind::Best
                        && let Some(Json::String(url)) = all.get_mut("connection.url")
                    {
                        url.push_str("?reWriteBatchedInserts=true");
                    }
                }
                worker.create(&self.database, all).await?;
                let pid = worker.pid();
                let alive = || Ok((child::memory_mb(pid)?.1, child::cpu_seconds(pid)?));
                let states = async || {
                    let found = count().await?;
                    if found < end.records / 2 {
                        worker.states(&self.database).await?;
                    }
                    Ok(found)
                };
                let measured =
                    measure(end.records, states, alive).await.with_context(|| worker.tail(30))?;
                // It commits the offsets that the next work begins with.
                worker.put(&self.database, "stop").await?;
                Ok(measured)
            }
        }
    }
}

/// How many records are applied, by the largest key: rows come in the order of their keys, in every partition,
/// and to count them would be work for the server that is measured. Only the end is counted.
async fn applied(target: &Client, end: End) -> Result<u64> {
    let largest: Option<i64> = target
        .query_one("SELECT max(order_id) FROM public.orders", &[])
        .await
        .context("the largest key")?
        .get(0);
    let (first, last) = end.keys;
    let come = u64::try_from(largest.unwrap_or(0).max(first) - first)?;
    let all = u64::try_from(last - first)?;
    if come < all {
        return Ok(end.records * come / all);
    }
    let sql = "SELECT count(*), coalesce(sum(customer_id), 0)::int8 FROM public.orders";
    let found = target.query_one(sql, &[]).await.context("count")?;
    if (found.get::<_, i64>(0), found.get::<_, i64>(1)) == end.rows {
        return Ok(end.records);
    }
    // To look is work for the server.
    tokio::time::sleep(Duration::from_millis(100)).await;
    Ok(end.records - 1)
}
