//! Two frozen snapshots of one table and the keys between them.
//!
//! 1. `low`: a transaction that everybody who reads from now on has seen, by the log's own mapping.
//! 2. The source's snapshot begins: it stands still from its first read.
//! 3. Everything it can see is captured: the log's end at this moment has been scanned.
//! 4. The target has all of it: the source has published it, the sink has applied it, by the offsets that it
//!    writes with the rows. Replication goes on all the time; only this comparison waits.
//! 5. The target's snapshot begins.
//! 6. `high`: how far capture is now. Whatever the target has came through it, so it is not above.
//!
//! A key without a change after `low` and up to `high` must be equal on both sides. The others are dirty:
//! if they differ, they are looked at again, one fence after the other ([`crate::ladder`]). Nothing is
//! written to the source.
//!
//! Where SQL Server has no snapshot isolation, the source stands still no better than one statement does;
//! then step 3 comes after the reading and the dirty keys are those of the whole time.

use std::{sync::Arc, time::Duration};

use causeway_change::Lsn;
use causeway_postgres::{PostgresError, Session};
use causeway_sqlserver::{Client, captured::Passed, fence, log, queries};
use serde::Serialize;
use tokio::time::Instant;

use crate::{Config, error::ReconcileError, run::Pools, sides::Shape};

pub mod dirty;
pub mod stored;
pub mod stream;

pub use dirty::Dirty;
pub use stream::{Reached, Stream};

/// A wait that an operator should know of.
const LONG: Duration = Duration::from_secs(20);

/// How a table's rows were told from those in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Two frozen snapshots: a difference is proved.
    Snapshot,
    /// One statement for the source and a frozen target: a difference is proved too, with more dirty keys.
    Statement,
    /// No sight of the stream: a difference is what stood still for a time. Weaker.
    Time,
}

/// What the report says of the fence.
#[derive(Clone, Debug, Serialize)]
pub struct FenceReport {
    /// How.
    pub mode: Mode,
    /// `proved`; or `heuristic` for [`Mode::Time`], and where the login may not see how far the capture job is.
    pub confidence: &'static str,
    /// Keys without a change after this commit …
    pub low: Option<String>,
    /// … and up to this one must be equal.
    pub high: Option<String>,
    /// Keys in between; none when they were too many to name.
    pub dirty_keys: Option<u64>,
    /// How long the pipeline was waited for.
    pub waited_ms: u64,
}

impl FenceReport {
    /// For a comparison by time.
    #[must_use]
    pub fn time() -> Self {
        Self {
            mode: Mode::Time,
            confidence: "heuristic",
            low: None,
            high: None,
            dirty_keys: None,
            waited_ms: 0,
        }
    }
}

impl FenceReport {
    fn caught_up(&mut self, now: CaughtUp) {
        self.waited_ms = millis(now.waited);
        self.confidence = match now.captured {
            Passed::Log | Passed::Scan => "proved",
            Passed::Time => "heuristic",
        };
    }
}

/// What a fence needs.
#[derive(Clone, Debug)]
pub struct Guard {
    /// The stream.
    pub stream: Arc<Stream>,
    /// Whether SQL Server has snapshot isolation.
    pub snapshots: bool,
    /// How long the pipeline is waited for.
    pub limit: Duration,
    /// Seconds of the log before a snapshot that count as not surely seen by it.
    pub guard_seconds: u32,
    /// Dirty keys that are named one by one.
    pub dirty_most: usize,
}

impl Guard {
    /// From the configuration.
    #[must_use]
    pub fn new(stream: Arc<Stream>, snapshots: bool, config: &Config) -> Self {
        Self {
            stream,
            snapshots,
            limit: Duration::from_secs(config.fence_timeout_seconds),
            guard_seconds: config.guard_seconds,
            dirty_most: config.dirty_keys,
        }
    }

    /// The place in the log that whoever reads from now on has seen.
    ///
    /// # Errors
    /// When SQL Server does not answer.
    pub async fn low(&self, control: &mut Client, shape: &Shape) -> Result<Lsn, ReconcileError> {
        fence::captured_before(control, self.guard_seconds)
            .await
            .map_err(|source| failed(shape, source))
    }

    /// Waits until the target has everything of the table that is committed now.
    ///
    /// # Errors
    /// [`ReconcileError::Fence`] when that takes longer than the limit; others when a server does not answer.
    pub async fn catch_up(
        &self,
        control: &mut Client,
        target: &Session,
        shape: &Shape,
    ) -> Result<CaughtUp, ReconcileError> {
        let mut catching_up = std::pin::pin!(self.caught_up(control, target, shape));
        tokio::select! {
            done = &mut catching_up => return done,
            () = tokio::time::sleep(LONG) => {
                tracing::warn!(
                    table = %shape.source.id(),
                    limit_seconds = self.limit.as_secs(),
                    "waits for the pipeline to apply what SQL Server has"
                );
            }
        }
        catching_up.await
    }

    async fn caught_up(
        &self,
        control: &mut Client,
        target: &Session,
        shape: &Shape,
    ) -> Result<CaughtUp, ReconcileError> {
        let began = Instant::now();
        let behind = |who: &'static str| ReconcileError::Fence {
            table: shape.source.id().clone(),
            who,
            seconds: self.limit.as_secs(),
        };
        let mark = fence::mark(control).await.map_err(|source| failed(shape, source))?;
        let settle = Duration::from_secs(u64::from(self.guard_seconds).max(1) * 2);
        let captured = fence::captured(control, &mark, settle, self.limit)
            .await
            .map_err(|source| failed(shape, source))?;
        let Some(captured) = captured else {
            return Err(behind("the capture job has not read"));
        };
        let newest = fence::newest_change(control, &shape.instance)
            .await
            .map_err(|source| failed(shape, source))?;
        let rest = self.limit.saturating_sub(began.elapsed());
        match self.stream.wait(target, shape.source.id(), newest, rest).await? {
            Reached::Yes => Ok(CaughtUp { waited: began.elapsed(), captured }),
            Reached::No(who) => Err(behind(who)),
        }
    }

    /// The keys that changed after `low` until now.
    ///
    /// # Errors
    /// When SQL Server does not answer.
    pub async fn dirty(
        &self,
        control: &mut Client,
        shape: &Shape,
        low: Lsn,
    ) -> Result<(Lsn, Dirty), ReconcileError> {
        let tick = log::tick(control).await.map_err(|source| failed(shape, source))?;
        let high = tick.max_lsn.unwrap_or(Lsn::ZERO);
        Ok((high, Dirty::read(control, shape, low, high, self.dirty_most).await?))
    }
}

/// The target has what the source had at one moment.
#[derive(Clone, Copy, Debug)]
pub struct CaughtUp {
    /// How long it was waited for.
    pub waited: Duration,
    /// How it is known that the capture job had read it.
    pub captured: Passed,
}

/// A table on both sides, standing still.
pub struct Frozen {
    /// Connections to the source; each has a snapshot between the fence's two ends.
    pub sources: Vec<Client>,
    /// Connections to the target, all with the same snapshot.
    pub targets: Vec<causeway_postgres::Client>,
    /// The place that both sides have seen for sure.
    pub low: Lsn,
    /// The keys of which nothing is known; not known yet without snapshot isolation.
    pub dirty: Option<Arc<Dirty>>,
    /// For the report.
    pub report: FenceReport,
}

impl std::fmt::Debug for Frozen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frozen").field("report", &self.report).finish_non_exhaustive()
    }
}

/// Freezes a table on both sides, with `readers` connections to each.
///
/// # Errors
/// [`ReconcileError::Fence`] when the pipeline is too far behind; others when a server does not answer.
pub async fn freeze(
    pools: &Pools,
    guard: &Guard,
    shape: &Shape,
    readers: usize,
    lock_timeout_ms: u32,
) -> Result<Frozen, ReconcileError> {
    let mut control = pools.source.get().await.map_err(ReconcileError::ConnectSource)?;
    let watch = pools.target().await?;
    let low = guard.low(&mut control, shape).await?;
    let mut sources = Vec::with_capacity(readers);
    for _ in 0..readers {
        sources.push(source_snapshot(pools, guard.snapshots, shape).await?);
    }
    let mut report = FenceReport {
        mode: if guard.snapshots { Mode::Snapshot } else { Mode::Statement },
        confidence: "proved",
        low: Some(low.to_string()),
        high: None,
        dirty_keys: None,
        waited_ms: 0,
    };
    if guard.snapshots {
        report.caught_up(guard.catch_up(&mut control, &watch, shape).await?);
    }
    drop(watch);
    let mut targets = Vec::new();
    let mut dirty = None;
    if guard.snapshots {
        targets = target_snapshots(pools, shape, readers, lock_timeout_ms).await?;
        let (high, keys) = guard.dirty(&mut control, shape, low).await?;
        report.high = Some(high.to_string());
        report.dirty_keys = keys.len().map(count);
        dirty = Some(Arc::new(keys));
    }
    pools.source.put(control);
    Ok(Frozen { sources, targets, low, dirty, report })
}

/// Without snapshot isolation: the second half of the fence, once the source has been read.
///
/// # Errors
/// As [`freeze`].
pub async fn freeze_target(
    pools: &Pools,
    guard: &Guard,
    shape: &Shape,
    frozen: &mut Frozen,
    lock_timeout_ms: u32,
) -> Result<(), ReconcileError> {
    let mut control = pools.source.get().await.map_err(ReconcileError::ConnectSource)?;
    let watch = pools.target().await?;
    frozen.report.caught_up(guard.catch_up(&mut control, &watch, shape).await?);
    drop(watch);
    frozen.targets = target_snapshots(pools, shape, 1, lock_timeout_ms).await?;
    let (high, keys) = guard.dirty(&mut control, shape, frozen.low).await?;
    frozen.report.high = Some(high.to_string());
    frozen.report.dirty_keys = keys.len().map(count);
    frozen.dirty = Some(Arc::new(keys));
    pools.source.put(control);
    Ok(())
}

async fn source_snapshot(
    pools: &Pools,
    snapshots: bool,
    shape: &Shape,
) -> Result<Client, ReconcileError> {
    // A connection of its own: it is closed with its transaction and never goes back to the pool.
    let mut client =
        Client::connect(pools.source.config()).await.map_err(ReconcileError::ConnectSource)?;
    if snapshots {
        client.run(queries::begin_snapshot()).await.map_err(|source| failed(shape, source))?;
        client
            .run(queries::touch(shape.source.id()))
            .await
            .map_err(|source| failed(shape, source))?;
    }
    Ok(client)
}

/// Opens the target's snapshot and gives it to `readers` connections.
async fn target_snapshots(
    pools: &Pools,
    shape: &Shape,
    readers: usize,
    lock_timeout_ms: u32,
) -> Result<Vec<causeway_postgres::Client>, ReconcileError> {
    let doing = "take a snapshot of PostgreSQL";
    let wrong = |error| ReconcileError::Target {
        table: shape.source.id().clone(),
        source: Box::new(PostgresError::statement(doing, error)),
    };
    let mut targets = Vec::with_capacity(readers);
    let mut snapshot: Option<String> = None;
    for n in 0..readers {
        // A connection of its own: it is closed with its transaction and never goes back to the pool.
        let client = causeway_postgres::Client::connect(pools.target_config())
            .await
            .map_err(ReconcileError::ConnectTarget)?;
        client
            .batch_execute(&format!(
                "SET lock_timeout = {lock_timeout_ms}; BEGIN ISOLATION LEVEL REPEATABLE READ"
            ))
            .await
            .map_err(wrong)?;
        match &snapshot {
            Some(id) => {
                client
                    .batch_execute(&format!("SET TRANSACTION SNAPSHOT '{id}'"))
                    .await
                    .map_err(wrong)?;
            }
            None if readers > 1 => {
                let row =
                    client.query_one("SELECT pg_export_snapshot()", &[]).await.map_err(wrong)?;
                snapshot = Some(row.get(0));
            }
            // The snapshot begins with the first query.
            None => client.batch_execute("SELECT 1").await.map_err(wrong)?,
        }
        tracing::trace!(reader = n, "a snapshot of PostgreSQL stands");
        targets.push(client);
    }
    Ok(targets)
}

fn failed(shape: &Shape, source: causeway_sqlserver::SqlServerError) -> ReconcileError {
    ReconcileError::Source { table: shape.source.id().clone(), source: Box::new(source) }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
