//! Records that are too large for Kafka: what was learnt of them, and what goes to the dead letters
//! instead.
//!
//! Our own client refuses a record above its `message.max.bytes` at once, and nothing is spoilt by it. A
//! topic with a lower limit refuses a whole batch, after the fact, and the transaction with it; which
//! record it was is not said. So the transaction is aborted and the session begins again, *carefully* on
//! that topic: batches stay below the limit, and what could be above it travels alone. When it fails, it is
//! known, and the next session sends it to the dead letters. What is learnt outlives sessions, or the
//! same record would be tried for ever.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use causeway_change::{Position, Row, Table, Value};

/// What Kafka adds to a record's key, value and headers, generously.
const OVERHEAD: usize = 1 << 10;
/// The largest batch that a topic takes when nobody says otherwise, a little less than Kafka's default.
const TOPIC_DEFAULT: usize = 1_000_000;
/// A topic that refuses batches of this size takes nothing.
const SMALLEST: usize = 1 << 10;
/// Values above this size are left out of the copy in the dead letters.
const LARGE_VALUE: usize = 1 << 10;

/// What this process knows of sizes.
#[derive(Debug)]
pub struct Oversize {
    max: usize,
    learnt: Mutex<Learnt>,
}

#[derive(Debug, Default)]
struct Learnt {
    /// Topics that refused a batch, with the size to stay below.
    careful: HashMap<String, usize>,
    /// Records that a topic refused although they travelled alone.
    refused: HashSet<u128>,
}

impl Oversize {
    /// Knows only our own limit.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { max, learnt: Mutex::default() }
    }

    fn learnt(&self) -> MutexGuard<'_, Learnt> {
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Our own limit.
    #[must_use]
    pub fn max(&self) -> usize {
        self.max
    }

    /// True when our own client takes a record with so many bytes.
    #[must_use]
    pub fn fits(&self, bytes: usize) -> bool {
        bytes.saturating_add(OVERHEAD) <= self.max
    }

    /// True when the record was refused before.
    #[must_use]
    pub fn is_refused(&self, id: impl FnOnce() -> u128) -> bool {
        let learnt = self.learnt();
        !learnt.refused.is_empty() && learnt.refused.contains(&id())
    }

    /// Remembers a record that was refused although it travelled alone.
    pub fn refuse(&self, id: u128) {
        self.learnt().refused.insert(id);
    }

    /// The size below which batches of a topic must stay; none when it has never refused one.
    #[must_use]
    pub fn batch_limit(&self, topic: &str) -> Option<usize> {
        self.learnt().careful.get(topic).copied()
    }

    /// Learns from a batch that was refused; false when there is nothing left to try.
    pub fn learn(&self, topic: &str) -> bool {
        let mut learnt = self.learnt();
        match learnt.careful.get_mut(topic) {
            Some(limit) => {
                *limit /= 2;
                *limit >= SMALLEST
            }
            None => {
                learnt.careful.insert(topic.to_owned(), TOPIC_DEFAULT);
                true
            }
        }
    }

    /// The topics that refused a batch.
    #[must_use]
    pub fn careful_topics(&self) -> Vec<String> {
        self.learnt().careful.keys().cloned().collect()
    }

    /// Takes over what the topic says of itself.
    pub fn limit(&self, topic: &str, bytes: usize) {
        if let Some(limit) = self.learnt().careful.get_mut(topic) {
            *limit = (*limit).min(bytes);
        }
    }
}

/// How much of an event a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Whole,
    /// The image before the change lacks its large values.
    WithoutLargeBefore,
}

/// The name of a record, the same whenever it is made again. A row of a snapshot has no position.
#[must_use]
pub fn record_id(topic: &str, key: &[u8], place: Option<Position>, extent: Extent) -> u128 {
    let mut bytes = Vec::with_capacity(topic.len() + key.len() + 32);
    bytes.extend_from_slice(topic.as_bytes());
    bytes.push(0);
    // Without the frame, whose schema id may change.
    bytes.extend_from_slice(key.get(5..).unwrap_or(key));
    if let Some(at) = place {
        bytes.extend_from_slice(at.commit_lsn.as_bytes());
        bytes.extend_from_slice(&at.command_id.to_be_bytes());
        bytes.extend_from_slice(at.seqval.as_bytes());
        bytes.push(at.operation);
    }
    bytes.push(match extent {
        Extent::Whole => 0,
        Extent::WithoutLargeBefore => 1,
    });
    xxhash_rust::xxh3::xxh3_128(&bytes)
}

/// Bytes that the record of a row has at the least: its texts and bytes. Known before anything is encoded.
#[must_use]
pub fn least_bytes(row: &[Value]) -> usize {
    row.iter()
        .map(|value| match value {
            Value::Text(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            Value::TooLarge(bytes) => usize::try_from(*bytes).unwrap_or(usize::MAX),
            Value::Null
            | Value::Unavailable
            | Value::Bool(_)
            | Value::I16(_)
            | Value::I32(_)
            | Value::I64(_)
            | Value::F32(_)
            | Value::F64(_)
            | Value::Decimal(_)
            | Value::Guid(_)
            | Value::Date(_)
            | Value::Time(_)
            | Value::DateTime(_)
            | Value::DateTimeOffset { .. } => 0,
        })
        .fold(0, usize::saturating_add)
}

/// Puts the placeholder for what is not there in the place of large values outside the key, and names
/// their columns.
pub fn leave_out_large(row: &mut Row, table: &Table) -> Vec<String> {
    let mut left_out = Vec::new();
    for (i, (value, column)) in row.iter_mut().zip(&table.columns).enumerate() {
        let large = match value {
            Value::Text(text) => text.len() > LARGE_VALUE,
            Value::Bytes(bytes) => bytes.len() > LARGE_VALUE,
            Value::TooLarge(_) => true,
            Value::Null
            | Value::Unavailable
            | Value::Bool(_)
            | Value::I16(_)
            | Value::I32(_)
            | Value::I64(_)
            | Value::F32(_)
            | Value::F64(_)
            | Value::Decimal(_)
            | Value::Guid(_)
            | Value::Date(_)
            | Value::Time(_)
            | Value::DateTime(_)
            | Value::DateTimeOffset { .. } => false,
        };
        if large && !table.key.contains(&i) {
            *value = Value::Unavailable;
            left_out.push(column.name.clone());
        }
    }
    left_out
}

/// Why a record is among the dead letters, and what to do.
#[must_use]
pub fn reason(topic: &str, bytes: usize, left_out: &[String]) -> String {
    let columns = if left_out.is_empty() {
        String::new()
    } else {
        format!("; this copy is without the values of {}", left_out.join(", "))
    };
    format!(
        "the record has {bytes} bytes, more than Kafka takes: raise max.message.bytes of topic {topic} and \
         \"message.max.bytes\" in [kafka.properties] and copy the row again, or leave the large column out by \
         [source] exclude_columns{columns}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use causeway_change::{Column, ColumnType, Length, Lsn, TableId};

    #[test]
    fn a_topic_that_refuses_is_treated_with_more_and_more_care_and_then_given_up() {
        let oversize = Oversize::new(1 << 20);
        assert_eq!(oversize.batch_limit("t"), None);
        assert!(oversize.learn("t"));
        assert_eq!(oversize.batch_limit("t"), Some(TOPIC_DEFAULT));
        oversize.limit("t", 10_000);
        oversize.limit("other", 5);
        assert_eq!(
            (oversize.batch_limit("t"), oversize.batch_limit("other")),
            (Some(10_000), None)
        );
        let tries = (0..100).take_while(|_| oversize.learn("t")).count();
        assert_eq!(tries, 3, "5000, 2500, 1250");
    }

    #[test]
    fn a_record_is_known_again_by_key_and_place_and_not_by_its_schema_id() {
        let at = |command_id| Some(Position { command_id, ..Position::end_of(Lsn::MAX) });
        let id = |key: &[u8], place, extent| record_id("t", key, place, extent);
        let first = id(b"\0\0\0\0\x07key", at(1), Extent::Whole);
        assert_eq!(first, id(b"\0\0\0\0\x09key", at(1), Extent::Whole));
        for other in [
            id(b"\0\0\0\0\x07kex", at(1), Extent::Whole),
            id(b"\0\0\0\0\x07key", at(2), Extent::Whole),
            id(b"\0\0\0\0\x07key", None, Extent::Whole),
            id(b"\0\0\0\0\x07key", at(1), Extent::WithoutLargeBefore),
        ] {
            assert_ne!(first, other);
        }
        let oversize = Oversize::new(1 << 20);
        assert!(!oversize.is_refused(|| first));
        oversize.refuse(first);
        assert!(oversize.is_refused(|| first));
    }

    #[test]
    fn large_values_are_left_out_but_never_the_key() {
        let column =
            |name: &str, ty| Column { name: name.to_owned(), ty, nullable: true, default: None };
        let text = ColumnType::NVarChar(Length::Max);
        let table = Table {
            database: "d".to_owned(),
            id: TableId::new("dbo", "t"),
            columns: vec![column("k", text), column("small", text), column("large", text)],
            key: vec![0],
        };
        let long = Value::Text("x".repeat(LARGE_VALUE + 1));
        for large in [long.clone(), Value::TooLarge(100_000_000)] {
            let mut row = vec![long.clone(), Value::Text("y".to_owned()), large];
            assert!(least_bytes(&row) > 2 * LARGE_VALUE);
            assert_eq!(leave_out_large(&mut row, &table), ["large"]);
            assert!(row[0] == long && row[2] == Value::Unavailable);
        }
        assert!(reason("t", 7, &["large".to_owned()]).ends_with("without the values of large"));
    }
}
