//! Expressions: names become positions, every part gets its type.

mod aggregate;
mod call;
mod window;

pub(super) use aggregate::any_aggregate;

use std::sync::Arc;

use super::node::{Env, Kind, Node, Sub};
use super::scope::Scope;
use super::session::SessionState;
use super::{R, known};
use crate::sql::ast::{Call, Expr, Query, TypeName};
use crate::store::read;
use crate::value::{Collation, Op, SqlError, Ty, Typed, Val, arith_type, cast, parse_type, unify};
use aggregate::has_aggregate;

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
                    Some((_, alias)) => {
                        parse_type(alias.target.trim_end_matches(crate::exec::ddl::NOT_NULL))
                    }
                    None => Err(error),
                }
            }
        }
    }

    /// Whether this is an alias type that takes no NULL.
    pub(crate) fn refuses_null(&self, name: &TypeName) -> bool {
        if parse_type(&name.text).is_ok() {
            return false;
        }
        let base = name.base.rsplit('.').next().unwrap_or(&name.base).to_lowercase();
        let database = self.db();
        let objects = read(&database.objects);
        objects.synonyms.iter().any(|((schema, n), alias)| {
            schema.starts_with("type:")
                && *n == base
                && alias.target.ends_with(crate::exec::ddl::NOT_NULL)
        })
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
                if name.to_ascii_uppercase().contains("_AI") {
                    return Err(SqlError::unknown(format_args!("the collation {name}")));
                }
                let a = self.compile(a, sc)?;
                let wanted = if name == "DATABASE_DEFAULT" {
                    Collation::default()
                } else {
                    Collation::by_name(name)
                };
                Ok(a.collate(wanted))
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
                if let (Expr::Collate(_, x), Expr::Collate(_, y)) = (&**a, &**b)
                    && x != y
                {
                    let m = format!(
                        "Cannot resolve the collation conflict between \"{x}\" and \"{y}\" in the operation."
                    );
                    return Err(SqlError::new(468, m).state(9));
                }
                // An explicit COLLATE is stronger than a column's own collation.
                let said = |e: &Expr| matches!(e, Expr::Collate(..));
                let (said_a, said_b) = (said(a), said(b));
                let (mut a, mut b) = (self.compile(a, sc)?, self.compile(b, sc)?);
                match (said_a.then_some(a.collation), said_b.then_some(b.collation)) {
                    (Some(Some(c)), None) => b = b.collate(c),
                    (None, Some(Some(c))) => a = a.collate(c),
                    _ => {}
                }
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
}
