//! The row store: databases in memory, row versions, transactions and a log.
//!
//! Use: `let mut t = Transaction::begin(&instance, Isolation::ReadCommitted, Patience::default()); t.begin_statement();
//! t.insert(&db, &table, row)?; t.commit();`. Reads: `t.scan(&db, &table)` or `t.cursor(..)`, both iterators of
//! `(Key, Row)`. A transaction that is dropped rolls back.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "matches on foreign values where only one kind matters"
)]

mod database;
mod def;
mod faults;
mod locks;
mod log;
mod lsn;
mod permission;
mod table;
mod transaction;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{SystemTime, UNIX_EPOCH};

pub use database::{
    Alias, Database, DatabaseOptions, Grant, Module, Objects, Principal, ReadPoint, Schema,
};
pub use def::{
    Action, Check, Column, Computed, DefaultConstraint, Filter, ForeignKey, Generated, Identity,
    Index, KeyColumn, TableDef, Temporal, edited, encode_part, successor,
};
pub use locks::{Locks, Mode, Patience};
pub use log::{ChangeKind, CommitRecord, DdlChange, DdlKind, Log, LogEntry, RowChange};
pub use lsn::Lsn;
pub use permission::{Scope as PermissionScope, Standing};
pub use table::{Cursor, KeyRange, Table};
pub use transaction::{Isolation, Mark, Part, RowUpdate, Transaction, WriteFailure};

use crate::value::Val;

/// The bytes of a row's place in its table; their order is the table's order.
pub type Key = Arc<[u8]>;

pub(crate) fn lock<T: ?Sized>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}
pub(crate) fn read<T: ?Sized>(l: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    l.read().unwrap_or_else(PoisonError::into_inner)
}
pub(crate) fn write<T: ?Sized>(l: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    l.write().unwrap_or_else(PoisonError::into_inner)
}

/// A name as dictionaries use it: names do not differ by case.
pub fn fold_name(name: &str) -> String {
    name.to_lowercase()
}

/// Whether two names are the same, without regard to case.
pub fn same_name(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b) || (!a.is_ascii() && fold_name(a) == fold_name(b))
}

/// A point in time by the server's clock: days since 0001-01-01 and 100 ns since midnight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    pub day: i32,
    pub ticks: u64,
}

const TICKS_PER_DAY: i64 = 864_000_000_000;
/// Days from 0001-01-01 to 1970-01-01 and to 1900-01-01.
const DAYS_TO_1970: i64 = 719_162;
const DAYS_TO_1900: i32 = 693_595;

impl Moment {
    fn of_ticks(since_1970: i64) -> Self {
        let day = since_1970.div_euclid(TICKS_PER_DAY) + DAYS_TO_1970;
        let ticks = since_1970.rem_euclid(TICKS_PER_DAY);
        Self {
            day: i32::try_from(day).unwrap_or_default(),
            ticks: u64::try_from(ticks).unwrap_or_default(),
        }
    }
    /// As `datetime`: rounded to 1/300 s.
    pub fn datetime(self) -> Val {
        let thirds = (self.ticks * 3 + 50_000) / 100_000;
        let (over, part) = (thirds / 25_920_000, thirds % 25_920_000);
        let day = self.day - DAYS_TO_1900 + i32::try_from(over).unwrap_or(0);
        Val::DateTime(day, u32::try_from(part).unwrap_or(0))
    }
    /// As `datetime2(7)`.
    pub fn datetime2(self) -> Val {
        Val::DateTime2(self.day, self.ticks)
    }
    /// 100 ns since 1970.
    pub fn unix_ticks(self) -> i64 {
        (i64::from(self.day) - DAYS_TO_1970) * TICKS_PER_DAY
            + i64::try_from(self.ticks).unwrap_or(0)
    }
    #[must_use]
    pub fn plus_minutes(self, minutes: i64) -> Self {
        Self::of_ticks(self.unix_ticks() + minutes * 600_000_000)
    }
}

/// The clock of the instance; a test can move it. Local time is UTC plus an offset.
#[derive(Debug, Default)]
pub struct Clock {
    shift_ticks: AtomicI64,
    offset_minutes: AtomicI64,
}

impl Clock {
    /// Coordinated universal time.
    pub fn utc(&self) -> Moment {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let ticks = i64::try_from(since.as_nanos() / 100).unwrap_or(i64::MAX);
        Moment::of_ticks(ticks + self.shift_ticks.load(Ordering::Relaxed))
    }
    /// The server's local time, as GETDATE() and commit times use it.
    pub fn now(&self) -> Moment {
        self.utc().plus_minutes(self.offset_minutes())
    }
    pub fn offset_minutes(&self) -> i64 {
        self.offset_minutes.load(Ordering::Relaxed)
    }
    pub fn set_offset_minutes(&self, minutes: i64) {
        self.offset_minutes.store(minutes, Ordering::Relaxed);
    }
    /// Moves the clock; 100 ns.
    pub fn shift(&self, ticks: i64) {
        self.shift_ticks.fetch_add(ticks, Ordering::Relaxed);
    }
}

/// A login.
#[derive(Clone, Debug)]
pub struct LoginDef {
    pub name: String,
    pub password: String,
    pub default_database: String,
    pub sysadmin: bool,
    pub disabled: bool,
}

/// A connected session, for sys.dm_exec_sessions.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    pub spid: u16,
    pub login: String,
    pub database: String,
    pub host: String,
    pub app: String,
    pub library: String,
    pub client_address: String,
    pub encrypted: bool,
    pub since: Moment,
    /// Number of the open transaction; 0: none.
    pub transaction: Arc<AtomicU64>,
    pub end: Arc<SessionEnd>,
}

/// How one session is ended by another: KILL, or a database that everybody has to leave.
#[derive(Debug, Default)]
pub struct SessionEnd {
    killed: std::sync::atomic::AtomicBool,
    notify: tokio::sync::Notify,
    stop: Mutex<Option<Arc<std::sync::atomic::AtomicBool>>>,
}

impl SessionEnd {
    /// Tells what stops a running request.
    pub fn stops(&self, flag: Arc<std::sync::atomic::AtomicBool>) {
        *lock(&self.stop) = Some(flag);
    }
    pub fn kill(&self) {
        self.killed.store(true, Ordering::SeqCst);
        if let Some(flag) = &*lock(&self.stop) {
            flag.store(true, Ordering::SeqCst);
        }
        self.notify.notify_one();
    }
    pub fn is_killed(&self) -> bool {
        self.killed.load(Ordering::SeqCst)
    }
    /// Returns when the session has been killed.
    pub async fn killed(&self) {
        while !self.is_killed() {
            self.notify.notified().await;
        }
    }
}

/// How the instance is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    pub server_name: String,
    pub sa_password: String,
    pub collation: String,
    pub capture_latency_ms: u64,
    pub idle_row_seconds: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            server_name: "STANDIN".to_owned(),
            sa_password: "Causeway!Passw0rd".to_owned(),
            collation: "SQL_Latin1_General_CP1_CI_AS".to_owned(),
            capture_latency_ms: 20,
            idle_row_seconds: 300,
        }
    }
}

/// The whole server.
#[derive(Debug)]
pub struct Instance {
    pub settings: Settings,
    pub clock: Arc<Clock>,
    pub started: Moment,
    pub(crate) locks: Locks,
    pub faults: faults::Faults,
    next_transaction: AtomicU64,
    next_database_id: AtomicI32,
    databases: RwLock<BTreeMap<String, Arc<Database>>>,
    pub logins: RwLock<BTreeMap<String, LoginDef>>,
    pub sessions: RwLock<BTreeMap<u16, SessionInfo>>,
    /// Every distinct SQL text that was run, up to a bound, for tools/tsql-check.
    sql_log: Mutex<std::collections::BTreeSet<String>>,
    /// Batches and remote procedure calls that clients have sent.
    pub requests: AtomicU64,
    /// sp_configure values, by folded name.
    pub configuration: RwLock<BTreeMap<String, i64>>,
    /// sp_getapplock and whatever else the catalog layer keeps for the instance.
    pub extension: Mutex<BTreeMap<&'static str, Arc<dyn std::any::Any + Send + Sync>>>,
}

/// More distinct texts than this are not remembered.
const SQL_LOG_LIMIT: usize = 20_000;

impl Instance {
    pub fn new(settings: Settings) -> Arc<Self> {
        let clock = Arc::new(Clock::default());
        let sa = LoginDef {
            name: "sa".to_owned(),
            password: settings.sa_password.clone(),
            default_database: "master".to_owned(),
            sysadmin: true,
            disabled: false,
        };
        let instance = Arc::new(Self {
            started: clock.now(),
            clock,
            locks: Locks::default(),
            faults: faults::Faults::default(),
            next_transaction: AtomicU64::new(1_000),
            next_database_id: AtomicI32::new(1),
            databases: RwLock::new(BTreeMap::new()),
            logins: RwLock::new(BTreeMap::from([("sa".to_owned(), sa)])),
            sessions: RwLock::new(BTreeMap::new()),
            sql_log: Mutex::default(),
            requests: AtomicU64::new(0),
            configuration: RwLock::new(BTreeMap::new()),
            extension: Mutex::default(),
            settings,
        });
        for name in ["master", "tempdb", "model", "msdb"] {
            instance.create_database(name, None);
        }
        instance
    }

    /// None when there is a database of that name already.
    pub fn create_database(&self, name: &str, collation: Option<&str>) -> Option<Arc<Database>> {
        let mut all = write(&self.databases);
        if all.contains_key(&fold_name(name)) {
            return None;
        }
        let id = self.next_database_id.fetch_add(1, Ordering::SeqCst);
        let collation = collation.unwrap_or(&self.settings.collation);
        let db = Arc::new(Database::new(id, name, collation, Arc::clone(&self.clock)));
        all.insert(fold_name(name), Arc::clone(&db));
        Some(db)
    }

    pub fn drop_database(&self, name: &str) -> Option<Arc<Database>> {
        write(&self.databases).remove(&fold_name(name))
    }

    pub fn rename_database(&self, old: &str, new: &str) -> bool {
        let mut all = write(&self.databases);
        if all.contains_key(&fold_name(new)) {
            return false;
        }
        let Some(db) = all.remove(&fold_name(old)) else { return false };
        db.set_name(new);
        all.insert(fold_name(new), db);
        true
    }

    pub fn database(&self, name: &str) -> Option<Arc<Database>> {
        read(&self.databases).get(&fold_name(name)).cloned()
    }

    pub fn database_by_id(&self, id: i32) -> Option<Arc<Database>> {
        read(&self.databases).values().find(|d| d.id == id).cloned()
    }

    /// In the order of their ids.
    pub fn databases(&self) -> Vec<Arc<Database>> {
        let mut all: Vec<_> = read(&self.databases).values().cloned().collect();
        all.sort_by_key(|d| d.id);
        all
    }

    pub fn tempdb(&self) -> Arc<Database> {
        self.database("tempdb").unwrap_or_else(|| {
            // Nobody can drop tempdb; a database made here keeps the type simple.
            Arc::new(Database::new(2, "tempdb", &self.settings.collation, Arc::clone(&self.clock)))
        })
    }

    /// Whether a login may enter.
    pub fn authenticate(&self, user: &str, password: &str) -> bool {
        let logins = read(&self.logins);
        logins.get(&fold_name(user)).is_some_and(|l| !l.disabled && l.password == password)
    }

    pub(crate) fn remember_sql(&self, sql: &str) {
        let mut log = lock(&self.sql_log);
        if log.len() < SQL_LOG_LIMIT && !log.contains(sql) {
            log.insert(sql.to_owned());
        }
    }

    /// The distinct SQL texts so far.
    pub fn sql_log(&self) -> Vec<String> {
        lock(&self.sql_log).iter().cloned().collect()
    }
}
