//! Cleaning change tables up: the low endpoint of an instance moves, older rows go.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::capture::set_start;
use super::instance::{self, CaptureInstance, cdc_table, not_enabled, settled};
use super::{functions, lsn, tables};
use crate::catalog::view::same;
use crate::store::{Database, KeyRange, Table, Transaction};
use crate::value::{SqlError, Val, key_bytes};

/// `sys.sp_cdc_cleanup_change_table`: with a low-water mark the endpoint moves there; without one only rows that are
/// below the endpoint already go.
pub(crate) fn change_table(
    tx: &mut Transaction,
    database: &Arc<Database>,
    name: &str,
    low_water_mark: Option<[u8; 10]>,
) -> Result<(), SqlError> {
    if !database.is_cdc_enabled() {
        return Err(not_enabled(database));
    }
    tx.begin_statement();
    let instances = instance::all(tx, database)?;
    let one = instances.iter().find(|one| same(&one.name, name)).ok_or_else(|| {
        SqlError::new(
            22958,
            format!(
                "The capture instance name '{name}' is invalid or does not exist in the database '{}'. Use \
                 sys.sp_cdc_help_change_data_capture to obtain capture instance names.",
                database.name()
            ),
        )
    })?;
    let mark = match low_water_mark {
        Some(mark) => {
            check(tx, database, one, &mark)?;
            mark
        }
        None => lsn::fit(one.start.as_deref().unwrap_or_default()),
    };
    move_to(tx, database, one, &mark)?;
    mapping(tx, database)
}

fn check(
    tx: &mut Transaction,
    database: &Arc<Database>,
    instance: &CaptureInstance,
    mark: &[u8; 10],
) -> Result<(), SqlError> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02X}")).collect::<String>();
    let mapping = cdc_table(database, "lsn_time_mapping")?;
    let mut key = Vec::new();
    key_bytes(&tables::LSN, &Val::bytes(mark), &mut key);
    if tx.cursor(database, &mapping, None, KeyRange::prefix(&key), false).next().is_none() {
        return Err(SqlError::new(
            22964,
            format!(
                "LSN 0x{}, specified as the new low endpoint for the change table associated with capture instance \
                 '{}', is not a valid start_lsn in the system table [cdc].[lsn_time_mapping].",
                hex(mark),
                instance.name
            ),
        ));
    }
    let low = instance.start.clone().unwrap_or_default();
    let high = functions::max_lsn(tx, database)?.unwrap_or_default();
    if mark.as_slice() < low.as_slice() || mark.as_slice() > high.as_slice() {
        return Err(SqlError::new(
            22957,
            format!(
                "LSN 0x{}, specified as the new low endpoint for the change table associated with capture instance \
                 '{}', is not within the Change Data Capture timeline [0x{}, 0x{}].",
                hex(mark),
                instance.name,
                hex(&low),
                hex(&high)
            ),
        ));
    }
    Ok(())
}

fn move_to(
    tx: &mut Transaction,
    database: &Arc<Database>,
    instance: &CaptureInstance,
    mark: &[u8; 10],
) -> Result<(), SqlError> {
    let change_tables = cdc_table(database, "change_tables")?;
    if instance.start.as_deref() != Some(mark.as_slice()) && instance.start.is_some() {
        set_start(tx, database, &change_tables, instance, mark)?;
    }
    if let Some(table) = database.table_by_id(instance.change_table) {
        delete_below(tx, database, &table, mark)?;
    }
    Ok(())
}

/// Deletes the rows whose key, which begins with an LSN, is below `mark`.
fn delete_below(
    tx: &mut Transaction,
    database: &Arc<Database>,
    table: &Arc<Table>,
    mark: &[u8; 10],
) -> Result<(), SqlError> {
    let mut high = Vec::new();
    key_bytes(&tables::LSN, &Val::bytes(mark), &mut high);
    let range = KeyRange { low: None, high: Some(high) };
    let rows: Vec<_> = tx.cursor(database, table, None, range, false).collect();
    for (key, row) in rows {
        settled(tx.delete(database, table, &key, &row))?;
    }
    Ok(())
}

/// Rows of `lsn_time_mapping` that no instance needs any more go.
fn mapping(tx: &mut Transaction, database: &Arc<Database>) -> Result<(), SqlError> {
    tx.begin_statement();
    let starts: BTreeSet<Vec<u8>> =
        instance::all(tx, database)?.into_iter().filter_map(|one| one.start).collect();
    if let Some(least) = starts.first() {
        delete_below(tx, database, &cdc_table(database, "lsn_time_mapping")?, &lsn::fit(least))?;
    }
    Ok(())
}

/// What the nightly job does when everything is older than the retention: every instance begins at the highest LSN.
/// With `mapping_too`, as in a database that was idle for the whole retention, `lsn_time_mapping` is empty afterwards.
pub(crate) fn everything(
    tx: &mut Transaction,
    database: &Arc<Database>,
    mapping_too: bool,
) -> Result<(), SqlError> {
    if !database.is_cdc_enabled() {
        return Err(not_enabled(database));
    }
    tx.begin_statement();
    let Some(max) = functions::max_lsn(tx, database)? else { return Ok(()) };
    let max = lsn::fit(&max);
    for one in instance::all(tx, database)?.iter().filter(|one| one.start.is_some()) {
        move_to(tx, database, one, &max)?;
    }
    if mapping_too {
        let all = cdc_table(database, "lsn_time_mapping")?;
        delete_below(tx, database, &all, &lsn::increment(&max))?;
        return Ok(());
    }
    mapping(tx, database)
}
