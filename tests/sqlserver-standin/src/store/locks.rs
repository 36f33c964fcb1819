//! Locks: tables in modes, rows for UPDLOCK, and waiting for another transaction to end. A row that was
//! changed is locked by its uncommitted version itself, so a large transaction needs no lock memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::{Key, lock};
use crate::value::SqlError;

/// Lock on a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Someone reads the definition; conflicts with DDL only.
    SchemaStable,
    /// Someone changes rows.
    IntentExclusive,
    /// Nobody may change rows.
    Shared,
    /// Nobody else may lock at all (readers of row versions still read).
    Exclusive,
    /// DDL.
    SchemaModify,
}

impl Mode {
    fn goes_with(self, other: Self) -> bool {
        use Mode::{Exclusive, IntentExclusive, SchemaModify, SchemaStable, Shared};
        match (self, other) {
            (SchemaModify, _) | (_, SchemaModify) => false,
            (SchemaStable, _) | (_, SchemaStable) => true,
            (IntentExclusive, IntentExclusive) | (Shared, Shared) => true,
            (IntentExclusive | Shared | Exclusive, IntentExclusive | Shared | Exclusive) => false,
        }
    }
}

/// How a transaction waits.
#[derive(Clone, Debug)]
pub struct Patience {
    /// SET LOCK_TIMEOUT; None waits for ever.
    pub timeout: Option<Duration>,
    /// SET DEADLOCK_PRIORITY, -10..10.
    pub priority: i32,
    /// Set when the client sends an attention.
    pub stop: Arc<AtomicBool>,
    /// For the deadlock message.
    pub spid: i32,
}

impl Default for Patience {
    fn default() -> Self {
        Self { timeout: None, priority: 0, stop: Arc::new(AtomicBool::new(false)), spid: 0 }
    }
}

/// A table: database id and object id.
pub(super) type Target = (i32, i32);

#[derive(Debug, Default)]
struct State {
    active: BTreeSet<u64>,
    tables: HashMap<Target, BTreeMap<(u64, Mode), u32>>,
    rows: HashMap<(Target, Key), u64>,
    waits: HashMap<u64, (BTreeSet<u64>, i32)>,
    victims: BTreeSet<u64>,
}

/// All locks of the instance.
#[derive(Debug, Default)]
pub struct Locks {
    state: Mutex<State>,
    changed: Condvar,
}

/// A waiting thread looks for an attention this often.
const SLICE: Duration = Duration::from_millis(20);

impl Locks {
    pub(super) fn begin(&self, id: u64) {
        lock(&self.state).active.insert(id);
    }

    /// Releases everything and wakes whoever waits.
    pub(super) fn end(&self, id: u64, tables: &BTreeSet<Target>, rows: &[(Target, Key)]) {
        let mut state = lock(&self.state);
        state.active.remove(&id);
        state.victims.remove(&id);
        for target in tables {
            Self::forget(&mut state, *target, |(owner, _)| *owner == id);
        }
        for row in rows {
            state.rows.remove(row);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Releases some of the locks of a transaction that goes on.
    pub(super) fn release(&self, id: u64, tables: &BTreeSet<Target>, rows: &[(Target, Key)]) {
        let mut state = lock(&self.state);
        for target in tables {
            Self::forget(&mut state, *target, |(owner, _)| *owner == id);
        }
        for row in rows {
            state.rows.remove(row);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Releases the locks that last for a statement only.
    pub(super) fn end_statement(&self, id: u64, tables: &BTreeSet<Target>) {
        if tables.is_empty() {
            return;
        }
        let mut state = lock(&self.state);
        for target in tables {
            Self::forget(&mut state, *target, |key| *key == (id, Mode::SchemaStable));
        }
        let wake = !state.waits.is_empty();
        drop(state);
        if wake {
            self.changed.notify_all();
        }
    }

    fn forget(state: &mut State, target: Target, which: impl Fn(&(u64, Mode)) -> bool) {
        if let Some(held) = state.tables.get_mut(&target) {
            held.retain(|key, _| !which(key));
            if held.is_empty() {
                state.tables.remove(&target);
            }
        }
    }

    pub(super) fn table(
        &self,
        id: u64,
        target: Target,
        mode: Mode,
        patience: &Patience,
    ) -> Result<(), SqlError> {
        self.wait(id, patience, |state| {
            let held = state.tables.entry(target).or_default();
            let others: BTreeSet<u64> = held
                .keys()
                .filter(|(owner, m)| *owner != id && !mode.goes_with(*m))
                .map(|(owner, _)| *owner)
                .collect();
            if others.is_empty() {
                *held.entry((id, mode)).or_default() += 1;
            }
            others
        })
    }

    /// Locks a row that is read for update. True when it is new for this transaction.
    pub(super) fn row(
        &self,
        id: u64,
        target: Target,
        key: &Key,
        patience: &Patience,
    ) -> Result<bool, SqlError> {
        let mut new = false;
        self.wait(id, patience, |state| match state.rows.get(&(target, Arc::clone(key))) {
            Some(owner) if *owner != id => BTreeSet::from([*owner]),
            Some(_) => BTreeSet::new(),
            None => {
                state.rows.insert((target, Arc::clone(key)), id);
                new = true;
                BTreeSet::new()
            }
        })?;
        Ok(new)
    }

    /// Who has locked a row for update, if it is another transaction.
    pub(super) fn row_owner(&self, id: u64, target: Target, key: &Key) -> Option<u64> {
        lock(&self.state).rows.get(&(target, Arc::clone(key))).copied().filter(|owner| *owner != id)
    }

    /// Waits until another transaction has ended.
    pub(super) fn transaction(
        &self,
        id: u64,
        other: u64,
        patience: &Patience,
    ) -> Result<(), SqlError> {
        self.wait(id, patience, |state| state.active.get(&other).copied().into_iter().collect())
    }

    /// `blockers` tries, and says who is in the way.
    fn wait(
        &self,
        id: u64,
        patience: &Patience,
        mut blockers: impl FnMut(&mut State) -> BTreeSet<u64>,
    ) -> Result<(), SqlError> {
        let started = Instant::now();
        let mut state = lock(&self.state);
        loop {
            let others = blockers(&mut state);
            if others.is_empty() {
                state.waits.remove(&id);
                return Ok(());
            }
            state.waits.insert(id, (others, patience.priority));
            if let Some(victim) = Self::deadlock(&state, id) {
                state.victims.insert(victim);
                self.changed.notify_all();
            }
            let failure = if state.victims.contains(&id) {
                Some(SqlError::deadlock(patience.spid))
            } else if patience.timeout.is_some_and(|t| started.elapsed() >= t) {
                Some(SqlError::lock_timeout())
            } else if patience.stop.load(Ordering::Relaxed) {
                Some(SqlError::new(0, "stopped by the client"))
            } else {
                None
            };
            if let Some(error) = failure {
                state.waits.remove(&id);
                return Err(error);
            }
            let left =
                patience.timeout.map_or(SLICE, |t| t.saturating_sub(started.elapsed()).min(SLICE));
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .0;
        }
    }

    /// A cycle of waiting transactions through `start`: the one with the lowest priority has to give way.
    fn deadlock(state: &State, start: u64) -> Option<u64> {
        fn walk(state: &State, at: u64, start: u64, path: &mut Vec<u64>) -> bool {
            let Some((others, _)) = state.waits.get(&at) else { return false };
            for other in others {
                if *other == start {
                    return true;
                }
                if !path.contains(other) {
                    path.push(*other);
                    if walk(state, *other, start, path) {
                        return true;
                    }
                    path.pop();
                }
            }
            false
        }
        let mut path = vec![start];
        if !walk(state, start, start, &mut path) || path.iter().any(|p| state.victims.contains(p)) {
            return None;
        }
        path.iter().copied().min_by_key(|p| (state.waits.get(p).map_or(0, |w| w.1), *p != start))
    }
}
