//! Both sides of a range of rows, read at the same time: into spools that are compared, or into sums.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use causeway_postgres::Session;
use causeway_sqlserver::Client;
use tokio::task::JoinSet;

use crate::{
    compare::{self, Difference, Kind},
    error::ReconcileError,
    fence::Dirty,
    patience::Patience,
    report::{Sides, TableReport},
    sides::{self, Came, Chunk, Pace, Scratch, Shape},
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
    /// Ranges, or tables, whose rows both servers hashed alike.
    pub hashed: usize,
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
        self.hashed += other.hashed;
    }

    /// Writes numbers and sums into the report.
    pub fn tell(&self, report: &mut TableReport) {
        report.rows = self.rows;
        report.chunks_hashed = self.hashed;
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

    /// The same without what was gathered.
    fn again(&self) -> Self {
        match self {
            Self::Spool(spool) => Self::Spool(Spool::new(spool.limit())),
            Self::Sum { dirty, .. } => Self::sum(dirty.clone()),
        }
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

/// Rows of one side that are to be read.
#[derive(Debug)]
pub struct Part {
    /// Which.
    pub chunk: Chunk,
    /// At most so many, the first ones by their key; only of the source.
    pub limit: Option<u64>,
    /// Where they go.
    pub to: Gather,
    /// Whether the statement that reads them belongs to no transaction: one that a lock held up is tried again.
    pub alone: bool,
}

impl Part {
    /// All of a range.
    #[must_use]
    pub fn whole(chunk: &Chunk, to: Gather) -> Self {
        Self { chunk: chunk.clone(), limit: None, to, alone: false }
    }
}

/// Reads a part of the source.
///
/// # Errors
/// When it cannot be read to its end: then nothing is known of it.
pub async fn source(
    client: &mut Client,
    shape: &Shape,
    part: Part,
    pace: &Pace,
) -> Result<(Gather, Came), ReconcileError> {
    let Part { chunk, limit, to: empty, alone } = part;
    let mut patience = Patience::default();
    loop {
        // What came before the lock is read again.
        let mut to = empty.again();
        let add = |row: &Scratch| to.add(shape, row);
        match sides::read_source(client, shape, &chunk, limit, pace, add).await {
            Ok(came) => return Ok((to, came)),
            Err(error) if alone && !pace.stop.is_cancelled() => patience.wait(error).await?,
            Err(error) => return Err(error),
        }
    }
}

/// Reads a part of the target.
///
/// # Errors
/// As [`source`].
pub async fn target(
    client: &Session,
    shape: &Shape,
    part: Part,
    pace: &Pace,
) -> Result<Gather, ReconcileError> {
    let Part { chunk, limit: _, mut to, alone: _ } = part;
    sides::read_target(client, shape, &chunk, pace, |row| to.add(shape, row)).await?;
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
    pub(crate) fn session(&self) -> &Session {
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
    Source(Box<(Client, Gather, Came)>),
    Target(Box<(Target, Gather)>),
}

/// What was read at the same time.
#[derive(Debug, Default)]
pub struct Got {
    /// From the source, and how far.
    pub source: Option<(Gather, Came)>,
    /// From the target.
    pub target: Option<Gather>,
}

/// Reads a part of either side, or of one, each by a task of its own: decoding one does not wait for the other.
///
/// # Errors
/// When one side cannot be read to its end; the other is given up then.
pub async fn both(
    pair: Pair,
    shape: &Arc<Shape>,
    pace: &Pace,
    of_source: Option<Part>,
    of_target: Option<Part>,
) -> Result<(Pair, Got), ReconcileError> {
    let mut tasks: JoinSet<Result<Read, ReconcileError>> = JoinSet::new();
    let Pair { source: client, target: session } = pair;
    let (mut client, mut session) = (Some(client), Some(session));
    let mut got = Got::default();
    if let Some(part) = of_source
        && let Some(mut client) = client.take()
    {
        let (shape, pace) = (shape.clone(), pace.clone());
        tasks.spawn(async move {
            let (gathered, came) = source(&mut client, &shape, part, &pace).await?;
            Ok(Read::Source(Box::new((client, gathered, came))))
        });
    }
    if let Some(part) = of_target
        && let Some(session) = session.take()
    {
        let (shape, pace) = (shape.clone(), pace.clone());
        tasks.spawn(async move {
            let gathered = target(session.session(), &shape, part, &pace).await?;
            Ok(Read::Target(Box::new((session, gathered))))
        });
    }
    let lost = || ReconcileError::Worker { table: shape.source.id().clone() };
    while let Some(ended) = tasks.join_next().await {
        match ended.map_err(|_| lost())?? {
            Read::Source(read) => {
                let (back, gathered, came) = *read;
                client = Some(back);
                got.source = Some((gathered, came));
            }
            Read::Target(read) => {
                let (back, gathered) = *read;
                session = Some(back);
                got.target = Some(gathered);
            }
        }
    }
    let pair = Pair { source: client.ok_or_else(lost)?, target: session.ok_or_else(lost)? };
    Ok((pair, got))
}

/// Reads a range of both sides whole.
///
/// # Errors
/// As [`both`].
pub async fn whole(
    pair: Pair,
    shape: &Arc<Shape>,
    chunk: &Chunk,
    pace: &Pace,
    to: [Gather; 2],
) -> Result<(Pair, [Gather; 2]), ReconcileError> {
    // A pooled connection has no snapshot.
    let alone = matches!(pair.target, Target::Pooled(_));
    let [of_source, of_target] = to.map(|to| Some(Part { alone, ..Part::whole(chunk, to) }));
    let (pair, got) = Box::pin(both(pair, shape, pace, of_source, of_target)).await?;
    match got {
        Got { source: Some((source, _)), target: Some(target) } => Ok((pair, [source, target])),
        Got { .. } => Err(ReconcileError::Worker { table: shape.source.id().clone() }),
    }
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
