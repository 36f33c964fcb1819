//! Why the sink cannot go on, or must wait.

use causeway_kafka::{Error as KafkaError, RegistryError};
use causeway_postgres::{Class, PostgresError};

/// An error of the sink. A record that cannot be applied is none: it is a dead letter.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// PostgreSQL.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// Kafka.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The schema registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Others have taken the partitions, because this sink seemed dead, or an operator has set their
    /// offsets. Nothing of the batch was committed.
    #[error(
        "partitions of pipeline {pipeline} that this sink had as epoch {epoch} were taken over: it was silent for too long, or offsets were set"
    )]
    Fenced {
        /// The pipeline.
        pipeline: String,
        /// Our epoch.
        epoch: i64,
    },
    /// Kafka has removed records that were never applied.
    #[error("gap: {topic} partition {partition} begins at offset {low} and {next} was to be applied next: Kafka's retention removed {} records. Take a new snapshot of the table (docs/runbook.md)", low - next)]
    Gap {
        /// Topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// First offset that is still there.
        low: i64,
        /// The offset that was expected.
        next: i64,
    },
    /// The target table cannot take the records.
    #[error("table {table}: {why}")]
    Table {
        /// Schema and table in PostgreSQL.
        table: String,
        /// Why, and what to do.
        why: String,
    },
    /// A rule of `[[sink.tables]]` sets aside the records that the target table would have to change for.
    #[error("table {table}: {why}")]
    Aside {
        /// Schema and table in PostgreSQL.
        table: String,
        /// Why.
        why: String,
    },
    /// The row of a table without key that a record is about is not there, or not alone.
    #[error("table {table}: {why}")]
    Row {
        /// Schema and table in PostgreSQL.
        table: String,
        /// Why, without a value.
        why: &'static str,
    },
    /// A source transaction, or a group of them, that the target refuses as a whole: no single record is
    /// to blame, or it cannot be told. Nothing of it is applied; the sink tries again until a person has
    /// mended the target.
    #[error(
        "{what} cannot be applied whole: {why}. The record that is to blame cannot be told, because the constraint is checked at the end of the transaction. Mend the target's rows (causeway-reconcile names them) or drop the constraint; it is tried again by itself"
    )]
    Whole {
        /// Which.
        what: String,
        /// What PostgreSQL says.
        why: String,
    },
    /// The transaction index cannot be followed.
    #[error("transaction index {topic} at offset {offset}: {why}")]
    Index {
        /// Its topic.
        topic: String,
        /// The entry.
        offset: i64,
        /// Why, and what to do.
        why: String,
    },
    /// What was asked for is not there or cannot be done.
    #[error("{0}")]
    Asked(String),
    /// A fault of ours.
    #[error(
        "a task of the sink panicked; what it held is not applied and is read again at the next start. Please report it"
    )]
    Panicked,
    /// `dead_letters = "stop"`.
    #[error(
        "record {topic}/{partition}/{offset} cannot be applied to {table}: {reason}; [sink].dead_letters is \"stop\""
    )]
    DeadLetter {
        /// Topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// Offset.
        offset: i64,
        /// The source's table.
        table: String,
        /// Why.
        reason: String,
    },
}

impl SinkError {
    /// True when waiting may help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Postgres(error) => error.is_transient(),
            Self::Kafka(error) => error.is_transient(),
            Self::Registry(error) => error.is_transient(),
            Self::Panicked
            | Self::Asked(_)
            | Self::Aside { .. }
            | Self::Fenced { .. }
            | Self::Gap { .. }
            | Self::Index { .. }
            | Self::Row { .. }
            | Self::Table { .. }
            | Self::Whole { .. }
            | Self::DeadLetter { .. } => false,
        }
    }

    /// What PostgreSQL's error asks for; none when it is not PostgreSQL's.
    #[must_use]
    pub fn class(&self) -> Option<Class> {
        match self {
            Self::Postgres(error) => Some(error.class()),
            Self::Aside { .. } | Self::Row { .. } => Some(Class::Record),
            Self::Kafka(_)
            | Self::Registry(_)
            | Self::Panicked
            | Self::Asked(_)
            | Self::Fenced { .. }
            | Self::Gap { .. }
            | Self::Index { .. }
            | Self::Table { .. }
            | Self::Whole { .. }
            | Self::DeadLetter { .. } => None,
        }
    }

    /// SQLSTATE, when PostgreSQL sent one.
    #[must_use]
    pub fn sqlstate(&self) -> Option<&str> {
        self.postgres().and_then(PostgresError::sqlstate)
    }

    /// What is waited for, as the metrics name it.
    #[must_use]
    pub fn part(&self) -> &'static str {
        match self {
            Self::Postgres(_) if self.sqlstate() == Some("53100") => "disk",
            Self::Kafka(_) => "kafka",
            Self::Registry(_) => "registry",
            Self::Whole { .. } => "constraint",
            Self::Postgres(_)
            | Self::Panicked
            | Self::Asked(_)
            | Self::Aside { .. }
            | Self::Fenced { .. }
            | Self::Gap { .. }
            | Self::Index { .. }
            | Self::Row { .. }
            | Self::Table { .. }
            | Self::DeadLetter { .. } => "postgres",
        }
    }

    fn postgres(&self) -> Option<&PostgresError> {
        match self {
            Self::Postgres(error) => Some(error),
            Self::Kafka(_)
            | Self::Registry(_)
            | Self::Panicked
            | Self::Asked(_)
            | Self::Aside { .. }
            | Self::Fenced { .. }
            | Self::Gap { .. }
            | Self::Index { .. }
            | Self::Row { .. }
            | Self::Table { .. }
            | Self::Whole { .. }
            | Self::DeadLetter { .. } => None,
        }
    }
}
