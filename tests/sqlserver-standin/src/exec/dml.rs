//! INSERT, UPDATE, DELETE, MERGE.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::from::{Tree, offered};
use super::node::{Env, Kind, Node};
use super::output::Output;
use super::plan::QueryPlan;
use super::run::{QueryRun, Run};
use super::scope::{Ctes, Offered, Scope, Visible};
use super::session::SessionState;
use super::write::Writer;
use super::{Count, R, Write};
use crate::sql::ast::{
    Assign, Cte, Delete, Expr, Insert, InsertSource, Merge, MergeAction, MergeWhen, Name,
    OutputClause, SelectItem, SetExpr, TableRef, Top, Update,
};
use crate::store::{Database, Key, RowUpdate, Table, same_name};
use crate::value::{Col, Op, Row, SqlError, Ty, Typed, Val, arith, assign};

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

/// The rows of OUTPUT: inserted, deleted, action.
struct OutputRows {
    rows: Vec<(Option<Row>, Option<Row>, &'static str)>,
}

/// A compiled OUTPUT clause.
struct OutputPlan {
    items: Vec<Node>,
    columns: Vec<Col>,
    into: Option<(Target, Vec<usize>)>,
}

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

    fn output_plan(
        &mut self,
        clause: Option<&OutputClause>,
        target: &Target,
    ) -> R<Option<OutputPlan>> {
        let Some(clause) = clause else { return Ok(None) };
        let columns = offered(&target.table.def());
        let nullable: Vec<Offered> = columns
            .iter()
            .cloned()
            .map(|mut c| {
                c.nullable = true;
                c
            })
            .collect();
        let visible = |alias: &str, columns: Vec<Offered>, slot| Visible {
            alias: alias.to_owned(),
            path: Vec::new(),
            columns,
            slot,
        };
        let action = Offered {
            name: "$action".to_owned(),
            ty: Ty::NVarChar(10),
            nullable: false,
            identity: false,
            collation: None,
        };
        let sc = Scope::of(vec![
            visible("inserted", columns, 0),
            visible("deleted", nullable, 1),
            visible("", vec![action], 2),
        ]);
        let (mut items, mut out) = (Vec::new(), Vec::new());
        for item in &clause.items {
            match item {
                SelectItem::Star(q) => {
                    let Some(slot) = q
                        .first()
                        .and_then(|q| ["inserted", "deleted"].iter().position(|a| same_name(a, q)))
                    else {
                        return Err(SqlError::syntax("*"));
                    };
                    let tables = sc.tables.borrow();
                    let Some(t) = tables.get(slot) else { continue };
                    for (i, c) in t.columns.iter().enumerate() {
                        items.push(Node::column(0, slot, i, c.ty, c.nullable));
                        out.push(Col {
                            name: c.name.clone(),
                            ty: c.ty,
                            nullable: c.nullable,
                            identity: c.identity,
                        });
                    }
                }
                SelectItem::Expr { expr, alias } => {
                    let n = self.compile(expr, &sc)?;
                    let own = match expr {
                        Expr::Column(name) => last(name).to_owned(),
                        _ => String::new(),
                    };
                    out.push(Col {
                        name: alias.clone().unwrap_or(own),
                        ty: n.ty,
                        nullable: n.nullable,
                        identity: false,
                    });
                    items.push(n);
                }
                SelectItem::Assign { .. } => return Err(SqlError::syntax("=")),
            }
        }
        let into = match &clause.into {
            Some((r, names)) => {
                let t = self.target(r)?;
                let columns = self.insert_columns(&t, names, false)?;
                if columns.len() != items.len() {
                    return Err(SqlError::new(
                        213,
                        "Column name or number of supplied values does not match table definition.",
                    ));
                }
                Some((t, columns))
            }
            None => None,
        };
        Ok(Some(OutputPlan { items, columns: out, into }))
    }

    /// Sends the rows of OUTPUT, or puts them into their table. Ok(true): they went to the client.
    fn give(
        &mut self,
        plan: Option<OutputPlan>,
        rows: OutputRows,
        out: &mut dyn Output,
    ) -> Result<bool, Write> {
        let Some(plan) = plan else { return Ok(false) };
        let empty: Row = Arc::from([]);
        let mut results: Vec<Vec<Val>> = Vec::with_capacity(rows.rows.len());
        for (inserted, deleted, action) in rows.rows {
            let tuple = [
                inserted.unwrap_or_else(|| Arc::clone(&empty)),
                deleted.unwrap_or_else(|| Arc::clone(&empty)),
                Arc::from([Val::str(action)]),
            ];
            let env = Env { rows: &tuple, outer: None };
            results.push(plan.items.iter().map(|n| self.eval(n, &env)).collect::<R<_>>()?);
        }
        match plan.into {
            Some((target, columns)) => {
                let w = self.writer(&target)?;
                for row in results {
                    let given = columns
                        .iter()
                        .copied()
                        .zip(row.into_iter().zip(&plan.columns).map(|(v, c)| Typed::new(c.ty, v)));
                    self.insert_row(&w, &target, given.collect())?;
                }
                Ok(false)
            }
            None => {
                self.send_columns(&plan.columns, out)?;
                for row in &results {
                    self.send_row(row, out)?;
                }
                Ok(true)
            }
        }
    }

    /// The columns that an INSERT fills, as positions.
    pub(crate) fn insert_columns(
        &mut self,
        target: &Target,
        names: &[String],
        default_all: bool,
    ) -> R<Vec<usize>> {
        let def = target.table.def();
        let identity_on =
            self.identity_insert == Some((target.database.id, target.table.object_id));
        if names.is_empty() {
            let all = def.columns.iter().enumerate().filter(|(_, c)| {
                c.computed.is_none()
                    && (default_all || c.ty != Ty::RowVersion)
                    && (c.identity.is_none() || identity_on && !names.is_empty())
            });
            return Ok(all.map(|(i, _)| i).collect());
        }
        let mut out = Vec::with_capacity(names.len());
        for n in names {
            let at = def.ordinal(n).ok_or_else(|| SqlError::invalid_column(n))?;
            if out.contains(&at) {
                let m = format!(
                    "The column name '{n}' is specified more than once in the SET clause or column list of an INSERT."
                );
                return Err(SqlError::new(264, m));
            }
            let Some(c) = def.columns.get(at) else { continue };
            if c.computed.is_some() {
                let m = format!(
                    "The column \"{n}\" cannot be modified because it is either a computed column or is the result of a UNION operator."
                );
                return Err(SqlError::new(271, m));
            }
            if c.ty == Ty::RowVersion {
                return Err(SqlError::new(
                    273,
                    "Cannot insert an explicit value into a timestamp column. Use INSERT with a column list to exclude the timestamp column, or insert a DEFAULT into the timestamp column.",
                ));
            }
            if c.identity.is_some() && !identity_on {
                let m = format!(
                    "Cannot insert explicit value for identity column in table '{}' when IDENTITY_INSERT is set to OFF.",
                    def.name
                );
                return Err(SqlError::new(544, m));
            }
            out.push(at);
        }
        if identity_on
            && let Some((i, _)) = def.identity()
            && !out.contains(&i)
        {
            let m = format!(
                "Explicit value must be specified for identity column in table '{}' either when IDENTITY_INSERT is set to ON or when a replication user is inserting into a NOT FOR REPLICATION identity column.",
                def.name
            );
            return Err(SqlError::new(545, m));
        }
        Ok(out)
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

    /// Carries out an INSERT. `rows`: what INSERT ... EXEC got.
    pub(crate) fn insert(
        &mut self,
        i: &Insert,
        rows: Option<&(Vec<Col>, Vec<Row>)>,
        out: &mut dyn Output,
    ) -> Result<Count, Write> {
        let target = self.target(&i.target)?;
        let plan = self.output_plan(i.output.as_ref(), &target)?;
        let columns = self.insert_columns(&target, &i.columns, false)?;
        let w = self.writer(&target)?;
        let sc = Self::cte_scope(&i.ctes);
        let top = self.limit(i.top.as_ref())?;
        let mut done: Vec<(Option<Row>, Option<Row>, &'static str)> = Vec::new();
        let keep = plan.is_some() || w.has_foreign_keys();
        let mut count: u64 = 0;
        let mismatch = |given: usize| -> SqlError {
            if i.columns.is_empty() {
                SqlError::new(
                    213,
                    "Column name or number of supplied values does not match table definition.",
                )
            } else if given < columns.len() {
                SqlError::new(109, "There are more columns in the INSERT statement than values specified in the VALUES clause. The number of values in the VALUES clause must match the number of columns specified in the INSERT statement.").class(15)
            } else {
                SqlError::new(110, "There are fewer columns in the INSERT statement than values specified in the VALUES clause. The number of values in the VALUES clause must match the number of columns specified in the INSERT statement.").class(15)
            }
        };
        let mut add = |s: &mut Self, given: Vec<(usize, Typed)>| -> Result<(), Write> {
            if count >= top {
                return Ok(());
            }
            let row = s.insert_row(&w, &target, given)?;
            count += 1;
            if keep {
                done.push((Some(row), None, "INSERT"));
            }
            Ok(())
        };
        match &i.source {
            InsertSource::Default => add(self, Vec::new())?,
            InsertSource::Exec(_) => {
                if let Some((cols, rows)) = rows {
                    for row in rows {
                        if row.len() != columns.len() {
                            return Err(SqlError::new(213, "Column name or number of supplied values does not match table definition.").into());
                        }
                        let values = row.iter().zip(cols).map(|(v, c)| Typed::new(c.ty, v.clone()));
                        add(self, columns.iter().copied().zip(values).collect())?;
                    }
                }
            }
            InsertSource::Query(q) => {
                let simple = match &q.body {
                    SetExpr::Values(rows) if q.order.is_empty() && q.ctes.is_empty() => Some(rows),
                    _ => None,
                };
                if let Some(rows) = simple {
                    let mut compiled = Vec::with_capacity(rows.len());
                    for row in rows {
                        if row.len() != columns.len() {
                            return Err(mismatch(row.len()).into());
                        }
                        let mut nodes = Vec::with_capacity(row.len());
                        for (e, at) in row.iter().zip(&columns) {
                            nodes.push(match e {
                                Expr::Default => None,
                                e => Some((*at, self.compile(e, &sc)?)),
                            });
                        }
                        compiled.push(nodes);
                    }
                    for nodes in compiled {
                        let mut given = Vec::with_capacity(nodes.len());
                        for (at, n) in nodes.iter().flatten() {
                            given.push((*at, self.typed(n, &Env::EMPTY)?));
                        }
                        add(self, given)?;
                    }
                } else {
                    let plan = self.query_in(q, &sc)?;
                    if plan.columns.len() != columns.len() {
                        return Err(if i.columns.is_empty() {
                            mismatch(plan.columns.len())
                        } else if plan.columns.len() < columns.len() {
                            SqlError::new(120, "The select list for the INSERT statement contains fewer items than the insert list. The number of SELECT values must match the number of INSERT columns.").class(15)
                        } else {
                            SqlError::new(121, "The select list for the INSERT statement contains more items than the insert list. The number of SELECT values must match the number of INSERT columns.").class(15)
                        }
                        .into());
                    }
                    // Everything is read before anything is written: the source may be the target.
                    let rows = self.collect(&plan, None, usize::try_from(top).ok())?;
                    for row in rows {
                        let values =
                            row.iter().zip(&plan.columns).map(|(v, c)| Typed::new(c.ty, v.clone()));
                        add(self, columns.iter().copied().zip(values).collect())?;
                    }
                }
            }
        }
        if w.has_foreign_keys() {
            for (row, ..) in &done {
                if let Some(row) = row {
                    self.check_foreign(&w, &target, row, "INSERT")?;
                }
            }
        }
        let sent = self.give(plan, OutputRows { rows: done }, out)?;
        Ok(Count { rows: count, sent })
    }

    fn limit(&mut self, top: Option<&Top>) -> R<u64> {
        let Some(t) = top else { return Ok(u64::MAX) };
        let n = self.compile(&t.count, &Scope::default())?;
        if t.percent {
            return Err(SqlError::unknown("TOP ... PERCENT in a statement that changes rows"));
        }
        Ok(self.count_of(Some(&n), &Env::EMPTY)?.unwrap_or(u64::MAX))
    }

    /// The rows that an UPDATE or DELETE is about: compiles FROM and WHERE with the target among them.
    fn affected<'a>(
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
    fn read_affected(
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

    fn assignments(
        &mut self,
        set: &[Assign],
        target: &Target,
        sc: &Scope<'_>,
        slot: usize,
    ) -> R<Vec<Set>> {
        let def = target.table.def();
        let mut out: Vec<Set> = Vec::with_capacity(set.len());
        for a in set {
            let (column, variable, op, expr) = match a {
                Assign::Column { name, op, expr } => (Some(name), None, *op, expr),
                Assign::Var { name, op, expr } => (None, Some(name), *op, expr),
                Assign::Both { var, column, expr } => (Some(column), Some(var), None, expr),
            };
            let at = match column {
                Some(name) => {
                    let at = def
                        .ordinal(last(name))
                        .ok_or_else(|| SqlError::invalid_column(last(name)))?;
                    let Some(c) = def.columns.get(at) else { continue };
                    if c.computed.is_some() || c.ty == Ty::RowVersion {
                        let m = if c.ty == Ty::RowVersion {
                            SqlError::new(272, "Cannot update a timestamp column.")
                        } else {
                            SqlError::new(
                                271,
                                format!(
                                    "The column \"{}\" cannot be modified because it is either a computed column or is the result of a UNION operator.",
                                    c.name
                                ),
                            )
                        };
                        return Err(m);
                    }
                    if c.identity.is_some() {
                        return Err(SqlError::new(
                            8102,
                            format!("Cannot update identity column '{}'.", c.name),
                        ));
                    }
                    if out.iter().any(|s| s.column == Some(at)) {
                        let m = format!(
                            "The column name '{}' is specified more than once in the SET clause or column list of an INSERT.",
                            c.name
                        );
                        return Err(SqlError::new(264, m));
                    }
                    Some(at)
                }
                None => None,
            };
            let variable = variable.map(|v| self.find_variable(v)).transpose()?;
            let value = match expr {
                Expr::Default => None,
                e => {
                    let mut n = self.compile(e, sc)?;
                    if let Some(op) = op {
                        let left = match (at, variable) {
                            (Some(at), _) => {
                                let c = def
                                    .columns
                                    .get(at)
                                    .ok_or_else(|| SqlError::invalid_column("?"))?;
                                Node::column(0, slot, at, c.ty, c.nullable)
                            }
                            (None, Some((v, ty))) => Node::new(ty, true, Kind::Var(v)),
                            (None, None) => return Err(SqlError::syntax("=")),
                        };
                        let ty = crate::value::arith_type(op, &left.ty, &n.ty)?;
                        n = Node::new(ty, true, Kind::Arith(op, Box::new(left), Box::new(n)));
                    }
                    Some(n)
                }
            };
            out.push(Set { column: at, variable, value });
        }
        Ok(out)
    }

    pub(crate) fn update(&mut self, u: &Update, out: &mut dyn Output) -> Result<Count, Write> {
        let top = self.limit(u.top.as_ref())?;
        let (target, sc, tree, slot) = self.affected(&u.ctes, &u.target, &u.from)?;
        let set = self.assignments(&u.set, &target, &sc, slot)?;
        let plan = self.output_plan(u.output.as_ref(), &target)?;
        let w = self.writer(&target)?;
        let mut updates: Vec<RowUpdate> = Vec::new();
        self.read_affected(tree, u.condition.as_ref(), &sc, slot, top, |s, key, row, tuple| {
            let env = Env { rows: tuple, outer: None };
            let after = s.changed_row(&w, &set, row, &env)?;
            updates.push(RowUpdate { key, before: Arc::clone(row), after });
            Ok(())
        })?;
        let assigned: Vec<usize> = set.iter().filter_map(|s| s.column).collect();
        self.apply_updates(&w, &target, &updates, &assigned)?;
        let count = u64::try_from(updates.len()).unwrap_or(u64::MAX);
        let rows = if plan.is_some() {
            updates.into_iter().map(|u| (Some(u.after), Some(u.before), "UPDATE")).collect()
        } else {
            Vec::new()
        };
        let sent = self.give(plan, OutputRows { rows }, out)?;
        Ok(Count { rows: count, sent })
    }

    /// The row after SET.
    fn changed_row(&mut self, w: &Writer, set: &[Set], row: &Row, env: &Env<'_>) -> R<Row> {
        let mut values = row.to_vec();
        for a in set {
            let value = match &a.value {
                Some(n) => self.typed(n, env)?,
                None => match a.column {
                    Some(at) => self.default_value(w, at)?,
                    None => Typed::null(Ty::Int),
                },
            };
            if let Some((at, ty)) = a.variable {
                let v = assign(&value, &ty, None)?;
                self.set_variable_at(at, v);
            }
            if let Some(at) = a.column
                && let Some(c) = w.def.columns.get(at)
            {
                let v = assign(&value, &c.ty, Some((&w.full_name, &c.name)))?;
                if let Some(place) = values.get_mut(at) {
                    *place = v;
                }
            }
        }
        self.finish_row(w, values, "UPDATE")
    }

    fn apply_updates(
        &mut self,
        w: &Writer,
        target: &Target,
        updates: &[RowUpdate],
        assigned: &[usize],
    ) -> Result<(), Write> {
        self.tx()?.update(&target.database, &target.table, updates, assigned)?;
        if w.has_foreign_keys() {
            for u in updates {
                self.check_foreign(w, target, &u.after, "UPDATE")?;
            }
        }
        self.parents_changed(
            target,
            updates.iter().map(|u| (&u.before, Some(&u.after))).collect(),
            "UPDATE",
        )
    }

    pub(crate) fn delete(&mut self, d: &Delete, out: &mut dyn Output) -> Result<Count, Write> {
        let top = self.limit(d.top.as_ref())?;
        let (target, sc, tree, slot) = self.affected(&d.ctes, &d.target, &d.from)?;
        let plan = self.output_plan(d.output.as_ref(), &target)?;
        let mut gone: Vec<(Key, Row)> = Vec::new();
        self.read_affected(tree, d.condition.as_ref(), &sc, slot, top, |_, key, row, _| {
            gone.push((key, Arc::clone(row)));
            Ok(())
        })?;
        self.delete_rows(&target, &gone)?;
        let count = u64::try_from(gone.len()).unwrap_or(u64::MAX);
        let rows = if plan.is_some() {
            gone.into_iter().map(|(_, r)| (None, Some(r), "DELETE")).collect()
        } else {
            Vec::new()
        };
        let sent = self.give(plan, OutputRows { rows }, out)?;
        Ok(Count { rows: count, sent })
    }

    pub(crate) fn delete_rows(
        &mut self,
        target: &Target,
        gone: &[(Key, Row)],
    ) -> Result<(), Write> {
        for (key, row) in gone {
            self.tx()?.delete(&target.database, &target.table, key, row)?;
        }
        self.parents_changed(target, gone.iter().map(|(_, r)| (r, None)).collect(), "DELETE")
    }

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
        let sent = self.give(plan, OutputRows { rows }, out)?;
        Ok(Count { rows: u64::try_from(count).unwrap_or(u64::MAX), sent })
    }

    /// SELECT @x = ...
    pub(crate) fn select_assign(&mut self, plan: &QueryPlan) -> R<u64> {
        let mut run = QueryRun::new(plan);
        let mut count = 0;
        loop {
            let (select, tuple) = match run.advance(self)? {
                Some((p, t)) => (p, t.to_vec()),
                None => return Ok(count),
            };
            count += 1;
            let env = Env { rows: &tuple, outer: None };
            let assigns: Vec<(usize, Ty, Option<Op>)> = select.assigns.clone();
            let items: Vec<Node> = select.items.clone();
            for ((at, ty, op), n) in assigns.into_iter().zip(&items) {
                let mut v = self.typed(n, &env)?;
                if let Some(op) = op {
                    let old = Typed::new(ty, self.variable_at(at));
                    v = arith(op, &old, &v)?;
                }
                let v = assign(&v, &ty, None)?;
                self.set_variable_at(at, v);
            }
        }
    }
}

/// One assignment of SET.
pub(crate) struct Set {
    column: Option<usize>,
    variable: Option<(usize, Ty)>,
    /// None: DEFAULT
    value: Option<Node>,
}
