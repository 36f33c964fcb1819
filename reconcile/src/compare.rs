//! Two sorted partitions become a list of differences. Pure.

use std::{cmp::Ordering, iter::Peekable};

use crate::spool::Partition;

/// How a key differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The source has the row, the target has not.
    MissingInTarget,
    /// The target has a row that the source has not.
    ExtraInTarget,
    /// Both have the row, with other values.
    Different,
}

impl Kind {
    /// As it stands in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MissingInTarget => "missing_in_target",
            Self::ExtraInTarget => "extra_in_target",
            Self::Different => "different",
        }
    }
}

/// One key that differs; for a table without key the "key" is the row's digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Canonical bytes of the key ([`crate::digest::key`]).
    pub key: Vec<u8>,
    /// How it differs.
    pub kind: Kind,
}

/// Compares two partitions of the same number.
///
/// Rows that share a key (tables without key) are matched one by one, so that a row that occurs
/// twice here and once there is one difference.
pub fn partitions(source: &Partition, target: &Partition, mut found: impl FnMut(Difference)) {
    let mut source = source.iter().peekable();
    let mut target = target.iter().peekable();
    let mut report = |key: &[u8], kind| found(Difference { key: key.to_vec(), kind });
    while let Some(step) = next(&mut source, &mut target) {
        match step {
            Step::Source(key) => report(key, Kind::MissingInTarget),
            Step::Target(key) => report(key, Kind::ExtraInTarget),
            Step::Both(_, true) => {}
            Step::Both(key, false) => report(key, Kind::Different),
        }
    }
}

enum Step<'a> {
    Source(&'a [u8]),
    Target(&'a [u8]),
    Both(&'a [u8], bool),
}

fn next<'a>(
    source: &mut Peekable<impl Iterator<Item = (u64, &'a [u8], u128)>>,
    target: &mut Peekable<impl Iterator<Item = (u64, &'a [u8], u128)>>,
) -> Option<Step<'a>> {
    let order = match (source.peek(), target.peek()) {
        (None, None) => return None,
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (Some((h, a, _)), Some((i, b, _))) => h.cmp(i).then_with(|| a.cmp(b)),
    };
    match order {
        Ordering::Less => source.next().map(|(_, key, _)| Step::Source(key)),
        Ordering::Greater => target.next().map(|(_, key, _)| Step::Target(key)),
        Ordering::Equal => {
            let ((_, key, a), (_, _, b)) = (source.next()?, target.next()?);
            Some(Step::Both(key, a == b))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::{PARTITIONS, Spool};

    fn differences(source: &[(u8, u128)], target: &[(u8, u128)]) -> Vec<(u8, Kind)> {
        let fill = |rows: &[(u8, u128)]| {
            let mut spool = Spool::new(usize::MAX);
            for &(key, digest) in rows {
                spool.push(&[key], digest).unwrap();
            }
            spool
        };
        let (mut source, mut target) = (fill(source), fill(target));
        let mut all = Vec::new();
        for part in 0..PARTITIONS {
            partitions(&source.take(part).unwrap(), &target.take(part).unwrap(), |d| {
                all.push((d.key[0], d.kind));
            });
        }
        all.sort_unstable();
        all
    }

    #[test]
    fn each_kind_is_found_once() {
        use Kind::{Different, ExtraInTarget, MissingInTarget};
        assert_eq!(differences(&[(1, 1), (2, 2)], &[(2, 2), (1, 1)]), []);
        assert_eq!(
            differences(&[(1, 1), (2, 2), (3, 3)], &[(2, 9), (3, 3), (4, 4)]),
            [(1, MissingInTarget), (2, Different), (4, ExtraInTarget)]
        );
        assert_eq!(differences(&[(7, 1)], &[]), [(7, MissingInTarget)]);
    }

    #[test]
    fn a_row_that_occurs_twice_on_one_side_only_is_one_difference() {
        assert_eq!(differences(&[(5, 5), (5, 5)], &[(5, 5)]), [(5, Kind::MissingInTarget)]);
    }
}
