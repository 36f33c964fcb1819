//! A load of changes, made while nothing reads them.

use std::time::Duration;

use anyhow::{Context as _, Result};
use causeway_tests::{
    random::Random,
    sqlserver::{self, SqlServer},
    wait,
};

use crate::orders;

/// How long the capture job may take for them.
const LIMIT: Duration = Duration::from_secs(600);

/// Rows of the change table for each change: an update has two images.
pub(crate) const IMAGES: f64 = (2.0 * 80.0 + 20.0) / 100.0;

/// Rows of each of the [`small`] transactions.
const SMALL: u64 = 10;
/// Statements that are sent together.
const TOGETHER: u64 = 100;

/// Changes rows of `orders` in transactions of ten; gives how many rows. Returns when the capture job has seen them.
pub(crate) async fn small(
    sqlserver: &SqlServer,
    database: &str,
    client: &mut sqlserver::Client,
    transactions: u64,
) -> Result<u64> {
    let captured = async || -> Result<i64> {
        let mut client = sqlserver.client(database).await?;
        let sql = "SELECT COUNT_BIG(*) FROM cdc.dbo_orders_CT";
        let rows = sqlserver::rows(&mut client, sql).await?;
        Ok(rows.first().and_then(|row| row.get(0)).unwrap_or(0))
    };
    let before = captured().await?;
    for first in (0..transactions).step_by(usize::try_from(TOGETHER).context("count")?) {
        let mut sql = String::new();
        for number in first..transactions.min(first + TOGETHER) {
            let id = number * SMALL;
            sql += &format!(
                "UPDATE dbo.orders SET status = status + 1 WHERE order_id BETWEEN {} AND {};",
                id + 1,
                id + SMALL
            );
        }
        sqlserver::exec(client, &sql).await?;
    }
    let images = i64::try_from(2 * transactions * SMALL).context("count")?;
    Box::pin(wait::until("the capture job", LIMIT, || async {
        Ok((captured().await? >= before + images).then_some(()))
    }))
    .await?;
    Ok(transactions * SMALL)
}

/// What was changed.
pub(crate) struct Made {
    /// Changes of rows.
    pub(crate) events: u64,
    /// Deletes among them.
    pub(crate) deletes: u64,
}

/// Changes half as many rows of `orders` as it has: 80 % updates, 15 % inserts, 5 % deletes. Returns when the
/// capture job has seen them all.
pub(crate) async fn make(
    sqlserver: &SqlServer,
    database: &str,
    client: &mut sqlserver::Client,
    rows: u64,
) -> Result<Made> {
    let unit = rows / 1000;
    let (updates, inserts, deletes) = (unit * 400, unit * 75, unit * 25);
    let mut random = Random::new(11);
    let mut done = 0;
    while done < updates {
        let last = (done + 1000).min(updates);
        let sql = format!(
            "UPDATE dbo.orders SET status = 9, comment = N'changed' WHERE order_id BETWEEN {} AND {last}",
            done + 1
        );
        sqlserver::exec(client, &sql).await?;
        done = last;
    }
    for start in (rows + 1..=rows + inserts).step_by(100) {
        let end = (start + 99).min(rows + inserts);
        let new: Vec<String> = (start..=end).map(|id| orders::values(id, &mut random)).collect();
        let sql = format!("INSERT INTO dbo.orders VALUES ({})", new.join("), ("));
        sqlserver::exec(client, &sql).await?;
    }
    let sql =
        format!("DELETE FROM dbo.orders WHERE order_id BETWEEN {} AND {rows}", rows - deletes + 1);
    sqlserver::exec(client, &sql).await?;
    let images = i64::try_from(2 * updates + inserts + deletes).context("count")?;
    Box::pin(wait::until("the capture job", LIMIT, || async {
        let mut client = sqlserver.client(database).await?;
        let sql = "SELECT COUNT_BIG(*) FROM cdc.dbo_orders_CT";
        let rows = sqlserver::rows(&mut client, sql).await?;
        let count: i64 = rows.first().and_then(|row| row.get(0)).unwrap_or(0);
        Ok((count >= images).then_some(()))
    }))
    .await?;
    Ok(Made { events: updates + inserts + deletes, deletes })
}
