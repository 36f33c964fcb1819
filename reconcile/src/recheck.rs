//! Looks again at the keys that differ, until each is judged; then compares their columns.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use causeway_change::Row;

use crate::{
    compare::Kind,
    error::ReconcileError,
    fence::{self, Guard, dirty},
    finding::{Finding, State},
    ladder,
    report::TableReport,
    settle::{self, Look, Verdict, Watch},
    sides::{self, Scratch, Shape},
    table::Task,
};

/// Keys asked for in one query.
const KEYS: usize = 500;
/// Keys of one fence at the first look: most differences are real, and one fence proves them together.
const FIRST: usize = 20_000;
/// Bytes of rows of one side that a look keeps, to compare their columns without reading them again.
const ROWS_BYTES: usize = 8 << 20;
/// And later: what still changes is looked at in haste, because only changes between the two reads count.
const LATER: usize = 2000;

/// A key that differed.
#[derive(Clone, Debug)]
pub struct Suspect {
    /// Canonical bytes.
    pub key: Vec<u8>,
    /// Whether a change of it lay between the snapshots.
    pub dirty: bool,
    checks: u32,
    watch: Watch,
}

impl Suspect {
    /// A key that has not been looked at.
    #[must_use]
    pub fn new(key: Vec<u8>, dirty: bool) -> Self {
        Self { key, dirty, checks: 0, watch: Watch::default() }
    }
}

/// A difference that is proved, or stood still.
struct Confirmed {
    key: Vec<u8>,
    kind: Kind,
    look: Look,
    checks: u32,
    /// The rows of both sides as they were judged, unless they were too large to be kept.
    rows: Option<(Row, Row)>,
}

/// The rows of one side at one look: digests of all, and the rows themselves as far as they are small.
#[derive(Default)]
struct Seen {
    rows: HashMap<Vec<u8>, (u128, Option<Row>)>,
    bytes: usize,
}

impl Seen {
    fn add(&mut self, shape: &Shape, rows: Vec<Row>) -> Result<(), ReconcileError> {
        let mut scratch = Scratch::default();
        for row in rows {
            shape.digest(&row, &mut scratch)?;
            self.bytes += row.iter().map(causeway_change::Value::size).sum::<usize>();
            let row = (self.bytes <= ROWS_BYTES).then_some(row);
            self.rows.insert(scratch.key.clone(), (scratch.digest, row));
        }
        Ok(())
    }

    fn digest(&self, key: &[u8]) -> Option<u128> {
        self.rows.get(key).map(|(digest, _)| *digest)
    }

    fn row(&mut self, key: &[u8]) -> Option<Row> {
        self.rows.get_mut(key).and_then(|(_, row)| row.take())
    }
}

/// Looks until every key is judged, and fills the report.
///
/// # Errors
/// When a side cannot be read, or the pipeline is too far behind.
pub async fn judge(
    task: &Task<'_>,
    mut open: Vec<Suspect>,
    report: &mut TableReport,
) -> Result<(), ReconcileError> {
    let began = Instant::now();
    for n in 1.. {
        if open.is_empty() {
            break;
        }
        let (confirmed, still) = match task.guard {
            Some(guard) => {
                let (mut confirmed, mut still) = (Vec::new(), Vec::new());
                let mut rest = open.into_iter().peekable();
                while rest.peek().is_some() {
                    let batch = rest.by_ref().take(if n == 1 { FIRST } else { LATER }).collect();
                    let judged = Box::pin(fenced(task, guard, batch, report)).await?;
                    confirmed.extend(judged.0);
                    still.extend(judged.1);
                }
                (confirmed, still)
            }
            None => Box::pin(timed(task, open, began.elapsed(), report)).await?,
        };
        describe(task, confirmed, report).await?;
        open = still;
        if task.stop.is_cancelled() && task.guard.is_some() {
            for suspect in open.drain(..) {
                unstable(task, suspect, report);
            }
        }
        if !open.is_empty() {
            let pause = match task.guard {
                Some(_) => ladder::pause(n),
                None => settle::pause(n - 1),
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = task.stop.cancelled() => {}
            }
        }
    }
    Ok(())
}

fn unstable(task: &Task<'_>, suspect: Suspect, report: &mut TableReport) {
    report.unstable += 1;
    let table = &task.shape.source.table;
    let finding = Finding::bare(table, suspect.key, State::Unstable, suspect.checks);
    report.keep(finding, task.config.keep_differences);
}

/// Sorts judged keys out; gives what is confirmed and what must be looked at again.
fn sort_out(
    task: &Task<'_>,
    judged: impl Iterator<Item = (Suspect, Look, Verdict)>,
    (source, target): (&mut Seen, &mut Seen),
    report: &mut TableReport,
) -> (Vec<Confirmed>, Vec<Suspect>) {
    let (mut confirmed, mut still) = (Vec::new(), Vec::new());
    for (suspect, look, verdict) in judged {
        match verdict {
            Verdict::InFlight => report.in_flight_resolved += 1,
            Verdict::Resolved => report.resolved += 1,
            Verdict::Confirmed(kind) => {
                let Suspect { key, checks, .. } = suspect;
                let rows = source.row(&key).zip(target.row(&key));
                confirmed.push(Confirmed { key, kind, look, checks, rows });
            }
            Verdict::Unstable => unstable(task, suspect, report),
            Verdict::Open => still.push(suspect),
        }
    }
    (confirmed, still)
}

/// One look behind a fence: the source, then the target once it has all that the source was seen with, then
/// the keys that changed in between.
async fn fenced(
    task: &Task<'_>,
    guard: &Guard,
    open: Vec<Suspect>,
    report: &mut TableReport,
) -> Result<(Vec<Confirmed>, Vec<Suspect>), ReconcileError> {
    let shape = &task.shape;
    let mut control = task.pools.source.get().await.map_err(ReconcileError::ConnectSource)?;
    let low = guard.low(&mut control, shape).await?;
    let keys = values(shape, open.iter().map(|suspect| suspect.key.as_slice()))?;
    let mut source = Seen::default();
    for batch in keys.chunks(KEYS) {
        source.add(shape, sides::source_rows(&mut control, shape, batch).await?)?;
    }
    let client = task.pools.target().await?;
    guard.catch_up(&mut control, &client, shape).await?;
    let mut target = Seen::default();
    for batch in keys.chunks(KEYS * 10) {
        target.add(shape, sides::target_rows(&client, shape, batch).await?)?;
    }
    let (_, dirty) = guard.dirty(&mut control, shape, low).await?;
    task.pools.source.put(control);
    let most = task.config.recheck_attempts;
    let mut judged = Vec::with_capacity(open.len());
    for mut suspect in open {
        suspect.checks += 1;
        let look =
            Look { source: source.digest(&suspect.key), target: target.digest(&suspect.key) };
        let is_dirty = dirty.contains(&suspect.key);
        let verdict = ladder::judge(suspect.dirty, look, is_dirty, suspect.checks, most);
        // What changed once is in flight when it is equal later.
        suspect.dirty |= is_dirty;
        judged.push((suspect, look, verdict));
    }
    Ok(sort_out(task, judged.into_iter(), (&mut source, &mut target), report))
}

/// One look by time.
async fn timed(
    task: &Task<'_>,
    open: Vec<Suspect>,
    elapsed: Duration,
    report: &mut TableReport,
) -> Result<(Vec<Confirmed>, Vec<Suspect>), ReconcileError> {
    let settle = Duration::from_secs(task.config.settle_seconds);
    let limit = Duration::from_secs(task.config.settle_limit_seconds);
    let elapsed = if task.stop.is_cancelled() { limit.max(elapsed) } else { elapsed };
    let mut judged = Vec::with_capacity(open.len());
    let (mut all_source, mut all_target) = (Seen::default(), Seen::default());
    let shape = &task.shape;
    let mut open = open.into_iter().peekable();
    while open.peek().is_some() {
        let batch: Vec<Suspect> = open.by_ref().take(KEYS).collect();
        let keys = values(shape, batch.iter().map(|suspect| suspect.key.as_slice()))?;
        // The target first: a change that arrives in between makes the target look older, never newer.
        let client = task.pools.target().await?;
        all_target.add(shape, sides::target_rows(&client, shape, &keys).await?)?;
        let mut client = task.pools.source.get().await.map_err(ReconcileError::ConnectSource)?;
        all_source.add(shape, sides::source_rows(&mut client, shape, &keys).await?)?;
        task.pools.source.put(client);
        for mut suspect in batch {
            suspect.checks += 1;
            let look = Look {
                source: all_source.digest(&suspect.key),
                target: all_target.digest(&suspect.key),
            };
            let verdict = suspect.watch.see(look, elapsed, settle, limit);
            judged.push((suspect, look, verdict));
        }
    }
    Ok(sort_out(task, judged.into_iter(), (&mut all_source, &mut all_target), report))
}

fn values<'a>(
    shape: &Shape,
    keys: impl Iterator<Item = &'a [u8]>,
) -> Result<Vec<Row>, ReconcileError> {
    keys.map(|key| dirty::values(shape, key)).collect()
}

/// Says which columns of the confirmed rows differ. Rows that were not kept are read once more; one that is not any
/// more what was judged keeps its count without its columns.
async fn describe(
    task: &Task<'_>,
    mut confirmed: Vec<Confirmed>,
    report: &mut TableReport,
) -> Result<(), ReconcileError> {
    let shape = &task.shape;
    let table = &shape.source.table;
    for batch in confirmed.chunks_mut(KEYS) {
        let both = batch.iter().filter(|one| one.kind == Kind::Different && one.rows.is_none());
        let keys = values(shape, both.map(|one| one.key.as_slice()))?;
        let (mut source, mut target) = (HashMap::new(), HashMap::new());
        if !keys.is_empty() {
            let mut client =
                task.pools.source.get().await.map_err(ReconcileError::ConnectSource)?;
            source = by_key(shape, sides::source_rows(&mut client, shape, &keys).await?)?;
            task.pools.source.put(client);
            let client = task.pools.target().await?;
            target = by_key(shape, sides::target_rows(&client, shape, &keys).await?)?;
        }
        for one in batch {
            let state = State::confirmed(one.kind);
            let mut finding = Finding::bare(table, one.key.clone(), state, one.checks);
            if let Some((source, target)) = one.rows.take() {
                finding = finding.with_rows(table, &source, &target, task.config.show_values);
            } else if let (Some((a, source)), Some((b, target))) =
                (source.get(&one.key), target.get(&one.key))
                && (Some(*a), Some(*b)) == (one.look.source, one.look.target)
            {
                finding = finding.with_rows(table, source, target, task.config.show_values);
            }
            report.found(one.kind, finding, task.config.keep_differences);
        }
    }
    Ok(())
}

fn by_key(shape: &Shape, rows: Vec<Row>) -> Result<HashMap<Vec<u8>, (u128, Row)>, ReconcileError> {
    let mut scratch = Scratch::default();
    let mut map = HashMap::with_capacity(rows.len());
    for row in rows {
        shape.digest(&row, &mut scratch)?;
        map.insert(scratch.key.clone(), (scratch.digest, row));
    }
    Ok(map)
}

/// What is left of a table without key, where no row can be asked for by itself.
pub fn bag(
    task: &Task<'_>,
    differences: Vec<crate::compare::Difference>,
    dirty: &fence::Dirty,
    report: &mut TableReport,
) {
    let table = &task.shape.source.table;
    for difference in differences {
        if dirty.contains(&difference.key) {
            unstable(task, Suspect::new(difference.key, true), report);
        } else {
            let state = State::confirmed(difference.kind);
            let finding = Finding::bare(table, difference.key, state, 1);
            report.found(difference.kind, finding, task.config.keep_differences);
        }
    }
}
