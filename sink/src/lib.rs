//! Applies changes from Kafka to PostgreSQL.
//!
//! # The one promise
//!
//! Rows and the offsets they came from are written in one transaction, guarded by an epoch. After a
//! crash the sink starts from the offsets that it finds in PostgreSQL, so a change is applied once,
//! whatever Kafka redelivers; and a sink that was thought dead cannot commit any more.
//!
//! Reading order: [`change`] (one record, decoded and already in PostgreSQL's form), [`decode`],
//! [`reader`], [`convert`], [`transcode`] and [`meta`] (how it becomes that), [`policy`] (what is different for some tables), [`batch`] (when a batch is closed) and [`fold`] (many changes of a key become one):
//! both pure; [`statements`] (every SQL text), [`table`], [`fit`] and [`ahead`] (target tables are
//! made and widened, also before their first record), [`mod@write`]
//! (the rows of one table), [`keyless`] (rows that are found by all their values), [`isolate`] (which record it was), [`progress`] (offsets and the epoch),
//! [`dead_letter`] (what cannot be applied), [`letters`] (what that means for later changes of its key), [`apply`] (the transaction), [`lane`]
//! (several of them at a time), [`share`] and [`member`] (several sinks), [`fetch`] and [`run`] (the tasks); [`whole`] (the same for whole
//! source transactions). The commands: [`check`],
//! [`status`], [`pause`], [`dlq`] and [`replay`].

pub mod ahead;
pub mod apply;
pub mod batch;
pub mod change;
pub mod check;
pub mod config;
pub mod convert;
pub mod dead_letter;
pub mod decode;
pub mod dlq;
pub mod error;
pub mod fetch;
pub mod fit;
pub mod fold;
pub mod isolate;
pub mod keyless;
pub mod lane;
pub mod letters;
pub mod member;
pub mod meta;
pub mod pattern;
pub mod pause;
pub mod policy;
pub mod progress;
pub mod reader;
pub mod replay;
pub mod run;
pub mod share;
pub mod shown;
pub mod statements;
pub mod status;
pub mod table;
pub mod transcode;
pub mod whole;
pub mod write;

pub use config::{Config, DeadLetters};
pub use error::SinkError;
