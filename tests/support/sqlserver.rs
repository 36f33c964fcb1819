//! A SQL Server: the stand-in as a process of its own, or a real one that runs already.

use std::{
    fs,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;
use tiberius::{AuthMethod, Config, EncryptionLevel};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt as _};

use crate::{binaries, child::Child, env, wait};

/// A connection to SQL Server.
pub type Client = tiberius::Client<Compat<TcpStream>>;

/// A running server; the stand-in stops when dropped, and its data with it.
#[derive(Debug)]
pub struct SqlServer {
    host: String,
    port: u16,
    sa_password: String,
    own: Option<(Child, TempDir)>,
}

/// How a stand-in differs from the usual one.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long after a commit the capture job sees it, in milliseconds.
    pub capture_latency_ms: u32,
    /// Further arguments of the stand-in.
    pub arguments: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { capture_latency_ms: 20, arguments: Vec::new() }
    }
}

impl SqlServer {
    /// Starts the stand-in.
    ///
    /// # Errors
    /// It is not built and cannot be, or does not start.
    pub async fn start(options: Options) -> Result<Self> {
        let binary = binaries::path("sqlserver-standin");
        let folder = tempfile::Builder::new()
            .prefix("causeway-sqlserver-")
            .tempdir()
            .context("make a folder for the stand-in")?;
        let sa_password = "Causeway-Test-1".to_owned();
        let secret = folder.path().join("sa-password");
        fs::write(&secret, &sa_password).context("write the stand-in's password")?;
        let mut command = Command::new(&binary);
        command
            .args(["--listen", "127.0.0.1:0", "--sa-password-file"])
            .arg(&secret)
            .args(["--capture-latency-ms", &options.capture_latency_ms.to_string()])
            .args(&options.arguments)
            .args(sql_log(&options)?)
            .current_dir(folder.path());
        let mut child =
            Child::start("sqlserver-standin", &mut command, folder.path(), Some(folder.path()))?;
        let end = std::time::Instant::now() + Duration::from_secs(30);
        let port = loop {
            let said = child.stdout() + &child.stderr();
            let address = said.split("listening on ").nth(1).and_then(|rest| rest.lines().next());
            let port = address.and_then(|address| address.trim().rsplit(':').next()?.parse().ok());
            if let Some(port) = port {
                break port;
            }
            child.must_run()?;
            if std::time::Instant::now() > end {
                bail!("the stand-in does not listen after 30 s:\n{}", child.tail(30));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let host = "127.0.0.1".to_owned();
        Ok(Self { host, port, sa_password, own: Some((child, folder)) })
    }

    /// A server that runs already, at `sqlserver://sa:password@host:port`.
    ///
    /// # Errors
    /// The URL is not one, or names another user.
    pub fn external(url: &str) -> Result<Self> {
        let parse = || {
            let (login, address) = url.strip_prefix("sqlserver://")?.rsplit_once('@')?;
            let password = login.strip_prefix("sa:")?;
            let (host, port) = address.trim_end_matches('/').rsplit_once(':')?;
            Some((host.to_owned(), port.parse().ok()?, password.to_owned()))
        };
        let (host, port, sa_password) =
            parse().context("CAUSEWAY_TEST_SQLSERVER: sqlserver://sa:password@host:port")?;
        Ok(Self { host, port, sa_password, own: None })
    }

    /// True for the stand-in, false for a real SQL Server.
    #[must_use]
    pub fn is_standin(&self) -> bool {
        self.own.is_some()
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

    /// The password of `sa`.
    #[must_use]
    pub fn sa_password(&self) -> &str {
        &self.sa_password
    }

    /// The process id; none when the server is not ours.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.own.as_ref().map(|(child, _)| child.pid())
    }

    /// The last lines of the stand-in's log.
    #[must_use]
    pub fn tail(&self, lines: usize) -> String {
        self.own.as_ref().map(|(child, _)| child.tail(lines)).unwrap_or_default()
    }

    /// Connects as `sa`, with TLS.
    ///
    /// # Errors
    /// The server is away, or has no such database.
    pub async fn client(&self, db: &str) -> Result<Client> {
        let mut config = Config::new();
        config.host(&self.host);
        config.port(self.port);
        config.database(db);
        config.authentication(AuthMethod::sql_server("sa", &self.sa_password));
        config.encryption(EncryptionLevel::Required);
        config.trust_cert();
        config.application_name("causeway-tests");
        // On the heap: tiberius' login is a future of 18 kB.
        let connect = async {
            let tcp = TcpStream::connect(config.get_addr()).await?;
            tcp.set_nodelay(true)?;
            let login = Box::pin(tiberius::Client::connect(config, tcp.compat_write()));
            anyhow::Ok(login.await?)
        };
        tokio::time::timeout(Duration::from_secs(30), connect)
            .await
            .unwrap_or_else(|_| bail!("no answer to the login in 30 s"))
            .with_context(|| {
                format!("connect to SQL Server at {}:{}, database {db}", self.host, self.port)
            })
    }

    /// Runs one batch of T-SQL on a connection of its own.
    ///
    /// # Errors
    /// What the server answers, with the batch.
    pub async fn exec(&self, db: &str, sql: &str) -> Result<()> {
        let mut client = self.client(db).await?;
        exec(&mut client, sql).await
    }

    /// Makes a database, with SNAPSHOT isolation allowed and CDC on.
    ///
    /// # Errors
    /// What the server answers.
    pub async fn create_captured_database(&self, name: &str) -> Result<()> {
        let mut master = self.client("master").await?;
        exec(&mut master, &format!("CREATE DATABASE [{name}]")).await?;
        exec(&mut master, &format!("ALTER DATABASE [{name}] SET ALLOW_SNAPSHOT_ISOLATION ON"))
            .await?;
        self.exec(name, "EXEC sys.sp_cdc_enable_db").await
    }

    /// Makes CDC capture a table, and waits until the capture instance answers.
    ///
    /// # Errors
    /// What the server answers.
    pub async fn capture(&self, db: &str, schema: &str, table: &str) -> Result<()> {
        let mut client = self.client(db).await?;
        exec(
            &mut client,
            &format!(
                "EXEC sys.sp_cdc_enable_table @source_schema = N'{schema}', @source_name = \
                 N'{table}', @role_name = NULL"
            ),
        )
        .await?;
        let instance = format!("{schema}_{table}");
        wait::until("the capture instance", Duration::from_secs(60), || async {
            let mut client = self.client(db).await?;
            let row = client
                .simple_query(format!("SELECT sys.fn_cdc_get_min_lsn(N'{instance}') AS lsn"))
                .await?
                .into_row()
                .await?;
            let lsn = row.and_then(|row| row.get::<&[u8], _>(0).map(<[u8]>::to_vec));
            Ok(lsn.filter(|lsn| lsn.iter().any(|byte| *byte != 0)).map(|_| ()))
        })
        .await
    }

    /// SIGKILL for the stand-in: all it held is gone.
    pub fn kill9(&mut self) {
        if let Some((child, _)) = self.own.as_mut() {
            child.kill9();
        }
    }
}

/// Where the stand-in writes the SQL texts that it is sent, when the environment asks for them.
fn sql_log(options: &Options) -> Result<Vec<String>> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let Some(folder) = env::var(env::SQL_LOG) else { return Ok(Vec::new()) };
    if options.arguments.iter().any(|argument| argument == "--sql-log") {
        return Ok(Vec::new());
    }
    fs::create_dir_all(&folder).with_context(|| format!("make {folder}"))?;
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let file = format!("{folder}/{}-{count}.jsonl", std::process::id());
    Ok(vec!["--sql-log".to_owned(), file])
}

/// Runs one batch of T-SQL to its end.
///
/// # Errors
/// What the server answers, with the start of the batch.
pub async fn exec(client: &mut Client, sql: &str) -> Result<()> {
    let start: String = sql.chars().take(300).collect();
    client
        .simple_query(sql)
        .await
        .with_context(|| format!("run {start}"))?
        .into_results()
        .await
        .with_context(|| format!("run {start}"))?;
    Ok(())
}

/// Runs one query and gives all rows of its first result.
///
/// # Errors
/// What the server answers, with the start of the query.
pub async fn rows(client: &mut Client, sql: &str) -> Result<Vec<tiberius::Row>> {
    let start: String = sql.chars().take(300).collect();
    client
        .simple_query(sql)
        .await
        .with_context(|| format!("run {start}"))?
        .into_first_result()
        .await
        .with_context(|| format!("run {start}"))
}
