//! What other comparisons get wrong by their road and not by a value: faults in the middle, rows that move, tables of
//! one side only, many differences.

use std::time::Duration;

use anyhow::{Context as _, Result};
use causeway_tests::{faults::Proxy, process::Proc, shared, sqlserver::rows};

use crate::both::Both;

const LIMIT: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn datetime_is_the_same_at_every_compatibility_level() -> Result<()> {
    for level in [120, 160] {
        let both = Both::new().await?;
        both.source(&format!("ALTER DATABASE [{}] SET COMPATIBILITY_LEVEL = {level}", both.name))
            .await?;
        let fractions = ["003", "007", "997", "333", "337"];
        let values = |quote: &dyn Fn(usize, &str) -> String| {
            fractions.iter().enumerate().map(|(n, f)| quote(n, f)).collect::<Vec<_>>().join(", ")
        };
        both.table(
            "t",
            (
                "id int NOT NULL PRIMARY KEY, v datetime NULL",
                "id integer PRIMARY KEY, v timestamp(3)",
            ),
            (
                &values(&|n, f| format!("({n}, '2020-01-01T10:00:01.{f}')")),
                &values(&|n, f| format!("({n}, '2020-01-01 10:00:01.{f}')")),
            ),
        )
        .await?;
        // The server takes .333 and .337 as they are: each is a multiple of a third of a hundredth.
        let ran = both.run(&[]).await?;
        assert_eq!(ran.code, 0, "level {level}: {}", ran.text);
        both.target("UPDATE t SET v = v + interval '1 millisecond' WHERE id < 3").await?;
        let ran = both.run(&[]).await?;
        assert_eq!(ran.table("dbo.t")["different"], 3, "level {level}: {}", ran.text);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rowversion_is_compared_as_its_bytes_and_left_out_when_asked() -> Result<()> {
    let mut both = Both::new().await?;
    both.source("CREATE TABLE dbo.t (id int NOT NULL PRIMARY KEY, r rowversion)").await?;
    both.source("INSERT INTO dbo.t (id) VALUES (1), (2)").await?;
    both.target("CREATE TABLE public.t (id integer PRIMARY KEY, r bytea)").await?;
    let sqlserver = shared::sqlserver().await;
    sqlserver.capture(&both.name, "dbo", "t").await?;
    let mut client = sqlserver.client(&both.name).await?;
    for row in rows(&mut client, "SELECT id, CAST(r AS binary(8)) FROM dbo.t").await? {
        let (id, bytes): (i32, &[u8]) =
            (row.get(0).context("id")?, row.get(1).context("rowversion")?);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        both.target(&format!("INSERT INTO t VALUES ({id}, '\\x{hex}')")).await?;
    }
    let ran = both.run(&[]).await?;
    assert_eq!(ran.code, 0, "{}", ran.text);
    both.target("UPDATE t SET r = '\\x00' WHERE id = 1").await?;
    let ran = both.run(&[]).await?;
    assert_eq!(ran.table("dbo.t")["columns"]["r"]["different"], 1, "{}", ran.text);
    both.config = both.config.set("source.exclude_columns", vec!["dbo.t.r"]);
    let ran = both.run(&[]).await?;
    let table = ran.table("dbo.t");
    assert_eq!((ran.code, &table["status"]), (0, &"equal".into()), "{table:#}");
    assert!(table["columns"]["r"].is_null(), "{table:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_fails_in_the_middle_is_an_error_and_never_missing_rows() -> Result<()> {
    let mut both = Both::new().await?;
    both.table(
        "t",
        ("id int NOT NULL PRIMARY KEY, v nvarchar(200)", "id integer PRIMARY KEY, v varchar(200)"),
        ("", ""),
    )
    .await?;
    both.source(
        "INSERT INTO dbo.t SELECT value, REPLICATE(N'x', 200) FROM GENERATE_SERIES(1, 50000)",
    )
    .await?;
    both.target("INSERT INTO t SELECT n, repeat('x', 200) FROM generate_series(1, 50000) n")
        .await?;
    let sqlserver = shared::sqlserver().await;
    let proxy = Proxy::start(&format!("{}:{}", sqlserver.host(), sqlserver.port())).await?;
    both.config = both
        .config
        .set("sqlserver.port", i64::from(proxy.address().port()))
        // Slow enough that it can be cut while rows are on their way.
        .set("reconcile.rows_per_second", 30_000);
    let path = both.config.write(both.folder.path())?;
    let json = both.folder.path().join("report.json");
    let file = json.to_str().context("a path in UTF-8")?;
    let mut process = Proc::start("causeway-reconcile", &["run", "--json", file], &path)?;
    let end = std::time::Instant::now() + LIMIT;
    loop {
        process.must_run()?;
        // It has no page yet, or no row.
        let rows = match process.metrics().await {
            Ok(page) => page.sum("causeway_reconcile_rows_compared_total").unwrap_or(0.0),
            Err(_) => 0.0,
        };
        if rows > 4000.0 {
            break;
        }
        anyhow::ensure!(std::time::Instant::now() < end, "no row was read in {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    proxy.cut();
    let code = process.wait(LIMIT).await?;
    assert_eq!(code, 2, "{}", process.tail(20));
    let report: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&json)?)?;
    let table = &report["tables"][0];
    assert_eq!(table["status"], "error", "{table:#}");
    for count in ["missing_in_target", "extra_in_target", "different"] {
        assert_eq!(table[count], 0, "{table:#}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_ten_and_a_hundred_percent_of_differences_are_all_counted() -> Result<()> {
    let mut both = Both::new().await?;
    both.table(
        "t",
        ("id int NOT NULL PRIMARY KEY, v int", "id integer PRIMARY KEY, v integer"),
        ("", ""),
    )
    .await?;
    both.source("INSERT INTO dbo.t SELECT value, value FROM GENERATE_SERIES(1, 20000)").await?;
    both.target("INSERT INTO t SELECT n, n FROM generate_series(1, 20000) n").await?;
    // Little memory, so that rows go through files; and fewer keys looked at again than differ in the end.
    both.config = both
        .config
        .set("reconcile.memory_bytes", 100_000)
        .set("reconcile.recheck_keys", 5000)
        .set("reconcile.keep_differences", 100);
    for (every, different, truncated) in [(100, 200, false), (10, 2000, false), (1, 20_000, true)] {
        both.target(&format!("UPDATE t SET v = -id WHERE id % {every} = 0")).await?;
        let ran = both.run(&[]).await?;
        let table = ran.table("dbo.t");
        assert_eq!((ran.code, &table["different"]), (1, &different.into()), "{}", ran.text);
        assert_eq!(table["truncated"], truncated, "{table:#}");
        assert_eq!(table["missing_in_target"], 0, "{table:#}");
    }
    Ok(())
}

#[test]
fn the_list_of_tests_names_tests_that_are_there() {
    let list = include_str!("list.md");
    let code = [
        include_str!("main.rs"),
        include_str!("commands.rs"),
        include_str!("fence.rs"),
        include_str!("hard.rs"),
        include_str!("ledger.rs"),
        include_str!("load.rs"),
        include_str!("throttle.rs"),
        include_str!("values.rs"),
    ]
    .concat();
    let mut named = 0;
    for line in list.lines().filter(|line| line.starts_with("| ") && line.contains('`')) {
        for name in line.split('`').skip(1).step_by(2) {
            let name = name.rsplit("::").next().unwrap_or(name);
            assert!(code.contains(&format!("async fn {name}(")), "{name} is not a test: {line}");
            named += 1;
        }
    }
    assert!(named >= 27, "{named}");
}
