//! Indexes.

use crate::exec::ddl::{no_object, order_indexes, parenthesised, too_many_clustered};

use crate::exec::R;
use crate::exec::session::SessionState;
use crate::sql::ast::{IndexSpec, Name};
use crate::store::{DdlKind, Filter, Index, TableDef, same_name};
use crate::value::SqlError;

impl SessionState {
    pub(super) fn index_of(&mut self, def: &TableDef, spec: &IndexSpec) -> R<Index> {
        if def.indexes.iter().any(|i| same_name(&i.name, &spec.name)) && !spec.drop_existing {
            let m = format!(
                "The operation failed because an index or statistics with name '{}' already exists on table '{}'.",
                spec.name,
                def.full_name()
            );
            return Err(SqlError::new(1913, m));
        }
        let columns = Self::key_columns(def, &spec.columns)?;
        let mut included = Vec::new();
        for n in &spec.included {
            included.push(def.ordinal(n).ok_or_else(|| {
                SqlError::new(
                    1911,
                    format!("Column name '{n}' does not exist in the target table or view."),
                )
            })?);
        }
        if spec.clustered && def.clustered().is_some_and(|c| !same_name(&c.1.name, &spec.name)) {
            return Err(too_many_clustered(def));
        }
        let filter = match &spec.filter {
            Some(f) => Some(self.filter_of(def, &f.text)?),
            None => None,
        };
        Ok(Index {
            id: if spec.clustered { 1 } else { def.next_index_id() },
            name: spec.name.clone(),
            unique: spec.unique,
            clustered: spec.clustered,
            primary_key: false,
            unique_constraint: false,
            constraint_id: 0,
            system_named: false,
            columns,
            included,
            filter,
            disabled: false,
        })
    }

    /// The predicate of a filtered index as a function of the row. Only what needs no session is allowed there.
    pub(super) fn filter_of(&mut self, def: &TableDef, text: &str) -> R<Filter> {
        let n = self.table_expression(def, text, true)?;
        let test = crate::exec::filter::pure(n)?;
        Ok(Filter { text: parenthesised(text), test })
    }

    pub(super) fn create_index(&mut self, spec: &IndexSpec, text: &str) -> R<()> {
        let (database, table) = self.need_table(&spec.table).map_err(|_| {
            let m = format!("Cannot find the object \"{}\" because it does not exist or you do not have permissions.", spec.table.join("."));
            SqlError::new(1088, m).state(12)
        })?;
        let mut def = (*table.def()).clone();
        if spec.drop_existing {
            def.indexes.retain(|i| !same_name(&i.name, &spec.name));
        }
        let index = self.index_of(&def, spec)?;
        def.indexes.push(index);
        order_indexes(&mut def);
        self.rewrite(&database, &table, def, text, DdlKind::Index)
    }

    pub(super) fn drop_index(
        &mut self,
        name: &str,
        table: &Name,
        if_exists: bool,
        text: &str,
    ) -> R<()> {
        let Some((database, t)) = self.find_table(table)? else {
            return if if_exists {
                Ok(())
            } else {
                Err(no_object("drop", "index", &format!("{}.{name}", table.join("."))))
            };
        };
        let mut def = (*t.def()).clone();
        let Some(at) = def.indexes.iter().position(|i| same_name(&i.name, name)) else {
            return if if_exists {
                Ok(())
            } else {
                Err(no_object("drop", "index", &format!("{}.{name}", table.join("."))))
            };
        };
        if let Some(i) = def.indexes.get(at)
            && i.constraint_id != 0
        {
            let kind = if i.primary_key { "PRIMARY KEY" } else { "UNIQUE KEY" };
            let m = format!(
                "An explicit DROP INDEX is not allowed on index '{}.{name}'. It is being used for {kind} constraint enforcement.",
                table.join(".")
            );
            return Err(SqlError::new(3723, m).state(4));
        }
        def.indexes.remove(at);
        self.rewrite(&database, &t, def, text, DdlKind::Index)
    }
}
