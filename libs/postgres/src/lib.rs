//! PostgreSQL: connections, names, types and the binary form of rows.
//!
//! Reading order: [`config`] and [`client`] (how it is reached), [`error`] (what a failure means, decided
//! in one place by SQLSTATE), [`identifier`] (the only way to write a name), [`types`] (which column a
//! SQL Server type becomes), [`encode`] and [`decode`] (a value's binary form, both ways), [`put`] (the same by a
//! plan, for many rows), [`literal`] (a value's text), [`copy`] (rows
//! in, by binary COPY), [`rows`] (rows out), [`hashing`] (rows hashed by the server), [`catalog`] (what a table looks like).

pub mod catalog;
pub mod client;
pub mod config;
pub mod copy;
pub mod decode;
pub mod encode;
pub mod error;
pub mod hashing;
pub mod identifier;
pub mod literal;
pub mod numeric;
pub mod pool;
pub mod put;
pub mod rows;
pub mod types;

pub use client::Client;
pub use config::{Config, Pooler, Tls};
pub use encode::EncodeError;
pub use error::{Class, PostgresError};
pub use pool::{Pool, Pooled};

/// What statements run on: a [`Client`] and a [`Pooled`] connection are one by dereference.
pub type Session = tokio_postgres::Client;
