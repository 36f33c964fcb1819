//! What a failure of PostgreSQL means. Decided here and nowhere else.

use tokio_postgres::error::{Error, SqlState};

/// What to do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It passes: reconnect, wait, and do the same again, for as long as it takes.
    Transient,
    /// One record cannot be stored: it is isolated and becomes a dead letter.
    Record,
    /// The table is not as expected: look at it again, change it, retry.
    Schema,
    /// A person must act first: rights, configuration, or something that is not known.
    Stop,
}

/// A failure of PostgreSQL, or of talking to it.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// The server could not be reached or refused us.
    #[error("connect to PostgreSQL at {server}{}", detail(source))]
    Connect {
        /// Address and database.
        server: String,
        /// What happened.
        #[source]
        source: Hidden,
    },
    /// The server did not answer in time.
    #[error(
        "connect to PostgreSQL at {server}: no answer within {seconds} s; is the address right, is a firewall between?"
    )]
    ConnectTimeout {
        /// Address and database.
        server: String,
        /// The limit.
        seconds: u64,
    },
    /// TLS cannot be set up from the configuration.
    #[error("set up TLS for PostgreSQL: {0}")]
    Tls(String),
    /// A statement failed.
    #[error("{doing}{}", detail(source))]
    Statement {
        /// What we were doing, with the table.
        doing: String,
        /// What happened. Its own text may quote row values, so it is not shown as it is.
        #[source]
        source: Hidden,
    },
    /// A name that PostgreSQL would cut or cannot hold.
    #[error(
        "the name {name:?} has {bytes} bytes; PostgreSQL's names have 1 to 63 and no NUL. Rename it in the source or exclude it"
    )]
    Name {
        /// The name.
        name: String,
        /// Its length in UTF-8.
        bytes: usize,
    },
    /// A row that PostgreSQL sent is not what the column should hold.
    #[error("read column {column} of {table}: {why}")]
    Row {
        /// Schema and table.
        table: String,
        /// Column.
        column: String,
        /// Why, without the value.
        why: String,
    },
}

/// An error of the driver whose text must not be printed: PostgreSQL quotes values in its DETAIL, and
/// for some errors in the message.
pub struct Hidden(pub Error);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.code().map_or("connection lost", SqlState::code))
    }
}

impl std::fmt::Display for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self, f)
    }
}

impl std::error::Error for Hidden {}

/// What can be told of an error without its values: SQLSTATE, its meaning, table, column, constraint.
fn detail(error: &Hidden) -> String {
    let Some(db) = error.0.as_db_error() else {
        return match std::error::Error::source(&error.0) {
            Some(cause) => format!(": {}: {cause}", error.0),
            None => format!(": {}", error.0),
        };
    };
    let mut text = format!(": SQLSTATE {}", db.code().code());
    if message_is_safe(db.code()) {
        text.push_str(&format!(" ({})", db.message()));
    }
    for (name, value) in
        [("table", db.table()), ("column", db.column()), ("constraint", db.constraint())]
    {
        if let Some(value) = value {
            text.push_str(&format!(", {name} {value}"));
        }
    }
    if *db.code() == SqlState::DISK_FULL {
        text.push_str(". Free space on the disk of PostgreSQL's data; work goes on by itself then");
    }
    text
}

/// Messages of data exceptions (class 22) quote the value, and a trigger's RAISE (class P0) may say
/// anything; the others name objects only.
fn message_is_safe(code: &SqlState) -> bool {
    !code.code().starts_with("22") && !code.code().starts_with("P0")
}

impl PostgresError {
    /// A failed statement.
    #[must_use]
    pub fn statement(doing: impl Into<String>, source: Error) -> Self {
        Self::Statement { doing: doing.into(), source: Hidden(source) }
    }

    /// What to do about it.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Connect { source, .. } => match source.0.code() {
                // Nothing from the server: it is away.
                None => Class::Transient,
                Some(code) => of_code(code),
            },
            Self::ConnectTimeout { .. } => Class::Transient,
            Self::Statement { source, .. } => match source.0.code() {
                None if source.0.is_closed() => Class::Transient,
                None => of_driver(&source.0),
                Some(code) => of_code(code),
            },
            Self::Tls(_) | Self::Name { .. } | Self::Row { .. } => Class::Stop,
        }
    }

    /// True when waiting may help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.class() == Class::Transient
    }

    /// SQLSTATE, when the server sent one.
    #[must_use]
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Connect { source, .. } | Self::Statement { source, .. } => {
                source.0.code().map(SqlState::code)
            }
            Self::ConnectTimeout { .. } | Self::Tls(_) | Self::Name { .. } | Self::Row { .. } => {
                None
            }
        }
    }

    /// Column and constraint that the server names.
    #[must_use]
    pub fn names(&self) -> (Option<&str>, Option<&str>) {
        match self {
            Self::Statement { source, .. } => match source.0.as_db_error() {
                Some(db) => (db.column(), db.constraint()),
                None => (None, None),
            },
            Self::Connect { .. }
            | Self::ConnectTimeout { .. }
            | Self::Tls(_)
            | Self::Name { .. }
            | Self::Row { .. } => (None, None),
        }
    }
}

/// Errors without SQLSTATE: those of the network pass, those of the driver (a parameter that does not
/// fit its type) do not.
fn of_driver(error: &Error) -> Class {
    let mut cause = std::error::Error::source(error);
    while let Some(one) = cause {
        if one.is::<std::io::Error>() {
            return Class::Transient;
        }
        cause = one.source();
    }
    Class::Stop
}

/// PostgreSQL's Appendix A, by class and, where a class is mixed, by code.
fn of_code(code: &SqlState) -> Class {
    let code = code.code();
    match code {
        // serialization_failure, deadlock_detected, lock_not_available, query_canceled,
        // read_only_sql_transaction (a fail-over left us on the replica), idle timeouts
        "40001" | "40P01" | "55P03" | "57014" | "25006" | "25P03" => return Class::Transient,
        // undefined_column, undefined_table, undefined_object, invalid_schema_name, datatype_mismatch
        "42703" | "42P01" | "42704" | "3F000" | "42804" => return Class::Schema,
        _ => {}
    }
    match code.get(..2).unwrap_or_default() {
        // connection exceptions; transaction rollback; operator intervention; insufficient resources: a full disk,
        // memory, connections. Nothing is wrong with what we do, and it is right again when there is room
        "08" | "40" | "53" | "57" => Class::Transient,
        // data exceptions; integrity constraint violations
        "22" | "23" => Class::Record,
        // A CHECK OPTION of a view, an exception raised by a trigger: about this row.
        "44" | "P0" => Class::Record,
        // rights, configuration, internal errors
        _ => Class::Stop,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_by_its_sqlstate() {
        for (code, class) in [
            (SqlState::CONNECTION_FAILURE, Class::Transient),
            (SqlState::ADMIN_SHUTDOWN, Class::Transient),
            (SqlState::CANNOT_CONNECT_NOW, Class::Transient),
            (SqlState::T_R_DEADLOCK_DETECTED, Class::Transient),
            (SqlState::T_R_SERIALIZATION_FAILURE, Class::Transient),
            (SqlState::READ_ONLY_SQL_TRANSACTION, Class::Transient),
            (SqlState::TOO_MANY_CONNECTIONS, Class::Transient),
            (SqlState::STRING_DATA_RIGHT_TRUNCATION, Class::Record),
            (SqlState::CHARACTER_NOT_IN_REPERTOIRE, Class::Record),
            (SqlState::CHECK_VIOLATION, Class::Record),
            (SqlState::NOT_NULL_VIOLATION, Class::Record),
            (SqlState::RAISE_EXCEPTION, Class::Record),
            (SqlState::UNDEFINED_COLUMN, Class::Schema),
            (SqlState::DISK_FULL, Class::Transient),
            (SqlState::OUT_OF_MEMORY, Class::Transient),
            (SqlState::INSUFFICIENT_PRIVILEGE, Class::Stop),
            (SqlState::INVALID_PASSWORD, Class::Stop),
            (SqlState::INTERNAL_ERROR, Class::Stop),
        ] {
            assert_eq!(of_code(&code), class, "{}", code.code());
        }
    }
}
