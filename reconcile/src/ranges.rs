//! The rows of a frozen table, range by range: which ranges must be read, and the workers that read them.

use std::sync::Arc;

use causeway_change::Lsn;
use causeway_sqlserver::{KeyRange, fence as log_fence, log};
use tokio::task::JoinSet;

use crate::{
    chunks,
    error::ReconcileError,
    fence::{self, Dirty, Frozen, Guard},
    ledger::{Entry, Ledger, choose},
    read::{self, Gather, Keep, Outcome, Pair, Queue, Target},
    report::TableReport,
    sides::Chunk,
    table::Task,
};

/// What a run does with the ranges of a table.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// To be read.
    pub read: Vec<Chunk>,
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
    let mut plan = Box::pin(plan(task, ledger, ranges, &mut frozen)).await?;
    report.chunks = plan.read.len() + plan.unread.len() + plan.done.len();
    report.chunks_unchanged = plan.unread.len();
    report.chunks_done_before = plan.done.len();
    if let Some(part) = part {
        sample(&mut plan, ranges, part);
    }
    task.progress.doing("reading");
    let mut outcome = if ranges {
        Box::pin(in_ranges(task, ledger, &mut frozen, &plan)).await?
    } else if let Some(chunk) = plan.read.first() {
        Box::pin(at_once(task, guard, ledger, &mut frozen, chunk)).await?
    } else {
        Outcome::default()
    };
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

/// Another part of the table each time, so that samples add up.
fn sample(plan: &mut Plan, ranges: bool, part: f64) {
    if ranges {
        let seed = u64::from(std::process::id())
            ^ u64::try_from(chrono::Utc::now().timestamp_millis()).unwrap_or(0);
        plan.read = chunks::sample(std::mem::take(&mut plan.read), part, seed);
    } else {
        for chunk in &mut plan.read {
            chunk.sample = Some(part);
        }
    }
}

/// Which ranges are read. Without a ledger, and in a run that begins anew, all.
async fn plan(
    task: &Task<'_>,
    ledger: Option<&Ledger>,
    ranges: bool,
    frozen: &mut Frozen,
) -> Result<Plan, ReconcileError> {
    let Some(ledger) = ledger else {
        return Ok(Plan {
            read: cut(task, ranges, frozen, vec![KeyRange::default()]).await?,
            ..Plan::default()
        });
    };
    let low = frozen.low;
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
        for (entry, due) in entries.into_iter().zip(due) {
            // New rows gather behind the last key; other ranges can grow too.
            let large = entry.range.upto.is_none()
                || entry.rows.0 > task.config.chunk_rows.saturating_mul(3) / 2;
            match (due, large) {
                (false, _) => unread.push(entry.range),
                (true, true) => grown.push(entry.range),
                (true, false) => read.push(Chunk { range: entry.range, sample: None }),
            }
        }
        read.extend(cut(task, ranges, frozen, grown).await?);
        return Ok(Plan { read, unread, done: Vec::new(), low: Some(low) });
    }
    let done = ledger.done(entries);
    if done.is_empty() {
        let client = task.pools.target().await?;
        ledger.forget(&client, &task.shape).await?;
    }
    let free = choose::gaps(&done);
    let read = cut(task, ranges, frozen, free).await?;
    Ok(Plan { read, unread: Vec::new(), done, low: Some(low) })
}

/// Cuts what is to be read into ranges of a size.
async fn cut(
    task: &Task<'_>,
    ranges: bool,
    frozen: &mut Frozen,
    free: Vec<KeyRange>,
) -> Result<Vec<Chunk>, ReconcileError> {
    if !ranges {
        return Ok(free.into_iter().map(|range| Chunk { range, sample: None }).collect());
    }
    let client = frozen.sources.first_mut().ok_or_else(|| task.lost())?;
    let mut all = Vec::new();
    for range in free {
        all.extend(chunks::cut(client, &task.shape.source, &range, task.config.chunk_rows).await?);
    }
    Ok(all)
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
) -> Result<Outcome, ReconcileError> {
    let shape = &task.shape;
    let pace = task.pace();
    let to = [Gather::spool(task.memory(1)), Gather::spool(task.memory(1))];
    let mut source = frozen.sources.pop().ok_or_else(|| task.lost())?;
    let gathered = if guard.snapshots {
        let target = frozen.targets.pop().ok_or_else(|| task.lost())?;
        let target = Target::Frozen(target);
        Box::pin(read::both(Pair { source, target }, shape, chunk, &pace, to)).await?.1
    } else {
        let [to_source, to_target] = to;
        let a = read::source(&mut source, shape, chunk, &pace, to_source).await?;
        drop(source);
        fence::freeze_target(task.pools, guard, shape, frozen, task.config.lock_timeout_ms).await?;
        let target = frozen.targets.pop().ok_or_else(|| task.lost())?;
        [a, read::target(&target, shape, chunk, &pace, to_target).await?]
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

/// Range by range, with as many workers as there are readers.
async fn in_ranges(
    task: &Task<'_>,
    ledger: Option<&Ledger>,
    frozen: &mut Frozen,
    plan: &Plan,
) -> Result<Outcome, ReconcileError> {
    let waiting = Queue::new(plan.read.clone());
    let memory = task.memory(frozen.sources.len());
    let keep = Arc::new(Keep::new(task.config.recheck_keys, frozen.dirty.clone()));
    let mut workers = JoinSet::new();
    let low = frozen.low;
    for (source, target) in frozen.sources.drain(..).zip(frozen.targets.drain(..)) {
        let (shape, waiting, keep) = (task.shape.clone(), waiting.clone(), keep.clone());
        let (pace, ledger) = (task.pace(), ledger.cloned());
        let mut pair = Pair { source, target: Target::Frozen(target) };
        let notes = match &ledger {
            Some(_) => Some(task.pools.target().await?),
            None => None,
        };
        workers.spawn(async move {
            let mut all = Outcome::default();
            while let Some(chunk) = waiting.take() {
                if pace.stop.is_cancelled() {
                    return Err(ReconcileError::Stopped { table: shape.source.id().clone() });
                }
                let to = [Gather::spool(memory), Gather::spool(memory)];
                let (back, gathered) =
                    Box::pin(read::both(pair, &shape, &chunk, &pace, to)).await?;
                pair = back;
                let outcome = read::matched(&shape, gathered, &keep)?;
                if let (Some(ledger), Some(notes)) = (&ledger, &notes) {
                    ledger.read(notes, &shape, &chunk.range, low, &outcome).await?;
                }
                all.add(outcome);
            }
            Ok(all)
        });
    }
    let mut outcome = Outcome::default();
    while let Some(ended) = workers.join_next().await {
        outcome.add(ended.map_err(|_| task.lost())??);
    }
    Ok(outcome)
}
