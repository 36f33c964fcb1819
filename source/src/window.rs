//! Pure: which rows of a snapshot chunk the stream has overtaken, and when a chunk may be published.
//!
//! A chunk is read while changes go on. Its *window* opens before the read; from then on the stream notes
//! the key of every event that it publishes of the table. The chunk waits until the stream has published
//! everything that was committed before the read ended. Then its rows are published, but for those whose
//! key was noted: of these the stream has said something at least as new. So nothing is lost, and no row
//! goes back to an older state.
//!
//! An update that leaves out a large value says less than the row: who does not have the row cannot make it of
//! that. So the window keeps what such updates said, and the chunk's row is published with it. Its large values
//! are exact there: a change of one is never left out, so when no event of the window has it, it was the same
//! from the read to the place where the chunk is published.
//!
//! What is kept has a limit. Beyond it the open windows are *lost*: their chunks are read again.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use causeway_change::{Lsn, Row, Value};
use causeway_sqlserver::captured::{self, Scans};

/// Keys that are noted for a table: with more, its map would double to 50 MB.
const KEYS_MAX: usize = 900_000;
/// Bytes of updates without their large values that are kept for a table.
const PARTS_MAX: usize = 8 << 20;

/// The windows that are open, for all tables.
#[derive(Debug, Default)]
pub struct Windows {
    tables: HashMap<usize, TableWindows>,
}

#[derive(Debug)]
struct TableWindows {
    /// Number of the window that was opened last.
    clock: u64,
    /// Windows that are open.
    open: BTreeSet<u64>,
    /// For each key the window that was the newest when an event with the whole row, or of its end, was noted.
    whole: HashMap<u128, u64>,
    /// What the events since said that left out a large value.
    parts: HashMap<u128, Part>,
    /// Bytes of `parts`.
    bytes: usize,
    /// Windows up to this number are lost.
    lost: u64,
    keys_max: usize,
    parts_max: usize,
}

impl Default for TableWindows {
    fn default() -> Self {
        Self {
            clock: 0,
            open: BTreeSet::new(),
            whole: HashMap::new(),
            parts: HashMap::new(),
            bytes: 0,
            lost: 0,
            keys_max: KEYS_MAX,
            parts_max: PARTS_MAX,
        }
    }
}

#[derive(Debug)]
struct Part {
    /// The window that was the newest when it was noted last.
    noted: u64,
    /// The newest of each value; unavailable where no event had it.
    row: Row,
}

/// A window that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    table: usize,
    number: u64,
}

/// What the stream has said of a row of a chunk.
#[derive(Clone, Debug, PartialEq)]
pub enum Overtaken {
    /// Nothing: the row is as it was read.
    Not,
    /// All of it.
    Whole,
    /// All but some large values, which are as they were read.
    Part(Row),
}

impl Windows {
    /// Opens a window on a table.
    pub fn open(&mut self, table: usize) -> Opened {
        let windows = self.tables.entry(table).or_default();
        windows.clock += 1;
        windows.open.insert(windows.clock);
        Opened { table, number: windows.clock }
    }

    /// Notes that the stream publishes an event of this key. `part` is the row of an update that lacks a large
    /// value.
    pub fn note(&mut self, table: usize, key: u128, part: Option<&Row>) {
        if let Some(windows) = self.tables.get_mut(&table)
            && !windows.open.is_empty()
        {
            windows.note(key, part);
        }
    }

    /// True when it is not known any more what the stream has said since the window was opened.
    #[must_use]
    pub fn is_lost(&self, window: Opened) -> bool {
        self.tables.get(&window.table).is_some_and(|windows| windows.lost >= window.number)
    }

    /// What the stream has said of a key since the window was opened.
    #[must_use]
    pub fn overtaken(&self, window: Opened, key: u128) -> Overtaken {
        let Some(windows) = self.tables.get(&window.table) else { return Overtaken::Not };
        if windows.whole.get(&key).is_some_and(|noted| *noted >= window.number) {
            return Overtaken::Whole;
        }
        match windows.parts.get(&key) {
            Some(part) if part.noted >= window.number => Overtaken::Part(part.row.clone()),
            Some(_) | None => Overtaken::Not,
        }
    }

    /// Closes a window, and forgets keys that no open window needs.
    pub fn close(&mut self, window: Opened) {
        if let Some(windows) = self.tables.get_mut(&window.table) {
            windows.close(window.number);
        }
    }

    /// True when no window of the table is open.
    #[must_use]
    pub fn is_closed(&self, table: usize) -> bool {
        self.tables.get(&table).is_none_or(|windows| windows.open.is_empty())
    }
}

impl TableWindows {
    fn note(&mut self, key: u128, part: Option<&Row>) {
        if self.lost == self.clock {
            // Nobody who could ask would be told.
            return;
        }
        match part {
            None => {
                if let Some(part) = self.parts.remove(&key) {
                    self.bytes -= size(&part.row);
                }
                self.whole.insert(key, self.clock);
            }
            Some(row) => {
                let mut row = row.clone();
                if let Some(older) = self.parts.remove(&key) {
                    self.bytes -= size(&older.row);
                    complete(&mut row, older.row);
                }
                self.bytes += size(&row);
                self.parts.insert(key, Part { noted: self.clock, row });
            }
        }
        if self.whole.len() > self.keys_max || self.bytes > self.parts_max {
            self.lost = self.clock;
            self.forget();
        }
    }

    fn close(&mut self, number: u64) {
        self.open.remove(&number);
        match self.open.first().copied() {
            None => self.forget(),
            Some(oldest) if self.whole.len() + self.parts.len() > 100_000 => {
                self.whole.retain(|_, noted| *noted >= oldest);
                self.parts.retain(|_, part| part.noted >= oldest);
                self.bytes = self.parts.values().map(|part| size(&part.row)).sum();
            }
            Some(_) => {}
        }
    }

    fn forget(&mut self) {
        self.whole = HashMap::new();
        self.parts = HashMap::new();
        self.bytes = 0;
    }
}

/// The row after a change when it lacks a large value, for [`Windows::note`]. Not when a value of it is too large to
/// be sent: that event goes to the dead letters, and no chunk's row can stand for it.
#[must_use]
pub fn part_of(after: Option<&Row>) -> Option<&Row> {
    after.filter(|row| {
        row.iter().any(Value::is_unavailable)
            && !row.iter().any(|value| matches!(value, Value::TooLarge(_)))
    })
}

/// Bytes that a row takes among the parts, roughly.
fn size(row: &Row) -> usize {
    64 + row.iter().map(Value::size).sum::<usize>()
}

/// Fills in what a row lacks from another state of it.
pub fn complete(row: &mut Row, other: Row) {
    for (value, other) in row.iter_mut().zip(other) {
        if value.is_unavailable() {
            *value = other;
        }
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
        windows.note(0, 1, None);
        let first = windows.open(0);
        windows.note(0, 2, None);
        let second = windows.open(0);
        windows.note(0, 3, None);
        windows.note(1, 4, None);
        for (key, in_first, in_second) in
            [(1, false, false), (2, true, false), (3, true, true), (4, false, false)]
        {
            assert_eq!(windows.overtaken(first, key) == Overtaken::Whole, in_first, "{key}");
            assert_eq!(windows.overtaken(second, key) == Overtaken::Whole, in_second, "{key}");
        }
        windows.close(first);
        assert_eq!(windows.overtaken(second, 3), Overtaken::Whole);
        windows.close(second);
        assert!(windows.is_closed(0));
        assert_eq!(windows.overtaken(second, 3), Overtaken::Not);
    }

    #[test]
    fn an_event_that_cannot_be_sent_is_no_part_of_a_row() {
        let lacking = vec![Value::I32(1), Value::Unavailable, Value::Null];
        assert_eq!(part_of(Some(&lacking)), Some(&lacking));
        assert_eq!(
            part_of(Some(&vec![Value::I32(1), Value::Unavailable, Value::TooLarge(9)])),
            None
        );
        assert_eq!(part_of(Some(&vec![Value::I32(1)])), None);
        assert_eq!(part_of(None), None);
    }

    /// A small number and two large values; `?` is one that was left out.
    fn row(n: i32, large: [&str; 2]) -> Row {
        let large = large.map(|text| match text {
            "?" => Value::Unavailable,
            text => Value::Text(text.to_owned()),
        });
        [Value::I32(n)].into_iter().chain(large).collect()
    }

    #[test]
    fn what_updates_without_their_large_values_said_is_kept_for_the_chunks_row() {
        let mut windows = Windows::default();
        let first = windows.open(0);
        windows.note(0, 1, Some(&row(1, ["a", "?"])));
        windows.note(0, 2, Some(&row(1, ["old", "?"])));
        windows.note(0, 2, None);
        let second = windows.open(0);
        windows.note(0, 1, Some(&row(2, ["?", "?"])));
        windows.note(0, 2, Some(&row(2, ["?", "?"])));
        // A value that an event had stands; one that none had is as it was read.
        assert_eq!(windows.overtaken(first, 1), Overtaken::Part(row(2, ["a", "?"])));
        assert_eq!(windows.overtaken(second, 1), Overtaken::Part(row(2, ["a", "?"])));
        // Of the second key the first window has seen the whole row, the other one has not.
        assert_eq!(windows.overtaken(first, 2), Overtaken::Whole);
        assert_eq!(windows.overtaken(second, 2), Overtaken::Part(row(2, ["?", "?"])));
        let mut merged = row(2, ["a", "?"]);
        complete(&mut merged, row(0, ["read", "read"]));
        assert_eq!(merged, row(2, ["a", "read"]));
    }

    #[test]
    fn what_is_kept_is_bounded_and_a_window_knows_when_it_is_lost() {
        let mut windows = Windows::default();
        let first = windows.open(0);
        let kept = windows.tables.get_mut(&0).unwrap();
        (kept.keys_max, kept.parts_max) = (10, 1_000);
        for key in 0..10 {
            windows.note(0, key, None);
        }
        assert!(!windows.is_lost(first));
        windows.note(0, 10, None);
        assert!(windows.is_lost(first));
        let second = windows.open(0);
        windows.note(0, 1, Some(&row(1, ["?", "?"])));
        assert!(!windows.is_lost(second));
        // Over and over the same row takes no more.
        for _ in 0..1_000 {
            windows.note(0, 1, Some(&row(1, ["?", "?"])));
        }
        assert!(!windows.is_lost(second));
        windows.note(0, 2, Some(&row(1, ["?", &"x".repeat(1_000)])));
        assert!(windows.is_lost(second));
        assert!(windows.tables[&0].parts.is_empty());
        windows.close(first);
        windows.close(second);
        let third = windows.open(0);
        assert!(!windows.is_lost(third));
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
