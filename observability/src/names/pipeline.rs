//! What every binary exports.

use super::{Kind, Metric, Unit};

/// Memory of the process, the name every Prometheus client library uses.
pub const RESIDENT_MEMORY: Metric = Metric {
    name: "process_resident_memory_bytes",
    kind: Kind::Gauge,
    unit: Unit::Bytes,
    help: "Resident memory of the process.",
    labels: &[],
};

/// All of them.
pub const ALL: &[&Metric] = &[&RESIDENT_MEMORY];
