//! The rows that an UPDATE or DELETE is about.

use std::collections::HashSet;
use std::sync::Arc;

use super::{KeySlots, Target, last};
use crate::exec::R;
use crate::exec::from::Tree;
use crate::exec::node::Env;
use crate::exec::run::Run;
use crate::exec::scope::{Scope, Visible};
use crate::exec::session::SessionState;
use crate::sql::ast::{Cte, Expr, TableRef};
use crate::store::{Key, same_name};
use crate::value::{Row, SqlError, Val};

fn aliases<'a>(r: &'a TableRef, out: &mut Vec<&'a str>) {
    match r {
        TableRef::Named { name, alias, .. } => {
            out.extend(alias.as_deref().or_else(|| name.last().map(String::as_str)));
        }
        TableRef::Variable { name, alias } => out.push(alias.as_deref().unwrap_or(name)),
        TableRef::Join { left, right, .. } | TableRef::Apply { left, right, .. } => {
            aliases(left, out);
            aliases(right, out);
        }
        TableRef::Function { .. } | TableRef::Derived { .. } => {}
    }
}

impl SessionState {
    /// The rows that an UPDATE or DELETE is about: compiles FROM and WHERE with the target among them.
    pub(super) fn affected<'a>(
        &mut self,
        ctes: &Arc<Vec<Cte>>,
        target: &TableRef,
        from: &[TableRef],
    ) -> R<(Target, Scope<'a>, Tree, usize)> {
        let sc = Self::cte_scope(ctes);
        // Slot 0 is for the keys of the target's rows.
        sc.tables.borrow_mut().push(Visible {
            alias: String::new(),
            path: Vec::new(),
            columns: Vec::new(),
            slot: 0,
        });
        let mut names = Vec::new();
        for r in from {
            aliases(r, &mut names);
        }
        let mut keys = KeySlots::none();
        let mut all: Vec<TableRef> = from.to_vec();
        match target {
            TableRef::Named { name, .. }
                if name.len() == 1 && names.iter().any(|n| same_name(n, last(name))) =>
            {
                keys.alias = Some(last(name).to_owned());
            }
            TableRef::Variable { name, .. } if names.iter().any(|n| same_name(n, name)) => {
                keys.alias = Some(name.clone());
            }
            TableRef::Named { name, .. } => {
                if name.len() == 1 && ctes.iter().any(|c| same_name(&c.name, last(name))) {
                    return Err(SqlError::unknown(
                        "changing rows through a common table expression",
                    ));
                }
                let t = self.target(target)?;
                keys.table = Some(t.table.object_id);
                let there = from.iter().any(|r| Self::mentions_table(self, r, t.table.object_id));
                if !there {
                    all.insert(0, target.clone());
                }
            }
            TableRef::Variable { .. } => {
                let t = self.target(target)?;
                keys.table = Some(t.table.object_id);
                if from.is_empty() {
                    all.push(target.clone());
                }
            }
            _ => return Err(SqlError::unknown("this target of a statement")),
        }
        let mut tree = Tree::Nothing;
        for r in &all {
            let next = self.tree(r, &sc, &mut keys)?;
            tree = match tree {
                Tree::Nothing => next,
                tree => Tree::Join {
                    left: Box::new(tree),
                    right: Box::new(next),
                    outer_left: false,
                    outer_right: false,
                    on: Vec::new(),
                    lateral: false,
                },
            };
        }
        let Some(slot) = keys.found else {
            return Err(SqlError::unknown("changing rows of something that is no table"));
        };
        let found = self.leaf_table(&all, slot, &sc, target)?;
        Ok((found, sc, tree, slot))
    }

    fn mentions_table(s: &Self, r: &TableRef, id: i32) -> bool {
        match r {
            TableRef::Named { name, .. } => {
                matches!(s.find_table(name), Ok(Some((_, t))) if t.object_id == id)
            }
            TableRef::Join { left, right, .. } | TableRef::Apply { left, right, .. } => {
                Self::mentions_table(s, left, id) || Self::mentions_table(s, right, id)
            }
            TableRef::Variable { .. } | TableRef::Function { .. } | TableRef::Derived { .. } => {
                false
            }
        }
    }

    /// The table behind the alias of the target.
    fn leaf_table(
        &mut self,
        from: &[TableRef],
        slot: usize,
        sc: &Scope<'_>,
        target: &TableRef,
    ) -> R<Target> {
        fn search<'a>(r: &'a TableRef, alias: &str) -> Option<&'a TableRef> {
            match r {
                TableRef::Named { name, alias: a, .. } => {
                    let own = a.as_deref().unwrap_or_else(|| last(name));
                    same_name(own, alias).then_some(r)
                }
                TableRef::Variable { name, alias: a } => {
                    same_name(a.as_deref().unwrap_or(name), alias).then_some(r)
                }
                TableRef::Join { left, right, .. } | TableRef::Apply { left, right, .. } => {
                    search(left, alias).or_else(|| search(right, alias))
                }
                TableRef::Function { .. } | TableRef::Derived { .. } => None,
            }
        }
        let alias = sc.tables.borrow().get(slot).map(|t| t.alias.clone()).unwrap_or_default();
        let found = from.iter().find_map(|r| search(r, &alias)).unwrap_or(target);
        self.target(found)
    }

    /// Reads the rows to be changed: key, row, and the whole tuple.
    pub(super) fn read_affected(
        &mut self,
        tree: Tree,
        condition: Option<&Expr>,
        sc: &Scope<'_>,
        slot: usize,
        top: u64,
        mut each: impl FnMut(&mut Self, Key, &Row, &[Row]) -> R<()>,
    ) -> R<u64> {
        let mut conditions = Vec::new();
        if let Some(c) = condition {
            self.compile(c, sc)?.conjuncts(&mut conditions);
        }
        let slots = sc.next_slot() + 2;
        let (source, filter) = self.place(tree, conditions, &mut None)?;
        let mut run = Run::new(&source);
        let mut tuple: Vec<Row> = vec![Arc::from([]); slots];
        let mut seen: HashSet<Key> = HashSet::new();
        let single = slots == 4;
        let mut count = 0;
        while count < top && run.next(self, &mut tuple, None)? {
            let env = Env { rows: &tuple, outer: None };
            if !self.all_pass(&filter, &env)? {
                continue;
            }
            let Some(Val::Bytes(key)) = tuple.first().and_then(|r| r.first()).cloned() else {
                continue;
            };
            // A join may reach a row more than once; the first time counts.
            if !single && !seen.insert(Arc::clone(&key)) {
                continue;
            }
            let Some(row) = tuple.get(slot).cloned() else { continue };
            each(self, key, &row, &tuple)?;
            count += 1;
        }
        Ok(count)
    }
}
