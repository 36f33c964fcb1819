//! The figures: an array of `{"name","unit","value","limit","ratio","rss_mb"}`, and a table.

use anyhow::{Context as _, Result};
use serde::Serialize;

/// One measurement.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    /// What was measured: `source.snapshot`.
    pub(crate) name: String,
    /// Of `value` and `limit`: `rows/s`, `ms`.
    pub(crate) unit: &'static str,
    /// What came out.
    pub(crate) value: f64,
    /// The raw figure of the same run that `value` cannot be better than; none when there is none.
    pub(crate) limit: Option<f64>,
    /// `value / limit`.
    pub(crate) ratio: Option<f64>,
    /// The most resident memory of the process measured, in MB.
    pub(crate) rss_mb: Option<f64>,
}

/// All of a run.
#[derive(Debug, Default)]
pub(crate) struct Results(Vec<Figure>);

impl Results {
    /// Adds a figure, and says so at once: a run takes minutes.
    pub(crate) fn add(
        &mut self,
        name: &str,
        unit: &'static str,
        value: f64,
        limit: Option<f64>,
        rss_mb: Option<f64>,
    ) {
        let ratio = limit.filter(|limit| *limit > 0.0).map(|limit| rounded(value / limit, 1000.0));
        let (value, limit) = (rounded(value, 100.0), limit.map(|limit| rounded(limit, 100.0)));
        let rss_mb = rss_mb.map(|mb| rounded(mb, 10.0));
        eprintln!("{name}: {value} {unit}");
        let name = name.to_owned();
        self.0.push(Figure { name, unit, value, limit, ratio, rss_mb });
    }

    /// Keeps the figures whose name starts so.
    pub(crate) fn keep(&mut self, start: &str) {
        self.0.retain(|figure| figure.name.starts_with(start));
    }

    /// As JSON.
    pub(crate) fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(&self.0).context("write the figures")? + "\n")
    }

    /// As a table.
    pub(crate) fn table(&self) -> String {
        let mut text = format!(
            "\n{:<24} {:>14} {:>14} {:>7} {:>8}  {}\n",
            "name", "value", "limit", "ratio", "rss MB", "unit"
        );
        let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        for figure in &self.0 {
            text += &format!(
                "{:<24} {:>14.1} {:>14} {:>7} {:>8}  {}\n",
                figure.name,
                figure.value,
                or_dash(figure.limit.map(|limit| format!("{limit:.1}"))),
                or_dash(figure.ratio.map(|ratio| format!("{ratio:.2}"))),
                or_dash(figure.rss_mb.map(|mb| format!("{mb:.0}"))),
                figure.unit
            );
        }
        text
    }
}

fn rounded(value: f64, steps: f64) -> f64 {
    (value * steps).round() / steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_has_the_six_fields() {
        let mut results = Results::default();
        results.add("a.b", "rows/s", 50.0, Some(100.0), None);
        results.add("c", "ms", 1.234_56, None, Some(12.34));
        let json: serde_json::Value = serde_json::from_str(&results.json().unwrap()).unwrap();
        assert_eq!(
            json,
            serde_json::json!([
                {"name": "a.b", "unit": "rows/s", "value": 50.0, "limit": 100.0, "ratio": 0.5, "rss_mb": null},
                {"name": "c", "unit": "ms", "value": 1.23, "limit": null, "ratio": null, "rss_mb": 12.3}
            ])
        );
        results.keep("c");
        assert!(!results.table().contains("a.b"));
    }
}
