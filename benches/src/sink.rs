//! The sink at work on topics that are full, beside what PostgreSQL does with the same rows when they are
//! in memory already.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use causeway_kafka::{Consumer, Registry, RegistryConfig, consumer::EARLIEST};
use causeway_observability::names;
use causeway_sink::{
    decode::{Decoded, Records},
    policy::Policies,
};
use causeway_tests::{
    config::Config,
    names as unique,
    postgres::{Client, Options, Postgres},
    process::Proc,
    shared,
};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::{
    bad,
    feed::{Feed, Step, mix},
    methods::{self, Batch, Method},
    pipeline::steady,
    result::Results,
    transactions,
};

/// Rows of one commit of the raw methods: what the sink commits at most by default.
const COMMIT: usize = 10_000;
/// Lanes of a sink by default: each has a connection.
const LANES: usize = 3;
const TABLE: &str = "public.orders";
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size<'a> {
    /// Rows of the snapshot, and changes of each mix.
    pub(crate) rows: u32,
    /// Rows to which the table grows at the end.
    pub(crate) grow: u32,
    /// Settings of the sink that are not its defaults.
    pub(crate) set: &'a [(String, i64)],
}

/// A topic, a target and the file that joins them.
struct Bench {
    prefix: String,
    feed: Arc<Feed>,
    settings: Config,
    config: std::path::PathBuf,
    target: Client,
    // Rows that the table has had, and changes that were made.
    rows: i64,
    changes: i64,
    folder: TempDir,
    postgres: Postgres,
}

/// What the best raw method does with the same rows.
#[derive(Clone, Copy, Debug, Default)]
struct Limit {
    /// By one connection.
    one: Option<f64>,
    /// By as many as the sink has lanes.
    several: Option<f64>,
}

impl Limit {
    /// The figure of the sink, beside both.
    fn add(self, results: &mut Results, name: &str, rate: f64, mb: f64) {
        results.add(name, "rows/s", rate, self.one, Some(mb));
        if let Some(several) = self.several {
            results.add(&format!("{name}.lanes"), "rows/s", rate, Some(several), None);
        }
    }
}

/// Measures what of the sink `wanted` says of; a snapshot is always taken, because all else begins with it.
pub(crate) async fn run(
    results: &mut Results,
    size: Size<'_>,
    wanted: impl Fn(&str) -> bool,
) -> Result<()> {
    let rows = size.rows;
    let mut bench = Bench::new(size.set).await?;
    bench.snapshot(results, rows, wanted("sink.snapshot") || wanted("raw.snapshot")).await?;
    if wanted("sink.decode") {
        bench.decode(results).await?;
    }
    if wanted("sink.mix") || wanted("raw.mix") {
        bench.mix(results, "mix", rows, &Method::UPSERTS).await?;
    }
    if wanted("sink.latency") {
        bench.latency(results).await?;
    }
    let upserts = [Method::CopyUpsert, Method::Unnest];
    if wanted("sink.mix_indexed") || wanted("raw.mix_indexed") {
        let indexes =
            format!("CREATE INDEX ON {TABLE} (customer_id); CREATE INDEX ON {TABLE} (placed_at)");
        bench.target.batch_execute(&indexes).await.context("make indexes")?;
        bench.mix(results, "mix_indexed", rows, &upserts).await?;
        bench.drop_indexes().await?;
    }
    if wanted("sink.mix_grown") || wanted("raw.mix_grown") {
        bench.grow(size.grow).await?;
        bench.mix(results, "mix_grown", rows, &upserts).await?;
    }
    if wanted("sink.transactions") {
        transactions::run(results, rows, &bench.postgres).await?;
    }
    if wanted("sink.bad_batch_s") {
        bench.bad(results).await?;
    }
    Ok(())
}

impl Bench {
    async fn new(set: &[(String, i64)]) -> Result<Self> {
        // The time of each commit is how latency is seen; it costs all methods the same.
        let settings = vec![("track_commit_timestamp".to_owned(), "on".to_owned())];
        let own = Postgres::start_with(Options { settings, ..Options::default() });
        let (postgres, kafka, registry) = tokio::join!(own, shared::kafka(), shared::registry());
        let postgres = postgres?;
        let prefix = unique::unique("benchsink");
        let database = prefix.clone();
        postgres.create_database(&database).await?;
        let folder = tempfile::tempdir().context("make a folder")?;
        let settings =
            Config::new(&prefix).kafka(kafka).registry(registry).postgres(&postgres, &database);
        let settings = set.iter().fold(settings, |all, (key, value)| all.set(key, *value));
        let config = settings.write(folder.path())?;
        let feed = Arc::new(Feed::new(&prefix, kafka, registry).await?);
        let target = postgres.client(&database).await?;
        Ok(Self { prefix, feed, settings, config, target, rows: 0, changes: 0, folder, postgres })
    }

    fn sink(&self) -> Result<Proc> {
        Proc::start("causeway-sink", &["run"], &self.config)
    }

    /// Rows of a snapshot into a table that is not there yet.
    async fn snapshot(&mut self, results: &mut Results, rows: u32, raw: bool) -> Result<()> {
        let steps: Vec<Step> = (1..=i64::from(rows)).map(Step::Read).collect();
        self.feed.write(&steps).await?;
        let (rate, mb) = self.work(rows).await?;
        self.rows = i64::from(rows);
        let found: i64 =
            self.target.query_one(&format!("SELECT count(*) FROM {TABLE}"), &[]).await?.get(0);
        if found != self.rows {
            bail!("the snapshot has {found} rows and not {}", self.rows);
        }
        let mut limit = Limit::default();
        if raw {
            let all = [&[Method::Copy], Method::UPSERTS.as_slice()].concat();
            limit = self.raw(results, "snapshot", &steps, &all, false).await?;
        }
        limit.add(results, "sink.snapshot", rate, mb);
        Ok(())
    }

    /// The sink from start to `rows` rows: its rate and its memory.
    async fn work(&self, rows: u32) -> Result<(f64, f64)> {
        let mut sink = self.sink()?;
        let servers = [("Kafka", shared::kafka().await.pid()), ("PostgreSQL", self.postgres.pid())];
        let counter = names::sink::ROWS_APPLIED.name;
        let measured = steady(&mut sink, counter, u64::from(rows), &servers).await?;
        sink.terminate(LIMIT).await?;
        Ok(measured)
    }

    /// What the sink does with each record before it is written, on one core: from Avro bytes to
    /// PostgreSQL's binary form, key and value, with all that it remembers of a record.
    async fn decode(&self, results: &mut Results) -> Result<()> {
        const RECORDS: usize = 100_000;
        let kafka = causeway_kafka::Config::new(shared::kafka().await.bootstrap());
        let mut consumer = Consumer::open(&kafka, "bench").await?;
        let partitions: Vec<_> =
            (0..3).map(|partition| (self.feed.topic.as_str(), partition, EARLIEST)).collect();
        consumer.add(&partitions).await?;
        let mut messages = Vec::new();
        let wanted = RECORDS.min(usize::try_from(self.rows)?);
        while messages.len() < wanted {
            messages.extend(consumer.next_batch().await?);
        }
        let postgres = serde_json::from_value(serde_json::json!({
            "host": "localhost", "database": "bench", "user": "bench", "tls": "off",
        }))
        .context("a configuration")?;
        let registry = RegistryConfig::new(shared::registry().await.url());
        let mut records = Records::new(
            Registry::new(&registry)?,
            postgres,
            self.prefix.clone(),
            Policies::default(),
        );
        // Schemas are fetched and compiled before the clock starts.
        records.decode(Arc::new(messages.first().context("a record")?.clone())).await?;
        let count = f64::from(u32::try_from(messages.len())?);
        let start = Instant::now();
        for message in messages {
            if !matches!(records.decode(Arc::new(message)).await?, Decoded::Change(_)) {
                bail!("a record of a snapshot is no change");
            }
        }
        let rate = count / start.elapsed().as_secs_f64();
        results.add("sink.decode", "rows/s", rate, None, None);
        Ok(())
    }

    /// The cost of bad records.
    async fn bad(&mut self, results: &mut Results) -> Result<()> {
        let config = self
            .settings
            .clone()
            .set("sink.lanes", 1)
            .set("sink.batch_rows", 50_000)
            .set("sink.batch_bytes", 1_i64 << 30)
            .set("sink.batch_age_ms", 3_000)
            .write(self.folder.path())?;
        let mut sink = Proc::start("causeway-sink", &["run"], &config)?;
        sink.ready(LIMIT).await?;
        bad::run(results, &mut sink, &self.feed, &self.target, TABLE, 20_000_000_000).await?;
        sink.terminate(LIMIT).await?;
        Ok(())
    }

    /// Steps by each raw method, and the best of them; the best one once more with as many connections as
    /// the sink has lanes.
    async fn raw(
        &self,
        results: &mut Results,
        name: &str,
        steps: &[Step],
        list: &[Method],
        full: bool,
    ) -> Result<Limit> {
        let mut best: Option<(Method, f64)> = None;
        for method in list {
            let batches = batches(part(*method, steps))?;
            methods::prepare(&self.target, TABLE, full).await?;
            let rate = methods::run(&[&self.target], *method, &[batches]).await?;
            results.add(&format!("raw.{name}.{}", method.name()), "rows/s", rate, None, None);
            if best.is_none_or(|(_, before)| rate > before) {
                best = Some((*method, rate));
            }
        }
        let (method, one) = best.context("no method")?;
        let others = methods::connect(&self.postgres, &self.prefix, LANES - 1).await?;
        let clients: Vec<&Client> = std::iter::once(&self.target).chain(&others).collect();
        let parts = (0..LANES).map(|lane| {
            let lane = i64::try_from(lane).context("count")?;
            let lanes = i64::try_from(LANES).context("count")?;
            let own = steps.iter().filter(|step| step.id() % lanes == lane);
            batches(&own.copied().collect::<Vec<_>>())
        });
        let parts = parts.collect::<Result<Vec<_>>>()?;
        methods::prepare(&self.target, TABLE, full).await?;
        for client in &others {
            methods::stage(client, TABLE).await?;
        }
        let several = methods::run(&clients, method, &parts).await?;
        let line = format!("raw.{name}.{}.lanes", method.name());
        results.add(&line, "rows/s", several, None, None);
        self.target.batch_execute("DROP TABLE raw").await.context("drop a table")?;
        Ok(Limit { one: Some(one), several: Some(several) })
    }

    /// The mix by each raw method and by the sink.
    async fn mix(
        &mut self,
        results: &mut Results,
        name: &str,
        rows: u32,
        list: &[Method],
    ) -> Result<()> {
        let steps = mix(self.rows, self.changes, i64::from(rows));
        let limit = self.raw(results, name, &steps, list, true).await?;
        self.changes += i64::from(rows);
        self.feed.write(&steps).await?;
        self.target.batch_execute(&format!("VACUUM ANALYZE {TABLE}")).await.context("analyze")?;
        self.target.batch_execute("CHECKPOINT").await.context("checkpoint")?;
        let (rate, mb) = self.work(rows).await?;
        limit.add(results, &format!("sink.{name}"), rate, mb);
        Ok(())
    }

    async fn drop_indexes(&self) -> Result<()> {
        let sql = "SELECT format('DROP INDEX %s', i.indexrelid::regclass) FROM pg_index i \
                   WHERE i.indrelid = $1::text::regclass AND NOT i.indisprimary";
        for row in self.target.query(sql, &[&TABLE]).await.context("list indexes")? {
            let drop: String = row.get(0);
            self.target.batch_execute(&drop).await.context("drop an index")?;
        }
        Ok(())
    }

    /// Fills the table up, without the sink.
    async fn grow(&mut self, rows: u32) -> Result<()> {
        let last: i64 = self
            .target
            .query_one(&format!("SELECT max(order_id) FROM {TABLE}"), &[])
            .await
            .context("the last row")?
            .get(0);
        let sql = format!(
            "INSERT INTO {TABLE} SELECT {last} + n, n % 10000, n % 6, n % 5000, n % 50, n % 40, 'Customer Nº ' || n % 10000, \
             CASE WHEN n % 2 = 0 THEN 'please leave order ' || n || ' at the neighbour''s, n° 17' END, \
             timestamp '2026-02-02' + n % 100000 * interval '1 s', \
             ('00000000-0000-0000-0000-' || lpad(to_hex(n), 12, '0'))::uuid FROM generate_series(1, $1::int8 - \
             (SELECT count(*) FROM {TABLE})) n"
        );
        let wanted = i64::from(rows);
        self.target.execute(&sql, &[&wanted]).await.context("fill the table")?;
        // Rows to be changed are among all of them from now on.
        self.rows = last + wanted;
        Ok(())
    }

    /// The 99th percentile of the time from handing a record to Kafka's client until PostgreSQL
    /// commits its row, at a thousand rows a second.
    async fn latency(&mut self, results: &mut Results) -> Result<()> {
        const RATE: u32 = 1000;
        const SECONDS: u32 = 10;
        let mut sink = self.sink()?;
        sink.ready(LIMIT).await?;
        let first = 10_000_000_000_i64;
        let mut sent: HashMap<i64, f64> = HashMap::new();
        let mut sending = JoinSet::new();
        let start = Instant::now();
        for i in 0..RATE * SECONDS {
            tokio::time::sleep_until((start + Duration::from_secs(1) * i / RATE).into()).await;
            let id = first + i64::from(i);
            sent.insert(id, now()?);
            let feed = self.feed.clone();
            sending.spawn(async move { feed.one(Step::Insert(id)).await });
        }
        while let Some(done) = sending.join_next().await {
            done.context("send")??;
        }
        let count = i64::from(RATE * SECONDS);
        let sql = format!("SELECT count(*) FROM {TABLE} WHERE order_id >= {first}");
        let end = Instant::now() + LIMIT;
        while self.target.query_one(&sql, &[]).await?.get::<_, i64>(0) < count {
            if Instant::now() > end {
                bail!("not all rows have arrived:\n{}", sink.tail(20));
            }
            sink.must_run()?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let sql = format!(
            "SELECT order_id, extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8 FROM {TABLE} \
             WHERE order_id >= {first}"
        );
        let mut times: Vec<f64> = self
            .target
            .query(&sql, &[])
            .await
            .context("read the times")?
            .iter()
            .filter_map(|row| Some((row.get::<_, f64>(1) - sent.get(&row.get(0))?) * 1000.0))
            .collect();
        times.sort_by(f64::total_cmp);
        let at = |percent: usize| times.get(times.len() * percent / 100).copied();
        let mb = sink.peak_mb()?;
        results.add("sink.latency_p50_ms", "ms", at(50).context("no sample")?, None, None);
        results.add("sink.latency_p99_ms", "ms", at(99).context("no sample")?, None, Some(mb));
        sink.terminate(LIMIT).await?;
        self.target
            .execute(&format!("DELETE FROM {TABLE} WHERE order_id >= {first}"), &[])
            .await
            .context("clean up")?;
        Ok(())
    }
}

fn now() -> Result<f64> {
    Ok(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs_f64())
}

/// Single rows are so slow that a part of them says enough.
fn part(method: Method, steps: &[Step]) -> &[Step] {
    let count = if method == Method::Row { steps.len().div_ceil(5) } else { steps.len() };
    steps.get(..count).unwrap_or(steps)
}

fn batches(steps: &[Step]) -> Result<Vec<Batch>> {
    steps.chunks(COMMIT).map(Batch::new).collect()
}
