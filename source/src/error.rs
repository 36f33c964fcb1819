//! [`SourceError`]: why the source stopped, and whether starting again by itself can help.

use causeway_change::{Lsn, TableId};

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// SQL Server.
    #[error("SQL Server")]
    SqlServer(#[from] causeway_sqlserver::SqlServerError),
    /// Kafka.
    #[error("Kafka")]
    Kafka(#[from] causeway_kafka::Error),
    /// The schema registry.
    #[error("register the schema of {table}")]
    Registry {
        /// Table.
        table: TableId,
        /// Why.
        #[source]
        source: Box<causeway_kafka::RegistryError>,
    },
    /// No Avro schema can be made of the table.
    #[error("make the Avro schema of {table}")]
    Schema {
        /// Table.
        table: TableId,
        /// Why.
        #[source]
        source: Box<causeway_avro::SchemaError>,
    },
    /// A row cannot be encoded.
    #[error("encode a row of {table} at {lsn}")]
    Encode {
        /// Table.
        table: TableId,
        /// Commit of the change, or the log position of the snapshot.
        lsn: Lsn,
        /// Why.
        #[source]
        source: Box<causeway_avro::EncodeError>,
    },
    /// Kafka does not take a record, and the configuration says to stop.
    #[error(
        "Kafka refuses a row of {table} at {lsn}, a record of {bytes} bytes, as too large; raise max.message.bytes \
         of the topic and \"message.max.bytes\" in [kafka.properties], leave the large column out by \
         exclude_columns, or set [source] oversized = \"dead_letter\""
    )]
    Refused {
        /// Table.
        table: TableId,
        /// Commit of the change.
        lsn: Lsn,
        /// Size of key and value.
        bytes: usize,
    },
    /// A topic refused a record that travelled alone; the next session knows it.
    #[error(
        "the topic of {table} refuses the row at {lsn}, a record of {bytes} bytes, as too large"
    )]
    TooLarge {
        /// Table.
        table: TableId,
        /// Commit of the change.
        lsn: Lsn,
        /// Size of key and value.
        bytes: usize,
    },
    /// Changes are gone before they were read.
    #[error(
        "changes of {table} are lost: {from} to {low} were cleaned up before they were read; the rows changed in \
         between must be copied again (causeway-source offsets reset --table {table}, or [source] on_gap = \
         \"resnapshot\"), and the retention of the CDC cleanup job should be longer"
    )]
    Gap {
        /// Table.
        table: TableId,
        /// The last position that was read.
        from: Lsn,
        /// The first that is still there.
        low: Lsn,
    },
    /// The capture instance that was read is gone.
    #[error(
        "the capture instance {instance} of {table} was dropped or made anew; changes between the two are lost to \
         us, so the table must be copied again (causeway-source offsets reset --table {table}, or [source] on_gap \
         = \"resnapshot\")"
    )]
    InstanceReplaced {
        /// Table.
        table: TableId,
        /// Instance.
        instance: String,
    },
    /// The log went back.
    #[error(
        "the database's log is at {max}, before the position {position} that was read: the database was restored or \
         failed over to an older copy; copy it again (causeway-source offsets reset, or [source] on_gap = \
         \"resnapshot\")"
    )]
    WentBack {
        /// Highest captured LSN.
        max: Lsn,
        /// Our position.
        position: Lsn,
    },
    /// The log is another one.
    #[error(
        "the database was restored since the last start (recovery fork {before}, now {now}), so its log is another \
         one; copy it again (causeway-source offsets reset, or [source] on_gap = \"resnapshot\")"
    )]
    Restored {
        /// Recovery fork at the last start.
        before: String,
        /// Recovery fork now.
        now: String,
    },
    /// What is in the offsets topic is not ours.
    #[error("the record {key} of the offsets topic cannot be understood: {reason}")]
    State {
        /// The record's key.
        key: String,
        /// Why.
        reason: String,
    },
    /// The table cannot be replicated as it is.
    #[error("{table} cannot be replicated: {reason}")]
    Table {
        /// Table.
        table: TableId,
        /// Why, and what to do.
        reason: String,
    },
    /// A task ended in a way that only a mistake in the program explains.
    #[error("a task of the source ended unexpectedly: {0}")]
    Task(String),
}

impl SourceError {
    /// True when the same attempt may succeed later without anybody's help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::SqlServer(error) => error.is_transient(),
            // Whatever is wrong with this producer, a new one begins where the last commit ended.
            Self::Kafka(error) => {
                let is_spent = matches!(
                    error,
                    causeway_kafka::Error::Transaction { fault: causeway_kafka::Fault::Fatal, .. }
                );
                !error.is_fenced() && (error.is_transient() || error.needs_abort() || is_spent)
            }
            Self::Registry { source, .. } => source.is_transient(),
            Self::TooLarge { .. } => true,
            Self::Schema { .. }
            | Self::Encode { .. }
            | Self::Refused { .. }
            | Self::Gap { .. }
            | Self::InstanceReplaced { .. }
            | Self::WentBack { .. }
            | Self::Restored { .. }
            | Self::State { .. }
            | Self::Table { .. }
            | Self::Task(_) => false,
        }
    }

    /// True when a table is not as it was when the session began: a column or a change table is gone, or holds
    /// another type. A new session reads the catalogue again.
    #[must_use]
    pub fn is_changed_table(&self) -> bool {
        match self {
            Self::SqlServer(error) => {
                error.is_missing_object()
                    || matches!(error, causeway_sqlserver::SqlServerError::Value { .. })
            }
            Self::Kafka(_)
            | Self::Registry { .. }
            | Self::Schema { .. }
            | Self::Encode { .. }
            | Self::Refused { .. }
            | Self::TooLarge { .. }
            | Self::Gap { .. }
            | Self::InstanceReplaced { .. }
            | Self::WentBack { .. }
            | Self::Restored { .. }
            | Self::State { .. }
            | Self::Table { .. }
            | Self::Task(_) => false,
        }
    }

    /// True when another producer has taken the transactional id over.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        match self {
            Self::Kafka(error) => error.is_fenced(),
            Self::SqlServer(_)
            | Self::Registry { .. }
            | Self::Schema { .. }
            | Self::Encode { .. }
            | Self::Refused { .. }
            | Self::TooLarge { .. }
            | Self::Gap { .. }
            | Self::InstanceReplaced { .. }
            | Self::WentBack { .. }
            | Self::Restored { .. }
            | Self::State { .. }
            | Self::Table { .. }
            | Self::Task(_) => false,
        }
    }

    /// True when the registry refuses a table's schema as incompatible: the table waits, others go on.
    #[must_use]
    pub fn is_refused_schema(&self) -> bool {
        matches!(
            self,
            Self::Registry { source, .. }
                if matches!(**source, causeway_kafka::RegistryError::Incompatible { .. })
        )
    }

    /// True when changes are lost to us, and only another copy helps.
    #[must_use]
    pub fn is_gap(&self) -> bool {
        matches!(
            self,
            Self::Gap { .. }
                | Self::InstanceReplaced { .. }
                | Self::WentBack { .. }
                | Self::Restored { .. }
        )
    }

    /// True when a person must change a right or the configuration before another start: exit code 2.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Kafka(
                causeway_kafka::Error::Rights { .. }
                    | causeway_kafka::Error::Config(_)
                    | causeway_kafka::Error::Topic { .. }
            ) | Self::Table { .. }
        )
    }

    /// Which part failed, as the metric's label.
    #[must_use]
    pub fn part(&self) -> &'static str {
        match self {
            Self::SqlServer(_)
            | Self::Gap { .. }
            | Self::InstanceReplaced { .. }
            | Self::WentBack { .. }
            | Self::Restored { .. }
            | Self::Table { .. } => "sqlserver",
            Self::Kafka(_) | Self::Refused { .. } | Self::TooLarge { .. } | Self::State { .. } => {
                "kafka"
            }
            Self::Registry { .. } | Self::Schema { .. } => "registry",
            Self::Encode { .. } | Self::Task(_) => "source",
        }
    }
}
