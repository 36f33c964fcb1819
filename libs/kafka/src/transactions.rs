//! The transaction index, the records of `<prefix>.transactions` (docs/transaction-index.md): which records
//! of the tables' topics make up which source transaction. Pure.
//!
//! An entry is written in the Kafka transaction of the records that it names. So a reader of committed
//! records has either both or neither, and the order of the entries is the order of publication.

use serde::{Deserialize, Serialize};

/// The version that is written. A reader refuses a higher one; fields that it does not know it skips.
pub const VERSION: u32 = 1;

/// One record of the index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Entry {
    /// A source transaction, or a part of one that was too large for a single Kafka transaction.
    Transaction {
        /// Its commit LSN, as text.
        id: String,
        /// When it was committed, in nanoseconds since 1970-01-01T00:00Z.
        commit_ns: i64,
        /// True on its only part and on the last of several.
        last: bool,
        /// Events of this part; a tombstone is none.
        events: u64,
        /// Events of this part that went to the dead letters.
        #[serde(default, skip_serializing_if = "is_zero")]
        set_aside: u64,
        /// Where the records of this part are.
        ranges: Vec<Range>,
    },
    /// Rows that a snapshot read of one table, whole by themselves.
    Snapshot {
        /// The LSN that they stand for, as text.
        id: String,
        /// Rows.
        events: u64,
        /// Rows that went to the dead letters.
        #[serde(default, skip_serializing_if = "is_zero")]
        set_aside: u64,
        /// Where they are.
        ranges: Vec<Range>,
    },
    /// The index begins, or begins again after a time without: what was in the topics by then, and is not
    /// named by an older entry, belongs to no entry.
    Begin {
        /// Where each partition that had records ended.
        ends: Vec<End>,
    },
}

/// Records of one partition, in one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Offset of the first record.
    pub first: i64,
    /// Offset of the last record.
    pub last: i64,
    /// How many records, tombstones among them.
    pub count: u64,
}

/// The end of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// The offset after its last record.
    pub next: i64,
}

/// Why a record of the index cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// A later program wrote it.
    #[error("it has version {0}, and this program reads up to version {VERSION}: use a newer one")]
    Version(u32),
    /// It is something else.
    #[error("it is no entry of a transaction index")]
    Form(#[source] serde_json::Error),
}

#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    #[serde(flatten)]
    entry: &'a Entry,
}

#[derive(Deserialize)]
struct Head {
    version: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Entry {
    /// The record's key: what it is of.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Transaction { id, .. } | Self::Snapshot { id, .. } => id,
            Self::Begin { .. } => "begin",
        }
    }

    /// The record's value.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Texts and numbers always have a JSON form.
        serde_json::to_string(&Written { version: VERSION, entry: self }).unwrap_or_default()
    }

    /// Reads a record's value.
    ///
    /// # Errors
    /// [`EntryError`]: it must not be skipped, because the records that it names would never be whole.
    pub fn parse(value: &[u8]) -> Result<Self, EntryError> {
        let head: Head = serde_json::from_slice(value).map_err(EntryError::Form)?;
        if head.version > VERSION {
            return Err(EntryError::Version(head.version));
        }
        serde_json::from_slice(value).map_err(EntryError::Form)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry::Transaction {
            id: "00000001:00000002:0003".to_owned(),
            commit_ns: 7,
            last: true,
            events: 2,
            set_aside: 0,
            ranges: vec![Range {
                topic: "shop.db.dbo.t".to_owned(),
                partition: 1,
                first: 5,
                last: 7,
                count: 3,
            }],
        }
    }

    #[test]
    fn an_entry_is_written_as_documented_and_read_back() {
        let text = entry().to_json();
        assert_eq!(
            text,
            r#"{"version":1,"kind":"transaction","id":"00000001:00000002:0003","commit_ns":7,"last":true,"events":2,"ranges":[{"topic":"shop.db.dbo.t","partition":1,"first":5,"last":7,"count":3}]}"#
        );
        let end = End { topic: "shop.db.dbo.t".to_owned(), partition: 0, next: 9 };
        let snapshot = Entry::Snapshot {
            id: "00000001:00000002:0003".to_owned(),
            events: 1,
            set_aside: 4,
            ranges: Vec::new(),
        };
        for entry in [entry(), snapshot, Entry::Begin { ends: vec![end] }] {
            assert_eq!(Entry::parse(entry.to_json().as_bytes()).unwrap(), entry);
        }
    }

    #[test]
    fn a_later_version_is_refused_and_a_later_field_is_not() {
        let text = entry().to_json();
        let later = text.replace(r#""version":1"#, r#""version":2"#);
        assert!(matches!(Entry::parse(later.as_bytes()), Err(EntryError::Version(2))));
        let more = text.replace(r#""version":1"#, r#""version":1,"mood":"good""#);
        assert_eq!(Entry::parse(more.as_bytes()).unwrap(), entry());
        for wrong in ["", "7", r#"{"version":1}"#, r#"{"version":1,"kind":"wedding"}"#] {
            assert!(Entry::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
