use causeway_change::{TableId, Value};

use super::*;
use crate::Encoder;

fn column(name: &str, ty: ColumnType, nullable: bool) -> Column {
    Column { name: name.to_owned(), ty, nullable, default: None }
}

/// The table of research B.5.1.
fn orders() -> Table {
    let mut columns = vec![
        column("id", ColumnType::Int, false),
        column("status", ColumnType::TinyInt, false),
        column("qty", ColumnType::Int, false),
        column("total", ColumnType::Decimal { precision: 18, scale: 2 }, true),
        column("fee", ColumnType::Money, true),
        column("is_paid", ColumnType::Bit, true),
        column("customer", ColumnType::NVarChar(Length::Of(100)), false),
        column("guid", ColumnType::UniqueIdentifier, true),
        column("doc", ColumnType::Xml, true),
        column("payload", ColumnType::VarBinary(Length::Max), true),
        column("rv", ColumnType::RowVersion, true),
        column("d", ColumnType::Date, true),
        column("t7", ColumnType::Time { scale: 7 }, true),
        column("dt", ColumnType::DateTime, true),
        column("dt2_6", ColumnType::DateTime2 { scale: 6 }, true),
        column("dt2_7", ColumnType::DateTime2 { scale: 7 }, false),
        column("dto", ColumnType::DateTimeOffset { scale: 7 }, true),
    ];
    columns[2].default = Some(Value::I32(1));
    columns[5].default = Some(Value::Bool(false));
    Table {
        database: "inventory".to_owned(),
        id: TableId::new("dbo", "orders"),
        columns,
        key: vec![0],
    }
}

fn encoder(table: &Table, options: &Options, micro: &[&str]) -> Encoder {
    let micro = micro.iter().map(|&name| name.to_owned()).collect();
    Encoder::new(table, "mssql1.inventory.dbo.orders", options, &micro).unwrap()
}

fn type_of(encoder: &Encoder, column: &str) -> Json {
    let schema: Json = serde_json::from_str(encoder.value_schema()).unwrap();
    let fields = schema["fields"][0]["type"][1]["fields"].as_array().unwrap().clone();
    fields.into_iter().find(|field| field["name"] == column).unwrap()
}

#[test]
fn the_schemas_are_debeziums_to_the_letter() {
    let options = Options { source_types: false, ..Options::default() };
    let encoder = encoder(&orders(), &options, &[]);
    let key = include_str!("../tests/orders-key.avsc").trim_end();
    let value = include_str!("../tests/orders-value.avsc").trim_end();
    assert_eq!(encoder.key_schema(), Some(key));
    assert_eq!(encoder.value_schema(), value);
}

#[test]
fn source_types_stand_in_the_parameters_in_debeziums_order() {
    let encoder = encoder(&orders(), &Options::default(), &[]);
    assert_eq!(
        type_of(&encoder, "total").to_string(),
        r#"{"name":"total","type":["null",{"type":"bytes","scale":2,"precision":18,"connect.version":1,"connect.parameters":{"scale":"2","connect.decimal.precision":"18","__debezium.source.column.type":"DECIMAL","__debezium.source.column.length":"18","__debezium.source.column.scale":"2","__debezium.source.column.name":"total"},"connect.name":"org.apache.kafka.connect.data.Decimal","logicalType":"decimal"}],"default":null}"#
    );
    assert_eq!(
        type_of(&encoder, "status").to_string(),
        r#"{"name":"status","type":{"type":"int","connect.parameters":{"__debezium.source.column.type":"TINYINT","__debezium.source.column.length":"3","__debezium.source.column.scale":"0","__debezium.source.column.name":"status"},"connect.type":"int16"}}"#
    );
    let key: Json = serde_json::from_str(encoder.key_schema().unwrap()).unwrap();
    assert_eq!(key["fields"][0]["type"]["connect.parameters"][parameter::TYPE], "INT");
    let plain = Options { key_types: false, ..Options::default() };
    let key = self::encoder(&orders(), &plain, &[]).key_schema().unwrap().to_owned();
    assert_eq!(key, include_str!("../tests/orders-key.avsc").trim_end());
}

#[test]
fn a_reference_implementation_accepts_every_schema() {
    for source_types in [false, true] {
        for temporal in [Temporal::Adaptive, Temporal::Microseconds, Temporal::Connect] {
            let encoder = encoder(
                &orders(),
                &Options { temporal, source_types, ..Options::default() },
                &["dt2_7"],
            );
            apache_avro::Schema::parse_str(encoder.value_schema()).unwrap();
            apache_avro::Schema::parse_str(encoder.key_schema().unwrap()).unwrap();
        }
    }
}

#[test]
fn trap_32_a_column_out_of_the_nanoseconds_is_written_with_microseconds() {
    let options = Options { source_types: false, ..Options::default() };
    let by_name = encoder(&orders(), &options, &["dt2_7"]);
    assert_eq!(
        type_of(&by_name, "dt2_7")["type"]["connect.name"],
        "io.debezium.time.MicroTimestamp"
    );

    let mut table = orders();
    table.columns[15].default = Some(Value::DateTime(i64::MAX / 10));
    let by_default = encoder(&table, &options, &[]);
    let dt2_7 = type_of(&by_default, "dt2_7");
    assert_eq!(dt2_7["type"]["connect.name"], "io.debezium.time.MicroTimestamp");
    assert_eq!(dt2_7["default"], i64::MAX / 100);
}

#[test]
fn defaults_are_written_as_avro_has_them() {
    for (ty, default, json) in [
        (ColumnType::Decimal { precision: 5, scale: 2 }, Value::Decimal(-1), json!("\u{ff}")),
        (ColumnType::VarBinary(Length::Of(4)), Value::Bytes(vec![0, 128, 65]), json!("\0\u{80}A")),
        (ColumnType::Real, Value::F32(0.1), json!(0.1)),
        (ColumnType::Float, Value::F64(1.0), json!(1.0)),
        (ColumnType::NVarChar(Length::Max), Value::Text("n/a".to_owned()), json!("n/a")),
        (ColumnType::Time { scale: 0 }, Value::Time(10_000_000), json!(1_000)),
        (
            ColumnType::UniqueIdentifier,
            Value::Guid([0xAB; 16]),
            json!("ABABABAB-ABAB-ABAB-ABAB-ABABABABABAB"),
        ),
        (
            ColumnType::DateTimeOffset { scale: 0 },
            Value::DateTimeOffset { utc: 0, offset_minutes: 60 },
            json!("1970-01-01T01:00:00+01:00"),
        ),
    ] {
        let mut table = orders();
        table.columns.push(Column {
            name: "x".to_owned(),
            ty,
            nullable: true,
            default: Some(default),
        });
        let encoder = encoder(&table, &Options::default(), &[]);
        let field = type_of(&encoder, "x");
        assert_eq!(field["default"], json, "{ty}");
        assert_eq!(field["type"][0]["connect.default"], json, "{ty}");
        assert_eq!(field["type"][1], "null", "{ty}");
        apache_avro::Schema::parse_str(encoder.value_schema()).unwrap();
    }
}

#[test]
fn names_are_made_legal_and_the_original_travels() {
    let mut table = orders();
    table.columns.push(column("Straße no", ColumnType::Int, true));
    let encoder =
        Encoder::new(&table, "my-shop.2024 db.dbo.orders", &Options::default(), &BTreeSet::new())
            .unwrap();
    let field = type_of(&encoder, "Stra_e_no");
    assert_eq!(field["type"][1]["connect.parameters"][parameter::NAME], "Straße no");
    let schema: Json = serde_json::from_str(encoder.value_schema()).unwrap();
    assert_eq!(schema["connect.name"], "my_shop._2024_db.dbo.orders.Envelope");
    apache_avro::Schema::parse_str(encoder.value_schema()).unwrap();
}

#[test]
fn a_type_that_is_declared_is_read_back() {
    for ty in crate::testing::every_type() {
        let (length, scale) = declared(ty);
        assert_eq!(
            column_type(&ty.name().to_uppercase(), Some(length.into()), scale.map(i64::from)),
            Some(ty),
            "{ty}"
        );
    }
    assert_eq!(column_type("INT IDENTITY", Some(10), Some(0)), Some(ColumnType::Int));
    assert_eq!(
        column_type("DECIMAL() IDENTITY", Some(9), Some(0)),
        Some(ColumnType::Decimal { precision: 9, scale: 0 })
    );
    assert_eq!(column_type("INT4", Some(10), None), None);
    assert_eq!(column_type("DECIMAL", Some(65), Some(30)), None);
}

#[test]
fn a_table_that_cannot_be_written_is_refused() {
    let mut table = orders();
    table.key = vec![99];
    assert!(Encoder::new(&table, "t", &Options::default(), &BTreeSet::new()).is_err());
    table.columns.clear();
    assert!(Encoder::new(&table, "t", &Options::default(), &BTreeSet::new()).is_err());
}
