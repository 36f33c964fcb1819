//! The executor: SQL text in, rows and messages out.
//!
//! A batch is parsed once (see `sql::parse_cached`), each statement is compiled against the catalogue when it runs, and
//! rows are pulled through iterators, so that a plain scan or seek keeps nothing. A statement reads one commit number.
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::match_wildcard_for_single_variants,
    reason = "the executor singles out the values and expressions that it can treat; everything else is refused or takes \
              the general way"
)]

mod aggregate;
mod compile;
mod cursor;
mod ddl;
mod dml;
mod eval;
mod filter;
mod from;
mod function;
#[cfg(test)]
mod judged_tests;
mod known;
mod node;
pub mod output;
pub(crate) mod permission;
#[cfg(test)]
mod permission_tests;
mod plan;
mod query;
mod run;
mod scope;
mod session;
#[cfg(test)]
mod session_tests;
mod statement;
mod temporal;
#[cfg(test)]
mod temporal_tests;
#[cfg(test)]
mod tests;
mod trigger;
mod window;
mod write;

pub use session::SessionState;

use crate::value::SqlError;

pub(crate) type R<T> = Result<T, SqlError>;
pub(crate) use crate::store::WriteFailure as Write;

/// What a statement that changes rows did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count {
    pub(crate) rows: u64,
    /// OUTPUT sent rows to the client.
    pub(crate) sent: bool,
}

/// The error number by which a stopped request comes back.
pub const STOPPED: i32 = 0;

/// The client has sent an attention or is gone.
pub(crate) fn stopped() -> SqlError {
    SqlError::new(STOPPED, "The request was stopped by the client.")
}
