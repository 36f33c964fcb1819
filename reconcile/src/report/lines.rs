//! Differences for programs: NDJSON with an object a row, CSV with a line a row and column.

use serde::Serialize;

use super::Report;
use crate::finding::Finding;

/// The first line of the CSV.
const HEADER: &str =
    "run_id,table,target,key,state,class,column,column_class,source,target_value\r\n";

#[derive(Serialize)]
struct Line<'a> {
    run_id: &'a str,
    table: &'a str,
    target: &'a str,
    #[serde(flatten)]
    finding: &'a Finding,
    remediation: &'a str,
}

/// One JSON object a line for each row that differs.
#[must_use]
pub fn ndjson(report: &Report) -> String {
    let mut out = String::new();
    for table in &report.tables {
        for finding in &table.findings {
            let line = Line {
                run_id: &report.run_id,
                table: &table.source,
                target: &table.target,
                finding,
                remediation: super::remediation(finding),
            };
            // Texts and numbers always have a JSON form.
            out.push_str(&serde_json::to_string(&line).unwrap_or_default());
            out.push('\n');
        }
    }
    out
}

/// One line for each row and column that differ (RFC 4180); a row that one side lacks has one line.
#[must_use]
pub fn csv(report: &Report) -> String {
    let mut out = HEADER.to_owned();
    for table in &report.tables {
        for finding in &table.findings {
            let key = finding.key.json();
            let class = finding.class.map_or("", |class| class.name());
            let start =
                [&report.run_id, &table.source, &table.target, &key, finding.state.name(), class];
            if finding.columns.is_empty() {
                line(start.into_iter().chain([""; 4]), &mut out);
            }
            for cell in &finding.columns {
                let (source, target) = cell.values.as_ref().map_or((None, None), |values| {
                    (values.source.as_deref(), values.target.as_deref())
                });
                let rest = [
                    cell.column.as_str(),
                    cell.class.name(),
                    source.unwrap_or_default(),
                    target.unwrap_or_default(),
                ];
                line(start.into_iter().chain(rest), &mut out);
            }
        }
    }
    out
}

fn line<'a>(fields: impl Iterator<Item = &'a str>, out: &mut String) {
    let fields: Vec<String> = fields.map(field).collect();
    out.push_str(&fields.join(","));
    out.push_str("\r\n");
}

/// A field in quotes where it must be. A spreadsheet takes what begins with `=` for a formula, so such a
/// field gets an apostrophe.
fn field(text: &str) -> String {
    let guard = if text.starts_with(['=', '+', '@']) { "'" } else { "" };
    if text.contains([',', '"', '\r', '\n']) {
        format!("\"{guard}{}\"", text.replace('"', "\"\""))
    } else {
        format!("{guard}{text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::planted;

    #[test]
    fn every_finding_is_a_line_of_ndjson() {
        let text = ndjson(&planted());
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["table"], "dbo.t");
        assert_eq!(lines[0]["key"]["id"], "7");
        assert_eq!(lines[0]["state"], "confirmed_different");
        assert_eq!(lines[1]["state"], "confirmed_missing_in_target");
        assert!(lines[1]["remediation"].as_str().unwrap().contains("repair"));
    }

    #[test]
    fn the_csv_has_a_line_for_each_cell_and_quotes_what_must_be() {
        let text = csv(&planted());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(
            lines[1].contains("\"{\"\"id\"\":\"\"7\"\"}\",confirmed_different,case,name,case,")
        );
        assert_eq!(field("=1+1"), "'=1+1");
        assert_eq!(field("a\nb"), "\"a\nb\"");
    }
}
