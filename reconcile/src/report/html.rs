//! The report as one HTML file: no script, nothing from elsewhere, charts as inline SVG.

use std::fmt::Write as _;

use super::{Report, Status, TableReport, text};
use crate::finding::{Cell, Finding};

/// Rows shown of each table; the NDJSON has more.
const ROWS: usize = 200;

const STYLE: &str = "body{font:14px/1.45 system-ui,sans-serif;margin:2em auto;max-width:72em;padding:0 1em;color:#1b1f24;background:#fff}\
h1{font-size:1.5em}h2{font-size:1.15em;margin:0 0 .4em}code,td.v{font-family:ui-monospace,monospace;font-size:.92em}\
table{border-collapse:collapse;width:100%;margin:.6em 0}th,td{text-align:left;padding:.25em .6em;border-bottom:1px solid #d8dee4;vertical-align:top}\
th{color:#57606a;font-weight:600}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}\
section{border:1px solid #d8dee4;border-radius:6px;padding:1em;margin:1em 0}\
.s{border-radius:1em;padding:.1em .7em;color:#fff;font-size:.85em}\
.equal{background:#1a7f37}.different{background:#cf222e}.unstable{background:#9a6700}.error{background:#8250df}.skipped{background:#6e7781}\
del{background:#ffebe9;text-decoration:none}ins{background:#dafbe1;text-decoration:none}pre{background:#f6f8fa;padding:.7em;overflow:auto}\
@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}pre{background:#161b22}section,th,td{border-color:#30363d}del{background:#67060c}ins{background:#033a16}}";

/// The whole document.
#[must_use]
pub fn document(report: &Report) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>Reconciliation of {pipeline}: {result}</title><style>{STYLE}</style></head><body>\n\
         <h1>Reconciliation of {pipeline} <span class=\"s {class}\">{result}</span></h1>\n\
         <p>Run <code>{run}</code>, {started} to {finished}, causeway-reconcile {version}, encoding {encoding}.</p>\n",
        pipeline = escape(&report.pipeline),
        result = report.result,
        class = result_class(report.result),
        run = escape(&report.run_id),
        started = escape(&report.started_at),
        finished = escape(&report.finished_at),
        version = report.tool.version,
        encoding = report.tool.encoding,
    );
    totals(report, &mut out);
    overview(report, &mut out);
    for table in &report.tables {
        card(report, table, &mut out);
    }
    out.push_str("</body></html>\n");
    out
}

fn totals(report: &Report, out: &mut String) {
    let t = &report.totals;
    let parts = [
        (t.equal, "#1a7f37", "equal"),
        (t.different, "#cf222e", "different"),
        (t.unstable, "#9a6700", "unstable"),
        (t.error, "#8250df", "not compared"),
        (t.skipped, "#6e7781", "skipped"),
    ];
    out.push_str("<svg role=\"img\" aria-label=\"tables by result\" viewBox=\"0 0 1000 24\" width=\"100%\" height=\"24\">");
    let mut x = 0;
    for (count, color, name) in parts {
        let width = count.saturating_mul(1000) / t.tables.max(1);
        _ = write!(
            out,
            "<rect x=\"{x}\" y=\"0\" width=\"{width}\" height=\"24\" fill=\"{color}\"><title>{count} {name}</title></rect>"
        );
        x += width;
    }
    _ = write!(
        out,
        "</svg>\n<p>{} tables: {} equal, {} different, {} unstable, {} not compared, {} skipped; {} rows of the \
         source compared, {} differences confirmed.</p>\n",
        t.tables,
        t.equal,
        t.different,
        t.unstable,
        t.error,
        t.skipped,
        t.rows_compared,
        t.differences
    );
}

fn overview(report: &Report, out: &mut String) {
    out.push_str(
        "<table><thead><tr><th>Table</th><th>Status</th><th class=\"n\">Rows source</th><th class=\"n\">Rows target</th>\
         <th class=\"n\">Missing</th><th class=\"n\">Extra</th><th class=\"n\">Different</th><th class=\"n\">In flight</th>\
         <th class=\"n\">Unstable</th><th class=\"n\">Seconds</th></tr></thead><tbody>\n",
    );
    for t in &report.tables {
        _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{}.{}</td></tr>",
            escape(&t.source),
            badge(t.status),
            t.rows.source,
            t.rows.target,
            t.missing_in_target,
            t.extra_in_target,
            t.different,
            t.in_flight_resolved,
            t.unstable,
            t.duration_ms / 1000,
            t.duration_ms % 1000 / 100,
        );
    }
    out.push_str("</tbody></table>\n");
}

/// A card for a table that has something to say.
fn card(report: &Report, table: &TableReport, out: &mut String) {
    if table.status == Status::Equal && table.columns_skipped.is_empty() {
        return;
    }
    _ = writeln!(
        out,
        "<section><h2>{} {}</h2><p>Target <code>{}</code>, key <code>{}</code>.</p>",
        escape(&table.source),
        badge(table.status),
        escape(&table.target),
        escape(&if table.key.is_empty() { "(none)".to_owned() } else { table.key.join(", ") }),
    );
    if let Some(reason) = &table.reason {
        _ = writeln!(out, "<p><strong>{}</strong></p>", escape(reason));
    }
    for skipped in &table.columns_skipped {
        _ = writeln!(
            out,
            "<p>Column <code>{}</code> was not compared: {}.</p>",
            escape(&skipped.name),
            escape(&skipped.reason)
        );
    }
    if !table.columns.is_empty() {
        heat(table, out);
    }
    if !table.findings.is_empty() {
        rows(&table.findings, out);
    }
    let classes = text::classes(table);
    if !classes.is_empty() {
        out.push_str("<ul>");
        for class in classes {
            _ = write!(out, "<li><strong>{}</strong>: {}.</li>", class.name(), class.advice());
        }
        out.push_str("</ul>\n");
    }
    if table.differences() > 0 {
        _ = writeln!(
            out,
            "<p>Look again, then repair:</p><pre>causeway-reconcile recheck {run}\ncauseway-reconcile repair {run} --emit-sql repair.sql</pre>",
            run = escape(&report.run_id)
        );
    }
    out.push_str("</section>\n");
}

/// A bar for each column that differs: its share of the rows that do.
fn heat(table: &TableReport, out: &mut String) {
    let most = table.columns.values().map(|count| count.different).max().unwrap_or(1).max(1);
    out.push_str("<table><thead><tr><th>Column</th><th class=\"n\">Rows</th><th>Share</th><th>Classes</th></tr></thead><tbody>\n");
    for (column, count) in &table.columns {
        let classes: Vec<String> =
            count.classes.iter().map(|(class, n)| format!("{} {n}", class.name())).collect();
        _ = writeln!(
            out,
            "<tr><td><code>{}</code></td><td class=\"n\">{}</td><td><svg viewBox=\"0 0 200 10\" width=\"200\" height=\"10\">\
             <rect width=\"{}\" height=\"10\" fill=\"#cf222e\"/></svg></td><td>{}</td></tr>",
            escape(column),
            count.different,
            count.different.saturating_mul(200) / most,
            classes.join(", "),
        );
    }
    out.push_str("</tbody></table>\n");
}

fn rows(findings: &[Finding], out: &mut String) {
    out.push_str(
        "<table><thead><tr><th>Key</th><th>State</th><th>Columns</th></tr></thead><tbody>\n",
    );
    for finding in findings.iter().take(ROWS) {
        let cells: Vec<String> = finding.columns.iter().map(cell).collect();
        _ = writeln!(
            out,
            "<tr><td class=\"v\">{}</td><td>{}</td><td>{}</td></tr>",
            escape(&finding.key.json()),
            finding.state.name(),
            cells.join("<br>"),
        );
    }
    out.push_str("</tbody></table>\n");
    if findings.len() > ROWS {
        _ = writeln!(out, "<p>{} more are in the NDJSON.</p>", findings.len() - ROWS);
    }
}

fn cell(cell: &Cell) -> String {
    let name = format!("<code>{}</code> ({})", escape(&cell.column), cell.class.name());
    match &cell.values {
        None => name,
        Some(values) => format!(
            "{name} <del>{}</del> <ins>{}</ins>",
            escape(values.source.as_deref().unwrap_or("NULL")),
            escape(values.target.as_deref().unwrap_or("NULL"))
        ),
    }
}

fn badge(status: Status) -> String {
    let (class, name) = match status {
        Status::Equal => ("equal", "equal"),
        Status::Different => ("different", "different"),
        Status::Unstable => ("unstable", "unstable"),
        Status::Error => ("error", "not compared"),
        Status::Skipped => ("skipped", "skipped"),
    };
    format!("<span class=\"s {class}\">{name}</span>")
}

fn result_class(result: &str) -> &'static str {
    match result {
        "equal" => "equal",
        "different" => "different",
        "unstable" => "unstable",
        _ => "error",
    }
}

/// Text as text: names and values come from databases.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::planted;

    #[test]
    fn the_document_stands_alone_and_says_what_differs() {
        let mut report = planted();
        report.pipeline = "<script>alert(1)</script>".to_owned();
        let html = document(&report);
        assert!(!html.contains("<script") && !html.contains("http"), "{html}");
        assert!(html.contains("&lt;script&gt;"));
        for part in
            ["<svg", "dbo.t", "confirmed_different", "{&quot;id&quot;:&quot;7&quot;}", "case"]
        {
            assert!(html.contains(part), "{part} is not in {html}");
        }
        assert_eq!(html.matches("<section>").count(), html.matches("</section>").count());
    }
}
