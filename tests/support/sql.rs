//! T-SQL text: literals, and rows by the thousand.

use anyhow::Result;

use crate::sqlserver::{Client, exec};

/// The most rows SQL Server takes in one `VALUES` list.
const ROWS_MAX: usize = 1000;

/// Where a batch of T-SQL is long enough, in bytes: longer ones are no faster.
const BYTES_ENOUGH: usize = 128 * 1024;

/// A Unicode string literal.
#[must_use]
pub fn text(value: &str) -> String {
    format!("N'{}'", value.replace('\'', "''"))
}

/// A string literal, or `NULL`.
#[must_use]
pub fn text_or_null(value: Option<&str>) -> String {
    value.map_or_else(|| "NULL".to_owned(), text)
}

/// A binary literal.
#[must_use]
pub fn binary(value: &[u8]) -> String {
    value.iter().fold("0x".to_owned(), |hex, byte| format!("{hex}{byte:02X}"))
}

/// Collects rows into `INSERT ... VALUES` statements of a good size and runs them.
pub struct Inserts<'a> {
    client: &'a mut Client,
    head: String,
    text: String,
    pending: usize,
    done: u64,
}

impl<'a> Inserts<'a> {
    /// Rows for `table` (`dbo.orders`), whose values come in the order of `columns`.
    pub fn new(client: &'a mut Client, table: &str, columns: &str) -> Self {
        let head = format!("INSERT INTO {table} ({columns}) VALUES ");
        Self { client, head, text: String::new(), pending: 0, done: 0 }
    }

    /// Adds one row: its literals, separated by commas, without parentheses.
    ///
    /// # Errors
    /// What the server answers to the statement that this row completes.
    pub async fn push(&mut self, values: &str) -> Result<()> {
        self.text.push_str(if self.pending == 0 { &self.head } else { ",\n" });
        self.text.push('(');
        self.text.push_str(values);
        self.text.push(')');
        self.pending += 1;
        if self.pending == ROWS_MAX || self.text.len() >= BYTES_ENOUGH {
            self.flush().await?;
        }
        Ok(())
    }

    /// Runs what is still collected; gives the number of rows in all.
    ///
    /// # Errors
    /// What the server answers.
    pub async fn finish(mut self) -> Result<u64> {
        self.flush().await?;
        Ok(self.done)
    }

    async fn flush(&mut self) -> Result<()> {
        if self.pending > 0 {
            exec(self.client, &self.text).await?;
            self.done += self.pending as u64;
            self.pending = 0;
            self.text.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_escaped() {
        assert_eq!(text("O'Brien\n"), "N'O''Brien\n'");
        assert_eq!(text_or_null(None), "NULL");
        assert_eq!(binary(&[0, 255]), "0x00FF");
    }
}
