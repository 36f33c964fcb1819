//! Pure: what is stored in the offsets topic, and how it is read back.
//!
//! The topic is compacted and has one partition. Its records are written in the same Kafka transaction as
//! the data that they speak of. Keys and values are JSON:
//!
//! * `["position","<database>"]`: the place up to which all changes are published.
//!   `{"commit_lsn":"…","transaction_end":true}` or, inside a transaction,
//!   `{"commit_lsn":"…","command_id":7,"seqval":"…","operation":4,"transaction_end":false}`, and
//!   `"written_ms"`, when it was written; `"indexed"`, when the transaction index is complete up to it; and
//!   `"transaction"`, Debezium's numbers of the transaction inside which it stands: [`Counts`].
//! * `["table","<database>","<schema>","<table>"]`: the capture instance, from where it is complete, and how
//!   far the table's snapshot has come: [`TableState`].
//! * `["signals","<database>"]`: which signals are done, and what they switched: [`SignalState`].
//! * `["adhoc","<database>","<signal>"]`: a snapshot that a signal asked for, until it ends: [`Adhoc`].
//! * `["fork","<database>"]`: the recovery fork of the log, which a restore changes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use causeway_change::{Lsn, Position, TableId};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::{SourceError, numbers::Counts};

/// What is known of one table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableState {
    /// Name of the capture instance that is read.
    pub instance: String,
    /// `object_id` of its change table.
    pub object_id: i32,
    /// The low-water mark that the instance had when it was met first: from there on it must be complete.
    /// None until the capture job has seen the instance.
    #[serde(default)]
    pub since: Option<String>,
    /// How far the snapshot has come.
    pub snapshot: SnapshotState,
    /// `datetime2(7)` columns that are written in microseconds, because a value did not fit nanoseconds.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub micro_columns: BTreeSet<String>,
    /// An operator asked for another snapshot: the next start takes the table as if it were new, whatever
    /// the snapshot mode.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reset: bool,
    /// The registry refuses the table's schema: from where the table is not published, while others are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halted: Option<Halted>,
    /// The place at which a table without key was copied: what was committed up to it is in the copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copied_at: Option<String>,
}

/// Where a table stands still.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Halted {
    /// The place up to which its changes are published, as [`position_json`] writes it.
    pub from: Json,
    /// Why, in words.
    pub reason: String,
}

impl Halted {
    /// At a place.
    #[must_use]
    pub fn at(position: &Position, reason: String) -> Self {
        Self { from: position_json(position), reason }
    }

    /// [`Halted::from`] as a position.
    pub fn position(&self, table: &TableId) -> Result<Position, SourceError> {
        parse_position(&self.from)
            .map_err(|reason| SourceError::State { key: format!("table {table}, halted"), reason })
    }
}

impl TableState {
    /// [`TableState::copied_at`] as an LSN; changes up to it are not published.
    #[must_use]
    pub fn copied_up_to(&self) -> Lsn {
        self.copied_at.as_deref().and_then(|text| text.parse().ok()).unwrap_or(Lsn::ZERO)
    }

    /// [`TableState::since`] as an LSN.
    #[must_use]
    pub fn since_lsn(&self) -> Option<Lsn> {
        self.since.as_deref().and_then(|text| text.parse().ok())
    }
}

/// How far a table's snapshot has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum SnapshotState {
    /// None was wanted.
    Skipped,
    /// Some chunks may be published.
    Running {
        /// Rows published so far.
        rows: u64,
        /// The key ranges that are left; none before the table is divided.
        #[serde(default)]
        parts: Option<Vec<Part>>,
        /// Where the one range that is left begins: how version 0.1 wrote `parts`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<Json>,
    },
    /// All chunks are published.
    Done {
        /// Rows read.
        rows: u64,
    },
}

impl SnapshotState {
    /// Before the first row.
    #[must_use]
    pub fn begin() -> Self {
        Self::Running { rows: 0, parts: None, after: None }
    }

    /// The rows that are published.
    #[must_use]
    pub fn rows(&self) -> u64 {
        match self {
            Self::Skipped => 0,
            Self::Running { rows, .. } | Self::Done { rows } => *rows,
        }
    }

    /// The key ranges that are left; none when the table must be divided first.
    #[must_use]
    pub fn parts(&self) -> Option<Vec<Part>> {
        match self {
            Self::Running { parts: None, after: Some(after), .. } => {
                Some(vec![Part { after: Some(after.clone()), upto: None }])
            }
            Self::Running { parts, .. } => parts.clone(),
            Self::Skipped | Self::Done { .. } => Some(Vec::new()),
        }
    }

    /// True while rows of the table may still be read.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Running { .. })
    }
}

/// A key range whose rows are not all published.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// The last key that is published ([`crate::keys::to_json`]), or of the range before; none at the
    /// table's beginning. For a list of keys, how many are done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Json>,
    /// The last key of the range; none at the table's end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upto: Option<Json>,
}

/// What signals have done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SignalState {
    /// The next record of the signals topic.
    pub next_offset: Option<i64>,
    /// Names of the last signals.
    pub done: VecDeque<String>,
    /// Nothing is read.
    pub paused: bool,
    /// No chunks are read.
    pub snapshots_paused: bool,
}

impl SignalState {
    /// Remembers a signal; the names of the last thousand are kept.
    pub fn remember(&mut self, id: String) {
        self.done.push_back(id);
        while self.done.len() > 1_000 {
            self.done.pop_front();
        }
    }
}

/// A snapshot that a signal asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Adhoc {
    /// The tables that are left.
    pub tables: Vec<AdhocTable>,
}

/// One table of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdhocTable {
    /// Schema.
    pub schema: String,
    /// Table.
    pub name: String,
    /// A condition in T-SQL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// A column by which the rows are ordered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub surrogate_key: Option<String>,
    /// Only these keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<Vec<Json>>,
    /// How far it has come.
    pub snapshot: SnapshotState,
}

/// Everything that is stored for one database.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stored {
    /// Where to go on; `None` at the first start.
    pub position: Option<Position>,
    /// When it was written, in milliseconds since 1970, UTC.
    pub written_ms: Option<i64>,
    /// Whether the source that wrote it ended in order after it.
    pub stopped: bool,
    /// Whether the transaction index is complete up to it.
    pub indexed: bool,
    /// Debezium's numbers of the transaction inside which it stands.
    pub counts: Option<Counts>,
    /// The tables that are known.
    pub tables: BTreeMap<TableId, TableState>,
    /// What signals have done.
    pub signals: SignalState,
    /// Snapshots that signals asked for and that have not ended, by the signal.
    pub adhoc: BTreeMap<String, Adhoc>,
    /// The recovery fork of the log.
    pub fork: Option<String>,
}

/// The key of the position's record.
#[must_use]
pub fn position_key(database: &str) -> String {
    json!(["position", database]).to_string()
}

/// What the position's record says beside the position.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// When it is written, in milliseconds since 1970, UTC.
    pub at_ms: i64,
    /// The source ends in order after it.
    pub stopped: bool,
    /// The transaction index is complete up to it.
    pub indexed: bool,
    /// Debezium's numbers of the transaction inside which it stands.
    pub counts: Option<Counts>,
}

/// The value of the position's record.
#[must_use]
pub fn position_value(position: &Position, written: &Written) -> String {
    let mut value = position_json(position);
    if let Some(fields) = value.as_object_mut() {
        fields.insert("written_ms".to_owned(), written.at_ms.into());
        for (name, set) in [("stopped", written.stopped), ("indexed", written.indexed)] {
            if set {
                fields.insert(name.to_owned(), Json::Bool(true));
            }
        }
        if let Some(counts) = &written.counts {
            fields.insert("transaction".to_owned(), json!(counts));
        }
    }
    value.to_string()
}

/// A place in the order of changes.
#[must_use]
pub fn position_json(position: &Position) -> Json {
    if position.is_transaction_end() {
        json!({ "commit_lsn": position.commit_lsn.to_string(), "transaction_end": true })
    } else {
        json!({
            "commit_lsn": position.commit_lsn.to_string(),
            "command_id": position.command_id,
            "seqval": position.seqval.to_string(),
            "operation": position.operation,
            "transaction_end": false,
        })
    }
}

fn parse_position(value: &Json) -> Result<Position, String> {
    let lsn = |field: &str| -> Result<Lsn, String> {
        let text = value.get(field).and_then(Json::as_str).ok_or(format!("{field} is missing"))?;
        text.parse().map_err(|error| format!("{field}: {error}"))
    };
    let commit_lsn = lsn("commit_lsn")?;
    let end = value.get("transaction_end").and_then(Json::as_bool);
    if end.ok_or("transaction_end is missing")? {
        return Ok(Position::end_of(commit_lsn));
    }
    let number =
        |field: &str| value.get(field).and_then(Json::as_i64).ok_or(format!("{field} is missing"));
    Ok(Position {
        commit_lsn,
        command_id: i32::try_from(number("command_id")?).map_err(|_| "command_id")?,
        seqval: lsn("seqval")?,
        operation: u8::try_from(number("operation")?)
            .ok()
            .filter(|op| (1..=4).contains(op))
            .ok_or("operation is not 1 to 4")?,
    })
}

/// The key of a table's record.
#[must_use]
pub fn table_key(database: &str, table: &TableId) -> String {
    json!(["table", database, table.schema, table.name]).to_string()
}

/// The value of a table's record.
#[must_use]
pub fn table_value(state: &TableState) -> String {
    to_text(state)
}

/// The key of the record of the signals.
#[must_use]
pub fn signals_key(database: &str) -> String {
    json!(["signals", database]).to_string()
}

/// The key of the record of a snapshot that a signal asked for.
#[must_use]
pub fn adhoc_key(database: &str, id: &str) -> String {
    json!(["adhoc", database, id]).to_string()
}

/// The key of the record of the recovery fork.
#[must_use]
pub fn fork_key(database: &str) -> String {
    json!(["fork", database]).to_string()
}

/// The value of a record that is a struct of strings, numbers and JSON: it always has a JSON form.
#[must_use]
pub fn to_text(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// The database that a record speaks of; the second part of every key.
fn database_of(key: &[u8]) -> Option<String> {
    let parts = serde_json::from_slice::<Vec<String>>(key).ok()?;
    parts.into_iter().nth(1)
}

/// The databases that the records speak of.
#[must_use]
pub fn databases(records: &BTreeMap<Vec<u8>, Vec<u8>>) -> BTreeSet<String> {
    records.keys().filter_map(|key| database_of(key)).collect()
}

/// The keys of all records of a database.
#[must_use]
pub fn keys_of(records: &BTreeMap<Vec<u8>, Vec<u8>>, database: &str) -> Vec<String> {
    records
        .keys()
        .filter(|key| database_of(key).as_deref() == Some(database))
        .filter_map(|key| String::from_utf8(key.clone()).ok())
        .collect()
}

/// Reads the records of one database; those of others and of kinds that came later are left alone.
pub fn read(records: &BTreeMap<Vec<u8>, Vec<u8>>, database: &str) -> Result<Stored, SourceError> {
    let mut stored = Stored::default();
    for (key, value) in records {
        let text = String::from_utf8_lossy(key).into_owned();
        let wrong = |reason: String| SourceError::State { key: text.clone(), reason };
        let Ok(parts) = serde_json::from_slice::<Vec<String>>(key) else {
            continue;
        };
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match parts[..] {
            ["position", of] if of == database => {
                let value: Json =
                    serde_json::from_slice(value).map_err(|error| wrong(error.to_string()))?;
                stored.position = Some(parse_position(&value).map_err(wrong)?);
                stored.written_ms = value.get("written_ms").and_then(Json::as_i64);
                let flag = |name: &str| value.get(name).and_then(Json::as_bool) == Some(true);
                (stored.stopped, stored.indexed) = (flag("stopped"), flag("indexed"));
                if let Some(counts) = value.get("transaction") {
                    let counts = serde_json::from_value(counts.clone());
                    stored.counts = Some(counts.map_err(|error| wrong(error.to_string()))?);
                }
            }
            ["table", of, schema, name] if of == database => {
                let state: TableState =
                    serde_json::from_slice(value).map_err(|error| wrong(error.to_string()))?;
                stored.tables.insert(TableId::new(schema, name), state);
            }
            ["signals", of] if of == database => {
                stored.signals =
                    serde_json::from_slice(value).map_err(|error| wrong(error.to_string()))?;
            }
            ["adhoc", of, id] if of == database => {
                let adhoc =
                    serde_json::from_slice(value).map_err(|error| wrong(error.to_string()))?;
                stored.adhoc.insert(id.to_owned(), adhoc);
            }
            ["fork", of] if of == database => {
                stored.fork = Some(String::from_utf8_lossy(value).into_owned());
            }
            _ => {}
        }
    }
    Ok(stored)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> TableState {
        TableState {
            instance: "dbo_orders".to_owned(),
            object_id: 7,
            since: Some(Lsn::from_parts(1, 2, 3).to_string()),
            snapshot: SnapshotState::Running {
                rows: 20,
                parts: Some(vec![
                    Part { after: None, upto: Some(json!([7, "x"])) },
                    Part { after: Some(json!([9, "y"])), upto: None },
                ]),
                after: None,
            },
            micro_columns: BTreeSet::from(["valid_to".to_owned()]),
            reset: false,
            halted: Some(Halted::at(&Position::end_of(Lsn::from_parts(1, 2, 3)), "no".to_owned())),
            copied_at: Some(Lsn::from_parts(1, 2, 4).to_string()),
        }
    }

    #[test]
    fn what_is_stored_comes_back() {
        let inside = Position {
            commit_lsn: Lsn::from_parts(1, 2, 3),
            command_id: 5,
            seqval: Lsn::from_parts(1, 2, 1),
            operation: 4,
        };
        let tables = BTreeMap::from([("shop.dbo.orders".to_owned(), 3)]);
        let counts = Counts { id: "x".to_owned(), ts_ms: 7, tables };
        let written =
            Written { at_ms: 12, stopped: true, indexed: true, counts: Some(counts.clone()) };
        for position in [inside, Position::end_of(Lsn::from_parts(1, 2, 3))] {
            let records = BTreeMap::from([
                (
                    position_key("shop").into_bytes(),
                    position_value(&position, &written).into_bytes(),
                ),
                (
                    table_key("shop", &TableId::new("dbo", "orders")).into_bytes(),
                    table_value(&state()).into_bytes(),
                ),
                (position_key("other").into_bytes(), b"not even JSON".to_vec()),
                (b"something else".to_vec(), Vec::new()),
            ]);
            let stored = read(&records, "shop").unwrap();
            assert_eq!(stored.position, Some(position));
            assert_eq!((stored.written_ms, stored.stopped), (Some(12), true));
            assert_eq!((stored.indexed, stored.counts), (true, Some(counts.clone())));
            assert_eq!(
                databases(&records),
                BTreeSet::from(["other".to_owned(), "shop".to_owned()])
            );
            assert_eq!(keys_of(&records, "shop").len(), 2);
            assert_eq!(stored.tables[&TableId::new("dbo", "orders")], state());
        }
        assert_eq!(read(&BTreeMap::new(), "shop").unwrap(), Stored::default());
    }

    #[test]
    fn what_version_0_1_wrote_is_understood() {
        let text = r#"{"instance":"i","object_id":7,"since":null,
            "snapshot":{"state":"running","after":[7],"rows":20}}"#;
        let state: TableState = serde_json::from_str(text).unwrap();
        assert_eq!(state.snapshot.rows(), 20);
        assert_eq!(
            state.snapshot.parts(),
            Some(vec![Part { after: Some(json!([7])), upto: None }])
        );
        assert_eq!(SnapshotState::begin().parts(), None);
    }

    #[test]
    fn signals_and_what_they_asked_for_come_back() {
        let mut signals = SignalState { next_offset: Some(7), ..SignalState::default() };
        (0..1_500).for_each(|i| signals.remember(i.to_string()));
        assert_eq!((signals.done.len(), signals.done.back().unwrap().as_str()), (1_000, "1499"));
        let adhoc = Adhoc {
            tables: vec![AdhocTable {
                schema: "dbo".to_owned(),
                name: "t".to_owned(),
                filter: Some("a = 'ä'".to_owned()),
                surrogate_key: None,
                keys: Some(vec![json!({"id": 7})]),
                snapshot: SnapshotState::begin(),
            }],
        };
        let records = BTreeMap::from([
            (signals_key("d").into_bytes(), to_text(&signals).into_bytes()),
            (adhoc_key("d", "my \"id\"").into_bytes(), to_text(&adhoc).into_bytes()),
            (fork_key("d").into_bytes(), b"ABC".to_vec()),
        ]);
        let stored = read(&records, "d").unwrap();
        assert_eq!(stored.signals, signals);
        assert_eq!(stored.adhoc["my \"id\""], adhoc);
        assert_eq!(stored.fork.as_deref(), Some("ABC"));
        assert_eq!(read(&records, "e").unwrap(), Stored::default());
    }

    #[test]
    fn a_position_that_cannot_be_understood_stops_us() {
        for value in [
            r#"{"commit_lsn":"00000001:00000002:0003"}"#,
            r#"{"commit_lsn":"1:2:3","transaction_end":true}"#,
            r#"{"commit_lsn":"00000001:00000002:0003","transaction_end":false,"command_id":1,
                "seqval":"00000001:00000002:0003","operation":9}"#,
            "[]",
        ] {
            let records =
                BTreeMap::from([(position_key("shop").into_bytes(), value.as_bytes().to_vec())]);
            assert!(read(&records, "shop").is_err(), "{value}");
        }
    }
}
