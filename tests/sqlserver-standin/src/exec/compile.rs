//! Expressions: names become positions, every part gets its type.

use std::sync::Arc;

use super::node::{Env, Kind, Known, Node, Sub};
use super::plan::{Aggregate, AggregateKind, Window, WindowKind};
use super::scope::Scope;
use super::session::SessionState;
use super::{R, known};
use crate::catalog;
use crate::sql::ast::{Call, Edge, Expr, OrderItem, Query, TypeName};
use crate::store::read;
use crate::value::{
    Collation, MAX, Op, SqlError, Ty, Typed, Val, arith_type, cast, functions, parse_type,
    try_cast, unify,
};

/// A literal NULL has no type of its own.
fn is_null_literal(n: &Node) -> bool {
    matches!(n.kind, Kind::Const(Val::Null))
}

/// The common type of values that stand for one another (CASE, COALESCE, UNION).
pub(crate) fn common<'a>(nodes: impl Iterator<Item = &'a Node>) -> Ty {
    let mut ty = None;
    for n in nodes {
        if !is_null_literal(n) {
            ty = Some(ty.map_or(n.ty, |t| unify(&t, &n.ty)));
        }
    }
    ty.unwrap_or(Ty::Int)
}

fn is_aggregate(name: &str) -> bool {
    matches!(
        name,
        "count"
            | "count_big"
            | "sum"
            | "avg"
            | "min"
            | "max"
            | "string_agg"
            | "checksum_agg"
            | "stdev"
            | "stdevp"
            | "var"
            | "varp"
            | "approx_count_distinct"
    )
}

/// Whether an expression has an aggregate or a window function of this query in it.
fn has_aggregate(e: &Expr) -> bool {
    match e {
        Expr::Call(c) => {
            let plain = c.name.len() == 1;
            let name = c.name.first().map(|n| n.to_ascii_lowercase()).unwrap_or_default();
            c.over.is_some() || (plain && is_aggregate(&name)) || c.args.iter().any(has_aggregate)
        }
        Expr::Negate(a)
        | Expr::BitNot(a)
        | Expr::Not(a)
        | Expr::IsNull(a, _)
        | Expr::Collate(a, _) => has_aggregate(a),
        Expr::Arith(_, a, b)
        | Expr::Compare(_, a, b)
        | Expr::And(a, b)
        | Expr::Or(a, b)
        | Expr::Distinct(a, b, _)
        | Expr::AtTimeZone(a, b) => has_aggregate(a) || has_aggregate(b),
        Expr::Case { operand, whens, otherwise } => {
            operand.as_deref().is_some_and(has_aggregate)
                || whens.iter().any(|(a, b)| has_aggregate(a) || has_aggregate(b))
                || otherwise.as_deref().is_some_and(has_aggregate)
        }
        Expr::Cast { value, style, .. } => {
            has_aggregate(value) || style.as_deref().is_some_and(has_aggregate)
        }
        Expr::Between { value, low, high, .. } => {
            has_aggregate(value) || has_aggregate(low) || has_aggregate(high)
        }
        Expr::In { value, list, .. } => has_aggregate(value) || list.iter().any(has_aggregate),
        Expr::InQuery { value, .. } | Expr::Quantified { left: value, .. } => has_aggregate(value),
        Expr::Like { value, pattern, .. } => has_aggregate(value) || has_aggregate(pattern),
        Expr::Lit(_)
        | Expr::Var(_)
        | Expr::Column(_)
        | Expr::Subquery(_)
        | Expr::Exists(_)
        | Expr::Default => false,
    }
}

pub(crate) fn any_aggregate<'a>(mut list: impl Iterator<Item = &'a Expr>) -> bool {
    list.any(has_plain_aggregate)
}

/// An aggregate that is not a window function, so that the query is a grouped one.
fn has_plain_aggregate(e: &Expr) -> bool {
    match e {
        Expr::Call(c) if c.over.is_some() => {
            c.args.iter().any(has_plain_aggregate)
                || c.over.as_ref().is_some_and(|o| {
                    o.partition.iter().any(has_plain_aggregate)
                        || o.order.iter().any(|i| has_plain_aggregate(&i.expr))
                })
        }
        Expr::Call(c) => {
            let plain = c.name.len() == 1;
            let name = c.name.first().map(|n| n.to_ascii_lowercase()).unwrap_or_default();
            (plain && is_aggregate(&name)) || c.args.iter().any(has_plain_aggregate)
        }
        Expr::Negate(a)
        | Expr::BitNot(a)
        | Expr::Not(a)
        | Expr::IsNull(a, _)
        | Expr::Collate(a, _) => has_plain_aggregate(a),
        Expr::Arith(_, a, b)
        | Expr::Compare(_, a, b)
        | Expr::And(a, b)
        | Expr::Or(a, b)
        | Expr::Distinct(a, b, _)
        | Expr::AtTimeZone(a, b) => has_plain_aggregate(a) || has_plain_aggregate(b),
        Expr::Case { operand, whens, otherwise } => {
            operand.as_deref().is_some_and(has_plain_aggregate)
                || whens.iter().any(|(a, b)| has_plain_aggregate(a) || has_plain_aggregate(b))
                || otherwise.as_deref().is_some_and(has_plain_aggregate)
        }
        Expr::Cast { value, .. } => has_plain_aggregate(value),
        Expr::Between { value, low, high, .. } => {
            has_plain_aggregate(value) || has_plain_aggregate(low) || has_plain_aggregate(high)
        }
        Expr::In { value, list, .. } => {
            has_plain_aggregate(value) || list.iter().any(has_plain_aggregate)
        }
        Expr::InQuery { value, .. } | Expr::Quantified { left: value, .. } => {
            has_plain_aggregate(value)
        }
        Expr::Like { value, pattern, .. } => {
            has_plain_aggregate(value) || has_plain_aggregate(pattern)
        }
        Expr::Lit(_)
        | Expr::Var(_)
        | Expr::Column(_)
        | Expr::Subquery(_)
        | Expr::Exists(_)
        | Expr::Default => false,
    }
}

/// Converts a constant to the type that a comparison will use, once instead of for every row.
fn settle(a: Node, b: Node) -> (Node, Node) {
    fn to(constant: Node, other: &Node) -> Node {
        if let Kind::Const(v) = &constant.kind
            && !v.is_null()
            && !super::eval::alike(&constant.ty, &other.ty)
            && unify(&constant.ty, &other.ty) == other.ty
            && let Ok(v) = cast(&Typed::new(constant.ty, v.clone()), &other.ty, None)
        {
            let mut out = Node::constant(other.ty, v);
            out.collation = constant.collation;
            return out;
        }
        constant
    }
    let b = to(b, &a);
    let a = to(a, &b);
    (a, b)
}

impl SessionState {
    /// The type of a declaration, or of a user-defined alias.
    pub(crate) fn type_of(&self, name: &TypeName) -> R<Ty> {
        match parse_type(&name.text) {
            Ok(ty) => Ok(ty),
            Err(error) => {
                let base = name.base.rsplit('.').next().unwrap_or(&name.base).to_lowercase();
                let database = self.db();
                let objects = read(&database.objects);
                let alias = objects
                    .synonyms
                    .iter()
                    .find(|((schema, n), _)| schema.starts_with("type:") && *n == base);
                match alias {
                    Some((_, alias)) => parse_type(&alias.target),
                    None => Err(error),
                }
            }
        }
    }

    pub(crate) fn compile(&mut self, e: &Expr, sc: &Scope<'_>) -> R<Node> {
        let grouped = sc.grouping.borrow().grouped;
        if grouped && !has_aggregate(e) {
            sc.grouping.borrow_mut().grouped = false;
            let plain = self.compile(e, sc);
            sc.grouping.borrow_mut().grouped = true;
            let plain = plain?;
            let grouping = sc.grouping.borrow();
            if let Some(at) = grouping.keys.iter().position(|k| k.same(&plain)) {
                let mut n = Node::column(0, grouping.group_slot, at, plain.ty, plain.nullable);
                n.collation = plain.collation;
                return Ok(n);
            }
            drop(grouping);
            match e {
                Expr::Column(name) if matches!(plain.kind, Kind::Column { depth: 0, .. }) => {
                    let m = format!(
                        "Column '{}' is invalid in the select list because it is not contained in either an aggregate \
                         function or the GROUP BY clause.",
                        self.qualified(name, sc)
                    );
                    return Err(SqlError::new(8120, m));
                }
                Expr::Lit(_)
                | Expr::Var(_)
                | Expr::Subquery(_)
                | Expr::Column(_)
                | Expr::Exists(_)
                | Expr::Default => {
                    return Ok(plain);
                }
                _ => {}
            }
        }
        self.compile_parts(e, sc)
    }

    fn qualified(&self, name: &[String], sc: &Scope<'_>) -> String {
        match name {
            [column] => {
                let tables = sc.tables.borrow();
                let owner = tables
                    .iter()
                    .find(|t| t.columns.iter().any(|c| crate::store::same_name(&c.name, column)));
                owner.map_or_else(|| column.clone(), |t| format!("{}.{column}", t.alias))
            }
            many => many.join("."),
        }
    }

    fn compile_parts(&mut self, e: &Expr, sc: &Scope<'_>) -> R<Node> {
        match e {
            Expr::Lit(t) => Ok(Node::constant(t.ty, t.val.clone())),
            Expr::Var(name) => self.variable_node(name),
            Expr::Column(name) => {
                let (depth, slot, column, offered) = sc.resolve(name)?;
                let mut n = Node::column(depth, slot, column, offered.ty, offered.nullable);
                n.collation = offered.collation;
                Ok(n)
            }
            Expr::Subquery(q) => {
                let sub = self.subquery(q, sc)?;
                if sub.plan.columns.len() != 1 {
                    return Err(SqlError::new(
                        116,
                        "Only one expression can be specified in the select list when the subquery is not introduced \
                         with EXISTS.",
                    ));
                }
                let ty = sub.plan.columns.first().map_or(Ty::Int, |c| c.ty);
                let collation = sub.plan.collations.first().copied().flatten();
                let mut n = Node::new(ty, true, Kind::Scalar(Arc::new(sub)));
                n.collation = collation;
                Ok(n)
            }
            Expr::Negate(a) => {
                let a = self.compile(a, sc)?;
                let sample = crate::value::negate(&Typed::null(a.ty))?;
                Ok(Node::new(sample.ty, a.nullable, Kind::Negate(Box::new(a))))
            }
            Expr::BitNot(a) => {
                let a = self.compile(a, sc)?;
                Ok(Node::new(a.ty, a.nullable, Kind::BitNot(Box::new(a))))
            }
            Expr::Arith(op, a, b) => {
                let (a, b) = (self.compile(a, sc)?, self.compile(b, sc)?);
                Self::arith_node(*op, a, b)
            }
            Expr::Case { operand, whens, otherwise } => {
                self.case(operand.as_deref(), whens, otherwise.as_deref(), sc)
            }
            Expr::Cast { value, ty, style, tries } => {
                let value = self.compile(value, sc)?;
                let ty = self.cast_type(ty)?;
                let style = match style {
                    Some(s) => Some(Box::new(self.compile(s, sc)?)),
                    None => None,
                };
                let nullable = value.nullable || *tries;
                let collation = value.collation;
                let kind = Kind::Cast { value: Box::new(value), style, tries: *tries };
                Ok(Node { ty, nullable, collation, kind })
            }
            Expr::Collate(a, name) => {
                let mut a = self.compile(a, sc)?;
                a.collation = Some(if name == "DATABASE_DEFAULT" {
                    Collation::CiAs
                } else {
                    Collation::by_name(name)
                });
                Ok(a)
            }
            Expr::AtTimeZone(a, zone) => {
                let a = self.compile(a, sc)?;
                let zone = self.compile(zone, sc)?;
                let zone = self.typed(&zone, &Env::EMPTY)?.to_string16()?;
                let zone = zone.map(|z| String::from_utf16_lossy(&z)).unwrap_or_default();
                let offset = known::zone(&zone)?;
                let scale = match a.ty {
                    Ty::DateTime2(s) | Ty::DateTimeOffset(s) => s,
                    Ty::DateTime => 3,
                    Ty::SmallDateTime => 0,
                    _ => 7,
                };
                Ok(Node::new(
                    Ty::DateTimeOffset(scale),
                    a.nullable,
                    Kind::AtTimeZone(Box::new(a), offset),
                ))
            }
            Expr::Call(c) => self.call_node(c, sc),
            Expr::Default => Err(SqlError::syntax("DEFAULT")),
            Expr::Compare(op, a, b) => {
                let (a, b) = (self.compile(a, sc)?, self.compile(b, sc)?);
                Self::comparable(&a, &b)?;
                let (a, b) = settle(a, b);
                Ok(Node::condition(Kind::Compare(*op, Box::new(a), Box::new(b))))
            }
            Expr::Quantified { op, all, left, query } => {
                let left = Box::new(self.compile(left, sc)?);
                let sub = Arc::new(self.subquery(query, sc)?);
                Ok(Node::condition(Kind::Quantified { op: *op, all: *all, left, sub }))
            }
            Expr::And(a, b) => {
                let (a, b) = (self.compile(a, sc)?, self.compile(b, sc)?);
                Ok(Node::condition(Kind::And(Box::new(a), Box::new(b))))
            }
            Expr::Or(a, b) => {
                let (a, b) = (self.compile(a, sc)?, self.compile(b, sc)?);
                Ok(Node::condition(Kind::Or(Box::new(a), Box::new(b))))
            }
            Expr::Not(a) => Ok(Node::condition(Kind::Not(Box::new(self.compile(a, sc)?)))),
            Expr::IsNull(a, not) => {
                Ok(Node::condition(Kind::IsNull(Box::new(self.compile(a, sc)?), *not)))
            }
            Expr::Distinct(a, b, not) => {
                let (a, b) = (self.compile(a, sc)?, self.compile(b, sc)?);
                Ok(Node::condition(Kind::Distinct(Box::new(a), Box::new(b), *not)))
            }
            Expr::Between { value, low, high, not } => {
                let value = self.compile(value, sc)?;
                let (low, high) = (self.compile(low, sc)?, self.compile(high, sc)?);
                let (a, low) = settle(value.clone(), low);
                let (b, high) = settle(value, high);
                use crate::sql::ast::Cmp;
                let from = Node::condition(Kind::Compare(Cmp::Ge, Box::new(a), Box::new(low)));
                let to = Node::condition(Kind::Compare(Cmp::Le, Box::new(b), Box::new(high)));
                let both = Node::condition(Kind::And(Box::new(from), Box::new(to)));
                Ok(if *not { Node::condition(Kind::Not(Box::new(both))) } else { both })
            }
            Expr::In { value, list, not } => {
                let value = self.compile(value, sc)?;
                let mut items = Vec::with_capacity(list.len());
                for item in list {
                    let item = self.compile(item, sc)?;
                    items.push(settle(value.clone(), item).1);
                }
                Ok(Node::condition(Kind::InList(Box::new(value), items, *not)))
            }
            Expr::InQuery { value, query, not } => {
                let value = Box::new(self.compile(value, sc)?);
                let sub = self.subquery(query, sc)?;
                if sub.plan.columns.len() != 1 {
                    return Err(SqlError::new(
                        116,
                        "Only one expression can be specified in the select list when the subquery is not introduced \
                         with EXISTS.",
                    ));
                }
                Ok(Node::condition(Kind::InQuery(value, Arc::new(sub), *not)))
            }
            Expr::Like { value, pattern, escape, not } => {
                let value = Box::new(self.compile(value, sc)?);
                let pattern = Box::new(self.compile(pattern, sc)?);
                let escape = match escape {
                    Some(e) => Some(Box::new(self.compile(e, sc)?)),
                    None => None,
                };
                Ok(Node::condition(Kind::Like { value, pattern, escape, not: *not }))
            }
            Expr::Exists(q) => Ok(Node::condition(Kind::Exists(Arc::new(self.subquery(q, sc)?)))),
        }
    }

    /// Computes the parts of a condition that are the same for every row, once.
    pub(crate) fn fold(&mut self, n: Node) -> Node {
        let Node { ty, nullable, collation, kind } = n;
        let both =
            |s: &mut Self, a: Box<Node>, b: Box<Node>| (Box::new(s.fold(*a)), Box::new(s.fold(*b)));
        let sides = |s: &mut Self, a: Box<Node>, b: Box<Node>| {
            (Box::new(s.fixed(*a)), Box::new(s.fixed(*b)))
        };
        let kind = match kind {
            Kind::And(a, b) => {
                let (a, b) = both(self, a, b);
                Kind::And(a, b)
            }
            Kind::Or(a, b) => {
                let (a, b) = both(self, a, b);
                Kind::Or(a, b)
            }
            Kind::Not(a) => Kind::Not(Box::new(self.fold(*a))),
            Kind::Compare(op, a, b) => {
                let (a, b) = sides(self, a, b);
                Kind::Compare(op, a, b)
            }
            Kind::InList(a, list, not) => {
                Kind::InList(a, list.into_iter().map(|i| self.fixed(i)).collect(), not)
            }
            Kind::Like { value, pattern, escape, not } => {
                Kind::Like { value, pattern: Box::new(self.fixed(*pattern)), escape, not }
            }
            other => other,
        };
        Node { ty, nullable, collation, kind }
    }

    /// A value that no row takes part in, as a constant; an error waits until a row asks for it.
    fn fixed(&mut self, n: Node) -> Node {
        if matches!(n.kind, Kind::Const(_)) || !n.is_fixed() {
            return n;
        }
        match self.eval(&n, &Env::EMPTY) {
            Ok(v) => Node { kind: Kind::Const(v), ..n },
            Err(_) => n,
        }
    }

    /// Types that no comparison takes: 402.
    fn comparable(a: &Node, b: &Node) -> R<()> {
        for (x, y) in [(a, b), (b, a)] {
            if matches!(x.ty, Ty::Text | Ty::NText | Ty::Image | Ty::Xml) && !is_null_literal(y) {
                return Err(SqlError::incompatible(x.ty.name(), y.ty.name(), "equal to"));
            }
        }
        Ok(())
    }

    /// CAST ... AS varchar is 30 long; a declaration without length is 1.
    pub(crate) fn cast_type(&self, name: &TypeName) -> R<Ty> {
        let bare = !name.text.contains('(');
        let text = match name.base.to_ascii_lowercase().as_str() {
            "varchar" | "nvarchar" | "char" | "nchar" | "varbinary" | "binary" if bare => {
                format!("{}(30)", name.text)
            }
            _ => return self.type_of(name),
        };
        parse_type(&text)
    }

    fn arith_node(op: Op, a: Node, b: Node) -> R<Node> {
        // A literal NULL takes the other side's type.
        let (a, b) = match (is_null_literal(&a), is_null_literal(&b)) {
            (true, false) => (Node::constant(b.ty, Val::Null), b),
            (false, true) => {
                let ty = a.ty;
                (a, Node::constant(ty, Val::Null))
            }
            _ => (a, b),
        };
        let ty = arith_type(op, &a.ty, &b.ty)?;
        let nullable = a.nullable || b.nullable;
        let collation = a.collation.or(b.collation);
        Ok(Node { ty, nullable, collation, kind: Kind::Arith(op, Box::new(a), Box::new(b)) })
    }

    fn case(
        &mut self,
        operand: Option<&Expr>,
        whens: &[(Expr, Expr)],
        otherwise: Option<&Expr>,
        sc: &Scope<'_>,
    ) -> R<Node> {
        let mut out = Vec::with_capacity(whens.len());
        for (when, then) in whens {
            let when = match operand {
                Some(o) => {
                    let (a, b) = (self.compile(o, sc)?, self.compile(when, sc)?);
                    let (a, b) = settle(a, b);
                    Node::condition(Kind::Compare(
                        crate::sql::ast::Cmp::Eq,
                        Box::new(a),
                        Box::new(b),
                    ))
                }
                None => self.compile(when, sc)?,
            };
            out.push((when, self.compile(then, sc)?));
        }
        let otherwise = match otherwise {
            Some(e) => Some(self.compile(e, sc)?),
            None => None,
        };
        let ty = common(out.iter().map(|w| &w.1).chain(otherwise.as_ref()));
        let nullable =
            otherwise.as_ref().is_none_or(|o| o.nullable) || out.iter().any(|w| w.1.nullable);
        let collation = out
            .iter()
            .map(|w| w.1.collation)
            .chain(otherwise.as_ref().map(|o| o.collation))
            .find_map(|c| c);
        let whens = out.into_iter().map(|(w, t)| (w, t.cast(ty))).collect();
        let otherwise = otherwise.map(|o| Box::new(o.cast(ty)));
        Ok(Node { ty, nullable, collation, kind: Kind::Case { whens, otherwise } })
    }

    pub(crate) fn subquery(&mut self, q: &Query, sc: &Scope<'_>) -> R<Sub> {
        let inner = Scope::inside(Some(sc), sc.ctes.clone());
        let plan = self.query_in(q, &inner)?;
        Ok(Sub { plan, correlated: inner.correlated.get() })
    }

    fn args(&mut self, c: &Call, sc: &Scope<'_>) -> R<Vec<Node>> {
        c.args.iter().map(|a| self.compile(a, sc)).collect()
    }

    fn call_node(&mut self, c: &Call, sc: &Scope<'_>) -> R<Node> {
        let name = c.name.last().map(|n| n.to_ascii_lowercase()).unwrap_or_default();
        if c.name.len() == 1 {
            if c.over.is_some() {
                return self.window_node(&name, c, sc);
            }
            if is_aggregate(&name) {
                return self.aggregate_node(&name, c, sc);
            }
            if c.star || c.distinct || !c.within.is_empty() {
                return Err(SqlError::unknown_function(&name));
            }
            match name.as_str() {
                "isnull" => {
                    let mut args = self.args(c, sc)?.into_iter();
                    let (Some(a), Some(b), None) = (args.next(), args.next(), args.next()) else {
                        return Err(SqlError::argument_count("isnull", 2));
                    };
                    let ty = if is_null_literal(&a) { b.ty } else { a.ty };
                    let (nullable, collation) =
                        (a.nullable && b.nullable, a.collation.or(b.collation));
                    let (a, b) = (a.cast(ty), b.cast(ty));
                    return Ok(Node {
                        ty,
                        nullable,
                        collation,
                        kind: Kind::IsNullThen(Box::new(a), Box::new(b)),
                    });
                }
                "coalesce" => {
                    let args = self.args(c, sc)?;
                    if args.len() < 2 {
                        return Err(SqlError::argument_count("coalesce", 2));
                    }
                    if args.iter().all(is_null_literal) {
                        return Err(SqlError::new(
                            4127,
                            "At least one of the arguments to COALESCE must be an expression that is not the NULL constant.",
                        ));
                    }
                    let ty = common(args.iter());
                    let nullable = args.iter().all(|a| a.nullable);
                    let collation = args.iter().find_map(|a| a.collation);
                    let mut out: Option<Node> = None;
                    for a in args.into_iter().rev() {
                        let a = a.cast(ty);
                        out = Some(match out {
                            None => a,
                            Some(rest) => Node {
                                ty,
                                nullable,
                                collation,
                                kind: Kind::IsNullThen(Box::new(a), Box::new(rest)),
                            },
                        });
                    }
                    return out.ok_or_else(|| SqlError::argument_count("coalesce", 2));
                }
                "nullif" => {
                    let mut args = self.args(c, sc)?.into_iter();
                    let (Some(a), Some(b), None) = (args.next(), args.next(), args.next()) else {
                        return Err(SqlError::argument_count("nullif", 2));
                    };
                    let (ty, collation) = (a.ty, a.collation);
                    return Ok(Node {
                        ty,
                        nullable: true,
                        collation,
                        kind: Kind::NullIf(Box::new(a), Box::new(b)),
                    });
                }
                "choose" => {
                    let mut args = self.args(c, sc)?.into_iter();
                    let Some(index) = args.next() else {
                        return Err(SqlError::argument_count("choose", 2));
                    };
                    let rest: Vec<Node> = args.collect();
                    let ty = common(rest.iter());
                    let whens = (1..).zip(rest).map(|(i, n)| {
                        let n = n.cast(ty);
                        let at = Node::constant(Ty::Int, Val::Int(i));
                        let kind = Kind::Compare(
                            crate::sql::ast::Cmp::Eq,
                            Box::new(index.clone()),
                            Box::new(at),
                        );
                        (Node::condition(kind), n)
                    });
                    let whens = whens.collect();
                    return Ok(Node::new(ty, true, Kind::Case { whens, otherwise: None }));
                }
                _ => {}
            }
            if c.args.is_empty()
                && let Some((k, ty)) = known::find(&name)
            {
                let nullable = !matches!(
                    k,
                    Known::GetDate | Known::SysDateTime | Known::SysUtcDateTime | Known::NewId
                );
                return Ok(Node::new(ty, nullable, Kind::Known(k)));
            }
            let args = self.args(c, sc)?;
            let samples = Self::samples(&args);
            let found = functions::call(&name, &samples);
            if let Some(result) = found {
                let result = match result {
                    Ok(t) => t,
                    // A function may refuse a NULL; any other value of the type will do to learn the result's type.
                    Err(e) if samples.iter().all(|s| !s.is_null()) => return Err(e),
                    Err(e) => match functions::call(&name, &Self::filled(&samples)) {
                        Some(Ok(t)) => t,
                        _ => return Err(e),
                    },
                };
                let nullable = args.iter().any(|a| a.nullable) || result.is_null();
                let collation = args.iter().find_map(|a| a.collation);
                return Ok(Node {
                    ty: result.ty,
                    nullable,
                    collation,
                    kind: Kind::Call(name, args),
                });
            }
            return match catalog::scalar(self, None, None, &name, &samples)? {
                Some(t) => Ok(Node::new(
                    t.ty,
                    true,
                    Kind::System { database: None, schema: None, name, args },
                )),
                None => Err(SqlError::unknown_function(c.name.last().map_or("", String::as_str))),
            };
        }
        let args = self.args(c, sc)?;
        let samples = Self::samples(&args);
        let mut parts = c.name.iter().rev().skip(1);
        let schema = parts.next().cloned().filter(|s| !s.is_empty());
        let database = parts.next().cloned().filter(|s| !s.is_empty());
        let original = c.name.last().cloned().unwrap_or_default();
        match catalog::scalar(self, database.as_deref(), schema.as_deref(), &original, &samples)? {
            Some(t) => {
                Ok(Node::new(t.ty, true, Kind::System { database, schema, name: original, args }))
            }
            None => {
                let first = c.name.first().cloned().unwrap_or_default();
                let m = format!(
                    "Cannot find either column \"{first}\" or the user-defined function or aggregate \"{}\", or the \
                     name is ambiguous.",
                    c.name.join(".")
                );
                Err(SqlError::new(4121, m))
            }
        }
    }

    /// Arguments to learn a function's type with: constants as they are, everything else NULL of its type.
    fn samples(args: &[Node]) -> Vec<Typed> {
        args.iter()
            .map(|a| match &a.kind {
                Kind::Const(v) => Typed::new(a.ty, v.clone()),
                _ => Typed::null(a.ty),
            })
            .collect()
    }

    fn filled(samples: &[Typed]) -> Vec<Typed> {
        samples
            .iter()
            .map(|s| {
                if s.is_null() {
                    let zero = try_cast(&Typed::int(1), &s.ty, None).unwrap_or_default();
                    Typed::new(s.ty, zero)
                } else {
                    s.clone()
                }
            })
            .collect()
    }

    fn aggregate(&mut self, name: &str, c: &Call, sc: &Scope<'_>) -> R<Aggregate> {
        let mut args = self.args(c, sc)?.into_iter();
        let arg = args.next();
        let separator = args.next();
        if c.star && name.starts_with("count") {
            let ty = if name == "count" { Ty::Int } else { Ty::BigInt };
            let (kind, order) = (AggregateKind::Count, Vec::new());
            return Ok(Aggregate { kind, arg: None, distinct: false, ty, separator: None, order });
        }
        let Some(arg) = arg else { return Err(SqlError::argument_count(name, 1)) };
        if args.next().is_some() || (separator.is_some() && name != "string_agg") {
            return Err(SqlError::argument_count(name, 1));
        }
        let numeric = |a: &Node, op: &str| -> R<Ty> {
            Ok(match a.ty {
                Ty::TinyInt | Ty::SmallInt | Ty::Int => Ty::Int,
                Ty::BigInt => Ty::BigInt,
                Ty::Decimal(_, s) => {
                    if op == "avg" {
                        Ty::Decimal(38, s.max(6))
                    } else {
                        Ty::Decimal(38, s)
                    }
                }
                Ty::Money | Ty::SmallMoney => Ty::Money,
                Ty::Real | Ty::Float => Ty::Float,
                _ => return Err(SqlError::invalid_operator(a.ty.name(), op)),
            })
        };
        let (kind, ty) = match name {
            "count" => (AggregateKind::Count, Ty::Int),
            "count_big" | "approx_count_distinct" => (AggregateKind::Count, Ty::BigInt),
            "sum" => (AggregateKind::Sum, numeric(&arg, "sum")?),
            "avg" => (AggregateKind::Avg, numeric(&arg, "avg")?),
            "min" | "max" => {
                if matches!(
                    arg.ty,
                    Ty::Bit | Ty::Text | Ty::NText | Ty::Image | Ty::Xml | Ty::Udt(_)
                ) {
                    return Err(SqlError::invalid_operator(arg.ty.name(), name));
                }
                (if name == "min" { AggregateKind::Min } else { AggregateKind::Max }, arg.ty)
            }
            "checksum_agg" => (AggregateKind::ChecksumAgg, Ty::Int),
            "string_agg" => {
                let ty = match arg.ty {
                    Ty::VarChar(MAX) => Ty::VarChar(MAX),
                    Ty::NVarChar(MAX) => Ty::NVarChar(MAX),
                    Ty::VarChar(_) | Ty::Char(_) => Ty::VarChar(8000),
                    _ => Ty::NVarChar(4000),
                };
                (AggregateKind::StringAgg, ty)
            }
            "stdev" => (AggregateKind::Var { population: false, root: true }, Ty::Float),
            "stdevp" => (AggregateKind::Var { population: true, root: true }, Ty::Float),
            "var" => (AggregateKind::Var { population: false, root: false }, Ty::Float),
            _ => (AggregateKind::Var { population: true, root: false }, Ty::Float),
        };
        let order = self.order_nodes(&c.within, sc)?;
        let distinct = c.distinct || name == "approx_count_distinct";
        Ok(Aggregate { kind, arg: Some(arg), distinct, ty, separator, order })
    }

    fn order_nodes(&mut self, items: &[OrderItem], sc: &Scope<'_>) -> R<Vec<(Node, bool)>> {
        items.iter().map(|o| Ok((self.compile(&o.expr, sc)?, o.descending))).collect()
    }

    fn aggregate_node(&mut self, name: &str, c: &Call, sc: &Scope<'_>) -> R<Node> {
        {
            let g = sc.grouping.borrow();
            if !g.aggregates_allowed {
                return Err(SqlError::new(
                    147,
                    "An aggregate may not appear in the WHERE clause unless it is in a subquery contained in a HAVING \
                     clause or a select list, and the column being aggregated is an outer reference.",
                ));
            }
        }
        // Inside, plain columns are those of the rows.
        let (grouped, allowed) = {
            let mut g = sc.grouping.borrow_mut();
            (
                std::mem::replace(&mut g.grouped, false),
                std::mem::replace(&mut g.aggregates_allowed, false),
            )
        };
        let aggregate = self.aggregate(name, c, sc);
        let mut g = sc.grouping.borrow_mut();
        g.grouped = grouped;
        g.aggregates_allowed = allowed;
        let aggregate = aggregate.map_err(|e| {
            if e.number == 147 {
                SqlError::new(
                    130,
                    "Cannot perform an aggregate function on an expression containing an aggregate or a subquery.",
                )
            } else {
                e
            }
        })?;
        let at = g.keys.len() + g.aggregates.len();
        let nullable = aggregate.kind != AggregateKind::Count;
        let collation = aggregate.arg.as_ref().and_then(|a| a.collation);
        let mut n = Node::column(0, g.group_slot, at, aggregate.ty, nullable);
        n.collation = collation;
        g.aggregates.push(aggregate);
        Ok(n)
    }

    fn window_node(&mut self, name: &str, c: &Call, sc: &Scope<'_>) -> R<Node> {
        if !sc.grouping.borrow().windows_allowed {
            return Err(SqlError::new(
                4108,
                "Windowed functions can only appear in the SELECT or ORDER BY clauses.",
            ));
        }
        let Some(over) = &c.over else { return Err(SqlError::unknown_function(name)) };
        sc.grouping.borrow_mut().windows_allowed = false;
        let compiled = self.window(name, c, over, sc);
        sc.grouping.borrow_mut().windows_allowed = true;
        let window = compiled?;
        let mut g = sc.grouping.borrow_mut();
        let nullable = !matches!(
            window.kind,
            WindowKind::RowNumber | WindowKind::Rank | WindowKind::DenseRank | WindowKind::Ntile(_)
        );
        let n = Node::column(0, g.window_slot, g.windows.len(), window.ty, nullable);
        g.windows.push(window);
        Ok(n)
    }

    fn window(
        &mut self,
        name: &str,
        c: &Call,
        over: &crate::sql::ast::Over,
        sc: &Scope<'_>,
    ) -> R<Window> {
        let partition =
            over.partition.iter().map(|p| self.compile(p, sc)).collect::<R<Vec<_>>>()?;
        let order = self.order_nodes(&over.order, sc)?;
        let need_order = || -> R<()> {
            if over.order.is_empty() {
                let m = format!("The function '{name}' must have an OVER clause with ORDER BY.");
                return Err(SqlError::new(4112, m).class(15));
            }
            Ok(())
        };
        let mut args = self.args(c, sc)?.into_iter();
        let (kind, ty) = match name {
            "row_number" => {
                need_order()?;
                (WindowKind::RowNumber, Ty::BigInt)
            }
            "rank" => {
                need_order()?;
                (WindowKind::Rank, Ty::BigInt)
            }
            "dense_rank" => {
                need_order()?;
                (WindowKind::DenseRank, Ty::BigInt)
            }
            "percent_rank" => (WindowKind::PercentRank, Ty::Float),
            "cume_dist" => (WindowKind::CumeDist, Ty::Float),
            "ntile" => {
                need_order()?;
                let n = args.next().ok_or_else(|| SqlError::argument_count("ntile", 1))?;
                (WindowKind::Ntile(n), Ty::BigInt)
            }
            "lag" | "lead" => {
                need_order()?;
                let value = args.next().ok_or_else(|| SqlError::argument_count(name, 1))?;
                let offset = args.next().unwrap_or_else(|| Node::constant(Ty::Int, Val::Int(1)));
                let ty = value.ty;
                let default = args.next().map(|d| d.cast(ty));
                (WindowKind::Shift { value, offset, default, forward: name == "lead" }, ty)
            }
            "first_value" | "last_value" => {
                need_order()?;
                let value = args.next().ok_or_else(|| SqlError::argument_count(name, 1))?;
                let ty = value.ty;
                (
                    if name == "first_value" {
                        WindowKind::First(value)
                    } else {
                        WindowKind::Last(value)
                    },
                    ty,
                )
            }
            _ if is_aggregate(name) => {
                let plain = Call { over: None, ..c.clone() };
                let a = self.aggregate(name, &plain, sc)?;
                let ty = a.ty;
                (WindowKind::Aggregate(a), ty)
            }
            _ => return Err(SqlError::unknown_function(name)),
        };
        let frame = over.frame.as_ref().map(|f| (f.rows, f.from, f.to));
        let frame =
            frame.or_else(|| (!order.is_empty()).then_some((false, Edge::First, Edge::Current)));
        Ok(Window { kind, ty, partition, order, frame })
    }
}
