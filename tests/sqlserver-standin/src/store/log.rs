//! The simulated transaction log of a database: positions, and the records that the capture job reads.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::{Lsn, Moment, TableDef, lock};
use crate::value::Row;

/// What happened to one row.
#[derive(Clone, Debug)]
pub enum ChangeKind {
    Insert {
        after: Row,
    },
    Delete {
        before: Row,
    },
    /// An update in place; `changed` are the ordinals (positions in `TableDef::columns`) of the columns
    /// whose value really changed.
    Update {
        before: Row,
        after: Row,
        changed: Box<[usize]>,
    },
}

/// One row change as the log holds it. A deferred update is a Delete and an Insert with the same `pair`
/// and the same `lsn`, and different `command`s.
#[derive(Clone, Debug)]
pub struct RowChange {
    /// Object id of the table.
    pub table: i32,
    /// The table as it was when the row was changed; `kind`'s rows have its columns.
    pub def: Arc<TableDef>,
    /// Position of the change record (`__$seqval`).
    pub lsn: Lsn,
    /// Number of the row change within its transaction, from 1, in the order of the statements (`__$command_id`).
    pub command: u32,
    /// Number of the statement within its transaction.
    pub statement: u32,
    /// Joins the two halves of a deferred update.
    pub pair: Option<u32>,
    pub kind: ChangeKind,
}

/// What kind of DDL statement changed a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DdlKind {
    AddColumn { column: String },
    DropColumn { column: String },
    AlterColumn { column: String },
    DropTable,
    Rename,
    Index,
    Constraint,
    Other,
}

/// A DDL statement on a tracked table.
#[derive(Clone, Debug)]
pub struct DdlChange {
    pub table: i32,
    pub lsn: Lsn,
    pub time: Moment,
    pub command: String,
    pub kind: DdlKind,
}

/// A record of the log within a transaction.
#[derive(Clone, Debug)]
pub enum LogEntry {
    Row(RowChange),
    Ddl(DdlChange),
    /// A capture instance begins here: the object id of its change table, and the position of this record.
    Capture {
        change_table: i32,
        lsn: Lsn,
    },
}

/// A committed transaction with everything in it that touches tracked tables.
#[derive(Clone, Debug)]
pub struct CommitRecord {
    pub begin_lsn: Lsn,
    /// Order of `commit_lsn` is the order in which commits became visible.
    pub commit_lsn: Lsn,
    pub begin_time: Moment,
    pub end_time: Moment,
    /// Transaction id; 6 bytes big-endian are `tran_id`.
    pub tran_id: u64,
    pub entries: Vec<LogEntry>,
}

/// The log of one database.
#[derive(Debug, Default)]
pub struct Log {
    next: AtomicU64,
    queue: Mutex<VecDeque<Arc<CommitRecord>>>,
    arrived: Condvar,
}

impl Log {
    pub(super) fn starting_at(record: u64) -> Self {
        Self { next: AtomicU64::new(record), ..Self::default() }
    }

    /// Writes a record that nobody reads and returns its position.
    pub fn append(&self) -> Lsn {
        Lsn::of_record(self.next.fetch_add(1, Ordering::SeqCst))
    }

    /// The position of the last record. See `Database::log_end`, which is in step with commits.
    pub fn last(&self) -> Lsn {
        Lsn::of_record(self.next.load(Ordering::SeqCst).saturating_sub(1))
    }

    pub(super) fn push(&self, record: CommitRecord) {
        lock(&self.queue).push_back(Arc::new(record));
        self.arrived.notify_all();
    }

    /// The oldest records that nobody has removed yet, at most `most`.
    pub fn peek(&self, most: usize) -> Vec<Arc<CommitRecord>> {
        lock(&self.queue).iter().take(most).cloned().collect()
    }

    /// How many commits wait for the capture job.
    pub fn waiting(&self) -> usize {
        lock(&self.queue).len()
    }

    /// Forgets the records up to and including `commit`, which the capture job has processed.
    pub fn remove_through(&self, commit: Lsn) {
        let mut queue = lock(&self.queue);
        while queue.front().is_some_and(|r| r.commit_lsn <= commit) {
            queue.pop_front();
        }
    }

    /// Forgets everything, when capture is switched off.
    pub fn clear(&self) {
        lock(&self.queue).clear();
    }

    /// Sleeps until a commit arrives or the time is over; true when records wait.
    pub fn wait(&self, at_most: Duration) -> bool {
        let queue = lock(&self.queue);
        if !queue.is_empty() {
            return true;
        }
        let (queue, _) = self
            .arrived
            .wait_timeout(queue, at_most)
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        !queue.is_empty()
    }

    /// Wakes the capture job.
    pub fn wake(&self) {
        self.arrived.notify_all();
    }
}
