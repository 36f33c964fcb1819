//! The levels that do not say which row differs: `checksum` and `counts`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    error::ReconcileError,
    fence::{self, Dirty, FenceReport, Guard},
    read::{self, Gather, Keep, Pair, Target},
    report::{Sides, Status, TableReport},
    settle,
    sides::{self, Chunk, Shape},
    table::{self, Task},
};

/// Sums of digests only, without the keys in flight: says whether a table differs, not where.
pub(crate) async fn checksum(
    task: &Task<'_>,
    report: &mut TableReport,
) -> Result<(), ReconcileError> {
    let Some(guard) = task.guard.filter(|guard| guard.snapshots) else {
        // Without two frozen sides the sums of a table that is written to never meet.
        return Box::pin(table::rows(task, report)).await;
    };
    report.strategy = "sum";
    task.progress.doing("waiting for the pipeline");
    let mut frozen =
        fence::freeze(task.pools, guard, &task.shape, 1, task.config.lock_timeout_ms).await?;
    task.progress.doing("reading");
    let source = frozen.sources.pop().ok_or_else(|| task.lost())?;
    let target = frozen.targets.pop().ok_or_else(|| task.lost())?;
    let dirty = frozen.dirty.take().unwrap_or_else(|| Arc::new(Dirty::All));
    if dirty.len().is_none() {
        drop((source, target));
        return Box::pin(table::rows(task, report)).await;
    }
    let to = [Gather::sum(dirty.clone()), Gather::sum(dirty)];
    let pair = Pair { source, target: Target::Frozen(target) };
    let (_, gathered) =
        Box::pin(read::whole(pair, &task.shape, &Chunk::default(), &task.pace(), to)).await?;
    let outcome = read::matched(&task.shape, gathered, &Keep::new(0, None))?;
    outcome.tell(report);
    report.fence = Some(frozen.report);
    let equal =
        outcome.rows.source == outcome.rows.target && outcome.sums.source == outcome.sums.target;
    report.status = if equal { Status::Equal } else { Status::Different };
    if !equal {
        report.reason = Some("the sums differ; --level full finds the rows".to_owned());
    }
    Ok(())
}

/// Numbers of rows only.
pub(crate) async fn counts(
    task: &Task<'_>,
    report: &mut TableReport,
) -> Result<(), ReconcileError> {
    report.strategy = "count";
    let shape = &task.shape;
    let began = Instant::now();
    for attempt in 1.. {
        let (rows, may_differ) = match task.guard.filter(|guard| guard.snapshots) {
            Some(guard) => counted(task, guard, report).await?,
            None => {
                report.fence = Some(FenceReport::time());
                let mut client =
                    task.pools.source.get().await.map_err(ReconcileError::ConnectSource)?;
                let source = count_source(&mut client, shape).await?;
                task.pools.source.put(client);
                let target = count_target(&*task.pools.target().await?, shape).await?;
                (Sides { source, target }, true)
            }
        };
        report.rows = rows;
        let equal = rows.source == rows.target;
        let limit = Duration::from_secs(task.config.settle_limit_seconds);
        if equal || !may_differ || began.elapsed() >= limit || task.stop.is_cancelled() {
            report.missing_in_target = rows.source.saturating_sub(rows.target);
            report.extra_in_target = rows.target.saturating_sub(rows.source);
            report.conclude();
            if !equal && may_differ && task.guard.is_some() {
                report.status = Status::Unstable;
                report.reason = Some(
                    "the numbers differ while too many keys change to tell; --level full tells"
                        .to_owned(),
                );
            }
            break;
        }
        tokio::time::sleep(settle::pause(attempt)).await;
    }
    Ok(())
}

/// Keys in flight whose rows are counted one by one.
const COUNTED_KEYS: usize = 20_000;

/// The numbers of rows without those whose keys are in flight; and whether they may still differ rightly.
async fn counted(
    task: &Task<'_>,
    guard: &Guard,
    report: &mut TableReport,
) -> Result<(Sides<u64>, bool), ReconcileError> {
    let shape = &task.shape;
    task.progress.doing("waiting for the pipeline");
    let mut frozen =
        fence::freeze(task.pools, guard, shape, 1, task.config.lock_timeout_ms).await?;
    task.progress.doing("counting");
    let mut client = frozen.sources.pop().ok_or_else(|| task.lost())?;
    let target = frozen.targets.pop().ok_or_else(|| task.lost())?;
    let mut rows = Sides {
        source: count_source(&mut client, shape).await?,
        target: count_target(&target, shape).await?,
    };
    report.fence = Some(frozen.report);
    let keys = match frozen.dirty.as_deref() {
        Some(Dirty::Keys(keys)) if keys.len() <= COUNTED_KEYS && !shape.keyless() => keys,
        Some(dirty) if dirty.is_empty() => return Ok((rows, false)),
        _ => return Ok((rows, true)),
    };
    let values: Vec<_> = keys
        .iter()
        .map(|key| fence::dirty::values(shape, key))
        .collect::<Result<_, ReconcileError>>()?;
    for batch in values.chunks(500) {
        let there = sides::source_rows_once(&mut client, shape, batch).await?.len() as u64;
        rows.source = rows.source.saturating_sub(there);
        let there = sides::target_rows(&target, shape, batch).await?.len() as u64;
        rows.target = rows.target.saturating_sub(there);
    }
    Ok((rows, false))
}

async fn count_source(
    client: &mut causeway_sqlserver::Client,
    shape: &Shape,
) -> Result<u64, ReconcileError> {
    let id = shape.source.id();
    causeway_sqlserver::fence::count_rows(client, id)
        .await
        .map_err(|source| ReconcileError::Source { table: id.clone(), source: Box::new(source) })
}

async fn count_target(
    client: &causeway_postgres::Session,
    shape: &Shape,
) -> Result<u64, ReconcileError> {
    causeway_postgres::rows::count(client, &shape.target).await.map_err(|source| {
        ReconcileError::Target { table: shape.source.id().clone(), source: Box::new(source) }
    })
}
