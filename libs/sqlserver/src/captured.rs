//! When everything that was committed at one moment is captured. Pure; the one place of this rule.
//!
//! Who reads a table beside its changes (a chunk of a copy, a comparison) must know when the changes that the read
//! has seen are all in the change tables. SQL Server does not say it in one word:
//!
//! 1. The last captured transaction has reached the end that the log had at the moment.
//! 2. A scan of the capture job that *began* after the moment found nothing more. The server counts empty scans:
//!    the first that is counted after the moment may have begun before it, the second cannot. When a scan that found
//!    something came in between, the first empty one after it cannot either.
//! 3. A login that may see neither, and a secondary replica, have only a time that is longer than the capture job
//!    ever takes. A capture job that stands still is not noticed then.

use std::time::Duration;

use causeway_change::Lsn;

use crate::log::Scan;

/// What can be seen of the capture job's scans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scans {
    /// Nothing: the login may not see them, or the server does not show them.
    Hidden,
    /// No scan has been recorded.
    None,
    /// The newest.
    Newest(Scan),
}

/// Where the log and the capture job were at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The live end of the log; `None` when it may not be seen.
    pub log_end: Option<Lsn>,
    /// What could be seen of the capture job.
    pub scans: Scans,
}

/// How it is known that capture has passed a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// The last captured transaction has reached the end that the log had.
    Log,
    /// A scan that began after the mark found nothing more.
    Scan,
    /// Nothing could be seen, and the time is over.
    Time,
}

/// Whether everything that was committed at the mark is captured, and how that is known; `None` as long as it is
/// not.
///
/// `scans` and `max_lsn` (the last captured transaction) were read after the mark, in this order; `waited` is the
/// time since the mark, `settle` a time that is longer than the capture job ever takes.
#[must_use]
pub fn passed(
    mark: &Mark,
    scans: Scans,
    max_lsn: Option<Lsn>,
    waited: Duration,
    settle: Duration,
) -> Option<Passed> {
    if let (Some(end), Some(max)) = (mark.log_end, max_lsn)
        && max >= end
    {
        return Some(Passed::Log);
    }
    let (seen, blind) = match (mark.scans, scans) {
        (Scans::Newest(then), Scans::Newest(now)) if then.session_id == now.session_id => {
            (now.empty_scans >= then.empty_scans + 2, false)
        }
        (Scans::Newest(then), Scans::Newest(now)) => {
            (now.session_id > then.session_id && now.empty_scans >= 1, false)
        }
        // The first scan ever recorded may have begun before the mark, and may have been an empty one.
        (Scans::None, Scans::Newest(now)) => (now.empty_scans >= 2, false),
        // No scan was ever recorded: the capture job does not run. Only a replica, which shows neither scans nor
        // the end of the log, leaves it open.
        (Scans::Newest(_) | Scans::None, Scans::None) => (false, mark.log_end.is_none()),
        // With the end of the log in sight but not the scans, an idle database would wait for ever.
        (_, Scans::Hidden) => (false, true),
        (Scans::Hidden, _) => (false, mark.log_end.is_none()),
    };
    if seen { Some(Passed::Scan) } else { (blind && waited >= settle).then_some(Passed::Time) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lsn(n: u16) -> Option<Lsn> {
        Some(Lsn::from_parts(0, 0, n))
    }

    fn scan(session_id: i64, empty_scans: i64) -> Scans {
        Scans::Newest(Scan { session_id, empty_scans, latency_s: None })
    }

    #[test]
    fn capture_has_passed_a_mark_when_the_server_says_so() {
        let mark = |log_end, scans| Mark { log_end, scans };
        let (hidden, none) = (Scans::Hidden, Scans::None);
        let cases = [
            // The last captured transaction has reached the end that the log had.
            (mark(lsn(5), hidden), hidden, lsn(5), 0, Some(Passed::Log)),
            (mark(lsn(5), scan(3, 0)), scan(3, 0), lsn(5), 0, Some(Passed::Log)),
            (mark(lsn(5), scan(3, 0)), scan(3, 0), lsn(4), 0, None),
            // One empty scan may have begun before the mark, the second not.
            (mark(lsn(5), scan(3, 7)), scan(3, 8), lsn(4), 0, None),
            (mark(lsn(5), scan(3, 7)), scan(3, 9), lsn(4), 0, Some(Passed::Scan)),
            // A scan that found something, then an empty one.
            (mark(lsn(5), scan(3, 7)), scan(4, 0), lsn(4), 0, None),
            (mark(lsn(5), scan(3, 7)), scan(4, 1), lsn(4), 0, Some(Passed::Scan)),
            // Nothing was ever captured.
            (mark(lsn(5), scan(3, 7)), scan(3, 9), None, 0, Some(Passed::Scan)),
            // The capture job starts: its first scan may have begun before the mark.
            (mark(lsn(5), none), scan(1, 1), lsn(4), 99, None),
            (mark(lsn(5), none), scan(1, 2), lsn(4), 0, Some(Passed::Scan)),
            // It stands still: no time makes that better.
            (mark(lsn(5), scan(3, 7)), scan(3, 7), lsn(4), 99, None),
            (mark(lsn(5), none), none, lsn(4), 99, None),
            // No rights, or a replica: time must do.
            (mark(None, hidden), hidden, lsn(4), 4, None),
            (mark(None, hidden), hidden, lsn(4), 5, Some(Passed::Time)),
            (mark(lsn(5), hidden), hidden, lsn(4), 5, Some(Passed::Time)),
            (mark(None, none), none, lsn(4), 5, Some(Passed::Time)),
        ];
        for (i, (mark, scans, max, waited, expected)) in cases.into_iter().enumerate() {
            let (waited, settle) = (Duration::from_secs(waited), Duration::from_secs(5));
            assert_eq!(passed(&mark, scans, max, waited, settle), expected, "case {i}");
        }
    }
}
