//! Repair through the stream: asks the source to copy some keys once more.
//!
//! The source reads the rows and publishes them between the changes that it publishes anyway, so what is newer
//! wins and nothing is paused. A key that the source does not have is not published: rows that only the target
//! has cannot be mended this way.

use causeway_change::{Column, TableId, Value};
use causeway_kafka::{Admin, Error, Producer, Record, TopicSpec, topic};
use causeway_postgres::literal;
use serde_json::{Value as Json, json};

/// Keys of one signal.
pub const KEYS: usize = 5_000;

/// The signal that asks for the rows of keys of one table, in Debezium's words and with our list of keys.
#[must_use]
pub fn text<'a>(
    id: &str,
    table: &TableId,
    columns: impl Iterator<Item = &'a Column> + Clone,
    keys: &[Vec<Value>],
) -> String {
    let name = expression(&table.to_string());
    let keys: Vec<Json> = keys
        .iter()
        .map(|key| {
            let fields = columns
                .clone()
                .zip(key)
                .map(|(column, value)| (column.name.clone(), key_value(column, value)));
            Json::Object(fields.collect())
        })
        .collect();
    json!({
        "id": id,
        "type": "execute-snapshot",
        "data": {
            "type": "INCREMENTAL",
            "data-collections": [name],
            "additional-conditions": [{"data-collection": name, "keys": keys}],
        }
    })
    .to_string()
}

/// A table's name as a regular expression that means it alone.
fn expression(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_punctuation() && c != '_' {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// A key's value as the source reads it: as text, bytes as `0x…`, a moment with `T`.
fn key_value(column: &Column, value: &Value) -> Json {
    let Some(text) = literal::text(column.ty, value) else { return Json::Null };
    match value {
        Value::Bytes(_) => json!(text.replacen("\\x", "0x", 1)),
        Value::DateTime(_) => json!(text.replacen(' ', "T", 1)),
        Value::Null
        | Value::Unavailable
        | Value::TooLarge(_)
        | Value::Bool(_)
        | Value::I16(_)
        | Value::I32(_)
        | Value::I64(_)
        | Value::F32(_)
        | Value::F64(_)
        | Value::Decimal(_)
        | Value::Text(_)
        | Value::Guid(_)
        | Value::Date(_)
        | Value::Time(_)
        | Value::DateTimeOffset { .. } => json!(text),
    }
}

/// Puts a signal on the pipeline's topic.
///
/// # Errors
/// When Kafka does not take it.
pub async fn send(
    config: &causeway_kafka::Config,
    pipeline: &str,
    signal: &str,
) -> Result<(), Error> {
    let name = topic::signals(pipeline);
    let spec =
        TopicSpec { name: name.clone(), partitions: 1, compacted: false, retention_ms: None };
    Admin::new(config)?.ensure_topics(&[spec]).await?;
    let record = Record {
        topic: &name,
        partition: None,
        // The key is the pipeline's name: signals of others on a shared topic are told apart by it.
        key: Some(pipeline.as_bytes()),
        value: Some(signal.as_bytes()),
        headers: &[],
        timestamp_ms: None,
    };
    Producer::new(config)?.send(record).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use causeway_change::{ColumnType, Length};

    #[test]
    fn a_signal_lists_keys_as_the_source_reads_them() {
        let column =
            |name: &str, ty| Column { name: name.to_owned(), ty, nullable: false, default: None };
        let columns = [
            column("id", ColumnType::Int),
            column("b", ColumnType::VarBinary(Length::Of(2))),
            column("at", ColumnType::DateTime2 { scale: 3 }),
        ];
        let keys = [vec![Value::I32(7), Value::Bytes(vec![1, 255]), Value::DateTime(0)]];
        let text = text("r1", &TableId::new("dbo", "order lines"), columns.iter(), &keys);
        let json: Json = serde_json::from_str(&text).unwrap();
        assert_eq!(json["type"], "execute-snapshot");
        assert_eq!(json["data"]["data-collections"][0], "dbo\\.order lines");
        assert_eq!(
            json["data"]["additional-conditions"][0]["keys"][0],
            json!({"id": "7", "b": "0x01ff", "at": "1970-01-01T00:00:00"})
        );
    }
}
