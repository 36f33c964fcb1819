//! One record: what it does to which row, already in the form in which PostgreSQL takes it.

use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;
use causeway_avro::{KeyDecoder, frame};
use causeway_change::{Column, Lsn, TableId};
use causeway_kafka::Message;

use crate::{
    fold::Step,
    policy::{KeyFrom, Meta, OnError, Policy},
    reader::Reader,
    transcode::Plan,
};

/// Length of a field that the record does not have: a large value that an update did not touch.
/// PostgreSQL's own marker for NULL is -1.
pub const ABSENT: i32 = -2;

/// A version of a table, as a writer schema describes it.
#[derive(Debug)]
pub struct Shape {
    /// Id of the value schema in the registry.
    pub schema_id: u32,
    /// Its topic.
    pub topic: Arc<str>,
    /// Table in the source.
    pub source: TableId,
    /// Schema and table in PostgreSQL.
    pub target: (String, String),
    /// Columns, in the order of the rows' fields.
    pub columns: Vec<Column>,
    /// The key's columns by name, in key order; empty when records have no key.
    pub key: Vec<Column>,
    /// Reads and writes the keys of records; none when they have no key.
    pub key_reader: Option<KeyReader>,
    /// Indexes of the key's columns in `columns`.
    pub key_indexes: Vec<usize>,
    /// Reads the values.
    pub reader: Reader,
    /// Writes them.
    pub plan: Plan,
    /// The last columns: they say where a row comes from.
    pub metas: Vec<Meta>,
    /// What becomes of what does not fit.
    pub policy: Policy,
}

/// How the keys of one schema are read and written.
#[derive(Debug)]
pub struct KeyReader {
    /// Reads the values.
    pub decoder: KeyDecoder,
    /// Writes them.
    pub plan: Plan,
}

/// What a change does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The row is this now: one field a column of the shape (length in four bytes, bytes; -1 is NULL,
    /// [`ABSENT`] is "as it was"). A slice of the buffer that many rows share.
    Put(Bytes),
    /// The row is gone.
    Delete,
    /// Of a table without key: one row that is `before` becomes `after`, or goes. Fields as in `Put`, those of `before`
    /// without the columns that say where a row comes from.
    Match {
        /// What it was.
        before: Bytes,
        /// What it is.
        after: Option<Bytes>,
    },
}

/// One decoded record.
#[derive(Clone, Debug)]
pub struct Change {
    /// Version of its table.
    pub shape: Arc<Shape>,
    /// The key's fields as PostgreSQL takes them; empty when every change is a row.
    pub key_fields: Bytes,
    /// What it does.
    pub action: Action,
    /// Some values of the row are not known: large ones that an update did not touch.
    pub partial: bool,
    /// Read by a snapshot.
    pub snapshot: bool,
    /// Commit of its transaction.
    pub commit_lsn: Option<Lsn>,
    /// Its own place in the source's log.
    pub change_lsn: Option<Lsn>,
    /// When its transaction was committed, in milliseconds since 1970; 0 when unknown.
    pub commit_ms: i64,
    /// The record itself: what a dead letter keeps.
    pub message: Arc<Message>,
}

impl Change {
    /// Equal for equal keys: the record's key in Avro without the registry's frame, or the fields of the
    /// key. None when every change is a row.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        match self.shape.policy.key {
            KeyFrom::Record => row_key(&self.message),
            KeyFrom::Value => Some(&self.key_fields),
            KeyFrom::Kafka | KeyFrom::None => None,
        }
    }

    /// As folding sees it.
    #[must_use]
    pub fn step(&self) -> Step<'_> {
        Step { key: &self.key_fields, action: &self.action, partial: self.partial }
    }

    /// Bytes that it holds, roughly.
    #[must_use]
    pub fn size(&self) -> usize {
        let action = match &self.action {
            Action::Put(fields) => fields.len(),
            Action::Delete => 0,
            Action::Match { before, after } => before.len() + after.as_ref().map_or(0, Bytes::len),
        };
        self.message.size() + action + self.key_fields.len() + size_of::<Self>()
    }

    /// When its transaction was committed; none when that is not known.
    #[must_use]
    pub fn committed_at(&self) -> Option<SystemTime> {
        let commit = u64::try_from(self.commit_ms).ok().filter(|ms| *ms > 0)?;
        Some(SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(commit))
    }
}

/// The key of a record without the registry's frame, or as it is when it has none.
#[must_use]
pub fn row_key(message: &Message) -> Option<&[u8]> {
    let key = message.key.as_deref()?;
    Some(frame::split(key).map_or(key, |(_, key)| key))
}

/// A record that cannot be applied, and why.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The record.
    pub message: Arc<Message>,
    /// Table in the source, as far as it is known.
    pub source: Option<TableId>,
    /// Commit of its transaction, as far as it is known.
    pub commit_lsn: Option<Lsn>,
    /// Kafka Connect's name of the stage: `VALUE_CONVERTER` or `TASK_PUT`.
    pub stage: &'static str,
    /// SQLSTATE that PostgreSQL gave or would have given.
    pub sqlstate: Option<String>,
    /// Column, when one is to blame.
    pub column: Option<String>,
    /// Constraint, when one is to blame.
    pub constraint: Option<String>,
    /// Why, without a value.
    pub reason: String,
    /// What its table's policy says.
    pub on_error: OnError,
    /// Nothing is wrong with it: it waits for an older record of its key.
    pub parked: bool,
}

/// The fields of a row or key, one after the other: each with its length marker.
pub fn fields(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, _) = bytes.split_first_chunk::<4>()?;
        let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
        let (field, rest) = bytes.split_at_checked(4 + length)?;
        bytes = rest;
        Some(field)
    })
}

/// True for the field of a value that the record does not have.
#[must_use]
pub fn is_absent(field: &[u8]) -> bool {
    field.first_chunk::<4>() == Some(&ABSENT.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_cut_at_their_lengths() {
        let mut row = Vec::new();
        row.extend(2i32.to_be_bytes());
        row.extend(*b"ab");
        row.extend((-1i32).to_be_bytes());
        row.extend(ABSENT.to_be_bytes());
        row.extend(0i32.to_be_bytes());
        let cut: Vec<_> = fields(&row).collect();
        assert_eq!(cut.len(), 4);
        assert_eq!(cut[0], [0, 0, 0, 2, b'a', b'b']);
        assert_eq!(
            cut.iter().map(|f| is_absent(f)).collect::<Vec<_>>(),
            [false, false, true, false]
        );
    }
}
