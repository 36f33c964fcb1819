//! One connection.

use std::{sync::Arc, time::Duration};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};
use tokio::task::JoinSet;
use tokio_postgres::NoTls;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{Config, Pooler, PostgresError, Tls, error::Hidden};

/// A connection; it closes when it is dropped.
#[derive(Debug)]
pub struct Client {
    client: tokio_postgres::Client,
    // The task that moves the bytes; it ends with us.
    _io: JoinSet<()>,
}

impl std::ops::Deref for Client {
    type Target = tokio_postgres::Client;

    fn deref(&self) -> &Self::Target {
        &self.client
    }
}

impl std::ops::DerefMut for Client {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.client
    }
}

impl Client {
    /// Connects, and sets what our statements rely on: UTC, ISO dates, UTF-8.
    ///
    /// # Errors
    /// When the server cannot be reached, refuses us, or TLS cannot be had.
    pub async fn connect(config: &Config) -> Result<Self, PostgresError> {
        let failed =
            |source| PostgresError::Connect { server: config.server(), source: Hidden(source) };
        let mut io = JoinSet::new();
        let settings = settings(config);
        let limit = Duration::from_secs(config.connect_timeout_seconds.max(1));
        let connecting = async {
            Ok::<_, PostgresError>(match config.tls {
                Tls::Off => {
                    let (client, connection) = settings.connect(NoTls).await.map_err(failed)?;
                    io.spawn(watch(connection));
                    client
                }
                Tls::Require | Tls::Verify => {
                    let tls = MakeRustlsConnect::new(tls(config)?);
                    let (client, connection) = settings.connect(tls).await.map_err(failed)?;
                    io.spawn(watch(connection));
                    client
                }
            })
        };
        let client = tokio::time::timeout(limit, connecting).await.map_err(|_| {
            PostgresError::ConnectTimeout {
                server: config.server(),
                seconds: config.connect_timeout_seconds,
            }
        })??;
        Ok(Self { client, _io: io })
    }

    /// Runs statements that give no rows.
    ///
    /// # Errors
    /// What the server answers; `doing` says what we were at.
    pub async fn run(&self, doing: &str, sql: &str) -> Result<(), PostgresError> {
        self.client.batch_execute(sql).await.map_err(|e| PostgresError::statement(doing, e))
    }
}

async fn watch(connection: impl Future<Output = Result<(), tokio_postgres::Error>>) {
    // Whoever waits for an answer gets the error; this line is for a connection that nobody uses.
    if let Err(error) = connection.await {
        tracing::debug!(
            sqlstate = error.code().map(|c| c.code()),
            "connection to PostgreSQL ended"
        );
    }
}

pub(crate) fn settings(config: &Config) -> tokio_postgres::Config {
    let mut settings = tokio_postgres::Config::new();
    settings
        .host(&config.host)
        .port(config.port)
        .dbname(&config.database)
        .user(&config.user)
        .password(&config.password)
        .application_name("causeway")
        .keepalives_idle(Duration::from_secs(30))
        .tcp_user_timeout(Duration::from_secs(60))
        .ssl_mode(match config.tls {
            Tls::Off => tokio_postgres::config::SslMode::Disable,
            Tls::Require | Tls::Verify => tokio_postgres::config::SslMode::Require,
        });
    match config.pooler {
        Pooler::None => {
            settings.options(
                "-c TimeZone=UTC -c DateStyle=ISO -c extra_float_digits=1 -c client_min_messages=warning",
            );
        }
        // It would refuse them, or give them to one server connection only.
        Pooler::Transaction => {}
    }
    settings
}

/// What begins a transaction; with a pooler it must say what the connection could not.
#[must_use]
pub fn begin(config: &Config) -> &'static str {
    match config.pooler {
        Pooler::None => "BEGIN",
        Pooler::Transaction => {
            "BEGIN; SET LOCAL TimeZone = 'UTC'; SET LOCAL client_min_messages = warning"
        }
    }
}

pub(crate) fn tls(config: &Config) -> Result<ClientConfig, PostgresError> {
    let wrong = |error: &dyn std::fmt::Display| PostgresError::Tls(error.to_string());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| wrong(&e))?;
    if config.tls == Tls::Require {
        let verifier = Arc::new(Unverified(provider));
        return Ok(builder
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth());
    }
    let mut roots = RootCertStore::empty();
    let file = config
        .ca_file
        .as_ref()
        .ok_or_else(|| PostgresError::Tls("ca_file is missing".to_owned()))?;
    let read = |e: &dyn std::fmt::Display| {
        PostgresError::Tls(format!("read ca_file {}: {e}", file.display()))
    };
    for certificate in CertificateDer::pem_file_iter(file).map_err(|e| read(&e))? {
        let certificate = certificate.map_err(|e| read(&e))?;
        roots.add(certificate).map_err(|e| read(&e))?;
    }
    if roots.is_empty() {
        return Err(read(&"it holds no certificate"));
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// `tls = "require"`: what libpq's `sslmode=require` does, encryption against listeners only.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
