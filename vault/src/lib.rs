//! Where secrets come from, so that none stands in a configuration file.
//!
//! A reference names a secret: `env:NAME` (a variable of the environment), `file:path` (a mounted
//! file, without its last line break) or `vault:path#key` (HashiCorp Vault, KV version 2). A
//! [`Resolver`] answers them; each kind is a [`Provider`].
//!
//! # The one promise
//!
//! A secret is never printed. [`Secret`] shows `***`; errors name the reference and what to do.
//!
//! The settings and this crate do not know each other; a main joins them:
//!
//! ```ignore
//! let vault = causeway_vault::resolver(file.optional("vault")?.as_ref()).await?;
//! let vault = &vault;
//! file.resolve(|name| async move { vault.lookup(&name).await }).await?;
//! ```

mod config;
mod environment;
mod error;
mod file;
mod hashicorp;
mod provider;
mod resolver;
mod secret;

pub use config::Config;
pub use environment::Environment;
pub use error::VaultError;
pub use file::File;
pub use hashicorp::Hashicorp;
pub use provider::Provider;
pub use resolver::{Resolver, resolver};
pub use secret::Secret;
