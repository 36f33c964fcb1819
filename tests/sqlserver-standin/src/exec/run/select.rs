//! Rows of one SELECT: filter, groups, windows, projection.

use crate::exec::run::query::size;
use crate::exec::run::source::{Run, empty, set};
use std::collections::{HashMap, HashSet};

use crate::exec::aggregate::Accumulator;
use crate::exec::eval::hash_key;
use crate::exec::node::Env;
use crate::exec::plan::{GroupPlan, SelectPlan};
use crate::exec::session::SessionState;
use crate::exec::{R, window};
use crate::value::{Row, SqlError, Ty, Val, cast};

/// A SELECT at work.
pub(crate) struct SelectRun<'p> {
    pub(super) plan: &'p SelectPlan,
    source: Run<'p>,
    pub(super) tuple: Vec<Row>,
    /// Rows that had to be kept: sorted, grouped, with window functions.
    kept: Option<std::vec::IntoIter<Vec<Row>>>,
    opened: bool,
    nothing: Option<bool>,
    skip: u64,
    left: u64,
}

impl<'p> SelectRun<'p> {
    pub(super) fn new(plan: &'p SelectPlan) -> Self {
        Self {
            plan,
            source: Run::new(&plan.source),
            tuple: vec![empty(); plan.slots],
            kept: None,
            opened: false,
            nothing: None,
            skip: 0,
            left: u64::MAX,
        }
    }

    pub(super) fn open(&mut self, s: &mut SessionState, outer: Option<&Env<'_>>) -> R<()> {
        self.opened = true;
        let p = self.plan;
        let none = Env { rows: &[], outer };
        self.skip = s.count_of(p.offset.as_ref(), &none)?.unwrap_or(0);
        self.left = s.count_of(p.fetch.as_ref(), &none)?.unwrap_or(u64::MAX);
        let special = p.top.as_ref().is_some_and(|t| t.percent || t.ties);
        if let Some(top) = &p.top
            && !top.percent
        {
            self.left = s.count_of(Some(&top.count), &none)?.unwrap_or(0);
        }
        if self.left == 0 && !special {
            self.kept = Some(Vec::new().into_iter());
            return Ok(());
        }
        let streaming =
            p.group.is_none() && p.windows.is_empty() && !p.distinct && p.ordered && !special;
        if streaming {
            return Ok(());
        }
        if p.distinct && p.group.is_none() && p.windows.is_empty() && p.order.is_empty() && !special
        {
            // DISTINCT without an order needs only the keys.
        }
        let mut tuples = match &p.group {
            Some(group) => self.grouped(group, s, outer)?,
            None => {
                let mut all = Vec::new();
                while self.next_source(s, outer)? {
                    all.push(self.tuple.clone());
                }
                all
            }
        };
        if let Some(having) = &p.having {
            let mut kept = Vec::with_capacity(tuples.len());
            for t in tuples {
                let env = Env { rows: &t, outer };
                if s.passes(having, &env)? {
                    kept.push(t);
                }
            }
            tuples = kept;
        }
        if !p.windows.is_empty() {
            window::compute(s, &p.windows, p.window_slot, &mut tuples, outer)?;
        }
        if p.distinct {
            let mut seen: HashSet<Vec<u8>> = HashSet::new();
            let mut kept = Vec::new();
            for t in tuples {
                let env = Env { rows: &t, outer };
                let mut bytes = Vec::new();
                for n in &p.items {
                    let v = s.eval(n, &env)?;
                    hash_key(&n.ty, n.collation, &v, &mut bytes);
                }
                if seen.insert(bytes) {
                    kept.push(t);
                }
            }
            tuples = kept;
        }
        let mut keyed: Option<Vec<(Vec<u8>, Vec<Row>)>> = None;
        if !p.order.is_empty() && (!p.ordered || special) {
            let mut all = Vec::with_capacity(tuples.len());
            for t in std::mem::take(&mut tuples) {
                let env = Env { rows: &t, outer };
                let key = s.sort_key(&p.order, &env)?;
                all.push((key, t));
            }
            all.sort_by(|a, b| a.0.cmp(&b.0));
            keyed = Some(all);
        }
        if let Some(top) = &p.top
            && special
        {
            let total = keyed.as_ref().map_or(tuples.len(), Vec::len);
            let mut n = if top.percent {
                let v = s.typed(&top.count, &none)?;
                match cast(&v, &Ty::Float, None)? {
                    #[allow(
                        clippy::cast_possible_truncation,
                        clippy::cast_sign_loss,
                        clippy::cast_precision_loss,
                        reason = "a row count"
                    )]
                    Val::Float(f) if (0.0..=100.0).contains(&f) => {
                        (total as f64 * f / 100.0).ceil() as usize
                    }
                    _ => {
                        return Err(SqlError::new(
                            1031,
                            "Percent values must be between 0 and 100.",
                        )
                        .class(15));
                    }
                }
            } else {
                size(s.count_of(Some(&top.count), &none)?.unwrap_or(0))
            };
            if top.ties
                && let Some(all) = &keyed
                && n > 0
            {
                while let (Some(a), Some(b)) = (all.get(n - 1), all.get(n))
                    && a.0 == b.0
                {
                    n += 1;
                }
            }
            self.left = u64::try_from(n).unwrap_or(u64::MAX);
        }
        let tuples = match keyed {
            Some(all) => all.into_iter().map(|k| k.1).collect(),
            None => tuples,
        };
        self.kept = Some(tuples.into_iter());
        Ok(())
    }

    /// The next row of FROM and WHERE.
    pub(super) fn next_source(&mut self, s: &mut SessionState, outer: Option<&Env<'_>>) -> R<bool> {
        // Conditions that no table takes part in (WHERE 1 = 0) decide before anything is read.
        if self.nothing.is_none() {
            let env = Env { rows: &self.tuple, outer };
            let mut nothing = false;
            for f in self.plan.filter.iter().filter(|f| f.slots() == Some(0)) {
                nothing |= !s.passes(f, &env)?;
            }
            self.nothing = Some(nothing);
        }
        if self.nothing == Some(true) {
            return Ok(false);
        }
        while self.source.next(s, &mut self.tuple, outer)? {
            let env = Env { rows: &self.tuple, outer };
            if s.all_pass(&self.plan.filter, &env)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn grouped(
        &mut self,
        group: &GroupPlan,
        s: &mut SessionState,
        outer: Option<&Env<'_>>,
    ) -> R<Vec<Vec<Row>>> {
        struct Group {
            tuple: Vec<Row>,
            keys: Vec<Val>,
            sums: Vec<Accumulator>,
        }
        let fresh = || group.aggregates.iter().map(Accumulator::new).collect::<Vec<_>>();
        let mut groups: Vec<Group> = Vec::new();
        let mut places: HashMap<Vec<u8>, usize> = HashMap::new();
        if group.whole {
            groups.push(Group {
                tuple: vec![empty(); self.plan.slots],
                keys: Vec::new(),
                sums: fresh(),
            });
        }
        let mut bytes = Vec::new();
        let mut first = true;
        while self.next_source(s, outer)? {
            let env = Env { rows: &self.tuple, outer };
            let at = if group.whole {
                0
            } else {
                bytes.clear();
                let mut keys = Vec::with_capacity(group.keys.len());
                for k in &group.keys {
                    let v = s.eval(k, &env)?;
                    hash_key(&k.ty, k.collation, &v, &mut bytes);
                    keys.push(v);
                }
                match places.get(&bytes) {
                    Some(at) => *at,
                    None => {
                        places.insert(bytes.clone(), groups.len());
                        groups.push(Group { tuple: self.tuple.clone(), keys, sums: fresh() });
                        groups.len() - 1
                    }
                }
            };
            let Some(g) = groups.get_mut(at) else { continue };
            if group.whole && first {
                g.tuple.clone_from(&self.tuple);
                first = false;
            }
            let mut got = false;
            for (a, plan) in g.sums.iter_mut().zip(&group.aggregates) {
                got |= a.add(plan, s, &env)?;
            }
            if self.plan.first_only && got {
                break;
            }
        }
        groups
            .into_iter()
            .map(|g| {
                let mut tuple = g.tuple;
                let mut values = g.keys;
                for (a, plan) in g.sums.into_iter().zip(&group.aggregates) {
                    values.push(a.finish(plan)?);
                }
                set(&mut tuple, group.slot, values.into());
                Ok(tuple)
            })
            .collect()
    }

    pub(super) fn next(&mut self, s: &mut SessionState, outer: Option<&Env<'_>>) -> R<bool> {
        if !self.opened {
            self.open(s, outer)?;
        }
        loop {
            if self.left == 0 {
                return Ok(false);
            }
            let more = match &mut self.kept {
                Some(kept) => match kept.next() {
                    Some(t) => {
                        self.tuple = t;
                        true
                    }
                    None => false,
                },
                None => self.next_source(s, outer)?,
            };
            if !more {
                return Ok(false);
            }
            if self.skip > 0 {
                self.skip -= 1;
                continue;
            }
            self.left -= 1;
            return Ok(true);
        }
    }

    pub(super) fn project(
        &self,
        s: &mut SessionState,
        outer: Option<&Env<'_>>,
        out: &mut Vec<Val>,
    ) -> R<()> {
        let env = Env { rows: &self.tuple, outer };
        for n in &self.plan.items {
            out.push(s.eval(n, &env)?);
        }
        Ok(())
    }
}
