//! The source as a process, between the SQL Server stand-in and a real Kafka with a real registry.

// Clippy takes functions beside the tests for code that is shipped.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout)]

mod advisor;
mod big;
mod conformance;
mod gaps;
mod halted;
mod keyless;
mod large;
mod offsets;
mod order;
mod oversize;
mod parts;
mod restart;
mod rig;
mod rotate;
mod schema;
mod signals;
mod snapshot;
mod standby;
mod transactions;
mod traps;

use std::time::Duration;

/// How long a test waits for what should take a second: two cores run many things at once.
const LIMIT: Duration = Duration::from_secs(120);
