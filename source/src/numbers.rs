//! Pure: Debezium's numbers of events inside their transactions, and where transactions begin and end.
//!
//! A transaction ends with the commit whose position is behind it, or when an event of another one comes.
//! When it spans several Kafka transactions, the numbers so far are stored with the position.

use std::collections::BTreeMap;

use causeway_avro::TransactionBlock;
use causeway_change::{Lsn, Position};
use serde::{Deserialize, Serialize};

use crate::index::inside;

/// The numbers of one transaction so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Its commit LSN, as text.
    pub id: String,
    /// When it was committed, in milliseconds since 1970, UTC.
    pub ts_ms: i64,
    /// Events of each table: `database.schema.table`.
    pub tables: BTreeMap<String, i64>,
}

/// A record to write.
#[derive(Debug, PartialEq, Eq)]
pub enum Tell {
    /// A transaction begins.
    Begin(Lsn, i64),
    /// A transaction has ended.
    End(Lsn, Counts),
}

#[derive(Debug)]
struct Open {
    id: Lsn,
    total: i64,
    counts: Counts,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Numbers {
    open: Option<Open>,
}

impl Numbers {
    /// Goes on from what is stored.
    #[must_use]
    pub fn new(stored: Option<Position>, counts: Option<Counts>) -> Self {
        let id = stored.and_then(inside);
        let open = id.zip(counts).filter(|(id, counts)| counts.id == id.to_string());
        let open =
            open.map(|(id, counts)| Open { id, total: counts.tables.values().sum(), counts });
        Self { open }
    }

    /// The numbers that the next event of a table has.
    #[must_use]
    pub fn next(&self, id: Lsn, table: &str) -> TransactionBlock {
        let open = self.open.as_ref().filter(|open| open.id == id);
        let of_table = open.and_then(|open| open.counts.tables.get(table)).copied();
        TransactionBlock {
            id,
            total_order: open.map_or(0, |open| open.total) + 1,
            data_collection_order: of_table.unwrap_or(0) + 1,
        }
    }

    /// The event is published: what must be told before it.
    pub fn count(&mut self, id: Lsn, ts_ms: i64, table: &str) -> Vec<Tell> {
        let mut tell = Vec::new();
        if let Some(ended) = self.open.take_if(|open| open.id != id) {
            tell.push(Tell::End(ended.id, ended.counts));
        }
        let open = self.open.get_or_insert_with(|| {
            tell.push(Tell::Begin(id, ts_ms));
            let counts = Counts { id: id.to_string(), ts_ms, tables: BTreeMap::new() };
            Open { id, total: 0, counts }
        });
        open.total += 1;
        match open.counts.tables.get_mut(table) {
            Some(count) => *count += 1,
            None => {
                open.counts.tables.insert(table.to_owned(), 1);
            }
        }
        tell
    }

    /// True when a commit that leads to `position` ends a transaction.
    #[must_use]
    pub fn has_news(&self, position: &Position) -> bool {
        self.open.as_ref().is_some_and(|open| inside(*position) != Some(open.id))
    }

    /// What must be told with a commit that leads to `position`, and what must be stored with it.
    pub fn commit(&mut self, position: &Position) -> (Option<Tell>, Option<Counts>) {
        let within = inside(*position);
        let ended = self.open.take_if(|open| within != Some(open.id));
        let stored = self.open.as_ref().map(|open| open.counts.clone());
        (ended.map(|open| Tell::End(open.id, open.counts)), stored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lsn(n: u32) -> Lsn {
        Lsn::from_parts(1, n, 1)
    }

    fn within(n: u32) -> Position {
        Position { commit_lsn: lsn(n), command_id: 1, seqval: lsn(n), operation: 2 }
    }

    fn counts(n: u32, tables: &[(&str, i64)]) -> Counts {
        let tables = tables.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        Counts { id: lsn(n).to_string(), ts_ms: 7, tables }
    }

    /// Publishes an event; its two numbers and what was told.
    fn publish(numbers: &mut Numbers, n: u32, table: &str) -> (i64, i64, Vec<Tell>) {
        let block = numbers.next(lsn(n), table);
        assert_eq!(block, numbers.next(lsn(n), table), "asking changes nothing");
        (block.total_order, block.data_collection_order, numbers.count(lsn(n), 7, table))
    }

    #[test]
    fn events_are_numbered_as_debezium_numbers_them() {
        let mut numbers = Numbers::default();
        assert_eq!(publish(&mut numbers, 1, "a"), (1, 1, vec![Tell::Begin(lsn(1), 7)]));
        assert_eq!(publish(&mut numbers, 1, "b"), (2, 1, vec![]));
        assert_eq!(publish(&mut numbers, 1, "a"), (3, 2, vec![]));
        let ended = Tell::End(lsn(1), counts(1, &[("a", 2), ("b", 1)]));
        assert_eq!(publish(&mut numbers, 2, "a"), (1, 1, vec![ended, Tell::Begin(lsn(2), 7)]));
        assert!(numbers.has_news(&Position::end_of(lsn(2))));
        let (told, stored) = numbers.commit(&Position::end_of(lsn(2)));
        assert_eq!(told, Some(Tell::End(lsn(2), counts(2, &[("a", 1)]))));
        assert_eq!(stored, None);
        assert!(!numbers.has_news(&Position::end_of(lsn(3))));
    }

    #[test]
    fn inside_a_transaction_the_numbers_are_stored_and_go_on() {
        let mut numbers = Numbers::default();
        publish(&mut numbers, 1, "a");
        publish(&mut numbers, 1, "b");
        assert!(!numbers.has_news(&within(1)));
        let (told, stored) = numbers.commit(&within(1));
        assert_eq!((told, stored.clone()), (None, Some(counts(1, &[("a", 1), ("b", 1)]))));
        let mut next = Numbers::new(Some(within(1)), stored);
        assert_eq!(publish(&mut next, 1, "b"), (3, 2, vec![]));
        assert!(next.has_news(&Position::end_of(lsn(1))));
        // Stored by another transaction, or not at all: the transaction is told of from here on.
        for stored in [Some(counts(9, &[("a", 5)])), None] {
            let mut next = Numbers::new(Some(within(1)), stored);
            assert_eq!(publish(&mut next, 1, "b"), (1, 1, vec![Tell::Begin(lsn(1), 7)]));
        }
    }
}
