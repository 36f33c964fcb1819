//! Every type, from the T-SQL literal over the Avro record to the PostgreSQL text, by the real
//! pipeline: half of the rows by the snapshot, half by the change tables. Writes docs/type-mapping.md.
#![allow(
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test: what is missing or of another kind is a failure"
)]

mod cases;
mod document;
mod interop;
mod pipeline;
mod schema_example;
