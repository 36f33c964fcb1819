//! The reconciler on a large table: all rows equal, one in a hundred different, and what the two servers give
//! without it; and `reladiff` on two PostgreSQL databases with the same rows.
//!
//! Our pair is SQL Server (the stand-in) and PostgreSQL, because Causeway reads no other source; theirs is PostgreSQL
//! twice, because it reads no SQL Server. So the two times are not of the same pair: ours has the slower source.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use causeway_tests::{
    pipeline::Pipeline,
    postgres::Postgres,
    process::Proc,
    python, shared,
    sqlserver::{self, SqlServer},
    wait,
};
use futures_util::TryStreamExt as _;

use crate::{orders, raw, result::Results};

/// How long a part may take before we give up.
const LIMIT: Duration = Duration::from_secs(900);

/// Measures on `rows` rows; `peers` says whether reladiff is measured too.
pub(crate) async fn run(results: &mut Results, rows: u64, peers: bool) -> Result<()> {
    let (sqlserver, kafka, registry, postgres) =
        tokio::join!(shared::sqlserver(), shared::kafka(), shared::registry(), shared::postgres());
    let pipeline = Pipeline::new("recon", sqlserver, kafka, registry, postgres).await?;
    Box::pin(filled(&pipeline, sqlserver, postgres, rows)).await?;

    let mut client = sqlserver.client(&pipeline.name).await?;
    let read = raw::read(&mut client, "SELECT * FROM dbo.orders").await?;
    results.add("reconcile.raw_source", "rows/s", read, None, None);
    let copy = copied(postgres, &pipeline.name).await?;
    results.add("reconcile.raw_target", "rows/s", copy, None, None);

    let count = whole(rows)?;
    let (equal, mb) = timed(&pipeline, 0).await?;
    results.add("reconcile.full", "rows/s", count / equal, Some(read.min(copy)), Some(mb));
    let target = postgres.client(&pipeline.name).await?;
    // VACUUM wants a statement of its own.
    for sql in [
        "UPDATE public.orders SET comment = 'x' WHERE order_id % 100 = 7",
        "VACUUM ANALYZE public.orders",
    ] {
        target.batch_execute(sql).await.context("plant differences")?;
    }
    let (different, mb) = timed(&pipeline, 1).await?;
    results.add("reconcile.1_percent", "rows/s", count / different, Some(count / equal), Some(mb));
    results.add("reconcile.1_percent_time", "x of equal", different / equal, None, None);

    if peers {
        let copy = format!("{}_copy", pipeline.name);
        postgres.create_database(&copy).await?;
        let theirs = Box::pin(reladiff(postgres, &pipeline.name, &copy, 0)).await?;
        results.add("reladiff.equal", "s", theirs, None, None);
        results.add("reconcile.equal_by_reladiff", "x of its time", equal / theirs, None, None);
        let theirs = Box::pin(reladiff(postgres, &pipeline.name, &copy, 1)).await?;
        results.add("reladiff.1_percent", "s", theirs, None, None);
        let ratio = different / theirs;
        results.add("reconcile.1_percent_by_reladiff", "x of its time", ratio, None, None);
    }
    Ok(())
}

/// The same rows on both sides, brought there by the pipeline, which is stopped then.
async fn filled(
    pipeline: &Pipeline,
    sqlserver: &SqlServer,
    postgres: &Postgres,
    rows: u64,
) -> Result<()> {
    let start = Instant::now();
    let mut client = sqlserver.client(&pipeline.name).await?;
    orders::create(&mut client).await?;
    for first in (1..=rows).step_by(50_000) {
        let last = (first + 49_999).min(rows);
        let sql = format!("INSERT INTO dbo.orders {}", generated(first, last));
        sqlserver::exec(&mut client, &sql).await?;
    }
    sqlserver.capture(&pipeline.name, "dbo", orders::NAME).await?;
    let (mut source, mut sink) = (pipeline.source()?, pipeline.sink()?);
    let wanted = i64::try_from(rows).context("count")?;
    let count = "SELECT count(*) FROM public.orders";
    Box::pin(pipeline.target_reaches(postgres, count, wanted, LIMIT)).await?;
    // The first copy is known to be whole when the source says so.
    Box::pin(wait::until("the end of the copy", LIMIT, || async {
        let (ended, _) = pipeline.reconcile(LIMIT).await?;
        Ok((ended.code == 0).then_some(()))
    }))
    .await?;
    for process in [&mut source, &mut sink] {
        process.terminate(Duration::from_secs(30)).await?;
    }
    let target = postgres.client(&pipeline.name).await?;
    for sql in ["VACUUM ANALYZE public.orders", "CHECKPOINT"] {
        target.batch_execute(sql).await.context("vacuum")?;
    }
    eprintln!("{rows} rows on both sides after {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// Rows like those of [`orders::values`], made by the server.
fn generated(first: u64, last: u64) -> String {
    format!(
        "SELECT value, value % 10000, value % 6, (value % 5000) + 0.25, (value % 50) + 0.1234, (value % 40) + 0.5E0, \
         N'Customer N\u{ba} ' + CAST(value % 10000 AS nvarchar(10)), \
         CASE WHEN value % 2 = 0 THEN N'please leave order ' + CAST(value AS nvarchar(20)) + N' at the neighbour''s, n\u{b0} 17' END, \
         DATEADD(SECOND, value % 30000000, CAST('2026-01-01T00:00:00.123' AS datetime2(3))), NEWID() \
         FROM GENERATE_SERIES(CAST({first} AS bigint), CAST({last} AS bigint))"
    )
}

/// Rows a second of a binary COPY to a client that throws it away.
async fn copied(postgres: &Postgres, database: &str) -> Result<f64> {
    let client = postgres.client(database).await?;
    let start = Instant::now();
    let stream = client
        .copy_out("COPY (SELECT * FROM public.orders) TO STDOUT (FORMAT binary)")
        .await
        .context("copy out")?;
    let mut stream = std::pin::pin!(stream);
    let mut rows = 0_u32;
    // The server sends each row in a message of its own; the trailer is one more.
    while stream.try_next().await.context("copy out")?.is_some() {
        rows += 1;
    }
    Ok(f64::from(rows) / start.elapsed().as_secs_f64())
}

/// Seconds and peak memory of `causeway-reconcile run`, its start included.
async fn timed(pipeline: &Pipeline, code: i32) -> Result<(f64, f64)> {
    let start = Instant::now();
    let mut process = Proc::start("causeway-reconcile", &["run"], pipeline.path())?;
    let mut mb = 0.0_f64;
    let ended = loop {
        mb = process.peak_mb().unwrap_or(0.0).max(mb);
        match process.ended()? {
            Some(code) => break code,
            None if start.elapsed() > LIMIT => bail!("the reconciler runs for {LIMIT:?}"),
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    if ended != code {
        bail!("the reconciler ended with code {ended}, not {code}:\n{}", process.tail(20));
    }
    Ok((start.elapsed().as_secs_f64(), mb))
}

/// Seconds of reladiff over the same table in two databases, which it makes alike first, with one row in a hundred
/// different or none.
async fn reladiff(postgres: &Postgres, ours: &str, copy: &str, code: i32) -> Result<f64> {
    let client = postgres.client(copy).await?;
    client.batch_execute("DROP TABLE IF EXISTS orders").await.context("clear")?;
    let from = postgres.client(ours).await?;
    let columns: String = from
        .query_one(
            "SELECT string_agg(quote_ident(attname) || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum) \
             FROM pg_attribute WHERE attrelid = 'public.orders'::regclass AND attnum > 0 AND NOT attisdropped",
            &[],
        )
        .await
        .context("list columns")?
        .get(0);
    client.batch_execute(&format!("CREATE TABLE orders ({columns})")).await.context("make")?;
    raw::pour(&from, "public.orders", &client, "orders").await?;
    client.batch_execute("ALTER TABLE orders ADD PRIMARY KEY (order_id)").await.context("key")?;
    if code != 0 {
        client
            .batch_execute("UPDATE orders SET comment = 'y' WHERE order_id % 100 = 7")
            .await
            .context("plant differences")?;
    }
    client.batch_execute("VACUUM ANALYZE orders").await.context("vacuum")?;
    let program = python::peer("reladiff", "reladiff[postgresql]==0.6.0\n")?;
    let names: String = from
        .query_one(
            "SELECT string_agg(attname, ' ') FROM pg_attribute WHERE attrelid = 'public.orders'::regclass \
             AND attnum > 0 AND NOT attisdropped AND attname <> 'order_id'",
            &[],
        )
        .await
        .context("list columns")?
        .get(0);
    let mut command = tokio::process::Command::new(program);
    // As a module: its script names the folder in which it was installed, which has moved since.
    command.args(["-m", "reladiff"]);
    // It knows this scheme only by its longer name.
    let url = |database| postgres.url(database).replacen("postgres://", "postgresql://", 1);
    command.args([&*url(ours), "orders", &*url(copy), "orders"]);
    command.args(["-k", "order_id", "--algorithm", "hashdiff", "--threads", "2"]);
    for name in names.split(' ') {
        command.args(["-c", name]);
    }
    let start = Instant::now();
    let ended = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .await
        .context("run reladiff")?;
    let seconds = start.elapsed().as_secs_f64();
    let text = String::from_utf8_lossy(&ended.stdout);
    let found = text.lines().filter(|line| line.starts_with(['+', '-'])).count();
    let said = String::from_utf8_lossy(&ended.stderr);
    // It ends with 0 whatever it finds, also when it compared nothing, so what it printed must be looked at.
    if !ended.status.success() || (found > 0) != (code != 0) || said.contains("ERROR") {
        bail!("reladiff ended with {} and {found} lines: {said}", ended.status);
    }
    eprintln!("reladiff: {found} lines of differences in {seconds:.1} s");
    Ok(seconds)
}

fn whole(rows: u64) -> Result<f64> {
    Ok(f64::from(u32::try_from(rows).context("fewer than four billion rows")?))
}
