//! The sink as a user runs it: the binary as a process, a real Kafka and registry before it, a real
//! PostgreSQL behind it. The records come from our own encoder, so no source is needed.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, also in its helpers"
)]

mod ahead;
mod bad_records;
mod changes;
mod dead_letters;
mod disk;
mod dlq;
mod exactly_once;
mod faults;
mod keyless;
mod members;
mod operate;
mod rig;
mod schema;
mod shapes;
mod types;
mod whole;
