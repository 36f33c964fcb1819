//! The real parts that tests, demo and benches run against, and small tools for driving them.
//!
//! Each server starts on a free port of 127.0.0.1 with its data in a folder of its own under the
//! system's temporary folder, and stops when its value is dropped; when the process dies without
//! dropping it (a panic that aborts, SIGKILL), a watcher shell stops it ([`child`]).
//!
//! Most tests use [`shared`]: one server of each kind for a test process, with databases, topics
//! and subjects of their own ([`names`]). Environment variables point it at servers that already
//! run; `causeway-stack COMMAND` starts them once for many test processes.
//!
//! Reading order: [`child`] and [`cache`], then one server ([`postgres`]), then [`process`] and
//! [`config`] (our own binaries), [`wait`] and [`faults`].

pub mod all_types;
pub mod binaries;
pub mod cache;
pub mod child;
pub mod compare;
pub mod config;
pub mod connect;
pub mod disk;
pub mod env;
pub mod faults;
pub mod http;
pub mod kafka;
pub mod metrics;
pub mod names;
pub mod pgbouncer;
pub mod pipeline;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod python;
pub mod random;
pub mod registry;
pub mod shared;
pub mod shop;
pub mod sql;
pub mod sqlserver;
pub mod vault;
pub mod wait;
