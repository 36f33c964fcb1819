//! Where the transaction log, the capture job and its tables are.

use std::collections::HashMap;

use causeway_change::{Lsn, time::TICKS_PER_SECOND};

use crate::{CaptureInstance, Client, Query, Record, SqlServerError, queries};

/// One look at the capture tables.
#[derive(Clone, Debug, Default)]
pub struct Tick {
    /// The last transaction that is captured; `None` when nothing has been, or all was cleaned up.
    pub max_lsn: Option<Lsn>,
    /// What must be taken from the server's wall clock to have UTC, in ticks of 100 ns.
    pub utc_offset: i64,
    /// The capture instances that exist.
    pub instances: HashMap<i32, InstanceState>,
}

/// The state of one capture instance; the map's key is the `object_id` of its change table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceState {
    /// Name.
    pub name: String,
    /// Changes before it are gone.
    pub start_lsn: Option<Lsn>,
    /// The instance is being dropped.
    pub dropping: bool,
}

/// A transaction of the mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Its commit.
    pub commit_lsn: Lsn,
    /// When it ended, by the server's wall clock, in ticks of 100 ns since 1970; 0 when unknown.
    pub end_time: i64,
}

/// The newest scan of the capture job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Number of the newest scan that found something.
    pub session_id: i64,
    /// Scans after it that found nothing.
    pub empty_scans: i64,
    /// Seconds between the commit and the capture of what that scan found.
    pub latency_s: Option<i64>,
}

/// Looks at the capture tables.
pub async fn tick(client: &mut Client) -> Result<Tick, SqlServerError> {
    let mut tick = Tick::default();
    for record in client.all(&queries::tick()).await? {
        if record.result_set() == 0 {
            tick.max_lsn = record.lsn(0)?.filter(|lsn| !lsn.is_zero());
            // Zones differ from UTC by whole quarters of an hour; the two clocks are read a moment apart.
            let seconds = record.number(1)?.unwrap_or(0);
            let quarters = (seconds + 450).div_euclid(900);
            tick.utc_offset = quarters * 900 * TICKS_PER_SECOND;
        } else {
            let (object_id, state) = instance_state(&record)?;
            tick.instances.insert(object_id, state);
        }
    }
    Ok(tick)
}

/// The capture instances that exist, with their low-water marks.
pub async fn low_water(client: &mut Client) -> Result<HashMap<i32, InstanceState>, SqlServerError> {
    client.all(&queries::low_water()).await?.iter().map(instance_state).collect()
}

fn instance_state(record: &Record) -> Result<(i32, InstanceState), SqlServerError> {
    let state = InstanceState {
        name: record.required_text(1)?.to_owned(),
        start_lsn: record.lsn(2)?.filter(|lsn| !lsn.is_zero()),
        dropping: record.flag(3)?,
    };
    Ok((record.required_int(0)?, state))
}

/// The transactions after `after` up to `upto`, oldest first, at most `limit`.
pub async fn transactions(
    client: &mut Client,
    after: Lsn,
    upto: Lsn,
    limit: usize,
) -> Result<Vec<Transaction>, SqlServerError> {
    list(client, &queries::transactions(after, upto, limit)).await
}

/// The entry of one transaction, if it has not been cleaned up.
pub async fn transaction(
    client: &mut Client,
    commit: Lsn,
) -> Result<Option<Transaction>, SqlServerError> {
    Ok(list(client, &queries::transaction_end(commit)).await?.into_iter().next())
}

async fn list(client: &mut Client, query: &Query) -> Result<Vec<Transaction>, SqlServerError> {
    let mut transactions = Vec::new();
    for record in client.all(query).await? {
        if let Some(commit_lsn) = record.lsn(0)? {
            transactions
                .push(Transaction { commit_lsn, end_time: record.date_time(1)?.unwrap_or(0) });
        }
    }
    Ok(transactions)
}

/// The `object_id`s of the change tables that have rows after `after` up to `upto`.
pub async fn tables_with_changes(
    client: &mut Client,
    instances: &[&CaptureInstance],
    after: Lsn,
    upto: Lsn,
) -> Result<Vec<i32>, SqlServerError> {
    let mut found = Vec::new();
    // A text for hundreds of tables takes the server longer to compile than to run.
    for some in instances.chunks(100) {
        let query = queries::tables_with_changes(some.iter().copied(), after, upto);
        for record in client.all(&query).await? {
            found.push(record.required_int(0)?);
        }
    }
    Ok(found)
}

/// The live end of the log; `None` on a secondary replica, which does not tell.
pub async fn log_end(client: &mut Client) -> Result<Option<Lsn>, SqlServerError> {
    match client.one(&queries::log_end()).await? {
        Some(record) => record.text(0)?.map(parse).transpose(),
        None => Ok(None),
    }
}

/// The newest scan of the capture job; `None` when there has been none, or on a secondary replica.
pub async fn newest_scan(client: &mut Client) -> Result<Option<Scan>, SqlServerError> {
    match client.one(&queries::newest_scan()).await? {
        Some(record) => Ok(Some(Scan {
            session_id: record.required_number(0)?,
            empty_scans: record.number(1)?.unwrap_or(0),
            latency_s: record.number(2)?,
        })),
        None => Ok(None),
    }
}

/// Ticks of 100 ns between the oldest transaction that is left at `low` and the newest up to `position`;
/// none when the mapping has neither.
pub async fn time_between(
    client: &mut Client,
    low: Lsn,
    position: Lsn,
) -> Result<Option<i64>, SqlServerError> {
    let Some(record) = client.one(&queries::times_between(low, position)).await? else {
        return Ok(None);
    };
    Ok(match (record.date_time(0)?, record.date_time(1)?) {
        (Some(low), Some(position)) => Some(position - low),
        (Some(_) | None, None) | (None, Some(_)) => None,
    })
}

/// Which history of the log the database is on, when that may be seen.
pub async fn recovery_fork(client: &mut Client) -> Result<Option<String>, SqlServerError> {
    match client.one(&queries::recovery_fork()).await {
        Ok(Some(record)) => Ok(record.text(0)?.map(str::to_owned)),
        Ok(None) => Ok(None),
        Err(error) if error.is_permission() || error.is_missing_object() => Ok(None),
        Err(error) => Err(error),
    }
}

/// An LSN in text, with or without leading zeros.
fn parse(text: &str) -> Result<Lsn, SqlServerError> {
    let mut parts = text.trim().split(':');
    let mut part = |max: u32| {
        parts
            .next()
            .filter(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|p| u32::from_str_radix(p, 16).ok())
            .filter(|n| *n <= max)
    };
    let parsed = (part(u32::MAX), part(u32::MAX), part(u32::from(u16::MAX)));
    match parsed {
        (Some(file), Some(block), Some(slot)) => {
            Ok(Lsn::from_parts(file, block, u16::try_from(slot).unwrap_or(u16::MAX)))
        }
        _ => Err(SqlServerError::Lsn {
            column: "sys.dm_db_log_stats.log_end_lsn".to_owned(),
            source: causeway_change::LsnError::Text,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_log_is_read_with_or_without_leading_zeros() {
        let lsn = Lsn::from_parts(0x27, 0xac0, 2);
        assert_eq!(parse("00000027:00000ac0:0002").unwrap(), lsn);
        assert_eq!(parse("27:ac0:2").unwrap(), lsn);
        for text in ["", "27:ac0", "27:ac0:10000", "+7:1:1"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
