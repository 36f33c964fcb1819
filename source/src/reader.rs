//! Reads change tables, each on a connection of its own, and gives their rows in one order.

use std::{collections::VecDeque, sync::Arc};

use causeway_sqlserver::{
    ChangeRow, Pool, SqlServerError,
    changes::{self, Range},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
};

use crate::{SourceError, merge::Merge, tables::Active};

/// Rows are handed over in batches of this many bytes …
const BATCH_BYTES: usize = 128 << 10;
/// … or of this many rows.
const BATCH_ROWS: usize = 512;
/// Bytes of batches that are read and not merged, for all tables of a reader: what is read while the pump waits
/// for Kafka. A table has its part, and beside it the batch that is collected.
const READ_AHEAD_BYTES: usize = 6 << 20;
/// The least part of a table.
const READ_AHEAD_LEAST: usize = 256 << 10;

type Handed = Result<Batch, SqlServerError>;

#[derive(Debug)]
struct Batch {
    rows: Vec<ChangeRow>,
    room: OwnedSemaphorePermit,
}

/// The rows of several change tables in the order of changes.
#[derive(Debug)]
pub struct Reader {
    cursors: Vec<Cursor>,
    merge: Merge,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Cursor {
    table: usize,
    rows: VecDeque<ChangeRow>,
    /// The room of `rows`, given back when all of them are merged.
    room: Option<OwnedSemaphorePermit>,
    batches: mpsc::Receiver<Handed>,
}

impl Reader {
    /// Starts to read. Dropping the reader closes the connections that are in the middle of an answer.
    pub async fn start(
        pool: &Arc<Pool>,
        tables: impl IntoIterator<Item = (Arc<Active>, Range)>,
    ) -> Result<Self, SourceError> {
        let mut reader =
            Self { cursors: Vec::new(), merge: Merge::default(), tasks: JoinSet::new() };
        let tables: Vec<_> = tables.into_iter().collect();
        let part = (READ_AHEAD_BYTES / tables.len().max(1)).max(READ_AHEAD_LEAST);
        for (active, range) in tables {
            let (sender, batches) = mpsc::channel(part / BATCH_BYTES);
            let number = active.number;
            let ahead = Ahead {
                room: Arc::new(Semaphore::new(part >> 10)),
                kilobytes: part >> 10,
                batches: sender,
            };
            reader.tasks.spawn(read(Arc::clone(pool), active, range, ahead));
            reader.cursors.push(Cursor {
                table: number,
                rows: VecDeque::new(),
                room: None,
                batches,
            });
        }
        for cursor in 0..reader.cursors.len() {
            reader.fill(cursor).await?;
        }
        Ok(reader)
    }

    /// The next row of all, with its table's number.
    pub async fn next(&mut self) -> Result<Option<(usize, ChangeRow)>, SourceError> {
        let Some(number) = self.merge.take() else {
            return Ok(None);
        };
        let Some(cursor) = self.cursors.get_mut(number) else {
            return Ok(None);
        };
        let table = cursor.table;
        let Some(row) = cursor.rows.pop_front() else {
            return Ok(None);
        };
        self.fill(number).await?;
        Ok(Some((table, row)))
    }

    /// Offers the next row of a cursor to the merge; waits for it if it must.
    async fn fill(&mut self, number: usize) -> Result<(), SourceError> {
        let Some(cursor) = self.cursors.get_mut(number) else {
            return Ok(());
        };
        while cursor.rows.is_empty() {
            cursor.room = None;
            match cursor.batches.recv().await {
                Some(Ok(batch)) => {
                    cursor.rows = batch.rows.into();
                    cursor.room = Some(batch.room);
                }
                Some(Err(error)) => return Err(error.into()),
                None => {
                    // The sender is gone: the table is read to its end, or its task has panicked.
                    while let Some(ended) = self.tasks.try_join_next() {
                        ended.map_err(|error| SourceError::Task(error.to_string()))?;
                    }
                    return Ok(());
                }
            }
        }
        if let Some(row) = cursor.rows.front() {
            self.merge.offer(number, row.position);
        }
        Ok(())
    }
}

/// Where a table's batches go, as far as there is room.
struct Ahead {
    room: Arc<Semaphore>,
    kilobytes: usize,
    batches: mpsc::Sender<Handed>,
}

impl Ahead {
    /// Hands a batch over; false when nobody wants it. One that is larger than all the room takes all of it.
    async fn hand(&self, rows: Vec<ChangeRow>, bytes: usize) -> bool {
        let kilobytes = (bytes >> 10).clamp(1, self.kilobytes);
        let kilobytes = u32::try_from(kilobytes).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(kilobytes).await;
        let Ok(room) = room else { return false };
        self.batches.send(Ok(Batch { rows, room })).await.is_ok()
    }
}

async fn read(pool: Arc<Pool>, active: Arc<Active>, range: Range, ahead: Ahead) {
    if let Err(error) = read_all(&pool, &active, range, &ahead).await {
        // Nobody listens when the pump has given up already.
        drop(ahead.batches.send(Err(error)).await);
    }
}

async fn read_all(
    pool: &Pool,
    active: &Active,
    range: Range,
    ahead: &Ahead,
) -> Result<(), SqlServerError> {
    let mut client = pool.get().await?;
    let mut rows = changes::stream_changes(&mut client, &active.instance, range).await?;
    let mut batch = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.next_row().await? {
        bytes += row.size();
        batch.push(row);
        if bytes >= BATCH_BYTES || batch.len() >= BATCH_ROWS {
            if !ahead.hand(std::mem::take(&mut batch), bytes).await {
                return Ok(());
            }
            bytes = 0;
        }
    }
    drop(rows);
    pool.put(client);
    if !batch.is_empty() {
        // As above.
        ahead.hand(batch, bytes).await;
    }
    Ok(())
}
