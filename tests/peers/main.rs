//! Our programs beside the ones that people use today, on the same servers: Debezium's SQL Server
//! connector and Debezium's JDBC sink in Kafka Connect.

// Clippy takes functions beside the tests for code that is shipped.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod both;
mod choices;
mod histories;
mod known;
mod records;
mod sink_swapped;
mod source_records;

use std::time::Duration;

/// How long a test waits for what should take seconds: two cores run many things at once.
const LIMIT: Duration = Duration::from_secs(120);
