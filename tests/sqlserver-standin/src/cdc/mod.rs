//! Change data capture: instances, change tables, the capture job, cleanup and the functions to read changes.
//!
//! What it models, and from where each belief comes: research/source.md A.0 (Microsoft's pages, and what committers of
//! Debezium and others observed). Everything that readers see is in ordinary tables of the schema `cdc`.

#![allow(clippy::wildcard_enum_match_arm, reason = "matches on values where only one kind matters")]

pub(crate) mod capture;
pub(crate) mod cleanup;
pub(crate) mod database;
mod ddl;
pub(crate) mod functions;
mod image;
pub(crate) mod instance;
pub(crate) mod lsn;
mod mask;
pub(crate) mod state;
pub(crate) mod tables;
#[cfg(test)]
mod tests;
pub(crate) mod wrapper;

pub use ddl::{
    before_drop_column, before_drop_table, before_rename_column, before_truncate, check_text_size,
    dropped_database, on_ddl,
};
pub use state::{Control, control};

use std::sync::Arc;

use crate::store::{Database, Instance, Isolation, Patience, Transaction};
use crate::value::SqlError;

/// Scans the log of `database` now, also when the job is paused; true when something was found.
pub fn scan_now(instance: &Arc<Instance>, database: &Arc<Database>) -> Result<bool, SqlError> {
    let state = state::state(database).ok_or_else(|| instance::not_enabled(database))?;
    capture::scan(instance, database, &state, usize::MAX)
}

/// Cleans all change tables of `database` up to the highest LSN, as if the retention were over. `idle`: as if nothing had
/// happened during the retention, so that `lsn_time_mapping` is empty afterwards.
pub fn clean_up(
    instance: &Arc<Instance>,
    database: &Arc<Database>,
    idle: bool,
) -> Result<(), SqlError> {
    let mut tx = Transaction::begin(instance, Isolation::ReadCommitted, Patience::default());
    cleanup::everything(&mut tx, database, idle)?;
    tx.commit();
    Ok(())
}

/// Loses what the capture job has not read yet.
pub fn truncate_log(database: &Database) {
    database.log.clear();
}
