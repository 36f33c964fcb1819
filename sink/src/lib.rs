//! Applies changes from Kafka to PostgreSQL.
//!
//! # The one promise
//!
//! Rows and the offsets they came from are written in one transaction, guarded by an epoch. After a
//! crash the sink starts from the offsets that it finds in PostgreSQL, so a change is applied once,
//! whatever Kafka redelivers; and a sink that was thought dead cannot commit any more.
//!
//! Reading order: [`change`] (one record, decoded and already in PostgreSQL's form), [`decode`] (how it
//! becomes that), [`batch`] (when a batch is closed) and [`fold`] (many changes of a key become one):
//! both pure; [`statements`] (every SQL text), [`table`] (target tables are made and widened), [`mod@write`]
//! (the rows of one table), [`isolate`] (which record it was), [`progress`] (offsets and the epoch),
//! [`dead_letter`] (what cannot be applied), [`apply`] (the transaction), [`fetch`] and [`run`] (the tasks).

pub mod apply;
pub mod batch;
pub mod change;
pub mod check;
pub mod config;
pub mod dead_letter;
pub mod decode;
pub mod error;
pub mod fetch;
pub mod fold;
pub mod isolate;
pub mod progress;
pub mod run;
pub mod statements;
pub mod table;
pub mod write;

pub use config::{Config, DeadLetters};
pub use error::SinkError;
