//! A sink among the others of its pipeline: it says that it is alive, sees who else is, and takes and gives
//! up partitions. All of it by rows in the target database, under PostgreSQL's own clock.
//!
//! A member is an epoch. Its transactions commit only while the rows of their partitions in
//! `_causeway.progress` bear it ([`crate::progress`]); whoever changes that epoch has fenced it.

use std::{collections::BTreeSet, time::Duration};

use causeway_postgres::{Client, Config as Postgres, Pooler, PostgresError, Session};
use causeway_service::{exit::chain_line, retry::Backoff};
use tokio_postgres::types::Type;
use tokio_util::sync::CancellationToken;

use crate::{
    SinkError,
    progress::{self, Place},
    share::Member,
    statements,
};

/// How often a member says that it is alive.
const BEAT: Duration = Duration::from_secs(1);

/// First half of the advisory lock that is held by the session of a living member; the second is its epoch.
#[must_use]
pub fn session_lock(pipeline: &str) -> i32 {
    lock("member", pipeline)
}

/// First half of the advisory lock that each transaction of a member shares: by it the transactions of
/// a member that is thought dead are found, and ended.
#[must_use]
pub fn batch_lock(pipeline: &str) -> i32 {
    lock("batch", pipeline)
}

/// FNV-1a: the same in every version of this program.
fn lock(what: &str, pipeline: &str) -> i32 {
    let bytes = what.bytes().chain([0]).chain(pipeline.bytes());
    let hash = bytes
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash.cast_signed()
}

/// The second half: PostgreSQL's pairs are of 32 bits, and of epochs that far apart one is long gone.
#[must_use]
pub fn short(member: Member) -> i32 {
    i32::try_from(member.rem_euclid(1 << 31)).unwrap_or(0)
}

/// A member of the sinks of a pipeline.
#[derive(Clone, Debug)]
pub struct Me {
    /// The pipeline.
    pub pipeline: String,
    /// Our epoch.
    pub epoch: Member,
    /// How long a member may be silent.
    pub timeout: Duration,
}

impl Me {
    /// Joins: takes a new epoch and says so.
    ///
    /// # Errors
    /// What PostgreSQL answers.
    pub async fn join(
        client: &Session,
        pipeline: &str,
        timeout: Duration,
    ) -> Result<Self, PostgresError> {
        let epoch = progress::next_epoch(client, pipeline).await?;
        client
            .execute_typed(statements::JOIN, &[(&pipeline, Type::TEXT), (&epoch, Type::INT8)])
            .await
            .map_err(|e| PostgresError::statement("join the sinks of the pipeline", e))?;
        Ok(Self { pipeline: pipeline.to_owned(), epoch, timeout })
    }

    /// That somebody else has our partitions.
    #[must_use]
    pub fn fenced(&self) -> SinkError {
        SinkError::Fenced { pipeline: self.pipeline.clone(), epoch: self.epoch }
    }

    /// Says that we are alive, until it is stopped. On a connection of its own: nothing that the sink
    /// waits for may make it look dead.
    ///
    /// # Errors
    /// [`SinkError::Fenced`] when the others have thought us dead; what waiting cannot mend.
    pub async fn beat(self, postgres: Postgres, stop: CancellationToken) -> Result<(), SinkError> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        loop {
            let beating = async {
                let client = Client::connect(&postgres).await?;
                loop {
                    if !self.beat_once(&client, postgres.pooler).await? {
                        return Err(self.fenced());
                    }
                    tokio::time::sleep(BEAT).await;
                }
            };
            let error: SinkError = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                ended = beating => match ended {
                    Ok(never) => never,
                    Err(error) => error,
                },
            };
            if !error.is_transient() {
                return Err(error);
            }
            tracing::debug!(error = %chain_line(&error), "cannot say that this sink is alive");
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(backoff.next()) => {}
            }
        }
    }

    async fn beat_once(&self, client: &Session, pooler: Pooler) -> Result<bool, PostgresError> {
        // A session's lock goes with the session: who was killed is known at once. A pooler has no
        // sessions; there only time tells.
        let holds = pooler == Pooler::None;
        let beaten = client
            .query_typed_one(
                statements::BEAT,
                &[
                    (&self.pipeline, Type::TEXT),
                    (&self.epoch, Type::INT8),
                    (&holds, Type::BOOL),
                    (&session_lock(&self.pipeline), Type::INT4),
                    (&short(self.epoch), Type::INT4),
                ],
            )
            .await
            .map_err(|e| PostgresError::statement("say that this sink is alive", e))?;
        Ok(beaten.get::<_, i64>(0) > 0)
    }

    /// Says that we are alive, on a connection that is there for something else; false when the others
    /// have struck us off.
    ///
    /// # Errors
    /// What PostgreSQL answers.
    pub async fn touch(&self, client: &Session) -> Result<bool, PostgresError> {
        let touched = client
            .execute_typed(
                statements::TOUCH,
                &[(&self.pipeline, Type::TEXT), (&self.epoch, Type::INT8)],
            )
            .await
            .map_err(|e| PostgresError::statement("say that this sink is alive", e))?;
        Ok(touched > 0)
    }

    /// Who is alive, ourselves among them unless the others think otherwise.
    ///
    /// # Errors
    /// What PostgreSQL answers.
    pub async fn alive(&self, client: &Session) -> Result<BTreeSet<Member>, PostgresError> {
        let timeout = i64::try_from(self.timeout.as_millis()).unwrap_or(i64::MAX);
        let rows = client
            .query_typed(
                statements::ALIVE,
                &[
                    (&self.pipeline, Type::TEXT),
                    (&timeout, Type::INT8),
                    (&session_lock(&self.pipeline), Type::INT4),
                ],
            )
            .await
            .map_err(|e| PostgresError::statement("look for other sinks", e))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// Takes partitions from those that are dead or have given them up: each from the one that it was
    /// seen with, or not at all. Gives the offsets to read next of those that are ours now.
    ///
    /// # Errors
    /// What PostgreSQL answers.
    pub async fn claim(
        &self,
        client: &Session,
        from: &[(Place, Member)],
    ) -> Result<Vec<(Place, i64)>, PostgresError> {
        let dead: BTreeSet<Member> =
            from.iter().map(|(_, member)| *member).filter(|m| *m != 0).collect();
        if !dead.is_empty() {
            self.bury(client, &dead).await?;
        }
        let (mut topics, mut partitions, mut holders) = (vec![], vec![], vec![]);
        for ((topic, partition), holder) in from {
            topics.push(topic.as_ref());
            partitions.push(*partition);
            holders.push(*holder);
        }
        let rows = client
            .query_typed(
                statements::CLAIM,
                &[
                    (&self.pipeline, Type::TEXT),
                    (&self.epoch, Type::INT8),
                    (&topics, Type::TEXT_ARRAY),
                    (&partitions, Type::INT4_ARRAY),
                    (&holders, Type::INT8_ARRAY),
                ],
            )
            .await
            .map_err(|e| PostgresError::statement("take partitions", e))?;
        Ok(rows
            .iter()
            .map(|row| ((row.get::<_, &str>(0).into(), row.get(1)), row.get(2)))
            .collect())
    }

    /// Strikes dead members off the list, and ends what they have begun: a process that stands still in
    /// the middle of a transaction would hold its locks for ever.
    async fn bury(&self, client: &Session, dead: &BTreeSet<Member>) -> Result<(), PostgresError> {
        let epochs: Vec<Member> = dead.iter().copied().collect();
        client
            .execute_typed(
                statements::BURY,
                &[(&self.pipeline, Type::TEXT), (&epochs, Type::INT8_ARRAY)],
            )
            .await
            .map_err(|e| PostgresError::statement("strike off a dead sink", e))?;
        let shorts: Vec<i32> = epochs.iter().map(|epoch| short(*epoch)).collect();
        let ended = client
            .query_typed(
                statements::END_TRANSACTIONS,
                &[(&batch_lock(&self.pipeline), Type::INT4), (&shorts, Type::INT4_ARRAY)],
            )
            .await;
        match ended {
            Ok(ended) if ended.is_empty() => {}
            Ok(ended) => {
                tracing::warn!(transactions = ended.len(), "ended what a dead sink had begun");
            }
            // Another role's: then its locks last as long as its connection.
            Err(error) => {
                let error = PostgresError::statement("end what a dead sink had begun", error);
                tracing::warn!(error = %chain_line(&error), "going on without");
            }
        }
        Ok(())
    }

    /// Gives partitions up. The batches with their records must have been applied.
    ///
    /// # Errors
    /// What PostgreSQL answers.
    pub async fn release(&self, client: &Session, places: &[Place]) -> Result<(), PostgresError> {
        let (topics, partitions): (Vec<&str>, Vec<i32>) =
            places.iter().map(|(topic, partition)| (topic.as_ref(), *partition)).unzip();
        client
            .execute_typed(
                statements::RELEASE,
                &[
                    (&self.pipeline, Type::TEXT),
                    (&self.epoch, Type::INT8),
                    (&topics, Type::TEXT_ARRAY),
                    (&partitions, Type::INT4_ARRAY),
                ],
            )
            .await
            .map_err(|e| PostgresError::statement("give up partitions", e))?;
        Ok(())
    }

    /// Leaves: others need not wait until we seem dead.
    pub async fn leave(&self, postgres: &Postgres) {
        let leaving = async {
            let client = Client::connect(postgres).await?;
            client
                .execute_typed(
                    statements::LEAVE,
                    &[(&self.pipeline, Type::TEXT), (&self.epoch, Type::INT8)],
                )
                .await
                .map_err(|e| PostgresError::statement("leave the sinks of the pipeline", e))
        };
        let limit = Duration::from_secs(3);
        if !matches!(tokio::time::timeout(limit, leaving).await, Ok(Ok(_))) {
            tracing::debug!("left without a word; the others will notice");
        }
    }
}
