//! [`Config`]: how to reach one database.

use std::{fmt, path::PathBuf, time::Duration};

use serde::Deserialize;
use tiberius::{AuthMethod, EncryptionLevel};

/// How much of the connection is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encrypt {
    /// All of it; the server must agree.
    #[default]
    Required,
    /// Only the login.
    Login,
    /// Nothing: for a server without TLS on a network that you trust.
    Off,
}

/// Which replica of an availability group may answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApplicationIntent {
    /// The primary.
    #[default]
    ReadWrite,
    /// A readable secondary, if the listener has one.
    ReadOnly,
}

/// How to reach one SQL Server database.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Host name or address; with TLS it must be a name in the server's certificate.
    pub host: String,
    /// TCP port.
    #[serde(default = "default_port")]
    pub port: u16,
    /// Database.
    pub database: String,
    /// SQL login.
    pub user: String,
    /// Its password.
    pub password: String,
    /// How much is encrypted.
    #[serde(default)]
    pub encrypt: Encrypt,
    /// Accept any certificate. Whoever can place himself between us and the server can then read along.
    #[serde(default)]
    pub trust_certificate: bool,
    /// PEM or DER file with the authority that signed the server's certificate, beside the system's own.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Which replica may answer.
    #[serde(default)]
    pub application_intent: ApplicationIntent,
    /// The name under which our sessions appear in `sys.dm_exec_sessions`.
    #[serde(default = "default_application_name")]
    pub application_name: String,
    /// How long connecting and logging in may take, in milliseconds.
    #[serde(default = "default_connect_timeout_ms")]
    pub connect_timeout_ms: u64,
    /// How long the server may keep us waiting for the next part of an answer, in milliseconds. Too short
    /// a time ends slow first answers on large tables.
    #[serde(default = "default_command_timeout_ms")]
    pub command_timeout_ms: u64,
    /// How long a statement waits for a lock, in milliseconds, before it is tried again.
    #[serde(default = "default_lock_timeout_ms")]
    pub lock_timeout_ms: u32,
}

fn default_port() -> u16 {
    1433
}

fn default_application_name() -> String {
    "causeway".to_owned()
}

fn default_connect_timeout_ms() -> u64 {
    15_000
}

fn default_command_timeout_ms() -> u64 {
    120_000
}

fn default_lock_timeout_ms() -> u32 {
    10_000
}

/// What is wrong with a [`Config`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A field that may not be empty.
    #[error("[sqlserver] {0} is empty")]
    Empty(&'static str),
    /// Two ways of trusting the server at once.
    #[error(
        "[sqlserver] trust_certificate = true accepts any certificate, so ca_file has no meaning; keep one of them"
    )]
    Trust,
    /// A file that cannot be read.
    #[error("[sqlserver] ca_file {0} cannot be read")]
    CaFile(PathBuf),
    /// A time that is none.
    #[error("[sqlserver] {0} is 0; it must be at least 1")]
    Zero(&'static str),
}

impl Config {
    /// Checks what types cannot say.
    pub fn validate(&self) -> Result<(), ConfigError> {
        for (name, value) in
            [("host", &self.host), ("database", &self.database), ("user", &self.user)]
        {
            if value.trim().is_empty() {
                return Err(ConfigError::Empty(name));
            }
        }
        for (name, value) in [
            ("connect_timeout_ms", self.connect_timeout_ms),
            ("command_timeout_ms", self.command_timeout_ms),
            ("lock_timeout_ms", u64::from(self.lock_timeout_ms)),
        ] {
            if value == 0 {
                return Err(ConfigError::Zero(name));
            }
        }
        if let Some(file) = &self.ca_file {
            if self.trust_certificate {
                return Err(ConfigError::Trust);
            }
            if std::fs::metadata(file).is_err() {
                return Err(ConfigError::CaFile(file.clone()));
            }
        }
        Ok(())
    }

    /// `host:port`, for messages.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The driver's form of it, for a server at `host`:`port` (a listener may send us elsewhere).
    pub(crate) fn driver(&self, host: &str, port: u16) -> tiberius::Config {
        let mut driver = tiberius::Config::new();
        driver.host(host);
        driver.port(port);
        driver.database(&self.database);
        driver.authentication(AuthMethod::sql_server(&self.user, &self.password));
        driver.application_name(&self.application_name);
        driver.encryption(match self.encrypt {
            Encrypt::Required => EncryptionLevel::Required,
            Encrypt::Login => EncryptionLevel::Off,
            Encrypt::Off => EncryptionLevel::NotSupported,
        });
        if self.trust_certificate {
            driver.trust_cert();
        } else if let Some(file) = &self.ca_file {
            driver.trust_cert_ca(file.display());
        }
        driver.readonly(self.application_intent == ApplicationIntent::ReadOnly);
        // The largest packet that a server agrees to: fewer headers and system calls per row.
        driver.packet_size(32_767);
        driver.handshake_timeout(Some(Duration::from_millis(self.connect_timeout_ms)));
        driver.command_timeout(Some(Duration::from_millis(self.command_timeout_ms)));
        // nvarchar may hold a lone surrogate; strict decoding would end the whole stream at it.
        driver.lossy_utf16_decoding(true);
        driver
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("address", &self.address())
            .field("database", &self.database)
            .field("user", &self.user)
            .field("password", &"***")
            .field("encrypt", &self.encrypt)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config {
            host: "db".to_owned(),
            port: default_port(),
            database: "shop".to_owned(),
            user: "causeway".to_owned(),
            password: "hidden".to_owned(),
            encrypt: Encrypt::default(),
            trust_certificate: false,
            ca_file: None,
            application_intent: ApplicationIntent::default(),
            application_name: default_application_name(),
            connect_timeout_ms: 1,
            command_timeout_ms: 1,
            lock_timeout_ms: 1,
        }
    }

    #[test]
    fn the_password_is_never_printed() {
        assert!(!format!("{:?}", config()).contains("hidden"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let empty = Config { database: " ".to_owned(), ..config() };
        assert_eq!(empty.validate(), Err(ConfigError::Empty("database")));
        let both =
            Config { trust_certificate: true, ca_file: Some(PathBuf::from("ca.pem")), ..config() };
        assert_eq!(both.validate(), Err(ConfigError::Trust));
        let gone = Config { ca_file: Some(PathBuf::from("no/such.pem")), ..config() };
        assert_eq!(gone.validate(), Err(ConfigError::CaFile(PathBuf::from("no/such.pem"))));
        assert_eq!(config().validate(), Ok(()));
    }
}
