//! The binaries at work, one at a time, so that each has the machine for itself.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use causeway_observability::names;
use causeway_tests::{
    child,
    kafka::Kafka,
    pipeline::Pipeline,
    postgres::Postgres,
    process::Proc,
    shared,
    sqlserver::{self, SqlServer},
};

use crate::{changes, latency, orders, raw, result::Results};

/// How long a part may take for its rows before we give up.
pub(crate) const LIMIT: Duration = Duration::from_secs(300);

/// How long a process may take to stop.
const STOP: Duration = Duration::from_secs(30);

/// The pipeline of a run, with the servers it stands on.
struct Bench {
    pipeline: Pipeline,
    sqlserver: &'static SqlServer,
    postgres: &'static Postgres,
    kafka: &'static Kafka,
}

/// Measures the parts whose name starts with `only` on a table of `rows` rows.
pub(crate) async fn run(results: &mut Results, rows: u64, only: &str) -> Result<()> {
    let wanted = |part: &str| part.starts_with(only) || only.starts_with(part);
    let (sqlserver, kafka, registry, postgres) =
        tokio::join!(shared::sqlserver(), shared::kafka(), shared::registry(), shared::postgres());
    let pipeline = Pipeline::new("bench", sqlserver, kafka, registry, postgres).await?;
    let mut bench = Bench { pipeline, sqlserver, postgres, kafka };
    let mut client = sqlserver.client(&bench.pipeline.name).await?;
    let start = Instant::now();
    orders::create(&mut client).await?;
    orders::fill(&mut client, rows).await?;
    sqlserver.capture(&bench.pipeline.name, "dbo", orders::NAME).await?;
    eprintln!("filled {rows} rows in {:.1} s", start.elapsed().as_secs_f64());

    let read = raw::read(&mut client, "SELECT * FROM dbo.orders").await?;
    results.add("standin.read", "rows/s", read, None, None);

    let mut source = bench.pipeline.source()?;
    let (rate, mb) = bench.measure(&mut source, names::source::ROWS_PUBLISHED.name, rows).await?;
    results.add("source.snapshot", "rows/s", rate, Some(read), Some(mb));
    // The position must be written before it stops: what follows is to be streamed.
    source.terminate(STOP).await?;

    let target = postgres.client(&bench.pipeline.name).await?;
    let the_rest = wanted("pipeline");
    if the_rest {
        // How fast it is stands in sink.rs; here the target only has to have the rows.
        let mut sink = bench.pipeline.sink()?;
        steady(&mut sink, names::sink::ROWS_APPLIED.name, rows, &[]).await?;
        sink.terminate(STOP).await?;
    }

    let made = changes::make(sqlserver, &bench.pipeline.name, &mut client, rows).await?;
    let read_changes =
        raw::read(&mut client, "SELECT * FROM cdc.dbo_orders_CT").await? / changes::IMAGES;
    let mut source = bench.pipeline.source()?;
    let (rate, mb) =
        bench.measure(&mut source, names::source::ROWS_PUBLISHED.name, made.events).await?;
    results.add("source.stream", "rows/s", rate, Some(read_changes), Some(mb));
    if wanted("source.index") {
        source.terminate(STOP).await?;
        let transactions = (rows / 50).min(20_000);
        bench.index(results, &mut client, transactions).await?;
        source = bench.pipeline.source()?;
        source.ready(LIMIT).await?;
    }
    let topic = format!("{0}.{0}.dbo.{1}", bench.pipeline.name, orders::NAME);
    let times = latency::source(kafka, &mut client, &topic).await?;
    // No change can be here before the capture job has it.
    let capture = f64::from(sqlserver::Options::default().capture_latency_ms);
    results.add("source.latency_p50_ms", "ms", times.p50, Some(capture), None);
    results.add("source.latency_p99_ms", "ms", times.p99, Some(capture), None);
    if !the_rest {
        source.terminate(STOP).await?;
        return Ok(());
    }

    let mut sink = bench.pipeline.sink()?;
    settle(&bench, &mut source, &mut sink).await?;
    let times = latency::pipeline(&target, &mut client).await?;
    results.add("pipeline.latency_p50_ms", "ms", times.p50, Some(capture), None);
    results.add("pipeline.latency_p99_ms", "ms", times.p99, Some(capture), None);
    settle(&bench, &mut source, &mut sink).await?;
    source.terminate(STOP).await?;
    sink.terminate(STOP).await?;
    Ok(())
}

impl Bench {
    /// `source.index`: many small transactions streamed with the transaction index; without it is the limit.
    async fn index(
        &mut self,
        results: &mut Results,
        client: &mut sqlserver::Client,
        transactions: u64,
    ) -> Result<()> {
        let mut rates = Vec::new();
        for indexed in [false, true] {
            let config = self.pipeline.config.clone();
            self.pipeline.config = config.set("source.transaction_index", indexed);
            self.pipeline.write()?;
            let name = &self.pipeline.name;
            let events = changes::small(self.sqlserver, name, client, transactions).await?;
            let mut source = self.pipeline.source()?;
            let counter = names::source::ROWS_PUBLISHED.name;
            rates.push(self.measure(&mut source, counter, events).await?);
            source.terminate(STOP).await?;
        }
        self.pipeline.config = self.pipeline.config.clone().set("source.transaction_index", false);
        self.pipeline.write()?;
        if let [(without, _), (with, mb)] = rates[..] {
            results.add("source.index", "rows/s", with, Some(without), Some(mb));
        }
        Ok(())
    }

    /// As [`steady`], beside its servers.
    async fn measure(&self, process: &mut Proc, counter: &str, rows: u64) -> Result<(f64, f64)> {
        let servers = [("the stand-in", self.sqlserver.pid()), ("Kafka", self.kafka.pid())];
        steady(process, counter, rows, &servers).await
    }
}

/// Rows per second by a counter of the process, from its first rows to `rows`, and its memory.
///
/// The start of the process does not count: what matters is how fast it goes, and a short run would
/// measure the start.
///
/// Says on the way what the process and the servers need of the processor.
pub(crate) async fn steady(
    process: &mut Proc,
    counter: &str,
    rows: u64,
    servers: &[(&str, Option<u32>)],
) -> Result<(f64, f64)> {
    let goal = whole(rows)?;
    let begin = Instant::now();
    let mut first: Option<(Instant, f64, Vec<f64>)> = None;
    loop {
        process.must_run()?;
        let now = Instant::now();
        let count = match process.metrics().await {
            Ok(page) => page.sum(counter).unwrap_or(0.0),
            // It has no page yet.
            Err(_) => 0.0,
        };
        if count > 0.0 && first.is_none() {
            first = Some((now, count, used(process, servers)));
        }
        if count >= goal {
            let mb = process.peak_mb()?;
            let rate = match first {
                // All at once, between two looks: all that is known is the time since the start.
                Some((_, before, _)) if before >= goal => count / begin.elapsed().as_secs_f64(),
                Some((start, before, earlier)) => {
                    let names = std::iter::once(process.name())
                        .chain(servers.iter().map(|(name, _)| *name));
                    let each: Vec<String> = names
                        .zip(used(process, servers).iter().zip(&earlier))
                        .map(|(name, (now, then))| {
                            format!("{name} {:.2}", (now - then) * 1e6 / (count - before))
                        })
                        .collect();
                    eprintln!("processor seconds for a million rows: {}", each.join(", "));
                    (count - before) / (now - start).as_secs_f64()
                }
                None => 0.0,
            };
            return Ok((rate, mb));
        }
        if begin.elapsed() > LIMIT {
            bail!(
                "{} has {count} of {goal} rows after {LIMIT:?}:\n{}",
                process.name(),
                process.tail(20)
            );
        }
        // A look is work for the process that is measured: forty a second took a tenth of it.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Processor seconds of a process and of servers, so far.
fn used(process: &Proc, servers: &[(&str, Option<u32>)]) -> Vec<f64> {
    let of =
        |pid: Option<u32>| pid.and_then(|pid| child::family_cpu_seconds(pid).ok()).unwrap_or(0.0);
    std::iter::once(process.cpu_seconds().unwrap_or(0.0))
        .chain(servers.iter().map(|(_, pid)| of(*pid)))
        .collect()
}

/// Waits until both sides are equal.
async fn settle(bench: &Bench, source: &mut Proc, sink: &mut Proc) -> Result<()> {
    bench
        .pipeline
        .equal(bench.sqlserver, bench.postgres, &[orders::NAME], &mut [source, sink], LIMIT)
        .await?;
    Ok(())
}

fn whole(rows: u64) -> Result<f64> {
    Ok(f64::from(u32::try_from(rows).context("fewer than four billion rows")?))
}
