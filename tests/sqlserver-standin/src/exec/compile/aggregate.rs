//! Aggregates: which expressions have them, and how they are compiled.

use crate::exec::R;
use crate::exec::node::Node;
use crate::exec::plan::{Aggregate, AggregateKind};
use crate::exec::scope::Scope;
use crate::exec::session::SessionState;
use crate::sql::ast::{Call, Expr, OrderItem};
use crate::value::{MAX, SqlError, Ty};

pub(super) fn is_aggregate(name: &str) -> bool {
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
pub(super) fn has_aggregate(e: &Expr) -> bool {
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

impl SessionState {
    pub(super) fn aggregate(&mut self, name: &str, c: &Call, sc: &Scope<'_>) -> R<Aggregate> {
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

    pub(super) fn order_nodes(
        &mut self,
        items: &[OrderItem],
        sc: &Scope<'_>,
    ) -> R<Vec<(Node, bool)>> {
        items.iter().map(|o| Ok((self.compile(&o.expr, sc)?, o.descending))).collect()
    }

    pub(super) fn aggregate_node(&mut self, name: &str, c: &Call, sc: &Scope<'_>) -> R<Node> {
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
}
