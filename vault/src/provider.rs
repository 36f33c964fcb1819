//! The seam between a reference and where its secret is kept.

use std::future::Future;

use crate::{Secret, VaultError};

/// Gives the secret of a name. What a name looks like is the provider's own matter: a variable, a
/// path, or a path and a key.
pub trait Provider {
    /// Fetches the secret. Cancel safe: nothing is changed anywhere.
    fn fetch(&self, name: &str) -> impl Future<Output = Result<Secret, VaultError>> + Send;
}
