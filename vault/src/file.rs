//! `file:path`: a mounted file, as Docker and Kubernetes give secrets.

use std::io;

use crate::{Provider, Secret, VaultError};

/// A secret is a line, not a document: more is taken for the wrong file.
const BYTES_MAX: u64 = 64 * 1024;

/// Secrets in files. The last line break, which editors add, is not part of the secret.
#[derive(Clone, Copy, Debug, Default)]
pub struct File;

impl Provider for File {
    async fn fetch(&self, path: &str) -> Result<Secret, VaultError> {
        let failed = |source| VaultError::File { path: path.to_owned(), source };
        let size = tokio::fs::metadata(path).await.map_err(failed)?.len();
        if size > BYTES_MAX {
            return Err(failed(io::Error::other(format!(
                "it has {size} bytes, and a secret has at most {BYTES_MAX}"
            ))));
        }
        let mut text = tokio::fs::read_to_string(path).await.map_err(failed)?;
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        if text.is_empty() {
            return Err(failed(io::Error::other("it is empty")));
        }
        Ok(Secret::new(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_trailing_line_break_is_not_part_of_the_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        let path = path.to_str().unwrap();
        for (content, expected) in
            [("a b", "a b"), ("a b\n", "a b"), ("a b\r\n", "a b"), ("a\n\n", "a\n"), (" a", " a")]
        {
            std::fs::write(path, content).unwrap();
            assert_eq!(File.fetch(path).await.unwrap().expose(), expected, "{content:?}");
        }
    }

    #[tokio::test]
    async fn a_file_that_is_missing_empty_or_no_secret_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        let path = path.to_str().unwrap();
        assert!(File.fetch(path).await.unwrap_err().to_string().contains(path));
        for content in ["", "\n", &"x".repeat(70_000)] {
            std::fs::write(path, content).unwrap();
            assert!(File.fetch(path).await.unwrap_err().to_string().contains(path));
        }
    }
}
