//! Copies tables without key.
//!
//! Without a key nobody can say which rows of a copy the stream has overtaken. So such a table is read at one
//! place of the log, all of it, and its changes begin behind that place ([`crate::pump`] lets it catch up). Its rows
//! are in one Kafka transaction: a copy that is cut off leaves nothing, for who reads it could not tell rows that come
//! twice from rows that are equal. While they are sent, nothing else is published.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use causeway_change::{Lsn, Row};
use causeway_observability::names::source as names;
use causeway_sqlserver::{KeyRange, Slice, rows, still};
use tokio::sync::mpsc;

use crate::{
    SourceError,
    buffers::{Buffer, Buffers},
    shared::{Shared, TableProgress},
    snapshot::{ChunkEncoder, Refused},
    tables::Active,
};

/// Bytes of rows that are handed over at once; a few of these wait.
const PIECE: usize = 256 << 10;
const PIECES: usize = 8;

/// A table that is being read.
#[derive(Debug)]
pub struct Heap {
    /// The copy.
    pub copy: u64,
    /// The table.
    pub active: Arc<Active>,
    /// The place at which it is read.
    pub lsn: Lsn,
    /// Its rows.
    pub pieces: mpsc::Receiver<Result<Piece, SourceError>>,
}

/// Some encoded rows, as in [`crate::snapshot::Chunk`].
#[derive(Debug)]
pub struct Piece {
    /// Values, one after the other.
    pub bytes: Buffer,
    /// Where each ends.
    pub ends: Vec<usize>,
    /// Rows that Kafka does not take.
    pub refused: BTreeMap<usize, Refused>,
    /// Whether these are the last.
    pub is_last: bool,
}

impl Piece {
    /// The value of each row.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().filter_map(move |&end| {
            let value = self.bytes.get(start..end);
            start = end;
            value
        })
    }
}

/// What is missing for a table without key to be copied; none when nothing is.
#[must_use]
pub fn lacks(snapshot_isolation: bool, log_end: bool) -> Option<&'static str> {
    match (snapshot_isolation, log_end) {
        (true, true) => None,
        (false, _) => Some(
            "a table without key is read at one place of the log, which takes snapshot isolation: ALTER DATABASE \
             CURRENT SET ALLOW_SNAPSHOT_ISOLATION ON",
        ),
        (true, false) => Some(
            "a table without key is read at one place of the log, which the login may not see: GRANT VIEW SERVER \
             STATE (Azure SQL Database: VIEW DATABASE STATE)",
        ),
    }
}

/// Opens the table; the rows then come as they are taken by [`send`].
///
/// # Errors
/// What the server answers.
pub async fn open(shared: &Shared, active: &Active) -> Result<still::Still, SourceError> {
    let refused = |reason: &str| SourceError::Table {
        table: active.id().clone(),
        reason: format!(
            "{reason}; or name columns that tell its rows apart in [source] message_key_columns"
        ),
    };
    if let Some(reason) = lacks(shared.facts.snapshot_isolation, shared.sight.log_end) {
        return Err(refused(reason));
    }
    let opened = still::still(&shared.pool, active.id()).await?;
    opened.ok_or_else(|| refused("the end of the log cannot be seen any more"))
}

/// Reads the table to its end.
///
/// # Errors
/// What the server answers, and what cannot be encoded.
pub async fn send(
    shared: &Shared,
    active: &Active,
    progress: &TableProgress,
    still: still::Still,
    pieces: &Pieces,
) -> Result<(), SourceError> {
    let still::Still { mut client, at } = still;
    let source = &active.instance.source;
    let range = KeyRange::default();
    let slice = Slice { order: &[], range: &range, filter: None };
    let mut stream = rows::stream_slice(&mut client, source, slice, None).await?;
    let buffers = Buffers::new(PIECES);
    let mut encoder = ChunkEncoder::new(shared, active, at, false, buffers.take());
    let mut held: Option<Row> = None;
    let mut first = true;
    while let Some(row) = stream.next_row().await? {
        let Some(before) = held.replace(row) else { continue };
        let place = encoder.place(first, false);
        encoder.put(&before, place).await?;
        first = false;
        if encoder.size() >= PIECE {
            let whole = std::mem::replace(
                &mut encoder,
                ChunkEncoder::new(shared, active, at, false, buffers.take()),
            );
            if !hand(active, progress, whole, false, pieces).await {
                return Ok(());
            }
        }
    }
    if let Some(last) = held {
        let place = encoder.place(first, true);
        encoder.put(&last, place).await?;
    }
    shared.progress.left.fetch_sub(1, Ordering::Relaxed);
    progress.parts_left.store(0, Ordering::Relaxed);
    hand(active, progress, encoder, true, pieces).await;
    Ok(())
}

/// Hands rows over; false when nobody wants them any more.
async fn hand(
    active: &Active,
    progress: &TableProgress,
    encoder: ChunkEncoder<'_>,
    is_last: bool,
    pieces: &Pieces,
) -> bool {
    let (bytes, ends, refused) = encoder.into_values();
    let count = u64::try_from(ends.len()).unwrap_or(u64::MAX);
    progress.rows.fetch_add(count, Ordering::Relaxed);
    let table = active.id().to_string();
    names::ROWS_READ.add(count, &[("table", &table), ("phase", "snapshot")]);
    pieces.send(Ok(Piece { bytes, ends, refused, is_last })).await.is_ok()
}

/// Where the rows go.
pub type Pieces = mpsc::Sender<Result<Piece, SourceError>>;

/// A way from the reader to the pump.
#[must_use]
pub fn channel() -> (Pieces, mpsc::Receiver<Result<Piece, SourceError>>) {
    mpsc::channel(PIECES)
}
