//! Tells somebody how a run ended: an HTTP POST of JSON, or of Slack's form. Never with a row's key or value.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::report::Report;

/// The section `[reconcile.webhook]`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Where to POST; holds a secret more often than not.
    pub url: String,
    /// `json` for the report's sums and tables, `slack` for a text that Slack and its kin show.
    #[serde(default)]
    pub format: Format,
    /// `failure` tells of every result but `equal`, `always` of each.
    #[serde(default)]
    pub on: On,
}

/// The form of the body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Sums and tables.
    #[default]
    Json,
    /// `{"text": …}`.
    Slack,
}

/// Which results are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum On {
    /// All but `equal`.
    #[default]
    Failure,
    /// All.
    Always,
}

/// The address may hold a secret and is not printed.
impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook").field("format", &self.format).field("on", &self.on).finish()
    }
}

/// Tables that Slack's text names.
const NAMED: usize = 10;

impl Webhook {
    /// What is sent of a report; `None` when it is not told.
    #[must_use]
    pub fn body(&self, report: &Report) -> Option<Json> {
        if report.exit_code == 0 && self.on == On::Failure {
            return None;
        }
        let wrong: Vec<_> = report.tables.iter().filter(|table| table.is_wrong()).collect();
        Some(match self.format {
            Format::Json => {
                let tables: Vec<Json> = wrong
                    .iter()
                    .map(|table| {
                        json!({
                            "source": table.source, "target": table.target, "status": table.status,
                            "reason": table.reason, "missing_in_target": table.missing_in_target,
                            "extra_in_target": table.extra_in_target, "different": table.different,
                            "unstable": table.unstable,
                        })
                    })
                    .collect();
                json!({
                    "schema_version": report.schema_version, "run_id": report.run_id,
                    "pipeline": report.pipeline, "started_at": report.started_at,
                    "finished_at": report.finished_at, "result": report.result,
                    "exit_code": report.exit_code, "totals": report.totals, "tables": tables,
                })
            }
            Format::Slack => {
                let mut text = format!(
                    "*{}*: reconciliation is *{}*: {} tables, {} equal, {} different, {} unstable, {} not compared; \
                     {} differences (run `{}`)",
                    report.pipeline,
                    report.result,
                    report.totals.tables,
                    report.totals.equal,
                    report.totals.different,
                    report.totals.unstable,
                    report.totals.error + report.totals.skipped,
                    report.totals.differences,
                    report.run_id
                );
                for table in wrong.iter().take(NAMED) {
                    text.push_str(&format!(
                        "\n• `{}`: {} missing, {} extra, {} different, {} unstable{}",
                        table.source,
                        table.missing_in_target,
                        table.extra_in_target,
                        table.different,
                        table.unstable,
                        table.reason.as_ref().map(|r| format!(" ({r})")).unwrap_or_default()
                    ));
                }
                json!({ "text": text })
            }
        })
    }

    /// Sends what is told of a report. A failure is logged: the result stands without it.
    pub async fn tell(&self, report: &Report) {
        let Some(body) = self.body(report) else { return };
        // The error of a request names its address, which may be a secret.
        let sent = async {
            let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build()?;
            client.post(&self.url).json(&body).send().await?.error_for_status()
        };
        if let Err(error) = sent.await {
            tracing::warn!(error = %error.without_url(), "the webhook did not take the result");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::planted;

    #[test]
    fn both_forms_say_what_is_wrong_and_neither_names_a_row() {
        let hook = |format, on| Webhook { url: "https://hooks/secret".to_owned(), format, on };
        let report = planted();
        let json = hook(Format::Json, On::Failure).body(&report).unwrap();
        assert_eq!(
            (&json["result"], &json["tables"][0]["different"]),
            (&"different".into(), &1.into())
        );
        let slack = hook(Format::Slack, On::Failure).body(&report).unwrap();
        let text = slack["text"].as_str().unwrap();
        assert!(text.contains("*different*") && text.contains("`dbo.t`: 1 missing"), "{text}");
        for body in [json.to_string(), slack.to_string()] {
            assert!(!body.contains("\"id\""), "{body}");
        }
        let mut equal = planted();
        equal.exit_code = 0;
        assert!(hook(Format::Json, On::Failure).body(&equal).is_none());
        assert!(hook(Format::Json, On::Always).body(&equal).is_some());
        assert!(!format!("{:?}", hook(Format::Json, On::Always)).contains("secret"));
    }
}
