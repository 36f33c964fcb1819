//! What it takes to compare a table with a copy that is a little behind: a place in the log that is
//! certainly seen, the moment when everything seen is captured, and the keys that changed in between.

use std::time::Duration;

use causeway_change::{Lsn, Value};
use futures_util::StreamExt as _;
use tokio::time::{Instant, sleep};

use crate::{
    CaptureInstance, Client, SqlServerError,
    captured::{self, Mark, Passed, Scans},
    log, queries, rows, value,
};

/// Between two looks at the capture job.
const LOOK: Duration = Duration::from_millis(50);

/// What a login without the right to see something sees of it.
fn allowed<T>(
    result: Result<Option<T>, SqlServerError>,
) -> Result<Option<Option<T>>, SqlServerError> {
    match result {
        Err(error) if error.is_permission() || error.is_missing_object() => Ok(None),
        other => other.map(Some),
    }
}

async fn scans(client: &mut Client) -> Result<Scans, SqlServerError> {
    Ok(match allowed(log::newest_scan(client).await)? {
        None => Scans::Hidden,
        Some(None) => Scans::None,
        Some(Some(scan)) => Scans::Newest(scan),
    })
}

/// Marks this moment.
///
/// # Errors
/// When the server does not answer.
pub async fn mark(client: &mut Client) -> Result<Mark, SqlServerError> {
    let log_end = allowed(log::log_end(client).await)?.flatten();
    Ok(Mark { log_end, scans: scans(client).await? })
}

/// Waits until everything that was committed at the mark is captured; gives how that is known.
/// `settle` is the time that is waited when neither the end of the log nor the scans can be seen.
/// `None` when `limit` is over.
///
/// # Errors
/// When the server does not answer.
pub async fn captured(
    client: &mut Client,
    mark: &Mark,
    settle: Duration,
    limit: Duration,
) -> Result<Option<Passed>, SqlServerError> {
    let began = Instant::now();
    loop {
        // In this order: the scan that found nothing more ended before the mapping was read.
        let scans = scans(client).await?;
        let max = log::tick(client).await?.max_lsn;
        if let Some(how) = captured::passed(mark, scans, max, began.elapsed(), settle) {
            return Ok(Some(how));
        }
        if began.elapsed() >= limit {
            return Ok(None);
        }
        sleep(LOOK).await;
    }
}

/// The newest captured transaction that ended at least `seconds` ago: everything up to it is seen by
/// whoever reads from now on. [`Lsn::ZERO`] when there is none.
///
/// # Errors
/// When the server does not answer.
pub async fn captured_before(client: &mut Client, seconds: u32) -> Result<Lsn, SqlServerError> {
    let record = client.one(&queries::captured_before(seconds)).await?;
    Ok(match record {
        Some(record) => record.lsn(0)?.unwrap_or(Lsn::ZERO),
        None => Lsn::ZERO,
    })
}

/// The commit of the newest captured change of a table; [`Lsn::ZERO`] when there is none.
///
/// # Errors
/// When the server does not answer.
pub async fn newest_change(
    client: &mut Client,
    instance: &CaptureInstance,
) -> Result<Lsn, SqlServerError> {
    let record = client.one(&queries::newest_change(instance)).await?;
    Ok(match record {
        Some(record) => record.lsn(0)?.unwrap_or(Lsn::ZERO),
        None => Lsn::ZERO,
    })
}

/// Gives `each` the key of every change after `after` up to `upto`, as often as it changed; false from it
/// ends the reading.
///
/// # Errors
/// When the server does not answer, or a value is not one of its column.
pub async fn changed_keys(
    client: &mut Client,
    instance: &CaptureInstance,
    after: Lsn,
    upto: Lsn,
    mut each: impl FnMut(Vec<Value>) -> bool,
) -> Result<(), SqlServerError> {
    let query = queries::changed_keys(instance, after, upto);
    let mut records = client.stream(&query).await?;
    while let Some(record) = records.next().await {
        let key = record?
            .into_values()
            .zip(instance.source.key_reads())
            .map(|(data, column)| {
                value::from_wire(data, &column.ty, &column.name)
                    .map_err(|error| rows::in_table(error, &instance.source))
            })
            .collect::<Result<_, _>>()?;
        if !each(key) {
            break;
        }
    }
    Ok(())
}

/// The number of rows of a table.
///
/// # Errors
/// When the server does not answer.
pub async fn count_rows(
    client: &mut Client,
    id: &causeway_change::TableId,
) -> Result<u64, SqlServerError> {
    let query = queries::count_rows(id);
    let record = client
        .one(&query)
        .await?
        .ok_or_else(|| SqlServerError::Catalog(format!("a count of {id} has no answer")))?;
    Ok(u64::try_from(record.required_number(0)?).unwrap_or(0))
}
