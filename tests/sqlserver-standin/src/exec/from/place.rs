//! Places the conditions of a query at its tables and joins.

use crate::exec::from::access::{choose, seekable};
use crate::exec::from::{Conjunct, Leaf, LeafBox, Tree, WantedOrder, bit};
use std::collections::VecDeque;
use std::sync::Arc;

use crate::exec::R;
use crate::exec::node::{Kind, Node};
use crate::exec::plan::{Body, How, RowLock, Source};
use crate::exec::session::SessionState;
use crate::sql::ast::{Cmp, Hints, SetExpr, TableRef};
use crate::store::{Isolation, Mode, Table, same_name};
use crate::value::{SqlError, Ty, unify};

impl SessionState {
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

    pub(super) fn source(
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
    pub(super) fn right_side(
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

    pub(super) fn leaf_source(
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
    pub(super) fn table_hints(&mut self, table: &Arc<Table>, hints: &Hints) -> R<RowLock> {
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

pub(super) fn has_outer(n: &Node) -> bool {
    pub(super) fn walk(n: &Node) -> bool {
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

pub(super) fn leaf(slot: usize, leaf: Leaf) -> Tree {
    Tree::Leaf { slot, leaf: LeafBox(leaf) }
}

pub(super) fn small(tree: &Tree) -> bool {
    match tree {
        Tree::Leaf { leaf: LeafBox(Leaf::Rows(rows)), .. } => rows.len() < 1000,
        Tree::Leaf { leaf: LeafBox(Leaf::Query(plan)), .. } => matches!(plan.body, Body::Values(_)),
        Tree::Leaf { leaf: LeafBox(Leaf::Table { table, .. }), .. } => {
            table.def().name.starts_with(['#', '@'])
        }
        _ => false,
    }
}

pub(super) fn take(
    from: &mut VecDeque<Conjunct>,
    which: impl Fn(&Conjunct) -> bool,
) -> VecDeque<Conjunct> {
    let (yes, no) = std::mem::take(from).into_iter().partition(which);
    *from = no;
    yes
}

/// Equalities between the two sides; the other conditions.
pub(super) fn hash_keys(on: Vec<Node>, left: u64, right: u64) -> (Vec<(Node, Node)>, Vec<Node>) {
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
    pub(super) fn indexed_by(
        &self,
        conditions: &VecDeque<Conjunct>,
        own: u64,
        others: u64,
    ) -> bool {
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

pub(super) fn mentions(e: &SetExpr, name: &str) -> bool {
    pub(super) fn table(r: &TableRef, name: &str) -> bool {
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
