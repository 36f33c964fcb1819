//! Queries: from the syntax tree to a plan.

use std::rc::Rc;
use std::sync::Arc;

use super::compile::any_aggregate;
use super::from::{Tree, WantedOrder};
use super::node::{Kind, Node};
use super::plan::{AggregateKind, Body, GroupPlan, QueryPlan, SelectPlan, TopPlan};
use super::scope::{Ctes, Grouping, Scope, matches};
use super::session::SessionState;
use super::{R, dml};
use crate::sql::ast::{Expr, OrderItem, Query, Select, SelectItem, SetExpr, Top};
use crate::store::same_name;
use crate::value::{Col, Filled, Op, SqlError, Ty, Val, unify};

/// What belongs to a query but not to its SELECT.
struct Tail<'a> {
    order: &'a [OrderItem],
    offset: Option<&'a Expr>,
    fetch: Option<&'a Expr>,
}

impl SessionState {
    /// Compiles a query. `sc` gives the outer scope and the CTEs, and learns whether the query is correlated.
    pub(crate) fn query_in(&mut self, q: &Query, sc: &Scope<'_>) -> R<QueryPlan> {
        if let Some(limit) = q.max_recursion {
            self.max_recursion = limit;
        }
        let ctes = if q.ctes.is_empty() {
            sc.ctes.clone()
        } else {
            let list = Arc::clone(&q.ctes);
            Some(Rc::new(Ctes { upto: list.len(), list, work: None, parent: sc.ctes.clone() }))
        };
        let shell = Scope::inside(sc.outer, ctes);
        let plan = self.query_body(q, &shell)?;
        if shell.correlated.get() {
            sc.correlated.set(true);
        }
        match &q.xml_path {
            Some(element) => Ok(QueryPlan {
                columns: vec![Col::new(
                    "XML_F52E2B61-18A1-11d1-B105-00805F49916B",
                    Ty::NVarChar(crate::value::MAX),
                )],
                collations: vec![None],
                body: Body::Xml { inner: Box::new(plan), element: element.clone() },
            }),
            None => Ok(plan),
        }
    }

    fn query_body(&mut self, q: &Query, sc: &Scope<'_>) -> R<QueryPlan> {
        let tail = Tail { order: &q.order, offset: q.offset.as_ref(), fetch: q.fetch.as_ref() };
        if let SetExpr::Select(select) = &q.body {
            return self.select(select, &tail, sc);
        }
        let inner = self.set_expr(&q.body, sc)?;
        if q.order.is_empty() {
            return Ok(inner);
        }
        let mut order = Vec::new();
        for item in &q.order {
            let at = match &item.expr {
                Expr::Lit(t) => match t.val {
                    Val::Int(n) => usize::try_from(n - 1).ok().filter(|i| *i < inner.columns.len()),
                    _ => None,
                },
                Expr::Column(name) => {
                    let last = name.last().map_or("", String::as_str);
                    inner.columns.iter().position(|c| same_name(&c.name, last))
                }
                _ => None,
            };
            let Some(at) = at else {
                return Err(SqlError::new(
                    104,
                    "ORDER BY items must appear in the select list if the statement contains a UNION, INTERSECT or \
                     EXCEPT operator.",
                ));
            };
            order.push((at, item.descending));
        }
        let empty = Scope::inside(sc.outer, None);
        let offset = q.offset.as_ref().map(|e| self.compile(e, &empty)).transpose()?;
        let fetch = q.fetch.as_ref().map(|e| self.compile(e, &empty)).transpose()?;
        Ok(QueryPlan {
            columns: inner.columns.clone(),
            collations: inner.collations.clone(),
            body: Body::Sorted { inner: Box::new(inner), order, offset, fetch },
        })
    }

    pub(crate) fn set_expr(&mut self, e: &SetExpr, sc: &Scope<'_>) -> R<QueryPlan> {
        match e {
            SetExpr::Select(s) => {
                self.select(s, &Tail { order: &[], offset: None, fetch: None }, sc)
            }
            SetExpr::Query(q) => self.query_in(q, sc),
            SetExpr::Values(rows) => {
                let inner = Scope::inside(sc.outer, sc.ctes.clone());
                let mut nodes: Vec<Vec<Node>> = Vec::with_capacity(rows.len());
                for row in rows {
                    nodes.push(row.iter().map(|e| self.compile(e, &inner)).collect::<R<_>>()?);
                }
                if inner.correlated.get() {
                    sc.correlated.set(true);
                }
                let width = nodes.first().map_or(0, Vec::len);
                let mut columns = Vec::with_capacity(width);
                for i in 0..width {
                    let ty = super::compile::common(nodes.iter().filter_map(|r| r.get(i)));
                    let nullable = nodes.iter().filter_map(|r| r.get(i)).any(|n| n.nullable);
                    columns.push(Col { name: String::new(), ty, nullable, filled: Filled::Client });
                }
                let nodes = nodes
                    .into_iter()
                    .map(|r| r.into_iter().zip(&columns).map(|(n, c)| n.cast(c.ty)).collect())
                    .collect();
                Ok(QueryPlan { collations: vec![None; width], columns, body: Body::Values(nodes) })
            }
            SetExpr::Op { op, all, left, right } => {
                let left = self.set_expr(left, sc)?;
                let right = self.set_expr(right, sc)?;
                if left.columns.len() != right.columns.len() {
                    return Err(SqlError::new(
                        205,
                        "All queries combined using a UNION, INTERSECT or EXCEPT operator must have an equal number of \
                         expressions in their target lists.",
                    ));
                }
                let columns = left
                    .columns
                    .iter()
                    .zip(&right.columns)
                    .zip(left.null_literals().into_iter().zip(right.null_literals()))
                    .map(|((a, b), (null_a, null_b))| Col {
                        name: a.name.clone(),
                        ty: match (null_a, null_b) {
                            (true, false) => b.ty,
                            (false, true) => a.ty,
                            _ => unify(&a.ty, &b.ty),
                        },
                        nullable: a.nullable || b.nullable,
                        filled: Filled::Client,
                    })
                    .collect();
                let collations =
                    left.collations.iter().zip(&right.collations).map(|(a, b)| a.or(*b)).collect();
                let body =
                    Body::Set { op: *op, all: *all, left: Box::new(left), right: Box::new(right) };
                Ok(QueryPlan { columns, collations, body })
            }
        }
    }

    fn select(&mut self, select: &Select, tail: &Tail<'_>, shell: &Scope<'_>) -> R<QueryPlan> {
        let sc = Scope::inside(shell.outer, shell.ctes.clone());
        let plan = self.select_in(select, tail, &sc)?;
        if sc.correlated.get() {
            shell.correlated.set(true);
        }
        Ok(plan)
    }

    fn select_in(&mut self, select: &Select, tail: &Tail<'_>, sc: &Scope<'_>) -> R<QueryPlan> {
        let mut keys = dml::KeySlots::none();
        let mut tree = Tree::Nothing;
        for r in &select.from {
            let next = self.tree(r, sc, &mut keys)?;
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
        mark_nullable(&tree, sc);
        let tables = sc.next_slot();
        let (group_slot, window_slot) = (tables, tables + 1);
        let mut conditions = Vec::new();
        if let Some(c) = &select.condition {
            self.compile(c, sc)?.conjuncts(&mut conditions);
        }
        let key_nodes: Vec<Node> =
            select.group.iter().map(|g| self.compile(g, sc)).collect::<R<_>>()?;
        let item_exprs = select.items.iter().filter_map(|i| match i {
            SelectItem::Expr { expr, .. } | SelectItem::Assign { expr, .. } => Some(expr),
            SelectItem::Star(_) => None,
        });
        let grouped = !select.group.is_empty()
            || select.having.is_some()
            || any_aggregate(item_exprs.chain(tail.order.iter().map(|o| &o.expr)));
        *sc.grouping.borrow_mut() = Grouping {
            grouped,
            aggregates_allowed: true,
            windows_allowed: true,
            keys: key_nodes,
            group_slot,
            window_slot,
            ..Grouping::default()
        };

        let mut items: Vec<Node> = Vec::new();
        let mut names: Vec<String> = Vec::new();
        let mut fillers: Vec<Filled> = Vec::new();
        let mut assigns: Vec<(usize, Ty, Option<Op>)> = Vec::new();
        for item in &select.items {
            match item {
                SelectItem::Star(qualifier) => {
                    if select.from.is_empty() {
                        return Err(SqlError::new(263, "Must specify table to select from."));
                    }
                    let before = items.len();
                    let tables = sc.tables.borrow().clone();
                    let mut any = false;
                    for t in tables.iter().filter(|t| matches(t, qualifier)) {
                        any = true;
                        for (i, c) in t.columns.iter().enumerate().filter(|(_, c)| !c.hidden) {
                            let mut n = Node::column(0, t.slot, i, c.ty, c.nullable);
                            n.collation = c.collation;
                            if grouped {
                                let name = vec![t.alias.clone(), c.name.clone()];
                                n = self.compile(&Expr::Column(name), sc)?;
                            }
                            items.push(n);
                            names.push(c.name.clone());
                            fillers.push(c.filled);
                        }
                    }
                    if !any && !qualifier.is_empty() {
                        let m = format!(
                            "The column prefix '{}' does not match with a table name or alias name used in the query.",
                            qualifier.join(".")
                        );
                        return Err(SqlError::new(107, m).class(15));
                    }
                    let _ = before;
                }
                SelectItem::Expr { expr, alias } => {
                    let n = self.compile(expr, sc)?;
                    let (own, filled) = match expr {
                        Expr::Column(name) => {
                            let own = name.last().cloned().unwrap_or_default();
                            // The name as the table has it.
                            let found = sc.resolve(name).ok().map(|f| f.3);
                            (
                                found.as_ref().map_or(own, |f| f.name.clone()),
                                found.map_or(Filled::Client, |f| f.filled),
                            )
                        }
                        _ => (String::new(), Filled::Client),
                    };
                    names.push(alias.clone().unwrap_or(own));
                    fillers.push(filled);
                    items.push(n);
                }
                SelectItem::Assign { var, op, expr } => {
                    let (at, ty) = self.find_variable(var)?;
                    let n = self.compile(expr, sc)?;
                    items.push(n);
                    assigns.push((at, ty, *op));
                }
            }
        }
        if !assigns.is_empty() && assigns.len() != items.len() {
            return Err(SqlError::new(
                141,
                "A SELECT statement that assigns a value to a variable must not be combined with data-retrieval \
                 operations.",
            )
            .class(15));
        }
        let having = match &select.having {
            Some(h) => Some(self.compile(h, sc)?),
            None => None,
        };
        let mut order: Vec<(Node, bool)> = Vec::new();
        for o in tail.order {
            let n = self.order_item(&o.expr, sc, &items, &names)?;
            if select.distinct && !items.iter().any(|i| i.same(&n)) {
                return Err(SqlError::new(
                    145,
                    "ORDER BY items must appear in the select list if SELECT DISTINCT is specified.",
                )
                .class(15));
            }
            // Ordering by a constant orders nothing.
            if !matches!(n.kind, Kind::Const(_)) {
                order.push((n, o.descending));
            }
        }
        if tail.offset.is_some() && select.top.is_some() {
            return Err(SqlError::new(
                10741,
                "A TOP can not be used in the same query or sub-query as a OFFSET.",
            )
            .class(15));
        }
        let g = std::mem::take(&mut *sc.grouping.borrow_mut());
        let outer_only = Scope::inside(sc.outer, None);
        let top = match &select.top {
            Some(t) => Some(self.top_plan(t, &outer_only)?),
            None => None,
        };
        if top.as_ref().is_some_and(|t| t.ties) && order.is_empty() {
            return Err(SqlError::new(1062, "The TOP N WITH TIES clause is not allowed without a corresponding ORDER BY clause.").class(15));
        }
        let offset = tail.offset.map(|e| self.compile(e, &outer_only)).transpose()?;
        let fetch = tail.fetch.map(|e| self.compile(e, &outer_only)).transpose()?;
        if outer_only.correlated.get() {
            sc.correlated.set(true);
        }

        // The order that the source might give for free.
        let plain = !grouped && g.windows.is_empty() && !select.distinct;
        let mut first_only = false;
        let mut wanted = if plain { wanted_order(&order) } else { None };
        if grouped
            && g.keys.is_empty()
            && having.is_none()
            && let [a] = g.aggregates.as_slice()
            && matches!(a.kind, AggregateKind::Min | AggregateKind::Max)
            && let Some(Node { kind: Kind::Column { depth: 0, slot, column }, .. }) = a.arg
        {
            let descending = a.kind == AggregateKind::Max;
            wanted =
                Some(WantedOrder { slot, columns: vec![(column, descending)], satisfied: false });
            first_only = true;
        }
        if assigns.is_empty() {
            conditions = conditions.into_iter().map(|c| self.fold(c)).collect();
        }
        let (source, filter) = self.place(tree, conditions, &mut wanted)?;
        let satisfied = wanted.is_some_and(|w| w.satisfied);
        first_only = first_only && satisfied;
        let ordered = plain && (order.is_empty() || satisfied);
        let columns = if assigns.is_empty() {
            items
                .iter()
                .zip(&names)
                .zip(&fillers)
                .map(|((n, name), filled)| Col {
                    name: name.clone(),
                    ty: n.ty,
                    nullable: n.nullable,
                    filled: *filled,
                })
                .collect()
        } else {
            Vec::new()
        };
        let collations = items.iter().map(|n| n.collation).collect();
        let plan = SelectPlan {
            slots: tables + 2,
            source,
            filter,
            group: grouped.then_some(GroupPlan {
                whole: g.keys.is_empty(),
                keys: g.keys,
                aggregates: g.aggregates,
                slot: group_slot,
            }),
            having,
            windows: g.windows,
            window_slot,
            items,
            assigns,
            distinct: select.distinct,
            top,
            order,
            ordered,
            offset,
            fetch,
            first_only,
        };
        Ok(QueryPlan { columns, collations, body: Body::Select(Box::new(plan)) })
    }

    pub(crate) fn top_plan(&mut self, t: &Top, sc: &Scope<'_>) -> R<TopPlan> {
        Ok(TopPlan { count: self.compile(&t.count, sc)?, percent: t.percent, ties: t.ties })
    }

    fn order_item(
        &mut self,
        e: &Expr,
        sc: &Scope<'_>,
        items: &[Node],
        names: &[String],
    ) -> R<Node> {
        match e {
            Expr::Lit(t) => {
                if let Val::Int(n) = t.val {
                    let at = usize::try_from(n - 1).ok();
                    return at.and_then(|i| items.get(i)).cloned().ok_or_else(|| {
                        let m = format!("The ORDER BY position number {n} is out of range of the number of items in the select list.");
                        SqlError::new(108, m)
                    });
                }
                self.compile(e, sc)
            }
            Expr::Column(name) => {
                if let [one] = name.as_slice() {
                    let mut found =
                        names.iter().zip(items).filter(|(n, _)| same_name(n, one)).map(|(_, i)| i);
                    if let Some(item) = found.next() {
                        if found.any(|other| !other.same(item)) {
                            return Err(SqlError::ambiguous_column(one));
                        }
                        return Ok(item.clone());
                    }
                }
                self.compile(e, sc)
            }
            e => self.compile(e, sc),
        }
    }
}

fn wanted_order(order: &[(Node, bool)]) -> Option<WantedOrder> {
    let mut out: Option<WantedOrder> = None;
    for (n, descending) in order {
        let Kind::Column { depth: 0, slot, column } = n.kind else { return None };
        let w = out.get_or_insert(WantedOrder { slot, columns: Vec::new(), satisfied: false });
        if w.slot != slot {
            return None;
        }
        w.columns.push((column, *descending));
    }
    out
}

/// Columns of the side of an outer join that may be missing are nullable.
fn mark_nullable(tree: &Tree, sc: &Scope<'_>) {
    if let Tree::Join { left, right, outer_left, outer_right, .. } = tree {
        for (outer, side) in [(*outer_left, right), (*outer_right, left)] {
            if outer {
                for slot in side.slots() {
                    if let Some(t) = sc.tables.borrow_mut().get_mut(slot) {
                        for c in &mut t.columns {
                            c.nullable = true;
                        }
                    }
                }
            }
        }
        mark_nullable(left, sc);
        mark_nullable(right, sc);
    }
}

impl QueryPlan {
    /// Which columns are the literal NULL.
    fn null_literals(&self) -> Vec<bool> {
        match &self.body {
            Body::Select(s) if !s.items.is_empty() => {
                s.items.iter().map(|n| matches!(n.kind, Kind::Const(Val::Null))).collect()
            }
            _ => vec![false; self.columns.len()],
        }
    }

    /// Whether it is SELECT @x = ...
    pub(crate) fn assigns(&self) -> bool {
        matches!(&self.body, Body::Select(s) if !s.assigns.is_empty())
    }
}
