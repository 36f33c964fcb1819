//! Pure: which records of the open Kafka transaction belong to which source transaction, and what the
//! transaction index says of them when it is committed.
//!
//! A source transaction may be spread over several Kafka transactions. Then each has an entry for its part,
//! and the last one says that it is the last, even when nothing of it was left to publish: so a reader that
//! waits for the end of a transaction gets it with the commit that passes it.

use std::collections::HashMap;

use causeway_change::{Lsn, Position};
use causeway_kafka::{
    Run,
    transactions::{Entry, Range},
};

/// What a record belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// A source transaction.
    Transaction {
        /// Its commit.
        lsn: Lsn,
        /// When it was committed, in nanoseconds since 1970, UTC.
        commit_ns: i64,
    },
    /// A chunk of a snapshot.
    Snapshot {
        /// The place that it stands for.
        lsn: Lsn,
        /// The table, by its number.
        table: usize,
    },
}

impl Of {
    /// The LSN that it is known by.
    #[must_use]
    pub fn lsn(self) -> Lsn {
        match self {
            Self::Transaction { lsn, .. } | Self::Snapshot { lsn, .. } => lsn,
        }
    }

    fn is_same(self, other: Self) -> bool {
        match (self, other) {
            // The time may have been looked up twice.
            (Self::Transaction { lsn: a, .. }, Self::Transaction { lsn: b, .. }) => a == b,
            (a, b) => a == b,
        }
    }

    fn is_transaction(self, commit: Lsn) -> bool {
        match self {
            Self::Transaction { lsn, .. } => lsn == commit,
            Self::Snapshot { .. } => false,
        }
    }
}

/// Records one after the other that belong together.
#[derive(Debug)]
struct Segment {
    of: Of,
    events: u64,
    set_aside: u64,
    /// Its marks begin here.
    first_mark: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Index {
    closed: Vec<Segment>,
    /// The one that grows.
    open: Option<Segment>,
    /// The topic of each mark.
    topics: Vec<String>,
    /// The marks of the tables in the open segment.
    marks: HashMap<usize, usize>,
    /// The transaction of which a part is committed and the end is not.
    unfinished: Option<Lsn>,
}

impl Index {
    /// Nothing is open. `stored` is the position that the last commit left.
    #[must_use]
    pub fn new(stored: Option<Position>) -> Self {
        Self { unfinished: stored.and_then(inside), ..Self::default() }
    }

    /// A record that is about to be sent: the mark to send it with. `table` is the table's number, `topic`
    /// its topic.
    pub fn mark(&mut self, of: Of, table: usize, topic: &str) -> usize {
        self.segment(of);
        *self.marks.entry(table).or_insert_with(|| {
            self.topics.push(topic.to_owned());
            self.topics.len() - 1
        })
    }

    /// An event is sent.
    pub fn event(&mut self, of: Of) {
        self.segment(of).events += 1;
    }

    /// An event went to the dead letters instead.
    pub fn set_aside(&mut self, of: Of) {
        self.segment(of).set_aside += 1;
    }

    fn segment(&mut self, of: Of) -> &mut Segment {
        if let Some(closed) = self.open.take_if(|open| !open.of.is_same(of)) {
            self.closed.push(closed);
            self.marks.clear();
        }
        let first_mark = self.topics.len();
        self.open.get_or_insert(Segment { of, events: 0, set_aside: 0, first_mark })
    }

    /// True when a commit that leads to `position` has something to say.
    #[must_use]
    pub fn has_news(&self, position: &Position) -> bool {
        self.open.is_some() || self.ends(position).is_some()
    }

    /// The unfinished transaction, when `position` is behind its end.
    fn ends(&self, position: &Position) -> Option<Lsn> {
        self.unfinished.filter(|lsn| inside(*position) != Some(*lsn))
    }

    /// The entries for a commit that leads to `position`, when the records went to `runs`. Nothing is open
    /// afterwards.
    pub fn entries(&mut self, position: &Position, runs: &[Run]) -> Vec<Entry> {
        let unfinished = inside(*position);
        let mut segments = std::mem::take(&mut self.closed);
        segments.extend(self.open.take());
        let mut entries = Vec::with_capacity(segments.len() + 1);
        if let Some(ended) = self.ends(position)
            && !segments.iter().any(|segment| segment.of.is_transaction(ended))
        {
            entries.push(Entry::Transaction {
                id: ended.to_string(),
                commit_ns: 0,
                last: true,
                events: 0,
                set_aside: 0,
                ranges: Vec::new(),
            });
        }
        let ends = segments.iter().skip(1).map(|segment| segment.first_mark);
        let ends: Vec<usize> = ends.chain([self.topics.len()]).collect();
        let mut runs = runs.iter().peekable();
        for (segment, end) in segments.into_iter().zip(ends) {
            let mut ranges = Vec::new();
            while let Some(run) = runs.next_if(|run| run.mark < end) {
                let Some(topic) = self.topics.get(run.mark) else { continue };
                let (partition, count) = (run.partition, run.count);
                let (first, last) = (run.first, run.last);
                ranges.push(Range { topic: topic.clone(), partition, first, last, count });
            }
            let Segment { of, events, set_aside, .. } = segment;
            entries.push(match of {
                Of::Transaction { lsn, commit_ns } => Entry::Transaction {
                    id: lsn.to_string(),
                    commit_ns,
                    last: unfinished != Some(lsn),
                    events,
                    set_aside,
                    ranges,
                },
                Of::Snapshot { lsn, .. } => {
                    Entry::Snapshot { id: lsn.to_string(), events, set_aside, ranges }
                }
            });
        }
        self.unfinished = unfinished;
        self.topics.clear();
        self.marks.clear();
        entries
    }
}

/// The transaction inside which a position stands.
#[must_use]
pub fn inside(position: Position) -> Option<Lsn> {
    let inside = !position.is_transaction_end() && !position.commit_lsn.is_zero();
    inside.then_some(position.commit_lsn)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lsn(n: u32) -> Lsn {
        Lsn::from_parts(1, n, 1)
    }

    fn of(n: u32) -> Of {
        Of::Transaction { lsn: lsn(n), commit_ns: i64::from(n) }
    }

    fn end(n: u32) -> Position {
        Position::end_of(lsn(n))
    }

    fn within(n: u32) -> Position {
        Position { commit_lsn: lsn(n), command_id: 1, seqval: lsn(n), operation: 2 }
    }

    /// Sends records of tables, each to partition 0 at the next offset of its table.
    struct Sent {
        index: Index,
        next: [i64; 3],
        runs: Vec<Run>,
    }

    impl Sent {
        fn new(stored: Option<Position>) -> Self {
            Self { index: Index::new(stored), next: [0; 3], runs: Vec::new() }
        }

        fn send(&mut self, of: Of, tables: &[usize]) {
            for &table in tables {
                let mark = self.index.mark(of, table, &format!("t{table}"));
                self.index.event(of);
                let offset = self.next[table];
                self.next[table] += 1;
                self.runs.push(Run { mark, partition: 0, first: offset, last: offset, count: 1 });
            }
        }

        /// In few words: id, last, and topic:first-last.
        fn commit(&mut self, position: Position) -> Vec<String> {
            let mut runs = std::mem::take(&mut self.runs);
            runs.sort_by_key(|run| run.mark);
            runs.dedup_by(|next, run| {
                let same = next.mark == run.mark;
                if same {
                    (run.last, run.count) = (next.last, run.count + next.count);
                }
                same
            });
            assert!(self.index.has_news(&position) || runs.is_empty());
            let words = |entry: Entry| {
                let (name, last, events, ranges) = match entry {
                    Entry::Transaction { id, last, events, ranges, .. } => {
                        (id[9..17].to_owned(), last, events, ranges)
                    }
                    Entry::Snapshot { events, ranges, .. } => {
                        ("copy".to_owned(), true, events, ranges)
                    }
                    Entry::Begin { .. } => panic!("none here"),
                };
                let name = name.trim_start_matches('0').to_owned();
                let counted: u64 = ranges.iter().map(|range| range.count).sum();
                assert_eq!(counted, events);
                let ranges: Vec<_> =
                    ranges.iter().map(|r| format!("{}:{}-{}", r.topic, r.first, r.last)).collect();
                format!("{name}{} {}", if last { "" } else { "..." }, ranges.join(" "))
            };
            self.index.entries(&position, &runs).into_iter().map(words).collect()
        }
    }

    #[test]
    fn each_source_transaction_has_an_entry_with_its_ranges() {
        let mut sent = Sent::new(None);
        sent.send(of(1), &[0, 1, 0]);
        sent.send(of(2), &[1]);
        sent.send(Of::Snapshot { lsn: lsn(2), table: 2 }, &[2, 2]);
        assert_eq!(sent.commit(end(2)), ["1 t0:0-1 t1:0-0", "2 t1:1-1", "copy t2:0-1"]);
        assert!(!sent.index.has_news(&end(3)));
        assert!(sent.commit(end(3)).is_empty());
    }

    #[test]
    fn a_transaction_in_parts_says_where_it_ends() {
        let mut sent = Sent::new(None);
        sent.send(of(1), &[0]);
        sent.send(of(2), &[0]);
        assert_eq!(sent.commit(within(2)), ["1 t0:0-0", "2... t0:1-1"]);
        sent.send(of(2), &[1]);
        assert_eq!(sent.commit(within(2)), ["2... t1:0-0"]);
        sent.send(of(2), &[0]);
        sent.send(of(3), &[0]);
        assert_eq!(sent.commit(end(3)), ["2 t0:2-2", "3 t0:3-3"]);
    }

    #[test]
    fn the_end_is_told_even_when_nothing_was_left_to_publish() {
        let mut sent = Sent::new(None);
        sent.send(of(2), &[0]);
        assert_eq!(sent.commit(within(2)), ["2... t0:0-0"]);
        assert!(!sent.index.has_news(&within(2)), "the rest is still being read");
        assert!(sent.index.has_news(&end(2)));
        sent.send(Of::Snapshot { lsn: lsn(2), table: 1 }, &[1]);
        assert_eq!(sent.commit(end(5)), ["2 ", "copy t1:0-0"]);
    }

    #[test]
    fn after_a_restart_inside_a_transaction_its_end_is_told_by_the_next_process() {
        let mut sent = Sent::new(Some(within(2)));
        sent.send(of(2), &[0]);
        assert_eq!(sent.commit(end(2)), ["2 t0:0-0"]);
        // The log is another one, and the transaction will never be seen again.
        let mut sent = Sent::new(Some(within(7)));
        sent.send(of(3), &[0]);
        assert_eq!(sent.commit(end(3)), ["7 ", "3 t0:0-0"]);
        assert!(!Sent::new(Some(end(7))).index.has_news(&end(8)));
    }

    #[test]
    fn dead_letters_are_counted_where_they_would_have_been() {
        let mut index = Index::new(None);
        index.set_aside(of(1));
        let entries = index.entries(&end(1), &[]);
        let [Entry::Transaction { set_aside: 1, events: 0, last: true, ranges, .. }] = &entries[..]
        else {
            panic!("{entries:?}")
        };
        assert!(ranges.is_empty());
    }
}
