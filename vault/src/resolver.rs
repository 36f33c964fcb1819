//! A reference to the provider that answers it.

use crate::{Config, Environment, File, Hashicorp, Provider, VaultError};

/// Answers `vault:path#key`, `env:NAME` and `file:path`.
#[derive(Debug)]
pub struct Resolver {
    hashicorp: Option<Hashicorp>,
}

/// A resolver; `config` is the `[vault]` section, if there is one. Vault itself is not asked until
/// the first `vault:` reference is.
///
/// # Errors
///
/// When the section cannot work, or its own references cannot be answered.
pub async fn resolver(config: Option<&Config>) -> Result<Resolver, VaultError> {
    let hashicorp = match config {
        None => None,
        Some(config) => Some(Hashicorp::new(config.expanded().await?)?),
    };
    Ok(Resolver { hashicorp })
}

impl Resolver {
    /// The secret that `reference` stands for, in the clear.
    ///
    /// # Errors
    ///
    /// When it cannot be had; the error names the reference and says what to do.
    pub async fn lookup(&self, reference: &str) -> Result<String, VaultError> {
        let secret = match reference.split_once(':') {
            Some(("env", name)) => Environment.fetch(name).await?,
            Some(("file", path)) => File.fetch(path).await?,
            Some(("vault", name)) => match &self.hashicorp {
                Some(vault) => vault.fetch(name).await?,
                None => {
                    return Err(VaultError::NotConfigured { reference: reference.to_owned() });
                }
            },
            Some(_) | None => return Err(VaultError::Form { reference: reference.to_owned() }),
        };
        Ok(secret.expose().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_scheme_has_its_provider() {
        let resolver = resolver(None).await.unwrap();
        assert!(!resolver.lookup("env:PATH").await.unwrap().is_empty());
        for (reference, says) in [
            ("env:CAUSEWAY_NEVER_SET", "CAUSEWAY_NEVER_SET is not set"),
            ("file:/nowhere/secret", "/nowhere/secret"),
            ("vault:a#b", "needs a [vault] section"),
            ("consul:a", "is not a reference"),
            ("a", "is not a reference"),
        ] {
            let error = resolver.lookup(reference).await.unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
