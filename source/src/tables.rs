//! The tables that are replicated: each with its capture instance, its topic and its encoder.

use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError, RwLock},
};

use causeway_avro::{EncodeError, Encoder, Options};
use causeway_change::{Lsn, Row, TableId};
use causeway_kafka::{Registry, topic};
use causeway_sqlserver::CaptureInstance;

use crate::SourceError;

/// A table as it is read and published now.
#[derive(Debug)]
pub struct Active {
    /// Its number: its index in the pump's list.
    pub number: usize,
    /// What is read.
    pub instance: CaptureInstance,
    /// Where it goes.
    pub topic: String,
    codec: RwLock<Arc<Codec>>,
    /// Held while a new version is registered: pump and readers often meet the same value.
    widening: tokio::sync::Mutex<()>,
    options: Options,
}

/// An encoder with the ids of its schemas.
#[derive(Debug)]
pub struct Codec {
    /// Encoder.
    pub encoder: Encoder,
    /// Schema id of the key; 0 for a table without key.
    pub key_id: u32,
    /// Schema id of the envelope.
    pub value_id: u32,
    /// Columns that are written in microseconds though their type asks for nanoseconds.
    pub micro_columns: BTreeSet<String>,
}

impl Active {
    /// Registers the schemas of a table.
    pub async fn new(
        number: usize,
        instance: CaptureInstance,
        prefix: &str,
        registry: &Registry,
        options: Options,
        micro_columns: BTreeSet<String>,
    ) -> Result<Self, SourceError> {
        let table = &instance.source.table;
        let topic = topic::table(prefix, &table.database, &table.id);
        let codec = register(&instance, &topic, registry, &options, micro_columns).await?;
        let codec = RwLock::new(Arc::new(codec));
        let widening = tokio::sync::Mutex::new(());
        Ok(Self { number, instance, topic, codec, widening, options })
    }

    /// A table that is read and not published: no schema is registered.
    pub fn unpublished(
        number: usize,
        instance: CaptureInstance,
        prefix: &str,
        options: Options,
    ) -> Result<Self, SourceError> {
        let table = &instance.source.table;
        let topic = topic::table(prefix, &table.database, &table.id);
        let micro_columns = BTreeSet::new();
        let encoder = Encoder::new(table, &topic, &options, &micro_columns).map_err(|source| {
            SourceError::Schema { table: table.id.clone(), source: Box::new(source) }
        })?;
        let codec = Codec { encoder, key_id: 0, value_id: 0, micro_columns };
        let codec = RwLock::new(Arc::new(codec));
        let widening = tokio::sync::Mutex::new(());
        Ok(Self { number, instance, topic, codec, widening, options })
    }

    /// Schema and name.
    #[must_use]
    pub fn id(&self) -> &TableId {
        self.instance.source.id()
    }

    /// The encoder of the moment.
    #[must_use]
    pub fn codec(&self) -> Arc<Codec> {
        Arc::clone(&self.codec.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Encodes, and when a timestamp does not fit nanoseconds registers a schema in which its column has
    /// microseconds, and encodes again. `encode` may be called several times and starts anew each time.
    pub async fn encode(
        &self,
        registry: &Registry,
        lsn: Lsn,
        mut encode: impl FnMut(&Codec) -> Result<(), EncodeError>,
    ) -> Result<(), SourceError> {
        loop {
            let column = {
                // Locked for a row, not counted: readers and pump meet here for each.
                let codec = self.codec.read().unwrap_or_else(PoisonError::into_inner);
                match encode(&codec) {
                    Ok(()) => return Ok(()),
                    Err(EncodeError::NanosecondRange { column })
                        if !codec.micro_columns.contains(&column) =>
                    {
                        column
                    }
                    Err(source) => {
                        return Err(SourceError::Encode {
                            table: self.id().clone(),
                            lsn,
                            source: Box::new(source),
                        });
                    }
                }
            };
            self.widen(registry, column).await?;
        }
    }

    /// The record key of a row; empty for a table without key.
    pub async fn key(
        &self,
        registry: &Registry,
        lsn: Lsn,
        row: &Row,
    ) -> Result<Vec<u8>, SourceError> {
        let mut key = Vec::new();
        if !self.instance.source.table.key.is_empty() {
            self.encode(registry, lsn, |codec| {
                key.clear();
                codec.encoder.encode_key(row, codec.key_id, &mut key)
            })
            .await?;
        }
        Ok(key)
    }

    async fn widen(&self, registry: &Registry, column: String) -> Result<(), SourceError> {
        let _one_at_a_time = self.widening.lock().await;
        let mut micro_columns = self.codec().micro_columns.clone();
        if !micro_columns.insert(column.clone()) {
            return Ok(());
        }
        tracing::warn!(
            table = %self.id(),
            column,
            "a value is outside 1677 to 2262, which nanoseconds in 64 bits reach; from now on the column is \
             written in microseconds, under a new version of the schema"
        );
        let codec =
            register(&self.instance, &self.topic, registry, &self.options, micro_columns).await?;
        *self.codec.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(codec);
        Ok(())
    }
}

async fn register(
    instance: &CaptureInstance,
    topic: &str,
    registry: &Registry,
    options: &Options,
    micro_columns: BTreeSet<String>,
) -> Result<Codec, SourceError> {
    let table = &instance.source.table;
    let encoder = Encoder::new(table, topic, options, &micro_columns).map_err(|source| {
        SourceError::Schema { table: table.id.clone(), source: Box::new(source) }
    })?;
    let failed =
        |source| SourceError::Registry { table: table.id.clone(), source: Box::new(source) };
    let key_id = match encoder.key_schema() {
        Some(schema) => {
            registry.register(&topic::key_subject(topic), schema).await.map_err(failed)?
        }
        None => 0,
    };
    let value_id = registry
        .register(&topic::value_subject(topic), encoder.value_schema())
        .await
        .map_err(failed)?;
    Ok(Codec { encoder, key_id, value_id, micro_columns })
}

/// The 128-bit name of a record key inside its table, without the frame, whose schema id may change.
#[must_use]
pub fn key_hash(key: &[u8]) -> u128 {
    xxhash_rust::xxh3::xxh3_128(key.get(5..).unwrap_or(key))
}
