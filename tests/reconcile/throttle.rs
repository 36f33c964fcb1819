//! What keeps a comparison from being a burden: a limit of rows a second, locks that are not waited for.

use std::time::Duration;

use anyhow::Result;
use causeway_tests::{process::Proc, shared, sqlserver::exec, wait};

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

/// Two rows on either side, and a transaction that is open and has locked the table in SQL Server. By a change of its
/// schema, which readers of row versions wait for too: the stand-in's READ COMMITTED reads them.
async fn locked() -> Result<(Both, causeway_tests::sqlserver::Client)> {
    let mut both = Both::new().await?;
    let columns = ("id int NOT NULL PRIMARY KEY, n int NULL", "id integer PRIMARY KEY, n integer");
    both.table("t", columns, ("(1, 1), (2, 2)", "(1, 1), (2, 2)")).await?;
    both.config = both.config.set("sqlserver.lock_timeout_ms", 200);
    let mut holder = shared::sqlserver().await.client(&both.name).await?;
    exec(&mut holder, "BEGIN TRANSACTION; ALTER TABLE dbo.t ADD extra int NULL").await?;
    Ok((both, holder))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_of_sql_server_is_waited_for_and_the_rows_are_read_again() -> Result<()> {
    let (both, mut holder) = locked().await?;
    let path = both.config.write(both.folder.path())?;
    let mut process = Proc::start("causeway-reconcile", &["run"], &path)?;
    wait::until("a lock that is waited for", Duration::from_secs(60), || async {
        Ok(process.tail(50).contains("somebody holds a lock").then_some(()))
    })
    .await?;
    exec(&mut holder, "ROLLBACK").await?;
    let code = wait::until("the end of the run", Duration::from_secs(60), || {
        let ended = process.ended();
        async { ended }
    })
    .await?;
    let text = process.tail(50);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("1222"), "{text}");
    assert!(text.contains("equal: 1 tables, 2 rows, 0 differences"), "{text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_of_sql_server_that_is_not_given_up_is_neither_equal_nor_missing() -> Result<()> {
    let (both, mut holder) = locked().await?;
    let ran = both.run(&[]).await?;
    assert_eq!(ran.code, 2, "{}", ran.text);
    let table = ran.table("dbo.t");
    assert_eq!((&table["status"], &table["missing_in_target"]), (&"error".into(), &0.into()));
    assert!(table["reason"].as_str().is_some_and(|r| r.contains("1222")), "{table:#}");
    exec(&mut holder, "ROLLBACK").await?;
    assert_eq!(both.run(&[]).await?.code, 0);
    Ok(())
}
