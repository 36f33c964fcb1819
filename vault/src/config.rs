//! The `[vault]` section.

use std::path::PathBuf;

use serde::Deserialize;

use crate::{Environment, File, Provider, Secret, VaultError};

/// How HashiCorp Vault is reached. Give `token`, or `role_id` and `secret_id`.
///
/// These values may themselves be `${env:NAME}` or `${file:path}`, as a whole: the vault must be
/// open before any other reference can be filled in.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where Vault listens: `http://host:port` or `https://host:port`. No default.
    pub address: String,
    /// A token that may read the secrets. For development, and for agents that renew one.
    #[serde(default)]
    pub token: Option<Secret>,
    /// AppRole: the role. Not secret by itself.
    #[serde(default)]
    pub role_id: Option<Secret>,
    /// AppRole: the secret of the role.
    #[serde(default)]
    pub secret_id: Option<Secret>,
    /// Where the AppRole method is mounted. Default `approle`.
    #[serde(default = "approle")]
    pub approle_mount: String,
    /// Where the key-value engine, version 2, is mounted. Default `secret`.
    #[serde(default = "secret")]
    pub mount: String,
    /// Vault Enterprise and HCP: the namespace. Default none.
    #[serde(default)]
    pub namespace: Option<String>,
    /// PEM file with the certificate authorities to trust besides the system's. Default none.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// How long one request may take, in milliseconds. Default 5,000.
    #[serde(default = "timeout_ms")]
    pub timeout_ms: u64,
}

fn approle() -> String {
    "approle".to_owned()
}

fn secret() -> String {
    "secret".to_owned()
}

fn timeout_ms() -> u64 {
    5_000
}

impl Config {
    /// Fills in the references that these values themselves have.
    ///
    /// # Errors
    ///
    /// When a reference cannot be answered, or is to the vault that is being opened.
    pub(crate) async fn expanded(&self) -> Result<Self, VaultError> {
        let mut config = self.clone();
        config.address = expand(&config.address).await?.expose().to_owned();
        let values = [&mut config.token, &mut config.role_id, &mut config.secret_id];
        for text in values.into_iter().flatten() {
            *text = expand(text.expose()).await?;
        }
        config.validate()?;
        Ok(config)
    }

    /// What types cannot say.
    ///
    /// # Errors
    ///
    /// Names the key and how to mend it.
    pub fn validate(&self) -> Result<(), VaultError> {
        let wrong = |message: &str| Err(VaultError::Config { message: message.to_owned() });
        let http = self.address.starts_with("http://") || self.address.starts_with("https://");
        if !http || url::Url::parse(&self.address).is_err() {
            return wrong("address must be a URL such as https://vault.example.com:8200");
        }
        if self.mount.trim_matches('/').is_empty()
            || self.approle_mount.trim_matches('/').is_empty()
        {
            return wrong("mount and approle_mount must not be empty");
        }
        if !(1..=600_000).contains(&self.timeout_ms) {
            return wrong("timeout_ms must be between 1 and 600000");
        }
        match (&self.token, &self.role_id, &self.secret_id) {
            (Some(_), None, None) | (None, Some(_), Some(_)) => Ok(()),
            (Some(_), _, _) => wrong("has both token and role_id/secret_id; keep one of the two"),
            (None, Some(_), None) => wrong("has role_id without secret_id"),
            (None, None, Some(_)) => wrong("has secret_id without role_id"),
            (None, None, None) => {
                wrong("needs token (such as \"${env:VAULT_TOKEN}\"), or role_id and secret_id")
            }
        }
    }
}

/// A value, or what the reference that it is stands for.
async fn expand(text: &str) -> Result<Secret, VaultError> {
    let reference = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    match reference.and_then(|reference| reference.split_once(':')) {
        None => Ok(Secret::new(text)),
        Some(("env", name)) => Environment.fetch(name).await,
        Some(("file", path)) => File.fetch(path).await,
        Some(_) => Err(VaultError::Config {
            message: format!("cannot use {text} for itself; use ${{env:NAME}} or ${{file:path}}"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(token: Option<&str>, role: Option<&str>, secret: Option<&str>) -> Config {
        Config {
            address: "http://127.0.0.1:8200".to_owned(),
            token: token.map(Secret::new),
            role_id: role.map(Secret::new),
            secret_id: secret.map(Secret::new),
            approle_mount: approle(),
            mount: super::secret(),
            namespace: None,
            ca_file: None,
            timeout_ms: timeout_ms(),
        }
    }

    #[test]
    fn one_way_to_log_in_is_needed() {
        for (token, role, secret, says) in [
            (Some("t"), None, None, None),
            (None, Some("r"), Some("s"), None),
            (None, None, None, Some("needs token")),
            (None, Some("r"), None, Some("without secret_id")),
            (None, None, Some("s"), Some("without role_id")),
            (Some("t"), Some("r"), Some("s"), Some("keep one")),
        ] {
            let outcome = config(token, role, secret).validate();
            match says {
                None => outcome.unwrap(),
                Some(says) => assert!(outcome.unwrap_err().to_string().contains(says)),
            }
        }
    }

    #[test]
    fn an_address_that_is_no_url_is_refused() {
        for address in ["", "127.0.0.1:8200", "vault", "http://", "ftp://a"] {
            let config = Config { address: address.to_owned(), ..config(Some("t"), None, None) };
            assert!(config.validate().is_err(), "{address:?} was accepted");
        }
    }

    #[tokio::test]
    async fn the_token_may_come_from_a_file_and_not_from_the_vault_itself() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "hvs.abc\n").unwrap();
        let written = format!("${{file:{}}}", path.display());
        let opened = config(Some(&written), None, None).expanded().await.unwrap();
        assert_eq!(opened.token.unwrap().expose(), "hvs.abc");
        let error = config(Some("${vault:a#b}"), None, None).expanded().await.unwrap_err();
        assert!(error.to_string().contains("for itself"), "{error}");
    }
}
