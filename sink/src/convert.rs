//! A record and the version of its table become a change. No I/O.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use causeway_avro::{DecodeError, frame};
use causeway_change::{Operation, ValueRef};
use causeway_kafka::Message;
use causeway_observability::names::sink as names;
use causeway_postgres::{EncodeError, put};

use crate::{
    change::{ABSENT, Action, Change, Shape, fields, is_absent},
    meta::Whence,
    policy::{Deleting, KeyFrom, Writing},
    reader::{Read, Reader},
    transcode::{Fault, Replaced},
};

/// What a record came to.
#[derive(Debug)]
pub enum Converted {
    /// It says nothing that the target keeps.
    Nothing,
    /// A change.
    One(Change),
    /// The key of its row changed: the old row goes, the new one comes.
    Moved(Change, Change),
}

/// Why a record is refused.
#[derive(Debug)]
pub enum Failure {
    /// It cannot be read, or says nothing that can be done.
    Unreadable(String),
    /// PostgreSQL could not hold a value of it; `always` sets it aside whatever `on_error` says.
    Unfit {
        /// Which column, and why.
        error: EncodeError,
        /// The policy of this kind of value is `dlq`.
        always: bool,
    },
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Decode(error) => error.into(),
            Fault::Unfit { error, always } => Self::Unfit { error, always },
        }
    }
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        Self::Unreadable(error.to_string())
    }
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Self::Unreadable(reason)
    }
}

/// Bytes of rows that share one piece of memory.
const PIECE: usize = 64 << 10;

/// Where rows are written one after the other: many rows share one piece of memory, which goes when the
/// last of them does.
#[derive(Debug, Default)]
pub struct Buffer {
    row: Vec<u8>,
    before: Vec<u8>,
    filled: BytesMut,
}

impl Buffer {
    fn keep(&mut self, row: &[u8]) -> Bytes {
        if self.filled.capacity() < row.len() {
            self.filled = BytesMut::with_capacity(row.len().max(PIECE));
        }
        self.filled.extend_from_slice(row);
        self.filled.split().freeze()
    }

    /// The row that was just written.
    fn take(&mut self) -> Bytes {
        let row = std::mem::take(&mut self.row);
        let kept = self.keep(&row);
        // Its memory serves the next row.
        self.row = row;
        self.row.clear();
        kept
    }
}

/// Converts a record.
///
/// # Errors
/// Why it is refused.
pub fn convert(
    buffer: &mut Buffer,
    message: &Arc<Message>,
    shape: &Arc<Shape>,
) -> Result<Converted, Failure> {
    let value = message.value.as_deref().unwrap_or_default();
    let (_, body) = frame::split(value).map_err(|error| error.to_string())?;
    let mut replaced = Replaced::default();
    let record_key = match shape.policy.key {
        KeyFrom::Record => record_key(buffer, message, shape)?,
        KeyFrom::Value | KeyFrom::Kafka | KeyFrom::None => Bytes::new(),
    };
    buffer.row.clear();
    let row = &mut buffer.row;
    let mut partial = false;
    let read = shape.reader.stream(body, |i, field: ValueRef<'_>| {
        partial |= matches!(field, ValueRef::Unavailable);
        shape.plan.put(i, field, row, &mut replaced)
    })?;
    let whence = Whence {
        operation: read.operation,
        commit_lsn: read.source.commit_lsn,
        commit_ms: read.source.ts_ms,
        message,
    };
    let made = Made { message, shape, read: &read, whence: &whence, partial };
    let converted = match shape.policy.key {
        KeyFrom::Kafka | KeyFrom::None => made.history(buffer, &mut replaced)?,
        KeyFrom::Record => made.by_record_key(buffer, record_key)?,
        KeyFrom::Value => made.by_value(buffer)?,
    };
    count(shape, replaced);
    Ok(converted)
}

/// A tombstone of a flattened topic: all that is left of a row.
///
/// # Errors
/// Why it is refused.
pub fn tombstone(
    buffer: &mut Buffer,
    message: &Arc<Message>,
    shape: &Arc<Shape>,
) -> Result<Converted, Failure> {
    if shape.policy.key != KeyFrom::Record {
        return Ok(Converted::Nothing);
    }
    let key = record_key(buffer, message, shape)?;
    let read = Read {
        operation: Operation::Delete,
        before: None,
        after: false,
        source: causeway_avro::DecodedSource::default(),
    };
    let whence = Whence { operation: read.operation, commit_lsn: None, commit_ms: 0, message };
    Made { message, shape, read: &read, whence: &whence, partial: false }.by_record_key(buffer, key)
}

/// The fields of the record's key.
fn record_key(buffer: &mut Buffer, message: &Message, shape: &Shape) -> Result<Bytes, Failure> {
    let Some(key) = message.key.as_deref() else { return Ok(Bytes::new()) };
    let (_, body) = frame::split(key).map_err(|error| error.to_string())?;
    let reader = shape
        .key_reader
        .as_ref()
        .ok_or_else(|| "the record has a key and its table has none".to_owned())?;
    buffer.row.clear();
    let row = &mut buffer.row;
    // Values of a key are never replaced, so nothing is counted.
    let mut none = Replaced::default();
    reader
        .decoder
        .stream(body, |i, field: ValueRef<'_>| reader.plan.put(i, field, row, &mut none))?;
    Ok(buffer.take())
}

/// A record of which the row was read.
struct Made<'a> {
    message: &'a Arc<Message>,
    shape: &'a Arc<Shape>,
    read: &'a Read<'a>,
    whence: &'a Whence<'a>,
    /// It has values that are not known; they may be of columns that are left out.
    partial: bool,
}

impl Made<'_> {
    fn change(&self, key_fields: Bytes, action: Action) -> Change {
        let partial = match &action {
            Action::Put(row) => self.partial && fields(row).any(is_absent),
            Action::Delete | Action::Match { .. } => false,
        };
        Change {
            shape: self.shape.clone(),
            key_fields,
            action,
            partial,
            snapshot: self.read.source.snapshot,
            commit_lsn: self.read.source.commit_lsn,
            change_lsn: self.read.source.change_lsn,
            commit_ms: self.read.source.ts_ms,
            message: self.message.clone(),
        }
    }

    fn metas(&self, row: &mut Vec<u8>) -> Result<(), Failure> {
        for meta in &self.shape.metas {
            meta.put(self.whence, row).map_err(|unfit| Failure::Unfit {
                error: unfit.of(&meta.column()),
                always: false,
            })?;
        }
        Ok(())
    }

    /// Every change is a row: the one after it, and for a delete the one before.
    fn history(&self, buffer: &mut Buffer, replaced: &mut Replaced) -> Result<Converted, Failure> {
        if self.read.operation == Operation::Delete && !self.read.after {
            let Some(image) = self.read.before else {
                return Err("a delete without the row before: it has nothing to write"
                    .to_owned()
                    .into());
            };
            let row = &mut buffer.row;
            row.clear();
            self.shape.reader.stream_before(image, |i, field: ValueRef<'_>| {
                self.shape.plan.put(i, field, row, replaced)
            })?;
        }
        self.metas(&mut buffer.row)?;
        let row = buffer.take();
        // What was left out is not known: NULL, for there is no row to take it from.
        let row = if fields(&row).any(is_absent) {
            let mut known = Vec::with_capacity(row.len());
            for field in fields(&row) {
                if is_absent(field) { put::null(&mut known) } else { known.extend(field) }
            }
            known.into()
        } else {
            row
        };
        Ok(Converted::One(self.change(Bytes::new(), Action::Put(row))))
    }

    fn by_record_key(&self, buffer: &mut Buffer, key: Bytes) -> Result<Converted, Failure> {
        let operation = self.read.operation;
        // A flattened record may not say what it is; then a row without key is appended.
        let updates =
            operation == Operation::Update && matches!(self.shape.reader, Reader::Envelope(_));
        if self.message.key.is_none() && (operation == Operation::Delete || updates) {
            return self.by_row_before(buffer);
        }
        if operation == Operation::Delete {
            return self.delete(buffer, key);
        }
        self.metas(&mut buffer.row)?;
        let row = buffer.take();
        Ok(Converted::One(self.change(key, Action::Put(row))))
    }

    /// There is no key: the row is found by what it was.
    fn by_row_before(&self, buffer: &mut Buffer) -> Result<Converted, Failure> {
        let operation = self.read.operation;
        let is_delete = operation == Operation::Delete;
        match (self.shape.policy.write, self.shape.policy.delete) {
            (_, Deleting::Ignore) if is_delete => return Ok(Converted::Nothing),
            (Writing::Upsert, Deleting::Delete | Deleting::Ignore) => {}
            (Writing::Upsert, Deleting::Soft) if !is_delete => {}
            (Writing::Upsert | Writing::Insert | Writing::Update, _) => {
                return Err(format!(
                    "operation {} without a record key: the row cannot be found under its table's rules",
                    operation.letter()
                )
                .into());
            }
        }
        let Some(image) = self.read.before else {
            return Err(format!(
                "operation {} without a record key and without the row before: the row cannot be found",
                operation.letter()
            )
            .into());
        };
        let row = &mut buffer.before;
        row.clear();
        let mut again = Replaced::default();
        self.shape.reader.stream_before(image, |i, field: ValueRef<'_>| {
            self.shape.plan.put(i, field, row, &mut again)
        })?;
        let row = std::mem::take(&mut buffer.before);
        let before = buffer.keep(&row);
        buffer.before = row;
        let after = if is_delete {
            None
        } else {
            self.metas(&mut buffer.row)?;
            Some(buffer.take())
        };
        Ok(Converted::One(self.change(Bytes::new(), Action::Match { before, after })))
    }

    /// The key is some columns of the row.
    fn by_value(&self, buffer: &mut Buffer) -> Result<Converted, Failure> {
        let old = match self.read.before {
            Some(image) => {
                let row = &mut buffer.before;
                row.clear();
                let mut again = Replaced::default();
                self.shape.reader.stream_before(image, |i, field: ValueRef<'_>| {
                    self.shape.plan.put(i, field, row, &mut again)
                })?;
                let row = std::mem::take(&mut buffer.before);
                let key = self.key_of(buffer, &row);
                buffer.before = row;
                Some(key)
            }
            None => None,
        };
        if self.read.operation == Operation::Delete {
            let key = match old {
                Some(key) => key,
                // A flattened delete has its row.
                None if self.read.after => self.key_of_row(buffer),
                None => {
                    return Err("a delete without the row before: its key is not known"
                        .to_owned()
                        .into());
                }
            };
            return self.delete(buffer, key);
        }
        let new = self.key_of_row(buffer);
        self.metas(&mut buffer.row)?;
        let row = buffer.take();
        let put = self.change(new.clone(), Action::Put(row));
        match old.filter(|old| *old != new) {
            None => Ok(Converted::One(put)),
            Some(old) => match self.delete(buffer, old)? {
                Converted::One(delete) => Ok(Converted::Moved(delete, put)),
                Converted::Nothing | Converted::Moved(..) => Ok(Converted::One(put)),
            },
        }
    }

    fn key_of_row(&self, buffer: &mut Buffer) -> Bytes {
        let row = std::mem::take(&mut buffer.row);
        let key = self.key_of(buffer, &row);
        buffer.row = row;
        key
    }

    /// The fields of the key among those of a row.
    fn key_of(&self, buffer: &mut Buffer, row: &[u8]) -> Bytes {
        let all: Vec<&[u8]> = fields(row).collect();
        let places = self.shape.key_indexes.iter();
        let key: Vec<u8> = places
            .filter_map(|place| all.get(*place))
            .flat_map(|field| field.iter().copied())
            .collect();
        buffer.keep(&key)
    }

    /// What a delete does: the row goes, or says that it is gone.
    fn delete(&self, buffer: &mut Buffer, key: Bytes) -> Result<Converted, Failure> {
        match self.shape.policy.delete {
            Deleting::Delete => Ok(Converted::One(self.change(key, Action::Delete))),
            Deleting::Ignore => Ok(Converted::Nothing),
            Deleting::Soft => {
                // A row of which nothing is known but its key and that it is gone.
                let keys: Vec<&[u8]> = fields(&key).collect();
                let row = &mut buffer.row;
                row.clear();
                let values = self.shape.columns.len() - self.shape.metas.len();
                for place in 0..values {
                    let at = self.shape.key_indexes.iter().position(|index| *index == place);
                    match at.and_then(|at| keys.get(at)) {
                        Some(field) => row.extend_from_slice(field),
                        None => row.extend_from_slice(&ABSENT.to_be_bytes()),
                    }
                }
                self.metas(&mut buffer.row)?;
                let row = buffer.take();
                let partial = fields(&row).any(is_absent);
                let mut change = self.change(key.clone(), Action::Put(row));
                change.partial = partial;
                Ok(Converted::One(change))
            }
        }
    }
}

fn count(shape: &Shape, replaced: Replaced) {
    if replaced == Replaced::default() {
        return;
    }
    let table = shape.source.to_string();
    for (reason, count) in [
        ("nul", replaced.nul),
        ("time_range", replaced.time_range),
        ("text_length", replaced.text_length),
    ] {
        if count > 0 {
            names::VALUES_REPLACED.add(count, &[("table", &table), ("reason", reason)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_share_memory_and_stay_what_they_were() {
        let mut buffer = Buffer::default();
        let mut rows = Vec::new();
        for n in 0..40_000u32 {
            buffer.row.extend(n.to_be_bytes());
            rows.push(buffer.take());
        }
        assert!(rows.iter().zip(0u32..).all(|(row, n)| row.as_ref() == n.to_be_bytes()));
        buffer.row.resize(PIECE * 3, 7);
        assert_eq!(buffer.take().len(), PIECE * 3);
    }
}
