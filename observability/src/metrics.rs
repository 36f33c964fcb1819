//! The recorder behind `/metrics`.

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::ObservabilityError;
use crate::names::{self, Kind, Metric, Unit};

static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();

/// How often samples are folded when nobody scrapes; without it they would pile up.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Installs the recorder, with what each metric means.
pub(crate) fn init(service: &'static str, pipeline: &str) -> Result<(), ObservabilityError> {
    let mut builder = PrometheusBuilder::new()
        .add_global_label("service", service)
        .add_global_label("pipeline", pipeline);
    for metric in names::all().into_iter().filter(|metric| metric.kind == Kind::Histogram) {
        builder = builder
            .set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), buckets(metric.unit))
            .map_err(ObservabilityError::Metrics)?;
    }
    let started = ObservabilityError::Started { what: "the metrics" };
    let Ok(handle) = builder.install_recorder() else { return Err(started) };
    if HANDLE.set(handle.clone()).is_err() {
        return Err(started);
    }
    for metric in names::all() {
        describe(metric);
    }
    // A thread, so that metrics work before and without a runtime; it lives as long as the process.
    drop(std::thread::Builder::new().name("metrics".to_owned()).spawn(move || {
        loop {
            std::thread::sleep(UPKEEP_EVERY);
            handle.run_upkeep();
        }
    }));
    Ok(())
}

/// What a scrape reads; empty before [`init`].
pub(crate) fn render() -> String {
    let Some(handle) = HANDLE.get() else { return String::new() };
    if let Some(bytes) = resident_bytes() {
        names::RESIDENT_MEMORY.set(bytes, &[]);
    }
    handle.render()
}

fn describe(metric: &Metric) {
    let unit = match metric.unit {
        Unit::Count | Unit::Rows => metrics::Unit::Count,
        Unit::Bytes => metrics::Unit::Bytes,
        Unit::Seconds => metrics::Unit::Seconds,
    };
    match metric.kind {
        Kind::Counter => metrics::describe_counter!(metric.name, unit, metric.help),
        Kind::Gauge => metrics::describe_gauge!(metric.name, unit, metric.help),
        Kind::Histogram => metrics::describe_histogram!(metric.name, unit, metric.help),
    }
}

/// Upper bounds of a histogram. Seconds from a millisecond (one commit) to ten minutes (a lag that
/// somebody must look at); rows and bytes from one record to the largest batch.
fn buckets(unit: Unit) -> &'static [f64] {
    match unit {
        Unit::Seconds => &[
            0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
            60.0, 600.0,
        ],
        Unit::Rows | Unit::Count => {
            &[1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5, 3e5, 1e6]
        }
        Unit::Bytes => &[1e3, 1e4, 1e5, 1e6, 4e6, 1.6e7, 6.4e7, 2.56e8],
    }
}

/// The resident memory of this process, from `VmRSS` in `/proc/self/status` (proc_pid_status(5)):
/// the counter of `/proc/self/statm` in kB, so that no page size has to be known.
fn resident_bytes() -> Option<f64> {
    resident(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn resident(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u32 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(f64::from(kilobytes) * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_as_the_kernel_writes_it() {
        assert_eq!(resident("VmPeak:\t  9 kB\nVmRSS:\t    2048 kB\n"), Some(2_097_152.0));
        assert_eq!(resident("VmPeak:\t  9 kB\n"), None);
        assert!(resident_bytes().is_some_and(|bytes| bytes > 100_000.0));
    }

    #[test]
    fn buckets_rise() {
        for unit in [Unit::Seconds, Unit::Rows, Unit::Bytes, Unit::Count] {
            assert!(buckets(unit).windows(2).all(|pair| pair[0] < pair[1]), "{unit:?}");
        }
    }
}
