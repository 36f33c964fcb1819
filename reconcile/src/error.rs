//! Why a table, or a whole run, could not be compared.

use causeway_change::TableId;

use crate::digest::DigestError;

/// An error of the reconciler. None of them ever becomes "equal" or "missing".
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// SQL Server could not be read.
    #[error("read {table} from SQL Server")]
    Source {
        /// The table.
        table: TableId,
        /// What happened.
        #[source]
        source: Box<causeway_sqlserver::SqlServerError>,
    },
    /// PostgreSQL could not be read.
    #[error("read {table} from PostgreSQL")]
    Target {
        /// The table, by its name in the source.
        table: TableId,
        /// What happened.
        #[source]
        source: Box<causeway_postgres::PostgresError>,
    },
    /// The captured tables could not be listed.
    #[error("list the captured tables of SQL Server")]
    Catalog(#[source] causeway_sqlserver::SqlServerError),
    /// A connection could not be opened.
    #[error("connect to SQL Server")]
    ConnectSource(#[source] causeway_sqlserver::SqlServerError),
    /// A connection could not be opened.
    #[error("connect to PostgreSQL")]
    ConnectTarget(#[source] causeway_postgres::PostgresError),
    /// The stream could not be looked at.
    #[error("ask Kafka how far the pipeline is")]
    Kafka(#[source] Box<causeway_kafka::Error>),
    /// The sink's offsets could not be read.
    #[error("ask PostgreSQL how far the sink is")]
    Progress(#[source] Box<causeway_postgres::PostgresError>),
    /// The pipeline is too far behind.
    #[error(
        "wait for the pipeline: after {seconds} s {who} what SQL Server had of {table}; is it running? A larger \
         [reconcile] fence_timeout_seconds waits longer"
    )]
    Fence {
        /// The table.
        table: TableId,
        /// Who is behind, as the beginning of a sentence.
        who: &'static str,
        /// The limit.
        seconds: u64,
    },
    /// The run was stopped.
    #[error("compare {table}: the run was stopped before its end")]
    Stopped {
        /// The table.
        table: TableId,
    },
    /// The first copy is not whole yet.
    #[error(
        "compare {table}: the source has not finished its first copy, or does not replicate it; compare it when it \
         has, or leave it out by [reconcile] exclude"
    )]
    Copying {
        /// The table.
        table: TableId,
    },
    /// The tables of the history could not be read or written.
    #[error("keep the history in PostgreSQL")]
    History(#[source] Box<causeway_postgres::PostgresError>),
    /// A worker ended with a panic.
    #[error(
        "compare {table}: a worker ended early; this is a defect of causeway-reconcile, please report it"
    )]
    Worker {
        /// The table.
        table: TableId,
    },
    /// A pattern is not one.
    #[error("{0}")]
    Pattern(String),
    /// A row has no canonical form.
    #[error("compare {table}")]
    Digest {
        /// The table.
        table: TableId,
        /// What happened.
        #[source]
        source: DigestError,
    },
    /// Rows could not be put aside.
    #[error(
        "compare {table}: keep its rows in a temporary file (is the disk of the temporary folder full?)"
    )]
    Spool {
        /// The table.
        table: TableId,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
}

impl ReconcileError {
    /// True when only the pipeline was too far behind: exit code 5.
    #[must_use]
    pub fn is_fence(&self) -> bool {
        matches!(self, Self::Fence { .. })
    }

    /// True when SQL Server gave up waiting for a lock.
    /// <https://learn.microsoft.com/sql/relational-databases/errors-events/mssqlserver-1222-database-engine-error>
    #[must_use]
    pub fn is_source_lock_timeout(&self) -> bool {
        matches!(self, Self::Source { source, .. } if source.number() == Some(1222))
    }

    /// True when the run was stopped: what is missing can be gone on with.
    #[must_use]
    pub fn is_stop(&self) -> bool {
        matches!(self, Self::Stopped { .. })
    }
}
