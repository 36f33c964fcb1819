//! Pure: entries of the transaction index and records, in whatever order they arrive, become pieces that can be
//! applied: whole source transactions in commit order.
//!
//! Every partition is a queue. The entries name its records in its order, so what the first entry needs is
//! always at the front of the queues. Several small transactions share a piece. One that is larger than a
//! piece is given out in several, in the order of the source (its partitions are merged by the place of each
//! change in the source's log), and only the last of them may be committed.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet, VecDeque},
    sync::Arc,
};

use causeway_change::Lsn;
use causeway_kafka::transactions::{Entry, Range};

use crate::progress::{Place, Span};

/// One record that has arrived.
#[derive(Debug)]
pub struct Arrival<T> {
    /// Its offset.
    pub offset: i64,
    /// Bytes that it holds, roughly.
    pub bytes: usize,
    /// Its place in the source's log; none when it has none, and then it follows what is before it.
    pub at: Option<Lsn>,
    /// What it is.
    pub item: T,
}

/// What is applied at once.
#[derive(Debug)]
pub struct Piece<T> {
    /// Records, in an order that is right for each partition.
    pub items: Vec<T>,
    /// Bytes of the records.
    pub bytes: usize,
    /// Where it begins and ends in each partition, that of the index among them.
    pub spans: HashMap<Place, Span>,
    /// Whether a transaction of the target can be committed after it.
    pub whole: bool,
    /// Source transactions that end in it.
    pub transactions: u64,
    /// Records that no entry names.
    pub loose: u64,
    /// The source transaction of a piece that is not whole, for messages.
    pub id: Option<String>,
}

impl<T> Default for Piece<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            bytes: 0,
            spans: HashMap::new(),
            whole: true,
            transactions: 0,
            loose: 0,
            id: None,
        }
    }
}

/// How large pieces and the memory may become.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Records of a piece; a transaction is not split for it.
    pub rows: usize,
    /// Bytes of a piece.
    pub piece: usize,
    /// Bytes of records that wait, before only what is needed first is read on.
    pub waiting: usize,
}

#[derive(Debug)]
struct Partition<T> {
    /// The offset to be given out next.
    next: i64,
    queue: VecDeque<Arrival<T>>,
    /// The offset after the last that arrived.
    arrived: i64,
}

impl<T> Partition<T> {
    /// True when everything before `end` is here, or has been given out.
    fn has(&self, end: i64) -> bool {
        self.next >= end || self.arrived >= end
    }
}

/// See the module.
#[derive(Debug)]
pub struct Assembler<T> {
    bounds: Bounds,
    index: Place,
    index_next: i64,
    /// Entries and their offsets.
    entries: VecDeque<(i64, Entry)>,
    partitions: HashMap<Place, Partition<T>>,
    bytes: usize,
    /// The transaction of which a piece was given out that is not whole.
    inside: Option<String>,
}

impl<T> Assembler<T> {
    /// Nothing has arrived. `index` is the index's partition, to be read from `index_next` on.
    #[must_use]
    pub fn new(bounds: Bounds, index: Place, index_next: i64) -> Self {
        Self {
            bounds,
            index,
            index_next,
            entries: VecDeque::new(),
            partitions: HashMap::new(),
            bytes: 0,
            inside: None,
        }
    }

    /// A partition is read from an offset on.
    pub fn add(&mut self, place: Place, next: i64) {
        self.partitions.insert(place, Partition { next, queue: VecDeque::new(), arrived: next });
    }

    /// The index is read from an offset on.
    pub fn begin_index(&mut self, next: i64) {
        self.index_next = next;
    }

    /// The partitions that are read.
    pub fn places(&self) -> impl Iterator<Item = &Place> {
        self.partitions.keys()
    }

    /// True for a partition that is read.
    #[must_use]
    pub fn knows(&self, place: &Place) -> bool {
        self.partitions.contains_key(place)
    }

    /// An entry has arrived.
    pub fn entry(&mut self, offset: i64, entry: Entry) {
        self.entries.push_back((offset, entry));
    }

    /// A record has arrived.
    pub fn record(&mut self, place: &Place, arrival: Arrival<T>) {
        let Some(partition) = self.partitions.get_mut(place) else { return };
        self.bytes += arrival.bytes;
        partition.arrived = arrival.offset + 1;
        partition.queue.push_back(arrival);
    }

    /// Entries that wait.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.entries.len()
    }

    /// Bytes that wait.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Records that wait for an entry, when there is none: how many and where the first is.
    #[must_use]
    pub fn unnamed(&self) -> Option<(usize, Place, i64)> {
        if !self.entries.is_empty() {
            return None;
        }
        let waiting = self.partitions.iter().filter(|(_, p)| !p.queue.is_empty());
        let count = waiting.clone().map(|(_, p)| p.queue.len()).sum();
        let (place, partition) = waiting.min_by(|a, b| a.0.cmp(b.0))?;
        Some((count, place.clone(), partition.queue.front()?.offset))
    }

    /// What the first entry still waits for, in words.
    #[must_use]
    pub fn waits_for(&self) -> Option<String> {
        let missing = |topic: &str, partition: i32, end: i64| {
            let place: Place = (topic.into(), partition);
            match self.partitions.get(&place) {
                None => Some(format!("{topic} partition {partition}, which is not there")),
                Some(found) if found.has(end) => None,
                Some(_) => Some(format!("offset {} of {topic} partition {partition}", end - 1)),
            }
        };
        match &self.entries.front()?.1 {
            Entry::Begin { ends } => {
                ends.iter().find_map(|end| missing(&end.topic, end.partition, end.next))
            }
            Entry::Transaction { ranges, .. } | Entry::Snapshot { ranges, .. } => ranges
                .iter()
                .find_map(|range| missing(&range.topic, range.partition, range.last + 1)),
        }
    }

    /// Decides anew which partitions are not read on for now. `idle` says that nothing can be given out; while
    /// something can, memory gets free by itself.
    pub fn restrain(&self, stalled: &mut HashSet<Place>, idle: bool) {
        if idle && self.bytes >= self.bounds.waiting {
            *stalled = self.stalled();
        } else if self.bytes < self.bounds.waiting / 2 {
            stalled.clear();
        } else if idle && !stalled.is_empty() {
            // Between the two none is added, so that they do not flap; but what is needed next may be another.
            let needed = self.needed();
            stalled.retain(|place| !needed.contains(place));
        }
    }

    /// The partitions that must not be read on for now; none while there is room.
    #[must_use]
    fn stalled(&self) -> HashSet<Place> {
        if self.bytes < self.bounds.waiting {
            return HashSet::new();
        }
        let needed = self.needed();
        self.partitions.keys().filter(|place| !needed.contains(*place)).cloned().collect()
    }

    /// The partitions without which the first entries cannot go on.
    fn needed(&self) -> HashSet<Place> {
        let wants = |topic: &str, partition: i32, end: i64| {
            let place: Place = (topic.into(), partition);
            let found = self.partitions.get(&place)?;
            // Of a large transaction the fronts are enough.
            let wanted = !found.has(end) && (self.inside.is_none() || found.queue.is_empty());
            wanted.then_some(place)
        };
        // The first entry that lacks something.
        for (_, entry) in &self.entries {
            let needed: HashSet<Place> = match entry {
                Entry::Begin { ends } => {
                    ends.iter().filter_map(|e| wants(&e.topic, e.partition, e.next)).collect()
                }
                Entry::Transaction { ranges, .. } | Entry::Snapshot { ranges, .. } => {
                    ranges.iter().filter_map(|r| wants(&r.topic, r.partition, r.last + 1)).collect()
                }
            };
            if !needed.is_empty() {
                return needed;
            }
        }
        HashSet::new()
    }

    /// What can be applied now; none when something is missing first.
    pub fn next_piece(&mut self) -> Option<Piece<T>> {
        let mut piece = Piece::default();
        loop {
            if piece.bytes >= self.bounds.piece || piece.items.len() >= self.bounds.rows {
                break;
            }
            if self.inside.is_some() {
                return self.inside_next();
            }
            match self.entries.front() {
                None => break,
                Some((_, Entry::Begin { .. })) => {
                    if !piece.spans.is_empty() {
                        break;
                    }
                    if !self.take_unindexed(&mut piece) {
                        break;
                    }
                    // Of its own, and to be committed before anything else.
                    return Some(piece);
                }
                Some((_, Entry::Snapshot { .. })) => {
                    let Some(bytes) = self.arrived(1) else { break };
                    if !piece.spans.is_empty() && piece.bytes + bytes > self.bounds.piece {
                        break;
                    }
                    self.take_entries(1, &mut piece);
                }
                Some((_, Entry::Transaction { id, .. })) => {
                    let whole = self.whole().and_then(|n| Some((n, self.arrived(n)?)));
                    match whole {
                        Some((entries, bytes)) => {
                            if !piece.spans.is_empty() && piece.bytes + bytes > self.bounds.piece {
                                break;
                            }
                            self.take_entries(entries, &mut piece);
                            piece.transactions += 1;
                        }
                        None if piece.spans.is_empty()
                            && self.front_bytes() >= self.bounds.piece =>
                        {
                            self.inside = Some(id.clone());
                        }
                        None => break,
                    }
                }
            }
        }
        (!piece.spans.is_empty()).then_some(piece)
    }

    /// How many entries the first transaction has, when its last is here. An entry of another one ends it, too: then
    /// its rest will never come.
    fn whole(&self) -> Option<usize> {
        let (_, Entry::Transaction { id: first, .. }) = self.entries.front()? else { return None };
        for (n, (_, entry)) in self.entries.iter().enumerate() {
            match entry {
                Entry::Transaction { id, .. } if id != first => return Some(n),
                Entry::Transaction { last: true, .. } => return Some(n + 1),
                Entry::Transaction { .. } => {}
                Entry::Snapshot { .. } | Entry::Begin { .. } => return Some(n),
            }
        }
        None
    }

    /// The bytes of the first entries, when all their records are here.
    fn arrived(&self, entries: usize) -> Option<usize> {
        let mut ends: HashMap<Place, i64> = HashMap::new();
        for range in self.entries.iter().take(entries).flat_map(|(_, entry)| ranges(entry)) {
            let place: Place = (range.topic.as_str().into(), range.partition);
            if !self.partitions.get(&place)?.has(range.last + 1) {
                return None;
            }
            ends.insert(place, range.last + 1);
        }
        Some(self.bytes_before(&ends))
    }

    /// Bytes of the first transaction's records that are here.
    fn front_bytes(&self) -> usize {
        let mut ends: HashMap<Place, i64> = HashMap::new();
        let first = self.entries.front().and_then(|(_, entry)| transaction(entry));
        for (_, entry) in &self.entries {
            if transaction(entry) != first {
                break;
            }
            for range in ranges(entry) {
                ends.insert((range.topic.as_str().into(), range.partition), range.last + 1);
            }
        }
        self.bytes_before(&ends)
    }

    fn bytes_before(&self, ends: &HashMap<Place, i64>) -> usize {
        let of = |(place, end): (&Place, &i64)| {
            let partition = self.partitions.get(place)?;
            let before = partition.queue.iter().take_while(|arrival| arrival.offset < *end);
            Some(before.map(|arrival| arrival.bytes).sum::<usize>())
        };
        ends.iter().filter_map(of).sum()
    }

    /// Records that belong to no entry, because they are older than the index. False when nothing can be done yet.
    fn take_unindexed(&mut self, piece: &mut Piece<T>) -> bool {
        let Some((_, Entry::Begin { ends })) = self.entries.front() else { return false };
        let ends = ends.clone();
        let mut all = true;
        for end in &ends {
            let place: Place = (end.topic.as_str().into(), end.partition);
            while piece.bytes < self.bounds.piece && piece.items.len() < self.bounds.rows {
                let before = |arrival: &Arrival<T>| arrival.offset < end.next;
                let Some(partition) = self.partitions.get(&place) else { break };
                if !partition.queue.front().is_some_and(before) {
                    break;
                }
                self.take_front(&place, piece);
                piece.loose += 1;
            }
            all &= self.partitions.get(&place).is_some_and(|p| p.next >= end.next);
        }
        if all {
            self.pop_entry(piece);
        }
        !piece.spans.is_empty()
    }

    fn take_entries(&mut self, entries: usize, piece: &mut Piece<T>) {
        for _ in 0..entries {
            let named = self.entries.front().map(|(_, entry)| ranges(entry).to_vec());
            for range in named.unwrap_or_default() {
                let place: Place = (range.topic.as_str().into(), range.partition);
                while self.front_offset(&place).is_some_and(|offset| offset <= range.last) {
                    self.take_named(&place, &range, piece);
                }
                self.pass(&place, range.last + 1, piece);
            }
            self.pop_entry(piece);
        }
    }

    /// The next piece of a transaction that is larger than one.
    fn inside_next(&mut self) -> Option<Piece<T>> {
        let inside = self.inside.clone()?;
        let mut piece = Piece { whole: false, id: Some(inside.clone()), ..Piece::default() };
        while piece.bytes < self.bounds.piece {
            let Some((_, entry)) = self.entries.front() else { break };
            if transaction(entry) != Some(inside.as_str()) {
                // Its rest will never come: what there is of it is all.
                self.inside = None;
                piece.whole = true;
                piece.transactions = 1;
                return Some(piece);
            }
            let last = matches!(entry, Entry::Transaction { last: true, .. });
            let named = ranges(entry).to_vec();
            if !self.merge(&named, &mut piece) {
                break;
            }
            self.pop_entry(&mut piece);
            if last {
                self.inside = None;
                piece.whole = true;
                piece.transactions = 1;
                return Some(piece);
            }
        }
        (!piece.spans.is_empty()).then_some(piece)
    }

    /// Takes the records of an entry in the order of the source's log; true when all of them are taken.
    fn merge(&mut self, named: &[Range], piece: &mut Piece<T>) -> bool {
        let mut fronts: BinaryHeap<Reverse<(Option<Lsn>, usize)>> = BinaryHeap::new();
        for (n, range) in named.iter().enumerate() {
            match self.front_of(range) {
                Front::At(at) => fronts.push(Reverse((at, n))),
                Front::Done => self.pass(&place_of(range), range.last + 1, piece),
                // It may be the first of all.
                Front::Missing => return false,
            }
        }
        while let Some(Reverse((_, n))) = fronts.pop() {
            if piece.bytes >= self.bounds.piece {
                return false;
            }
            let Some(range) = named.get(n) else { continue };
            self.take_named(&place_of(range), range, piece);
            match self.front_of(range) {
                Front::At(at) => fronts.push(Reverse((at, n))),
                Front::Done => self.pass(&place_of(range), range.last + 1, piece),
                Front::Missing => return false,
            }
        }
        true
    }

    fn front_of(&self, range: &Range) -> Front {
        let Some(partition) = self.partitions.get(&place_of(range)) else { return Front::Missing };
        match partition.queue.front() {
            Some(front) if front.offset <= range.last => Front::At(front.at),
            Some(_) => Front::Done,
            None if partition.has(range.last + 1) => Front::Done,
            None => Front::Missing,
        }
    }

    fn front_offset(&self, place: &Place) -> Option<i64> {
        Some(self.partitions.get(place)?.queue.front()?.offset)
    }

    fn take_named(&mut self, place: &Place, range: &Range, piece: &mut Piece<T>) {
        if self.front_offset(place).is_some_and(|offset| offset < range.first) {
            piece.loose += 1;
        }
        self.take_front(place, piece);
    }

    fn take_front(&mut self, place: &Place, piece: &mut Piece<T>) {
        let Some(partition) = self.partitions.get_mut(place) else { return };
        let Some(arrival) = partition.queue.pop_front() else { return };
        self.bytes -= arrival.bytes;
        piece.bytes += arrival.bytes;
        piece.items.push(arrival.item);
        self.pass(place, arrival.offset + 1, piece);
    }

    /// A partition is given out up to `next`.
    fn pass(&mut self, place: &Place, next: i64, piece: &mut Piece<T>) {
        let Some(partition) = self.partitions.get_mut(place) else { return };
        if next > partition.next {
            advance(piece, place.clone(), partition.next, next);
            partition.next = next;
        }
    }

    fn pop_entry(&mut self, piece: &mut Piece<T>) {
        let Some((offset, _)) = self.entries.pop_front() else { return };
        advance(piece, self.index.clone(), self.index_next, offset + 1);
        self.index_next = offset + 1;
    }
}

/// What is at the front of a partition for a range.
enum Front {
    /// A record, at that place of the source's log.
    At(Option<Lsn>),
    /// All are taken.
    Done,
    /// It has not arrived.
    Missing,
}

fn place_of(range: &Range) -> Place {
    (Arc::from(range.topic.as_str()), range.partition)
}

fn ranges(entry: &Entry) -> &[Range] {
    match entry {
        Entry::Transaction { ranges, .. } | Entry::Snapshot { ranges, .. } => ranges,
        Entry::Begin { .. } => &[],
    }
}

fn transaction(entry: &Entry) -> Option<&str> {
    match entry {
        Entry::Transaction { id, .. } => Some(id),
        Entry::Snapshot { .. } | Entry::Begin { .. } => None,
    }
}

fn advance<T>(piece: &mut Piece<T>, place: Place, expected: i64, next: i64) {
    piece.spans.entry(place).or_insert(Span { expected, next }).next = next;
}

#[cfg(test)]
#[path = "assemble_tests.rs"]
mod tests;
