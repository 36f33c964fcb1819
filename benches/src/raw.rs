//! The raw limit of a source: what the server does when nothing of ours stands between.

use std::time::Instant;

use anyhow::{Context as _, Result};
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
