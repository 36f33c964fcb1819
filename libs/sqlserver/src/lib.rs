//! SQL Server, read: its catalogue, its tables and its change tables.
//!
//! # What this crate promises
//!
//! A value is handed on exactly as SQL Server holds it, or with an error that names the column. Nothing is
//! ever written to the server. A connection that was left in the middle of an answer is never used
//! again, because the driver could hand the rest of that answer to the next question.
//!
//! Reading order: [`config`] and [`error`]; [`client`] (one connection: ask, stream) and [`pool`];
//! [`identifier`] (the only way to write a name) and [`queries`] (every T-SQL text, with the page that
//! describes what it reads); [`types`], [`value`] and [`default`] (what a column holds);
//! [`catalog`] (tables, keys, capture instances); [`rows`] (rows of a table by key range or by keys), [`hashing`]
//! (rows hashed by the server);
//! [`mask`] and [`changes`] (rows of a change table); [`log`] (where the log and the capture job are);
//! [`captured`] and [`fence`] (reading a table beside its changes); [`rotation`] (capture instances made and dropped).

pub mod capture;
pub mod captured;
pub mod catalog;
pub mod changes;
pub mod client;
pub mod config;
pub mod default;
pub mod error;
pub mod fence;
pub mod hashing;
pub mod identifier;
pub mod log;
pub mod mask;
pub mod patterns;
pub mod pool;
pub mod queries;
pub mod rotation;
pub mod rows;
pub mod still;
pub mod types;
pub mod value;

pub use catalog::{
    CaptureInstance, ColumnRead, Discovery, LeftOut, Refused, Selection, SourceTable,
};
pub use changes::{ChangeRow, ChangeRows};
pub use client::{Client, Param, Query, Record};
pub use config::{ApplicationIntent, Config, ConfigError, Encrypt};
pub use error::SqlServerError;
pub use patterns::Patterns;
pub use pool::Pool;
pub use rows::{KeyRange, Slice, TableRows};
