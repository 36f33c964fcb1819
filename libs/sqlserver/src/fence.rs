//! What it takes to compare a table with a copy that is a little behind: a place in the log that is
//! certainly seen, the moment when everything seen is captured, and the keys that changed in between.

use std::time::Duration;

use causeway_change::{Lsn, Value};
use futures_util::StreamExt as _;
use tokio::time::{Instant, sleep};

use crate::{
    CaptureInstance, Client, SqlServerError,
    log::{self, Scan},
    queries, rows, value,
};

/// Between two looks at the capture job.
const LOOK: Duration = Duration::from_millis(50);

/// Where the log and the capture job were at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    log_end: Option<Lsn>,
    scan: Option<Scan>,
}

/// What a login without the right to see something sees of it.
fn allowed<T>(result: Result<Option<T>, SqlServerError>) -> Result<Option<T>, SqlServerError> {
    match result {
        Err(error) if error.is_permission() || error.is_missing_object() => Ok(None),
        other => other,
    }
}

/// Marks this moment.
///
/// # Errors
/// When the server does not answer.
pub async fn mark(client: &mut Client) -> Result<Mark, SqlServerError> {
    let log_end = allowed(log::log_end(client).await)?;
    let scan = allowed(log::newest_scan(client).await)?;
    Ok(Mark { log_end, scan })
}

/// Waits until everything that was committed at the mark is captured; gives how far capture has come then.
/// `settle` is the time that is waited when the login may see neither the end of the log nor the scans.
/// `None` when `limit` is over.
///
/// # Errors
/// When the server does not answer.
pub async fn captured(
    client: &mut Client,
    mark: &Mark,
    settle: Duration,
    limit: Duration,
) -> Result<Option<Lsn>, SqlServerError> {
    let began = Instant::now();
    loop {
        // In this order: the scan that found nothing more ended before the mapping was read.
        let scan = allowed(log::newest_scan(client).await)?;
        let max = log::tick(client).await?.max_lsn;
        if passed(mark, scan, max, began.elapsed(), settle) {
            return Ok(Some(max.unwrap_or(Lsn::ZERO)));
        }
        if began.elapsed() >= limit {
            return Ok(None);
        }
        sleep(LOOK).await;
    }
}

/// Whether everything at the mark is captured: the mapping has reached the end that the log had; or a scan
/// that began after the mark found nothing. The first empty scan that is counted after the mark may have
/// begun before it, the second cannot.
fn passed(
    mark: &Mark,
    scan: Option<Scan>,
    max: Option<Lsn>,
    waited: Duration,
    settle: Duration,
) -> bool {
    if matches!((mark.log_end, max), (Some(end), Some(max)) if max >= end) {
        return true;
    }
    match (mark.scan, scan) {
        (Some(then), Some(now)) if then.session_id == now.session_id => {
            now.empty_scans >= then.empty_scans + 2
        }
        (Some(then), Some(now)) => now.session_id > then.session_id && now.empty_scans >= 1,
        (None, Some(now)) => now.empty_scans >= 2,
        (_, None) => waited >= settle,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_committed_at_the_mark_is_captured_when_the_server_says_so() {
        let lsn = |n| Some(Lsn::from_parts(1, 1, n));
        let scan =
            |session_id, empty_scans| Some(Scan { session_id, empty_scans, latency_s: None });
        let settle = Duration::from_secs(5);
        let mark = |end, scan| Mark { log_end: end, scan };
        for (at, now, max, waited, done) in [
            (mark(lsn(5), scan(1, 0)), scan(1, 0), lsn(4), 9, false),
            (mark(lsn(5), scan(1, 0)), scan(1, 0), lsn(5), 0, true),
            (mark(lsn(5), scan(1, 3)), scan(1, 4), lsn(4), 0, false),
            (mark(lsn(5), scan(1, 3)), scan(1, 5), lsn(4), 0, true),
            (mark(lsn(5), scan(1, 3)), scan(2, 0), lsn(4), 0, false),
            (mark(lsn(5), scan(1, 3)), scan(2, 1), lsn(4), 0, true),
            (mark(lsn(5), None), scan(1, 1), lsn(4), 0, false),
            (mark(lsn(5), None), scan(1, 2), lsn(4), 0, true),
            (mark(None, None), None, None, 4, false),
            (mark(None, None), None, None, 5, true),
        ] {
            let passed = passed(&at, now, max, Duration::from_secs(waited), settle);
            assert_eq!(passed, done, "{at:?} {now:?} {max:?}");
        }
    }
}
