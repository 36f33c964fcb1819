//! Pure: the offsets of a Debezium SQL Server connector, and the position at which we go on behind it.
//!
//! Kafka Connect keeps them as JSON: key `["<connector>",{"server":"<prefix>","database":"<db>"}]`, value
//! `{"commit_lsn":"…","change_lsn":"…","event_serial_no":1}`. They are taken as a console consumer prints
//! them (key and value on one line), as Connect's REST interface gives them (`GET
//! /connectors/<name>/offsets`), or the value alone.

use causeway_change::{Lsn, Position};
use serde_json::Value as Json;

/// Where a connector stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offset {
    /// Its `topic.prefix`, when the file says so.
    pub server: Option<String>,
    /// The database, when the file says so.
    pub database: Option<String>,
    /// The transaction of the last event that it sent.
    pub commit_lsn: Lsn,
    /// The change inside it; none after a snapshot, which stands behind the whole transaction.
    pub change_lsn: Option<Lsn>,
}

/// Why a file cannot be taken over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DebeziumError {
    /// Not JSON.
    #[error("the file is not JSON: {0}")]
    Json(String),
    /// No offset of a SQL Server connector.
    #[error(
        "the file has no offset of a SQL Server connector for database {database}; expected are the records of \
         Kafka Connect's offsets topic (kafka-console-consumer --property print.key=true), the answer of \
         GET /connectors/<name>/offsets, or {{\"commit_lsn\": \"…\", \"change_lsn\": \"…\"}}"
    )]
    NotFound {
        /// The database that was looked for.
        database: String,
    },
    /// A field that cannot be understood.
    #[error(
        "the connector's offset has {field} = {found:?}, which is no LSN such as 00000027:00000ac0:0002"
    )]
    Lsn {
        /// The field.
        field: &'static str,
        /// What it holds.
        found: String,
    },
    /// The connector has not finished its snapshot.
    #[error(
        "the connector has not finished its snapshot, so its position says nothing about the tables; let it \
         finish, or start causeway-source without importing, which copies the tables itself"
    )]
    Snapshot,
}

impl Offset {
    /// Where we go on. Inside a transaction the connector's own order is not ours (it may have been
    /// ordered by `__$seqval`), so its last transaction is published again as a whole: nothing is lost, and
    /// a sink that knows the rows already changes nothing.
    #[must_use]
    pub fn position(&self) -> Position {
        match self.change_lsn {
            None => Position::end_of(self.commit_lsn),
            Some(_) => Position::end_of(before(self.commit_lsn)),
        }
    }
}

/// The place before this one.
fn before(lsn: Lsn) -> Lsn {
    let mut bytes = *lsn.as_bytes();
    for byte in bytes.iter_mut().rev() {
        let (rest, borrow) = byte.overflowing_sub(1);
        *byte = rest;
        if !borrow {
            return Lsn::from_bytes(bytes);
        }
    }
    Lsn::ZERO
}

/// Finds the offset of a database; the last one counts, as in the topic.
pub fn parse(text: &str, database: &str) -> Result<Offset, DebeziumError> {
    let mut found = None;
    let mut partition = None;
    let values = serde_json::Deserializer::from_str(text).into_iter::<Json>();
    for value in values {
        let value = value.map_err(|error| DebeziumError::Json(error.to_string()))?;
        collect(&value, &mut partition, database, &mut found);
    }
    let (partition, value) =
        found.ok_or_else(|| DebeziumError::NotFound { database: database.to_owned() })?;
    read(&partition, &value)
}

fn collect(
    value: &Json,
    partition: &mut Option<Json>,
    database: &str,
    found: &mut Option<(Json, Json)>,
) {
    match value {
        // A record's key.
        Json::Array(parts) => *partition = parts.iter().find(|part| part.is_object()).cloned(),
        Json::Object(fields) => {
            if let Some(Json::Array(offsets)) = fields.get("offsets") {
                for offset in offsets {
                    collect(offset, partition, database, found);
                }
            } else if let (Some(of), Some(offset)) = (fields.get("partition"), fields.get("offset"))
            {
                *partition = Some(of.clone());
                collect(offset, partition, database, found);
            } else if let (Some(key), Some(offset)) = (fields.get("key"), fields.get("value")) {
                collect(key, partition, database, found);
                collect(offset, partition, database, found);
            } else if fields.contains_key("commit_lsn") {
                let of = partition.take().unwrap_or(Json::Null);
                let name = of.get("database").and_then(Json::as_str);
                if name.is_none_or(|name| name.eq_ignore_ascii_case(database)) {
                    *found = Some((of, value.clone()));
                }
            }
        }
        // A key or a value that is JSON in a JSON text.
        Json::String(text) => {
            if let Ok(inner) = serde_json::from_str::<Json>(text)
                && !inner.is_string()
            {
                collect(&inner, partition, database, found);
            }
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

fn read(partition: &Json, value: &Json) -> Result<Offset, DebeziumError> {
    let text = |of: &Json, field: &str| of.get(field).and_then(Json::as_str).map(str::to_owned);
    let lsn = |field: &'static str| -> Result<Option<Lsn>, DebeziumError> {
        match text(value, field) {
            None => Ok(None),
            Some(null) if null.eq_ignore_ascii_case("null") => Ok(None),
            Some(found) => found.parse().map(Some).map_err(|_| DebeziumError::Lsn { field, found }),
        }
    };
    let unfinished = match (value.get("snapshot"), value.get("snapshot_completed")) {
        (_, Some(done)) => done.as_bool() == Some(false),
        (Some(running), None) => running.as_bool() != Some(false) && !running.is_null(),
        (None, None) => false,
    };
    if unfinished {
        return Err(DebeziumError::Snapshot);
    }
    let commit_lsn = lsn("commit_lsn")?
        .ok_or(DebeziumError::Lsn { field: "commit_lsn", found: "NULL".to_owned() })?;
    Ok(Offset {
        server: text(partition, "server"),
        database: text(partition, "database"),
        commit_lsn,
        change_lsn: lsn("change_lsn")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = r#"{"commit_lsn":"00000027:00000ac0:0002","change_lsn":"00000027:00000ac0:0001","event_serial_no":1}"#;

    #[test]
    fn an_offset_is_found_in_whatever_form_it_is_given() {
        let key = r#"["inventory",{"server":"shop","database":"Testdb"}]"#;
        let rest = format!(
            r#"{{"offsets":[{{"partition":{{"server":"shop","database":"other"}},"offset":{{"commit_lsn":"NULL"}}}},
                {{"partition":{{"server":"shop","database":"testDB"}},"offset":{VALUE}}}]}}"#
        );
        let old = r#"{"commit_lsn":"00000001:00000001:0001","change_lsn":"NULL"}"#;
        for text in [
            format!("{key}\t{VALUE}\n"),
            format!("{key}\t{old}\n{key}\t{VALUE}\n[\"x\",{{\"database\":\"b\"}}]\t{old}\nnull"),
            rest,
            format!(r#"{{"key":{key},"value":{VALUE}}}"#),
            VALUE.to_owned(),
        ] {
            let offset = parse(&text, "testdb").unwrap();
            assert_eq!(offset.commit_lsn, Lsn::from_parts(0x27, 0xac0, 2), "{text}");
            // The last transaction again, as a whole.
            assert_eq!(offset.position(), Position::end_of(Lsn::from_parts(0x27, 0xac0, 1)));
        }
    }

    #[test]
    fn behind_a_snapshot_nothing_is_repeated() {
        let text = r#"{"commit_lsn":"00000027:00000ac0:0000","change_lsn":"NULL","snapshot":"INITIAL","snapshot_completed":true}"#;
        let offset = parse(text, "d").unwrap();
        assert_eq!(offset.position(), Position::end_of(offset.commit_lsn));
        assert_eq!(before(Lsn::from_parts(1, 0, 0)), Lsn::from_parts(0, u32::MAX, u16::MAX));
        assert_eq!(before(Lsn::ZERO), Lsn::ZERO);
    }

    #[test]
    fn what_cannot_be_taken_over_is_refused_in_words() {
        let errors: Vec<String> = [
            "nonsense",
            "{}",
            r#"["c",{"database":"other"}] {"commit_lsn":"00000027:00000ac0:0002"}"#,
            r#"{"commit_lsn":"NULL"}"#,
            r#"{"commit_lsn":"1"}"#,
            r#"{"commit_lsn":"00000027:00000ac0:0002","snapshot":true}"#,
        ]
        .into_iter()
        .map(|text| parse(text, "d").unwrap_err().to_string())
        .collect();
        for (error, part) in errors.iter().zip([
            "not JSON",
            "no offset of a SQL Server connector for database d",
            "for database d",
            "commit_lsn = \"NULL\"",
            "commit_lsn = \"1\"",
            "not finished its snapshot",
        ]) {
            assert!(error.contains(part), "{error}");
        }
    }
}
