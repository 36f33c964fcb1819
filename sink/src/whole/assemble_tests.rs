use causeway_kafka::transactions::End;

use super::*;

/// An assembler of texts, for a topic `a` and a topic `b` of one partition each.
struct Rig {
    assembler: Assembler<String>,
    entries: i64,
}

const SMALL: Bounds = Bounds { rows: 1_000, piece: 10, waiting: 30 };
const LARGE: Bounds = Bounds { rows: 1_000, piece: 10_000, waiting: 30_000 };

fn place(topic: &str) -> Place {
    (topic.into(), 0)
}

impl Rig {
    fn new(bounds: Bounds) -> Self {
        let mut assembler = Assembler::new(bounds, place("index"), 0);
        assembler.add(place("a"), 0);
        assembler.add(place("b"), 0);
        Self { assembler, entries: 0 }
    }

    fn entry(&mut self, entry: Entry) {
        // Markers of transactions are between them.
        self.assembler.entry(self.entries * 2, entry);
        self.entries += 1;
    }

    /// `a:0-2` is a range.
    fn transaction(&mut self, id: &str, last: bool, ranges: &[&str]) {
        let ranges = self::ranges(ranges);
        let (id, commit_ns, events, set_aside) = (id.to_owned(), 0, 0, 0);
        self.entry(Entry::Transaction { id, commit_ns, last, events, set_aside, ranges });
    }

    fn snapshot(&mut self, ranges: &[&str]) {
        let ranges = self::ranges(ranges);
        self.entry(Entry::Snapshot { id: "copy".to_owned(), events: 0, set_aside: 0, ranges });
    }

    /// Records of one byte each.
    fn arrive(&mut self, topic: &str, offsets: impl IntoIterator<Item = i64>) {
        for offset in offsets {
            self.at(topic, offset, None);
        }
    }

    fn at(&mut self, topic: &str, offset: i64, slot: Option<u16>) {
        let at = slot.map(|slot| Lsn::from_parts(1, 1, slot));
        let arrival = Arrival { offset, bytes: 1, at, item: format!("{topic}{offset}") };
        self.assembler.record(&place(topic), arrival);
    }

    /// The next piece in words: its records, `+` when it is whole, and where the partitions stand after it.
    fn next(&mut self) -> Option<String> {
        let piece = self.assembler.next_piece()?;
        let mut spans: Vec<_> = piece
            .spans
            .iter()
            .map(|((topic, _), span)| format!("{topic}:{}-{}", span.expected, span.next))
            .collect();
        spans.sort();
        let whole = if piece.whole { "+" } else { "-" };
        Some(format!("{} {whole} {}", piece.items.join(" "), spans.join(" ")))
    }
}

fn ranges(words: &[&str]) -> Vec<Range> {
    let one = |word: &&str| {
        let (topic, offsets) = word.split_once(':').unwrap();
        let (first, last) = offsets.split_once('-').unwrap();
        let (first, last): (i64, i64) = (first.parse().unwrap(), last.parse().unwrap());
        let count = u64::try_from(last - first + 1).unwrap();
        Range { topic: topic.to_owned(), partition: 0, first, last, count }
    };
    words.iter().map(one).collect()
}

#[test]
fn a_transaction_waits_for_all_its_records_whichever_comes_first() {
    let mut rig = Rig::new(LARGE);
    rig.arrive("a", [0, 1]);
    assert_eq!(rig.next(), None, "no entry yet");
    assert_eq!(rig.assembler.unnamed(), Some((2, place("a"), 0)));
    rig.transaction("1", true, &["a:0-1", "b:0-0"]);
    assert_eq!(rig.next(), None);
    assert_eq!(rig.assembler.waits_for().unwrap(), "offset 0 of b partition 0");
    assert_eq!(rig.assembler.unnamed(), None);
    // What comes later waits behind it.
    rig.transaction("2", true, &["a:3-3"]);
    rig.arrive("a", [3]);
    assert_eq!(rig.next(), None);
    rig.arrive("b", [0]);
    assert_eq!(rig.next().unwrap(), "a0 a1 b0 a3 + a:0-4 b:0-1 index:0-3");
    assert_eq!((rig.next(), rig.assembler.bytes(), rig.assembler.entries()), (None, 0, 0));
}

#[test]
fn small_transactions_share_a_piece_and_none_is_split() {
    let mut rig = Rig::new(SMALL);
    for n in 0..4 {
        rig.transaction(&n.to_string(), true, &[&format!("a:{}-{}", n * 4, n * 4 + 3)]);
    }
    rig.arrive("a", 0..16);
    assert_eq!(rig.next().unwrap(), "a0 a1 a2 a3 a4 a5 a6 a7 + a:0-8 index:0-3");
    assert_eq!(rig.next().unwrap(), "a8 a9 a10 a11 a12 a13 a14 a15 + a:8-16 index:3-7");
}

#[test]
fn what_was_applied_before_is_not_waited_for() {
    let mut rig = Rig::new(LARGE);
    // As after a time in which records were applied one by one.
    rig.assembler.add(place("a"), 5);
    rig.transaction("1", true, &["a:0-3"]);
    rig.transaction("2", true, &["a:4-6", "b:0-0"]);
    rig.arrive("a", [5, 6]);
    assert_eq!(rig.next().unwrap(), " + index:0-1", "nothing of it is left");
    rig.arrive("b", [0]);
    assert_eq!(rig.next().unwrap(), "a5 a6 b0 + a:5-7 b:0-1 index:1-3");
}

#[test]
fn a_transaction_larger_than_memory_comes_in_pieces_in_the_order_of_the_source() {
    let mut rig = Rig::new(SMALL);
    rig.transaction("1", false, &["a:0-11", "b:0-11"]);
    for n in 0..12 {
        rig.at("a", n, Some(u16::try_from(n * 2).unwrap()));
    }
    assert_eq!(rig.next(), None, "the first of b may be the first of all");
    rig.at("b", 0, Some(1));
    let first = "a0 b0 - a:0-1 b:0-1";
    assert_eq!(rig.next().unwrap(), first);
    for n in 1..12 {
        rig.at("b", n, Some(u16::try_from(n * 2 + 1).unwrap()));
    }
    assert_eq!(rig.next().unwrap(), "a1 b1 a2 b2 a3 b3 a4 b4 a5 b5 - a:1-6 b:1-6");
    assert_eq!(rig.next().unwrap(), "a6 b6 a7 b7 a8 b8 a9 b9 a10 b10 - a:6-11 b:6-11");
    assert_eq!(rig.next().unwrap(), "a11 b11 - a:11-12 b:11-12 index:0-1");
    assert_eq!(rig.next(), None);
    // The second part, and its end, which has no records.
    rig.transaction("1", false, &["b:13-13"]);
    rig.arrive("b", [13]);
    assert_eq!(rig.next().unwrap(), "b13 - b:12-14 index:1-3");
    rig.transaction("1", true, &[]);
    rig.transaction("2", true, &["a:13-13"]);
    rig.arrive("a", [13]);
    assert_eq!(rig.next().unwrap(), " + index:3-5");
    assert_eq!(rig.next().unwrap(), "a13 + a:12-14 index:5-7");
}

#[test]
fn a_transaction_in_parts_that_fits_is_one_piece() {
    let mut rig = Rig::new(LARGE);
    rig.transaction("1", false, &["a:0-1"]);
    rig.arrive("a", [0, 1, 3]);
    assert_eq!(rig.next(), None, "its end is not known");
    rig.transaction("1", true, &["a:3-3"]);
    assert_eq!(rig.next().unwrap(), "a0 a1 a3 + a:0-4 index:0-3");
}

#[test]
fn a_transaction_whose_end_never_comes_ends_with_the_next() {
    for (bounds, pieces) in [
        (LARGE, vec!["a0 a1 a2 a3 a4 a5 a6 a7 a8 a9 a10 a12 + a:0-13 index:0-3"]),
        (
            SMALL,
            vec![
                "a0 a1 a2 a3 a4 a5 a6 a7 a8 a9 - a:0-10",
                "a10 - a:10-11 index:0-1",
                " + ",
                "a12 + a:11-13 index:1-3",
            ],
        ),
    ] {
        let mut rig = Rig::new(bounds);
        rig.transaction("1", false, &["a:0-10"]);
        rig.arrive("a", 0..10);
        let early = rig.next();
        rig.arrive("a", [10]);
        let early = early.into_iter().chain(rig.next()).collect::<Vec<_>>();
        rig.transaction("2", true, &["a:12-12"]);
        rig.arrive("a", [12]);
        let found: Vec<_> = early.into_iter().chain(std::iter::from_fn(|| rig.next())).collect();
        assert_eq!(found, pieces);
    }
}

#[test]
fn records_older_than_the_index_are_applied_row_by_row_and_first() {
    let mut rig = Rig::new(SMALL);
    let end = |topic: &str, next| End { topic: topic.to_owned(), partition: 0, next };
    rig.entry(Entry::Begin { ends: vec![end("a", 12), end("b", 3)] });
    rig.transaction("1", true, &["a:13-13", "b:4-4"]);
    rig.arrive("a", (0..12).chain([13]));
    assert_eq!(rig.next().unwrap(), "a0 a1 a2 a3 a4 a5 a6 a7 a8 a9 + a:0-10");
    assert_eq!(rig.next().unwrap(), "a10 a11 + a:10-12");
    assert_eq!(rig.next(), None);
    assert_eq!(rig.assembler.waits_for().unwrap(), "offset 2 of b partition 0");
    rig.arrive("b", [0, 2, 4]);
    assert_eq!(rig.next().unwrap(), "b0 b2 + b:0-3 index:0-1");
    assert_eq!(rig.next().unwrap(), "a13 b4 + a:12-14 b:3-5 index:1-3");
}

#[test]
fn records_that_the_index_has_left_out_go_with_the_next_that_it_names() {
    let mut rig = Rig::new(LARGE);
    rig.transaction("1", true, &["a:3-3"]);
    rig.arrive("a", [0, 1, 3]);
    let piece = rig.assembler.next_piece().unwrap();
    assert_eq!((piece.items.join(" "), piece.loose), ("a0 a1 a3".to_owned(), 2));
}

#[test]
fn chunks_of_snapshots_are_pieces_among_the_transactions() {
    let mut rig = Rig::new(LARGE);
    rig.transaction("1", true, &["a:0-0"]);
    rig.snapshot(&["b:0-2"]);
    rig.transaction("2", true, &["a:1-1"]);
    rig.arrive("a", [0, 1]);
    rig.arrive("b", [0, 1]);
    assert_eq!(rig.next().unwrap(), "a0 + a:0-1 index:0-1");
    assert_eq!(rig.next(), None);
    rig.arrive("b", [2]);
    assert_eq!(rig.next().unwrap(), "b0 b1 b2 a1 + a:1-2 b:0-3 index:1-5");
}

#[test]
fn when_memory_is_full_only_what_is_needed_first_is_read_on() {
    let mut rig = Rig::new(SMALL);
    rig.transaction("1", true, &["a:0-1", "b:0-1"]);
    rig.transaction("2", true, &["a:2-60"]);
    rig.arrive("a", 0..29);
    assert!(rig.assembler.stalled().is_empty());
    rig.arrive("a", [29]);
    assert_eq!(rig.assembler.stalled(), HashSet::from([place("a")]));
    rig.arrive("b", [0, 1]);
    assert!(rig.next().is_some());
    // The second is too large to be waited for: its records go as they come.
    assert!(rig.assembler.stalled().is_empty());
    assert!(rig.next().unwrap().contains(" - "));
    while rig.next().is_some() {}
    rig.arrive("b", (2..40).collect::<Vec<_>>());
    assert_eq!(rig.assembler.stalled(), HashSet::from([place("b")]));
    rig.arrive("a", 30..61);
    while rig.next().is_some() {}
    assert_eq!(rig.assembler.unnamed().map(|(count, ..)| count), Some(38));
}

#[test]
fn what_is_needed_next_is_read_although_memory_is_half_full() {
    let mut rig = Rig::new(SMALL);
    let mut stalled = HashSet::new();
    rig.transaction("1", true, &["b:0-0"]);
    rig.transaction("2", true, &["a:0-29"]);
    rig.transaction("3", true, &["a:30-30", "b:1-20"]);
    rig.arrive("a", 0..30);
    assert_eq!(rig.next(), None);
    rig.assembler.restrain(&mut stalled, true);
    assert_eq!(stalled, HashSet::from([place("a")]));
    rig.arrive("b", 0..21);
    while rig.next().is_some() {
        rig.assembler.restrain(&mut stalled, false);
    }
    // There is room for neither all nor nothing.
    assert_eq!(rig.assembler.bytes(), 20);
    assert_eq!(stalled, HashSet::from([place("a")]));
    rig.assembler.restrain(&mut stalled, true);
    assert!(stalled.is_empty());
    rig.arrive("a", [30]);
    while rig.next().is_some() {}
    assert_eq!(rig.assembler.bytes(), 0);
}
