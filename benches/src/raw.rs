//! The raw limits: what the servers do when nothing of ours stands between.

use std::time::Instant;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use causeway_tests::{postgres, sqlserver};
use futures_util::{SinkExt as _, TryStreamExt as _};

/// Rows per second of a plain read from SQL Server.
pub(crate) async fn read(client: &mut sqlserver::Client, query: &str) -> Result<f64> {
    let start = Instant::now();
    let mut rows = client.simple_query(query).await?.into_row_stream();
    let mut count = 0_u32;
    while rows.try_next().await?.is_some() {
        count += 1;
    }
    Ok(f64::from(count) / start.elapsed().as_secs_f64())
}

/// Rows per second of a plain binary COPY into a table like `table`, which PostgreSQL has filled.
pub(crate) async fn copy(client: &mut postgres::Client, table: &str) -> Result<f64> {
    let (data, rows) = take(client, &format!("SELECT * FROM {table}")).await?;
    client
        .batch_execute(&format!(
            "DROP TABLE IF EXISTS raw_copy; CREATE TABLE raw_copy (LIKE {table} INCLUDING ALL)"
        ))
        .await
        .context("make a table to copy into")?;
    let start = Instant::now();
    put(client, "raw_copy", data).await?;
    let rate = rows / start.elapsed().as_secs_f64();
    client.batch_execute("DROP TABLE raw_copy").await.context("drop a table")?;
    Ok(rate)
}

/// Rows per second of COPY into a temporary table and one `INSERT ... ON CONFLICT DO UPDATE` for
/// each 10,000 rows that exist already: the fastest plain upsert.
pub(crate) async fn upsert(client: &mut postgres::Client, table: &str, key: &str) -> Result<f64> {
    client
        .batch_execute(&format!(
            "DROP TABLE IF EXISTS raw_upsert;
             CREATE TABLE raw_upsert (LIKE {table} INCLUDING ALL);
             INSERT INTO raw_upsert SELECT * FROM {table};
             CREATE TEMP TABLE stage (LIKE {table})"
        ))
        .await
        .context("make tables to upsert into")?;
    let columns = client
        .query(
            "SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = $1::text::regclass
             AND attnum > 0 AND NOT attisdropped",
            &[&table],
        )
        .await
        .context("list columns")?;
    let set: Vec<String> = columns
        .iter()
        .map(|row| row.get::<_, String>(0))
        .map(|name| format!("{name} = excluded.{name}"))
        .collect();
    let mut pieces = Vec::new();
    for piece in 0..5 {
        let query =
            format!("SELECT * FROM {table} ORDER BY {key} LIMIT 10000 OFFSET {}", piece * 10_000);
        let (data, rows) = take(client, &query).await?;
        if rows > 0.0 {
            pieces.push((data, rows));
        }
    }
    let start = Instant::now();
    let mut rows = 0.0;
    for (data, count) in pieces {
        client.batch_execute("BEGIN").await.context("begin")?;
        put(client, "stage", data).await?;
        client
            .batch_execute(&format!(
                "INSERT INTO raw_upsert SELECT * FROM stage ON CONFLICT ({key}) DO UPDATE SET {};
                 TRUNCATE stage; COMMIT",
                set.join(", ")
            ))
            .await
            .context("upsert")?;
        rows += count;
    }
    let rate = rows / start.elapsed().as_secs_f64();
    client.batch_execute("DROP TABLE raw_upsert; DROP TABLE stage").await.context("drop tables")?;
    Ok(rate)
}

/// The binary COPY data of a query, in pieces, and the number of rows.
async fn take(client: &postgres::Client, query: &str) -> Result<(Vec<Bytes>, f64)> {
    let count: i64 = client
        .query_one(&format!("SELECT count(*) FROM ({query}) q"), &[])
        .await
        .context("count")?
        .get(0);
    let stream = client
        .copy_out(&format!("COPY ({query}) TO STDOUT (FORMAT binary)"))
        .await
        .context("copy out")?;
    let data = stream.try_collect().await.context("copy out")?;
    Ok((data, f64::from(u32::try_from(count).context("count")?)))
}

/// Copies a table from one database into another.
pub(crate) async fn pour(
    from: &postgres::Client,
    table: &str,
    to: &postgres::Client,
    into: &str,
) -> Result<()> {
    let stream = from
        .copy_out(&format!("COPY (SELECT * FROM {table}) TO STDOUT (FORMAT binary)"))
        .await
        .context("copy out")?;
    let sink =
        to.copy_in(&format!("COPY {into} FROM STDIN (FORMAT binary)")).await.context("copy in")?;
    let (mut stream, mut sink) = (std::pin::pin!(stream), std::pin::pin!(sink));
    while let Some(piece) = stream.try_next().await.context("copy out")? {
        sink.feed(piece).await.context("copy in")?;
    }
    sink.close().await.context("copy in")
}

async fn put(client: &postgres::Client, table: &str, data: Vec<Bytes>) -> Result<()> {
    let sink = client
        .copy_in(&format!("COPY {table} FROM STDIN (FORMAT binary)"))
        .await
        .context("copy in")?;
    let mut sink = std::pin::pin!(sink);
    for piece in data {
        sink.feed(piece).await.context("copy in")?;
    }
    sink.close().await.context("copy in")
}
