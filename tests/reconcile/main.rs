//! causeway-reconcile against two real tables: it must find what was planted, must not find what is not
//! there, and must never call equal what it could not read.
#![allow(clippy::indexing_slicing, reason = "a test: what is missing is a failure")]

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use causeway_tests::{config::Config, names, process, shared, sqlserver};
use serde_json::Value as Json;

mod both;
mod commands;
mod fence;
mod hard;
mod hashing;
mod ledger;
mod load;
mod throttle;
mod values;

/// A database on either side with the same table, filled alike.
struct Pair {
    name: String,
    folder: tempfile::TempDir,
    config: PathBuf,
}

const COLUMNS: &str = "id, name, price, weight, at, code, note, flag, data";

impl Pair {
    async fn new(rows: usize) -> Result<Self> {
        let (sqlserver, postgres) = (shared::sqlserver().await, shared::postgres().await);
        let name = names::unique("pair");
        sqlserver.create_captured_database(&name).await?;
        postgres.create_database(&name).await?;
        sqlserver
            .exec(
                &name,
                "CREATE TABLE dbo.goods (id int NOT NULL PRIMARY KEY, name nvarchar(50) NOT NULL, price decimal(18,4) NULL, \
                 weight float NULL, at datetime2(7) NULL, code uniqueidentifier NULL, note nchar(6) NULL, flag bit NULL, \
                 data varbinary(20) NULL)",
            )
            .await?;
        let target = postgres.client(&name).await?;
        target
            .batch_execute(
                "CREATE TABLE public.goods (id integer PRIMARY KEY, name varchar(50) NOT NULL, price numeric(18,4), \
                 weight double precision, at timestamp(6), code uuid, note char(6), flag boolean, data bytea)",
            )
            .await?;
        let mut client = sqlserver.client(&name).await?;
        for first in (0..rows).step_by(500) {
            let ids: Vec<usize> = (first..(first + 500).min(rows)).collect();
            let source: Vec<String> = ids.iter().map(|id| source_row(*id)).collect();
            let sql = format!("INSERT INTO dbo.goods ({COLUMNS}) VALUES {}", source.join(", "));
            sqlserver::exec(&mut client, &sql).await?;
            let copy: Vec<String> = ids.iter().map(|id| target_row(*id)).collect();
            target
                .batch_execute(&format!(
                    "INSERT INTO public.goods ({COLUMNS}) VALUES {}",
                    copy.join(", ")
                ))
                .await?;
        }
        sqlserver.capture(&name, "dbo", "goods").await?;
        let folder = tempfile::tempdir()?;
        let config = Config::new(&name)
            .sqlserver(sqlserver, &name)
            .postgres(postgres, &name)
            .set("reconcile.settle_seconds", 1)
            .set("reconcile.settle_limit_seconds", 4)
            .write(folder.path())?;
        Ok(Self { name, folder, config })
    }

    async fn target(&self, sql: &str) -> Result<()> {
        shared::postgres().await.client(&self.name).await?.batch_execute(sql).await?;
        Ok(())
    }

    async fn source(&self, sql: &str) -> Result<()> {
        shared::sqlserver().await.exec(&self.name, sql).await
    }

    /// Runs it, and gives the exit code, what it printed and its report.
    async fn run(&self) -> Result<(i32, String, Json)> {
        let json = self.folder.path().join("report.json");
        let args = ["run", "--json", json.to_str().context("a path in UTF-8")?];
        let ended =
            process::run("causeway-reconcile", &args, &self.config, Duration::from_secs(120))
                .await?;
        let report = std::fs::read_to_string(&json).unwrap_or_else(|_| "null".to_owned());
        Ok((
            ended.code,
            format!("{}{}", ended.stdout, ended.stderr),
            serde_json::from_str(&report)?,
        ))
    }
}

fn source_row(id: usize) -> String {
    format!(
        "({id}, N'n\u{e4}me {id} ', {id}.1234, {id}.5E0, '2024-02-29 23:59:59.1234567', \
         '6F9619FF-8B86-D011-B42D-{id:012X}', N'ab', {}, {})",
        id % 2,
        if id.is_multiple_of(7) { "NULL".to_owned() } else { format!("0x{id:08X}") }
    )
}

fn target_row(id: usize) -> String {
    format!(
        "({id}, 'n\u{e4}me {id} ', {id}.1234, {id}.5, '2024-02-29 23:59:59.123456', \
         '6f9619ff-8b86-d011-b42d-{id:012x}', 'ab', {}, {})",
        id % 2 == 1,
        if id.is_multiple_of(7) { "NULL".to_owned() } else { format!("'\\x{id:08x}'::bytea") }
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_tables_are_equal_and_planted_differences_are_found_by_kind() -> Result<()> {
    let pair = Pair::new(3000).await?;
    let (code, text, report) = pair.run().await?;
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("equal: 1 tables, 3000 rows, 0 differences"), "{text}");
    assert_eq!(
        report["tables"][0]["checksum"]["source"],
        report["tables"][0]["checksum"]["target"]
    );

    pair.target(
        "DELETE FROM public.goods WHERE id IN (10, 11);
         UPDATE public.goods SET id = -1 WHERE id = 12;
         UPDATE public.goods SET name = trim(name) WHERE id = 20;
         UPDATE public.goods SET price = price + 0.0001 WHERE id = 21;
         UPDATE public.goods SET at = at + interval '1 microsecond' WHERE id = 22;
         UPDATE public.goods SET data = '' WHERE id = 28;
         UPDATE public.goods SET weight = -weight WHERE id = 24;
         UPDATE public.goods SET code = gen_random_uuid() WHERE id = 25;
         UPDATE public.goods SET flag = NULL WHERE id = 26",
    )
    .await?;
    let (code, text, report) = pair.run().await?;
    assert_eq!(code, 1, "{text}");
    let table = &report["tables"][0];
    assert_eq!(
        (
            &table["missing_in_target"],
            &table["extra_in_target"],
            &table["different"],
            &table["status"]
        ),
        (&3.into(), &1.into(), &7.into(), &"different".into()),
        "{text}"
    );
    assert_eq!((&report["result"], &report["exit_code"]), (&"different".into(), &1.into()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_in_flight_are_no_differences() -> Result<()> {
    let pair = Pair::new(500).await?;
    pair.source("UPDATE dbo.goods SET price = 0 WHERE id < 5; DELETE FROM dbo.goods WHERE id = 7")
        .await?;
    pair.source(&format!("INSERT INTO dbo.goods ({COLUMNS}) VALUES {}", source_row(9000))).await?;
    // The pipeline's part, a little later than the first look.
    let late = async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        pair.target(&format!(
            "UPDATE public.goods SET price = 0 WHERE id < 5; DELETE FROM public.goods WHERE id = 7; \
             INSERT INTO public.goods ({COLUMNS}) VALUES {}",
            target_row(9000)
        ))
        .await
    };
    let slow =
        std::fs::read_to_string(&pair.config)?.replace("settle_seconds = 1", "settle_seconds = 3");
    std::fs::write(&pair.config, slow)?;
    let (ran, late) = tokio::join!(pair.run(), late);
    late?;
    let (code, text, _) = ran?;
    assert_eq!(code, 0, "{text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_neither_equal_nor_missing() -> Result<()> {
    let pair = Pair::new(10).await?;
    pair.target("ALTER TABLE public.goods DROP COLUMN note").await?;
    let (code, text, report) = pair.run().await?;
    assert_eq!(code, 2, "{text}");
    assert_eq!(report["result"], "incomplete");
    assert_eq!(report["tables"][0]["missing_in_target"], 0);
    assert!(report["tables"][0]["reason"].as_str().is_some_and(|r| r.contains("note")), "{report}");
    pair.target("DROP TABLE public.goods").await?;
    let (code, text, _) = pair.run().await?;
    assert_eq!(code, 2, "{text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_key_is_compared_as_a_bag_of_rows() -> Result<()> {
    let pair = Pair::new(5).await?;
    pair.source("CREATE TABLE dbo.bag (a int NULL, b nvarchar(10) NULL)").await?;
    pair.source("INSERT INTO dbo.bag (a, b) VALUES (1, N'x'), (1, N'x'), (2, NULL)").await?;
    shared::sqlserver().await.capture(&pair.name, "dbo", "bag").await?;
    pair.target("CREATE TABLE public.bag (a integer, b varchar(10))").await?;
    pair.target("INSERT INTO public.bag VALUES (2, NULL), (1, 'x'), (1, 'x')").await?;
    let (code, text, _) = pair.run().await?;
    assert_eq!(code, 0, "{text}");
    pair.target(
        "DELETE FROM public.bag WHERE ctid IN (SELECT ctid FROM public.bag WHERE a = 1 LIMIT 1)",
    )
    .await?;
    let (code, text, report) = pair.run().await?;
    assert_eq!(code, 1, "{text}");
    let bag = report["tables"].as_array().and_then(|t| t.iter().find(|t| t["source"] == "dbo.bag"));
    assert_eq!(bag.map(|t| &t["missing_in_target"]), Some(&1.into()), "{text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_use_and_wrong_configuration_have_their_own_codes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let config = Config::new("nowhere").set("reconcile.settle_second", 1).write(folder.path())?;
    let limit = Duration::from_secs(30);
    let ended = process::run("causeway-reconcile", &["run"], &config, limit).await?;
    assert_eq!(ended.code, 2, "{}", ended.stderr);
    assert!(ended.stderr.contains("settle_second"), "{}", ended.stderr);
    let ended = process::run("causeway-reconcile", &["walk"], &config, limit).await?;
    assert_eq!(ended.code, 4, "{}", ended.stderr);
    Ok(())
}
