//! The two sides of a table: streamed whole or by key range, or looked at by keys. One loop reads either.

use std::sync::Arc;

use causeway_change::{Column, Row};
use causeway_sqlserver::{CaptureInstance, KeyRange, SourceTable};
use tokio_util::sync::CancellationToken;

use crate::{
    digest, error::ReconcileError, patience::Patience, progress::Progress, throttle::Throttle,
};

/// Rows between two reports of progress.
const STEP: u64 = 4096;

/// What both sides need to know of a table.
#[derive(Clone, Debug)]
pub struct Shape {
    /// As the source reads it.
    pub source: SourceTable,
    /// Where its changes are captured.
    pub instance: CaptureInstance,
    /// Schema and table in PostgreSQL.
    pub target: (String, String),
    /// Why the servers cannot hash its rows alike; none when they can.
    pub no_hashing: Option<String>,
}

/// Which rows of a table are read.
#[derive(Clone, Debug, Default)]
pub struct Chunk {
    /// The key range; without bounds the whole table.
    pub range: KeyRange,
    /// Of those the rows whose key's hash is below this part of all hashes.
    pub sample: Option<f64>,
}

/// A row's key and digest, with the memory that the next row uses again.
#[derive(Debug, Default)]
pub struct Scratch {
    encoder: digest::Encoder,
    /// Canonical bytes of the key; of a table without key those of the digest.
    pub key: Vec<u8>,
    /// Digest of the row.
    pub digest: u128,
}

impl Shape {
    /// The columns, in the order of a row's values.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.source.table.columns
    }

    /// True for a table without key: a row of it is its own key.
    #[must_use]
    pub fn keyless(&self) -> bool {
        self.source.table.key.is_empty()
    }

    /// Computes key and digest of a row.
    ///
    /// # Errors
    /// When a value is of a kind that its column cannot have.
    pub fn digest(&self, row: &Row, scratch: &mut Scratch) -> Result<(), ReconcileError> {
        scratch.encoder.begin();
        for (column, value) in self.columns().iter().zip(row) {
            scratch.encoder.push(column, value.borrowed());
        }
        self.close(scratch)
    }

    /// The encoder has all columns of a row: its key and digest.
    fn close(&self, scratch: &mut Scratch) -> Result<(), ReconcileError> {
        let Scratch { encoder, key, digest } = scratch;
        *digest = encoder
            .digest()
            .map_err(|source| ReconcileError::Digest { table: self.source.id().clone(), source })?;
        key.clear();
        if self.keyless() {
            key.extend(digest.to_be_bytes());
        } else {
            encoder.key(&self.source.table.key, key);
        }
        Ok(())
    }

    pub(crate) fn source_failed(
        &self,
        source: causeway_sqlserver::SqlServerError,
    ) -> ReconcileError {
        ReconcileError::Source { table: self.source.id().clone(), source: Box::new(source) }
    }

    pub(crate) fn target_failed(&self, source: causeway_postgres::PostgresError) -> ReconcileError {
        ReconcileError::Target { table: self.source.id().clone(), source: Box::new(source) }
    }
}

/// The rows of one side, as they come.
enum Rows<'a> {
    Source(Box<causeway_sqlserver::TableRows<'a>>),
    Target(causeway_postgres::rows::TableRows<'a>),
}

impl Rows<'_> {
    fn side(&self) -> &'static str {
        match self {
            Self::Source(_) => "source",
            Self::Target(_) => "target",
        }
    }

    /// Key and digest of the next row; false after the last. Values are not copied on their way.
    async fn next(&mut self, shape: &Shape, row: &mut Scratch) -> Result<bool, ReconcileError> {
        let mut columns = shape.columns().iter();
        match self {
            Self::Source(rows) => {
                let record = rows.next_record().await.map_err(|e| shape.source_failed(e))?;
                let Some(record) = record else { return Ok(false) };
                row.encoder.begin();
                let encode = |value| {
                    if let Some(column) = columns.next() {
                        row.encoder.push(column, value);
                    }
                };
                rows.values(&record, encode).map_err(|e| shape.source_failed(e))?;
            }
            Self::Target(rows) => {
                if !rows.advance().await.map_err(|e| shape.target_failed(e))? {
                    return Ok(false);
                }
                row.encoder.begin();
                let encode = |value| {
                    if let Some(column) = columns.next() {
                        row.encoder.push(column, value);
                    }
                };
                rows.values(encode).map_err(|e| shape.target_failed(e))?;
            }
        }
        shape.close(row)?;
        Ok(true)
    }
}

/// How rows are read: what counts them, and what slows them down.
#[derive(Clone, Debug)]
pub struct Pace {
    /// How far it is.
    pub progress: Arc<Progress>,
    /// The limit of rows a second.
    pub throttle: Arc<Throttle>,
    /// Says that reading must end.
    pub stop: CancellationToken,
}

/// How far a reading came.
#[derive(Clone, Debug, Default)]
pub struct Came {
    /// Rows read, those of a sample and the others.
    pub rows: u64,
    /// Canonical bytes of the last row's key; nothing when there was no row.
    pub last: Vec<u8>,
}

/// Reads rows to their end; `each` is given key and digest of every one. All reading goes through here.
async fn read(
    mut rows: Rows<'_>,
    shape: &Shape,
    chunk: &Chunk,
    pace: &Pace,
    mut each: impl FnMut(&Scratch) -> Result<(), ReconcileError>,
) -> Result<Came, ReconcileError> {
    let side = rows.side();
    let mut scratch = Scratch::default();
    let (mut unreported, mut all) = (0, 0);
    while rows.next(shape, &mut scratch).await? {
        all += 1;
        if chunk.sample.is_none_or(|part| sampled(&scratch.key, part)) {
            each(&scratch)?;
        }
        unreported += 1;
        if unreported == STEP {
            pace.progress.rows(side, STEP);
            unreported = 0;
            pace.throttle.take(STEP).await;
            if pace.stop.is_cancelled() {
                return Err(ReconcileError::Stopped { table: shape.source.id().clone() });
            }
        }
    }
    pace.progress.rows(side, unreported);
    // Small ranges are paid for too.
    pace.throttle.take(unreported).await;
    Ok(Came { rows: all, last: scratch.key })
}

/// Whether a key belongs to a sample: by its hash, so that both sides choose the same keys.
#[must_use]
pub fn sampled(key: &[u8], part: f64) -> bool {
    // The upper half of the hash: its lower bits choose the spool's partition.
    let hash = xxhash_rust::xxh3::xxh3_64(key) >> 32;
    #[expect(clippy::cast_precision_loss, reason = "32 bits are exact")]
    let place = hash as f64 / f64::from(u32::MAX);
    place < part
}

/// Reads rows from SQL Server in the order of their key, at most `limit` of them.
///
/// # Errors
/// When they cannot be read to their end: then nothing is known of them.
pub async fn read_source(
    client: &mut causeway_sqlserver::Client,
    shape: &Shape,
    chunk: &Chunk,
    limit: Option<u64>,
    pace: &Pace,
    each: impl FnMut(&Scratch) -> Result<(), ReconcileError>,
) -> Result<Came, ReconcileError> {
    let rows = causeway_sqlserver::rows::stream_table(client, &shape.source, &chunk.range, limit)
        .await
        .map_err(|e| shape.source_failed(e))?;
    read(Rows::Source(Box::new(rows)), shape, chunk, pace, each).await
}

/// Reads rows from PostgreSQL.
///
/// # Errors
/// When they cannot be read to their end: then nothing is known of them.
pub async fn read_target(
    client: &causeway_postgres::Session,
    shape: &Shape,
    chunk: &Chunk,
    pace: &Pace,
    each: impl FnMut(&Scratch) -> Result<(), ReconcileError>,
) -> Result<Came, ReconcileError> {
    let (after, upto) = (chunk.range.after.as_deref(), chunk.range.upto.as_deref());
    let rows = causeway_postgres::rows::stream_range(
        client,
        &shape.target,
        shape.columns(),
        &shape.source.table.key,
        after,
        upto,
    )
    .await
    .map_err(|e| shape.target_failed(e))?;
    read(Rows::Target(rows), shape, chunk, pace, each).await
}

/// Rows of keys in SQL Server, where each statement stands alone: a lock that is held is waited for.
///
/// # Errors
/// When they cannot be read.
pub async fn source_rows(
    client: &mut causeway_sqlserver::Client,
    shape: &Shape,
    keys: &[Row],
) -> Result<Vec<Row>, ReconcileError> {
    let mut patience = Patience::default();
    loop {
        match source_rows_once(client, shape, keys).await {
            Ok(rows) => return Ok(rows),
            Err(error) => patience.wait(error).await?,
        }
    }
}

/// Rows of keys in SQL Server as a snapshot has them.
///
/// # Errors
/// When they cannot be read.
pub async fn source_rows_once(
    client: &mut causeway_sqlserver::Client,
    shape: &Shape,
    keys: &[Row],
) -> Result<Vec<Row>, ReconcileError> {
    causeway_sqlserver::rows::select_by_keys(client, &shape.source, keys)
        .await
        .map_err(|e| shape.source_failed(e))
}

/// Rows of keys in PostgreSQL.
///
/// # Errors
/// When they cannot be read.
pub async fn target_rows(
    client: &causeway_postgres::Session,
    shape: &Shape,
    keys: &[Row],
) -> Result<Vec<Row>, ReconcileError> {
    let table = &shape.source.table;
    causeway_postgres::rows::select_by_keys(client, &shape.target, &table.columns, &table.key, keys)
        .await
        .map_err(|e| shape.target_failed(e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_the_same_on_both_sides_and_about_as_large_as_asked() {
        let chosen = (0..10_000u32).filter(|n| sampled(&n.to_be_bytes(), 0.1)).count();
        assert!((800..1200).contains(&chosen), "{chosen}");
        assert!((0..100u32).all(|n| sampled(&n.to_be_bytes(), 1.1)));
        assert!(!(0..100u32).any(|n| sampled(&n.to_be_bytes(), 0.0)));
    }
}
