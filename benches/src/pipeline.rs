//! The binaries at work, one at a time, so that each has the machine for itself.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use causeway_observability::names;
use causeway_tests::{
    pipeline::Pipeline,
    postgres::Postgres,
    process::Proc,
    random::Random,
    shared,
    sqlserver::{self, SqlServer},
    wait,
};

use crate::{orders, raw, result::Results};

/// How long a part may take for its rows before we give up.
const LIMIT: Duration = Duration::from_secs(300);

/// The pipeline of a run, with the servers it stands on.
struct Bench {
    pipeline: Pipeline,
    sqlserver: &'static SqlServer,
    postgres: &'static Postgres,
    rows: u64,
}

/// Measures every part on a table of `rows` rows.
pub(crate) async fn run(results: &mut Results, rows: u64) -> Result<()> {
    let (sqlserver, kafka, registry, postgres) =
        tokio::join!(shared::sqlserver(), shared::kafka(), shared::registry(), shared::postgres());
    let pipeline = Pipeline::new("bench", sqlserver, kafka, registry, postgres).await?;
    let bench = Bench { pipeline, sqlserver, postgres, rows };
    let mut client = sqlserver.client(&bench.pipeline.name).await?;
    let start = Instant::now();
    orders::create(&mut client).await?;
    orders::fill(&mut client, rows).await?;
    sqlserver.capture(&bench.pipeline.name, "dbo", orders::NAME).await?;
    eprintln!("filled {rows} rows in {:.1} s", start.elapsed().as_secs_f64());

    let read = raw::read(&mut client, "SELECT * FROM dbo.orders").await?;
    results.add("standin.read", "rows/s", read, None, None);
    // The stand-in must not be what is measured: two columns, as in other people's figures.
    let narrow = raw::read(&mut client, "SELECT order_id, customer_id FROM dbo.orders").await?;
    results.add("standin.read2", "rows/s", narrow, None, None);

    let mut source = bench.pipeline.source()?;
    let (rate, mb) = measure(&mut source, names::source::ROWS_PUBLISHED.name, rows).await?;
    results.add("source.snapshot", "rows/s", rate, Some(read), Some(mb));
    // The position must be written before it stops: what follows is to be streamed.
    source.terminate(Duration::from_secs(30)).await?;

    let mut sink = bench.pipeline.sink()?;
    let (rate, mb) = measure(&mut sink, names::sink::ROWS_APPLIED.name, rows).await?;
    sink.terminate(Duration::from_secs(30)).await?;
    let mut target = postgres.client(&bench.pipeline.name).await?;
    let copy = raw::copy(&mut target, "public.orders").await?;
    results.add("sink.snapshot", "rows/s", rate, Some(copy), Some(mb));

    let changes = change(&bench, &mut client).await?;
    let read_changes =
        raw::read(&mut client, "SELECT * FROM cdc.dbo_orders_CT").await? / images_per_change();
    let mut source = bench.pipeline.source()?;
    let (rate, mb) = measure(&mut source, names::source::ROWS_PUBLISHED.name, changes).await?;
    results.add("source.stream", "rows/s", rate, Some(read_changes), Some(mb));

    let mut sink = bench.pipeline.sink()?;
    let (rate, mb) = measure(&mut sink, names::sink::ROWS_READ.name, changes).await?;
    let upsert = raw::upsert(&mut target, "public.orders", "order_id").await?;
    results.add("sink.upsert", "rows/s", rate, Some(upsert), Some(mb));

    settle(&bench, &mut source, &mut sink).await?;
    let p99 = latency(&bench, &mut client).await?;
    results.add("pipeline.latency_p99_ms", "ms", p99, None, None);
    settle(&bench, &mut source, &mut sink).await?;
    source.terminate(Duration::from_secs(30)).await?;
    sink.terminate(Duration::from_secs(30)).await?;
    Ok(())
}

/// Rows per second by a counter of the process, from its first rows to `rows`, and its memory.
///
/// The start of the process does not count: what matters is how fast it goes, and a short run would
/// measure the start.
async fn measure(process: &mut Proc, counter: &str, rows: u64) -> Result<(f64, f64)> {
    let goal = whole(rows)?;
    let begin = Instant::now();
    let mut first: Option<(Instant, f64)> = None;
    loop {
        process.must_run()?;
        let now = Instant::now();
        let count = match process.metrics().await {
            Ok(page) => page.sum(counter).unwrap_or(0.0),
            // It has no page yet.
            Err(_) => 0.0,
        };
        if count > 0.0 && first.is_none() {
            first = Some((now, count));
        }
        if count >= goal {
            let mb = process.peak_mb()?;
            let rate = match first {
                // All at once, between two looks: all that is known is the time since the start.
                Some((_, before)) if before >= goal => count / begin.elapsed().as_secs_f64(),
                Some((start, before)) => (count - before) / (now - start).as_secs_f64(),
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
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Changes rows while nothing runs: 80 % updates, 15 % inserts, 5 % deletes. Gives the number of
/// changes, when the capture job has seen them all.
async fn change(bench: &Bench, client: &mut sqlserver::Client) -> Result<u64> {
    let unit = bench.rows / 1000;
    let (updates, inserts, deletes) = (unit * 400, unit * 75, unit * 25);
    let mut random = Random::new(11);
    let mut done = 0;
    while done < updates {
        let last = (done + 1000).min(updates);
        let sql = format!(
            "UPDATE dbo.orders SET status = 9, comment = N'changed' WHERE order_id BETWEEN {} AND {last}",
            done + 1
        );
        sqlserver::exec(client, &sql).await?;
        done = last;
    }
    for start in (bench.rows + 1..=bench.rows + inserts).step_by(100) {
        let end = (start + 99).min(bench.rows + inserts);
        let rows: Vec<String> = (start..=end).map(|id| orders::values(id, &mut random)).collect();
        let sql = format!("INSERT INTO dbo.orders VALUES ({})", rows.join("), ("));
        sqlserver::exec(client, &sql).await?;
    }
    let sql = format!(
        "DELETE FROM dbo.orders WHERE order_id BETWEEN {} AND {}",
        bench.rows - deletes + 1,
        bench.rows
    );
    sqlserver::exec(client, &sql).await?;
    let images = i64::try_from(2 * updates + inserts + deletes).context("count")?;
    let name = &bench.pipeline.name;
    Box::pin(wait::until("the capture job", LIMIT, || async {
        let mut client = bench.sqlserver.client(name).await?;
        let sql = "SELECT COUNT_BIG(*) FROM cdc.dbo_orders_CT";
        let rows = sqlserver::rows(&mut client, sql).await?;
        let count: i64 = rows.first().and_then(|row| row.get(0)).unwrap_or(0);
        Ok((count >= images).then_some(()))
    }))
    .await?;
    Ok(updates + inserts + deletes)
}

/// Rows of the change table for each change: an update has two images.
fn images_per_change() -> f64 {
    (2.0 * 80.0 + 20.0) / 100.0
}

/// Waits until both sides are equal.
async fn settle(bench: &Bench, source: &mut Proc, sink: &mut Proc) -> Result<()> {
    bench
        .pipeline
        .equal(bench.sqlserver, bench.postgres, &[orders::NAME], &mut [source, sink], LIMIT)
        .await?;
    Ok(())
}

/// The 99th percentile of the time from a commit in SQL Server until PostgreSQL shows the row, in
/// milliseconds, with one row at a time.
async fn latency(bench: &Bench, client: &mut sqlserver::Client) -> Result<f64> {
    let target = bench.postgres.client(&bench.pipeline.name).await?;
    let query = target
        .prepare("SELECT count(*) FROM public.orders WHERE order_id = $1")
        .await
        .context("prepare")?;
    let mut random = Random::new(13);
    let mut times = Vec::new();
    for sample in 0..200_i64 {
        let id = 1_000_000_000 + sample;
        let number = u64::try_from(id).context("count")?;
        let sql =
            format!("INSERT INTO dbo.orders VALUES ({})", orders::values(number, &mut random));
        sqlserver::exec(client, &sql).await?;
        let start = Instant::now();
        loop {
            let found: i64 = target.query_one(&query, &[&id]).await.context("look")?.get(0);
            if found > 0 {
                break;
            }
            if start.elapsed() > Duration::from_secs(30) {
                bail!("row {id} did not arrive in 30 s");
            }
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
        times.push(start.elapsed().as_secs_f64() * 1000.0);
        // Not in step with the polls of the source: wait a different time before each row.
        tokio::time::sleep(Duration::from_millis(random.between(5, 60))).await;
    }
    times.sort_by(f64::total_cmp);
    times.get(times.len() * 99 / 100).copied().context("no sample")
}

fn whole(rows: u64) -> Result<f64> {
    Ok(f64::from(u32::try_from(rows).context("fewer than four billion rows")?))
}
