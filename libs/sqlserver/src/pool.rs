//! [`Pool`]: connections that wait for their next use.

use std::sync::{Mutex, PoisonError};

use crate::{Client, Config, SqlServerError};

/// Connections to one database. Broken ones are dropped, a few idle ones are kept.
#[derive(Debug)]
pub struct Pool {
    config: Config,
    idle: Mutex<Vec<Client>>,
    idle_max: usize,
}

impl Pool {
    /// A pool without connections that keeps at most `idle_max` of them open unused.
    #[must_use]
    pub fn new(config: Config, idle_max: usize) -> Self {
        Self { config, idle: Mutex::new(Vec::new()), idle_max }
    }

    /// Where it connects to.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// An idle connection, or a new one.
    pub async fn get(&self) -> Result<Client, SqlServerError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle {
            Some(client) => Ok(client),
            None => Client::connect(&self.config).await,
        }
    }

    /// Gives a connection back; a broken one is closed.
    pub fn put(&self, client: Client) {
        if client.is_broken() {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.idle_max {
            idle.push(client);
        }
    }

    /// Closes the idle connections: after a failure they are likely to be dead too.
    pub fn clear(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
