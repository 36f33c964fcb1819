//! What can go wrong on the way to a secret, and what to do about it.

use std::io;

use vaultrs::error::ClientError;

/// Why a secret could not be had. Names the reference, never the secret.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The `[vault]` section cannot work.
    #[error("[vault] {message}")]
    Config {
        /// The key, and how to mend it.
        message: String,
    },
    /// `vault:...` is used and there is no `[vault]`.
    #[error("{reference} needs a [vault] section with address and token, or role_id and secret_id")]
    NotConfigured {
        /// The reference.
        reference: String,
    },
    /// The reference has no form that we know.
    #[error("{reference} is not a reference; write vault:path#key, env:NAME or file:path")]
    Form {
        /// The reference.
        reference: String,
    },
    /// A variable of the environment.
    #[error("the environment variable {name} {why}; set it before the start")]
    Environment {
        /// Its name.
        name: String,
        /// Unset, empty, not text.
        why: &'static str,
    },
    /// A secret file.
    #[error("read the secret file {path}")]
    File {
        /// Its path.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Vault does not answer.
    #[error(
        "{doing}: Vault at {address} cannot be reached; check [vault] address, the network and TLS (ca_file)"
    )]
    Unreachable {
        /// What we asked for.
        doing: String,
        /// Where.
        address: String,
        /// Why not.
        #[source]
        source: ClientError,
    },
    /// Vault answers that it is sealed, or a standby that cannot serve.
    #[error(
        "{doing}: Vault at {address} is sealed or not ready; unseal it (vault operator unseal) and start again"
    )]
    Sealed {
        /// What we asked for.
        doing: String,
        /// Where.
        address: String,
    },
    /// The token may not do this, is expired or unknown.
    #[error(
        "{doing}: permission denied; the token is invalid or expired, or its policy has no `read` on {policy}"
    )]
    Denied {
        /// What we asked for.
        doing: String,
        /// The path that the policy must allow.
        policy: String,
    },
    /// The AppRole's role or secret id is wrong.
    #[error(
        "log in to Vault at {address} by AppRole ({mount}): refused; check role_id and secret_id, which may have expired"
    )]
    Login {
        /// Where.
        address: String,
        /// Mount of the method.
        mount: String,
    },
    /// No secret at the path.
    #[error(
        "read the secret {path}: there is none in the mount {mount} (or its newest version is deleted); check with: vault kv get -mount={mount} {path}"
    )]
    MissingPath {
        /// Mount of the engine.
        mount: String,
        /// Path below it.
        path: String,
    },
    /// The secret has other keys.
    #[error("read the secret {path}: it has no key {key}; it has {known}")]
    MissingKey {
        /// Path below the mount.
        path: String,
        /// The key that was asked for.
        key: String,
        /// The names of the keys that there are.
        known: String,
    },
    /// The value is a list or an object.
    #[error("read the secret {path}: the value of {key} is not a text, a number or a truth value")]
    Shape {
        /// Path below the mount.
        path: String,
        /// The key.
        key: String,
    },
    /// Anything else that Vault answers.
    #[error("{doing}: Vault at {address} answered with HTTP status {status}{said}")]
    Refused {
        /// What we asked for.
        doing: String,
        /// Where.
        address: String,
        /// HTTP status.
        status: u16,
        /// Vault's own words, if it had any, with a leading `: `.
        said: String,
    },
    /// The answer is not what Vault's API promises.
    #[error(
        "{doing}: {address} answered, but not as Vault's API does; is the address that of a Vault, and the mount of version 2 of the key-value engine?"
    )]
    Answer {
        /// What we asked for.
        doing: String,
        /// Where.
        address: String,
        /// What could not be read.
        #[source]
        source: ClientError,
    },
}

impl VaultError {
    /// Whether the same request may succeed later without a person's help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Sealed { .. } => true,
            Self::Refused { status, .. } => matches!(status, 429 | 500 | 502 | 503 | 504),
            Self::Config { .. }
            | Self::NotConfigured { .. }
            | Self::Form { .. }
            | Self::Environment { .. }
            | Self::File { .. }
            | Self::Denied { .. }
            | Self::Login { .. }
            | Self::MissingPath { .. }
            | Self::MissingKey { .. }
            | Self::Shape { .. }
            | Self::Answer { .. } => false,
        }
    }
}
