//! What can be set for a comparison: the section `[reconcile]`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{webhook::Webhook, window::Window};

/// How deep a comparison looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Numbers of rows.
    Counts,
    /// Sums of the rows' digests: every value counts, but which row differs is not said.
    Checksum,
    /// Row by row.
    #[default]
    Full,
    /// Row by row, a part of them.
    Sample,
}

impl std::str::FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "counts" => Self::Counts,
            "checksum" => Self::Checksum,
            "full" => Self::Full,
            "sample" => Self::Sample,
            other => return Err(format!("{other:?} is not counts, checksum, full or sample")),
        })
    }
}

/// Whether the stream decides what is in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fence {
    /// It does when there is a `[kafka]` section.
    #[default]
    Auto,
    /// It must: without `[kafka]` nothing is compared.
    Required,
    /// It does not: a difference is what stands still for `settle_seconds`. Weaker.
    Off,
}

/// Who makes the hashes of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hashing {
    /// Whoever is faster on the first rows of a large table.
    #[default]
    Auto,
    /// The rows are read and hashed here.
    Client,
    /// The servers, where both can make the same bytes of all columns; rows are read only where the hashes differ.
    Server,
}

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
    /// How deep a comparison looks: `counts`, `checksum`, `full` or `sample`.
    pub level: Level,
    /// The part of a table that `sample` reads, above 0 and at most 1.
    pub sample: f64,
    /// Rows of a key range; tables with more, and with a key whose order both engines share, are read in ranges.
    pub chunk_rows: u64,
    /// Ranges of one table read at the same time; each takes one connection to either side.
    pub chunk_workers: usize,
    /// Who hashes rows at the level `full`: `auto`, `client` or `server`.
    pub hashing: Hashing,
    /// Rows read a second, of both sides and all tables together; none is no limit.
    pub rows_per_second: Option<u64>,
    /// How long a lock of PostgreSQL is waited for, in milliseconds. SQL Server's is in `[sqlserver]`.
    pub lock_timeout_ms: u32,
    /// Whether the stream decides what is in flight: `auto`, `required` or `off`.
    pub fence: Fence,
    /// How long the pipeline is waited for, in seconds; a run that waits longer ends with code 5.
    pub fence_timeout_seconds: u64,
    /// Seconds of the log before a snapshot that count as not surely seen by it: a transaction is in the log a
    /// little before others can see it.
    pub guard_seconds: u32,
    /// Looks at a key that differs until it is called unstable.
    pub recheck_attempts: u32,
    /// Keys in flight that are named one by one; with more every row counts as in flight at first.
    pub dirty_keys: usize,
    /// Differing rows of a table that are kept with key and columns.
    pub keep_differences: usize,
    /// Whether reports hold the values that differ, and not only where.
    pub show_values: bool,
    /// How long both sides of a key must stand still and differ before the difference counts, in
    /// seconds. Must be longer than the lag of the pipeline.
    pub settle_seconds: u64,
    /// When looking at differing keys ends, in seconds; a key that still changes then is unstable.
    pub settle_limit_seconds: u64,
    /// Differing keys that are looked at again; a table with more is reported as different without
    /// looking, with the number of keys cut here.
    pub recheck_keys: usize,
    /// Folder for the reports of each run (JSON, NDJSON, CSV and HTML); none is written without it.
    pub reports: Option<PathBuf>,
    /// Whether runs are kept in the tables `_causeway.reconcile_*` of the target.
    pub history: bool,
    /// Whether a run reads only the key ranges with changes since they were found equal, and in turn the others.
    /// Needs the stream and the history; only for the level `full`.
    pub incremental: bool,
    /// Within how many hours an incremental run reads every range again, changed or not: how long a difference that
    /// was made behind the pipeline's back can stay unseen.
    pub rolling_hours: u64,
    /// How many hours after its beginning a run that was cut off can still be gone on with.
    pub resume_hours: u64,
    /// How long a run may take, in seconds; what is not compared then ends as not compared, and the next run of
    /// `schedule`, or `run --resume`, goes on with it. None is no limit.
    pub max_duration_seconds: Option<u64>,
    /// Who is told how a run ended.
    pub webhook: Option<Webhook>,
    /// Groups of tables with times of their own, for `causeway-reconcile schedule`.
    pub groups: Vec<Group>,
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
            level: Level::Full,
            sample: 0.01,
            chunk_rows: 100_000,
            chunk_workers: 2,
            hashing: Hashing::Auto,
            rows_per_second: None,
            lock_timeout_ms: 10_000,
            fence: Fence::Auto,
            fence_timeout_seconds: 300,
            guard_seconds: 5,
            recheck_attempts: 8,
            dirty_keys: 1_000_000,
            keep_differences: 10_000,
            show_values: false,
            settle_seconds: 10,
            settle_limit_seconds: 60,
            recheck_keys: 100_000,
            reports: None,
            history: true,
            incremental: false,
            rolling_hours: 168,
            resume_hours: 48,
            max_duration_seconds: None,
            webhook: None,
            groups: Vec::new(),
            schedule: None,
        }
    }
}

/// An entry of `[[reconcile.groups]]`: tables that are compared at times of their own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// What it is called in logs and metrics.
    pub name: String,
    /// Patterns over `schema.table`.
    pub tables: Vec<String>,
    /// When, as cron with seconds, UTC.
    pub cron: String,
    /// How deep; that of `[reconcile]` when none is given.
    #[serde(default)]
    pub level: Option<Level>,
    /// Whether only what has changed is read, and the rest in turn; that of `[reconcile]` when none is given.
    #[serde(default)]
    pub incremental: Option<bool>,
    /// Begins up to so many seconds later, each group and time by another number.
    #[serde(default)]
    pub jitter_seconds: u64,
    /// Spans of the day, UTC, in which nothing begins: `22:30-06:00`.
    #[serde(default)]
    pub blackout: Vec<Window>,
    /// How long a run may take; that of `[reconcile]` when none is given.
    #[serde(default)]
    pub max_duration_seconds: Option<u64>,
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
        if !(self.sample > 0.0 && self.sample <= 1.0) {
            return Err(format!(
                "[reconcile] sample is {}; it must be above 0 and at most 1",
                self.sample
            ));
        }
        for (key, value) in
            [("chunk_rows", self.chunk_rows), ("chunk_workers", self.chunk_workers as u64)]
        {
            if value == 0 {
                return Err(format!("[reconcile] {key} is 0; it must be at least 1"));
            }
        }
        if self.incremental && !self.history {
            return Err("[reconcile] incremental is true and history is false; what is known of the ranges is \
                        kept with the history"
                .to_owned());
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
