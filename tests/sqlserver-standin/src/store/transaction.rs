//! Transactions: writes with their undo, the read points of SNAPSHOT and READ COMMITTED, and the commit, which
//! makes the row versions visible and hands the changes of tracked tables to the log.
//!
//! READ COMMITTED and READ UNCOMMITTED read as of the beginning of the statement, without waiting for writers, as
//! with READ_COMMITTED_SNAPSHOT on. REPEATABLE READ and SERIALIZABLE take a shared lock on the whole table.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::locks::{Mode, Patience, Target};
use super::log::{ChangeKind, CommitRecord, DdlChange, DdlKind, LogEntry, RowChange};
use super::table::{Before, Cursor, KeyRange, Obstacle, Table, UNCOMMITTED, Undone};
use super::{Database, Instance, Key, Lsn, Moment, ReadPoint, TableDef, lock};
use crate::value::{Row, SqlError};

/// SET TRANSACTION ISOLATION LEVEL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    ReadUncommitted,
    ReadCommitted,
    RepeatableRead,
    Serializable,
    Snapshot,
}

enum Undo {
    Row {
        table: Arc<Table>,
        key: Key,
        what: Undone,
    },
    /// To be stamped at commit; nothing to undo.
    Stamp {
        table: Arc<Table>,
        key: Key,
    },
    Rewritten {
        database: Arc<Database>,
        table: Arc<Table>,
        before: Box<Before>,
    },
    Redefined {
        database: Arc<Database>,
        table: Arc<Table>,
        before: Arc<TableDef>,
    },
    Call(Box<dyn FnOnce() + Send>),
}

impl fmt::Debug for Undo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Undo")
    }
}

/// What a transaction has of one database.
#[derive(Debug)]
pub struct Part {
    pub database: Arc<Database>,
    /// SNAPSHOT: as of the first read.
    snapshot: Option<ReadPoint>,
    statement: Option<ReadPoint>,
    /// Position of the record that began the transaction here; None until it writes to the log.
    pub begin_lsn: Option<Lsn>,
    pub last_lsn: Option<Lsn>,
    pub savepoint_lsn: Option<Lsn>,
    begin_time: Moment,
    entries: Vec<LogEntry>,
}

/// A point to go back to.
#[derive(Clone, Debug)]
pub struct Mark {
    undo: usize,
    entries: Vec<(i32, usize)>,
    command: u32,
}

/// One row of an UPDATE.
#[derive(Clone, Debug)]
pub struct RowUpdate {
    pub key: Key,
    pub before: Row,
    pub after: Row,
}

/// What a write may fail with beside an error.
#[derive(Debug)]
pub enum WriteFailure {
    /// Someone else changed the row after this statement read it: undo the statement and run it again.
    Again,
    Error(SqlError),
}

impl From<SqlError> for WriteFailure {
    fn from(e: SqlError) -> Self {
        Self::Error(e)
    }
}

/// SAVE TRANSACTION: where it was, and what was locked then.
#[derive(Clone, Debug)]
struct Savepoint {
    name: String,
    mark: Mark,
    tables: BTreeSet<Target>,
    rows: usize,
}

/// An open transaction.
#[derive(Debug)]
pub struct Transaction {
    pub id: u64,
    pub isolation: Isolation,
    pub patience: Patience,
    pub begin_time: Moment,
    /// Name of the statement for error 515/547 and the like is the executor's business; this one counts them.
    statement: u32,
    command: u32,
    pair: u32,
    instance: Arc<Instance>,
    parts: BTreeMap<i32, Part>,
    undo: Vec<Undo>,
    tables: BTreeSet<Target>,
    statement_tables: BTreeSet<Target>,
    rows: Vec<(Target, Key)>,
    row_tables: Vec<Arc<Table>>,
    savepoints: Vec<Savepoint>,
    ended: bool,
}

impl Transaction {
    pub fn begin(instance: &Arc<Instance>, isolation: Isolation, patience: Patience) -> Self {
        let id = instance.next_transaction.fetch_add(1, Ordering::SeqCst);
        instance.locks.begin(id);
        Self {
            id,
            isolation,
            patience,
            begin_time: instance.clock.now(),
            statement: 0,
            command: 0,
            pair: 0,
            instance: Arc::clone(instance),
            parts: BTreeMap::new(),
            undo: Vec::new(),
            tables: BTreeSet::new(),
            statement_tables: BTreeSet::new(),
            rows: Vec::new(),
            row_tables: Vec::new(),
            savepoints: Vec::new(),
            ended: false,
        }
    }

    /// When it began, UTC.
    pub fn begin_utc(&self) -> Moment {
        self.begin_time.plus_minutes(-self.instance.clock.offset_minutes())
    }

    fn mark(&self) -> u64 {
        self.id | UNCOMMITTED
    }

    /// The part of a database, made on first use.
    pub fn part(&mut self, database: &Arc<Database>) -> &mut Part {
        let begin_time = self.begin_time;
        self.parts.entry(database.id).or_insert_with(|| Part {
            database: Arc::clone(database),
            snapshot: None,
            statement: None,
            begin_lsn: None,
            last_lsn: None,
            savepoint_lsn: None,
            begin_time,
            entries: Vec::new(),
        })
    }

    /// The databases that it has touched.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        self.parts.values()
    }

    /// Whether it has written anything.
    pub fn has_written(&self) -> bool {
        !self.undo.is_empty()
    }

    /// A statement begins: READ COMMITTED reads as of now.
    pub fn begin_statement(&mut self) {
        self.statement += 1;
        for part in self.parts.values_mut() {
            part.statement = None;
        }
    }

    /// A statement has ended: its schema locks go.
    pub fn end_statement(&mut self) {
        for part in self.parts.values_mut() {
            part.statement = None;
        }
        let tables = std::mem::take(&mut self.statement_tables);
        self.instance.locks.end_statement(self.id, &tables);
    }

    /// The commit number that this statement reads.
    pub fn read_at(&mut self, database: &Arc<Database>) -> u64 {
        let snapshot = self.isolation == Isolation::Snapshot;
        let part = self.part(database);
        let point = if snapshot { &mut part.snapshot } else { &mut part.statement };
        point.get_or_insert_with(|| database.read_point()).at()
    }

    /// Reads rows in the order of an index: `index` is the position in `TableDef::indexes`, None the table itself.
    pub fn cursor(
        &mut self,
        database: &Arc<Database>,
        table: &Arc<Table>,
        index: Option<usize>,
        range: KeyRange,
        backward: bool,
    ) -> Cursor {
        let at = self.read_at(database);
        Cursor::new(Arc::clone(table), index, range, backward, at, self.mark())
    }

    /// All rows of a table as this statement sees them.
    pub fn scan(&mut self, database: &Arc<Database>, table: &Arc<Table>) -> Cursor {
        self.cursor(database, table, None, KeyRange::default(), false)
    }

    /// Locks a table. SchemaStable lasts for the statement, the others for the transaction.
    pub fn lock_table(&mut self, table: &Table, mode: Mode) -> Result<(), SqlError> {
        let target = (table.database, table.object_id);
        if mode == Mode::SchemaStable {
            if !self.statement_tables.insert(target) {
                return Ok(());
            }
        } else {
            self.tables.insert(target);
        }
        self.instance.locks.table(self.id, target, mode, &self.patience)
    }

    /// Locks a row that was read WITH (UPDLOCK); waits for whoever is changing it.
    pub fn lock_row(&mut self, table: &Arc<Table>, key: &Key) -> Result<(), SqlError> {
        let target = (table.database, table.object_id);
        if self.instance.locks.row(self.id, target, key, &self.patience)? {
            table.update_locks.fetch_add(1, Ordering::SeqCst);
            self.rows.push((target, Arc::clone(key)));
            self.row_tables.push(Arc::clone(table));
        }
        Ok(())
    }

    fn logged(&mut self, database: &Arc<Database>) -> Lsn {
        let part = self.part(database);
        let first = part.begin_lsn.get_or_insert_with(|| database.log.append());
        let _ = first;
        let lsn = database.log.append();
        part.last_lsn = Some(lsn);
        lsn
    }

    fn record(
        &mut self,
        database: &Arc<Database>,
        table: &Table,
        lsn: Lsn,
        pair: Option<u32>,
        kind: ChangeKind,
    ) {
        if !table.is_tracked() {
            return;
        }
        self.command += 1;
        let change = RowChange {
            table: table.object_id,
            def: table.def(),
            lsn,
            command: self.command,
            statement: self.statement,
            pair,
            kind,
        };
        self.part(database).entries.push(LogEntry::Row(change));
    }

    /// A DDL statement on a tracked table goes into the log in its place among the row changes.
    pub fn record_ddl(
        &mut self,
        database: &Arc<Database>,
        table: i32,
        command: &str,
        kind: DdlKind,
    ) -> Lsn {
        let lsn = self.logged(database);
        let time = database.now();
        let change = DdlChange { table, lsn, time, command: command.to_owned(), kind };
        self.part(database).entries.push(LogEntry::Ddl(change));
        lsn
    }

    /// The capture instance of this change table begins with this transaction.
    pub fn record_capture(&mut self, database: &Arc<Database>, change_table: i32) {
        let lsn = self.logged(database);
        self.part(database).entries.push(LogEntry::Capture { change_table, lsn });
    }

    fn obstacle(&self, table: &Table, row: &Row, obstacle: Obstacle) -> Result<(), WriteFailure> {
        match obstacle {
            Obstacle::Wait(other) => {
                self.instance.locks.transaction(self.id, other, &self.patience)?;
                Ok(())
            }
            Obstacle::Stale if self.isolation == Isolation::Snapshot => {
                Err(self.update_conflict(table).into())
            }
            Obstacle::Stale => Err(WriteFailure::Again),
            Obstacle::Duplicate(position) => {
                let def = table.def();
                let Some(index) = def.indexes.get(position) else {
                    return Err(SqlError::duplicate_index("?", &def.full_name(), "?").into());
                };
                let key = def.key_text(index, row);
                Err(if index.primary_key {
                    SqlError::duplicate_key(&index.name, &def.full_name(), &key)
                } else if index.unique_constraint {
                    SqlError::duplicate_unique(&index.name, &def.full_name(), &key)
                } else {
                    SqlError::duplicate_index(&index.name, &def.full_name(), &key)
                }
                .into())
            }
        }
    }

    fn update_conflict(&self, table: &Table) -> SqlError {
        let name = table.def().full_name();
        let db =
            self.instance.database_by_id(table.database).map_or_else(String::new, |d| d.name());
        SqlError::new(
            3960,
            format!(
                "Snapshot isolation transaction aborted due to update conflict. You cannot use snapshot isolation \
                 to access table '{name}' directly or indirectly in database '{db}' to update, delete, or insert \
                 the row that has been modified or deleted by another transaction. Retry the transaction or change \
                 the isolation level for the update/delete statement."
            ),
        )
        .state(2)
    }

    fn snapshot_at(&mut self, database: &Arc<Database>) -> Option<u64> {
        (self.isolation == Isolation::Snapshot).then(|| self.read_at(database))
    }

    /// Inserts a row; all values are of their columns' types.
    pub fn insert(
        &mut self,
        database: &Arc<Database>,
        table: &Arc<Table>,
        row: Row,
    ) -> Result<Key, WriteFailure> {
        self.lock_table_once(table)?;
        let key = self.put_new(database, table, &row, true)?;
        let lsn = self.logged(database);
        self.record(database, table, lsn, None, ChangeKind::Insert { after: row });
        Ok(key)
    }

    fn lock_table_once(&mut self, table: &Table) -> Result<(), SqlError> {
        let target = (table.database, table.object_id);
        // The first write takes the intent lock; a table that is in the set may hold another mode only.
        if !self.tables.contains(&target) {
            self.lock_table(table, Mode::IntentExclusive)?;
        } else if !self.statement_tables.contains(&(table.database, -table.object_id)) {
            self.statement_tables.insert((table.database, -table.object_id));
            self.lock_table(table, Mode::IntentExclusive)?;
        }
        Ok(())
    }

    fn put_new(
        &mut self,
        database: &Arc<Database>,
        table: &Arc<Table>,
        row: &Row,
        check: bool,
    ) -> Result<Key, WriteFailure> {
        let snapshot = self.snapshot_at(database);
        loop {
            match table.insert(Arc::clone(row), self.mark(), check, snapshot) {
                Ok((key, what)) => {
                    self.undo.push(Undo::Row {
                        table: Arc::clone(table),
                        key: Arc::clone(&key),
                        what,
                    });
                    return Ok(key);
                }
                Err(obstacle) => self.obstacle(table, row, obstacle)?,
            }
        }
    }

    fn put_over(
        &mut self,
        database: &Arc<Database>,
        table: &Arc<Table>,
        key: &Key,
        before: &Row,
        after: Option<&Row>,
        check: bool,
    ) -> Result<(), WriteFailure> {
        let at = self.read_at(database);
        loop {
            if table.update_locks.load(Ordering::SeqCst) > 0 {
                let target = (table.database, table.object_id);
                if let Some(owner) = self.instance.locks.row_owner(self.id, target, key) {
                    self.instance.locks.transaction(self.id, owner, &self.patience)?;
                    continue;
                }
            }
            match table.replace(key, after.cloned(), self.mark(), at, check) {
                Ok(what) => {
                    self.undo.push(Undo::Row {
                        table: Arc::clone(table),
                        key: Arc::clone(key),
                        what,
                    });
                    return Ok(());
                }
                Err(obstacle) => self.obstacle(table, after.unwrap_or(before), obstacle)?,
            }
        }
    }

    /// Deletes the row that was read at `key`.
    pub fn delete(
        &mut self,
        database: &Arc<Database>,
        table: &Arc<Table>,
        key: &Key,
        before: &Row,
    ) -> Result<(), WriteFailure> {
        self.lock_table_once(table)?;
        self.put_over(database, table, key, before, None, false)?;
        let lsn = self.logged(database);
        self.record(database, table, lsn, None, ChangeKind::Delete { before: Arc::clone(before) });
        Ok(())
    }

    /// Carries out an UPDATE statement. `assigned` are the columns of its SET list. Unique keys are checked when all
    /// rows are in place; the log shows it as SQL Server does (see `TableDef::is_deferred`).
    pub fn update(
        &mut self,
        database: &Arc<Database>,
        table: &Arc<Table>,
        rows: &[RowUpdate],
        assigned: &[usize],
    ) -> Result<(), WriteFailure> {
        self.lock_table_once(table)?;
        let def = table.def();
        let deferred = def.is_deferred(assigned);
        let check = !deferred;
        let mut moved = Vec::new();
        let mut keys = Vec::with_capacity(if deferred { rows.len() } else { 0 });
        for r in rows {
            if table.keeps_key(&r.key, &r.after) {
                self.put_over(database, table, &r.key, &r.before, Some(&r.after), check)?;
                if deferred {
                    keys.push(Arc::clone(&r.key));
                }
            } else {
                self.put_over(database, table, &r.key, &r.before, None, false)?;
                moved.push(r);
            }
        }
        for r in moved {
            keys.push(self.put_new(database, table, &r.after, false)?);
        }
        for key in &keys {
            while let Err(obstacle) = table.check_unique(key, self.mark()) {
                let row = rows
                    .iter()
                    .find(|r| table.keeps_key(key, &r.after))
                    .map(|r| Arc::clone(&r.after));
                self.obstacle(table, &row.unwrap_or_default(), obstacle)?;
            }
        }
        if !table.is_tracked() {
            self.logged(database);
            return Ok(());
        }
        if deferred {
            let first = self.pair;
            let mut lsns = Vec::with_capacity(rows.len());
            for (r, pair) in rows.iter().zip(first + 1..) {
                let lsn = self.logged(database);
                lsns.push(lsn);
                self.record(
                    database,
                    table,
                    lsn,
                    Some(pair),
                    ChangeKind::Delete { before: Arc::clone(&r.before) },
                );
                self.pair = pair;
            }
            for ((r, lsn), pair) in rows.iter().zip(lsns).zip(first + 1..) {
                self.record(
                    database,
                    table,
                    lsn,
                    Some(pair),
                    ChangeKind::Insert { after: Arc::clone(&r.after) },
                );
            }
        } else {
            for r in rows {
                let both = r.before.iter().zip(r.after.iter()).enumerate();
                let changed: Box<[usize]> =
                    both.filter(|(_, (a, b))| a != b).map(|(i, _)| i).collect();
                if changed.is_empty() {
                    continue;
                }
                let lsn = self.logged(database);
                let (before, after) = (Arc::clone(&r.before), Arc::clone(&r.after));
                self.record(
                    database,
                    table,
                    lsn,
                    None,
                    ChangeKind::Update { before, after, changed },
                );
            }
        }
        Ok(())
    }

    /// Whether a row with this key exists now (not as of the read point); waits for writers that decide it. For
    /// foreign keys.
    pub fn exists_now(&self, table: &Table, index: usize, key: &[u8]) -> Result<bool, SqlError> {
        loop {
            match table.exists(index, key, self.mark()) {
                Ok(found) => return Ok(found),
                Err(other) => self.instance.locks.transaction(self.id, other, &self.patience)?,
            }
        }
    }

    /// CREATE TABLE.
    pub fn create_table(
        &mut self,
        database: &Arc<Database>,
        table: Table,
    ) -> Result<Arc<Table>, SqlError> {
        let table = Arc::new(table);
        self.lock_table(&table, Mode::SchemaModify)?;
        database.insert_table(Arc::clone(&table));
        let (d, t) = (Arc::clone(database), Arc::clone(&table));
        self.undo.push(Undo::Call(Box::new(move || d.remove_table(&t))));
        self.logged(database);
        Ok(table)
    }

    /// DROP TABLE.
    pub fn drop_table(
        &mut self,
        database: &Arc<Database>,
        table: &Arc<Table>,
    ) -> Result<(), SqlError> {
        self.lock_table(table, Mode::SchemaModify)?;
        database.remove_table(table);
        let (d, t) = (Arc::clone(database), Arc::clone(table));
        self.undo.push(Undo::Call(Box::new(move || d.insert_table(t))));
        self.logged(database);
        Ok(())
    }

    /// ALTER TABLE, CREATE INDEX and whatever else changes rows or indexes.
    pub fn rewrite_table(
        &mut self,
        database: &Arc<Database>,
        table: &Arc<Table>,
        mut new: TableDef,
        convert: impl FnMut(&Row) -> Result<Row, SqlError>,
    ) -> Result<(), SqlError> {
        self.lock_table(table, Mode::SchemaModify)?;
        new.modify_date = database.now();
        let (before, keys) = table.rewrite(new, self.mark(), convert)?;
        self.undo.push(Undo::Rewritten {
            database: Arc::clone(database),
            table: Arc::clone(table),
            before: Box::new(before),
        });
        for key in keys {
            self.undo.push(Undo::Stamp { table: Arc::clone(table), key });
        }
        database.changed();
        self.logged(database);
        Ok(())
    }

    /// Changes of a definition that touch neither rows nor indexes (constraints, defaults).
    pub fn redefine_table(
        &mut self,
        database: &Arc<Database>,
        table: &Arc<Table>,
        mut new: TableDef,
    ) -> Result<(), SqlError> {
        self.lock_table(table, Mode::SchemaModify)?;
        new.modify_date = database.now();
        let before = table.redefine(new);
        self.undo.push(Undo::Redefined {
            database: Arc::clone(database),
            table: Arc::clone(table),
            before,
        });
        database.changed();
        self.logged(database);
        Ok(())
    }

    /// sp_rename and ALTER SCHEMA TRANSFER.
    pub fn rename_table(
        &mut self,
        database: &Arc<Database>,
        table: &Arc<Table>,
        schema: &str,
        name: &str,
    ) -> Result<(), SqlError> {
        self.lock_table(table, Mode::SchemaModify)?;
        let old = database.rename_table(table, schema, name);
        let (d, t) = (Arc::clone(database), Arc::clone(table));
        self.undo.push(Undo::Call(Box::new(move || {
            d.rename_table(&t, &old.schema, &old.name);
        })));
        self.logged(database);
        Ok(())
    }

    /// TRUNCATE TABLE.
    pub fn truncate_table(
        &mut self,
        database: &Arc<Database>,
        table: &Arc<Table>,
    ) -> Result<(), SqlError> {
        self.lock_table(table, Mode::SchemaModify)?;
        let before = table.truncate();
        let identity = table.identity_last();
        table.set_identity(None);
        let t = Arc::clone(table);
        self.undo.push(Undo::Call(Box::new(move || t.set_identity(identity))));
        self.undo.push(Undo::Rewritten {
            database: Arc::clone(database),
            table: Arc::clone(table),
            before: Box::new(before),
        });
        self.logged(database);
        Ok(())
    }

    /// Something else to be undone when the transaction rolls back.
    pub fn on_rollback(&mut self, undo: impl FnOnce() + Send + 'static) {
        self.undo.push(Undo::Call(Box::new(undo)));
    }

    /// Where the transaction is now, to come back to by `back_to`.
    pub fn here(&self) -> Mark {
        Mark {
            undo: self.undo.len(),
            entries: self.parts.iter().map(|(id, p)| (*id, p.entries.len())).collect(),
            command: self.command,
        }
    }

    /// Undoes everything since `mark`; locks stay.
    pub fn back_to(&mut self, mark: &Mark) {
        for undo in self.undo.drain(mark.undo.min(self.undo.len())..).rev() {
            match undo {
                Undo::Row { table, key, what } => table.undo(&key, what),
                Undo::Stamp { .. } => {}
                Undo::Rewritten { database, table, before } => {
                    table.put_back(*before);
                    database.changed();
                }
                Undo::Redefined { database, table, before } => {
                    table.put_back_def(before);
                    database.changed();
                }
                Undo::Call(call) => call(),
            }
        }
        for (id, part) in &mut self.parts {
            let keep = mark.entries.iter().find(|(i, _)| i == id).map_or(0, |(_, n)| *n);
            part.entries.truncate(keep);
        }
        self.command = mark.command;
    }

    /// SAVE TRANSACTION. It writes a record to the log of `database`.
    pub fn save(&mut self, database: &Arc<Database>, name: &str) {
        let mark = self.here();
        let (tables, rows) = (self.tables.clone(), self.rows.len());
        self.savepoints.push(Savepoint { name: name.to_owned(), mark, tables, rows });
        let lsn = self.logged(database);
        self.part(database).savepoint_lsn = Some(lsn);
    }

    /// ROLLBACK TRANSACTION savepoint; false when there is none of that name. Locks that were taken after it go.
    pub fn rollback_to(&mut self, name: &str) -> bool {
        let Some(at) = self.savepoints.iter().rposition(|s| super::same_name(&s.name, name)) else {
            return false;
        };
        let Some(point) = self.savepoints.get(at).cloned() else { return false };
        self.savepoints.truncate(at + 1);
        self.back_to(&point.mark);
        let new: BTreeSet<Target> = self.tables.difference(&point.tables).copied().collect();
        let rows = self.rows.split_off(point.rows.min(self.rows.len()));
        for table in self.row_tables.drain(point.rows.min(self.row_tables.len())..) {
            table.update_locks.fetch_sub(1, Ordering::SeqCst);
        }
        self.instance.locks.release(self.id, &new, &rows);
        self.tables = point.tables;
        true
    }

    /// Makes everything visible. Commits of one database become visible in the order of their commit LSNs.
    pub fn commit(mut self) {
        let mark = self.mark();
        let undo = std::mem::take(&mut self.undo);
        let mut written: BTreeMap<Target, (Arc<Table>, Vec<&Key>)> = BTreeMap::new();
        for u in &undo {
            if let Undo::Row { table, key, what: Undone::Pop } | Undo::Stamp { table, key } = u {
                let target = (table.database, table.object_id);
                written
                    .entry(target)
                    .or_insert_with(|| (Arc::clone(table), Vec::new()))
                    .1
                    .push(key);
            }
        }
        for part in std::mem::take(&mut self.parts).into_values() {
            let database = Arc::clone(&part.database);
            drop((part.snapshot, part.statement));
            if part.begin_lsn.is_none() && !written.keys().any(|t| t.0 == database.id) {
                continue;
            }
            let guard = lock(&database.commit);
            let number = database.visible() + 1;
            for ((db, _), (table, keys)) in &written {
                if *db == database.id {
                    let later = table.stamp(keys.iter().copied(), mark, number);
                    database.discard_later(number, table, later);
                }
            }
            let commit_lsn = database.log.append();
            let log = !part.entries.is_empty() && database.is_cdc_enabled();
            if log {
                database.log.push(CommitRecord {
                    begin_lsn: part.begin_lsn.unwrap_or(commit_lsn),
                    commit_lsn,
                    begin_time: part.begin_time,
                    end_time: database.now(),
                    tran_id: self.id,
                    entries: part.entries,
                });
            }
            database.publish(number);
            drop(guard);
            database.collect_garbage();
        }
        drop(written);
        drop(undo);
        self.end();
    }

    /// Undoes everything.
    pub fn rollback(mut self) {
        self.roll_back();
    }

    fn roll_back(&mut self) {
        self.back_to(&Mark { undo: 0, entries: Vec::new(), command: 0 });
        self.parts.clear();
        self.end();
    }

    fn end(&mut self) {
        if self.ended {
            return;
        }
        self.ended = true;
        for table in self.row_tables.drain(..) {
            table.update_locks.fetch_sub(1, Ordering::SeqCst);
        }
        self.tables.extend(std::mem::take(&mut self.statement_tables));
        self.instance.locks.end(self.id, &self.tables, &self.rows);
    }
}

/// A transaction that nobody ended rolls back.
impl Drop for Transaction {
    fn drop(&mut self) {
        if !self.ended {
            self.roll_back();
        }
    }
}

impl Mark {
    /// Whether something was written between `earlier` and this mark.
    pub fn wrote_since(&self, earlier: &Self) -> bool {
        self.undo > earlier.undo
    }
}
