//! All that a run needs, and the run itself: plan, compare, report.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use causeway_observability::{
    admin::{self, Health},
    names::reconcile as names,
};
use causeway_reconcile::{
    Config,
    config::{self, Level, Scope},
    fence::{Guard, Stream},
    history,
    ledger::Ledger,
    report::{Report, Status, TableReport, html, lines},
    run::{self, Context, Plan, Pools},
    throttle::Throttle,
};
use causeway_service::{
    exit::{self, UsageContext as _},
    settings::{File, Pipeline},
};
use chrono::{SecondsFormat, Utc};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Common;

/// Where a report goes besides the terminal.
#[derive(clap::Args, Default)]
pub(crate) struct Outputs {
    /// Where to write the report as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where to write the rows that differ, a JSON object a line.
    #[arg(long, value_name = "FILE")]
    ndjson: Option<PathBuf>,
    /// Where to write the rows that differ as CSV.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Where to write the report as one HTML file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// All that a run needs.
pub(crate) struct App {
    pub(crate) pipeline: String,
    pub(crate) config: Arc<Config>,
    pub(crate) kafka: Option<causeway_kafka::Config>,
    scope: Scope,
    pub(crate) pools: Arc<Pools>,
    health: Health,
    pub(crate) stop: CancellationToken,
    _tasks: tokio::task::JoinSet<std::io::Result<()>>,
    _guard: causeway_observability::Guard,
}

impl App {
    /// Reads the configuration and opens the admin pages; connects to nothing yet.
    pub(crate) async fn open(common: Common, stop: CancellationToken) -> anyhow::Result<Self> {
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
        config.level = common.level.unwrap_or(config.level);
        config.show_values |= common.show_values;
        config.incremental |= common.incremental;
        config.validate().map_err(refuse)?;
        let kafka: Option<causeway_kafka::Config> = file.optional("kafka")?;
        if config.fence == config::Fence::Required && kafka.is_none() {
            return Err(refuse(
                "[reconcile] fence is \"required\", which needs the section [kafka]".to_owned(),
            ));
        }
        let target: causeway_postgres::Config = file.section("postgres")?;
        target.validate().map_err(refuse)?;
        let watched: causeway_observability::Config = file.section_or_default("observability")?;
        let scope: Scope = file.section_or_default("source")?;
        let pools =
            Pools::new(file.section("sqlserver")?, target, &config).usage("plan the comparison")?;
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
            kafka,
            scope,
            pools: Arc::new(pools),
            health,
            stop,
            _tasks: tasks,
            _guard: guard,
        })
    }

    /// What a run would compare.
    pub(crate) async fn plan(&self, config: &Config) -> anyhow::Result<Plan> {
        let plan =
            run::plan(&self.pools, &self.scope, config).await.usage("plan the comparison")?;
        // Before the first table is read: a target that cannot be reached is one line, not one a table.
        drop(self.pools.target().await.usage("plan the comparison")?);
        Ok(plan)
    }

    /// What the tables of a run share.
    pub(crate) fn context(
        &self,
        config: Arc<Config>,
        plan: &Plan,
        ledger: Option<Ledger>,
        stop: CancellationToken,
    ) -> Context {
        let guard = match (&self.kafka, config.fence) {
            (None, _) | (_, config::Fence::Off) => None,
            (Some(kafka), config::Fence::Auto | config::Fence::Required) => {
                let stream =
                    Stream::new(kafka.clone(), self.pipeline.clone(), plan.database.clone());
                Some(Guard::new(Arc::new(stream), plan.snapshots, &config))
            }
        };
        Context {
            pools: self.pools.clone(),
            throttle: Arc::new(Throttle::new(config.rows_per_second)),
            config,
            guard,
            ledger,
            stop,
        }
    }

    /// The ledger of a run that compares row by row; none without a history.
    async fn ledger(
        &self,
        run_id: &str,
        config: &Config,
        resume: bool,
    ) -> anyhow::Result<Option<Ledger>> {
        if !config.history || config.level != Level::Full {
            return Ok(None);
        }
        let client = self.pools.target().await?;
        match Ledger::open(&client, &self.pipeline, run_id, config, resume).await {
            Ok(ledger) => Ok(Some(ledger)),
            Err(error) if config.incremental || resume => Err(error.into()),
            // The comparison does not need it.
            Err(error) => {
                tracing::warn!(error = %exit::chain_line(&error), "the run cannot be gone on with when it is cut off");
                Ok(None)
            }
        }
    }

    /// Compares every table of the configuration given once.
    pub(crate) async fn pass(
        &self,
        config: Arc<Config>,
        outputs: &Outputs,
        resume: bool,
    ) -> anyhow::Result<Report> {
        let run_id = uuid::Uuid::new_v4().to_string();
        let started_at = now();
        let plan = self.plan(&config).await?;
        self.health.set_ready(true);
        self.health
            .set_status(json!({"run": {"id": run_id, "started_at": started_at, "result": null}}));
        let stop = self.stop.child_token();
        let ledger = self.ledger(&run_id, &config, resume).await?;
        let continues = ledger.as_ref().and_then(|l| l.continues(&run_id)).map(str::to_owned);
        if let Some(before) = &continues {
            tracing::info!(run = before, "goes on with a run that was cut off");
        }
        let context = Arc::new(self.context(config.clone(), &plan, ledger.clone(), stop.clone()));
        let mut running = std::pin::pin!(run::run(context, plan));
        let reports = match config.max_duration_seconds {
            None => running.await,
            Some(seconds) => tokio::select! {
                reports = &mut running => reports,
                () = tokio::time::sleep(Duration::from_secs(seconds)) => {
                    tracing::warn!(seconds, "the run takes longer than it may; what is not compared yet is left out");
                    stop.cancel();
                    running.await
                }
            },
        };
        let cut_off = stop.is_cancelled();
        let mut report = Report::new(run_id, self.pipeline.clone(), started_at, now(), reports);
        report.level = config.level;
        report.continues = continues;
        self.health.set_status(json!({"run": {"result": report.result, "totals": report.totals}}));
        verified(&report);
        publish(&report, outputs, &config)?;
        if config.history
            && let Err(error) = self.keep(&report).await
        {
            // The result stands without it.
            tracing::warn!(error = %exit::line(&error), "the run is not in the history");
        }
        if let Some(ledger) = ledger.filter(|_| !cut_off) {
            ledger.close(&*self.pools.target().await?).await?;
        }
        if let Some(webhook) = &config.webhook {
            webhook.tell(&report).await;
        }
        Ok(report)
    }

    async fn keep(&self, report: &Report) -> anyhow::Result<()> {
        let mut client = self.pools.target().await?;
        history::setup(&client).await?;
        Ok(history::record(&mut client, report, "run", &[]).await?)
    }
}

/// Sets the time of verification of the tables that were found equal row by row.
fn verified(report: &Report) {
    let every_row = matches!(report.level, Level::Full | Level::Checksum);
    let whole = |table: &&TableReport| {
        table.status == Status::Equal && table.chunks_unchanged == 0 && table.compared_by.is_none()
    };
    for table in report.tables.iter().filter(|_| every_row).filter(whole) {
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit")]
        names::VERIFIED_SECONDS.set(Utc::now().timestamp() as f64, &[("table", &table.source)]);
    }
}

/// RFC 3339, UTC.
pub(crate) fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// The table on the terminal, the files where they are wanted, the counters.
#[expect(clippy::print_stdout, reason = "the summary is what this program is for")]
pub(crate) fn publish(report: &Report, outputs: &Outputs, config: &Config) -> anyhow::Result<()> {
    names::RUNS.add(1, &[("result", report.result)]);
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit")]
    names::LAST_RUN_SECONDS.set(Utc::now().timestamp() as f64, &[]);
    let json = || serde_json::to_string_pretty(report).context("write the report as JSON");
    let beside = |extension: &str| {
        config.reports.as_ref().map(|folder| folder.join(format!("{}.{extension}", report.run_id)))
    };
    write([&outputs.json, &beside("json")], json)?;
    write([&outputs.ndjson, &beside("ndjson")], || Ok(lines::ndjson(report)))?;
    write([&outputs.csv, &beside("csv")], || Ok(lines::csv(report)))?;
    write([&outputs.html, &beside("html")], || Ok(html::document(report)))?;
    print!("{}", report.summary());
    Ok(())
}

fn write(
    paths: [&Option<PathBuf>; 2],
    text: impl Fn() -> anyhow::Result<String>,
) -> anyhow::Result<()> {
    for path in paths.into_iter().flatten() {
        std::fs::write(path, text()?)
            .with_context(|| format!("write the report to {}", path.display()))?;
    }
    Ok(())
}
