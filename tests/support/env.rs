//! The environment variables that the test support reads.

/// Point the tests at a PostgreSQL that runs already: `postgres://user:password@host:port`.
pub const POSTGRES_URL: &str = "POSTGRES_URL";
/// Point the tests at a Kafka broker that runs already: `host:port`.
pub const KAFKA_BOOTSTRAP: &str = "KAFKA_BOOTSTRAP";
/// Point the tests at a schema registry that runs already: the base URL of Confluent's API.
pub const SCHEMA_REGISTRY_URL: &str = "SCHEMA_REGISTRY_URL";
/// Point the tests at a SQL Server that runs already: `sqlserver://sa:password@host:port`.
pub const SQLSERVER: &str = "CAUSEWAY_TEST_SQLSERVER";
/// The certificate (a PEM file) of the server that [`SQLSERVER`] names, for clients that want to know it.
pub const SQLSERVER_CERTIFICATE: &str = "CAUSEWAY_TEST_SQLSERVER_CERTIFICATE";
/// A folder in which each stand-in leaves the SQL texts that it was sent; see `scripts/tsql-check.sh`.
pub const SQL_LOG: &str = "CAUSEWAY_SQL_LOG";

/// The value of an environment variable; an empty one counts as not set.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "test support has no settings file to ask")]
pub fn var(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
