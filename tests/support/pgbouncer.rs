//! PgBouncer in transaction mode before a PostgreSQL: each transaction may get another session.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;
use tokio_postgres::NoTls;

use crate::{
    child::Child,
    ports,
    postgres::{Postgres, account, as_account},
};

/// A running PgBouncer; stops when dropped.
#[derive(Debug)]
pub struct PgBouncer {
    port: u16,
    _child: Child,
    _folder: TempDir,
}

impl PgBouncer {
    /// Starts one with so many sessions for each database.
    ///
    /// # Errors
    /// It is not installed, or does not start; the message has the end of its log.
    pub async fn start(server: &Postgres, sessions: u32) -> Result<Self> {
        let program = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"]
            .into_iter()
            .find(|path| Path::new(path).exists())
            .context("find pgbouncer: `apt-get install pgbouncer`")?;
        let folder = tempfile::Builder::new()
            .prefix("causeway-pgbouncer-")
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir()
            .context("make a folder for PgBouncer")?;
        let port = ports::free()?;
        let users = folder.path().join("users");
        let user = format!("\"{}\" \"{}\"\n", server.user(), server.password());
        fs::write(&users, user).context("write the users")?;
        let settings = folder.path().join("pgbouncer.ini");
        fs::write(
            &settings,
            format!(
                "[databases]
* = host={} port={}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
pool_mode = transaction
default_pool_size = {sessions}
auth_type = scram-sha-256
auth_file = {}
",
                server.host(),
                server.port(),
                users.display(),
            ),
        )
        .context("write pgbouncer.ini")?;
        let account = account()?;
        if let Some((uid, gid)) = account {
            for path in [folder.path(), &users, &settings] {
                chown(path, Some(uid), Some(gid)).context("give PgBouncer its folder")?;
            }
        }
        let mut command: Command = as_account(Path::new(program), account);
        command.arg(&settings).current_dir(folder.path());
        let mut child =
            Child::start("pgbouncer", &mut command, folder.path(), Some(folder.path()))?;
        let end = std::time::Instant::now() + Duration::from_secs(30);
        let url =
            format!("postgres://{}:{}@127.0.0.1:{port}/postgres", server.user(), server.password());
        while let Err(error) = tokio_postgres::connect(&url, NoTls).await {
            child.must_run()?;
            if std::time::Instant::now() > end {
                bail!("PgBouncer does not answer: {error}\n{}", child.tail(20));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(Self { port, _child: child, _folder: folder })
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}
