//! [`SqlServerError`]: what went wrong with SQL Server, and whether waiting can help.

use causeway_change::LsnError;

/// What went wrong, in words that name the server, the table or the column, and never a row's value.
#[derive(Debug, thiserror::Error)]
pub enum SqlServerError {
    /// No TCP connection.
    #[error("cannot reach SQL Server at {address}")]
    Connect {
        /// `host:port`
        address: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The TLS handshake failed.
    #[error(
        "no encrypted connection to SQL Server at {address}; mend the certificate, name its CA in `ca_file`, \
         or set `trust_certificate = true` on a network that you trust"
    )]
    Tls {
        /// `host:port`
        address: String,
        /// Why.
        #[source]
        source: Box<tiberius::error::Error>,
    },
    /// The server refused the login or the database.
    #[error("SQL Server at {address} refused user `{user}` on database `{database}`")]
    Login {
        /// `host:port`
        address: String,
        /// Login name.
        user: String,
        /// Database asked for.
        database: String,
        /// The server's words.
        #[source]
        source: Box<tiberius::error::Error>,
    },
    /// The login lacks a right.
    #[error("no right to {doing}")]
    Permission {
        /// What we were doing.
        doing: String,
        /// The server's words.
        #[source]
        source: Box<tiberius::error::Error>,
    },
    /// The server answered with an error.
    #[error("{doing}")]
    Server {
        /// What we were doing.
        doing: String,
        /// The server's error number.
        number: u32,
        /// The server's words.
        #[source]
        source: Box<tiberius::error::Error>,
    },
    /// The connection failed, or its answer could not be understood.
    #[error("{doing}: the connection to SQL Server failed")]
    Connection {
        /// What we were doing.
        doing: String,
        /// Why.
        #[source]
        source: Box<tiberius::error::Error>,
    },
    /// The connection was left in the middle of an answer and may not be used again.
    #[error("{doing}: the connection was closed in the middle of an answer")]
    Broken {
        /// What we were doing.
        doing: String,
    },
    /// A value is not of the kind that its column declares.
    #[error("column {column}: SQL Server sent {sent} where {expected} was expected")]
    Value {
        /// Column name, or the position in our own query.
        column: String,
        /// What came.
        sent: String,
        /// What its declaration says.
        expected: String,
    },
    /// An LSN that is none.
    #[error("column {column} holds no LSN")]
    Lsn {
        /// Column name, or the position in our own query.
        column: String,
        /// Why.
        #[source]
        source: LsnError,
    },
    /// The catalogue says something that cannot be.
    #[error("the catalogue of the database is not as expected: {0}")]
    Catalog(String),
}

/// Error numbers that pass by themselves: deadlock, lock timeout, resource limits, shutdown, failover, a
/// database that is still recovering, metadata that changed under a snapshot.
/// <https://learn.microsoft.com/sql/relational-databases/errors-events/database-engine-events-and-errors>
const PASSING: &[u32] = &[
    596, 615, 617, 669, 671, 701, 802, 845, 846, 847, 904, 921, 922, 924, 926, 927, 952, 976, 978,
    979, 982, 983, 1203, 1204, 1205, 1222, 1807, 3906, 3960, 3961, 3966, 6005, 8628, 8645, 8651,
    10928, 10929, 10936, 14355, 16528, 17142, 17830, 17889, 18401, 20041, 40143, 40197, 40501,
    40540, 40613, 41301, 41302, 41305, 41325, 41839, 42108, 42109, 45153, 45161, 45168, 45169,
    49918, 49919, 49920, 64, 121, 233, 10053, 10054, 10060, 22859,
];

/// Error numbers that say that a right is missing.
const FORBIDDEN: &[u32] = &[229, 230, 262, 297, 300, 371, 15247, 916];

/// Error numbers with which a login or the opening of a database is refused.
const REFUSED: &[u32] =
    &[4060, 4062, 4064, 18452, 18456, 18463, 18464, 18470, 18486, 18487, 18488, 916];

impl SqlServerError {
    /// From what the driver says about a statement.
    pub(crate) fn of(doing: &str, source: tiberius::error::Error) -> Self {
        let source = Box::new(source);
        let doing = doing.to_owned();
        match source.code() {
            Some(number) if FORBIDDEN.contains(&number) => Self::Permission { doing, source },
            Some(number) => Self::Server { doing, number, source },
            None => Self::Connection { doing, source },
        }
    }

    /// From what the driver says about a login.
    pub(crate) fn of_login(
        address: &str,
        user: &str,
        database: &str,
        source: tiberius::error::Error,
    ) -> Self {
        if matches!(source, tiberius::error::Error::Tls(_)) {
            return Self::Tls { address: address.to_owned(), source: Box::new(source) };
        }
        match source.code() {
            Some(number) if REFUSED.contains(&number) => Self::Login {
                address: address.to_owned(),
                user: user.to_owned(),
                database: database.to_owned(),
                source: Box::new(source),
            },
            _ => Self::of(&format!("log in to SQL Server at {address}"), source),
        }
    }

    /// True when the same attempt may succeed later without anybody's help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Broken { .. } => true,
            Self::Connection { source, .. } => {
                // A reply that cannot be decoded comes again; a cut connection does not.
                matches!(
                    **source,
                    tiberius::error::Error::Io { .. } | tiberius::error::Error::Routing { .. }
                )
            }
            Self::Server { number, .. } => PASSING.contains(number),
            Self::Tls { .. }
            | Self::Login { .. }
            | Self::Permission { .. }
            | Self::Value { .. }
            | Self::Lsn { .. }
            | Self::Catalog(_) => false,
        }
    }

    /// True when a right is missing.
    #[must_use]
    pub fn is_permission(&self) -> bool {
        matches!(self, Self::Permission { .. })
    }

    /// The server's error number, when it is the server that refused.
    #[must_use]
    pub fn number(&self) -> Option<u32> {
        match self {
            Self::Server { number, .. } => Some(*number),
            Self::Tls { source, .. }
            | Self::Login { source, .. }
            | Self::Permission { source, .. }
            | Self::Connection { source, .. } => source.code(),
            Self::Connect { .. }
            | Self::Broken { .. }
            | Self::Value { .. }
            | Self::Lsn { .. }
            | Self::Catalog(_) => None,
        }
    }

    /// True when an object that the statement names does not exist (208) or lacks a column (207).
    #[must_use]
    pub fn is_missing_object(&self) -> bool {
        matches!(self.number(), Some(207 | 208))
    }

    /// True when nothing more may be asked on the connection that gave this error.
    pub(crate) fn breaks_connection(&self) -> bool {
        match self {
            Self::Connect { .. }
            | Self::Tls { .. }
            | Self::Login { .. }
            | Self::Connection { .. }
            | Self::Broken { .. } => true,
            Self::Permission { source, .. } | Self::Server { source, .. } => {
                // From severity 20 on the server ends the session.
                matches!(&**source, tiberius::error::Error::Server(e) if e.class() >= 20)
            }
            Self::Value { .. } | Self::Lsn { .. } | Self::Catalog(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn io() -> tiberius::error::Error {
        tiberius::error::Error::Io {
            kind: std::io::ErrorKind::UnexpectedEof,
            message: "end".to_owned(),
        }
    }

    #[test]
    fn a_cut_connection_passes_and_a_misunderstood_reply_does_not() {
        assert!(SqlServerError::of("read", io()).is_transient());
        let protocol = tiberius::error::Error::Protocol("odd token".into());
        let error = SqlServerError::of("read", protocol);
        assert!(!error.is_transient());
        assert!(error.breaks_connection());
    }

    #[test]
    fn trap_20_a_schema_change_under_a_snapshot_passes() {
        // 3961: the metadata changed since the snapshot began; 3960: another wrote the row first.
        for number in [3960, 3961] {
            assert!(PASSING.contains(&number), "{number}");
        }
        assert!(PASSING.iter().all(|number| !FORBIDDEN.contains(number)));
    }

    #[test]
    fn a_tls_error_says_how_to_mend_it() {
        let error = SqlServerError::of_login(
            "db:1433",
            "causeway",
            "shop",
            tiberius::error::Error::Tls("UnknownIssuer".to_owned()),
        );
        assert!(error.to_string().contains("ca_file"), "{error}");
        assert!(!error.is_transient());
    }
}
