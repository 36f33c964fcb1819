//! Rows of a query: sets, order, a part of them.

use crate::exec::run::select::SelectRun;
use std::collections::HashSet;
use std::sync::Arc;

use crate::exec::R;
use crate::exec::eval::hash_key;
use crate::exec::node::Env;
use crate::exec::plan::{Body, QueryPlan, SelectPlan};
use crate::exec::session::SessionState;
use crate::sql::ast::SetOp;
use crate::value::{Collation, Row, SqlError, Typed, Val, cast, compare_vals};

/// A query at work.
pub(crate) struct QueryRun<'p> {
    plan: &'p QueryPlan,
    state: Option<State<'p>>,
}

pub(super) enum State<'p> {
    Select(Box<SelectRun<'p>>),
    Rows(std::vec::IntoIter<Row>),
    /// UNION ALL: one after the other, converted to the common types.
    Both(Box<QueryRun<'p>>, Option<&'p QueryPlan>),
}

impl<'p> QueryRun<'p> {
    pub(crate) fn new(plan: &'p QueryPlan) -> Self {
        Self { plan, state: None }
    }

    pub(super) fn open(&mut self, s: &mut SessionState, outer: Option<&Env<'_>>) -> R<()> {
        self.state = Some(match &self.plan.body {
            Body::Select(p) => State::Select(Box::new(SelectRun::new(p))),
            Body::Values(rows) => {
                let env = Env { rows: &[], outer };
                let rows = rows
                    .iter()
                    .map(|r| {
                        r.iter().map(|n| s.eval(n, &env)).collect::<R<Vec<_>>>().map(Into::into)
                    })
                    .collect::<R<Vec<Row>>>()?;
                State::Rows(rows.into_iter())
            }
            Body::Set { op: SetOp::Union, all: true, left, right } => {
                State::Both(Box::new(QueryRun::new(left)), Some(right))
            }
            Body::Set { op, left, right, .. } => {
                State::Rows(self.set_rows(*op, left, right, s, outer)?.into_iter())
            }
            Body::Sorted { inner, order, offset, fetch } => {
                let mut rows = s.collect(inner, outer, None)?;
                rows.sort_by(|a, b| {
                    for (at, descending) in order {
                        let (x, y) =
                            (a.get(*at).unwrap_or(&Val::Null), b.get(*at).unwrap_or(&Val::Null));
                        let rules = inner.columns.get(*at).map_or_else(Collation::default, |c| {
                            Collation::of(inner.collations.get(*at).copied().flatten(), &c.ty)
                        });
                        let o = compare_vals(x, y, rules);
                        if o.is_ne() {
                            return if *descending { o.reverse() } else { o };
                        }
                    }
                    std::cmp::Ordering::Equal
                });
                let env = Env { rows: &[], outer };
                let skip = s.count_of(offset.as_ref(), &env)?.unwrap_or(0);
                let most = s.count_of(fetch.as_ref(), &env)?.unwrap_or(u64::MAX);
                let rows: Vec<Row> = rows.into_iter().skip(size(skip)).take(size(most)).collect();
                State::Rows(rows.into_iter())
            }
            Body::Recursive { anchor, step, work, limit } => {
                let mut all = s.collect(anchor, outer, None)?;
                let mut last = all.clone();
                let mut rounds = 0;
                while !last.is_empty() {
                    rounds += 1;
                    if *limit != 0 && rounds > *limit {
                        let m = format!(
                            "The statement terminated. The maximum recursion {limit} has been exhausted before statement completion."
                        );
                        return Err(SqlError::new(530, m));
                    }
                    s.set_work(*work, last);
                    last = s.collect(step, outer, None)?;
                    all.extend(last.iter().cloned());
                }
                State::Rows(all.into_iter())
            }
            Body::Xml { inner, element } => {
                let text = s.xml_path(inner, element, outer)?;
                let row: Row = Arc::from([text]);
                State::Rows(vec![row].into_iter())
            }
        });
        Ok(())
    }

    pub(super) fn set_rows(
        &self,
        op: SetOp,
        left: &QueryPlan,
        right: &QueryPlan,
        s: &mut SessionState,
        outer: Option<&Env<'_>>,
    ) -> R<Vec<Row>> {
        let key = |row: &Row| {
            let mut bytes = Vec::new();
            for ((v, c), collation) in row.iter().zip(&self.plan.columns).zip(&self.plan.collations)
            {
                hash_key(&c.ty, *collation, v, &mut bytes);
            }
            bytes
        };
        let mut convert = |plan: &QueryPlan| -> R<Vec<Row>> {
            s.collect(plan, outer, None)?
                .into_iter()
                .map(|r| converted(r, plan, self.plan))
                .collect()
        };
        let (l, r) = (convert(left)?, convert(right)?);
        let mut seen: HashSet<Vec<u8>> = HashSet::new();
        Ok(match op {
            SetOp::Union => l.into_iter().chain(r).filter(|row| seen.insert(key(row))).collect(),
            SetOp::Except => {
                seen.extend(r.iter().map(key));
                l.into_iter().filter(|row| seen.insert(key(row))).collect()
            }
            SetOp::Intersect => {
                let mut there: HashSet<Vec<u8>> = r.iter().map(key).collect();
                l.into_iter().filter(|row| there.remove(&key(row))).collect()
            }
        })
    }

    /// The next row.
    pub(crate) fn next(&mut self, s: &mut SessionState, outer: Option<&Env<'_>>) -> R<Option<Row>> {
        if self.state.is_none() {
            self.open(s, outer)?;
        }
        loop {
            match &mut self.state {
                Some(State::Select(run)) => {
                    if !run.next(s, outer)? {
                        return Ok(None);
                    }
                    let mut values = Vec::with_capacity(run.plan.items.len());
                    run.project(s, outer, &mut values)?;
                    return Ok(Some(values.into()));
                }
                Some(State::Rows(rows)) => return Ok(rows.next()),
                Some(State::Both(run, other)) => match run.next(s, outer)? {
                    Some(row) => return converted(row, run.plan, self.plan).map(Some),
                    None => match other.take() {
                        Some(p) => **run = QueryRun::new(p),
                        None => return Ok(None),
                    },
                },
                None => return Ok(None),
            }
        }
    }

    /// The next row, into a buffer that is used again and again; false at the end.
    pub(crate) fn next_into(
        &mut self,
        s: &mut SessionState,
        outer: Option<&Env<'_>>,
        buffer: &mut Vec<Val>,
    ) -> R<bool> {
        if self.state.is_none() {
            self.open(s, outer)?;
        }
        if let Some(State::Select(run)) = &mut self.state {
            if !run.next(s, outer)? {
                return Ok(false);
            }
            buffer.clear();
            run.project(s, outer, buffer)?;
            return Ok(true);
        }
        match self.next(s, outer)? {
            Some(row) => {
                buffer.clear();
                buffer.extend(row.iter().cloned());
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// For SELECT @x = ...: moves to the next row without computing its items.
    pub(crate) fn advance(&mut self, s: &mut SessionState) -> R<Option<(&SelectPlan, &[Row])>> {
        if self.state.is_none() {
            self.open(s, None)?;
        }
        match &mut self.state {
            Some(State::Select(run)) => {
                Ok(if run.next(s, None)? { Some((run.plan, &run.tuple)) } else { None })
            }
            _ => Ok(None),
        }
    }
}

/// A row with its values converted to the columns of the whole.
pub(super) fn converted(row: Row, from: &QueryPlan, to: &QueryPlan) -> R<Row> {
    if from.columns.iter().zip(&to.columns).all(|(a, b)| a.ty == b.ty) {
        return Ok(row);
    }
    let values = row.iter().zip(&from.columns).zip(&to.columns).map(|((v, a), b)| {
        if a.ty == b.ty { Ok(v.clone()) } else { cast(&Typed::new(a.ty, v.clone()), &b.ty, None) }
    });
    values.collect::<R<Vec<_>>>().map(Into::into)
}

pub(super) fn size(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
