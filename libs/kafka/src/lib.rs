//! Kafka and the schema registry, as the services use them.
//!
//! # The promises
//!
//! * What a transaction holds is visible to readers whole or not at all; a twin that starts takes
//!   over and fences the first ([`Transactional`]).
//! * A reader sees committed records only, starts where it is told, and learns of it when its place
//!   is gone: it never jumps silently ([`Consumer`]).
//! * Of several processes of one name one works ([`Lease`]).
//! * Queues are bounded by bytes.
//!
//! Reading order: [`config`] (how to connect), [`topic`] (the one place that names topics, keys,
//! headers and subjects), [`admin`], [`producer`], [`transactions`] (what the source says of its
//! transactions), [`lease`], [`consumer`], [`compacted`], [`registry`].
//!
//! librdkafka calls that wait run on threads where waiting is allowed; no async task is blocked for
//! longer than it takes to copy a record.

pub mod admin;
pub mod compacted;
pub mod config;
pub mod consumer;
mod context;
mod delivered;
pub mod ends;
pub mod error;
pub mod lease;
pub mod producer;
pub mod registry;
pub mod topic;
pub mod transactions;

pub use admin::{Admin, TopicInfo, TopicSpec};
pub use compacted::read_compacted;
pub use config::{Config, RegistryConfig};
pub use consumer::{Consumer, Message, Watermarks};
pub use delivered::Run;
pub use ends::{all_record_ends, record_ends};
pub use error::{Error, Fault};
pub use lease::{Held, Lease};
pub use producer::{Producer, Record, Transactional};
pub use registry::{Registry, RegistryError};
