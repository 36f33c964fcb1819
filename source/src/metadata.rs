//! Debezium's transaction metadata as records: what [`crate::numbers`] decides, encoded.

use causeway_avro::{
    TransactionBlock,
    transaction::{Boundary, key_schema, put_key, put_value, value_schema},
};
use causeway_change::{Lsn, Position, TableId};
use causeway_kafka::{Registry, topic};

use crate::{
    SourceError,
    numbers::{Counts, Numbers, Tell},
    tables::Active,
};

/// Numbers events, and makes the records that say where transactions begin and end.
#[derive(Debug)]
pub struct Metadata {
    numbers: Numbers,
    /// Where the records go.
    pub topic: String,
    key_id: u32,
    value_id: u32,
}

/// A record's key and value.
pub type KeyValue = (Vec<u8>, Vec<u8>);

impl Metadata {
    /// Registers the schemas, and goes on from what is stored.
    pub async fn new(
        registry: &Registry,
        pipeline: &str,
        stored: Option<Position>,
        counts: Option<Counts>,
    ) -> Result<Self, SourceError> {
        let topic = topic::transaction_metadata(pipeline);
        let failed = |source| SourceError::Registry {
            table: TableId::new("", "transaction"),
            source: Box::new(source),
        };
        let (key, value) = (topic::key_subject(&topic), topic::value_subject(&topic));
        let key_id = registry.register(&key, &key_schema()).await.map_err(failed)?;
        let value_id = registry.register(&value, &value_schema()).await.map_err(failed)?;
        Ok(Self { numbers: Numbers::new(stored, counts), topic, key_id, value_id })
    }

    /// The numbers of a table's next event.
    #[must_use]
    pub fn next(&self, lsn: Lsn, active: &Active) -> TransactionBlock {
        self.numbers.next(lsn, &collection(active))
    }

    /// An event is published: the records that come before it, as keys and values.
    #[must_use]
    pub fn count(&mut self, lsn: Lsn, commit_ns: i64, active: &Active) -> Vec<KeyValue> {
        let ts_ms = commit_ns.div_euclid(1_000_000);
        let told = self.numbers.count(lsn, ts_ms, &collection(active));
        told.iter().map(|tell| self.record(tell)).collect()
    }

    /// True when a commit that leads to `position` ends a transaction.
    #[must_use]
    pub fn has_news(&self, position: &Position) -> bool {
        self.numbers.has_news(position)
    }

    /// The record of a transaction that ends with a commit that leads to `position`, and what to store.
    pub fn commit(&mut self, position: &Position) -> (Option<KeyValue>, Option<Counts>) {
        let (ended, stored) = self.numbers.commit(position);
        (ended.map(|tell| self.record(&tell)), stored)
    }

    fn record(&self, tell: &Tell) -> KeyValue {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        let id = match tell {
            Tell::Begin(id, ts_ms) => {
                put_value(Boundary::Begin, *id, *ts_ms, self.value_id, &mut value);
                *id
            }
            Tell::End(id, counts) => {
                let list: Vec<(&str, i64)> =
                    counts.tables.iter().map(|(table, n)| (table.as_str(), *n)).collect();
                let end = Boundary::End { counts: &list };
                put_value(end, *id, counts.ts_ms, self.value_id, &mut value);
                *id
            }
        };
        put_key(id, self.key_id, &mut key);
        (key, value)
    }
}

/// Debezium's name of a table.
fn collection(active: &Active) -> String {
    let table = &active.instance.source.table;
    format!("{}.{}", table.database, table.id)
}
