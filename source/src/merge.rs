//! Pure: which of several ordered streams has the next change.

use std::{cmp::Reverse, collections::BinaryHeap};

use causeway_change::Position;

/// Merges ordered streams, each known by a number, into the one order of changes. It holds one position
/// for each stream.
#[derive(Debug, Default)]
pub struct Merge {
    heads: BinaryHeap<Reverse<(Position, usize)>>,
}

impl Merge {
    /// Says where the next change of a stream stands. A stream is offered once until it was taken.
    pub fn offer(&mut self, stream: usize, position: Position) {
        self.heads.push(Reverse((position, stream)));
    }

    /// Takes the stream whose next change comes first. The caller offers it again if it has more.
    pub fn take(&mut self) -> Option<usize> {
        self.heads.pop().map(|Reverse((_, stream))| stream)
    }

    /// True when every stream has ended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use causeway_change::Lsn;
    use std::collections::VecDeque;

    #[test]
    fn tables_of_one_transaction_interleave_by_command() {
        let at = |lsn: u16, command_id| Position {
            commit_lsn: Lsn::from_parts(0, 0, lsn),
            command_id,
            ..Position::default()
        };
        let mut streams = [
            VecDeque::from([at(1, 1), at(1, 4), at(3, 1)]),
            VecDeque::from([at(1, 2), at(1, 3), at(2, 1)]),
            VecDeque::new(),
        ];
        let mut merge = Merge::default();
        for (i, stream) in streams.iter().enumerate() {
            if let Some(first) = stream.front() {
                merge.offer(i, *first);
            }
        }
        let mut order = Vec::new();
        while let Some(i) = merge.take() {
            order.push(streams[i].pop_front().unwrap());
            if let Some(next) = streams[i].front() {
                merge.offer(i, *next);
            }
        }
        assert_eq!(order, [at(1, 1), at(1, 2), at(1, 3), at(1, 4), at(2, 1), at(3, 1)]);
        assert!(merge.is_empty());
    }
}
