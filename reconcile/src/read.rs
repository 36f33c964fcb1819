//! Both sides of a range of rows, read at the same time: into spools that are compared, or into sums.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use causeway_postgres::Session;
use causeway_sqlserver::Client;
use tokio::task::JoinSet;

use crate::{
    compare::{self, Difference, Kind},
    error::ReconcileError,
    fence::Dirty,
    report::{Sides, TableReport},
    sides::{self, Chunk, Pace, Scratch, Shape},
    spool::{PARTITIONS, Spool},
};

/// Keys that differ beyond those that are kept: only their numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beyond {
    /// Rows that only the source has.
    pub missing: u64,
    /// Rows that only the target has.
    pub extra: u64,
    /// Rows with other values.
    pub different: u64,
    /// Of all these the ones in flight, which are not in the others' numbers.
    pub in_flight: u64,
}

impl Beyond {
    /// Whether there are any.
    #[must_use]
    pub fn any(&self) -> bool {
        *self != Self::default()
    }

    fn count(&mut self, kind: Kind, in_flight: bool) {
        *match (in_flight, kind) {
            (true, _) => &mut self.in_flight,
            (false, Kind::MissingInTarget) => &mut self.missing,
            (false, Kind::ExtraInTarget) => &mut self.extra,
            (false, Kind::Different) => &mut self.different,
        } += 1;
    }

    fn add(&mut self, other: Self) {
        self.missing += other.missing;
        self.extra += other.extra;
        self.different += other.different;
        self.in_flight += other.in_flight;
    }
}

/// Which differences are kept with their keys.
#[derive(Debug)]
pub struct Keep {
    /// How many more, of all ranges of a table together.
    left: AtomicUsize,
    /// Those in flight, of which nothing is said beyond the limit; none without sight of the stream.
    dirty: Option<Arc<Dirty>>,
}

impl Keep {
    /// At most `most`.
    #[must_use]
    pub fn new(most: usize, dirty: Option<Arc<Dirty>>) -> Self {
        Self { left: AtomicUsize::new(most), dirty }
    }

    fn one(&self) -> bool {
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .is_ok()
    }

    fn put(&self, outcome: &mut Outcome, difference: Difference) {
        if self.one() {
            outcome.differences.push(difference);
        } else {
            let in_flight = self.dirty.as_ref().is_some_and(|d| d.contains(&difference.key));
            outcome.beyond.count(difference.kind, in_flight);
        }
    }
}

/// What reading rows gives.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Keys that differ, as many as are kept.
    pub differences: Vec<Difference>,
    /// And the others.
    pub beyond: Beyond,
    /// Rows read.
    pub rows: Sides<u64>,
    /// Sums of their digests.
    pub sums: Sides<u128>,
}

impl Outcome {
    /// Puts another part of the same table to it.
    pub fn add(&mut self, other: Self) {
        self.differences.extend(other.differences);
        self.beyond.add(other.beyond);
        self.rows.source += other.rows.source;
        self.rows.target += other.rows.target;
        self.sums.source = self.sums.source.wrapping_add(other.sums.source);
        self.sums.target = self.sums.target.wrapping_add(other.sums.target);
    }

    /// Writes numbers and sums into the report.
    pub fn tell(&self, report: &mut TableReport) {
        report.rows = self.rows;
        report.checksum = Sides {
            source: format!("{:032x}", self.sums.source),
            target: format!("{:032x}", self.sums.target),
        };
    }
}

/// Where the rows of one side go.
#[derive(Debug)]
pub enum Gather {
    /// Each is kept by its key.
    Spool(Spool),
    /// Their number and the sum of their digests, without the keys in flight.
    Sum {
        /// The keys in flight.
        dirty: Arc<Dirty>,
        /// Rows.
        rows: u64,
        /// Sum of digests, modulo 2^128.
        sum: u128,
    },
}

impl Gather {
    /// An empty spool.
    #[must_use]
    pub fn spool(memory: usize) -> Self {
        Self::Spool(Spool::new(memory))
    }

    /// A sum of nothing.
    #[must_use]
    pub fn sum(dirty: Arc<Dirty>) -> Self {
        Self::Sum { dirty, rows: 0, sum: 0 }
    }

    fn add(&mut self, shape: &Shape, row: &Scratch) -> Result<(), ReconcileError> {
        match self {
            Self::Spool(spool) => spool.push(&row.key, row.digest).map_err(|source| {
                ReconcileError::Spool { table: shape.source.id().clone(), source }
            }),
            Self::Sum { dirty, rows, sum } => {
                if !dirty.contains(&row.key) {
                    *rows += 1;
                    *sum = sum.wrapping_add(row.digest);
                }
                Ok(())
            }
        }
    }
}

/// Reads a range of the source.
///
/// # Errors
/// When it cannot be read to its end: then nothing is known of it.
pub async fn source(
    client: &mut Client,
    shape: &Shape,
    chunk: &Chunk,
    pace: &Pace,
    mut to: Gather,
) -> Result<Gather, ReconcileError> {
    sides::read_source(client, shape, chunk, pace, |row| to.add(shape, row)).await?;
    Ok(to)
}

/// Reads a range of the target.
///
/// # Errors
/// As [`source`].
pub async fn target(
    client: &Session,
    shape: &Shape,
    chunk: &Chunk,
    pace: &Pace,
    mut to: Gather,
) -> Result<Gather, ReconcileError> {
    sides::read_target(client, shape, chunk, pace, |row| to.add(shape, row)).await?;
    Ok(to)
}

/// A connection to PostgreSQL.
pub enum Target {
    /// With a snapshot of its own.
    Frozen(causeway_postgres::Client),
    /// From the pool.
    Pooled(causeway_postgres::Pooled),
}

impl Target {
    fn session(&self) -> &Session {
        match self {
            Self::Frozen(client) => client,
            Self::Pooled(client) => client,
        }
    }
}

/// Two connections that read one table.
pub struct Pair {
    /// To SQL Server.
    pub source: Client,
    /// To PostgreSQL.
    pub target: Target,
}

enum Read {
    Source(Box<(Client, Gather)>),
    Target(Box<(Target, Gather)>),
}

/// Reads a range of both sides, each by a task of its own: decoding one does not wait for the other.
///
/// # Errors
/// When one side cannot be read to its end; the other is given up then.
pub async fn both(
    pair: Pair,
    shape: &Arc<Shape>,
    chunk: &Chunk,
    pace: &Pace,
    to: [Gather; 2],
) -> Result<(Pair, [Gather; 2]), ReconcileError> {
    let mut tasks: JoinSet<Result<Read, ReconcileError>> = JoinSet::new();
    let [to_source, to_target] = to;
    let Pair { source: mut client, target: session } = pair;
    {
        let (shape, chunk, pace) = (shape.clone(), chunk.clone(), pace.clone());
        tasks.spawn(async move {
            let gathered = source(&mut client, &shape, &chunk, &pace, to_source).await?;
            Ok(Read::Source(Box::new((client, gathered))))
        });
    }
    {
        let (shape, chunk, pace) = (shape.clone(), chunk.clone(), pace.clone());
        tasks.spawn(async move {
            let gathered = target(session.session(), &shape, &chunk, &pace, to_target).await?;
            Ok(Read::Target(Box::new((session, gathered))))
        });
    }
    let lost = || ReconcileError::Worker { table: shape.source.id().clone() };
    let (mut from_source, mut from_target) = (None, None);
    while let Some(ended) = tasks.join_next().await {
        match ended.map_err(|_| lost())?? {
            Read::Source(read) => from_source = Some(*read),
            Read::Target(read) => from_target = Some(*read),
        }
    }
    let ((source, a), (target, b)) = (from_source.ok_or_else(lost)?, from_target.ok_or_else(lost)?);
    Ok((Pair { source, target }, [a, b]))
}

/// Compares what was gathered from source and target.
///
/// # Errors
/// When a temporary file cannot be read back.
pub fn matched(
    shape: &Shape,
    gathered: [Gather; 2],
    keep: &Keep,
) -> Result<Outcome, ReconcileError> {
    let (mut source, mut target) = match gathered {
        [Gather::Spool(source), Gather::Spool(target)] => (source, target),
        [a, b] => {
            let ((rows_a, sum_a), (rows_b, sum_b)) = (sums(&a), sums(&b));
            return Ok(Outcome {
                rows: Sides { source: rows_a, target: rows_b },
                sums: Sides { source: sum_a, target: sum_b },
                ..Outcome::default()
            });
        }
    };
    let mut outcome = Outcome {
        rows: Sides { source: source.rows(), target: target.rows() },
        sums: Sides { source: source.checksum(), target: target.checksum() },
        ..Outcome::default()
    };
    spools(&mut source, &mut target, keep, &mut outcome).map_err(|error| {
        ReconcileError::Spool { table: shape.source.id().clone(), source: error }
    })?;
    Ok(outcome)
}

fn spools(
    source: &mut Spool,
    target: &mut Spool,
    keep: &Keep,
    outcome: &mut Outcome,
) -> std::io::Result<()> {
    for part in 0..PARTITIONS {
        // The same rows in some order have the same number and the same sum of 128-bit digests.
        if source.tally(part) == target.tally(part) {
            source.forget(part);
            target.forget(part);
        } else if source.is_large(part) || target.is_large(part) {
            spools(&mut source.split(part)?, &mut target.split(part)?, keep, outcome)?;
        } else {
            let (a, b) = (source.take(part)?, target.take(part)?);
            compare::partitions(&a, &b, |difference| keep.put(outcome, difference));
        }
    }
    Ok(())
}

fn sums(gather: &Gather) -> (u64, u128) {
    match gather {
        Gather::Spool(spool) => (spool.rows(), spool.checksum()),
        Gather::Sum { rows, sum, .. } => (*rows, *sum),
    }
}

/// Work that several workers take from.
#[derive(Clone, Debug)]
pub struct Queue<T>(Arc<Mutex<std::collections::VecDeque<T>>>);

impl<T> Queue<T> {
    /// All of it, in order.
    #[must_use]
    pub fn new(work: Vec<T>) -> Self {
        Self(Arc::new(Mutex::new(work.into())))
    }

    /// The next piece.
    #[must_use]
    pub fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}
