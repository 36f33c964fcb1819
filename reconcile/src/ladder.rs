//! Which differences are real, when the stream can be seen. Pure.
//!
//! A key that differed is read again behind a fence of its own. When it still differs and no change of it lies
//! between the two reads, the difference is proved. When one does, nothing is known and it is read again, with
//! pauses that grow; a key that changes every time is unstable, and never called different.

use std::time::Duration;

use crate::settle::{Look, Verdict, kind};

/// Judges a look. `was_dirty`: a change of the key lay between the snapshots in which it differed first;
/// `is_dirty`: one lies between the two reads of this look; `checks`: looks with this one, of `most`.
#[must_use]
pub fn judge(was_dirty: bool, look: Look, is_dirty: bool, checks: u32, most: u32) -> Verdict {
    if look.source == look.target {
        if was_dirty { Verdict::InFlight } else { Verdict::Resolved }
    } else if !is_dirty {
        Verdict::Confirmed(kind(look))
    } else if checks >= most {
        Verdict::Unstable
    } else {
        Verdict::Open
    }
}

/// How long to wait after the look number `n` (from 1): 0.4 s, then doubled to at most 10 s, so that a key that
/// changed once has left the guard time of the log behind it long before the last look.
#[must_use]
pub fn pause(n: u32) -> Duration {
    Duration::from_millis(200 * 2u64.pow(n.min(10))).min(Duration::from_secs(10))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Kind;

    const ATTEMPTS: u32 = 8;

    #[test]
    fn only_what_no_change_can_explain_is_confirmed() {
        let look = |source, target| Look { source, target };
        for (was_dirty, look, is_dirty, checks, verdict) in [
            (true, look(Some(1), Some(1)), true, 1, Verdict::InFlight),
            (true, look(None, None), false, 1, Verdict::InFlight),
            (false, look(Some(1), Some(1)), false, 1, Verdict::Resolved),
            (false, look(Some(1), None), false, 1, Verdict::Confirmed(Kind::MissingInTarget)),
            (true, look(None, Some(1)), false, 3, Verdict::Confirmed(Kind::ExtraInTarget)),
            (true, look(Some(1), Some(2)), true, 1, Verdict::Open),
            (false, look(Some(1), Some(2)), true, ATTEMPTS - 1, Verdict::Open),
            (true, look(Some(1), Some(2)), true, ATTEMPTS, Verdict::Unstable),
            (true, look(Some(1), Some(2)), false, ATTEMPTS, Verdict::Confirmed(Kind::Different)),
        ] {
            assert_eq!(judge(was_dirty, look, is_dirty, checks, ATTEMPTS), verdict, "{look:?}");
        }
    }

    #[test]
    fn pauses_outlast_the_guard_time() {
        let all: Duration = (1..ATTEMPTS).map(pause).sum();
        assert!(all > Duration::from_secs(30), "{all:?}");
    }
}
