//! What it costs to keep source transactions whole: the same changes applied row by row, and as transactions of
//! ten changes in commit order.

use anyhow::{Context as _, Result};
use causeway_kafka::{Admin, Config as Kafka, TopicSpec, topic};
use causeway_observability::names;
use causeway_tests::{config::Config, names as unique, postgres::Postgres, process::Proc, shared};

use crate::{
    feed::{Feed, Step, mix},
    pipeline::steady,
    result::Results,
    sink::LIMIT,
};

/// Changes of a source transaction.
const SIZE: usize = 10;

/// Measures `sink.transactions`; its limit is the rate of the same sink with `consistency = "row"`.
pub(crate) async fn run(results: &mut Results, rows: u32, postgres: &Postgres) -> Result<()> {
    let (kafka, registry) = tokio::join!(shared::kafka(), shared::registry());
    let prefix = unique::unique("benchwhole");
    let index = TopicSpec {
        name: topic::transactions(&prefix),
        partitions: 1,
        compacted: false,
        retention_ms: None,
    };
    Admin::new(&Kafka::new(kafka.bootstrap()))?.ensure_topics(&[index]).await?;
    let feed = Feed::new(&prefix, kafka, registry).await?;
    // As many rows come first, so that the changes meet some.
    let rows = i64::from(rows);
    let first: Vec<Step> = (1..=rows).map(Step::Insert).collect();
    let steps = [first, mix(rows, 0, rows)].concat();
    feed.write_transactions(&steps, SIZE).await?;
    let mut found = Vec::new();
    for consistency in ["row", "transaction"] {
        let database = unique::unique("benchwhole");
        postgres.create_database(&database).await?;
        let folder = tempfile::tempdir().context("make a folder")?;
        let config = Config::new(&prefix)
            .kafka(kafka)
            .registry(registry)
            .postgres(postgres, &database)
            .set("sink.apply.consistency", consistency)
            .write(folder.path())?;
        let mut sink = Proc::start("causeway-sink", &["run"], &config)?;
        let servers = [("Kafka", kafka.pid()), ("PostgreSQL", postgres.pid())];
        let counter = names::sink::ROWS_APPLIED.name;
        found.push(steady(&mut sink, counter, steps.len() as u64, &servers).await?);
        sink.terminate(LIMIT).await?;
    }
    let (row, whole) = (found.first().context("measured")?, found.last().context("measured")?);
    results.add("sink.transactions", "rows/s", whole.0, Some(row.0), Some(whole.1));
    Ok(())
}
