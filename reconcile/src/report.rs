//! What was found: the JSON document and the table on the terminal. Keys and values are not in it,
//! only counts (promise 6), unless an operator asks for the keys.

use std::fmt::Write as _;

use serde::Serialize;

use crate::compare::Kind;

/// Version of the JSON document.
pub const SCHEMA_VERSION: u32 = 1;

/// How a table ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Every row was compared, and all are equal.
    Equal,
    /// At least one row differs, and stood still while it did.
    Different,
    /// Rows kept changing to the end; all others are equal.
    Unstable,
    /// It could not be compared; nothing is said of its rows.
    Error,
    /// It was left out on purpose, for the reason given.
    Skipped,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Different => "DIFFERENT",
            Self::Unstable => "unstable",
            Self::Error => "ERROR",
            Self::Skipped => "skipped",
        }
    }
}

/// Rows of either side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sides<T> {
    /// SQL Server.
    pub source: T,
    /// PostgreSQL.
    pub target: T,
}

/// The result of one table.
#[derive(Clone, Debug, Serialize)]
pub struct TableReport {
    /// `schema.table` in SQL Server.
    pub source: String,
    /// `schema.table` in PostgreSQL.
    pub target: String,
    /// How it ended.
    pub status: Status,
    /// Why, for `error` and `skipped`.
    pub reason: Option<String>,
    /// The key's columns; empty for a table without key.
    pub key: Vec<String>,
    /// Rows read from each side.
    pub rows: Sides<u64>,
    /// Sum of the rows' digests, modulo 2^128, in hexadecimal. Both sides are not read at one instant:
    /// while changes flow they may differ although no row does.
    pub checksum: Sides<String>,
    /// Confirmed: rows that only the source has.
    pub missing_in_target: u64,
    /// Confirmed: rows that only the target has.
    pub extra_in_target: u64,
    /// Confirmed: rows with other values.
    pub different: u64,
    /// Rows that differed at first and were equal when looked at again.
    pub in_flight_resolved: u64,
    /// Rows that changed at every look.
    pub unstable: u64,
    /// True when there were more differing keys than are looked at again.
    pub truncated: bool,
    /// Columns that were not compared, with the reason.
    pub columns_skipped: Vec<SkippedColumn>,
    /// How long it took.
    pub duration_ms: u64,
}

/// A column that was not compared.
#[derive(Clone, Debug, Serialize)]
pub struct SkippedColumn {
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: String,
}

impl TableReport {
    /// A table of which nothing is known yet.
    #[must_use]
    pub fn new(source: String, target: String) -> Self {
        Self {
            source,
            target,
            status: Status::Error,
            reason: None,
            key: Vec::new(),
            rows: Sides::default(),
            checksum: Sides::default(),
            missing_in_target: 0,
            extra_in_target: 0,
            different: 0,
            in_flight_resolved: 0,
            unstable: 0,
            truncated: false,
            columns_skipped: Vec::new(),
            duration_ms: 0,
        }
    }

    /// Confirmed differences.
    #[must_use]
    pub fn differences(&self) -> u64 {
        self.missing_in_target + self.extra_in_target + self.different
    }

    /// Counts a confirmed difference.
    pub fn count(&mut self, kind: Kind) {
        match kind {
            Kind::MissingInTarget => self.missing_in_target += 1,
            Kind::ExtraInTarget => self.extra_in_target += 1,
            Kind::Different => self.different += 1,
        }
    }

    /// Sets the status from the counts, once every row was compared.
    pub fn conclude(&mut self) {
        self.status = if self.differences() > 0 {
            Status::Different
        } else if self.unstable > 0 {
            Status::Unstable
        } else {
            Status::Equal
        };
    }
}

/// Sums over all tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Tables in the plan.
    pub tables: u64,
    /// Of them equal.
    pub equal: u64,
    /// Of them different.
    pub different: u64,
    /// Of them with rows that kept changing.
    pub unstable: u64,
    /// Of them not compared because of an error.
    pub error: u64,
    /// Of them left out.
    pub skipped: u64,
    /// Rows of the source that were compared.
    pub rows_compared: u64,
    /// Confirmed differences.
    pub differences: u64,
}

/// The whole report.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Name of the run.
    pub run_id: String,
    /// The pipeline's name.
    pub pipeline: String,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// RFC 3339, UTC.
    pub finished_at: String,
    /// This program.
    pub tool: Tool,
    /// `equal`, `different`, `unstable` or `incomplete`; the worst of all tables.
    pub result: &'static str,
    /// The exit code of the run.
    pub exit_code: u8,
    /// Sums.
    pub totals: Totals,
    /// One entry a table.
    pub tables: Vec<TableReport>,
}

/// What made the report.
#[derive(Clone, Debug, Serialize)]
pub struct Tool {
    /// Version of `causeway-reconcile`.
    pub version: &'static str,
    /// [`crate::digest::ENCODING`].
    pub encoding: u32,
}

impl Report {
    /// Sums the tables up.
    #[must_use]
    pub fn new(
        run_id: String,
        pipeline: String,
        started_at: String,
        finished_at: String,
        tables: Vec<TableReport>,
    ) -> Self {
        let mut totals = Totals::default();
        for table in &tables {
            totals.tables += 1;
            totals.rows_compared += table.rows.source;
            totals.differences += table.differences();
            *match table.status {
                Status::Equal => &mut totals.equal,
                Status::Different => &mut totals.different,
                Status::Unstable => &mut totals.unstable,
                Status::Error => &mut totals.error,
                Status::Skipped => &mut totals.skipped,
            } += 1;
        }
        let (result, exit_code) = verdict(&totals);
        Self {
            schema_version: SCHEMA_VERSION,
            run_id,
            pipeline,
            started_at,
            finished_at,
            tool: Tool { version: env!("CARGO_PKG_VERSION"), encoding: crate::digest::ENCODING },
            result,
            exit_code,
            totals,
            tables,
        }
    }

    /// One line a table, and one for the sum.
    #[must_use]
    pub fn summary(&self) -> String {
        let width = self.tables.iter().map(|t| t.source.len()).max().unwrap_or(5).max(5);
        let mut out = format!(
            "{:<width$}  {:<9}  {:>12}  {:>12}  {:>8}  {:>8}  {:>8}  {:>9}  {:>8}  {:>8}\n",
            "TABLE",
            "STATUS",
            "ROWS_SRC",
            "ROWS_TGT",
            "MISSING",
            "EXTRA",
            "DIFF",
            "IN_FLIGHT",
            "UNSTABLE",
            "SECONDS",
        );
        for t in &self.tables {
            let seconds = format!("{}.{:01}", t.duration_ms / 1000, t.duration_ms % 1000 / 100);
            // Writing to a String cannot fail.
            _ = writeln!(
                out,
                "{:<width$}  {:<9}  {:>12}  {:>12}  {:>8}  {:>8}  {:>8}  {:>9}  {:>8}  {:>8}{}",
                t.source,
                t.status.name(),
                t.rows.source,
                t.rows.target,
                t.missing_in_target,
                t.extra_in_target,
                t.different,
                t.in_flight_resolved,
                t.unstable,
                seconds,
                t.reason.as_ref().map(|r| format!("  {r}")).unwrap_or_default(),
            );
        }
        let totals = &self.totals;
        _ = writeln!(
            out,
            "{}: {} tables, {} rows, {} differences{}",
            self.result,
            totals.tables,
            totals.rows_compared,
            totals.differences,
            if totals.error + totals.skipped + totals.unstable > 0 {
                format!(
                    " ({} unstable, {} not compared, {} skipped)",
                    totals.unstable, totals.error, totals.skipped
                )
            } else {
                String::new()
            },
        );
        out
    }
}

/// Result and exit code: 0 equal, 1 different, 2 something could not be compared (or said), 3 both.
/// No table at all is not "equal".
fn verdict(totals: &Totals) -> (&'static str, u8) {
    let incomplete = totals.error + totals.skipped > 0 || totals.tables == 0;
    match (totals.different > 0, incomplete, totals.unstable > 0) {
        (true, true, _) => ("different", 3),
        (true, false, _) => ("different", 1),
        (false, true, _) => ("incomplete", 2),
        (false, false, true) => ("unstable", 2),
        (false, false, false) => ("equal", 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(statuses: &[Status]) -> Report {
        let tables = statuses
            .iter()
            .map(|&status| {
                let mut table = TableReport::new("dbo.t".to_owned(), "public.t".to_owned());
                table.rows = Sides { source: 2, target: 2 };
                table.status = status;
                table.different = u64::from(status == Status::Different);
                table
            })
            .collect();
        Report::new("r".to_owned(), "p".to_owned(), String::new(), String::new(), tables)
    }

    #[test]
    fn equal_is_said_only_when_every_table_is() {
        use Status::{Different, Equal, Error, Skipped, Unstable};
        for (statuses, result, code) in [
            (&[Equal, Equal][..], "equal", 0),
            (&[Equal, Different], "different", 1),
            (&[Equal, Error], "incomplete", 2),
            (&[Equal, Skipped], "incomplete", 2),
            (&[Equal, Unstable], "unstable", 2),
            (&[Different, Error], "different", 3),
            (&[], "incomplete", 2),
        ] {
            let report = report(statuses);
            assert_eq!((report.result, report.exit_code), (result, code), "{statuses:?}");
        }
    }

    #[test]
    fn the_summary_ends_with_the_sum() {
        let text = report(&[Status::Equal, Status::Equal]).summary();
        assert!(text.ends_with("equal: 2 tables, 4 rows, 0 differences\n"), "{text}");
    }
}
