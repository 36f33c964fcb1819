//! A record of Kafka becomes a change, or a refusal.

use std::{collections::HashMap, sync::Arc};

use causeway_avro::{Decoder, KeyDecoder, frame};
use causeway_change::{Column, Operation, Row, TableId};
use causeway_kafka::{Message, Registry, RegistryError};
use causeway_postgres::{Config as Postgres, encode};

use crate::{
    SinkError,
    change::{ABSENT, Action, Change, Refusal, Shape},
};

/// What a record is.
#[derive(Debug)]
pub enum Decoded {
    /// A change to apply.
    Change(Box<Change>),
    /// A tombstone, or an operation that says nothing of a row.
    Nothing,
    /// A record that can never be applied.
    Refused(Box<Refusal>),
}

/// Id of the value's schema, topic, id of the key's schema.
type Schemas = (u32, Arc<str>, Option<u32>);

/// Decodes records; keeps what it learned of their schemas.
pub struct Records {
    registry: Registry,
    postgres: Postgres,
    keys: HashMap<u32, Result<Arc<KeyDecoder>, String>>,
    values: HashMap<Schemas, Result<Arc<Shape>, String>>,
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
    pub fn new(registry: Registry, postgres: Postgres) -> Self {
        Self { registry, postgres, keys: HashMap::new(), values: HashMap::new() }
    }

    /// Decodes one record.
    ///
    /// # Errors
    /// When the registry cannot be asked right now; the same record can be tried again.
    pub async fn decode(&mut self, message: Arc<Message>) -> Result<Decoded, SinkError> {
        // A tombstone follows the delete that says the same; for compaction, not for us.
        let Some(value) = &message.value else { return Ok(Decoded::Nothing) };
        let shape = match self.shape(&message, value).await {
            Ok(shape) => shape,
            Err(Stop::Sink(error)) => return Err(error),
            Err(Stop::Refuse(reason)) => {
                return Ok(refused(&message, None, "VALUE_CONVERTER", reason));
            }
        };
        match self.change(&message, &shape) {
            Ok(change) => Ok(change),
            Err(reason) => Ok(refused(&message, Some(&shape.source), "VALUE_CONVERTER", reason)),
        }
    }

    async fn shape(&mut self, message: &Message, value: &[u8]) -> Result<Arc<Shape>, Stop> {
        let refuse = |error: &dyn std::error::Error| Stop::Refuse(error.to_string());
        let (schema_id, body) = frame::split(value).map_err(|e| refuse(&e))?;
        let key_id = match message.key.as_deref() {
            None => None,
            Some(key) => Some(frame::split(key).map_err(|e| refuse(&e))?.0),
        };
        let place = (schema_id, message.topic.clone(), key_id);
        if let Some(known) = self.values.get(&place) {
            return known.clone().map_err(Stop::Refuse);
        }
        let schema = self.registry.schema(schema_id).await?;
        let key_schema = match key_id {
            None => None,
            Some(id) => Some((id, self.registry.schema(id).await?)),
        };
        let made = self.make(message, schema_id, &schema, key_schema, body).map(Arc::new);
        self.values.insert(place, made.clone());
        made.map_err(Stop::Refuse)
    }

    fn make(
        &mut self,
        message: &Message,
        schema_id: u32,
        schema: &str,
        key_schema: Option<(u32, Arc<str>)>,
        body: &[u8],
    ) -> Result<Shape, String> {
        let decoder = Decoder::new(schema).map_err(|error| error.to_string())?;
        let origin = decoder.origin(body).map_err(|error| error.to_string())?;
        let source = TableId::new(origin.schema, origin.table);
        let columns = decoder.table().columns.clone();
        let key = match key_schema {
            None => Vec::new(),
            Some((id, schema)) => {
                let decoder = KeyDecoder::new(&schema).map_err(|error| error.to_string());
                let decoder = decoder.map(Arc::new);
                self.keys.insert(id, decoder.clone());
                key_columns(&columns, decoder?.columns())?
            }
        };
        let key_indexes =
            key.iter().filter_map(|k| columns.iter().position(|c| c.name == k.name)).collect();
        Ok(Shape {
            schema_id,
            topic: message.topic.clone(),
            target: self.postgres.target(&source),
            source,
            columns,
            key,
            key_indexes,
            decoder,
        })
    }

    fn change(&self, message: &Arc<Message>, shape: &Arc<Shape>) -> Result<Decoded, String> {
        let body = message.value.as_deref().unwrap_or_default();
        let (_, body) = frame::split(body).map_err(|error| error.to_string())?;
        let decoded = shape.decoder.decode(body).map_err(|error| error.to_string())?;
        let mut key_fields = Vec::new();
        if let Some(key) = message.key.as_deref() {
            let (id, body) = frame::split(key).map_err(|error| error.to_string())?;
            let decoder = match self.keys.get(&id) {
                Some(decoder) => decoder.clone()?,
                None => return Err("the key's schema is not the value's".to_owned()),
            };
            let values = decoder.decode(body).map_err(|error| error.to_string())?;
            if let Err(error) = write_fields(&shape.key, &values, &mut key_fields) {
                return Ok(unfit(message, shape, &error));
            }
        }
        let action = match (decoded.operation, decoded.after) {
            (Operation::Delete, _) => Action::Delete,
            (Operation::Read | Operation::Create | Operation::Update, Some(row)) => {
                let mut fields = Vec::with_capacity(body.len());
                if let Err(error) = write_fields(&shape.columns, &row, &mut fields) {
                    return Ok(unfit(message, shape, &error));
                }
                fields.shrink_to_fit();
                Action::Put(fields)
            }
            (operation, None) => {
                return Err(format!("operation {} has no row", operation.letter()));
            }
        };
        if message.key.is_none()
            && (action == Action::Delete || decoded.operation == Operation::Update)
        {
            return Err(format!(
                "operation {} without a record key: the row cannot be found",
                decoded.operation.letter()
            ));
        }
        Ok(Decoded::Change(Box::new(Change {
            shape: shape.clone(),
            key_fields,
            action,
            snapshot: decoded.source.snapshot,
            commit_lsn: decoded.source.commit_lsn,
            commit_ms: decoded.source.ts_ms,
            message: message.clone(),
        })))
    }
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

fn write_fields(
    columns: &[Column],
    values: &Row,
    out: &mut Vec<u8>,
) -> Result<(), causeway_postgres::EncodeError> {
    for (column, value) in columns.iter().zip(values) {
        if value.is_unavailable() {
            out.extend(ABSENT.to_be_bytes());
        } else {
            encode::field(column, value, out)?;
        }
    }
    Ok(())
}

fn refused(
    message: &Arc<Message>,
    source: Option<&TableId>,
    stage: &'static str,
    reason: String,
) -> Decoded {
    Decoded::Refused(Box::new(Refusal {
        message: message.clone(),
        source: source.cloned(),
        commit_lsn: None,
        stage,
        sqlstate: None,
        column: None,
        constraint: None,
        reason,
    }))
}

/// A value that PostgreSQL cannot hold: found here, before it could spoil a batch.
fn unfit(message: &Arc<Message>, shape: &Shape, error: &causeway_postgres::EncodeError) -> Decoded {
    Decoded::Refused(Box::new(Refusal {
        message: message.clone(),
        source: Some(shape.source.clone()),
        commit_lsn: None,
        stage: "TASK_PUT",
        sqlstate: Some(error.sqlstate.to_owned()),
        column: Some(error.column.clone()),
        constraint: None,
        reason: error.to_string(),
    }))
}
