//! Pure: whether SQL Server's own capture job is what changes wait for, and which call helps.
//!
//! Changes reach a change table only when the capture job has read them from the log. By default it takes at
//! most 500 x 10 transactions and then sleeps for 5 s, which is a limit of about a thousand transactions a
//! second and a latency of up to five seconds, whatever reads the change tables afterwards. What it did is in
//! `sys.dm_cdc_log_scan_sessions`; how it is set, in `sys.sp_cdc_help_jobs`.
//! <https://learn.microsoft.com/sql/relational-databases/system-stored-procedures/sys-sp-cdc-change-job-transact-sql>

use std::time::Duration;

use causeway_sqlserver::capture::{CaptureJob, ScanSession};

/// Sessions that must agree before anything is said.
const SESSIONS: usize = 3;
/// Of the time between two scans: above it the job does not sleep, it works.
const BUSY: f64 = 0.8;
/// A slow job is worth a word when changes are this much older than their capture, in milliseconds.
const SLOW_MS: i64 = 2_000;
/// A job that sleeps for less than this is not what anybody waits for, in seconds.
const PAUSE_S: i64 = 2;
/// A job that has not scanned for this long does not run, whatever its pause is.
const STILL: Duration = Duration::from_secs(60);
/// Transactions that we advise one scan to take, at most: they are held in memory.
const MAXTRANS_MAX: i64 = 10_000;

/// What could be seen of the capture job.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Its newest sessions, the newest first.
    pub sessions: Vec<ScanSession>,
    /// How it is set; none when the login may not see that.
    pub job: Option<CaptureJob>,
    /// The log goes on behind what is captured.
    pub is_behind: bool,
    /// For how long the sessions have been the same, the empty scans counted.
    pub still: Duration,
}

/// What the capture job is to the latency and the throughput of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Nothing could be seen.
    Unknown,
    /// It keeps up, and does not sleep for long.
    None,
    /// It keeps up, but sleeps for so many seconds between two scans, and changes wait for it.
    Pause(i64),
    /// Scans take as many transactions as they may, and the job sleeps though there are more.
    Full,
    /// It works all the time and is behind: no setting makes it faster.
    Slow,
    /// It does not scan, and the log goes on.
    Stopped,
}

impl Limit {
    /// All of them.
    pub const NAMES: [&str; 4] = ["pause", "full", "slow", "stopped"];

    /// The word for it in the status and the metric; none when it is no limit.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Unknown | Self::None => None,
            Self::Pause(_) => Some("pause"),
            Self::Full => Some("full"),
            Self::Slow => Some("slow"),
            Self::Stopped => Some("stopped"),
        }
    }

    /// True when changes pile up: an operator must act.
    #[must_use]
    pub fn is_serious(self) -> bool {
        match self {
            Self::Full | Self::Slow | Self::Stopped => true,
            Self::Unknown | Self::None | Self::Pause(_) => false,
        }
    }
}

/// What we say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// What the capture job is.
    pub limit: Limit,
    /// In words; empty when there is nothing to say.
    pub text: String,
    /// The T-SQL that helps.
    pub call: Option<String>,
}

impl Advice {
    /// Nothing to say.
    #[must_use]
    pub fn none(limit: Limit) -> Self {
        Self { limit, text: String::new(), call: None }
    }
}

/// Judges the capture job.
#[must_use]
pub fn advise(seen: &Seen) -> Advice {
    let job = seen.job.unwrap_or_default();
    let assumed = if seen.job.is_some() { "" } else { " (assumed: the login may not see the job)" };
    let Some(newest) = seen.sessions.first() else {
        return Advice::none(Limit::Unknown);
    };
    let patience = STILL.max(Duration::from_secs(u64::try_from(job.pause_s * 4).unwrap_or(0)));
    if seen.is_behind && job.is_continuous && newest.is_done && seen.still >= patience {
        return Advice {
            limit: Limit::Stopped,
            text: format!(
                "the capture job has not scanned the log for {} s, and there is more in it",
                seen.still.as_secs()
            ),
            call: Some("EXEC sys.sp_cdc_start_job @job_type = N'capture';".to_owned()),
        };
    }
    let caught_up = newest.empty_scans > 0 || !seen.is_behind;
    if !caught_up && seen.sessions.len() >= SESSIONS {
        let last: Vec<&ScanSession> = seen.sessions.iter().take(SESSIONS).collect();
        let most = job.maxtrans.saturating_mul(job.maxscans);
        // Whether a session is a cycle of `maxscans` scans or one of them differs between versions.
        let is_full = |s: &&ScanSession| s.transactions >= most || s.transactions == job.maxtrans;
        if busy(&last) >= BUSY {
            if newest.latency_ms >= SLOW_MS {
                return slow(&last);
            }
        } else if last.iter().all(is_full) {
            return full(&job, most, assumed);
        }
    }
    if job.is_continuous && job.pause_s >= PAUSE_S {
        return Advice {
            limit: Limit::Pause(job.pause_s),
            text: format!(
                "the capture job sleeps for {} s{assumed} between two scans of the log: a change waits \
                 for up to as long before it can be read",
                job.pause_s
            ),
            call: Some(change(None, 1)),
        };
    }
    Advice::none(Limit::None)
}

/// The part of the time that the sessions worked, from the start of the oldest to the end of the newest.
fn busy(sessions: &[&ScanSession]) -> f64 {
    let (Some(newest), Some(oldest)) = (sessions.first(), sessions.last()) else { return 0.0 };
    let whole = newest.end_ms - oldest.start_ms;
    let worked: i64 = sessions.iter().map(|s| (s.end_ms - s.start_ms).max(0)).sum();
    if whole <= 0 { 0.0 } else { as_f64(worked) / as_f64(whole) }
}

fn as_f64(milliseconds: i64) -> f64 {
    f64::from(i32::try_from(milliseconds).unwrap_or(i32::MAX))
}

fn full(job: &CaptureJob, most: i64, assumed: &str) -> Advice {
    let maxtrans = (job.maxtrans.saturating_mul(10)).clamp(1, MAXTRANS_MAX.max(job.maxtrans));
    let pause = job.pause_s.min(1);
    Advice {
        limit: Limit::Full,
        text: format!(
            "the capture job takes {most} transactions at a time, which is all that it may ({} x {}{assumed}), \
             and then sleeps for {} s though there are more: it is what changes wait for",
            job.maxtrans, job.maxscans, job.pause_s
        ),
        call: Some(change(Some(maxtrans), pause)),
    }
}

fn slow(last: &[&ScanSession]) -> Advice {
    let transactions: i64 = last.iter().map(|s| s.transactions).sum();
    let worked: i64 = last.iter().map(|s| (s.end_ms - s.start_ms).max(1)).sum();
    Advice {
        limit: Limit::Slow,
        text: format!(
            "the capture job works all the time, takes {} transactions a second, and changes are {} s old when \
             they are captured: no setting of the job makes it faster. Fewer captured columns and tables, \
             larger transactions or a faster disk for the log do",
            transactions.saturating_mul(1000) / worked,
            last.first().map_or(0, |s| s.latency_ms / 1000),
        ),
        call: None,
    }
}

/// The call that changes the job; it takes effect when the job starts again.
fn change(maxtrans: Option<i64>, pause_s: i64) -> String {
    let maxtrans = maxtrans.map_or_else(String::new, |n| format!(", @maxtrans = {n}"));
    format!(
        "EXEC sys.sp_cdc_change_job @job_type = N'capture'{maxtrans}, @pollinginterval = {pause_s}; \
         EXEC sys.sp_cdc_stop_job @job_type = N'capture'; EXEC sys.sp_cdc_start_job @job_type = N'capture';"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sessions that end at the given seconds, the newest first, each of so many transactions.
    fn sessions(ends: &[i64], duration_ms: i64, transactions: i64) -> Vec<ScanSession> {
        ends.iter()
            .map(|end| ScanSession {
                session_id: *end,
                start_ms: end * 1000 - duration_ms,
                end_ms: end * 1000,
                transactions,
                latency_ms: 7_000,
                empty_scans: 0,
                is_done: true,
            })
            .collect()
    }

    fn seen(sessions: Vec<ScanSession>) -> Seen {
        let job = Some(CaptureJob::default());
        Seen { sessions, job, is_behind: true, still: Duration::ZERO }
    }

    #[test]
    fn full_scans_with_pauses_between_are_the_limit() {
        let advice = advise(&seen(sessions(&[30, 24, 18], 1000, 5000)));
        assert_eq!(advice.limit, Limit::Full);
        assert_eq!(
            advice.call.as_deref(),
            Some(
                "EXEC sys.sp_cdc_change_job @job_type = N'capture', @maxtrans = 5000, @pollinginterval = 1; \
                 EXEC sys.sp_cdc_stop_job @job_type = N'capture'; \
                 EXEC sys.sp_cdc_start_job @job_type = N'capture';"
            )
        );
        assert!(advice.text.contains("500 x 10)"), "{}", advice.text);
        // A session of one scan only, as some versions count.
        assert_eq!(advise(&seen(sessions(&[30, 24, 18], 1000, 500))).limit, Limit::Full);
        // Who may not see the job is told what was assumed.
        let mut hidden = seen(sessions(&[30, 24, 18], 1000, 5000));
        hidden.job = None;
        assert!(advise(&hidden).text.contains("assumed"), "{}", advise(&hidden).text);
    }

    #[test]
    fn a_job_that_never_sleeps_is_slow_and_no_call_helps() {
        let advice = advise(&seen(sessions(&[30, 24, 18], 5_900, 5000)));
        assert_eq!((advice.limit, advice.call), (Limit::Slow, None));
        assert!(advice.text.contains("847 transactions a second"), "{}", advice.text);
    }

    #[test]
    fn a_job_that_keeps_up_only_sleeps() {
        // Scans that are not full, that were followed by an empty one, or of which there are too few.
        let mut caught_up = seen(sessions(&[30, 24, 18], 1000, 5000));
        caught_up.sessions[0].empty_scans = 1;
        let mut at_the_end = seen(sessions(&[30, 24, 18], 1000, 5000));
        at_the_end.is_behind = false;
        for seen in [
            seen(sessions(&[30, 24, 18], 1000, 4999)),
            seen(sessions(&[30, 24], 1000, 5000)),
            caught_up,
            at_the_end,
        ] {
            let advice = advise(&seen);
            assert_eq!(advice.limit, Limit::Pause(5), "{seen:?}");
            assert!(advice.call.is_some_and(|call| call.contains("@pollinginterval = 1;")));
        }
        let mut quick = seen(sessions(&[30, 29, 28], 10, 3));
        quick.job = Some(CaptureJob { pause_s: 1, ..CaptureJob::default() });
        assert_eq!(advise(&quick), Advice::none(Limit::None));
    }

    #[test]
    fn a_job_that_has_stopped_is_noticed_by_what_stands_still() {
        let mut seen = seen(sessions(&[30, 24, 18], 1000, 3));
        seen.still = Duration::from_secs(59);
        assert_eq!(advise(&seen).limit, Limit::Pause(5));
        seen.still = Duration::from_secs(61);
        let advice = advise(&seen);
        assert_eq!(advice.limit, Limit::Stopped);
        assert!(advice.call.is_some_and(|call| call.contains("sp_cdc_start_job")));
        // One long scan is not a stop, nor is an idle log, nor a job that a schedule starts.
        seen.sessions[0].is_done = false;
        assert_eq!(advise(&seen).limit, Limit::Pause(5));
        seen.sessions[0].is_done = true;
        seen.is_behind = false;
        assert_eq!(advise(&seen).limit, Limit::Pause(5));
        seen.is_behind = true;
        seen.job = Some(CaptureJob { is_continuous: false, ..CaptureJob::default() });
        assert_eq!(advise(&seen), Advice::none(Limit::None));
        assert_eq!(advise(&Seen::default()), Advice::none(Limit::Unknown));
    }

    #[test]
    fn the_names_are_those_of_the_limits() {
        let limits = [Limit::Pause(5), Limit::Full, Limit::Slow, Limit::Stopped];
        assert_eq!(limits.map(|limit| limit.name().unwrap()), Limit::NAMES);
    }
}
