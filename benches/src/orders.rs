//! The table that is measured: an order of ten columns, as most tables are.

use anyhow::Result;
use causeway_change::{Column, ColumnType, Length, Row, Table, TableId, Value};
use causeway_tests::{
    random::Random,
    sql::{Inserts, text},
    sqlserver::{Client, exec},
};

/// Its name, in schema `dbo`.
pub(crate) const NAME: &str = "orders";

/// Makes it in SQL Server.
pub(crate) async fn create(client: &mut Client) -> Result<()> {
    exec(
        client,
        "CREATE TABLE dbo.orders (
  order_id bigint NOT NULL PRIMARY KEY,
  customer_id int NOT NULL,
  status tinyint NOT NULL,
  total decimal(18,2) NOT NULL,
  fee money NOT NULL,
  weight float NULL,
  customer nvarchar(100) NOT NULL,
  comment nvarchar(200) NULL,
  placed_at datetime2(3) NOT NULL,
  reference uniqueidentifier NOT NULL)",
    )
    .await
}

/// Fills it with rows 1 to `rows`.
pub(crate) async fn fill(client: &mut Client, rows: u64) -> Result<()> {
    let mut random = Random::new(7);
    let mut inserts = Inserts::new(
        client,
        "dbo.orders",
        "order_id, customer_id, status, total, fee, weight, customer, comment, placed_at, reference",
    );
    for id in 1..=rows {
        inserts.push(&values(id, &mut random)).await?;
    }
    inserts.finish().await?;
    Ok(())
}

/// The literals of one row.
pub(crate) fn values(id: u64, random: &mut Random) -> String {
    let comment = if random.chance(50) {
        text(&format!("please leave order {id} at the neighbour's, n° {}", random.below(200)))
    } else {
        "NULL".to_owned()
    };
    format!(
        "{id}, {}, {}, {}.{:02}, {}.{:04}, {}.5, {}, {comment}, '2026-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}', \
         '6F9619FF-8B86-D011-B42D-{:012X}'",
        random.below(10_000),
        random.below(6),
        random.below(5000),
        random.below(100),
        random.below(50),
        random.below(10_000),
        random.below(40),
        text(&format!("Customer Nº {}", random.below(10_000))),
        random.between(1, 12),
        random.between(1, 28),
        random.below(24),
        random.below(60),
        random.below(60),
        random.below(1000),
        id,
    )
}

/// The table in PostgreSQL, as records without SQL Server's names of types describe it.
pub(crate) const IN_POSTGRES: &str = "CREATE TABLE public.orders (
  order_id bigint NOT NULL PRIMARY KEY,
  customer_id integer NOT NULL,
  status smallint NOT NULL,
  total numeric(18,2) NOT NULL,
  fee numeric(19,4) NOT NULL,
  weight double precision NULL,
  customer character varying(100) NOT NULL,
  comment character varying(200) NULL,
  placed_at timestamp(3) without time zone NOT NULL,
  reference text NOT NULL)";

/// The same table in the pipeline's words.
pub(crate) fn table() -> Table {
    let column =
        |name: &str, ty, nullable| Column { name: name.to_owned(), ty, nullable, default: None };
    Table {
        database: "bench".to_owned(),
        id: TableId::new("dbo", NAME),
        columns: vec![
            column("order_id", ColumnType::BigInt, false),
            column("customer_id", ColumnType::Int, false),
            column("status", ColumnType::TinyInt, false),
            column("total", ColumnType::Decimal { precision: 18, scale: 2 }, false),
            column("fee", ColumnType::Money, false),
            column("weight", ColumnType::Float, true),
            column("customer", ColumnType::NVarChar(Length::Of(100)), false),
            column("comment", ColumnType::NVarChar(Length::Of(200)), true),
            column("placed_at", ColumnType::DateTime2 { scale: 3 }, false),
            column("reference", ColumnType::UniqueIdentifier, false),
        ],
        key: vec![0],
    }
}

/// A row of it.
pub(crate) fn row(id: i64) -> Row {
    vec![
        Value::I64(id),
        Value::I32(4711),
        Value::I16(3),
        Value::Decimal(123_456),
        Value::Decimal(195_000),
        Value::F64(12.5),
        Value::Text("Customer Nº 4711".to_owned()),
        Value::Text("please leave it at the neighbour's, n° 17".to_owned()),
        Value::DateTime(17_700_000_000_000_000),
        Value::Guid([7; 16]),
    ]
}
