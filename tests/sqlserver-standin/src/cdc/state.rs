//! What CDC keeps in memory: of the instance (controls of the capture job) and of each database (the job's sessions,
//! its parameters).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Instant;

use crate::store::{Database, Instance, Lsn, Moment, lock, read, write};

/// Controls of every capture job of a server; for tests.
#[derive(Debug)]
pub struct Control {
    paused: AtomicBool,
    /// Read by a job that scans, so that `pause` can wait for it.
    running: RwLock<()>,
    latency_ms: AtomicU64,
    idle_row_seconds: AtomicU64,
    /// Change tables are made without `__$command_id`, as before the update that brought it.
    without_command_id: AtomicBool,
}

impl Control {
    /// Nothing is captured until `resume`. A scan that has begun ends first.
    pub fn pause(&self) {
        self.paused.store(true, Ordering::SeqCst);
        drop(write(&self.running));
    }

    /// Does `scan` unless the jobs are paused, and keeps `pause` waiting meanwhile.
    pub(crate) fn unless_paused<T>(&self, scan: impl FnOnce() -> T) -> Option<T> {
        let _running = read(&self.running);
        (!self.is_paused()).then(scan)
    }

    /// Undoes `pause`.
    pub fn resume(&self) {
        self.paused.store(false, Ordering::SeqCst);
    }

    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::SeqCst)
    }

    /// Time between a commit and its capture, in milliseconds.
    pub fn set_latency_ms(&self, ms: u64) {
        self.latency_ms.store(ms, Ordering::SeqCst);
    }

    pub fn latency_ms(&self) -> u64 {
        self.latency_ms.load(Ordering::SeqCst)
    }

    /// Time between two idle rows of `cdc.lsn_time_mapping`, in seconds.
    pub fn set_idle_row_seconds(&self, seconds: u64) {
        self.idle_row_seconds.store(seconds, Ordering::SeqCst);
    }

    pub(crate) fn idle_row_seconds(&self) -> u64 {
        self.idle_row_seconds.load(Ordering::SeqCst)
    }

    /// Whether new change tables lack `__$command_id`.
    pub fn set_without_command_id(&self, without: bool) {
        self.without_command_id.store(without, Ordering::SeqCst);
    }

    pub(crate) fn without_command_id(&self) -> bool {
        self.without_command_id.load(Ordering::SeqCst)
    }
}

/// The controls of `instance`'s capture jobs.
pub fn control(instance: &Instance) -> Arc<Control> {
    let mut all = lock(&instance.extension);
    let any = all.entry("cdc").or_insert_with(|| {
        Arc::new(Control {
            paused: AtomicBool::new(false),
            running: RwLock::new(()),
            latency_ms: AtomicU64::new(instance.settings.capture_latency_ms),
            idle_row_seconds: AtomicU64::new(instance.settings.idle_row_seconds),
            without_command_id: AtomicBool::new(false),
        })
    });
    Arc::clone(any)
        .downcast()
        .unwrap_or_else(|_| unreachable!("the entry `cdc` is only written here"))
}

/// A scan of the log, as `sys.dm_cdc_log_scan_sessions` shows it.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) id: i32,
    pub(crate) start: Moment,
    pub(crate) end: Moment,
    pub(crate) start_lsn: Option<Lsn>,
    pub(crate) end_lsn: Option<Lsn>,
    pub(crate) transactions: i64,
    pub(crate) last_commit: Option<(Lsn, Moment)>,
    /// First and last commit that left rows in a change table.
    pub(crate) captured: Option<(Lsn, Lsn, Moment)>,
    pub(crate) records: i64,
    pub(crate) schema_changes: i64,
    pub(crate) commands: i64,
    pub(crate) empty_scans: i64,
}

/// Parameters of the capture job.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CaptureJob {
    pub(crate) id: [u8; 16],
    pub(crate) maxtrans: i64,
    pub(crate) maxscans: i64,
    pub(crate) continuous: bool,
    pub(crate) pollinginterval: i64,
}

/// Parameters of the cleanup job.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CleanupJob {
    pub(crate) id: [u8; 16],
    pub(crate) retention: i64,
    pub(crate) threshold: i64,
}

impl CaptureJob {
    pub(crate) fn new(database: i32) -> Self {
        Self {
            id: job_id(database, 1),
            maxtrans: 500,
            maxscans: 10,
            continuous: true,
            pollinginterval: 5,
        }
    }
}

impl CleanupJob {
    pub(crate) fn new(database: i32) -> Self {
        Self { id: job_id(database, 2), retention: 4320, threshold: 5000 }
    }
}

fn job_id(database: i32, kind: u8) -> [u8; 16] {
    let mut id = *b"\xc5\xda\x7a\x01\x00\x00\x40\x00\x80\x00\x00\x00\x00\x00\x00\x00";
    for (to, from) in id.iter_mut().skip(11).zip(database.to_be_bytes()) {
        *to = from;
    }
    if let Some(last) = id.last_mut() {
        *last = kind;
    }
    id
}

/// The jobs of a database.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Jobs {
    pub(crate) capture: Option<CaptureJob>,
    pub(crate) cleanup: Option<CleanupJob>,
}

/// What CDC keeps of a database in which it is enabled.
#[derive(Debug)]
pub(crate) struct State {
    /// Ends the capture thread for good.
    pub(crate) ended: AtomicBool,
    /// `sp_cdc_stop_job`: the thread lives but scans nothing.
    pub(crate) stopped: AtomicBool,
    /// Held by whoever scans the log.
    pub(crate) scanning: Mutex<()>,
    pub(crate) sessions: Mutex<VecDeque<Session>>,
    pub(crate) jobs: Mutex<Jobs>,
    /// When the last row of `lsn_time_mapping` was written.
    pub(crate) last_row: Mutex<Instant>,
}

/// As many sessions as SQL Server keeps.
const SESSIONS: usize = 32;

impl State {
    pub(crate) fn new() -> Self {
        Self {
            ended: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            scanning: Mutex::new(()),
            sessions: Mutex::new(VecDeque::new()),
            jobs: Mutex::new(Jobs::default()),
            last_row: Mutex::new(Instant::now()),
        }
    }

    /// A scan that found nothing: the newest session grows when it has found nothing yet, or a new one begins.
    /// Microsoft's page on the view counts "consecutive sessions that contained no transactions"; Debezium takes a
    /// transaction for ended when the newest session begins at LSN zero, so an idle scan is not told of in the session
    /// of the last transaction.
    pub(crate) fn empty_scan(&self, now: Moment) {
        let mut sessions = lock(&self.sessions);
        match sessions.back_mut() {
            Some(newest) if newest.transactions == 0 => {
                newest.end = now;
                newest.empty_scans += 1;
            }
            _ => {
                let session = Session { empty_scans: 1, ..Session::at(0, now, now) };
                Self::add(&mut sessions, session);
            }
        }
    }

    /// A scan that found something.
    pub(crate) fn full_scan(&self, session: Session) {
        Self::add(&mut lock(&self.sessions), session);
    }

    fn add(sessions: &mut VecDeque<Session>, mut session: Session) {
        session.id = sessions.back().map_or(1, |newest| newest.id + 1);
        sessions.push_back(session);
        while sessions.len() > SESSIONS {
            sessions.pop_front();
        }
    }
}

impl Session {
    pub(crate) fn at(id: i32, start: Moment, end: Moment) -> Self {
        Self {
            id,
            start,
            end,
            start_lsn: None,
            end_lsn: None,
            transactions: 0,
            last_commit: None,
            captured: None,
            records: 0,
            schema_changes: 0,
            commands: 0,
            empty_scans: 0,
        }
    }
}

/// The state of a database, when CDC is enabled there.
pub(crate) fn state(database: &Database) -> Option<Arc<State>> {
    lock(&database.cdc).clone().and_then(|any| any.downcast().ok())
}
