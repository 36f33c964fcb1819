//! Reads what SQL Server's change data capture recorded, and publishes it to Kafka.
//!
//! # The promises
//!
//! * Every change of a captured table is published once, per key in the order in which it was committed:
//!   events and the position that they lead to are in one Kafka transaction, and a session begins by taking
//!   the transactional id over and reading that position.
//! * A snapshot runs beside the stream, without locks and without writing to the source. A row that changed
//!   while it was read is published as the stream has it.
//! * What cleanup took away before it was read is named and stops the source, or the table is copied again;
//!   nothing is skipped.
//! * Memory is bounded by bytes, whatever the size of a transaction.
//!
//! Reading order: [`config`]; [`mod@check`] (what is looked at before anything is written) and [`mod@run`] (sessions),
//! [`standby`] and [`place`] (which of several processes works), [`rotate`] (capture instances that follow
//! their tables);
//! [`message_key`] and [`choose`] (which capture instances, and what is copied again); [`pump`] (the one loop that publishes),
//! with its pure parts [`merge`] (one order over all tables), [`fold`] (rows to events), [`window`] (a
//! snapshot's chunks against the stream), [`signal`] and [`scope`] (what an operator asks for) [`index`] and [`numbers`] (what is said of
//! transactions) and [`state`] (what is stored); [`reader`], [`snapshot`] (with its [`buffers`]), [`heap`] and [`merging`] (what is read), [`tables`], [`publish`], [`metadata`] and
//! [`oversize`] (what is written); [`offsets`] and [`debezium`] (what is stored, for people).

pub mod advice;
pub mod buffers;
pub mod check;
pub mod choose;
pub mod config;
pub mod debezium;
pub mod error;
pub mod fold;
pub mod heap;
pub mod index;
pub mod keys;
pub mod latency;
pub mod merge;
pub mod merging;
pub mod message_key;
pub mod metadata;
pub mod numbers;
pub mod offsets;
pub mod oversize;
pub mod place;
pub mod publish;
pub mod pump;
pub mod reader;
pub mod rotate;
pub mod run;
pub mod scope;
pub mod send;
pub mod shared;
pub mod signal;
pub mod snapshot;
pub mod standby;
pub mod state;
pub mod tables;
pub mod window;

pub use check::{Finding, Findings, Severity, check};
pub use config::{Config, ConfigError, OnGap, Oversized, SnapshotMode};
pub use error::SourceError;
pub use run::{Settings, run};
