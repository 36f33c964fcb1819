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

/// Unix time of the newest comparison that found every row of a table equal.
pub const VERIFIED_SECONDS: Metric = Metric {
    name: "causeway_reconcile_verified_timestamp_seconds",
    kind: Kind::Gauge,
    unit: Unit::Seconds,
    help: "When a table was last found equal row by row, in seconds since 1970.",
    labels: &["table"],
};

/// Unix time of the verification of the range that was verified longest ago.
pub const RANGE_VERIFIED_SECONDS: Metric = Metric {
    name: "causeway_reconcile_oldest_range_verified_timestamp_seconds",
    kind: Kind::Gauge,
    unit: Unit::Seconds,
    help: "When the key range of a table that was verified longest ago was last found equal, in seconds since 1970.",
    labels: &["table"],
};

/// Rows of which nothing can be said.
pub const UNSTABLE_ROWS: Metric = Metric {
    name: "causeway_reconcile_unstable_rows",
    kind: Kind::Gauge,
    unit: Unit::Rows,
    help: "Rows that changed at every look of the newest reconciliation.",
    labels: &["table"],
};

/// Columns that are not compared.
pub const SKIPPED_COLUMNS: Metric = Metric {
    name: "causeway_reconcile_skipped_columns",
    kind: Kind::Gauge,
    unit: Unit::Count,
    help: "Columns that the newest reconciliation did not compare.",
    labels: &["table"],
};

/// Keys that changed between the two snapshots.
pub const DIRTY_KEYS: Metric = Metric {
    name: "causeway_reconcile_dirty_keys",
    kind: Kind::Gauge,
    unit: Unit::Count,
    help: "Keys that were in flight when the newest reconciliation froze the table.",
    labels: &["table"],
};

/// Time that the pipeline was waited for.
pub const FENCE_WAIT_SECONDS: Metric = Metric {
    name: "causeway_reconcile_fence_wait_seconds",
    kind: Kind::Histogram,
    unit: Unit::Seconds,
    help: "Time that a comparison waited for the pipeline to arrive.",
    labels: &["table"],
};

/// Scheduled runs that did not happen; `reason` is `overlap` or `blackout`.
pub const RUNS_LEFT_OUT: Metric = Metric {
    name: "causeway_reconcile_runs_left_out_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    help: "Scheduled reconciliations that were left out.",
    labels: &["group", "reason"],
};

/// All of them.
pub const ALL: &[&Metric] = &[
    &RUNS,
    &LAST_RUN_SECONDS,
    &DURATION_SECONDS,
    &ROWS_COMPARED,
    &DIFFERENCES,
    &TABLES,
    &VERIFIED_SECONDS,
    &RANGE_VERIFIED_SECONDS,
    &UNSTABLE_ROWS,
    &SKIPPED_COLUMNS,
    &DIRTY_KEYS,
    &FENCE_WAIT_SECONDS,
    &RUNS_LEFT_OUT,
];
