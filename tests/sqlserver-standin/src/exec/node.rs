//! Expressions after names are resolved: columns are positions, every node has a type.

use std::sync::Arc;

use super::plan::QueryPlan;
use crate::sql::ast::Cmp;
use crate::value::{Collation, Op, Row, Ty, Val};

/// A subquery.
#[derive(Debug)]
pub(crate) struct Sub {
    pub(crate) plan: QueryPlan,
    /// It refers to columns of an outer query: its result is not the same for every row.
    pub(crate) correlated: bool,
}

/// What the session knows: times, identities, errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    GetDate,
    GetUtcDate,
    SysDateTime,
    SysUtcDateTime,
    SysDateTimeOffset,
    NewId,
    ScopeIdentity,
    Identity,
    RowCount,
    TranCount,
    Error,
    Spid,
    Version,
    ServerName,
    ServiceName,
    Language,
    LangId,
    Options,
    Dbts,
    DateFirst,
    LockTimeout,
    MaxConnections,
    MicrosoftVersion,
    NestLevel,
    ProcId,
    FetchStatus,
    CursorRows,
    TextSize,
    MaxPrecision,
    ErrorNumber,
    ErrorMessage,
    ErrorSeverity,
    ErrorState,
    ErrorLine,
    ErrorProcedure,
    XactState,
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) ty: Ty,
    pub(crate) nullable: bool,
    /// A collation that was given by COLLATE or by the column.
    pub(crate) collation: Option<Collation>,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Const(Val),
    /// Position in the variables of the batch.
    Var(usize),
    /// `depth` 0 is the query itself, 1 the one around it ...
    Column {
        depth: usize,
        slot: usize,
        column: usize,
    },
    Arith(Op, Box<Node>, Box<Node>),
    Negate(Box<Node>),
    BitNot(Box<Node>),
    Case {
        whens: Vec<(Node, Node)>,
        otherwise: Option<Box<Node>>,
    },
    Cast {
        value: Box<Node>,
        style: Option<Box<Node>>,
        tries: bool,
    },
    /// Two values, the second when the first is NULL.
    IsNullThen(Box<Node>, Box<Node>),
    NullIf(Box<Node>, Box<Node>),
    Call(String, Vec<Node>),
    Known(Known),
    System {
        database: Option<String>,
        schema: Option<String>,
        name: String,
        args: Vec<Node>,
    },
    AtTimeZone(Box<Node>, i16),
    /// FORMATMESSAGE-like things are not here; a one-row one-column subquery is.
    Scalar(Arc<Sub>),
    // Conditions.
    Compare(Cmp, Box<Node>, Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Not(Box<Node>),
    IsNull(Box<Node>, bool),
    Distinct(Box<Node>, Box<Node>, bool),
    Like {
        value: Box<Node>,
        pattern: Box<Node>,
        escape: Option<Box<Node>>,
        not: bool,
    },
    InList(Box<Node>, Vec<Node>, bool),
    InQuery(Box<Node>, Arc<Sub>, bool),
    Quantified {
        op: Cmp,
        all: bool,
        left: Box<Node>,
        sub: Arc<Sub>,
    },
    Exists(Arc<Sub>),
}

impl Node {
    pub(crate) fn new(ty: Ty, nullable: bool, kind: Kind) -> Self {
        Self { ty, nullable, collation: None, kind }
    }
    pub(crate) fn constant(ty: Ty, val: Val) -> Self {
        let nullable = val.is_null();
        Self::new(ty, nullable, Kind::Const(val))
    }
    pub(crate) fn condition(kind: Kind) -> Self {
        Self::new(Ty::Bit, true, kind)
    }
    pub(crate) fn column(depth: usize, slot: usize, column: usize, ty: Ty, nullable: bool) -> Self {
        Self::new(ty, nullable, Kind::Column { depth, slot, column })
    }

    /// The same node as a value of another type.
    pub(crate) fn cast(self, ty: Ty) -> Self {
        if self.ty == ty {
            return self;
        }
        let nullable = self.nullable;
        let collation = self.collation;
        if let Kind::Const(Val::Null) = self.kind {
            return Self::constant(ty, Val::Null);
        }
        let kind = Kind::Cast { value: Box::new(self), style: None, tries: false };
        Self { ty, nullable, collation, kind }
    }

    /// The same value with another collation. A column is one no longer then: its indexes have another order.
    pub(crate) fn collate(mut self, wanted: Collation) -> Self {
        let own = self.collation.replace(wanted).unwrap_or_default();
        if own == wanted || !matches!(self.kind, Kind::Column { .. }) {
            return self;
        }
        let (ty, nullable, collation) = (self.ty, self.nullable, self.collation);
        Self {
            ty,
            nullable,
            collation,
            kind: Kind::Cast { value: Box::new(self), style: None, tries: false },
        }
    }

    fn children(&self) -> Vec<&Self> {
        match &self.kind {
            Kind::Const(_)
            | Kind::Var(_)
            | Kind::Column { .. }
            | Kind::Known(_)
            | Kind::Scalar(_)
            | Kind::Exists(_) => Vec::new(),
            Kind::Arith(_, a, b)
            | Kind::IsNullThen(a, b)
            | Kind::NullIf(a, b)
            | Kind::Compare(_, a, b)
            | Kind::And(a, b)
            | Kind::Or(a, b)
            | Kind::Distinct(a, b, _) => vec![a, b],
            Kind::Negate(a)
            | Kind::BitNot(a)
            | Kind::Not(a)
            | Kind::IsNull(a, _)
            | Kind::AtTimeZone(a, _)
            | Kind::InQuery(a, ..)
            | Kind::Quantified { left: a, .. } => vec![a],
            Kind::Cast { value, style, .. } => {
                std::iter::once(&**value).chain(style.as_deref()).collect()
            }
            Kind::Case { whens, otherwise } => {
                whens.iter().flat_map(|(a, b)| [a, b]).chain(otherwise.as_deref()).collect()
            }
            Kind::Call(_, args) | Kind::System { args, .. } => args.iter().collect(),
            Kind::Like { value, pattern, escape, .. } => {
                [&**value, &**pattern].into_iter().chain(escape.as_deref()).collect()
            }
            Kind::InList(a, list, _) => std::iter::once(&**a).chain(list).collect(),
        }
    }

    /// The slots of this query that the node needs, as bits; None when it holds a correlated subquery or depends on
    /// something that changes from row to row, so that it has to stay where it was written.
    pub(crate) fn slots(&self) -> Option<u64> {
        let own = match &self.kind {
            Kind::Column { depth: 0, slot, .. } => 1u64.checked_shl(u32::try_from(*slot).ok()?)?,
            Kind::Scalar(sub)
            | Kind::Exists(sub)
            | Kind::InQuery(_, sub, _)
            | Kind::Quantified { sub, .. } => {
                if sub.correlated {
                    return None;
                }
                0
            }
            Kind::Known(Known::NewId) => return None,
            _ => 0,
        };
        self.children().into_iter().try_fold(own, |bits, c| Some(bits | c.slots()?))
    }

    /// Whether no row takes part in the value.
    pub(crate) fn is_fixed(&self) -> bool {
        let own = !matches!(
            self.kind,
            Kind::Column { .. }
                | Kind::Known(Known::NewId)
                | Kind::Scalar(_)
                | Kind::Exists(_)
                | Kind::InQuery(..)
                | Kind::Quantified { .. }
        );
        own && self.children().into_iter().all(Self::is_fixed)
    }

    /// Whether two nodes are the same expression.
    pub(crate) fn same(&self, other: &Self) -> bool {
        let flat = match (&self.kind, &other.kind) {
            (Kind::Const(a), Kind::Const(b)) => a == b,
            (Kind::Var(a), Kind::Var(b)) => a == b,
            (
                Kind::Column { depth, slot, column },
                Kind::Column { depth: d, slot: s, column: c },
            ) => depth == d && slot == s && column == c,
            (Kind::Known(a), Kind::Known(b)) => a == b && *a != Known::NewId,
            (Kind::Arith(a, ..), Kind::Arith(b, ..)) => a == b,
            (Kind::Compare(a, ..), Kind::Compare(b, ..)) => a == b,
            (Kind::Call(a, _), Kind::Call(b, _)) => a == b,
            (Kind::System { name: a, .. }, Kind::System { name: b, .. }) => a == b,
            (Kind::IsNull(_, a), Kind::IsNull(_, b))
            | (Kind::Distinct(.., a), Kind::Distinct(.., b)) => a == b,
            (Kind::Like { not: a, .. }, Kind::Like { not: b, .. })
            | (Kind::InList(.., a), Kind::InList(.., b)) => a == b,
            (Kind::Cast { tries: a, .. }, Kind::Cast { tries: b, .. }) => {
                a == b && self.ty == other.ty
            }
            (Kind::AtTimeZone(_, a), Kind::AtTimeZone(_, b)) => a == b,
            (
                Kind::Scalar(_) | Kind::Exists(_) | Kind::InQuery(..) | Kind::Quantified { .. },
                _,
            ) => false,
            (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
        };
        let (a, b) = (self.children(), other.children());
        flat && a.len() == b.len() && a.into_iter().zip(b).all(|(x, y)| x.same(y))
    }

    /// The parts of a conjunction.
    pub(crate) fn conjuncts(self, out: &mut Vec<Self>) {
        if let Kind::And(a, b) = self.kind {
            a.conjuncts(out);
            b.conjuncts(out);
        } else {
            out.push(self);
        }
    }

    /// The branches of a disjunction.
    pub(crate) fn branches(&self) -> Vec<&Self> {
        match &self.kind {
            Kind::Or(a, b) => a.branches().into_iter().chain(b.branches()).collect(),
            _ => vec![self],
        }
    }

    /// The parts of a conjunction, by reference.
    pub(crate) fn parts(&self) -> Vec<&Self> {
        match &self.kind {
            Kind::And(a, b) => a.parts().into_iter().chain(b.parts()).collect(),
            _ => vec![self],
        }
    }
}

/// The row of a query that is being looked at, one entry per table, and the rows of the queries around it.
#[derive(Clone, Copy)]
pub(crate) struct Env<'a> {
    pub(crate) rows: &'a [Row],
    pub(crate) outer: Option<&'a Env<'a>>,
}

impl<'a> Env<'a> {
    pub(crate) const EMPTY: Env<'static> = Env { rows: &[], outer: None };

    pub(crate) fn get(&self, depth: usize, slot: usize, column: usize) -> &'a Val {
        let mut env = *self;
        for _ in 0..depth {
            match env.outer {
                Some(outer) => env = *outer,
                None => return &Val::Null,
            }
        }
        // A row of an outer join that found no partner is empty: all its columns are NULL.
        env.rows.get(slot).and_then(|r| r.get(column)).unwrap_or(&Val::Null)
    }
}
