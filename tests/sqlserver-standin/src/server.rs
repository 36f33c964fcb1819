//! The listening server.

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::control;
use crate::session;
use crate::store::{Instance, Settings};
use crate::tds::prelogin::Encryption;
use crate::tds::reply::AttentionStyle;
use crate::tds::tls::{Identity, IdentityError};

/// How a stand-in is started.
#[derive(Clone, Debug)]
pub struct Options {
    pub listen: SocketAddr,
    pub sa_password: String,
    /// Time between a commit and its appearance in the change tables.
    pub capture_latency_ms: u64,
    pub encryption: Encryption,
    /// Every distinct SQL text, one a line: a JSON string, or `{"refused": NUMBER, "sql": TEXT}` when it
    /// does not parse.
    pub sql_log: Option<PathBuf>,
    /// Where the control interface listens.
    pub control: Option<SocketAddr>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            sa_password: "Causeway!Passw0rd".to_owned(),
            capture_latency_ms: 20,
            encryption: Encryption::default(),
            sql_log: None,
            control: None,
        }
    }
}

/// Why a stand-in did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("listening on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("creating the SQL log {}", path.display())]
    SqlLog {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("preparing the server's certificate")]
    Identity(#[from] IdentityError),
}

/// What all sessions share.
#[derive(Debug)]
pub struct Shared {
    /// Another one after a restart that loses the data.
    instance: Mutex<Arc<Instance>>,
    encryption: Encryption,
    identity: Identity,
    separate_attention: AtomicBool,
    spids: Mutex<BTreeSet<u16>>,
    sql_log: Mutex<SqlLog>,
}

/// More distinct texts than this are not remembered.
const SQL_LOG_LIMIT: usize = 50_000;

#[derive(Debug, Default)]
struct SqlLog {
    seen: HashSet<String>,
    file: Option<File>,
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub fn instance(&self) -> Arc<Instance> {
        Arc::clone(&lock(&self.instance))
    }

    /// As a restart: every connection closes; without its data the server begins anew.
    pub fn restart(&self, keep_data: bool) {
        let old = self.instance();
        if !keep_data {
            *lock(&self.instance) = Instance::new(old.settings.clone());
        }
        old.faults.drop_connections();
    }
    pub fn encryption(&self) -> Encryption {
        self.encryption
    }
    pub fn acceptor(&self) -> &TlsAcceptor {
        &self.identity.acceptor
    }
    pub fn attention_style(&self) -> AttentionStyle {
        if self.separate_attention.load(Ordering::Relaxed) {
            AttentionStyle::Separate
        } else {
            AttentionStyle::InReply
        }
    }
    pub fn set_attention_style(&self, style: AttentionStyle) {
        self.separate_attention.store(style == AttentionStyle::Separate, Ordering::Relaxed);
    }

    /// The lowest free session number; the first 50 are the system's, as on SQL Server.
    pub fn take_spid(&self) -> u16 {
        let mut used = lock(&self.spids);
        let free = (51..u16::MAX).find(|n| !used.contains(n)).unwrap_or(u16::MAX);
        used.insert(free);
        free
    }
    pub fn release_spid(&self, spid: u16) {
        lock(&self.spids).remove(&spid);
    }

    /// Remembers a distinct SQL text.
    pub fn note_sql(&self, sql: &str) {
        let mut log = lock(&self.sql_log);
        if log.seen.len() >= SQL_LOG_LIMIT || log.seen.contains(sql) {
            return;
        }
        log.seen.insert(sql.to_owned());
        let Some(file) = &mut log.file else { return };
        // what we refuse ourselves need not parse elsewhere
        let line = match crate::sql::parse(sql) {
            Ok(_) => serde_json::Value::from(sql),
            Err(e) => serde_json::json!({ "refused": e.number, "sql": sql }),
        };
        if let Err(e) = writeln!(file, "{line}") {
            tracing::error!(error = %e, "writing the SQL log; it ends here");
            log.file = None;
        }
    }
    /// The distinct SQL texts so far, sorted.
    pub fn sql_log(&self) -> Vec<String> {
        let mut all: Vec<String> = lock(&self.sql_log).seen.iter().cloned().collect();
        all.sort();
        all
    }
}

/// A running stand-in.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Where the control interface listens.
    pub control: Option<SocketAddr>,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Server {
    /// Starts listening. Dropping the server stops it without waiting.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let listener = bind(options.listen).await?;
        let addr = address(&listener, options.listen)?;
        let file = match options.sql_log {
            None => None,
            Some(path) => match File::create(&path) {
                Ok(f) => Some(f),
                Err(source) => return Err(StartError::SqlLog { path, source }),
            },
        };
        let settings = Settings {
            sa_password: options.sa_password,
            capture_latency_ms: options.capture_latency_ms,
            ..Settings::default()
        };
        let shared = Arc::new(Shared {
            instance: Mutex::new(Instance::new(settings)),
            encryption: options.encryption,
            identity: Identity::generate()?,
            separate_attention: AtomicBool::new(
                AttentionStyle::default() == AttentionStyle::Separate,
            ),
            spids: Mutex::default(),
            sql_log: Mutex::new(SqlLog { seen: HashSet::new(), file }),
        });
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&shared), stopped.clone()));
        let control = match options.control {
            None => None,
            Some(at) => {
                let listener = bind(at).await?;
                let bound = address(&listener, at)?;
                tasks.spawn(control::serve(listener, Arc::clone(&shared), stopped));
                Some(bound)
            }
        };
        Ok(Self { addr, control, shared, stop, tasks })
    }

    /// Closes the listener and all connections; open transactions roll back.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }

    /// The certificate a client has to trust, as PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.shared.identity.certificate_pem
    }
    pub fn instance(&self) -> Arc<Instance> {
        self.shared.instance()
    }
    /// The distinct SQL texts that clients have sent, sorted.
    pub fn sql_log(&self) -> Vec<String> {
        self.shared.sql_log()
    }
    /// How interrupted replies are acknowledged from now on.
    pub fn set_attention_style(&self, style: AttentionStyle) {
        self.shared.set_attention_style(style);
    }
}

async fn bind(at: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(at).await.map_err(|source| StartError::Listen { address: at, source })
}

fn address(listener: &TcpListener, at: SocketAddr) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|source| StartError::Listen { address: at, source })
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, from)) => {
                    if let Err(e) = socket.set_nodelay(true) {
                        tracing::warn!(error = %e, "setting TCP_NODELAY");
                    }
                    let shared = Arc::clone(&shared);
                    sessions.spawn(async move {
                        let mut dropped = shared.instance().faults.dropped();
                        tokio::select! {
                            served = session::serve(socket, shared) => if let Err(e) = served {
                                tracing::info!(error = %e, %from, "session ended");
                            },
                            // only ever dropped whole: the connection and its transaction with it
                            _ = dropped.changed() => tracing::info!(%from, "connection dropped"),
                        }
                    });
                }
                Err(e) => {
                    // out of descriptors, or the client was gone again: neither ends the server
                    tracing::warn!(error = %e, "accepting a connection");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
            },
            Some(_) = sessions.join_next() => {}
            _ = stop.changed() => break,
        }
    }
    sessions.shutdown().await;
}
