//! Which key ranges a run must read, and which it may leave. Pure.

use std::{cmp::Ordering, time::Duration};

use causeway_change::{Lsn, Value};
use causeway_sqlserver::KeyRange;

/// A key range that was compared once.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The range.
    pub range: KeyRange,
    /// The run that compared it; a run that goes on with another has that one's name.
    pub run: String,
    /// Rows of source and target, and the sums of their digests.
    pub rows: (u64, u64),
    /// Sums of their digests, modulo 2^128.
    pub sums: (u128, u128),
    /// Nothing of the range changed in the source after it was compared and up to this commit.
    pub low: Lsn,
    /// Canonical bytes of the keys that differed and have not been judged, or were judged to differ.
    pub suspects: Vec<Vec<u8>>,
    /// How long ago it was read.
    pub read_ago: Duration,
    /// How long ago it was found equal; none when it was not.
    pub verified_ago: Option<Duration>,
}

/// Orders keys as both engines do; only for types whose order they share ([`crate::chunks::order_is_shared`]).
#[must_use]
pub fn order(a: &[Value], b: &[Value]) -> Ordering {
    let number = |value: &Value| -> i128 {
        match value {
            Value::Bool(b) => i128::from(*b),
            Value::I16(n) => i128::from(*n),
            Value::I32(n) | Value::Date(n) => i128::from(*n),
            Value::I64(n) | Value::Time(n) | Value::DateTime(n) => i128::from(*n),
            Value::Decimal(n) => *n,
            Value::DateTimeOffset { utc, .. } => i128::from(*utc),
            Value::Null
            | Value::Unavailable
            | Value::TooLarge(_)
            | Value::F32(_)
            | Value::F64(_)
            | Value::Text(_)
            | Value::Bytes(_)
            | Value::Guid(_) => i128::MIN,
        }
    };
    a.iter().map(number).cmp(b.iter().map(number))
}

/// Orders lower bounds, the open one first.
fn by_lower(a: Option<&Vec<Value>>, b: Option<&Vec<Value>>) -> Ordering {
    match (a, b) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (Some(a), Some(b)) => order(a, b),
    }
}

/// The ranges that the given ones leave free. Ranges that meet, or lie in one another, leave nothing between them.
#[must_use]
pub fn gaps(done: &[Entry]) -> Vec<KeyRange> {
    let mut done: Vec<&KeyRange> = done.iter().map(|entry| &entry.range).collect();
    done.sort_by(|a, b| by_lower(a.after.as_ref(), b.after.as_ref()));
    let mut free = Vec::new();
    // Everything up to here is done; none is nothing yet.
    let mut upto: Option<&Vec<Value>> = None;
    for range in done {
        let starts_later = by_lower(upto, range.after.as_ref()) == Ordering::Less;
        if starts_later {
            free.push(KeyRange { after: upto.cloned(), upto: range.after.clone() });
        }
        let Some(end) = &range.upto else { return free };
        if upto.is_none_or(|upto| order(upto, end) == Ordering::Less) {
            upto = Some(end);
        }
    }
    free.push(KeyRange { after: upto.cloned(), upto: None });
    free
}

/// Puts ranges into the order of their lower bounds.
pub fn sort(entries: &mut [Entry]) {
    entries.sort_by(|a, b| by_lower(a.range.after.as_ref(), b.range.after.as_ref()));
}

/// The last of the sorted ranges that begins below a key, if it holds it.
#[must_use]
pub fn place(sorted: &[Entry], key: &[Value]) -> Option<usize> {
    let begun = sorted.partition_point(|entry| {
        entry.range.after.as_ref().is_none_or(|after| order(after, key) == Ordering::Less)
    });
    let last = begun.checked_sub(1)?;
    sorted.get(last).is_some_and(|entry| holds(&entry.range, key)).then_some(last)
}

/// Whether a key lies in a range.
#[must_use]
pub fn holds(range: &KeyRange, key: &[Value]) -> bool {
    range.after.as_ref().is_none_or(|after| order(key, after) == Ordering::Greater)
        && range.upto.as_ref().is_none_or(|upto| order(key, upto) != Ordering::Greater)
}

/// Which of the entries must be read again: those with a change, those that were not found equal, those that would
/// be older than `period` before the next run comes (which will be as long after this one as this one is after the
/// last), and in any case so many of the oldest that the whole table is read within `period`.
#[must_use]
pub fn due(entries: &[Entry], changed: &[bool], period: Duration) -> Vec<bool> {
    let last = entries.iter().map(|entry| entry.read_ago).min().unwrap_or_default();
    let mut due: Vec<bool> = entries
        .iter()
        .zip(changed)
        .map(|(entry, changed)| {
            *changed || entry.verified_ago.is_none_or(|ago| ago.saturating_add(last) >= period)
        })
        .collect();
    let mut oldest: Vec<usize> = (0..entries.len()).collect();
    oldest.sort_by_key(|&i| {
        std::cmp::Reverse(
            entries.get(i).and_then(|entry| entry.verified_ago).unwrap_or(Duration::MAX),
        )
    });
    for i in oldest.into_iter().take(slice(entries.len(), last, period)) {
        if let Some(due) = due.get_mut(i) {
            *due = true;
        }
    }
    due
}

/// How many of so many ranges a run reads in turn: at least one, and all of them within the period.
fn slice(ranges: usize, since_last: Duration, period: Duration) -> usize {
    let (since, period) = (since_last.as_millis(), period.as_millis().max(1));
    let part = (ranges as u128 * since).div_ceil(period);
    usize::try_from(part).unwrap_or(ranges).clamp(1, ranges.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: i32) -> Vec<Value> {
        vec![Value::I32(n)]
    }

    fn entry(after: Option<i32>, upto: Option<i32>, hours_ago: Option<u64>) -> Entry {
        let hours = |n: u64| Duration::from_secs(n * 3600);
        Entry {
            range: KeyRange { after: after.map(key), upto: upto.map(key) },
            run: "r".to_owned(),
            rows: (1, 1),
            sums: (7, 7),
            low: Lsn::ZERO,
            suspects: Vec::new(),
            read_ago: hours(hours_ago.unwrap_or(1)),
            verified_ago: hours_ago.map(hours),
        }
    }

    /// Where a range begins and ends.
    type Ends = (Option<Vec<Value>>, Option<Vec<Value>>);

    fn free(done: &[(Option<i32>, Option<i32>)]) -> Vec<Ends> {
        let done: Vec<_> = done.iter().map(|(a, b)| entry(*a, *b, Some(1))).collect();
        gaps(&done).into_iter().map(|range| (range.after, range.upto)).collect()
    }

    #[test]
    fn what_is_not_done_is_free() {
        assert!(free(&[]) == [(None, None)]);
        assert!(free(&[(None, None)]).is_empty());
        assert!(free(&[(None, Some(5)), (Some(5), None)]).is_empty());
        assert!(free(&[(Some(5), None)]) == [(None, Some(key(5)))]);
        assert!(
            free(&[(Some(-7), Some(3)), (None, Some(-9)), (Some(3), Some(9))])
                == [(Some(key(-9)), Some(key(-7))), (Some(key(9)), None)]
        );
        // One inside another: the table was cut anew in between.
        assert!(free(&[(None, Some(9)), (Some(2), Some(4)), (Some(9), None)]).is_empty());
    }

    #[test]
    fn a_key_lies_in_one_range() {
        let range = entry(Some(-3), Some(4), None).range;
        for (n, inside) in [(-4, false), (-3, false), (-2, true), (4, true), (5, false)] {
            assert_eq!(holds(&range, &key(n)), inside, "{n}");
        }
        let mut all = [
            entry(Some(4), None, None),
            entry(None, Some(-3), None),
            entry(Some(-3), Some(4), None),
        ];
        sort(&mut all);
        for (n, at) in [(-9, 0), (-3, 0), (-2, 1), (4, 1), (5, 2)] {
            assert_eq!(place(&all, &key(n)), Some(at), "{n}");
        }
        assert_eq!(place(&all[1..], &key(-9)), None);
    }

    #[test]
    fn changed_unverified_and_old_ranges_are_read_and_the_rest_in_turn() {
        let week = Duration::from_secs(7 * 24 * 3600);
        let entries: Vec<_> = [100, 20, 30, 40]
            .into_iter()
            .zip(0..)
            .map(|(hours, n)| entry(Some(n), Some(n + 1), Some(hours)))
            .collect();
        // 20 of 168 hours since the last run: one of four ranges, the oldest.
        assert_eq!(due(&entries, &[false; 4], week), [true, false, false, false]);
        assert_eq!(due(&entries, &[false, true, false, false], week), [true, true, false, false]);
        let mut unverified = entries.clone();
        unverified[3].verified_ago = None;
        assert_eq!(due(&unverified, &[false; 4], week), [false, false, false, true]);
        // What the next run would find too old is read now.
        let day = Duration::from_secs(50 * 3600);
        assert_eq!(due(&entries, &[false; 4], day), [true, false, true, true]);
    }

    #[test]
    fn every_range_is_read_within_the_period_however_often_runs_come() {
        let period = Duration::from_secs(100 * 60);
        for minutes in [1u64, 7, 30] {
            let step = Duration::from_secs(minutes * 60);
            let mut entries: Vec<_> =
                (0..40).map(|n| entry(Some(n), Some(n + 1), Some(0))).collect();
            for _ in 0..200 {
                for entry in &mut entries {
                    entry.read_ago += step;
                    entry.verified_ago = entry.verified_ago.map(|ago| ago + step);
                    assert!(entry.read_ago <= period, "every {minutes} minutes");
                }
                let due = due(&entries, &[false; 40], period);
                for (entry, _) in entries.iter_mut().zip(due).filter(|(_, due)| *due) {
                    entry.read_ago = Duration::ZERO;
                    entry.verified_ago = Some(Duration::ZERO);
                }
            }
        }
    }
}
