//! The course of the demo, from an empty machine to the reconciler's answer.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use causeway_tests::{
    config::Config,
    kafka::Kafka,
    postgres::Postgres,
    process::Proc,
    registry::Registry,
    sqlserver::{Options, SqlServer},
};
use serde_json::Value;

use crate::{
    Args,
    dataset::Dataset,
    progress::{Progress, grouped},
};

/// The database on both sides, and the pipeline's name.
const NAME: &str = "shop";

/// What the reconciler found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Every table is equal.
    Equal,
    /// Something differs, or could not be compared.
    Different,
}

/// Runs the demo.
pub(crate) async fn run(args: &Args) -> Result<Outcome> {
    let start = Instant::now();
    say("starting SQL Server (stand-in), Kafka, the schema registry and PostgreSQL");
    let (sqlserver, kafka, registry, postgres) = tokio::try_join!(
        SqlServer::start(Options::default()),
        Kafka::start(),
        Registry::start(),
        Postgres::start(),
    )?;
    say(&format!("all four run after {:.1} s", start.elapsed().as_secs_f64()));

    let start = Instant::now();
    postgres.create_database(NAME).await?;
    sqlserver.create_captured_database(NAME).await?;
    let mut client = sqlserver.client(NAME).await?;
    let (mut dataset, rows) = Dataset::make(&mut client, args).await?;
    for table in dataset.tables() {
        sqlserver.capture(NAME, "dbo", table).await?;
    }
    let tables = dataset.tables().len();
    say(&format!(
        "filled {tables} tables with {} rows and enabled CDC in {:.1} s",
        grouped(rows),
        start.elapsed().as_secs_f64()
    ));

    let folder = tempfile::Builder::new()
        .prefix("causeway-demo-")
        .tempdir()
        .context("make a folder for causeway.toml")?;
    let config = Config::new(NAME)
        .sqlserver(&sqlserver, NAME)
        .kafka(&kafka)
        .registry(&registry)
        .postgres(&postgres, NAME)
        .write(folder.path())?;
    let mut source = Proc::start("causeway-source", &["run"], &config)?;
    let mut sink = Proc::start("causeway-sink", &["run"], &config)?;
    say(&format!("started causeway-source and causeway-sink with {}", config.display()));

    let mut progress = Progress::new();
    let changed = load(args, &sqlserver, &mut dataset, &mut progress, &mut source, &mut sink)
        .await
        .context("change rows while they are replicated")?;
    say(&format!("{} more rows changed; waiting for the sink", grouped(changed)));
    catch_up(&sqlserver, &postgres, &dataset, &mut progress, &mut source, &mut sink).await?;

    say("comparing both sides row by row with causeway-reconcile");
    let report = folder.path().join("report.json");
    let json = report.display().to_string();
    let mut reconcile = Proc::start("causeway-reconcile", &["run", "--json", &json], &config)?;
    let mut reconcile_mb = 0.0_f64;
    let code = loop {
        reconcile_mb = reconcile.peak_mb().unwrap_or(0.0).max(reconcile_mb);
        match reconcile.ended()? {
            Some(code) => break code,
            None => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    print!("{}", reconcile.stdout());
    println!(
        "memory at the peak: causeway-source {:.0} MB, causeway-sink {:.0} MB, \
         causeway-reconcile {reconcile_mb:.0} MB",
        source.peak_mb()?,
        sink.peak_mb()?,
    );
    if args.keep {
        keep(&sqlserver, &kafka, &registry, &postgres, &config, &mut source, &mut sink).await?;
    }
    let report =
        std::fs::read_to_string(&report).ok().and_then(|text| serde_json::from_str(&text).ok());
    conclude(code, report.as_ref(), &reconcile)
}

/// The last line, and what it means.
fn conclude(code: i32, report: Option<&Value>, reconcile: &Proc) -> Result<Outcome> {
    let Some(totals) = report.and_then(|report| report.get("totals")) else {
        bail!("causeway-reconcile ended with code {code} and no report:\n{}", reconcile.tail(20));
    };
    let total = |name: &str| totals.get(name).and_then(Value::as_u64).unwrap_or(0);
    let (tables, rows) = (total("tables"), total("rows_compared"));
    let (equal, differences) = (total("equal"), total("differences"));
    if code == 0 && differences == 0 && equal == tables && tables > 0 {
        println!("demo: equal: {tables} tables, {rows} rows, 0 differences");
        return Ok(Outcome::Equal);
    }
    println!(
        "demo: different: {equal} of {tables} tables equal, {rows} rows compared, \
         {differences} differences (causeway-reconcile ended with code {code})"
    );
    Ok(Outcome::Different)
}

/// Changes rows for as long as was asked, and tells each second how far the pipeline is.
async fn load(
    args: &Args,
    sqlserver: &SqlServer,
    dataset: &mut Dataset,
    progress: &mut Progress,
    source: &mut Proc,
    sink: &mut Proc,
) -> Result<u64> {
    let mut client = sqlserver.client(NAME).await?;
    let end = Instant::now() + Duration::from_secs(args.seconds);
    let start = Instant::now();
    let mut rows = 0_u64;
    while Instant::now() < end {
        // At most the rate asked for, evenly over the second.
        let allowed = start.elapsed().as_millis() * u128::from(args.rate) / 1000;
        if u128::from(rows) > allowed {
            tokio::time::sleep(Duration::from_millis(2)).await;
        } else {
            let step = dataset.step();
            causeway_tests::sqlserver::exec(&mut client, &step.sql).await?;
            rows += step.rows;
            progress.changed(step.rows);
        }
        progress.tick(source, sink).await?;
    }
    Ok(rows)
}

/// Waits until the sink has applied all: the counts agree, nothing waits in Kafka, and nothing has
/// been applied for a second.
async fn catch_up(
    sqlserver: &SqlServer,
    postgres: &Postgres,
    dataset: &Dataset,
    progress: &mut Progress,
    source: &mut Proc,
    sink: &mut Proc,
) -> Result<()> {
    let mut quiet_since = Instant::now();
    let mut moved_at = Instant::now();
    let mut last = None;
    loop {
        progress.tick(source, sink).await?;
        let state = progress.state();
        if last.as_ref() != Some(&state) {
            (last, quiet_since, moved_at) = (Some(state.clone()), Instant::now(), Instant::now());
        }
        let quiet = quiet_since.elapsed() > Duration::from_millis(1200) && state.waiting == 0;
        if quiet && counts_agree(sqlserver, postgres, dataset).await? {
            return Ok(());
        }
        if moved_at.elapsed() > Duration::from_secs(60) {
            bail!(
                "the sink has applied nothing for a minute, and the two sides do not agree\n\
                 causeway-source:\n{}\ncauseway-sink:\n{}",
                source.tail(10),
                sink.tail(10)
            );
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn counts_agree(
    sqlserver: &SqlServer,
    postgres: &Postgres,
    dataset: &Dataset,
) -> Result<bool> {
    let mut source = sqlserver.client(NAME).await?;
    let target = postgres.client(NAME).await?;
    for table in dataset.tables() {
        let sql = format!("SELECT COUNT_BIG(*) FROM dbo.[{table}]");
        let rows = causeway_tests::sqlserver::rows(&mut source, &sql).await?;
        let left: Option<i64> = rows.first().and_then(|row| row.get(0));
        let sql = format!("SELECT count(*) FROM public.\"{table}\"");
        // The sink makes a table when its first row comes: until then there is nothing to count.
        let right = target.query_one(&sql, &[]).await.ok().map(|row| row.get::<_, i64>(0));
        if left != right {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Prints where everything is, and waits for Ctrl-C.
async fn keep(
    sqlserver: &SqlServer,
    kafka: &Kafka,
    registry: &Registry,
    postgres: &Postgres,
    config: &std::path::Path,
    source: &mut Proc,
    sink: &mut Proc,
) -> Result<()> {
    println!("\nkept running until Ctrl-C:");
    println!(
        "  SQL Server      {}:{}, database {NAME}, user sa, password {}",
        sqlserver.host(),
        sqlserver.port(),
        sqlserver.sa_password()
    );
    println!("  PostgreSQL      {}", postgres.url(NAME));
    println!("  Kafka           {}", kafka.bootstrap());
    println!("  schema registry {}", registry.url());
    println!("  causeway.toml   {}", config.display());
    println!("  causeway-source http://{}/status", source.admin().await?);
    println!("  causeway-sink   http://{}/status", sink.admin().await?);
    tokio::signal::ctrl_c().await.context("wait for Ctrl-C")
}

fn say(text: &str) {
    println!("{text}");
}
