//! The reconciler beside a pipeline that works: what is in flight is no difference, what was planted behind the
//! pipeline's back is.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use causeway_tests::{
    pipeline::Pipeline,
    process::Proc,
    shared,
    sqlserver::{Client, exec},
    wait,
};

use crate::both::{self, Ran};

const LIMIT: Duration = Duration::from_secs(120);

/// A pipeline at work on `dbo.goods`, of which both sides are equal.
pub(crate) struct Working {
    pub(crate) pipeline: Pipeline,
    source: Proc,
    sink: Proc,
    folder: tempfile::TempDir,
    client: Client,
}

/// Rows of `dbo.goods` at the start. The load writes to those up to [`QUIET`] and inserts above them.
const ROWS: u64 = 12_000;
const QUIET: u64 = 8000;

impl Working {
    pub(crate) async fn start(snapshots: bool, keys: &[(&str, i64)]) -> Result<Self> {
        let (sqlserver, postgres) = (shared::sqlserver().await, shared::postgres().await);
        let mut pipeline = Pipeline::new(
            "fence",
            sqlserver,
            shared::kafka().await,
            shared::registry().await,
            postgres,
        )
        .await?;
        pipeline.config = pipeline
            .config
            .clone()
            .set("reconcile.guard_seconds", 1)
            .set("reconcile.chunk_rows", 1000);
        for (key, value) in keys {
            pipeline.config = pipeline.config.clone().set(key, *value);
        }
        pipeline.write()?;
        let mut client = sqlserver.client(&pipeline.name).await?;
        let on = if snapshots { "ON" } else { "OFF" };
        let sql = format!("ALTER DATABASE [{}] SET ALLOW_SNAPSHOT_ISOLATION {on}", pipeline.name);
        exec(&mut client, &sql).await?;
        exec(
            &mut client,
            "CREATE TABLE dbo.goods (id int NOT NULL PRIMARY KEY, name nvarchar(50) NULL, price decimal(18,4) NULL, \
             at datetime2(7) NULL, weight float NULL)",
        )
        .await?;
        for first in (1..=ROWS).step_by(500) {
            let rows: Vec<String> = (first..first + 500)
                .map(|id| {
                    format!(
                        "({id}, N'N\u{e4}me {id}', {id}.5, '2024-02-29 23:59:59.1234567', {id}E0)"
                    )
                })
                .collect();
            exec(&mut client, &format!("INSERT INTO dbo.goods VALUES {}", rows.join(", "))).await?;
        }
        exec(
            &mut client,
            "CREATE TABLE dbo.codes (id uniqueidentifier NOT NULL PRIMARY KEY, n bigint NULL)",
        )
        .await?;
        let codes: Vec<String> = (1..=500)
            .map(|n| format!("('{:08X}-8B86-D011-B42D-00C04FC964FF', {n})", n * 7919))
            .collect();
        exec(&mut client, &format!("INSERT INTO dbo.codes VALUES {}", codes.join(", "))).await?;
        for table in ["goods", "codes"] {
            sqlserver.capture(&pipeline.name, "dbo", table).await?;
        }
        let (mut source, mut sink) = (pipeline.source()?, pipeline.sink()?);
        let processes = &mut [&mut source, &mut sink];
        pipeline.equal(sqlserver, postgres, &["goods", "codes"], processes, LIMIT).await?;
        let folder = tempfile::tempdir()?;
        Ok(Self { pipeline, source, sink, folder, client })
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> Result<Ran> {
        let json = self.folder.path().join("report.json");
        both::run(self.pipeline.path(), json, arguments).await
    }

    pub(crate) async fn target(&self, sql: &str) -> Result<()> {
        let client = shared::postgres().await.client(&self.pipeline.name).await?;
        client.batch_execute(sql).await?;
        Ok(())
    }

    pub(crate) async fn stop(mut self) -> Result<()> {
        for process in [&mut self.source, &mut self.sink] {
            let code = process.terminate(Duration::from_secs(30)).await?;
            if code != 0 {
                bail!("{} ended with {code}:\n{}", process.name(), process.tail(20));
            }
        }
        Ok(())
    }
}

/// Updates, inserts, deletes, one after the other, as fast as the server takes them.
async fn load(client: &mut Client, stop: &AtomicBool, done: &AtomicU64) -> Result<()> {
    let mut n: u64 = 0;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        let id = n * 7919 % QUIET + 1;
        let new = ROWS + n;
        let old = ROWS + n.saturating_sub(50);
        exec(
            client,
            &format!(
                "UPDATE dbo.goods SET price = price + 1, name = N'step {n}' WHERE id = {id}; \
                 INSERT INTO dbo.goods VALUES ({new}, N'new', 1, NULL, NULL); \
                 DELETE FROM dbo.goods WHERE id = {old}; \
                 UPDATE dbo.codes SET n = {n} WHERE n > {n} AND n < {n} + 3"
            ),
        )
        .await?;
        done.fetch_add(4, Ordering::Relaxed);
    }
    Ok(())
}

/// Differences of every kind and class in rows that the load leaves alone.
const PLANTED: &str = "
    DELETE FROM goods WHERE id IN (9001, 9002, 11999);
    INSERT INTO goods VALUES (-7, 'extra', 1, NULL, NULL), (900000000, 'extra', 1, NULL, NULL);
    UPDATE goods SET name = upper(name) WHERE id BETWEEN 9011 AND 9015;
    UPDATE goods SET name = name || ' ' WHERE id BETWEEN 9021 AND 9024;
    UPDATE goods SET name = replace(name, '\u{e4}', '?') WHERE id BETWEEN 9031 AND 9033;
    UPDATE goods SET at = at + interval '2 hours' WHERE id BETWEEN 9041 AND 9046;
    UPDATE goods SET at = date_trunc('second', at) WHERE id BETWEEN 9051 AND 9052;
    UPDATE goods SET price = 0 WHERE id BETWEEN 9061 AND 9067;
    UPDATE goods SET weight = NULL WHERE id = 9071";

async fn under_load(snapshots: bool) -> Result<()> {
    let working = Working::start(snapshots, &[]).await?;
    let mut client = shared::sqlserver().await.client(&working.pipeline.name).await?;
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let watch = async {
        for n in 0..4 {
            let ran = working.run(&[]).await?;
            assert_ne!(ran.table("dbo.goods")["status"], "different", "run {n}: {}", ran.text);
            assert_ne!(ran.table("dbo.goods")["status"], "error", "run {n}: {}", ran.text);
            assert_ne!(ran.table("dbo.codes")["status"], "different", "run {n}: {}", ran.text);
            let mode = if snapshots { "snapshot" } else { "statement" };
            assert_eq!(ran.table("dbo.goods")["fence"]["mode"], mode, "{}", ran.text);
        }
        let only = ["--tables", "dbo.goods", "--level"];
        for level in ["counts", "checksum", "sample"] {
            let ran = working.run(&[&only[..], &[level]].concat()).await?;
            assert_ne!(ran.table("dbo.goods")["status"], "different", "{level}: {}", ran.text);
        }
        working.target(PLANTED).await?;
        let ran = working.run(&["--tables", "dbo.goods"]).await?;
        let table = ran.table("dbo.goods");
        assert_eq!(ran.code, 1, "{}", ran.text);
        assert_eq!(
            (&table["missing_in_target"], &table["extra_in_target"], &table["different"]),
            (&3.into(), &2.into(), &28.into()),
            "{}",
            ran.text
        );
        for (column, class, count) in [
            ("name", "case", 5),
            ("name", "trailing_blank", 4),
            ("name", "encoding", 3),
            ("at", "time_zone", 6),
            ("at", "rounding", 2),
            ("price", "value", 7),
            ("weight", "value", 1),
        ] {
            assert_eq!(
                table["columns"][column]["classes"][class], count,
                "{column} {class}: {table:#}"
            );
        }
        if snapshots {
            assert_eq!(table["strategy"], "range", "{table:#}");
            let ran = working.run(&["--tables", "dbo.goods", "--level", "checksum"]).await?;
            assert_eq!(ran.code, 1, "{}", ran.text);
        }
        assert!(done.load(Ordering::Relaxed) > 1000, "the load stood still");
        stop.store(true, Ordering::Relaxed);
        Ok::<_, anyhow::Error>(())
    };
    let loading = load(&mut client, &stop, &done);
    tokio::select! {
        watched = watch => watched?,
        loaded = loading => loaded.context("the load ended")?,
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes of load, and not steady yet on a busy machine: make conformance"]
async fn changes_in_flight_are_never_differences_and_planted_ones_are_found_with_snapshots()
-> Result<()> {
    under_load(true).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes of load, and not steady yet on a busy machine: make conformance"]
async fn changes_in_flight_are_never_differences_and_planted_ones_are_found_without_snapshots()
-> Result<()> {
    under_load(false).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes of load, and not steady yet on a busy machine: make conformance"]
async fn a_row_that_changes_all_the_time_is_unstable_and_never_different() -> Result<()> {
    let working = Working::start(true, &[("reconcile.recheck_attempts", 2)]).await?;
    let mut client = shared::sqlserver().await.client(&working.pipeline.name).await?;
    let stop = AtomicBool::new(false);
    let hot = async {
        while !stop.load(Ordering::Relaxed) {
            exec(&mut client, "UPDATE dbo.goods SET price = price + 1 WHERE id = 77").await?;
        }
        Ok::<_, anyhow::Error>(())
    };
    let watch = async {
        let ran = wait::until("the hot row to be met while it differs", LIMIT, || async {
            let ran = working.run(&["--tables", "dbo.goods"]).await?;
            let table = ran.table("dbo.goods");
            assert_ne!(table["status"], "different", "{}", ran.text);
            Ok((table["unstable"] == 1).then_some(ran))
        })
        .await;
        stop.store(true, Ordering::Relaxed);
        ran
    };
    let (ran, hot) = tokio::join!(watch, hot);
    hot?;
    let ran = ran?;
    assert_eq!((ran.code, &ran.report["result"]), (2, &"unstable".into()), "{}", ran.text);
    assert_eq!(ran.table("dbo.goods")["first_differences"][0]["state"], "unstable");
    working.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_does_not_arrive_is_not_compared_with() -> Result<()> {
    let mut working = Working::start(true, &[("reconcile.fence_timeout_seconds", 3)]).await?;
    working.sink.kill9();
    exec(&mut working.client, "UPDATE dbo.goods SET price = 0 WHERE id = 1").await?;
    let ran = working.run(&["--tables", "dbo.goods"]).await?;
    assert_eq!((ran.code, &ran.report["result"]), (5, &"behind".into()), "{}", ran.text);
    let table = ran.table("dbo.goods");
    assert_eq!((&table["status"], &table["different"]), (&"error".into(), &0.into()), "{table:#}");
    assert!(
        table["reason"].as_str().is_some_and(|r| r.contains("the sink has not applied")),
        "{table:#}"
    );
    // The source behind as well: it says so.
    working.source.kill9();
    exec(&mut working.client, "UPDATE dbo.goods SET price = 0 WHERE id = 2").await?;
    let ran = working.run(&["--tables", "dbo.goods"]).await?;
    assert_eq!(ran.code, 5, "{}", ran.text);
    assert!(ran.text.contains("the source has not published"), "{}", ran.text);
    Ok(())
}
