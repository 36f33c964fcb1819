//! A database on either side, with whatever tables a test wants on both, and the reconciler beside them.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use causeway_tests::{config::Config, names, process, shared};
use serde_json::Value as Json;

/// A database on either side, without a pipeline between them.
pub(crate) struct Both {
    pub(crate) name: String,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) config: Config,
}

/// What a run of the reconciler left.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) text: String,
    pub(crate) report: Json,
}

impl Ran {
    /// The report of one table.
    pub(crate) fn table(&self, name: &str) -> &Json {
        self.report["tables"]
            .as_array()
            .and_then(|tables| tables.iter().find(|table| table["source"] == name))
            .unwrap_or_else(|| panic!("{name} is not in the report: {}", self.text))
    }
}

impl Both {
    pub(crate) async fn new() -> Result<Self> {
        let (sqlserver, postgres) = (shared::sqlserver().await, shared::postgres().await);
        let name = names::unique("both");
        sqlserver.create_captured_database(&name).await?;
        postgres.create_database(&name).await?;
        let config = Config::new(&name)
            .sqlserver(sqlserver, &name)
            .postgres(postgres, &name)
            .set("reconcile.settle_seconds", 1)
            .set("reconcile.settle_limit_seconds", 4);
        Ok(Self { name, folder: tempfile::tempdir()?, config })
    }

    /// The same table on both sides: the columns in T-SQL and in PostgreSQL, the rows likewise.
    pub(crate) async fn table(
        &self,
        name: &str,
        columns: (&str, &str),
        rows: (&str, &str),
    ) -> Result<()> {
        self.source(&format!("CREATE TABLE dbo.{name} ({})", columns.0)).await?;
        self.target(&format!("CREATE TABLE public.{name} ({})", columns.1)).await?;
        if !rows.0.is_empty() {
            self.source(&format!("INSERT INTO dbo.{name} VALUES {}", rows.0)).await?;
        }
        if !rows.1.is_empty() {
            self.target(&format!("INSERT INTO public.{name} VALUES {}", rows.1)).await?;
        }
        shared::sqlserver().await.capture(&self.name, "dbo", name).await
    }

    pub(crate) async fn source(&self, sql: &str) -> Result<()> {
        shared::sqlserver().await.exec(&self.name, sql).await
    }

    pub(crate) async fn target(&self, sql: &str) -> Result<()> {
        shared::postgres().await.client(&self.name).await?.batch_execute(sql).await?;
        Ok(())
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> Result<Ran> {
        let path = self.config.write(self.folder.path())?;
        run(&path, self.folder.path().join("report.json"), arguments).await
    }
}

/// `causeway-reconcile run --json ...` with further arguments.
pub(crate) async fn run(
    config: &std::path::Path,
    json: PathBuf,
    arguments: &[&str],
) -> Result<Ran> {
    let mut args = vec!["run", "--json", json.to_str().context("a path in UTF-8")?];
    args.extend_from_slice(arguments);
    let ended = process::run("causeway-reconcile", &args, config, Duration::from_secs(180)).await?;
    let report = std::fs::read_to_string(&json).unwrap_or_else(|_| "null".to_owned());
    Ok(Ran {
        code: ended.code,
        text: format!("{}{}", ended.stdout, ended.stderr),
        report: serde_json::from_str(&report)?,
    })
}
