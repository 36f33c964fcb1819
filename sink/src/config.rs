//! The section `[sink]`.

use serde::Deserialize;

use crate::policy::{self, TableRule};

/// How changes are collected and applied. Every key has a default.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Changes in one PostgreSQL transaction. Larger is faster until the transaction holds locks too
    /// long for the target's other users.
    pub batch_rows: usize,
    /// Bytes of records in one transaction. Three batches of each lane are in memory at a time: one that
    /// is filled, one that waits and one that is applied.
    pub batch_bytes: usize,
    /// How long the oldest change of a batch may wait for others, in milliseconds: what a quiet
    /// pipeline adds to the latency.
    pub batch_age_ms: u64,
    /// Batches that are applied at the same time, each by a connection of its own: of partitions, so
    /// more than there are help nobody.
    pub lanes: usize,
    /// How long a sink may be silent until the others take its partitions, in milliseconds. One that was
    /// killed is noticed sooner.
    pub member_timeout_ms: u64,
    /// What to do with a record that can never be applied.
    pub dead_letters: DeadLetters,
    /// Seconds between two looks for new topics.
    pub discover_seconds: u64,
    /// Seconds between two looks at the newest schema of each topic, by which tables and columns are made before
    /// a record has them; 0: never.
    pub schema_seconds: u64,
    /// What a reader of the target sees together.
    pub apply: ApplyConfig,
    /// What is different for some tables.
    pub tables: Vec<TableRule>,
}

/// What a reader of the target sees together.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApplyConfig {
    /// Rows, or whole source transactions.
    pub consistency: Consistency,
}

/// What is kept whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Consistency {
    /// Each row is right, and in the order of its key. Fastest.
    #[default]
    Row,
    /// Source transactions, in commit order: by the transaction index that the source writes.
    Transaction,
}

/// What to do with a record that can never be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeadLetters {
    /// Keep it in `_causeway.dead_letter` and the dead-letter topic, and go on.
    Continue,
    /// Stop with an error; nothing of its batch is applied.
    Stop,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            batch_rows: 10_000,
            batch_bytes: 6 << 20,
            batch_age_ms: 20,
            lanes: 3,
            member_timeout_ms: 6_000,
            dead_letters: DeadLetters::Continue,
            discover_seconds: 2,
            schema_seconds: 10,
            apply: ApplyConfig::default(),
            tables: Vec::new(),
        }
    }
}

impl Config {
    /// What types cannot say.
    ///
    /// # Errors
    /// A sentence that names the key, its value and what it must be.
    pub fn validate(&self) -> Result<(), String> {
        for (key, value) in [
            ("batch_rows", self.batch_rows as u64),
            ("batch_bytes", self.batch_bytes as u64),
            ("discover_seconds", self.discover_seconds),
        ] {
            if value == 0 {
                return Err(format!("[sink] {key} is 0; it must be at least 1"));
            }
        }
        if self.batch_age_ms > 60_000 {
            return Err(format!(
                "[sink] batch_age_ms is {}; it must be at most 60000",
                self.batch_age_ms
            ));
        }
        if !(1..=64).contains(&self.lanes) {
            return Err(format!("[sink] lanes is {}; it must be 1 to 64", self.lanes));
        }
        if !(1_000..=3_600_000).contains(&self.member_timeout_ms) {
            return Err(format!(
                "[sink] member_timeout_ms is {}; it must be 1000 to 3600000",
                self.member_timeout_ms
            ));
        }
        policy::validate(&self.tables)
    }
}
