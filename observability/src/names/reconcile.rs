//! What causeway-reconcile exports.

use super::{Kind, Metric, Unit};

/// Runs; `result` is `equal`, `different` or `failed`.
pub const RUNS: Metric = Metric {
    name: "causeway_reconcile_runs_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    help: "Reconciliations that ended.",
    labels: &["result"],
};

/// Unix time of the newest result.
pub const LAST_RUN_SECONDS: Metric = Metric {
    name: "causeway_reconcile_last_run_timestamp_seconds",
    kind: Kind::Gauge,
    unit: Unit::Seconds,
    help: "When the newest reconciliation ended, in seconds since 1970.",
    labels: &[],
};

/// Time of one table.
pub const DURATION_SECONDS: Metric = Metric {
    name: "causeway_reconcile_duration_seconds",
    kind: Kind::Histogram,
    unit: Unit::Seconds,
    help: "Time that the comparison of a table took.",
    labels: &["table"],
};

/// Rows compared; `side` is `source` or `target`.
pub const ROWS_COMPARED: Metric = Metric {
    name: "causeway_reconcile_rows_compared_total",
    kind: Kind::Counter,
    unit: Unit::Rows,
    help: "Rows read from either side and compared.",
    labels: &["table", "side"],
};

/// Differences found; `kind` is `missing`, `extra` or `different`.
pub const DIFFERENCES: Metric = Metric {
    name: "causeway_reconcile_differences",
    kind: Kind::Gauge,
    unit: Unit::Rows,
    help: "Differences that the newest reconciliation found.",
    labels: &["table", "kind"],
};

/// Tables; `result` is `equal`, `different`, `skipped` or `failed`.
pub const TABLES: Metric = Metric {
    name: "causeway_reconcile_tables",
    kind: Kind::Gauge,
    unit: Unit::Count,
    help: "Tables of the newest reconciliation by result.",
    labels: &["result"],
};

/// All of them.
pub const ALL: &[&Metric] =
    &[&RUNS, &LAST_RUN_SECONDS, &DURATION_SECONDS, &ROWS_COMPARED, &DIFFERENCES, &TABLES];
