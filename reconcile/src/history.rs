//! What runs found, kept in the target database: the runs, the newest result of each table, and the life of
//! each difference from the run that saw it first to the one that did not see it any more.

use causeway_postgres::{PostgresError, Session};
use serde_json::Value as Json;

use crate::{
    config::Level,
    error::ReconcileError,
    report::{Report, Status, TableReport},
};

const SETUP: &str = "
CREATE SCHEMA IF NOT EXISTS _causeway;
CREATE TABLE IF NOT EXISTS _causeway.reconcile_run (
  run_id text PRIMARY KEY, pipeline text NOT NULL, kind text NOT NULL,
  started_at timestamptz NOT NULL, finished_at timestamptz NOT NULL,
  level text NOT NULL, result text NOT NULL, exit_code smallint NOT NULL,
  rows_compared bigint NOT NULL, differences bigint NOT NULL, report jsonb NOT NULL);
CREATE INDEX IF NOT EXISTS reconcile_run_started ON _causeway.reconcile_run (pipeline, started_at DESC);
CREATE TABLE IF NOT EXISTS _causeway.reconcile_table (
  pipeline text NOT NULL, source_table text NOT NULL, target_table text NOT NULL, run_id text NOT NULL,
  status text NOT NULL, level text NOT NULL, compared_at timestamptz NOT NULL,
  verified_at timestamptz, verified_lsn text, PRIMARY KEY (pipeline, source_table));
CREATE TABLE IF NOT EXISTS _causeway.reconcile_difference (
  pipeline text NOT NULL, source_table text NOT NULL, key_bytes bytea NOT NULL, key jsonb NOT NULL,
  state text NOT NULL, class text, columns jsonb NOT NULL,
  first_run text NOT NULL, last_run text NOT NULL,
  first_seen timestamptz NOT NULL, last_seen timestamptz NOT NULL, fixed_at timestamptz,
  PRIMARY KEY (pipeline, source_table, key_bytes));
CREATE INDEX IF NOT EXISTS reconcile_difference_run ON _causeway.reconcile_difference (last_run)";

/// A difference as it is kept.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The table, as `schema.table` of the source.
    pub table: String,
    /// Canonical bytes of the key.
    pub key_bytes: Vec<u8>,
    /// The key for people.
    pub key: String,
    /// `confirmed_…`.
    pub state: String,
    /// Why, if it is known.
    pub class: Option<String>,
    /// When it was seen first and last, and when it was gone.
    pub life: (String, String, Option<String>),
}

/// The newest result of a table.
#[derive(Clone, Debug)]
pub struct TableState {
    /// The table.
    pub table: String,
    /// How it ended.
    pub status: String,
    /// When it was compared last.
    pub compared_at: String,
    /// When it was found equal last, and how many seconds ago.
    pub verified: Option<(String, f64)>,
    /// Differences that are open.
    pub open: i64,
}

fn failed(doing: &'static str) -> impl Fn(tokio_postgres::Error) -> ReconcileError {
    move |error| ReconcileError::History(Box::new(PostgresError::statement(doing, error)))
}

/// Makes the tables, if they are not there.
///
/// # Errors
/// When PostgreSQL refuses: the user needs CREATE on the database once.
pub async fn setup(client: &Session) -> Result<(), ReconcileError> {
    // Two that start together would both create; the lock makes them take turns.
    client
        .batch_execute(&format!("BEGIN; SELECT pg_advisory_xact_lock(7242); {SETUP}; COMMIT"))
        .await
        .map_err(failed("create the tables of the history"))
}

/// Keeps a run. `kind` is `run` or `recheck`; a recheck says nothing of the keys that it did not look at.
///
/// # Errors
/// When PostgreSQL refuses; then nothing of the run is kept.
pub async fn record(
    client: &mut Session,
    report: &Report,
    kind: &str,
    looked_at: &[Kept],
) -> Result<(), ReconcileError> {
    let doing = failed("keep the run");
    let transaction = client.transaction().await.map_err(&doing)?;
    let text = serde_json::to_string(report).unwrap_or_else(|_| "{}".to_owned());
    let level = level_name(report.level);
    transaction
        .execute(
            "INSERT INTO _causeway.reconcile_run VALUES ($1, $2, $3, $4::text::timestamptz, \
             $5::text::timestamptz, $6, $7, $8, $9, $10, $11::text::jsonb)",
            &[
                &report.run_id,
                &report.pipeline,
                &kind,
                &report.started_at,
                &report.finished_at,
                &level,
                &report.result,
                &i16::from(report.exit_code),
                &i64::try_from(report.totals.rows_compared).unwrap_or(i64::MAX),
                &i64::try_from(report.totals.differences).unwrap_or(i64::MAX),
                &text,
            ],
        )
        .await
        .map_err(&doing)?;
    // What an earlier run compared stands there already.
    for table in report.tables.iter().filter(|table| table.compared_by.is_none()) {
        keep_table(&transaction, report, table, level, kind).await.map_err(&doing)?;
        keep_differences(&transaction, report, table).await.map_err(&doing)?;
        if kind == "run" && names_every_difference(report.level, table) {
            transaction
                .execute(
                    "UPDATE _causeway.reconcile_difference SET fixed_at = $4::text::timestamptz \
                     WHERE pipeline = $1 AND source_table = $2 AND last_run <> $3 AND fixed_at IS NULL",
                    &[&report.pipeline, &table.source, &report.run_id, &report.finished_at],
                )
                .await
                .map_err(&doing)?;
        }
    }
    for kept in looked_at {
        let table = report.tables.iter().find(|table| table.source == kept.table);
        let still = table.is_none_or(|table| {
            table.status == Status::Error
                || table.findings.iter().any(|finding| finding.key_bytes == kept.key_bytes)
        });
        if !still {
            transaction
                .execute(
                    "UPDATE _causeway.reconcile_difference SET fixed_at = $4::text::timestamptz \
                     WHERE pipeline = $1 AND source_table = $2 AND key_bytes = $3 AND fixed_at IS NULL",
                    &[&report.pipeline, &kept.table, &kept.key_bytes, &report.finished_at],
                )
                .await
                .map_err(&doing)?;
        }
    }
    transaction.commit().await.map_err(&doing)
}

/// Whether what is not in the report is not there any more: every row was compared, and every difference has
/// its key in the report.
fn names_every_difference(level: Level, table: &TableReport) -> bool {
    let compared = match table.status {
        Status::Equal | Status::Different | Status::Unstable => true,
        Status::Error | Status::Skipped => false,
    };
    compared
        && level == Level::Full
        && table.chunks_unchanged == 0
        && !table.truncated
        && table.findings.len() as u64 == table.differences() + table.unstable
}

async fn keep_table(
    client: &tokio_postgres::Transaction<'_>,
    report: &Report,
    table: &TableReport,
    level: &str,
    kind: &str,
) -> Result<(), tokio_postgres::Error> {
    if kind != "run" {
        return Ok(());
    }
    let status = serde_json::to_value(table.status)
        .ok()
        .and_then(|status| status.as_str().map(str::to_owned))
        .unwrap_or_default();
    // Counts and samples being equal is not every row being equal.
    let verified = table.status == Status::Equal
        && table.chunks_unchanged == 0
        && match report.level {
            Level::Full | Level::Checksum => true,
            Level::Counts | Level::Sample => false,
        };
    let lsn = table.fence.as_ref().and_then(|fence| fence.low.clone());
    client
        .execute(
            "INSERT INTO _causeway.reconcile_table AS t VALUES ($1, $2, $3, $4, $5, $6, \
             $7::text::timestamptz, CASE WHEN $8 THEN $7::text::timestamptz END, CASE WHEN $8 THEN $9::text END) \
             ON CONFLICT (pipeline, source_table) DO UPDATE SET target_table = $3, run_id = $4, status = $5, \
             level = $6, compared_at = excluded.compared_at, \
             verified_at = coalesce(excluded.verified_at, t.verified_at), \
             verified_lsn = coalesce(excluded.verified_lsn, t.verified_lsn)",
            &[
                &report.pipeline,
                &table.source,
                &table.target,
                &report.run_id,
                &status,
                &level,
                &report.finished_at,
                &verified,
                &lsn,
            ],
        )
        .await
        .map(drop)
}

async fn keep_differences(
    client: &tokio_postgres::Transaction<'_>,
    report: &Report,
    table: &TableReport,
) -> Result<(), tokio_postgres::Error> {
    let confirmed: Vec<_> =
        table.findings.iter().filter(|finding| finding.state.is_confirmed()).collect();
    for batch in confirmed.chunks(1000) {
        let (mut bytes, mut keys, mut states) = (Vec::new(), Vec::new(), Vec::new());
        let (mut classes, mut columns) = (Vec::new(), Vec::new());
        for finding in batch {
            bytes.push(finding.key_bytes.as_slice());
            keys.push(finding.key.json());
            states.push(finding.state.name());
            classes.push(finding.class.map(|class| class.name()));
            // Names and classes only: the values stay where they are.
            let cells: Json = finding
                .columns
                .iter()
                .map(|cell| (cell.column.clone(), Json::from(cell.class.name())))
                .collect::<serde_json::Map<_, _>>()
                .into();
            columns.push(cells.to_string());
        }
        client
            .execute(
                "INSERT INTO _causeway.reconcile_difference AS d \
                 SELECT $1, $2, b, k::jsonb, s, c, f::jsonb, $3, $3, $4::text::timestamptz, $4::text::timestamptz, NULL \
                 FROM unnest($5::bytea[], $6::text[], $7::text[], $8::text[], $9::text[]) n(b, k, s, c, f) \
                 ON CONFLICT (pipeline, source_table, key_bytes) DO UPDATE SET state = excluded.state, \
                 class = excluded.class, columns = excluded.columns, last_run = excluded.last_run, \
                 last_seen = excluded.last_seen, fixed_at = NULL, \
                 first_run = CASE WHEN d.fixed_at IS NULL THEN d.first_run ELSE excluded.first_run END, \
                 first_seen = CASE WHEN d.fixed_at IS NULL THEN d.first_seen ELSE excluded.first_seen END",
                &[
                    &report.pipeline,
                    &table.source,
                    &report.run_id,
                    &report.finished_at,
                    &bytes,
                    &keys,
                    &states,
                    &classes,
                    &columns,
                ],
            )
            .await?;
    }
    Ok(())
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::Counts => "counts",
        Level::Checksum => "checksum",
        Level::Full => "full",
        Level::Sample => "sample",
    }
}

/// A run's name, where `last` is the newest; `None` when there is no such run.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn find(
    client: &Session,
    pipeline: &str,
    run: &str,
) -> Result<Option<(String, Json)>, ReconcileError> {
    let row = client
        .query_opt(
            "SELECT run_id, report FROM _causeway.reconcile_run WHERE pipeline = $1 AND \
             ($2 = 'last' OR run_id = $2) ORDER BY started_at DESC LIMIT 1",
            &[&pipeline, &run],
        )
        .await
        .map_err(failed("look a run up"))?;
    Ok(row.map(|row| (row.get(0), row.get(1))))
}

/// The newest runs, a line each.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn runs(
    client: &Session,
    pipeline: &str,
    limit: i64,
) -> Result<Vec<String>, ReconcileError> {
    let rows = client
        .query(
            "SELECT to_char(started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), run_id, kind, level, \
             result, rows_compared::text, differences::text, \
             round(extract(epoch FROM finished_at - started_at)::numeric, 1)::text \
             FROM _causeway.reconcile_run WHERE pipeline = $1 ORDER BY started_at DESC LIMIT $2",
            &[&pipeline, &limit],
        )
        .await
        .map_err(failed("list the runs"))?;
    Ok(rows
        .iter()
        .map(|row| {
            let cell = |n: usize| row.get::<_, String>(n);
            format!(
                "{}  {}  {:<7}  {:<8}  {:<10}  {:>12} rows  {:>8} differences  {:>8} s",
                cell(0),
                cell(1),
                cell(2),
                cell(3),
                cell(4),
                cell(5),
                cell(6),
                cell(7)
            )
        })
        .collect())
}

/// The newest result of every table.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn tables(client: &Session, pipeline: &str) -> Result<Vec<TableState>, ReconcileError> {
    let rows = client
        .query(
            "SELECT t.source_table, t.status, \
             to_char(t.compared_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), \
             to_char(t.verified_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), \
             extract(epoch FROM clock_timestamp() - t.verified_at)::double precision, \
             (SELECT count(*) FROM _causeway.reconcile_difference d WHERE d.pipeline = t.pipeline \
              AND d.source_table = t.source_table AND d.fixed_at IS NULL) \
             FROM _causeway.reconcile_table t WHERE t.pipeline = $1 ORDER BY 1",
            &[&pipeline],
        )
        .await
        .map_err(failed("read the newest results"))?;
    Ok(rows
        .iter()
        .map(|row| TableState {
            table: row.get(0),
            status: row.get(1),
            compared_at: row.get(2),
            verified: row.get::<_, Option<String>>(3).zip(row.get(4)),
            open: row.get(5),
        })
        .collect())
}

/// The differences that a run saw last; `open` leaves out those that are fixed.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn differences(
    client: &Session,
    pipeline: &str,
    run: &str,
    open: bool,
) -> Result<Vec<Kept>, ReconcileError> {
    let rows = client
        .query(
            "SELECT source_table, key_bytes, key::text, state, class, \
             to_char(first_seen AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), \
             to_char(last_seen AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), \
             to_char(fixed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') \
             FROM _causeway.reconcile_difference WHERE pipeline = $1 AND last_run = $2 \
             AND (NOT $3 OR fixed_at IS NULL) ORDER BY source_table, key_bytes",
            &[&pipeline, &run, &open],
        )
        .await
        .map_err(failed("read the differences of a run"))?;
    Ok(rows
        .iter()
        .map(|row| Kept {
            table: row.get(0),
            key_bytes: row.get(1),
            key: row.get(2),
            state: row.get(3),
            class: row.get(4),
            life: (row.get(5), row.get(6), row.get(7)),
        })
        .collect())
}
