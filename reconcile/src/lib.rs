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
//! bounded memory), [`compare`] (two spools become differences), [`sides`] and [`chunks`] (how rows are
//! read), [`read`] and [`ranges`] (both sides at a time, range by range), [`stripes`] (who reads which range), [`hashing`]
//! (ranges that the servers hash themselves),
//! [`ledger`] (which ranges are known already),
//! [`fence`] (two frozen snapshots and the keys between them), [`ladder`], [`settle`] and [`recheck`]
//! (which differences are real), [`table`] and [`run`] (one table, one pass), [`mod@class`], [`finding`] and
//! [`report`] (what was found, without values), [`history`] (what was found before), [`repair`] and [`signal`]
//! (how it is mended), [`schedule`], [`window`] and [`webhook`] (runs by the clock).

pub mod chunks;
pub mod class;
pub mod compare;
pub mod config;
pub mod digest;
pub mod error;
pub mod fence;
pub mod finding;
pub mod hashing;
pub mod history;
pub mod ladder;
pub mod ledger;
mod levels;
pub mod patience;
pub mod progress;
pub mod ranges;
pub mod read;
pub mod recheck;
pub mod repair;
pub mod report;
pub mod run;
pub mod schedule;
pub mod settle;
pub mod sides;
pub mod signal;
pub mod spool;
pub mod stripes;
pub mod table;
pub mod throttle;
pub mod webhook;
pub mod window;
mod workers;

pub use config::Config;
pub use error::ReconcileError;
