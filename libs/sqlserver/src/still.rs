//! A table as it was at one place of the log: for a table without key, whose rows no change can be told apart from
//! later.

use causeway_change::{Lsn, TableId};

use crate::{Client, Pool, SqlServerError, log, queries};

/// A connection that reads a table as it was.
#[derive(Debug)]
pub struct Still {
    /// In a transaction under snapshot isolation that has begun to read.
    pub client: Client,
    /// What was committed of the table up to here is seen, and nothing else.
    pub at: Lsn,
}

/// Begins to read a table at one place of the log, which is looked up while a shared lock on the table keeps writers
/// out: a few milliseconds, after waiting at most a second for those that are at work. `None` when the login may not
/// see the end of the log.
///
/// # Errors
/// What the server answers; that others work on the table for longer (1222) is transient.
pub async fn still(pool: &Pool, id: &TableId) -> Result<Option<Still>, SqlServerError> {
    let mut client = pool.get().await?;
    client.run(queries::begin_snapshot()).await?;
    // Who commits lets go of the table when all can see what was written; so with the lock in our hand, what is
    // committed is in the log and can be seen. Dropped at the end: its session waits for locks as no other does.
    let mut holder = pool.get().await?;
    holder.run(queries::hold_still(id)).await?;
    client.one(&queries::touch(id)).await?;
    let at = log::log_end(&mut client).await?;
    holder.run(queries::let_go()).await?;
    Ok(at.map(|at| Still { client, at }))
}
