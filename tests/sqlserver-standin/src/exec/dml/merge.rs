//! MERGE.

use std::collections::HashMap;
use std::sync::Arc;

use super::KeySlots;
use super::output::OutputRows;
use super::update::Set;
use crate::exec::from::Tree;
use crate::exec::node::{Env, Node};
use crate::exec::output::Output;
use crate::exec::run::Run;
use crate::exec::scope::Visible;
use crate::exec::session::SessionState;
use crate::exec::{Count, Write};
use crate::sql::ast::{Expr, Merge, MergeAction, MergeWhen};
use crate::store::{Key, RowUpdate};
use crate::value::{Row, SqlError, Typed, Val};

impl SessionState {
    pub(crate) fn merge(&mut self, m: &Merge, out: &mut dyn Output) -> Result<Count, Write> {
        let sc = Self::cte_scope(&m.ctes);
        sc.tables.borrow_mut().push(Visible {
            alias: String::new(),
            path: Vec::new(),
            columns: Vec::new(),
            slot: 0,
        });
        let target = self.target(&m.target)?;
        let mut keys = KeySlots::none();
        keys.table = Some(target.table.object_id);
        let right = self.tree(&m.target, &sc, &mut keys)?;
        let Some(slot) = keys.found else {
            return Err(SqlError::unknown("this target of MERGE").into());
        };
        let left = self.tree(&m.source, &sc, &mut KeySlots::none())?;
        let mut on = Vec::new();
        self.compile(&m.on, &sc)?.conjuncts(&mut on);
        let tree = Tree::Join {
            left: Box::new(left),
            right: Box::new(right),
            outer_left: true,
            outer_right: false,
            on,
            lateral: false,
        };
        for (_, _, action) in &m.clauses {
            let permission = match action {
                MergeAction::Update(_) => "UPDATE",
                MergeAction::Delete => "DELETE",
                MergeAction::Insert { .. } => "INSERT",
            };
            self.may_change(permission, &target)?;
        }
        let w = self.writer(&target)?;
        enum Do {
            Update(Vec<Set>),
            Delete,
            Insert(Vec<(usize, Option<Node>)>),
        }
        let mut clauses = Vec::new();
        for (when, condition, action) in &m.clauses {
            let condition = condition.as_ref().map(|c| self.compile(c, &sc)).transpose()?;
            let action = match action {
                MergeAction::Update(set) => Do::Update(self.assignments(set, &target, &sc, slot)?),
                MergeAction::Delete => Do::Delete,
                MergeAction::Insert { columns, values } => {
                    let columns = self.insert_columns(&target, columns, false)?;
                    let mut nodes = Vec::new();
                    if let Some(values) = values {
                        if values.len() != columns.len() {
                            return Err(SqlError::new(213, "Column name or number of supplied values does not match table definition.").into());
                        }
                        for (at, e) in columns.into_iter().zip(values) {
                            nodes.push((
                                at,
                                if *e == Expr::Default {
                                    None
                                } else {
                                    Some(self.compile(e, &sc)?)
                                },
                            ));
                        }
                    }
                    Do::Insert(nodes)
                }
            };
            clauses.push((*when, condition, action));
        }
        let plan = self.output_plan(m.output.as_ref(), &target)?;
        let slots = sc.next_slot() + 2;
        let mut matched: HashMap<Key, bool> = HashMap::new();
        let mut updates: Vec<RowUpdate> = Vec::new();
        let mut assigned: Vec<usize> = Vec::new();
        let mut gone: Vec<(Key, Row)> = Vec::new();
        let mut fresh: Vec<Vec<(usize, Typed)>> = Vec::new();
        let (source, filter) = self.place(tree, Vec::new(), &mut None)?;
        let mut tuples: Vec<(MergeWhen, Vec<Row>)> = Vec::new();
        {
            let mut run = Run::new(&source);
            let mut tuple: Vec<Row> = vec![Arc::from([]); slots];
            while run.next(self, &mut tuple, None)? {
                let env = Env { rows: &tuple, outer: None };
                if !self.all_pass(&filter, &env)? {
                    continue;
                }
                let when = match tuple.first().and_then(|r| r.first()) {
                    Some(Val::Bytes(k)) => {
                        matched.entry(Arc::clone(k)).or_insert(false);
                        MergeWhen::Matched
                    }
                    _ => MergeWhen::NotMatchedByTarget,
                };
                tuples.push((when, tuple.clone()));
            }
        }
        if clauses.iter().any(|c| c.0 == MergeWhen::NotMatchedBySource) {
            let all: Vec<(Key, Row)> = self.tx()?.scan(&target.database, &target.table).collect();
            for (key, row) in all {
                if !matched.contains_key(&key) {
                    let mut tuple: Vec<Row> = vec![Arc::from([]); slots];
                    if let Some(p) = tuple.get_mut(0) {
                        *p = Arc::from([Val::Bytes(key)]);
                    }
                    if let Some(p) = tuple.get_mut(slot) {
                        *p = row;
                    }
                    tuples.push((MergeWhen::NotMatchedBySource, tuple));
                }
            }
        }
        for (when, tuple) in &tuples {
            let env = Env { rows: tuple, outer: None };
            for (clause, condition, action) in &clauses {
                if clause != when {
                    continue;
                }
                if let Some(c) = condition
                    && !self.passes(c, &env)?
                {
                    continue;
                }
                let key = match tuple.first().and_then(|r| r.first()) {
                    Some(Val::Bytes(k)) => Some(Arc::clone(k)),
                    _ => None,
                };
                if let Some(k) = &key
                    && matched.insert(Arc::clone(k), true) == Some(true)
                {
                    return Err(SqlError::new(
                        8672,
                        "The MERGE statement attempted to UPDATE or DELETE the same row more than once. This happens when a target row matches more than one source row. A MERGE statement cannot UPDATE/DELETE the same row of the target table multiple times. Refine the ON clause to ensure a target row matches at most one source row, or use the GROUP BY clause to group the source rows.",
                    )
                    .into());
                }
                let row = tuple.get(slot).cloned().unwrap_or_default();
                match (action, key) {
                    (Do::Update(set), Some(key)) => {
                        assigned.extend(set.iter().filter_map(|s| s.column));
                        let after = self.changed_row(&w, set, &row, &env)?;
                        updates.push(RowUpdate { key, before: row, after });
                    }
                    (Do::Delete, Some(key)) => gone.push((key, row)),
                    (Do::Insert(nodes), _) => {
                        let mut given = Vec::with_capacity(nodes.len());
                        for (at, n) in nodes {
                            if let Some(n) = n {
                                given.push((*at, self.typed(n, &env)?));
                            }
                        }
                        fresh.push(given);
                    }
                    (Do::Update(_) | Do::Delete, None) => {}
                }
                break;
            }
        }
        let mut rows = Vec::new();
        self.delete_rows(&target, &gone)?;
        self.apply_updates(&w, &target, &updates, &assigned)?;
        let count = gone.len() + updates.len() + fresh.len();
        rows.extend(gone.into_iter().map(|(_, r)| (None, Some(r), "DELETE")));
        rows.extend(updates.into_iter().map(|u| (Some(u.after), Some(u.before), "UPDATE")));
        for given in fresh {
            let row = self.insert_row(&w, &target, given)?;
            if w.has_foreign_keys() {
                self.check_foreign(&w, &target, &row, "MERGE")?;
            }
            rows.push((Some(row), None, "INSERT"));
        }
        let triggers = self.triggers(&target)?;
        self.fire(&target, &triggers, &rows, None, out)?;
        let sent = self.give(plan, OutputRows { rows }, out)?;
        Ok(Count { rows: u64::try_from(count).unwrap_or(u64::MAX), sent })
    }
}
