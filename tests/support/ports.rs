//! Free TCP ports of 127.0.0.1.

use std::{collections::BTreeSet, net::TcpListener, sync::Mutex};

use anyhow::{Context as _, Result, bail};

/// A port that nobody listens on, and that this process has not been given before.
///
/// Between our look and the server's start another process may take it: servers that can choose
/// their port themselves should.
///
/// # Errors
/// The system gives none.
pub fn free() -> Result<u16> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    for _ in 0..100 {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("find a free port")?;
        let port = listener.local_addr().context("find a free port")?.port();
        let mut given = GIVEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if given.insert(port) {
            return Ok(port);
        }
    }
    bail!("find a free port: the system gives the same ones again and again")
}
