//! What can be set for a comparison: the section `[reconcile]`.

use std::path::PathBuf;

use serde::Deserialize;

/// The section `[reconcile]` of `causeway.toml`. Every key has a default.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Tables to compare, as patterns over `schema.table` of the captured tables. Empty: those of
    /// `[source].tables`.
    pub tables: Vec<String>,
    /// Tables to leave out, as patterns over `schema.table`; added to `[source].exclude`.
    pub exclude: Vec<String>,
    /// Tables compared at the same time; each takes one connection to either side.
    pub parallel: usize,
    /// Bytes of memory for the rows of all tables that are compared at the same time; what exceeds
    /// it goes to temporary files.
    pub memory_bytes: usize,
    /// How long both sides of a key must stand still and differ before the difference counts, in
    /// seconds. Must be longer than the lag of the pipeline.
    pub settle_seconds: u64,
    /// When looking at differing keys ends, in seconds; a key that still changes then is unstable.
    pub settle_limit_seconds: u64,
    /// Differing keys that are looked at again; a table with more is reported as different without
    /// looking, with the number of keys cut here.
    pub recheck_keys: usize,
    /// Folder for the JSON report of each run; none is written without it or `--json`.
    pub reports: Option<PathBuf>,
    /// When `causeway-reconcile schedule` runs, as cron with seconds, UTC: `0 0 2 * * *` is two
    /// o'clock each night. A run that is due while another is at work is left out and counted.
    pub schedule: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            tables: Vec::new(),
            exclude: Vec::new(),
            parallel: 2,
            memory_bytes: 64 << 20,
            settle_seconds: 10,
            settle_limit_seconds: 60,
            recheck_keys: 100_000,
            reports: None,
            schedule: None,
        }
    }
}

/// The part of `[source]` that says what is replicated, and so what is compared.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Scope {
    /// Patterns of replicated tables.
    pub tables: Vec<String>,
    /// Patterns of tables that are not.
    pub exclude: Vec<String>,
    /// Columns that are not, as `schema.table.column`.
    pub exclude_columns: Vec<String>,
}

impl Default for Scope {
    fn default() -> Self {
        Self { tables: vec!["*.*".to_owned()], exclude: Vec::new(), exclude_columns: Vec::new() }
    }
}

impl Config {
    /// What types cannot say.
    ///
    /// # Errors
    /// A sentence that names the key, its value and what it must be.
    pub fn validate(&self) -> Result<(), String> {
        if self.parallel == 0 {
            return Err("[reconcile] parallel is 0; it must be at least 1".to_owned());
        }
        if self.settle_limit_seconds < self.settle_seconds {
            return Err(format!(
                "[reconcile] settle_limit_seconds is {}; it must be at least settle_seconds, {}",
                self.settle_limit_seconds, self.settle_seconds
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_a_limit_below_the_time_to_settle_is_not() {
        assert_eq!(Config::default().validate(), Ok(()));
        let error = Config { settle_limit_seconds: 1, ..Config::default() }.validate().unwrap_err();
        assert!(error.contains("settle_limit_seconds is 1"), "{error}");
    }
}
