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
