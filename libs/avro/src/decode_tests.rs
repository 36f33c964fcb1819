use std::collections::BTreeSet;

use causeway_change::{ColumnType, Length, TableId, Value};
use proptest::prelude::*;

use super::*;
use crate::{
    Decimals, Encoder, Envelope, Options, Snapshot, SourceBlock, Temporal, UNAVAILABLE, frame,
    testing::{every_type, same, value_of},
    wire,
};

fn table_of(types: &[ColumnType]) -> Table {
    Table {
        database: "db".to_owned(),
        id: TableId::new("dbo", "t"),
        columns: types
            .iter()
            .enumerate()
            .map(|(i, ty)| Column {
                name: format!("c {i}"),
                ty: *ty,
                nullable: i % 2 == 1,
                default: None,
            })
            .collect(),
        key: vec![0],
    }
}

fn source() -> SourceBlock<'static> {
    SourceBlock {
        version: "0.1.0",
        name: "shop",
        db: "my db",
        schema: "dbo",
        table: "order lines",
        ts_ns: 1_531_481_025_340_123_456,
        snapshot: Snapshot::False,
        change_lsn: Some(Lsn::from_parts(0x27, 0xac0, 1)),
        commit_lsn: Some(Lsn::from_parts(0x27, 0xac0, 2)),
        event_serial_no: Some(2),
    }
}

fn envelope<'a>(before: Option<&'a [Value]>, after: Option<&'a [Value]>) -> Envelope<'a> {
    let operation = match (before, after) {
        (Some(_), Some(_)) => Operation::Update,
        (Some(_), None) => Operation::Delete,
        (None, _) => Operation::Create,
    };
    Envelope { before, after, operation, source: source(), ts_ns: 1_600_000_000_000_000_001 }
}

fn encoder(table: &Table, temporal: Temporal) -> Encoder {
    let options = Options { temporal, ..Options::default() };
    Encoder::new(table, "shop.db.dbo.t", &options, &BTreeSet::new()).unwrap()
}

fn encode(encoder: &Encoder, envelope: &Envelope<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    encoder.encode_value(envelope, 258, &mut out).unwrap();
    let (id, body) = frame::split(&out).unwrap();
    assert_eq!(id, 258);
    body.to_owned()
}

fn rows(types: Vec<ColumnType>) -> impl Strategy<Value = Vec<Value>> {
    types
        .into_iter()
        .enumerate()
        .map(|(i, ty)| {
            if i % 2 == 1 {
                prop_oneof![1 => Just(Value::Null), 4 => value_of(ty)].boxed()
            } else {
                value_of(ty)
            }
        })
        .collect::<Vec<_>>()
}

/// Twice each type: once NOT NULL, once nullable.
fn types_twice() -> Vec<ColumnType> {
    every_type().into_iter().flat_map(|ty| [ty, ty]).collect()
}

fn assert_same(left: &[Value], right: &[Value], table: &Table) {
    assert_eq!(left.len(), right.len());
    for ((left, right), column) in left.iter().zip(right).zip(&table.columns) {
        assert!(same(left, right), "{} {}", column.name, column.ty);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn what_is_written_is_read_back(before in rows(types_twice()), after in rows(types_twice())) {
        let table = table_of(&types_twice());
        let encoder = encoder(&table, Temporal::Adaptive);
        let decoder = Decoder::new(encoder.value_schema()).unwrap();
        prop_assert_eq!(&decoder.table().columns, &table.columns);
        for (before, after) in [(None, Some(&after)), (Some(&before), Some(&after)), (Some(&before), None)] {
            let envelope = envelope(before.map(Vec::as_slice), after.map(Vec::as_slice));
            let decoded = decoder.decode(&encode(&encoder, &envelope)).unwrap();
            prop_assert_eq!(decoded.operation, envelope.operation);
            for (written, read) in [(before, &decoded.before), (after, &decoded.after)] {
                prop_assert_eq!(written.is_some(), read.is_some());
                if let (Some(written), Some(read)) = (written, read) {
                    assert_same(written, read, &table);
                }
            }
            let bytes = encode(&encoder, &envelope);
            let mut streamed = Vec::new();
            let head = decoder.stream(&bytes, |i, field| {
                assert_eq!(i, streamed.len());
                streamed.push(field.to_value());
                Ok::<_, DecodeError>(())
            }).unwrap();
            prop_assert_eq!(
                (head.operation, head.source, head.ts_ms, head.after),
                (decoded.operation, decoded.source, decoded.ts_ms, decoded.after.is_some())
            );
            assert_same(&streamed, decoded.after.as_deref().unwrap_or_default(), &table);
            let mut image = Vec::new();
            if let Some(bytes) = head.before {
                decoder.stream_image(bytes, |_, field| {
                    image.push(field.to_value());
                    Ok::<_, DecodeError>(())
                }).unwrap();
            }
            assert_same(&image, decoded.before.as_deref().unwrap_or_default(), &table);
            prop_assert_eq!(decoded.ts_ms, Some(1_600_000_000_000));
            prop_assert_eq!(decoded.source, DecodedSource {
                commit_lsn: source().commit_lsn,
                change_lsn: source().change_lsn,
                event_serial_no: Some(2),
                ts_ms: 1_531_481_025_340,
                ts_ns: Some(1_531_481_025_340_123_456),
                snapshot: false,
            });
        }
    }

    #[test]
    fn a_key_is_read_back(row in rows(types_twice())) {
        let mut table = table_of(&types_twice());
        // Key order is not column order.
        table.key = (0..table.columns.len()).rev().step_by(2).collect();
        let encoder = encoder(&table, Temporal::Adaptive);
        let decoder = KeyDecoder::new(encoder.key_schema().unwrap()).unwrap();
        let columns: Vec<_> = table.key_columns().cloned().collect();
        prop_assert_eq!(decoder.columns(), &columns[..]);
        let mut out = Vec::new();
        encoder.encode_key(&row, 3, &mut out).unwrap();
        let key = decoder.decode(frame::split(&out).unwrap().1).unwrap();
        for (i, value) in table.key.iter().zip(&key) {
            prop_assert!(same(&row[*i], value), "{}", table.columns[*i].ty);
        }
    }

    /// The reference reads the bytes with the schema that we register, and gets our values.
    #[test]
    fn a_reference_implementation_reads_the_same(row in rows(types_twice())) {
        let table = table_of(&types_twice());
        let encoder = encoder(&table, Temporal::Adaptive);
        let bytes = encode(&encoder, &envelope(None, Some(&row)));
        let schema = apache_avro::Schema::parse_str(encoder.value_schema()).unwrap();
        let mut rest = &bytes[..];
        let reader =
            apache_avro::reader::datum::GenericDatumReader::builder(&schema).build().unwrap();
        let record = reader.read_value(&mut rest).unwrap();
        prop_assert!(rest.is_empty());
        let apache_avro::types::Value::Record(fields) = record else { panic!("not a record") };
        let apache_avro::types::Value::Union(_, after) = fields[1].1.clone() else { panic!() };
        let apache_avro::types::Value::Record(columns) = *after else { panic!() };
        for (((_, theirs), ours), column) in columns.iter().zip(&row).zip(&table.columns) {
            let theirs = if let apache_avro::types::Value::Union(_, inner) = theirs {
                inner.as_ref()
            } else {
                theirs
            };
            prop_assert!(agrees(theirs, ours, column.ty), "{} {:?}", column.ty, theirs);
        }
        let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
        prop_assert_eq!(
            names,
            ["before", "after", "source", "transaction", "op", "ts_ms", "ts_us", "ts_ns"]
        );
    }

    #[test]
    fn random_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let table = table_of(&types_twice());
        let encoder = encoder(&table, Temporal::Adaptive);
        let decoder = Decoder::new(encoder.value_schema()).unwrap();
        // What it says does not matter; that it says something does.
        drop(decoder.decode(&bytes));
        drop(decoder.stream(&bytes, |_, _| Ok::<_, DecodeError>(())));
        drop(decoder.origin(&bytes));
        drop(KeyDecoder::new(encoder.key_schema().unwrap()).unwrap().decode(&bytes));
    }

    #[test]
    fn damaged_records_are_refused_without_a_panic(
        row in rows(types_twice()),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let table = table_of(&types_twice());
        let encoder = encoder(&table, Temporal::Adaptive);
        let decoder = Decoder::new(encoder.value_schema()).unwrap();
        let mut bytes = encode(&encoder, &envelope(None, Some(&row)));
        let cut = cut.index(bytes.len());
        prop_assert!(decoder.decode(&bytes[..cut]).is_err(), "cut at {} of {}", cut, bytes.len());
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        drop(decoder.decode(&bytes));
        drop(decoder.stream(&bytes, |_, _| Ok::<_, DecodeError>(())));
    }
}

/// Whether a value of the reference implementation is what one of ours is written as.
fn agrees(theirs: &apache_avro::types::Value, ours: &Value, ty: ColumnType) -> bool {
    use apache_avro::types::Value as Avro;
    let ticks = |unit: i64, n: i64, ours: i64| ours.div_euclid(unit) == n;
    match (theirs, ours) {
        (Avro::Null, Value::Null) => true,
        (Avro::Boolean(a), Value::Bool(b)) => a == b,
        (Avro::Int(a), Value::I16(b)) => *a == i32::from(*b),
        (Avro::Int(a), Value::I32(b)) | (Avro::Int(a), Value::Date(b)) => a == b,
        (Avro::Int(a), Value::Time(b)) => ticks(10_000, i64::from(*a), *b),
        (Avro::Long(a), Value::I64(b)) => a == b,
        (Avro::Long(a), Value::Time(b)) | (Avro::Long(a), Value::DateTime(b)) => {
            if let ColumnType::Time { scale: 7 } | ColumnType::DateTime2 { scale: 7 } = ty {
                *a == b * 100
            } else if let ColumnType::Time { .. } | ColumnType::DateTime2 { scale: 4..=6 } = ty {
                ticks(10, *a, *b)
            } else {
                ticks(10_000, *a, *b)
            }
        }
        (Avro::Float(a), Value::F32(b)) => a.to_bits() == b.to_bits(),
        (Avro::Double(a), Value::F64(b)) => a.to_bits() == b.to_bits(),
        (Avro::Decimal(a), Value::Decimal(b)) => {
            let bytes: Vec<u8> = a.try_into().unwrap();
            wire::unscaled(&bytes) == Ok(*b)
        }
        (Avro::String(a), Value::Text(b)) => a == b,
        (Avro::String(a), Value::Guid(b)) => {
            *a == a.to_uppercase() && crate::text::guid(a) == Some(*b)
        }
        (Avro::String(a), Value::DateTimeOffset { utc, offset_minutes }) => {
            crate::text::zoned(a) == Some((*utc, *offset_minutes))
        }
        (Avro::Bytes(a), Value::Bytes(b)) => a == b,
        _ => false,
    }
}

#[test]
fn microseconds_cut_the_seventh_digit_and_nothing_else() {
    let types = [
        ColumnType::DateTime2 { scale: 7 },
        ColumnType::Time { scale: 7 },
        ColumnType::DateTime,
        ColumnType::Date,
    ];
    let table = table_of(&types);
    let encoder = encoder(&table, Temporal::Microseconds);
    let decoder = Decoder::new(encoder.value_schema()).unwrap();
    let year_9999 = 2_932_896 * 864_000_000_000i64;
    let row = [
        Value::DateTime(year_9999 + 9_999_999),
        Value::Time(19),
        Value::DateTime(-10_000),
        Value::Date(-1),
    ];
    let decoded = decoder.decode(&encode(&encoder, &envelope(None, Some(&row)))).unwrap();
    let expected = [
        Value::DateTime(year_9999 + 9_999_990),
        Value::Time(10),
        Value::DateTime(-10_000),
        Value::Date(-1),
    ];
    assert!(decoded.after.unwrap() == expected);
}

#[test]
fn only_large_columns_can_be_unavailable() {
    let types = [
        ColumnType::Int,
        ColumnType::NVarChar(Length::Max),
        ColumnType::VarBinary(Length::Max),
        ColumnType::NVarChar(Length::Of(50)),
        ColumnType::VarBinary(Length::Of(50)),
    ];
    let table = table_of(&types);
    let encoder = encoder(&table, Temporal::Adaptive);
    let decoder = Decoder::new(encoder.value_schema()).unwrap();
    let text = || Value::Text(UNAVAILABLE.to_owned());
    let bytes = || Value::Bytes(UNAVAILABLE.as_bytes().to_owned());
    let row = [Value::I32(1), Value::Unavailable, Value::Unavailable, text(), bytes()];
    let decoded = decoder.decode(&encode(&encoder, &envelope(None, Some(&row)))).unwrap();
    assert!(decoded.after.unwrap() == row);
}

#[test]
fn the_snapshot_word_and_the_origin_are_read() {
    let table = table_of(&[ColumnType::Int]);
    let encoder = encoder(&table, Temporal::Adaptive);
    let decoder = Decoder::new(encoder.value_schema()).unwrap();
    let row = [Value::I32(1)];
    let mut read = envelope(None, Some(&row));
    read.operation = Operation::Read;
    for (snapshot, is) in
        [(Snapshot::False, false), (Snapshot::True, true), (Snapshot::Incremental, true)]
    {
        read.source.snapshot = snapshot;
        read.source.change_lsn = None;
        read.source.event_serial_no = None;
        let bytes = encode(&encoder, &read);
        let decoded = decoder.decode(&bytes).unwrap();
        assert_eq!(decoded.source.snapshot, is);
        assert_eq!(decoded.source.change_lsn, None);
        let origin = decoder.origin(&bytes).unwrap();
        assert_eq!(
            origin,
            Origin {
                name: "shop".to_owned(),
                database: "my db".to_owned(),
                schema: "dbo".to_owned(),
                table: "order lines".to_owned(),
            }
        );
    }
}

#[test]
fn bytes_left_over_and_operations_without_a_row_are_refused() {
    let table = table_of(&[ColumnType::Int]);
    let encoder = encoder(&table, Temporal::Adaptive);
    let decoder = Decoder::new(encoder.value_schema()).unwrap();
    let row = [Value::I32(1)];
    let mut bytes = encode(&encoder, &envelope(None, Some(&row)));
    bytes.push(0);
    assert!(matches!(decoder.decode(&bytes), Err(DecodeError::Malformed { .. })));
    let mut lost = envelope(None, None);
    lost.operation = Operation::Update;
    assert_eq!(
        decoder.decode(&encode(&encoder, &lost)),
        Err(DecodeError::MissingImage { operation: "u", image: "after" })
    );
    // "t" in the place of "c".
    let mut bytes = encode(&encoder, &envelope(None, Some(&row)));
    let at = bytes.windows(2).rposition(|pair| pair == [2, b'c']).unwrap();
    bytes[at + 1] = b't';
    assert_eq!(decoder.decode(&bytes), Err(DecodeError::Operation));
}

/// The envelope as Debezium 2.x registered it: `op, ts_ms, transaction` at the end, a shorter source
/// block (research B.5.2).
fn debezium(columns: &str) -> String {
    format!(
        r#"{{"type":"record","name":"Envelope","namespace":"s.db.dbo.t","fields":[
        {{"name":"before","type":["null",{{"type":"record","name":"Value","fields":[{columns}],"connect.name":"s.db.dbo.t.Value"}}],"default":null}},
        {{"name":"after","type":["null","Value"],"default":null}},
        {{"name":"source","type":{{"type":"record","name":"Source","namespace":"io.debezium.connector.sqlserver","fields":[
          {{"name":"version","type":"string"}},{{"name":"ts_ms","type":"long"}},
          {{"name":"snapshot","type":[{{"type":"string","connect.version":1,"connect.default":"false"}},"null"],"default":"false"}},
          {{"name":"db","type":"string"}},{{"name":"commit_lsn","type":["null","string"],"default":null}}]}}}},
        {{"name":"op","type":"string"}},{{"name":"ts_ms","type":["null","long"],"default":null}},
        {{"name":"transaction","type":["null",{{"type":"record","name":"block","namespace":"event","fields":[{{"name":"id","type":"string"}}]}}],"default":null}}],
        "connect.version":1,"connect.name":"s.db.dbo.t.Envelope"}}"#
    )
}

/// One record of [`debezium`] with the given bytes as its only row.
fn debezium_record(row: &[u8]) -> Vec<u8> {
    let mut out = vec![0, 2];
    out.extend_from_slice(row);
    wire::put_bytes(b"2.3.4", &mut out);
    wire::put_long(1_531_481_025_340, &mut out);
    out.push(0);
    wire::put_bytes(b"last", &mut out);
    wire::put_bytes(b"db", &mut out);
    out.push(2);
    wire::put_bytes(b"00000027:00000ac0:0002", &mut out);
    wire::put_bytes(b"r", &mut out);
    out.extend_from_slice(&[2, 2]);
    out.push(0);
    out
}

#[test]
fn every_shape_that_debezium_gives_a_column_is_read() {
    let string = |text: &str| {
        let mut out = Vec::new();
        wire::put_bytes(text.as_bytes(), &mut out);
        out
    };
    let long = |n: i64| {
        let mut out = Vec::new();
        wire::put_long(n, &mut out);
        out
    };
    let logical = |ty: &str, name: &str| format!(r#"{{"type":"{ty}","connect.name":"{name}"}}"#);
    let declared = |ty: &str, name: &str, length: &str, scale: &str| {
        format!(
            r#"{{"type":"{ty}","connect.parameters":{{"__debezium.source.column.type":"{name}","__debezium.source.column.length":"{length}","__debezium.source.column.scale":"{scale}"}}}}"#
        )
    };
    let both = |ty: &str, logical: &str, name: &str, scale: &str| {
        format!(
            r#"{{"type":"{ty}","connect.name":"{logical}","connect.parameters":{{"__debezium.source.column.type":"{name}","__debezium.source.column.scale":"{scale}"}}}}"#
        )
    };
    let decimal = ColumnType::Decimal { precision: 18, scale: 2 };
    let dt = |scale| ColumnType::DateTime2 { scale };
    for (schema, bytes, ty, value) in [
        // Without source types the logical name decides.
        (r#""int""#.to_owned(), long(7), ColumnType::Int, Value::I32(7)),
        (r#"{"type":"int","connect.type":"int16"}"#.to_owned(), long(7), ColumnType::SmallInt, Value::I16(7)),
        (r#"{"type":"int","connect.type":"int8"}"#.to_owned(), long(7), ColumnType::SmallInt, Value::I16(7)),
        (r#""string""#.to_owned(), string("é"), ColumnType::NVarChar(Length::Max), Value::Text("é".to_owned())),
        (r#""string""#.to_owned(), string(UNAVAILABLE), ColumnType::NVarChar(Length::Max), Value::Unavailable),
        (r#""bytes""#.to_owned(), string("é"), ColumnType::VarBinary(Length::Max), Value::Bytes("é".into())),
        (logical("int", "io.debezium.time.Date"), long(17_725), ColumnType::Date, Value::Date(17_725)),
        (logical("int", "org.apache.kafka.connect.data.Date"), long(1), ColumnType::Date, Value::Date(1)),
        (logical("int", "io.debezium.time.Time"), long(5), ColumnType::Time { scale: 3 }, Value::Time(50_000)),
        (logical("int", "org.apache.kafka.connect.data.Time"), long(5), ColumnType::Time { scale: 3 }, Value::Time(50_000)),
        (logical("long", "io.debezium.time.MicroTime"), long(5), ColumnType::Time { scale: 6 }, Value::Time(50)),
        (logical("long", "io.debezium.time.NanoTime"), long(500), ColumnType::Time { scale: 7 }, Value::Time(5)),
        (logical("long", "io.debezium.time.Timestamp"), long(-5), dt(3), Value::DateTime(-50_000)),
        (logical("long", "org.apache.kafka.connect.data.Timestamp"), long(5), dt(3), Value::DateTime(50_000)),
        (logical("long", "io.debezium.time.MicroTimestamp"), long(5), dt(6), Value::DateTime(50)),
        (logical("long", "io.debezium.time.NanoTimestamp"), long(500), dt(7), Value::DateTime(5)),
        (logical("string", "io.debezium.time.IsoDate"), string("2018-07-13Z"), ColumnType::Date, Value::Date(17_725)),
        (logical("string", "io.debezium.time.IsoTime"), string("00:00:01Z"), ColumnType::Time { scale: 7 }, Value::Time(10_000_000)),
        (logical("string", "io.debezium.time.IsoTimestamp"), string("1970-01-01T00:00:01Z"), dt(7), Value::DateTime(10_000_000)),
        (
            logical("string", "io.debezium.time.ZonedTimestamp"),
            string("1970-01-01T01:00:00+01:00"),
            ColumnType::DateTimeOffset { scale: 7 },
            Value::DateTimeOffset { utc: 0, offset_minutes: 60 },
        ),
        (logical("string", "io.debezium.data.Xml"), string("<a/>"), ColumnType::Xml, Value::Text("<a/>".to_owned())),
        (
            logical("string", "io.debezium.data.Uuid"),
            string("abababab-abab-abab-abab-abababababab"),
            ColumnType::UniqueIdentifier,
            Value::Guid([0xAB; 16]),
        ),
        (
            r#"{"type":"bytes","scale":2,"precision":18,"connect.name":"org.apache.kafka.connect.data.Decimal","logicalType":"decimal"}"#.to_owned(),
            vec![4, 0x30, 0x39],
            decimal,
            Value::Decimal(12_345),
        ),
        (
            r#"{"type":"bytes","connect.parameters":{"scale":"2"},"connect.name":"org.apache.kafka.connect.data.Decimal"}"#.to_owned(),
            vec![2, 0xFF],
            ColumnType::Decimal { precision: 38, scale: 2 },
            Value::Decimal(-1),
        ),
        // With source types the same bytes are more exact types.
        (declared("string", "UNIQUEIDENTIFIER", "36", "0"), string("ABABABAB-ABAB-ABAB-ABAB-ABABABABABAB"), ColumnType::UniqueIdentifier, Value::Guid([0xAB; 16])),
        (declared("string", "DECIMAL", "18", "2"), string("123.45"), decimal, Value::Decimal(12_345)),
        (declared("double", "DECIMAL", "18", "2"), 123.45f64.to_le_bytes().to_vec(), decimal, Value::Decimal(12_345)),
        (declared("double", "MONEY", "19", "4"), (-0.5f64).to_le_bytes().to_vec(), ColumnType::Money, Value::Decimal(-5_000)),
        (declared("float", "FLOAT", "53", "0"), 0.5f32.to_le_bytes().to_vec(), ColumnType::Float, Value::F64(0.5)),
        (declared("int", "INT IDENTITY", "10", "0"), long(1), ColumnType::Int, Value::I32(1)),
        (both("long", "org.apache.kafka.connect.data.Timestamp", "DATETIME2", "7"), long(1), dt(7), Value::DateTime(10_000)),
        (both("string", "io.debezium.time.IsoTimestamp", "DATETIME", "3"), string("1970-01-01T00:00:01Z"), ColumnType::DateTime, Value::DateTime(10_000_000)),
        // A type of another database, or one whose name means something else there.
        (declared("int", "INT4", "10", "0"), long(1), ColumnType::Int, Value::I32(1)),
        (both("string", "io.debezium.time.ZonedTimestamp", "TIMESTAMP", "6"), string("1970-01-01T00:00:00Z"), ColumnType::DateTimeOffset { scale: 7 }, Value::DateTimeOffset { utc: 0, offset_minutes: 0 }),
    ] {
        let decoder = Decoder::new(&debezium(&format!(r#"{{"name":"x","type":{schema}}}"#)))
            .unwrap_or_else(|error| panic!("{schema}: {error}"));
        assert_eq!(decoder.table().columns[0].ty, ty, "{schema}");
        let record = debezium_record(&bytes);
        let decoded = decoder.decode(&record).unwrap();
        let mut streamed = Vec::new();
        let streaming = decoder.stream(&record, |_, field| {
            streamed.push(field.to_value());
            Ok::<_, DecodeError>(())
        });
        assert!(streaming.is_ok_and(|head| head.before.is_none()));
        assert_eq!(Some(streamed), decoded.after);
        assert!(same(&decoded.after.unwrap()[0], &value), "{schema}");
        assert_eq!(decoded.operation, Operation::Read);
        assert!(decoded.source.snapshot);
        assert_eq!(decoded.source.ts_ms, 1_531_481_025_340);
        assert_eq!(decoded.source.commit_lsn, Some(Lsn::from_parts(0x27, 0xac0, 2)));
        assert_eq!(decoded.ts_ms, Some(1));
    }
}

#[test]
fn a_value_outside_its_type_names_the_column() {
    let schema = debezium(r#"{"name":"small","type":{"type":"int","connect.type":"int16"}}"#);
    let mut row = Vec::new();
    wire::put_long(40_000, &mut row);
    assert_eq!(
        Decoder::new(&schema).unwrap().decode(&debezium_record(&row)),
        Err(DecodeError::Range { column: "small".to_owned(), ty: "smallint".to_owned() })
    );
}

#[test]
fn unknown_shapes_name_the_column_and_what_it_is() {
    let structured = r#"{"name":"x","type":{"type":"record","name":"StructuredDate","fields":[{"name":"year","type":"int"}],"connect.name":"io.debezium.time.StructuredDate"}}"#;
    for (column, says) in [
        (structured, "column x is record (io.debezium.time.StructuredDate)"),
        (r#"{"name":"x","type":{"type":"array","items":"int"}}"#, "column x is array"),
        (r#"{"name":"x","type":["null","int","string"]}"#, "a union of several types"),
    ] {
        let error = Decoder::new(&debezium(column)).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let flat = r#"{"type":"record","name":"Value","namespace":"s.db.dbo.t","fields":[{"name":"id","type":"int"}]}"#;
    assert!(matches!(Decoder::new(flat), Err(SchemaError::NotAnEnvelope { .. })));
    assert!(Decoder::new("\"string\"").is_err());
    assert!(KeyDecoder::new("\"string\"").is_err());
}

#[test]
fn the_table_has_its_name_and_its_defaults() {
    let mut table =
        table_of(&[ColumnType::Int, ColumnType::NVarChar(Length::Of(9)), ColumnType::Real]);
    table.columns[0].default = Some(Value::I32(7));
    table.columns[1].default = Some(Value::Text("n/a".to_owned()));
    table.columns[2].default = Some(Value::F32(0.1));
    let decoder = Decoder::new(encoder(&table, Temporal::Adaptive).value_schema()).unwrap();
    let read = decoder.table();
    assert_eq!((read.database.as_str(), read.id.to_string()), ("db", "dbo.t".to_owned()));
    assert_eq!(read.columns, table.columns);
    assert!(read.key.is_empty());
}

#[test]
fn decimals_as_text_and_as_doubles_are_read_back() {
    let types = [
        ColumnType::Decimal { precision: 38, scale: 10 },
        ColumnType::Money,
        ColumnType::SmallMoney,
    ];
    let table = table_of(&types);
    let numbers = [0, 1, -1, 12_345_678, -10_000_000_000, 99_999_999_990_000];
    for (decimals, avro) in [(Decimals::String, "string"), (Decimals::Double, "double")] {
        let options = Options { decimals, ..Options::default() };
        let encoder = Encoder::new(&table, "shop.db.dbo.t", &options, &BTreeSet::new()).unwrap();
        assert!(
            encoder.value_schema().contains(&format!(r#""type":"{avro}","connect.parameters""#))
        );
        let decoder = Decoder::new(encoder.value_schema()).unwrap();
        assert_eq!(decoder.table().columns, table.columns);
        for n in numbers {
            let row = vec![Value::Decimal(n), Value::Decimal(n), Value::Decimal(n % 1_000_000)];
            let bytes = encode(&encoder, &envelope(None, Some(&row)));
            assert_same(&row, &decoder.decode(&bytes).unwrap().after.unwrap(), &table);
        }
    }
}

#[test]
fn a_decimal_as_text_has_the_digits_of_its_column() {
    for (unscaled, scale, text) in [
        (0, 0, "0"),
        (0, 2, "0.00"),
        (5, 2, "0.05"),
        (-5, 2, "-0.05"),
        (150, 2, "1.50"),
        (-12_345, 0, "-12345"),
        (i128::MIN, 38, "-1.70141183460469231731687303715884105728"),
    ] {
        let mut out = Vec::new();
        crate::text::put_decimal(unscaled, scale, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), text);
        let nearest: f64 = text.parse().unwrap();
        assert_eq!(crate::text::nearest_double(unscaled, scale).to_bits(), nearest.to_bits());
    }
}

#[test]
fn connects_own_times_are_read_back_to_the_millisecond() {
    let types =
        [ColumnType::Date, ColumnType::Time { scale: 7 }, ColumnType::DateTime2 { scale: 7 }];
    let table = table_of(&types);
    for (temporal, name) in [
        (Temporal::Connect, "org.apache.kafka.connect.data.Timestamp"),
        (Temporal::AdaptiveTimeMicroseconds, "io.debezium.time.MicroTime"),
    ] {
        let encoder = encoder(&table, temporal);
        assert!(encoder.value_schema().contains(name));
        let decoder = Decoder::new(encoder.value_schema()).unwrap();
        let row = vec![Value::Date(-1), Value::Time(12_340_000), Value::DateTime(-120_000)];
        let bytes = encode(&encoder, &envelope(None, Some(&row)));
        assert_same(&row, &decoder.decode(&bytes).unwrap().after.unwrap(), &table);
    }
}
