//! [`Change`]: what happened to one row.

use crate::{Position, Row};

/// What a change did to its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// The row as a snapshot read it.
    Read,
    /// Inserted.
    Create,
    /// Updated; the key is the same before and after.
    Update,
    /// Deleted.
    Delete,
}

impl Operation {
    /// Debezium's letter: `r`, `c`, `u`, `d`.
    #[must_use]
    pub fn letter(self) -> &'static str {
        match self {
            Self::Read => "r",
            Self::Create => "c",
            Self::Update => "u",
            Self::Delete => "d",
        }
    }
}

/// One change of one row of one table.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// What happened.
    pub operation: Operation,
    /// The row before: updates and deletes have it.
    pub before: Option<Row>,
    /// The row after: all but deletes have it.
    pub after: Option<Row>,
    /// Where the change stands; for an update that of its after image.
    pub position: Position,
}
