//! Rows a second from Avro to PostgreSQL's binary form, one core: by the plan, and by way of a row of values,
//! which is what the plan is judged by. Updates, so that each record has two rows.

use std::{collections::BTreeSet, hint::black_box};

use causeway_avro::{Decoder, Encoder, Envelope, Options, Snapshot, SourceBlock};
use causeway_change::{Column, ColumnType, Length, Lsn, Operation, Table, TableId, Value};
use causeway_postgres::encode;
use causeway_sink::{
    policy::Policy,
    transcode::{Plan, Replaced},
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn order() -> (Table, Vec<Value>) {
    let columns = [
        ("order_id", ColumnType::BigInt, Value::I64(123_456_789)),
        ("customer_id", ColumnType::Int, Value::I32(4_711)),
        ("status", ColumnType::TinyInt, Value::I16(3)),
        ("total", ColumnType::Decimal { precision: 18, scale: 2 }, Value::Decimal(123_456)),
        ("fee", ColumnType::Money, Value::Decimal(195_000)),
        ("weight", ColumnType::Float, Value::F64(12.5)),
        (
            "customer",
            ColumnType::NVarChar(Length::Of(100)),
            Value::Text("Customer N\u{ba} 4711".to_owned()),
        ),
        (
            "comment",
            ColumnType::NVarChar(Length::Of(200)),
            Value::Text("please leave it at the neighbour's, n\u{b0} 17".to_owned()),
        ),
        ("placed_at", ColumnType::DateTime2 { scale: 3 }, Value::DateTime(17_700_000_000_000_000)),
        ("reference", ColumnType::UniqueIdentifier, Value::Guid([7; 16])),
    ];
    let row = columns.iter().map(|(_, _, value)| value.clone()).collect();
    let columns = columns
        .into_iter()
        .enumerate()
        .map(|(i, (name, ty, _))| Column {
            name: name.to_owned(),
            ty,
            nullable: i % 2 == 1,
            default: None,
        })
        .collect();
    let id = TableId::new("dbo", "orders");
    (Table { database: "shop".to_owned(), id, columns, key: vec![0] }, row)
}

fn decode(criterion: &mut Criterion) {
    let (table, row) = order();
    let encoder =
        Encoder::new(&table, "shop.shop.dbo.orders", &Options::default(), &BTreeSet::new())
            .expect("the table has a schema");
    let envelope = Envelope {
        before: Some(&row),
        after: Some(&row),
        operation: Operation::Update,
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
    let columns = decoder.table().columns.clone();
    let plan = Plan::new(columns.iter().map(Some), &Policy::default());

    let mut group = criterion.benchmark_group("avro_to_postgres");
    group.throughput(Throughput::Elements(1));
    group.bench_function("plan", |bencher| {
        let mut out = Vec::with_capacity(4096);
        let mut replaced = Replaced::default();
        bencher.iter(|| {
            out.clear();
            let head = decoder
                .stream(black_box(&body), |i, field| plan.put(i, field, &mut out, &mut replaced));
            assert!(head.is_ok_and(|head: causeway_avro::Head<'_>| head.after), "it is decoded");
            out.len()
        });
    });
    group.bench_function("values", |bencher| {
        bencher.iter(|| {
            let mut out = Vec::new();
            let decoded = decoder.decode(black_box(&body)).expect("it is decoded");
            for (column, value) in columns.iter().zip(decoded.after.iter().flatten()) {
                encode::field(column, value, &mut out).expect("it fits");
            }
            out
        });
    });
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
