//! One server of each kind for the whole test process, started when first asked for.
//!
//! The environment variables of [`crate::env`] replace them by servers that run already.

use anyhow::Result;
use tokio::sync::OnceCell;

use crate::{env, kafka::Kafka, postgres::Postgres, registry::Registry, sqlserver};

/// The shared PostgreSQL.
///
/// # Panics
/// It does not start: no test can go on.
pub async fn postgres() -> &'static Postgres {
    static SERVER: OnceCell<Postgres> = OnceCell::const_new();
    started(
        SERVER
            .get_or_try_init(|| async {
                match env::var(env::POSTGRES_URL) {
                    Some(url) => Postgres::external(&url),
                    None => Postgres::start().await,
                }
            })
            .await,
    )
}

/// The shared Kafka broker.
///
/// # Panics
/// It does not start: no test can go on.
pub async fn kafka() -> &'static Kafka {
    static SERVER: OnceCell<Kafka> = OnceCell::const_new();
    started(
        SERVER
            .get_or_try_init(|| async {
                match env::var(env::KAFKA_BOOTSTRAP) {
                    Some(bootstrap) => Ok(Kafka::external(&bootstrap)),
                    None => Kafka::start().await,
                }
            })
            .await,
    )
}

/// The shared schema registry.
///
/// # Panics
/// It does not start: no test can go on.
pub async fn registry() -> &'static Registry {
    static SERVER: OnceCell<Registry> = OnceCell::const_new();
    started(
        SERVER
            .get_or_try_init(|| async {
                match env::var(env::SCHEMA_REGISTRY_URL) {
                    Some(url) => Ok(Registry::external(&url)),
                    None => Registry::start().await,
                }
            })
            .await,
    )
}

/// The shared SQL Server.
///
/// # Panics
/// It does not start: no test can go on.
pub async fn sqlserver() -> &'static sqlserver::SqlServer {
    static SERVER: OnceCell<sqlserver::SqlServer> = OnceCell::const_new();
    started(
        SERVER
            .get_or_try_init(|| async {
                match env::var(env::SQLSERVER) {
                    Some(url) => sqlserver::SqlServer::external(&url),
                    None => sqlserver::SqlServer::start(sqlserver::Options::default()).await,
                }
            })
            .await,
    )
}

fn started<T>(server: Result<&'static T>) -> &'static T {
    server.unwrap_or_else(|error| panic!("a shared test server does not start: {error:#}"))
}
