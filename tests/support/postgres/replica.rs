//! A physical standby, and its promotion: what a fail-over leaves behind.

use std::{fs, os::unix::fs::PermissionsExt as _};

use anyhow::{Context as _, Result};

use super::{Own, Postgres, as_account};
use crate::{cache, ports};

impl Postgres {
    /// A standby that follows this server, asynchronously.
    ///
    /// # Errors
    /// The server is not ours, or the copy fails.
    pub async fn standby(&self) -> Result<Self> {
        let own = self.own.as_ref().context("only a server of our own has a standby")?;
        let folder = tempfile::Builder::new()
            .prefix("causeway-standby-")
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir()
            .context("make a folder for a standby")?;
        if let Some((uid, gid)) = own.account {
            std::os::unix::fs::chown(folder.path(), Some(uid), Some(gid))
                .context("give the standby its folder")?;
        }
        let mut command = as_account(&own.bin.join("pg_basebackup"), own.account);
        command
            .args([
                "--write-recovery-conf",
                "--checkpoint=fast",
                "--wal-method=stream",
                "--no-sync",
            ])
            .args(["--host", &self.host, "--username", &self.user])
            .arg(format!("--port={}", self.port))
            .arg(format!("--pgdata={}", folder.path().join("data").display()))
            .env("PGPASSWORD", &self.password)
            .current_dir(folder.path());
        tokio::task::spawn_blocking(move || cache::run(&mut command))
            .await
            .context("copy the server")?
            .context("copy the server")?;
        let mut standby = Self {
            host: self.host.clone(),
            port: ports::free()?,
            user: self.user.clone(),
            password: self.password.clone(),
            own: Some(Own {
                options: own.options.clone(),
                bin: own.bin.clone(),
                account: own.account,
                child: None,
                folder,
            }),
        };
        standby.restart().await?;
        Ok(standby)
    }

    /// The standby hears no more of its primary: what that one commits from now on is lost in a
    /// fail-over.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn cut_off(&self) -> Result<()> {
        let client = self.client("postgres").await?;
        client
            .batch_execute("ALTER SYSTEM SET primary_conninfo = ''")
            .await
            .context("cut the standby off")?;
        client.batch_execute("SELECT pg_reload_conf()").await.context("cut the standby off")?;
        crate::wait::until(
            "the standby to be alone",
            std::time::Duration::from_secs(30),
            || async {
                let client = self.client("postgres").await?;
                let sql = "SELECT count(*) FROM pg_stat_wal_receiver";
                let receivers: i64 = client.query_one(sql, &[]).await?.get(0);
                Ok((receivers == 0).then_some(()))
            },
        )
        .await
    }

    /// Becomes a primary, at the port of the one that is gone.
    ///
    /// # Errors
    /// It is no standby, or does not start there.
    pub async fn promote(&mut self, port: u16) -> Result<()> {
        let client = self.client("postgres").await?;
        let sql = "SELECT pg_promote(true, 60)";
        let promoted: bool = client.query_one(sql, &[]).await.context("promote")?.get(0);
        anyhow::ensure!(promoted, "the standby is not promoted after 60 s");
        drop(client);
        self.port = port;
        self.restart().await
    }
}
