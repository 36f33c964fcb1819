use std::collections::BTreeSet;

use causeway_avro::{Encoder, Options};
use causeway_change::{ColumnType, Length, Table, TableId};
use causeway_postgres::catalog::TableColumn;

use super::*;
use crate::{reader::Reader, transcode};

fn existing(declared: &str, not_null: bool) -> TableColumn {
    TableColumn {
        base_type: String::new(),
        declared: declared.to_owned(),
        not_null,
        generated: false,
        has_default: false,
    }
}

fn column(name: &str, ty: ColumnType, nullable: bool) -> Column {
    Column { name: name.to_owned(), ty, nullable, default: None }
}

fn found(columns: &[(&str, &str, bool)], key: &[&str]) -> ExistingTable {
    ExistingTable {
        columns: columns
            .iter()
            .map(|(name, declared, not_null)| ((*name).to_owned(), existing(declared, *not_null)))
            .collect(),
        primary_key: key.iter().map(|name| (*name).to_owned()).collect(),
        oid: 7,
    }
}

fn shape(columns: &[Column], key: &[Column], policy: Policy) -> Shape {
    let table = Table {
        database: "db".to_owned(),
        id: TableId::new("dbo", "t"),
        columns: columns.to_vec(),
        key: Vec::new(),
    };
    let encoder = Encoder::new(&table, "t", &Options::default(), &BTreeSet::new()).unwrap();
    Shape {
        schema_id: 5,
        topic: "t".into(),
        source: table.id,
        target: ("public".to_owned(), "t".to_owned()),
        plan: transcode::Plan::strict(columns),
        columns: columns.to_vec(),
        key: key.to_vec(),
        key_reader: None,
        key_indexes: Vec::new(),
        reader: Reader::new(encoder.value_schema()).unwrap(),
        metas: Vec::new(),
        policy,
    }
}

fn ours() -> Past {
    Past { made: Some(7), schema_id: Some(5) }
}

#[test]
fn a_table_of_ours_is_made_to_fit() {
    let found =
        found(&[("id", "integer", true), ("gone", "text", true), ("n", "integer", true)], &["id"]);
    let id = column("id", ColumnType::BigInt, false);
    let columns = [
        id.clone(),
        column("n", ColumnType::Int, true),
        column("new", ColumnType::VarChar(Length::Of(5)), false),
    ];
    let shape = shape(&columns, &[id], Policy::default());
    assert_eq!(
        plan(&found, &shape, &ours()),
        Plan {
            alter: vec![
                "ALTER COLUMN \"id\" TYPE bigint".to_owned(),
                "ALTER COLUMN \"n\" DROP NOT NULL".to_owned(),
                "ADD COLUMN \"new\" character varying(5)".to_owned(),
                "ALTER COLUMN \"gone\" DROP NOT NULL".to_owned(),
            ],
            ..Plan::default()
        }
    );
}

#[test]
fn all_that_is_wrong_with_a_hand_made_table_is_one_list() {
    let found = found(
        &[
            ("id", "integer", true),
            ("name", "integer", false),
            ("must", "text", true),
            ("made", "integer", false),
        ],
        &[],
    );
    let mut found = found;
    found.columns.get_mut("made").unwrap().generated = true;
    let long = "x".repeat(64);
    let id = column("id", ColumnType::Int, false);
    let columns = [
        id.clone(),
        column("name", ColumnType::VarChar(Length::Of(5)), true),
        column("made", ColumnType::Int, true),
        column(&long, ColumnType::Int, true),
    ];
    let plan = plan(&found, &shape(&columns, &[id], Policy::default()), &Past::default());
    let text = plan.problems.join("\n");
    assert_eq!(plan.problems.len(), 5, "{text}");
    for part in ["primary key", "name is integer", "must is NOT NULL", "GENERATED", long.as_str()] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn rules_say_what_a_table_follows() {
    let found = found(&[("id", "integer", true), ("gone", "text", false)], &["id"]);
    let id = column("id", ColumnType::Int, false);
    let columns = [id.clone(), column("new", ColumnType::Int, true)];
    let policy =
        Policy { new_column: OnChange::Dlq, lost_column: OnChange::Stop, ..Policy::default() };
    let shape = shape(&columns, std::slice::from_ref(&id), policy);
    let planned = plan(&found, &shape, &ours());
    assert!(planned.alter.is_empty());
    assert!(planned.aside.concat().contains("new"), "{planned:?}");
    assert!(planned.problems.concat().contains("gone"), "{planned:?}");
    // A late record of an older version, or a table that somebody else made, has lost nothing.
    for past in [Past { schema_id: Some(6), ..ours() }, Past::default()] {
        assert!(plan(&found, &shape, &past).problems.is_empty());
    }
}
