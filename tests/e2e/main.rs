//! The pipeline as a user runs it: the binaries as processes on one causeway.toml, a real Kafka, a
//! real PostgreSQL, the SQL Server stand-in (or a real one, by `CAUSEWAY_TEST_SQLSERVER`).

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, also in the functions that its tests share"
)]

mod bad_input;
mod crash;
mod empty;
mod keyless;
mod memory;
mod repair;
mod restart;
mod snapshot;
mod stress;
mod transactions;

use std::time::Duration;

use causeway_tests::{
    kafka::Kafka, pipeline::Pipeline, postgres::Postgres, registry::Registry, shared,
    sqlserver::SqlServer,
};

/// How long a test waits for what should take a second: two cores run many things at once.
const LIMIT: Duration = Duration::from_secs(120);

/// How long a process may take to stop when asked.
const STOP: Duration = Duration::from_secs(30);

/// The shared servers.
struct Servers {
    sqlserver: &'static SqlServer,
    kafka: &'static Kafka,
    registry: &'static Registry,
    postgres: &'static Postgres,
}

impl Servers {
    async fn get() -> Self {
        let (sqlserver, kafka, registry, postgres) = tokio::join!(
            shared::sqlserver(),
            shared::kafka(),
            shared::registry(),
            shared::postgres()
        );
        Self { sqlserver, kafka, registry, postgres }
    }

    async fn pipeline(&self, what: &str) -> Pipeline {
        Pipeline::new(what, self.sqlserver, self.kafka, self.registry, self.postgres).await.unwrap()
    }
}
