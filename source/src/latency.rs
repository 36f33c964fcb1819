//! Pure: where the time between a commit in SQL Server and its event in Kafka went.
//!
//! Two parts: until we saw that the capture job had recorded it (the job, and our pause between two looks), and
//! from there until a reader of Kafka can have it. Both clocks count: SQL Server's said when it was committed,
//! ours when it was seen.

use std::collections::VecDeque;

use causeway_change::Lsn;

/// Looks that are remembered: a backlog is read for longer than a look.
const LOOKS: usize = 256;
/// Source transactions of one Kafka transaction that are measured.
const MEASURED: usize = 1024;

/// The parts of one source transaction's way, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// From the commit until we saw it captured.
    pub capture_ns: i64,
    /// From there until it was committed to Kafka.
    pub publish_ns: i64,
}

/// Follows source transactions from the look that saw them to Kafka.
#[derive(Debug, Default)]
pub struct Latency {
    /// Up to where a look found the log captured, and when; both grow.
    looks: VecDeque<(Lsn, i64)>,
    /// Commit times and looks of transactions that are sent and not committed to Kafka.
    sent: Vec<(i64, i64)>,
}

impl Latency {
    /// A look found everything up to `max` captured.
    pub fn looked(&mut self, max: Lsn, now_ns: i64) {
        if self.looks.back().is_none_or(|(last, _)| *last < max) && self.looks.len() < LOOKS {
            self.looks.push_back((max, now_ns));
        }
    }

    /// All events of a transaction are sent.
    pub fn ended(&mut self, commit: Lsn, committed_ns: i64) {
        while self.looks.len() > 1 && self.looks.front().is_some_and(|(max, _)| *max < commit) {
            self.looks.pop_front();
        }
        // Without a time there is nothing to measure.
        if let Some((max, seen_ns)) = self.looks.front()
            && *max >= commit
            && committed_ns > 0
            && self.sent.len() < MEASURED
        {
            self.sent.push((committed_ns, *seen_ns));
        }
    }

    /// What was sent is committed to Kafka.
    pub fn published(&mut self, now_ns: i64) -> impl Iterator<Item = Split> {
        std::mem::take(&mut self.sent).into_iter().map(move |(committed_ns, seen_ns)| Split {
            // Clocks of two machines: a commit may seem to lie ahead.
            capture_ns: (seen_ns - committed_ns).max(0),
            publish_ns: (now_ns - seen_ns).max(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lsn(n: u16) -> Lsn {
        Lsn::from_parts(0, 0, n)
    }

    #[test]
    fn a_transaction_is_measured_from_the_first_look_that_saw_it() {
        let mut latency = Latency::default();
        latency.looked(lsn(2), 100);
        latency.looked(lsn(2), 200);
        latency.looked(lsn(5), 300);
        latency.ended(lsn(1), 70);
        latency.ended(lsn(2), 120);
        latency.ended(lsn(3), 250);
        // Its time is not known; and one that no look has seen.
        latency.ended(lsn(4), 0);
        latency.ended(lsn(6), 280);
        let split = |capture_ns, publish_ns| Split { capture_ns, publish_ns };
        let found: Vec<Split> = latency.published(1000).collect();
        assert_eq!(found, [split(30, 900), split(0, 900), split(50, 700)]);
        assert_eq!(latency.published(2000).count(), 0);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut latency = Latency::default();
        for n in 1..=2000 {
            latency.looked(lsn(n), i64::from(n));
        }
        assert_eq!(latency.looks.len(), LOOKS);
        for _ in 0..2000 {
            latency.ended(lsn(1), 1);
        }
        assert_eq!(latency.published(5000).count(), MEASURED);
    }
}
