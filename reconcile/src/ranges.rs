//! The rows of a frozen table: which ranges must be read.

use std::sync::Arc;

use causeway_change::Lsn;
use causeway_sqlserver::{KeyRange, fence as log_fence, log, rows};

use crate::{
    chunks,
    error::ReconcileError,
    fence::{self, Dirty, Frozen, Guard},
    hashing::{self, Way},
    ledger::{Entry, Ledger, choose},
    read::{self, Gather, Keep, Outcome, Pair, Part, Target},
    report::TableReport,
    sides::Chunk,
    stripes::{Extent, Piece},
    table::Task,
    workers::{self, Job},
};

/// What a run does with the ranges of a table.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// To be read as they are.
    pub read: Vec<Chunk>,
    /// To be read, and cut meanwhile; of the size of all together nothing better is known than `rows`.
    pub cut: Vec<KeyRange>,
    /// About so many rows are in those that are cut.
    pub rows: u64,
    /// Left, because nothing of them has changed and they were read lately.
    pub unread: Vec<KeyRange>,
    /// Done by the run that this one goes on with.
    pub done: Vec<Entry>,
    /// The place in the log that everything read has seen; none when the ranges are not kept.
    pub low: Option<Lsn>,
}

/// Freezes a table and reads it: in ranges when it is large and its key allows, else at once.
///
/// # Errors
/// When a side cannot be read, or the pipeline is too far behind.
pub async fn read(
    task: &Task<'_>,
    guard: &Guard,
    part: Option<f64>,
    report: &mut TableReport,
) -> Result<(Outcome, Arc<Dirty>, Plan), ReconcileError> {
    let shape = &task.shape;
    let large = shape.source.approximate_rows.is_some_and(|rows| rows > task.config.chunk_rows);
    let ranges = guard.snapshots && large && chunks::can_cut(&shape.source);
    let readers = if ranges { task.config.chunk_workers.max(1) } else { 1 };
    task.progress.doing("waiting for the pipeline");
    let mut frozen =
        fence::freeze(task.pools, guard, shape, readers, task.config.lock_timeout_ms).await?;
    report.strategy = if ranges { "range" } else { "hash" };
    // A sample is not the whole: nothing of it is kept.
    let ledger = task.ledger.filter(|_| part.is_none());
    let mut plan = Box::pin(plan(task, ledger, ranges)).await?;
    plan.low = ledger.map(|_| frozen.low);
    report.chunks = plan.unread.len() + plan.done.len();
    report.chunks_unchanged = plan.unread.len();
    report.chunks_done_before = plan.done.len();
    let mut left = 0;
    if let Some(part) = part {
        left = Box::pin(sample(task, &mut frozen, &mut plan, part)).await?;
    }
    let hashed = match part {
        // Of a range a sample has not all rows.
        Some(_) => false,
        None if guard.snapshots => {
            matches!(Box::pin(hashing::choose(task, &mut frozen, ranges)).await?, Way::Server(_))
        }
        None => false,
    };
    task.progress.doing(if hashed { "hashing" } else { "reading" });
    let (mut outcome, chunks) = if ranges {
        let job = Box::pin(job(task, &mut frozen, &mut plan, hashed)).await?;
        Box::pin(workers::run(task, ledger, &mut frozen, job)).await?
    } else if let Some(chunk) = plan.read.first() {
        (Box::pin(at_once(task, guard, ledger, &mut frozen, chunk, hashed)).await?, 1)
    } else {
        (Outcome::default(), 0)
    };
    report.chunks += chunks + left;
    for entry in &plan.done {
        outcome.add(earlier(entry));
    }
    report.fence = Some(frozen.report);
    let dirty = frozen.dirty.unwrap_or_else(|| Arc::new(Dirty::All));
    Ok((outcome, dirty, plan))
}

/// What a range gave that was read before the run was cut off. Its keys that differed are judged with the others.
fn earlier(entry: &Entry) -> Outcome {
    use crate::{
        compare::{Difference, Kind},
        report::Sides,
    };
    Outcome {
        rows: Sides { source: entry.rows.0, target: entry.rows.1 },
        sums: Sides { source: entry.sums.0, target: entry.sums.1 },
        differences: entry
            .suspects
            .iter()
            .map(|key| Difference { key: key.clone(), kind: Kind::Different })
            .collect(),
        ..Outcome::default()
    }
}

/// Another part of the table each time, so that samples add up. Gives the number of ranges that are left out.
async fn sample(
    task: &Task<'_>,
    frozen: &mut Frozen,
    plan: &mut Plan,
    part: f64,
) -> Result<usize, ReconcileError> {
    for chunk in &mut plan.read {
        chunk.sample = Some(part);
    }
    if plan.cut.is_empty() {
        return Ok(0);
    }
    // What is not read cannot be cut while it is read.
    let client = frozen.sources.first_mut().ok_or_else(|| task.lost())?;
    let mut all = Vec::new();
    for range in plan.cut.drain(..) {
        all.extend(chunks::cut(client, &task.shape.source, &range, task.config.chunk_rows).await?);
    }
    let seed = u64::from(std::process::id())
        ^ u64::try_from(chrono::Utc::now().timestamp_millis()).unwrap_or(0);
    let total = all.len();
    plan.read = chunks::sample(all, part, seed);
    Ok(total - plan.read.len())
}

/// The work that the plan makes. The source's first and last key are asked for when something is cut.
async fn job(
    task: &Task<'_>,
    frozen: &mut Frozen,
    plan: &mut Plan,
    hashed: bool,
) -> Result<Job, ReconcileError> {
    let mut extent = Extent::default();
    let spread = plan.rows > task.config.chunk_rows.saturating_mul(2);
    if !plan.cut.is_empty() {
        let client = frozen.sources.first_mut().ok_or_else(|| task.lost())?;
        let source = &task.shape.source;
        let failed =
            |error| ReconcileError::Source { table: source.id().clone(), source: Box::new(error) };
        extent.first = rows::first_key(client, source).await.map_err(failed)?;
        extent.last = rows::last_key(client, source).await.map_err(failed)?;
    }
    let whole = plan.read.drain(..).map(Piece::Whole);
    let pieces = plan.cut.drain(..).map(Piece::Stripe).chain(whole).collect();
    Ok(Job { pieces, extent, spread, hashed })
}

/// Which ranges are read. Without a ledger, and in a run that begins anew, all.
async fn plan(
    task: &Task<'_>,
    ledger: Option<&Ledger>,
    ranges: bool,
) -> Result<Plan, ReconcileError> {
    let rows = task.shape.source.approximate_rows.unwrap_or(0);
    let Some(ledger) = ledger else {
        return Ok(divided(ranges, vec![KeyRange::default()], rows));
    };
    let entries = {
        let client = task.pools.target().await?;
        ledger.entries(&client, &task.shape).await?
    };
    // Ranges of a table that is read at once have no order: there is one, or none.
    let mut entries: Vec<Entry> = if ranges {
        entries
    } else {
        entries.into_iter().filter(|entry| entry.range == KeyRange::default()).collect()
    };
    choose::sort(&mut entries);
    if ledger.incremental
        && !entries.is_empty()
        && choose::gaps(&entries).is_empty()
        && let Some(changed) = changed(task, &entries).await?
    {
        let due = choose::due(&entries, &changed, ledger.period);
        let (mut read, mut grown, mut unread) = (Vec::new(), Vec::new(), Vec::new());
        let mut rows = 0;
        for (entry, due) in entries.into_iter().zip(due) {
            // New rows gather behind the last key; other ranges can grow too.
            let large = entry.range.upto.is_none()
                || entry.rows.0 > task.config.chunk_rows.saturating_mul(3) / 2;
            match (due, large) {
                (false, _) => unread.push(entry.range),
                (true, true) => {
                    rows += entry.rows.0;
                    grown.push(entry.range);
                }
                (true, false) => read.push(Chunk { range: entry.range, sample: None }),
            }
        }
        let mut plan = divided(ranges, grown, rows);
        plan.read.extend(read);
        plan.unread = unread;
        return Ok(plan);
    }
    let done = ledger.done(entries);
    if done.is_empty() {
        let client = task.pools.target().await?;
        ledger.forget(&client, &task.shape).await?;
    }
    let read: u64 = done.iter().map(|entry| entry.rows.0).sum();
    Ok(Plan {
        done: done.clone(),
        ..divided(ranges, choose::gaps(&done), rows.saturating_sub(read))
    })
}

/// Ranges of so many rows together: cut while they are read, or read as they are.
fn divided(ranges: bool, free: Vec<KeyRange>, rows: u64) -> Plan {
    if ranges {
        return Plan { cut: free, rows, ..Plan::default() };
    }
    let read = free.into_iter().map(|range| Chunk { range, sample: None }).collect();
    Plan { read, ..Plan::default() }
}

/// For each entry whether a key of it changed since, as far as is captured; none when that cannot be told any more,
/// because the changes have been cleaned up or are too many.
async fn changed(task: &Task<'_>, entries: &[Entry]) -> Result<Option<Vec<bool>>, ReconcileError> {
    let shape = &task.shape;
    let since = entries.iter().map(|entry| entry.low).min().unwrap_or(Lsn::ZERO);
    let mut control = task.pools.source.get().await.map_err(ReconcileError::ConnectSource)?;
    let failed = |source| ReconcileError::Source {
        table: shape.source.id().clone(),
        source: Box::new(source),
    };
    let upto = log::tick(&mut control).await.map_err(failed)?.max_lsn.unwrap_or(Lsn::ZERO);
    // Changes first, then the low water: what was cleaned up while we read is noticed.
    let mut changed = vec![false; entries.len()];
    let mut many = 0;
    if let [changed] = changed.as_mut_slice() {
        let found = log::tables_with_changes(&mut control, &[&shape.instance], since, upto).await;
        *changed = !found.map_err(failed)?.is_empty();
    } else {
        log_fence::changed_keys(&mut control, &shape.instance, since, upto, |key| {
            if let Some(changed) = choose::place(entries, &key).and_then(|i| changed.get_mut(i)) {
                *changed = true;
            }
            many += 1;
            many <= task.config.dirty_keys
        })
        .await
        .map_err(failed)?;
    }
    if control.is_broken() {
        control = task.pools.source.get().await.map_err(ReconcileError::ConnectSource)?;
    }
    let tick = log::tick(&mut control).await.map_err(failed)?;
    task.pools.source.put(control);
    let kept = tick
        .instances
        .get(&shape.instance.object_id)
        .is_some_and(|state| state.start_lsn.is_some_and(|start| start <= since));
    Ok((kept && many <= task.config.dirty_keys).then_some(changed))
}

/// A whole table with one reader a side; without snapshots the source first, then the fence's second half.
async fn at_once(
    task: &Task<'_>,
    guard: &Guard,
    ledger: Option<&Ledger>,
    frozen: &mut Frozen,
    chunk: &Chunk,
    hashed: bool,
) -> Result<Outcome, ReconcileError> {
    let shape = &task.shape;
    let pace = task.pace();
    if hashed && let (Some(source), Some(target)) = (frozen.sources.pop(), frozen.targets.pop()) {
        let mut pair = Pair { source, target: Target::Frozen(target) };
        if let Some(outcome) = hashing::both(&mut pair, shape, &chunk.range).await? {
            if let Some(ledger) = ledger {
                let client = task.pools.target().await?;
                ledger.read(&client, shape, &chunk.range, frozen.low, &outcome).await?;
            }
            return Ok(outcome);
        }
        let Pair { source, target } = pair;
        frozen.sources.push(source);
        if let Target::Frozen(target) = target {
            frozen.targets.push(target);
        }
    }
    let to = [Gather::spool(task.memory(1)), Gather::spool(task.memory(1))];
    let mut source = frozen.sources.pop().ok_or_else(|| task.lost())?;
    let gathered = if guard.snapshots {
        let target = frozen.targets.pop().ok_or_else(|| task.lost())?;
        let target = Target::Frozen(target);
        Box::pin(read::whole(Pair { source, target }, shape, chunk, &pace, to)).await?.1
    } else {
        let [to_source, to_target] = to;
        let part = Part { alone: true, ..Part::whole(chunk, to_source) };
        let (a, _) = read::source(&mut source, shape, part, &pace).await?;
        drop(source);
        fence::freeze_target(task.pools, guard, shape, frozen, task.config.lock_timeout_ms).await?;
        let target = frozen.targets.pop().ok_or_else(|| task.lost())?;
        [a, read::target(&target, shape, Part::whole(chunk, to_target), &pace).await?]
    };
    task.progress.doing("comparing");
    let keep = Keep::new(task.config.recheck_keys, frozen.dirty.clone());
    let outcome = read::matched(shape, gathered, &keep)?;
    if let Some(ledger) = ledger {
        let client = task.pools.target().await?;
        ledger.read(&client, shape, &chunk.range, frozen.low, &outcome).await?;
    }
    Ok(outcome)
}
