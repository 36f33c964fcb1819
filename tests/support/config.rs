//! Writes the `causeway.toml` of a test.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use toml::{Table, Value};

use crate::{kafka::Kafka, postgres::Postgres, registry::Registry, sqlserver::SqlServer};

/// One causeway.toml, built section by section.
#[derive(Clone, Debug)]
pub struct Config(Table);

impl Config {
    /// A file for the pipeline of that name, with admin servers on free ports.
    #[must_use]
    pub fn new(pipeline: &str) -> Self {
        let any = "127.0.0.1:0";
        Self(Table::new())
            .set("pipeline.name", pipeline)
            .set("observability.log", "info")
            .set("observability.log_format", "json")
            .set("observability.source_listen", any)
            .set("observability.sink_listen", any)
            .set("observability.reconcile_listen", any)
    }

    /// `[sqlserver]`: as `sa`, with TLS and any certificate.
    #[must_use]
    pub fn sqlserver(self, server: &SqlServer, db: &str) -> Self {
        self.set("sqlserver.host", server.host())
            .set("sqlserver.port", i64::from(server.port()))
            .set("sqlserver.database", db)
            .set("sqlserver.user", "sa")
            .set("sqlserver.password", server.sa_password())
            .set("sqlserver.trust_certificate", true)
    }

    /// `[kafka]`.
    #[must_use]
    pub fn kafka(self, kafka: &Kafka) -> Self {
        self.set("kafka.bootstrap", kafka.bootstrap())
    }

    /// `[registry]`.
    #[must_use]
    pub fn registry(self, registry: &Registry) -> Self {
        self.set("registry.url", registry.url())
    }

    /// `[postgres]`: as the superuser.
    #[must_use]
    pub fn postgres(self, server: &Postgres, db: &str) -> Self {
        self.set("postgres.host", server.host())
            .set("postgres.port", i64::from(server.port()))
            .set("postgres.database", db)
            .set("postgres.user", server.user())
            .set("postgres.password", server.password())
            .set("postgres.tls", "off")
    }

    /// Sets one value by its dotted path: `source.snapshot.chunk_rows`. The last part may stand in
    /// double quotes when it has dots itself: `kafka.properties."security.protocol"`.
    #[must_use]
    pub fn set(mut self, path: &str, value: impl Into<Value>) -> Self {
        let (sections, key) = split(path);
        let mut table = &mut self.0;
        for section in sections {
            let entry = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            if !entry.is_table() {
                *entry = Value::Table(Table::new());
            }
            table = match entry {
                Value::Table(table) => table,
                Value::String(_)
                | Value::Integer(_)
                | Value::Float(_)
                | Value::Boolean(_)
                | Value::Datetime(_)
                | Value::Array(_) => unreachable!("made a table just above"),
            };
        }
        table.insert(key, value.into());
        self
    }

    /// Takes one value, or a whole section, out again.
    #[must_use]
    pub fn without(mut self, path: &str) -> Self {
        let (sections, key) = split(path);
        let mut table = Some(&mut self.0);
        for section in sections {
            table = table.and_then(|table| table.get_mut(&section)?.as_table_mut());
        }
        if let Some(table) = table {
            table.remove(&key);
        }
        self
    }

    /// Writes `causeway.toml` into a folder.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write(&self, folder: &Path) -> Result<PathBuf> {
        let path = folder.join("causeway.toml");
        let text = toml::to_string_pretty(&self.0).context("write TOML")?;
        // At once: a process that was started a moment ago may be reading it.
        let new = folder.join("causeway.toml.new");
        fs::write(&new, text).with_context(|| format!("write {}", new.display()))?;
        fs::rename(&new, &path).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }
}

fn split(path: &str) -> (Vec<String>, String) {
    let (head, quoted) = match path.split_once('"') {
        Some((head, quoted)) => (head.trim_end_matches('.'), Some(quoted.trim_end_matches('"'))),
        None => (path, None),
    };
    let mut parts: Vec<String> = head.split('.').map(str::to_owned).collect();
    let key = match quoted {
        Some(quoted) => quoted.to_owned(),
        None => parts.pop().unwrap_or_default(),
    };
    (parts, key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_sections() {
        let config = Config::new("p")
            .set("source.snapshot.chunk_rows", 5)
            .set(r#"kafka.properties."security.protocol""#, "PLAINTEXT")
            .set("source.tables", vec!["dbo.a", "dbo.b"])
            .without("observability");
        let folder = tempfile::tempdir().unwrap();
        let path = config.write(folder.path()).unwrap();
        let text = fs::read_to_string(path).unwrap();
        let table: Table = text.parse().unwrap();
        assert_eq!(table["source"]["snapshot"]["chunk_rows"].as_integer(), Some(5));
        assert_eq!(table["kafka"]["properties"]["security.protocol"].as_str(), Some("PLAINTEXT"));
        assert_eq!(table["pipeline"]["name"].as_str(), Some("p"));
        assert!(!table.contains_key("observability"));
    }
}
