//! `vault:path#key`: HashiCorp Vault, key-value engine version 2.
//!
//! API: <https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2> and
//! <https://developer.hashicorp.com/vault/api-docs/auth/approle>.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Mutex, OnceCell};
use vaultrs::client::{Client, VaultClient, VaultClientSettingsBuilder};
use vaultrs::error::ClientError;

use crate::{Config, Provider, Secret, VaultError};

/// The keys and values of one secret.
type Entries = Arc<BTreeMap<String, Value>>;

/// A Vault that is logged in to when the first secret is asked for, and asked once for each path.
pub struct Hashicorp {
    config: Config,
    client: OnceCell<VaultClient>,
    read: Mutex<HashMap<String, Entries>>,
}

impl fmt::Debug for Hashicorp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hashicorp").field("address", &self.config.address).finish_non_exhaustive()
    }
}

impl Provider for Hashicorp {
    /// `name` is `path#key`.
    async fn fetch(&self, name: &str) -> Result<Secret, VaultError> {
        let (path, key) = split(name)?;
        let entries = self.entries(path).await?;
        let Some(value) = entries.get(key) else {
            let known = match entries.len() {
                0 => "no keys".to_owned(),
                _ => entries.keys().cloned().collect::<Vec<_>>().join(", "),
            };
            return Err(VaultError::MissingKey {
                path: path.to_owned(),
                key: key.to_owned(),
                known,
            });
        };
        match value {
            Value::String(text) => Ok(Secret::new(text.clone())),
            Value::Number(number) => Ok(Secret::new(number.to_string())),
            Value::Bool(truth) => Ok(Secret::new(truth.to_string())),
            Value::Null | Value::Array(_) | Value::Object(_) => {
                Err(VaultError::Shape { path: path.to_owned(), key: key.to_owned() })
            }
        }
    }
}

impl Hashicorp {
    /// A Vault as configured; nothing is sent yet.
    ///
    /// # Errors
    ///
    /// When the configuration cannot work.
    pub fn new(config: Config) -> Result<Self, VaultError> {
        config.validate()?;
        Ok(Self { config, client: OnceCell::new(), read: Mutex::new(HashMap::new()) })
    }

    async fn entries(&self, path: &str) -> Result<Entries, VaultError> {
        let mut read = self.read.lock().await;
        if let Some(entries) = read.get(path) {
            return Ok(entries.clone());
        }
        let client = self.client.get_or_try_init(|| self.log_in()).await?;
        let mount = self.config.mount.trim_matches('/');
        let entries: BTreeMap<String, Value> = vaultrs::kv2::read(client, mount, path)
            .await
            .map_err(|error| self.explain(Doing::Read { path }, error))?;
        let entries = Arc::new(entries);
        read.insert(path.to_owned(), entries.clone());
        Ok(entries)
    }

    async fn log_in(&self) -> Result<VaultClient, VaultError> {
        let mut client = self.client()?;
        if let (Some(role), Some(secret)) = (&self.config.role_id, &self.config.secret_id) {
            let mount = self.config.approle_mount.trim_matches('/');
            let login =
                vaultrs::auth::approle::login(&client, mount, role.expose(), secret.expose());
            let auth = login.await.map_err(|error| self.explain(Doing::Login, error))?;
            client.set_token(&auth.client_token);
            tracing::debug!(
                address = self.config.address,
                lease_seconds = auth.lease_duration,
                "logged in to Vault by AppRole"
            );
        }
        Ok(client)
    }

    /// vaultrs fills what is not set from the environment; everything is set here, so that the
    /// configuration file alone says how Vault is reached.
    fn client(&self) -> Result<VaultClient, VaultError> {
        let config = &self.config;
        let ca_certs = config.ca_file.iter().map(|path| path.display().to_string()).collect();
        let mut builder = VaultClientSettingsBuilder::default();
        builder
            .address(&config.address)
            .ca_certs(ca_certs)
            .identity(None)
            .timeout(Some(Duration::from_millis(config.timeout_ms)))
            .token(config.token.as_ref().map_or("", Secret::expose))
            .verify(true);
        if let Some(namespace) = &config.namespace {
            builder.set_namespace(namespace.clone());
        }
        let settings = builder
            .build()
            .map_err(|error| VaultError::Config { message: format!("cannot be used: {error}") })?;
        VaultClient::new(settings).map_err(|error| {
            if let ClientError::FileReadError { path, source } = error {
                return VaultError::File { path, source };
            }
            if let ClientError::ParseCertificateError { path, .. } = error {
                let message = format!("ca_file {path} is not a PEM file with certificates");
                return VaultError::Config { message };
            }
            self.explain(Doing::Login, error)
        })
    }

    /// vaultrs says little more than a status code; Vault's documentation says what each means.
    fn explain(&self, doing: Doing<'_>, error: ClientError) -> VaultError {
        let address = self.config.address.clone();
        let mount = self.config.mount.trim_matches('/').to_owned();
        let text = match doing {
            Doing::Login => "log in to Vault".to_owned(),
            Doing::Read { path } => format!("read the secret {path}"),
        };
        let Some((status, said)) = status(&error) else {
            return if is_answer(&error) {
                VaultError::Answer { doing: text, address, source: error }
            } else {
                VaultError::Unreachable { doing: text, address, source: error }
            };
        };
        match (doing, status) {
            (_, 503 | 473) => VaultError::Sealed { doing: text, address },
            (Doing::Login, 400 | 403) => VaultError::Login {
                address,
                mount: self.config.approle_mount.trim_matches('/').to_owned(),
            },
            (Doing::Read { path }, 403) => {
                VaultError::Denied { doing: text, policy: format!("{mount}/data/{path}") }
            }
            (Doing::Read { path }, 404) => VaultError::MissingPath { mount, path: path.to_owned() },
            (Doing::Login | Doing::Read { .. }, status) => {
                VaultError::Refused { doing: text, address, status, said }
            }
        }
    }
}

/// What was asked for when it failed.
#[derive(Clone, Copy)]
enum Doing<'a> {
    Login,
    Read { path: &'a str },
}

/// `path#key`, with a path that stays below its mount.
fn split(name: &str) -> Result<(&str, &str), VaultError> {
    let form = || VaultError::Form { reference: format!("vault:{name}") };
    let (path, key) = name.split_once('#').ok_or_else(form)?;
    let path = path.trim_matches('/');
    let stays = path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    let plain = !path.contains(['?', '%', '\\']) && !path.contains(char::is_control);
    if !stays || !plain || key.is_empty() {
        return Err(form());
    }
    Ok((path, key))
}

/// The HTTP status of a refusal and Vault's words.
fn status(error: &ClientError) -> Option<(u16, String)> {
    use vaultrs::error::ClientError as E;
    if let E::APIError { code, errors } = error {
        let said =
            if errors.is_empty() { String::new() } else { format!(": {}", errors.join("; ")) };
        return Some((*code, said));
    }
    // An error body without `errors`, as for a deleted version.
    if let E::RestClientError {
        source: rustify::errors::ClientError::ServerResponseError { code, .. },
    } = error
    {
        return Some((*code, String::new()));
    }
    None
}

/// Whether a server answered at all.
fn is_answer(error: &ClientError) -> bool {
    use rustify::errors::ClientError as Rest;
    match error {
        ClientError::ResponseEmptyError
        | ClientError::ResponseDataEmptyError
        | ClientError::ResponseWrapError
        | ClientError::JsonParseError { .. } => true,
        ClientError::RestClientError { source } => matches!(
            source,
            Rest::ResponseParseError { .. }
                | Rest::ResponseConversionError { .. }
                | Rest::DataParseError { .. }
        ),
        ClientError::APIError { .. }
        | ClientError::FileNotFoundError { .. }
        | ClientError::FileReadError { .. }
        | ClientError::FileWriteError { .. }
        | ClientError::InvalidLoginMethodError
        | ClientError::ParseCertificateError { .. }
        | ClientError::RestClientBuildError { .. }
        | ClientError::WrapInvalidError
        | ClientError::InvalidUpdateParameter => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_path_below_the_mount_and_a_key() {
        for (name, expected) in [
            ("shop/sqlserver#password", ("shop/sqlserver", "password")),
            ("/shop/#k", ("shop", "k")),
            ("a#b#c", ("a", "b#c")),
        ] {
            assert_eq!(split(name).unwrap(), expected, "{name}");
        }
        for name in
            ["", "a", "#k", "a#", "../sys#k", "a/../b#k", "a//b#k", "a?list=true#k", "a%2f#k"]
        {
            assert!(split(name).is_err(), "{name:?} was accepted");
        }
    }
}
