//! Debezium's transaction metadata: the block `transaction` of an envelope, and the records that say where a
//! transaction begins and ends. Names, fields and versions are Debezium's (`TransactionStructMaker`).

use causeway_change::Lsn;
use serde_json::{Value as Json, json};

use crate::{frame, wire};

/// Where an event stands in its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionBlock {
    /// Commit LSN: Debezium's id of a transaction.
    pub id: Lsn,
    /// Place among all events of the transaction, from 1.
    pub total_order: i64,
    /// Place among those of its table, from 1.
    pub data_collection_order: i64,
}

/// What a record of the topic `<prefix>.transaction` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boundary<'a> {
    /// The transaction begins.
    Begin,
    /// It has ended.
    End {
        /// Events of each table: `database.schema.table` and how many.
        counts: &'a [(&'a str, i64)],
    },
}

/// The schema of the records' keys.
#[must_use]
pub fn key_schema() -> String {
    let name = "io.debezium.connector.common.TransactionMetadataKey";
    record(name, json!([{"name": "id", "type": "string"}])).to_string()
}

/// The schema of the records' values.
#[must_use]
pub fn value_schema() -> String {
    let optional =
        |name: &str, ty: Json| json!({"name": name, "type": ["null", ty], "default": null});
    let collection = record(
        "event.collection",
        json!([
            {"name": "data_collection", "type": "string"},
            {"name": "event_count", "type": "long"},
        ]),
    );
    record(
        "io.debezium.connector.common.TransactionMetadataValue",
        json!([
            {"name": "status", "type": "string"},
            {"name": "id", "type": "string"},
            optional("event_count", json!("long")),
            optional("data_collections", json!({"type": "array", "items": ["null", collection]})),
            {"name": "ts_ms", "type": "long"},
        ]),
    )
    .to_string()
}

/// A record of version 1; properties in the AvroConverter's order.
fn record(full_name: &str, fields: Json) -> Json {
    let (namespace, name) = full_name.rsplit_once('.').unwrap_or(("", full_name));
    json!({
        "type": "record",
        "name": name,
        "namespace": namespace,
        "fields": fields,
        "connect.version": 1,
        "connect.name": full_name,
    })
}

/// Appends a key, with the frame of the key schema's `schema_id`.
pub fn put_key(id: Lsn, schema_id: u32, out: &mut Vec<u8>) {
    frame::write(schema_id, out);
    wire::put_bytes(id.to_string().as_bytes(), out);
}

/// Appends a value, with the frame of the value schema's `schema_id`. `ts_ms` is when the transaction was
/// committed, in milliseconds since 1970-01-01T00:00Z.
pub fn put_value(boundary: Boundary<'_>, id: Lsn, ts_ms: i64, schema_id: u32, out: &mut Vec<u8>) {
    frame::write(schema_id, out);
    let status = match boundary {
        Boundary::Begin => "BEGIN",
        Boundary::End { .. } => "END",
    };
    wire::put_bytes(status.as_bytes(), out);
    wire::put_bytes(id.to_string().as_bytes(), out);
    match boundary {
        Boundary::Begin => out.extend_from_slice(&[0, 0]),
        Boundary::End { counts } => {
            wire::put_long(1, out);
            wire::put_long(counts.iter().map(|(_, count)| count).sum(), out);
            wire::put_long(1, out);
            if !counts.is_empty() {
                wire::put_long(i64::try_from(counts.len()).unwrap_or(i64::MAX), out);
                for (collection, count) in counts {
                    // Debezium lets each of them be null.
                    wire::put_long(1, out);
                    wire::put_bytes(collection.as_bytes(), out);
                    wire::put_long(*count, out);
                }
            }
            // No more blocks.
            out.push(0);
        }
    }
    wire::put_long(ts_ms, out);
}

/// Appends the field `transaction` of an envelope.
pub(crate) fn put_block(block: Option<&TransactionBlock>, out: &mut Vec<u8>) {
    let Some(block) = block else {
        out.push(0);
        return;
    };
    wire::put_long(1, out);
    wire::put_bytes(block.id.to_string().as_bytes(), out);
    wire::put_long(block.total_order, out);
    wire::put_long(block.data_collection_order, out);
}

#[cfg(test)]
mod tests {
    use apache_avro::{Schema, reader::datum::GenericDatumReader, types::Value};

    use super::*;

    fn read(schema: &str, bytes: &[u8]) -> Value {
        let schema = Schema::parse_str(schema).unwrap();
        let (id, mut body) = frame::split(bytes).unwrap();
        assert_eq!(id, 9);
        let reader = GenericDatumReader::builder(&schema).build().unwrap();
        let value = reader.read_value(&mut body).unwrap();
        assert!(body.is_empty());
        value
    }

    fn there(value: &Value) -> &Value {
        if let Value::Union(_, inner) = value { inner } else { value }
    }

    fn field<'a>(value: &'a Value, name: &str) -> &'a Value {
        let Value::Record(fields) = there(value) else { panic!("{value:?}") };
        there(&fields.iter().find(|(field, _)| field == name).unwrap().1)
    }

    #[test]
    fn a_reader_that_others_wrote_reads_the_records() {
        let id = Lsn::from_parts(0x27, 0xac0, 2);
        let text = Value::String("00000027:00000ac0:0002".to_owned());
        let mut key = Vec::new();
        put_key(id, 9, &mut key);
        assert_eq!(field(&read(&key_schema(), &key), "id"), &text);

        let mut begin = Vec::new();
        put_value(Boundary::Begin, id, 77, 9, &mut begin);
        let begin = read(&value_schema(), &begin);
        assert_eq!(field(&begin, "status"), &Value::String("BEGIN".to_owned()));
        assert_eq!(field(&begin, "id"), &text);
        assert_eq!(field(&begin, "event_count"), &Value::Null);
        assert_eq!(field(&begin, "data_collections"), &Value::Null);
        assert_eq!(field(&begin, "ts_ms"), &Value::Long(77));

        let mut end = Vec::new();
        let counts = [("db.dbo.a", 2), ("db.dbo.b", 200)];
        put_value(Boundary::End { counts: &counts }, id, 77, 9, &mut end);
        let end = read(&value_schema(), &end);
        assert_eq!(field(&end, "event_count"), &Value::Long(202));
        let Value::Array(collections) = field(&end, "data_collections") else { panic!() };
        let collections: Vec<_> = collections
            .iter()
            .map(|one| (field(one, "data_collection").clone(), field(one, "event_count").clone()))
            .collect();
        let expected = counts.map(|(name, n)| (Value::String(name.to_owned()), Value::Long(n)));
        assert_eq!(collections, expected);
        let mut none = Vec::new();
        put_value(Boundary::End { counts: &[] }, id, 77, 9, &mut none);
        assert_eq!(field(&read(&value_schema(), &none), "event_count"), &Value::Long(0));
    }

    #[test]
    fn the_schemas_are_debeziums_to_the_letter() {
        assert_eq!(
            key_schema(),
            r#"{"type":"record","name":"TransactionMetadataKey","namespace":"io.debezium.connector.common","fields":[{"name":"id","type":"string"}],"connect.version":1,"connect.name":"io.debezium.connector.common.TransactionMetadataKey"}"#
        );
        assert_eq!(
            value_schema(),
            r#"{"type":"record","name":"TransactionMetadataValue","namespace":"io.debezium.connector.common","fields":[{"name":"status","type":"string"},{"name":"id","type":"string"},{"name":"event_count","type":["null","long"],"default":null},{"name":"data_collections","type":["null",{"type":"array","items":["null",{"type":"record","name":"collection","namespace":"event","fields":[{"name":"data_collection","type":"string"},{"name":"event_count","type":"long"}],"connect.version":1,"connect.name":"event.collection"}]}],"default":null},{"name":"ts_ms","type":"long"}],"connect.version":1,"connect.name":"io.debezium.connector.common.TransactionMetadataValue"}"#
        );
    }
}
