//! A PostgreSQL server of its own.

use std::{
    fs,
    ops::{Deref, DerefMut},
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_postgres::{Config, NoTls, config::Host};

use crate::{cache, child::Child, ports, wait};

mod replica;

/// A running server; stops and is removed when dropped.
#[derive(Debug)]
pub struct Postgres {
    host: String,
    port: u16,
    user: String,
    password: String,
    own: Option<Own>,
}

#[derive(Debug)]
struct Own {
    options: Options,
    bin: PathBuf,
    account: Option<(u32, u32)>,
    child: Option<Child>,
    // After the child: fields are dropped in order, and the server must be gone first.
    folder: TempDir,
}

impl Own {
    /// Kills the server and its sessions; gives the process ids of the sessions.
    fn kill9(&mut self) -> Vec<String> {
        let Some(mut child) = self.child.take() else { return Vec::new() };
        // Each session is a process group of its own, and only finds out when it next looks.
        let sessions = children_of(child.pid());
        child.kill9();
        for session in &sessions {
            drop(Command::new("sh").args(["-c", "kill -KILL $0 2>/dev/null", session]).status());
        }
        sessions
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // A session that lives on would write into the folder while it is removed.
        self.kill9();
    }
}

/// How a server differs from the usual one.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Write to the disk at every commit. Only a crash of the machine needs it; SIGKILL of the
    /// server loses nothing without.
    pub fsync: bool,
    /// Further settings, `name = value`.
    pub settings: Vec<(String, String)>,
    /// The folder that its own folder is made in.
    pub within: Option<PathBuf>,
    /// Where its log of changes (WAL) is to be, if not with its data.
    pub wal: Option<PathBuf>,
}

impl Postgres {
    /// Starts a server with the usual options.
    ///
    /// # Errors
    /// PostgreSQL is not installed, or does not start; the message has the end of its log.
    pub async fn start() -> Result<Self> {
        Self::start_with(Options::default()).await
    }

    /// Starts a server.
    ///
    /// # Errors
    /// PostgreSQL is not installed, or does not start; the message has the end of its log.
    pub async fn start_with(options: Options) -> Result<Self> {
        let bin = find()?;
        let account = account()?;
        let within = options.within.clone().unwrap_or_else(std::env::temp_dir);
        let folder = tempfile::Builder::new()
            .prefix("causeway-postgres-")
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir_in(within)
            .context("make a folder for PostgreSQL")?;
        let (user, password) = ("postgres".to_owned(), "causeway-test".to_owned());
        let secret = folder.path().join("password");
        fs::write(&secret, &password).context("write the password for initdb")?;
        if let Some((uid, gid)) = account {
            let wal = options.wal.as_deref();
            for path in [folder.path(), &secret].into_iter().chain(wal) {
                chown(path, Some(uid), Some(gid)).context("give PostgreSQL its folder")?;
            }
        }
        let mut initdb = as_account(&bin.join("initdb"), account);
        initdb
            .args(["--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256"])
            .arg(format!("--username={user}"))
            .arg(format!("--pwfile={}", secret.display()))
            .arg(format!("--pgdata={}", folder.path().join("data").display()))
            .current_dir(folder.path());
        if let Some(wal) = &options.wal {
            initdb.arg("--waldir").arg(wal);
        }
        cache::run(&mut initdb).context("make a PostgreSQL cluster")?;
        let mut server = Self {
            host: "127.0.0.1".to_owned(),
            port: ports::free()?,
            user,
            password,
            own: Some(Own { options, bin, account, child: None, folder }),
        };
        server.restart().await?;
        Ok(server)
    }

    /// A server that runs already, at `postgres://user:password@host:port`.
    ///
    /// # Errors
    /// The URL is not one.
    pub fn external(url: &str) -> Result<Self> {
        let config: Config =
            url.parse().context("POSTGRES_URL: postgres://user:password@host:port")?;
        let host = match config.get_hosts().first() {
            Some(Host::Tcp(host)) => host.clone(),
            Some(Host::Unix(path)) => path.display().to_string(),
            None => bail!("POSTGRES_URL names no host"),
        };
        Ok(Self {
            host,
            port: config.get_ports().first().copied().unwrap_or(5432),
            user: config.get_user().unwrap_or("postgres").to_owned(),
            password: String::from_utf8_lossy(config.get_password().unwrap_or_default())
                .into_owned(),
            own: None,
        })
    }

    /// `postgres://user:password@host:port/DB`.
    #[must_use]
    pub fn url(&self, db: &str) -> String {
        let Self { host, port, user, password, .. } = self;
        format!("postgres://{user}:{password}@{host}:{port}/{db}")
    }

    /// The host, without port.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A superuser.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The password of [`Self::user`].
    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }

    /// Makes an empty database.
    ///
    /// # Errors
    /// There is one of that name, or the server is away.
    pub async fn create_database(&self, name: &str) -> Result<()> {
        let client = self.client("postgres").await?;
        client
            .batch_execute(&format!(r#"CREATE DATABASE "{}""#, name.replace('"', "\"\"")))
            .await
            .with_context(|| format!("create database {name}"))
    }

    /// Connects as the superuser.
    ///
    /// # Errors
    /// The server is away, or has no such database.
    pub async fn client(&self, db: &str) -> Result<Client> {
        let (client, connection) = Config::new()
            .host(&self.host)
            .port(self.port)
            .user(&self.user)
            .password(&self.password)
            .dbname(db)
            .application_name("causeway-tests")
            .connect_timeout(Duration::from_secs(5))
            .connect(NoTls)
            .await
            .with_context(|| format!("connect to PostgreSQL at {}:{}", self.host, self.port))?;
        let mut task = JoinSet::new();
        // When the connection breaks, every call of the client says so.
        task.spawn(async move { drop(connection.await) });
        Ok(Client { client, _connection: task })
    }

    /// The process id of the postmaster; none when the server is not ours or is down.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.own.as_ref()?.child.as_ref().map(Child::pid)
    }

    /// SIGKILL for the server and all its sessions, as when the machine fails.
    pub async fn kill9(&mut self) {
        let sessions = self.own.as_mut().map(Own::kill9).unwrap_or_default();
        let all_gone = || async {
            Ok(sessions.iter().all(|pid| !Path::new("/proc").join(pid).exists()).then_some(()))
        };
        // A server that starts beside a living session refuses; `restart` would say so.
        drop(wait::until("the sessions to end", Duration::from_secs(5), all_gone).await);
    }

    /// Starts the server again on the same data and port.
    ///
    /// # Errors
    /// It does not start; the message has the end of its log.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill9().await;
        let port = self.port;
        let Some(own) = self.own.as_mut() else { bail!("PostgreSQL is not ours to restart") };
        let mut command = as_account(&own.bin.join("postgres"), own.account);
        let on_off = |on: bool| if on { "on" } else { "off" };
        let mut settings = vec![
            ("listen_addresses", "127.0.0.1".to_owned()),
            ("port", port.to_string()),
            ("unix_socket_directories", String::new()),
            ("max_connections", "100".to_owned()),
            ("shared_buffers", "128MB".to_owned()),
            ("max_wal_size", "2GB".to_owned()),
            ("fsync", on_off(own.options.fsync).to_owned()),
            // Off would keep the last commits in the server's memory: SIGKILL would lose them.
            ("synchronous_commit", "on".to_owned()),
            ("full_page_writes", on_off(own.options.fsync).to_owned()),
            ("timezone", "UTC".to_owned()),
            ("log_timezone", "UTC".to_owned()),
        ];
        settings.extend(own.options.settings.iter().map(|(k, v)| (k.as_str(), v.clone())));
        command.arg("-D").arg(own.folder.path().join("data")).current_dir(own.folder.path());
        for (name, value) in settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        let folder = own.folder.path();
        own.child = Some(Child::start("postgres", &mut command, folder, Some(folder))?);
        let end = std::time::Instant::now() + Duration::from_secs(60);
        loop {
            match self.client("postgres").await {
                Ok(_) => return Ok(()),
                Err(error) if std::time::Instant::now() > end => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
            if let Some(child) = self.own.as_mut().and_then(|own| own.child.as_mut()) {
                child.must_run()?;
            }
        }
    }
}

/// A connection: a [`tokio_postgres::Client`] and the task that moves its bytes.
#[derive(Debug)]
pub struct Client {
    client: tokio_postgres::Client,
    _connection: JoinSet<()>,
}

impl Deref for Client {
    type Target = tokio_postgres::Client;

    fn deref(&self) -> &tokio_postgres::Client {
        &self.client
    }
}

impl DerefMut for Client {
    fn deref_mut(&mut self) -> &mut tokio_postgres::Client {
        &mut self.client
    }
}

/// The folder of the newest server programs.
fn find() -> Result<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin")))
        })
        .filter(|(_, bin): &(u32, PathBuf)| bin.join("postgres").exists())
        .collect();
    found.sort();
    if let Some((_, bin)) = found.pop() {
        return Ok(bin);
    }
    let path = crate::env::var("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
        .context("find PostgreSQL: no /usr/lib/postgresql/*/bin; `apt-get install postgresql`, or set POSTGRES_URL")
}

/// The account to run the server as: it refuses to run as root.
pub(crate) fn account() -> Result<Option<(u32, u32)>> {
    let id = |args: &[&str]| -> Result<u32> {
        cache::run(Command::new("id").args(args))?.trim().parse().context("read a user id")
    };
    if id(&["-u"])? != 0 {
        return Ok(None);
    }
    for name in ["postgres", "nobody"] {
        if let (Ok(uid), Ok(gid)) = (id(&["-u", name]), id(&["-g", name])) {
            return Ok(Some((uid, gid)));
        }
    }
    bail!("run PostgreSQL: it refuses to run as root, and there is no user postgres or nobody")
}

pub(crate) fn as_account(program: &Path, account: Option<(u32, u32)>) -> Command {
    let Some((uid, gid)) = account else { return Command::new(program) };
    let mut command = Command::new("setpriv");
    command
        .arg(format!("--reuid={uid}"))
        .arg(format!("--regid={gid}"))
        .arg("--clear-groups")
        .arg(program);
    command
}

fn children_of(pid: u32) -> Vec<String> {
    fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .unwrap_or_default()
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}
