//! The value of an expression for a row.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use super::node::{Env, Kind, Known, Node, Sub};
use super::session::SessionState;
use super::{R, known};
use crate::catalog;
use crate::sql::ast::Cmp;
use crate::value::{
    Collation, SqlError, Ty, Typed, Val, arith, bit_not, cast, cast_utf8, collated_key_bytes,
    compare, compare_collated, compare_vals, like, like_unicode, negate, try_cast, unify,
};

/// What a subquery without references to outside gave, kept for the statement.
#[derive(Debug)]
pub(crate) enum Cached {
    Scalar(Val),
    Exists(bool),
    /// Keys, and whether there was a NULL.
    Set(Arc<(HashSet<Vec<u8>>, bool)>),
}

fn is_integer(ty: &Ty) -> bool {
    matches!(ty, Ty::Bit | Ty::TinyInt | Ty::SmallInt | Ty::Int | Ty::BigInt)
}

/// Types whose values compare without conversion.
pub(crate) fn alike(a: &Ty, b: &Ty) -> bool {
    if is_integer(a) && is_integer(b) {
        return matches!(a, Ty::Bit) == matches!(b, Ty::Bit);
    }
    match (a, b) {
        (Ty::Decimal(_, s), Ty::Decimal(_, t)) => s == t,
        (Ty::Money | Ty::SmallMoney, Ty::Money | Ty::SmallMoney)
        | (Ty::DateTime2(_), Ty::DateTime2(_))
        | (Ty::DateTimeOffset(_), Ty::DateTimeOffset(_))
        | (Ty::Time(_), Ty::Time(_))
        | (
            Ty::Char(_) | Ty::VarChar(_) | Ty::NChar(_) | Ty::NVarChar(_),
            Ty::Char(_) | Ty::VarChar(_) | Ty::NChar(_) | Ty::NVarChar(_),
        )
        | (
            Ty::Binary(_) | Ty::VarBinary(_) | Ty::RowVersion,
            Ty::Binary(_) | Ty::VarBinary(_) | Ty::RowVersion,
        ) => true,
        (Ty::Text | Ty::NText | Ty::Image | Ty::Xml | Ty::Variant | Ty::Udt(_), _) => false,
        (a, b) => a == b,
    }
}

/// Compares two values of two nodes; None when one is NULL.
fn ordering(a: &Node, x: &Val, b: &Node, y: &Val) -> R<Option<Ordering>> {
    if x.is_null() || y.is_null() {
        if matches!(a.ty, Ty::Text | Ty::NText | Ty::Image | Ty::Xml) {
            return compare(&Typed::new(a.ty, x.clone()), &Typed::new(b.ty, y.clone()));
        }
        return Ok(None);
    }
    if let (Val::Int(x), Val::Int(y)) = (x, y) {
        return Ok(Some(x.cmp(y)));
    }
    if let (Val::Str(x), Val::Str(y)) = (x, y) {
        return Ok(Some(compare_collated(x, y, joint(a, b))));
    }
    if alike(&a.ty, &b.ty) {
        return Ok(Some(compare_vals(x, y, joint(a, b))));
    }
    compare(&Typed::new(a.ty, x.clone()), &Typed::new(b.ty, y.clone()))
}

/// The rules by which two nodes' texts are compared.
pub(crate) fn joint(a: &Node, b: &Node) -> Collation {
    Collation::between(a.collation.or(b.collation), &a.ty, &b.ty)
}

fn holds(op: Cmp, o: Ordering) -> bool {
    match op {
        Cmp::Eq => o == Ordering::Equal,
        Cmp::Ne => o != Ordering::Equal,
        Cmp::Lt => o == Ordering::Less,
        Cmp::Le => o != Ordering::Greater,
        Cmp::Gt => o == Ordering::Greater,
        Cmp::Ge => o != Ordering::Less,
    }
}

/// Bytes by which rows are grouped, made distinct and joined.
pub(crate) fn hash_key(ty: &Ty, collation: Option<Collation>, v: &Val, out: &mut Vec<u8>) {
    collated_key_bytes(ty, collation, v, out);
}

impl SessionState {
    /// Looks at the value of a node without copying a column or a constant.
    fn with<T>(&mut self, n: &Node, env: &Env<'_>, f: impl FnOnce(&Val) -> T) -> R<T> {
        match &n.kind {
            Kind::Const(v) => Ok(f(v)),
            Kind::Column { depth, slot, column } => Ok(f(env.get(*depth, *slot, *column))),
            _ => Ok(f(&self.eval(n, env)?)),
        }
    }

    pub(crate) fn typed(&mut self, n: &Node, env: &Env<'_>) -> R<Typed> {
        Ok(Typed::new(n.ty, self.eval(n, env)?))
    }

    fn pair(&mut self, a: &Node, b: &Node, env: &Env<'_>) -> R<Option<Ordering>> {
        // The usual predicate, `column op constant`, copies nothing.
        if let Kind::Column { depth, slot, column } = &a.kind {
            let x = env.get(*depth, *slot, *column);
            return match &b.kind {
                Kind::Const(y) => ordering(a, x, b, y),
                Kind::Column { depth, slot, column } => {
                    ordering(a, x, b, env.get(*depth, *slot, *column))
                }
                _ => {
                    let y = self.eval(b, env)?;
                    ordering(a, x, b, &y)
                }
            };
        }
        let x = self.eval(a, env)?;
        let y = self.eval(b, env)?;
        ordering(a, &x, b, &y)
    }

    /// Compares as the comparison operators do.
    pub(crate) fn compare_nodes(
        &mut self,
        op: Cmp,
        a: &Node,
        b: &Node,
        env: &Env<'_>,
    ) -> R<Option<bool>> {
        Ok(self.pair(a, b, env)?.map(|o| holds(op, o)))
    }

    /// A condition: true, false or unknown.
    pub(crate) fn test(&mut self, n: &Node, env: &Env<'_>) -> R<Option<bool>> {
        Ok(match &n.kind {
            Kind::Compare(op, a, b) => self.compare_nodes(*op, a, b, env)?,
            Kind::And(a, b) => match self.test(a, env)? {
                Some(false) => Some(false),
                left => match (left, self.test(b, env)?) {
                    (_, Some(false)) => Some(false),
                    (Some(true), right) => right,
                    _ => None,
                },
            },
            Kind::Or(a, b) => match self.test(a, env)? {
                Some(true) => Some(true),
                left => match (left, self.test(b, env)?) {
                    (_, Some(true)) => Some(true),
                    (Some(false), right) => right,
                    _ => None,
                },
            },
            Kind::Not(a) => self.test(a, env)?.map(|b| !b),
            Kind::IsNull(a, not) => Some(self.with(a, env, Val::is_null)? != *not),
            Kind::Distinct(a, b, not) => {
                let (x, y) = (self.eval(a, env)?, self.eval(b, env)?);
                let differ = match (x.is_null(), y.is_null()) {
                    (true, true) => false,
                    (true, false) | (false, true) => true,
                    (false, false) => ordering(a, &x, b, &y)? != Some(Ordering::Equal),
                };
                Some(differ != *not)
            }
            Kind::Like { value, pattern, escape, not } => {
                let text = |v: Typed| v.to_string16();
                let (x, p) = (text(self.typed(value, env)?)?, text(self.typed(pattern, env)?)?);
                let escape = match escape {
                    Some(e) => text(self.typed(e, env)?)?.and_then(|e| e.first().copied()),
                    None => None,
                };
                match (x, p) {
                    (Some(x), Some(p)) => {
                        let collation = joint(value, pattern);
                        let found = if value.ty.is_unicode() || pattern.ty.is_unicode() {
                            like_unicode(&x, &p, escape, collation)
                        } else {
                            like(&x, &p, escape, collation)
                        };
                        Some(found != *not)
                    }
                    _ => None,
                }
            }
            Kind::InList(a, list, not) => {
                let x = self.eval(a, env)?;
                let mut unknown = x.is_null();
                let mut found = false;
                if !unknown {
                    for item in list {
                        let y = self.eval(item, env)?;
                        match ordering(a, &x, item, &y)? {
                            Some(Ordering::Equal) => {
                                found = true;
                                break;
                            }
                            Some(_) => {}
                            None => unknown = true,
                        }
                    }
                }
                if found {
                    Some(!*not)
                } else if unknown {
                    None
                } else {
                    Some(*not)
                }
            }
            Kind::InQuery(a, sub, not) => self.in_query(a, sub, env)?.map(|b| b != *not),
            Kind::Quantified { op, all, left, sub } => {
                let x = self.eval(left, env)?;
                let column = sub.plan.columns.first().map_or(Ty::Int, |c| c.ty);
                let rows = self.collect(&sub.plan, Some(env), None)?;
                let other = Node::constant(column, Val::Int(0));
                let mut unknown = false;
                let mut result = *all;
                for row in rows {
                    let y = row.first().cloned().unwrap_or_default();
                    match ordering(left, &x, &other, &y)?.map(|o| holds(*op, o)) {
                        Some(b) if b != *all => {
                            result = !*all;
                            return Ok(Some(result));
                        }
                        Some(_) => {}
                        None => unknown = true,
                    }
                }
                if unknown { None } else { Some(result) }
            }
            Kind::Exists(sub) => {
                let at = Arc::as_ptr(sub) as usize;
                if !sub.correlated
                    && let Some(Cached::Exists(b)) = self.subqueries.get(&at)
                {
                    return Ok(Some(*b));
                }
                let found = !self.collect(&sub.plan, Some(env), Some(1))?.is_empty();
                if !sub.correlated {
                    self.subqueries.insert(at, Cached::Exists(found));
                }
                Some(found)
            }
            _ => match self.eval(n, env)? {
                Val::Bit(b) => Some(b),
                Val::Int(i) => Some(i != 0),
                _ => None,
            },
        })
    }

    /// Whether a filter lets a row through.
    pub(crate) fn passes(&mut self, n: &Node, env: &Env<'_>) -> R<bool> {
        Ok(self.test(n, env)? == Some(true))
    }

    fn in_query(&mut self, a: &Node, sub: &Arc<Sub>, env: &Env<'_>) -> R<Option<bool>> {
        let x = self.eval(a, env)?;
        let column = sub.plan.columns.first().map_or(Ty::Int, |c| c.ty);
        let at = Arc::as_ptr(sub) as usize;
        let common = unify(&a.ty, &column);
        let collation = a.collation.or(sub.plan.collations.first().copied().flatten());
        let set = match self.subqueries.get(&at) {
            Some(Cached::Set(set)) => Arc::clone(set),
            _ => {
                let (mut keys, mut null) = (HashSet::new(), false);
                for row in self.collect(&sub.plan, Some(env), None)? {
                    let v = row.first().cloned().unwrap_or_default();
                    if v.is_null() {
                        null = true;
                    } else {
                        let v = cast(&Typed::new(column, v), &common, None)?;
                        let mut key = Vec::new();
                        hash_key(&common, collation, &v, &mut key);
                        keys.insert(key);
                    }
                }
                let set = Arc::new((keys, null));
                if !sub.correlated {
                    self.subqueries.insert(at, Cached::Set(Arc::clone(&set)));
                }
                set
            }
        };
        if set.0.is_empty() && !set.1 {
            return Ok(Some(false));
        }
        if x.is_null() {
            return Ok(None);
        }
        let v = cast(&Typed::new(a.ty, x), &common, None)?;
        let mut key = Vec::new();
        hash_key(&common, collation, &v, &mut key);
        Ok(if set.0.contains(&key) {
            Some(true)
        } else if set.1 {
            None
        } else {
            Some(false)
        })
    }

    pub(crate) fn eval(&mut self, n: &Node, env: &Env<'_>) -> R<Val> {
        match &n.kind {
            Kind::Const(v) => Ok(v.clone()),
            Kind::Column { depth, slot, column } => Ok(env.get(*depth, *slot, *column).clone()),
            Kind::Var(at) => Ok(self.variable_at(*at)),
            Kind::Arith(op, a, b) => {
                let (x, y) = (self.typed(a, env)?, self.typed(b, env)?);
                let result = arith(*op, &x, &y)?;
                if result.ty == n.ty { Ok(result.val) } else { cast(&result, &n.ty, None) }
            }
            Kind::Negate(a) => {
                let x = self.typed(a, env)?;
                Ok(negate(&x)?.val)
            }
            Kind::BitNot(a) => {
                let x = self.typed(a, env)?;
                Ok(bit_not(&x)?.val)
            }
            Kind::Case { whens, otherwise } => {
                for (when, then) in whens {
                    if self.passes(when, env)? {
                        return self.eval(then, env);
                    }
                }
                otherwise.as_ref().map_or(Ok(Val::Null), |e| self.eval(e, env))
            }
            Kind::Cast { value, style, tries } => {
                let v = self.typed(value, env)?;
                if value.collation == Some(Collation::Bin2Utf8)
                    && let Some(converted) = cast_utf8(&v, &n.ty)
                {
                    return converted;
                }
                let style = match style {
                    Some(s) => match self.typed(s, env)?.to_i64()? {
                        Some(s) => i32::try_from(s).ok(),
                        None => return Ok(Val::Null),
                    },
                    None => None,
                };
                if *tries { try_cast(&v, &n.ty, style) } else { cast(&v, &n.ty, style) }
            }
            Kind::IsNullThen(a, b) => {
                let x = self.eval(a, env)?;
                if x.is_null() { self.eval(b, env) } else { Ok(x) }
            }
            Kind::NullIf(a, b) => {
                let x = self.eval(a, env)?;
                let y = self.eval(b, env)?;
                let same = ordering(a, &x, b, &y)? == Some(Ordering::Equal);
                Ok(if same { Val::Null } else { x })
            }
            Kind::Call(name, args) => {
                let args = args.iter().map(|a| self.typed(a, env)).collect::<R<Vec<_>>>()?;
                let mut result = crate::value::functions::call(name, &args)
                    .ok_or_else(|| SqlError::unknown_function(name))??;
                if self.settings.date_first != 7 && name == "datepart" {
                    result = self.by_first_day(&args, result)?;
                }
                if result.ty == n.ty { Ok(result.val) } else { cast(&result, &n.ty, None) }
            }
            Kind::Known(k) => self.known(*k),
            Kind::System { database, schema, name, args } => {
                let args = args.iter().map(|a| self.typed(a, env)).collect::<R<Vec<_>>>()?;
                let own = match schema {
                    Some(s) => self.user_function(database.as_deref(), Some(s), name)?,
                    None => None,
                };
                let result = match own {
                    Some(function) => self.call_function(&function, &args)?,
                    None => {
                        catalog::scalar(self, database.as_deref(), schema.as_deref(), name, &args)?
                            .ok_or_else(|| SqlError::unknown_function(name))?
                    }
                };
                if result.ty == n.ty { Ok(result.val) } else { cast(&result, &n.ty, None) }
            }
            Kind::AtTimeZone(a, offset) => {
                let x = self.typed(a, env)?;
                known::at_time_zone(&x, &n.ty, *offset)
            }
            Kind::Scalar(sub) => {
                let at = Arc::as_ptr(sub) as usize;
                if !sub.correlated
                    && let Some(Cached::Scalar(v)) = self.subqueries.get(&at)
                {
                    return Ok(v.clone());
                }
                let rows = self.collect(&sub.plan, Some(env), Some(2))?;
                if rows.len() > 1 {
                    return Err(SqlError::new(
                        512,
                        "Subquery returned more than 1 value. This is not permitted when the subquery follows =, \
                         !=, <, <= , >, >= or when the subquery is used as an expression.",
                    ));
                }
                let v = rows.first().and_then(|r| r.first()).cloned().unwrap_or_default();
                if !sub.correlated {
                    self.subqueries.insert(at, Cached::Scalar(v.clone()));
                }
                Ok(v)
            }
            _ => Ok(self.test(n, env)?.map_or(Val::Null, Val::Bit)),
        }
    }

    fn known(&mut self, k: Known) -> R<Val> {
        known::value(self, k)
    }
}
