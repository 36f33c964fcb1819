use std::collections::BTreeSet;

use bytes::Bytes;
use causeway_avro::{Encoder, Options};
use causeway_change::{Column, ColumnType, Table, TableId};
use causeway_kafka::Message;

use super::*;
use crate::{
    change::Shape,
    policy::Policy,
    reader::Reader,
    transcode::Plan,
    whole::foreign::{Edge, Foreign},
};

fn shape(name: &str, schema_id: u32, write: Writing) -> Arc<Shape> {
    let id = Column { name: "id".to_owned(), ty: ColumnType::Int, nullable: false, default: None };
    let table = Table {
        database: "db".to_owned(),
        id: TableId::new("dbo", name),
        columns: vec![id.clone()],
        key: vec![0],
    };
    let encoder = Encoder::new(&table, name, &Options::default(), &BTreeSet::new()).unwrap();
    let policy = Policy { write, ..Policy::default() };
    Arc::new(Shape {
        schema_id,
        topic: name.into(),
        source: table.id,
        target: ("public".to_owned(), name.to_owned()),
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

/// `+p1` puts the row with key 1 of table p, `-p1` deletes it.
fn change(word: &str, offset: i64) -> Change {
    let (operation, rest) = word.split_at(1);
    let (table, key) = rest.split_at(1);
    // Of table `i` inserts and deletes are kept as they are; `n` is a newer schema of `p`.
    let (name, schema_id) = if table == "n" { ("p", 2) } else { (table, 1) };
    let write = if table == "i" { Writing::Insert } else { Writing::Upsert };
    let message = Message {
        topic: name.into(),
        partition: 0,
        offset,
        timestamp_ms: None,
        key: Some([&[0, 0, 0, 0, 9], key.as_bytes()].concat()),
        value: None,
        headers: Vec::new(),
    };
    Change {
        shape: shape(name, schema_id, write),
        key_fields: Bytes::new(),
        action: if operation == "+" {
            Action::Put(Bytes::from_static(&[0; 4]))
        } else {
            Action::Delete
        },
        partial: false,
        snapshot: false,
        commit_lsn: None,
        change_lsn: None,
        commit_ms: 0,
        message: Arc::new(message),
    }
}

fn written(words: &str, first: First) -> String {
    let changes: Vec<Change> =
        words.split(' ').zip(0..).map(|(word, offset)| change(word, offset)).collect();
    let name = |table: &str| ("public".to_owned(), table.to_owned());
    let edge = |child: &str, parent: &str| Edge {
        child: name(child),
        parent: name(parent),
        constraint: String::new(),
        deferrable: false,
    };
    let foreign = Foreign::new([edge("a", "p"), edge("p", "z")]);
    let tables = ["a", "p", "z", "i"].map(name);
    let order = foreign.order(&tables.into_iter().collect()).unwrap();
    let all: Vec<&str> = words.split(' ').collect();
    let slices = phases(&changes, &order, first).into_iter().map(|slice| {
        let words = slice.iter().map(|c| all[usize::try_from(c.message.offset).unwrap()]);
        words.collect::<Vec<_>>().join(" ")
    });
    slices.collect::<Vec<_>>().join(", ")
}

#[test]
fn upserts_go_from_parents_to_children_and_deletes_the_other_way() {
    let words = "+a1 -p1 +p2 -a2 +z1 -z2";
    assert_eq!(written(words, First::Puts), "+z1, +p2, +a1, -a2, -p1, -z2");
    assert_eq!(written(words, First::Deletes), "-a2, -p1, -z2, +z1, +p2, +a1");
}

#[test]
fn of_each_key_what_is_last_counts() {
    assert_eq!(written("+p1 -p1 +p2 -p2 +p2 +p3 +p3", First::Puts), "+p2 +p2 +p3 +p3, -p1");
    // Over a change of the schema, too.
    assert_eq!(written("+p1 -n1 -p2 +n2", First::Puts), "+n2, -n1");
}

#[test]
fn a_table_that_keeps_what_happened_is_written_in_its_own_order() {
    assert_eq!(written("+i1 -i1 +i1 -p1", First::Puts), "+i1 -i1 +i1, -p1");
}
