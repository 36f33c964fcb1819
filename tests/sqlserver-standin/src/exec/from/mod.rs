//! FROM: which tables, functions and queries it names.

mod access;
mod compat;
mod derived;
mod place;

use crate::exec::from::place::leaf;
use std::sync::Arc;

use crate::catalog;
use crate::exec::node::Node;
use crate::exec::plan::{QueryPlan, TableFunction};
use crate::exec::scope::{Offered, Scope};
use crate::exec::session::SessionState;
use crate::exec::{R, dml};
use crate::sql::ast::{Hints, JoinKind, Name, Query, TableRef};
use crate::store::{Database, Table, TableDef, same_name};
use crate::value::{Col, Collation, Filled, Row, SqlError, Ty};

/// What a name in FROM turned out to be.
pub(crate) enum Found {
    Table(Arc<Database>, Arc<Table>),
    View { database: Arc<Database>, schema: String, text: String },
    Rows(crate::value::Rowset),
}

/// A table of FROM before joins and predicates are placed.
pub(super) enum Leaf {
    Table { database: Arc<Database>, table: Arc<Table>, hints: Hints, key_slot: Option<usize> },
    Rows(Arc<Vec<Row>>),
    Work(usize),
    Query(Box<QueryPlan>),
    Function(TableFunction, Vec<Node>),
}

/// The tree of FROM.
pub(crate) enum Tree {
    Leaf {
        slot: usize,
        leaf: LeafBox,
    },
    Join {
        left: Box<Tree>,
        right: Box<Tree>,
        outer_left: bool,
        outer_right: bool,
        on: Vec<Node>,
        lateral: bool,
    },
    Nothing,
}
pub(crate) struct LeafBox(Leaf);

/// A condition that waits for its place.
pub(super) struct Conjunct {
    node: Node,
    /// Slots it needs; None: it stays at the top.
    slots: Option<u64>,
}

/// The order that the query wants: columns of one table.
pub(crate) struct WantedOrder {
    pub(crate) slot: usize,
    /// (column, descending)
    pub(crate) columns: Vec<(usize, bool)>,
    pub(crate) satisfied: bool,
}

fn filled(c: &crate::store::Column) -> Filled {
    match c {
        c if c.identity.is_some() => Filled::Identity,
        c if c.computed.is_some() => Filled::Expression,
        c if c.ty == Ty::RowVersion => Filled::Server,
        _ => Filled::Client,
    }
}

pub(crate) fn offered(def: &TableDef) -> Vec<Offered> {
    def.columns
        .iter()
        .map(|c| Offered {
            name: c.name.clone(),
            ty: c.ty,
            nullable: c.nullable,
            filled: filled(c),
            collation: c
                .collation
                .as_deref()
                .map(Collation::by_name)
                .filter(|c| *c != Collation::default()),
            hidden: c.hidden,
        })
        .collect()
}

pub(super) fn offered_columns(columns: &[Col]) -> Vec<Offered> {
    columns
        .iter()
        .map(|c| Offered {
            name: c.name.clone(),
            ty: c.ty,
            nullable: c.nullable,
            filled: c.filled,
            collation: None,
            hidden: false,
        })
        .collect()
}

pub(crate) fn bit(slot: usize) -> u64 {
    u32::try_from(slot).ok().and_then(|s| 1u64.checked_shl(s)).unwrap_or(0)
}

impl SessionState {
    /// Database, schema and name of `a.b.c`.
    pub(crate) fn locate(&self, name: &Name) -> R<(Arc<Database>, Option<String>, String)> {
        let mut parts = name.iter().rev();
        let own = parts.next().cloned().unwrap_or_default();
        let schema = parts.next().cloned().filter(|s| !s.is_empty());
        let database = match parts.next().filter(|d| !d.is_empty()) {
            Some(d) => self
                .instance
                .database(d)
                .ok_or_else(|| SqlError::invalid_object(&name.join(".")))?,
            None => self.db(),
        };
        database.check_online()?;
        if database.id != self.db().id && !self.chained() {
            self.standing_in(&database)?;
        }
        if parts.next().is_some_and(|s| !s.is_empty()) {
            return Err(SqlError::unknown("linked servers"));
        }
        Ok((database, schema, own))
    }

    /// A user table, temporary ones included.
    pub(crate) fn find_table(&self, name: &Name) -> R<Option<(Arc<Database>, Arc<Table>)>> {
        let (database, schema, own) = self.locate(name)?;
        if name.len() == 1
            && let Some(table) = self.trigger_table(&own)
        {
            return Ok(Some((self.instance.tempdb(), table)));
        }
        if own.starts_with('#') {
            return Ok(self.temporary_table(&own).map(|t| (self.instance.tempdb(), t)));
        }
        let schema = schema.unwrap_or_else(|| "dbo".to_owned());
        if let Some(t) = database.table(&schema, &own) {
            return Ok(Some((database, t)));
        }
        let key = (crate::store::fold_name(&schema), crate::store::fold_name(&own));
        let target =
            crate::store::read(&database.objects).synonyms.get(&key).map(|s| s.target.clone());
        if let Some(target) = target {
            let parts: Name = target.split('\u{1}').map(str::to_owned).collect();
            return self.find_table(&parts);
        }
        Ok(None)
    }

    /// The table of a statement that needs one: 208 when there is none.
    pub(crate) fn need_table(&self, name: &Name) -> R<(Arc<Database>, Arc<Table>)> {
        self.find_table(name)?.ok_or_else(|| SqlError::invalid_object(&name.join(".")))
    }

    pub(crate) fn find(&mut self, name: &Name) -> R<Found> {
        if let Some((database, table)) = self.find_table(name)? {
            return Ok(Found::Table(database, table));
        }
        let (database, schema, own) = self.locate(name)?;
        let schema_name = schema.clone().unwrap_or_else(|| "dbo".to_owned());
        if let Some(view) = database.module(&schema_name, &own).filter(|m| m.kind == "V") {
            return Ok(Found::View {
                database,
                schema: view.schema.clone(),
                text: view.text.clone(),
            });
        }
        let other = (name.len() > 2).then(|| database.name());
        match catalog::system_table(self, other.as_deref(), &schema_name, &own, None)? {
            Some(rows) => Ok(Found::Rows(rows)),
            None if matches!(schema_name.to_ascii_lowercase().as_str(), "dbo" | "sys")
                && let Some(text) = compat::view(&own) =>
            {
                Ok(Found::View { database, schema: schema_name, text: text.to_owned() })
            }
            None => Err(SqlError::invalid_object(&name.join("."))),
        }
    }

    /// The query of a view.
    pub(crate) fn view_query(text: &str) -> R<(Query, Vec<String>)> {
        crate::sql::parse_view(text)
    }

    /// Compiles a tree of FROM into the scope. `key_of`: the alias or name whose row keys are needed.
    pub(crate) fn tree(
        &mut self,
        r: &TableRef,
        sc: &Scope<'_>,
        keys: &mut dml::KeySlots,
    ) -> R<Tree> {
        match r {
            TableRef::Named { name, alias, hints } => {
                if let [single] = name.as_slice()
                    && let Some(tree) = self.cte(single, alias.as_deref(), sc)?
                {
                    return Ok(tree);
                }
                match self.find(name)? {
                    Found::Table(database, table) => {
                        let def = table.def();
                        if !keys.is_target(&table) {
                            self.need_permission("SELECT", &database, &def.schema, &def.name)?;
                        }
                        let own = name.last().cloned().unwrap_or_default();
                        let path = if alias.is_some() {
                            Vec::new()
                        } else {
                            vec![database.name(), def.schema.clone(), def.name.clone()]
                        };
                        let slot = self.show(sc, alias.clone().unwrap_or(own), path, offered(&def));
                        if let Some(a) = alias
                            && sc.tables.borrow().iter().any(|t| {
                                t.slot != slot && t.path.is_empty() && same_name(&t.alias, a)
                            })
                        {
                            let m = format!(
                                "The correlation name '{a}' is specified multiple times in a FROM clause."
                            );
                            return Err(SqlError::new(1011, m));
                        }
                        let key_slot = keys.take(slot, &table, sc);
                        Ok(leaf(
                            slot,
                            Leaf::Table { database, table, hints: hints.clone(), key_slot },
                        ))
                    }
                    Found::View { database, schema, text } => {
                        let (query, names) = Self::view_query(&text)?;
                        let own = name.last().map_or("", String::as_str);
                        self.need_permission("SELECT", &database, &schema, own)?;
                        let plan = self.in_view(&database, |s| {
                            let inner = Scope::inside(None, None);
                            s.query_in(&query, &inner)
                        })?;
                        let mut columns = offered_columns(&plan.columns);
                        for (c, n) in columns.iter_mut().zip(&names) {
                            n.clone_into(&mut c.name);
                        }
                        let own = name.last().cloned().unwrap_or_default();
                        let path = if alias.is_some() {
                            Vec::new()
                        } else {
                            vec![database.name(), schema, own.clone()]
                        };
                        let slot = self.show(sc, alias.clone().unwrap_or(own), path, columns);
                        Ok(leaf(slot, Leaf::Query(Box::new(plan))))
                    }
                    Found::Rows(rows) => {
                        let own = name.last().cloned().unwrap_or_default();
                        let path = if alias.is_some() {
                            Vec::new()
                        } else {
                            let schema = name.iter().rev().nth(1).cloned().unwrap_or_default();
                            vec![self.db().name(), schema, own.clone()]
                        };
                        let slot = self.show(
                            sc,
                            alias.clone().unwrap_or(own),
                            path,
                            offered_columns(&rows.columns),
                        );
                        Ok(leaf(slot, Leaf::Rows(Arc::new(rows.rows))))
                    }
                }
            }
            TableRef::Variable { name, alias } => {
                let table = self.table_variable(name)?;
                let alias = alias.clone().unwrap_or_else(|| name.clone());
                let slot = self.show(sc, alias, Vec::new(), offered(&table.def()));
                let database = self.instance.tempdb();
                let key_slot = keys.take(slot, &table, sc);
                Ok(leaf(slot, Leaf::Table { database, table, hints: Hints::default(), key_slot }))
            }
            TableRef::Derived { query, alias, columns } => {
                self.derived(query, alias, columns, sc, false)
            }
            TableRef::Function { name, args, alias, columns } => {
                self.function(name, args, alias.as_deref(), columns, sc, false)
            }
            TableRef::Join { left, kind, right, on } => {
                let left = self.tree(left, sc, keys)?;
                let right = self.tree(right, sc, keys)?;
                let mut conditions = Vec::new();
                if let Some(on) = on {
                    self.compile(on, sc)?.conjuncts(&mut conditions);
                }
                let (left, right, outer_left, outer_right) = match kind {
                    JoinKind::Inner | JoinKind::Cross => (left, right, false, false),
                    JoinKind::Left => (left, right, true, false),
                    JoinKind::Right => (right, left, true, false),
                    JoinKind::Full => (left, right, true, true),
                };
                let (left, right) = (Box::new(left), Box::new(right));
                Ok(Tree::Join {
                    left,
                    right,
                    outer_left,
                    outer_right,
                    on: conditions,
                    lateral: false,
                })
            }
            TableRef::Apply { left, right, outer } => {
                let left = self.tree(left, sc, keys)?;
                let right = match &**right {
                    TableRef::Derived { query, alias, columns } => {
                        self.derived(query, alias, columns, sc, true)?
                    }
                    TableRef::Function { name, args, alias, columns } => {
                        self.function(name, args, alias.as_deref(), columns, sc, true)?
                    }
                    other => self.tree(other, sc, keys)?,
                };
                let (left, right) = (Box::new(left), Box::new(right));
                Ok(Tree::Join {
                    left,
                    right,
                    outer_left: *outer,
                    outer_right: false,
                    on: Vec::new(),
                    lateral: true,
                })
            }
        }
    }
}

pub(in crate::exec) use access::{Encoded, encode};
