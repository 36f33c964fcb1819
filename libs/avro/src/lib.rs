//! What travels on a topic: rows as Avro, in the shape that Debezium's SQL Server connector and
//! Confluent's AvroConverter give them.
//!
//! # The promise
//!
//! A Debezium sink, Flink's `debezium-avro-confluent` and a Confluent deserializer read what
//! [`Encoder`] writes, and [`Decoder`] reads what Debezium writes. Field order, property order and
//! schema names are therefore part of the contract: they are Debezium's, to the letter.
//!
//! The crate is pure: bytes in, bytes out, no I/O, no async. It never panics on bytes that it is
//! given, whatever they are.
//!
//! Reading order: [`names`] (names that Avro allows), [`schema`] (table to schema), [`encode`] (row
//! to bytes), [`transaction`] (where transactions begin and end), [`decode`] (bytes to row, by a plan compiled from the writer's schema), [`frame`] (the
//! registry's five bytes in front).
//!
//! # What may change without breaking a reader
//!
//! Columns are added at the end and subjects are FORWARD_TRANSITIVE, so a reader of an old schema
//! reads new records. What a property means never changes.

pub mod decode;
pub mod encode;
mod encoding;
mod error;
pub mod frame;
pub mod names;
mod reading;
pub mod schema;
mod text;
pub mod transaction;
mod wire;
mod writer_schema;

pub use decode::{Decoded, DecodedSource, Decoder, Head, KeyDecoder, Origin};
pub use encode::{Encoder, Envelope, Snapshot, SourceBlock, Tail};
pub use error::{DecodeError, EncodeError, FrameError, SchemaError};
pub use schema::{Decimals, Options, Temporal};
pub use transaction::TransactionBlock;

/// What stands in a string column for a value that the source does not know; a bytes column holds
/// its UTF-8 bytes. It is the default of Debezium's `unavailable.value.placeholder`.
///
/// A value that happens to be this text is taken for unavailable, in columns that can be left out
/// of a change table only (`ColumnType::is_large`).
pub const UNAVAILABLE: &str = "__debezium_unavailable_value";

#[cfg(test)]
mod testing;
