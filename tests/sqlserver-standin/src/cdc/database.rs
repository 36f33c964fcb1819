//! `sys.sp_cdc_enable_db` and `sys.sp_cdc_disable_db`.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::state::{CaptureJob, CleanupJob, State, state};
use super::tables::{self, SCHEMA};
use super::{capture, instance};
use crate::store::{Database, Instance, Table, Transaction, lock};
use crate::value::SqlError;

/// Enables CDC. Nothing happens where it is enabled already.
pub(crate) fn enable(
    instance: &Arc<Instance>,
    tx: &mut Transaction,
    database: &Arc<Database>,
) -> Result<(), SqlError> {
    if database.id <= 4 {
        let name = database.name();
        let message =
            format!("Change Data Capture cannot be enabled in the system database '{name}'.");
        return Err(SqlError::new(22988, message));
    }
    if database.is_cdc_enabled() {
        return Ok(());
    }
    if database.schema(SCHEMA).is_some() {
        let name = database.name();
        return Err(SqlError::new(
            22906,
            format!(
                "The database '{name}' cannot be enabled for Change Data Capture because a database user named 'cdc' \
                 or a schema named 'cdc' already exists in the current database. These objects are required \
                 exclusively by Change Data Capture. Drop or rename the user or schema and retry the operation."
            ),
        ));
    }
    database.add_schema(SCHEMA, SCHEMA);
    database.add_principal(SCHEMA, "S", None);
    let here = Arc::clone(database);
    tx.on_rollback(move || {
        here.remove_schema(SCHEMA);
    });
    for def in tables::catalogue(database.now(), || database.new_object_id()) {
        tx.create_table(database, Table::new(database.id, def))?;
    }
    let state = Arc::new(State::new());
    {
        let mut jobs = lock(&state.jobs);
        jobs.capture = Some(CaptureJob::new(database.id));
        jobs.cleanup = Some(CleanupJob::new(database.id));
    }
    let any: Arc<dyn Any + Send + Sync> = Arc::clone(&state) as _;
    *lock(&database.cdc) = Some(any);
    database.log.clear();
    database.is_cdc_enabled.store(true, Ordering::SeqCst);
    let here = Arc::clone(database);
    tx.on_rollback(move || switch_off(&here));
    capture::start(instance, database, &state)
}

/// Disables CDC: every instance and the catalogue go.
pub(crate) fn disable(
    instance: &Arc<Instance>,
    tx: &mut Transaction,
    database: &Arc<Database>,
) -> Result<(), SqlError> {
    if !database.is_cdc_enabled() {
        return Ok(());
    }
    tx.begin_statement();
    for one in instance::all(tx, database)? {
        instance::remove(tx, database, &one)?;
    }
    let here = Arc::clone(database);
    let again = Arc::clone(instance);
    let before = lock(&database.cdc).clone();
    switch_off(database);
    tx.on_rollback(move || {
        here.add_schema(SCHEMA, SCHEMA);
        here.is_cdc_enabled.store(true, Ordering::SeqCst);
        *lock(&here.cdc) = before;
        if let Some(state) = state(&here) {
            state.ended.store(false, Ordering::SeqCst);
            if let Err(error) = capture::start(&again, &here, &state) {
                tracing::warn!("{}", error.message);
            }
        }
    });
    for table in database.tables() {
        if table.def().schema == SCHEMA && table.def().is_ms_shipped {
            tx.drop_table(database, &table)?;
        }
    }
    database.remove_schema(SCHEMA);
    Ok(())
}

fn switch_off(database: &Database) {
    if let Some(state) = state(database) {
        state.ended.store(true, Ordering::SeqCst);
    }
    *lock(&database.cdc) = None;
    database.is_cdc_enabled.store(false, Ordering::SeqCst);
    database.log.clear();
    database.log.wake();
}
