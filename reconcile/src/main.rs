//! `causeway-reconcile`: proves that PostgreSQL holds what SQL Server holds, or says what differs.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::Context as _;
use causeway_observability::admin::{self, Health};
use causeway_reconcile::{
    Config,
    config::Scope,
    report::Report,
    run::{self, Pools},
    schedule,
};
use causeway_service::{
    exit::{self, Code, UsageContext as _},
    settings::{File, Pipeline},
    shutdown,
};
use chrono::{SecondsFormat, Utc};
use clap::{Parser, Subcommand};
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// Compares SQL Server with PostgreSQL, row by row, while replication runs.
#[derive(Parser)]
#[command(version, about)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Args)]
struct Common {
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "CAUSEWAY_CONFIG", default_value = "causeway.toml")]
    config: PathBuf,
    /// Only these tables (patterns over `schema.table`), instead of the configured ones.
    #[arg(long, value_name = "PATTERN")]
    tables: Vec<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Compares every table once and prints a line for each.
    ///
    /// Exit codes: 0 equal; 1 different; 2 something could not be compared, or the configuration is
    /// wrong; 3 both 1 and 2; 4 wrong use.
    Run {
        #[command(flatten)]
        common: Common,
        /// Where to write the report as JSON.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Compares every table at the times of `[reconcile].schedule` until it is stopped.
    Schedule {
        #[command(flatten)]
        common: Common,
    },
}

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help and version are no errors; a wrong word is 4 here, because 2 means "not compared".
            _ = error.print();
            return if error.use_stderr() { ExitCode::from(4) } else { ExitCode::SUCCESS };
        }
    };
    exit::block_on(async {
        match args.command {
            Command::Run { common, json } => {
                let stop = shutdown::token().usage("listen for signals")?;
                let reconciler = Reconciler::open(common, stop.clone()).await?;
                let report = reconciler.pass(json.as_ref()).await?;
                if stop.is_cancelled() {
                    return Ok(Code::Other(130));
                }
                Ok(if report.exit_code == 0 { Code::Done } else { Code::Other(report.exit_code) })
            }
            Command::Schedule { common } => {
                let stop = shutdown::token().usage("listen for signals")?;
                let reconciler = Reconciler::open(common, stop.clone()).await?;
                let cron = reconciler.config.schedule.clone().ok_or_else(|| {
                    exit::usage(
                        "[reconcile] schedule is missing; \"0 0 2 * * *\" runs each night at two",
                    )
                })?;
                let reconciler = &reconciler;
                schedule::every(&cron, &stop, || async {
                    // The next time tries again: a database that is away tonight is back tomorrow.
                    if let Err(error) = reconciler.pass(None).await {
                        tracing::error!(error = %exit::line(&error), "the run failed");
                    }
                })
                .await
                .usage("keep the schedule")?;
                Ok(Code::Done)
            }
        }
    })
}

/// All that a pass needs.
struct Reconciler {
    pipeline: String,
    config: Arc<Config>,
    scope: Scope,
    pools: Arc<Pools>,
    health: Health,
    stop: CancellationToken,
    _tasks: tokio::task::JoinSet<std::io::Result<()>>,
    _guard: causeway_observability::Guard,
}

impl Reconciler {
    async fn open(common: Common, stop: CancellationToken) -> anyhow::Result<Self> {
        let path = common.config;
        let mut file = File::load(&path)?;
        let vault = causeway_vault::resolver(file.optional("vault")?.as_ref())
            .await
            .usage("open the vault")?;
        let vault = &vault;
        file.resolve(|name| async move { vault.lookup(&name).await }).await?;
        let refuse = |error: String| exit::usage(format!("{}: {error}", path.display()));
        let pipeline: Pipeline = file.section("pipeline")?;
        let mut config: Config = file.section_or_default("reconcile")?;
        if !common.tables.is_empty() {
            config.tables = common.tables;
        }
        config.validate().map_err(refuse)?;
        let target: causeway_postgres::Config = file.section("postgres")?;
        target.validate().map_err(refuse)?;
        let watched: causeway_observability::Config = file.section_or_default("observability")?;
        let scope: Scope = file.section_or_default("source")?;
        let pools = Pools::new(file.section("sqlserver")?, target, config.parallel)
            .usage("plan the comparison")?;
        let guard = causeway_observability::init("causeway-reconcile", &pipeline.name, &watched)
            .usage("start logs, metrics and traces")?;
        let health = Health::new();
        let (_, server) = admin::serve(watched.reconcile_listen, health.clone(), stop.clone())
            .await
            .usage("serve /metrics")?;
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(server);
        Ok(Self {
            pipeline: pipeline.name,
            config: Arc::new(config),
            scope,
            pools: Arc::new(pools),
            health,
            stop,
            _tasks: tasks,
            _guard: guard,
        })
    }

    /// Compares every table once.
    async fn pass(&self, json: Option<&PathBuf>) -> anyhow::Result<Report> {
        let run_id = uuid::Uuid::new_v4().to_string();
        let started_at = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
        let plan =
            run::plan(&self.pools, &self.scope, &self.config).await.usage("plan the comparison")?;
        // Before the first table is read: a target that cannot be reached is one line, not one a table.
        drop(self.pools.target().await.usage("plan the comparison")?);
        self.health.set_ready(true);
        self.health
            .set_status(json!({"run": {"id": run_id, "started_at": started_at, "result": null}}));
        let reports =
            run::run(self.pools.clone(), plan, self.config.clone(), self.stop.clone()).await;
        let finished_at = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
        let report = Report::new(run_id, self.pipeline.clone(), started_at, finished_at, reports);
        self.health.set_status(json!({"run": {"result": report.result, "totals": report.totals}}));
        publish(&report, json, &self.config)?;
        Ok(report)
    }
}

/// The table on the terminal, the JSON where it is wanted, the counters.
#[expect(clippy::print_stdout, reason = "the summary is what this program is for")]
fn publish(report: &Report, json: Option<&PathBuf>, config: &Config) -> anyhow::Result<()> {
    use causeway_observability::names::reconcile as names;
    names::RUNS.add(1, &[("result", report.result)]);
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit")]
    names::LAST_RUN_SECONDS.set(Utc::now().timestamp() as f64, &[]);
    let text = serde_json::to_string_pretty(report).context("write the report as JSON")?;
    let beside =
        config.reports.as_ref().map(|folder| folder.join(format!("{}.json", report.run_id)));
    for path in json.into_iter().chain(&beside) {
        std::fs::write(path, &text)
            .with_context(|| format!("write the report to {}", path.display()))?;
    }
    print!("{}", report.summary());
    Ok(())
}
