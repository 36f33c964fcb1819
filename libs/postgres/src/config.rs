//! The section `[postgres]`.

use std::{collections::BTreeMap, path::PathBuf};

use causeway_change::TableId;
use serde::Deserialize;

/// How PostgreSQL is reached, and how its schemas are called.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Host name or address.
    pub host: String,
    /// Port.
    #[serde(default = "port")]
    pub port: u16,
    /// Database.
    pub database: String,
    /// User; needs CREATE on the database for the first start, and on the target schemas.
    pub user: String,
    /// Password.
    #[serde(default)]
    pub password: String,
    /// Encryption.
    #[serde(default)]
    pub tls: Tls,
    /// A file with the authorities that signed the server's certificate, PEM; for `tls = "verify"`.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Source schema -> target schema. A schema that is not named keeps its name.
    #[serde(default = "schemas")]
    pub schemas: BTreeMap<String, String>,
    /// What stands between us and the server.
    #[serde(default)]
    pub pooler: Pooler,
    /// Seconds until a connection attempt is given up.
    #[serde(default = "connect_timeout")]
    pub connect_timeout_seconds: u64,
}

/// Encryption of the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// None.
    Off,
    /// Encrypted, the server is not verified.
    Require,
    /// Encrypted, and the server's certificate must be signed by `ca_file` for `host`.
    #[default]
    Verify,
}

/// What stands between us and the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooler {
    /// Nothing: a connection is a session.
    #[default]
    None,
    /// A pooler such as PgBouncer in transaction mode: a session ends with its transaction, so nothing is
    /// set at the start of a connection, and no prepared statement has a name.
    Transaction,
}

fn port() -> u16 {
    5432
}

fn connect_timeout() -> u64 {
    10
}

fn schemas() -> BTreeMap<String, String> {
    BTreeMap::from([("dbo".to_owned(), "public".to_owned())])
}

impl Config {
    /// Schema and name of the target of a source table.
    #[must_use]
    pub fn target(&self, table: &TableId) -> (String, String) {
        let schema = self.schemas.get(&table.schema).unwrap_or(&table.schema);
        (schema.clone(), table.name.clone())
    }

    /// Address and database, for messages.
    #[must_use]
    pub fn server(&self) -> String {
        format!("{}:{}, database {}", self.host, self.port, self.database)
    }

    /// What types cannot say.
    ///
    /// # Errors
    /// A sentence that names the key and says what it must be.
    pub fn validate(&self) -> Result<(), String> {
        if self.tls == Tls::Verify && self.ca_file.is_none() {
            return Err(
                "[postgres] tls is \"verify\" (the default), which needs ca_file; or set tls = \
                        \"require\" (encrypted, not verified) or \"off\""
                    .to_owned(),
            );
        }
        Ok(())
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("database", &self.database)
            .field("user", &self.user)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}
