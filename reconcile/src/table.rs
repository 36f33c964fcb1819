//! The comparison of one table: freeze both sides, read, compare, look again at what differs.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use causeway_observability::names::reconcile as names;
use tokio_util::sync::CancellationToken;

use crate::{
    Config,
    config::Level,
    error::ReconcileError,
    fence::{Dirty, FenceReport, Guard},
    hashing::{self, Way},
    ladder,
    ledger::Ledger,
    levels,
    progress::Progress,
    ranges::{self, Plan},
    read::{self, Gather, Keep, Outcome, Pair, Target},
    recheck::{self, Suspect},
    report::TableReport,
    run::Pools,
    settle,
    sides::{Chunk, Pace, Shape},
    throttle::Throttle,
};

/// All that the comparison of one table needs.
#[derive(Debug)]
pub struct Task<'a> {
    /// Connections.
    pub pools: &'a Pools,
    /// The table.
    pub shape: Arc<Shape>,
    /// What is set.
    pub config: &'a Config,
    /// Sight of the stream; without it differences are judged by time.
    pub guard: Option<&'a Guard>,
    /// What is known of the table's ranges; none when no history is kept.
    pub ledger: Option<&'a Ledger>,
    /// How far it is.
    pub progress: Arc<Progress>,
    /// The limit of rows a second.
    pub throttle: Arc<Throttle>,
    /// Says that it must end.
    pub stop: &'a CancellationToken,
}

impl Task<'_> {
    pub(crate) fn pace(&self) -> Pace {
        Pace {
            progress: self.progress.clone(),
            throttle: self.throttle.clone(),
            stop: self.stop.clone(),
        }
    }

    /// The memory of one spool, when so many readers share what a table may use.
    pub(crate) fn memory(&self, readers: usize) -> usize {
        self.config.memory_bytes / self.config.parallel.max(1) / 2 / readers.max(1)
    }

    pub(crate) fn lost(&self) -> ReconcileError {
        ReconcileError::Worker { table: self.shape.source.id().clone() }
    }
}

/// Compares one table and fills its report; the status is set when every row was compared.
///
/// # Errors
/// When a side could not be read, or the pipeline is too far behind: then the report's counts say nothing.
pub async fn compare(task: &Task<'_>, report: &mut TableReport) -> Result<(), ReconcileError> {
    if let Some(guard) = task.guard
        && guard.stream.is_copying(task.shape.source.id()).await?
    {
        return Err(ReconcileError::Copying { table: task.shape.source.id().clone() });
    }
    match task.config.level {
        Level::Counts => Box::pin(levels::counts(task, report)).await,
        Level::Checksum => Box::pin(levels::checksum(task, report)).await,
        Level::Full | Level::Sample => Box::pin(rows(task, report)).await,
    }
}

/// Row by row.
pub(crate) async fn rows(task: &Task<'_>, report: &mut TableReport) -> Result<(), ReconcileError> {
    let limit = Duration::from_secs(task.config.settle_limit_seconds);
    let began = Instant::now();
    for attempt in 1.. {
        let Some(found) = Box::pin(read(task, report)).await? else { break };
        let Found { outcome, dirty, plan } = found;
        outcome.tell(report);
        if !task.shape.keyless() || outcome.differences.is_empty() {
            look_again(task, outcome, &dirty, report).await?;
            judged(task, &plan, report).await?;
            break;
        }
        // Rows without key cannot be asked for one by one; the whole table is read again until nothing is in
        // flight or the time is over.
        let in_flight = outcome.differences.iter().any(|d| dirty.contains(&d.key));
        let last = match task.guard {
            Some(_) => attempt >= task.config.recheck_attempts,
            None => began.elapsed() >= limit,
        };
        if last || (task.guard.is_some() && !in_flight) || task.stop.is_cancelled() {
            let none = Dirty::default();
            beyond(&outcome, report);
            let dirty = if task.guard.is_some() { &*dirty } else { &none };
            recheck::bag(task, outcome.differences, dirty, report);
            judged(task, &plan, report).await?;
            break;
        }
        let pause = task.guard.map_or(settle::pause(2), |_| ladder::pause(attempt));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = task.stop.cancelled() => {}
        }
    }
    report.conclude();
    Ok(())
}

/// What reading a table gave.
struct Found {
    outcome: Outcome,
    dirty: Arc<Dirty>,
    plan: Plan,
}

/// Freezes and reads a table; gives its differences and the keys in flight. None when nothing had to be read.
async fn read(task: &Task<'_>, report: &mut TableReport) -> Result<Option<Found>, ReconcileError> {
    let part = (task.config.level == Level::Sample).then_some(task.config.sample);
    let Some(guard) = task.guard else {
        return Box::pin(by_time(task, part, report)).await.map(Some);
    };
    let (outcome, dirty, plan) = Box::pin(ranges::read(task, guard, part, report)).await?;
    Ok(Some(Found { outcome, dirty, plan }))
}

/// Without sight of the stream: all at once.
async fn by_time(
    task: &Task<'_>,
    part: Option<f64>,
    report: &mut TableReport,
) -> Result<Found, ReconcileError> {
    report.fence = Some(FenceReport::time());
    report.strategy = "hash";
    let source = task.pools.source.get().await.map_err(ReconcileError::ConnectSource)?;
    let target = task.pools.target().await?;
    task.progress.doing("reading");
    let chunk = Chunk { sample: part, ..Chunk::default() };
    let mut pair = Pair { source, target: Target::Pooled(target) };
    let way = hashing::decided(task.config.hashing, &task.shape, None, false);
    if let (None, Some(Way::Server(_))) = (part, way)
        && let Some(outcome) = hashing::both(&mut pair, &task.shape, &chunk.range).await?
    {
        task.pools.source.put(pair.source);
        return Ok(Found { outcome, dirty: Arc::new(Dirty::All), plan: Plan::default() });
    }
    let to = [Gather::spool(task.memory(1)), Gather::spool(task.memory(1))];
    let (pair, gathered) =
        Box::pin(read::whole(pair, &task.shape, &chunk, &task.pace(), to)).await?;
    task.pools.source.put(pair.source);
    let keep = Keep::new(task.config.recheck_keys, None);
    let outcome = read::matched(&task.shape, gathered, &keep)?;
    Ok(Found { outcome, dirty: Arc::new(Dirty::All), plan: Plan::default() })
}

/// Has the keys that differ judged, as many as are looked at again.
async fn look_again(
    task: &Task<'_>,
    outcome: Outcome,
    dirty: &Dirty,
    report: &mut TableReport,
) -> Result<(), ReconcileError> {
    beyond(&outcome, report);
    if outcome.differences.is_empty() {
        return Ok(());
    }
    task.progress.doing("looking again");
    let suspects = outcome
        .differences
        .into_iter()
        .map(|difference| {
            let is_dirty = dirty.contains(&difference.key);
            Suspect::new(difference.key, is_dirty)
        })
        .collect();
    recheck::judge(task, suspects, report).await
}

/// Beyond the limit nothing is looked at again: what no change can explain counts as it was found, of the rest
/// nothing is said.
fn beyond(outcome: &Outcome, report: &mut TableReport) {
    let beyond = outcome.beyond;
    report.truncated |= beyond.any();
    report.missing_in_target += beyond.missing;
    report.extra_in_target += beyond.extra;
    report.different += beyond.different;
    report.unstable += beyond.in_flight;
}

/// Tells the ledger what came of the keys that differed.
async fn judged(task: &Task<'_>, plan: &Plan, report: &TableReport) -> Result<(), ReconcileError> {
    let (Some(ledger), Some(low)) = (task.ledger, plan.low) else { return Ok(()) };
    if report.truncated || report.findings.len() as u64 != report.differences() + report.unstable {
        // Not every key that differs is known: the ranges stay as they are, not verified.
        return Ok(());
    }
    let wrong: HashSet<Vec<u8>> =
        report.findings.iter().map(|finding| finding.key_bytes.clone()).collect();
    let client = task.pools.target().await?;
    let oldest = ledger.judged(&client, &task.shape, low, &plan.unread, &wrong).await?;
    if let Some(seconds) = oldest {
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit")]
        let at = chrono::Utc::now().timestamp() as f64 - seconds;
        names::RANGE_VERIFIED_SECONDS.set(at, &[("table", &task.shape.source.id().to_string())]);
    }
    Ok(())
}
