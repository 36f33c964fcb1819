use std::collections::BTreeSet;

use bytes::Bytes;
use causeway_avro::{Encoder, Options};
use causeway_change::{Column, ColumnType, Table, TableId};
use causeway_kafka::Message;

use super::*;
use crate::{
    change::{ABSENT, Action, Shape},
    policy::Policy,
    reader::Reader,
    transcode::Plan,
};

fn shape(on_error: OnError) -> Arc<Shape> {
    let id = Column { name: "id".to_owned(), ty: ColumnType::Int, nullable: false, default: None };
    let table = Table {
        database: "db".to_owned(),
        id: TableId::new("dbo", "t"),
        columns: vec![id.clone()],
        key: vec![0],
    };
    let encoder = Encoder::new(&table, "t", &Options::default(), &BTreeSet::new()).unwrap();
    let policy = Policy { on_error, ..Policy::default() };
    Arc::new(Shape {
        schema_id: 1,
        topic: "t".into(),
        source: table.id,
        target: ("public".to_owned(), "t".to_owned()),
        plan: Plan::new(std::iter::once(Some(&id)), &policy),
        columns: vec![id.clone()],
        key: vec![id],
        key_reader: None,
        key_indexes: vec![0],
        reader: Reader::new(encoder.value_schema()).unwrap(),
        metas: Vec::new(),
        policy,
    })
}

fn message(key: &str, partition: i32, offset: i64) -> Arc<Message> {
    Arc::new(Message {
        topic: "t".into(),
        partition,
        offset,
        timestamp_ms: None,
        key: Some([&[0, 0, 0, 0, 9], key.as_bytes()].concat()),
        value: None,
        headers: Vec::new(),
    })
}

enum Kind {
    Full,
    Partial,
    Delete,
}

fn change(shape: &Arc<Shape>, key: &str, partition: i32, offset: i64, kind: &Kind) -> Change {
    let action = match kind {
        Kind::Full => Action::Put(Bytes::from_static(&[0, 0, 0, 0])),
        Kind::Partial => Action::Put(ABSENT.to_be_bytes().to_vec().into()),
        Kind::Delete => Action::Delete,
    };
    Change {
        shape: shape.clone(),
        key_fields: Bytes::new(),
        action,
        partial: matches!(kind, Kind::Partial),
        snapshot: false,
        commit_lsn: None,
        change_lsn: None,
        commit_ms: 0,
        message: message(key, partition, offset),
    }
}

fn held(letters: &[(&str, i32, i64)]) -> Held {
    let mut held = Held::default();
    for (key, partition, offset) in letters {
        held.refused(&Refusal {
            message: message(key, *partition, *offset),
            source: None,
            commit_lsn: None,
            stage: "TASK_PUT",
            sqlstate: None,
            column: None,
            constraint: None,
            reason: String::new(),
            on_error: OnError::Dlq,
            parked: false,
        });
    }
    held
}

/// Offsets that are applied, that are parked, and that supersede.
fn offsets(sorted: &Sorted) -> (Vec<i64>, Vec<i64>, Vec<i64>) {
    (
        sorted.apply.iter().map(|change| change.message.offset).collect(),
        sorted.parked.iter().map(|refusal| refusal.message.offset).collect(),
        sorted.supersede.iter().map(|(_, _, _, offset)| *offset).collect(),
    )
}

#[test]
fn a_later_whole_row_supersedes_and_a_part_of_one_waits() {
    let shape = shape(OnError::Dlq);
    let changes = [
        change(&shape, "a", 0, 3, &Kind::Full),
        change(&shape, "b", 0, 4, &Kind::Full),
        change(&shape, "a", 0, 6, &Kind::Partial),
        change(&shape, "a", 0, 7, &Kind::Full),
        change(&shape, "a", 0, 8, &Kind::Partial),
        change(&shape, "c", 0, 9, &Kind::Delete),
        change(&shape, "d", 1, 1, &Kind::Full),
    ];
    let sorted = held(&[("a", 0, 5), ("c", 0, 2), ("d", 0, 90)]).sort(&changes);
    assert_eq!(offsets(&sorted), (vec![3, 4, 7, 8, 9, 1], vec![6], vec![7, 9, 1]));
    assert!(sorted.parked[0].parked);
}

#[test]
fn a_parked_key_parks_all_that_follows_and_nothing_that_went_before() {
    let shape = shape(OnError::ParkKey);
    let changes = [
        change(&shape, "a", 0, 3, &Kind::Full),
        change(&shape, "a", 0, 6, &Kind::Full),
        change(&shape, "b", 0, 7, &Kind::Delete),
        change(&shape, "a", 0, 8, &Kind::Delete),
    ];
    let sorted = held(&[("a", 0, 5)]).sort(&changes);
    assert_eq!(offsets(&sorted), (vec![3, 7], vec![6, 8], vec![]));
}

#[test]
fn the_oldest_letter_of_a_key_counts() {
    let shape = shape(OnError::Dlq);
    let changes = [change(&shape, "a", 0, 6, &Kind::Full)];
    let sorted = held(&[("a", 0, 9), ("a", 0, 5)]).sort(&changes);
    assert_eq!(offsets(&sorted).2, [6]);
}
