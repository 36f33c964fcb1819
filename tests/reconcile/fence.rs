//! The reconciler beside a pipeline that works: what is in flight is no difference, what was planted behind the
//! pipeline's back is.

use std::{
    sync::atomic::{AtomicBool, Ordering},
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
    pub(crate) folder: tempfile::TempDir,
    pub(crate) client: Client,
}

/// Rows of `dbo.goods` at the start, where a test does not say otherwise.
pub(crate) const ROWS: u64 = 12_000;

impl Working {
    pub(crate) async fn start(snapshots: bool, keys: &[(&str, i64)]) -> Result<Self> {
        Box::pin(Self::with_rows(snapshots, keys, ROWS)).await
    }

    pub(crate) async fn with_rows(
        snapshots: bool,
        keys: &[(&str, i64)],
        rows: u64,
    ) -> Result<Self> {
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
            .set("observability.log", "info,causeway_reconcile=debug")
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
        for first in (1..=rows).step_by(20_000) {
            let last = (first + 19_999).min(rows);
            exec(
                &mut client,
                &format!(
                    "INSERT INTO dbo.goods SELECT value, \
                     CASE WHEN value % 100 = 0 THEN NULL ELSE N'N\u{e4}me ' + CAST(value AS nvarchar(10)) END, \
                     value + 0.5, '2024-02-29 23:59:59.1234567', CAST(value AS float) \
                     FROM GENERATE_SERIES({first}, {last})"
                ),
            )
            .await?;
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
        let wanted = i64::try_from(rows).context("rows")?;
        let count = "SELECT count(*) FROM public.goods";
        Box::pin(pipeline.target_reaches(postgres, count, wanted, LIMIT)).await?;
        pipeline.equal(sqlserver, postgres, &["codes"], processes, LIMIT).await?;
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

#[tokio::test(flavor = "multi_thread")]
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
