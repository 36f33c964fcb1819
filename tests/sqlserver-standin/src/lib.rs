//! A stand-in for SQL Server, for tests and the demo without Docker: TDS 7.4 on the wire, a small
//! T-SQL executor, row versions, and change data capture fed by a simulated log.
//!
//! It is never part of the shipped programs. Unknown T-SQL is refused with error 50999, so a test
//! cannot pass because something was silently ignored. See `README.md` for what is modelled.
#![allow(
    missing_docs,
    reason = "a test program: its modules are public only for one another and for the tests"
)]
#![allow(
    clippy::large_enum_variant,
    clippy::nonminimal_bool,
    clippy::type_complexity,
    clippy::wrong_self_convention,
    reason = "a parser's tree and a planner's closures, each built once for a statement"
)]

pub mod catalog;
pub mod cdc;
mod control;
pub mod exec;
pub mod server;
pub mod session;
pub mod sql;
pub mod store;
pub mod tds;
pub mod value;

pub use server::{Options, Server, StartError};
