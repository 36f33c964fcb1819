//! What keeps a comparison from being a burden: a limit of rows a second, locks that are not waited for.

use anyhow::Result;
use causeway_tests::shared;

use crate::both::Both;

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_rows_a_second_is_kept_over_all_readers() -> Result<()> {
    let mut both = Both::new().await?;
    both.table("t", ("id int NOT NULL PRIMARY KEY", "id integer PRIMARY KEY"), ("", "")).await?;
    both.source("INSERT INTO dbo.t SELECT value FROM GENERATE_SERIES(1, 20000)").await?;
    both.target("INSERT INTO public.t SELECT generate_series(1, 20000)").await?;
    both.config = both.config.set("reconcile.rows_per_second", 10_000);
    let ran = both.run(&[]).await?;
    assert_eq!(ran.code, 0, "{}", ran.text);
    // 40,000 rows.
    let least = 40_000 * 1000 / 10_000;
    let took = ran.table("dbo.t")["duration_ms"].as_u64().unwrap_or(0);
    assert!(took >= least, "{took} ms, {least} at least");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_is_waited_for_no_longer_than_the_limit_and_is_no_difference() -> Result<()> {
    let mut both = Both::new().await?;
    both.table("t", ("id int NOT NULL PRIMARY KEY", "id integer PRIMARY KEY"), ("(1)", "(1)"))
        .await?;
    both.config = both.config.set("reconcile.lock_timeout_ms", 300);
    let mut holder = shared::postgres().await.client(&both.name).await?;
    let held = holder.transaction().await?;
    held.batch_execute("LOCK TABLE public.t IN ACCESS EXCLUSIVE MODE").await?;
    let ran = both.run(&[]).await?;
    assert_eq!(ran.code, 2, "{}", ran.text);
    let table = ran.table("dbo.t");
    assert_eq!((&table["status"], &table["missing_in_target"]), (&"error".into(), &0.into()));
    assert!(table["reason"].as_str().is_some_and(|r| r.contains("lock")), "{table:#}");
    held.rollback().await?;
    assert_eq!(both.run(&[]).await?.code, 0);
    Ok(())
}
