//! Many changes of one key become one. Pure.
//!
//! Full rows: the last one wins. A row with absent fields (large values that an update did not touch)
//! takes them from the row before it in the batch; when there is none, they stay absent, and the row
//! becomes an update of the other columns. A delete and a later row are that row alone: an upsert
//! replaces every column.

use std::borrow::Cow;

use crate::change::{Action, fields, is_absent};

/// One change, as folding sees it.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The key's fields; empty for a table without key.
    pub key: &'a [u8],
    /// What it does.
    pub action: &'a Action,
    /// The row that it puts has absent fields.
    pub partial: bool,
}

/// What a slice of changes of one table and one shape comes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Folded<'a> {
    /// Rows to insert or replace: key fields and row fields, sorted by key.
    pub puts: Vec<(&'a [u8], Cow<'a, [u8]>)>,
    /// Rows to update in part: some fields are absent. Key fields and row fields, sorted by key.
    pub parts: Vec<(&'a [u8], Cow<'a, [u8]>)>,
    /// Keys to delete, sorted.
    pub deletes: Vec<&'a [u8]>,
    /// Rows of a table without key, in order.
    pub appends: Vec<&'a [u8]>,
}

/// Folds changes that are in the order of their topic's partitions.
///
/// Sorted by key, the changes of one key stand side by side: no table of keys is needed, and the rows
/// are in one order for all sinks and batches, so that two transactions never lock rows crosswise.
#[must_use]
pub fn fold<'a>(steps: impl Iterator<Item = Step<'a>>) -> Folded<'a> {
    let mut folded = Folded::default();
    let mut keyed: Vec<(u128, Step<'a>)> = Vec::with_capacity(steps.size_hint().0);
    for step in steps {
        if !step.key.is_empty() {
            keyed.push((head(step.key), step));
        } else if let Action::Put(row) = step.action {
            folded.appends.push(row);
        }
    }
    // Stable: the changes of one key stay in order.
    keyed.sort_by(|(a, left), (b, right)| a.cmp(b).then_with(|| left.key.cmp(right.key)));
    folded.puts.reserve(keyed.len());
    for same in keyed.chunk_by(|(a, left), (b, right)| a == b && left.key == right.key) {
        let Some((_, Step { key, .. })) = same.first() else { continue };
        let mut last: Option<(Cow<'a, [u8]>, bool)> = None;
        for (_, step) in same {
            last = match (step.action, last) {
                // One that is matched has no key, and is not folded.
                (Action::Delete | Action::Match { .. }, _) => None,
                (Action::Put(row), Some((before, _))) if step.partial => {
                    let merged = merge(&before, row);
                    let partial = fields(&merged).any(is_absent);
                    Some((Cow::Owned(merged), partial))
                }
                (Action::Put(row), _) => Some((Cow::Borrowed(row), step.partial)),
            };
        }
        match last {
            None => folded.deletes.push(key),
            Some((row, true)) => folded.parts.push((key, row)),
            Some((row, false)) => folded.puts.push((key, row)),
        }
    }
    folded
}

/// The first bytes of a key as one number, so that most keys are told apart without reading them again.
fn head(key: &[u8]) -> u128 {
    if let Some(head) = key.first_chunk::<16>() {
        return u128::from_be_bytes(*head);
    }
    let mut head = [0; 16];
    head.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    u128::from_be_bytes(head)
}

/// The newer row, with the older one's fields where it has none.
fn merge(older: &[u8], newer: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(older.len().max(newer.len()));
    for (old, new) in fields(older).zip(fields(newer)) {
        row.extend(if is_absent(new) { old } else { new });
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::ABSENT;

    /// A row of texts; `?` is an absent field.
    fn row(texts: &[&str]) -> Vec<u8> {
        let mut row = Vec::new();
        for text in texts {
            if *text == "?" {
                row.extend(ABSENT.to_be_bytes());
            } else {
                row.extend(i32::try_from(text.len()).unwrap().to_be_bytes());
                row.extend(text.as_bytes());
            }
        }
        row
    }

    fn put(texts: &[&str]) -> Action {
        Action::Put(row(texts).into())
    }

    fn folded(changes: &[(&'static str, Action)]) -> (Vec<Vec<u8>>, Vec<Vec<u8>>, Vec<String>) {
        let steps = changes.iter().map(|(key, action)| Step {
            key: key.as_bytes(),
            action,
            partial: matches!(action, Action::Put(row) if fields(row).any(is_absent)),
        });
        let folded = fold(steps);
        let rows = |list: Vec<(&[u8], Cow<'_, [u8]>)>| {
            list.into_iter().map(|(_, row)| row.into_owned()).collect()
        };
        let deletes = folded.deletes.iter().map(|k| String::from_utf8_lossy(k).into_owned());
        let deletes = deletes.collect();
        (rows(folded.puts), rows(folded.parts), deletes)
    }

    #[test]
    fn the_last_change_of_a_key_wins() {
        let (puts, parts, deletes) = folded(&[
            ("b", put(&["b", "1"])),
            ("a", put(&["a", "1"])),
            ("b", put(&["b", "2"])),
            ("c", put(&["c", "1"])),
            ("c", Action::Delete),
            ("d", Action::Delete),
            ("d", put(&["d", "9"])),
        ]);
        assert_eq!(puts, [row(&["a", "1"]), row(&["b", "2"]), row(&["d", "9"])]);
        assert_eq!((parts.len(), deletes), (0, vec!["c".to_owned()]));
    }

    #[test]
    fn absent_fields_come_from_the_row_before_or_stay_absent() {
        let (puts, parts, _) = folded(&[
            ("a", put(&["a", "1", "large"])),
            ("a", put(&["a", "2", "?"])),
            ("b", put(&["b", "1", "?"])),
            ("b", put(&["b", "2", "?"])),
            // What a deleted row held is not what a new one holds.
            ("c", put(&["c", "1", "old"])),
            ("c", Action::Delete),
            ("c", put(&["c", "2", "?"])),
        ]);
        assert_eq!(puts, [row(&["a", "2", "large"])]);
        assert_eq!(parts, [row(&["b", "2", "?"]), row(&["c", "2", "?"])]);
    }

    #[test]
    fn rows_without_key_are_all_kept() {
        let action = put(&["x"]);
        let step = Step { key: &[], action: &action, partial: false };
        assert_eq!(fold([step, step].into_iter()).appends.len(), 2);
    }

    #[test]
    fn keys_that_begin_alike_are_told_apart() {
        let (puts, _, deletes) = folded(&[
            ("the same sixteen bytes and more", put(&["1"])),
            ("the same sixteen bytes", put(&["2"])),
            ("k\0", put(&["3"])),
            ("k", put(&["4"])),
            ("the same sixteen bytes", Action::Delete),
        ]);
        assert_eq!(puts, [row(&["4"]), row(&["3"]), row(&["1"])]);
        assert_eq!(deletes, ["the same sixteen bytes"]);
    }
}
