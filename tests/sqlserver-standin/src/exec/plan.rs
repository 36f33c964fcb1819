//! What is to be done for a query.

use std::sync::Arc;

use super::node::Node;
use crate::sql::ast::{Edge, SetOp};
use crate::store::{Database, Table};
use crate::value::{Col, Op, Row, Ty};

/// A query with its result columns.
#[derive(Debug)]
pub(crate) struct QueryPlan {
    pub(crate) columns: Vec<Col>,
    /// Collation of result columns that have their own.
    pub(crate) collations: Vec<Option<crate::value::Collation>>,
    pub(crate) body: Body,
}

#[derive(Debug)]
pub(crate) enum Body {
    Select(Box<SelectPlan>),
    Values(Vec<Vec<Node>>),
    Set {
        op: SetOp,
        all: bool,
        left: Box<QueryPlan>,
        right: Box<QueryPlan>,
    },
    /// The rows of `inner`, sorted by columns and cut.
    Sorted {
        inner: Box<QueryPlan>,
        order: Vec<(usize, bool)>,
        offset: Option<Node>,
        fetch: Option<Node>,
    },
    Recursive {
        anchor: Box<QueryPlan>,
        step: Box<QueryPlan>,
        work: usize,
        limit: u32,
    },
    /// FOR XML PATH
    Xml {
        inner: Box<QueryPlan>,
        element: String,
    },
}

#[derive(Debug)]
pub(crate) struct SelectPlan {
    /// Entries of a row: tables, keys of DML targets, the group, the window values.
    pub(crate) slots: usize,
    pub(crate) source: Source,
    /// Conditions that could not be evaluated further down.
    pub(crate) filter: Vec<Node>,
    pub(crate) group: Option<GroupPlan>,
    pub(crate) having: Option<Node>,
    pub(crate) windows: Vec<Window>,
    pub(crate) window_slot: usize,
    pub(crate) items: Vec<Node>,
    /// SELECT @x = ...: variable and operator for each item.
    pub(crate) assigns: Vec<(usize, Ty, Option<Op>)>,
    pub(crate) distinct: bool,
    pub(crate) top: Option<TopPlan>,
    pub(crate) order: Vec<(Node, bool)>,
    /// Rows come from the source in this order already.
    pub(crate) ordered: bool,
    pub(crate) offset: Option<Node>,
    pub(crate) fetch: Option<Node>,
    /// The only item is the first row's value: MIN or MAX by an index.
    pub(crate) first_only: bool,
}

#[derive(Debug)]
pub(crate) struct TopPlan {
    pub(crate) count: Node,
    pub(crate) percent: bool,
    pub(crate) ties: bool,
}

#[derive(Debug)]
pub(crate) struct GroupPlan {
    pub(crate) keys: Vec<Node>,
    pub(crate) aggregates: Vec<Aggregate>,
    /// Where the group's values go: keys, then aggregates.
    pub(crate) slot: usize,
    /// No GROUP BY: one row even when there is none.
    pub(crate) whole: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AggregateKind {
    Count,
    Sum,
    Avg,
    Min,
    Max,
    StringAgg,
    ChecksumAgg,
    Var { population: bool, root: bool },
}

#[derive(Clone, Debug)]
pub(crate) struct Aggregate {
    pub(crate) kind: AggregateKind,
    /// None: COUNT(*).
    pub(crate) arg: Option<Node>,
    pub(crate) distinct: bool,
    pub(crate) ty: Ty,
    /// STRING_AGG: separator and order.
    pub(crate) separator: Option<Node>,
    pub(crate) order: Vec<(Node, bool)>,
}

#[derive(Clone, Debug)]
pub(crate) enum WindowKind {
    RowNumber,
    Rank,
    DenseRank,
    PercentRank,
    CumeDist,
    Ntile(Node),
    /// value, offset, default; positive: LEAD
    Shift {
        value: Node,
        offset: Node,
        default: Option<Node>,
        forward: bool,
    },
    First(Node),
    Last(Node),
    Aggregate(Aggregate),
}

#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub(crate) kind: WindowKind,
    pub(crate) ty: Ty,
    pub(crate) partition: Vec<Node>,
    pub(crate) order: Vec<(Node, bool)>,
    /// rows (not range), from, to
    pub(crate) frame: Option<(bool, Edge, Edge)>,
}

/// A bound of an index range: values for the columns after the equal ones.
#[derive(Debug)]
pub(crate) struct BoundPlan {
    pub(crate) values: Vec<Node>,
    pub(crate) inclusive: bool,
}

/// How to get at a table's rows.
#[derive(Debug, Default)]
pub(crate) struct Access {
    /// Position in `TableDef::indexes`; None: the whole table in its own order.
    pub(crate) index: Option<usize>,
    /// Values of the first columns of the index: several alternatives for IN and OR.
    pub(crate) equal: Vec<Vec<Node>>,
    pub(crate) lower: Vec<BoundPlan>,
    pub(crate) upper: Vec<BoundPlan>,
    pub(crate) backward: bool,
}

#[derive(Debug, Default)]
pub(crate) enum Source {
    /// SELECT without FROM: one row.
    #[default]
    Nothing,
    Table {
        slot: usize,
        /// Where the row's key goes, for UPDATE and DELETE.
        key_slot: Option<usize>,
        database: Arc<Database>,
        table: Arc<Table>,
        access: Access,
        filter: Vec<Node>,
        lock: RowLock,
    },
    /// Rows that were known when the query was compiled.
    Rows {
        slot: usize,
        rows: Arc<Vec<Row>>,
        filter: Vec<Node>,
    },
    /// The rows of the last step of a recursive CTE.
    Work {
        slot: usize,
        work: usize,
        filter: Vec<Node>,
    },
    Query {
        slot: usize,
        plan: Box<QueryPlan>,
        filter: Vec<Node>,
    },
    /// A table-valued function whose arguments come from other tables.
    Function {
        slot: usize,
        function: TableFunction,
        args: Vec<Node>,
        filter: Vec<Node>,
    },
    Join {
        left: Box<Source>,
        right: Box<Source>,
        /// Slots that the two sides fill.
        left_slots: Vec<usize>,
        right_slots: Vec<usize>,
        outer_left: bool,
        outer_right: bool,
        on: Vec<Node>,
        how: How,
    },
}

/// Locks that a query takes on the rows it reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum RowLock {
    #[default]
    None,
    Update,
}

#[derive(Debug)]
pub(crate) enum How {
    /// The right side is read again for each left row (it depends on it, or an index makes that cheap).
    Again,
    /// The right side is read once and kept.
    Kept,
    /// The right side is read once into a hash table: pairs of keys.
    Hash(Vec<(Node, Node)>),
}

#[derive(Clone, Debug)]
pub(crate) enum TableFunction {
    System { database: Option<String>, schema: String, name: String },
    StringSplit,
    Series,
    User(Arc<crate::sql::Function>),
}
