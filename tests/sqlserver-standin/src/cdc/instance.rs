//! Capture instances: what `cdc.change_tables` and `cdc.captured_columns` say, and making and removing them.

use std::sync::Arc;

use super::tables::{self, SCHEMA, captured_columns, change_tables, ddl_history, index_columns};
use crate::catalog::types;
use crate::catalog::view::{same, split_name};
use crate::store::{Database, Instance, Key, Mode, Table, TableDef, Transaction, WriteFailure};
use crate::value::{Row, SqlError, Ty, Val};

/// A capture instance as its row of `cdc.change_tables` has it.
#[derive(Clone, Debug)]
pub(crate) struct CaptureInstance {
    pub(crate) key: Key,
    pub(crate) row: Row,
    pub(crate) change_table: i32,
    pub(crate) source: i32,
    pub(crate) name: String,
    pub(crate) start: Option<Vec<u8>>,
}

/// A column of a capture instance, as its row of `cdc.captured_columns` has it.
#[derive(Clone, Debug)]
pub(crate) struct CapturedColumn {
    pub(crate) key: Key,
    pub(crate) row: Row,
    pub(crate) name: String,
    pub(crate) source_column: i32,
    pub(crate) ordinal: usize,
    pub(crate) computed: bool,
}

/// A write that lost a race ends as a deadlock victim: the caller may run it again.
pub(crate) fn settled<T>(result: Result<T, WriteFailure>) -> Result<T, SqlError> {
    result.map_err(|failure| match failure {
        WriteFailure::Again => SqlError::deadlock(0),
        WriteFailure::Error(error) => error,
    })
}

pub(crate) fn whole(row: &[Val], at: usize) -> Option<i32> {
    row.get(at).and_then(Val::as_int).and_then(|value| i32::try_from(value).ok())
}

pub(crate) fn string(row: &[Val], at: usize) -> String {
    row.get(at).and_then(Val::as_str).unwrap_or_default()
}

pub(crate) fn binary(row: &[Val], at: usize) -> Option<Vec<u8>> {
    row.get(at).and_then(Val::as_bytes).map(<[u8]>::to_vec)
}

/// Error 22901.
pub(crate) fn not_enabled(database: &Database) -> SqlError {
    let name = database.name();
    SqlError::new(
        22901,
        format!(
            "The database '{name}' is not enabled for Change Data Capture. Ensure that the correct database context \
             is set and retry the operation. To report on the databases enabled for Change Data Capture, query the \
             is_cdc_enabled column in the sys.databases catalog view."
        ),
    )
}

/// A table of the schema `cdc`.
pub(crate) fn cdc_table(database: &Database, name: &str) -> Result<Arc<Table>, SqlError> {
    database.table(SCHEMA, name).ok_or_else(|| not_enabled(database))
}

/// All capture instances of a database, in the order in which they were made.
pub(crate) fn all(
    tx: &mut Transaction,
    database: &Arc<Database>,
) -> Result<Vec<CaptureInstance>, SqlError> {
    let table = cdc_table(database, "change_tables")?;
    let instances = tx.scan(database, &table).map(|(key, row)| CaptureInstance {
        change_table: whole(&row, change_tables::OBJECT_ID).unwrap_or(0),
        source: whole(&row, change_tables::SOURCE_OBJECT_ID).unwrap_or(0),
        name: string(&row, change_tables::CAPTURE_INSTANCE),
        start: binary(&row, change_tables::START_LSN),
        key,
        row,
    });
    Ok(instances.collect())
}

/// The columns of a capture instance in the order of their ordinals.
pub(crate) fn columns(
    tx: &mut Transaction,
    database: &Arc<Database>,
    change_table: i32,
) -> Result<Vec<CapturedColumn>, SqlError> {
    let table = cdc_table(database, "captured_columns")?;
    let rows = tx
        .scan(database, &table)
        .filter(|(_, row)| whole(row, captured_columns::OBJECT_ID) == Some(change_table));
    let columns = rows.map(|(key, row)| CapturedColumn {
        name: string(&row, captured_columns::COLUMN_NAME),
        source_column: whole(&row, captured_columns::COLUMN_ID).unwrap_or(0),
        ordinal: whole(&row, captured_columns::COLUMN_ORDINAL)
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(0),
        computed: row.get(captured_columns::IS_COMPUTED).and_then(Val::as_int) == Some(1),
        key,
        row,
    });
    Ok(columns.collect())
}

/// The names of the columns that identify a row of a capture instance.
pub(crate) fn key_columns(
    tx: &mut Transaction,
    database: &Arc<Database>,
    change_table: i32,
) -> Result<Vec<String>, SqlError> {
    let table = cdc_table(database, "index_columns")?;
    let rows = tx
        .scan(database, &table)
        .filter(|(_, row)| whole(row, index_columns::OBJECT_ID) == Some(change_table));
    Ok(rows.map(|(_, row)| string(&row, index_columns::COLUMN_NAME)).collect())
}

/// What `sys.sp_cdc_enable_table` was asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub(crate) schema: String,
    pub(crate) table: String,
    pub(crate) role: Option<String>,
    pub(crate) instance: Option<String>,
    pub(crate) net_changes: Option<bool>,
    pub(crate) index: Option<String>,
    pub(crate) columns: Option<String>,
    pub(crate) filegroup: Option<String>,
    pub(crate) partition_switch: Option<bool>,
}

/// The longest name of a capture instance.
const LONGEST_NAME: usize = 100;

/// Makes a capture instance. Nothing is captured before the log reader comes to the end of this transaction.
pub(crate) fn enable(
    instance: &Instance,
    tx: &mut Transaction,
    database: &Arc<Database>,
    request: &Request,
) -> Result<(), SqlError> {
    if !database.is_cdc_enabled() {
        return Err(not_enabled(database));
    }
    let (schema, name) = (&request.schema, &request.table);
    let source = database.table(schema, name).filter(|table| !table.def().is_ms_shipped).ok_or_else(|| {
        SqlError::new(
            22931,
            format!(
                "Source table '{schema}.{name}' does not exist in the current database. Ensure that the correct \
                 database context is set. Specify a valid schema and table name for the database."
            ),
        )
    })?;
    // Writers of the table end first: each of their changes is either before this instance or in it.
    tx.lock_table(&source, Mode::SchemaModify)?;
    tx.begin_statement();
    let def = source.def();
    let existing = all(tx, database)?;
    let wanted = request.instance.clone().unwrap_or_else(|| format!("{}_{}", def.schema, def.name));
    check_name(&wanted, &existing)?;
    let of_table = existing.iter().filter(|one| one.source == source.object_id).count();
    if of_table >= 2 {
        return Err(SqlError::new(
            22962,
            format!(
                "Two capture instances already exist for source table '{schema}.{name}'. A table can have at most two \
                 capture instances. If the current tracking options are not appropriate, disable change tracking for \
                 the obsolete instance by using sys.sp_cdc_disable_table and retry the operation."
            ),
        ));
    }
    let captured = chosen_columns(&def, request)?;
    let index = chosen_index(&def, request)?;
    let net_changes = request.net_changes.unwrap_or(index.is_some());
    if net_changes && index.is_none() {
        return Err(SqlError::new(
            22939,
            "The parameter @supports_net_changes is set to 1, but the source table does not have a primary key \
             defined and no alternate unique index has been specified.",
        ));
    }
    if let Some(role) = &request.role {
        database.add_principal(role, "R", None);
    }
    let now = database.now();
    let id = database.new_object_id();
    let columns: Vec<_> = captured.iter().filter_map(|at| def.columns.get(*at)).cloned().collect();
    let with_command_id = !super::state::control(instance).without_command_id();
    let change_table = tables::change_table(id, &wanted, now, &columns, with_command_id);
    tx.create_table(database, Table::new(database.id, change_table))?;
    let text = |value: &str| Val::str(value);
    let maybe = |value: Option<&str>| value.map_or(Val::Null, Val::str);
    insert(
        tx,
        database,
        "change_tables",
        vec![
            Val::Int(id.into()),
            Val::Int(0),
            Val::Int(source.object_id.into()),
            text(&wanted),
            Val::Null,
            Val::Null,
            Val::Bit(net_changes),
            Val::Null,
            maybe(request.role.as_deref()),
            maybe(index.map(|at| def.indexes.get(at).map_or("", |index| index.name.as_str()))),
            maybe(request.filegroup.as_deref()),
            now.datetime(),
            Val::Bit(request.partition_switch.unwrap_or(true)),
        ],
    )?;
    for (ordinal, column) in (1i64..).zip(&columns) {
        let row = vec![
            Val::Int(id.into()),
            text(&column.name),
            Val::Int(column.id.into()),
            text(types::declared_facts(&column.ty, column.declared.as_deref()).name),
            Val::Int(ordinal),
            Val::Bit(column.computed.is_some()),
        ];
        insert(tx, database, "captured_columns", row)?;
    }
    let keys = index
        .and_then(|at| def.indexes.get(at))
        .map(|index| index.columns.as_slice())
        .unwrap_or_default();
    for (ordinal, key) in (1i64..).zip(keys) {
        if let Some(column) = def.columns.get(key.column) {
            let row = vec![
                Val::Int(id.into()),
                text(&column.name),
                Val::Int(ordinal),
                Val::Int(column.id.into()),
            ];
            insert(tx, database, "index_columns", row)?;
        }
    }
    track(tx, &source, of_table, of_table + 1);
    tx.record_capture(database, id);
    database.changed();
    Ok(())
}

fn check_name(wanted: &str, existing: &[CaptureInstance]) -> Result<(), SqlError> {
    if wanted.chars().count() > LONGEST_NAME {
        return Err(SqlError::new(
            22923,
            format!(
                "The capture instance name '{wanted}' exceeds the length limit of {LONGEST_NAME} characters. Specify a \
                 name that satisfies the length constraint."
            ),
        ));
    }
    if existing.iter().any(|one| same(&one.name, wanted)) {
        return Err(SqlError::new(
            22926,
            format!(
                "Could not create a capture instance because the capture instance name '{wanted}' already exists in \
                 the current database. Specify an explicit unique name for the parameter @capture_instance."
            ),
        ));
    }
    Ok(())
}

/// Positions of the captured columns, in the order of the table whatever the order of the list.
fn chosen_columns(def: &TableDef, request: &Request) -> Result<Vec<usize>, SqlError> {
    let Some(list) = &request.columns else { return Ok((0..def.columns.len()).collect()) };
    let mut chosen = Vec::new();
    for name in split_list(list) {
        let at = def.ordinal(&name).ok_or_else(|| {
            SqlError::new(
                22943,
                format!(
                    "Columns specified in the captured column list could not be mapped to columns in source table \
                     '{}'. Verify that the columns specified in the parameter @captured_column_list are delimited \
                     properly and identify columns in the source table.",
                    def.full_name()
                ),
            )
        })?;
        if !chosen.contains(&at) {
            chosen.push(at);
        }
    }
    chosen.sort_unstable();
    Ok(chosen)
}

/// `a, [b,c], "d"` in its names.
pub(crate) fn split_list(list: &str) -> Vec<String> {
    let mut names = vec![String::new()];
    let mut close = None;
    for letter in list.chars() {
        match (close, letter) {
            (None, ',') => {
                names.push(String::new());
                continue;
            }
            (None, '[') => close = Some(']'),
            (None, '"') => close = Some('"'),
            (Some(end), letter) if letter == end => close = None,
            _ => {}
        }
        if let Some(name) = names.last_mut() {
            name.push(letter);
        }
    }
    names
        .iter()
        .map(|name| split_name(name).pop().unwrap_or_default())
        .filter(|name| !name.is_empty())
        .collect()
}

/// Position of the index that identifies rows: the one that was named, else the primary key.
fn chosen_index(def: &TableDef, request: &Request) -> Result<Option<usize>, SqlError> {
    let Some(name) = &request.index else {
        return Ok(def.indexes.iter().position(|index| index.primary_key));
    };
    let at = def.indexes.iter().position(|index| index.unique && same(&index.name, name));
    at.map(Some).ok_or_else(|| {
        SqlError::new(
            22944,
            format!(
                "The specified index '{name}' is not a unique index of the source table '{}'. Specify the name of a \
                 unique index or NULL.",
                def.full_name()
            ),
        )
    })
}

fn insert(
    tx: &mut Transaction,
    database: &Arc<Database>,
    name: &str,
    row: Vec<Val>,
) -> Result<(), SqlError> {
    let table = cdc_table(database, name)?;
    settled(tx.insert(database, &table, row.into())).map(|_| ())
}

/// Says how many instances a table has; a rollback takes it back.
fn track(tx: &mut Transaction, table: &Arc<Table>, before: usize, now: usize) {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    table.set_tracked(count(now));
    let table = Arc::clone(table);
    tx.on_rollback(move || table.set_tracked(count(before)));
}

/// Removes a capture instance with everything that belongs to it.
pub(crate) fn remove(
    tx: &mut Transaction,
    database: &Arc<Database>,
    instance: &CaptureInstance,
) -> Result<(), SqlError> {
    tx.begin_statement();
    let owned = [
        ("captured_columns", captured_columns::OBJECT_ID),
        ("index_columns", index_columns::OBJECT_ID),
        ("ddl_history", ddl_history::OBJECT_ID),
        ("change_tables", change_tables::OBJECT_ID),
    ];
    for (name, at) in owned {
        let table = cdc_table(database, name)?;
        let rows: Vec<_> = tx
            .scan(database, &table)
            .filter(|(_, row)| whole(row, at) == Some(instance.change_table))
            .collect();
        for (key, row) in rows {
            settled(tx.delete(database, &table, &key, &row))?;
        }
    }
    if let Some(table) = database.table_by_id(instance.change_table) {
        tx.drop_table(database, &table)?;
    }
    tx.begin_statement();
    let left = all(tx, database)?.iter().filter(|one| one.source == instance.source).count();
    if let Some(source) = database.table_by_id(instance.source) {
        track(tx, &source, left + 1, left);
    }
    database.changed();
    Ok(())
}

/// `sys.sp_cdc_disable_table`; `name` may be `all`.
pub(crate) fn disable(
    tx: &mut Transaction,
    database: &Arc<Database>,
    schema: &str,
    table: &str,
    name: &str,
) -> Result<(), SqlError> {
    if !database.is_cdc_enabled() {
        return Err(not_enabled(database));
    }
    let source = database.table(schema, table);
    if let Some(source) = &source {
        tx.lock_table(source, Mode::SchemaModify)?;
    }
    tx.begin_statement();
    let id = source.map(|source| source.object_id);
    let mut of_table: Vec<_> =
        all(tx, database)?.into_iter().filter(|one| Some(one.source) == id).collect();
    if !same(name, "all") {
        of_table.retain(|one| same(&one.name, name));
        if of_table.is_empty() {
            return Err(SqlError::new(
                22960,
                format!(
                    "Change data capture instance '{name}' has not been enabled for the source table \
                     '{schema}.{table}'. Use sys.sp_cdc_help_change_data_capture to verify the capture instance name \
                     and retry the operation."
                ),
            ));
        }
    }
    for one in &of_table {
        remove(tx, database, one)?;
    }
    Ok(())
}

/// The type of a captured column in the change table, from the source table's column.
pub(crate) fn captured_type(ty: Ty) -> Ty {
    tables::captured_type(ty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_list_may_have_brackets_and_commas_in_them() {
        assert_eq!(split_list("a, [b,c] , \"d\""), ["a", "b,c", "d"]);
        assert_eq!(split_list("[x]]y]"), ["x]y"]);
        assert!(split_list(" ").is_empty());
    }
}
