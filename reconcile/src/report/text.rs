//! The table on the terminal: a line a table, what differs below it, and the sum.

use std::fmt::Write as _;

use super::{Report, TableReport};
use crate::class::Class;

/// One line a table, what differs in it, and one line for the sum.
#[must_use]
pub fn summary(report: &Report) -> String {
    let width = report.tables.iter().map(|t| t.source.len()).max().unwrap_or(5).max(5);
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
    for t in &report.tables {
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
        details(t, &mut out);
    }
    let totals = &report.totals;
    _ = writeln!(
        out,
        "{}: {} tables, {} rows, {} differences{}",
        report.result,
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

/// Rows that the terminal shows of each table; the files have more.
const ROWS: usize = 5;

fn details(table: &TableReport, out: &mut String) {
    for (column, count) in &table.columns {
        let classes: Vec<String> =
            count.classes.iter().map(|(class, n)| format!("{} {n}", class.name())).collect();
        _ = writeln!(out, "    column {column}: {} rows ({})", count.different, classes.join(", "));
    }
    for finding in table.findings.iter().take(ROWS) {
        let columns: Vec<String> = finding
            .columns
            .iter()
            .map(|cell| match &cell.values {
                None => format!("{} ({})", cell.column, cell.class.name()),
                Some(values) => format!(
                    "{} ({}) {} -> {}",
                    cell.column,
                    cell.class.name(),
                    shown(values.source.as_deref()),
                    shown(values.target.as_deref())
                ),
            })
            .collect();
        _ = writeln!(
            out,
            "    {} {}{}{}",
            finding.state.name(),
            finding.key.json(),
            if columns.is_empty() { "" } else { ": " },
            columns.join(", ")
        );
    }
    if table.findings.len() > ROWS {
        _ = writeln!(out, "    ... and {} more", table.findings.len() - ROWS);
    }
    for class in classes(table) {
        _ = writeln!(out, "    {}: {}", class.name(), class.advice());
    }
}

fn shown(value: Option<&str>) -> String {
    value.map_or_else(|| "NULL".to_owned(), |text| format!("{text:?}"))
}

/// The classes that occur in a table.
pub(super) fn classes(table: &TableReport) -> Vec<Class> {
    Class::ALL
        .into_iter()
        .filter(|class| table.columns.values().any(|count| count.classes.contains_key(class)))
        .collect()
}
