//! Records that cannot be applied: a row in `_causeway.dead_letter`, in the transaction of their batch,
//! and a copy in the dead-letter topic, made after the commit and made up for at the next start.

use causeway_kafka::{Admin, Config as Kafka, Producer, Record, TopicSpec, topic, topic::header};
use causeway_observability::names::sink as names;
use causeway_postgres::{PostgresError, Session};
use serde_json::{Value as Json, json};
use tokio_postgres::types::Type;

use crate::{
    SinkError,
    change::{Refusal, row_key},
    statements,
};

/// The lock of whoever copies letters to their topic.
const MIRROR_LOCK: i32 = 7243;

/// Keeps a record. Inside the batch's transaction.
///
/// # Errors
/// What PostgreSQL answers.
pub async fn keep(
    client: &Session,
    pipeline: &str,
    refusal: &Refusal,
) -> Result<(), PostgresError> {
    let message = &refusal.message;
    let source = refusal.source.as_ref().map(ToString::to_string);
    let lsn = refusal.commit_lsn.map(|lsn| lsn.as_bytes().to_vec());
    // Headers may hold any bytes, and the same name twice: a list of pairs, bytes in hexadecimal.
    let headers: Vec<Json> =
        message.headers.iter().map(|(name, value)| json!([name, hex(value)])).collect();
    // U+0000 in a reason would itself be refused.
    let reason = refusal.reason.replace('\0', "\u{fffd}");
    client
        .execute_typed(
            statements::DEAD_LETTER,
            &[
                (&pipeline, Type::TEXT),
                (&message.topic.as_ref(), Type::TEXT),
                (&message.partition, Type::INT4),
                (&message.offset, Type::INT8),
                (&message.key, Type::BYTEA),
                (&message.value, Type::BYTEA),
                (&Json::Array(headers), Type::JSONB),
                (&message.timestamp_ms, Type::INT8),
                (&source, Type::TEXT),
                (&lsn, Type::BYTEA),
                (&refusal.stage, Type::TEXT),
                (&refusal.sqlstate, Type::TEXT),
                (&refusal.column, Type::TEXT),
                (&refusal.constraint, Type::TEXT),
                (&reason, Type::TEXT),
                (&row_key(message), Type::BYTEA),
                (&if refusal.parked { "parked" } else { "pending" }, Type::TEXT),
            ],
        )
        .await
        .map_err(|e| PostgresError::statement("keep a dead letter", e))?;
    Ok(())
}

/// Counts a letter and says so in the log, once it is committed.
pub fn count(refusal: &Refusal) {
    let message = &refusal.message;
    let source = refusal.source.as_ref().map(ToString::to_string);
    let reason = match refusal.sqlstate.as_deref() {
        Some(sqlstate) => sqlstate,
        None if refusal.parked => "parked",
        None => refusal.stage,
    };
    let table = source.as_deref().unwrap_or(&message.topic);
    names::DEAD_LETTERS.add(1, &[("table", table), ("reason", reason)]);
    tracing::warn!(
        topic = %message.topic,
        partition = message.partition,
        offset = message.offset,
        reason = %refusal.reason,
        "dead letter"
    );
}

/// Copies dead letters to their topic.
pub struct Mirror {
    producer: Producer,
    admin: Admin,
    topic: String,
    pipeline: String,
}

impl Mirror {
    /// For a pipeline.
    ///
    /// # Errors
    /// When librdkafka refuses a property.
    pub fn new(kafka: &Kafka, pipeline: &str) -> Result<Self, SinkError> {
        Ok(Self {
            producer: Producer::new(kafka)?,
            admin: Admin::new(kafka)?,
            topic: topic::dead_letters(pipeline),
            pipeline: pipeline.to_owned(),
        })
    }

    /// Copies what the topic does not have yet. A crash between the copy and its mark makes a second
    /// copy with the same topic, partition and offset in its headers.
    ///
    /// # Errors
    /// When PostgreSQL or Kafka cannot be reached; nothing is lost by it.
    pub async fn copy(&self, client: &Session) -> Result<u64, SinkError> {
        let mut copied = 0;
        loop {
            // One sink at a time; the rows themselves stay free for a replay.
            let lock = format!("BEGIN; SELECT pg_advisory_xact_lock({MIRROR_LOCK}, 0)");
            client
                .batch_execute(&lock)
                .await
                .map_err(|e| PostgresError::statement("wait for other sinks", e))?;
            let rows = client
                .query_typed(statements::UNMIRRORED, &[(&self.pipeline, Type::TEXT)])
                .await
                .map_err(|e| PostgresError::statement("read the dead letters", e))?;
            if rows.is_empty() {
                client
                    .batch_execute("COMMIT")
                    .await
                    .map_err(|e| PostgresError::statement("commit", e))?;
                return Ok(copied);
            }
            // Most pipelines never have a dead letter, and so never have the topic.
            self.admin.ensure_topics(&[self.spec()]).await?;
            let mut done: Vec<i64> = Vec::with_capacity(rows.len());
            for row in &rows {
                self.send(row).await?;
                done.push(row.get(0));
                copied += 1;
            }
            client
                .execute_typed(statements::MIRRORED, &[(&done, Type::INT8_ARRAY)])
                .await
                .map_err(|e| PostgresError::statement("mark dead letters as mirrored", e))?;
            client
                .batch_execute("COMMIT")
                .await
                .map_err(|e| PostgresError::statement("commit", e))?;
        }
    }

    /// One partition, so that the letters keep their order; kept for ever, because a person must look.
    fn spec(&self) -> TopicSpec {
        TopicSpec {
            name: self.topic.clone(),
            partitions: 1,
            compacted: false,
            retention_ms: Some(-1),
        }
    }

    async fn send(&self, row: &tokio_postgres::Row) -> Result<(), SinkError> {
        let key: Option<Vec<u8>> = row.get(4);
        let value: Option<Vec<u8>> = row.get(5);
        let mut headers: Vec<(String, Vec<u8>)> = original(&row.get(6));
        let text = |index: usize| row.get::<_, Option<String>>(index);
        let lsn = row
            .get::<_, Option<Vec<u8>>>(9)
            .and_then(|bytes| causeway_change::Lsn::try_from(bytes.as_slice()).ok());
        use header::{connect, errors};
        for (name, value) in [
            (connect::TOPIC, text(1)),
            (connect::PARTITION, Some(row.get::<_, i32>(2).to_string())),
            (connect::OFFSET, Some(row.get::<_, i64>(3).to_string())),
            (connect::CONNECTOR_NAME, Some(self.pipeline.clone())),
            (connect::TASK_ID, Some("0".to_owned())),
            (connect::STAGE, text(10)),
            (connect::CLASS_NAME, Some("causeway-sink".to_owned())),
            (connect::EXCEPTION_CLASS_NAME, text(11).or_else(|| text(10))),
            (connect::EXCEPTION_MESSAGE, text(14)),
            (connect::EXCEPTION_STACKTRACE, text(14)),
            (errors::SQLSTATE, text(11)),
            (errors::COLUMN, text(12)),
            (errors::CONSTRAINT, text(13)),
            (errors::TABLE, text(8)),
            (errors::FIRST_SEEN, text(15)),
            (errors::SOURCE_LSN, lsn.map(|lsn| lsn.to_string())),
            (errors::PIPELINE_VERSION, Some(env!("CARGO_PKG_VERSION").to_owned())),
        ] {
            if let Some(value) = value {
                headers.push((name.to_owned(), value.into_bytes()));
            }
        }
        let headers: Vec<(&str, &[u8])> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
        self.producer
            .send(Record {
                topic: &self.topic,
                partition: None,
                key: key.as_deref(),
                value: value.as_deref(),
                headers: &headers,
                timestamp_ms: row.get(7),
            })
            .await?;
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The record's own headers from their form in the table.
pub(crate) fn original(headers: &Json) -> Vec<(String, Vec<u8>)> {
    let pair = |pair: &Json| {
        let name = pair.get(0)?.as_str()?.to_owned();
        let value = pair.get(1)?.as_str()?;
        let bytes = (0..value.len() / 2)
            .map(|i| u8::from_str_radix(value.get(2 * i..2 * i + 2)?, 16).ok())
            .collect::<Option<_>>()?;
        Some((name, bytes))
    };
    headers.as_array().into_iter().flatten().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_as_they_were() {
        let stored = json!([["traceparent", hex(b"00-ab")], ["x", hex(&[0, 255])]]);
        assert_eq!(
            original(&stored),
            [("traceparent".to_owned(), b"00-ab".to_vec()), ("x".to_owned(), vec![0, 255])]
        );
    }
}
