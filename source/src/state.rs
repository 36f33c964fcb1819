//! Pure: what is stored in the offsets topic, and how it is read back.
//!
//! The topic is compacted and has one partition. Its records are written in the same Kafka transaction as
//! the data that they speak of. Keys and values are JSON:
//!
//! * `["position","<database>"]`: the place up to which all changes are published.
//!   `{"commit_lsn":"…","transaction_end":true}` or, inside a transaction,
//!   `{"commit_lsn":"…","command_id":7,"seqval":"…","operation":4,"transaction_end":false}`, and
//!   `"written_ms"`, when it was written.
//! * `["table","<database>","<schema>","<table>"]`: the capture instance, from where it is complete, and how
//!   far the table's snapshot has come: [`TableState`].

use std::collections::{BTreeMap, BTreeSet};

use causeway_change::{Lsn, Position, TableId};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::SourceError;

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
}

impl TableState {
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
    /// Chunks up to a key are published.
    Running {
        /// The last key of the last chunk that is published ([`crate::keys::to_json`]); none before the
        /// first.
        after: Option<Json>,
        /// Rows read so far.
        rows: u64,
    },
    /// All chunks are published.
    Done {
        /// Rows read.
        rows: u64,
    },
}

impl SnapshotState {
    /// True while rows of the table may still be read.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Running { .. })
    }
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
    /// The tables that are known.
    pub tables: BTreeMap<TableId, TableState>,
}

/// The key of the position's record.
#[must_use]
pub fn position_key(database: &str) -> String {
    json!(["position", database]).to_string()
}

/// The value of the position's record.
#[must_use]
pub fn position_value(position: &Position, written_ms: i64, stopped: bool) -> String {
    let mut value = if position.is_transaction_end() {
        json!({
            "commit_lsn": position.commit_lsn.to_string(),
            "transaction_end": true,
            "written_ms": written_ms,
        })
    } else {
        json!({
            "commit_lsn": position.commit_lsn.to_string(),
            "command_id": position.command_id,
            "seqval": position.seqval.to_string(),
            "operation": position.operation,
            "transaction_end": false,
            "written_ms": written_ms,
        })
    };
    if stopped && let Some(fields) = value.as_object_mut() {
        fields.insert("stopped".to_owned(), Json::Bool(true));
    }
    value.to_string()
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
    // A struct of strings, numbers and JSON always has a JSON form.
    serde_json::to_string(state).unwrap_or_default()
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
                stored.stopped = value.get("stopped").and_then(Json::as_bool) == Some(true);
            }
            ["table", of, schema, name] if of == database => {
                let state: TableState =
                    serde_json::from_slice(value).map_err(|error| wrong(error.to_string()))?;
                stored.tables.insert(TableId::new(schema, name), state);
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
            snapshot: SnapshotState::Running { after: Some(json!([7, "x"])), rows: 20 },
            micro_columns: BTreeSet::from(["valid_to".to_owned()]),
            reset: false,
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
        for position in [inside, Position::end_of(Lsn::from_parts(1, 2, 3))] {
            let records = BTreeMap::from([
                (
                    position_key("shop").into_bytes(),
                    position_value(&position, 12, true).into_bytes(),
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
