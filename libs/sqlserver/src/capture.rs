//! What can be seen of SQL Server's capture job: what it did, and how it is set.

use causeway_change::time::TICKS_PER_SECOND;

use crate::{Client, Record, SqlServerError, queries};

/// Sessions that are read.
const SESSIONS: usize = 8;

/// One session of the capture job, as `sys.dm_cdc_log_scan_sessions` shows it. Times are of the server's wall
/// clock, in milliseconds since 1970.
/// <https://learn.microsoft.com/sql/relational-databases/system-dynamic-management-views/change-data-capture-sys-dm-cdc-log-scan-sessions>
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanSession {
    /// Its number; they grow.
    pub session_id: i64,
    /// When it began.
    pub start_ms: i64,
    /// When it ended.
    pub end_ms: i64,
    /// Transactions that it took from the log.
    pub transactions: i64,
    /// How old its last change was when the session ended, in milliseconds; 0 when it captured nothing.
    pub latency_ms: i64,
    /// Sessions since that found nothing.
    pub empty_scans: i64,
    /// False while it goes on.
    pub is_done: bool,
}

/// How the capture job is set; the default is SQL Server's.
/// <https://learn.microsoft.com/sql/relational-databases/system-stored-procedures/sys-sp-cdc-add-job-transact-sql>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaptureJob {
    /// Transactions that a scan takes, at most.
    pub maxtrans: i64,
    /// Scans before it sleeps.
    pub maxscans: i64,
    /// False when a schedule starts it.
    pub is_continuous: bool,
    /// Seconds that it sleeps.
    pub pause_s: i64,
}

impl Default for CaptureJob {
    fn default() -> Self {
        Self { maxtrans: 500, maxscans: 10, is_continuous: true, pause_s: 5 }
    }
}

/// The newest sessions, the newest first. Needs VIEW DATABASE STATE; none on a secondary replica.
pub async fn scan_sessions(client: &mut Client) -> Result<Vec<ScanSession>, SqlServerError> {
    client.all(&queries::scan_sessions(SESSIONS)).await?.iter().map(session).collect()
}

fn session(record: &Record) -> Result<ScanSession, SqlServerError> {
    let milliseconds = |column: usize| -> Result<Option<i64>, SqlServerError> {
        Ok(record.date_time(column)?.map(|ticks| ticks.div_euclid(TICKS_PER_SECOND / 1000)))
    };
    let start_ms = milliseconds(1)?.unwrap_or(0);
    let end_ms = milliseconds(2)?.unwrap_or(start_ms);
    let captured = milliseconds(4)?;
    Ok(ScanSession {
        session_id: record.required_number(0)?,
        start_ms,
        end_ms,
        transactions: record.number(3)?.unwrap_or(0),
        latency_ms: captured.map_or(0, |captured| (end_ms - captured).max(0)),
        empty_scans: record.number(5)?.unwrap_or(0),
        is_done: record.text(6)?.is_none_or(|phase| phase.trim().eq_ignore_ascii_case("Done")),
    })
}

/// How the capture job is set; none without the right to see it (db_owner), and where there is no job.
pub async fn capture_job(client: &mut Client) -> Result<Option<CaptureJob>, SqlServerError> {
    let records = match client.all(&queries::cdc_jobs()).await {
        Ok(records) => records,
        Err(error)
            if error.is_permission()
                || error.is_missing_object()
                // No such procedure; not a member of the role that may run it.
                || matches!(error.number(), Some(2812 | 22904 | 22950 | 22963)) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    for record in &records {
        if record.text(1)?.is_some_and(|kind| kind.trim() == "capture") {
            let default = CaptureJob::default();
            return Ok(Some(CaptureJob {
                maxtrans: record.number(3)?.unwrap_or(default.maxtrans),
                maxscans: record.number(4)?.unwrap_or(default.maxscans),
                is_continuous: record.number(5)?.is_none_or(|n| n != 0),
                pause_s: record.number(6)?.unwrap_or(default.pause_s),
            }));
        }
    }
    Ok(None)
}

impl ScanSession {
    /// What tells two looks apart: a later look with the same has seen no scan in between.
    #[must_use]
    pub fn mark(&self) -> (i64, i64) {
        (self.session_id, self.empty_scans)
    }
}
