//! `env:NAME`: a variable of the environment.

use std::ffi::OsString;

use crate::{Provider, Secret, VaultError};

/// Secrets in the environment of the process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Environment;

impl Provider for Environment {
    async fn fetch(&self, name: &str) -> Result<Secret, VaultError> {
        read(name, std::env::var_os(name))
    }
}

/// What a variable says. An empty one is refused: it is nearly always a forgotten one.
fn read(name: &str, value: Option<OsString>) -> Result<Secret, VaultError> {
    let unset = |why| VaultError::Environment { name: name.to_owned(), why };
    let text = value.ok_or(unset("is not set"))?;
    let text = text.into_string().map_err(|_| unset("is not Unicode text"))?;
    if text.is_empty() {
        return Err(unset("is empty"));
    }
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn a_variable_is_a_secret_and_a_missing_one_is_named() {
        assert_eq!(read("A", Some("x ".into())).unwrap().expose(), "x ");
        for (value, says) in [
            (None, "the environment variable A is not set"),
            (Some(OsString::new()), "the environment variable A is empty"),
            (
                Some(OsString::from_vec(vec![0xff])),
                "the environment variable A is not Unicode text",
            ),
        ] {
            let error = read("A", value).unwrap_err().to_string();
            assert!(error.starts_with(says), "{error}");
        }
    }
}
