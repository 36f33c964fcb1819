//! Reads what a `/metrics` page says.

use std::collections::BTreeMap;

/// One line of the page.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The name of the metric.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

/// A page of metrics in Prometheus' text format.
#[derive(Clone, Debug, Default)]
pub struct Metrics(pub Vec<Sample>);

impl Metrics {
    /// Reads a page; lines that are not samples are left out.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self(text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect())
    }

    /// The sum over all label values; `None` when the page has no such metric.
    #[must_use]
    pub fn sum(&self, name: &str) -> Option<f64> {
        let mut values = self.values(name).peekable();
        values.peek()?;
        Some(values.sum())
    }

    /// The largest over all label values.
    #[must_use]
    pub fn max(&self, name: &str) -> Option<f64> {
        self.values(name).reduce(f64::max)
    }

    /// The sum over those whose label has that value; `None` when there is none.
    #[must_use]
    pub fn of(&self, name: &str, label: &str, value: &str) -> Option<f64> {
        let has = |sample: &&Sample| {
            sample.name == name && sample.labels.get(label).is_some_and(|found| found == value)
        };
        let mut found = self.0.iter().filter(has).map(|sample| sample.value).peekable();
        found.peek()?;
        Some(found.sum())
    }

    /// All values of a metric.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = f64> + 'a {
        self.0.iter().filter(move |sample| sample.name == name).map(|sample| sample.value)
    }
}

fn sample(line: &str) -> Option<Sample> {
    let line = line.trim();
    let (head, rest) = match line.find('{') {
        Some(open) => {
            // A label's value may hold a brace; the last one closes the labels.
            let close = line.rfind('}')?;
            (line.get(..open)?, (line.get(open + 1..close)?, line.get(close + 1..)?))
        }
        None => {
            let (name, value) = line.split_once(char::is_whitespace)?;
            (name, ("", value))
        }
    };
    let (labels, value) = rest;
    let value = value.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: head.to_owned(), labels: parse_labels(labels), value })
}

fn parse_labels(text: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once("=\"") {
        let mut value = String::new();
        let mut chars = after.char_indices();
        let mut end = after.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    end = at + 1;
                    break;
                }
                '\\' => match chars.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, c)) => value.push(c),
                    None => break,
                },
                _ => value.push(c),
            }
        }
        labels.insert(name.trim_matches([',', ' ']).to_owned(), value);
        rest = after.get(end..).unwrap_or_default();
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_with_and_without_labels() {
        let page = Metrics::parse(
            "# TYPE a counter\na{table=\"dbo.t\",x=\"}\\\"\"} 3\na{table=\"dbo.u\"} 4.5\nb 1e3\n\n",
        );
        assert_eq!(page.sum("a"), Some(7.5));
        assert_eq!(page.max("a"), Some(4.5));
        assert_eq!(page.sum("b"), Some(1000.0));
        assert_eq!(page.sum("c"), None);
        assert_eq!(page.0[0].labels["table"], "dbo.t");
        assert_eq!(page.0[0].labels["x"], "}\"");
    }
}
