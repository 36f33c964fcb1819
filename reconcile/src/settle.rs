//! Which differences are real: those that outlive the lag of replication. Pure.
//!
//! A key that differed is read again from both sides, several times, over a time that is longer than
//! the pipeline's lag. It is in flight when the sides meet, confirmed when both stood still and still
//! differ, and unstable when a side kept changing: then nothing can be said of it, and nothing is.

use std::time::Duration;

use crate::compare::Kind;

/// Digest of the row on each side at one look; `None` when there is no such row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// In SQL Server.
    pub source: Option<u128>,
    /// In PostgreSQL.
    pub target: Option<u128>,
}

/// What is known of a key after some looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Look again.
    Open,
    /// Both sides are equal: it was only in flight.
    InFlight,
    /// Both sides are equal, although no change of it was on its way: somebody has mended it.
    Resolved,
    /// Both sides stood still over the whole time, or no change was on its way, and they differ.
    Confirmed(Kind),
    /// A side changed at the last look too; no statement is made.
    Unstable,
}

/// The looks at one key.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    last: Option<Look>,
    since: Duration,
}

impl Watch {
    /// Takes a look that was made `elapsed` after the first one, and judges. `settle` is the time that
    /// both sides must stand still, `limit` when looking ends (`limit >= settle`).
    pub fn see(
        &mut self,
        look: Look,
        elapsed: Duration,
        settle: Duration,
        limit: Duration,
    ) -> Verdict {
        if look.source == look.target {
            return Verdict::InFlight;
        }
        if self.last != Some(look) {
            self.last = Some(look);
            self.since = elapsed;
        }
        let still = elapsed.saturating_sub(self.since);
        if still >= settle {
            Verdict::Confirmed(kind(look))
        } else if elapsed >= limit {
            Verdict::Unstable
        } else {
            Verdict::Open
        }
    }
}

/// How a look differs.
#[must_use]
pub fn kind(look: Look) -> Kind {
    match (look.source, look.target) {
        (Some(_), None) => Kind::MissingInTarget,
        (None, Some(_)) => Kind::ExtraInTarget,
        (Some(_), Some(_)) | (None, None) => Kind::Different,
    }
}

/// How long to wait before the look number `n` (from 0): short at first, because most rows arrive
/// within the next batch, then doubled up to two seconds.
#[must_use]
pub fn pause(n: u32) -> Duration {
    Duration::from_millis(200 * 2u64.pow(n.min(10))).min(Duration::from_secs(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLE: Duration = Duration::from_secs(10);
    const LIMIT: Duration = Duration::from_secs(30);

    fn judge(looks: &[(u64, Option<u128>, Option<u128>)]) -> Verdict {
        let mut watch = Watch::default();
        let mut verdict = Verdict::Open;
        for &(at, source, target) in looks {
            assert_eq!(verdict, Verdict::Open, "looked on after a verdict");
            verdict = watch.see(Look { source, target }, Duration::from_secs(at), SETTLE, LIMIT);
        }
        verdict
    }

    #[test]
    fn verdicts_follow_the_looks() {
        for (looks, verdict) in [
            (vec![(0, Some(1), None), (1, Some(1), Some(1))], Verdict::InFlight),
            (vec![(0, None, Some(1)), (1, None, None)], Verdict::InFlight),
            (vec![(0, Some(1), None), (9, Some(1), None)], Verdict::Open),
            (
                vec![(0, Some(1), None), (10, Some(1), None)],
                Verdict::Confirmed(Kind::MissingInTarget),
            ),
            (
                vec![(0, None, Some(1)), (10, None, Some(1))],
                Verdict::Confirmed(Kind::ExtraInTarget),
            ),
            // The source moved at 8 s: the ten seconds begin anew.
            (
                vec![(0, Some(1), Some(0)), (8, Some(2), Some(0)), (12, Some(2), Some(0))],
                Verdict::Open,
            ),
            (
                vec![(0, Some(1), Some(0)), (8, Some(2), Some(0)), (18, Some(2), Some(0))],
                Verdict::Confirmed(Kind::Different),
            ),
            (
                vec![
                    (0, Some(1), Some(0)),
                    (9, Some(2), Some(1)),
                    (18, Some(3), Some(2)),
                    (30, Some(4), Some(3)),
                ],
                Verdict::Unstable,
            ),
        ] {
            assert_eq!(judge(&looks), verdict, "{looks:?}");
        }
    }

    #[test]
    fn pauses_grow_to_two_seconds() {
        let pauses: Vec<_> = (0..5).map(|n| pause(n).as_millis()).collect();
        assert_eq!(pauses, [200, 400, 800, 1600, 2000]);
    }
}
