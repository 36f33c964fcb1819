//! Rows a second through the encoder and the decoder, one core: a row of ten columns as shops have
//! them.

use std::{collections::BTreeSet, hint::black_box};

use causeway_avro::{Decoder, Encoder, Envelope, Options, Snapshot, SourceBlock};
use causeway_change::{Column, ColumnType, Length, Lsn, Operation, Table, TableId, Value};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn order() -> (Table, Vec<Value>) {
    let columns = [
        ("id", ColumnType::BigInt, Value::I64(123_456_789)),
        ("customer_id", ColumnType::Int, Value::I32(4_711)),
        ("status", ColumnType::TinyInt, Value::I16(3)),
        ("total", ColumnType::Decimal { precision: 18, scale: 2 }, Value::Decimal(1_234_567)),
        ("paid", ColumnType::Bit, Value::Bool(true)),
        ("reference", ColumnType::UniqueIdentifier, Value::Guid([0xA5; 16])),
        (
            "note",
            ColumnType::NVarChar(Length::Of(200)),
            Value::Text("leave it at the door".to_owned()),
        ),
        ("created", ColumnType::DateTime2 { scale: 6 }, Value::DateTime(17_000_000_000_000_000)),
        ("shipped", ColumnType::Date, Value::Null),
        ("weight", ColumnType::Float, Value::F64(1.25)),
    ];
    let row = columns.iter().map(|(_, _, value)| value.clone()).collect();
    let columns = columns
        .into_iter()
        .enumerate()
        .map(|(i, (name, ty, _))| Column {
            name: name.to_owned(),
            ty,
            nullable: i > 0,
            default: None,
        })
        .collect();
    let table = Table {
        database: "shop".to_owned(),
        id: TableId::new("dbo", "orders"),
        columns,
        key: vec![0],
    };
    (table, row)
}

fn codec(criterion: &mut Criterion) {
    let (table, row) = order();
    let encoder =
        Encoder::new(&table, "shop.shop.dbo.orders", &Options::default(), &BTreeSet::new())
            .expect("the table has a schema");
    let envelope = Envelope {
        before: None,
        after: Some(&row),
        operation: Operation::Create,
        source: SourceBlock {
            version: "0.1.0",
            name: "shop",
            db: "shop",
            schema: "dbo",
            table: "orders",
            ts_ns: 1_700_000_000_000_000_000,
            snapshot: Snapshot::False,
            change_lsn: Some(Lsn::from_parts(39, 2_752, 2)),
            commit_lsn: Some(Lsn::from_parts(39, 2_752, 9)),
            event_serial_no: Some(1),
        },
        ts_ns: 1_700_000_000_000_000_000,
    };
    let mut bytes = Vec::new();
    encoder.encode_value(&envelope, 1, &mut bytes).expect("the row is encoded");
    let body = causeway_avro::frame::split(&bytes).expect("the record has a frame").1.to_owned();
    let decoder = Decoder::new(encoder.value_schema()).expect("the schema is an envelope");

    let mut group = criterion.benchmark_group("avro");
    group.throughput(Throughput::Elements(1));
    group.bench_function("encode", |bencher| {
        let mut out = Vec::with_capacity(1024);
        bencher.iter(|| {
            out.clear();
            encoder.encode_key(black_box(&row), 2, &mut out).expect("the key is encoded");
            encoder.encode_value(black_box(&envelope), 1, &mut out).expect("the row is encoded");
            out.len()
        });
    });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| decoder.decode(black_box(&body)).expect("the record is decoded"));
    });
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
