//! What was found. The JSON document is this module's structures; [`text`] is the terminal's table,
//! [`lines`] NDJSON and CSV, [`html`] one file to send around.
//!
//! The keys of rows that differ are in it, their other values only when they were asked for (promise 6).

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::{
    compare::Kind,
    config::Level,
    fence::FenceReport,
    finding::{ColumnCount, Finding, State},
};

pub mod html;
pub mod lines;
pub mod text;

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
    /// How its rows were matched: `range`, `hash`, `sum` or `count`; `earlier` when [`Self::compared_by`] did it.
    pub strategy: &'static str,
    /// Key ranges of the table; 1 for one that is read at once, 0 without sight of the stream.
    pub chunks: usize,
    /// Of them left by an incremental run: nothing of them has changed, and they were read lately.
    pub chunks_unchanged: usize,
    /// Of them read before the run was cut off that this one goes on with; their rows are in the counts.
    pub chunks_done_before: usize,
    /// Of them those whose rows both servers hashed alike: they were not read.
    pub chunks_hashed: usize,
    /// The run that finished the table before it was cut off, when this one goes on with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compared_by: Option<String>,
    /// How rows in flight were told from differences.
    pub fence: Option<FenceReport>,
    /// The key's columns; empty for a table without key.
    pub key: Vec<String>,
    /// Rows read from each side.
    pub rows: Sides<u64>,
    /// Sum of the rows' digests, modulo 2^128, in hexadecimal. Both sides are not read at one instant:
    /// while changes flow they may differ although no row does. Ranges that the servers hashed count with the sums of
    /// their hashes.
    pub checksum: Sides<String>,
    /// Confirmed: rows that only the source has.
    pub missing_in_target: u64,
    /// Confirmed: rows that only the target has.
    pub extra_in_target: u64,
    /// Confirmed: rows with other values.
    pub different: u64,
    /// Rows that differed at first and were equal when looked at again.
    pub in_flight_resolved: u64,
    /// Rows that differed although no change was on its way, and were equal when looked at again.
    pub resolved: u64,
    /// Rows that changed at every look.
    pub unstable: u64,
    /// True when there were more differing keys than are looked at again.
    pub truncated: bool,
    /// Confirmed differences by column.
    pub columns: BTreeMap<String, ColumnCount>,
    /// The rows that differ, as many as are kept; the JSON has the first of them.
    #[serde(rename = "first_differences", serialize_with = "first")]
    pub findings: Vec<Finding>,
    /// Columns that were not compared, with the reason.
    pub columns_skipped: Vec<SkippedColumn>,
    /// True when the pipeline was too far behind to compare.
    pub behind: bool,
    /// How long it took.
    pub duration_ms: u64,
}

/// Rows that the JSON document has of each table.
const FIRST: usize = 100;

fn first<S: Serializer>(findings: &[Finding], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(findings.iter().take(FIRST))
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
            strategy: "none",
            chunks: 0,
            chunks_unchanged: 0,
            chunks_done_before: 0,
            chunks_hashed: 0,
            compared_by: None,
            fence: None,
            key: Vec::new(),
            rows: Sides::default(),
            checksum: Sides::default(),
            missing_in_target: 0,
            extra_in_target: 0,
            different: 0,
            in_flight_resolved: 0,
            resolved: 0,
            unstable: 0,
            truncated: false,
            columns: BTreeMap::new(),
            findings: Vec::new(),
            columns_skipped: Vec::new(),
            behind: false,
            duration_ms: 0,
        }
    }

    /// Confirmed differences.
    #[must_use]
    pub fn differences(&self) -> u64 {
        self.missing_in_target + self.extra_in_target + self.different
    }

    /// True when a person should look at it.
    #[must_use]
    pub fn is_wrong(&self) -> bool {
        self.status != Status::Equal
    }

    /// Counts a confirmed difference.
    pub fn count(&mut self, kind: Kind) {
        match kind {
            Kind::MissingInTarget => self.missing_in_target += 1,
            Kind::ExtraInTarget => self.extra_in_target += 1,
            Kind::Different => self.different += 1,
        }
    }

    /// Counts a confirmed difference, its columns too, and keeps it if fewer than `keep` are kept.
    pub fn found(&mut self, kind: Kind, finding: Finding, keep: usize) {
        self.count(kind);
        for cell in &finding.columns {
            self.columns.entry(cell.column.clone()).or_default().add(cell.class);
        }
        self.keep(finding, keep);
    }

    /// Keeps a row, if fewer than `keep` are kept.
    pub fn keep(&mut self, finding: Finding, keep: usize) {
        if self.findings.len() < keep {
            self.findings.push(finding);
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
    /// Of those with an error the ones whose pipeline was too far behind.
    pub behind: u64,
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
    /// How deep it looked.
    pub level: Level,
    /// `equal`, `different`, `unstable`, `behind` or `incomplete`; the worst of all tables.
    pub result: &'static str,
    /// The exit code of the run.
    pub exit_code: u8,
    /// The run that was cut off and that this one goes on with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub continues: Option<String>,
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
            totals.behind += u64::from(table.behind && table.status == Status::Error);
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
            level: Level::Full,
            tool: Tool { version: env!("CARGO_PKG_VERSION"), encoding: crate::digest::ENCODING },
            result,
            exit_code,
            continues: None,
            totals,
            tables,
        }
    }

    /// The table on the terminal.
    #[must_use]
    pub fn summary(&self) -> String {
        text::summary(self)
    }
}

/// What to do about a row, as words.
#[must_use]
pub fn remediation(finding: &Finding) -> &'static str {
    match finding.state {
        State::ConfirmedMissingInTarget => {
            "look at the dead letters; repair inserts the source's row"
        }
        State::ConfirmedExtraInTarget => {
            "somebody else wrote it, or a delete was lost; repair deletes it with --allow-deletes"
        }
        State::ConfirmedDifferent => {
            finding.class.map_or("repair writes the source's row", crate::class::Class::advice)
        }
        State::Unstable => "it changes all the time; look again when it is quiet",
    }
}

/// Result and exit code: 0 equal, 1 different, 2 something could not be compared (or said), 3 both, 5 nothing
/// is wrong but that the pipeline was too far behind. No table at all is not "equal".
fn verdict(totals: &Totals) -> (&'static str, u8) {
    let incomplete = totals.error + totals.skipped > 0 || totals.tables == 0;
    match (totals.different > 0, incomplete, totals.unstable > 0) {
        (true, true, _) => ("different", 3),
        (true, false, _) => ("different", 1),
        (false, true, _) if totals.behind > 0 && totals.behind == totals.error + totals.skipped => {
            ("behind", 5)
        }
        (false, true, _) => ("incomplete", 2),
        (false, false, true) => ("unstable", 2),
        (false, false, false) => ("equal", 0),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        class::Class,
        finding::{Cell, NamedKey},
    };

    /// A report with a row that differs and one that is missing.
    pub(crate) fn planted() -> Report {
        let mut table = TableReport::new("dbo.t".to_owned(), "public.t".to_owned());
        let finding = |id: &str, state, columns: Vec<Cell>| Finding {
            key_bytes: Vec::new(),
            key: NamedKey(vec![("id".to_owned(), Some(id.to_owned()))]),
            state,
            class: columns.first().map(|cell| cell.class),
            columns,
            checks: 1,
        };
        let cell = Cell { column: "name".to_owned(), class: Class::Case, values: None };
        let different = finding("7", State::ConfirmedDifferent, vec![cell]);
        table.found(Kind::Different, different, 10);
        let missing = finding("8", State::ConfirmedMissingInTarget, Vec::new());
        table.found(Kind::MissingInTarget, missing, 10);
        table.conclude();
        Report::new("r1".to_owned(), "p".to_owned(), String::new(), String::new(), vec![table])
    }

    #[test]
    fn the_document_has_the_columns_and_the_first_rows() {
        let report = planted();
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["tables"][0]["columns"]["name"]["classes"]["case"], 1);
        assert_eq!(json["tables"][0]["first_differences"][1]["key"]["id"], "8");
        let text = report.summary();
        assert!(text.contains("column name: 1 rows (case 1)"), "{text}");
        assert!(text.contains("confirmed_different {\"id\":\"7\"}: name (case)"), "{text}");
    }

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
        let mut late = report(&[Equal, Error]);
        late.tables.iter_mut().for_each(|table| table.behind = true);
        let late =
            Report::new(String::new(), String::new(), String::new(), String::new(), late.tables);
        assert_eq!((late.result, late.exit_code), ("behind", 5));
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
