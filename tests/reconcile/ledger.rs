//! Runs that are cut off and gone on with, and runs that read only what has changed.

use std::time::Duration;

use anyhow::{Context as _, Result};
use causeway_tests::{process::Proc, shared, sqlserver::exec, wait};
use serde_json::Value as Json;

use crate::fence::{ROWS, Working};

const LIMIT: Duration = Duration::from_secs(120);
const GOODS: [&str; 2] = ["--tables", "dbo.goods"];

impl Working {
    async fn number(&self, sql: &str) -> Result<i64> {
        let client = shared::postgres().await.client(&self.pipeline.name).await?;
        Ok(client.query_one(sql, &[]).await?.get(0))
    }

    /// Changes the configuration for the next start.
    fn set(&mut self, keys: &[(&str, i64)]) -> Result<()> {
        for (key, value) in keys {
            self.pipeline.config = self.pipeline.config.clone().set(key, *value);
        }
        self.pipeline.write()
    }

    /// As if so many hours had passed since anything was read.
    async fn hours_pass(&self, hours: u32) -> Result<()> {
        self.target(&format!(
            "UPDATE _causeway.reconcile_chunk SET read_at = read_at - interval '{hours} hours', \
             verified_at = verified_at - interval '{hours} hours'"
        ))
        .await
    }
}

fn number(table: &Json, name: &str) -> u64 {
    table[name].as_u64().unwrap_or(u64::MAX)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_killed_is_gone_on_with_from_its_finished_ranges() -> Result<()> {
    let slow = [("reconcile.chunk_workers", 1), ("reconcile.rows_per_second", 6000)];
    let mut working = Working::start(true, &slow).await?;
    // In the first ranges, before the run; found, but not yet judged when it is killed.
    working.target("UPDATE goods SET price = 0 WHERE id = 7").await?;
    let mut first = Proc::start(
        "causeway-reconcile",
        &["run", "--tables", "dbo.goods"],
        working.pipeline.path(),
    )?;
    let done = "SELECT count(*) FROM _causeway.reconcile_chunk";
    wait::until("three ranges", LIMIT, || async {
        Ok((working.number(done).await? >= 3).then_some(()))
    })
    .await?;
    first.kill9();
    let done = u64::try_from(working.number(done).await?)?;
    assert!(done < 12, "it was killed after its end");
    // In a range that is done: who goes on with the run does not read it again; and in one that is not.
    working.target("UPDATE goods SET price = 0 WHERE id IN (8, 11990)").await?;

    working.set(&[("reconcile.rows_per_second", 1_000_000)])?;
    let ran = working.run(&[&GOODS[..], &["--resume"]].concat()).await?;
    let table = ran.table("dbo.goods");
    assert!(ran.report["continues"].is_string(), "{:#}", ran.report);
    assert!(number(table, "chunks_done_before") >= done, "{table:#}");
    assert_eq!(table["rows"]["source"], ROWS, "{table:#}");
    assert_eq!((ran.code, number(table, "different")), (1, 2), "{}", ran.text);
    let keys: Vec<_> = table["first_differences"]
        .as_array()
        .context("differences")?
        .iter()
        .map(|difference| difference["key"]["id"].clone())
        .collect();
    assert!(keys.contains(&"7".into()) && keys.contains(&"11990".into()), "{keys:?}");

    // It has come to its end: there is nothing to go on with, and a new one reads everything.
    let ran = working.run(&[&GOODS[..], &["--resume"]].concat()).await?;
    let table = ran.table("dbo.goods");
    assert!(ran.report["continues"].is_null(), "{:#}", ran.report);
    assert_eq!((number(table, "different"), number(table, "chunks_done_before")), (3, 0));
    working.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_goes_on_with_a_run_that_reached_its_maximum_duration() -> Result<()> {
    // A run reads 24,000 rows of goods; in the time that one may take it reads a part of them.
    let keys = [
        ("reconcile.chunk_workers", 1),
        ("reconcile.parallel", 1),
        ("reconcile.rows_per_second", 4000),
        ("reconcile.max_duration_seconds", 4),
    ];
    let mut working = Working::start(true, &keys).await?;
    working.pipeline.config =
        working.pipeline.config.clone().set("reconcile.schedule", "* * * * * *");
    working.pipeline.write()?;
    let mut process = Proc::start("causeway-reconcile", &["schedule"], working.pipeline.path())?;
    let whole = "SELECT count(*) FROM _causeway.reconcile_run WHERE result = 'equal' \
                 AND report ->> 'continues' IS NOT NULL";
    wait::until("a run that is whole", LIMIT, || async {
        Ok((working.number(whole).await? > 0).then_some(()))
    })
    .await?;
    let cut = "SELECT count(*) FROM _causeway.reconcile_run WHERE result = 'incomplete'";
    assert!(working.number(cut).await? > 0, "no run was cut off");
    let rows = "SELECT min((t -> 'rows' ->> 'source')::bigint) FROM _causeway.reconcile_run, \
                jsonb_array_elements(report -> 'tables') t \
                WHERE result = 'equal' AND t ->> 'source' = 'dbo.goods'";
    assert_eq!(u64::try_from(working.number(rows).await?)?, ROWS);
    let age = "causeway_reconcile_oldest_range_verified_timestamp_seconds";
    let page = process.page("/metrics").await?;
    assert!(page.lines().any(|line| line.starts_with(age) && line.contains("dbo.goods")), "{page}");
    assert_eq!(process.terminate(Duration::from_secs(30)).await?, 0, "{}", process.tail(20));
    working.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incremental_run_reads_what_changed_and_the_rest_within_the_period() -> Result<()> {
    let mut working = Working::start(true, &[("reconcile.rolling_hours", 168)]).await?;
    let incremental = [&GOODS[..], &["--incremental"]].concat();
    // Nothing is known yet: all of it.
    let ran = working.run(&incremental).await?;
    let table = ran.table("dbo.goods");
    assert_eq!((ran.code, number(table, "chunks_unchanged")), (0, 0), "{}", ran.text);
    let chunks = number(table, "chunks");
    assert!(chunks >= 11, "{table:#}");

    // A change in one range, by the pipeline, and one in the same range behind its back.
    exec(&mut working.client, "UPDATE dbo.goods SET price = 1 WHERE id = 5555").await?;
    let arrived = "SELECT count(*) FROM goods WHERE id = 5555 AND price = 1";
    wait::until("the change", LIMIT, || async {
        Ok((working.number(arrived).await? == 1).then_some(()))
    })
    .await?;
    working.target("UPDATE goods SET price = 0 WHERE id = 5556").await?;
    let ran = working.run(&incremental).await?;
    let table = ran.table("dbo.goods");
    assert_eq!((ran.code, number(table, "different")), (1, 1), "{}", ran.text);
    let read = chunks - number(table, "chunks_unchanged");
    // That one, one in turn, and perhaps its neighbour.
    assert!((1..=3).contains(&read), "{table:#}");

    // A range that was not found equal is read until it is.
    working.target("UPDATE goods SET price = 5556.5 WHERE id = 5556").await?;
    let ran = working.run(&incremental).await?;
    assert_eq!(ran.code, 0, "{}", ran.text);
    let unverified = "SELECT count(*) FROM _causeway.reconcile_chunk WHERE verified_at IS NULL";
    assert_eq!(working.number(unverified).await?, 0);

    // Outside of changed ranges: unseen at first, and found within the period.
    working.target("UPDATE goods SET price = 0 WHERE id IN (2222, 8888)").await?;
    let (mut found, mut reads) = (0, 0);
    for day in 1..=7 {
        working.hours_pass(24).await?;
        let ran = working.run(&incremental).await?;
        let table = ran.table("dbo.goods");
        let unread = number(table, "chunks_unchanged");
        reads += chunks - unread;
        assert!(unread > 0, "day {day}: all was read: {table:#}");
        found = found.max(number(table, "different"));
        let oldest = "SELECT (extract(epoch FROM clock_timestamp() - min(read_at)) / 3600)::bigint \
                      FROM _causeway.reconcile_chunk";
        assert!(working.number(oldest).await? <= 168, "day {day}");
    }
    assert_eq!(found, 2, "not found within the period");
    assert!(reads < 7 * chunks, "{reads} ranges were read, of {chunks} each day");

    // The changes that would say what changed are gone: all is read.
    working
        .target("UPDATE _causeway.reconcile_chunk SET clean_lsn = '00000000:00000000:0001'")
        .await?;
    let ran = working.run(&incremental).await?;
    let table = ran.table("dbo.goods");
    assert_eq!((ran.code, number(table, "chunks_unchanged")), (1, 0), "{}", ran.text);
    assert_eq!(number(table, "different"), 2, "{table:#}");
    working.stop().await
}
