//! Predicates of filtered indexes: conditions of columns and constants that need no session.

use std::cmp::Ordering;
use std::sync::Arc;

use super::R;
use super::node::{Kind, Node};
use crate::sql::ast::Cmp;
use crate::value::{SqlError, Typed, Val, compare};

type Test = Arc<dyn Fn(&[Val]) -> bool + Send + Sync>;
type Part = Box<dyn Fn(&[Val]) -> Option<bool> + Send + Sync>;
type Value = Box<dyn Fn(&[Val]) -> Typed + Send + Sync>;

/// A condition as a function of the row.
pub(crate) fn pure(n: Node) -> R<Test> {
    let part = condition(n)?;
    Ok(Arc::new(move |row| part(row) == Some(true)))
}

fn refused<T>() -> R<T> {
    Err(SqlError::new(10735, "Incorrect WHERE clause for filtered index.").class(15))
}

fn value(n: Node) -> R<Value> {
    match n.kind {
        Kind::Const(v) => Ok(Box::new(move |_| Typed::new(n.ty, v.clone()))),
        Kind::Column { depth: 0, column, .. } => {
            Ok(Box::new(move |row| Typed::new(n.ty, row.get(column).cloned().unwrap_or_default())))
        }
        Kind::Cast { value: inner, style: None, .. } => {
            let inner = value(*inner)?;
            Ok(Box::new(move |row| {
                let v = inner(row);
                Typed::new(n.ty, crate::value::cast(&v, &n.ty, None).unwrap_or_default())
            }))
        }
        _ => refused(),
    }
}

fn condition(n: Node) -> R<Part> {
    match n.kind {
        Kind::Compare(op, a, b) => {
            let (a, b) = (value(*a)?, value(*b)?);
            Ok(Box::new(move |row| {
                let o = compare(&a(row), &b(row)).ok().flatten()?;
                Some(match op {
                    Cmp::Eq => o == Ordering::Equal,
                    Cmp::Ne => o != Ordering::Equal,
                    Cmp::Lt => o == Ordering::Less,
                    Cmp::Le => o != Ordering::Greater,
                    Cmp::Gt => o == Ordering::Greater,
                    Cmp::Ge => o != Ordering::Less,
                })
            }))
        }
        Kind::And(a, b) => {
            let (a, b) = (condition(*a)?, condition(*b)?);
            Ok(Box::new(move |row| Some(a(row)? && b(row)?)))
        }
        Kind::IsNull(a, not) => {
            let a = value(*a)?;
            Ok(Box::new(move |row| Some(a(row).is_null() != not)))
        }
        Kind::InList(a, list, false) => {
            let a = value(*a)?;
            let list = list.into_iter().map(value).collect::<R<Vec<_>>>()?;
            Ok(Box::new(move |row| {
                let x = a(row);
                Some(
                    list.iter()
                        .any(|i| compare(&x, &i(row)).ok().flatten() == Some(Ordering::Equal)),
                )
            }))
        }
        _ => refused(),
    }
}
