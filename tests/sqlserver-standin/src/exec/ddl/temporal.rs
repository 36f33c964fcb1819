//! Tables that keep their old rows: PERIOD FOR SYSTEM_TIME and SYSTEM_VERSIONING.
//!
//! Source: Microsoft's page "Create a system-versioned temporal table": the history table has the same columns without
//! keys, constraints and identity, an index on the period, and the name `MSSQL_TemporalHistoryFor_<object id>` when none is
//! given. While versioning is on, neither table is dropped or truncated; other changes of either are refused here.

use std::sync::Arc;

use crate::exec::R;
use crate::exec::session::SessionState;
use crate::sql::ast::{AlterTable, Name, TableSpec, Versioning};
use crate::store::{
    Database, Generated, Index, KeyColumn, Table, TableDef, Temporal, fold_name, same_name,
};
use crate::value::{SqlError, Ty};

/// Checks PERIOD FOR SYSTEM_TIME of a new table against its columns.
pub(super) fn check_period(def: &TableDef, spec: &TableSpec) -> R<()> {
    let of = |kind| def.columns.iter().find(|c| c.generated == Some(kind));
    let (start, end) = (of(Generated::RowStart), of(Generated::RowEnd));
    let Some((first, second)) = &spec.period else {
        return match start.or(end) {
            None => Ok(()),
            Some(_) => Err(SqlError::new(
                13510,
                "Cannot set SYSTEM_VERSIONING to ON when SYSTEM_TIME period is not defined.",
            )),
        };
    };
    let (Some(start), Some(end)) = (start, end) else {
        let m =
            "Period definition needs a column GENERATED ALWAYS AS ROW START and one AS ROW END.";
        return Err(SqlError::new(13504, m));
    };
    for (column, named) in [(start, first), (end, second)] {
        if !same_name(&column.name, named) {
            let m = format!(
                "Temporal 'GENERATED ALWAYS AS ROW START' or 'ROW END' column '{}' is not in the period definition.",
                column.name
            );
            return Err(SqlError::new(13509, m));
        }
        if !matches!(column.ty, Ty::DateTime2(_)) {
            let m = format!(
                "Temporal generated always column '{}' has invalid data type.",
                column.name
            );
            return Err(SqlError::new(13501, m));
        }
        if column.nullable {
            let m = format!(
                "Period column '{}' in a system-versioned temporal table cannot be nullable.",
                column.name
            );
            return Err(SqlError::new(13587, m));
        }
    }
    Ok(())
}

impl SessionState {
    /// SYSTEM_VERSIONING = ON for a table that has a period.
    pub(super) fn turn_on_versions(
        &mut self,
        database: &Arc<Database>,
        table: &Arc<Table>,
        wanted: &Versioning,
    ) -> R<()> {
        let def = (*table.def()).clone();
        if def.columns.iter().all(|c| c.generated.is_none()) {
            let m = "Cannot set SYSTEM_VERSIONING to ON when SYSTEM_TIME period is not defined.";
            return Err(SqlError::new(13510, m));
        }
        if def.primary_key().is_none() {
            let m = format!(
                "System versioned temporal table '{}' must have primary key defined.",
                def.full_name()
            );
            return Err(SqlError::new(13553, m));
        }
        let (schema, own) = match &wanted.history {
            Some(name) if name.len() == 2 => (
                name.first().cloned().unwrap_or_default(),
                name.last().cloned().unwrap_or_default(),
            ),
            Some(name) => {
                let m = format!(
                    "Setting SYSTEM_VERSIONING to ON failed because history table '{}' is not specified in two-part name format.",
                    name.join(".")
                );
                return Err(SqlError::new(13539, m));
            }
            None => (def.schema.clone(), format!("MSSQL_TemporalHistoryFor_{}", def.object_id)),
        };
        let history = match database.table(&schema, &own) {
            Some(found) => {
                let there = found.def();
                let same = there.columns.len() == def.columns.len()
                    && there
                        .columns
                        .iter()
                        .zip(&def.columns)
                        .all(|(a, b)| same_name(&a.name, &b.name) && a.ty == b.ty);
                if !same {
                    let m = format!(
                        "Setting SYSTEM_VERSIONING to ON failed because table '{}' and history table '{}' do not have the same columns.",
                        def.full_name(),
                        there.full_name()
                    );
                    return Err(SqlError::new(13523, m));
                }
                let mut there = (*there).clone();
                there.temporal = Temporal::History(table.object_id);
                self.tx()?.redefine_table(database, &found, there)?;
                found
            }
            None => {
                let new = history_of(database, &def, &schema, &own);
                self.tx()?.create_table(database, Table::new(database.id, new))?
            }
        };
        let mut def = def;
        def.temporal = Temporal::Current(history.object_id);
        self.tx()?.redefine_table(database, table, def)
    }

    /// SYSTEM_VERSIONING = OFF: two ordinary tables are left.
    pub(super) fn turn_off_versions(
        &mut self,
        database: &Arc<Database>,
        table: &Arc<Table>,
    ) -> R<()> {
        let mut def = (*table.def()).clone();
        let Temporal::Current(history) = def.temporal else {
            let m = format!("SYSTEM_VERSIONING is not turned ON for table '{}'.", def.full_name());
            return Err(SqlError::new(13591, m));
        };
        def.temporal = Temporal::No;
        self.tx()?.redefine_table(database, table, def)?;
        if let Some(history) = database.table_by_id(history) {
            let mut def = (*history.def()).clone();
            def.temporal = Temporal::No;
            self.tx()?.redefine_table(database, &history, def)?;
        }
        Ok(())
    }

    /// What ALTER TABLE may do to a table that is versioned, or to its history.
    pub(super) fn may_alter_versioned(def: &TableDef, action: &AlterTable) -> R<()> {
        match (def.temporal, action) {
            (Temporal::No, _) | (_, AlterTable::Versioning(_) | AlterTable::Ignored) => Ok(()),
            (Temporal::Current(_) | Temporal::History(_), _) => {
                Err(SqlError::unknown("altering a table while its versions are kept"))
            }
        }
    }
}

/// Error 13552 or 13545: what cannot be done while versions are kept.
pub(super) fn refuse_versioned(def: &TableDef, verb: &str, name: &Name) -> R<()> {
    let (number, what) = match (verb, def.temporal) {
        (_, Temporal::No) => return Ok(()),
        ("Drop", _) => (13552, "Drop table"),
        _ => (13545, "Truncate"),
    };
    let m = format!(
        "{what} operation failed on table '{}' because it is not a supported operation on system-versioned temporal tables.",
        name.join(".")
    );
    Err(SqlError::new(number, m))
}

fn history_of(database: &Arc<Database>, def: &TableDef, schema: &str, own: &str) -> TableDef {
    let id = database.new_object_id();
    let mut columns = def.columns.clone();
    for c in &mut columns {
        c.identity = None;
        c.default = None;
        c.computed = None;
        c.generated = None;
    }
    let place = |kind| def.columns.iter().position(|c| c.generated == Some(kind));
    let keys = [place(Generated::RowEnd), place(Generated::RowStart)];
    let mut new = TableDef::new(id, schema, own, columns, database.now());
    new.temporal = Temporal::History(def.object_id);
    new.indexes.push(Index {
        id: 1,
        name: format!("ix_{}", fold_name(own)),
        unique: false,
        clustered: true,
        primary_key: false,
        unique_constraint: false,
        constraint_id: 0,
        system_named: false,
        columns: keys
            .into_iter()
            .flatten()
            .map(|column| KeyColumn { column, descending: false })
            .collect(),
        included: Vec::new(),
        filter: None,
        disabled: false,
    });
    new
}
