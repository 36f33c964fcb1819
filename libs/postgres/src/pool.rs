//! Connections that are used for a while and given back.

use deadpool_postgres::{
    Manager, ManagerConfig, Object, PoolError, RecyclingMethod, Runtime, Timeouts,
};
use tokio_postgres::NoTls;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{Config, PostgresError, Tls, client, error::Hidden};

/// A connection of a [`Pool`]; it goes back when it is dropped.
pub type Pooled = Object;

/// A bounded set of connections to one database.
#[derive(Clone)]
pub struct Pool {
    pool: deadpool_postgres::Pool,
    config: Config,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Pool {
    /// A pool of at most `size` connections; none is opened yet.
    ///
    /// # Errors
    /// When TLS cannot be set up from the configuration.
    pub fn new(config: Config, size: usize) -> Result<Self, PostgresError> {
        let settings = client::settings(&config);
        // A connection that was lost while idle is found before it is handed out.
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Verified };
        let manager = match config.tls {
            Tls::Off => Manager::from_config(settings, NoTls, recycling),
            Tls::Require | Tls::Verify => {
                let tls = MakeRustlsConnect::new(client::tls(&config)?);
                Manager::from_config(settings, tls, recycling)
            }
        };
        let limit = std::time::Duration::from_secs(config.connect_timeout_seconds.max(1));
        let pool = deadpool_postgres::Pool::builder(manager)
            .max_size(size.max(1))
            .runtime(Runtime::Tokio1)
            .timeouts(Timeouts { wait: None, create: Some(limit), recycle: Some(limit) })
            .build()
            .map_err(|error| PostgresError::Tls(error.to_string()))?;
        Ok(Self { pool, config })
    }

    /// A connection; it goes back when it is dropped.
    ///
    /// # Errors
    /// When a new one is needed and cannot be had.
    pub async fn get(&self) -> Result<Pooled, PostgresError> {
        self.pool.get().await.map_err(|error| match error {
            PoolError::Backend(source) => {
                PostgresError::Connect { server: self.config.server(), source: Hidden(source) }
            }
            PoolError::Timeout(_) => PostgresError::ConnectTimeout {
                server: self.config.server(),
                seconds: self.config.connect_timeout_seconds,
            },
            other @ (PoolError::Closed
            | PoolError::NoRuntimeSpecified
            | PoolError::PostCreateHook(_)) => PostgresError::Tls(other.to_string()),
        })
    }
}
