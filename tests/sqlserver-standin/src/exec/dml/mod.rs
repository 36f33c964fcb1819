//! INSERT, UPDATE, DELETE, MERGE: what they share, the target and its scope.

mod affected;
mod bulk;
mod delete;
mod insert;
mod merge;
mod output;
mod update;

use std::sync::Arc;

use super::R;
use super::node::Env;
use super::scope::{Ctes, Scope};
use super::session::SessionState;
use crate::sql::ast::{Cte, Name, TableRef, Top};
use crate::store::{Database, Table, same_name};
use crate::value::SqlError;

/// Which table of FROM is the target, and where its rows' keys go.
pub(crate) struct KeySlots {
    key_slot: usize,
    alias: Option<String>,
    table: Option<i32>,
    pub(crate) found: Option<usize>,
}

impl KeySlots {
    pub(crate) fn none() -> Self {
        Self { key_slot: 0, alias: None, table: None, found: None }
    }

    /// Whether this table of FROM is the one to be changed, as far as it can be told.
    pub(crate) fn is_target(&self, table: &Table) -> bool {
        self.found.is_none() && self.table == Some(table.object_id)
    }

    pub(crate) fn take(&mut self, slot: usize, table: &Table, sc: &Scope<'_>) -> Option<usize> {
        if self.found.is_some() {
            return None;
        }
        let alias = sc.tables.borrow().get(slot).map(|t| t.alias.clone()).unwrap_or_default();
        let yes = match (&self.alias, self.table) {
            (Some(a), _) => same_name(a, &alias),
            (None, Some(id)) => id == table.object_id,
            (None, None) => false,
        };
        if yes {
            self.found = Some(slot);
            return Some(self.key_slot);
        }
        None
    }
}

/// The table that a statement changes.
pub(crate) struct Target {
    pub(crate) database: Arc<Database>,
    pub(crate) table: Arc<Table>,
}

fn last(name: &Name) -> &str {
    name.last().map_or("", String::as_str)
}

impl SessionState {
    fn target(&mut self, r: &TableRef) -> R<Target> {
        match r {
            TableRef::Named { name, hints, .. } => {
                if let Some((database, table)) = self.find_table(name)? {
                    if hints.has("TABLOCKX") || hints.has("TABLOCK") {
                        self.tx()?.lock_table(&table, crate::store::Mode::Exclusive)?;
                    }
                    return Ok(Target { database, table });
                }
                // A view or a system object: the first exists, but is not changed here.
                match self.find(name)? {
                    super::from::Found::View { .. } => {
                        Err(SqlError::unknown("changing rows through a view"))
                    }
                    super::from::Found::Rows(_) => {
                        let m = format!(
                            "Ad hoc updates to system catalogs are not allowed. ('{}')",
                            name.join(".")
                        );
                        Err(SqlError::new(259, m))
                    }
                    super::from::Found::Table(database, table) => Ok(Target { database, table }),
                }
            }
            TableRef::Variable { name, .. } => {
                Ok(Target { table: self.table_variable(name)?, database: self.instance.tempdb() })
            }
            _ => Err(SqlError::unknown("this target of a statement")),
        }
    }

    /// Error 229 when this session may not do that with the target's rows.
    fn may_change(&self, permission: &str, target: &Target) -> R<()> {
        let def = target.table.def();
        self.need_permission(permission, &target.database, &def.schema, &def.name)
    }

    fn cte_scope<'a>(ctes: &Arc<Vec<Cte>>) -> Scope<'a> {
        let env = (!ctes.is_empty()).then(|| {
            std::rc::Rc::new(Ctes {
                list: Arc::clone(ctes),
                upto: ctes.len(),
                work: None,
                parent: None,
            })
        });
        Scope::inside(None, env)
    }

    fn limit(&mut self, top: Option<&Top>) -> R<u64> {
        let Some(t) = top else { return Ok(u64::MAX) };
        let n = self.compile(&t.count, &Scope::default())?;
        if t.percent {
            return Err(SqlError::unknown("TOP ... PERCENT in a statement that changes rows"));
        }
        Ok(self.count_of(Some(&n), &Env::EMPTY)?.unwrap_or(u64::MAX))
    }
}
