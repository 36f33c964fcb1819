//! Keys, checks and foreign keys.

use crate::exec::ddl::definition::definition;
use crate::exec::ddl::{made_up, too_many_clustered};
use std::sync::Arc;

use crate::exec::R;
use crate::exec::scope::Scope;
use crate::exec::session::SessionState;
use crate::sql::ast::{ConstraintSpec, ForeignSpec, KeySpec, RefAction};
use crate::store::{
    Action, Check, Database, DefaultConstraint, ForeignKey, Index, KeyColumn, TableDef, same_name,
};
use crate::value::{SqlError, Ty};

impl SessionState {
    pub(super) fn key_columns(def: &TableDef, columns: &[(String, bool)]) -> R<Vec<KeyColumn>> {
        columns
            .iter()
            .map(|(name, descending)| {
                let column = def.ordinal(name).ok_or_else(|| {
                    let m = format!("Column name '{name}' does not exist in the target table or view.");
                    SqlError::new(1911, m)
                })?;
                let ty = def.columns.get(column).map_or(Ty::Int, |c| c.ty);
                let bad = matches!(ty, Ty::Text | Ty::NText | Ty::Image | Ty::Xml | Ty::Udt(_))
                    || matches!(ty, Ty::VarChar(n) | Ty::NVarChar(n) | Ty::VarBinary(n) if n == crate::value::MAX);
                if bad {
                    let m = format!("Column '{name}' in table '{}' is of a type that is invalid for use as a key column in an index.", def.full_name());
                    return Err(SqlError::new(1919, m));
                }
                Ok(KeyColumn { column, descending: *descending })
            })
            .collect()
    }

    pub(super) fn add_key(
        &mut self,
        database: &Arc<Database>,
        def: &mut TableDef,
        k: &KeySpec,
        clustered: bool,
    ) -> R<()> {
        if k.primary && def.primary_key().is_some() {
            let m = format!("Table '{}' already has a primary key defined on it.", def.name);
            return Err(SqlError::new(1779, m));
        }
        let columns = Self::key_columns(def, &k.columns)?;
        if k.primary {
            for c in &columns {
                if let Some(col) = def.columns.get_mut(c.column) {
                    col.nullable = false;
                }
            }
        }
        if clustered && def.clustered().is_some() {
            return Err(too_many_clustered(def));
        }
        let id = database.new_object_id();
        let prefix = if k.primary { "PK" } else { "UQ" };
        let name = match &k.name {
            Some(n) => {
                Self::free_constraint(database, n)?;
                n.clone()
            }
            None => made_up(prefix, &def.name, "", id),
        };
        def.indexes.push(Index {
            id: if clustered { 1 } else { def.next_index_id() },
            name,
            unique: true,
            clustered,
            primary_key: k.primary,
            unique_constraint: !k.primary,
            constraint_id: id,
            system_named: k.name.is_none(),
            columns,
            included: Vec::new(),
            filter: None,
            disabled: false,
        });
        Ok(())
    }

    /// Constraint names are unique in a database.
    pub(super) fn free_constraint(database: &Database, name: &str) -> R<()> {
        if database.id == 2 {
            return Ok(());
        }
        let used = database.tables().iter().any(|t| {
            let d = t.def();
            d.indexes.iter().any(|i| i.constraint_id != 0 && same_name(&i.name, name))
                || d.checks.iter().any(|c| same_name(&c.name, name))
                || d.foreign_keys.iter().any(|f| same_name(&f.name, name))
                || d.columns
                    .iter()
                    .any(|c| c.default.as_ref().is_some_and(|x| same_name(&x.name, name)))
        });
        if used { Err(SqlError::exists(name)) } else { Ok(()) }
    }

    pub(super) fn add_constraint(
        &mut self,
        database: &Arc<Database>,
        def: &mut TableDef,
        c: &ConstraintSpec,
    ) -> R<()> {
        let id = database.new_object_id();
        match c {
            ConstraintSpec::Key(k) => {
                let clustered = k.clustered.unwrap_or(k.primary && def.clustered().is_none());
                self.add_key(database, def, k, clustered)
            }
            ConstraintSpec::Check { name, check, column } => {
                if let Some(n) = name {
                    Self::free_constraint(database, n)?;
                }
                self.table_expression(def, &check.text, true)?;
                let named = name.clone();
                let own = column.as_deref().unwrap_or("");
                let name = named.unwrap_or_else(|| made_up("CK", &def.name, own, id));
                def.checks.push(Check {
                    system_named: name.starts_with("CK__"),
                    name,
                    object_id: id,
                    text: definition(check),
                    column: column.as_deref().and_then(|c| def.ordinal(c)),
                    disabled: false,
                });
                Ok(())
            }
            ConstraintSpec::Default { name, value, column, .. } => {
                if let Some(n) = name {
                    Self::free_constraint(database, n)?;
                }
                let at = def.ordinal(column).ok_or_else(|| {
                    SqlError::new(1752, format!("Column '{column}' in table '{}' is invalid for creating a default constraint.", def.name))
                })?;
                self.compile(&value.expr, &Scope::default())?;
                let made = made_up("DF", &def.name, column, id);
                let Some(c) = def.columns.get_mut(at) else { return Ok(()) };
                if c.default.is_some() {
                    return Err(SqlError::new(1781, "Column already has a DEFAULT bound to it."));
                }
                c.default = Some(DefaultConstraint {
                    system_named: name.is_none(),
                    name: name.clone().unwrap_or(made),
                    object_id: id,
                    text: definition(value),
                });
                Ok(())
            }
            ConstraintSpec::Foreign(f) => self.add_foreign(database, def, f, id),
        }
    }

    pub(super) fn add_foreign(
        &mut self,
        database: &Arc<Database>,
        def: &mut TableDef,
        f: &ForeignSpec,
        id: i32,
    ) -> R<()> {
        if let Some(n) = &f.name {
            Self::free_constraint(database, n)?;
        }
        let (_, schema, own) = self.locate(&f.parent)?;
        let itself = same_name(&own, &def.name)
            && schema.as_deref().is_none_or(|s| same_name(s, &def.schema));
        let parent_def = if itself {
            Arc::new(def.clone())
        } else {
            let found = self.find_table(&f.parent)?;
            let Some((_, t)) = found else {
                let m = format!(
                    "Foreign key '{}' references invalid table '{}'.",
                    f.name.clone().unwrap_or_default(),
                    f.parent.join(".")
                );
                return Err(SqlError::new(1767, m));
            };
            t.def()
        };
        let parent_names: Vec<String> = if f.parent_columns.is_empty() {
            let Some(pk) = parent_def.primary_key() else {
                let m = format!(
                    "There are no primary or candidate keys in the referenced table '{}' that match the referencing column list in the foreign key '{}'.",
                    f.parent.join("."),
                    f.name.clone().unwrap_or_default()
                );
                return Err(SqlError::new(1776, m));
            };
            pk.columns
                .iter()
                .filter_map(|k| parent_def.columns.get(k.column))
                .map(|c| c.name.clone())
                .collect()
        } else {
            f.parent_columns.clone()
        };
        let mut columns = Vec::new();
        for n in &f.columns {
            columns.push(def.ordinal(n).ok_or_else(|| {
                SqlError::new(1769, format!("Foreign key '{}' references invalid column '{n}' in referencing table '{}'.", f.name.clone().unwrap_or_default(), def.name))
            })?);
        }
        let mut parent_columns = Vec::new();
        let mut ordinals = Vec::new();
        for n in &parent_names {
            let at = parent_def.ordinal(n).ok_or_else(|| {
                SqlError::new(1770, format!("Foreign key '{}' references invalid column '{n}' in referenced table '{}'.", f.name.clone().unwrap_or_default(), parent_def.name))
            })?;
            ordinals.push(at);
            parent_columns.extend(parent_def.columns.get(at).map(|c| c.id));
        }
        let key = parent_def.indexes.iter().any(|i| {
            i.unique
                && i.filter.is_none()
                && i.columns.len() == ordinals.len()
                && i.columns.iter().all(|k| ordinals.contains(&k.column))
        });
        if !key || columns.len() != parent_columns.len() {
            let m = format!(
                "There are no primary or candidate keys in the referenced table '{}' that match the referencing column list in the foreign key '{}'.",
                f.parent.join("."),
                f.name.clone().unwrap_or_default()
            );
            return Err(SqlError::new(1776, m));
        }
        let action = |a: RefAction| match a {
            RefAction::NoAction => Action::NoAction,
            RefAction::Cascade => Action::Cascade,
            RefAction::SetNull => Action::SetNull,
            RefAction::SetDefault => Action::SetDefault,
        };
        let own = f.columns.first().map_or("", String::as_str);
        def.foreign_keys.push(ForeignKey {
            name: f.name.clone().unwrap_or_else(|| made_up("FK", &def.name, own, id)),
            object_id: id,
            system_named: f.name.is_none(),
            columns,
            parent: parent_def.object_id,
            parent_columns,
            on_delete: action(f.on_delete),
            on_update: action(f.on_update),
            disabled: false,
        });
        Ok(())
    }

    // ---- indexes ----
}
