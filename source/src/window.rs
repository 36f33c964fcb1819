//! Pure: which rows of a snapshot chunk the stream has overtaken, and when a chunk may be published.
//!
//! A chunk is read while changes go on. Its *window* opens before the read; from then on the stream notes
//! the key of every event that it publishes of the table. The chunk waits until the stream has published
//! everything that was committed before the read ended. Then its rows are published, but for those whose
//! key was noted: of these the stream has said something at least as new. So nothing is lost, and no row
//! goes back to an older state.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use causeway_change::Lsn;
use causeway_sqlserver::log::Scan;

/// The windows that are open, for all tables.
#[derive(Debug, Default)]
pub struct Windows {
    tables: HashMap<usize, TableWindows>,
}

#[derive(Debug, Default)]
struct TableWindows {
    /// Number of the window that was opened last.
    clock: u64,
    /// Windows that are open, and how often each number was given out (once).
    open: BTreeMap<u64, ()>,
    /// For each key the window that was the newest when it was noted last.
    noted: HashMap<u128, u64>,
}

/// A window that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    table: usize,
    number: u64,
}

impl Windows {
    /// Opens a window on a table.
    pub fn open(&mut self, table: usize) -> Opened {
        let windows = self.tables.entry(table).or_default();
        windows.clock += 1;
        windows.open.insert(windows.clock, ());
        Opened { table, number: windows.clock }
    }

    /// Notes that the stream publishes an event of this key.
    pub fn note(&mut self, table: usize, key: u128) {
        if let Some(windows) = self.tables.get_mut(&table)
            && !windows.open.is_empty()
        {
            windows.noted.insert(key, windows.clock);
        }
    }

    /// True when the key was noted since the window was opened.
    #[must_use]
    pub fn is_noted(&self, window: Opened, key: u128) -> bool {
        self.tables
            .get(&window.table)
            .and_then(|windows| windows.noted.get(&key))
            .is_some_and(|noted| *noted >= window.number)
    }

    /// Closes a window, and forgets keys that no open window needs.
    pub fn close(&mut self, window: Opened) {
        if let Some(windows) = self.tables.get_mut(&window.table) {
            windows.open.remove(&window.number);
            match windows.open.keys().next().copied() {
                None => windows.noted = HashMap::new(),
                Some(oldest) if windows.noted.len() > 100_000 => {
                    windows.noted.retain(|_, noted| *noted >= oldest);
                }
                Some(_) => {}
            }
        }
    }

    /// True when no window of the table is open.
    #[must_use]
    pub fn is_closed(&self, table: usize) -> bool {
        self.tables.get(&table).is_none_or(|windows| windows.open.is_empty())
    }
}

/// Where the log and the capture job were when the read of a chunk had ended.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    /// The live end of the log; `None` when the login may not see it.
    pub log_end: Option<Lsn>,
    /// What could be seen of the capture job.
    pub scans: Scans,
    /// When the read ended, by our clock.
    pub at: Instant,
}

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

/// Up to where the stream must have published before the chunk may be; `None` as long as that is not
/// known.
///
/// `scans` and `max_lsn` (the last captured transaction) were read after the mark, in this order.
///
/// 1. `max_lsn` has reached the end that the log had: everything up to it is captured.
/// 2. A scan that *began* after the mark found nothing more: everything that was committed at the mark is
///    captured. The server counts empty scans: the first that we see counted may have begun before the
///    mark, the second cannot. When a scan that found something came in between, the first empty one
///    after it cannot either.
/// 3. Without sight of either, a time that is longer than the capture job ever takes.
#[must_use]
pub fn passes_at(
    mark: &Mark,
    scans: Scans,
    max_lsn: Option<Lsn>,
    now: Instant,
    settle: Duration,
) -> Option<Lsn> {
    if let (Some(end), Some(max)) = (mark.log_end, max_lsn)
        && max >= end
    {
        return Some(max);
    }
    let captured = max_lsn.unwrap_or(Lsn::ZERO);
    let seen = match (mark.scans, scans) {
        (Scans::Newest(then), Scans::Newest(now)) if then.session_id == now.session_id => {
            now.empty_scans >= then.empty_scans + 2
        }
        (Scans::Newest(then), Scans::Newest(now)) => {
            now.session_id > then.session_id && now.empty_scans >= 1
        }
        // The first scan ever recorded may have begun before the mark.
        (Scans::None, Scans::Newest(now)) => now.empty_scans >= 1,
        (Scans::Newest(_) | Scans::None, Scans::None) => false,
        (Scans::Hidden, _) | (_, Scans::Hidden) => {
            mark.log_end.is_none() && now.saturating_duration_since(mark.at) >= settle
        }
    };
    // With the end of the log in sight but not the scans, an idle database would wait for ever.
    let waited = scans == Scans::Hidden && now.saturating_duration_since(mark.at) >= settle;
    (seen || waited).then_some(captured)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_noted_since_the_window_was_opened_count() {
        let mut windows = Windows::default();
        windows.note(0, 1);
        let first = windows.open(0);
        windows.note(0, 2);
        let second = windows.open(0);
        windows.note(0, 3);
        windows.note(1, 4);
        for (key, in_first, in_second) in
            [(1, false, false), (2, true, false), (3, true, true), (4, false, false)]
        {
            assert_eq!(windows.is_noted(first, key), in_first, "{key}");
            assert_eq!(windows.is_noted(second, key), in_second, "{key}");
        }
        windows.close(first);
        assert!(windows.is_noted(second, 3));
        windows.close(second);
        assert!(windows.is_closed(0));
        assert!(!windows.is_noted(second, 3));
    }

    fn lsn(n: u16) -> Lsn {
        Lsn::from_parts(0, 0, n)
    }

    fn scan(session_id: i64, empty_scans: i64) -> Scans {
        Scans::Newest(Scan { session_id, empty_scans, latency_s: None })
    }

    #[test]
    fn trap_01_a_chunk_waits_for_proof_that_capture_has_passed_it() {
        let start = Instant::now();
        let soon = start + Duration::from_millis(1);
        let late = start + Duration::from_secs(60);
        let settle = Duration::from_secs(30);
        let mark = |log_end, scans| Mark { log_end, scans, at: start };
        let cases = [
            // The last captured transaction has reached the end that the log had.
            (mark(Some(lsn(5)), Scans::Hidden), Scans::Hidden, Some(lsn(5)), soon, Some(lsn(5))),
            (mark(Some(lsn(5)), scan(3, 0)), scan(3, 0), Some(lsn(4)), soon, None),
            // One empty scan may have begun before the mark, the second not.
            (mark(Some(lsn(5)), scan(3, 7)), scan(3, 8), Some(lsn(4)), soon, None),
            (mark(Some(lsn(5)), scan(3, 7)), scan(3, 9), Some(lsn(4)), soon, Some(lsn(4))),
            // A scan that found something, then an empty one.
            (mark(Some(lsn(5)), scan(3, 7)), scan(4, 0), Some(lsn(4)), soon, None),
            (mark(Some(lsn(5)), scan(3, 7)), scan(4, 1), Some(lsn(4)), soon, Some(lsn(4))),
            // Nothing was ever captured.
            (mark(Some(lsn(5)), scan(3, 7)), scan(3, 9), None, soon, Some(Lsn::ZERO)),
            (mark(Some(lsn(5)), Scans::None), Scans::None, None, late, None),
            // No rights: time must do.
            (mark(None, Scans::Hidden), Scans::Hidden, Some(lsn(4)), soon, None),
            (mark(None, Scans::Hidden), Scans::Hidden, Some(lsn(4)), late, Some(lsn(4))),
            (mark(Some(lsn(5)), Scans::Hidden), Scans::Hidden, Some(lsn(4)), late, Some(lsn(4))),
            (mark(Some(lsn(5)), scan(3, 7)), scan(3, 7), Some(lsn(4)), late, None),
        ];
        for (i, (mark, scans, max, now, expected)) in cases.into_iter().enumerate() {
            assert_eq!(passes_at(&mark, scans, max, now, settle), expected, "case {i}");
        }
    }
}
