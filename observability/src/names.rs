//! Every metric, in one place: what it is called, what it counts, in which unit, with which labels.
//!
//! Names are `causeway_<service>_<what>_<unit>`, counters end in `_total`, as Prometheus advises
//! (<https://prometheus.io/docs/practices/naming/>). Every series also carries `service` and
//! `pipeline`. A label has few values: a table, a kind, never a key or a position.

pub mod pipeline;
pub mod reconcile;
pub mod sink;
pub mod source;

use metrics::{Counter, Gauge, Histogram, Label};

pub use pipeline::RESIDENT_MEMORY;

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until a restart.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution: `_bucket`, `_sum` and `_count`.
    Histogram,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things that have no unit.
    Count,
    /// Rows of tables.
    Rows,
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
}

/// One metric.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// As it is exported.
    pub name: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// What it counts.
    pub unit: Unit,
    /// One sentence for whoever reads a graph.
    pub help: &'static str,
    /// The labels it is recorded with, besides `service` and `pipeline`.
    pub labels: &'static [&'static str],
}

/// A label with its value, as recorded.
pub type LabelValue<'a> = (&'static str, &'a str);

impl Metric {
    /// A counter to keep and add to where every nanosecond counts; elsewhere [`Metric::add`].
    pub fn counter(&self, labels: &[LabelValue<'_>]) -> Counter {
        self.agrees(Kind::Counter, labels);
        metrics::counter!(self.name, owned(labels))
    }

    /// A gauge to keep.
    pub fn gauge(&self, labels: &[LabelValue<'_>]) -> Gauge {
        self.agrees(Kind::Gauge, labels);
        metrics::gauge!(self.name, owned(labels))
    }

    /// A histogram to keep.
    pub fn histogram(&self, labels: &[LabelValue<'_>]) -> Histogram {
        self.agrees(Kind::Histogram, labels);
        metrics::histogram!(self.name, owned(labels))
    }

    /// Adds to a counter.
    pub fn add(&self, count: u64, labels: &[LabelValue<'_>]) {
        self.counter(labels).increment(count);
    }

    /// Sets a gauge.
    pub fn set(&self, value: f64, labels: &[LabelValue<'_>]) {
        self.gauge(labels).set(value);
    }

    /// Records one observation of a histogram.
    pub fn record(&self, value: f64, labels: &[LabelValue<'_>]) {
        self.histogram(labels).record(value);
    }

    /// A metric is recorded as it was declared; only a mistake in our own code can differ.
    fn agrees(&self, kind: Kind, labels: &[LabelValue<'_>]) {
        debug_assert_eq!(self.kind, kind, "{}", self.name);
        debug_assert!(
            labels.len() == self.labels.len()
                && labels.iter().all(|(name, _)| self.labels.contains(name)),
            "{} has the labels {:?}, not {labels:?}",
            self.name,
            self.labels
        );
    }
}

fn owned(labels: &[LabelValue<'_>]) -> Vec<Label> {
    labels.iter().map(|(name, value)| Label::new(*name, (*value).to_owned())).collect()
}

/// Every metric that any of the binaries exports.
pub fn all() -> Vec<&'static Metric> {
    let mut all = Vec::new();
    all.extend_from_slice(pipeline::ALL);
    all.extend_from_slice(source::ALL);
    all.extend_from_slice(sink::ALL);
    all.extend_from_slice(reconcile::ALL);
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_follow_the_rules() {
        for metric in all() {
            let Metric { name, kind, unit, help, labels } = metric;
            let known = ["causeway_source_", "causeway_sink_", "causeway_reconcile_", "process_"];
            assert!(known.iter().any(|prefix| name.starts_with(prefix)), "{name}");
            assert!(name.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_')), "{name}");
            assert_eq!(*kind == Kind::Counter, name.ends_with("_total"), "{name}");
            let stem = name.trim_end_matches("_total");
            match unit {
                Unit::Seconds => assert!(stem.ends_with("_seconds"), "{name}"),
                Unit::Bytes => assert!(stem.ends_with("_bytes"), "{name}"),
                Unit::Rows | Unit::Count => {}
            }
            assert!(help.ends_with('.'), "{name}: help is a sentence");
            for label in *labels {
                assert!(
                    !["service", "pipeline", "le", "quantile"].contains(label),
                    "{name}: {label}"
                );
            }
        }
    }

    #[test]
    fn no_two_metrics_share_a_name() {
        let names: BTreeSet<_> = all().iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), all().len());
    }
}
