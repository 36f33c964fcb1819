//! Running a plan: rows are pulled one by one; nothing is kept that need not be.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::aggregate::Accumulator;
use super::eval::hash_key;
use super::from::{Encoded, encode};
use super::node::{Env, Node};
use super::plan::{
    Access, Body, BoundPlan, GroupPlan, How, QueryPlan, RowLock, SelectPlan, Source, TableFunction,
};
use super::session::SessionState;
use super::{R, window};
use crate::catalog;
use crate::sql::ast::SetOp;
use crate::store::{Cursor, KeyRange, Table, successor};
use crate::value::{Row, SqlError, Ty, Typed, Val, cast, compare_vals};

fn empty() -> Row {
    Arc::from([])
}

/// A source of FROM at work. It writes its rows into their places in the tuple.
pub(crate) enum Run<'p> {
    Nothing { done: bool },
    Table { plan: &'p Source, ranges: Option<std::vec::IntoIter<KeyRange>>, cursor: Option<Cursor> },
    Rows { plan: &'p Source, rows: Option<Arc<Vec<Row>>>, at: usize },
    Query { plan: &'p Source, run: Option<Box<QueryRun<'p>>> },
    Join(Box<JoinRun<'p>>),
}

pub(crate) struct JoinRun<'p> {
    plan: &'p Source,
    left: Run<'p>,
    right: Run<'p>,
    have_left: bool,
    matched: bool,
    /// The right side, when it is kept: the rows of its slots.
    kept: Option<Vec<Vec<Row>>>,
    table: HashMap<Vec<u8>, Vec<usize>>,
    candidates: Candidates,
    /// FULL JOIN: right rows that found a partner.
    used: Vec<bool>,
    rest: usize,
    left_done: bool,
}

enum Candidates {
    Range(usize),
    List(Vec<usize>, usize),
}

fn set(tuple: &mut [Row], slot: usize, row: Row) {
    if let Some(place) = tuple.get_mut(slot) {
        *place = row;
    }
}

impl<'p> Run<'p> {
    pub(crate) fn new(plan: &'p Source) -> Self {
        match plan {
            Source::Nothing => Self::Nothing { done: false },
            Source::Table { .. } => Self::Table { plan, ranges: None, cursor: None },
            Source::Rows { .. } | Source::Work { .. } | Source::Function { .. } => {
                Self::Rows { plan, rows: None, at: 0 }
            }
            Source::Query { .. } => Self::Query { plan, run: None },
            Source::Join { left, right, .. } => Self::Join(Box::new(JoinRun {
                plan,
                left: Self::new(left),
                right: Self::new(right),
                have_left: false,
                matched: false,
                kept: None,
                table: HashMap::new(),
                candidates: Candidates::Range(0),
                used: Vec::new(),
                rest: 0,
                left_done: false,
            })),
        }
    }

    /// Begins again, with other values of what it depends on.
    fn reset(&mut self) {
        match self {
            Self::Nothing { done } => *done = false,
            Self::Table { ranges, cursor, .. } => {
                *ranges = None;
                *cursor = None;
            }
            Self::Rows { rows, at, .. } => {
                *rows = None;
                *at = 0;
            }
            Self::Query { run, .. } => *run = None,
            Self::Join(j) => {
                j.left.reset();
                j.right.reset();
                j.have_left = false;
                j.kept = None;
                j.table.clear();
                j.used.clear();
                j.rest = 0;
                j.left_done = false;
            }
        }
    }

    /// The next row; false at the end.
    pub(crate) fn next(
        &mut self,
        s: &mut SessionState,
        tuple: &mut Vec<Row>,
        outer: Option<&Env<'_>>,
    ) -> R<bool> {
        match self {
            Self::Nothing { done } => Ok(!std::mem::replace(done, true)),
            Self::Table { plan, ranges, cursor } => {
                let Source::Table { slot, key_slot, database, table, access, filter, lock } = plan
                else {
                    return Ok(false);
                };
                if ranges.is_none() {
                    let env = Env { rows: tuple, outer };
                    *ranges = Some(s.key_ranges(table, access, &env)?.into_iter());
                }
                loop {
                    let Some(c) = cursor else {
                        let Some(range) = ranges.as_mut().and_then(Iterator::next) else {
                            return Ok(false);
                        };
                        *cursor = Some(s.tx()?.cursor(
                            database,
                            table,
                            access.index,
                            range,
                            access.backward,
                        ));
                        continue;
                    };
                    let Some((key, row)) = c.next() else {
                        s.examined += c.examined;
                        *cursor = None;
                        continue;
                    };
                    s.tick()?;
                    set(tuple, *slot, row);
                    let env = Env { rows: tuple, outer };
                    let mut passes = true;
                    for f in filter {
                        if !s.passes(f, &env)? {
                            passes = false;
                            break;
                        }
                    }
                    if !passes {
                        continue;
                    }
                    if *lock == RowLock::Update {
                        s.tx()?.lock_row(table, &key)?;
                    }
                    if let Some(k) = key_slot {
                        set(tuple, *k, Arc::from([Val::Bytes(key)]));
                    }
                    return Ok(true);
                }
            }
            Self::Rows { plan, rows, at } => {
                let (slot, filter) = match plan {
                    Source::Rows { slot, filter, .. }
                    | Source::Work { slot, filter, .. }
                    | Source::Function { slot, filter, .. } => (*slot, filter),
                    _ => return Ok(false),
                };
                if rows.is_none() {
                    *rows = Some(match plan {
                        Source::Rows { rows, .. } => Arc::clone(rows),
                        Source::Work { work, .. } => s.work(*work),
                        Source::Function { function, args, .. } => {
                            let env = Env { rows: tuple, outer };
                            Arc::new(s.call_table_function(function, args, &env)?)
                        }
                        _ => Arc::default(),
                    });
                }
                let Some(rows) = rows else { return Ok(false) };
                while let Some(row) = rows.get(*at) {
                    *at += 1;
                    set(tuple, slot, Arc::clone(row));
                    let env = Env { rows: tuple, outer };
                    if s.all_pass(filter, &env)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::Query { plan, run } => {
                let Source::Query { slot, plan, filter } = plan else { return Ok(false) };
                loop {
                    let row = {
                        let env = Env { rows: tuple, outer };
                        let run = run.get_or_insert_with(|| Box::new(QueryRun::new(plan)));
                        run.next(s, Some(&env))?
                    };
                    let Some(row) = row else { return Ok(false) };
                    set(tuple, *slot, row);
                    let env = Env { rows: tuple, outer };
                    if s.all_pass(filter, &env)? {
                        return Ok(true);
                    }
                }
            }
            Self::Join(j) => j.next(s, tuple, outer),
        }
    }
}

impl JoinRun<'_> {
    fn fill(&self, tuple: &mut [Row], slots: &[usize], rows: Option<&Vec<Row>>) {
        for (i, slot) in slots.iter().enumerate() {
            let row = rows.and_then(|r| r.get(i)).map_or_else(empty, Arc::clone);
            set(tuple, *slot, row);
        }
    }

    fn next(
        &mut self,
        s: &mut SessionState,
        tuple: &mut Vec<Row>,
        outer: Option<&Env<'_>>,
    ) -> R<bool> {
        let Source::Join { left_slots, right_slots, outer_left, outer_right, on, how, .. } =
            self.plan
        else {
            return Ok(false);
        };
        if self.kept.is_none() && !matches!(how, How::Again) {
            let mut kept = Vec::new();
            while self.right.next(s, tuple, outer)? {
                kept.push(
                    right_slots
                        .iter()
                        .map(|i| tuple.get(*i).map_or_else(empty, Arc::clone))
                        .collect(),
                );
                if let How::Hash(keys) = how {
                    let env = Env { rows: tuple, outer };
                    let mut bytes = Vec::new();
                    let mut null = false;
                    for (a, b) in keys {
                        let v = s.eval(b, &env)?;
                        null |= v.is_null();
                        hash_key(&b.ty, a.collation.or(b.collation), &v, &mut bytes);
                    }
                    if !null {
                        self.table.entry(bytes).or_default().push(kept.len() - 1);
                    }
                }
            }
            self.used = vec![false; if *outer_right { kept.len() } else { 0 }];
            self.kept = Some(kept);
        }
        loop {
            if self.left_done {
                // FULL: right rows without a partner.
                let Some(kept) = &self.kept else { return Ok(false) };
                while self.rest < kept.len() {
                    let at = self.rest;
                    self.rest += 1;
                    if self.used.get(at) == Some(&false) {
                        self.fill(tuple, left_slots, None);
                        self.fill(tuple, right_slots, kept.get(at));
                        return Ok(true);
                    }
                }
                return Ok(false);
            }
            if !self.have_left {
                if !self.left.next(s, tuple, outer)? {
                    if *outer_right {
                        self.left_done = true;
                        continue;
                    }
                    return Ok(false);
                }
                self.have_left = true;
                self.matched = false;
                match how {
                    How::Again => self.right.reset(),
                    How::Kept => self.candidates = Candidates::Range(0),
                    How::Hash(keys) => {
                        let env = Env { rows: tuple, outer };
                        let mut bytes = Vec::new();
                        let mut null = false;
                        for (a, b) in keys {
                            let v = s.eval(a, &env)?;
                            null |= v.is_null();
                            hash_key(&a.ty, a.collation.or(b.collation), &v, &mut bytes);
                        }
                        let list = if null { None } else { self.table.get(&bytes) };
                        self.candidates = Candidates::List(list.cloned().unwrap_or_default(), 0);
                    }
                }
            }
            loop {
                let at = match how {
                    How::Again => {
                        if !self.right.next(s, tuple, outer)? {
                            break;
                        }
                        0
                    }
                    How::Kept | How::Hash(_) => {
                        let at = match &mut self.candidates {
                            Candidates::Range(i) => {
                                *i += 1;
                                Some(*i - 1)
                            }
                            Candidates::List(list, i) => {
                                *i += 1;
                                list.get(*i - 1).copied()
                            }
                        };
                        let kept = self.kept.as_ref();
                        let Some((at, rows)) = at.and_then(|at| Some((at, kept?.get(at)?))) else {
                            break;
                        };
                        self.fill(tuple, right_slots, Some(rows));
                        at
                    }
                };
                s.tick()?;
                let env = Env { rows: tuple, outer };
                if s.all_pass(on, &env)? {
                    self.matched = true;
                    if let Some(used) = self.used.get_mut(at) {
                        *used = true;
                    }
                    return Ok(true);
                }
            }
            self.have_left = false;
            if *outer_left && !self.matched {
                self.fill(tuple, right_slots, None);
                return Ok(true);
            }
        }
    }
}

/// A query at work.
pub(crate) struct QueryRun<'p> {
    plan: &'p QueryPlan,
    state: Option<State<'p>>,
}

enum State<'p> {
    Select(Box<SelectRun<'p>>),
    Rows(std::vec::IntoIter<Row>),
    /// UNION ALL: one after the other, converted to the common types.
    Both(Box<QueryRun<'p>>, Option<&'p QueryPlan>),
}

impl<'p> QueryRun<'p> {
    pub(crate) fn new(plan: &'p QueryPlan) -> Self {
        Self { plan, state: None }
    }

    fn open(&mut self, s: &mut SessionState, outer: Option<&Env<'_>>) -> R<()> {
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
                        let o = compare_vals(x, y);
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

    fn set_rows(
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
fn converted(row: Row, from: &QueryPlan, to: &QueryPlan) -> R<Row> {
    if from.columns.iter().zip(&to.columns).all(|(a, b)| a.ty == b.ty) {
        return Ok(row);
    }
    let values = row.iter().zip(&from.columns).zip(&to.columns).map(|((v, a), b)| {
        if a.ty == b.ty { Ok(v.clone()) } else { cast(&Typed::new(a.ty, v.clone()), &b.ty, None) }
    });
    values.collect::<R<Vec<_>>>().map(Into::into)
}

fn size(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// A SELECT at work.
pub(crate) struct SelectRun<'p> {
    plan: &'p SelectPlan,
    source: Run<'p>,
    tuple: Vec<Row>,
    /// Rows that had to be kept: sorted, grouped, with window functions.
    kept: Option<std::vec::IntoIter<Vec<Row>>>,
    opened: bool,
    nothing: Option<bool>,
    skip: u64,
    left: u64,
}

impl<'p> SelectRun<'p> {
    fn new(plan: &'p SelectPlan) -> Self {
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

    fn open(&mut self, s: &mut SessionState, outer: Option<&Env<'_>>) -> R<()> {
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
    fn next_source(&mut self, s: &mut SessionState, outer: Option<&Env<'_>>) -> R<bool> {
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

    fn grouped(
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

    fn next(&mut self, s: &mut SessionState, outer: Option<&Env<'_>>) -> R<bool> {
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

    fn project(&self, s: &mut SessionState, outer: Option<&Env<'_>>, out: &mut Vec<Val>) -> R<()> {
        let env = Env { rows: &self.tuple, outer };
        for n in &self.plan.items {
            out.push(s.eval(n, &env)?);
        }
        Ok(())
    }
}

impl SessionState {
    pub(crate) fn all_pass(&mut self, filter: &[Node], env: &Env<'_>) -> R<bool> {
        for f in filter {
            if !self.passes(f, env)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// TOP, OFFSET and FETCH.
    pub(crate) fn count_of(&mut self, n: Option<&Node>, env: &Env<'_>) -> R<Option<u64>> {
        let Some(n) = n else { return Ok(None) };
        match self.typed(n, env)?.to_i64()? {
            Some(v) => u64::try_from(v).map(Some).map_err(|_| {
                SqlError::new(1060, "The number of rows provided for a TOP or FETCH clauses row count parameter must be an integer.").class(15)
            }),
            None => Err(SqlError::new(1060, "The number of rows provided for a TOP or FETCH clauses row count parameter must be an integer.").class(15)),
        }
    }

    /// Bytes that sort as ORDER BY wants.
    pub(crate) fn sort_key(&mut self, order: &[(Node, bool)], env: &Env<'_>) -> R<Vec<u8>> {
        let mut bytes = Vec::with_capacity(order.len() * 12);
        for (n, descending) in order {
            let v = self.eval(n, env)?;
            let from = bytes.len();
            hash_key(&n.ty, n.collation, &v, &mut bytes);
            if *descending && let Some(part) = bytes.get_mut(from..) {
                for b in part {
                    *b = !*b;
                }
            }
        }
        Ok(bytes)
    }

    /// All rows of a query, or the first few.
    pub(crate) fn collect(
        &mut self,
        plan: &QueryPlan,
        outer: Option<&Env<'_>>,
        most: Option<usize>,
    ) -> R<Vec<Row>> {
        let mut run = QueryRun::new(plan);
        let mut out = Vec::new();
        while let Some(row) = run.next(self, outer)? {
            out.push(row);
            if most.is_some_and(|m| out.len() >= m) {
                break;
            }
        }
        Ok(out)
    }

    /// The ranges of an index that a plan asks for, in its order and without overlap.
    fn key_ranges(
        &mut self,
        table: &Arc<Table>,
        access: &Access,
        env: &Env<'_>,
    ) -> R<Vec<KeyRange>> {
        let def = table.def();
        let Some(index) = access.index.and_then(|i| def.indexes.get(i)) else {
            return Ok(vec![KeyRange::default()]);
        };
        let values = |s: &mut Self, nodes: &[Node]| {
            nodes.iter().map(|n| s.typed(n, env)).collect::<R<Vec<_>>>()
        };
        if access.equal.len() > 1 {
            let mut ranges = Vec::with_capacity(access.equal.len());
            for alternative in &access.equal {
                let v = values(self, alternative)?;
                match encode(&def, &index.columns, &v) {
                    Encoded::Exact(b) | Encoded::Near(b) => ranges.push(KeyRange::prefix(&b)),
                    Encoded::Never => {}
                    Encoded::Unbounded => return Ok(vec![KeyRange::default()]),
                }
            }
            ranges.sort_by(|a, b| a.low.cmp(&b.low));
            let mut out: Vec<KeyRange> = Vec::with_capacity(ranges.len());
            for r in ranges {
                match out.last_mut() {
                    // No upper end is above every upper end.
                    Some(last) if last.high.as_ref().is_none_or(|h| Some(h) > r.low.as_ref()) => {
                        if last.high.is_some() && (r.high.is_none() || r.high > last.high) {
                            last.high = r.high;
                        }
                    }
                    _ => out.push(r),
                }
            }
            return Ok(out);
        }
        let mut prefix = Vec::new();
        let mut used = 0;
        if let Some(equal) = access.equal.first() {
            let v = values(self, equal)?;
            used = v.len();
            match encode(&def, &index.columns, &v) {
                Encoded::Exact(b) => prefix = b,
                Encoded::Near(b) => return Ok(vec![KeyRange::prefix(&b)]),
                Encoded::Never => return Ok(Vec::new()),
                Encoded::Unbounded => return Ok(vec![KeyRange::default()]),
            }
        }
        let mut range =
            if prefix.is_empty() { KeyRange::default() } else { KeyRange::prefix(&prefix) };
        let rest = index.columns.get(used..).unwrap_or(&[]);
        let turned = rest.first().is_some_and(|k| k.descending);
        let sides: [(&Vec<BoundPlan>, bool); 2] = [(&access.lower, true), (&access.upper, false)];
        for (bounds, above) in sides {
            for b in bounds {
                let v = values(self, &b.values)?;
                let (bytes, inclusive) = match encode(&def, rest, &v) {
                    Encoded::Exact(bytes) => (bytes, b.inclusive),
                    Encoded::Near(bytes) => (bytes, true),
                    // A NULL in the first place: nothing can be true. Further behind only that branch is lost.
                    Encoded::Never if v.first().is_some_and(Typed::is_null) => {
                        return Ok(Vec::new());
                    }
                    Encoded::Never => {
                        let known: Vec<Typed> =
                            v.into_iter().take_while(|t| !t.is_null()).collect();
                        match encode(&def, rest, &known) {
                            Encoded::Exact(bytes) | Encoded::Near(bytes) => (bytes, true),
                            Encoded::Never | Encoded::Unbounded => continue,
                        }
                    }
                    Encoded::Unbounded => continue,
                };
                let mut key = prefix.clone();
                key.extend(bytes);
                if above != turned {
                    let low = if inclusive { Some(key) } else { successor(&key) };
                    let Some(low) = low else { return Ok(Vec::new()) };
                    if range.low.as_ref().is_none_or(|l| low > *l) {
                        range.low = Some(low);
                    }
                } else {
                    let high = if inclusive { successor(&key) } else { Some(key) };
                    if let Some(high) = high
                        && range.high.as_ref().is_none_or(|h| high < *h)
                    {
                        range.high = Some(high);
                    }
                }
            }
        }
        // A comparison is never true for NULL; NULLs come first in an ascending index.
        if !access.upper.is_empty() && access.lower.is_empty() && !turned {
            let mut low = prefix;
            low.push(1);
            if range.low.as_ref().is_none_or(|l| low > *l) {
                range.low = Some(low);
            }
        }
        Ok(vec![range])
    }

    fn call_table_function(
        &mut self,
        function: &TableFunction,
        args: &[Node],
        env: &Env<'_>,
    ) -> R<Vec<Row>> {
        let values = args.iter().map(|a| self.typed(a, env)).collect::<R<Vec<_>>>()?;
        match function {
            TableFunction::System { database, schema, name } => {
                let rows =
                    catalog::system_table(self, database.as_deref(), schema, name, Some(&values))?;
                Ok(rows.map(|r| r.rows).unwrap_or_default())
            }
            TableFunction::StringSplit => {
                let text = values.first().map(Typed::to_string16).transpose()?.flatten();
                let separator = values.get(1).map(Typed::to_string16).transpose()?.flatten();
                let (Some(text), Some(separator)) = (text, separator) else {
                    return Ok(Vec::new());
                };
                let [one] = separator.as_ref() else {
                    return Err(SqlError::new(
                        214,
                        "Procedure expects parameter 'separator' of type 'nchar(1)/nvarchar(1)'.",
                    ));
                };
                let ordinal = values.len() > 2;
                let rows = text.split(|c| c == one).zip(1..).map(|(part, i)| {
                    let mut row = vec![Val::Str(part.into())];
                    if ordinal {
                        row.push(Val::Int(i));
                    }
                    row.into()
                });
                Ok(rows.collect())
            }
            TableFunction::Series => {
                let mut numbers = Vec::new();
                for v in &values {
                    let Some(n) = v.to_i64()? else { return Ok(Vec::new()) };
                    numbers.push(n);
                }
                let (Some(from), Some(to)) = (numbers.first().copied(), numbers.get(1).copied())
                else {
                    return Err(SqlError::argument_range("generate_series", 2, 3));
                };
                let step = numbers.get(2).copied().unwrap_or(if from <= to { 1 } else { -1 });
                if step == 0 {
                    return Err(SqlError::new(
                        4199,
                        "Argument value 0 is invalid for argument 3 of generate_series function.",
                    ));
                }
                let mut out: Vec<Row> = Vec::new();
                let mut at = from;
                while (step > 0 && at <= to) || (step < 0 && at >= to) {
                    out.push(Arc::from([Val::Int(at)]));
                    let Some(next) = at.checked_add(step) else { break };
                    at = next;
                }
                Ok(out)
            }
        }
    }

    fn xml_path(&mut self, plan: &QueryPlan, element: &str, outer: Option<&Env<'_>>) -> R<Val> {
        let rows = self.collect(plan, outer, None)?;
        if rows.is_empty() {
            return Ok(Val::Null);
        }
        let escape = |s: &str| s.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let mut out = String::new();
        for row in rows {
            if !element.is_empty() {
                out.push_str(&format!("<{element}>"));
            }
            for (v, c) in row.iter().zip(&plan.columns) {
                let Some(text) = Typed::new(c.ty, v.clone()).to_string16()? else { continue };
                let text = escape(&String::from_utf16_lossy(&text));
                if c.name.is_empty() {
                    out.push_str(&text);
                } else {
                    out.push_str(&format!("<{0}>{text}</{0}>", c.name));
                }
            }
            if !element.is_empty() {
                out.push_str(&format!("</{element}>"));
            }
        }
        Ok(Val::str(&out))
    }
}
