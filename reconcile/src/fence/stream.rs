//! How far the pipeline is: what the source has published, and what the sink has applied of it.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use causeway_change::{Lsn, TableId};
use causeway_kafka::topic;
use causeway_postgres::{PostgresError, Session};
use tokio::{sync::Mutex, time::Instant};

use super::stored::Stored;
use crate::error::ReconcileError;

/// Between two looks at what is applied.
const LOOK: Duration = Duration::from_millis(50);
/// Between two looks at what is published: each reads a topic.
const LOOK_AT_TOPIC: Duration = Duration::from_millis(200);

/// The stream between source and target.
#[derive(Debug)]
pub struct Stream {
    kafka: causeway_kafka::Config,
    pipeline: String,
    database: String,
    /// Positions only grow, so what was once read stays true.
    seen: Mutex<Stored>,
    /// For each table the change up to which the target was once found complete.
    applied: Mutex<HashMap<TableId, Lsn>>,
}

/// Whether the target has what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// It has.
    Yes,
    /// Not within the limit; the word says who is behind.
    No(&'static str),
}

impl Stream {
    /// The stream of a pipeline for one database.
    #[must_use]
    pub fn new(kafka: causeway_kafka::Config, pipeline: String, database: String) -> Self {
        Self { kafka, pipeline, database, seen: Mutex::default(), applied: Mutex::default() }
    }

    /// Reads anew how far the source is.
    async fn look(&self) -> Result<Stored, ReconcileError> {
        let topic = topic::offsets(&self.pipeline);
        let stored = match causeway_kafka::read_compacted(&self.kafka, &topic).await {
            Ok(records) => Stored::read(&records, &self.database),
            // The source has never run.
            Err(causeway_kafka::Error::MissingTopic { .. }) => Stored::default(),
            Err(source) => return Err(ReconcileError::Kafka(Box::new(source))),
        };
        *self.seen.lock().await = stored.clone();
        Ok(stored)
    }

    /// Whether the source still reads the first copy of the table.
    ///
    /// # Errors
    /// When Kafka does not answer.
    pub async fn is_copying(&self, table: &TableId) -> Result<bool, ReconcileError> {
        {
            let seen = self.seen.lock().await;
            if seen.known.contains(table) && !seen.copying.contains(table) {
                return Ok(false);
            }
        }
        let stored = self.look().await?;
        Ok(stored.copying.contains(table) || !stored.known.contains(table))
    }

    /// Waits until the target has every change of the table up to the commit `upto`, which is captured.
    ///
    /// # Errors
    /// When Kafka or PostgreSQL do not answer.
    pub async fn wait(
        &self,
        client: &Session,
        table: &TableId,
        upto: Lsn,
        limit: Duration,
    ) -> Result<Reached, ReconcileError> {
        let known = self.applied.lock().await.get(table).copied();
        if upto.is_zero() || known.is_some_and(|at| at >= upto) {
            return Ok(Reached::Yes);
        }
        let began = Instant::now();
        loop {
            let known = self.seen.lock().await.published;
            if known >= upto || self.look().await?.published >= upto {
                break;
            }
            if began.elapsed() >= limit {
                return Ok(Reached::No("the source has not published"));
            }
            tokio::time::sleep(LOOK_AT_TOPIC).await;
        }
        let name = topic::table(&self.pipeline, &self.database, table);
        let ends = causeway_kafka::record_ends(&self.kafka, &name)
            .await
            .map_err(|source| ReconcileError::Kafka(Box::new(source)))?
            .unwrap_or_default();
        while !applied(&ends, &self.progress(client, &name).await?) {
            if began.elapsed() >= limit {
                return Ok(Reached::No("the sink has not applied"));
            }
            tokio::time::sleep(LOOK).await;
        }
        self.applied.lock().await.insert(table.clone(), upto);
        Ok(Reached::Yes)
    }

    /// The offset to be read next of each partition, as the sink wrote it with its rows.
    async fn progress(
        &self,
        client: &Session,
        topic: &str,
    ) -> Result<BTreeMap<i32, i64>, ReconcileError> {
        let sql = "SELECT partition, next_offset FROM _causeway.progress WHERE pipeline = $1 AND topic = $2";
        match client.query(sql, &[&self.pipeline, &topic]).await {
            Ok(rows) => Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect()),
            Err(error) => {
                let error = PostgresError::statement("read _causeway.progress", error);
                // The sink has never run.
                if error.sqlstate().is_some_and(|code| matches!(code, "42P01" | "3F000")) {
                    return Ok(BTreeMap::new());
                }
                Err(ReconcileError::Progress(Box::new(error)))
            }
        }
    }
}

/// Whether every partition has been applied to its end.
fn applied(ends: &BTreeMap<i32, i64>, next: &BTreeMap<i32, i64>) -> bool {
    ends.iter().all(|(partition, end)| next.get(partition).is_some_and(|next| next >= end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_was_never_read_is_not_applied() {
        let ends = BTreeMap::from([(0, 5), (1, 3)]);
        assert!(applied(&ends, &BTreeMap::from([(0, 5), (1, 9), (2, 0)])));
        assert!(!applied(&ends, &BTreeMap::from([(0, 4), (1, 9)])));
        assert!(!applied(&ends, &BTreeMap::from([(0, 5)])));
        assert!(applied(&BTreeMap::new(), &BTreeMap::new()));
    }
}
