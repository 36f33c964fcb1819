//! Columns that say where a row comes from.

use causeway_change::{Column, ColumnType, Length, Lsn, Operation, time::TICKS_PER_SECOND};
use causeway_kafka::Message;
use causeway_postgres::put::{self, Op, Unfit};

use crate::policy::Meta;

/// Where a change comes from.
#[derive(Clone, Copy, Debug)]
pub struct Whence<'a> {
    /// What happened.
    pub operation: Operation,
    /// Commit of its transaction.
    pub commit_lsn: Option<Lsn>,
    /// When it was committed, in milliseconds since 1970; 0 when unknown.
    pub commit_ms: i64,
    /// The record.
    pub message: &'a Message,
}

impl Meta {
    /// The column's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Op => "__op",
            Self::Lsn => "__lsn",
            Self::CommitTime => "__commit_time",
            Self::Topic => "__topic",
            Self::Partition => "__partition",
            Self::Offset => "__offset",
            Self::Deleted => "__deleted",
        }
    }

    /// The column.
    #[must_use]
    pub fn column(self) -> Column {
        let (ty, nullable) = match self {
            Self::Op => (ColumnType::NVarChar(Length::Of(1)), true),
            Self::Lsn => (ColumnType::Binary(10), true),
            Self::CommitTime => (ColumnType::DateTimeOffset { scale: 3 }, true),
            Self::Topic => (ColumnType::NVarChar(Length::Of(249)), true),
            Self::Partition => (ColumnType::Int, true),
            Self::Offset => (ColumnType::BigInt, true),
            Self::Deleted => (ColumnType::Bit, true),
        };
        Column { name: self.name().to_owned(), ty, nullable, default: None }
    }

    /// Appends its field.
    ///
    /// # Errors
    /// Never for what Kafka and the source give.
    pub fn put(self, whence: &Whence<'_>, out: &mut Vec<u8>) -> Result<(), Unfit> {
        let op = Op::of(self.column().ty);
        match self {
            Self::Op => op.text(whence.operation.letter(), out),
            Self::Lsn => match whence.commit_lsn {
                Some(lsn) => op.bytes(lsn.as_bytes(), out),
                None => {
                    put::null(out);
                    Ok(())
                }
            },
            Self::CommitTime if whence.commit_ms == 0 => {
                put::null(out);
                Ok(())
            }
            Self::CommitTime => {
                op.date_time_offset(whence.commit_ms.saturating_mul(TICKS_PER_SECOND / 1000), out)
            }
            Self::Topic => op.text(&whence.message.topic, out),
            Self::Partition => op.i32(whence.message.partition, out),
            Self::Offset => op.i64(whence.message.offset, out),
            Self::Deleted => op.bool(whence.operation == Operation::Delete, out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_is_written_as_its_type_says() {
        let message = Message {
            topic: "t".into(),
            partition: 2,
            offset: 3,
            timestamp_ms: None,
            key: None,
            value: None,
            headers: Vec::new(),
        };
        let whence = Whence {
            operation: Operation::Delete,
            commit_lsn: Some(Lsn::from_parts(1, 2, 3)),
            commit_ms: 1,
            message: &message,
        };
        let field = |meta: Meta| {
            let mut out = Vec::new();
            meta.put(&whence, &mut out).unwrap();
            out
        };
        assert_eq!(field(Meta::Op), [0, 0, 0, 1, b'd']);
        assert_eq!(field(Meta::Lsn).len(), 14);
        assert_eq!(field(Meta::CommitTime).len(), 12);
        assert_eq!(field(Meta::Topic), [0, 0, 0, 1, b't']);
        assert_eq!(field(Meta::Partition), [0, 0, 0, 4, 0, 0, 0, 2]);
        assert_eq!(field(Meta::Offset)[..4], [0, 0, 0, 8]);
        assert_eq!(field(Meta::Deleted), [0, 0, 0, 1, 1]);
    }
}
