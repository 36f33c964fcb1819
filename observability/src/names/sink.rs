//! What causeway-sink exports.

use super::{Kind, Metric, Unit};

/// Records read from Kafka.
pub const ROWS_READ: Metric = Metric {
    name: "causeway_sink_rows_read_total",
    kind: Kind::Counter,
    unit: Unit::Rows,
    help: "Records read from Kafka.",
    labels: &["table"],
};

/// Rows committed; `operation` is `upsert` or `delete`.
pub const ROWS_APPLIED: Metric = Metric {
    name: "causeway_sink_rows_applied_total",
    kind: Kind::Counter,
    unit: Unit::Rows,
    help: "Rows committed to PostgreSQL.",
    labels: &["table", "operation"],
};

/// Batches committed.
pub const BATCHES: Metric = Metric {
    name: "causeway_sink_batches_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    help: "Batches committed to PostgreSQL.",
    labels: &[],
};

/// Size of batches.
pub const BATCH_ROWS: Metric = Metric {
    name: "causeway_sink_batch_rows",
    kind: Kind::Histogram,
    unit: Unit::Rows,
    help: "Records in one batch.",
    labels: &[],
};

/// Time of one PostgreSQL transaction.
pub const APPLY_SECONDS: Metric = Metric {
    name: "causeway_sink_apply_seconds",
    kind: Kind::Histogram,
    unit: Unit::Seconds,
    help: "Time from the first statement of a batch to its commit.",
    labels: &[],
};

/// Where time goes; `stage` is `decode` (of what Kafka gave at once), `queue` (a batch waits for its lane),
/// `write` (its rows) or `commit` (its offsets and the commit).
pub const STAGE_SECONDS: Metric = Metric {
    name: "causeway_sink_stage_seconds",
    kind: Kind::Histogram,
    unit: Unit::Seconds,
    help: "Time of the stages of a batch.",
    labels: &["stage"],
};

/// Lanes at work.
pub const LANES_BUSY: Metric = Metric {
    name: "causeway_sink_lanes_busy",
    kind: Kind::Gauge,
    unit: Unit::Count,
    help: "Batches that are being applied now, each by a connection of its own.",
    labels: &[],
};

/// What is ours.
pub const PARTITIONS: Metric = Metric {
    name: "causeway_sink_partitions",
    kind: Kind::Gauge,
    unit: Unit::Count,
    help: "Partitions that this sink applies; others may have more.",
    labels: &[],
};

/// How rows were written; `method` is `copy`, `copy_upsert`, `unnest`, `delete` or `update`.
pub const ROWS_WRITTEN: Metric = Metric {
    name: "causeway_sink_rows_written_total",
    kind: Kind::Counter,
    unit: Unit::Rows,
    help: "Rows sent to PostgreSQL, after folding, by the way they were written.",
    labels: &["method"],
};

/// Whole ones, with `apply.consistency = "transaction"`.
pub const TRANSACTIONS: Metric = Metric {
    name: "causeway_sink_transactions_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    help: "Source transactions that were applied whole, in commit order.",
    labels: &[],
};

/// Taken over.
pub const FENCED: Metric = Metric {
    name: "causeway_sink_fenced_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    help: "Times that this sink lost its partitions to others and joined them again.",
    labels: &[],
};

/// End-to-end latency, for the newest change of each batch.
pub const LATENCY_SECONDS: Metric = Metric {
    name: "causeway_sink_latency_seconds",
    kind: Kind::Histogram,
    unit: Unit::Seconds,
    help: "Time from the commit in SQL Server to the commit in PostgreSQL.",
    labels: &[],
};

/// How far applying is behind Kafka.
pub const LAG_RECORDS: Metric = Metric {
    name: "causeway_sink_lag_records",
    kind: Kind::Gauge,
    unit: Unit::Count,
    help: "Records in Kafka that are not yet applied.",
    labels: &[],
};

/// How far applying is behind the source.
pub const LAG_SECONDS: Metric = Metric {
    name: "causeway_sink_lag_seconds",
    kind: Kind::Gauge,
    unit: Unit::Seconds,
    help: "Age of the newest applied commit; 0 when all is applied.",
    labels: &[],
};

/// What memory is bounded by.
pub const BUFFER_BYTES: Metric = Metric {
    name: "causeway_sink_buffer_bytes",
    kind: Kind::Gauge,
    unit: Unit::Bytes,
    help: "Bytes read and not yet committed to PostgreSQL.",
    labels: &[],
};

/// Records set aside.
pub const DEAD_LETTERS: Metric = Metric {
    name: "causeway_sink_dead_letters_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    help: "Records that could not be applied and were set aside.",
    labels: &["table", "reason"],
};

/// Values that PostgreSQL cannot hold and a rule of `[[sink.tables]]` replaced; `reason` is `nul`,
/// `time_range` or `text_length`.
pub const VALUES_REPLACED: Metric = Metric {
    name: "causeway_sink_values_replaced_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    help: "Values that PostgreSQL cannot hold and that were replaced by the nearest it can.",
    labels: &["table", "reason"],
};

/// Tables created, columns added or widened.
pub const SCHEMA_CHANGES: Metric = Metric {
    name: "causeway_sink_schema_changes_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    help: "Changes made to target tables.",
    labels: &["table"],
};

/// Failures that passed, or were waited out; `part` is `postgres`, `disk` (PostgreSQL has no room), `constraint` (a
/// source transaction that the target refuses as a whole), `kafka` or `registry`.
pub const ERRORS: Metric = Metric {
    name: "causeway_sink_errors_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    help: "Failures that were tried again.",
    labels: &["part"],
};

/// All of them.
pub const ALL: &[&Metric] = &[
    &ROWS_READ,
    &ROWS_APPLIED,
    &BATCHES,
    &BATCH_ROWS,
    &APPLY_SECONDS,
    &STAGE_SECONDS,
    &LANES_BUSY,
    &PARTITIONS,
    &ROWS_WRITTEN,
    &TRANSACTIONS,
    &FENCED,
    &LATENCY_SECONDS,
    &LAG_RECORDS,
    &LAG_SECONDS,
    &BUFFER_BYTES,
    &DEAD_LETTERS,
    &VALUES_REPLACED,
    &SCHEMA_CHANGES,
    &ERRORS,
];
