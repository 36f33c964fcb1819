//! [`Config`]: the `[source]` section.

use causeway_change::TableId;
use causeway_sqlserver::{Patterns, Selection};
use serde::Deserialize;

use crate::message_key::MessageKeys;

/// What is replicated, and how.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Captured tables to replicate: globs over `schema.table`. Default: all.
    pub tables: Vec<String>,
    /// Tables that are left out all the same.
    pub exclude: Vec<String>,
    /// Columns that are left out: globs over `schema.table.column`.
    pub exclude_columns: Vec<String>,
    /// Columns that are the key of a table's records, by globs over `schema.table`, in the place of the primary key or
    /// the unique index: together unique, and never NULL.
    pub message_key_columns: MessageKeys,
    /// How dates and times are written. Changing it changes the schemas of existing topics.
    pub temporal: Temporal,
    /// How decimals and money are written. Changing it changes the schemas of existing topics.
    pub decimals: Decimals,
    /// Whether schemas carry the SQL Server types of their columns, from which the sink makes exact types.
    pub source_types: bool,
    /// The longest pause between two looks at the change tables, in milliseconds. It is what an idle source
    /// adds to the latency of the next change.
    pub poll_interval_ms: u64,
    /// Whether a delete is followed by a tombstone, which lets a compacted topic forget the key.
    pub tombstones: bool,
    /// Whether events are Debezium's to the letter: a delete and an insert that SQL Server logged for one update stay
    /// two events, and keys do not carry the types of their columns.
    pub debezium_strict: bool,
    /// What becomes of a row whose record is larger than Kafka takes.
    pub oversized: Oversized,
    /// What happens when changes are gone before they were read, or the log is another.
    pub on_gap: OnGap,
    /// How often an idle source says that it lives in the topic `<pipeline>.heartbeat`, in milliseconds; 0 is
    /// never.
    pub heartbeat_interval_ms: u64,
    /// Whether a table that gets a column gets a new capture instance too, made by the source. It is the only
    /// thing with which the source writes to the database, and needs the role db_owner.
    pub rotate_capture_instances: bool,
    /// Where signals come from.
    pub signals: SignalsConfig,
    /// The first copy of each table.
    pub snapshot: SnapshotConfig,
    /// How source transactions are grouped into Kafka transactions.
    pub transaction: TransactionConfig,
    /// Whether the topic `<pipeline>.transactions` says which records make up which source transaction.
    pub transaction_index: bool,
    /// Whether Debezium's transaction metadata is written: BEGIN and END in the topic `<pipeline>.transaction`,
    /// and the block `transaction` of each event.
    pub transaction_metadata: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            tables: vec!["*".to_owned()],
            exclude: Vec::new(),
            exclude_columns: Vec::new(),
            message_key_columns: MessageKeys::new(),
            temporal: Temporal::Adaptive,
            decimals: Decimals::Precise,
            source_types: true,
            poll_interval_ms: 100,
            tombstones: true,
            debezium_strict: false,
            oversized: Oversized::DeadLetter,
            on_gap: OnGap::Stop,
            heartbeat_interval_ms: 0,
            rotate_capture_instances: false,
            signals: SignalsConfig::default(),
            snapshot: SnapshotConfig::default(),
            transaction: TransactionConfig::default(),
            transaction_index: false,
            transaction_metadata: false,
        }
    }
}

/// How dates and times are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Temporal {
    /// Milliseconds, microseconds or nanoseconds, as the column's precision asks for (Debezium's default).
    #[default]
    Adaptive,
    /// Microseconds always.
    Microseconds,
    /// As adaptive, with times of day in microseconds always.
    AdaptiveTimeMicroseconds,
    /// The types of Kafka Connect itself, which keep milliseconds.
    Connect,
}

/// How decimals and money are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decimals {
    /// As bytes that hold every digit (Debezium's default).
    #[default]
    Precise,
    /// As text.
    String,
    /// As numbers of 64 bits, which lose digits beyond the fifteenth.
    Double,
}

/// What becomes of a row whose record is larger than Kafka takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Oversized {
    /// It goes to the dead letters, without its large values, and the source goes on.
    #[default]
    DeadLetter,
    /// The source stops.
    Stop,
}

/// What happens when changes are gone before they were read, or the log is another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnGap {
    /// The source stops and names the table and the range.
    #[default]
    Stop,
    /// The table is copied again while the others go on.
    Resnapshot,
}

/// Where signals come from.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SignalsConfig {
    /// Whether the signals topic is read.
    pub kafka: bool,
    /// The topic; `<pipeline>.signal` when none.
    pub topic: Option<String>,
    /// A captured table whose inserts are signals, as `schema.table`; its rows are not published.
    pub table: Option<String>,
}

impl Default for SignalsConfig {
    fn default() -> Self {
        Self { kafka: true, topic: None, table: None }
    }
}

/// The first copy of each table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SnapshotConfig {
    /// Whether tables are copied first.
    pub mode: SnapshotMode,
    /// Rows that are read at once. More is faster for small rows, until a chunk is larger than
    /// `window_bytes`.
    pub chunk_rows: u32,
    /// Key ranges that are read at the same time, of one table or of several, each on a connection of its
    /// own.
    pub readers: usize,
    /// Bytes of rows that may wait until the capture job has passed them: the memory that a snapshot
    /// takes.
    pub window_bytes: usize,
    /// How long a chunk waits when the login may not see the capture job's scans (VIEW DATABASE STATE), in
    /// milliseconds. It must be longer than the capture job ever takes.
    pub settle_ms: u64,
}

impl Default for SnapshotConfig {
    fn default() -> Self {
        Self {
            mode: SnapshotMode::Initial,
            chunk_rows: 10_000,
            readers: 2,
            window_bytes: 64 << 20,
            settle_ms: 30_000,
        }
    }
}

/// Whether tables are copied before and while their changes are streamed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotMode {
    /// Copy each table that has not been copied, and stream.
    #[default]
    Initial,
    /// Copy each table that has not been copied, and stop.
    InitialOnly,
    /// Stream only.
    #[serde(alias = "schema_only", alias = "never")]
    NoData,
    /// Copy each table at every start of the process, and stream.
    Always,
    /// As `initial`, and copy a table again when changes of it are gone: with `on_gap = "resnapshot"`.
    WhenNeeded,
}

impl SnapshotMode {
    /// True when a table that is new to us is copied.
    #[must_use]
    pub fn copies(self) -> bool {
        match self {
            Self::Initial | Self::InitialOnly | Self::Always | Self::WhenNeeded => true,
            Self::NoData => false,
        }
    }
}

/// How source transactions are grouped into Kafka transactions.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TransactionConfig {
    /// Bytes after which a Kafka transaction is committed, at the next end of a source transaction.
    pub max_bytes: usize,
    /// Age after which a Kafka transaction is committed, in milliseconds. When nothing more waits to be
    /// read it is committed at once.
    pub max_age_ms: u64,
}

impl Default for TransactionConfig {
    fn default() -> Self {
        Self { max_bytes: 8 << 20, max_age_ms: 200 }
    }
}

/// What is wrong with the section.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A list that may not be empty.
    #[error("[source] tables is empty: nothing would be replicated")]
    NoTables,
    /// A name that is not one of a table.
    #[error("[source] signals.table is {0}; it must be written schema.table")]
    SignalTable(String),
    /// A number outside its range.
    #[error("[source] {name} is {value}; it must be between {min} and {max}")]
    Range {
        /// Field.
        name: &'static str,
        /// Its value.
        value: u64,
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
}

impl Config {
    /// Checks what types cannot say.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.tables.is_empty() {
            return Err(ConfigError::NoTables);
        }
        if let Some(table) = &self.signals.table
            && self.signal_table().is_none()
        {
            return Err(ConfigError::SignalTable(table.clone()));
        }
        let snapshot = &self.snapshot;
        let size = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        for (name, value, min, max) in [
            ("poll_interval_ms", self.poll_interval_ms, 1, 60_000),
            ("heartbeat_interval_ms", self.heartbeat_interval_ms, 0, 3_600_000),
            ("snapshot.chunk_rows", u64::from(snapshot.chunk_rows), 1, 10_000_000),
            ("snapshot.readers", size(snapshot.readers), 1, 64),
            ("snapshot.window_bytes", size(snapshot.window_bytes), 1 << 20, 1 << 36),
            ("snapshot.settle_ms", snapshot.settle_ms, 1, 3_600_000),
            ("transaction.max_bytes", size(self.transaction.max_bytes), 1, 1 << 32),
            ("transaction.max_age_ms", self.transaction.max_age_ms, 1, 20_000),
        ] {
            if !(min..=max).contains(&value) {
                return Err(ConfigError::Range { name, value, min, max });
            }
        }
        Ok(())
    }

    /// Which tables and columns are wanted; the signal table is one of them.
    #[must_use]
    pub fn selection(&self) -> Selection {
        let tables = self.tables.iter().chain(&self.signals.table);
        Selection {
            include: Patterns::new(tables),
            exclude: Patterns::new(&self.exclude),
            exclude_columns: Patterns::new(&self.exclude_columns),
            largest_value: None,
        }
    }

    /// As [`Config::selection`], for who reads the rows: values of more than `largest` bytes are measured and not
    /// read, because no record could hold them.
    #[must_use]
    pub fn reads(&self, largest: usize) -> Selection {
        let largest = u64::try_from(largest).unwrap_or(u64::MAX);
        Selection { largest_value: Some(largest), ..self.selection() }
    }

    /// The signal table.
    #[must_use]
    pub fn signal_table(&self) -> Option<TableId> {
        let (schema, name) = self.signals.table.as_deref()?.split_once('.')?;
        (!schema.is_empty() && !name.is_empty()).then(|| TableId::new(schema, name))
    }

    /// True when a table is the signal table.
    #[must_use]
    pub fn is_signal_table(&self, id: &TableId) -> bool {
        self.signals.table.as_deref().is_some_and(|t| t.eq_ignore_ascii_case(&id.to_string()))
    }

    /// True when what is lost is copied again without asking.
    #[must_use]
    pub fn resnapshots(&self) -> bool {
        self.on_gap == OnGap::Resnapshot || self.snapshot.mode == SnapshotMode::WhenNeeded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_and_a_mistake_is_named() {
        assert_eq!(Config::default().validate(), Ok(()));
        let mut config = Config::default();
        config.snapshot.readers = 0;
        assert_eq!(
            config.validate().unwrap_err().to_string(),
            "[source] snapshot.readers is 0; it must be between 1 and 64"
        );
        config = Config::default();
        config.signals.table = Some("signals".to_owned());
        assert!(matches!(config.validate(), Err(ConfigError::SignalTable(_))));
        config = Config { tables: Vec::new(), ..Config::default() };
        assert_eq!(config.validate(), Err(ConfigError::NoTables));
    }

    #[test]
    fn the_old_names_of_modes_are_understood() {
        for (text, mode) in [
            ("\"initial\"", SnapshotMode::Initial),
            ("\"initial_only\"", SnapshotMode::InitialOnly),
            ("\"no_data\"", SnapshotMode::NoData),
            ("\"schema_only\"", SnapshotMode::NoData),
            ("\"never\"", SnapshotMode::NoData),
            ("\"always\"", SnapshotMode::Always),
            ("\"when_needed\"", SnapshotMode::WhenNeeded),
        ] {
            assert_eq!(serde_json::from_str::<SnapshotMode>(text).unwrap(), mode);
        }
    }
}
