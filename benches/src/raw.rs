//! The raw limit of a source: what the server does when nothing of ours stands between.

use std::time::Instant;

use anyhow::Result;
use causeway_tests::sqlserver;
use futures_util::TryStreamExt as _;

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
