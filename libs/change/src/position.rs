//! [`Position`]: where one change stands in the history of a database.

use crate::Lsn;

/// The total order of changes: commit LSN, then command, then LSN of the change record, then
/// operation.
///
/// `__$command_id` is the documented order inside a transaction, `__$seqval` is not (Microsoft,
/// "cdc.&lt;capture_instance&gt;_CT"; research A.0.2). An update of a column of a unique index is
/// logged as a delete and an insert that share the seqval, which is why the operation comes last
/// (PowerSync's lost rows, A.0.2 "Deferred update").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// `__$start_lsn`: the LSN of the transaction's commit.
    pub commit_lsn: Lsn,
    /// `__$command_id`; 0 in change tables that are older than the column.
    pub command_id: i32,
    /// `__$seqval`: the LSN of the change record.
    pub seqval: Lsn,
    /// `__$operation`: 1 delete, 2 insert, 3 before an update, 4 after it.
    pub operation: u8,
}

impl Position {
    /// The place after every change of the transaction committed at `commit_lsn`.
    #[must_use]
    pub fn end_of(commit_lsn: Lsn) -> Self {
        Self { commit_lsn, command_id: i32::MAX, seqval: Lsn::MAX, operation: u8::MAX }
    }

    /// True when nothing of the transaction at `commit_lsn` can follow.
    #[must_use]
    pub fn is_transaction_end(&self) -> bool {
        self.operation == u8::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trap_07_the_command_counts_before_the_seqval_and_the_operation_last() {
        let at = |command_id, slot, operation| Position {
            commit_lsn: Lsn::from_parts(1, 1, 1),
            command_id,
            seqval: Lsn::from_parts(1, 1, slot),
            operation,
        };
        let mut history = [at(2, 1, 2), at(1, 9, 4), at(1, 9, 3), at(2, 1, 1)];
        history.sort();
        assert_eq!(history, [at(1, 9, 3), at(1, 9, 4), at(2, 1, 1), at(2, 1, 2)]);
        assert!(at(i32::MAX, u16::MAX, 4) < Position::end_of(Lsn::from_parts(1, 1, 1)));
    }
}
