//! Offsets and the epoch, in the target database.

use std::{
    collections::{BTreeMap, HashMap},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::SystemTime,
};

use causeway_change::Lsn;
use causeway_postgres::{PostgresError, Session};
use tokio_postgres::{
    error::SqlState,
    types::{ToSql, Type},
};

use crate::statements;

/// A partition of a topic.
pub type Place = (Arc<str>, i32);

/// Where a batch begins and ends in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The offset that was to be read next when the batch began.
    pub expected: i64,
    /// The offset to be read next after it.
    pub next: i64,
}

/// Makes our schema and tables, if they are not there.
///
/// # Errors
/// When PostgreSQL refuses: the user needs CREATE on the database once.
pub async fn setup(client: &Session) -> Result<(), PostgresError> {
    // To alter a table, even in vain, locks everybody out who uses it, and may meet them crosswise.
    let there = client
        .query_typed_one(statements::IS_SET_UP, &[])
        .await
        .map_err(|e| PostgresError::statement("look for schema _causeway", e))?;
    if there.get(0) {
        return Ok(());
    }
    // Two sinks that start together would both create; the lock makes them take turns.
    let sql = format!("SELECT pg_advisory_xact_lock(7241); {}", statements::SETUP);
    client
        .batch_execute(&format!("BEGIN; {sql}; COMMIT"))
        .await
        .map_err(|e| PostgresError::statement("create schema _causeway", e))
}

/// Takes the next epoch: from now on no other sink of the pipeline can commit.
///
/// # Errors
/// What PostgreSQL answers.
pub async fn next_epoch(client: &Session, pipeline: &str) -> Result<i64, PostgresError> {
    let row = client
        .query_typed_one(statements::NEXT_EPOCH, &[(&pipeline, Type::TEXT)])
        .await
        .map_err(|e| PostgresError::statement("take an epoch", e))?;
    Ok(row.get(0))
}

/// Notes partitions that are new, with the offset of their first record; whose they are is not decided by it.
///
/// # Errors
/// What PostgreSQL answers.
pub async fn know(
    client: &Session,
    pipeline: &str,
    new: &[(Place, i64)],
) -> Result<(), PostgresError> {
    let (mut topics, mut partitions, mut firsts) = (vec![], vec![], vec![]);
    for ((topic, partition), first) in new {
        topics.push(topic.as_ref());
        partitions.push(*partition);
        firsts.push(*first);
    }
    client
        .execute_typed(
            statements::KNOW,
            &[
                (&pipeline, Type::TEXT),
                (&topics, Type::TEXT_ARRAY),
                (&partitions, Type::INT4_ARRAY),
                (&firsts, Type::INT8_ARRAY),
            ],
        )
        .await
        .map_err(|e| PostgresError::statement("note new partitions", e))?;
    Ok(())
}

/// Where a partition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The offset to be read next.
    pub next: i64,
    /// The epoch that it is written under.
    pub epoch: i64,
}

/// The partitions that are known, in order.
///
/// # Errors
/// What PostgreSQL answers.
pub async fn held(
    client: &Session,
    pipeline: &str,
) -> Result<BTreeMap<Place, Held>, PostgresError> {
    let rows = client
        .query_typed(statements::PROGRESS, &[(&pipeline, Type::TEXT)])
        .await
        .map_err(|e| PostgresError::statement("read whose partitions are whose", e))?;
    let one = |row: &tokio_postgres::Row| {
        let place = (row.get::<_, &str>(0).into(), row.get(1));
        (place, Held { next: row.get(2), epoch: row.get(3) })
    };
    Ok(rows.iter().map(one).collect())
}

/// What the offsets in PostgreSQL say of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has not been applied: the offsets are where it begins.
    Before,
    /// It has been applied: the answer to the commit was lost.
    Applied,
    /// Somebody else is at work.
    Foreign,
}

/// Asks where the partitions of a batch stand.
///
/// # Errors
/// What PostgreSQL answers.
pub async fn standing(
    client: &Session,
    pipeline: &str,
    epoch: i64,
    spans: &HashMap<Place, Span>,
) -> Result<Standing, PostgresError> {
    let rows = client
        .query_typed(statements::PROGRESS, &[(&pipeline, Type::TEXT)])
        .await
        .map_err(|e| PostgresError::statement("read the offsets", e))?;
    let found: HashMap<(String, i32), (i64, i64)> =
        rows.iter().map(|row| ((row.get(0), row.get(1)), (row.get(2), row.get(3)))).collect();
    Ok(judge(&found, epoch, spans))
}

fn judge(
    found: &HashMap<(String, i32), (i64, i64)>,
    epoch: i64,
    spans: &HashMap<Place, Span>,
) -> Standing {
    let at = |which: fn(&Span) -> i64| {
        spans.iter().all(|((topic, partition), span)| {
            found.get(&(topic.to_string(), *partition)) == Some(&(which(span), epoch))
        })
    };
    if at(|span| span.expected) {
        Standing::Before
    } else if at(|span| span.next) {
        Standing::Applied
    } else {
        Standing::Foreign
    }
}

/// Moves the offsets inside the batch's transaction and commits it, in one round trip; false when they
/// are not ours any more, and then nothing is committed.
///
/// # Errors
/// What PostgreSQL answers.
pub async fn advance_and_commit(
    client: &Session,
    pipeline: &str,
    epoch: i64,
    spans: &HashMap<Place, Span>,
    source: Option<(Lsn, SystemTime)>,
) -> Result<bool, PostgresError> {
    let (mut topics, mut partitions, mut expected, mut next) = (vec![], vec![], vec![], vec![]);
    for ((topic, partition), span) in spans {
        topics.push(topic.as_ref());
        partitions.push(*partition);
        expected.push(span.expected);
        next.push(span.next);
    }
    let lsn = source.map(|(lsn, _)| lsn.as_bytes().to_vec());
    let time = source.map(|(_, time)| time);
    let count = i64::try_from(spans.len()).unwrap_or(i64::MAX);
    let params: [(&(dyn ToSql + Sync), Type); 9] = [
        (&pipeline, Type::TEXT),
        (&epoch, Type::INT8),
        (&topics, Type::TEXT_ARRAY),
        (&partitions, Type::INT4_ARRAY),
        (&expected, Type::INT8_ARRAY),
        (&next, Type::INT8_ARRAY),
        (&lsn, Type::BYTEA),
        (&time, Type::TIMESTAMPTZ),
        (&count, Type::INT8),
    ];
    // Sent by the first poll, so before the COMMIT. When it fails, the transaction is spoiled, and the COMMIT
    // rolls it back.
    let mut moving = pin!(client.query_typed(statements::ADVANCE, &params));
    let (moved, committed) = match futures_util::poll!(moving.as_mut()) {
        Poll::Ready(Ok(rows)) => (Ok(rows), client.batch_execute("COMMIT").await),
        Poll::Ready(Err(error)) => (Err(error), Ok(())),
        Poll::Pending => futures_util::join!(moving, client.batch_execute("COMMIT")),
    };
    match moved {
        Ok(_) => {
            committed.map_err(|e| PostgresError::statement("commit", e))?;
            Ok(true)
        }
        Err(error) if error.code() == Some(&SqlState::DIVISION_BY_ZERO) => Ok(false),
        Err(error) => Err(PostgresError::statement("move the offsets", error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_answer_is_told_from_a_lost_commit_and_from_another_sink() {
        let spans: HashMap<Place, Span> = [
            (("t".into(), 0), Span { expected: 5, next: 9 }),
            (("t".into(), 1), Span { expected: 0, next: 3 }),
        ]
        .into();
        let found = |a: i64, b: i64, epoch: i64| {
            [(("t".to_owned(), 0), (a, epoch)), (("t".to_owned(), 1), (b, epoch))].into()
        };
        assert_eq!(judge(&found(5, 0, 7), 7, &spans), Standing::Before);
        assert_eq!(judge(&found(9, 3, 7), 7, &spans), Standing::Applied);
        assert_eq!(judge(&found(9, 0, 7), 7, &spans), Standing::Foreign);
        assert_eq!(judge(&found(5, 0, 8), 7, &spans), Standing::Foreign);
        assert_eq!(judge(&HashMap::new(), 7, &spans), Standing::Foreign);
    }
}
