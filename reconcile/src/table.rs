//! The comparison of one table: freeze both sides, read, compare, look again at what differs.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    Config, chunks,
    compare::{self, Difference},
    config::Level,
    error::ReconcileError,
    fence::{self, Dirty, FenceReport, Frozen, Guard},
    ladder,
    progress::Progress,
    recheck::{self, Suspect},
    report::{Sides, Status, TableReport},
    run::Pools,
    settle,
    sides::{self, Chunk, Pace, Shape},
    spool::{PARTITIONS, Spool},
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
    /// How far it is.
    pub progress: Arc<Progress>,
    /// The limit of rows a second.
    pub throttle: Arc<Throttle>,
    /// Says that it must end.
    pub stop: &'a CancellationToken,
}

impl Task<'_> {
    fn pace(&self) -> Pace<'_> {
        Pace { progress: &self.progress, throttle: &self.throttle, stop: self.stop }
    }
}

/// What reading a table gives.
#[derive(Debug, Default)]
struct Outcome {
    differences: Vec<Difference>,
    rows: Sides<u64>,
    sums: Sides<u128>,
}

impl Outcome {
    fn add(&mut self, other: Self) {
        self.differences.extend(other.differences);
        self.rows.source += other.rows.source;
        self.rows.target += other.rows.target;
        self.sums.source = self.sums.source.wrapping_add(other.sums.source);
        self.sums.target = self.sums.target.wrapping_add(other.sums.target);
    }

    fn tell(&self, report: &mut TableReport) {
        report.rows = self.rows;
        report.checksum = Sides {
            source: format!("{:032x}", self.sums.source),
            target: format!("{:032x}", self.sums.target),
        };
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
        Level::Counts => counts(task, report).await,
        Level::Checksum => checksum(task, report).await,
        Level::Full | Level::Sample => rows(task, report).await,
    }
}

/// Row by row.
async fn rows(task: &Task<'_>, report: &mut TableReport) -> Result<(), ReconcileError> {
    let limit = Duration::from_secs(task.config.settle_limit_seconds);
    let began = Instant::now();
    for attempt in 1.. {
        let (outcome, dirty) = read(task, report).await?;
        outcome.tell(report);
        if !task.shape.keyless() || outcome.differences.is_empty() {
            look_again(task, outcome.differences, &dirty, report).await?;
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
            let judged = if task.guard.is_some() { dirty } else { Dirty::default() };
            recheck::bag(task, outcome.differences, &judged, report);
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

/// Freezes and reads a table; gives its differences and the keys in flight.
async fn read(
    task: &Task<'_>,
    report: &mut TableReport,
) -> Result<(Outcome, Dirty), ReconcileError> {
    let part = (task.config.level == Level::Sample).then_some(task.config.sample);
    let Some(guard) = task.guard else {
        report.fence = Some(FenceReport::time());
        report.strategy = "hash";
        let mut client = task.pools.source.get().await.map_err(ReconcileError::ConnectSource)?;
        let target = task.pools.target().await?;
        task.progress.doing("reading");
        let chunk = Chunk { sample: part, ..Chunk::default() };
        let outcome = both(task, &mut client, &target, &chunk).await?;
        task.pools.source.put(client);
        return Ok((outcome, Dirty::All));
    };
    let large =
        task.shape.source.approximate_rows.is_some_and(|rows| rows > task.config.chunk_rows);
    let ranges = guard.snapshots && large && chunks::can_cut(&task.shape.source);
    let readers = if ranges { task.config.chunk_workers.max(1) } else { 1 };
    task.progress.doing("waiting for the pipeline");
    let mut frozen =
        fence::freeze(task.pools, guard, &task.shape, readers, task.config.lock_timeout_ms).await?;
    task.progress.doing("reading");
    let outcome = if ranges {
        report.strategy = "range";
        in_ranges(task, &mut frozen, part, report).await?
    } else {
        report.strategy = "hash";
        let chunk = Chunk { sample: part, ..Chunk::default() };
        at_once(task, guard, &mut frozen, &chunk).await?
    };
    report.fence = Some(frozen.report);
    Ok((outcome, frozen.dirty.unwrap_or(Dirty::All)))
}

/// The memory of one spool.
fn memory(task: &Task<'_>, readers: usize) -> usize {
    task.config.memory_bytes / task.config.parallel.max(1) / 2 / readers.max(1)
}

/// A whole table with one reader a side; without snapshots the source first, then the fence's second half.
async fn at_once(
    task: &Task<'_>,
    guard: &Guard,
    frozen: &mut Frozen,
    chunk: &Chunk,
) -> Result<Outcome, ReconcileError> {
    let mut source = Spool::new(memory(task, 1));
    let mut target = Spool::new(memory(task, 1));
    let shape = &task.shape;
    let pace = task.pace();
    let mut client = frozen.sources.pop().ok_or_else(|| lost(shape))?;
    let from_source =
        sides::read_source(&mut client, shape, chunk, pace, sides::into(&mut source, shape));
    if guard.snapshots {
        let to = frozen.targets.pop().ok_or_else(|| lost(shape))?;
        let from_target =
            sides::read_target(&to, shape, chunk, pace, sides::into(&mut target, shape));
        tokio::try_join!(from_source, from_target)?;
    } else {
        from_source.await?;
        fence::freeze_target(task.pools, guard, shape, frozen, task.config.lock_timeout_ms).await?;
        let to = frozen.targets.pop().ok_or_else(|| lost(shape))?;
        sides::read_target(&to, shape, chunk, pace, sides::into(&mut target, shape)).await?;
    }
    task.progress.doing("comparing");
    matched(shape, source, target)
}

fn lost(shape: &Shape) -> ReconcileError {
    ReconcileError::Worker { table: shape.source.id().clone() }
}

/// Both sides at the same time.
async fn both(
    task: &Task<'_>,
    client: &mut causeway_sqlserver::Client,
    target_client: &causeway_postgres::Session,
    chunk: &Chunk,
) -> Result<Outcome, ReconcileError> {
    let memory = memory(task, 1);
    let pace = task.pace();
    pair(&task.shape, memory, client, target_client, chunk, pace).await
}

async fn pair(
    shape: &Shape,
    memory: usize,
    client: &mut causeway_sqlserver::Client,
    target_client: &causeway_postgres::Session,
    chunk: &Chunk,
    pace: Pace<'_>,
) -> Result<Outcome, ReconcileError> {
    let (mut source, mut target) = (Spool::new(memory), Spool::new(memory));
    tokio::try_join!(
        sides::read_source(client, shape, chunk, pace, sides::into(&mut source, shape)),
        sides::read_target(target_client, shape, chunk, pace, sides::into(&mut target, shape))
    )?;
    matched(shape, source, target)
}

/// Compares two spools, partition by partition.
fn matched(shape: &Shape, mut source: Spool, mut target: Spool) -> Result<Outcome, ReconcileError> {
    let mut outcome = Outcome {
        differences: Vec::new(),
        rows: Sides { source: source.rows(), target: target.rows() },
        sums: Sides { source: source.checksum(), target: target.checksum() },
    };
    for part in 0..PARTITIONS {
        let failed =
            |error| ReconcileError::Spool { table: shape.source.id().clone(), source: error };
        let (a, b) = (source.take(part).map_err(failed)?, target.take(part).map_err(failed)?);
        compare::partitions(&a, &b, |difference| outcome.differences.push(difference));
    }
    Ok(outcome)
}

/// Range by range, with as many workers as there are readers.
async fn in_ranges(
    task: &Task<'_>,
    frozen: &mut Frozen,
    part: Option<f64>,
    report: &mut TableReport,
) -> Result<Outcome, ReconcileError> {
    let shape = &task.shape;
    let mut all = {
        let first = frozen.sources.first_mut().ok_or_else(|| lost(shape))?;
        chunks::cut(first, &shape.source, task.config.chunk_rows).await?
    };
    report.chunks = all.len();
    if let Some(part) = part {
        // Another part of the table each time, so that samples add up.
        let seed = u64::from(std::process::id())
            ^ u64::try_from(chrono::Utc::now().timestamp_millis()).unwrap_or(0);
        all = chunks::sample(all, part, seed);
    }
    let waiting: Arc<Mutex<VecDeque<Chunk>>> = Arc::new(Mutex::new(all.into()));
    let mut workers = JoinSet::new();
    let memory = memory(task, frozen.sources.len());
    for (mut client, target) in frozen.sources.drain(..).zip(frozen.targets.drain(..)) {
        let (shape, waiting) = (shape.clone(), waiting.clone());
        let (progress, throttle) = (task.progress.clone(), task.throttle.clone());
        let stop = task.stop.clone();
        workers.spawn(async move {
            let pace = Pace { progress: &progress, throttle: &throttle, stop: &stop };
            let mut outcome = Outcome::default();
            loop {
                let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                let Some(chunk) = next else { return Ok(outcome) };
                if stop.is_cancelled() {
                    return Err(ReconcileError::Stopped { table: shape.source.id().clone() });
                }
                outcome.add(pair(&shape, memory, &mut client, &target, &chunk, pace).await?);
            }
        });
    }
    let mut outcome = Outcome::default();
    while let Some(ended) = workers.join_next().await {
        outcome.add(ended.map_err(|_| lost(shape))??);
    }
    Ok(outcome)
}

/// Has the keys that differ judged, as many as are looked at again.
async fn look_again(
    task: &Task<'_>,
    mut differences: Vec<Difference>,
    dirty: &Dirty,
    report: &mut TableReport,
) -> Result<(), ReconcileError> {
    if differences.is_empty() {
        return Ok(());
    }
    task.progress.doing("looking again");
    report.truncated = differences.len() > task.config.recheck_keys;
    // Beyond the cut nothing is looked at again: what no change can explain counts as it was found, of the rest
    // nothing is said.
    let cut = task.config.recheck_keys.min(differences.len());
    for difference in differences.drain(cut..) {
        if task.guard.is_some() && dirty.contains(&difference.key) {
            report.unstable += 1;
        } else {
            report.count(difference.kind);
        }
    }
    let suspects = differences
        .into_iter()
        .map(|difference| {
            let is_dirty = dirty.contains(&difference.key);
            Suspect::new(difference.key, is_dirty)
        })
        .collect();
    recheck::judge(task, suspects, report).await
}

/// Sums of digests only, without the keys in flight: says whether a table differs, not where.
async fn checksum(task: &Task<'_>, report: &mut TableReport) -> Result<(), ReconcileError> {
    let Some(guard) = task.guard.filter(|guard| guard.snapshots) else {
        // Without two frozen sides the sums of a table that is written to never meet.
        return rows(task, report).await;
    };
    report.strategy = "sum";
    task.progress.doing("waiting for the pipeline");
    let mut frozen =
        fence::freeze(task.pools, guard, &task.shape, 1, task.config.lock_timeout_ms).await?;
    task.progress.doing("reading");
    let shape = &task.shape;
    let mut client = frozen.sources.pop().ok_or_else(|| lost(shape))?;
    let target = frozen.targets.pop().ok_or_else(|| lost(shape))?;
    let dirty = frozen.dirty.take().unwrap_or(Dirty::All);
    if dirty.len().is_none() {
        drop((client, target));
        return rows(task, report).await;
    }
    let pace = task.pace();
    let chunk = Chunk::default();
    let (mut a, mut b) = ((0u64, 0u128), (0u64, 0u128));
    let add = |sum: &mut (u64, u128), row: &sides::Scratch| {
        if !dirty.contains(&row.key) {
            sum.0 += 1;
            sum.1 = sum.1.wrapping_add(row.digest);
        }
        Ok(())
    };
    tokio::try_join!(
        sides::read_source(&mut client, shape, &chunk, pace, |row| add(&mut a, row)),
        sides::read_target(&target, shape, &chunk, pace, |row| add(&mut b, row))
    )?;
    let outcome = Outcome {
        differences: Vec::new(),
        rows: Sides { source: a.0, target: b.0 },
        sums: Sides { source: a.1, target: b.1 },
    };
    outcome.tell(report);
    report.fence = Some(frozen.report);
    report.status = if a == b { Status::Equal } else { Status::Different };
    if a != b {
        report.reason = Some("the sums differ; --level full finds the rows".to_owned());
    }
    Ok(())
}

/// Numbers of rows only.
async fn counts(task: &Task<'_>, report: &mut TableReport) -> Result<(), ReconcileError> {
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
    let mut client = frozen.sources.pop().ok_or_else(|| lost(shape))?;
    let target = frozen.targets.pop().ok_or_else(|| lost(shape))?;
    let mut rows = Sides {
        source: count_source(&mut client, shape).await?,
        target: count_target(&target, shape).await?,
    };
    report.fence = Some(frozen.report);
    let keys = match frozen.dirty {
        Some(Dirty::Keys(keys)) if keys.len() <= COUNTED_KEYS && !shape.keyless() => keys,
        Some(dirty) if dirty.is_empty() => return Ok((rows, false)),
        _ => return Ok((rows, true)),
    };
    let values: Vec<_> = keys
        .iter()
        .map(|key| fence::dirty::values(shape, key))
        .collect::<Result<_, ReconcileError>>()?;
    for batch in values.chunks(500) {
        let there = sides::source_rows(&mut client, shape, batch).await?.len() as u64;
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
