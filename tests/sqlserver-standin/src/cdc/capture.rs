//! The capture job: it reads committed transactions from the log and writes change tables, `lsn_time_mapping` and
//! `ddl_history`, in one transaction for each scan, so that a reader sees whole source transactions.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::image::{self, Captured, Operation};
use super::instance::{self, CaptureInstance, CapturedColumn, cdc_table, settled};
use super::state::{Session, State, control, state};
use super::tables::{captured_columns, change, change_tables};
use super::{lsn, mask};
use crate::catalog::types;
use crate::store::{
    CommitRecord, Database, DdlChange, DdlKind, Instance, Isolation, LogEntry, Lsn, Patience,
    RowChange, Table, TableDef, Transaction, lock,
};
use crate::value::{Row, SqlError, Ty, Typed, Val, cast};

/// The least time between two looks at an idle log.
const LEAST_POLL: Duration = Duration::from_millis(50);
/// The longest sleep: how late the job may notice that it is to end.
const LONGEST_SLEEP: Duration = Duration::from_millis(100);

/// Starts the capture thread of a database. It ends with `State::ended`, with the database or with the instance.
pub(crate) fn start(
    instance: &Arc<Instance>,
    database: &Arc<Database>,
    state: &Arc<State>,
) -> Result<(), SqlError> {
    let (instance, database, state) =
        (Arc::downgrade(instance), Arc::downgrade(database), Arc::clone(state));
    let thread = std::thread::Builder::new()
        .name("capture".to_owned())
        .spawn(move || run(&instance, &database, &state));
    thread.map(|_| ()).map_err(|error| {
        SqlError::new(22836, format!("The capture job could not be started: {error}."))
    })
}

fn run(instance: &Weak<Instance>, database: &Weak<Database>, state: &State) {
    let mut last_look = Instant::now();
    while !state.ended.load(Ordering::SeqCst) {
        let (Some(instance), Some(database)) = (instance.upgrade(), database.upgrade()) else {
            return;
        };
        let control = control(&instance);
        if control.is_paused() || state.stopped.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        }
        let latency = Duration::from_millis(control.latency_ms());
        if database.log.wait(latency.max(LEAST_POLL).min(LONGEST_SLEEP)) {
            sleep(latency, state);
            if control.is_paused() || state.stopped.load(Ordering::SeqCst) {
                continue;
            }
        } else if last_look.elapsed() < latency {
            continue;
        }
        last_look = Instant::now();
        let done = control.unless_paused(|| scan(&instance, &database, state, usize::MAX));
        if let Some(Err(error)) = done {
            // A scan that met a lock of DDL comes again; nothing was written.
            tracing::debug!(
                number = error.number,
                "the capture job will scan again: {}",
                error.message
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn sleep(time: Duration, state: &State) {
    let end = Instant::now() + time;
    while !state.ended.load(Ordering::SeqCst) {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(LONGEST_SLEEP));
    }
}

/// Transactions in a scan, at most: maxtrans x maxscans.
fn most(state: &State) -> usize {
    let job = lock(&state.jobs).capture;
    job.and_then(|job| usize::try_from(job.maxtrans.saturating_mul(job.maxscans)).ok())
        .unwrap_or(5000)
        .max(1)
}

/// One scan of the log. True when it found something.
pub(crate) fn scan(
    instance: &Arc<Instance>,
    database: &Arc<Database>,
    state: &State,
    at_most: usize,
) -> Result<bool, SqlError> {
    let _one = lock(&state.scanning);
    let start = database.now();
    let records = database.log.peek(most(state).min(at_most));
    // A record is in the log a moment before its transaction can be seen: wait for that.
    let _ = database.log_end();
    if records.is_empty() {
        idle_row(instance, database, state)?;
        state.empty_scan(database.now());
        return Ok(false);
    }
    let mut tx = begin(instance);
    tx.begin_statement();
    let mut scan = Scan::new(&mut tx, database)?;
    let mut session = Session::at(0, start, start);
    for record in &records {
        scan.record(&mut tx, record, &mut session)?;
    }
    tx.commit();
    if let Some(last) = records.last() {
        database.log.remove_through(last.commit_lsn);
        session.end_lsn = Some(last.commit_lsn);
        session.last_commit = Some((last.commit_lsn, last.end_time));
    }
    session.start_lsn = records.first().map(|record| record.commit_lsn);
    session.transactions = i64::try_from(records.len()).unwrap_or(i64::MAX);
    session.end = database.now();
    *lock(&state.last_row) = Instant::now();
    state.full_scan(session);
    Ok(true)
}

/// A transaction of the capture job: the one to give way in a deadlock.
fn begin(instance: &Arc<Instance>) -> Transaction {
    let patience =
        Patience { priority: -10, timeout: Some(Duration::from_secs(5)), ..Patience::default() };
    Transaction::begin(instance, Isolation::ReadCommitted, patience)
}

/// An idle database gets a row in `lsn_time_mapping` now and then, so that its highest LSN goes on.
fn idle_row(
    instance: &Arc<Instance>,
    database: &Arc<Database>,
    state: &State,
) -> Result<(), SqlError> {
    let every = Duration::from_secs(control(instance).idle_row_seconds());
    if lock(&state.last_row).elapsed() < every {
        return Ok(());
    }
    let now = database.now();
    let position = database.log.append();
    let mut tx = begin(instance);
    tx.begin_statement();
    let row = mapping_row(
        position,
        (now.datetime(), now.datetime()),
        &[0],
        Lsn { vlf: 0, block: 0, slot: 0 },
    );
    let table = cdc_table(database, "lsn_time_mapping")?;
    settled(tx.insert(database, &table, row))?;
    tx.commit();
    *lock(&state.last_row) = Instant::now();
    Ok(())
}

fn mapping_row(commit: Lsn, (begin, end): (Val, Val), tran_id: &[u8], tran_begin: Lsn) -> Row {
    [Val::bytes(&commit.bytes()), begin, end, Val::bytes(tran_id), Val::bytes(&tran_begin.bytes())]
        .into()
}

/// A capture instance during a scan.
struct Active {
    instance: CaptureInstance,
    table: Arc<Table>,
    columns: Vec<CapturedColumn>,
    start: Option<Lsn>,
    /// By the address of the source's definition at the time of a change: where the captured values are.
    plans: HashMap<usize, (Arc<TableDef>, Plan)>,
}

struct Plan {
    captured: Vec<Captured>,
    /// Columns of the change table whose type is another one than the value's.
    casts: Vec<(usize, Ty, Ty)>,
    has_command_id: bool,
    /// The mask with every bit set.
    all: Val,
}

struct Scan<'a> {
    database: &'a Arc<Database>,
    mapping: Arc<Table>,
    active: Vec<Active>,
}

impl<'a> Scan<'a> {
    fn new(tx: &mut Transaction, database: &'a Arc<Database>) -> Result<Self, SqlError> {
        let mapping = cdc_table(database, "lsn_time_mapping")?;
        let mut active = Vec::new();
        for one in instance::all(tx, database)? {
            let Some(table) = database.table_by_id(one.change_table) else { continue };
            let columns = instance::columns(tx, database, one.change_table)?;
            let start = one.start.as_deref().map(|bytes| Lsn::from_bytes(lsn::fit(bytes)));
            active.push(Active { instance: one, table, columns, start, plans: HashMap::new() });
        }
        Ok(Self { database, mapping, active })
    }

    /// Writes what one transaction leaves behind.
    fn record(
        &mut self,
        tx: &mut Transaction,
        record: &CommitRecord,
        session: &mut Session,
    ) -> Result<(), SqlError> {
        let mut found = false;
        let value = Val::bytes(&record.commit_lsn.bytes());
        for entry in &record.entries {
            session.records += 1;
            match entry {
                LogEntry::Row(row) => {
                    let rows = self.row(tx, record.commit_lsn, &value, row)?;
                    session.commands += rows;
                    found |= rows > 0;
                }
                LogEntry::Ddl(ddl) => {
                    if self.ddl(tx, record.commit_lsn, ddl)? {
                        session.schema_changes += 1;
                        found = true;
                    }
                }
                LogEntry::Capture { change_table, lsn } => {
                    self.begin(tx, *lsn, *change_table)?;
                    session.schema_changes += 1;
                    found = true;
                }
            }
        }
        if found {
            let mut id = record.tran_id.to_be_bytes().to_vec();
            id.drain(..2);
            let times = (record.begin_time.datetime(), record.end_time.datetime());
            let row = mapping_row(record.commit_lsn, times, &id, record.begin_lsn);
            settled(tx.insert(self.database, &self.mapping, row))?;
            let first = session.captured.map_or(record.commit_lsn, |captured| captured.0);
            session.captured = Some((first, record.commit_lsn, record.end_time));
        }
        Ok(())
    }

    /// The record that made an instance: its low endpoint is the position of that record, before the commit of its
    /// transaction. Debezium's tests need it so on a real server: with nothing after it, the highest LSN of
    /// `lsn_time_mapping` must be above the low endpoint.
    fn begin(
        &mut self,
        tx: &mut Transaction,
        start: Lsn,
        change_table: i32,
    ) -> Result<(), SqlError> {
        let Some(active) =
            self.active.iter_mut().find(|active| active.instance.change_table == change_table)
        else {
            return Ok(());
        };
        if active.start.is_some() {
            return Ok(());
        }
        let table = cdc_table(self.database, "change_tables")?;
        set_start(tx, self.database, &table, &active.instance, &start.bytes())?;
        active.start = Some(start);
        Ok(())
    }

    /// `value` is the commit LSN as the change tables have it, shared by the rows of a transaction.
    fn row(
        &mut self,
        tx: &mut Transaction,
        commit: Lsn,
        value: &Val,
        row: &RowChange,
    ) -> Result<i64, SqlError> {
        let mut written = 0;
        for active in &mut self.active {
            if active.instance.source != row.table
                || active.start.is_none_or(|start| start >= commit)
            {
                continue;
            }
            let at = Arc::as_ptr(&row.def) as usize;
            if !active.plans.contains_key(&at) {
                let plan = plan(&active.columns, &row.def, &active.table.def());
                active.plans.insert(at, (Arc::clone(&row.def), plan));
            }
            let Some((_, plan)) = active.plans.get(&at) else { continue };
            for line in image::lines(&row.kind, &plan.captured) {
                let mut values = Vec::with_capacity(line.values.len() + 6);
                values.push(value.clone());
                values.push(Val::Null);
                values.push(Val::bytes(&row.lsn.bytes()));
                values.push(Val::Int(line.operation.number()));
                values.push(line.mask.map_or_else(|| plan.all.clone(), |mask| Val::bytes(&mask)));
                values.extend(line.values);
                for (at, from, to) in &plan.casts {
                    if let Some(value) = values.get_mut(change::CAPTURED + at) {
                        *value = converted(value, from, to);
                    }
                }
                if plan.has_command_id {
                    values.push(Val::Int(row.command.into()));
                }
                settled(tx.insert(self.database, &active.table, values.into()))?;
                written += i64::from(line.operation != Operation::Before);
            }
        }
        Ok(written)
    }

    /// A DDL statement on a tracked table: a row of history for each instance; a change table follows its source's types.
    fn ddl(
        &mut self,
        tx: &mut Transaction,
        commit: Lsn,
        ddl: &DdlChange,
    ) -> Result<bool, SqlError> {
        let recorded = match &ddl.kind {
            DdlKind::AddColumn { .. }
            | DdlKind::DropColumn { .. }
            | DdlKind::AlterColumn { .. } => true,
            DdlKind::Constraint | DdlKind::Other => true,
            DdlKind::DropTable | DdlKind::Rename | DdlKind::Index => false,
        };
        if !recorded {
            return Ok(false);
        }
        let mut found = false;
        for active in &mut self.active {
            if active.instance.source != ddl.table
                || active.start.is_none_or(|start| start >= commit)
            {
                continue;
            }
            let altered = match &ddl.kind {
                DdlKind::AlterColumn { column } => {
                    alter(tx, self.database, active, ddl.table, column)?
                }
                _ => false,
            };
            let row = [
                Val::Int(ddl.table.into()),
                Val::Int(active.instance.change_table.into()),
                Val::Bit(altered),
                Val::str(&ddl.command),
                Val::bytes(&ddl.lsn.bytes()),
                ddl.time.datetime(),
            ];
            let history = cdc_table(self.database, "ddl_history")?;
            settled(tx.insert(self.database, &history, row.as_slice().into()))?;
            found = true;
        }
        Ok(found)
    }
}

/// Moves the low endpoint of an instance.
pub(crate) fn set_start(
    tx: &mut Transaction,
    database: &Arc<Database>,
    change_tables: &Arc<Table>,
    instance: &CaptureInstance,
    start: &[u8],
) -> Result<(), SqlError> {
    let mut row = instance.row.to_vec();
    if let Some(value) = row.get_mut(change_tables::START_LSN) {
        *value = Val::bytes(start);
    }
    update(tx, database, change_tables, &instance.key, &instance.row, row, change_tables::START_LSN)
}

fn update(
    tx: &mut Transaction,
    database: &Arc<Database>,
    table: &Arc<Table>,
    key: &crate::store::Key,
    before: &Row,
    after: Vec<Val>,
    column: usize,
) -> Result<(), SqlError> {
    let rows = [crate::store::RowUpdate {
        key: Arc::clone(key),
        before: Arc::clone(before),
        after: after.into(),
    }];
    settled(tx.update(database, table, &rows, &[column]))
}

fn plan(columns: &[CapturedColumn], source: &TableDef, change_table: &TableDef) -> Plan {
    let mut captured = Vec::with_capacity(columns.len());
    let mut casts = Vec::new();
    for (n, column) in columns.iter().enumerate() {
        let at = source.ordinal_of_id(column.source_column);
        let now = at.and_then(|at| source.columns.get(at));
        let here =
            change_table.columns.get(change::CAPTURED + n).map_or(Ty::Int, |column| column.ty);
        let ty = now.map_or(here, |column| column.ty);
        let from = instance::captured_type(ty);
        if from != here {
            casts.push((n, from, here));
        }
        let computed = column.computed || now.is_some_and(|column| column.computed.is_some());
        captured.push(Captured { at: at.filter(|_| !computed), ty });
    }
    let has_command_id =
        change_table.columns.last().is_some_and(|column| column.name == "__$command_id");
    Plan { captured, casts, has_command_id, all: Val::bytes(&mask::all(columns.len())) }
}

/// A value in the type of the change table; NULL when it does not fit.
fn converted(value: &Val, from: &Ty, to: &Ty) -> Val {
    cast(&Typed::new(*from, value.clone()), to, None).unwrap_or(Val::Null)
}

/// ALTER COLUMN in the source: the change table's column gets the new type. True when it had another one.
fn alter(
    tx: &mut Transaction,
    database: &Arc<Database>,
    active: &mut Active,
    source: i32,
    column: &str,
) -> Result<bool, SqlError> {
    let Some(source) = database.table_by_id(source).map(|table| table.def()) else {
        return Ok(false);
    };
    let Some(new) = source.column(column) else { return Ok(false) };
    let Some(n) = active.columns.iter().position(|captured| captured.source_column == new.id)
    else {
        return Ok(false);
    };
    let mut def = (*active.table.def()).clone();
    let at = change::CAPTURED + n;
    let Some(here) = def.columns.get_mut(at) else { return Ok(false) };
    let (from, to) = (here.ty, instance::captured_type(new.ty));
    if from == to {
        return Ok(false);
    }
    here.ty = to;
    here.declared.clone_from(&new.declared);
    here.collation.clone_from(&new.collation);
    tx.rewrite_table(database, &active.table, def, |row| {
        Ok(crate::store::edited(row, |values| {
            if let Some(value) = values.get_mut(at) {
                *value = converted(value, &from, &to);
            }
        }))
    })?;
    active.plans.clear();
    let name = types::declared_facts(&new.ty, new.declared.as_deref()).name;
    if let Some(captured) = active.columns.get(n) {
        let table = cdc_table(database, "captured_columns")?;
        let mut row = captured.row.to_vec();
        if let Some(value) = row.get_mut(captured_columns::COLUMN_TYPE) {
            *value = Val::str(name);
        }
        update(
            tx,
            database,
            &table,
            &captured.key,
            &captured.row,
            row,
            captured_columns::COLUMN_TYPE,
        )?;
    }
    Ok(true)
}

/// Whether the log holds transactions that the capture job has not read.
pub(crate) fn waits(database: &Database) -> bool {
    state(database).is_some() && database.log.waiting() > 0
}
