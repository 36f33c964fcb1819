//! A whole pipeline as a user runs it: two databases, one causeway.toml, the binaries as processes.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::{
    compare,
    config::Config,
    kafka::Kafka,
    names,
    postgres::Postgres,
    process::{self, Ended, Proc},
    registry::Registry,
    sqlserver::{self, SqlServer},
    wait,
};

/// A pipeline with databases, topics and subjects of its own.
///
/// The name is the source database's, the target database's and the topics' prefix.
#[derive(Debug)]
pub struct Pipeline {
    /// The name.
    pub name: String,
    /// What causeway.toml says; [`Pipeline::write`] puts a change into effect for the next start.
    pub config: Config,
    folder: TempDir,
    path: PathBuf,
}

impl Pipeline {
    /// Makes the two databases (the source with CDC on and no table yet) and the configuration.
    ///
    /// # Errors
    /// A server does not do it.
    pub async fn new(
        what: &str,
        sqlserver: &SqlServer,
        kafka: &Kafka,
        registry: &Registry,
        postgres: &Postgres,
    ) -> Result<Self> {
        let name = names::unique(what);
        sqlserver.create_captured_database(&name).await?;
        postgres.create_database(&name).await?;
        let config = Config::new(&name)
            .sqlserver(sqlserver, &name)
            .kafka(kafka)
            .registry(registry)
            .postgres(postgres, &name)
            .set("kafka.partitions", 3);
        let folder = tempfile::Builder::new()
            .prefix("causeway-pipeline-")
            .tempdir()
            .context("make a folder for causeway.toml")?;
        let path = config.write(folder.path())?;
        Ok(Self { name, config, folder, path })
    }

    /// Writes causeway.toml again, after a change of [`Self::config`].
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write(&mut self) -> Result<()> {
        self.path = self.config.write(self.folder.path())?;
        Ok(())
    }

    /// Where causeway.toml is.
    #[must_use]
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Starts `causeway-source run`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn source(&self) -> Result<Proc> {
        Proc::start("causeway-source", &["run"], &self.path)
    }

    /// Starts `causeway-sink run`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn sink(&self) -> Result<Proc> {
        Proc::start("causeway-sink", &["run"], &self.path)
    }

    /// Runs `causeway-reconcile run` to its end; gives its report too.
    ///
    /// # Errors
    /// It cannot be started, or takes longer than `limit`.
    pub async fn reconcile(&self, limit: Duration) -> Result<(Ended, serde_json::Value)> {
        let report = self.folder.path().join("report.json");
        let file = report.display().to_string();
        let ended =
            process::run("causeway-reconcile", &["run", "--json", &file], &self.path, limit)
                .await?;
        let text = std::fs::read_to_string(&report).unwrap_or_else(|_| "null".to_owned());
        let report = serde_json::from_str(&text).context("read the reconciler's report")?;
        Ok((ended, report))
    }

    /// Compares the tables of schema `dbo` with their copies once; gives the rows in all.
    ///
    /// # Errors
    /// They differ, or cannot be read.
    pub async fn compare(
        &self,
        sqlserver: &SqlServer,
        postgres: &Postgres,
        tables: &[&str],
    ) -> Result<usize> {
        let mut source = sqlserver.client(&self.name).await?;
        let target = postgres.client(&self.name).await?;
        let mut rows = 0;
        for table in tables {
            rows += compare::table(&mut source, &target, "dbo", "public", table).await?;
        }
        Ok(rows)
    }

    /// Waits until the tables of schema `dbo` equal their copies; the load must have stopped.
    ///
    /// # Errors
    /// They still differ after `limit` (the message says where), or one of the processes has ended.
    pub async fn equal(
        &self,
        sqlserver: &SqlServer,
        postgres: &Postgres,
        tables: &[&str],
        processes: &mut [&mut Proc],
        limit: Duration,
    ) -> Result<usize> {
        let end = std::time::Instant::now() + limit;
        // First the counts, which cost little: most of the waiting happens here.
        loop {
            for process in processes.iter_mut() {
                process.must_run()?;
            }
            let last = match self.counts_equal(sqlserver, postgres, tables).await {
                Ok(true) => match self.compare(sqlserver, postgres, tables).await {
                    Ok(rows) => return Ok(rows),
                    Err(error) => error,
                },
                Ok(false) => anyhow::anyhow!("the numbers of rows differ"),
                Err(error) => error,
            };
            if std::time::Instant::now() > end {
                let logs: Vec<String> =
                    processes.iter().map(|p| format!("{}:\n{}", p.name(), p.tail(10))).collect();
                bail!("not equal after {limit:?}: {last:#}\n{}", logs.join("\n"));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn counts_equal(
        &self,
        sqlserver: &SqlServer,
        postgres: &Postgres,
        tables: &[&str],
    ) -> Result<bool> {
        let mut source = sqlserver.client(&self.name).await?;
        let target = postgres.client(&self.name).await?;
        for table in tables {
            let sql = format!("SELECT COUNT_BIG(*) FROM dbo.[{table}]");
            let rows = sqlserver::rows(&mut source, &sql).await?;
            let left: i64 = rows.first().and_then(|row| row.get(0)).context("count")?;
            let sql = format!("SELECT count(*) FROM public.\"{table}\"");
            let right: i64 = target.query_one(&sql, &[]).await.context("count")?.get(0);
            if left != right {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Waits until PostgreSQL answers a query with the number wanted.
    ///
    /// # Errors
    /// It does not within `limit`.
    pub async fn target_reaches(
        &self,
        postgres: &Postgres,
        sql: &str,
        at_least: i64,
        limit: Duration,
    ) -> Result<i64> {
        let what = format!("{sql} to reach {at_least}");
        Box::pin(wait::until(&what, limit, || async {
            let client = postgres.client(&self.name).await?;
            let found: i64 = client.query_one(sql, &[]).await?.get(0);
            if found < at_least {
                bail!("it is {found}");
            }
            Ok(Some(found))
        }))
        .await
    }
}
