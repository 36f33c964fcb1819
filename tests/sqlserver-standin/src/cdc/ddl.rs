//! What DDL does to captured tables, and what CDC forbids. The executor calls these before it carries a statement out.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::instance;
use super::state::state;
use crate::catalog::properties::{MAX_TEXT_REPL_SIZE, find_setting};
use crate::catalog::types;
use crate::catalog::view::same;
use crate::store::{Database, DdlKind, Instance, Table, Transaction, fold_name, read};
use crate::value::{SqlError, Ty, Val};

/// ALTER TABLE and the like on `table`: a captured table gets a record in the log, from which the capture job writes
/// `cdc.ddl_history` and lets the change tables follow changed types. `command` is the statement's text.
pub fn on_ddl(
    tx: &mut Transaction,
    database: &Arc<Database>,
    table: &Table,
    command: &str,
    kind: DdlKind,
) {
    if table.is_tracked() {
        tx.record_ddl(database, table.object_id, command, kind);
    }
}

/// DROP TABLE takes the table's capture instances with it.
pub fn before_drop_table(
    tx: &mut Transaction,
    database: &Arc<Database>,
    table: &Table,
) -> Result<(), SqlError> {
    if !table.is_tracked() || !database.is_cdc_enabled() {
        return Ok(());
    }
    tx.begin_statement();
    for one in instance::all(tx, database)?.iter().filter(|one| one.source == table.object_id) {
        instance::remove(tx, database, one)?;
    }
    Ok(())
}

/// TRUNCATE TABLE is refused for a captured table.
pub fn before_truncate(table: &Table) -> Result<(), SqlError> {
    if !table.is_tracked() {
        return Ok(());
    }
    let name = table.def().name.clone();
    Err(SqlError::new(
        4711,
        format!(
            "Cannot truncate table '{name}' because it is published for replication or enabled for Change Data Capture."
        ),
    ))
}

/// `sp_rename` of a captured column is refused.
pub fn before_rename_column(
    tx: &mut Transaction,
    database: &Arc<Database>,
    table: &Table,
    column: &str,
) -> Result<(), SqlError> {
    if !table.is_tracked() || !database.is_cdc_enabled() {
        return Ok(());
    }
    for one in instance::all(tx, database)?.iter().filter(|one| one.source == table.object_id) {
        let columns = instance::columns(tx, database, one.change_table)?;
        if columns.iter().any(|captured| same(&captured.name, column)) {
            return Err(SqlError::new(
                4928,
                format!("Cannot alter column '{column}' because it is 'REPLICATED'."),
            ));
        }
    }
    Ok(())
}

/// DROP COLUMN is allowed, except for a column of the index by which an instance with net changes identifies rows.
pub fn before_drop_column(
    tx: &mut Transaction,
    database: &Arc<Database>,
    table: &Table,
    column: &str,
) -> Result<(), SqlError> {
    if !table.is_tracked() || !database.is_cdc_enabled() {
        return Ok(());
    }
    for one in instance::all(tx, database)?.iter().filter(|one| one.source == table.object_id) {
        if instance::key_columns(tx, database, one.change_table)?
            .iter()
            .any(|key| same(key, column))
        {
            return Err(SqlError::new(
                22855,
                format!(
                    "The column '{column}' cannot be dropped: it is in the index of the capture instance '{}'.",
                    one.name
                ),
            ));
        }
    }
    Ok(())
}

/// INSERT and UPDATE of large values: a captured table takes at most `max text repl size` bytes (7139).
pub fn check_text_size(instance: &Instance, table: &Table, row: &[Val]) -> Result<(), SqlError> {
    if !table.is_tracked() {
        return Ok(());
    }
    let limit = limit(instance);
    if limit < 0 {
        return Ok(());
    }
    let def = table.def();
    for (column, value) in def.columns.iter().zip(row) {
        if !types::is_max(&column.ty) && !types::is_old_lob(&column.ty) {
            continue;
        }
        let wide = !matches!(column.ty, Ty::VarChar(_) | Ty::Text);
        let bytes = match value {
            Val::Str(text) => text.len() * if wide { 2 } else { 1 },
            Val::Bytes(bytes) => bytes.len(),
            _ => 0,
        };
        if i64::try_from(bytes).unwrap_or(i64::MAX) > limit {
            return Err(SqlError::new(
                7139,
                format!(
                    "Length of LOB data ({bytes}) to be replicated exceeds configured maximum {limit}. Use the stored \
                     procedure sp_configure to increase the configured maximum value for max text repl size option, \
                     which defaults to 65536. A configured value of -1 indicates no limit, other that the limit imposed \
                     by the data type."
                ),
            ));
        }
    }
    Ok(())
}

fn limit(instance: &Instance) -> i64 {
    let set = read(&instance.configuration).get(&fold_name(MAX_TEXT_REPL_SIZE)).copied();
    set.unwrap_or_else(|| {
        find_setting(MAX_TEXT_REPL_SIZE).map_or(65536, |setting| setting.default.into())
    })
}

/// DROP DATABASE: the capture job ends.
pub fn dropped_database(database: &Database) {
    if let Some(state) = state(database) {
        state.ended.store(true, Ordering::SeqCst);
        database.log.wake();
    }
}
