//! Compares SQL Server with PostgreSQL, table by table, and says what differs.
//!
//! # The one promise
//!
//! A table is called equal only when every row of both sides was read and compared, value by value,
//! by a digest that both sides compute from the same canonical bytes. A row is called different only
//! when it still differs after the time that replication needs ([`settle`]). What could not be
//! compared is an error with its own exit code, never "equal" and never "missing".
//!
//! Reading order: [`digest`] (the canonical bytes of a row), [`spool`] (one side of a table, in
//! bounded memory), [`compare`] (two spools become differences), [`settle`] (which differences are
//! real), [`run`] (the plan of one pass), [`report`] (what was found, without values),
//! [`schedule`] (runs by the clock).

pub mod compare;
pub mod config;
pub mod digest;
pub mod error;
pub mod progress;
pub mod report;
pub mod run;
pub mod schedule;
pub mod settle;
pub mod sides;
pub mod spool;
pub mod table;

pub use config::Config;
pub use error::ReconcileError;
