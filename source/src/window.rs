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
use causeway_sqlserver::captured::{self, Scans};

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
    /// By the server.
    pub seen: captured::Mark,
    /// By our clock.
    pub at: Instant,
}

/// Up to where the stream must have published before the chunk may be; `None` as long as that is not
/// known.
///
/// `scans` and `max_lsn` (the last captured transaction) were read after the mark, in this order.
/// [`captured::passed`] has the rule.
#[must_use]
pub fn passes_at(
    mark: &Mark,
    scans: Scans,
    max_lsn: Option<Lsn>,
    now: Instant,
    settle: Duration,
) -> Option<Lsn> {
    let waited = now.saturating_duration_since(mark.at);
    captured::passed(&mark.seen, scans, max_lsn, waited, settle)
        .map(|_| max_lsn.unwrap_or(Lsn::ZERO))
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

    #[test]
    fn trap_01_a_chunk_waits_until_the_stream_has_published_what_is_captured() {
        let start = Instant::now();
        let settle = Duration::from_secs(30);
        let lsn = |n| Lsn::from_parts(0, 0, n);
        let seen = captured::Mark { log_end: Some(lsn(5)), scans: Scans::None };
        let mark = Mark { seen, at: start };
        let soon = start + Duration::from_millis(1);
        assert_eq!(passes_at(&mark, Scans::None, Some(lsn(4)), soon, settle), None);
        assert_eq!(passes_at(&mark, Scans::None, Some(lsn(7)), soon, settle), Some(lsn(7)));
        let blind = captured::Mark { log_end: None, scans: Scans::Hidden };
        let mark = Mark { seen: blind, at: start };
        assert_eq!(passes_at(&mark, Scans::Hidden, None, soon, settle), None);
        assert_eq!(passes_at(&mark, Scans::Hidden, None, start + settle, settle), Some(Lsn::ZERO));
    }
}
