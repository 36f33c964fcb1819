//! Pure: rows of change tables become events.
//!
//! * An update is two rows, 3 (before) and 4 (after).
//! * An update of a column of a unique index is logged as a delete and an insert that share their seqval
//!   ("deferred update", research A.0.2). In a statement over many rows all the deletes come first. When
//!   the two have the same key they become one update again; so a delete is held back until its insert,
//!   the end of the transaction, or another change of its key comes, whichever is first. Holding is
//!   bounded by bytes: what is pushed out is a delete and its insert a create, which is as right.
//! * A change of key becomes a delete of the old key and a create of the new one.
//!
//! Per key nothing is reordered. [`Pairing::Strict`] pairs nothing but 3 and 4, as Debezium does: every delete
//! and insert of the change table is published as what it is, in its order.

use std::collections::{BTreeMap, HashMap};

use causeway_change::{Lsn, Operation, Position, Row, Value};

/// One row of a change table.
#[derive(Debug)]
pub struct Item {
    /// Which table, by the caller's number.
    pub table: usize,
    /// Where it stands, and its operation.
    pub position: Position,
    /// The row.
    pub row: Row,
    /// The record key of the row; empty for a table without key.
    pub key: Vec<u8>,
    /// Bytes that the row holds, roughly.
    pub size: usize,
}

/// One change of one row, as it is published.
#[derive(Debug, PartialEq)]
pub struct Event {
    /// Which table.
    pub table: usize,
    /// What happened.
    pub operation: Operation,
    /// The row before.
    pub before: Option<Row>,
    /// The row after.
    pub after: Option<Row>,
    /// Record key.
    pub key: Vec<u8>,
    /// The other half of a change of key.
    pub moved: Option<Moved>,
    /// Where it stands: of an update, its after image.
    pub position: Position,
    /// `event_serial_no` of the envelope.
    pub serial: i64,
    /// Bytes that its rows hold, roughly.
    pub size: usize,
}

/// The other half of a change of key: the row that has it.
#[derive(Debug, PartialEq)]
pub enum Moved {
    /// On the delete: the values of the new key.
    To(Vec<Value>),
    /// On the create: the values of the old key.
    From(Vec<Value>),
}

#[derive(Debug)]
struct Held {
    item: Item,
}

/// What becomes of a delete and an insert that were logged for one update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pairing {
    /// They become one update again, or a change of key whose halves know each other.
    #[default]
    Folded,
    /// They stay a delete and a create, as Debezium publishes them.
    Strict,
}

/// Turns rows into events; see the module.
#[derive(Debug)]
pub struct Folder {
    pairing: Pairing,
    held: BTreeMap<u64, Held>,
    by_seqval: HashMap<(usize, Lsn), u64>,
    by_key: HashMap<(usize, Vec<u8>), u64>,
    next_id: u64,
    held_bytes: usize,
    held_bytes_max: usize,
    /// Before images that wait for their after image: one for each table at most.
    before: HashMap<usize, Item>,
    /// Indexes of each table's key columns.
    keys: Vec<Vec<usize>>,
    done: Position,
    /// Where the last event stood and its number, which [`Pairing::Strict`] counts on from.
    counted: (Lsn, Lsn, i64),
}

impl Folder {
    /// Holds at most `held_bytes_max` bytes back. `keys` are the key columns of each table.
    #[must_use]
    pub fn new(pairing: Pairing, held_bytes_max: usize, keys: Vec<Vec<usize>>) -> Self {
        Self {
            pairing,
            held: BTreeMap::new(),
            by_seqval: HashMap::new(),
            by_key: HashMap::new(),
            next_id: 0,
            held_bytes: 0,
            held_bytes_max,
            before: HashMap::new(),
            keys,
            done: Position::default(),
            counted: (Lsn::ZERO, Lsn::ZERO, 0),
        }
    }

    /// Sets the key columns of a table that came later or changed.
    pub fn set_key(&mut self, table: usize, key: Vec<usize>) {
        while self.keys.len() <= table {
            self.keys.push(Vec::new());
        }
        if let Some(slot) = self.keys.get_mut(table) {
            *slot = key;
        }
    }

    /// The last row whose event is out, provided that [`Folder::flush`] was called: where to go on from.
    #[must_use]
    pub fn done(&self) -> Position {
        self.done
    }

    /// Takes the next row; `out` gets the events that are complete.
    pub fn push(&mut self, item: Item, out: &mut Vec<Event>) {
        let from = out.len();
        self.take_row(item, out);
        if self.pairing == Pairing::Strict {
            for event in out.iter_mut().skip(from) {
                let Position { commit_lsn, seqval, .. } = event.position;
                let (commit, seq, last) = self.counted;
                // Debezium counts on while commit and seqval stay.
                let before = if (commit, seq) == (commit_lsn, seqval) { last } else { 0 };
                event.serial = before + if event.operation == Operation::Update { 2 } else { 1 };
                self.counted = (commit_lsn, seqval, event.serial);
            }
        }
    }

    fn take_row(&mut self, item: Item, out: &mut Vec<Event>) {
        match item.position.operation {
            1 => {
                self.done = item.position;
                if item.key.is_empty() || self.pairing == Pairing::Strict {
                    out.push(delete(item, None));
                } else {
                    self.release(item.table, &item.key, out);
                    self.hold(item, out);
                }
            }
            3 => {
                self.before.insert(item.table, item);
            }
            4 => {
                self.done = item.position;
                let before = self
                    .before
                    .remove(&item.table)
                    .filter(|b| b.position.seqval == item.position.seqval);
                self.update(before, item, out);
            }
            _ => {
                self.done = item.position;
                self.insert(item, out);
            }
        }
    }

    /// Gives out everything that is held back: at the end of a transaction, and before a position inside
    /// one is stored.
    pub fn flush(&mut self, out: &mut Vec<Event>) {
        for (_, held) in std::mem::take(&mut self.held) {
            out.push(delete(held.item, None));
        }
        self.by_seqval.clear();
        self.by_key.clear();
        self.held_bytes = 0;
    }

    fn update(&mut self, before: Option<Item>, after: Item, out: &mut Vec<Event>) {
        self.release(after.table, &after.key, out);
        match before {
            Some(before) if before.key != after.key => {
                self.release(before.table, &before.key, out);
                self.moved(before, after, 2, out);
            }
            before => out.push(Event {
                table: after.table,
                operation: Operation::Update,
                size: after.size + before.as_ref().map_or(0, |b| b.size),
                before: before.map(|b| b.row),
                after: Some(after.row),
                key: after.key,
                moved: None,
                position: after.position,
                serial: 2,
            }),
        }
    }

    fn insert(&mut self, item: Item, out: &mut Vec<Event>) {
        let partner = self
            .by_seqval
            .get(&(item.table, item.position.seqval))
            .copied()
            .filter(|id| {
                self.held
                    .get(id)
                    .is_some_and(|h| h.item.position.commit_lsn == item.position.commit_lsn)
            })
            .and_then(|id| self.take(id));
        // Another delete of the key that appears now must not come after it.
        self.release(item.table, &item.key, out);
        match partner {
            Some(deleted) if deleted.key == item.key => self.update(Some(deleted), item, out),
            Some(deleted) => self.moved(deleted, item, 1, out),
            None => out.push(create(item, None, 1)),
        }
    }

    fn moved(&mut self, before: Item, after: Item, create_serial: i64, out: &mut Vec<Event>) {
        let key_of = |item: &Item| -> Vec<Value> {
            self.keys
                .get(item.table)
                .into_iter()
                .flatten()
                .filter_map(|&i| item.row.get(i).cloned())
                .collect()
        };
        let (to, from) = (key_of(&after), key_of(&before));
        out.push(delete(before, Some(Moved::To(to))));
        out.push(create(after, Some(Moved::From(from)), create_serial));
    }

    fn hold(&mut self, item: Item, out: &mut Vec<Event>) {
        let id = self.next_id;
        self.next_id += 1;
        self.held_bytes += item.size;
        self.by_seqval.insert((item.table, item.position.seqval), id);
        self.by_key.insert((item.table, item.key.clone()), id);
        self.held.insert(id, Held { item });
        while self.held_bytes > self.held_bytes_max {
            let Some(oldest) = self.held.keys().next().copied() else { break };
            if let Some(item) = self.take(oldest) {
                out.push(delete(item, None));
            }
        }
    }

    /// Gives out the delete of a key that is held back, if there is one.
    fn release(&mut self, table: usize, key: &[u8], out: &mut Vec<Event>) {
        if self.held.is_empty() {
            return;
        }
        if let Some(id) = self.by_key.get(&(table, key.to_vec())).copied()
            && let Some(item) = self.take(id)
        {
            out.push(delete(item, None));
        }
    }

    fn take(&mut self, id: u64) -> Option<Item> {
        let Held { item } = self.held.remove(&id)?;
        self.by_seqval.remove(&(item.table, item.position.seqval));
        self.by_key.remove(&(item.table, item.key.clone()));
        self.held_bytes -= item.size;
        Some(item)
    }
}

fn delete(item: Item, moved: Option<Moved>) -> Event {
    Event {
        table: item.table,
        operation: Operation::Delete,
        before: Some(item.row),
        after: None,
        key: item.key,
        moved,
        position: item.position,
        serial: 1,
        size: item.size,
    }
}

fn create(item: Item, moved: Option<Moved>, serial: i64) -> Event {
    Event {
        table: item.table,
        operation: Operation::Create,
        before: None,
        after: Some(item.row),
        key: item.key,
        moved,
        position: item.position,
        serial,
        size: item.size,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row of table 0 with key `id`.
    fn row(command_id: i32, seq: u16, operation: u8, id: i32) -> Item {
        Item {
            table: 0,
            position: Position {
                commit_lsn: Lsn::from_parts(1, 1, 1),
                command_id,
                seqval: Lsn::from_parts(1, 1, seq),
                operation,
            },
            row: vec![Value::I32(id)],
            key: id.to_be_bytes().to_vec(),
            size: 10,
        }
    }

    fn fold(held_bytes_max: usize, rows: Vec<Item>) -> Vec<String> {
        fold_as(Pairing::Folded, held_bytes_max, rows)
    }

    fn fold_as(pairing: Pairing, held_bytes_max: usize, rows: Vec<Item>) -> Vec<String> {
        let mut folder = Folder::new(pairing, held_bytes_max, vec![vec![0]]);
        let mut out = Vec::new();
        for row in rows {
            folder.push(row, &mut out);
        }
        folder.flush(&mut out);
        out.iter()
            .map(|e| {
                let id = i32::from_be_bytes(e.key.clone().try_into().unwrap());
                let moved = match &e.moved {
                    Some(Moved::To(_)) => ">",
                    Some(Moved::From(_)) => "<",
                    None => "",
                };
                format!("{}{id}{moved}/{}", e.operation.letter(), e.serial)
            })
            .collect()
    }

    #[test]
    fn trap_04_three_and_four_are_one_update() {
        let rows = vec![row(1, 1, 3, 7), row(1, 1, 4, 7), row(2, 2, 3, 8), row(2, 2, 4, 8)];
        assert_eq!(fold(1000, rows), ["u7/2", "u8/2"]);
    }

    #[test]
    fn trap_05_a_bulk_deferred_update_is_one_update_for_each_row() {
        // d1 d2 d3 c1 c2 c3 in command order, pairs by seqval.
        let rows = vec![
            row(1, 1, 1, 1),
            row(2, 2, 1, 2),
            row(3, 3, 1, 3),
            row(4, 1, 2, 1),
            row(5, 2, 2, 2),
            row(6, 3, 2, 3),
        ];
        assert_eq!(fold(1000, rows), ["u1/2", "u2/2", "u3/2"]);
    }

    #[test]
    fn trap_05_strict_a_deferred_update_stays_a_delete_and_a_create_in_command_order() {
        let rows = vec![
            row(1, 1, 1, 1),
            row(2, 2, 1, 2),
            row(3, 1, 2, 1),
            row(4, 2, 2, 200),
            row(5, 5, 3, 7),
            row(5, 5, 4, 8),
        ];
        let words = fold_as(Pairing::Strict, 1000, rows);
        assert_eq!(words, ["d1/1", "d2/1", "c1/1", "c200/1", "d7>/1", "c8</2"]);
        // One row: the two halves stand at one place and are counted.
        let one = vec![row(1, 1, 1, 1), row(2, 1, 2, 100), row(3, 3, 3, 5), row(3, 3, 4, 5)];
        assert_eq!(fold_as(Pairing::Strict, 1000, one), ["d1/1", "c100/2", "u5/2"]);
    }

    #[test]
    fn what_does_not_fit_is_a_delete_and_a_create() {
        let rows = vec![row(1, 1, 1, 1), row(2, 2, 1, 2), row(3, 1, 2, 1), row(4, 2, 2, 2)];
        assert_eq!(fold(10, rows), ["d1/1", "c1/1", "u2/2"]);
    }

    #[test]
    fn a_change_of_key_is_a_delete_and_a_create_that_know_each_other() {
        assert_eq!(fold(1000, vec![row(1, 1, 1, 1), row(2, 1, 2, 100)]), ["d1>/1", "c100</1"]);
        assert_eq!(fold(1000, vec![row(1, 1, 3, 1), row(1, 1, 4, 100)]), ["d1>/1", "c100</2"]);
    }

    #[test]
    fn trap_06_swapped_keys_are_both_there_in_the_end() {
        // 1 becomes 2 and 2 becomes 1: whatever comes out, the last event of each key is a create.
        let rows = vec![row(1, 1, 1, 1), row(2, 2, 1, 2), row(3, 1, 2, 2), row(4, 2, 2, 1)];
        assert_eq!(fold(1000, rows), ["d2/1", "d1>/1", "c2</1", "c1/1"]);
    }

    #[test]
    fn a_delete_and_a_later_insert_of_the_same_key_stay_two() {
        let rows = vec![row(1, 1, 1, 7), row(2, 9, 2, 7)];
        assert_eq!(fold(1000, rows), ["d7/1", "c7/1"]);
    }

    #[test]
    fn deletes_come_out_at_the_end_of_the_transaction_in_their_order() {
        let rows = vec![row(1, 1, 1, 3), row(2, 2, 1, 1), row(3, 3, 2, 9)];
        assert_eq!(fold(1000, rows), ["c9/1", "d3/1", "d1/1"]);
    }

    #[test]
    fn a_before_image_alone_is_not_done() {
        let mut folder = Folder::new(Pairing::Folded, 100, vec![vec![0]]);
        let mut out = Vec::new();
        folder.push(row(1, 1, 2, 1), &mut out);
        let done = folder.done();
        folder.push(row(2, 2, 3, 1), &mut out);
        assert_eq!(folder.done(), done);
        folder.push(row(2, 2, 4, 1), &mut out);
        assert_eq!(folder.done().operation, 4);
        assert_eq!(out.len(), 2);
    }

    #[test]
    fn a_table_without_key_holds_nothing_back() {
        let mut folder = Folder::new(Pairing::Folded, 100, vec![Vec::new()]);
        let mut out = Vec::new();
        folder.push(Item { key: Vec::new(), ..row(1, 1, 1, 1) }, &mut out);
        assert_eq!(out.len(), 1);
    }
}
