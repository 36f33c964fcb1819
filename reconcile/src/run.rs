//! One pass over all tables: which, in what order, how many at a time.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use causeway_observability::names::reconcile as names;
use causeway_postgres::Config as Postgres;
use causeway_service::exit::chain_line;
use causeway_sqlserver::{Patterns, Pool, Refused, Selection};
use indicatif::MultiProgress;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    Config, ReconcileError,
    config::Scope,
    digest,
    fence::Guard,
    ledger::Ledger,
    progress::Progress,
    report::{Report, SkippedColumn, Status, TableReport},
    sides::Shape,
    table::{self, Task},
    throttle::Throttle,
};

/// Connections to both sides.
#[derive(Debug)]
pub struct Pools {
    /// To SQL Server.
    pub source: Pool,
    target: causeway_postgres::Pool,
    config: Postgres,
    lock_timeout_ms: u32,
}

impl Pools {
    /// Opens nothing yet.
    ///
    /// # Errors
    /// When TLS for PostgreSQL cannot be set up from the configuration.
    pub fn new(
        source: causeway_sqlserver::Config,
        config: Postgres,
        limits: &Config,
    ) -> Result<Self, ReconcileError> {
        let Config { parallel, chunk_workers, lock_timeout_ms, .. } = *limits;
        // For each table one that watches the sink, one that looks at keys, and one for the notes of each worker.
        let most = parallel * (2 + chunk_workers);
        let target = causeway_postgres::Pool::new(config.clone(), most)
            .map_err(ReconcileError::ConnectTarget)?;
        Ok(Self { source: Pool::new(source, parallel), target, config, lock_timeout_ms })
    }

    /// How PostgreSQL is reached, for connections that are not shared.
    #[must_use]
    pub fn target_config(&self) -> &Postgres {
        &self.config
    }

    /// A connection to PostgreSQL.
    ///
    /// # Errors
    /// When it cannot be had.
    pub async fn target(&self) -> Result<causeway_postgres::Pooled, ReconcileError> {
        let client = self.target.get().await.map_err(ReconcileError::ConnectTarget)?;
        let set = format!("SET lock_timeout = {}", self.lock_timeout_ms);
        client.batch_execute(&set).await.map_err(|error| {
            let error =
                causeway_postgres::PostgresError::statement("limit waiting for locks", error);
            ReconcileError::ConnectTarget(error)
        })?;
        Ok(client)
    }
}

/// What a run compares.
#[derive(Debug)]
pub struct Plan {
    /// Tables, the largest first.
    pub shapes: Vec<Shape>,
    /// The database's name, as the catalogue has it.
    pub database: String,
    /// Whether SQL Server has snapshot isolation.
    pub snapshots: bool,
    /// Tables that cannot be compared, already with their reason.
    refused: Vec<TableReport>,
}

impl Plan {
    /// Tables that cannot be compared.
    #[must_use]
    pub fn refused(&self) -> &[TableReport] {
        &self.refused
    }
}

/// Lists the tables: what the pipeline replicates, less what the configuration leaves out.
///
/// # Errors
/// When SQL Server cannot be reached or its catalogue cannot be read.
pub async fn plan(pools: &Pools, scope: &Scope, config: &Config) -> Result<Plan, ReconcileError> {
    let wanted = if config.tables.is_empty() { &scope.tables } else { &config.tables };
    let selection = Selection {
        include: Patterns::new(wanted),
        exclude: Patterns::new(scope.exclude.iter().chain(&config.exclude)),
        exclude_columns: Patterns::new(&scope.exclude_columns),
        largest_value: None,
    };
    let mut client = pools.source.get().await.map_err(ReconcileError::ConnectSource)?;
    let found = causeway_sqlserver::catalog::discover(&mut client, &selection)
        .await
        .map_err(ReconcileError::Catalog)?;
    let facts = causeway_sqlserver::catalog::database(&mut client)
        .await
        .map_err(ReconcileError::Catalog)?;
    pools.source.put(client);
    let mut shapes: Vec<Shape> = Vec::new();
    // Two capture instances of one table: the newer comes later and has the newer columns.
    for instance in found.instances {
        let shape = Shape {
            target: pools.config.target(instance.source.id()),
            no_hashing: causeway_sqlserver::hashing::obstacle(
                &instance.source,
                facts.major_version(),
            ),
            source: instance.source.clone(),
            instance,
        };
        match shapes.iter_mut().find(|known| known.source.id() == shape.source.id()) {
            Some(known) => *known = shape,
            None => shapes.push(shape),
        }
    }
    let mut refused: Vec<_> = found.refused.into_iter().map(refusal).collect();
    shapes.retain(|shape| match inexact_key(shape) {
        None => true,
        Some(report) => {
            refused.push(report);
            false
        }
    });
    // Large tables first, so that the last one to end is not the largest.
    shapes.sort_by_key(|shape| std::cmp::Reverse(shape.source.approximate_rows));
    Ok(Plan { shapes, database: facts.name, snapshots: facts.snapshot_isolation, refused })
}

fn refusal(refused: Refused) -> TableReport {
    let mut report = TableReport::new(refused.table.to_string(), String::new());
    report.reason = Some(format!("column {} {}", refused.column, refused.reason));
    report
}

/// A key whose times are finer than PostgreSQL's cannot be matched row by row.
fn inexact_key(shape: &Shape) -> Option<TableReport> {
    let column =
        shape.source.table.key_columns().find(|column| !digest::key_is_exact(column.ty))?;
    let mut report = report_of(shape);
    report.reason = Some(format!(
        "key column {} is {}: PostgreSQL cannot hold it exactly, so rows cannot be matched",
        column.name, column.ty
    ));
    Some(report)
}

/// A report of a table of which nothing is known yet.
#[must_use]
pub fn report_of(shape: &Shape) -> TableReport {
    let (schema, table) = &shape.target;
    let mut report = TableReport::new(shape.source.id().to_string(), format!("{schema}.{table}"));
    report.key = shape.source.table.key_columns().map(|column| column.name.clone()).collect();
    report.columns_skipped = shape
        .source
        .left_out
        .iter()
        .map(|left| SkippedColumn { name: left.column.clone(), reason: left.reason.clone() })
        .collect();
    report
}

/// What all tables of a run share.
#[derive(Debug)]
pub struct Context {
    /// Connections.
    pub pools: Arc<Pools>,
    /// What is set.
    pub config: Arc<Config>,
    /// Sight of the stream, if there is one.
    pub guard: Option<Guard>,
    /// What is known of the tables' ranges.
    pub ledger: Option<Ledger>,
    /// The limit of rows a second.
    pub throttle: Arc<Throttle>,
    /// Says that the run must end.
    pub stop: CancellationToken,
}

impl Context {
    /// What the comparison of one table needs.
    #[must_use]
    pub fn task(&self, shape: Arc<Shape>, progress: Progress) -> Task<'_> {
        Task {
            pools: &self.pools,
            shape,
            config: &self.config,
            guard: self.guard.as_ref(),
            ledger: self.ledger.as_ref(),
            progress: Arc::new(progress),
            throttle: self.throttle.clone(),
            stop: &self.stop,
        }
    }
}

/// Compares every table of the plan, `parallel` at a time; one that fails does not stop the others.
pub async fn run(context: Arc<Context>, plan: Plan) -> Vec<TableReport> {
    let bars = MultiProgress::new();
    let mut reports = plan.refused;
    let mut waiting: VecDeque<Shape> = plan.shapes.into();
    let mut running = JoinSet::new();
    loop {
        while running.len() < context.config.parallel
            && let Some(shape) = waiting.pop_front()
        {
            let context = context.clone();
            let rows = shape.source.approximate_rows;
            let progress = Progress::new(&bars, shape.source.id().to_string(), rows);
            running.spawn(async move { one(&context, shape, progress).await });
        }
        match running.join_next().await {
            Some(Ok(report)) => reports.push(report),
            // A panic is a defect of ours; the table must not be missing from the report.
            Some(Err(error)) => {
                let mut report = TableReport::new("(unknown)".to_owned(), String::new());
                report.reason = Some(format!("the comparison ended with a panic: {error}"));
                reports.push(report);
            }
            None => break,
        }
    }
    reports.sort_by(|a, b| a.source.cmp(&b.source));
    publish(&reports);
    reports
}

async fn one(context: &Context, shape: Shape, progress: Progress) -> TableReport {
    let began = Instant::now();
    let mut report = report_of(&shape);
    if context.stop.is_cancelled() {
        report.reason = Some("the run was stopped before this table".to_owned());
        return report;
    }
    if let Some(earlier) = context.ledger.as_ref().and_then(|l| l.finished(&report.source)) {
        progress.finish();
        return earlier;
    }
    let task = context.task(Arc::new(shape), progress);
    if let Err(error) = Box::pin(table::compare(&task, &mut report)).await {
        report.status = Status::Error;
        report.behind = error.is_fence();
        report.reason = Some(chain_line(&error));
        tracing::warn!(table = %task.shape.source.id(), error = %chain_line(&error), "table not compared");
    }
    task.progress.finish();
    if report.status != Status::Error
        && let Some(ledger) = &context.ledger
        && let Err(error) = note(context, ledger, &report).await
    {
        tracing::warn!(table = report.source, error = %chain_line(&error), "a run that goes on with this one compares the table again");
    }
    let elapsed = began.elapsed();
    report.duration_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    names::DURATION_SECONDS.record(elapsed.as_secs_f64(), &[("table", &report.source)]);
    report
}

async fn note(
    context: &Context,
    ledger: &Ledger,
    report: &TableReport,
) -> Result<(), ReconcileError> {
    ledger.finish(&*context.pools.target().await?, report).await
}

#[expect(clippy::cast_precision_loss, reason = "a gauge; counts above 2^53 do not occur")]
fn publish(reports: &[TableReport]) {
    for report in reports {
        for (kind, count) in [
            ("missing", report.missing_in_target),
            ("extra", report.extra_in_target),
            ("different", report.different),
        ] {
            names::DIFFERENCES.set(count as f64, &[("table", &report.source), ("kind", kind)]);
        }
        let table = [("table", report.source.as_str())];
        names::UNSTABLE_ROWS.set(report.unstable as f64, &table);
        names::SKIPPED_COLUMNS.set(report.columns_skipped.len() as f64, &table);
        if let Some(fence) = &report.fence {
            names::FENCE_WAIT_SECONDS.record(fence.waited_ms as f64 / 1000.0, &table);
            if let Some(keys) = fence.dirty_keys {
                names::DIRTY_KEYS.set(keys as f64, &table);
            }
        }
    }
    let totals =
        Report::new(String::new(), String::new(), String::new(), String::new(), reports.to_vec())
            .totals;
    for (result, count) in [
        ("equal", totals.equal),
        ("different", totals.different),
        ("skipped", totals.skipped),
        ("failed", totals.error + totals.unstable),
    ] {
        names::TABLES.set(count as f64, &[("result", result)]);
    }
}
