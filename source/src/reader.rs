//! Reads change tables, each on a connection of its own, and gives their rows in one order.

use std::{collections::VecDeque, sync::Arc};

use causeway_sqlserver::{
    ChangeRow, Pool, SqlServerError,
    changes::{self, Range},
};
use tokio::{sync::mpsc, task::JoinSet};

use crate::{SourceError, merge::Merge, tables::Active};

/// Rows are handed over in batches of this many bytes; each table has at most three under way.
const BATCH_BYTES: usize = 128 << 10;
/// … or of this many rows.
const BATCH_ROWS: usize = 512;

type Batch = Result<Vec<ChangeRow>, SqlServerError>;

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
    batches: mpsc::Receiver<Batch>,
}

impl Reader {
    /// Starts to read. Dropping the reader closes the connections that are in the middle of an answer.
    pub async fn start(
        pool: &Arc<Pool>,
        tables: impl IntoIterator<Item = (Arc<Active>, Range)>,
    ) -> Result<Self, SourceError> {
        let mut reader =
            Self { cursors: Vec::new(), merge: Merge::default(), tasks: JoinSet::new() };
        for (active, range) in tables {
            let (sender, batches) = mpsc::channel(2);
            let number = active.number;
            reader.tasks.spawn(read(Arc::clone(pool), active, range, sender));
            reader.cursors.push(Cursor { table: number, rows: VecDeque::new(), batches });
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
            match cursor.batches.recv().await {
                Some(Ok(rows)) => cursor.rows = rows.into(),
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

async fn read(pool: Arc<Pool>, active: Arc<Active>, range: Range, out: mpsc::Sender<Batch>) {
    if let Err(error) = read_all(&pool, &active, range, &out).await {
        // Nobody listens when the pump has given up already.
        drop(out.send(Err(error)).await);
    }
}

async fn read_all(
    pool: &Pool,
    active: &Active,
    range: Range,
    out: &mpsc::Sender<Batch>,
) -> Result<(), SqlServerError> {
    let mut client = pool.get().await?;
    let mut rows = changes::stream_changes(&mut client, &active.instance, range).await?;
    let mut batch = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.next_row().await? {
        bytes += row.size();
        batch.push(row);
        if bytes >= BATCH_BYTES || batch.len() >= BATCH_ROWS {
            if out.send(Ok(std::mem::take(&mut batch))).await.is_err() {
                return Ok(());
            }
            bytes = 0;
        }
    }
    drop(rows);
    pool.put(client);
    if !batch.is_empty() {
        // As above.
        drop(out.send(Ok(batch)).await);
    }
    Ok(())
}
