//! ALTER TABLE: a column is dropped or changed.

use crate::exec::ddl::assign_or_cast;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cdc;
use crate::exec::R;
use crate::exec::session::SessionState;
use crate::sql::ast::ColumnSpec;
use crate::store::{Database, DdlKind, Table, TableDef, edited};
use crate::value::{SqlError, Ty, Typed};

impl SessionState {
    pub(super) fn alter_drop_column(
        &mut self,
        database: &Arc<Database>,
        table: &Arc<Table>,
        name: &str,
        if_exists: bool,
        text: &str,
    ) -> R<()> {
        let mut def = (*table.def()).clone();
        let Some(at) = def.ordinal(name) else {
            if if_exists {
                return Ok(());
            }
            let m = format!(
                "ALTER TABLE DROP COLUMN failed because column '{name}' does not exist in table '{}'.",
                def.name
            );
            return Err(SqlError::new(4924, m));
        };
        let users: Vec<(&str, String)> = def
            .indexes
            .iter()
            .filter(|i| i.columns.iter().any(|k| k.column == at) || i.included.contains(&at))
            .map(|i| (if i.constraint_id == 0 { "index" } else { "object" }, i.name.clone()))
            .chain(
                def.columns
                    .get(at)
                    .and_then(|c| c.default.as_ref())
                    .map(|d| ("object", d.name.clone())),
            )
            .chain(
                def.checks
                    .iter()
                    .filter(|c| c.column == Some(at))
                    .map(|c| ("object", c.name.clone())),
            )
            .chain(
                def.foreign_keys
                    .iter()
                    .filter(|f| f.columns.contains(&at))
                    .map(|f| ("object", f.name.clone())),
            )
            .collect();
        if let Some((kind, user)) = users.first() {
            let m = format!("The {kind} '{user}' is dependent on column '{name}'.");
            return Err(SqlError::new(5074, m));
        }
        if def.columns.len() == 1 {
            let m = format!(
                "ALTER TABLE DROP COLUMN failed because '{name}' is the only data column in table '{}'. A table must have at least one data column.",
                def.name
            );
            return Err(SqlError::new(4923, m));
        }
        cdc::before_drop_column(self.tx()?, database, table, name)?;
        def.columns.remove(at);
        let shift = |c: usize| if c > at { c - 1 } else { c };
        for i in &mut def.indexes {
            for k in &mut i.columns {
                k.column = shift(k.column);
            }
            for c in &mut i.included {
                *c = shift(*c);
            }
        }
        for f in &mut def.foreign_keys {
            for c in &mut f.columns {
                *c = shift(*c);
            }
        }
        for c in &mut def.checks {
            c.column = c.column.map(shift);
        }
        self.refilter(&mut def)?;
        let tx = self.tx()?;
        tx.rewrite_table(database, table, def, |row| {
            Ok(edited(row, |v| {
                if at < v.len() {
                    v.remove(at);
                }
            }))
        })?;
        cdc::on_ddl(tx, database, table, text, DdlKind::DropColumn { column: name.to_owned() });
        Ok(())
    }

    /// Filters of indexes know columns by position.
    pub(super) fn refilter(&mut self, def: &mut TableDef) -> R<()> {
        let texts: BTreeMap<usize, String> = def
            .indexes
            .iter()
            .enumerate()
            .filter_map(|(i, x)| Some((i, x.filter.as_ref()?.text.clone())))
            .collect();
        for (i, text) in texts {
            let filter = self.filter_of(def, &text)?;
            if let Some(x) = def.indexes.get_mut(i) {
                x.filter = Some(filter);
            }
        }
        Ok(())
    }

    pub(super) fn alter_column(
        &mut self,
        database: &Arc<Database>,
        table: &Arc<Table>,
        spec: &ColumnSpec,
        text: &str,
    ) -> R<()> {
        let mut def = (*table.def()).clone();
        let Some(at) = def.ordinal(&spec.name) else {
            let m = format!(
                "ALTER TABLE ALTER COLUMN failed because column '{}' does not exist in table '{}'.",
                spec.name, def.name
            );
            return Err(SqlError::new(4924, m));
        };
        let Some(old) = def.columns.get(at).cloned() else { return Ok(()) };
        if old.computed.is_some() || old.ty == Ty::RowVersion {
            let m = format!(
                "Cannot alter column '{}' because it is '{}'.",
                old.name,
                if old.computed.is_some() { "COMPUTED" } else { "timestamp" }
            );
            return Err(SqlError::new(4928, m));
        }
        let mut new = self.column_of(
            database,
            &def,
            &ColumnSpec { nullable: spec.nullable.or(Some(true)), ..spec.clone() },
        )?;
        let key = def.indexes.iter().find(|i| i.columns.iter().any(|k| k.column == at));
        if let Some(i) = key {
            let longer = match (old.ty, new.ty) {
                (Ty::VarChar(a), Ty::VarChar(b))
                | (Ty::NVarChar(a), Ty::NVarChar(b))
                | (Ty::VarBinary(a), Ty::VarBinary(b)) => b >= a && b != crate::value::MAX,
                (a, b) => a == b,
            };
            if !longer {
                let kind = if i.constraint_id == 0 { "index" } else { "object" };
                let m = format!("The {kind} '{}' is dependent on column '{}'.", i.name, old.name);
                return Err(SqlError::new(5074, m));
            }
            if i.primary_key {
                if spec.nullable == Some(true) {
                    return Err(SqlError::new(
                        8111,
                        format!(
                            "Cannot define PRIMARY KEY constraint on nullable column in table '{}'.",
                            def.name
                        ),
                    ));
                }
                new.nullable = old.nullable;
            }
        }
        new.id = old.id;
        new.name.clone_from(&old.name);
        new.identity = old.identity;
        new.default = old.default;
        new.sparse = old.sparse;
        new.row_guid = old.row_guid;
        if old.identity.is_some() {
            new.nullable = false;
        }
        let full = format!("{}.{}", database.name(), def.full_name());
        let (from, to, nullable, own) = (old.ty, new.ty, new.nullable, new.name.clone());
        if let Some(c) = def.columns.get_mut(at) {
            *c = new;
        }
        self.refilter(&mut def)?;
        let tx = self.tx()?;
        tx.rewrite_table(database, table, def, |row| {
            let v = row.get(at).cloned().unwrap_or_default();
            if v.is_null() && !nullable {
                return Err(SqlError::null_into(&full, &own, "UPDATE"));
            }
            let v = if from == to {
                v
            } else {
                assign_or_cast(&Typed::new(from, v), &to, &full, &own)?
            };
            Ok(edited(row, |values| {
                if let Some(p) = values.get_mut(at) {
                    *p = v;
                }
            }))
        })?;
        cdc::on_ddl(tx, database, table, text, DdlKind::AlterColumn { column: own });
        Ok(())
    }

    // ---- everything else ----
}
