//! Many changes of one key become one. Pure.
//!
//! Full rows: the last one wins. A row with absent fields (large values that an update did not touch)
//! takes them from the row before it in the batch; when there is none, they stay absent, and the row
//! becomes an update of the other columns. A delete and a later row are that row alone: an upsert
//! replaces every column.

use std::{borrow::Cow, collections::HashMap};

use crate::change::{Action, fields, is_absent};

/// One change, as folding sees it.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// Equal for equal keys; none for a table without key.
    pub key: Option<&'a [u8]>,
    /// The key's fields.
    pub key_fields: &'a [u8],
    /// What it does.
    pub action: &'a Action,
}

/// What a slice of changes of one table and one shape comes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Folded<'a> {
    /// Rows to insert or replace: key fields and row fields, by key.
    pub puts: Vec<(&'a [u8], Cow<'a, [u8]>)>,
    /// Rows to update in part: some fields are absent. Key fields and row fields, by key.
    pub parts: Vec<(&'a [u8], Cow<'a, [u8]>)>,
    /// Keys to delete, sorted.
    pub deletes: Vec<&'a [u8]>,
    /// Rows of a table without key, in order.
    pub appends: Vec<&'a [u8]>,
}

/// The key's fields, and the row unless it was deleted.
type Last<'a> = (&'a [u8], Option<Cow<'a, [u8]>>);

/// Folds changes that are in the order of their topic's partitions.
#[must_use]
pub fn fold<'a>(steps: impl Iterator<Item = Step<'a>>) -> Folded<'a> {
    let mut last: HashMap<&[u8], Last<'_>> = HashMap::new();
    let mut folded = Folded::default();
    for step in steps {
        let Some(key) = step.key else {
            if let Action::Put(row) = step.action {
                folded.appends.push(row);
            }
            continue;
        };
        let row = match step.action {
            // One that is matched has no key, and is not folded.
            Action::Delete | Action::Match { .. } => None,
            Action::Put(row) => {
                let before = last.get(key).and_then(|(_, row)| row.as_deref());
                Some(match before {
                    Some(before) if fields(row).any(is_absent) => Cow::Owned(merge(before, row)),
                    Some(_) | None => Cow::Borrowed(row.as_ref()),
                })
            }
        };
        last.insert(key, (step.key_fields, row));
    }
    for (key, row) in last.into_values() {
        match row {
            None => folded.deletes.push(key),
            Some(row) if fields(&row).any(is_absent) => folded.parts.push((key, row)),
            Some(row) => folded.puts.push((key, row)),
        }
    }
    // One order for all sinks and batches, so that two transactions never lock rows crosswise.
    folded.puts.sort_unstable_by(|a, b| a.0.cmp(b.0));
    folded.parts.sort_unstable_by(|a, b| a.0.cmp(b.0));
    folded.deletes.sort_unstable();
    folded
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
            key: Some(key.as_bytes()),
            key_fields: key.as_bytes(),
            action,
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
        let step = Step { key: None, key_fields: &[], action: &action };
        assert_eq!(fold([step, step].into_iter()).appends.len(), 2);
    }
}
