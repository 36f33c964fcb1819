//! What seven bad records cost among fifty thousand.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use causeway_change::Value;
use causeway_tests::{postgres::Client, process::Proc};

use crate::{
    feed::{Feed, Step, row},
    result::Results,
};

const ROWS: i64 = 50_000;
const LIMIT: Duration = Duration::from_secs(120);

/// Applies a good batch of fifty thousand rows, and one with seven bad records of seven kinds: the figure is the
/// second one's time, the limit that of the first, so that the ratio says how many times as long it takes.
///
/// The sink must collect as many rows for a batch, in one lane.
pub(crate) async fn run(
    results: &mut Results,
    sink: &mut Proc,
    feed: &Feed,
    target: &Client,
    table: &str,
    first: i64,
) -> Result<()> {
    target
        .batch_execute(&format!(
            "ALTER TABLE {table} ADD CONSTRAINT checked CHECK (customer_id <> -1), \
               ADD CONSTRAINT once UNIQUE (reference);
             CREATE FUNCTION judged() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
               IF NEW.customer_id = -2 THEN RAISE EXCEPTION 'not this one'; END IF; RETURN NEW; END $$;
             CREATE TRIGGER judged BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION judged()"
        ))
        .await
        .context("make the target strict")?;
    let mut seconds = Vec::new();
    for bad in [false, true] {
        let start = first + i64::from(bad) * 2 * ROWS;
        let before = spent(sink).await?;
        if bad {
            spoil(feed, start + ROWS).await?;
        }
        let count = if bad { ROWS - 7 } else { ROWS };
        let steps: Vec<Step> = (start..start + count).map(Step::Insert).collect();
        feed.write(&steps).await?;
        let sql = format!("SELECT count(*) FROM {table} WHERE order_id >= {start}");
        let end = Instant::now() + LIMIT;
        while target.query_one(&sql, &[]).await?.get::<_, i64>(0) < count {
            sink.must_run()?;
            if Instant::now() > end {
                bail!("not all rows have arrived:\n{}", sink.tail(20));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        seconds.push(spent(sink).await? - before);
    }
    let letters: i64 =
        target.query_one("SELECT count(*) FROM _causeway.dead_letter", &[]).await?.get(0);
    if letters != 7 {
        bail!("{letters} dead letters instead of 7");
    }
    let (clean, dirty) = (seconds.first().copied(), seconds.last().copied().context("measured")?);
    results.add("sink.bad_batch_s", "s", dirty, clean, None);
    Ok(())
}

/// One of each kind; all before the good ones, so that they are of the same batch.
async fn spoil(feed: &Feed, id: i64) -> Result<()> {
    let with = |at: i64, column: usize, value: Value| {
        let mut row = row(id + at, 1);
        if let Some(place) = row.get_mut(column) {
            *place = value;
        }
        row
    };
    feed.row(row(id, 1), Some(b"{}")).await?;
    feed.row(row(id + 1, 1), Some(&[0, 0, 0, 0])).await?;
    feed.row(with(2, 6, Value::Text("a\0b".to_owned())), None).await?;
    feed.row(with(3, 6, Value::Text("x".repeat(101))), None).await?;
    feed.row(with(4, 1, Value::I32(-1)), None).await?;
    feed.row(with(5, 1, Value::I32(-2)), None).await?;
    let mut reference = [7; 16];
    reference[8..].copy_from_slice(&1_i64.to_be_bytes());
    feed.row(with(6, 9, Value::Guid(reference)), None).await
}

/// Seconds of applying so far.
async fn spent(sink: &mut Proc) -> Result<f64> {
    Ok(sink.metrics().await?.sum("causeway_sink_apply_seconds_sum").unwrap_or(0.0))
}
