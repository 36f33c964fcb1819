//! The comparison of one table: read both sides, compare, look again at what differs.

use std::time::{Duration, Instant};

use causeway_change::Row;
use tokio_util::sync::CancellationToken;

use crate::{
    Config,
    compare::{self, Difference},
    digest,
    error::ReconcileError,
    progress::Progress,
    report::{Sides, TableReport},
    run::Pools,
    settle::{self, Look, Verdict, Watch},
    sides::{self, Shape},
    spool::{PARTITIONS, Spool},
};

/// Keys asked for in one query when looking again.
const LOOK_KEYS: usize = 500;

/// Compares one table and fills its report; the status is set when every row was compared.
///
/// # Errors
/// When a side could not be read: then the report's counts say nothing.
pub async fn compare(
    pools: &Pools,
    shape: &Shape,
    config: &Config,
    progress: &Progress,
    stop: &CancellationToken,
    report: &mut TableReport,
) -> Result<(), ReconcileError> {
    let keyless = shape.source.table.key.is_empty();
    let began = Instant::now();
    let limit = Duration::from_secs(config.settle_limit_seconds);
    loop {
        progress.doing("reading");
        let differences = read(pools, shape, config, progress, report).await?;
        if differences.is_empty() || !keyless {
            look_again(pools, shape, config, progress, stop, differences, report).await?;
            break;
        }
        // Rows without key cannot be asked for one by one; the whole table is read again until it is
        // equal or the time is over.
        if began.elapsed() >= limit || stop.is_cancelled() {
            differences.iter().for_each(|difference| report.count(difference.kind));
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    report.conclude();
    Ok(())
}

/// Reads both sides at the same time and compares them.
async fn read(
    pools: &Pools,
    shape: &Shape,
    config: &Config,
    progress: &Progress,
    report: &mut TableReport,
) -> Result<Vec<Difference>, ReconcileError> {
    let memory = config.memory_bytes / config.parallel.max(1) / 2;
    let mut source = Spool::new(memory);
    let mut target = Spool::new(memory);
    let from_source = async {
        let mut client = pools.source.get().await.map_err(ReconcileError::ConnectSource)?;
        sides::spool_source(&mut client, shape, &mut source, progress).await?;
        pools.source.put(client);
        Ok(())
    };
    let from_target = async {
        let client = pools.target().await?;
        sides::spool_target(&client, shape, &mut target, progress).await
    };
    tokio::try_join!(from_source, from_target)?;
    report.rows = Sides { source: source.rows(), target: target.rows() };
    report.checksum = Sides {
        source: format!("{:032x}", source.checksum()),
        target: format!("{:032x}", target.checksum()),
    };
    progress.doing("comparing");
    let mut differences = Vec::new();
    for part in 0..PARTITIONS {
        let failed =
            |error| ReconcileError::Spool { table: shape.source.id().clone(), source: error };
        let (a, b) = (source.take(part).map_err(failed)?, target.take(part).map_err(failed)?);
        compare::partitions(&a, &b, |difference| differences.push(difference));
    }
    Ok(differences)
}

/// Looks at the keys that differ until each is equal, stands still, or the time is over.
async fn look_again(
    pools: &Pools,
    shape: &Shape,
    config: &Config,
    progress: &Progress,
    stop: &CancellationToken,
    differences: Vec<Difference>,
    report: &mut TableReport,
) -> Result<(), ReconcileError> {
    if differences.is_empty() {
        return Ok(());
    }
    progress.doing("looking again");
    report.truncated = differences.len() > config.recheck_keys;
    let settle = Duration::from_secs(config.settle_seconds);
    let limit = Duration::from_secs(config.settle_limit_seconds);
    let began = Instant::now();
    // Beyond the cut nothing is looked at again, so those differences count as they were found.
    for difference in differences.iter().skip(config.recheck_keys) {
        report.count(difference.kind);
    }
    let mut open: Vec<(Vec<u8>, Watch)> = differences
        .into_iter()
        .take(config.recheck_keys)
        .map(|difference| (difference.key, Watch::default()))
        .collect();
    for n in 0.. {
        if open.is_empty() {
            break;
        }
        let mut still = Vec::new();
        for batch in open.chunks_mut(LOOK_KEYS) {
            let looks = look(pools, shape, batch).await?;
            let elapsed = if stop.is_cancelled() { limit } else { began.elapsed() };
            for ((key, watch), look) in batch.iter_mut().zip(looks) {
                match watch.see(look, elapsed, settle, limit) {
                    Verdict::InFlight => report.in_flight_resolved += 1,
                    Verdict::Confirmed(kind) => report.count(kind),
                    Verdict::Unstable => report.unstable += 1,
                    Verdict::Open => still.push((std::mem::take(key), std::mem::take(watch))),
                }
            }
        }
        open = still;
        if !open.is_empty() {
            tokio::select! {
                () = tokio::time::sleep(settle::pause(n)) => {}
                () = stop.cancelled() => {}
            }
        }
    }
    Ok(())
}

/// One look at a batch of keys, in the order of the keys.
async fn look(
    pools: &Pools,
    shape: &Shape,
    batch: &[(Vec<u8>, Watch)],
) -> Result<Vec<Look>, ReconcileError> {
    let wrong = |source| ReconcileError::Digest { table: shape.source.id().clone(), source };
    let keys: Vec<Row> = batch
        .iter()
        .map(|(key, _)| digest::key_values(shape.source.table.key_columns(), key).map_err(wrong))
        .collect::<Result<_, _>>()?;
    // The target first: a change that arrives in between makes the target look older, never newer.
    let client = pools.target().await?;
    let target = sides::look_at_target(&client, shape, &keys).await?;
    let mut client = pools.source.get().await.map_err(ReconcileError::ConnectSource)?;
    let source = sides::look_at_source(&mut client, shape, &keys).await?;
    pools.source.put(client);
    Ok(batch
        .iter()
        .map(|(key, _)| Look { source: source.get(key).copied(), target: target.get(key).copied() })
        .collect())
}
