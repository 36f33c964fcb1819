//! FROM: tables, joins, and the way to each table's rows.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use super::node::{Env, Kind, Node};
use super::plan::{Access, Body, BoundPlan, How, QueryPlan, RowLock, Source, TableFunction};
use super::scope::{Ctes, Offered, Scope, Visible};
use super::session::SessionState;
use super::{R, dml};
use crate::catalog;
use crate::sql::ast::{Cmp, Cte, Hints, JoinKind, Name, Query, SetExpr, SetOp, TableRef};
use crate::store::{Database, Isolation, Mode, Table, TableDef, same_name};
use crate::value::{Col, Collation, Row, SqlError, Ty, Typed, Val, cast, unify};

/// What a name in FROM turned out to be.
pub(crate) enum Found {
    Table(Arc<Database>, Arc<Table>),
    View { database: Arc<Database>, schema: String, text: String },
    Rows(crate::value::Rowset),
}

/// A table of FROM before joins and predicates are placed.
enum Leaf {
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
struct Conjunct {
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

pub(crate) fn offered(def: &TableDef) -> Vec<Offered> {
    def.columns
        .iter()
        .map(|c| Offered {
            name: c.name.clone(),
            ty: c.ty,
            nullable: c.nullable,
            identity: c.identity.is_some(),
            collation: c
                .collation
                .as_deref()
                .map(Collation::by_name)
                .filter(|c| *c != Collation::CiAs),
        })
        .collect()
}

fn offered_columns(columns: &[Col]) -> Vec<Offered> {
    columns
        .iter()
        .map(|c| Offered {
            name: c.name.clone(),
            ty: c.ty,
            nullable: c.nullable,
            identity: c.identity,
            collation: None,
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
        if parts.next().is_some_and(|s| !s.is_empty()) {
            return Err(SqlError::unknown("linked servers"));
        }
        Ok((database, schema, own))
    }

    /// A user table, temporary ones included.
    pub(crate) fn find_table(&self, name: &Name) -> R<Option<(Arc<Database>, Arc<Table>)>> {
        let (database, schema, own) = self.locate(name)?;
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
                        let own = name.last().cloned().unwrap_or_default();
                        let path = if alias.is_some() {
                            Vec::new()
                        } else {
                            vec![database.name(), def.schema.clone(), def.name.clone()]
                        };
                        let slot = self.show(sc, alias.clone().unwrap_or(own), path, offered(&def));
                        let key_slot = keys.take(slot, &table, sc);
                        Ok(leaf(
                            slot,
                            Leaf::Table { database, table, hints: hints.clone(), key_slot },
                        ))
                    }
                    Found::View { database, schema, text } => {
                        let (query, names) = Self::view_query(&text)?;
                        let plan = self.in_database(&database, |s| {
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

    /// Adds a table to the scope.
    fn show(
        &mut self,
        sc: &Scope<'_>,
        alias: String,
        path: Vec<String>,
        columns: Vec<Offered>,
    ) -> usize {
        let mut tables = sc.tables.borrow_mut();
        let slot = tables.len();
        tables.push(Visible { alias, path, columns, slot });
        slot
    }

    fn derived(
        &mut self,
        query: &Query,
        alias: &str,
        names: &[String],
        sc: &Scope<'_>,
        lateral: bool,
    ) -> R<Tree> {
        let hidden = sc.hidden.replace(!lateral);
        let inner = Scope::inside(Some(sc), sc.ctes.clone());
        let plan = self.query_in(query, &inner);
        sc.hidden.set(hidden);
        let plan = plan?;
        let mut columns = offered_columns(&plan.columns);
        for (c, collation) in columns.iter_mut().zip(&plan.collations) {
            c.collation = *collation;
        }
        if !names.is_empty() {
            if names.len() != columns.len() {
                let m = format!(
                    "'{alias}' has {} columns than were specified in the column list.",
                    if columns.len() > names.len() { "more" } else { "fewer" }
                );
                return Err(SqlError::new(
                    if columns.len() > names.len() { 8158 } else { 8159 },
                    m,
                ));
            }
            for (c, n) in columns.iter_mut().zip(names) {
                n.clone_into(&mut c.name);
            }
        }
        if let Some(at) = columns.iter().position(|c| c.name.is_empty()) {
            let m = format!("No column name was specified for column {} of '{alias}'.", at + 1);
            return Err(SqlError::new(8155, m).state(2));
        }
        for (i, c) in columns.iter().enumerate() {
            if columns.iter().take(i).any(|o| same_name(&o.name, &c.name)) {
                let m =
                    format!("The column '{}' was specified multiple times for '{alias}'.", c.name);
                return Err(SqlError::new(8156, m));
            }
        }
        let slot = self.show(sc, alias.to_owned(), Vec::new(), columns);
        Ok(leaf(slot, Leaf::Query(Box::new(plan))))
    }

    fn function(
        &mut self,
        name: &Name,
        args: &[crate::sql::ast::Expr],
        alias: Option<&str>,
        names: &[String],
        sc: &Scope<'_>,
        lateral: bool,
    ) -> R<Tree> {
        let own = name.last().cloned().unwrap_or_default();
        let hidden = sc.hidden.replace(!lateral);
        let compiled: R<Vec<Node>> = args
            .iter()
            .map(|a| match a {
                crate::sql::ast::Expr::Default => Ok(Node::constant(Ty::Int, Val::Null)),
                a => self.compile(a, sc),
            })
            .collect();
        sc.hidden.set(hidden);
        let compiled = compiled?;
        let fixed = compiled.iter().all(|n| n.slots() == Some(0) && !has_outer(n));
        let samples: Vec<Typed> = if fixed {
            compiled.iter().map(|n| self.typed(n, &Env::EMPTY)).collect::<R<_>>()?
        } else {
            compiled.iter().map(|n| Typed::null(n.ty)).collect()
        };
        let lower = own.to_ascii_lowercase();
        let show = |columns: &[Col]| {
            let mut columns = offered_columns(columns);
            for (c, n) in columns.iter_mut().zip(names) {
                n.clone_into(&mut c.name);
            }
            columns
        };
        let title = alias.map_or_else(|| own.clone(), str::to_owned);
        if name.len() == 1 && (lower == "string_split" || lower == "generate_series") {
            let (function, columns) = if lower == "string_split" {
                let mut columns = vec![Col::new("value", Ty::NVarChar(4000))];
                if compiled.len() > 2 {
                    columns.push(Col::new("ordinal", Ty::BigInt));
                }
                (TableFunction::StringSplit, columns)
            } else {
                let ty =
                    compiled.iter().map(|n| n.ty).reduce(|a, b| unify(&a, &b)).unwrap_or(Ty::Int);
                (TableFunction::Series, vec![Col::new("value", ty)])
            };
            let slot = self.show(sc, title, Vec::new(), show(&columns));
            return Ok(leaf(slot, Leaf::Function(function, compiled)));
        }
        let schema = name.iter().rev().nth(1).cloned().unwrap_or_else(|| "dbo".to_owned());
        let database = name.iter().rev().nth(2).cloned().filter(|d| !d.is_empty());
        let Some(rows) =
            catalog::system_table(self, database.as_deref(), &schema, &own, Some(&samples))?
        else {
            return Err(SqlError::invalid_object(&name.join(".")));
        };
        let slot = self.show(sc, title, Vec::new(), show(&rows.columns));
        if fixed {
            return Ok(leaf(slot, Leaf::Rows(Arc::new(rows.rows))));
        }
        Ok(leaf(
            slot,
            Leaf::Function(TableFunction::System { database, schema, name: own }, compiled),
        ))
    }

    /// A common table expression of that name.
    fn cte(&mut self, name: &str, alias: Option<&str>, sc: &Scope<'_>) -> R<Option<Tree>> {
        let title = alias.unwrap_or(name).to_owned();
        let mut at = sc.ctes.clone();
        let mut outer = sc.outer;
        loop {
            let Some(env) = at else {
                // A subquery's scope shares its parent's list, so the chain of lists is all there is.
                let Some(o) = outer else { return Ok(None) };
                at = o.ctes.clone();
                outer = o.outer;
                continue;
            };
            if let Some((n, work, columns)) = &env.work
                && same_name(n, name)
            {
                let slot = self.show(sc, title, Vec::new(), columns.clone());
                return Ok(Some(leaf(slot, Leaf::Work(*work))));
            }
            let found = env.list.iter().take(env.upto).rposition(|c| same_name(&c.name, name));
            if let Some(position) = found {
                let Some(cte) = env.list.get(position) else { return Ok(None) };
                let (plan, columns) = self.cte_plan(cte, position, &env)?;
                let slot = self.show(sc, title, Vec::new(), columns);
                return Ok(Some(leaf(slot, Leaf::Query(Box::new(plan)))));
            }
            at = env.parent.clone();
        }
    }

    fn cte_plan(
        &mut self,
        cte: &Cte,
        position: usize,
        env: &Rc<Ctes>,
    ) -> R<(QueryPlan, Vec<Offered>)> {
        let before = Rc::new(Ctes {
            list: Arc::clone(&env.list),
            upto: position,
            work: None,
            parent: env.parent.clone(),
        });
        let named = |mut columns: Vec<Offered>| -> R<Vec<Offered>> {
            if !cte.columns.is_empty() && cte.columns.len() != columns.len() {
                let more = columns.len() > cte.columns.len();
                let m = format!(
                    "'{}' has {} columns than were specified in the column list.",
                    cte.name,
                    if more { "more" } else { "fewer" }
                );
                return Err(SqlError::new(if more { 8158 } else { 8159 }, m));
            }
            for (c, n) in columns.iter_mut().zip(&cte.columns) {
                n.clone_into(&mut c.name);
            }
            Ok(columns)
        };
        if let SetExpr::Op { op: SetOp::Union, all: true, left, right } = &cte.query.body
            && mentions(right, &cte.name)
        {
            let inner = Scope::inside(None, Some(Rc::clone(&before)));
            let anchor = self.set_expr(left, &inner)?;
            let columns = named(offered_columns(&anchor.columns))?;
            let work = self.new_work();
            let with = Rc::new(Ctes {
                list: Arc::clone(&env.list),
                upto: position,
                work: Some((
                    cte.name.clone(),
                    work,
                    columns
                        .iter()
                        .cloned()
                        .map(|mut c| {
                            c.nullable = true;
                            c
                        })
                        .collect(),
                )),
                parent: env.parent.clone(),
            });
            let inner = Scope::inside(None, Some(with));
            let step = self.set_expr(right, &inner)?;
            if step.columns.len() != anchor.columns.len() {
                return Err(SqlError::new(
                    205,
                    "All queries combined using a UNION, INTERSECT or EXCEPT operator must have an equal number of expressions in their target lists.",
                ));
            }
            for (a, b) in anchor.columns.iter().zip(&step.columns) {
                if a.ty != b.ty {
                    let m = format!(
                        "Types don't match between the anchor and the recursive part in column \"{}\" of recursive query \"{}\".",
                        a.name, cte.name
                    );
                    return Err(SqlError::new(240, m));
                }
            }
            let limit = self.max_recursion;
            let plan = QueryPlan {
                columns: anchor.columns.clone(),
                collations: anchor.collations.clone(),
                body: Body::Recursive {
                    anchor: Box::new(anchor),
                    step: Box::new(step),
                    work,
                    limit,
                },
            };
            return Ok((plan, columns));
        }
        let inner = Scope::inside(None, Some(before));
        let plan = self.query_in(&cte.query, &inner)?;
        let columns = named(offered_columns(&plan.columns))?;
        if let Some(at) = columns.iter().position(|c| c.name.is_empty()) {
            let m =
                format!("No column name was specified for column {} of '{}'.", at + 1, cte.name);
            return Err(SqlError::new(8155, m).state(2));
        }
        Ok((plan, columns))
    }

    /// Places the conditions and chooses how to get at the rows. What could not be placed comes back.
    pub(crate) fn place(
        &mut self,
        tree: Tree,
        conditions: Vec<Node>,
        order: &mut Option<WantedOrder>,
    ) -> R<(Source, Vec<Node>)> {
        let mut waiting: VecDeque<Conjunct> =
            conditions.into_iter().map(|node| Conjunct { slots: node.slots(), node }).collect();
        let source = self.source(tree, 0, &mut waiting, order)?;
        Ok((source, waiting.into_iter().map(|c| c.node).collect()))
    }

    fn source(
        &mut self,
        tree: Tree,
        bound: u64,
        waiting: &mut VecDeque<Conjunct>,
        order: &mut Option<WantedOrder>,
    ) -> R<Source> {
        match tree {
            Tree::Nothing => Ok(Source::Nothing),
            Tree::Leaf { slot, leaf } => self.leaf_source(slot, leaf.0, bound, waiting, order),
            Tree::Join { left, right, outer_left, outer_right, on, lateral } => {
                let (left_slots, right_slots) = (left.slots(), right.slots());
                let bits = |s: &[usize]| s.iter().fold(0, |b, s| b | bit(*s));
                let (left_bits, right_bits) = (bits(&left_slots), bits(&right_slots));
                if outer_right {
                    // FULL: nothing may be filtered before the join; the order is lost.
                    *order = None;
                    let left =
                        Box::new(self.source(*left, bound, &mut VecDeque::new(), &mut None)?);
                    let right =
                        Box::new(self.source(*right, bound, &mut VecDeque::new(), &mut None)?);
                    let (keys, on) = hash_keys(on, left_bits, right_bits);
                    let how = if keys.is_empty() { How::Kept } else { How::Hash(keys) };
                    return Ok(Source::Join {
                        left,
                        right,
                        left_slots,
                        right_slots,
                        outer_left,
                        outer_right,
                        on,
                        how,
                    });
                }
                if outer_left {
                    // Conditions of WHERE may go to the left side; those of ON to the right.
                    let mut for_left = take(waiting, |c| {
                        c.slots.is_some_and(|s| s & right_bits == 0 && s & left_bits != 0)
                    });
                    let left = Box::new(self.source(*left, bound, &mut for_left, order)?);
                    waiting.extend(for_left);
                    let all: VecDeque<Conjunct> =
                        on.into_iter().map(|node| Conjunct { slots: node.slots(), node }).collect();
                    let (right, mut rest, how) =
                        self.right_side(*right, bound, left_bits, right_bits, all, lateral)?;
                    let mut keys = Vec::new();
                    let mut on = Vec::new();
                    if matches!(how, How::Kept) {
                        let nodes: Vec<Node> = rest.drain(..).map(|c| c.node).collect();
                        (keys, on) = hash_keys(nodes, left_bits, right_bits);
                    } else {
                        on.extend(rest.into_iter().map(|c| c.node));
                    }
                    let how = if keys.is_empty() { how } else { How::Hash(keys) };
                    return Ok(Source::Join {
                        left,
                        right: Box::new(right),
                        left_slots,
                        right_slots,
                        outer_left,
                        outer_right,
                        on,
                        how,
                    });
                }
                waiting.extend(on.into_iter().map(|node| Conjunct { slots: node.slots(), node }));
                // A big table joined to a few values: read the values first and look the rows up.
                let (left, right, left_slots, right_slots, left_bits, right_bits) =
                    if !lateral && small(&right) && left.indexed_by(waiting, left_bits, right_bits)
                    {
                        *order = None;
                        (right, left, right_slots, left_slots, right_bits, left_bits)
                    } else {
                        (left, right, left_slots, right_slots, left_bits, right_bits)
                    };
                let mut for_left = take(waiting, |c| {
                    c.slots.is_some_and(|s| s & right_bits == 0 && s & left_bits != 0)
                });
                let left = Box::new(self.source(*left, bound, &mut for_left, order)?);
                waiting.extend(for_left);
                let mine = take(waiting, |c| {
                    c.slots.is_some_and(|s| {
                        s & right_bits != 0 && s & !(left_bits | right_bits | bound) == 0
                    })
                });
                let (right, rest, how) =
                    self.right_side(*right, bound, left_bits, right_bits, mine, lateral)?;
                let nodes: Vec<Node> = rest.into_iter().map(|c| c.node).collect();
                let (keys, on) = if matches!(how, How::Kept) {
                    hash_keys(nodes, left_bits, right_bits)
                } else {
                    (Vec::new(), nodes)
                };
                let how = if keys.is_empty() { how } else { How::Hash(keys) };
                Ok(Source::Join {
                    left,
                    right: Box::new(right),
                    left_slots,
                    right_slots,
                    outer_left,
                    outer_right,
                    on,
                    how,
                })
            }
        }
    }

    /// The right side of a join: read again for each left row when that can use an index or has to.
    fn right_side(
        &mut self,
        tree: Tree,
        bound: u64,
        left_bits: u64,
        right_bits: u64,
        mut conditions: VecDeque<Conjunct>,
        lateral: bool,
    ) -> R<(Source, VecDeque<Conjunct>, How)> {
        let again = lateral || tree.indexed_by(&conditions, right_bits, left_bits);
        let mut own = if again {
            std::mem::take(&mut conditions)
        } else {
            take(&mut conditions, |c| c.slots.is_some_and(|s| s & !right_bits == 0))
        };
        let bound = if again { bound | left_bits } else { bound };
        let source = self.source(tree, bound, &mut own, &mut None)?;
        conditions.extend(own);
        Ok((source, conditions, if again { How::Again } else { How::Kept }))
    }

    fn leaf_source(
        &mut self,
        slot: usize,
        leaf: Leaf,
        bound: u64,
        waiting: &mut VecDeque<Conjunct>,
        order: &mut Option<WantedOrder>,
    ) -> R<Source> {
        let own = bit(slot);
        let filter: Vec<Node> =
            take(waiting, |c| c.slots.is_some_and(|s| s & own != 0 && s & !(own | bound) == 0))
                .into_iter()
                .map(|c| c.node)
                .collect();
        if !matches!(leaf, Leaf::Table { .. }) {
            *order = None;
        }
        Ok(match leaf {
            Leaf::Rows(rows) => Source::Rows { slot, rows, filter },
            Leaf::Work(work) => Source::Work { slot, work, filter },
            Leaf::Query(plan) => Source::Query { slot, plan, filter },
            Leaf::Function(function, args) => Source::Function { slot, function, args, filter },
            Leaf::Table { database, table, hints, key_slot } => {
                let lock = self.table_hints(&table, &hints)?;
                let access = choose(&table.def(), slot, &filter, order, hints.index.as_deref())?;
                Source::Table { slot, key_slot, database, table, access, filter, lock }
            }
        })
    }

    /// Takes the locks that hints and the isolation level ask for.
    fn table_hints(&mut self, table: &Arc<Table>, hints: &Hints) -> R<RowLock> {
        let patience = hints.has("NOWAIT");
        let isolation = self.tx()?.isolation;
        if isolation == Isolation::Snapshot
            && let Some(database) = self.instance.database_by_id(table.database)
            && database.id > 4
            && !crate::store::read(&database.options).snapshot_isolation
        {
            let m = format!(
                "Snapshot isolation transaction failed accessing database '{}' because snapshot isolation is not \
                 allowed in this database. Use ALTER DATABASE to allow snapshot isolation.",
                database.name()
            );
            return Err(SqlError::new(3952, m));
        }
        let tx = self.tx()?;
        let old = tx.patience.timeout;
        if patience {
            tx.patience.timeout = Some(std::time::Duration::ZERO);
        }
        let result = (|| {
            tx.lock_table(table, Mode::SchemaStable)?;
            let hold =
                hints.has("HOLDLOCK") || hints.has("SERIALIZABLE") || hints.has("REPEATABLEREAD");
            let strict =
                matches!(tx.isolation, Isolation::Serializable | Isolation::RepeatableRead)
                    && !hints.has("NOLOCK")
                    && !hints.has("READUNCOMMITTED")
                    && !hints.has("READCOMMITTED");
            if hints.has("TABLOCKX") || (hints.has("TABLOCK") && hints.has("XLOCK")) {
                tx.lock_table(table, Mode::Exclusive)?;
            } else if hold || strict {
                tx.lock_table(table, Mode::Shared)?;
            }
            Ok(if hints.has("UPDLOCK") || hints.has("XLOCK") {
                RowLock::Update
            } else {
                RowLock::None
            })
        })();
        tx.patience.timeout = old;
        result
    }
}

fn has_outer(n: &Node) -> bool {
    fn walk(n: &Node) -> bool {
        match &n.kind {
            Kind::Column { depth, .. } => *depth > 0,
            Kind::Scalar(s) | Kind::Exists(s) => s.correlated,
            Kind::Arith(_, a, b) | Kind::IsNullThen(a, b) | Kind::NullIf(a, b) => {
                walk(a) || walk(b)
            }
            Kind::Negate(a) | Kind::BitNot(a) | Kind::AtTimeZone(a, _) => walk(a),
            Kind::Cast { value, .. } => walk(value),
            Kind::Call(_, args) | Kind::System { args, .. } => args.iter().any(walk),
            Kind::Case { whens, otherwise } => {
                whens.iter().any(|(_, b)| walk(b)) || otherwise.as_deref().is_some_and(walk)
            }
            _ => false,
        }
    }
    walk(n)
}

fn leaf(slot: usize, leaf: Leaf) -> Tree {
    Tree::Leaf { slot, leaf: LeafBox(leaf) }
}

fn small(tree: &Tree) -> bool {
    match tree {
        Tree::Leaf { leaf: LeafBox(Leaf::Rows(rows)), .. } => rows.len() < 1000,
        Tree::Leaf { leaf: LeafBox(Leaf::Query(plan)), .. } => matches!(plan.body, Body::Values(_)),
        Tree::Leaf { leaf: LeafBox(Leaf::Table { table, .. }), .. } => {
            table.def().name.starts_with(['#', '@'])
        }
        _ => false,
    }
}

fn take(from: &mut VecDeque<Conjunct>, which: impl Fn(&Conjunct) -> bool) -> VecDeque<Conjunct> {
    let (yes, no) = std::mem::take(from).into_iter().partition(which);
    *from = no;
    yes
}

/// Equalities between the two sides; the other conditions.
fn hash_keys(on: Vec<Node>, left: u64, right: u64) -> (Vec<(Node, Node)>, Vec<Node>) {
    let (mut keys, mut rest) = (Vec::new(), Vec::new());
    for n in on {
        let pair = match &n.kind {
            Kind::Compare(Cmp::Eq, a, b) => match (a.slots(), b.slots()) {
                (Some(x), Some(y)) if x != 0 && y != 0 && x & !left == 0 && y & !right == 0 => {
                    Some((a.clone(), b.clone()))
                }
                (Some(x), Some(y)) if x != 0 && y != 0 && y & !left == 0 && x & !right == 0 => {
                    Some((b.clone(), a.clone()))
                }
                _ => None,
            },
            _ => None,
        };
        match pair {
            Some((a, b)) if !matches!(a.ty, Ty::Variant) && !matches!(b.ty, Ty::Variant) => {
                let ty = unify(&a.ty, &b.ty);
                keys.push((a.cast(ty), b.cast(ty)));
            }
            _ => rest.push(n),
        }
    }
    (keys, rest)
}

impl Tree {
    pub(crate) fn slots(&self) -> Vec<usize> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Leaf { slot, leaf } => {
                let mut out = vec![*slot];
                if let Leaf::Table { key_slot: Some(k), .. } = leaf.0 {
                    out.push(k);
                }
                out
            }
            Self::Join { left, right, .. } => {
                left.slots().into_iter().chain(right.slots()).collect()
            }
        }
    }

    /// Whether this is a table with an index whose first column is set equal to something known from `others`.
    fn indexed_by(&self, conditions: &VecDeque<Conjunct>, own: u64, others: u64) -> bool {
        let Self::Leaf { slot, leaf: LeafBox(Leaf::Table { table, .. }) } = self else {
            return false;
        };
        let def = table.def();
        let firsts: Vec<usize> = def
            .indexes
            .iter()
            .filter(|i| i.filter.is_none())
            .filter_map(|i| i.columns.first())
            .map(|k| k.column)
            .collect();
        conditions.iter().any(|c| {
            let Kind::Compare(Cmp::Eq, a, b) = &c.node.kind else { return false };
            [(a, b), (b, a)].into_iter().any(|(x, y)| {
                matches!(x.kind, Kind::Column { depth: 0, slot: s, column } if s == *slot && firsts.contains(&column))
                    && y.slots().is_some_and(|s| s & own == 0 && s & others != 0)
                    && seekable(&x.ty, &y.ty)
            })
        })
    }
}

fn mentions(e: &SetExpr, name: &str) -> bool {
    fn table(r: &TableRef, name: &str) -> bool {
        match r {
            TableRef::Named { name: n, .. } => {
                n.len() == 1 && n.first().is_some_and(|n| same_name(n, name))
            }
            TableRef::Join { left, right, .. } | TableRef::Apply { left, right, .. } => {
                table(left, name) || table(right, name)
            }
            TableRef::Derived { query, .. } => mentions(&query.body, name),
            TableRef::Variable { .. } | TableRef::Function { .. } => false,
        }
    }
    match e {
        SetExpr::Select(s) => s.from.iter().any(|r| table(r, name)),
        SetExpr::Query(q) => mentions(&q.body, name),
        SetExpr::Values(_) => false,
        SetExpr::Op { left, right, .. } => mentions(left, name) || mentions(right, name),
    }
}

/// Whether a value of type `from` can be looked up in an index over `column`: converting it keeps the order.
pub(crate) fn seekable(column: &Ty, from: &Ty) -> bool {
    let class = |t: &Ty| match t {
        Ty::Bit
        | Ty::TinyInt
        | Ty::SmallInt
        | Ty::Int
        | Ty::BigInt
        | Ty::Decimal(..)
        | Ty::Money
        | Ty::SmallMoney => 1,
        Ty::Real | Ty::Float => 2,
        Ty::Char(_) | Ty::VarChar(_) | Ty::NChar(_) | Ty::NVarChar(_) => 3,
        Ty::Binary(_) | Ty::VarBinary(_) | Ty::RowVersion => 4,
        Ty::Date | Ty::DateTime | Ty::SmallDateTime | Ty::DateTime2(_) => 5,
        Ty::Time(_) => 6,
        Ty::DateTimeOffset(_) => 7,
        Ty::UniqueIdentifier => 8,
        Ty::Text | Ty::NText | Ty::Image | Ty::Xml | Ty::Variant | Ty::Udt(_) => 0,
    };
    let (c, f) = (class(column), class(from));
    c != 0 && (c == f || (f == 3 && unify(column, from) == *column))
}

/// A comparison of a column of `slot` with something that does not need the table.
struct Usable<'a> {
    column: usize,
    op: Cmp,
    value: &'a Node,
}

fn usable(n: &Node, slot: usize) -> Option<Usable<'_>> {
    let Kind::Compare(op, a, b) = &n.kind else { return None };
    let column = |n: &Node| match n.kind {
        Kind::Column { depth: 0, slot: s, column } if s == slot => Some(column),
        _ => None,
    };
    let free = |n: &Node| n.slots().is_some_and(|s| s & bit(slot) == 0);
    let flip = |op: Cmp| match op {
        Cmp::Lt => Cmp::Gt,
        Cmp::Le => Cmp::Ge,
        Cmp::Gt => Cmp::Lt,
        Cmp::Ge => Cmp::Le,
        Cmp::Eq | Cmp::Ne => op,
    };
    if *op == Cmp::Ne {
        return None;
    }
    // A comparison under another collation does not follow the index.
    let plain = |c: &Node, v: &Node| {
        v.collation.is_none_or(|x| c.collation == Some(x)) && seekable(&c.ty, &v.ty)
    };
    if let Some(c) = column(a)
        && free(b)
        && plain(a, b)
    {
        return Some(Usable { column: c, op: *op, value: b });
    }
    if let Some(c) = column(b)
        && free(a)
        && plain(b, a)
    {
        return Some(Usable { column: c, op: flip(*op), value: a });
    }
    None
}

/// `(a > x) OR (a = x AND b > y) OR ...`: the values of a bound over the given columns.
fn keyset<'a>(
    n: &'a Node,
    slot: usize,
    columns: &[usize],
    above: bool,
) -> Option<(Vec<&'a Node>, bool)> {
    let (first, rest) = columns.split_first()?;
    let branches = n.branches();
    let strict = if above { Cmp::Gt } else { Cmp::Lt };
    let loose = if above { Cmp::Ge } else { Cmp::Le };
    if let [one] = branches.as_slice() {
        // a >= x AND (a > x OR b > y)
        let parts = one.parts();
        if let [single] = parts.as_slice() {
            let u = usable(single, slot)?;
            return (u.column == *first && (u.op == strict || u.op == loose))
                .then(|| (vec![u.value], u.op == loose));
        }
        return None;
    }
    // The branch `a > x`.
    let head = branches.iter().find_map(|b| {
        let parts = b.parts();
        let [single] = parts.as_slice() else { return None };
        usable(single, slot).filter(|u| u.column == *first && u.op == strict)
    })?;
    // The others: `a = x AND ...`, the longest tail wins only when all agree; take the first that fits.
    let mut tail: Option<(Vec<&Node>, bool)> = None;
    for b in &branches {
        let parts = b.parts();
        if let [single] = parts.as_slice() {
            match usable(single, slot) {
                Some(u) if u.column == *first && u.op == strict => continue,
                _ => return None,
            }
        }
        let equal = parts.iter().any(|p| {
            usable(p, slot)
                .is_some_and(|u| u.column == *first && u.op == Cmp::Eq && u.value.same(head.value))
        });
        if !equal {
            return None;
        }
        let others: Vec<&Node> = parts
            .iter()
            .copied()
            .filter(|p| !usable(p, slot).is_some_and(|u| u.column == *first && u.op == Cmp::Eq))
            .collect();
        // Only a tail of one part keeps its shape; a longer one still gives `a = x` as a bound.
        let found = match others.as_slice() {
            [single] => keyset(single, slot, rest, above),
            many => flat(many, slot, rest, above),
        };
        let found = found.unwrap_or((Vec::new(), true));
        // The widest bound covers all branches: compare by length, the shorter is the wider.
        tail = Some(match tail {
            None => found,
            Some(t) => wider(t, found),
        });
    }
    let (values, inclusive) = tail?;
    let mut out = vec![head.value];
    out.extend(values);
    Some((out, inclusive))
}

/// `b = y AND c > z` after the first column was equal.
fn flat<'a>(
    parts: &[&'a Node],
    slot: usize,
    columns: &[usize],
    above: bool,
) -> Option<(Vec<&'a Node>, bool)> {
    let (first, rest) = columns.split_first()?;
    let equal = parts
        .iter()
        .find_map(|p| usable(p, slot).filter(|u| u.column == *first && u.op == Cmp::Eq))?;
    let others: Vec<&Node> = parts
        .iter()
        .copied()
        .filter(|p| !usable(p, slot).is_some_and(|u| u.column == *first && u.op == Cmp::Eq))
        .collect();
    let (values, inclusive) = match others.as_slice() {
        [] => (Vec::new(), true),
        [single] => keyset(single, slot, rest, above)?,
        many => flat(many, slot, rest, above)?,
    };
    let mut out = vec![equal.value];
    out.extend(values);
    Some((out, inclusive))
}

/// Of two bounds that share their beginning, one that includes both: `a=1 AND b>2` and `a=1 AND b=2 AND c>3` meet in the
/// longer one when the shorter is strict on the same value.
fn wider<'a>(a: (Vec<&'a Node>, bool), b: (Vec<&'a Node>, bool)) -> (Vec<&'a Node>, bool) {
    let (short, long) = if a.0.len() <= b.0.len() { (a, b) } else { (b, a) };
    let prefix = short.0.iter().zip(&long.0).all(|(x, y)| x.same(y));
    if prefix && !short.1 && short.0.len() < long.0.len() {
        return long;
    }
    if prefix {
        return short;
    }
    let n = short.0.iter().zip(&long.0).take_while(|(x, y)| x.same(y)).count();
    (short.0.into_iter().take(n).collect(), true)
}

/// Chooses the index. `order` is marked as satisfied when the rows come in that order.
fn choose(
    def: &TableDef,
    slot: usize,
    filter: &[Node],
    order: &mut Option<WantedOrder>,
    hint: Option<&str>,
) -> R<Access> {
    let wanted = order.take_if(|o| o.slot == slot);
    if let Some(o) = order.as_ref()
        && o.slot != slot
    {
        // The order is that of another table, which is not the leftmost.
        *order = None;
    }
    let mut best: Option<(i64, Access, bool)> = None;
    let candidates = def.indexes.iter().enumerate().map(|(i, ix)| (Some(i), ix));
    for (position, index) in candidates {
        if index.filter.is_some() || index.disabled {
            continue;
        }
        if let Some(h) = hint
            && !same_name(&index.name, h)
            && index.id.to_string() != h
        {
            continue;
        }
        let columns: Vec<usize> = index.columns.iter().map(|k| k.column).collect();
        let mut access = Access { index: position, ..Access::default() };
        let mut equal: Vec<Node> = Vec::new();
        for column in &columns {
            let Some(u) = filter
                .iter()
                .filter_map(|n| usable(n, slot))
                .find(|u| u.column == *column && u.op == Cmp::Eq)
            else {
                break;
            };
            equal.push(u.value.clone());
        }
        let n = equal.len();
        let rest: Vec<usize> = columns.iter().skip(n).copied().collect();
        let same_direction = index.columns.windows(2).all(|w| match w {
            [a, b] => a.descending == b.descending,
            _ => true,
        });
        let mut alternatives: Vec<Vec<Node>> = Vec::new();
        if n == 0 {
            for part in filter {
                let found = alternatives_of(part, slot, &columns);
                if !found.is_empty()
                    && (alternatives.is_empty() || found.len() < alternatives.len())
                {
                    alternatives = found;
                }
            }
        }
        if alternatives.is_empty() {
            for part in filter {
                for above in [true, false] {
                    if !same_direction && rest.len() > 1 {
                        let Some(first) = rest.first() else { continue };
                        if let Some((values, inclusive)) =
                            keyset(part, slot, std::slice::from_ref(first), above)
                        {
                            push_bound(&mut access, above, values, inclusive);
                        }
                    } else if let Some((values, inclusive)) = keyset(part, slot, &rest, above) {
                        push_bound(&mut access, above, values, inclusive);
                    }
                }
            }
        }
        let ranged = !access.lower.is_empty() || !access.upper.is_empty();
        let several = !alternatives.is_empty();
        access.equal = if several {
            alternatives
        } else if n > 0 {
            vec![equal]
        } else {
            Vec::new()
        };
        let (ordered, backward) = match &wanted {
            Some(o) if !several => satisfies(index, n, &access, filter, slot, &o.columns),
            _ => (false, false),
        };
        access.backward = ordered && backward;
        let unique_hit = index.unique && n == columns.len();
        let score = i64::try_from(n).unwrap_or(0) * 10
            + i64::from(several) * 9
            + i64::from(ranged) * 5
            + i64::from(unique_hit) * 100
            + i64::from(ordered) * 3
            + i64::from(index.clustered);
        let useful = n > 0 || ranged || several || ordered || hint.is_some();
        if useful && best.as_ref().is_none_or(|b| score > b.0) {
            best = Some((score, access, ordered));
        }
    }
    if let Some(h) = hint
        && best.is_none()
        && h != "0"
        && !def.indexes.iter().any(|i| same_name(&i.name, h) || i.id.to_string() == h)
    {
        let m = format!(
            "Index '{h}' on table '{}' (specified in the FROM clause) does not exist.",
            def.full_name()
        );
        return Err(SqlError::new(308, m));
    }
    let (access, ordered) = best.map_or_else(|| (Access::default(), false), |b| (b.1, b.2));
    if let Some(mut o) = wanted {
        o.satisfied = ordered;
        *order = Some(o);
    }
    Ok(access)
}

fn push_bound(access: &mut Access, above: bool, values: Vec<&Node>, inclusive: bool) {
    let bound = BoundPlan { values: values.into_iter().cloned().collect(), inclusive };
    if above { access.lower.push(bound) } else { access.upper.push(bound) }
}

/// IN lists and ORs of equalities: the values of the index's first columns for each branch.
fn alternatives_of(part: &Node, slot: usize, columns: &[usize]) -> Vec<Vec<Node>> {
    if let Kind::InList(a, list, false) = &part.kind
        && let Kind::Column { depth: 0, slot: s, column } = a.kind
        && s == slot
        && columns.first() == Some(&column)
        && list.iter().all(|v| {
            v.slots().is_some_and(|x| x & bit(slot) == 0)
                && seekable(&a.ty, &v.ty)
                && v.collation.is_none_or(|c| a.collation == Some(c))
        })
    {
        return list.iter().map(|v| vec![v.clone()]).collect();
    }
    let branches = part.branches();
    if branches.len() < 2 {
        return Vec::new();
    }
    let mut out = Vec::with_capacity(branches.len());
    for b in branches {
        let parts = b.parts();
        let mut values = Vec::new();
        for column in columns {
            match parts
                .iter()
                .filter_map(|p| usable(p, slot))
                .find(|u| u.column == *column && u.op == Cmp::Eq)
            {
                Some(u) => values.push(u.value.clone()),
                None => break,
            }
        }
        if values.is_empty() {
            return Vec::new();
        }
        out.push(values);
    }
    out
}

/// Whether reading the index gives the wanted order; the second: backward.
fn satisfies(
    index: &crate::store::Index,
    equal: usize,
    access: &Access,
    filter: &[Node],
    slot: usize,
    wanted: &[(usize, bool)],
) -> (bool, bool) {
    let _ = access;
    // Columns that are bound to one value do not matter in the order.
    let fixed: Vec<usize> = filter
        .iter()
        .filter_map(|n| usable(n, slot))
        .filter(|u| u.op == Cmp::Eq)
        .map(|u| u.column)
        .collect();
    let mut keys = index.columns.iter().skip(equal).filter(|k| !fixed.contains(&k.column));
    let mut backward = None;
    for (column, descending) in wanted {
        if fixed.contains(column) {
            continue;
        }
        let Some(k) = keys.next() else {
            // The whole unique key was used up: nothing is left to be ordered.
            return (index.unique, backward.unwrap_or(false));
        };
        if k.column != *column {
            return (false, false);
        }
        let turned = k.descending != *descending;
        if *backward.get_or_insert(turned) != turned {
            return (false, false);
        }
    }
    (true, backward.unwrap_or(false))
}

/// The bytes of a bound's values; what happens when a value does not convert exactly.
pub(crate) enum Encoded {
    /// Exactly these bytes.
    Exact(Vec<u8>),
    /// These bytes and everything near: the bound has to be inclusive.
    Near(Vec<u8>),
    /// A NULL: nothing compares true.
    Never,
    /// No use as a bound.
    Unbounded,
}

/// Encodes values for the columns of an index from `from` on.
pub(crate) fn encode(
    def: &TableDef,
    columns: &[crate::store::KeyColumn],
    values: &[Typed],
) -> Encoded {
    let mut out = Vec::with_capacity(values.len() * 12);
    for (k, v) in columns.iter().zip(values) {
        let Some(column) = def.columns.get(k.column) else { return Encoded::Unbounded };
        if v.is_null() {
            return Encoded::Never;
        }
        let Ok(converted) = cast(v, &column.ty, None) else {
            return if out.is_empty() { Encoded::Unbounded } else { Encoded::Near(out) };
        };
        let back = crate::value::compare(v, &Typed::new(column.ty, converted.clone()));
        let exact = super::eval::alike(&v.ty, &column.ty) && !cut(&column.ty, v)
            || matches!(back, Ok(Some(std::cmp::Ordering::Equal)));
        crate::store::encode_part(column, &converted, k.descending, &mut out);
        if !exact {
            return Encoded::Near(out);
        }
    }
    Encoded::Exact(out)
}

/// Whether converting to the column's type may lose something.
fn cut(column: &Ty, v: &Typed) -> bool {
    let _ = v;
    !matches!(column, Ty::BigInt)
}
