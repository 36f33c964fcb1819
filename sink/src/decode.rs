//! A record of Kafka becomes a change, or a refusal.

use std::{collections::HashMap, sync::Arc, time::Duration};

use causeway_avro::{Decoder, KeyDecoder, frame};
use causeway_change::{Column, Operation, Row, TableId};
use causeway_kafka::{Message, Registry, RegistryError, topic};
use causeway_observability::names::sink as names;
use causeway_postgres::{Config as Postgres, EncodeError};
use causeway_service::{exit::chain_line, retry::Backoff};
use tokio_util::sync::CancellationToken;

use crate::{
    SinkError,
    change::{Change, KeyReader, Refusal, Shape},
    convert::{Buffer, Converted, Failure, convert, tombstone},
    policy::{KeyFrom, Meta, OnError, Policies, Policy},
    reader::Reader,
    transcode::Plan,
};

/// What a record is.
#[derive(Debug)]
pub enum Decoded {
    /// A change to apply.
    Change(Change),
    /// The key of its row changed: the old row goes, the new one comes.
    Moved(Box<(Change, Change)>),
    /// A tombstone, or an operation that says nothing of a row.
    Nothing,
    /// A record that can never be applied.
    Refused(Box<Refusal>),
}

/// A record read for a person: without a policy, and with both images.
pub enum Loose {
    /// It can be read.
    Read {
        /// Version of its table.
        shape: Arc<Shape>,
        /// What happened.
        operation: Operation,
        /// The row before.
        before: Option<Row>,
        /// The row after.
        after: Option<Row>,
        /// The columns and values of the record's key.
        key: Vec<(Column, causeway_change::Value)>,
    },
    /// It cannot be read, and why.
    Bytes(String),
}

/// Id of the value's schema, topic, id of the key's schema.
type Schemas = (u32, Arc<str>, Option<u32>);

/// Decodes records; keeps what it learned of their schemas.
pub struct Records {
    registry: Registry,
    postgres: Postgres,
    pipeline: String,
    policies: Policies,
    values: HashMap<Schemas, Result<Arc<Shape>, String>>,
    /// Most records have the schemas of the one before.
    last: Option<(Schemas, Arc<Shape>)>,
    /// Topics in which a tombstone was met, with the newest version of those that are flattened.
    flat: HashMap<Arc<str>, Option<Arc<Shape>>>,
    buffer: Buffer,
}

/// Why a record has no change: refused for ever, or the registry is away.
enum Stop {
    Refuse(String),
    Sink(SinkError),
}

impl From<RegistryError> for Stop {
    fn from(error: RegistryError) -> Self {
        if error.is_transient() {
            Self::Sink(error.into())
        } else {
            Self::Refuse(causeway_service::exit::chain_line(&error))
        }
    }
}

impl Records {
    /// Knows no schema yet.
    #[must_use]
    pub fn new(
        registry: Registry,
        postgres: Postgres,
        pipeline: String,
        policies: Policies,
    ) -> Self {
        Self {
            registry,
            postgres,
            pipeline,
            policies,
            values: HashMap::new(),
            last: None,
            flat: HashMap::new(),
            buffer: Buffer::default(),
        }
    }

    /// What all partitions with rows of one target have in common, when the key of a record does not
    /// decide which: then one connection must apply them all. None when each partition stands alone.
    #[must_use]
    pub fn together(&self, topic: &str) -> Option<String> {
        let table = table_of(&self.pipeline, topic)?;
        let policy = self.policies.of(&table);
        let found_by_record = match policy.key {
            KeyFrom::Record => policy.key_fields.is_none(),
            KeyFrom::Value => false,
            // No row replaces another.
            KeyFrom::Kafka | KeyFrom::None => true,
        };
        if found_by_record && policy.target.is_none() {
            return None;
        }
        let (schema, table) = policy.target(self.postgres.target(&table));
        Some(format!("{schema}.{table}"))
    }

    /// As [`Records::decode`], waiting for the registry as long as it takes; none when stopped.
    ///
    /// # Errors
    /// What waiting cannot mend.
    pub async fn decode_patiently(
        &mut self,
        message: &Arc<Message>,
        stop: &CancellationToken,
    ) -> Result<Option<Decoded>, SinkError> {
        // The registry is asked for the first record of a schema only.
        if let Some(decoded) = self.decode_known(message) {
            return Ok(Some(decoded));
        }
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        loop {
            match self.decode(message.clone()).await {
                Ok(decoded) => return Ok(Some(decoded)),
                Err(error) if error.is_transient() => {
                    names::ERRORS.add(1, &[("part", "registry")]);
                    tracing::warn!(error = %chain_line(&error), "waiting for the schema registry");
                    tokio::select! {
                        () = stop.cancelled() => return Ok(None),
                        () = tokio::time::sleep(backoff.next()) => {}
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Decodes a record of the schemas of the one before; none for others.
    fn decode_known(&mut self, message: &Arc<Message>) -> Option<Decoded> {
        let ((schema_id, topic, key_id), shape) = self.last.as_ref()?;
        let id = |bytes| frame::split(bytes).ok().map(|(id, _)| id);
        let known = id(message.value.as_deref()?)? == *schema_id
            && message.key.as_deref().map(id) == key_id.map(Some)
            && same(topic, &message.topic);
        if !known {
            return None;
        }
        let converted = convert(&mut self.buffer, message, shape);
        Some(decoded(message, shape, converted))
    }

    /// Decodes one record.
    ///
    /// # Errors
    /// When the registry cannot be asked right now; the same record can be tried again.
    pub async fn decode(&mut self, message: Arc<Message>) -> Result<Decoded, SinkError> {
        let shape = match &message.value {
            Some(value) => self.shape(&message, value).await,
            None => match self.flat(&message).await {
                Ok(Some(shape)) => Ok(shape),
                // It follows the delete that says the same; for compaction, not for us.
                Ok(None) => return Ok(Decoded::Nothing),
                Err(stop) => Err(stop),
            },
        };
        let shape = match shape {
            Ok(shape) => shape,
            Err(Stop::Sink(error)) => return Err(error),
            Err(Stop::Refuse(reason)) => {
                let table = table_of(&self.pipeline, &message.topic);
                let policy = table.as_ref().map(|table| self.policies.of(table));
                let on_error = policy.unwrap_or_default().on_error;
                return Ok(refused(&message, table.as_ref(), on_error, reason));
            }
        };
        let converted = match &message.value {
            Some(_) => convert(&mut self.buffer, &message, &shape),
            None => tombstone(&mut self.buffer, &message, &shape),
        };
        Ok(decoded(&message, &shape, converted))
    }

    /// For a tombstone: the version of its table, when its topic is of flattened records, in which a
    /// tombstone is all that is left of a row.
    async fn flat(&mut self, message: &Message) -> Result<Option<Arc<Shape>>, Stop> {
        let Some(key) = message.key.as_deref() else { return Ok(None) };
        if let Some((_, shape)) = self.last.as_ref().filter(|(place, _)| place.1 == message.topic)
            && matches!(shape.reader, Reader::Envelope(_))
        {
            return Ok(None);
        }
        if !self.flat.contains_key(&message.topic) {
            let newest = self.newest(&message.topic).await;
            let newest = newest.map_err(|error| match error {
                Newest::Registry(error) => error.into(),
                Newest::Schema(reason) => Stop::Refuse(reason),
            })?;
            let flat = newest.filter(|shape| matches!(shape.reader, Reader::Flat(_)));
            self.flat.insert(message.topic.clone(), flat.map(Arc::new));
        }
        let Some(Some(newest)) = self.flat.get(&message.topic) else { return Ok(None) };
        // Its key may be of another version than the newest value.
        let id = frame::split(key).map_err(|error| Stop::Refuse(error.to_string()))?.0;
        let place = (newest.schema_id, message.topic.clone(), Some(id));
        if let Some(known) = self.values.get(&place) {
            return known.clone().map(Some).map_err(Stop::Refuse);
        }
        let (schema_id, source) = (newest.schema_id, newest.source.clone());
        let schema = self.registry.schema(schema_id).await?;
        let key = self.registry.schema(id).await?;
        let made = Reader::new(&schema)
            .map_err(|error| error.to_string())
            .and_then(|reader| {
                self.compile(message.topic.clone(), source, schema_id, reader, Some(&key))
            })
            .map(Arc::new);
        self.values.insert(place, made.clone());
        made.map(Some).map_err(Stop::Refuse)
    }

    /// Reads a record as far as it can be read.
    ///
    /// # Errors
    /// When the registry cannot be asked right now.
    pub async fn loose(&mut self, message: &Message) -> Result<Loose, SinkError> {
        let value = message.value.as_deref().unwrap_or_default();
        let shape = match self.shape(message, value).await {
            Ok(shape) => shape,
            Err(Stop::Sink(error)) => return Err(error),
            Err(Stop::Refuse(why)) => return Ok(Loose::Bytes(why)),
        };
        let read = || {
            let body = frame::split(value).map_err(|error| error.to_string())?.1;
            let (operation, before, after) =
                shape.reader.rows(body).map_err(|error| error.to_string())?;
            let key = match (message.key.as_deref(), &shape.key_reader) {
                (Some(key), Some(reader)) => {
                    let body = frame::split(key).map_err(|error| error.to_string())?.1;
                    let row = reader.decoder.decode(body).map_err(|error| error.to_string())?;
                    reader.decoder.columns().iter().cloned().zip(row).collect()
                }
                _ => Vec::new(),
            };
            Ok(Loose::Read { shape: shape.clone(), operation, before, after, key })
        };
        Ok(read().unwrap_or_else(Loose::Bytes))
    }

    async fn shape(&mut self, message: &Message, value: &[u8]) -> Result<Arc<Shape>, Stop> {
        let refuse = |error: &dyn std::error::Error| Stop::Refuse(error.to_string());
        let (schema_id, body) = frame::split(value).map_err(|e| refuse(&e))?;
        let key_id = match message.key.as_deref() {
            None => None,
            Some(key) => Some(frame::split(key).map_err(|e| refuse(&e))?.0),
        };
        if let Some(((last_id, last_topic, last_key), shape)) = &self.last
            && (*last_id, *last_key) == (schema_id, key_id)
            && same(last_topic, &message.topic)
        {
            return Ok(shape.clone());
        }
        let place = (schema_id, message.topic.clone(), key_id);
        if let Some(known) = self.values.get(&place) {
            let shape = known.clone().map_err(Stop::Refuse)?;
            self.last = Some((place, shape.clone()));
            return Ok(shape);
        }
        let schema = self.registry.schema(schema_id).await?;
        let key_schema = match key_id {
            None => None,
            Some(id) => Some(self.registry.schema(id).await?),
        };
        let made = self.make(message, schema_id, &schema, key_schema, body).map(Arc::new);
        self.values.insert(place, made.clone());
        made.map_err(Stop::Refuse)
    }

    fn make(
        &self,
        message: &Message,
        schema_id: u32,
        schema: &str,
        key_schema: Option<Arc<str>>,
        body: &[u8],
    ) -> Result<Shape, String> {
        let reader = Reader::new(schema).map_err(|error| error.to_string())?;
        let source = match &reader {
            Reader::Envelope(decoder) => origin(decoder, body)?,
            Reader::Flat(_) => table_of(&self.pipeline, &message.topic)
                .ok_or_else(|| "its topic does not say which table it is of".to_owned())?,
        };
        self.compile(message.topic.clone(), source, schema_id, reader, key_schema.as_deref())
    }

    /// The newest version of a topic's table, by the registry alone: before a record was read. None when
    /// the registry knows no such topic.
    ///
    /// # Errors
    /// What the registry answers, or a sentence about schemas that cannot be read.
    pub async fn newest(&self, name: &str) -> Result<Option<Shape>, Newest> {
        self.newer(name, None).await
    }

    /// As [`Records::newest`]; none also when it is the one that is known.
    ///
    /// # Errors
    /// As there.
    pub async fn newer(&self, name: &str, known: Option<u32>) -> Result<Option<Shape>, Newest> {
        let value = self.registry.latest(&topic::value_subject(name)).await?;
        let Some((schema_id, schema)) = value.filter(|(id, _)| Some(*id) != known) else {
            return Ok(None);
        };
        let key = self.registry.latest(&topic::key_subject(name)).await?;
        let Some(source) = table_of(&self.pipeline, name) else { return Ok(None) };
        let reader = Reader::new(&schema).map_err(|error| Newest::Schema(error.to_string()))?;
        let key = key.as_ref().map(|(_, schema)| &**schema);
        self.compile(name.into(), source, schema_id, reader, key).map(Some).map_err(Newest::Schema)
    }

    fn compile(
        &self,
        topic: Arc<str>,
        source: TableId,
        schema_id: u32,
        reader: Reader,
        key_schema: Option<&str>,
    ) -> Result<Shape, String> {
        let policy = self.policies.of(&source);
        let values = reader.columns();
        let read_key = match key_schema {
            Some(schema) if policy.key == KeyFrom::Record => {
                let decoder = KeyDecoder::new(schema).map_err(|error| error.to_string())?;
                let key = key_columns(&values, decoder.columns())?;
                Some((decoder, key))
            }
            Some(_) | None => None,
        };
        let of_record = read_key.as_ref().map(|(_, key)| key.as_slice()).unwrap_or_default();
        let key = chosen_key(&policy, of_record, &values)?;
        let in_key = |name: &str| key.iter().any(|column| column.name == name);
        let metas = policy.metas();
        let written: Vec<Option<Column>> = values
            .iter()
            .map(|column| {
                let nullable = column.nullable || policy.key.is_history();
                let column = Column { nullable, ..column.clone() };
                (in_key(&column.name) || policy.writes(&column.name)).then_some(column)
            })
            .collect();
        let strict = values.iter().enumerate().filter(|(_, c)| in_key(&c.name)).map(|(i, _)| i);
        let plan = Plan::new(written.iter().map(Option::as_ref), &policy).with_strict(strict);
        let mut columns: Vec<Column> = written.into_iter().flatten().collect();
        let key_indexes =
            key.iter().filter_map(|k| columns.iter().position(|c| c.name == k.name)).collect();
        columns.extend(metas.iter().map(|meta| meta.column()));
        let key_reader = read_key.map(|(decoder, all)| {
            let of_key = all.iter().map(|column| in_key(&column.name).then_some(column));
            let plan = Plan::new(of_key, &Policy::default());
            KeyReader { decoder, plan }
        });
        Ok(Shape {
            schema_id,
            topic,
            target: policy.target(self.postgres.target(&source)),
            source,
            plan,
            metas,
            columns,
            key,
            key_reader,
            key_indexes,
            reader,
            policy,
        })
    }
}

fn decoded(
    message: &Arc<Message>,
    shape: &Shape,
    converted: Result<Converted, Failure>,
) -> Decoded {
    match converted {
        Ok(Converted::Nothing) => Decoded::Nothing,
        Ok(Converted::One(change)) => Decoded::Change(change),
        Ok(Converted::Moved(old, new)) => Decoded::Moved(Box::new((old, new))),
        Err(Failure::Unreadable(reason)) => {
            refused(message, Some(&shape.source), shape.policy.on_error, reason)
        }
        Err(Failure::Unfit { error, always }) => unfit(message, shape, &error, always),
    }
}

/// Whether two texts are the same: most are one and the same piece of memory.
fn same(a: &Arc<str>, b: &Arc<str>) -> bool {
    Arc::ptr_eq(a, b) || a == b
}

/// Why the newest version of a table is not known.
#[derive(Debug, thiserror::Error)]
pub enum Newest {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Its schemas cannot be read.
    #[error("{0}")]
    Schema(String),
}

/// The table that a record says it is of.
fn origin(decoder: &Decoder, body: &[u8]) -> Result<TableId, String> {
    let origin = decoder.origin(body).map_err(|error| error.to_string())?;
    Ok(TableId::new(origin.schema, origin.table))
}

/// The columns of the target's key.
fn chosen_key(
    policy: &Policy,
    of_record: &[Column],
    values: &[Column],
) -> Result<Vec<Column>, String> {
    let named = |columns: &[Column], names: &[String]| {
        names
            .iter()
            .map(|name| {
                let column = columns.iter().find(|column| column.name == *name);
                column
                    .cloned()
                    .ok_or_else(|| format!("key_fields names {name}, which is not there"))
            })
            .collect()
    };
    match (policy.key, &policy.key_fields) {
        (KeyFrom::Record, None) => Ok(of_record.to_vec()),
        (KeyFrom::Record, Some(names)) => named(of_record, names),
        (KeyFrom::Value, names) => {
            let mut key: Vec<Column> = named(values, names.as_deref().unwrap_or_default())?;
            key.iter_mut().for_each(|column| column.nullable = false);
            Ok(key)
        }
        (KeyFrom::Kafka, _) => {
            Ok([Meta::Topic, Meta::Partition, Meta::Offset].map(Meta::column).to_vec())
        }
        (KeyFrom::None, _) => Ok(Vec::new()),
    }
}

/// The table of a topic, by its name: what is known of a record that cannot be read.
#[must_use]
pub fn table_of(pipeline: &str, name: &str) -> Option<TableId> {
    let rest = name.strip_prefix(&topic::tables_prefix(pipeline))?;
    let mut parts = rest.splitn(3, '.').skip(1);
    Some(TableId::new(parts.next()?, parts.next()?))
}

/// The key's columns as the row has them: the row's types are exact where a key's may not be.
fn key_columns(columns: &[Column], key: &[Column]) -> Result<Vec<Column>, String> {
    key.iter()
        .map(|key| {
            let column = columns.iter().find(|column| column.name == key.name);
            let column =
                column.ok_or_else(|| format!("key column {} is not in the row", key.name))?;
            Ok(Column { ty: key_type(column, key), ..column.clone() })
        })
        .collect()
}

/// The key record's own type decides how its value was decoded.
fn key_type(column: &Column, key: &Column) -> causeway_change::ColumnType {
    if causeway_postgres::types::base_type(column.ty) == causeway_postgres::types::base_type(key.ty)
    {
        column.ty
    } else {
        key.ty
    }
}

fn refused(
    message: &Arc<Message>,
    source: Option<&TableId>,
    on_error: OnError,
    reason: String,
) -> Decoded {
    Decoded::Refused(Box::new(Refusal {
        message: message.clone(),
        source: source.cloned(),
        commit_lsn: None,
        stage: "VALUE_CONVERTER",
        sqlstate: None,
        column: None,
        constraint: None,
        reason,
        on_error,
        parked: false,
    }))
}

/// A value that PostgreSQL cannot hold: found here, before it could spoil a batch.
fn unfit(message: &Arc<Message>, shape: &Shape, error: &EncodeError, always: bool) -> Decoded {
    let on_error = match shape.policy.on_error {
        OnError::Stop if always => OnError::Dlq,
        on_error @ (OnError::Stop | OnError::Dlq | OnError::ParkKey) => on_error,
    };
    Decoded::Refused(Box::new(Refusal {
        message: message.clone(),
        source: Some(shape.source.clone()),
        commit_lsn: None,
        stage: "TASK_PUT",
        sqlstate: Some(error.sqlstate.to_owned()),
        column: Some(error.column.clone()),
        constraint: None,
        reason: error.to_string(),
        on_error,
        parked: false,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_tells_its_table() {
        assert_eq!(table_of("shop", "shop.db.dbo.orders"), Some(TableId::new("dbo", "orders")));
        assert_eq!(table_of("eu.shop", "eu.shop.db.dbo.a.b"), Some(TableId::new("dbo", "a.b")));
        assert_eq!(table_of("shop", "shop.offsets"), None);
    }
}
