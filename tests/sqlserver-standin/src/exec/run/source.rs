//! Rows of a FROM: tables, kept rows, joins.

use crate::exec::run::query::QueryRun;
use std::collections::HashMap;
use std::sync::Arc;

use crate::exec::R;
use crate::exec::eval::{hash_key, joint};
use crate::exec::node::Env;
use crate::exec::plan::{How, RowLock, Source};
use crate::exec::session::SessionState;
use crate::store::{Cursor, KeyRange};
use crate::value::{Row, Val};

pub(super) fn empty() -> Row {
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

pub(super) enum Candidates {
    Range(usize),
    List(Vec<usize>, usize),
}

pub(super) fn set(tuple: &mut [Row], slot: usize, row: Row) {
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
    pub(super) fn reset(&mut self) {
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
    pub(super) fn fill(&self, tuple: &mut [Row], slots: &[usize], rows: Option<&Vec<Row>>) {
        for (i, slot) in slots.iter().enumerate() {
            let row = rows.and_then(|r| r.get(i)).map_or_else(empty, Arc::clone);
            set(tuple, *slot, row);
        }
    }

    pub(super) fn next(
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
                        hash_key(&b.ty, Some(joint(a, b)), &v, &mut bytes);
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
                            hash_key(&a.ty, Some(joint(a, b)), &v, &mut bytes);
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
