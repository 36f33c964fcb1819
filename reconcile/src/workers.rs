//! The workers that read a table range by range. Each reads the source's next range while it reads the target's rows of the
//! range before: neither side waits for the other.

use std::sync::Arc;

use causeway_change::{Column, Lsn, Value};
use causeway_sqlserver::{KeyRange, rows};
use tokio::task::JoinSet;

use crate::{
    digest,
    error::ReconcileError,
    fence::Frozen,
    hashing,
    ledger::{Ledger, choose},
    read::{self, Gather, Keep, Outcome, Pair, Part, Target},
    report::Sides,
    sides::{Chunk, Pace, Shape},
    stripes::{Extent, Piece, Work},
    table::Task,
};

/// What is read, and what is known of it.
#[derive(Debug)]
pub(crate) struct Job {
    /// All of it.
    pub(crate) pieces: Vec<Piece>,
    /// The source's first and last key.
    pub(crate) extent: Extent,
    /// Whether the pieces are divided before anybody has read a row: they are known to be large.
    pub(crate) spread: bool,
    /// Whether the servers hash the rows first.
    pub(crate) hashed: bool,
}

/// Reads ranges with as many workers as there are readers. Gives what was found and the number of ranges.
///
/// # Errors
/// When a side cannot be read to its end, or the ledger cannot be written.
pub(crate) async fn run(
    task: &Task<'_>,
    ledger: Option<&Ledger>,
    frozen: &mut Frozen,
    job: Job,
) -> Result<(Outcome, usize), ReconcileError> {
    let readers = frozen.sources.len();
    let key = task.shape.source.table.key_columns().cloned().collect();
    let work = Work::new(job.pieces, key, job.extent);
    if job.spread {
        work.spread(readers);
    }
    let work = Arc::new(work);
    let keep = Arc::new(Keep::new(task.config.recheck_keys, frozen.dirty.clone()));
    let low = frozen.low;
    let mut workers = JoinSet::new();
    for (source, target) in frozen.sources.drain(..).zip(frozen.targets.drain(..)) {
        let notes = match ledger {
            Some(ledger) => Some((ledger.clone(), task.pools.target().await?)),
            None => None,
        };
        let worker = Worker {
            shape: task.shape.clone(),
            pace: task.pace(),
            work: work.clone(),
            kept: keep.clone(),
            // Three spools at a time where two sides are read at once.
            memory: task.memory(readers) / 3 * 2,
            rows: task.config.chunk_rows,
            notes,
            low,
            found: Outcome::default(),
            ranges: 0,
        };
        let pair = Pair { source, target: Target::Frozen(target) };
        let hashed = job.hashed;
        workers.spawn(async move {
            if hashed {
                Box::pin(worker.hash(pair)).await
            } else {
                Box::pin(worker.read(pair)).await
            }
        });
    }
    let (mut outcome, mut ranges) = (Outcome::default(), 0);
    while let Some(ended) = workers.join_next().await {
        let (found, read) = ended.map_err(|_| task.lost())??;
        outcome.add(found);
        ranges += read;
    }
    Ok((outcome, ranges))
}

struct Worker {
    shape: Arc<Shape>,
    pace: Pace,
    work: Arc<Work>,
    kept: Arc<Keep>,
    memory: usize,
    rows: u64,
    notes: Option<(Ledger, causeway_postgres::Pooled)>,
    low: Lsn,
    found: Outcome,
    ranges: usize,
}

impl Worker {
    /// Has each range hashed by the servers, and reads those in which they differ.
    async fn hash(mut self, mut pair: Pair) -> Result<(Outcome, usize), ReconcileError> {
        while let Some(piece) = self.work.wait().await {
            let mut rest = match piece {
                Piece::Stripe(range) => Some(range),
                Piece::Whole(chunk) => {
                    pair = self.hash_one(pair, chunk).await?;
                    None
                }
            };
            while let Some(mut range) = rest.take() {
                self.work.share(&mut range);
                let after = range.after.as_deref();
                let end = rows::chunk_end(&mut pair.source, &self.shape.source, after, self.rows)
                    .await
                    .map_err(|error| self.shape.source_failed(error))?;
                let inside = |end: &Vec<Value>| {
                    range.upto.as_ref().is_none_or(|upto| choose::order(end, upto).is_lt())
                };
                if let Some(end) = end.filter(inside) {
                    rest = Some(KeyRange { after: Some(end.clone()), upto: range.upto.take() });
                    range.upto = Some(end);
                }
                pair = self.hash_one(pair, Chunk { range, sample: None }).await?;
            }
            self.work.done();
        }
        Ok((self.found, self.ranges))
    }

    async fn hash_one(&mut self, mut pair: Pair, chunk: Chunk) -> Result<Pair, ReconcileError> {
        if self.pace.stop.is_cancelled() {
            return Err(ReconcileError::Stopped { table: self.shape.source.id().clone() });
        }
        if let Some(outcome) = hashing::both(&mut pair, &self.shape, &chunk.range).await? {
            let Sides { source, target } = outcome.rows;
            self.pace.progress.rows("source", source);
            self.pace.progress.rows("target", target);
            self.pace.throttle.take(source + target).await;
            self.keep(&chunk.range, outcome).await?;
            return Ok(pair);
        }
        let to = [Gather::spool(self.memory), Gather::spool(self.memory)];
        let (pair, [source, target]) =
            Box::pin(read::whole(pair, &self.shape, &chunk, &self.pace, to)).await?;
        self.compare(&chunk.range, source, target).await?;
        Ok(pair)
    }

    /// Reads each range of both sides.
    async fn read(mut self, mut pair: Pair) -> Result<(Outcome, usize), ReconcileError> {
        // The rest of the stripe that is being read, and the range whose source has been read.
        let mut rest: Option<KeyRange> = None;
        let mut half: Option<(Chunk, Gather)> = None;
        loop {
            let piece = match rest.take() {
                Some(mut range) => {
                    self.work.share(&mut range);
                    Some(Piece::Stripe(range))
                }
                None if half.is_some() => self.work.take(),
                None => self.work.wait().await,
            };
            if piece.is_none() && half.is_none() {
                return Ok((self.found, self.ranges));
            }
            if self.pace.stop.is_cancelled() {
                return Err(ReconcileError::Stopped { table: self.shape.source.id().clone() });
            }
            let of_source = piece.as_ref().map(|piece| self.part(piece));
            let of_target =
                half.as_ref().map(|(chunk, _)| Part::whole(chunk, Gather::spool(self.memory)));
            let (back, got) =
                Box::pin(read::both(pair, &self.shape, &self.pace, of_source, of_target)).await?;
            pair = back;
            if let (Some((chunk, source)), Some(target)) = (half.take(), got.target) {
                self.compare(&chunk.range, source, target).await?;
            }
            if let (Some(piece), Some((gathered, came))) = (piece, got.source) {
                let chunk = match piece {
                    Piece::Whole(chunk) => chunk,
                    Piece::Stripe(range) => {
                        let range = if came.rows < self.rows {
                            range
                        } else {
                            let (read, left) = cut(&self.shape, range, &came.last)?;
                            rest = left;
                            read
                        };
                        Chunk { range, sample: None }
                    }
                };
                if rest.is_none() {
                    self.work.done();
                }
                half = Some((chunk, gathered));
            }
        }
    }

    fn part(&self, piece: &Piece) -> Part {
        let to = Gather::spool(self.memory);
        match piece {
            Piece::Whole(chunk) => Part::whole(chunk, to),
            Piece::Stripe(range) => {
                let chunk = Chunk { range: range.clone(), sample: None };
                Part { limit: Some(self.rows), ..Part::whole(&chunk, to) }
            }
        }
    }

    async fn compare(
        &mut self,
        range: &KeyRange,
        source: Gather,
        target: Gather,
    ) -> Result<(), ReconcileError> {
        let outcome = read::matched(&self.shape, [source, target], &self.kept)?;
        self.keep(range, outcome).await
    }

    async fn keep(&mut self, range: &KeyRange, outcome: Outcome) -> Result<(), ReconcileError> {
        if let Some((ledger, client)) = &self.notes {
            ledger.read(client, &self.shape, range, self.low, &outcome).await?;
        }
        self.found.add(outcome);
        self.ranges += 1;
        Ok(())
    }
}

/// A range up to the last key that was read, and what is left of it: nothing when that is its own last key.
fn cut(
    shape: &Shape,
    range: KeyRange,
    last: &[u8],
) -> Result<(KeyRange, Option<KeyRange>), ReconcileError> {
    let columns: Vec<&Column> = shape.source.table.key_columns().collect();
    let end = digest::key_values(columns.into_iter(), last)
        .map_err(|source| ReconcileError::Digest { table: shape.source.id().clone(), source })?;
    Ok(cut_at(range, end))
}

fn cut_at(range: KeyRange, end: Vec<Value>) -> (KeyRange, Option<KeyRange>) {
    let left = KeyRange { after: Some(end.clone()), upto: range.upto };
    // Two ranges must not begin at the same key: the ledger knows them by where they begin.
    let left = (left.after != left.upto).then_some(left);
    (KeyRange { after: range.after, upto: Some(end) }, left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_ends_with_the_last_row_leaves_nothing() {
        let key = |n| Some(vec![Value::I32(n)]);
        let range = || KeyRange { after: key(1), upto: key(9) };
        let (read, left) = cut_at(range(), vec![Value::I32(5)]);
        assert!(read == KeyRange { after: key(1), upto: key(5) });
        assert!(left == Some(KeyRange { after: key(5), upto: key(9) }));
        let (read, left) = cut_at(range(), vec![Value::I32(9)]);
        assert!(read == range() && left.is_none());
        // Behind an open range's last key the target may have rows.
        let (_, left) = cut_at(KeyRange::default(), vec![Value::I32(9)]);
        assert!(left == Some(KeyRange { after: key(9), upto: None }));
    }
}
