//! What is known of each key range of a table: when it was read and found equal, and up to which commit nothing of
//! it has changed since. A run that was cut off goes on from it, and an incremental one leaves what needs no reading.
//!
//! Kept in the target beside the history: `_causeway.reconcile_chunk` (a row for each range) and
//! `_causeway.reconcile_open` (runs that have not come to their end, with the tables that they have finished).

use std::{collections::HashSet, time::Duration};

use causeway_change::Lsn;
use causeway_postgres::{PostgresError, Session};
use causeway_sqlserver::KeyRange;
use serde_json::Value as Json;

use crate::{
    Config, digest,
    error::ReconcileError,
    report::{Sides, Status, TableReport},
    sides::Shape,
};

pub mod choose;

pub use choose::Entry;

const SETUP: &str = "
CREATE SCHEMA IF NOT EXISTS _causeway;
CREATE TABLE IF NOT EXISTS _causeway.reconcile_chunk (
  pipeline text NOT NULL, source_table text NOT NULL, after_key bytea NOT NULL, upto_key bytea NOT NULL,
  shape text NOT NULL, run_id text NOT NULL, rows_source bigint NOT NULL, rows_target bigint NOT NULL,
  sum_source text NOT NULL, sum_target text NOT NULL, clean_lsn text NOT NULL,
  read_at timestamptz NOT NULL, verified_at timestamptz, suspects bytea[] NOT NULL,
  PRIMARY KEY (pipeline, source_table, after_key));
CREATE TABLE IF NOT EXISTS _causeway.reconcile_open (
  pipeline text NOT NULL, scope text NOT NULL, run_id text NOT NULL, started_at timestamptz NOT NULL,
  tables jsonb NOT NULL, PRIMARY KEY (pipeline, scope))";

/// Keys of a range that differ and are kept; a range with more is read again.
const SUSPECTS: usize = 10_000;

/// The ledger of one run.
#[derive(Clone, Debug)]
pub struct Ledger {
    pipeline: String,
    /// What the run compares, so that the same runs find each other.
    scope: String,
    /// The run whose ranges count as done: this one, or the one that it goes on with.
    run: String,
    /// Tables that the run, before it was cut off, had finished.
    finished: Vec<Json>,
    /// Whether ranges without changes are left.
    pub incremental: bool,
    /// Within which time every range is read all the same.
    pub period: Duration,
}

fn failed(doing: &'static str) -> impl Fn(tokio_postgres::Error) -> ReconcileError {
    move |error| ReconcileError::History(Box::new(PostgresError::statement(doing, error)))
}

impl Ledger {
    /// Opens the ledger for a run. With `resume` it goes on with the run of the same scope that did not come to its
    /// end, if there is one that is not too old.
    ///
    /// # Errors
    /// When PostgreSQL refuses.
    pub async fn open(
        client: &Session,
        pipeline: &str,
        run: &str,
        config: &Config,
        resume: bool,
    ) -> Result<Self, ReconcileError> {
        // Two that start together would both create; the lock makes them take turns.
        client
            .batch_execute(&format!("BEGIN; SELECT pg_advisory_xact_lock(7242); {SETUP}; COMMIT"))
            .await
            .map_err(failed("create the tables of the ledger"))?;
        let mut this = Self {
            pipeline: pipeline.to_owned(),
            scope: scope(config),
            run: run.to_owned(),
            finished: Vec::new(),
            incremental: config.incremental,
            period: Duration::from_secs(config.rolling_hours.saturating_mul(3600)),
        };
        if resume {
            let hours = i64::try_from(config.resume_hours).unwrap_or(i64::MAX);
            let row = client
                .query_opt(
                    "SELECT run_id, tables FROM _causeway.reconcile_open WHERE pipeline = $1 AND scope = $2 \
                     AND started_at > clock_timestamp() - $3 * interval '1 hour'",
                    &[&this.pipeline, &this.scope, &hours_f64(hours)],
                )
                .await
                .map_err(failed("look for a run that was cut off"))?;
            if let Some(row) = row {
                this.run = row.get(0);
                this.finished = row.get::<_, Json>(1).as_array().cloned().unwrap_or_default();
                return Ok(this);
            }
        }
        client
            .execute(
                "INSERT INTO _causeway.reconcile_open VALUES ($1, $2, $3, clock_timestamp(), '[]') \
                 ON CONFLICT (pipeline, scope) DO UPDATE SET run_id = excluded.run_id, \
                 started_at = excluded.started_at, tables = excluded.tables",
                &[&this.pipeline, &this.scope, &this.run],
            )
            .await
            .map_err(failed("open the run"))?;
        Ok(this)
    }

    /// The run that this one goes on with; none when it began anew.
    #[must_use]
    pub fn continues(&self, run: &str) -> Option<&str> {
        (self.run != run).then_some(self.run.as_str())
    }

    /// The result of a table that was finished before the run was cut off.
    #[must_use]
    pub fn finished(&self, source: &str) -> Option<TableReport> {
        self.finished.iter().find(|table| table["source"] == source).map(earlier)
    }

    /// Notes a table that is finished.
    ///
    /// # Errors
    /// When PostgreSQL refuses.
    pub async fn finish(
        &self,
        client: &Session,
        report: &TableReport,
    ) -> Result<(), ReconcileError> {
        let text = serde_json::json!([{
            "source": report.source, "target": report.target, "status": report.status,
            "rows": report.rows, "missing_in_target": report.missing_in_target,
            "extra_in_target": report.extra_in_target, "different": report.different,
            "unstable": report.unstable, "reason": report.reason, "run_id": self.run,
        }])
        .to_string();
        client
            .execute(
                "UPDATE _causeway.reconcile_open SET tables = tables || $4::text::jsonb \
                 WHERE pipeline = $1 AND scope = $2 AND run_id = $3",
                &[&self.pipeline, &self.scope, &self.run, &text],
            )
            .await
            .map_err(failed("note a table that is finished"))
            .map(drop)
    }

    /// The run has come to its end: nothing is to be gone on with.
    ///
    /// # Errors
    /// When PostgreSQL refuses.
    pub async fn close(&self, client: &Session) -> Result<(), ReconcileError> {
        client
            .execute(
                "DELETE FROM _causeway.reconcile_open WHERE pipeline = $1 AND scope = $2 AND run_id = $3",
                &[&self.pipeline, &self.scope, &self.run],
            )
            .await
            .map_err(failed("close the run"))
            .map(drop)
    }

    /// The ranges of a table that were compared with the same columns by the same encoding.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn entries(
        &self,
        client: &Session,
        shape: &Shape,
    ) -> Result<Vec<Entry>, ReconcileError> {
        let rows = client
            .query(
                "SELECT after_key, upto_key, run_id, rows_source, rows_target, sum_source, sum_target, clean_lsn, \
                 suspects, extract(epoch FROM clock_timestamp() - read_at)::double precision, \
                 extract(epoch FROM clock_timestamp() - verified_at)::double precision \
                 FROM _causeway.reconcile_chunk WHERE pipeline = $1 AND source_table = $2 AND shape = $3",
                &[&self.pipeline, &shape.source.id().to_string(), &fingerprint(shape)],
            )
            .await
            .map_err(failed("read the ledger"))?;
        let bound = |bytes: &[u8]| {
            if bytes.is_empty() {
                return Ok(None);
            }
            crate::fence::dirty::values(shape, bytes).map(Some)
        };
        let ago = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or_default();
        let count = |n: i64| u64::try_from(n).unwrap_or(0);
        let sum = |text: &str| u128::from_str_radix(text, 16).unwrap_or(0);
        rows.iter()
            .map(|row| {
                Ok(Entry {
                    range: KeyRange { after: bound(row.get(0))?, upto: bound(row.get(1))? },
                    run: row.get(2),
                    rows: (count(row.get(3)), count(row.get(4))),
                    sums: (sum(row.get(5)), sum(row.get(6))),
                    low: row.get::<_, &str>(7).parse().unwrap_or(Lsn::ZERO),
                    suspects: row.get(8),
                    read_ago: ago(row.get(9)),
                    verified_ago: row.get::<_, Option<f64>>(10).map(ago),
                })
            })
            .collect()
    }

    /// The entries that this run, before it was cut off, has done.
    #[must_use]
    pub fn done(&self, entries: Vec<Entry>) -> Vec<Entry> {
        entries.into_iter().filter(|entry| entry.run == self.run).collect()
    }

    /// Forgets all of a table: it is read anew.
    ///
    /// # Errors
    /// When PostgreSQL refuses.
    pub async fn forget(&self, client: &Session, shape: &Shape) -> Result<(), ReconcileError> {
        client
            .execute(
                "DELETE FROM _causeway.reconcile_chunk WHERE pipeline = $1 AND source_table = $2",
                &[&self.pipeline, &shape.source.id().to_string()],
            )
            .await
            .map_err(failed("clear the ledger"))
            .map(drop)
    }

    /// Keeps a range that was read; `suspects` are the keys that differ. Without any it is verified.
    ///
    /// # Errors
    /// When PostgreSQL refuses.
    pub async fn read(
        &self,
        client: &Session,
        shape: &Shape,
        range: &KeyRange,
        low: Lsn,
        found: &crate::read::Outcome,
    ) -> Result<(), ReconcileError> {
        let (after, upto) =
            (bytes(shape, range.after.as_deref())?, bytes(shape, range.upto.as_deref())?);
        if found.beyond.any() || found.differences.len() > SUSPECTS {
            // Too many to go on with: nothing is known of the range, and it is read again.
            return client
                .execute(
                    "DELETE FROM _causeway.reconcile_chunk WHERE pipeline = $1 AND source_table = $2 AND after_key = $3",
                    &[&self.pipeline, &shape.source.id().to_string(), &after],
                )
                .await
                .map_err(failed("forget a range in the ledger"))
                .map(drop);
        }
        let suspects: Vec<&[u8]> = found.differences.iter().map(|d| d.key.as_slice()).collect();
        let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        client
            .execute(
                "INSERT INTO _causeway.reconcile_chunk VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, \
                 clock_timestamp(), CASE WHEN cardinality($12::bytea[]) = 0 THEN clock_timestamp() END, $12) \
                 ON CONFLICT (pipeline, source_table, after_key) DO UPDATE SET upto_key = excluded.upto_key, \
                 shape = excluded.shape, run_id = excluded.run_id, rows_source = excluded.rows_source, \
                 rows_target = excluded.rows_target, sum_source = excluded.sum_source, \
                 sum_target = excluded.sum_target, clean_lsn = excluded.clean_lsn, read_at = excluded.read_at, \
                 verified_at = excluded.verified_at, suspects = excluded.suspects",
                &[
                    &self.pipeline,
                    &shape.source.id().to_string(),
                    &after,
                    &upto,
                    &fingerprint(shape),
                    &self.run,
                    &count(found.rows.source),
                    &count(found.rows.target),
                    &format!("{:032x}", found.sums.source),
                    &format!("{:032x}", found.sums.target),
                    &low.to_string(),
                    &suspects,
                ],
            )
            .await
            .map_err(failed("keep a range in the ledger"))
            .map(drop)
    }

    /// Keys were judged: ranges whose keys are all equal now are verified; in the others those of `wrong` stay. Of
    /// ranges that were not read, nothing changed up to `low`. Gives how many seconds ago the oldest range was
    /// verified; none when one is not.
    ///
    /// # Errors
    /// When PostgreSQL refuses.
    pub async fn judged(
        &self,
        client: &Session,
        shape: &Shape,
        low: Lsn,
        unread: &[KeyRange],
        wrong: &HashSet<Vec<u8>>,
    ) -> Result<Option<f64>, ReconcileError> {
        let table = shape.source.id().to_string();
        let wrong: Vec<&[u8]> = wrong.iter().map(Vec::as_slice).collect();
        client
            .execute(
                "UPDATE _causeway.reconcile_chunk c SET suspects = k.keys, \
                 verified_at = CASE WHEN cardinality(k.keys) = 0 THEN clock_timestamp() END \
                 FROM (SELECT after_key, ARRAY(SELECT s FROM unnest(suspects) s WHERE s = ANY ($3)) AS keys \
                       FROM _causeway.reconcile_chunk WHERE pipeline = $1 AND source_table = $2 \
                       AND cardinality(suspects) > 0) k \
                 WHERE c.pipeline = $1 AND c.source_table = $2 AND c.after_key = k.after_key",
                &[&self.pipeline, &table, &wrong],
            )
            .await
            .map_err(failed("keep what was judged in the ledger"))?;
        let unread: Vec<Vec<u8>> = unread
            .iter()
            .map(|range| bytes(shape, range.after.as_deref()))
            .collect::<Result<_, _>>()?;
        client
            .execute(
                "UPDATE _causeway.reconcile_chunk SET clean_lsn = $3 \
                 WHERE pipeline = $1 AND source_table = $2 AND after_key = ANY ($4)",
                &[&self.pipeline, &table, &low.to_string(), &unread],
            )
            .await
            .map_err(failed("keep what was not read in the ledger"))?;
        let row = client
            .query_one(
                "SELECT CASE WHEN count(*) = count(verified_at) THEN \
                 extract(epoch FROM clock_timestamp() - min(verified_at))::double precision END \
                 FROM _causeway.reconcile_chunk WHERE pipeline = $1 AND source_table = $2",
                &[&self.pipeline, &table],
            )
            .await
            .map_err(failed("read the ledger"))?;
        Ok(row.get(0))
    }
}

#[expect(clippy::cast_precision_loss, reason = "hours")]
fn hours_f64(hours: i64) -> f64 {
    hours as f64
}

/// The open bound is no bytes: a key has at least one.
fn bytes(
    shape: &Shape,
    bound: Option<&[causeway_change::Value]>,
) -> Result<Vec<u8>, ReconcileError> {
    let Some(values) = bound else { return Ok(Vec::new()) };
    let columns: Vec<_> = shape.source.table.key_columns().cloned().collect();
    let order: Vec<usize> = (0..columns.len()).collect();
    let mut out = Vec::new();
    digest::key(&columns, &order, values, &mut out)
        .map_err(|source| ReconcileError::Digest { table: shape.source.id().clone(), source })?;
    Ok(out)
}

/// What must be the same for an earlier comparison to count: encoding, columns, key, and the target's name.
fn fingerprint(shape: &Shape) -> String {
    let table = &shape.source.table;
    let columns: Vec<String> =
        table.columns.iter().map(|column| format!("{}:{}", column.name, column.ty)).collect();
    let text = format!(
        "{}|{:?}|{:?}|{:?}|{}",
        digest::ENCODING,
        shape.target,
        table.key,
        columns,
        shape.instance.object_id
    );
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(text.as_bytes()))
}

/// What the same runs have in common.
fn scope(config: &Config) -> String {
    let text = format!(
        "{:?}|{:?}|{:?}|{}",
        config.tables, config.exclude, config.level, config.incremental
    );
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes()))
}

/// The report of a table that was finished earlier in the same run.
fn earlier(json: &Json) -> TableReport {
    let text = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
    let number = |pointer: &str| json.pointer(pointer).and_then(Json::as_u64).unwrap_or(0);
    let mut report = TableReport::new(text("source"), text("target"));
    report.status = match json["status"].as_str() {
        Some("equal") => Status::Equal,
        Some("different") => Status::Different,
        Some("unstable") => Status::Unstable,
        Some("skipped") => Status::Skipped,
        _ => Status::Error,
    };
    report.strategy = "earlier";
    report.reason = json["reason"].as_str().map(str::to_owned);
    report.rows = Sides { source: number("/rows/source"), target: number("/rows/target") };
    report.missing_in_target = number("/missing_in_target");
    report.extra_in_target = number("/extra_in_target");
    report.different = number("/different");
    report.unstable = number("/unstable");
    report.compared_by = json["run_id"].as_str().map(str::to_owned);
    report
}
