//! What causeway-source exports.

use super::{Kind, Metric, Unit};

/// Rows read; `phase` is `snapshot` or `stream`.
pub const ROWS_READ: Metric = Metric {
    name: "causeway_source_rows_read_total",
    kind: Kind::Counter,
    unit: Unit::Rows,
    help: "Rows read from SQL Server.",
    labels: &["table", "phase"],
};

/// Rows in committed Kafka transactions.
pub const ROWS_PUBLISHED: Metric = Metric {
    name: "causeway_source_rows_published_total",
    kind: Kind::Counter,
    unit: Unit::Rows,
    help: "Rows committed to Kafka.",
    labels: &["table"],
};

/// Bytes in committed Kafka transactions.
pub const BYTES_PUBLISHED: Metric = Metric {
    name: "causeway_source_published_bytes_total",
    kind: Kind::Counter,
    unit: Unit::Bytes,
    help: "Bytes of keys and values committed to Kafka.",
    labels: &[],
};

/// Source transactions published whole.
pub const TRANSACTIONS: Metric = Metric {
    name: "causeway_source_transactions_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    help: "Source transactions published.",
    labels: &[],
};

/// Time of one Kafka commit.
pub const COMMIT_SECONDS: Metric = Metric {
    name: "causeway_source_kafka_commit_seconds",
    kind: Kind::Histogram,
    unit: Unit::Seconds,
    help: "Time that a commit of a Kafka transaction took.",
    labels: &[],
};

/// How far publishing is behind the source.
pub const LAG_SECONDS: Metric = Metric {
    name: "causeway_source_lag_seconds",
    kind: Kind::Gauge,
    unit: Unit::Seconds,
    help: "Age of the newest published commit; 0 when all is published.",
    labels: &[],
};

/// How far SQL Server's own capture job is behind its log.
pub const CAPTURE_LAG_SECONDS: Metric = Metric {
    name: "causeway_source_capture_lag_seconds",
    kind: Kind::Gauge,
    unit: Unit::Seconds,
    help: "Age of the newest commit that SQL Server's capture job has recorded, while there is more in the log.",
    labels: &[],
};

/// Where the time of a change went; `stage` is `capture` (commit to seen in a change table) or `publish` (seen
/// to committed to Kafka). Debezium's `MilliSecondsBehindSource` is their sum.
pub const LATENCY_SECONDS: Metric = Metric {
    name: "causeway_source_latency_seconds",
    kind: Kind::Histogram,
    unit: Unit::Seconds,
    help: "Time between the commit of a source transaction and its place in Kafka, by stage.",
    labels: &["stage"],
};

/// Whether the capture job is what changes wait for; `kind` is `pause`, `full`, `slow` or `stopped`.
pub const CAPTURE_LIMIT: Metric = Metric {
    name: "causeway_source_capture_limit",
    kind: Kind::Gauge,
    unit: Unit::Count,
    help: "1 while SQL Server's capture job is what changes wait for, by kind; /status names the call that helps.",
    labels: &["kind"],
};

/// Time of one poll.
pub const POLL_SECONDS: Metric = Metric {
    name: "causeway_source_poll_seconds",
    kind: Kind::Histogram,
    unit: Unit::Seconds,
    help: "Time that a poll of the change tables took.",
    labels: &[],
};

/// What memory is bounded by.
pub const BUFFER_BYTES: Metric = Metric {
    name: "causeway_source_buffer_bytes",
    kind: Kind::Gauge,
    unit: Unit::Bytes,
    help: "Bytes read and not yet committed to Kafka.",
    labels: &[],
};

/// Snapshot progress; `state` is `read` or `expected`.
pub const SNAPSHOT_ROWS: Metric = Metric {
    name: "causeway_source_snapshot_rows",
    kind: Kind::Gauge,
    unit: Unit::Rows,
    help: "Rows of a table's snapshot, read so far and expected.",
    labels: &["table", "state"],
};

/// Snapshot progress in chunks; `state` is `planned` or `done`.
pub const SNAPSHOT_CHUNKS: Metric = Metric {
    name: "causeway_source_snapshot_chunks",
    kind: Kind::Gauge,
    unit: Unit::Count,
    help: "Chunks of a table's snapshot, planned by the table's size and done.",
    labels: &["table", "state"],
};

/// Rows that Kafka did not take.
pub const DEAD_LETTERS: Metric = Metric {
    name: "causeway_source_dead_letters_total",
    kind: Kind::Counter,
    unit: Unit::Rows,
    help: "Rows too large for Kafka that were set aside in the dead letters.",
    labels: &["table"],
};

/// Changes that were gone before they were read.
pub const GAPS: Metric = Metric {
    name: "causeway_source_gaps_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    help: "Times that changes of a table were gone before they were read, and it was copied again.",
    labels: &["table"],
};

/// How much time is left before cleanup takes what was not read.
pub const RETENTION_MARGIN_SECONDS: Metric = Metric {
    name: "causeway_source_retention_margin_seconds",
    kind: Kind::Gauge,
    unit: Unit::Seconds,
    help: "Time between the oldest change that cleanup has left and our position; at 0 changes are lost.",
    labels: &[],
};

/// Failures that passed; `part` is `sqlserver`, `kafka`, `registry` or `source`.
pub const ERRORS: Metric = Metric {
    name: "causeway_source_errors_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    help: "Failures that were tried again.",
    labels: &["part"],
};

/// Whether this process works, or waits as a standby.
pub const ACTIVE: Metric = Metric {
    name: "causeway_source_active",
    kind: Kind::Gauge,
    unit: Unit::Count,
    help: "1 while this source works, 0 while it waits as the standby of another.",
    labels: &[],
};

/// Capture instances that the source made and dropped; `step` is `made` or `dropped`.
pub const ROTATIONS: Metric = Metric {
    name: "causeway_source_rotations_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    help: "Capture instances that the source made for new columns, and old ones that it dropped.",
    labels: &["table", "step"],
};

/// Tables that wait because the registry refuses their schema.
pub const HALTED: Metric = Metric {
    name: "causeway_source_halted",
    kind: Kind::Gauge,
    unit: Unit::Count,
    help: "1 while a table waits because the registry refuses its schema as incompatible; others go on.",
    labels: &["table"],
};

/// All of them.
pub const ALL: &[&Metric] = &[
    &ACTIVE,
    &ROTATIONS,
    &HALTED,
    &ROWS_READ,
    &ROWS_PUBLISHED,
    &BYTES_PUBLISHED,
    &TRANSACTIONS,
    &COMMIT_SECONDS,
    &LAG_SECONDS,
    &CAPTURE_LAG_SECONDS,
    &LATENCY_SECONDS,
    &CAPTURE_LIMIT,
    &POLL_SECONDS,
    &BUFFER_BYTES,
    &SNAPSHOT_ROWS,
    &SNAPSHOT_CHUNKS,
    &DEAD_LETTERS,
    &GAPS,
    &RETENTION_MARGIN_SECONDS,
    &ERRORS,
];
